//! The HTTP server for scrapes, health checks and the [local API](crate::api): small and read-only, in plain
//! text or, with a web configuration, over TLS and for those who may. The API is on a Unix socket, too.
//!
//! Whoever can reach it may be slow or hostile: connections, heads, bodies, the time for each step, the pages
//! made at a time and the passwords checked at a time are bounded.

mod auth;
mod index;
mod patience;
mod site;
mod socket;
mod tls;
mod web_config;

use std::{
    convert::Infallible,
    fmt, io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use http_body_util::Either;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{PrometheusSink, Sample};
use crate::{
    api::{Api, Peer},
    places::{Place, Places},
};
use patience::Patience;
use site::{Site, respond};
pub use socket::{ApiSocket, SocketError};
pub use web_config::{WebConfig, WebConfigError};

/// A request's head has to be there by then; also how long an idle connection is kept. Prometheus
/// connects anew after a longer scrape interval.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// A connection is closed between two requests after this time, unless it has turned into a stream.
const LIFETIME: Duration = Duration::from_secs(300);
/// A TLS handshake has to be done by then.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// An answer has to be taken by then, to the last byte.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);
/// What is under way when a connection is to close may take so long.
const FINISH_WITHIN: Duration = Duration::from_secs(1);
/// Bytes of a request's head, at most.
const MAX_HEAD: usize = 16 * 1024;
/// Header fields of a request, at most.
const MAX_HEADERS: usize = 64;

/// Settings of an [`HttpServer`].
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Who may ask, and over TLS how.
    pub web: Arc<WebConfig>,
    /// Connections at one time, of which one stranger has a quarter at most; more are closed at once.
    pub max_connections: usize,
}

impl HttpConfig {
    /// With room for 64 connections.
    #[must_use]
    pub const fn new(listen: SocketAddr, web: Arc<WebConfig>) -> Self {
        Self { listen, web, max_connections: 64 }
    }
}

/// Why the server cannot start. Its message says what to do.
#[derive(Debug)]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, source } = self;
        let port = address.port();
        write!(f, "cannot serve metrics on {address}: ")?;
        match source.kind() {
            io::ErrorKind::AddrInUse => write!(
                f,
                "the address is in use, perhaps by another llm-tracker; see who has it with \
                 `ss -ltnp 'sport = :{port}'`, or choose another one with --metrics-listen"
            ),
            io::ErrorKind::AddrNotAvailable => write!(
                f,
                "this host does not have the address; choose one of its own (`ip address`) with \
                 --metrics-listen"
            ),
            io::ErrorKind::PermissionDenied => write!(
                f,
                "not permitted; ports below 1024 need CAP_NET_BIND_SERVICE, or choose a higher one \
                 with --metrics-listen"
            ),
            _ => write!(f, "{source}; choose another address with --metrics-listen"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Whether the daemon does its work yet: what `/readyz` says. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Says whether it does.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Listens from the moment it is bound, answers once it is served.
#[derive(Debug)]
pub struct HttpServer {
    listener: std::net::TcpListener,
    socket: Option<ApiSocket>,
    web: Arc<WebConfig>,
    max_connections: usize,
}

/// What is served.
pub struct Pages {
    /// `/metrics`
    pub metrics: Arc<PrometheusSink>,
    /// `/readyz`
    pub ready: Readiness,
    /// `/api/`
    pub api: Api,
}

impl HttpServer {
    /// Takes the address.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn bind(config: HttpConfig) -> Result<Self, BindError> {
        let HttpConfig { listen, web, max_connections } = config;
        let listener = std::net::TcpListener::bind(listen)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(|source| BindError { address: listen, source })?;
        Ok(Self { listener, socket: None, web, max_connections })
    }

    /// The same with a socket for the API, which has as many connections again.
    #[must_use]
    pub fn with_socket(self, socket: ApiSocket) -> Self {
        Self { socket: Some(socket), ..self }
    }

    /// The address, with the port that was chosen where port 0 was asked for.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop` completes; then finishes what is under way, within two seconds.
    ///
    /// # Errors
    /// A listener cannot be given to the runtime.
    pub async fn serve(self, pages: Pages, stop: impl Future<Output = ()>) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let socket = self.socket.map(ApiSocket::listen).transpose()?;
        let mut connections = Connections {
            over_tcp: Places::new(self.max_connections),
            on_socket: Places::new(self.max_connections),
            refused: count_refused(&pages.metrics),
            site: Site::new(pages, self.web),
            closing: watch::Sender::new(()),
            open: JoinSet::new(),
        };
        let mut stop = pin!(stop);
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => accepted.map(|(stream, from)| connections.tcp(stream, from)),
                accepted = accept(socket.as_ref()) => accepted.map(|stream| connections.socket(stream)),
            };
            // Out of descriptors, most likely: trying again at once would only burn CPU.
            if let Err(error) = accepted {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(Duration::from_secs(1)).await;
            }
        }
        drop((listener, socket));
        connections.finish().await;
        Ok(())
    }
}

