//! `[otlp]`, and the environment variables that OpenTelemetry's specification has for exporters.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use hyper::{
    Uri,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use serde::{Deserialize, Serialize, Serializer};

use super::transport::Signal;
use crate::baggage::pairs;

/// `[otlp]`: nothing is exported unless there is an `endpoint`, here or in the environment, which goes
/// over what the file says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtlpConfig {
    /// The collector: `http://collector:4318`. `/v1/traces` and `/v1/metrics` are added for HTTP.
    pub endpoint: Option<String>,
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Sent with every request. They may hold secrets, so they are never shown.
    pub headers: Headers,
    /// How requests are compressed.
    pub compression: Compression,
    /// How long a request may take.
    pub timeout_seconds: u64,
    /// Certificates in PEM that the collector's is checked against, in place of the host's.
    pub certificate: Option<PathBuf>,
    /// The certificate in PEM that says who we are, where the collector asks.
    pub client_certificate: Option<PathBuf>,
    /// Its private key.
    pub client_key: Option<PathBuf>,
    /// Whether there is a span for every call.
    pub traces: bool,
    /// Whether there are metrics.
    pub metrics: bool,
    /// Time between two exports of the metrics.
    pub metrics_interval_seconds: u64,
    /// Spans that wait at most; what is over it is lost and counted.
    pub max_queue: usize,
    /// What is said of this host with everything that is sent, beside `service.*` and `host.name`.
    pub resource: BTreeMap<String, String>,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: Protocol::default(),
            headers: Headers::default(),
            compression: Compression::default(),
            timeout_seconds: 10,
            certificate: None,
            client_certificate: None,
            client_key: None,
            traces: true,
            metrics: true,
            metrics_interval_seconds: 60,
            max_queue: 2048,
            resource: BTreeMap::new(),
        }
    }
}

/// How the collector is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Protocol {
    /// Protocol Buffers in requests of HTTP.
    #[default]
    #[serde(rename = "http/protobuf")]
    Http,
    /// gRPC.
    #[serde(rename = "grpc")]
    Grpc,
}

/// How requests are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// gzip.
    Gzip,
}

/// Header fields; only their names are ever shown.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Headers(BTreeMap<String, String>);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Serialize for Headers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.keys().map(|name| (name, "(hidden)")))
    }
}

/// What is wrong with the settings of the OTLP export. It never shows a value that may be a secret.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtlpConfigError {
    /// The endpoint is no address.
    #[error("the OTLP endpoint `{0}` is no address: it takes http:// or https://, a host and a port")]
    Endpoint(String),
    /// A value that means nothing.
    #[error("{name} is {value}, which is not known: it may be {known}")]
    Unknown {
        /// The environment variable.
        name: String,
        /// What it is set to.
        value: String,
        /// What it may be.
        known: &'static str,
    },
    /// Header fields that cannot be sent.
    #[error("the OTLP headers in {0} are not `name=value,...` of names and values that HTTP can carry")]
    Headers(&'static str),
    /// A number that is out of its range.
    #[error("{name} must lie between {least} and {most}")]
    Range {
        /// The key or variable.
        name: &'static str,
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// One without the other.
    #[error("the OTLP client certificate and its key belong together")]
    ClientCertificate,
}

impl OtlpConfigError {
    /// The key of the file that has to do with it.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        match self {
            Self::Endpoint(_) | Self::Unknown { .. } => "otlp.endpoint",
            Self::Headers(_) => "otlp.headers",
            Self::Range { name, .. } => name,
            Self::ClientCertificate => "otlp.client_certificate",
        }
    }
}

/// What to do, all sources together.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) traces: Option<Endpoint>,
    pub(super) metrics: Option<Endpoint>,
    /// Attributes of the resource, `service.name` among them.
    pub(super) resource: BTreeMap<String, String>,
    pub(super) max_queue: usize,
    /// Spans of one request at most.
    pub(super) max_batch: usize,
    /// How long a span may wait for others to go with.
    pub(super) delay: Duration,
    /// Time between two exports of the metrics.
    pub(super) interval: Duration,
}

/// Where a signal goes.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) uri: Uri,
    pub(super) protocol: Protocol,
    pub(super) headers: HeaderMap,
    pub(super) compression: Compression,
    pub(super) timeout: Duration,
    pub(super) certificate: Option<PathBuf>,
    /// With its key.
    pub(super) client_certificate: Option<(PathBuf, PathBuf)>,
}

