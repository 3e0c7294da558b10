//! [`Record`] to the outside: one file a sink.

mod http;
mod jsonl;
mod losses;
mod otlp;
mod prometheus;
mod record;
mod self_metrics;

pub use http::{BindError, HttpConfig, HttpServer, Readiness, WebConfig, WebConfigError};
pub use jsonl::{JsonlConfig, JsonlSink, JsonlStats, OpenError, Target};
pub use otlp::{Compression, Headers, OtlpConfig, OtlpConfigError, OtlpSink, OtlpStartError, Protocol};
pub use prometheus::{
    Format, OriginField, OriginLabel, OriginLabelError, PrometheusConfig, PrometheusSink, check_names,
};
pub use record::Record;
pub use self_metrics::{Kind, Sample, SelfMetrics};

/// Takes every call. A sink never blocks and never fails: what it cannot take it counts as lost. One that
/// waits for something outside has a bounded queue and a task or thread of its own behind it, so that no
/// sink waits for another.
pub trait Sink: Send + Sync {
    /// Takes one call.
    fn record(&self, record: &Record);
}
