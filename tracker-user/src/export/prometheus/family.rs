//! A metric with a bounded number of series.
//!
//! Not `prometheus::MetricVec`: in 0.14 it tells label sets apart by a hash of their values with
//! nothing in between, so that a model that was asked for and the same model in the answer share
//! one series, and it has no bound.

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};

use super::{
    exemplar::Exemplar,
    labels::{Label, Level, SEPARATOR},
    metric::Metric,
};
use crate::{pricing::Usd, provider::ChunkTimes};

/// Least time between two searches for what is idle.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// What one label set holds.
pub(super) trait Value {
    const TYPE: MetricType;
    /// Whether it counts what comes in whole numbers.
    const WHOLE: bool = false;

    fn write(&self, metric: &mut proto::Metric);

    /// A call for each bucket, the one above all bounds included; empty where it has none.
    fn exemplars(&self) -> &[Option<Exemplar>] {
        &[]
    }
}

impl Value for u64 {
    const TYPE: MetricType = MetricType::COUNTER;
    const WHOLE: bool = true;

    fn write(&self, metric: &mut proto::Metric) {
        let mut counter = proto::Counter::default();
        counter.set_value(*self as f64);
        metric.set_counter(counter);
    }
}

impl Value for Usd {
    const TYPE: MetricType = MetricType::COUNTER;

    fn write(&self, metric: &mut proto::Metric) {
        let mut counter = proto::Counter::default();
        counter.set_value(self.dollars());
        metric.set_counter(counter);
    }
}

/// Counts observations in buckets.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    /// Upper bounds, inclusive, ascending; above the last one only the sum and the count tell.
    bounds: &'static [f64],
    counts: Box<[u64]>,
    count: u64,
    sum: f64,
    /// Empty, or the last one of each bucket.
    exemplars: Box<[Option<Exemplar>]>,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        let counts = vec![0; bounds.len()].into();
        Self { bounds, counts, count: 0, sum: 0.0, exemplars: Box::default() }
    }

    /// The same, with a place for an exemplar in each bucket.
    pub(super) fn with_exemplars(self) -> Self {
        let exemplars = vec![None; self.bounds.len() + 1].into();
        Self { exemplars, ..self }
    }

    /// The call that `exemplar` names is shown with the bucket, where exemplars are shown.
    pub(super) fn observe(&mut self, value: f64, exemplar: impl FnOnce(f64) -> Option<Exemplar>) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(place) = self.exemplars.get_mut(bucket)
            && let Some(exemplar) = exemplar(value)
        {
            *place = Some(exemplar);
        }
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
        }
        self.count += 1;
        self.sum += value;
    }

    /// Takes over what was sorted by the same bounds already.
    pub(super) fn merge(&mut self, ChunkTimes { counts, sum }: &ChunkTimes) {
        for (mine, more) in self.counts.iter_mut().zip(counts) {
            *mine += u64::from(*more);
        }
        self.count += counts.iter().copied().map(u64::from).sum::<u64>();
        self.sum += sum;
    }
}

impl Value for Histogram {
    const TYPE: MetricType = MetricType::HISTOGRAM;

    fn write(&self, metric: &mut proto::Metric) {
        let mut cumulative = 0;
        let buckets = self.bounds.iter().zip(&self.counts).map(|(bound, count)| {
            cumulative += count;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(cumulative);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(self.count);
        histogram.set_sample_sum(self.sum);
        metric.set_histogram(histogram);
    }

    fn exemplars(&self) -> &[Option<Exemplar>] {
        &self.exemplars
    }
}

/// How long series live to which nothing happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    /// Where there is no room for others.
    pub(super) crowded: Duration,
    /// Where there is.
    pub(super) most: Duration,
}

/// All series of one metric name.
#[derive(Debug)]
pub(super) struct Family<V> {
    metric: Metric,
    labels: Vec<Label>,
    /// By label values, joined with [`SEPARATOR`].
    sets: HashMap<Box<str>, Set<V>>,
    most: usize,
    life: Life,
    swept: Option<Instant>,
    overflowed: u64,
    retired: u64,
}

/// What the bound on a metric's series has cost so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounded {
    pub(super) name: &'static str,
    /// Samples booked under `other`.
    pub(super) overflowed: u64,
    /// Label sets dropped because nothing happened to them.
    pub(super) retired: u64,
}

