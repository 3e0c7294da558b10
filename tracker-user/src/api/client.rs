//! Asks a daemon on this host, for the command line.

use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
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
    ledger::{Condition, Dimension, Span, StoredCall},
    stream::sse::{Decoder, SsePiece},
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

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.path
    }

    /// What the calls of a stretch of time add up to, as [`Ledger::report`], and how far budgets are used.
    ///
    /// # Errors
    /// The daemon's.
    pub fn report(
        &mut self,
        span: Span,
        dimensions: &[Dimension],
        conditions: &[Condition],
    ) -> Result<Report, ClientError> {
        let mut parameters = which(span, conditions);
        if !dimensions.is_empty() {
            let names: Vec<_> = dimensions.iter().map(|dimension| dimension.name()).collect();
            parameters.push(("by", names.join(",")));
        }
        self.get("/api/v1/report", &parameters)
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

    /// The latest `last` calls of a stretch of time and those that come; or those behind an `id`.
    ///
    /// # Errors
    /// The daemon's.
    pub fn follow(
        mut self,
        span: Span,
        conditions: &[Condition],
        last: u32,
        behind: Option<&str>,
    ) -> Result<Following, ClientError> {
        let mut parameters = which(Span { until: i64::MAX, ..span }, conditions);
        parameters.push(("last", last.to_string()));
        let response = self.exchange("/api/v1/stream", &parameters, behind, async |response| {
            if response.status() == StatusCode::OK {
                return Ok(Ok(response));
            }
            body(response).await.map(Err)
        })?;
        match response {
            Ok(response) => Ok(Following {
                client: self,
                body: response.into_body(),
                events: EventReader::default(),
                last_event_id: behind.map(str::to_owned),
            }),
            Err((status, body)) => Err(refused(status, &body)?),
        }
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
        match self.exchange(path, parameters, None, body)? {
            (StatusCode::OK, body) => Ok(serde_json::from_slice(&body)?),
            (status, body) => Err(refused(status, &body)?),
        }
    }

    /// Asks, and has the answer read.
    fn exchange<T>(
        &mut self,
        path: &str,
        parameters: &[(&str, String)],
        behind: Option<&str>,
        read: impl AsyncFnOnce(Response<Incoming>) -> io::Result<T>,
    ) -> Result<T, ClientError> {
        let query: Vec<_> = parameters
            .iter()
            .map(|(name, value)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)))
            .collect();
        let mut request = Request::get(format!("{path}?{}", query.join("&"))).header(HOST, "localhost");
        if let Some(id) = behind {
            request = request.header(super::LAST_EVENT_ID, id);
        }
        let requests = &mut self.requests;
        let exchange = async {
            requests.ready().await.map_err(io::Error::other)?;
            let request = request.body(Empty::new()).map_err(io::Error::other)?;
            read(requests.send_request(request).await.map_err(io::Error::other)?).await
        };
        let answer = self.runtime.block_on(async { timeout(ANSWER_WITHIN, exchange).await });
        let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        answer.map_err(|source| ClientError::Connection { path: self.path.clone(), source })
    }
}

/// All of an answer.
async fn body(response: Response<Incoming>) -> io::Result<(StatusCode, Bytes)> {
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    Ok((status, body.map_err(io::Error::other)?.to_bytes()))
}

/// What a daemon that says no says.
fn refused(status: StatusCode, body: &[u8]) -> Result<ClientError, serde_json::Error> {
    let Refusal { detail } = serde_json::from_slice(body)?;
    Ok(ClientError::Refused { status, detail })
}

/// Calls as they come.
#[derive(Debug)]
pub struct Following {
    client: Client,
    body: Incoming,
    events: EventReader,
    last_event_id: Option<String>,
}

impl Following {
    /// The calls that came next, of which there may be none; nothing when the daemon stops.
    ///
    /// # Errors
    /// The connection breaks, or the daemon says what nobody understands.
    pub fn receive(&mut self) -> Result<Option<Vec<StoredCall>>, ClientError> {
        loop {
            if let Some((calls, id)) = self.events.ready.pop_front() {
                self.last_event_id = Some(id);
                return Ok(Some(calls));
            }
            let Some(frame) = self.client.runtime.block_on(self.body.frame()) else { return Ok(None) };
            let frame = frame.map_err(|error| ClientError::Connection {
                path: self.client.path.clone(),
                source: io::Error::other(error),
            })?;
            if let Some(bytes) = frame.data_ref() {
                self.events.push(bytes)?;
            }
        }
    }

    /// Behind which another stream goes on.
    #[must_use]
    pub fn last_event_id(&self) -> Option<&str> {
        self.last_event_id.as_deref()
    }
}

/// Puts server-sent events together: calls, and the `id` behind them, which says that they are all there.
#[derive(Debug, Default)]
struct EventReader {
    decoder: Decoder,
    data: Vec<u8>,
    is_call: bool,
    id: Option<String>,
    calls: Vec<StoredCall>,
    ready: VecDeque<(Vec<StoredCall>, String)>,
}

impl EventReader {
    fn push(&mut self, bytes: &[u8]) -> Result<(), serde_json::Error> {
        let Self { decoder, data, is_call, id, calls, ready } = self;
        let mut outcome = Ok(());
        decoder.push(bytes, &mut |piece| match piece {
            SsePiece::Event(name) => *is_call = name == "call",
            SsePiece::Data(part) if data.len() < MAX_ANSWER => data.extend_from_slice(part),
            SsePiece::Field { name: "id", value } => *id = Some(String::from_utf8_lossy(value).into_owned()),
            SsePiece::Dispatch => {
                if std::mem::take(is_call) {
                    match serde_json::from_slice(data) {
                        Ok(call) => calls.push(call),
                        Err(error) => outcome = Err(error),
                    }
                }
                data.clear();
                ready.extend(id.take().map(|id| (std::mem::take(calls), id)));
            }
            SsePiece::Data(_) | SsePiece::Field { .. } | SsePiece::Comment => {}
        });
        outcome
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_handed_on_when_their_id_has_come() {
        let mut events = EventReader::default();
        let text = "event: call\ndata: {\"a\":1}\n\n: watching\n\nevent: call\ndata: {}\n\nid: 7\n\n\
                    event: end\ndata: {\"reason\":\"stopping\"}\n\nid: 8\n\n";
        for piece in text.as_bytes().chunks(5) {
            events.push(piece).unwrap();
        }
        let ready: Vec<_> = events.ready.iter().map(|(calls, id)| (calls.len(), id.as_str())).collect();
        assert_eq!(ready, [(2, "7"), (0, "8")]);
        assert!(events.push(b"event: call\ndata: {\n\n").is_err());
    }
}
