//! Which responses have been counted: an object that is asked for again and again until it is done
//! is one call, and what it used is counted once.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, PoisonError},
};

/// Ids that are remembered, 32 bytes or so each. What was forgotten and is asked for again counts anew.
const MAX: usize = 16 * 1024;

/// How far a response is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// There was a call for it, but it had not ended.
    Pending,
    /// It was counted.
    Done,
}

/// Remembers responses by a hash of their ids, for all connections: polls use any.
#[derive(Debug, Default)]
pub(super) struct Counted {
    hasher: RandomState,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    known: HashMap<u64, Known>,
    order: VecDeque<u64>,
}

impl Counted {
    /// Notes that the response is `now` so far, and returns how far it was known. What is done stays so.
    pub(super) fn note(&self, provider: &str, id: &str, now: Known) -> Option<Known> {
        let hash = self.hasher.hash_one((provider, id));
        let Memory { known, order } = &mut *self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = known.get_mut(&hash) {
            let was = *before;
            if now == Known::Done {
                *before = now;
            }
            return Some(was);
        }
        if order.len() == MAX
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        order.push_back(hash);
        known.insert(hash, now);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_done_once_and_the_oldest_are_forgotten() {
        let counted = Counted::default();
        assert_eq!(counted.note("a", "1", Known::Pending), None);
        assert_eq!(counted.note("b", "1", Known::Done), None);
        assert_eq!(counted.note("a", "1", Known::Done), Some(Known::Pending));
        assert_eq!(counted.note("a", "1", Known::Pending), Some(Known::Done));
        assert_eq!(counted.note("a", "1", Known::Done), Some(Known::Done));
        for n in 0..MAX {
            counted.note("c", &n.to_string(), Known::Done);
        }
        assert_eq!(counted.note("a", "1", Known::Done), None);
        assert_eq!(counted.memory.lock().unwrap().known.len(), MAX);
    }
}