impl OtlpConfig {
    /// Checks the file's settings alone.
    ///
    /// # Errors
    /// Something in them cannot be used.
    pub fn check(&self) -> Result<(), OtlpConfigError> {
        self.settings(&|_| None).map(|_| ())
    }

    /// What is set here, under what the environment says; `None` where nothing is to be exported.
    pub(super) fn settings(
        &self,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Settings>, OtlpConfigError> {
        // An empty variable is as good as none, says the specification.
        let environment = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
        let environment: &dyn Fn(&str) -> Option<String> = &environment;
        let range = |name: &'static str, value: u64, least: u64, most: u64| {
            if (least..=most).contains(&value) {
                return Ok(value);
            }
            Err(OtlpConfigError::Range { name, least, most })
        };
        let number = |name: &'static str, default: u64, least: u64, most: u64| match environment(name) {
            None => Ok(default),
            Some(value) => range(name, value.trim().parse().unwrap_or(u64::MAX), least, most),
        };
        range("otlp.timeout_seconds", self.timeout_seconds, 1, 600)?;
        range("otlp.metrics_interval_seconds", self.metrics_interval_seconds, 1, 86_400)?;
        range("otlp.max_queue", self.max_queue as u64, 1, 1 << 20)?;
        // Also where there is no endpoint: a mistake is told when it is made.
        header_map(self.headers.0.iter().map(|(name, value)| (name.as_str(), value.as_str())))
            .ok_or(OtlpConfigError::Headers("otlp.headers"))?;
        if environment("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        let mut resource = BTreeMap::from([("service.name".to_owned(), "llm-tracker".to_owned())]);
        resource.extend(self.resource.clone());
        let said = environment("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        resource.extend(pairs(&said).flatten());
        if let Some(name) = environment("OTEL_SERVICE_NAME") {
            resource.insert("service.name".to_owned(), name);
        }
        let endpoint = |signal: Signal, wanted: bool| {
            if !wanted || environment(signal.exporter_variable()).is_some_and(|it| it.trim() == "none") {
                return Ok(None);
            }
            Endpoint::resolve(self, signal, environment)
        };
        let traces = endpoint(Signal::Traces, self.traces)?;
        let metrics = endpoint(Signal::Metrics, self.metrics)?;
        if traces.is_none() && metrics.is_none() {
            return Ok(None);
        }
        let max_queue = number("OTEL_BSP_MAX_QUEUE_SIZE", self.max_queue as u64, 1, 1 << 20)?;
        let max_batch = number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512, 1, 4096)?.min(max_queue);
        let delay = number("OTEL_BSP_SCHEDULE_DELAY", 5000, 1, 600_000)?;
        let interval = self.metrics_interval_seconds * 1000;
        let interval = number("OTEL_METRIC_EXPORT_INTERVAL", interval, 100, 86_400_000)?;
        Ok(Some(Settings {
            traces,
            metrics,
            resource,
            max_queue: max_queue as usize,
            max_batch: max_batch as usize,
            delay: Duration::from_millis(delay),
            interval: Duration::from_millis(interval),
        }))
    }
}

