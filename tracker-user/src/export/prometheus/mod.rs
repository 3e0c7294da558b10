//! Calls as Prometheus metrics.
//!
//! Names follow the OpenTelemetry semantic conventions for generative AI in their Prometheus form
//! where they have one (`gen_ai_*`, as of the conventions' own repository in 2026); beside them are
//! counters that a price can be applied to (`llm_*`), which also say whose call it was.

mod family;
mod labels;
mod origin;

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prometheus::{TextEncoder, proto::MetricFamily};

pub use self::origin::{OriginField, OriginLabel, OriginLabelError, check_names};
use self::{
    family::{Bounded, Collect, Family, Histogram, Life},
    labels::{Label, Level, MODEL, OriginValues},
};
use super::{Record, Sample, SelfMetrics, Sink, self_metrics};
use crate::{
    provider::{SECONDS_BUCKETS, UsageSource},
    stream::Role,
};

/// Bounds that OTel advises for `gen_ai.client.token.usage`.
const TOKEN_BUCKETS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// Bounds that OTel advises for the time of a token, seconds.
const TOKEN_SECONDS_BUCKETS: &[f64] =
    &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
/// Bounds for tokens a second: from a large model on a small machine to a small one on a large.
const RATE_BUCKETS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0];
/// No model reads or writes so much in one call. What says so is a broken or a hostile server, and a
/// counter that it could make overflow would run backwards.
const MAX_TOKENS: u64 = 1 << 40;
/// No call costs so much, US dollars.
const MAX_COST: f64 = 1e6;

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
    operation_duration: Family<Histogram>,
    time_to_first_chunk: Family<Histogram>,
    time_per_output_chunk: Family<Histogram>,
    output_rate: Family<Histogram>,
    token_usage: Family<Histogram>,
    server_duration: Family<Histogram>,
    server_time_to_first_token: Family<Histogram>,
    server_time_per_output_token: Family<Histogram>,
    tokens: Family<u64>,
    cost: Family<f64>,
    calls: Family<u64>,
    retries: Family<u64>,
    calls_seen: Family<u64>,
    origin: Vec<Arc<OriginValues>>,
    rejected: u64,
}

