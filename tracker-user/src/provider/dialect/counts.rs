//! Token counts as they stand on the wire.

use super::Quirks;
use crate::provider::{Usage, UsageSource, json::Value};

/// What a number on the wire counts. What includes what differs from dialect to dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::provider) enum Counter {
    /// The prompt.
    Input,
    /// The prompt with what was cached of it, in a dialect whose `Input` is without.
    WholeInput,
    /// The answer.
    Output,
    /// The answer so far, sent before it was generated; only good if nothing else comes.
    OutputAtStart,
    /// Read from the cache.
    CacheRead,
    /// Written to the cache.
    CacheCreation,
    /// Of that, for an hour.
    CacheCreation1h,
    /// Reasoning.
    Reasoning,
    /// Prompt that tools brought in.
    ToolInput,
    /// Audio in the prompt.
    AudioInput,
    /// Images in the prompt.
    ImageInput,
    /// Audio in the answer.
    AudioOutput,
    /// Images in the answer.
    ImageOutput,
    /// Everything.
    Total,
    /// The prompt, by a second count that only matters where there is no first.
    InputElsewhere,
    /// The answer, likewise.
    OutputElsewhere,
    /// Read from the cache, likewise.
    CacheReadElsewhere,
    /// Written to the cache, likewise.
    CacheCreationElsewhere,
}

const COUNTERS: usize = Counter::CacheCreationElsewhere as usize + 1;

/// A number on the wire. Some are negative, which says nothing, and some are written as floats or as strings. `null`
/// leaves what is known.
#[expect(clippy::option_option, reason = "no number, one that says nothing, and a count are three things")]
pub(in crate::provider) fn number(value: Value<'_>) -> Option<Option<u64>> {
    match value {
        Value::Integer(n) => Some(u64::try_from(n).ok()),
        // Beyond 2^53 floats are no longer whole numbers, and nobody counts that far.
        Value::Float(n) => Some((0.0..9e15).contains(&n).then(|| n.round() as u64)),
        // As the JSON form of Protocol Buffers has numbers of 64 bits.
        Value::Text { text, truncated: false } => text.parse().ok().map(Some),
        _ => None,
    }
}

/// A set of counts; what was not on the wire is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::provider) struct Counts([Option<u64>; COUNTERS]);

impl Counts {
    pub(in crate::provider) const fn get(&self, counter: Counter) -> Option<u64> {
        self.0[counter as usize]
    }

    /// Takes a number from the wire, as [`number`] reads it.
    pub(in crate::provider) fn set(&mut self, counter: Counter, value: Value<'_>) {
        if let Some(count) = number(value) {
            self.0[counter as usize] = count;
        }
    }

    /// Adds a number from the wire to what is known.
    pub(in crate::provider) fn add(&mut self, counter: Counter, value: Value<'_>) {
        let mut part = Self::default();
        part.set(counter, value);
        self.0[counter as usize] = sum(&[self.get(counter), part.get(counter)]);
    }

    /// With the second counts where there is no first.
    pub(super) fn with_elsewhere(mut self) -> Self {
        use Counter::{
            CacheCreation, CacheCreationElsewhere, CacheRead, CacheReadElsewhere, Input, InputElsewhere,
            Output, OutputElsewhere,
        };
        for (first, second) in [
            (Input, InputElsewhere),
            (Output, OutputElsewhere),
            (CacheRead, CacheReadElsewhere),
            (CacheCreation, CacheCreationElsewhere),
        ] {
            self.0[first as usize] = self.get(first).or(self.get(second));
        }
        self
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
        cache_creation_1h_input_tokens: input.and(counts.get(Counter::CacheCreation1h)),
        audio_input_tokens: input.and(counts.get(Counter::AudioInput)),
        image_input_tokens: input.and(counts.get(Counter::ImageInput)),
        output_tokens: output,
        reasoning_tokens: output.and(reasoning),
        audio_output_tokens: output.and(counts.get(Counter::AudioOutput)),
        image_output_tokens: output.and(counts.get(Counter::ImageOutput)),
        source,
    }
}

/// Counts that include everything already.
pub(super) fn plain_usage(counts: &Counts, _: Quirks) -> Usage {
    let counts = counts.with_elsewhere();
    usage(&counts, counts.get(Counter::Input), counts.get(Counter::Output), counts.get(Counter::Reasoning))
}

/// Counts of prompts of which there is no answer to count; some vendors give the total only.
pub(super) fn input_usage(counts: &Counts, _: Quirks) -> Usage {
    let counts = counts.with_elsewhere();
    let input = counts.get(Counter::Input).or(counts.get(Counter::Total));
    usage(&counts, input, counts.get(Counter::Output), None)
}

/// Counts of which the cached parts of the prompt are beside the rest.
pub(super) fn disjoint_usage(counts: &Counts, _: Quirks) -> Usage {
    let counts = counts.with_elsewhere();
    let uncached = counts.get(Counter::Input);
    let beside = [uncached, counts.get(Counter::CacheRead), counts.get(Counter::CacheCreation)];
    let input = counts.get(Counter::WholeInput).or_else(|| uncached.and_then(|_| sum(&beside)));
    usage(&counts, input, counts.get(Counter::Output), counts.get(Counter::Reasoning))
}
