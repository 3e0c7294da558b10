//! Places that several may take, of which nobody can have all.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// One of them has this part of all places at most.
const SHARE: usize = 4;

/// Who has how many. Clones are one. There are never more entries than places.
#[derive(Debug)]
pub(crate) struct Places<K> {
    all: usize,
    taken: Arc<Mutex<Taken<K>>>,
}

#[derive(Debug)]
struct Taken<K> {
    sum: usize,
    by: HashMap<K, usize>,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Place<K: Eq + Hash> {
    taken: Arc<Mutex<Taken<K>>>,
    key: K,
}

impl<K: Copy + Eq + Hash> Places<K> {
    /// So many.
    pub(crate) fn new(all: usize) -> Self {
        Self { all, taken: Arc::new(Mutex::new(Taken { sum: 0, by: HashMap::new() })) }
    }

    /// A place, unless there is none left, or none for this one. `trusted` may have all.
    pub(crate) fn enter(&self, key: K, trusted: bool) -> Option<Place<K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let has = taken.by.get(&key).copied().unwrap_or(0);
        if taken.sum >= self.all || has >= self.all.div_ceil(SHARE) && !trusted {
            return None;
        }
        taken.sum += 1;
        taken.by.insert(key, has + 1);
        Some(Place { taken: Arc::clone(&self.taken), key })
    }
}

impl<K: Eq + Hash> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.sum = taken.sum.saturating_sub(1);
        if let Some(count) = taken.by.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.by.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_all_but_who_is_trusted() {
        let places = Places::new(8);
        let enter = |key: u32| places.enter(key, key == 0);
        let (first, second) = (enter(1).unwrap(), enter(1).unwrap());
        assert!(enter(1).is_none() && enter(2).is_some());
        drop(first);
        assert!(enter(1).is_some());
        let trusted: Vec<_> = (0..7).map(|_| enter(0)).collect();
        assert!(trusted.iter().all(Option::is_some));
        assert!(enter(0).is_none() && enter(3).is_none(), "no more than there are");
        drop((second, trusted));
        assert!(places.taken.lock().unwrap().by.is_empty(), "only who has one is remembered");
    }
}
