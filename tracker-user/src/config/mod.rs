//! The configuration: defaults that need no file, a TOML file over them, the environment over that, flags
//! over all.
//!
//! A setting is a field of [`Config`] or of one of its sections, and nothing else: [`Settings`] finds the
//! keys, their variables and where each value came from by itself.

mod settings;
mod show;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ValueEnum;
use serde::{Deserialize, Serialize, Serializer};

use crate::{
    attribution::{AgentRoots, Filter, RuntimeConfig, RuntimeSocket},
    budget::{self, Budget},
    export::{OriginLabel, OtlpConfig, check_names},
    human::{Lasting, Size},
    ledger::Retention,
    provider::{Estimates, Gateway},
};
pub use settings::{ConfigError, Entry, Flag, Problem, Settings, Source, Sources};

/// What long times are told in.
const DAY: Duration = Duration::from_secs(86_400);

/// Everything that can be set. Unknown keys are refused, so that a typing error is not a silent default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What the kernel side may use.
    pub capture: CaptureConfig,
    /// Finding processes and TLS libraries.
    pub discovery: DiscoveryConfig,
    /// Who made a call.
    pub attribution: AttributionConfig,
    /// The Prometheus endpoint.
    pub metrics: MetricsConfig,
    /// The event log.
    pub events: EventsConfig,
    /// The export to an OpenTelemetry collector.
    pub otlp: OtlpConfig,
    /// The ledger.
    pub ledger: LedgerConfig,
    /// The local API.
    pub api: ApiConfig,
    /// Token counts.
    pub usage: UsageConfig,
    /// What calls cost.
    pub cost: CostConfig,
    /// Limits that are watched; read anew on SIGHUP.
    #[serde(serialize_with = "as_by_default")]
    pub budget: Vec<Budget>,
    /// What the daemon says about itself.
    pub log: LogConfig,
    /// The operator's own gateways to LLMs; read anew on SIGHUP.
    #[serde(serialize_with = "as_by_default")]
    pub gateway: Vec<Gateway>,
    /// Whose calls are watched; read anew on SIGHUP.
    #[serde(serialize_with = "as_by_default")]
    pub filter: Vec<Filter>,
}

/// `[capture]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaptureConfig {
    /// Size of the ring buffer between kernel and daemon, bytes; rounded up to a power of two.
    pub ring_bytes: u32,
    /// The most that is copied of one call of a TLS function, bytes. What is over it is counted as lost.
    pub call_cap_bytes: u32,
    /// The most connections that the kernel side tracks; the least recently used make room.
    pub max_connections: u32,
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self { ring_bytes: 8 << 20, call_cap_bytes: 256 << 10, max_connections: 65_536 }
    }
}

/// `[discovery]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscoveryConfig {
    /// How long hooks stay on a library that nobody uses, seconds, so that the next short-lived
    /// program is seen from its first call. A library whose container is gone is let go at once.
    pub linger_seconds: u64,
    /// How often all of `/proc` is compared with what the kernel has reported, seconds.
    pub sweep_seconds: u64,
}

impl DiscoveryConfig {
    /// `linger_seconds` as a duration.
    #[must_use]
    pub const fn linger(&self) -> Duration {
        Duration::from_secs(self.linger_seconds)
    }

    /// `sweep_seconds` as a duration.
    #[must_use]
    pub const fn sweep(&self) -> Duration {
        Duration::from_secs(self.sweep_seconds)
    }
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        Self { linger_seconds: 300, sweep_seconds: 60 }
    }
}

/// `[attribution]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AttributionConfig {
    /// Whether container runtimes are asked for the names, images and labels of containers.
    pub container_runtimes: bool,
    /// Their sockets, beside the usual ones: `docker:///path` (Podman's, too), `cri:///path`, `containerd:///path`.
    #[serde(serialize_with = "as_by_default")]
    pub container_sockets: Vec<RuntimeSocket>,
    /// Labels of containers and pods that a record has, beside those that `metrics.labels` names.
    pub container_labels: BTreeSet<String>,
    /// What the calls of a whole tree of processes are added up to.
    #[serde(serialize_with = "as_an_empty_table")]
    pub agents: AgentRoots,
}

