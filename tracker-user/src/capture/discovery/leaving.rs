//! Objects whose hooks are being taken out beside everything else, which takes grace periods of the kernel.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::file::Identity;

/// The objects that are on their way out.
#[derive(Clone, Debug, Default)]
pub(super) struct Leaving(Arc<State>);

#[derive(Debug, Default)]
struct State {
    objects: Mutex<HashSet<Identity>>,
    fewer: Condvar,
}

/// Hooks of one object that are being taken out: dropped when they are.
#[derive(Debug)]
pub struct Departure {
    identity: Identity,
    leaving: Leaving,
}

impl Leaving {
    /// The hooks of an object, which has no others, are about to go.
    pub(super) fn begin(&self, identity: Identity) -> Departure {
        self.objects().insert(identity);
        Departure { identity, leaving: self.clone() }
    }

    /// Waits until an object has no hooks left: two sets of them would see every call twice.
    pub(super) fn wait_for(&self, identity: Identity) {
        self.wait_while(|objects| objects.contains(&identity));
    }

    /// Waits until none is leaving.
    pub(super) fn wait_for_all(&self) {
        self.wait_while(|objects| !objects.is_empty());
    }

    fn wait_while(&self, condition: impl Fn(&HashSet<Identity>) -> bool) {
        let objects = self.objects();
        drop(self.0.fewer.wait_while(objects, |objects| condition(objects)));
    }

    fn objects(&self) -> MutexGuard<'_, HashSet<Identity>> {
        self.0.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        self.leaving.objects().remove(&self.identity);
        self.leaving.0.fewer.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::capture::discovery::file;

    #[test]
    fn whoever_wants_an_object_back_waits_until_it_has_left() {
        let identity = |path: &str| file::at(path.into()).unwrap().identity;
        let (one, other) = (identity("/proc/self/exe"), identity("/proc/version"));
        let leaving = Leaving::default();
        leaving.wait_for_all();
        let departure = leaving.begin(one);
        leaving.wait_for(other);
        let (sender, left) = mpsc::channel();
        let waiting = leaving.clone();
        let thread = thread::spawn(move || {
            waiting.wait_for(one);
            sender.send(()).unwrap();
        });
        assert!(left.recv_timeout(Duration::from_millis(50)).is_err(), "it did not wait");
        drop(departure);
        left.recv_timeout(Duration::from_secs(10)).unwrap();
        leaving.wait_for_all();
        thread.join().unwrap();
    }
}
