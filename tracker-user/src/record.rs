//! What leaves the stages that read traffic, and who takes it.

pub(crate) mod line;
pub(crate) mod losses;
mod sample;

use std::time::Duration;

use crate::{attribution::Origin, pricing::Cost, provider::Call};
pub use sample::{Kind, Sample, SelfMetrics};

/// A call and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The call.
    pub call: Call,
    /// What it costs.
    pub cost: Cost,
    /// Who made it.
    pub origin: Origin,
    /// Wall-clock time of the request's first byte, nanoseconds since the Unix epoch.
    pub started_unix_nanos: i128,
}

impl Record {
    /// Wall-clock time of the request's first byte as protocols carry it, nanoseconds since the Unix
    /// epoch; a time outside their range is the end of it that is nearer.
    pub(super) fn started(&self) -> u64 {
        u64::try_from(self.started_unix_nanos.max(0)).unwrap_or(u64::MAX)
    }

    /// The same of the response's last byte.
    pub(super) fn ended(&self) -> u64 {
        let lasted = Duration::try_from_secs_f64(self.call.duration_seconds).unwrap_or_default();
        self.started().saturating_add(u64::try_from(lasted.as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Takes every call. A sink never blocks and never fails: what it cannot take it counts as lost. One that
/// waits for something outside has a bounded queue and a task or thread of its own behind it, so that no
/// sink waits for another.
pub trait Sink: Send + Sync {
    /// Takes one call.
    fn record(&self, record: &Record);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        attribution::{Agent, Container, Login, Process, Session, Workload},
        capture::Timestamp,
        pricing::{CostSource, Usd},
        provider::{ChunkTimes, Usage, UsageSource},
        stream::Role,
    };

    /// Everything known.
    pub(crate) fn full() -> Record {
        Record {
            call: Call {
                started: Timestamp(1),
                provider: "openai",
                operation: "chat",
                model: Some("gpt-4o".to_owned()),
                response_model: Some("gpt-4o-2024-08-06".to_owned()),
                response_id: Some("chatcmpl-1".to_owned()),
                server_address: Some("api.openai.com".to_owned()),
                server_port: Some(443),
                path: "/v1/chat/completions".to_owned(),
                role: Role::Client,
                streaming: true,
                status: Some(200),
                error: Some("interrupted".to_owned()),
                finish_reasons: vec!["stop".to_owned()],
                usage: Usage {
                    input_tokens: Some(100),
                    cache_read_input_tokens: Some(60),
                    cache_creation_input_tokens: Some(10),
                    cache_creation_1h_input_tokens: Some(4),
                    audio_input_tokens: Some(7),
                    image_input_tokens: Some(8),
                    output_tokens: Some(20),
                    reasoning_tokens: Some(5),
                    audio_output_tokens: Some(2),
                    image_output_tokens: Some(3),
                    source: UsageSource::Reported,
                },
                tool_calls: vec!["get_weather".to_owned()],
                server_tool_calls: vec!["web_search".to_owned()],
                service_tier: Some("default".to_owned()),
                cost: Some(0.25),
                subscription: true,
                continued: false,
                retry: Some(2),
                labels: None,
                time_to_first_token_seconds: Some(0.25),
                time_per_output_token_seconds: Some(0.0625),
                chunk_times: ChunkTimes { counts: [3, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], sum: 100.0 },
                duration_seconds: 1.5,
            },
            cost: Cost::Known {
                amount: Usd::ZERO,
                list: Some(Usd::from_pico(500_000_000_000)),
                source: CostSource::Subscription,
            },
            origin: Origin {
                process: Process {
                    pid: 4711,
                    name: Some("python3".to_owned()),
                    exe: Some("/usr/bin/python3.11".to_owned()),
                    uid: Some(1000),
                    user: Some("ada".to_owned()),
                },
                cgroup_id: None,
                cgroup: Some("/docker/abc".to_owned()),
                container: Some(Container {
                    id: "abc".to_owned(),
                    name: Some("web".to_owned()),
                    image: Some("nginx:1.29".to_owned()),
                    image_id: Some("sha256:0123".to_owned()),
                    runtime: Some("docker"),
                    pod: Some("web-7d4b9c6f5b-x2x7z".to_owned()),
                    pod_uid: Some("p-1".to_owned()),
                    namespace: Some("shop".to_owned()),
                    workload: Some(Workload { kind: "deployment", name: "web".to_owned() }),
                    labels: [("example.org/team".to_owned(), "red".to_owned())].into(),
                }),
                unit: Some("a.service".to_owned()),
                slice: Some("b.slice".to_owned()),
                login: Some(Login {
                    uid: Some(1001),
                    user: Some("grace".to_owned()),
                    session: Some("5".to_owned()),
                }),
                agent: Some(Agent { name: "claude".to_owned(), pid: 4700 }),
                session: Some(Session {
                    name: Some("nightly/suite-3".to_owned()),
                    labels: [("data_id".to_owned(), "7".to_owned())].into(),
                }),
            },
            // 2026-01-02T03:04:05.123456789Z
            started_unix_nanos: 1_767_323_045_123_456_789,
        }
    }

    /// Nothing known that may be absent.
    pub(crate) fn bare() -> Record {
        Record {
            call: Call {
                started: Timestamp(1),
                provider: "unknown",
                operation: "chat",
                model: None,
                response_model: None,
                response_id: None,
                server_address: None,
                server_port: None,
                path: "/v1/chat/completions".to_owned(),
                role: Role::Client,
                streaming: false,
                status: None,
                error: None,
                finish_reasons: Vec::new(),
                usage: Usage::default(),
                tool_calls: Vec::new(),
                server_tool_calls: Vec::new(),
                service_tier: None,
                cost: None,
                subscription: false,
                continued: false,
                retry: None,
                labels: None,
                time_to_first_token_seconds: None,
                time_per_output_token_seconds: None,
                chunk_times: ChunkTimes::default(),
                duration_seconds: 0.5,
            },
            cost: Cost::Unknown,
            origin: Origin { process: Process { pid: 1, ..Process::default() }, ..Origin::default() },
            started_unix_nanos: 0,
        }
    }
}
