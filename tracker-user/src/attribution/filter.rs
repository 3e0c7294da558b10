//! Whose calls are watched, as the operator wants it.
//!
//! ```toml
//! [[filter]]
//! action = "watch"
//! user = "ci"
//! host = "api.anthropic.com"
//!
//! [[filter]]
//! action = "ignore"
//! user = "ci"
//! ```

use std::sync::{Arc, PoisonError, RwLock};

use serde::Deserialize;

use super::origin::Origin;
use crate::pattern::Pattern;

/// One `[[filter]]` of the configuration: what all of its patterns fit is watched or ignored. The first filter
/// that fits decides; what none fits is watched.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    action: Action,
    /// The name or the id.
    user: Option<Pattern>,
    cgroup: Option<Pattern>,
    /// The id or the name.
    container: Option<Pattern>,
    unit: Option<Pattern>,
    /// The path, or without a slash the file's name.
    exe: Option<Pattern>,
    /// The host that is asked, lower case, without port.
    host: Option<Pattern>,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is reported.
    Watch,
    /// Nothing is known of it.
    Ignore,
}

/// What follows from the filters for a call or for all of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// For everybody who has these things in common.
    Made(Action, Basis),
    /// The host is not known yet, or a name that may come late.
    Open,
}

/// What a decision was made by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Basis {
    pub(crate) user: bool,
    pub(crate) cgroup: bool,
    pub(crate) exe: bool,
    pub(crate) host: bool,
}

/// Whether a condition holds; absent where it is not known.
type Holds = Option<bool>;

impl Filter {
    /// Whether it depends on the host.
    pub(crate) const fn asks_for_host(&self) -> bool {
        self.host.is_some()
    }

    /// Whether all holds, noting by what that was found.
    fn fits(&self, origin: &Origin, host: Option<&str>, basis: &mut Basis) -> Holds {
        let Self { action: _, user, cgroup, container, unit, exe, host: wanted } = self;
        let mut fits = Some(true);
        // First what many processes have in common.
        if let Some(pattern) = user {
            basis.user = true;
            fits = both(fits, user_fits(pattern, origin));
        }
        if cgroup.is_some() || container.is_some() || unit.is_some() {
            let known = origin.cgroup.is_some();
            let text = |pattern: &Option<Pattern>, text: Option<&str>| {
                pattern.as_ref().map_or(Some(true), |pattern| {
                    // A process in a known cgroup has what that says, and nothing else.
                    text.map_or(known.then_some(false), |text| Some(pattern.fits(text)))
                })
            };
            if fits != Some(false) {
                basis.cgroup = true;
                fits = both(fits, text(cgroup, origin.cgroup.as_deref()));
                fits = both(fits, container.as_ref().map_or(Some(true), |it| container_fits(it, origin)));
                fits = both(fits, text(unit, origin.unit.as_deref()));
            }
        }
        if let Some(pattern) = exe
            && fits != Some(false)
        {
            basis.exe = true;
            fits = both(fits, origin.process.exe.as_deref().map(|exe| pattern.fits_path(exe)));
        }
        if let Some(pattern) = wanted
            && fits != Some(false)
        {
            basis.host = true;
            fits = both(fits, host.map(|host| pattern.fits(host)));
        }
        fits
    }
}

/// A name or a number. A name that is not known may come.
fn user_fits(pattern: &Pattern, origin: &Origin) -> Holds {
    let uid = origin.process.uid?;
    if pattern.fits(&uid.to_string()) {
        return Some(true);
    }
    origin.process.user.as_deref().map(|user| pattern.fits(user))
}

/// An id or a name. A name that is not known may come.
fn container_fits(pattern: &Pattern, origin: &Origin) -> Holds {
    let Some(container) = &origin.container else { return origin.cgroup.is_some().then_some(false) };
    if pattern.fits(&container.id) {
        return Some(true);
    }
    container.name.as_deref().map(|name| pattern.fits(name))
}

