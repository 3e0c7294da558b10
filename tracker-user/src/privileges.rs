//! What this process may do that others may not, and giving up what it does not need.
//!
//! Capabilities belong to threads: what is given up before the first thread is started, none of them has.

use std::fmt;

use perf_event_open_sys as sys;
use rustix::thread::{CapabilitySet, CapabilitySets};
use sys::bindings::{PERF_COUNT_SW_DUMMY, PERF_FLAG_FD_CLOEXEC, PERF_TYPE_SOFTWARE, perf_event_attr};

use crate::capture::Attachment;

/// A capability that is used.
#[derive(Clone, Copy, Debug)]
struct Use {
    capability: CapabilitySet,
    name: &'static str,
    /// What for.
    what: &'static str,
    /// Whether nothing works without it.
    required: bool,
}

const USES: [Use; 7] = [
    Use { capability: CapabilitySet::BPF, name: "CAP_BPF", what: "loads the kernel side", required: true },
    Use {
        capability: CapabilitySet::PERFMON,
        name: "CAP_PERFMON",
        what: "hears of new mappings, on CPUs that come online too",
        required: true,
    },
    Use {
        capability: CapabilitySet::SYS_PTRACE,
        name: "CAP_SYS_PTRACE",
        what: "sees what other users' processes map",
        required: true,
    },
    Use {
        capability: CapabilitySet::DAC_READ_SEARCH,
        name: "CAP_DAC_READ_SEARCH",
        what: "reads the libraries that they map",
        required: true,
    },
    Use {
        capability: CapabilitySet::CHECKPOINT_RESTORE,
        name: "CAP_CHECKPOINT_RESTORE",
        what: "reaches those that are deleted or in containers",
        required: true,
    },
    Use {
        capability: CapabilitySet::SYS_NICE,
        name: "CAP_SYS_NICE",
        what: "hooks new libraries in time on a busy host",
        required: false,
    },
    Use {
        capability: CapabilitySet::SYS_ADMIN,
        name: "CAP_SYS_ADMIN",
        what: "perf, where a distribution's kernel asks for it (kernel.perf_event_paranoid above 2)",
        required: false,
    },
];

/// The capabilities of this thread.
fn held() -> CapabilitySets {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::capabilities(None).unwrap_or(none)
}

/// The names of those that are missing to work at all.
#[must_use]
pub fn missing() -> Vec<&'static str> {
    missing_of(held().effective)
}

fn missing_of(effective: CapabilitySet) -> Vec<&'static str> {
    // What was split off CAP_SYS_ADMIN is still part of it (`perfmon_capable` and its like).
    let parts = CapabilitySet::BPF | CapabilitySet::PERFMON | CapabilitySet::CHECKPOINT_RESTORE;
    let effective = if effective.contains(CapabilitySet::SYS_ADMIN) { effective | parts } else { effective };
    USES.iter().filter(|it| it.required && !effective.contains(it.capability)).map(|it| it.name).collect()
}

/// What a daemon keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept(CapabilitySet);

impl Kept {
    /// Each with what it is for.
    pub fn uses(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        USES.iter().filter(|it| self.0.contains(it.capability)).map(|it| (it.name, it.what))
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.uses().map(|(name, _)| name).collect();
        f.write_str(if names.is_empty() { "none" } else { "" })?;
        f.write_str(&names.join(", "))
    }
}

/// What this process would keep while it works, with probes attached in this way.
#[must_use]
pub fn kept(attachment: Attachment) -> Kept {
    let kept = used(held());
    Kept(if attachment == Attachment::Perf { kept } else { kept - CapabilitySet::BPF })
}

/// What of these is used until everything is loaded.
fn used(held: CapabilitySets) -> CapabilitySet {
    let permitted = held.permitted;
    let all = USES.iter().fold(CapabilitySet::empty(), |all, it| all | it.capability) & permitted;
    // Where the parts are not held themselves, the whole stands for them.
    if !permitted.contains(CapabilitySet::SYS_ADMIN)
        || !missing_of(permitted - CapabilitySet::SYS_ADMIN).is_empty()
    {
        return all;
    }
    if perf_asks_for_admin(held) { all } else { all - CapabilitySet::SYS_ADMIN }
}