/// All series of a metric as they are at one moment.
#[derive(Debug)]
pub(in crate::export) struct Collected {
    pub(in crate::export) metric: Metric,
    /// In the exposition's model.
    pub(in crate::export) family: MetricFamily,
    /// What that model has no room for, series by series.
    pub(in crate::export) details: Vec<Detail>,
    /// Whether the values of a counter are whole numbers.
    pub(in crate::export) whole: bool,
}

/// What the exposition's model does not tell of a series.
#[derive(Debug)]
pub(in crate::export) struct Detail {
    /// Since when it counts.
    pub(in crate::export) since: SystemTime,
    /// A call for each bucket, the one above all bounds included; empty where it has none.
    pub(in crate::export) exemplars: Box<[Option<Exemplar>]>,
}

/// A family of any kind, for the page.
pub(super) trait Collect {
    /// Everything that there is now; `None` while there is nothing to tell.
    fn collect(&self) -> Option<Collected>;
    /// Drops series of what is gone.
    fn expire(&mut self, now: Instant);
    fn bounded(&self) -> Bounded;
}

#[derive(Debug)]
struct Set<V> {
    value: V,
    touched: Instant,
    since: SystemTime,
}

impl<V: Value> Family<V> {
    /// `most` label sets, plus the few that only this program's own values can make. When there is
    /// no room, sets that nothing happened to for a while give way.
    pub(super) fn new(metric: Metric, labels: Vec<Label>, most: usize, life: Life) -> Self {
        let sets = HashMap::new();
        Self { metric, labels, sets, most, life, swept: None, overflowed: 0, retired: 0 }
    }

    /// The value of a label set, made by `new` where it is not there and there is room. Where there
    /// is none the labels lose detail, and what is booked there is counted.
    pub(super) fn at(&mut self, key: impl Fn(&[Label], Level) -> String, new: impl FnOnce() -> V) -> &mut V {
        let now = Instant::now();
        let room_for_exact = self.room_for_exact();
        let exact = key(&self.labels, Level::Exact);
        if self.sets.len() >= room_for_exact && !self.sets.contains_key(exact.as_str()) {
            self.retire(now, self.life.crowded);
        }
        let admitted =
            |key: &String, room: usize| self.sets.contains_key(key.as_str()) || self.sets.len() < room;
        let chosen = if admitted(&exact, room_for_exact) {
            exact
        } else {
            let less = Some(key(&self.labels, Level::AnyOrigin)).filter(|less| admitted(less, self.most));
            let less = less.unwrap_or_else(|| key(&self.labels, Level::OursOnly));
            self.overflowed += u64::from(less != exact);
            less
        };
        let set = self.sets.entry(chosen.into()).or_insert_with(|| Set {
            value: new(),
            touched: now,
            since: SystemTime::now(),
        });
        set.touched = now;
        &mut set.value
    }

    /// The last eighth is for sets that tell less.
    const fn room_for_exact(&self) -> usize {
        self.most - self.most / 8
    }

    /// A series that ends is no counter that runs backwards: one that returns begins anew, as after
    /// a restart.
    fn retire(&mut self, now: Instant, idle: Duration) {
        if self.swept.is_some_and(|at| now.duration_since(at) < SWEEP_EVERY) {
            return;
        }
        self.swept = Some(now);
        let before = self.sets.len();
        self.sets.retain(|_, set| now.duration_since(set.touched) < idle);
        self.retired += (before - self.sets.len()) as u64;
    }
}

