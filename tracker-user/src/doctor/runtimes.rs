//! The sockets of container runtimes: who gives containers their names, and who would not.

use std::path::Path;

use super::environment::Check;
use crate::attribution::{RuntimeConfig, RuntimeSocketAnswer, RuntimeSocketReport, survey_runtimes};

const NAME: &str = "containers";

/// A line for each socket that is there or is said to be, or one that says why there is none.
pub(super) fn checks(config: Option<&RuntimeConfig>) -> Vec<Check> {
    let Some(config) = config else {
        let detail = "no runtime is asked for names (attribution.container_runtimes = false)";
        return vec![Check::good(NAME, detail)];
    };
    match survey_runtimes(config, Path::new("/proc")) {
        Ok(reports) if reports.is_empty() => {
            let detail = "no socket of a runtime: names come from what runtimes leave on disk, if at all \
                          (attribution.container_sockets says where else to ask)";
            vec![Check::good(NAME, detail)]
        }
        Ok(reports) => {
            let is_root = rustix::process::geteuid().is_root();
            reports.iter().map(|report| check(report, is_root)).collect()
        }
        Err(error) => vec![Check::limited(NAME, format!("no runtime can be asked: {error}"))],
    }
}

fn check(report: &RuntimeSocketReport, is_root: bool) -> Check {
    let RuntimeSocketReport { path, answer, group } = report;
    let path = path.display();
    let join = group.as_ref().map(|group| format!("SupplementaryGroups={group} in its unit"));
    match answer {
        RuntimeSocketAnswer::Answers => {
            let join = join.filter(|_| is_root);
            let hint =
                join.map(|join| format!("; a daemon that is not root needs {join}")).unwrap_or_default();
            Check::good(NAME, format!("{path} answers{hint}"))
        }
        RuntimeSocketAnswer::Nobody => Check::limited(
            NAME,
            format!("{path}: nobody is there; start the runtime, or correct attribution.container_sockets"),
        ),
        RuntimeSocketAnswer::Denied => {
            let join = join.unwrap_or_else(|| "to be root".to_owned());
            Check::limited(
                NAME,
                format!(
                    "{path} does not let this user in: the daemon needs {join}, or containers lack labels"
                ),
            )
        }
        RuntimeSocketAnswer::Failed(why) => {
            let why: String = why.chars().filter(|it| !it.is_control()).take(200).collect();
            Check::limited(NAME, format!("{path} does not answer as it should: {why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::environment::Outcome;

    #[test]
    fn each_line_says_what_to_do() {
        let said = |answer, group: Option<&str>, is_root| {
            let group = group.map(str::to_owned);
            check(&RuntimeSocketReport { path: "/run/docker.sock".into(), answer, group }, is_root)
        };
        let answers = said(RuntimeSocketAnswer::Answers, Some("docker"), true);
        assert!(answers.outcome == Outcome::Good && answers.detail.contains("SupplementaryGroups=docker"));
        assert_eq!(
            said(RuntimeSocketAnswer::Answers, Some("docker"), false).detail,
            "/run/docker.sock answers"
        );
        let denied = said(RuntimeSocketAnswer::Denied, Some("docker"), false);
        assert!(denied.outcome == Outcome::Limited && denied.detail.contains("SupplementaryGroups=docker"));
        assert!(said(RuntimeSocketAnswer::Denied, None, false).detail.contains("root"));
        let failed = said(RuntimeSocketAnswer::Failed("no\u{1b}[31m".to_owned()), None, true);
        assert!(failed.detail.ends_with("no[31m"), "{failed}");
        assert!(checks(None)[0].detail.contains("container_runtimes"));
    }
}
