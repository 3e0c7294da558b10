//! OpenTelemetry collectors: one that keeps what it is told and can be in a bad mood, and Rotel, which
//! people run.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    io::Read as _,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    pin::Pin,
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Body, Frame, Incoming},
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::Metric,
    trace::v1::Span,
};
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    runtime::Runtime,
};
use tokio_rustls::TlsAcceptor;

use crate::{child::Child, daemon::free_address, machine, tls::Identity};

/// Largest request that is read.
const MAX_REQUEST: usize = 16 << 20;
/// How long what was exported may take to arrive, on a slow and busy machine.
const SOON: Duration = Duration::from_secs(30);
/// Longest life of a collector in a test.
const LIFE: Duration = Duration::from_secs(600);

/// How a collector is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 with Protocol Buffers.
    Http,
    /// gRPC, over HTTP/2 from the first byte.
    Grpc,
}

/// What a collector does with a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// Takes it.
    #[default]
    Takes,
    /// Asks for another try, in so many seconds where the protocol is HTTP.
    Busy(u32),
    /// Does not want it.
    Refuses,
    /// Does not answer.
    Hangs,
}

/// What a collector has been told.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Spans, in the order in which they came.
    pub spans: Vec<Span>,
    /// Metrics by name, as of their last export.
    pub metrics: BTreeMap<String, Metric>,
    /// Attributes of the resource of the last request.
    pub resource: BTreeMap<String, String>,
    /// Header fields of the last request.
    pub headers: HeaderMap,
    /// When requests came, whatever became of them.
    pub requests: Vec<Instant>,
    /// Requests that were no requests.
    pub malformed: Vec<String>,
}

#[derive(Debug, Default)]
struct State {
    mood: Mutex<Mood>,
    received: Mutex<Received>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A collector that keeps everything. It stops when this is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    state: Arc<State>,
    _runtime: Runtime,
}

impl Collector {
    /// Listens on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// Where threads or sockets cannot be had.
    pub fn start(protocol: Protocol) -> Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), protocol, None)
    }

    /// The same with TLS.
    ///
    /// # Errors
    ///
    /// Where threads or sockets cannot be had.
    pub fn start_tls(protocol: Protocol, identity: &Identity) -> Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), protocol, Some(identity.server().into()))
    }

    /// The same as [`start`](Self::start) at an address that is free.
    ///
    /// # Errors
    ///
    /// Where threads or the socket cannot be had.
    pub fn start_at(address: SocketAddr, protocol: Protocol, tls: Option<TlsAcceptor>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(address))?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        runtime.spawn(accept(listener, protocol, tls, Arc::clone(&state)));
        Ok(Self { address, state, _runtime: runtime })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what it does with the requests that come from now on.
    pub fn set_mood(&self, mood: Mood) {
        *lock(&self.state.mood) = mood;
    }

    /// What it has been told so far.
    #[must_use]
    pub fn received(&self) -> Received {
        lock(&self.state.received).clone()
    }

    /// Waits until it has been told what is looked for.
    ///
    /// # Errors
    ///
    /// Where that takes too long, or something came that is no request.
    pub fn wait_for<T>(&self, what: &str, mut look: impl FnMut(&Received) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + SOON;
        loop {
            let received = self.received();
            ensure!(received.malformed.is_empty(), "{:?}", received.malformed);
            if let Some(found) = look(&received) {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                bail!(
                    "no {what} in {} requests with {} spans and the metrics {:?}",
                    received.requests.len(),
                    received.spans.len(),
                    received.metrics.keys()
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

async fn accept(listener: TcpListener, protocol: Protocol, tls: Option<TlsAcceptor>, state: Arc<State>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let (tls, state) = (tls.clone(), Arc::clone(&state));
        tokio::spawn(async move {
            match tls {
                None => serve(socket, protocol, state).await,
                Some(tls) => match tls.accept(socket).await {
                    Ok(stream) => serve(stream, protocol, state).await,
                    Err(error) => lock(&state.received).malformed.push(error.to_string()),
                },
            }
        });
    }
}

/// How a connection ends is the client's business, so errors go nowhere.
async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    protocol: Protocol,
    state: Arc<State>,
) {
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(answer(request, protocol, &state).await) }
    });
    let stream = TokioIo::new(stream);
    match protocol {
        Protocol::Http => drop(http1::Builder::new().serve_connection(stream, service).await),
        Protocol::Grpc => {
            drop(http2::Builder::new(TokioExecutor::new()).serve_connection(stream, service).await);
        }
    }
}

async fn answer(request: Request<Incoming>, protocol: Protocol, state: &State) -> Response<Answer> {
    let (head, body) = request.into_parts();
    let mood = *lock(&state.mood);
    lock(&state.received).requests.push(Instant::now());
    let body = match Limited::new(body, MAX_REQUEST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            lock(&state.received).malformed.push(error.to_string());
            return Response::new(Answer::default());
        }
    };
    match mood {
        Mood::Takes => {
            let mut received = lock(&state.received);
            if let Err(error) = received.take(head.uri.path(), &head.headers, &body, protocol) {
                received.malformed.push(format!("{}: {error:#}", head.uri));
            }
            received.headers = head.headers;
        }
        Mood::Busy(_) | Mood::Refuses => {}
        Mood::Hangs => std::future::pending().await,
    }
    match protocol {
        Protocol::Http => {
            let mut response = Response::new(Answer::default());
            match mood {
                Mood::Busy(seconds) => {
                    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                    response.headers_mut().insert(RETRY_AFTER, seconds.into());
                }
                Mood::Refuses => *response.status_mut() = StatusCode::BAD_REQUEST,
                Mood::Takes | Mood::Hangs => {}
            }
            response
        }
        Protocol::Grpc => {
            let status = match mood {
                Mood::Busy(_) => "14", // UNAVAILABLE
                Mood::Refuses => "3",  // INVALID_ARGUMENT
                Mood::Takes | Mood::Hangs => "0",
            };
            let message = if status == "0" { Bytes::from_static(&[0; 5]) } else { Bytes::new() };
            let trailers = [(HeaderName::from_static("grpc-status"), HeaderValue::from_static(status))];
            let trailers = HeaderMap::from_iter(trailers);
            let mut response = Response::new(Answer { body: Full::new(message), trailers: Some(trailers) });
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            response
        }
    }
}

