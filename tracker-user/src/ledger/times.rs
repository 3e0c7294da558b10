//! Durations in buckets: counted by the hour, they add up, and a percentile comes out of the sum.
//!
//! Eight buckets to each doubling: a percentile is off by at most 4.5 %, half the width of a bucket.

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

/// Counts by bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Times(std::collections::BTreeMap<i64, u64>);

impl Times {
    /// Counts `calls` more in `bucket`.
    pub fn add(&mut self, bucket: i64, calls: u64) {
        *self.0.entry(bucket).or_default() += calls;
    }

    /// What `share` of the calls took at most, seconds: 0.5 is the median. Absent where there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let all: u64 = self.0.values().sum();
        let wanted = (all as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.0
            .iter()
            .find(|(_, calls)| {
                seen += **calls;
                seen >= wanted
            })
            .map(|(bucket, _)| middle(*bucket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_as_near_as_promised() {
        let mut times = Times::default();
        assert_eq!(times.quantile(0.5), None);
        for millisecond in 1..=1000_u32 {
            times.add(bucket(f64::from(millisecond) / 1e3).unwrap(), 1);
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
}
