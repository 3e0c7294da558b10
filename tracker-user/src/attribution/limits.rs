//! Where attribution looks, how much it remembers, and what it has done.

use std::{path::PathBuf, time::Duration};

use super::runtime;

/// Where to look, and how much to remember.
#[derive(Clone, Debug)]
pub struct Config {
    /// The host's `/proc`.
    pub proc_root: PathBuf,
    /// Mount point of the host's cgroup v2 hierarchy; `None`: found in `/proc/self/mountinfo`.
    pub cgroup2: Option<PathBuf>,
    /// State directory of crun, whose containers do not show in the cgroup path.
    pub crun_state: PathBuf,
    /// Processes remembered, gone ones included; beyond it the least recently used are forgotten.
    pub max_processes: usize,
    /// How long a process is remembered after its exit.
    pub grace: Duration,
    /// The longest that a question may wait for the host's user database.
    pub user_patience: Duration,
    /// How container runtimes are asked for names; `None`: not at all.
    pub runtimes: Option<runtime::Config>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            proc_root: "/proc".into(),
            cgroup2: None,
            crun_state: "/run/crun".into(),
            max_processes: 16_384,
            grace: Duration::from_secs(60),
            user_patience: Duration::from_millis(50),
            runtimes: None,
        }
    }
}

/// What attribution did so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Processes remembered now; a gauge.
    pub processes: u64,
    /// Processes read from `/proc`.
    pub read: u64,
    /// Processes that were gone before they could be read: named by what the kernel knew.
    pub too_late: u64,
    /// Pids that were found to be another process than before.
    pub reused: u64,
    /// Processes forgotten for lack of room.
    pub evicted: u64,
    /// Processes and requests whose session or labels cannot be what they say; what can be was taken.
    pub sessions_refused: u64,
    /// What asking container runtimes came to.
    pub runtimes: runtime::Counters,
}
