//! What the kernel, the capabilities and the mounts of this machine allow.

use std::{fmt, io, path::Path, thread};

use crate::{
    capture::{NO_HURRY, discovery, hurry},
    privileges,
};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Good,
    /// Works, with something missing that the detail names.
    Limited,
    /// The daemon cannot run like this.
    Bad,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it came out.
    pub outcome: Outcome,
    /// What was found and, where that is not good, what to do.
    pub detail: String,
}

impl Check {
    pub(super) fn good(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Good, detail: detail.into() }
    }

    pub(super) fn limited(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Limited, detail: detail.into() }
    }

    pub(super) fn bad(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Bad, detail: detail.into() }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.outcome {
            Outcome::Good => "ok  ",
            Outcome::Limited => "warn",
            Outcome::Bad => "FAIL",
        };
        write!(f, "{mark}  {:<14} {}", self.name, self.detail)
    }
}

/// The oldest kernel that has all that is used: ring buffers (5.8) and attach cookies (5.15).
const OLDEST_KERNEL: (u32, u32) = (5, 15);

/// Looks at everything; never fails itself.
#[must_use]
pub fn checks() -> Vec<Check> {
    vec![
        kernel_version(&rustix::system::uname().release().to_string_lossy()),
        capabilities(&privileges::missing()),
        uprobes(Path::new("/sys/bus/event_source/devices/uprobe/type")),
        perf_events(
            &std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default(),
            privileges::perf_works(),
        ),
        // On a thread that ends with it.
        priority(thread::spawn(hurry).join().is_ok_and(|hurried| hurried.is_ok())),
        btf(Path::new("/sys/kernel/btf/vmlinux")),
        mounts(&std::fs::read_to_string("/proc/self/mounts").unwrap_or_default()),
        processes(programs(Path::new("/proc"))),
        lockdown(&std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default()),
    ]
}

/// `true` where nothing stands in the daemon's way.
#[must_use]
pub fn suffices(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.outcome != Outcome::Bad)
}

fn kernel_version(release: &str) -> Check {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= OLDEST_KERNEL {
        Check::good("kernel", release)
    } else {
        let (major, minor) = OLDEST_KERNEL;
        Check::bad("kernel", format!("{release} is too old: Linux {major}.{minor} or newer is needed"))
    }
}

fn capabilities(missing: &[&str]) -> Check {
    if missing.is_empty() {
        Check::good("capabilities", "all that are needed")
    } else {
        Check::bad("capabilities", format!("missing {}: run as root", missing.join(", ")))
    }
}

fn uprobes(pmu: &Path) -> Check {
    if pmu.exists() {
        Check::good("uprobes", "the kernel has them")
    } else {
        Check::bad(
            "uprobes",
            format!("{} is missing: the kernel is built without CONFIG_UPROBE_EVENTS", pmu.display()),
        )
    }
}

fn perf_events(paranoid: &str, works: bool) -> Check {
    match paranoid.trim().parse::<i32>() {
        // A level that only some distributions' kernels have.
        Ok(level) if !works && level > 2 => Check::limited(
            "perf events",
            format!(
                "refused, so that new libraries are found late: with kernel.perf_event_paranoid = {level} this \
                 kernel asks for CAP_SYS_ADMIN; set it to 2, or give the daemon that capability"
            ),
        ),
        Ok(level) => Check::good("perf events", format!("kernel.perf_event_paranoid = {level}")),
        Err(_) => Check::bad(
            "perf events",
            "/proc/sys/kernel/perf_event_paranoid is missing: the kernel is built without CONFIG_PERF_EVENTS",
        ),
    }
}

fn priority(works: bool) -> Check {
    if works {
        Check::good("priority", "new libraries are hooked before anything else runs")
    } else {
        Check::limited("priority", NO_HURRY)
    }
}

fn btf(vmlinux: &Path) -> Check {
    if vmlinux.exists() {
        Check::good("BTF", vmlinux.display().to_string())
    } else {
        Check::limited("BTF", "the kernel carries none (CONFIG_DEBUG_INFO_BTF): not needed to run")
    }
}

/// Which file systems the kernel's own interfaces are found at.
fn mounts(table: &str) -> Check {
    let mounted = |kind: &str| table.lines().any(|line| line.split(' ').nth(2) == Some(kind));
    let absent: Vec<_> = ["tracefs", "bpf", "cgroup2"].into_iter().filter(|kind| !mounted(kind)).collect();
    if absent.contains(&"cgroup2") {
        Check::limited(
            "mounts",
            "no cgroup2 file system: a process that is gone before it was looked at has no cgroup path",
        )
    } else if absent.is_empty() {
        Check::good("mounts", "tracefs, bpf, cgroup2")
    } else {
        Check::good("mounts", format!("cgroup2; {} not mounted, and not needed", absent.join(" and ")))
    }
}

/// How many processes tell which program they run, and how many may not be asked.
fn programs(proc_root: &Path) -> (usize, usize) {
    let (mut told, mut refused) = (0, 0);
    for pid in discovery::processes(proc_root).into_iter().flatten() {
        match std::fs::read_link(proc_root.join(format!("{pid}/exe"))) {
            Ok(_) => told += 1,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => refused += 1,
            // A thread of the kernel's, or gone.
            Err(_) => {}
        }
    }
    (told, refused)
}

/// Security modules refuse what capabilities would allow, without a word: AppArmor's profile of Docker does.
fn processes((told, refused): (usize, usize)) -> Check {
    if refused == 0 {
        return Check::good("processes", format!("all {told} can be looked at"));
    }
    Check::limited(
        "processes",
        format!(
            "{refused} of {} cannot be looked at, nor their calls be seen: run as root, without a security profile \
             such as AppArmor's docker-default, and outside of user namespaces",
            told.saturating_add(refused)
        ),
    )
}

fn lockdown(state: &str) -> Check {
    if state.contains("[confidentiality]") {
        Check::bad(
            "lockdown",
            "the kernel is locked down for confidentiality and lets no program read other processes' memory: \
             boot with lockdown=integrity or without it",
        )
    } else {
        Check::good("lockdown", "does not forbid reading")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_compared_by_number() {
        assert_eq!(kernel_version("6.18.44").outcome, Outcome::Good);
        assert_eq!(kernel_version("5.15.0-1-amd64").outcome, Outcome::Good);
        assert_eq!(kernel_version("5.4.0-200-generic").outcome, Outcome::Bad);
        assert_eq!(kernel_version("").outcome, Outcome::Bad);
    }

    #[test]
    fn missing_capabilities_are_named() {
        assert_eq!(capabilities(&[]).outcome, Outcome::Good);
        let check = capabilities(&["CAP_BPF"]);
        assert_eq!(check.outcome, Outcome::Bad);
        assert!(check.detail.contains("CAP_BPF") && check.detail.contains("root"));
    }

    #[test]
    fn processes_that_may_not_be_looked_at_are_counted() {
        assert_eq!(processes((12, 0)).outcome, Outcome::Good);
        let check = processes((3, 9));
        assert!(check.outcome == Outcome::Limited && check.detail.starts_with("9 of 12 "), "{check}");
        let (told, _) = programs(Path::new("/proc"));
        assert!(told > 0, "this one at least");
        assert_eq!(programs(Path::new("/proc/self/fdinfo/none")), (0, 0));
    }

    #[test]
    fn mounts_that_are_not_needed_do_not_alarm() {
        assert_eq!(mounts("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n").outcome, Outcome::Good);
        assert_eq!(mounts("proc /proc proc rw 0 0\n").outcome, Outcome::Limited);
    }
}