impl Families {
    fn new(config: &PrometheusConfig) -> Self {
        let life = Life { crowded: config.series_idle.min(config.series_expiry), most: config.series_expiry };
        let model = |more: &[Label]| [&MODEL, more].concat();
        let histogram = |name, help, labels: Vec<Label>, bounds: &[f64]| {
            // `+Inf`, `_sum` and `_count` beside the buckets.
            let most = config.max_series / (bounds.len() + 3);
            Family::new(name, help, labels, most, life)
        };
        let values = |label: &OriginLabel| Arc::new(OriginValues::new(label.clone(), life.crowded));
        let values: Vec<_> = config.labels.iter().map(values).collect();
        let origin: Vec<_> = values.iter().cloned().map(Label::Origin).collect();
        let counter =
            |name, help, labels: Vec<Label>| Family::new(name, help, labels, config.max_series, life);
        let cost = [&model(&[]), origin.as_slice()].concat();
        Self {
            operation_duration: histogram(
                "gen_ai_client_operation_duration_seconds",
                "Time from the first byte of a request to the last byte of its response.",
                model(&[Label::ErrorType]),
                &SECONDS_BUCKETS,
            ),
            time_to_first_chunk: histogram(
                "gen_ai_client_operation_time_to_first_chunk_seconds",
                "Time from the first byte of a request to the first content of its streamed response.",
                model(&[]),
                &SECONDS_BUCKETS,
            ),
            time_per_output_chunk: histogram(
                "gen_ai_client_operation_time_per_output_chunk_seconds",
                "Time from one chunk with content to the next, of streamed responses.",
                model(&[]),
                &SECONDS_BUCKETS,
            ),
            output_rate: histogram(
                "llm_output_tokens_per_second",
                "Output tokens of a call by its whole duration.",
                model(&[]),
                RATE_BUCKETS,
            ),
            token_usage: histogram(
                "gen_ai_client_token_usage",
                "Tokens of a call: input with cached ones, output with reasoning. usage_source=\"estimated\": no provider reported them.",
                model(&[Label::TokenType, Label::UsageSource]),
                TOKEN_BUCKETS,
            ),
            server_duration: histogram(
                "gen_ai_server_request_duration_seconds",
                "Time that processes on this host took to serve a request.",
                model(&[Label::ErrorType]),
                &SECONDS_BUCKETS,
            ),
            server_time_to_first_token: histogram(
                "gen_ai_server_time_to_first_token_seconds",
                "Time to the first content of the streamed responses that processes on this host served.",
                model(&[]),
                &SECONDS_BUCKETS,
            ),
            server_time_per_output_token: histogram(
                "gen_ai_server_time_per_output_token_seconds",
                "Time per output token after the first, of streamed responses that processes on this host served.",
                model(&[]),
                TOKEN_SECONDS_BUCKETS,
            ),
            tokens: counter(
                "llm_tokens_total",
                "Tokens by type. cache_read and cache_creation are part of input, reasoning is part of output. usage_source=\"estimated\": no provider reported them.",
                [&model(&[Label::Type, Label::UsageSource]), origin.as_slice()].concat(),
            ),
            cost: Family::new(
                "llm_cost_usd_total",
                "Cost of calls in US dollars, of those whose provider states it.",
                cost,
                config.max_series,
                life,
            ),
            calls: counter(
                "llm_calls_total",
                "LLM API calls made, by HTTP status and error type.",
                [&model(&[Label::Status, Label::Error]), origin.as_slice()].concat(),
            ),
            retries: counter(
                "llm_retries_total",
                "LLM API calls that repeated one that had failed.",
                [&model(&[]), origin.as_slice()].concat(),
            ),
            calls_seen: counter(
                "llm_tracker_calls_total",
                "LLM API calls seen, by where the token counts come from; missing: the call counts, its tokens are not known.",
                vec![Label::Role, Label::UsageSource],
            ),
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
        count(&mut self.calls_seen, record, "", 1);
        let seconds = |value: f64| Some(value).filter(|value| value.is_finite() && *value >= 0.0);
        let duration = seconds(call.duration_seconds);
        self.rejected += u64::from(duration.is_none());
        if call.role == Role::Server {
            observe(&mut self.server_duration, record, "", &SECONDS_BUCKETS, duration);
            let first = call.time_to_first_token_seconds.and_then(seconds);
            observe(&mut self.server_time_to_first_token, record, "", &SECONDS_BUCKETS, first);
            let token = call.time_per_output_token_seconds.and_then(seconds);
            observe(&mut self.server_time_per_output_token, record, "", TOKEN_SECONDS_BUCKETS, token);
            return;
        }
        count(&mut self.calls, record, "", 1);
        if call.retry.is_some_and(|retry| retry > 0) {
            count(&mut self.retries, record, "", 1);
        }
        observe(&mut self.operation_duration, record, "", &SECONDS_BUCKETS, duration);
        if call.chunk_times.counts.iter().any(|count| *count > 0) {
            histogram_of(&mut self.time_per_output_chunk, record, "", &SECONDS_BUCKETS)
                .merge(&call.chunk_times);
        }
        observe(&mut self.output_rate, record, "", RATE_BUCKETS, call.output_tokens_per_second());
        if let (true, Some(value)) = (call.streaming, call.time_to_first_token_seconds) {
            observe(&mut self.time_to_first_chunk, record, "", &SECONDS_BUCKETS, seconds(value));
        }
        self.record_usage(record);
    }

    fn record_usage(&mut self, record: &Record) {
        if record.call.role == Role::Server {
            return;
        }
        if let Some(cost) = record.call.cost_usd() {
            if (0.0..=MAX_COST).contains(&cost) {
                *self.cost.at(|labels, level| labels::key(labels, record, "", level), || 0.0) += cost;
            } else {
                self.rejected += 1;
            }
        }
        let usage = &record.call.usage;
        if usage.source == UsageSource::Missing {
            return;
        }
        for (kind, tokens) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
            let tokens = self.plausible(tokens);
            let Some(tokens) = tokens else { continue };
            observe(&mut self.token_usage, record, kind, TOKEN_BUCKETS, Some(tokens as f64));
            count(&mut self.tokens, record, kind, tokens);
        }
        for (kind, tokens) in [
            ("cache_read", usage.cache_read_input_tokens),
            ("cache_creation", usage.cache_creation_input_tokens),
            ("reasoning", usage.reasoning_tokens),
        ] {
            // Most calls say zero; a series for each would tell nothing.
            let tokens = self.plausible(tokens).filter(|tokens| *tokens > 0);
            let Some(tokens) = tokens else { continue };
            count(&mut self.tokens, record, kind, tokens);
        }
    }