/// Whether perf works with CAP_SYS_ADMIN and not without: some distributions' kernels have a level of
/// `kernel.perf_event_paranoid` that CAP_PERFMON does not pass. Nothing but trying tells.
fn perf_asks_for_admin(held: CapabilitySets) -> bool {
    let without = CapabilitySets { effective: held.effective - CapabilitySet::SYS_ADMIN, ..held };
    if rustix::thread::set_capabilities(None, without).is_err() {
        return true;
    }
    let works = perf_works();
    // These were ours a moment ago.
    let _ = rustix::thread::set_capabilities(None, held);
    !works && perf_works()
}

/// Whether the kernel lets this thread open what discovery opens.
pub(crate) fn perf_works() -> bool {
    let mut attributes = perf_event_attr::default();
    attributes.type_ = PERF_TYPE_SOFTWARE;
    attributes.size = size_of::<perf_event_attr>() as u32;
    attributes.config = PERF_COUNT_SW_DUMMY.into();
    // SAFETY: the attributes are initialised and outlive the call.
    let descriptor =
        unsafe { sys::perf_event_open(&raw mut attributes, -1, 0, -1, PERF_FLAG_FD_CLOEXEC.into()) };
    if descriptor >= 0 {
        // SAFETY: the call has just returned it to us alone.
        drop(unsafe { <std::os::fd::OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(descriptor) });
    }
    descriptor >= 0
}

/// Gives up all that is never used, for good: also what a program that this one started could get. To be
/// called before there is a second thread.
///
/// # Errors
/// The kernel refuses to take something back, which it has no reason to.
pub fn shed_unused() -> rustix::io::Result<()> {
    use rustix::thread::{
        capability_is_in_bounding_set, clear_ambient_capability_set, remove_capability_from_bounding_set,
        set_no_new_privs,
    };
    let held = held();
    let keep = used(held);
    set_no_new_privs(true)?;
    clear_ambient_capability_set()?;
    // Only with CAP_SETPCAP; without it there is nothing left in the way of no_new_privs either.
    for capability in CapabilitySet::all().iter().filter(|it| !keep.contains(*it)) {
        if capability_is_in_bounding_set(capability).unwrap_or(false)
            && remove_capability_from_bounding_set(capability).is_err()
        {
            break;
        }
    }
    set(keep)
}

/// Gives up what was needed to load, where nothing is loaded later. To be called before there is a second
/// thread; returns what is kept.
///
/// # Errors
/// The kernel refuses to take something back, which it has no reason to.
pub fn shed_loading(attachment: Attachment) -> rustix::io::Result<Kept> {
    let keep = kept(attachment);
    set(keep.0)?;
    Ok(keep)
}

fn set(keep: CapabilitySet) -> rustix::io::Result<()> {
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        assert!(missing_of(CapabilitySet::all()).is_empty());
        assert_eq!(missing_of(CapabilitySet::empty()).len(), 5);
        let unit = CapabilitySet::from_bits_retain(0x0000_01c0_0008_0004);
        assert!(missing_of(unit).is_empty(), "what the unit gives");
        assert_eq!(missing_of(unit - CapabilitySet::BPF), ["CAP_BPF"]);
        let admin = (unit - CapabilitySet::BPF - CapabilitySet::PERFMON) | CapabilitySet::SYS_ADMIN;
        assert!(missing_of(admin).is_empty(), "the old way");
    }

    #[test]
    fn nothing_is_kept_that_is_not_used() {
        let sets = |permitted| CapabilitySets { effective: permitted, permitted, inheritable: permitted };
        let few = CapabilitySet::BPF | CapabilitySet::CHOWN | CapabilitySet::NET_ADMIN;
        assert_eq!(used(sets(few)), CapabilitySet::BPF);
        assert_eq!(used(sets(CapabilitySet::empty())), CapabilitySet::empty());
    }

    /// On a thread of its own, because capabilities are a thread's.
    #[test]
    fn what_is_shed_is_gone() {
        let kept = std::thread::spawn(|| {
            shed_unused().unwrap();
            let before = held();
            (before, shed_loading(Attachment::Session).unwrap(), held())
        });
        let (before, kept, after) = kept.join().unwrap();
        assert!(!before.permitted.intersects(CapabilitySet::CHOWN | CapabilitySet::NET_ADMIN));
        assert_eq!((after.permitted, after.effective), (kept.0, kept.0));
        assert!(!after.permitted.contains(CapabilitySet::BPF));
        assert_eq!(after.permitted.is_empty(), kept.to_string() == "none");
    }
}