impl Default for AttributionConfig {
    fn default() -> Self {
        Self {
            container_runtimes: true,
            container_sockets: Vec::new(),
            container_labels: BTreeSet::new(),
            agents: AgentRoots::default(),
        }
    }
}

/// `[metrics]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Address of `/metrics`, `/healthz` and `/readyz`.
    pub listen: SocketAddr,
    /// File that says who may ask, and over TLS how, in the form of Prometheus' exporters; absent is
    /// everybody who reaches the address, in plain text.
    pub web_config: Option<PathBuf>,
    /// The labels of the `llm_*` metrics that say whose call it was. Read at the start only.
    #[serde(serialize_with = "by_name")]
    pub labels: Vec<OriginLabel>,
    /// The most series that origins and models may make; what is over it goes to `other`.
    pub max_series: usize,
    /// Series that nothing happened to for so long are dropped, seconds.
    pub series_expiry_seconds: u64,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9435)),
            web_config: None,
            labels: OriginLabel::defaults(),
            max_series: 10_000,
            series_expiry_seconds: 86_400,
        }
    }
}

/// `[events]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventsConfig {
    /// File that gets one JSON line a call; `-` is standard output; absent is none.
    pub file: Option<PathBuf>,
}

/// `[ledger]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LedgerConfig {
    /// The database; absent is none.
    pub file: Option<PathBuf>,
    /// How long single calls are kept.
    pub keep_calls: Lasting,
    /// How long their sums by the hour are kept.
    pub keep_hours: Lasting,
    /// The most that the database may take on disk; the oldest calls give way.
    pub max_size: Size,
}

impl LedgerConfig {
    /// What is kept.
    #[must_use]
    pub const fn retention(&self) -> Retention {
        Retention { calls: self.keep_calls.0, hours: self.keep_hours.0, bytes: self.max_size.0 }
    }
}

impl Default for LedgerConfig {
    fn default() -> Self {
        Self {
            file: None,
            keep_calls: Lasting(DAY.saturating_mul(90)),
            keep_hours: Lasting(DAY.saturating_mul(730)),
            max_size: Size(4_000_000_000),
        }
    }
}

/// `[api]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// The Unix socket that it is on, beside `metrics.listen`; empty is none.
    pub socket: PathBuf,
    /// The group that sees everybody's calls, as root does; absent is none.
    pub group: Option<String>,
}

impl ApiConfig {
    /// `socket`, if there is to be one.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        Some(self.socket.as_path()).filter(|path| !path.as_os_str().is_empty())
    }
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self { socket: "/run/llm-tracker/api.sock".into(), group: None }
    }
}

/// `[usage]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UsageConfig {
    /// Whether tokens are counted where the provider reports none; such calls say `estimated`.
    pub estimate: bool,
}

impl UsageConfig {
    /// `estimate` in the words of the catalog.
    #[must_use]
    pub const fn estimates(&self) -> Estimates {
        if self.estimate { Estimates::Missing } else { Estimates::Never }
    }
}

impl Default for UsageConfig {
    fn default() -> Self {
        Self { estimate: true }
    }
}

/// `[cost]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CostConfig {
    /// Prices that go over those that come with the program: a file in the form of LiteLLM's list; read anew
    /// on SIGHUP.
    pub prices: Option<PathBuf>,
}

/// `[log]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// How much is said; taken over on SIGHUP.
    pub level: LogLevel,
    /// In which form.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Text }
    }
}

/// Levels of the log. None of them ever shows content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What may need a look.
    Warn,
    /// What an operator wants to know.
    Info,
    /// What a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}

/// Forms of the log on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people; for the journal where standard error is connected to it.
    Text,
    /// A JSON object a line.
    Json,
}

