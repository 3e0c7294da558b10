//! What the kernel, the capabilities and the mounts of this machine allow.

use std::{fmt, path::Path};

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
    fn good(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Good, detail: detail.into() }
    }

    fn limited(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, outcome: Outcome::Limited, detail: detail.into() }
    }

    fn bad(name: &'static str, detail: impl Into<String>) -> Self {
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

/// Bits of `CapEff`, from `include/uapi/linux/capability.h`.
mod capability {
    pub(super) const DAC_READ_SEARCH: u32 = 2;
    pub(super) const SYS_PTRACE: u32 = 19;
    pub(super) const SYS_ADMIN: u32 = 21;
    pub(super) const PERFMON: u32 = 38;
    pub(super) const BPF: u32 = 39;
    pub(super) const CHECKPOINT_RESTORE: u32 = 40;
}

/// Looks at everything; never fails itself.
#[must_use]
pub fn checks() -> Vec<Check> {
    vec![
        kernel_version(&rustix::system::uname().release().to_string_lossy()),
        capabilities(&std::fs::read_to_string("/proc/self/status").unwrap_or_default()),
        uprobes(Path::new("/sys/bus/event_source/devices/uprobe/type")),
        perf_events(&std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default()),
        btf(Path::new("/sys/kernel/btf/vmlinux")),
        mounts(&std::fs::read_to_string("/proc/self/mounts").unwrap_or_default()),
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

fn capabilities(status: &str) -> Check {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let Some(effective) = effective else {
        return Check::limited("capabilities", "/proc/self/status does not tell them");
    };
    let has = |bit: u32| effective & (1 << bit) != 0;
    let admin = has(capability::SYS_ADMIN);
    let needed = [
        ("CAP_BPF", has(capability::BPF) || admin),
        ("CAP_PERFMON", has(capability::PERFMON) || admin),
        ("CAP_SYS_PTRACE", has(capability::SYS_PTRACE)),
        ("CAP_DAC_READ_SEARCH", has(capability::DAC_READ_SEARCH)),
        ("CAP_CHECKPOINT_RESTORE", has(capability::CHECKPOINT_RESTORE) || admin),
    ];
    let missing: Vec<_> = needed.iter().filter(|(_, held)| !held).map(|(name, _)| *name).collect();
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

fn perf_events(paranoid: &str) -> Check {
    match paranoid.trim().parse::<i32>() {
        Ok(level) => Check::good("perf events", format!("kernel.perf_event_paranoid = {level}")),
        Err(_) => Check::bad(
            "perf events",
            "/proc/sys/kernel/perf_event_paranoid is missing: the kernel is built without CONFIG_PERF_EVENTS",
        ),
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
        assert_eq!(capabilities("CapEff:\t000001ffffffffff\n").outcome, Outcome::Good);
        let check = capabilities("CapEff:\t0000000000000000\n");
        assert_eq!(check.outcome, Outcome::Bad);
        assert!(check.detail.contains("CAP_BPF") && check.detail.contains("root"));
        // What a unit with the least capabilities has.
        assert_eq!(capabilities("CapEff:\t000001c000080004\n").outcome, Outcome::Good);
    }

    #[test]
    fn mounts_that_are_not_needed_do_not_alarm() {
        assert_eq!(mounts("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n").outcome, Outcome::Good);
        assert_eq!(mounts("proc /proc proc rw 0 0\n").outcome, Outcome::Limited);
    }
}
