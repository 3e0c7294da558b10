//! What is known of containers, and when to ask again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{Details, Outcome, Question};

/// Containers remembered; beyond it the least recently used are forgotten.
const MAX_CONTAINERS: usize = 2048;
/// How long a container that nobody mentions is remembered.
const IDLE: Duration = Duration::from_secs(600);
/// How long a runtime's word holds; containers can be renamed.
const FRESH: Duration = Duration::from_secs(15 * 60);
/// When to ask again what nobody knew: after the first time, doubled after each further one.
const RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(300);

/// What asking runtimes came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Containers remembered now; a gauge.
    pub containers: u64,
    /// Questions that were answered.
    pub answered: u64,
    /// Containers that nobody knew.
    pub unknown: u64,
    /// Questions that a runtime answered too late, with an error, or with garbage.
    pub failed: u64,
    /// Questions that there was no room for.
    pub refused: u64,
}

#[derive(Debug, Default)]
pub(super) struct Cache {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    entries: HashMap<Question, Entry>,
    counters: Counters,
}

#[derive(Debug)]
struct Entry {
    details: Option<Arc<Details>>,
    /// A question is under way.
    open: bool,
    /// Asked in vain since the last certain answer.
    attempts: u32,
    /// Not to be asked before.
    next: Instant,
    used: Instant,
}

/// What is known now.
pub(super) struct Known {
    pub(super) details: Option<Arc<Details>>,
    /// The first question is not under way any more.
    pub(super) settled: bool,
}

impl Cache {
    /// What is known of a container. Where that is nothing, or is old, `ask` may be given the question; it
    /// says whether there was room.
    pub(super) fn get(&self, question: Question, ask: impl FnOnce(Question) -> bool) -> Known {
        let now = Instant::now();
        let mut inner = self.lock();
        let Inner { entries, counters } = &mut *inner;
        if entries.len() >= MAX_CONTAINERS && !entries.contains_key(&question) {
            make_room(entries, now);
        }
        let entry = entries.entry(question.clone()).or_insert(Entry {
            details: None,
            open: false,
            attempts: 0,
            next: now,
            used: now,
        });
        entry.used = now;
        if !entry.open && now >= entry.next {
            entry.open = ask(question);
            if !entry.open {
                counters.refused += 1;
                entry.next = now + RETRY;
            }
        }
        let settled = !entry.open || entry.attempts > 0 || entry.details.is_some();
        Known { details: entry.details.clone(), settled }
    }

    /// Takes what asking came to. An old answer stands until there is a new one.
    pub(super) fn answer(&self, question: &Question, outcome: Outcome) {
        let Outcome { details, certain, failed } = outcome;
        let mut inner = self.lock();
        let Inner { entries, counters } = &mut *inner;
        counters.failed += u64::from(failed);
        match &details {
            Some(_) => counters.answered += 1,
            None => counters.unknown += u64::from(!failed),
        }
        let Some(entry) = entries.get_mut(question) else { return };
        entry.open = false;
        let now = Instant::now();
        if certain {
            entry.attempts = 0;
            entry.next = now + FRESH;
        } else {
            entry.next = now + RETRY.saturating_mul(1 << entry.attempts.min(16)).min(MAX_RETRY);
            entry.attempts = entry.attempts.saturating_add(1);
        }
        if let Some(details) = details {
            entry.details = Some(Arc::new(details));
        }
    }

    pub(super) fn counters(&self) -> Counters {
        let mut inner = self.lock();
        let now = Instant::now();
        inner.entries.retain(|_, entry| now.duration_since(entry.used) < IDLE);
        Counters { containers: inner.entries.len() as u64, ..inner.counters }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets a sixteenth, the least recently used first: at once, because finding them looks at all.
fn make_room(entries: &mut HashMap<Question, Entry>, now: Instant) {
    let mut ages: Vec<Duration> = entries.values().map(|entry| now.duration_since(entry.used)).collect();
    ages.sort_unstable_by(|a, b| b.cmp(a));
    if let Some(oldest) = ages.get(MAX_CONTAINERS / 16).copied() {
        entries.retain(|_, entry| now.duration_since(entry.used) < oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(id: &str) -> Question {
        Question { id: id.to_owned(), runtime: None, user: None, in_pod: false }
    }

    fn outcome(found: bool, certain: bool) -> Outcome {
        Outcome { details: found.then(Details::default), certain, failed: !certain }
    }

    /// Makes it time to ask again.
    fn wait(cache: &Cache, id: &str) {
        if let Some(entry) = cache.lock().entries.get_mut(&question(id)) {
            entry.next = Instant::now();
        }
    }

    fn asked(cache: &Cache, id: &str) -> (bool, Known) {
        let mut asked = false;
        let known = cache.get(question(id), |_| {
            asked = true;
            true
        });
        (asked, known)
    }

    #[test]
    fn asked_once_and_again_when_it_is_time() {
        let cache = Cache::default();
        let (first, known) = asked(&cache, "a");
        assert!(first && !known.settled, "the first answer is worth a moment");
        assert!(!asked(&cache, "a").0, "one question at a time");
        cache.answer(&question("a"), outcome(false, false));
        let (again, known) = asked(&cache, "a");
        assert!(!again && known.settled, "nobody knows it, for now");
        wait(&cache, "a");
        let (again, known) = asked(&cache, "a");
        assert!(again && known.settled, "nobody waits for the second answer");
        cache.answer(&question("a"), outcome(true, true));
        let (again, known) = asked(&cache, "a");
        assert!(!again && known.settled && known.details.is_some());
        wait(&cache, "a");
        assert!(asked(&cache, "a").0);
        cache.answer(&question("a"), outcome(false, false));
        assert!(asked(&cache, "a").1.details.is_some(), "what was known stands");
    }

    #[test]
    fn retries_are_ever_rarer() {
        let cache = Cache::default();
        let mut pauses = Vec::new();
        for _ in 0..40 {
            wait(&cache, "a");
            assert!(asked(&cache, "a").0);
            cache.answer(&question("a"), outcome(false, false));
            let next = cache.lock().entries[&question("a")].next;
            pauses.push(next.duration_since(Instant::now()).as_secs_f64().round() as u64);
        }
        assert_eq!(pauses[..4], [1, 2, 4, 8]);
        assert_eq!(pauses.last(), Some(&MAX_RETRY.as_secs()));
    }

    #[test]
    fn there_is_room_for_so_many_and_no_more() {
        let cache = Cache::default();
        for id in 0..10 * MAX_CONTAINERS {
            asked(&cache, &id.to_string());
        }
        let kept = cache.counters().containers;
        assert!((1..=MAX_CONTAINERS as u64).contains(&kept), "{kept}");
        let last = (10 * MAX_CONTAINERS - 1).to_string();
        assert!(!asked(&cache, &last).0, "the last is still there");
        // An answer for one that was forgotten has nowhere to go.
        cache.answer(&question("0"), outcome(true, true));
        assert_eq!(cache.counters().containers, kept);
    }

    #[test]
    fn a_full_queue_is_counted_and_tried_again() {
        let cache = Cache::default();
        let known = cache.get(question("a"), |_| false);
        assert!(known.settled, "there is nothing to wait for");
        assert_eq!(cache.counters().refused, 1);
        wait(&cache, "a");
        assert!(asked(&cache, "a").0);
    }
}
