//! Asks a daemon on this host, for the command line.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{SendRequest, handshake},
    header::HOST,
};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{net::UnixStream, runtime::Runtime, time::timeout};

use super::{Calls, Report};
#[cfg(doc)]
use crate::ledger::Ledger;
use crate::{
    human::moment,
    ledger::{Answer, Condition, Dimension, Span, StoredCall},
};

/// How long an answer may take, beside what the daemon was asked to wait.
const ANSWER_WITHIN: Duration = Duration::from_secs(40);
/// Bytes of an answer, at most.
const MAX_ANSWER: usize = 64 << 20;

/// Why a daemon does not answer. Its message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is none.
    #[error("no llm-tracker listens on {0}")]
    NoDaemon(PathBuf),
    /// The connection cannot be made, or broke.
    #[error("cannot ask the llm-tracker on {path}: {source}")]
    Connection {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It says no.
    #[error("llm-tracker answers: {detail}")]
    Refused {
        /// The answer's status.
        status: StatusCode,
        /// What it says of it.
        detail: String,
    },
    /// It says what nobody understands.
    #[error("llm-tracker answers with what this version does not understand: {0}")]
    Answer(#[from] serde_json::Error),
}

/// A connection to the daemon of this host.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    runtime: Runtime,
    requests: SendRequest<Empty<Bytes>>,
}

/// A part of [`Problem`](super::Problem), as it is sent.
#[derive(Deserialize)]
struct Refusal {
    detail: String,
}

impl Client {
    /// Connects to the socket of a daemon.
    ///
    /// # Errors
    /// There is none, or it does not let this user in.
    pub fn connect(socket: &Path) -> Result<Self, ClientError> {
        let connect = || -> io::Result<_> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let requests = runtime.block_on(async {
                let stream = TokioIo::new(UnixStream::connect(socket).await?);
                let (requests, connection) = handshake(stream).await.map_err(io::Error::other)?;
                // Goes on while a request is waited for. How it ends is what the request says.
                tokio::spawn(connection);
                io::Result::Ok(requests)
            })?;
            Ok((runtime, requests))
        };
        match connect() {
            Ok((runtime, requests)) => Ok(Self { path: socket.to_owned(), runtime, requests }),
            Err(error) => Err(match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::NoDaemon(socket.to_owned())
                }
                _ => ClientError::Connection { path: socket.to_owned(), source: error },
            }),
        }
    }

    /// What the calls of a stretch of time add up to, as [`Ledger::report`].
    ///
    /// # Errors
    /// The daemon's.
    pub fn report(
        &mut self,
        span: Span,
        dimensions: &[Dimension],
        conditions: &[Condition],
    ) -> Result<Answer, ClientError> {
        let mut parameters = which(span, conditions);
        if !dimensions.is_empty() {
            let names: Vec<_> = dimensions.iter().map(|dimension| dimension.name()).collect();
            parameters.push(("by", names.join(",")));
        }
        Ok(self.get::<Report>("/api/v1/report", &parameters)?.answer)
    }

    /// Single calls, the latest `most`, in order, as [`Ledger::calls`].
    ///
    /// # Errors
    /// The daemon's.
    pub fn calls(
        &mut self,
        span: Span,
        conditions: &[Condition],
        most: u32,
    ) -> Result<Vec<StoredCall>, ClientError> {
        let mut pages: Vec<Vec<StoredCall>> = Vec::new();
        let (mut before, mut left) = (None::<String>, most);
        while left > 0 {
            let mut parameters = which(span, conditions);
            parameters.push(("limit", left.min(super::CALLS.1).to_string()));
            parameters.extend(before.map(|before| ("before", before)));
            let page: Calls = self.get("/api/v1/calls", &parameters)?;
            left = left.saturating_sub(u32::try_from(page.calls.len()).unwrap_or(u32::MAX));
            let is_last = page.calls.is_empty() || page.before.is_none();
            before = page.before;
            pages.push(page.calls);
            if is_last {
                break;
            }
        }
        Ok(pages.into_iter().rev().flatten().collect())
    }

    /// Any answer, of a path under `/api/v1/`.
    ///
    /// # Errors
    /// The daemon's.
    pub fn get<T: DeserializeOwned>(
        &mut self,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Result<T, ClientError> {
        let query: Vec<_> = parameters
            .iter()
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
            .collect();
        let request = Request::get(format!("{path}?{}", query.join("&")))
            .header(HOST, "localhost")
            .body(Empty::new())
            .map_err(io::Error::other);
        let requests = &mut self.requests;
        let exchange = async {
            requests.ready().await.map_err(io::Error::other)?;
            let response = requests.send_request(request?).await.map_err(io::Error::other)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
            Ok((status, body.map_err(io::Error::other)?.to_bytes()))
        };
        let answer = self.runtime.block_on(async { timeout(ANSWER_WITHIN, exchange).await });
        let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let (status, body): (_, Bytes) =
            answer.map_err(|source| ClientError::Connection { path: self.path.clone(), source })?;
        if status == StatusCode::OK {
            return Ok(serde_json::from_slice(&body)?);
        }
        let Refusal { detail } = serde_json::from_slice(&body)?;
        Err(ClientError::Refused { status, detail })
    }
}

fn which(span: Span, conditions: &[Condition]) -> Vec<(&'static str, String)> {
    let mut parameters = vec![("since", moment(span.from).to_string())];
    // Open at its end: until now.
    if span.until != i64::MAX {
        parameters.push(("until", moment(span.until).to_string()));
    }
    parameters.extend(conditions.iter().map(|condition| ("where", condition.to_string())));
    parameters
}