impl<V: Value> Collect for Family<V> {
    fn collect(&self) -> Option<Collected> {
        if self.sets.is_empty() {
            return None;
        }
        let mut sets: Vec<_> = self.sets.iter().collect();
        sets.sort_unstable_by_key(|(key, _)| *key);
        let detail = |set: &Set<V>| Detail { since: set.since, exemplars: set.value.exemplars().into() };
        let details = sets.iter().map(|(_, set)| detail(set)).collect();
        let metrics = sets.into_iter().map(|(key, set)| {
            let pairs = self.labels.iter().zip(key.split(SEPARATOR)).map(|(label, value)| {
                let mut pair = LabelPair::default();
                pair.set_name(label.name().to_owned());
                pair.set_value(value.to_owned());
                pair
            });
            let mut metric = proto::Metric::from_label(pairs.collect());
            set.value.write(&mut metric);
            metric
        });
        let mut family = MetricFamily::default();
        family.set_name(self.metric.name.to_owned());
        family.set_help(self.metric.help.to_owned());
        family.set_field_type(V::TYPE);
        family.set_metric(metrics.collect());
        Some(Collected { metric: self.metric, family, details, whole: V::WHOLE })
    }

    fn expire(&mut self, now: Instant) {
        if self.labels.iter().all(Label::is_ours) {
            return;
        }
        let crowded = self.sets.len() >= self.room_for_exact();
        self.retire(now, if crowded { self.life.crowded } else { self.life.most });
    }

    fn bounded(&self) -> Bounded {
        Bounded { name: self.metric.name, overflowed: self.overflowed, retired: self.retired }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLS: Metric = Metric { name: "calls_total", otel: "calls", unit: "{call}", help: "Calls." };

    fn family(most: usize, crowded: Duration) -> Family<u64> {
        let life = Life { crowded, most: Duration::from_secs(86_400) };
        Family::new(CALLS, vec![Label::RequestModel], most, life)
    }

    fn book(family: &mut Family<u64>, process: &str) {
        *family.at(
            |_, level| if level == Level::Exact { process.to_owned() } else { "other".to_owned() },
            || 0,
        ) += 1;
    }

    #[test]
    fn buckets_are_inclusive_and_cumulative() {
        let mut histogram = Histogram::new(&[1.0, 4.0]);
        for value in [0.0, 1.0, 1.5, 4.0, 5.0] {
            histogram.observe(value, |_| None);
        }
        let mut metric = proto::Metric::default();
        histogram.write(&mut metric);
        let written = metric.get_histogram();
        let counts: Vec<_> = written.get_bucket().iter().map(|bucket| bucket.cumulative_count()).collect();
        assert_eq!((counts, written.get_sample_count()), (vec![2, 4], 5));
        assert!((written.get_sample_sum() - 11.5).abs() < 1e-9);
    }

    #[test]
    fn nothing_is_lost_or_counted_twice_past_the_bound() {
        let mut family = family(16, Duration::from_secs(3600));
        for round in 0..3 {
            for process in 0..100 {
                book(&mut family, &format!("p{process}"));
            }
            assert!(family.sets.len() <= 16);
            let total: u64 = family.sets.values().map(|set| set.value).sum();
            assert_eq!(total, (round + 1) * 100);
        }
        assert_eq!(family.sets["other"].value, family.overflowed);
        assert_eq!(family.sets["p0"].value, 3, "who came first stays");
        assert_eq!(family.retired, 0);
    }

    #[test]
    fn the_idle_give_way_to_the_living() {
        let mut family = family(16, Duration::ZERO);
        for process in 0..14 {
            book(&mut family, &format!("p{process}"));
        }
        book(&mut family, "new");
        assert_eq!((family.retired, family.overflowed), (14, 0));
        assert_eq!(family.sets.len(), 1);
    }

    #[test]
    fn what_is_gone_expires_without_need() {
        let mut family = family(16, Duration::from_secs(3600));
        book(&mut family, "a");
        let hours = |hours: u64| Instant::now() + Duration::from_secs(hours * 3600);
        family.expire(hours(23));
        assert_eq!(family.sets.len(), 1, "nobody needs the room");
        family.expire(hours(25));
        assert_eq!((family.sets.len(), family.retired), (0, 1));
        for process in 0..14 {
            book(&mut family, &format!("p{process}"));
        }
        family.expire(hours(27));
        assert_eq!((family.sets.len(), family.retired), (0, 15), "others need it");
        let mut ours = Family::new(CALLS, vec![Label::Role], 16, family.life);
        book(&mut ours, "client");
        ours.expire(hours(25));
        assert_eq!(ours.sets.len(), 1, "there are few and they stay");
    }
}