impl Endpoint {
    fn resolve(
        config: &OtlpConfig,
        signal: Signal,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, OtlpConfigError> {
        // The signal's own variable goes over the general one.
        let own = |what: &str| environment(&format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.variable()));
        let general = |what: &str| environment(&format!("OTEL_EXPORTER_OTLP_{what}"));
        let said = |what: &str| own(what).or_else(|| general(what));
        let one_of = |what: &str, known: &'static str, value: &str| OtlpConfigError::Unknown {
            name: format!("OTEL_EXPORTER_OTLP_{what}"),
            value: value.to_owned(),
            known,
        };
        let protocol = match said("PROTOCOL").as_deref().map(str::trim) {
            None => config.protocol,
            Some("http/protobuf") => Protocol::Http,
            Some("grpc") => Protocol::Grpc,
            Some(other) => return Err(one_of("PROTOCOL", "`http/protobuf` or `grpc`", other)),
        };
        let compression = match said("COMPRESSION").as_deref().map(str::trim) {
            None => config.compression,
            Some("none") => Compression::None,
            Some("gzip") => Compression::Gzip,
            Some(other) => return Err(one_of("COMPRESSION", "`gzip` or `none`", other)),
        };
        let own_endpoint = own("ENDPOINT");
        let whole = own_endpoint.is_some();
        let address = own_endpoint.or_else(|| general("ENDPOINT")).or_else(|| config.endpoint.clone());
        let Some(address) = address else { return Ok(None) };
        let insecure = said("INSECURE").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let uri = uri(address.trim(), protocol, signal, whole, insecure)
            .ok_or_else(|| OtlpConfigError::Endpoint(without_user(&address)))?;
        let headers = match said("HEADERS") {
            None => header_map(config.headers.0.iter().map(|(name, value)| (name.as_str(), value.as_str())))
                .ok_or(OtlpConfigError::Headers("otlp.headers"))?,
            Some(said) => pairs(&said)
                .collect::<Option<Vec<_>>>()
                .and_then(|pairs| header_map(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))))
                .ok_or(OtlpConfigError::Headers("the environment"))?,
        };
        let timeout = match said("TIMEOUT") {
            None => config.timeout_seconds * 1000,
            Some(text) => {
                text.trim().parse().ok().filter(|it| (1..=600_000).contains(it)).ok_or_else(|| {
                    let name = "OTEL_EXPORTER_OTLP_TIMEOUT";
                    OtlpConfigError::Range { name, least: 1, most: 600_000 }
                })?
            }
        };
        let file = |what: &str, config: &Option<PathBuf>| said(what).map(PathBuf::from).or(config.clone());
        let certificate = file("CERTIFICATE", &config.certificate);
        let client_certificate = file("CLIENT_CERTIFICATE", &config.client_certificate);
        let client_key = file("CLIENT_KEY", &config.client_key);
        if client_certificate.is_some() != client_key.is_some() {
            return Err(OtlpConfigError::ClientCertificate);
        }
        Ok(Some(Self {
            uri,
            protocol,
            headers,
            compression,
            timeout: Duration::from_millis(timeout),
            certificate,
            client_certificate: client_certificate.zip(client_key),
        }))
    }
}

/// The address of a signal. One that is meant for the signal alone is `whole`.
fn uri(address: &str, protocol: Protocol, signal: Signal, whole: bool, insecure: bool) -> Option<Uri> {
    let address = match (address.contains("://"), protocol) {
        (true, _) => address.to_owned(),
        // gRPC's own way to name a server.
        (false, Protocol::Grpc) if insecure => format!("http://{address}"),
        (false, Protocol::Grpc) => format!("https://{address}"),
        (false, Protocol::Http) => return None,
    };
    let parts = address.parse::<Uri>().ok()?.into_parts();
    let scheme = parts.scheme.filter(|scheme| matches!(scheme.as_str(), "http" | "https"))?;
    let authority = parts.authority?;
    // A password in the address would be shown in the log.
    if authority.as_str().contains('@') {
        return None;
    }
    let path = parts.path_and_query.map(|path| path.as_str().to_owned()).unwrap_or_default();
    let path = match (protocol, whole) {
        (Protocol::Grpc, _) => "/".to_owned(),
        (Protocol::Http, true) if path.is_empty() => "/".to_owned(),
        (Protocol::Http, true) => path,
        (Protocol::Http, false) => format!("{}{}", path.trim_end_matches('/'), signal.path()),
    };
    Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build().ok()
}

fn without_user(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((_, host)) => format!("...@{host}"),
        None => address.to_owned(),
    }
}

