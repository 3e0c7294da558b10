//! What the stand-in has answered, to be laid beside what the daemon has seen.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use super::{Asked, Endpoint, Vendor};
use crate::scenario::Scenario;

/// One answer.
#[derive(Clone, Debug)]
pub struct Served {
    /// The id in the answer. Embeddings have none on the wire.
    pub id: String,
    /// Where the request went.
    pub endpoint: Endpoint,
    /// Whose words the answer was in.
    pub vendor: Vendor,
    /// The request's path, without its query.
    pub path: String,
    /// The model that was asked for.
    pub model: String,
    /// What that name says.
    pub scenario: Scenario,
    /// Whether the answer was streamed.
    pub streaming: bool,
    /// Whether a client that reads to the end is told the numbers.
    pub reports_usage: bool,
    /// The tool that the answer calls.
    pub tool: Option<String>,
    /// Whether the request brings what the shell was told to print by an answer before.
    pub tool_ran: bool,
    /// Bytes of the request's body.
    pub request_bytes: usize,
}

/// All answers so far, and the plaintext bytes that went through the TLS port.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    served: Mutex<Vec<Served>>,
    pub(super) connections: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
}

impl Transcript {
    pub(super) fn all(&self) -> Vec<Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes an answer that is about to be given and returns its id.
    pub(super) fn note(
        &self,
        asked: &Asked,
        scenario: &Scenario,
        path: &str,
        request_bytes: usize,
    ) -> String {
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let number = served.len() + 1;
        let prefix = match asked.endpoint {
            Endpoint::Chat => "chatcmpl-",
            Endpoint::Completions => "cmpl-",
            Endpoint::Embeddings => "none-",
            Endpoint::Responses => "resp_",
            Endpoint::Messages => "msg_",
            Endpoint::Invoke => "msg_bdrk_",
            _ => "",
        };
        let id = format!("{prefix}standin{number:06}");
        served.push(Served {
            id: id.clone(),
            endpoint: asked.endpoint,
            vendor: asked.vendor,
            path: path.to_owned(),
            model: asked.model.clone(),
            scenario: scenario.clone(),
            streaming: asked.streaming,
            reports_usage: asked.reports_usage()
                && scenario.cut.is_none()
                && scenario.status.is_none_or(|status| status < 400),
            tool: asked.tool(scenario).map(|tool| tool.name),
            tool_ran: asked.shell.as_ref().is_some_and(|shell| shell.printed),
            request_bytes,
        });
        id
    }

    pub(super) fn add(counter: &AtomicU64, bytes: usize) {
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
