//! Durations in buckets: counted by the hour, they add up, and a percentile comes out of the sum.
//!
//! Eight buckets to each doubling: a percentile is off by at most 4.5 %, half the width of a bucket. In the
//! database the counts of a row are one value: for each bucket, in their order, how far it is from the one
//! before and how many calls are in it, both as LEB128. That is two or three bytes each, where a row of a
//! table would take twenty and a search.

use std::panic::RefUnwindSafe;

use rusqlite::{
    Connection, Error, Result,
    functions::{Aggregate, Context, FunctionFlags},
    types::{FromSqlError, ValueRef},
};

/// Buckets to a doubling.
const TO_A_DOUBLING: f64 = 8.0;
/// The ends: under 0.1 ms and over a week everything is one.
const RANGE: (f64, f64) = (1e-4, 604_800.0);

/// The bucket of a duration in seconds; absent for what is none.
#[must_use]
pub(super) fn bucket(seconds: f64) -> Option<i64> {
    (seconds >= 0.0).then(|| (seconds.clamp(RANGE.0, RANGE.1).log2() * TO_A_DOUBLING).floor() as i64)
}

/// The middle of a bucket, seconds.
#[must_use]
fn middle(bucket: i64) -> f64 {
    ((bucket as f64 + 0.5) / TO_A_DOUBLING).exp2()
}

/// Counts by bucket, in the order of the buckets: what is stored is in that order too, so one walk along both
/// adds a row to a sum.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times(Vec<(i64, u64)>);

impl Times {
    /// Counts `calls` more in `bucket`, all buckets before `place` being smaller; where it is.
    fn add_from(&mut self, mut place: usize, bucket: i64, calls: u64) -> usize {
        while let Some((known, counted)) = self.0.get_mut(place) {
            if *known == bucket {
                *counted = counted.saturating_add(calls);
                return place;
            }
            if *known > bucket {
                break;
            }
            place += 1;
        }
        self.0.insert(place, (bucket, calls));
        place
    }

    /// Where `bucket` is, or belongs.
    fn place(&self, bucket: i64) -> usize {
        self.0.partition_point(|(known, _)| *known < bucket)
    }

    /// Counts `calls` more in `bucket`.
    fn add(&mut self, bucket: i64, calls: u64) {
        self.add_from(self.place(bucket), bucket, calls);
    }

    /// Counts a call that took so long.
    pub fn count(&mut self, seconds: f64) {
        if let Some(bucket) = bucket(seconds) {
            self.add(bucket, 1);
        }
    }

    /// Counts what `other` has counted.
    pub fn merge(&mut self, other: &Self) {
        let mut place = 0;
        for (bucket, calls) in &other.0 {
            place = self.add_from(place, *bucket, *calls);
        }
    }

    /// What `share` of the calls took at most, seconds: 0.5 is the median. Absent where there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let all = self.0.iter().fold(0, |all: u64, (_, calls)| all.saturating_add(*calls));
        let wanted = (all as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0_u64;
        self.0
            .iter()
            .find(|(_, calls)| {
                seen = seen.saturating_add(*calls);
                seen >= wanted
            })
            .map(|(bucket, _)| middle(*bucket))
    }

    /// As it is stored; absent where nothing is counted.
    fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.0.len() * 3);
        let mut last = 0;
        for (bucket, calls) in &self.0 {
            let distance = bucket.wrapping_sub(last);
            // Small numbers of either sign become small numbers.
            put(&mut bytes, (distance << 1 ^ distance >> 63).cast_unsigned());
            put(&mut bytes, *calls);
            last = *bucket;
        }
        (!bytes.is_empty()).then_some(bytes)
    }

    /// Counts what is stored; `false` where that is damaged.
    fn decode(&mut self, mut bytes: &[u8]) -> bool {
        let (mut bucket, mut place) = (0_i64, 0);
        while !bytes.is_empty() {
            let Some((distance, calls)) = take(&mut bytes).zip(take(&mut bytes)) else { return false };
            let distance = (distance >> 1).cast_signed() ^ -(distance & 1).cast_signed();
            let next = bucket.wrapping_add(distance);
            // Only the first is below the one before, which is 0, unless the bytes are damaged.
            if next < bucket {
                place = self.place(next);
            }
            place = self.add_from(place, next, calls);
            bucket = next;
        }
        true
    }

    /// Counts what a column has: nothing, what is stored of several calls, or the duration of one.
    pub(super) fn add_value(&mut self, value: ValueRef<'_>) -> Result<()> {
        match value {
            ValueRef::Null => {}
            ValueRef::Real(seconds) => self.count(seconds),
            ValueRef::Blob(bytes) if self.decode(bytes) => {}
            ValueRef::Blob(_) => return Err(damaged()),
            ValueRef::Integer(_) | ValueRef::Text(_) => return Err(FromSqlError::InvalidType.into()),
        }
        Ok(())
    }
}

fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn damaged() -> Error {
    Error::UserFunctionError("it has durations that cannot be read".into())
}

/// What a row adds to the times of its group.
struct Step<F>(F);

impl<F> Aggregate<Times, Option<Vec<u8>>> for Step<F>
where
    F: Fn(&Context<'_>, &mut Times) -> Result<()> + RefUnwindSafe,
{
    fn init(&self, _: &mut Context<'_>) -> Result<Times> {
        Ok(Times::default())
    }

    fn step(&self, context: &mut Context<'_>, times: &mut Times) -> Result<()> {
        (self.0)(context, times)
    }

    fn finalize(&self, _: &mut Context<'_>, times: Option<Times>) -> Result<Option<Vec<u8>>> {
        Ok(times.and_then(|times| times.encode()))
    }
}

/// Gives a connection its functions.
///
/// | function | of | is |
/// |---|---|---|
/// | `times(seconds)`, `times(times)` | rows | how long all of them took |
/// | `times_counted(bucket, calls)` | rows | the same, of what has been counted |
/// | `times_and(times, times)` | one row | both together |
///
/// # Errors
/// The database's.
pub(super) fn register(database: &Connection) -> Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    let values = |context: &Context<'_>, times: &mut Times| times.add_value(context.get_raw(0));
    let counted = |context: &Context<'_>, times: &mut Times| {
        times.add(context.get(0)?, context.get(1)?);
        Ok(())
    };
    database.create_aggregate_function("times", 1, flags, Step(values))?;
    database.create_aggregate_function("times_counted", 2, flags, Step(counted))?;
    database.create_scalar_function("times_and", 2, flags, |context| {
        let mut times = Times::default();
        times.add_value(context.get_raw(0))?;
        times.add_value(context.get_raw(1))?;
        Ok(times.encode())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_percentile_is_as_near_as_promised() {
        let mut times = Times::default();
        assert_eq!(times.quantile(0.5), None);
        for millisecond in 1..=1000_u32 {
            times.count(f64::from(millisecond) / 1e3);
        }
        for (share, exact) in [(0.0, 0.001), (0.5, 0.5), (0.95, 0.95), (1.0, 1.0)] {
            let found = times.quantile(share).unwrap();
            assert!((found / exact - 1.0).abs() < 0.046, "{share}: {found} for {exact}");
        }
    }

    #[test]
    fn what_is_no_duration_is_not_counted() {
        assert_eq!(bucket(f64::NAN), None);
        assert_eq!(bucket(-1.0), None);
        assert_eq!(bucket(0.0), bucket(1e-5));
        assert_eq!(bucket(f64::INFINITY), bucket(1e9));
    }

    proptest! {
        #[test]
        fn what_is_stored_comes_back_and_adds_up(
            one in prop::collection::btree_map(any::<i64>(), any::<u64>(), 0..20),
            two in prop::collection::btree_map(-110_i64..160, 1_u64..1 << 40, 0..20),
        ) {
            let (one, two) = (Times(one.into_iter().collect()), Times(two.into_iter().collect()));
            let mut sum = one.clone();
            sum.merge(&two);
            let mut decoded = Times::default();
            for times in [&one, &two] {
                prop_assert!(times.encode().is_none_or(|bytes| decoded.decode(&bytes)));
            }
            prop_assert_eq!(decoded, sum);
        }

        #[test]
        fn damaged_bytes_are_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            Times::default().decode(&bytes);
        }
    }
}