fn header_map<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Option<HeaderMap> {
    pairs
        .map(|(name, value)| {
            let mut value = HeaderValue::from_str(value).ok()?;
            value.set_sensitive(true);
            Some((HeaderName::from_bytes(name.as_bytes()).ok()?, value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str, environment: &[(&str, &str)]) -> Result<Option<Settings>, OtlpConfigError> {
        let config: OtlpConfig = toml::from_str(text).unwrap();
        config.settings(&|name| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn settings(text: &str, environment: &[(&str, &str)]) -> Settings {
        resolve(text, environment).unwrap().unwrap()
    }

    #[test]
    fn nothing_is_exported_unless_it_is_asked_for() {
        for (text, environment) in [
            ("", &[][..]),
            ("protocol = \"grpc\"", &[]),
            ("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]),
            ("endpoint = \"http://h:4318\"", &[("OTEL_SDK_DISABLED", "true")]),
            ("endpoint = \"http://h:4318\"\ntraces = false\nmetrics = false", &[]),
        ] {
            assert!(resolve(text, environment).unwrap().is_none(), "{text} {environment:?}");
        }
    }

    #[test]
    fn a_signal_has_its_path() {
        let text = "endpoint = \"http://h:4318/base/\"";
        let found = settings(text, &[]);
        assert_eq!(found.traces.unwrap().uri, "http://h:4318/base/v1/traces");
        assert_eq!(found.metrics.unwrap().uri, "http://h:4318/base/v1/metrics");
        let found = settings(text, &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://t/x?y=1")]);
        assert_eq!(found.traces.unwrap().uri, "https://t/x?y=1");
        assert_eq!(found.metrics.unwrap().uri, "http://h:4318/base/v1/metrics");
        let grpc = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "h:4317")];
        assert_eq!(settings("", &grpc).traces.unwrap().uri, "https://h:4317/");
        let plain = [grpc[0], grpc[1], ("OTEL_EXPORTER_OTLP_INSECURE", "true")];
        assert_eq!(settings("", &plain).traces.unwrap().uri, "http://h:4317/");
    }

    #[test]
    fn the_environment_goes_over_the_file() {
        let found = settings(
            r#"
            endpoint = "http://file:4318"
            timeout_seconds = 3
            headers = { "x-key" = "file" }
            resource = { "deployment.environment.name" = "test", "service.name" = "file" }
            max_queue = 100
            "#,
            &[
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://env:4318"),
                ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=env%20value,Authorization=Basic%20abc"),
                ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "x-key=metrics"),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
                ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
                ("OTEL_RESOURCE_ATTRIBUTES", "host.group=a%2Cb,nonsense"),
                ("OTEL_SERVICE_NAME", "env"),
                ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
                ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ],
        );
        let traces = found.traces.unwrap();
        assert_eq!(traces.uri, "http://env:4318/v1/traces");
        assert_eq!((&traces.headers["x-key"], traces.headers.len()), (&"env value".parse().unwrap(), 2));
        assert_eq!((traces.timeout, traces.compression), (Duration::from_millis(1500), Compression::Gzip));
        let metrics = found.metrics.unwrap();
        assert_eq!(metrics.headers["x-key"], "metrics");
        assert_eq!(metrics.compression, Compression::None);
        let resource: Vec<_> = found.resource.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let expected =
            [("deployment.environment.name", "test"), ("host.group", "a,b"), ("service.name", "env")];
        assert_eq!(resource, expected);
        assert_eq!((found.max_queue, found.max_batch), (100, 100));
        assert_eq!((found.interval, found.delay), (Duration::from_secs(1), Duration::from_millis(50)));
        let only = settings("endpoint = \"http://h\"", &[("OTEL_TRACES_EXPORTER", "none")]);
        assert!(only.traces.is_none() && only.metrics.is_some());
    }

    #[test]
    fn secrets_are_never_shown() {
        let config: OtlpConfig =
            toml::from_str("endpoint = \"http://h\"\nheaders = { authorization = \"Bearer sk-secret\" }")
                .unwrap();
        let settings = config.settings(&|_| None).unwrap().unwrap();
        let shown = format!("{config:?}{settings:?}{}", serde_json::to_string(&config).unwrap());
        assert!(shown.contains("authorization") && !shown.contains("secret"), "{shown}");
        let error = resolve("endpoint = \"http://me:secret@h\"", &[]).unwrap_err().to_string();
        assert!(error.contains("@h") && !error.contains("secret"), "{error}");
        let bad = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://h"), ("OTEL_EXPORTER_OTLP_HEADERS", "secret")];
        let error = resolve("", &bad).unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn a_mistake_is_named() {
        for (text, environment, word) in [
            ("endpoint = \"h:4318\"", &[][..], "http://"),
            ("endpoint = \"ftp://h\"", &[], "http://"),
            ("endpoint = \"http://\"", &[], "http://"),
            ("timeout_seconds = 0", &[], "timeout_seconds"),
            ("headers = { \"a b\" = \"c\" }", &[], "otlp.headers"),
            ("endpoint = \"http://h\"\nclient_key = \"/k\"", &[], "belong together"),
            ("endpoint = \"http://h\"", &[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")], "http/protobuf"),
            ("endpoint = \"http://h\"", &[("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd")], "gzip"),
            ("endpoint = \"http://h\"", &[("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")], "TIMEOUT"),
            ("endpoint = \"http://h\"", &[("OTEL_BSP_MAX_QUEUE_SIZE", "-1")], "OTEL_BSP_MAX_QUEUE_SIZE"),
        ] {
            let error = resolve(text, environment).unwrap_err().to_string();
            assert!(error.contains(word), "{text} {environment:?}: {error}");
        }
        assert!(toml::from_str::<OtlpConfig>("protocol = \"http/json\"").is_err());
    }
}