    fn plausible(&mut self, tokens: Option<u64>) -> Option<u64> {
        self.rejected += u64::from(tokens.is_some_and(|tokens| tokens > MAX_TOKENS));
        tokens.filter(|tokens| *tokens <= MAX_TOKENS)
    }

    fn all(&mut self) -> [&mut dyn Collect; 13] {
        // In full, so that none is forgotten.
        let Self {
            operation_duration,
            time_to_first_chunk,
            time_per_output_chunk,
            output_rate,
            token_usage,
            server_duration,
            server_time_to_first_token,
            server_time_per_output_token,
            tokens,
            cost,
            calls,
            retries,
            calls_seen,
            origin: _,
            rejected: _,
        } = self;
        [
            operation_duration,
            time_to_first_chunk,
            time_per_output_chunk,
            output_rate,
            token_usage,
            server_duration,
            server_time_to_first_token,
            server_time_per_output_token,
            tokens,
            cost,
            calls,
            retries,
            calls_seen,
        ]
    }

    /// What was done to keep the metrics about calls few and true.
    fn samples(&mut self) -> Vec<Sample> {
        let rejected = Sample::counter(
            "llm_tracker_values_rejected_total",
            "Token counts, costs and durations that were too absurd to be counted.",
            self.rejected,
        );
        let bounded = self.all().into_iter().flat_map(|family| {
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

fn count(family: &mut Family<u64>, record: &Record, variant: &'static str, by: u64) {
    let value = family.at(|labels, level| labels::key(labels, record, variant, level), || 0);
    *value = value.saturating_add(by);
}

fn observe(
    family: &mut Family<Histogram>,
    record: &Record,
    variant: &'static str,
    bounds: &'static [f64],
    value: Option<f64>,
) {
    let Some(value) = value else { return };
    histogram_of(family, record, variant, bounds).observe(value);
}

fn histogram_of<'a>(
    family: &'a mut Family<Histogram>,
    record: &Record,
    variant: &'static str,
    bounds: &'static [f64],
) -> &'a mut Histogram {
    let key = |labels: &[Label], level: Level| labels::key(labels, record, variant, level);
    family.at(key, || Histogram::new(bounds))
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

    /// The metrics page: Prometheus' text format 0.0.4.
    #[must_use]
    pub fn render(&self) -> String {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut page = String::new();
        let now = Instant::now();
        // One at a time: calls are not held up for long, and the copies are soon gone.
        for index in 0.. {
            let mut families = self.families();
            let mut all = families.all();
            let Some(family) = all.get_mut(index) else { break };
            family.expire(now);
            let collected = family.collect();
            drop(families);
            encode(collected.as_slice(), &mut page);
        }
        let mut samples = self.families().samples();
        samples.push(
            Sample::gauge("llm_tracker_build_info", "Always 1; the labels say which build this is.", 1.0)
                .label("version", env!("CARGO_PKG_VERSION"))
                .label("commit", self.commit.clone()),
        );
        samples.extend(sources.iter().flat_map(|source| source.samples()));
        samples.extend(self_metrics::process());
        let mut families = self_metrics::families(samples);
        families.sort_by(|a, b| a.name().cmp(b.name()));
        encode(&families, &mut page);
        page
    }

    fn families(&self) -> MutexGuard<'_, Families> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn encode(families: &[MetricFamily], page: &mut String) {
    if let Err(error) = TextEncoder::new().encode_utf8(families, page) {
        // It rejects only families without a name or without samples, and there is none.
        tracing::error!(%error, "the metrics page is not whole");
    }
}

impl Sink for PrometheusSink {
    fn record(&self, record: &Record) {
        self.families().record(record);
    }
}

#[cfg(test)]
mod tests;
