//! What the configuration comes to: what differs from the defaults, who can ask for metrics, what is kept of
//! the privileges.

use super::environment::Check;
use crate::{
    config::{Settings, Source},
    daemon,
    export::WebConfig,
    privileges::Kept,
};

/// What was set, and where.
pub(super) fn in_force(settings: &Settings) -> Check {
    let set: Vec<_> = settings
        .entries()
        .iter()
        .filter(|entry| entry.source != Source::Default)
        .map(|entry| format!("{} ({})", entry.key, entry.source))
        .collect();
    let detail = if set.is_empty() { "the defaults".to_owned() } else { format!("sets {}", set.join(", ")) };
    Check::good("configuration", detail)
}

/// Where metrics are served, and to whom.
pub(super) fn metrics(settings: &Settings, web: &anyhow::Result<WebConfig>) -> Check {
    let web = match web {
        Ok(web) => web,
        Err(error) => return Check::bad("metrics", format!("{error:#}")),
    };
    if let Some(exposed) = daemon::exposed(&settings.config, web) {
        return Check::limited("metrics", exposed);
    }
    let scheme = if web.encrypts() { "https" } else { "http" };
    let to = if web.authenticates() {
        "to whom the web configuration names"
    } else {
        "to whoever is on this host"
    };
    Check::good("metrics", format!("{scheme}://{}/metrics, {to}", settings.config.metrics.listen))
}

/// What the daemon goes on with.
pub(super) fn privileges(kept: Kept) -> Check {
    Check::good("privileges", format!("the daemon keeps {kept} and gives up all others"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Flag, doctor::environment::Outcome};

    #[test]
    fn what_is_open_to_all_is_a_warning() {
        let listening = |address: &str| {
            let flag = Flag { name: "--metrics-listen", key: "metrics.listen", value: address.into() };
            let settings = Settings::load(None, [], &[flag]).unwrap();
            assert!(in_force(&settings).detail.contains("metrics.listen (--metrics-listen)"));
            metrics(&settings, &WebConfig::load(None).map_err(Into::into))
        };
        assert_eq!(listening("127.0.0.1:1").outcome, Outcome::Good);
        let check = listening("0.0.0.0:1");
        assert!(check.outcome == Outcome::Limited && check.detail.contains("web_config"), "{check}");
    }
}