/// The next connection to the socket; never, where there is none.
async fn accept(socket: Option<&socket::Listener>) -> io::Result<UnixStream> {
    match socket {
        Some(socket) => socket.accept().await,
        None => std::future::pending().await,
    }
}

/// Those that are open.
struct Connections {
    /// By where they come from.
    over_tcp: Places<IpAddr>,
    /// By who has made them.
    on_socket: Places<u32>,
    refused: Arc<AtomicU64>,
    site: Arc<Site>,
    /// Dropped when the server stops.
    closing: watch::Sender<()>,
    open: JoinSet<()>,
}

impl Connections {
    fn tcp(&mut self, stream: TcpStream, from: SocketAddr) {
        let network = network(from.ip());
        // Whoever is on this host can do worse.
        let Some(place) = self.over_tcp.enter(network, network.is_loopback()) else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        // Without an address its other end is gone already.
        let Ok(to) = stream.local_addr() else { return };
        let (site, closed) = (Arc::clone(&self.site), self.closing.subscribe());
        self.spawn(place, handshake(stream, site, Peer::of_tcp(from, to), closed));
    }

    fn socket(&mut self, stream: UnixStream) {
        let (peer, uid) = match Peer::of_socket(&stream) {
            Ok(known) => known,
            Err(error) => {
                tracing::debug!(%error, "the kernel does not say who is at the API's socket");
                return;
            }
        };
        let Some(place) = self.on_socket.enter(uid, uid == 0) else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let (site, closed) = (Arc::clone(&self.site), self.closing.subscribe());
        self.spawn(place, connection(stream, site, peer, closed));
    }

    fn spawn<K: Eq + std::hash::Hash + Send + 'static>(
        &mut self,
        place: Place<K>,
        connection: impl Future<Output = ()> + Send + 'static,
    ) {
        // Those that are over are taken out as new ones come.
        while self.open.try_join_next().is_some() {}
        self.open.spawn(async move {
            connection.await;
            drop(place);
        });
    }

    async fn finish(self) {
        let Self { closing, mut open, site, .. } = self;
        site.pages.api.stop();
        drop(closing);
        let all = async { while open.join_next().await.is_some() {} };
        // Each has its own limit; this one is for the sum.
        let _ = timeout(FINISH_WITHIN + Duration::from_secs(1), all).await;
    }
}

/// What one host has: an IPv4 address, or an IPv6 network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) if !v6.is_loopback() => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

fn count_refused(metrics: &PrometheusSink) -> Arc<AtomicU64> {
    let refused = Arc::new(AtomicU64::new(0));
    let shown = Arc::clone(&refused);
    metrics.add_source(Arc::new(move || {
        vec![Sample::counter(
            "llm_tracker_http_connections_refused_total",
            "Connections to the metrics address and the API's socket closed at once because there were too many.",
            shown.load(Ordering::Relaxed),
        )]
    }));
    refused
}

/// Begins a connection: over TLS, where that is wanted when it comes.
async fn handshake(stream: TcpStream, site: Arc<Site>, peer: Peer, closed: watch::Receiver<()>) {
    let Some(tls) = site.web.current().tls.clone() else {
        return connection(stream, site, peer, closed).await;
    };
    match timeout(HANDSHAKE_WITHIN, TlsAcceptor::from(tls).accept(stream)).await {
        Ok(Ok(stream)) => connection(stream, site, peer, closed).await,
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake for metrics failed"),
        Err(_) => tracing::debug!("a TLS handshake for metrics took too long"),
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    site: Arc<Site>,
    peer: Peer,
    mut closed: watch::Receiver<()>,
) {
    let streams = AtomicBool::new(false);
    let service = service_fn(|request| async {
        let response = respond(request, &site, &peer).await;
        // Their bodies have no end of their own; for how long there may be one is theirs to say.
        streams.fetch_or(matches!(response.body(), Either::Right(_)), Ordering::Relaxed);
        Ok::<_, Infallible>(response)
    });
    let lifetime = async {
        sleep(LIFETIME).await;
        if streams.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(Patience::new(stream, TAKEN_WITHIN)), service);
    let mut connection = pin!(connection);
    let mut old = pin!(lifetime);
    let mut is_old = false;
    let over = loop {
        tokio::select! {
            result = connection.as_mut() => break Some(result),
            // The sender is dropped when the server stops.
            _ = closed.changed() => break None,
            // What is under way is finished, for which every step has its own limit.
            () = old.as_mut(), if !is_old => {
                is_old = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    let result = match over {
        Some(result) => Ok(result),
        None => {
            connection.as_mut().graceful_shutdown();
            timeout(FINISH_WITHIN, connection).await
        }
    };
    if let Ok(Err(error)) = result {
        // A client that went away or talks nonsense is its own affair.
        tracing::debug!(%error, "a connection for metrics ended badly");
    }
}

#[cfg(test)]
mod tests;
