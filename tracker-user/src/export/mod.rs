//! [`Record`] to the outside: one file a sink.

mod http;
mod jsonl;
mod prometheus;
mod record;
mod self_metrics;

pub use http::{BindError, HttpConfig, HttpServer, Readiness, WebConfig, WebConfigError};
pub use jsonl::{JsonlConfig, JsonlSink, JsonlStats, OpenError, Target};
pub use prometheus::{
    OriginField, OriginLabel, OriginLabelError, PrometheusConfig, PrometheusSink, check_names,
};
pub use record::Record;
pub use self_metrics::{Kind, Sample, SelfMetrics};

/// Takes every call. A sink never blocks and never fails: what it cannot take it counts as lost.
pub trait Sink: Send + Sync {
    /// Takes one call.
    fn record(&self, record: &Record);
}
