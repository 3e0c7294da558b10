//! What did not reach a sink: counted by reason, and said in the log once a minute.
//!
//! Every sink that can lose calls has a bounded queue of its own and one of these; so no sink waits for
//! another, and none loses anything in silence.

use std::{
    fmt::Display,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::Sample;

/// Calls that a sink has lost, by reason.
#[derive(Debug)]
pub(crate) struct Losses<const REASONS: usize> {
    reasons: [&'static str; REASONS],
    counts: [AtomicU64; REASONS],
    /// When the last loss was logged, and how many there were by then.
    logged: Mutex<Option<(Instant, u64)>>,
}

impl<const REASONS: usize> Losses<REASONS> {
    /// A full disk loses many calls; one log line a minute says so.
    const LOG_EVERY: Duration = Duration::from_secs(60);

    /// `reasons` as they are shown.
    pub(crate) const fn new(reasons: [&'static str; REASONS]) -> Self {
        Self { reasons, counts: [const { AtomicU64::new(0) }; REASONS], logged: Mutex::new(None) }
    }

    /// How many were lost for the reason of this index.
    pub(crate) fn of(&self, reason: usize) -> u64 {
        self.counts.get(reason).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Counts so many that did not reach `target`, for the reason of this index; the log has the cause.
    pub(crate) fn lose(&self, reason: usize, calls: u64, target: &dyn Display, cause: Option<&dyn Display>) {
        let Some((count, name)) = self.counts.get(reason).zip(self.reasons.get(reason)) else { return };
        if calls == 0 {
            return;
        }
        count.fetch_add(calls, Ordering::Relaxed);
        let total = (0..REASONS).map(|reason| self.of(reason)).sum::<u64>();
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|(at, _)| at.elapsed() >= Self::LOG_EVERY) {
            let since = total.saturating_sub(logged.map_or(0, |(_, total)| total));
            *logged = Some((Instant::now(), total));
            let cause = cause.unwrap_or(name);
            tracing::warn!(lost = since, lost_in_all = total, %cause, "calls for {target} are being lost");
        }
    }

    /// For the metrics page.
    pub(crate) fn samples(&self, name: &'static str, help: &'static str) -> impl Iterator<Item = Sample> {
        let counted = self.reasons.iter().zip(&self.counts);
        counted.map(move |(reason, count)| {
            Sample::counter(name, help, count.load(Ordering::Relaxed)).label("reason", *reason)
        })
    }
}
