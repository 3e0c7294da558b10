//! The operator's filters, as they act on processes and connections.
//!
//! Where a decision holds for whole processes, the kernel side is told, so that it copies nothing of them.
//! Until it knows, and where the host decides, it is connections that are given up; and no call is
//! reported that the filters do not allow, whatever became known when.

use std::sync::Arc;

use super::pipeline::SetVerdict;
use crate::{
    attribution::{Action, Attribution, Basis, Decision, Filter, Filters, Origin, decide, decide_finally},
    capture::Scope,
};

/// The filters that are in force.
pub(super) struct Filtering {
    source: Filters,
    now: Arc<[Filter]>,
}

impl Filtering {
    pub(super) fn new(source: Filters) -> Self {
        Self { now: source.get(), source }
    }

    /// Takes over filters that were set since; whether there are any.
    pub(super) fn refresh(&mut self, attribution: &Attribution, verdicts: &mut impl SetVerdict) -> bool {
        let now = self.source.get();
        if Arc::ptr_eq(&now, &self.now) {
            return false;
        }
        self.now = now;
        verdicts.watch_all();
        for pid in attribution.all_living() {
            self.screen(attribution, pid, verdicts);
        }
        true
    }

    /// Whether it may matter which host is asked.
    pub(super) fn ask_for_hosts(&self) -> bool {
        self.now.iter().any(Filter::asks_for_host)
    }

    /// Whether calls to `host`, or all calls where that is not known, are certain to be ignored.
    pub(super) fn are_ignored(&self, origin: &Origin, host: Option<&str>) -> bool {
        matches!(decide(&self.now, origin, host), Decision::Made(Action::Ignore, _))
    }

    /// Whether a call is, when nothing more will be known of it.
    pub(super) fn are_finally_ignored(&self, origin: &Origin, host: Option<&str>) -> bool {
        decide_finally(&self.now, origin, host) == Action::Ignore
    }

    /// Tells the kernel side whether a process is to be ignored, with all who have in common with it what
    /// decided that.
    pub(super) fn screen(&self, attribution: &Attribution, pid: u32, verdicts: &mut impl SetVerdict) {
        if self.now.is_empty() {
            return;
        }
        let Some(origin) = attribution.living(pid) else { return };
        let Decision::Made(Action::Ignore, basis) = decide(&self.now, &origin, None) else {
            return verdicts.watch(Scope::Process(pid));
        };
        let cgroup = || attribution.cgroup_id(origin.cgroup.as_deref()?);
        let scope = match (basis, origin.process.uid) {
            (Basis { user: true, cgroup: false, exe: false, .. }, Some(uid)) => Scope::User(uid),
            (Basis { user: false, cgroup: true, exe: false, .. }, _) => {
                cgroup().map_or(Scope::Process(pid), Scope::Cgroup)
            }
            _ => Scope::Process(pid),
        };
        verdicts.ignore(scope);
        // Had it ended or executed another program meanwhile, the kernel side would have known before it was
        // told.
        if scope == Scope::Process(pid) && !attribution.is_unchanged(pid) {
            verdicts.watch(scope);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        attribution::{self, Sight},
        capture::{ConnectionId, Verdict},
    };

    /// What the kernel side would ignore.
    #[derive(Default)]
    struct Table(Vec<Scope>);

    impl SetVerdict for Table {
        fn set(&mut self, _: ConnectionId, _: Verdict) {}

        fn ignore(&mut self, scope: Scope) {
            self.0.push(scope);
        }

        fn watch(&mut self, scope: Scope) {
            self.0.retain(|known| *known != scope);
        }

        fn watch_all(&mut self) {
            self.0.clear();
        }
    }

    fn filters(text: &str) -> Vec<Filter> {
        let config: crate::config::Config = toml::from_str(text).unwrap();
        config.filter
    }

    fn ignore(condition: &str) -> Vec<Filter> {
        filters(&format!("[[filter]]\naction = \"ignore\"\n{condition}\n"))
    }

    #[test]
    fn the_kernel_side_is_told_of_all_who_have_in_common_what_decided() {
        let pid = std::process::id();
        let config = attribution::Config::default();
        let sight = Sight::of(&config.proc_root, pid).unwrap();
        let mut attribution = Attribution::new(config);
        attribution.observe(&sight);
        let me = attribution.living(pid).unwrap();
        let (uid, cgroup) = (me.process.uid.unwrap(), me.cgroup.unwrap());
        let exe = me.process.exe.unwrap();
        let by_cgroup = attribution.cgroup_id(&cgroup).map_or(Scope::Process(pid), Scope::Cgroup);

        let source = Filters::default();
        let mut filtering = Filtering::new(source.clone());
        let mut table = Table::default();
        for (condition, scope) in [
            (format!("user = \"{uid}\""), Some(Scope::User(uid))),
            (format!("cgroup = \"{cgroup}\""), Some(by_cgroup)),
            (format!("exe = \"{exe}\""), Some(Scope::Process(pid))),
            (format!("exe = \"{exe}\"\nuser = \"{uid}\""), Some(Scope::Process(pid))),
            (String::new(), Some(Scope::Process(pid))),
            ("exe = \"no-such-program\"".to_owned(), None),
            ("host = \"*\"".to_owned(), None),
        ] {
            source.set(ignore(&condition));
            assert!(filtering.refresh(&attribution, &mut table), "{condition}");
            assert_eq!(table.0, Vec::from_iter(scope), "{condition}");
            assert!(!filtering.refresh(&attribution, &mut table), "nothing was set since");
        }
        attribution.gone(pid);
        source.set(ignore(""));
        assert!(filtering.refresh(&attribution, &mut table));
        assert_eq!(table.0, [], "it is gone");
    }
}
