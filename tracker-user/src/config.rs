//! The configuration: defaults that need no file, a TOML file over them, flags over that.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use crate::{
    cli::RunArgs,
    export::{OriginLabel, OriginLabelError, OtlpConfig, OtlpConfigError, check_names},
    provider::{Estimates, Gateway},
};

/// Where metrics are served unless the operator says otherwise: loopback only.
pub const DEFAULT_METRICS_LISTEN: &str = "127.0.0.1:9435";

/// Everything that can be set. Unknown keys are refused, so that a typing error is not a silent default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What the kernel side may use.
    pub capture: CaptureConfig,
    /// Finding processes and TLS libraries.
    pub discovery: DiscoveryConfig,
    /// The Prometheus endpoint.
    pub metrics: MetricsConfig,
    /// The event log.
    pub events: EventsConfig,
    /// The export to an OpenTelemetry collector.
    pub otlp: OtlpConfig,
    /// Token counts.
    pub usage: UsageConfig,
    /// The operator's own gateways to LLMs; read anew on SIGHUP.
    pub gateway: Vec<Gateway>,
}

/// `[capture]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
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

/// `[metrics]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Address of `/metrics`, `/healthz` and `/readyz`.
    pub listen: SocketAddr,
    /// The labels of the `llm_*` metrics that say whose call it was. Read at the start only.
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
            labels: OriginLabel::defaults(),
            max_series: 10_000,
            series_expiry_seconds: 86_400,
        }
    }
}

/// `[events]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventsConfig {
    /// File that gets one JSON line a call; `-` is standard output; absent is none.
    pub file: Option<PathBuf>,
}

/// `[usage]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
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

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be; the message has line and column.
    #[error("the configuration {path} is not valid: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: toml::de::Error,
    },
    /// The labels do not go together.
    #[error("the configuration says metrics.labels: {0}")]
    Labels(#[from] OriginLabelError),
    /// The export to an OpenTelemetry collector cannot be made so.
    #[error("the configuration says [otlp]: {0}")]
    Otlp(#[from] OtlpConfigError),
    /// A value is out of its range.
    #[error("the configuration says {key} = {value}: {expected}")]
    Range {
        /// The key.
        key: &'static str,
        /// Its value.
        value: u64,
        /// What it may be.
        expected: &'static str,
    },
}

impl Config {
    /// What the flags say, over what the file says, over the defaults.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn resolve(args: &RunArgs) -> Result<Self, ConfigError> {
        let RunArgs { events, metrics_listen, no_estimate, config } = args;
        let mut resolved = config.as_deref().map_or_else(|| Ok(Self::default()), Self::load)?;
        if let Some(events) = events {
            resolved.events.file = Some(events.clone());
        }
        if let Some(listen) = metrics_listen {
            resolved.metrics.listen = *listen;
        }
        resolved.usage.estimate &= !no_estimate;
        Ok(resolved)
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, has an unknown key or a value out of range.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config: Self =
            toml::from_str(&text).map_err(|source| ConfigError::Parse { path: path.to_owned(), source })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let Self { capture, discovery, metrics, events: _, otlp, usage: _, gateway: _ } = self;
        let range = |key, value: u64, low: u64, high: u64, expected| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(ConfigError::Range { key, value, expected })
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
        otlp.check()?;
        Ok(check_names(&metrics.labels)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::load(file.path())
    }

    #[test]
    fn an_empty_file_is_the_default() {
        assert_eq!(load("").unwrap(), Config::default());
        assert_eq!(Config::default().metrics.listen.to_string(), DEFAULT_METRICS_LISTEN);
    }

    #[test]
    fn the_example_shows_the_defaults() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("deploy").join("llm-tracker.toml");
        assert_eq!(Config::load(&example).unwrap(), Config::default());
    }

    #[test]
    fn a_value_replaces_its_default_only() {
        let config = load("[capture]\nring_bytes = 65536\n").unwrap();
        assert_eq!(config.capture.ring_bytes, 65_536);
        assert_eq!(config.capture.call_cap_bytes, CaptureConfig::default().call_cap_bytes);
    }

    #[test]
    fn estimates_can_be_turned_off() {
        let resolve = |text: &str, no_estimate| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            let args = RunArgs { config: Some(file.path().to_owned()), no_estimate, ..RunArgs::default() };
            Config::resolve(&args).unwrap().usage.estimates()
        };
        assert_eq!(resolve("", false), Estimates::Missing);
        assert_eq!(resolve("", true), Estimates::Never);
        assert_eq!(resolve("[usage]\nestimate = false\n", false), Estimates::Never);
    }

    #[test]
    fn a_mistake_names_the_place() {
        let error = load("[capture]\nring_byte = 65536\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("ring_byte"), "{error}");
        let error = load("[capture]\nring_bytes = 12\n").unwrap_err().to_string();
        assert!(error.contains("capture.ring_bytes = 12"), "{error}");
        for (line, text, word) in [
            (3, "[[gateway]]\nname = \"corp\"\nhosts = [\"*\"]\n", "every host"),
            (2, "[[gateway]]\nname = \"a b\"\nhosts = [\"h\"]\n", "letters"),
            (4, "[[gateway]]\nname = \"a\"\nhosts = [\"h\"]\npaths = [\"/a b\"]\n", "segments"),
            (
                5,
                "[[gateway]]\nname = \"a\"\nhosts = [\"h\"]\npaths = [\"/a\"]\ndialect = \"x\"\n",
                "openai.chat",
            ),
            (3, "[capture]\n\n[[gateway]]\nname = \"a\"\nhosts = []\n", "at least one"),
            (1, "[[gateway]]\nname = \"a\"\nhosts = [\"h\"]\npaths = [\"/a\"]\n", "belong together"),
            (1, "[[gateway]]\nhosts = [\"h\"]\n", "name"),
            (3, "[[gateway]]\nname = \"a\"\nhost = [\"h\"]\n", "host"),
            (2, "[metrics]\nlabels = [\"proces\"]\n", "`process`"),
            (
                4,
                "[metrics]\nlabels = [\n  \"process\",\n  {from = \"user\", name = \"status\"},\n]\n",
                "another",
            ),
            (4, "[metrics]\nlabels = [\n  \"process\",\n  {from = \"user\", max = 1},\n]\n", "max_values"),
        ] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains(&format!("line {line}")) && error.contains(word), "{error}");
        }
        let error = Config::load(Path::new("/nonexistent/llm.toml")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/llm.toml"), "{error}");
    }
}
