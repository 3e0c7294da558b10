//! One request to a collector: HTTP or gRPC, over one client.

use std::{fmt, fs, io, path::Path, time::Duration};

use bytes::Bytes;
use flate2::{Compression as Level, write::GzEncoder};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT},
    http::uri::PathAndQuery,
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use jiff::Timestamp;
use prost::Message;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tonic::{Code, Status, body::Body, codec::CompressionEncoding, metadata::MetadataMap};
use tonic_prost::ProstCodec;

use super::config::{Compression, Endpoint, Protocol};

/// Longest answer that is read, bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// A collector may ask for so long a pause.
const MAX_PAUSE: Duration = Duration::from_secs(300);

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
}

impl Signal {
    /// As it is called on the metrics page and in the log.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }

    /// Part of the names of its environment variables.
    pub(super) const fn variable(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        }
    }

    /// The variable that chooses its exporter.
    pub(super) const fn exporter_variable(self) -> &'static str {
        match self {
            Self::Traces => "OTEL_TRACES_EXPORTER",
            Self::Metrics => "OTEL_METRICS_EXPORTER",
        }
    }

    /// Where it goes over HTTP.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }

    /// Where it goes over gRPC.
    const fn method(self) -> &'static str {
        match self {
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }
}

/// Why a request did not succeed.
#[derive(Debug)]
pub(super) struct Failure {
    /// Whether the same request may succeed later.
    pub(super) retry: bool,
    /// How long the collector asks us to wait.
    pub(super) pause: Option<Duration>,
    /// For the log.
    cause: String,
}

impl Failure {
    fn passing(cause: impl fmt::Display) -> Self {
        Self { retry: true, pause: None, cause: cause.to_string() }
    }

    fn lasting(cause: impl fmt::Display) -> Self {
        Self { retry: false, pause: None, cause: cause.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

/// Why the export cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OtlpStartError {
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] super::config::OtlpConfigError),
    /// A file for TLS cannot be used.
    #[error("cannot use {path} for the OTLP export: {cause}")]
    File {
        /// The file.
        path: String,
        /// Why.
        cause: String,
    },
    /// TLS cannot be used.
    #[error("cannot use TLS for the OTLP export: {0}")]
    Tls(#[from] rustls::Error),
}

/// Sends one signal to its endpoint.
pub(super) struct Client {
    signal: Signal,
    endpoint: Endpoint,
    http: legacy::Client<HttpsConnector<HttpConnector>, Body>,
}

impl Client {
    pub(super) fn new(signal: Signal, endpoint: Endpoint) -> Result<Self, OtlpStartError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(endpoint.timeout));
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls(&endpoint)?).https_or_http();
        let grpc = endpoint.protocol == Protocol::Grpc;
        let connector = if grpc {
            connector.enable_http2().wrap_connector(tcp)
        } else {
            connector.enable_http1().wrap_connector(tcp)
        };
        let http = legacy::Client::builder(TokioExecutor::new())
            .http2_only(grpc)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(1)
            .build(connector);
        Ok(Self { signal, endpoint, http })
    }

    pub(super) const fn signal(&self) -> Signal {
        self.signal
    }

    pub(super) const fn uri(&self) -> &Uri {
        &self.endpoint.uri
    }

    /// Sends a message once, within the endpoint's time.
    pub(super) async fn send<M, R>(&self, message: &M) -> Result<R, Failure>
    where
        M: Message + Clone + 'static,
        R: Message + Default + 'static,
    {
        let request = async {
            match self.endpoint.protocol {
                Protocol::Http => self.send_http(message).await,
                Protocol::Grpc => self.send_grpc(message.clone()).await,
            }
        };
        let late = || Failure::passing(format_args!("no answer within {:?}", self.endpoint.timeout));
        tokio::time::timeout(self.endpoint.timeout, request).await.unwrap_or_else(|_| Err(late()))
    }

    async fn send_http<R: Message + Default>(&self, message: &impl Message) -> Result<R, Failure> {
        let mut body = message.encode_to_vec();
        let mut request = Request::post(self.endpoint.uri.clone());
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.headers());
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
            if self.endpoint.compression == Compression::Gzip {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                body = gzip(&body).map_err(Failure::lasting)?;
            }
        }
        let body = Body::new(Full::new(Bytes::from(body)));
        let request = request.body(body).map_err(Failure::lasting)?;
        let response = self.http.request(request).await.map_err(|error| Failure::passing(chain(&error)))?;
        let status = response.status();
        if !status.is_success() {
            return Err(refused(&response));
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(Failure::passing)?.to_bytes();
        // It was taken, whatever else is said.
        Ok(R::decode(body).unwrap_or_default())
    }

    async fn send_grpc<M, R>(&self, message: M) -> Result<R, Failure>
    where
        M: Message + 'static,
        R: Message + Default + 'static,
    {
        let Self { signal, endpoint, http } = self;
        let mut grpc = tonic::client::Grpc::with_origin(http.clone(), endpoint.uri.clone())
            .max_decoding_message_size(MAX_ANSWER);
        if endpoint.compression == Compression::Gzip {
            grpc = grpc.send_compressed(CompressionEncoding::Gzip);
        }
        let metadata = MetadataMap::from_headers(self.headers());
        let mut request = tonic::Request::from_parts(metadata, tonic::Extensions::new(), message);
        request.set_timeout(endpoint.timeout);
        let path = PathAndQuery::from_static(signal.method());
        let codec = ProstCodec::<M, R>::default();
        match grpc.unary(request, path, codec).await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(refused_by_grpc(&status)),
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = self.endpoint.headers.clone();
        let agent = concat!("llm-tracker/", env!("CARGO_PKG_VERSION"));
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(agent));
        headers
    }
}

