//! The daemon, as `top` asks it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::{config::Config, live::Snapshot};

/// A daemon on this machine answers at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than it ever says.
const MAX_ANSWER: usize = 16 << 20;

/// Where to ask: on the socket, which knows who asks; where there is none, on loopback.
#[derive(Clone, Debug)]
pub(super) struct Source {
    socket: Option<PathBuf>,
    address: SocketAddr,
}

impl Source {
    pub(super) fn of(config: &Config) -> Self {
        Self { socket: config.api.socket().map(Path::to_owned), address: config.metrics.listen }
    }

    /// What there is to see now.
    pub(super) async fn fetch(&self) -> Result<Snapshot> {
        timeout(PATIENCE, self.connect_and_ask())
            .await
            .unwrap_or_else(|_| bail!("the daemon does not answer in time"))
    }

    async fn connect_and_ask(&self) -> Result<Snapshot> {
        if let Some(socket) = &self.socket
            && let Ok(stream) = UnixStream::connect(socket).await
        {
            return ask(stream, "localhost")
                .await
                .with_context(|| format!("the daemon at {}", socket.display()));
        }
        let Self { address, .. } = self;
        let stream = TcpStream::connect(address).await.with_context(|| {
            let socket = self.socket.as_ref().map(|socket| format!("{} or ", socket.display()));
            format!(
                "no daemon answers at {}{address} (`llm-tracker run` starts one; `api.socket` and `metrics.listen` \
                 say where)",
                socket.unwrap_or_default()
            )
        })?;
        ask(stream, &address.to_string()).await.with_context(|| format!("the daemon at {address}"))
    }
}

async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin, host: &str) -> Result<Snapshot> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get("/api/v1/live").header(HOST, host).body(Empty::<Bytes>::new())?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| anyhow!("its answer ends early: {error}"))?.to_bytes();
        if status.is_success() {
            return serde_json::from_slice(&body).context("its answer is another version's");
        }
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        let why = problem.get("detail").and_then(Value::as_str).map(|why| why.replace(char::is_control, "?"));
        bail!("it answers {status}: {}", why.unwrap_or_default())
    };
    tokio::select! {
        answer = answer => answer,
        ended = connection => Err(ended.err().map_or_else(|| anyhow!("it hangs up"), Into::into)),
    }
}
