//! Calls as Prometheus metrics.
//!
//! Names follow the OpenTelemetry semantic conventions for generative AI in their Prometheus form
//! where they have one (`gen_ai_*`, as of the conventions' own repository in 2026); beside them are
//! counters that a price can be applied to (`llm_*`), which also say whose call it was.

mod exemplar;
mod family;
mod labels;
mod metric;
mod origin;
mod page;

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

pub(super) use self::{
    exemplar::Exemplar,
    family::{Collected, Detail},
    labels::floor,
};
use self::{
    family::{Bounded, Collect, Family, Histogram, Life},
    labels::{Label, Level, MODEL, OriginValues},
    metric::{Amount, Counter, Distribution},
    page::Page,
};
pub use self::{
    origin::{OriginField, OriginLabel, OriginLabelError, check_names},
    page::Format,
};
use super::{Record, Sample, SelfMetrics, Sink, self_metrics};
use crate::{
    pricing::{Cost, Usd},
    provider::UsageSource,
    stream::Role,
};

/// No model reads or writes so much in one call. What says so is a broken or a hostile server, and a
/// counter that it could make overflow would run backwards.
const MAX_TOKENS: u64 = 1 << 40;
/// No call costs a million dollars.
const MAX_COST: Usd = Usd::from_pico(1_000_000_000_000_000_000);

/// Settings of a [`PrometheusSink`].
#[derive(Clone, Debug)]
pub struct PrometheusConfig {
    /// Series of one metric name at most; a histogram's label set takes 17 of them. At the default
    /// of 5,000 the page has at most some 8 MB.
    pub max_series: usize,
    /// When there is no room, series that nothing happened to for so long are dropped.
    pub series_idle: Duration,
    /// Series that nothing happened to for so long are dropped.
    pub series_expiry: Duration,
    /// The labels of the `llm_*` metrics that say whose call it was. No two have the same name.
    pub labels: Vec<OriginLabel>,
    /// `commit` of `llm_tracker_build_info`.
    pub commit: Cow<'static, str>,
}

impl Default for PrometheusConfig {
    fn default() -> Self {
        Self {
            max_series: 5_000,
            series_idle: Duration::from_secs(3600),
            series_expiry: Duration::from_secs(86_400),
            labels: OriginLabel::defaults(),
            commit: option_env!("LLM_TRACKER_COMMIT").unwrap_or("unknown").into(),
        }
    }
}

/// Counts calls, and renders the metrics page.
pub struct PrometheusSink {
    commit: Cow<'static, str>,
    families: Mutex<Families>,
    sources: Mutex<Vec<Arc<dyn SelfMetrics>>>,
}

/// Every metric about calls.
struct Families {
    /// One for each of [`Distribution::ALL`].
    distributions: [Family<Histogram>; Distribution::ALL.len()],
    /// One for each of [`Counter::ALL`].
    counters: [Family<u64>; Counter::ALL.len()],
    /// One for each of [`Amount::ALL`].
    amounts: [Family<Usd>; Amount::ALL.len()],
    origin: Vec<Arc<OriginValues>>,
    rejected: u64,
}

impl Families {
    fn new(config: &PrometheusConfig) -> Self {
        let life = Life { crowded: config.series_idle.min(config.series_expiry), most: config.series_expiry };
        let values = |label: &OriginLabel| Arc::new(OriginValues::new(label.clone(), life.crowded));
        let values: Vec<_> = config.labels.iter().map(values).collect();
        let origin: Vec<_> = values.iter().cloned().map(Label::Origin).collect();
        let most = config.max_series;
        Self {
            distributions: Distribution::ALL.map(|it| {
                // `+Inf`, `_sum` and `_count` beside the buckets.
                Family::new(it.metric(), it.labels(), most / (it.bounds().len() + 3), life)
            }),
            counters: Counter::ALL.map(|it| Family::new(it.metric(), it.labels(&origin), most, life)),
            amounts: Amount::ALL
                .map(|it| Family::new(it.metric(), [&MODEL, origin.as_slice()].concat(), most, life)),
            origin: values,
            rejected: 0,
        }
    }

