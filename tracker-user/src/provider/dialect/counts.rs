//! Token counts as they stand on the wire.

use crate::provider::{Usage, UsageSource, json::Value};

/// What a number on the wire counts. What includes what differs from dialect to dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::provider) enum Counter {
    /// The prompt.
    Input,
    /// The answer.
    Output,
    /// The answer so far, sent before it was generated; only good if nothing else comes.
    OutputAtStart,
    /// Read from the cache.
    CacheRead,
    /// Written to the cache.
    CacheCreation,
    /// Reasoning.
    Reasoning,
    /// Prompt that tools brought in.
    ToolInput,
    /// Audio in the prompt.
    AudioInput,
    /// Everything.
    Total,
}

const COUNTERS: usize = Counter::Total as usize + 1;

/// A set of counts; what was not on the wire is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::provider) struct Counts([Option<u64>; COUNTERS]);

impl Counts {
    pub(in crate::provider) const fn get(&self, counter: Counter) -> Option<u64> {
        self.0[counter as usize]
    }

    /// Takes a number from the wire. Some are negative, which says nothing, and some are written
    /// as floats. `null` leaves what is known.
    pub(in crate::provider) fn set(&mut self, counter: Counter, value: Value<'_>) {
        let count = match value {
            Value::Integer(n) => u64::try_from(n).ok(),
            // Beyond 2^53 floats are no longer whole numbers, and nobody counts that far.
            Value::Float(n) if (0.0..9e15).contains(&n) => Some(n.round() as u64),
            Value::Float(_) => None,
            _ => return,
        };
        self.0[counter as usize] = count;
    }

    pub(in crate::provider) fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Takes over every count that `newer` has.
    pub(in crate::provider) fn overwrite(&mut self, newer: &Self) {
        for (mine, newer) in self.0.iter_mut().zip(newer.0) {
            *mine = newer.or(*mine);
        }
    }
}

/// The sum of what is known; absent when nothing is.
pub(super) fn sum(parts: &[Option<u64>]) -> Option<u64> {
    parts.iter().flatten().copied().reduce(u64::saturating_add)
}

/// Usage with its source: a side that nobody reported leaves no details behind.
pub(super) fn usage(
    counts: &Counts,
    input: Option<u64>,
    output: Option<u64>,
    reasoning: Option<u64>,
) -> Usage {
    let source = match (input, output) {
        (None, None) => UsageSource::Missing,
        _ => UsageSource::Reported,
    };
    Usage {
        input_tokens: input,
        cache_read_input_tokens: input.and(counts.get(Counter::CacheRead)),
        cache_creation_input_tokens: input.and(counts.get(Counter::CacheCreation)),
        output_tokens: output,
        reasoning_tokens: output.and(reasoning),
        source,
    }
}
