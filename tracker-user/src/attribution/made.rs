//! Paths of cgroups by their ids, also when they are gone.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

/// Cgroups remembered; beyond it the ones learnt first are forgotten. One that is there can be found again.
const MAX_CGROUPS: usize = 2048;

/// The cgroups of the v2 hierarchy that were made or met lately; all clones share them.
///
/// A container may be over, and its cgroup removed, before anybody has looked: who tells of cgroups as they are made
/// lets its calls have their container all the same.
#[derive(Clone, Debug, Default)]
pub struct Cgroups(Arc<Mutex<Made>>);

#[derive(Debug, Default)]
struct Made {
    paths: HashMap<u64, Box<str>>,
    /// The ids, in the order in which they were learnt.
    order: VecDeque<u64>,
}

impl Cgroups {
    /// A cgroup was made, or met, whose id and path these are. The kernel uses no id twice.
    pub fn learn(&self, id: u64, path: &str) {
        self.with(|made| {
            if made.paths.insert(id, path.into()).is_some() {
                return;
            }
            made.order.push_back(id);
            if made.order.len() > MAX_CGROUPS
                && let Some(first) = made.order.pop_front()
            {
                made.paths.remove(&first);
            }
        });
    }

    /// The path of the cgroup with that id.
    pub(super) fn path(&self, id: u64) -> Option<String> {
        self.with(|made| made.paths.get(&id).map(|path| path.to_string()))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Made) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_remembered() {
        let cgroups = Cgroups::default();
        for id in 0..3 * MAX_CGROUPS as u64 {
            cgroups.learn(id, &format!("/{id}"));
            cgroups.learn(id, &format!("/{id}"));
        }
        let last = 3 * MAX_CGROUPS as u64 - 1;
        assert_eq!(cgroups.path(last), Some(format!("/{last}")));
        assert_eq!(cgroups.path(0), None);
        let count = cgroups.with(|made| (made.paths.len(), made.order.len()));
        assert_eq!(count, (MAX_CGROUPS, MAX_CGROUPS));
    }
}