    fn record(&mut self, record: &Record) {
        let call = &record.call;
        if call.continued {
            // The call was counted when it began.
            return self.record_usage(record);
        }
        self.count(Counter::CallsSeen, record, "", 1);
        let seconds = |value: f64| Some(value).filter(|value| value.is_finite() && *value >= 0.0);
        let duration = seconds(call.duration_seconds);
        self.rejected += u64::from(duration.is_none());
        let first = call.time_to_first_token_seconds.and_then(seconds);
        if call.role == Role::Server {
            self.observe(Distribution::ServerDuration, record, "", duration);
            self.observe(Distribution::ServerTimeToFirstToken, record, "", first);
            let token = call.time_per_output_token_seconds.and_then(seconds);
            self.observe(Distribution::ServerTimePerOutputToken, record, "", token);
            return;
        }
        self.count(Counter::Calls, record, "", 1);
        if call.retry.is_some_and(|retry| retry > 0) {
            self.count(Counter::Retries, record, "", 1);
        }
        self.observe(Distribution::OperationDuration, record, "", duration);
        if call.chunk_times.counts.iter().any(|count| *count > 0) {
            self.histogram(Distribution::TimePerOutputChunk, record, "").merge(&call.chunk_times);
        }
        self.observe(Distribution::OutputRate, record, "", call.output_tokens_per_second());
        if call.streaming {
            self.observe(Distribution::TimeToFirstChunk, record, "", first);
        }
        self.record_usage(record);
    }

    fn record_usage(&mut self, record: &Record) {
        if record.call.role == Role::Server {
            return;
        }
        match record.cost {
            Cost::Unknown => {}
            Cost::Unpriced => self.count(Counter::Unpriced, record, "", 1),
            Cost::Known { amount, .. } => {
                self.pay(Amount::Cost, record, amount);
                if let Some(list) = record.cost.list() {
                    self.pay(Amount::ListCost, record, list);
                }
            }
        }
        let usage = &record.call.usage;
        if usage.source == UsageSource::Missing {
            return;
        }
        for (kind, tokens) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
            let tokens = self.plausible(tokens);
            let Some(tokens) = tokens else { continue };
            self.observe(Distribution::TokenUsage, record, kind, Some(tokens as f64));
            self.count(Counter::Tokens, record, kind, tokens);
        }
        for (kind, tokens) in [
            ("cache_read", usage.cache_read_input_tokens),
            ("cache_creation", usage.cache_creation_input_tokens),
            ("reasoning", usage.reasoning_tokens),
        ] {
            // Most calls say zero; a series for each would tell nothing.
            let tokens = self.plausible(tokens).filter(|tokens| *tokens > 0);
            let Some(tokens) = tokens else { continue };
            self.count(Counter::Tokens, record, kind, tokens);
        }
    }

    /// `variant` is the value of the one label that differs between the samples of a call.
    fn count(&mut self, counter: Counter, record: &Record, variant: &'static str, by: u64) {
        let key = |labels: &[Label], level: Level| labels::key(labels, record, variant, level);
        let value = self.counters[counter as usize].at(key, || 0);
        *value = value.saturating_add(by);
    }

    fn pay(&mut self, what: Amount, record: &Record, amount: Usd) {
        if amount > MAX_COST {
            self.rejected += 1;
            return;
        }
        let key = |labels: &[Label], level: Level| labels::key(labels, record, "", level);
        let sum = self.amounts[what as usize].at(key, || Usd::ZERO);
        *sum = *sum + amount;
    }

    fn observe(&mut self, what: Distribution, record: &Record, variant: &'static str, value: Option<f64>) {
        let Some(value) = value else { return };
        self.histogram(what, record, variant).observe(value, |value| Exemplar::of(record, value));
    }

    fn histogram(&mut self, what: Distribution, record: &Record, variant: &'static str) -> &mut Histogram {
        let key = |labels: &[Label], level: Level| labels::key(labels, record, variant, level);
        self.distributions[what as usize].at(key, || {
            let histogram = Histogram::new(what.bounds());
            if what.has_exemplars() { histogram.with_exemplars() } else { histogram }
        })
    }

    fn plausible(&mut self, tokens: Option<u64>) -> Option<u64> {
        self.rejected += u64::from(tokens.is_some_and(|tokens| tokens > MAX_TOKENS));
        tokens.filter(|tokens| *tokens <= MAX_TOKENS)
    }

    fn all(&mut self) -> impl Iterator<Item = &mut dyn Collect> {
        let Self { distributions, counters, amounts, origin: _, rejected: _ } = self;
        let distributions = distributions.iter_mut().map(|it| it as &mut dyn Collect);
        let counters = counters.iter_mut().map(|it| it as &mut dyn Collect);
        let amounts = amounts.iter_mut().map(|it| it as &mut dyn Collect);
        distributions.chain(counters).chain(amounts)
    }

    /// What was done to keep the metrics about calls few and true.
    fn samples(&mut self) -> Vec<Sample> {
        let rejected = Sample::counter(
            "llm_tracker_values_rejected_total",
            "Token counts, costs and durations that were too absurd to be counted.",
            self.rejected,
        );
        let bounded = self.all().flat_map(|family| {
            let Bounded { name, overflowed, retired } = family.bounded();
            let overflow = Sample::counter(
                "llm_tracker_series_overflow_total",
                "Samples booked under the label value `other` because a metric had all the series it may have.",
                overflowed,
            );
            let retired = Sample::counter(
                "llm_tracker_series_retired_total",
                "Label sets dropped because a metric had all the series it may have and nothing happened to them.",
                retired,
            );
            [overflow.label("metric", name), retired.label("metric", name)]
        });
        let mut samples: Vec<_> = std::iter::once(rejected).chain(bounded).collect();
        samples.extend(self.origin.iter().map(|values| {
            Sample::counter(
                "llm_tracker_label_overflow_total",
                "Samples booked under the label value `other` because a label had all the values it may have.",
                values.overflowed(),
            )
            .label("label", values.name().to_owned())
        }));
        samples
    }
}

