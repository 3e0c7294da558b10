//! What discovery tells the rest of the daemon.

use crate::capture::locate::Reason;
use crate::capture::{Timestamp, Trust};

/// A process that uses TLS came or went; and, where the kernel tells of new mappings, what happened to
/// any process, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessEvent {
    /// It maps a TLS object; the hooks are in place where they could be. Said again after an exec.
    Seen {
        /// Process id, as in `/proc`.
        pid: u32,
    },
    /// It has ended, or maps no TLS object any more.
    Gone {
        /// Process id, as in `/proc`.
        pid: u32,
    },
    /// It was made, as a copy of another.
    Forked {
        /// Process id, as in `/proc`.
        pid: u32,
        /// The other's.
        parent: u32,
        /// When.
        at: Timestamp,
    },
    /// It replaced its program.
    Executed {
        /// Process id, as in `/proc`.
        pid: u32,
        /// The name that this gave it: the file's that was asked for, which may be a script, at most 15 bytes.
        comm: String,
        /// When.
        at: Timestamp,
    },
    /// Its first thread ended.
    Ended {
        /// Process id, as in `/proc`.
        pid: u32,
        /// When.
        at: Timestamp,
    },
    /// A cgroup of the v2 hierarchy was made.
    CgroupMade {
        /// Its id, as the kernel side tells it.
        id: u64,
        /// Its path from the hierarchy's root.
        path: String,
    },
    /// Some of these four are missing.
    Lost,
    /// All that happened up to here was told.
    ToldUpTo(Timestamp),
}

/// All TLS objects in use at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// One entry for each stack in each file.
    pub objects: Vec<ObjectReport>,
    /// What has happened since the start.
    pub counters: Counters,
    /// Why the kernel does not tell of new mappings, so that new libraries are found by polling only;
    /// absent where it does.
    pub polling_because: Option<String>,
}

/// A TLS stack in a file that some process maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectReport {
    /// The file's path in the mount namespace of the process where it was found first.
    pub path: String,
    /// The TLS stack, for people and for labels.
    pub stack: &'static str,
    /// Whether it is hooked.
    pub state: State,
    /// Processes that map it; zero while the hooks linger.
    pub users: usize,
}

/// Whether a TLS stack is hooked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Its traffic is seen.
    Hooked {
        /// The functions that are.
        functions: Vec<&'static str>,
        /// How they were found.
        trust: Trust,
        /// Whether traffic has shown that they are what they are taken for.
        verified: bool,
        /// Whether all probes are of the cheap kind.
        emulated: bool,
        /// The functions that could not be, and the error.
        failed: Vec<String>,
    },
    /// Its traffic is not seen.
    NotHooked {
        /// Why.
        reason: Reason,
    },
}

impl State {
    /// A word that never changes, for a metric's label.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Hooked { verified: false, .. } => "hooked",
            Self::Hooked { verified: true, .. } => "verified",
            Self::NotHooked { reason: Reason::Refuted } => "refuted",
            Self::NotHooked { reason: Reason::NotLocated(_) } => "not_located",
            Self::NotHooked { .. } => "not_hooked",
        }
    }
}

/// What has happened since the start; these only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Stacks hooked.
    pub attached: u64,
    /// Stacks whose hooks were taken away again.
    pub detached: u64,
    /// Stacks whose hooks were taken away because what they saw was no plaintext.
    pub refuted: u64,
    /// Functions that the kernel refused to probe.
    pub attach_failures: u64,
    /// Files read to be judged.
    pub judged: u64,
    /// Mapped files, not seen before, that could not be reached or read: mostly of processes that ended
    /// meanwhile. Whether they held TLS is not known.
    pub unreachable: u64,
    /// TLS objects left out because there were too many.
    pub over_limit: u64,
    /// Records of the side-band that were lost.
    pub lost_records: u64,
    /// Looks at all processes.
    pub sweeps: u64,
}
