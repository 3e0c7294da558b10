//! What is known of processes, while they live and for a while after.

use std::collections::HashMap;

/// Processes remembered at most, ended ones included.
pub(crate) const MAX_PROCESSES: usize = 16 * 1024;
/// How long a process is remembered after its end, nanoseconds: calls are recorded when they are over.
pub(crate) const GRACE: u64 = 60_000_000_000;
/// How often those that ended longer ago are looked for, nanoseconds.
const CLEAN_EVERY: u64 = 10_000_000_000;

/// Something about each process, by its id. Times are those of the monotonic clock, in nanoseconds.
#[derive(Debug)]
pub(crate) struct Recent<T> {
    processes: HashMap<u32, Lived<T>>,
    cleaned: u64,
}

/// A process, or a stretch of its life.
#[derive(Clone, Debug)]
pub(crate) struct Lived<T> {
    pub(crate) since: u64,
    /// When its first thread ended.
    pub(crate) ended: Option<u64>,
    pub(crate) known: T,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { processes: HashMap::new(), cleaned: 0 }
    }
}

impl<T> Recent<T> {
    pub(crate) fn get(&self, pid: u32) -> Option<&Lived<T>> {
        self.processes.get(&pid)
    }

    pub(crate) fn get_mut(&mut self, pid: u32) -> Option<&mut Lived<T>> {
        self.processes.get_mut(&pid)
    }

    pub(crate) fn len(&self) -> usize {
        self.processes.len()
    }

    /// A process begins, or begins anew.
    pub(crate) fn begin(&mut self, pid: u32, since: u64, known: T) {
        if self.processes.len() >= MAX_PROCESSES && !self.processes.contains_key(&pid) {
            self.make_room();
        }
        self.processes.insert(pid, Lived { since, ended: None, known });
    }

    pub(crate) fn end(&mut self, pid: u32, at: u64) {
        if let Some(process) = self.processes.get_mut(&pid) {
            process.ended = Some(at);
        }
    }

    pub(crate) fn forget(&mut self, pid: u32) {
        self.processes.remove(&pid);
    }

    pub(crate) fn clear(&mut self) {
        self.processes.clear();
    }

    /// Forgets those whose grace time is over, now and then.
    pub(crate) fn clean(&mut self, now: u64) {
        if now.saturating_sub(self.cleaned) >= CLEAN_EVERY {
            self.cleaned = now;
            self.processes
                .retain(|_, process| process.ended.is_none_or(|ended| now.saturating_sub(ended) < GRACE));
        }
    }

    /// Forgets a sixteenth, those that ended first, then the oldest: at once, because finding them looks
    /// at all. What runs for long can be found in `/proc` anyway.
    fn make_room(&mut self) {
        let mut order: Vec<_> = self
            .processes
            .iter()
            .map(|(pid, process)| (process.ended.is_none(), process.ended.unwrap_or(process.since), *pid))
            .collect();
        order.sort_unstable();
        for (_, _, pid) in order.iter().take(MAX_PROCESSES / 16) {
            self.processes.remove(pid);
        }
    }
}
