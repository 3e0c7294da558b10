//! The sockets, and HTTP around the answers.

use std::{
    convert::Infallible,
    io::{self, Write as _},
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http_body_util::{BodyExt as _, Full, Limited, channel::Channel, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::Incoming,
    header,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
};
use tokio_rustls::TlsAcceptor;

use super::{Answer, Asked, COOKIE_MARKER, Served, grpc, openai, socket, transcript::Transcript};
use crate::{scenario::Scenario, tls::Identity};

/// Largest request body that is read: above the largest test, below what would hurt.
const MAX_REQUEST: usize = 64 << 20;

pub(super) type Body = BoxBody<Bytes, io::Error>;

/// The running provider. It stops when this is dropped.
#[derive(Debug)]
pub struct StandIn {
    identity: Identity,
    tls: SocketAddr,
    plain: SocketAddr,
    transcript: Arc<Transcript>,
    // Dropped last: it ends every connection.
    _runtime: Runtime,
}

impl StandIn {
    /// Listens on two free ports of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// Where keys, threads or sockets cannot be had.
    pub fn start() -> Result<Self> {
        Self::start_at(Duration::ZERO)
    }

    /// The same at a distance: every connection waits that long before its handshake, as it would
    /// on a network.
    ///
    /// # Errors
    ///
    /// Where keys, threads or sockets cannot be had.
    pub fn start_at(distance: Duration) -> Result<Self> {
        let identity = Identity::new()?;
        let transcript = Arc::<Transcript>::default();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("stand-in")
            .enable_all()
            .build()?;
        let listen = || TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0));
        let (tls, plain) = runtime.block_on(async { (listen().await, listen().await) });
        let (tls_listener, plain_listener) = (tls.context("no TLS port")?, plain.context("no plain port")?);
        let (tls, plain) = (tls_listener.local_addr()?, plain_listener.local_addr()?);
        let acceptor = TlsAcceptor::from(identity.server());
        runtime.spawn(accept(tls_listener, Some((acceptor, distance)), Arc::clone(&transcript)));
        runtime.spawn(accept(plain_listener, None, Arc::clone(&transcript)));
        Ok(Self { identity, tls, plain, transcript, _runtime: runtime })
    }

    /// `https://localhost:PORT`
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.tls.port())
    }

    /// Where TLS is spoken.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.tls
    }

    /// Where plain HTTP is spoken.
    #[must_use]
    pub fn plain_address(&self) -> SocketAddr {
        self.plain
    }

    /// Its certificate, and who vouches for it.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Every answer so far, in the order in which the requests were read.
    #[must_use]
    pub fn served(&self) -> Vec<Served> {
        self.transcript.all()
    }

    /// Connections accepted so far, on both ports.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.transcript.connections.load(Ordering::Relaxed)
    }

    /// Plaintext bytes that were received and sent on the TLS port.
    #[must_use]
    pub fn plaintext_bytes(&self) -> (u64, u64) {
        let Transcript { bytes_in, bytes_out, .. } = &*self.transcript;
        (bytes_in.load(Ordering::Relaxed), bytes_out.load(Ordering::Relaxed))
    }
}

async fn accept(listener: TcpListener, tls: Option<(TlsAcceptor, Duration)>, transcript: Arc<Transcript>) {
    loop {
        // An error here is the peer's or a passing shortage of descriptors; the listener is fine.
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        transcript.connections.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(connection(socket, tls.clone(), Arc::clone(&transcript)));
    }
}