impl PrometheusSink {
    /// Starts from zero.
    #[must_use]
    pub fn new(config: PrometheusConfig) -> Self {
        Self {
            families: Mutex::new(Families::new(&config)),
            sources: Mutex::default(),
            commit: config.commit,
        }
    }

    /// Adds numbers about the daemon to the page.
    pub fn add_source(&self, source: Arc<dyn SelfMetrics>) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// The metrics page, in the format that suits a client best.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        let mut page = Page::new(format);
        self.collect(|collected| page.calls(&collected));
        page.families(&self_metrics::families(self.samples()));
        page.finish()
    }

    /// All metrics about calls. One at a time: calls are not held up for long, and the copies are soon
    /// gone.
    pub(super) fn collect(&self, mut take: impl FnMut(Collected)) {
        let now = Instant::now();
        for index in 0.. {
            let mut families = self.families();
            let Some(family) = families.all().nth(index) else { break };
            family.expire(now);
            let collected = family.collect();
            drop(families);
            if let Some(collected) = collected {
                take(collected);
            }
        }
    }

    /// Everything that the daemon says about itself.
    pub(super) fn samples(&self) -> Vec<Sample> {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut samples = self.families().samples();
        samples.push(
            Sample::gauge("llm_tracker_build_info", "Always 1; the labels say which build this is.", 1.0)
                .label("version", env!("CARGO_PKG_VERSION"))
                .label("commit", self.commit.clone()),
        );
        samples.extend(sources.iter().flat_map(|source| source.samples()));
        samples.extend(self_metrics::process());
        samples
    }

    fn families(&self) -> MutexGuard<'_, Families> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for PrometheusSink {
    fn record(&self, record: &Record) {
        self.families().record(record);
    }
}

#[cfg(test)]
mod tests;