/// Only defaults are ever written, to know which keys there are ([`Settings`]); that of such a list is to be
/// empty.
fn as_by_default<T, S: Serializer>(_: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(std::iter::empty::<()>())
}

/// The same of a table that is added to what is built in.
fn as_an_empty_table<T, S: Serializer>(_: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(std::iter::empty::<((), ())>())
}

/// The same, of labels that are nothing but their names.
fn by_name<S: Serializer>(labels: &[OriginLabel], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(labels.iter().map(OriginLabel::name))
}

impl Config {
    /// How container runtimes are to be asked; `None`: not at all.
    #[must_use]
    pub fn runtimes(&self) -> Option<RuntimeConfig> {
        let AttributionConfig { container_runtimes, container_sockets, container_labels, agents: _ } =
            &self.attribution;
        let picked = self.metrics.labels.iter().filter_map(OriginLabel::container_label);
        container_runtimes.then(|| RuntimeConfig {
            root: None,
            sockets: container_sockets.clone(),
            labels: container_labels.iter().cloned().chain(picked.map(str::to_owned)).collect(),
        })
    }

    /// Checks what types cannot.
    fn check(&self) -> Result<(), Problem> {
        let Self {
            capture,
            discovery,
            attribution,
            metrics,
            events: _,
            otlp,
            ledger,
            api: _,
            usage: _,
            cost: _,
            budget,
            log: _,
            gateway: _,
            filter: _,
        } = self;
        let range = |key, value: u64, low: u64, high: u64, expected| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(Problem { key, what: format!("{value}: {expected}") })
            }
        };
        range(
            "capture.ring_bytes",
            capture.ring_bytes.into(),
            4096,
            1 << 30,
            "it must lie between 4096 (a page) and 1073741824 (1 GiB)",
        )?;
        range(
            "capture.call_cap_bytes",
            capture.call_cap_bytes.into(),
            1024,
            4 << 20,
            "it must lie between 1024 and 4194304 (4 MiB)",
        )?;
        range(
            "capture.max_connections",
            capture.max_connections.into(),
            64,
            1 << 20,
            "it must lie between 64 and 1048576",
        )?;
        range(
            "discovery.sweep_seconds",
            discovery.sweep_seconds,
            1,
            86_400,
            "it must lie between 1 and 86400 (a day)",
        )?;
        let labels = attribution.container_labels.len() as u64;
        range("attribution.container_labels", labels, 0, 64, "there may be 64 of them")?;
        range(
            "metrics.max_series",
            metrics.max_series as u64,
            1,
            1_000_000,
            "it must lie between 1 and 1000000",
        )?;
        range(
            "metrics.series_expiry_seconds",
            metrics.series_expiry_seconds,
            60,
            31_536_000,
            "it must lie between 60 and 31536000 (a year)",
        )?;
        for (key, lasting) in
            [("ledger.keep_calls", ledger.keep_calls), ("ledger.keep_hours", ledger.keep_hours)]
        {
            if !(DAY..=DAY.saturating_mul(36_500)).contains(&lasting.0) {
                let what = format!("{lasting}: it must lie between 1d and 36500d (a century)");
                return Err(Problem { key, what });
            }
        }
        if !(1_000_000..=1_000_000_000_000_000).contains(&ledger.max_size.0) {
            let what = format!("{}: it must lie between 1MB and 1000000GB", ledger.max_size);
            return Err(Problem { key: "ledger.max_size", what });
        }
        let alone = !budget.is_empty() && ledger.file.is_none();
        let what = budget::check(budget)
            .or(alone.then(|| "budgets are looked after with the ledger: set ledger.file".to_owned()));
        if let Some(what) = what {
            return Err(Problem { key: "budget", what });
        }
        otlp.check().map_err(|error| Problem { key: error.key(), what: error.to_string() })?;
        check_names(&metrics.labels)
            .map_err(|error| Problem { key: "metrics.labels", what: error.to_string() })
    }
}
