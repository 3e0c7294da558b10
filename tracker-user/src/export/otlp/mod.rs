//! Calls to an OpenTelemetry collector: a span for each, and the metrics of the metrics page.
//!
//! The messages are those of OpenTelemetry's own crate, gRPC is `tonic`'s and HTTP `hyper`'s. The exporter
//! of `opentelemetry-otlp` is not used, because of what the SDK beneath it would do: it would sum up all
//! metrics a second time, without the bounds and the expiry that the operator has set (its results cannot
//! be made by others); it would not tell how many spans it has dropped; and it sets no limit to how long
//! a collector may hang.
//!
//! Spans wait in a bounded queue; a task takes them from there in batches. What is due to be sent again is
//! sent again, with growing pauses or after the one that the collector asks for, for five minutes. Metrics
//! are cumulative: those that could not be sent are in the next export.

mod attributes;
mod config;
mod metrics;
mod span;
mod transport;
mod worker;

#[cfg(test)]
pub(crate) use span::span_attributes;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use opentelemetry_proto::tonic::{common::v1::InstrumentationScope, resource::v1::Resource, trace::v1::Span};
use tokio::{
    sync::{
        mpsc::{self, error::TrySendError},
        watch,
    },
    task::JoinSet,
    time::Instant,
};

pub(crate) use self::transport::add_host_roots;
use self::{
    attributes::Attributes,
    transport::{Client, Signal},
    worker::{MetricsWorker, SpanWorker},
};
pub use self::{
    config::{Compression, Headers, OtlpConfig, OtlpConfigError, Protocol},
    transport::OtlpStartError,
};
use super::{PrometheusSink, Record, Sample, Sink};
use crate::record::losses::Losses;

/// Why a span was lost.
#[derive(Clone, Copy, Debug)]
enum Loss {
    /// The collector takes them too slowly, or not at all.
    QueueFull,
    /// The collector did not want the request.
    Refused,
    /// The collector took the request and not the span.
    Rejected,
    /// It was tried for too long.
    Expired,
    /// The daemon stopped.
    Shutdown,
}

impl Loss {
    /// In the order of the variants.
    const NAMES: [&str; 5] = ["queue_full", "refused", "rejected", "expired", "shutdown"];
}

/// What has become of the spans, and of the requests.
#[derive(Debug)]
struct Stats {
    spans: AtomicU64,
    losses: Losses<{ Loss::NAMES.len() }>,
    requests: [Requests; 2],
}

/// Requests of one signal.
#[derive(Debug, Default)]
struct Requests {
    ok: AtomicU64,
    retried: AtomicU64,
    failed: AtomicU64,
}

impl Stats {
    fn new() -> Self {
        Self { spans: AtomicU64::new(0), losses: Losses::new(Loss::NAMES), requests: Default::default() }
    }

    fn requests(&self, signal: Signal) -> &Requests {
        let [traces, metrics] = &self.requests;
        match signal {
            Signal::Traces => traces,
            Signal::Metrics => metrics,
        }
    }

    fn lose(&self, loss: Loss, spans: usize, cause: Option<&dyn std::fmt::Display>) {
        self.losses.lose(loss as usize, spans as u64, &"OTLP", cause);
    }

    fn samples(&self) -> Vec<Sample> {
        let spans = Sample::counter(
            "llm_tracker_otlp_spans_exported_total",
            "Spans that the OTLP collector has taken.",
            self.spans.load(Ordering::Relaxed),
        );
        let lost = self.losses.samples(
            "llm_tracker_otlp_spans_lost_total",
            "Spans that did not reach the OTLP collector, by reason.",
        );
        let requests = [Signal::Traces, Signal::Metrics].into_iter().flat_map(|signal| {
            let Requests { ok, retried, failed } = self.requests(signal);
            [("ok", ok), ("retried", retried), ("failed", failed)].map(|(outcome, count)| {
                Sample::counter(
                    "llm_tracker_otlp_requests_total",
                    "Requests to the OTLP collector, by signal and outcome. retried: sent again, or about to be.",
                    count.load(Ordering::Relaxed),
                )
                .label("signal", signal.name())
                .label("outcome", outcome)
            })
        });
        std::iter::once(spans).chain(lost).chain(requests).collect()
    }
}