/// What OTLP's specification says about the status of an HTTP response.
fn refused(response: &Response<Incoming>) -> Failure {
    let status = response.status();
    let retry = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    );
    let pause = response.headers().get(RETRY_AFTER).and_then(|value| pause(value.to_str().ok()?));
    Failure { retry, pause: pause.filter(|_| retry), cause: format!("HTTP status {status}") }
}

/// `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
fn pause(value: &str) -> Option<Duration> {
    let seconds = value.trim().parse().ok().map(Duration::from_secs);
    let until = || {
        let date = jiff::fmt::rfc2822::parse(value.trim()).ok()?.timestamp();
        Duration::try_from(date.duration_since(Timestamp::now())).ok()
    };
    Some(seconds.or_else(until)?.min(MAX_PAUSE))
}

/// The same of a gRPC status.
fn refused_by_grpc(status: &Status) -> Failure {
    let pause = retry_delay(status.details());
    let retry = match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => true,
        Code::ResourceExhausted => pause.is_some(),
        // What fails below gRPC.
        Code::Unknown => std::error::Error::source(status).is_some(),
        _ => false,
    };
    // Its message is the collector's own, and nobody knows what it repeats of a request.
    let cause = match std::error::Error::source(status) {
        Some(source) => format!("{:?}: {}", status.code(), chain(source)),
        None => format!("gRPC status {:?}", status.code()),
    };
    Failure { retry, pause: pause.filter(|_| retry), cause }
}

/// The delay of a `google.rpc.RetryInfo` among the details of a `google.rpc.Status`.
fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = proto::Status::decode(details).ok()?;
    let info = status.details.iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = proto::RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay?;
    let (seconds, nanos) = (u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?);
    Some(Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into())).min(MAX_PAUSE))
}

/// The few messages of `google/rpc/{status,error_details}.proto` that say when to come again.
mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Status {
        #[prost(message, repeated, tag = "3")]
        pub(super) details: Vec<Any>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Any {
        #[prost(string, tag = "1")]
        pub(super) type_url: String,
        #[prost(bytes = "vec", tag = "2")]
        pub(super) value: Vec<u8>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        pub(super) retry_delay: Option<Duration>,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(super) struct Duration {
        #[prost(int64, tag = "1")]
        pub(super) seconds: i64,
        #[prost(int32, tag = "2")]
        pub(super) nanos: i32,
    }
}

fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
    io::Write::write_all(&mut encoder, bytes)?;
    encoder.finish()
}

/// An error and all that led to it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

fn tls(endpoint: &Endpoint) -> Result<ClientConfig, OtlpStartError> {
    let provider = rustls::crypto::ring::default_provider().into();
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut roots = RootCertStore::empty();
    match &endpoint.certificate {
        // They take memory, and only TLS has a use for them.
        _ if endpoint.uri.scheme_str() != Some("https") => {}
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
        }
        None => add_host_roots(&mut roots),
    }
    let builder = builder.with_root_certificates(roots);
    let Some((certificate, key)) = &endpoint.client_certificate else {
        return Ok(builder.with_no_client_auth());
    };
    let private = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|error| unusable(key, error))?;
    Ok(builder.with_client_auth_cert(certificates(certificate)?, private)?)
}

/// Adds the certificates that this host trusts.
pub(crate) fn add_host_roots(roots: &mut RootCertStore) {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a certificate of this host cannot be used");
    }
    roots.add_parsable_certificates(found.certs);
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, OtlpStartError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    let found = found.map_err(|error| unusable(path, error))?;
    if found.is_empty() {
        return Err(unusable(path, "there is no certificate in PEM in it"));
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>, OtlpStartError> {
    fs::read(path).map_err(|error| unusable(path, error))
}

fn unusable(path: &Path, cause: impl fmt::Display) -> OtlpStartError {
    OtlpStartError::File { path: path.display().to_string(), cause: cause.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_seconds_or_a_date_and_bounded() {
        assert_eq!(pause(" 3 "), Some(Duration::from_secs(3)));
        assert_eq!(pause("999999"), Some(MAX_PAUSE));
        assert_eq!(pause("Wed, 21 Oct 2099 07:28:00 GMT"), Some(MAX_PAUSE));
        assert_eq!([pause("soon"), pause("Wed, 21 Oct 2015 07:28:00 GMT")], [None, None]);
    }

    #[test]
    fn grpc_says_when_to_come_again() {
        let info = proto::RetryInfo { retry_delay: Some(proto::Duration { seconds: 2, nanos: 500_000_000 }) };
        let any = proto::Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: info.encode_to_vec(),
        };
        let details = proto::Status { details: vec![any] }.encode_to_vec();
        let refused = |code, details: Vec<u8>| {
            let Failure { retry, pause, cause: _ } =
                refused_by_grpc(&Status::with_details(code, "a prompt", details.into()));
            (retry, pause)
        };
        let pause = Some(Duration::from_millis(2500));
        assert_eq!(refused(Code::ResourceExhausted, details.clone()), (true, pause));
        assert_eq!(refused(Code::ResourceExhausted, Vec::new()), (false, None));
        assert_eq!(refused(Code::Unavailable, b"\xff\xff".to_vec()), (true, None));
        assert_eq!(refused(Code::InvalidArgument, details), (false, None));
        let failure = refused_by_grpc(&Status::invalid_argument("a prompt"));
        assert!(!failure.to_string().contains("prompt"), "{failure}");
    }
}