/// A body with trailers behind it.
#[derive(Default)]
struct Answer {
    body: Full<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.or_else(|| self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))))
    }
}

impl Received {
    fn take(&mut self, path: &str, headers: &HeaderMap, body: &[u8], protocol: Protocol) -> Result<()> {
        let content_type = headers.get(CONTENT_TYPE).context("no content type")?.to_str()?;
        let gzip = |name: &str| headers.get(name).is_some_and(|coding| coding == "gzip");
        let (kind, body, compressed) = match protocol {
            Protocol::Http => ("application/x-protobuf", body, gzip(CONTENT_ENCODING.as_str())),
            Protocol::Grpc => {
                let [compressed, a, b, c, d, message @ ..] = body else { bail!("no message") };
                ensure!(u32::from_be_bytes([*a, *b, *c, *d]) as usize == message.len(), "not one message");
                ("application/grpc", message, *compressed == 1 && gzip("grpc-encoding"))
            }
        };
        ensure!(content_type == kind, "{content_type}");
        let mut plain = Vec::new();
        if compressed {
            GzDecoder::new(body).read_to_end(&mut plain)?;
        } else {
            plain.extend_from_slice(body);
        }
        let is = |name: &str| path == format!("/v1/{name}") || path.contains(&format!(".{name}.v1."));
        if is("traces") || is("trace") {
            for of_resource in ExportTraceServiceRequest::decode(plain.as_slice())?.resource_spans {
                self.resource = texts(&of_resource.resource.context("no resource")?.attributes);
                self.spans.extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        } else if is("metrics") {
            for of_resource in ExportMetricsServiceRequest::decode(plain.as_slice())?.resource_metrics {
                self.resource = texts(&of_resource.resource.context("no resource")?.attributes);
                for metric in of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                    self.metrics.insert(metric.name.clone(), metric);
                }
            }
        } else {
            bail!("nobody answers there");
        }
        Ok(())
    }
}

/// Attributes as texts.
#[must_use]
pub fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(bool) => bool.to_string(),
        Value::ArrayValue(list) => {
            let texts = list.values.iter().map(|it| match &it.value {
                Some(Value::StringValue(text)) => text.clone(),
                other => format!("{other:?}"),
            });
            texts.collect::<Vec<_>>().join(",")
        }
        other => format!("{other:?}"),
    };
    let value = |it: &KeyValue| it.value.as_ref().and_then(|it| it.value.as_ref()).map(text);
    attributes.iter().map(|it| (it.key.clone(), value(it).unwrap_or_default())).collect()
}

/// A running Rotel, which takes both protocols and hands on what it is told. It is killed when this is
/// dropped.
#[derive(Debug)]
pub struct Rotel {
    child: Child,
    http: SocketAddr,
    grpc: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Rotel {
    /// Starts it in front of a collector.
    ///
    /// # Errors
    ///
    /// Where it cannot be installed or does not come up.
    pub fn start(to: &Collector) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("llm-tracker-rotel-").tempdir()?;
        let (http, grpc) = (free_address()?, free_address()?);
        let mut command = Command::new(machine::rotel()?);
        command
            .env_clear()
            .args(["start", "--debug-log", "traces", "--debug-log", "metrics"])
            .arg(format!("--pid-file={}", folder.path().join("pid").display()))
            .arg(format!("--log-file={}", folder.path().join("log").display()))
            .arg(format!("--otlp-http-endpoint={http}"))
            .arg(format!("--otlp-grpc-endpoint={grpc}"))
            .args(["--exporter", "otlp", "--otlp-exporter-protocol", "grpc"])
            .arg(format!("--otlp-exporter-endpoint=http://{}", to.address()));
        let mut child = Child::spawn(command, LIFE)?;
        let deadline = Instant::now() + SOON;
        let listens = |address: &SocketAddr| TcpStream::connect(address).is_ok();
        while ![http, grpc].iter().all(listens) {
            ensure!(child.is_running()?, "Rotel ended; it said: {}", child.stderr()?);
            ensure!(Instant::now() < deadline, "Rotel does not listen; it said: {}", child.stderr()?);
            thread::sleep(Duration::from_millis(50));
        }
        Ok(Self { child, http, grpc, _folder: folder })
    }

    /// Where it takes this protocol.
    #[must_use]
    pub fn address(&self, protocol: Protocol) -> SocketAddr {
        match protocol {
            Protocol::Http => self.http,
            Protocol::Grpc => self.grpc,
        }
    }

    /// What it has said.
    ///
    /// # Errors
    ///
    /// Where that cannot be read.
    pub fn log(&self) -> Result<String> {
        Ok(self.child.stdout()? + &self.child.stderr()?)
    }
}