/// Exports to a collector.
pub struct OtlpSink {
    stats: Arc<Stats>,
    /// Taken at shutdown, which ends the task; absent where no spans are wanted.
    spans: Mutex<Option<mpsc::Sender<Span>>>,
    /// Until when everything has to be sent, once that is known.
    stop: watch::Sender<Option<Instant>>,
    tasks: Mutex<JoinSet<()>>,
}

impl OtlpSink {
    /// Starts the export on this runtime; `None` where neither the configuration nor the environment
    /// names a collector. Whether that can be reached is seen later.
    ///
    /// # Errors
    /// The settings or the files they name cannot be used.
    pub fn start(
        config: &OtlpConfig,
        prometheus: &Arc<PrometheusSink>,
    ) -> Result<Option<Self>, OtlpStartError> {
        let environment = |name: &str| std::env::var(name).ok();
        let Some(settings) = config.settings(&environment)? else { return Ok(None) };
        let resource = resource(&settings.resource);
        let stats = Arc::new(Stats::new());
        let (stop, stopped) = watch::channel(None);
        let mut tasks = JoinSet::new();
        let mut spans = None;
        if let Some(endpoint) = settings.traces {
            let client = Client::new(Signal::Traces, endpoint)?;
            tracing::info!("spans go to {}", client.uri());
            let (sender, inbox) = mpsc::channel(settings.max_queue);
            spans = Some(sender);
            let worker = SpanWorker {
                client,
                inbox,
                resource: resource.clone(),
                max_batch: settings.max_batch,
                delay: settings.delay,
                stats: Arc::clone(&stats),
                stop: stopped.clone(),
            };
            tasks.spawn(worker.run());
        }
        if let Some(endpoint) = settings.metrics {
            let client = Client::new(Signal::Metrics, endpoint)?;
            tracing::info!("metrics go to {}", client.uri());
            let worker = MetricsWorker {
                client,
                source: Arc::clone(prometheus),
                resource,
                since: SystemTime::now(),
                interval: settings.interval,
                stats: Arc::clone(&stats),
                stop: stopped,
            };
            tasks.spawn(worker.run());
        }
        let shown = Arc::clone(&stats);
        prometheus.add_source(Arc::new(move || shown.samples()));
        Ok(Some(Self { stats, spans: Mutex::new(spans), stop, tasks: Mutex::new(tasks) }))
    }

    /// Sends what is queued and the metrics as they are now, within `patience`. Spans that are not sent by
    /// then, or come later, count as lost.
    pub async fn shutdown(&self, patience: Duration) {
        drop(self.spans.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.stop.send_replace(Some(Instant::now() + patience));
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
    }
}

impl Sink for OtlpSink {
    fn record(&self, record: &Record) {
        let sender = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = match &*sender {
            // Where the queue is full, nothing is made for it.
            Some(sender) => sender.try_reserve().map(|place| place.send(span::span(record))),
            None if self.stop.borrow().is_some() => Err(TrySendError::Closed(())),
            None => return,
        };
        drop(sender);
        match sent {
            Ok(()) => {}
            Err(TrySendError::Full(())) => self.stats.lose(Loss::QueueFull, 1, None),
            Err(TrySendError::Closed(())) => self.stats.lose(Loss::Shutdown, 1, None),
        }
    }
}

/// Who says all this.
fn resource(said: &BTreeMap<String, String>) -> Resource {
    let mut attributes = Attributes::default();
    let uname = rustix::system::uname();
    for (key, value) in
        [("host.name", uname.nodename().to_str().ok()), ("service.version", Some(env!("CARGO_PKG_VERSION")))]
    {
        if !said.contains_key(key) {
            attributes.set(key, value);
        }
    }
    for (key, value) in said {
        attributes.set(key, value.as_str());
    }
    Resource { attributes: attributes.0, ..Resource::default() }
}

/// By what.
fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "llm-tracker".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

#[cfg(test)]
mod tests;
