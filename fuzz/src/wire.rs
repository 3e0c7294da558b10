//! Whether a number that was reported was on the wire.

use std::collections::BTreeSet;

use llm_tracker::provider::{Call, Usage, UsageSource};

/// With so many numbers on the wire, all their sums are looked at; with more, only the sum of all.
const FEW: usize = 12;

/// Asserts that each count of a call is a number of these texts, or a sum of some, or what one of them
/// has more than such a sum: normalised counts are no more than that.
///
/// # Panics
/// When one is not.
pub fn assert_nothing_invented<'a>(call: &Call, bodies: impl IntoIterator<Item = &'a [u8]>) {
    assert_counts_are_among(call, bodies.into_iter().flat_map(numbers).collect());
}

/// The same of numbers that were read elsewhere.
///
/// # Panics
/// When one is not.
pub fn assert_counts_are_among(call: &Call, numbers: Vec<u64>) {
    let Usage {
        input_tokens,
        cache_read_input_tokens,
        cache_creation_input_tokens,
        cache_creation_1h_input_tokens,
        audio_input_tokens,
        image_input_tokens,
        output_tokens,
        reasoning_tokens,
        audio_output_tokens,
        image_output_tokens,
        source,
    } = &call.usage;
    if *source == UsageSource::Estimated {
        return;
    }
    let reported: Vec<u64> = [
        input_tokens,
        cache_read_input_tokens,
        cache_creation_input_tokens,
        cache_creation_1h_input_tokens,
        audio_input_tokens,
        image_input_tokens,
        output_tokens,
        reasoning_tokens,
        audio_output_tokens,
        image_output_tokens,
    ]
    .into_iter()
    .flatten()
    .copied()
    .collect();
    if reported.is_empty() {
        return;
    }
    assert_eq!(*source, UsageSource::Reported, "a count without a source");
    if numbers.len() > FEW {
        let most = numbers.iter().copied().fold(0, u64::saturating_add);
        return assert!(reported.iter().all(|&count| count <= most), "{reported:?} of at most {most}");
    }
    let mut sums = BTreeSet::new();
    for &number in &numbers {
        let larger: Vec<u64> = sums.iter().map(|&sum: &u64| sum.saturating_add(number)).collect();
        sums.extend(larger);
        sums.insert(number);
    }
    for count in reported {
        let rest =
            || numbers.iter().any(|number| sums.iter().any(|sum| number.checked_sub(*sum) == Some(count)));
        assert!(sums.contains(&count) || rest(), "{count} is not on the wire: {numbers:?}");
    }
}

/// What could be read as numbers, as counts.
fn numbers(body: &[u8]) -> impl Iterator<Item = u64> {
    body.split(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')))
        .filter_map(|word| str::from_utf8(word).ok())
        .filter_map(|word| match word.parse::<i64>() {
            Ok(number) => number.try_into().ok(),
            Err(_) => word
                .parse::<f64>()
                .ok()
                .filter(|number| (0.0..9e15).contains(number))
                .map(|n| n.round() as u64),
        })
}
