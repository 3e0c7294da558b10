//! [`Record`] to the outside: one file a sink.

mod http;
mod jsonl;
mod otlp;
mod prometheus;
mod self_metrics;

pub use crate::record::{Kind, Record, Sample, SelfMetrics, Sink};
pub use http::{
    ApiSocket, BindError, HttpConfig, HttpServer, Pages, Readiness, SocketError, WebConfig, WebConfigError,
};
pub use jsonl::{JsonlConfig, JsonlSink, JsonlStats, OpenError, Target};
pub(crate) use otlp::add_host_roots;
#[cfg(test)]
pub(crate) use otlp::span_attributes;
pub use otlp::{Compression, Headers, OtlpConfig, OtlpConfigError, OtlpSink, OtlpStartError, Protocol};
pub use prometheus::{
    Format, OriginField, OriginLabel, OriginLabelError, PrometheusConfig, PrometheusSink, check_names,
};
