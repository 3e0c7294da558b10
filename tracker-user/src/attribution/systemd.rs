//! systemd's unit, slice and login session from a cgroup path.
//!
//! systemd gives every unit a directory of the unit's name, below the directories of its slices
//! (systemd.slice(5)); what its `sd_pid_get_unit` and the like answer, they read out of that path
//! (`src/basic/cgroup-util.c`). So it works in a tree without a running systemd, and for what is gone.

/// What a path says. Absent where systemd did not make it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The unit as `systemctl` takes it, `\x2d` included. In a user's manager the unit of that manager:
    /// the manager's own, `user@1000.service`, says no more than the user.
    pub(super) unit: Option<String>,
    /// The slice of the host's manager, without those above it; absent for the root slice. A user's
    /// manager has slices of its own (`app.slice`), the same for every user.
    pub(super) slice: Option<String>,
    /// The login session as `loginctl` lists it.
    pub(super) session: Option<String>,
    /// Whose slice it is: `user-1000.slice`.
    pub(super) owner: Option<u32>,
}

/// Kinds of unit that have a cgroup.
const KINDS: [&str; 6] = ["service", "scope", "socket", "mount", "swap", "slice"];

impl Place {
    pub(super) fn of(path: &str) -> Self {
        let mut components = path.split('/').filter(|it| !it.is_empty()).map(unescape).peekable();
        let mut place = Self::default();
        while let Some(slice) = components.next_if(|it| is_unit(it) && it.ends_with(".slice")) {
            let owner = slice.strip_prefix("user-").and_then(|rest| rest.strip_suffix(".slice"));
            place.owner = owner.and_then(|uid| uid.parse().ok()).or(place.owner);
            place.slice = Some(slice.to_owned());
        }
        let Some(unit) = components.next().filter(|it| is_unit(it)) else { return place };
        let session = unit.strip_prefix("session-").and_then(|rest| rest.strip_suffix(".scope"));
        place.session = session.map(str::to_owned);
        let is_manager = unit.starts_with("user@") && unit.ends_with(".service");
        let within = if is_manager {
            while components.next_if(|it| is_unit(it) && it.ends_with(".slice")).is_some() {}
            components.next().filter(|it| is_unit(it))
        } else {
            None
        };
        place.unit = Some(within.unwrap_or(unit).to_owned());
        place
    }
}

/// systemd puts a `_` before a name that the kernel could take for one of its files (`cpu.service`).
fn unescape(component: &str) -> &str {
    component.strip_prefix('_').unwrap_or(component)
}

/// `unit_name_is_valid` (`src/basic/unit-name.c`), as far as it matters here.
fn is_unit(name: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    name.len() < 256
        && name.bytes().all(valid)
        && name
            .rsplit_once('.')
            .is_some_and(|(name, kind)| !name.is_empty() && !name.starts_with('@') && KINDS.contains(&kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> (Option<String>, Option<String>, Option<String>, Option<u32>) {
        let Place { unit, slice, session, owner } = Place::of(path);
        (unit, slice, session, owner)
    }

    fn some(unit: &str, slice: &str) -> (Option<String>, Option<String>, Option<String>, Option<u32>) {
        (Some(unit.to_owned()), Some(slice.to_owned()), None, None)
    }

    #[test]
    fn services_of_the_host() {
        assert_eq!(of("/system.slice/cron.service"), some("cron.service", "system.slice"));
        assert_eq!(
            of("/system.slice/system-getty.slice/getty@tty1.service"),
            some("getty@tty1.service", "system-getty.slice")
        );
        assert_eq!(of("/init.scope"), (Some("init.scope".to_owned()), None, None, None));
        // What a unit makes below itself is its own business.
        assert_eq!(of("/system.slice/x.service/payload/y.service"), some("x.service", "system.slice"));
        assert_eq!(of("/team.slice/team-ml.slice"), (None, Some("team-ml.slice".to_owned()), None, None));
    }

    #[test]
    fn people() {
        let session = of("/user.slice/user-1000.slice/session-5.scope");
        let slice = Some("user-1000.slice".to_owned());
        assert_eq!(
            session,
            (Some("session-5.scope".to_owned()), slice.clone(), Some("5".to_owned()), Some(1000))
        );
        // The innermost wins.
        let manager = "/user.slice/user-1000.slice/user@1000.service";
        let app = |path: &str| of(&format!("{manager}{path}"));
        let unit = |unit: &str| (Some(unit.to_owned()), slice.clone(), None, Some(1000));
        assert_eq!(app("/app.slice/app-gnome\\x2dcode-42.scope"), unit("app-gnome\\x2dcode-42.scope"));
        assert_eq!(app("/app.slice/app-x.slice/x@1.service/y"), unit("x@1.service"));
        assert_eq!(app("/init.scope"), unit("init.scope"));
        assert_eq!(app(""), unit("user@1000.service"));
        assert_eq!(app("/anything"), unit("user@1000.service"));
    }

    #[test]
    fn names_that_the_kernel_could_take_for_its_own() {
        assert_eq!(of("/system.slice/_cpu.service"), some("cpu.service", "system.slice"));
        assert_eq!(of("/system.slice/__x.service"), some("_x.service", "system.slice"));
    }

    #[test]
    fn what_systemd_did_not_make() {
        let hash = "1f3870be274f6c49b3e31a0c6728957f1f3870be274f6c49b3e31a0c6728957f";
        for path in ["", "/", "/docker/1f38", "/x y.service", "/.service", "/kubepods/burstable/pod1/2"] {
            assert_eq!(of(path), (None, None, None, None), "{path}");
        }
        let scope = format!("docker-{hash}.scope");
        assert_eq!(of(&format!("/system.slice/{scope}")), some(&scope, "system.slice"));
    }
}
