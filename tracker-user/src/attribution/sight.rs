//! A look at a process, to be thought about later.

use std::path::Path;

use super::procfs::{self, Snapshot};

/// All that there is to know of a process at one moment.
///
/// To be taken as soon as there is news of a process: one that lives for some milliseconds is gone when its first
/// call comes up.
#[derive(Debug)]
pub struct Sight {
    pub(super) pid: u32,
    pub(super) snapshot: Snapshot,
}

impl Sight {
    /// Reads a process from `proc_root`; `None` where it is gone.
    #[must_use]
    pub fn of(proc_root: &Path, pid: u32) -> Option<Self> {
        procfs::snapshot(proc_root, pid).map(|snapshot| Self { pid, snapshot })
    }

    /// Of which process it is.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.pid
    }
}
