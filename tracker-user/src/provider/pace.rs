//! How fast an answer came: its first token, and the times between its chunks.

use crate::capture::Timestamp;

/// Upper bounds, inclusive, that times of calls are sorted by, seconds: those that OTel advises.
pub const SECONDS_BUCKETS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];

/// The times between the chunks of one streamed answer, sorted: from the end of one chunk with content to
/// that of the next (OTel `gen_ai.client.operation.time_per_output_chunk`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChunkTimes {
    /// How many were up to each of [`SECONDS_BUCKETS`] and above the one before it; at last, how many
    /// were above all.
    pub counts: [u32; SECONDS_BUCKETS.len() + 1],
    /// Their sum, seconds.
    pub sum: f64,
}

impl ChunkTimes {
    fn add(&mut self, seconds: f64, times: u32) {
        let bucket = SECONDS_BUCKETS.partition_point(|bound| *bound < seconds);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(times);
        }
        self.sum += seconds * f64::from(times);
    }
}

/// When the content of an answer comes.
#[derive(Default)]
pub(super) struct Pace {
    first: Option<Timestamp>,
    /// When the last chunk was whole.
    last: Option<Timestamp>,
    times: ChunkTimes,
}

impl Pace {
    /// There is content, and by now so many chunks with it that have come to their end.
    pub(super) fn content(&mut self, ended: u32, at: Timestamp) {
        self.first.get_or_insert(at);
        let Some(at_once) = ended.checked_sub(1) else { return };
        if let Some(before) = self.last.replace(at) {
            self.times.add(at.seconds_since(before), 1);
        }
        self.times.add(0.0, at_once);
    }

    /// Whether any has come.
    pub(super) const fn has_content(&self) -> bool {
        self.first.is_some()
    }

    /// When the first content came.
    pub(super) const fn first(&self) -> Option<Timestamp> {
        self.first
    }

    /// From `started` to the first content, seconds.
    pub(super) fn time_to_first_token(&self, started: Timestamp) -> Option<f64> {
        self.first.map(|first| first.seconds_since(started))
    }

    /// What one token took on average, of those after the first.
    pub(super) fn time_per_token(&self, tokens: Option<u64>) -> Option<f64> {
        let after_first = tokens?.checked_sub(1).filter(|tokens| *tokens > 0)?;
        Some(self.last?.seconds_since(self.first?) / after_first as f64)
    }

    /// The times between the chunks.
    pub(super) fn times(self) -> ChunkTimes {
        self.times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_timed_one_after_the_other() {
        let mut pace = Pace::default();
        let at = |milliseconds: u64| Timestamp(milliseconds * 1_000_000);
        pace.content(0, at(100)); // Its end comes later.
        pace.content(1, at(110));
        pace.content(2, at(160)); // Two in one piece: the second took no time.
        pace.content(1, at(160 + 90_000));
        assert_eq!(pace.time_to_first_token(at(40)), Some(0.06));
        assert_eq!(pace.time_per_token(Some(4)), Some(90.06 / 3.0));
        assert_eq!([None, Some(0), Some(1)].map(|tokens| pace.time_per_token(tokens)), [None; 3]);
        let ChunkTimes { counts, sum } = pace.times();
        let mut expected = [0; 15];
        (expected[0], expected[3], expected[14]) = (1, 1, 1);
        assert_eq!(counts, expected);
        assert!((sum - 90.05).abs() < 1e-9);
    }
}