fn both(one: Holds, other: Holds) -> Holds {
    match (one, other) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

/// All filters; all clones share them, so that they can be replaced.
#[derive(Clone, Debug, Default)]
pub struct Filters(Arc<RwLock<Arc<[Filter]>>>);

impl Filters {
    /// These.
    #[must_use]
    pub fn new(filters: Vec<Filter>) -> Self {
        Self(Arc::new(RwLock::new(filters.into())))
    }

    /// These instead.
    pub fn set(&self, filters: Vec<Filter>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = filters.into();
    }

    /// Those that are in force.
    pub(crate) fn get(&self) -> Arc<[Filter]> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the filters say of a call to `host`, or, where that is absent, of all calls of that origin.
pub(crate) fn decide(filters: &[Filter], origin: &Origin, host: Option<&str>) -> Decision {
    let mut basis = Basis::default();
    for filter in filters {
        match filter.fits(origin, host, &mut basis) {
            Some(false) => {}
            Some(true) => return Decision::Made(filter.action, basis),
            None => return Decision::Open,
        }
    }
    Decision::Made(Action::Watch, basis)
}

/// The same when nothing more will be known: what is not known fits no pattern.
pub(crate) fn decide_finally(filters: &[Filter], origin: &Origin, host: Option<&str>) -> Action {
    let mut basis = Basis::default();
    let fitting = filters.iter().find(|filter| filter.fits(origin, host, &mut basis) == Some(true));
    fitting.map_or(Action::Watch, |filter| filter.action)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attribution::{Container, Process};

    fn filters(text: &str) -> Vec<Filter> {
        #[derive(Deserialize)]
        struct Config {
            filter: Vec<Filter>,
        }
        toml::from_str::<Config>(text).unwrap().filter
    }

    fn ada() -> Origin {
        Origin {
            process: Process {
                pid: 7,
                name: Some("python3".to_owned()),
                exe: Some("/usr/bin/python3.11".to_owned()),
                uid: Some(1000),
                user: Some("ada".to_owned()),
            },
            cgroup: Some("/system.slice/docker-abc.scope".to_owned()),
            container: Some(Container {
                id: "abc".to_owned(),
                name: Some("web".to_owned()),
                ..Container::default()
            }),
            unit: Some("docker-abc.scope".to_owned()),
            ..Origin::default()
        }
    }

    const USER: Basis = Basis { user: true, cgroup: false, exe: false, host: false };
    const CGROUP: Basis = Basis { user: false, cgroup: true, exe: false, host: false };
    const EXE: Basis = Basis { user: false, cgroup: false, exe: true, host: false };

    #[test]
    fn each_condition_by_what_it_is_about() {
        for (condition, basis) in [
            ("user = \"ada\"", USER),
            ("user = \"1000\"", USER),
            ("cgroup = \"/system.slice/*\"", CGROUP),
            ("container = \"ab*\"", CGROUP),
            ("container = \"web\"", CGROUP),
            ("unit = \"docker-*.scope\"", CGROUP),
            ("exe = \"python3*\"", EXE),
            ("exe = \"/usr/bin/*\"", EXE),
        ] {
            let filters = filters(&format!("[[filter]]\naction = \"ignore\"\n{condition}\n"));
            let found = decide(&filters, &ada(), None);
            assert_eq!(found, Decision::Made(Action::Ignore, basis), "{condition}");
            let other = Origin {
                process: Process {
                    pid: 8,
                    name: None,
                    exe: Some("/bin/x".to_owned()),
                    uid: Some(2),
                    user: Some("bob".to_owned()),
                },
                cgroup: Some("/".to_owned()),
                ..Origin::default()
            };
            assert_eq!(decide(&filters, &other, None), Decision::Made(Action::Watch, basis), "{condition}");
            let unknown = Origin::default();
            assert_eq!(decide(&filters, &unknown, None), Decision::Open, "{condition}");
            assert_eq!(decide_finally(&filters, &unknown, None), Action::Watch, "{condition}");
        }
    }

    #[test]
    fn the_first_that_fits_decides_and_all_of_it_has_to() {
        let filters = filters(
            "[[filter]]\naction = \"watch\"\nuser = \"ada\"\nexe = \"curl\"\n\
             [[filter]]\naction = \"ignore\"\nuser = \"ada\"\n\
             [[filter]]\naction = \"watch\"\nunit = \"*.scope\"\n\
             [[filter]]\naction = \"ignore\"\n",
        );
        let action = |user: &str, exe: &str, unit: Option<&str>| {
            let mut origin = ada();
            (origin.process.user, origin.process.exe) = (Some(user.to_owned()), Some(exe.to_owned()));
            origin.unit = unit.map(str::to_owned);
            decide(&filters, &origin, None)
        };
        let both = Basis { exe: true, ..USER };
        assert_eq!(action("ada", "/usr/bin/curl", None), Decision::Made(Action::Watch, both));
        assert_eq!(action("ada", "/usr/bin/wget", None), Decision::Made(Action::Ignore, both));
        let both = Basis { cgroup: true, ..USER };
        assert_eq!(action("bob", "/usr/bin/curl", Some("x.scope")), Decision::Made(Action::Watch, both));
        assert_eq!(action("bob", "/usr/bin/curl", None), Decision::Made(Action::Ignore, both));
        assert_eq!(decide(&[], &ada(), None), Decision::Made(Action::Watch, Basis::default()));
    }

    #[test]
    fn a_host_is_known_with_the_first_request() {
        let filters = filters(
            "[[filter]]\naction = \"watch\"\nhost = \"*.openai.com\"\n[[filter]]\naction = \"ignore\"\nuser = \"ada\"\n",
        );
        assert_eq!(decide(&filters, &ada(), None), Decision::Open);
        let action = |host| decide_finally(&filters, &ada(), host);
        assert_eq!(action(Some("api.openai.com")), Action::Watch);
        assert_eq!([action(Some("internal")), action(None)], [Action::Ignore; 2]);
        assert!(matches!(
            decide(&filters, &ada(), Some("internal")),
            Decision::Made(Action::Ignore, Basis { host: true, .. })
        ));
    }

    #[test]
    fn a_name_that_is_late_is_waited_for() {
        let filters =
            filters("[[filter]]\naction = \"watch\"\nuser = \"ada\"\n[[filter]]\naction = \"ignore\"\n");
        let mut origin = ada();
        origin.process.user = None;
        assert_eq!(decide(&filters, &origin, None), Decision::Open);
        assert_eq!(decide_finally(&filters, &origin, None), Action::Ignore);

        let filters = self::filters("[[filter]]\naction = \"ignore\"\ncontainer = \"web\"\n");
        let mut origin = ada();
        origin.container.as_mut().unwrap().name = None;
        assert_eq!(decide(&filters, &origin, None), Decision::Open);
        assert_eq!(decide_finally(&filters, &origin, None), Action::Watch);
    }

    #[test]
    fn a_mistake_is_refused() {
        for text in ["action = \"ignor\"", "user = \"ada\"", "action = \"ignore\"\nusr = \"ada\""] {
            assert!(toml::from_str::<Filter>(text).is_err(), "{text}");
        }
    }
}