/// Serves one connection. How it ends is the client's business, so errors go nowhere.
async fn connection(socket: TcpStream, tls: Option<(TlsAcceptor, Duration)>, transcript: Arc<Transcript>) {
    let _ = socket.set_nodelay(true);
    let notes = Arc::clone(&transcript);
    let service = service_fn(move |request| {
        let transcript = Arc::clone(&notes);
        async move { Ok::<_, Infallible>(respond(request, &transcript).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new());
    match tls {
        None => drop(http.serve_connection(TokioIo::new(socket), service).with_upgrades().await),
        Some((tls, distance)) => {
            tokio::time::sleep(distance).await;
            if let Ok(stream) = tls.accept(socket).await {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let counted = Counted { stream, transcript };
                if http2 {
                    let http = http2::Builder::new(TokioExecutor::new());
                    return drop(http.serve_connection(TokioIo::new(counted), service).await);
                }
                drop(http.serve_connection(TokioIo::new(counted), service).with_upgrades().await);
            }
        }
    }
}

async fn respond(request: Request<Incoming>, transcript: &Arc<Transcript>) -> Response<Body> {
    if let Some(headers) = socket::accept(request.headers()) {
        return upgrade(request, &headers, Arc::clone(transcript));
    }
    let (head, body) = request.into_parts();
    if head.uri.path() == "/healthz" {
        return whole(200, "text/plain", "ok\n".into());
    }
    let Ok(body) = Limited::new(body, MAX_REQUEST).collect().await else {
        return refuse("the body could not be read");
    };
    let body = body.to_bytes();
    if let Some(asked) = Asked::by_rpc(head.uri.path(), &body) {
        let Ok(scenario) = asked.model.parse::<Scenario>() else { return refuse("no such model") };
        let id = transcript.note(&asked, &scenario, head.uri.path(), body.len());
        tokio::time::sleep(scenario.wait_time()).await;
        return grpc::respond(&asked, &scenario, &id);
    }
    let json: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let path = head.uri.path();
    let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
    let Some(asked) = Asked::new(host, path, head.uri.query().unwrap_or(""), &json) else {
        return refuse("no such endpoint, or no model");
    };
    let scenario = match asked.model.parse::<Scenario>() {
        Ok(scenario) => scenario,
        Err(error) => return refuse(&format!("{error:#}")),
    };
    let id = transcript.note(&asked, &scenario, path, body.len());
    tokio::time::sleep(scenario.wait_time()).await;
    let answer = asked.answer(&scenario, &id);
    let accepts_gzip = head
        .headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("gzip"));
    let gzip = accepts_gzip && (scenario.gzip || !answer.streamed);
    send(answer, &scenario, gzip)
}

/// Switches to WebSocket. What goes wrong there shows in the client, which sees it break off.
fn upgrade(
    request: Request<Incoming>,
    headers: &[(&'static str, String)],
    transcript: Arc<Transcript>,
) -> Response<Body> {
    tokio::spawn(async move { drop(socket::serve(request, &transcript).await) });
    let mut response = whole(101, "text/plain", Bytes::new());
    response.headers_mut().clear();
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(*name, value);
        }
    }
    response
}

fn send(answer: Answer, scenario: &Scenario, gzip: bool) -> Response<Body> {
    let Answer { status, content_type, headers: more, streamed, mut pieces } = answer;
    if gzip {
        pieces = match compress(&pieces) {
            Ok(pieces) => pieces,
            Err(error) => return refuse(&error.to_string()),
        };
    }
    if let Some(size) = scenario.piece {
        let entity = pieces.concat();
        pieces = entity.chunks(size.max(1)).map(Bytes::copy_from_slice).collect();
    }
    let mut response = if streamed || scenario.piece.is_some() || scenario.cut.is_some() {
        // Only a body of unknown length can be cut in the middle.
        let length = (!streamed).then(|| pieces.iter().map(Bytes::len).sum::<usize>());
        let mut response = Response::new(paced(pieces, streamed, scenario));
        if let Some(length) = length {
            response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
        }
        response
    } else {
        Response::new(Full::new(Bytes::from(pieces.concat())).map_err(|never| match never {}).boxed())
    };
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    if gzip {
        headers.insert(header::CONTENT_ENCODING, header::HeaderValue::from_static("gzip"));
    }
    if let Ok(cookie) = format!("session={COOKIE_MARKER}; Path=/; Secure").parse() {
        headers.insert(header::SET_COOKIE, cookie);
    }
    for (name, value) in more {
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
    }
    response
}

/// A body that sends its pieces one by one, with the scenario's delay between them, and breaks off
/// where the scenario says so.
fn paced(mut pieces: Vec<Bytes>, streamed: bool, scenario: &Scenario) -> Body {
    let cut = scenario.cut;
    if let Some(cut) = cut {
        if streamed {
            pieces.truncate(cut as usize);
        } else {
            let entity = pieces.concat();
            pieces = vec![Bytes::copy_from_slice(&entity[..entity.len() / 2])];
        }
    }
    let delay = scenario.delay_time();
    let (mut sender, body) = Channel::<Bytes, io::Error>::new(1);
    tokio::spawn(async move {
        for (i, piece) in pieces.into_iter().enumerate() {
            if i > 0 && !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            if sender.send_data(piece).await.is_err() {
                return; // The client has gone.
            }
        }
        if cut.is_some() {
            // What was sent has to reach the client before the connection breaks.
            tokio::time::sleep(Duration::from_millis(50)).await;
            sender.abort(io::Error::other("cut, as asked"));
        }
    });
    body.boxed()
}

/// One gzip member, flushed at the end of each piece, as servers of event streams do.
fn compress(pieces: &[Bytes]) -> io::Result<Vec<Bytes>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let mut coded = Vec::with_capacity(pieces.len() + 1);
    for piece in pieces {
        encoder.write_all(piece)?;
        encoder.flush()?;
        coded.push(Bytes::from(std::mem::take(encoder.get_mut())));
    }
    coded.push(encoder.finish()?.into());
    Ok(coded)
}

fn whole(status: u16, content_type: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).map_err(|never| match never {}).boxed());
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

/// A request that the stand-in was not made for: the test is wrong, and its client shall see why.
fn refuse(why: &str) -> Response<Body> {
    let mut response = whole(400, "application/json", openai::error(400).pieces.concat().into());
    if let Ok(why) = why.parse() {
        response.headers_mut().insert("x-standin-refusal", why);
    }
    response
}

/// Counts the plaintext that goes through a TLS stream.
struct Counted {
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    transcript: Arc<Transcript>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        Transcript::add(&self.transcript.bytes_in, buf.filled().len() - before);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(written)) = polled {
            Transcript::add(&self.transcript.bytes_out, written);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
