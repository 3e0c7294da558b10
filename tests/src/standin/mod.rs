//! A provider on loopback: OpenAI's, Anthropic's and Gemini's endpoints, with known numbers.
//!
//! It speaks HTTP/1.1 over rustls, which nobody hooks, so that whatever the daemon reports was seen
//! on the client's side; to clients that offer nothing else HTTP/2, with Gemini's gRPC methods. Beside the
//! TLS port it has a plain one, to sit behind a proxy.

mod anthropic;
mod gemini;
mod grpc;
mod openai;
mod server;
mod socket;
mod transcript;

use bytes::Bytes;
use serde_json::Value;

use server::Body;
pub use server::StandIn;
pub use transcript::Served;

use crate::scenario::Scenario;

/// Stands in every completion: whoever finds it outside a client has found a leak.
pub const COMPLETION_MARKER: &str = "completion-marker-9f3c61";

/// The value of the cookie that comes with every answer.
pub const COOKIE_MARKER: &str = "cookie-marker-51be07";

/// The model that the stand-in claims to have answered with, whatever was asked for.
pub const SERVED_MODEL: &str = "standin-served-2026-01-01";

/// The only tool that it ever calls.
pub const TOOL: &str = "get_weather";

/// Endpoints, by the name of their operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `chat/completions`
    Chat,
    /// `completions`
    Completions,
    /// `embeddings`
    Embeddings,
    /// `responses`
    Responses,
    /// Anthropic's `messages`
    Messages,
    /// Gemini's `generateContent` and `streamGenerateContent`, by gRPC too
    Generate,
}

impl Endpoint {
    fn of(path: &str) -> Option<Self> {
        let end = path.rsplit('/').next().unwrap_or(path);
        match end {
            "completions" if path.ends_with("/chat/completions") => Some(Self::Chat),
            "completions" => Some(Self::Completions),
            "embeddings" => Some(Self::Embeddings),
            "responses" => Some(Self::Responses),
            "messages" => Some(Self::Messages),
            _ => end
                .contains(":generateContent")
                .then_some(Self::Generate)
                .or_else(|| end.contains(":streamGenerateContent").then_some(Self::Generate)),
        }
    }
}

/// What matters of a request.
#[derive(Debug)]
struct Asked {
    endpoint: Endpoint,
    model: String,
    streaming: bool,
    /// OpenAI's `stream_options.include_usage`.
    include_usage: bool,
    /// Gemini's `alt=sse`.
    event_stream: bool,
}

impl Asked {
    fn new(path: &str, query: &str, body: &Value) -> Option<Self> {
        let endpoint = Endpoint::of(path)?;
        let segment = |before: &str| path.split_once(before)?.1.split(['/', ':']).next();
        let model = match endpoint {
            Endpoint::Generate => segment("/models/")?,
            _ => body["model"].as_str().or_else(|| segment("/deployments/"))?,
        };
        Some(Self {
            endpoint,
            model: model.to_owned(),
            streaming: body["stream"] == true || path.ends_with(":streamGenerateContent"),
            include_usage: body["stream_options"]["include_usage"] == true,
            event_stream: query.split('&').any(|pair| pair == "alt=sse"),
        })
    }

    /// Whether a whole answer carries a usage.
    fn reports_usage(&self) -> bool {
        !matches!(self.endpoint, Endpoint::Chat | Endpoint::Completions)
            || !self.streaming
            || self.include_usage
    }

    fn answer(&self, scenario: &Scenario, id: &str) -> Answer {
        if let Some(status) = scenario.status.filter(|status| *status >= 400) {
            return match self.endpoint {
                Endpoint::Messages => anthropic::error(status, id),
                Endpoint::Generate => gemini::error(status),
                _ => openai::error(status),
            };
        }
        match self.endpoint {
            Endpoint::Chat => openai::chat(self, scenario, id, SERVED_MODEL),
            Endpoint::Completions => openai::completions(self, scenario, id, SERVED_MODEL),
            Endpoint::Embeddings => openai::embeddings(scenario, SERVED_MODEL),
            Endpoint::Responses => openai::responses(self, scenario, id, SERVED_MODEL),
            Endpoint::Messages => anthropic::messages(self, scenario, id, SERVED_MODEL),
            Endpoint::Generate => gemini::generate(self, scenario, id, SERVED_MODEL),
        }
    }
}

/// An answer's entity, before any coding.
#[derive(Debug)]
struct Answer {
    status: u16,
    content_type: &'static str,
    streamed: bool,
    /// One piece, or one for each event of a stream.
    pieces: Vec<Bytes>,
}

impl Answer {
    fn json(body: &Value) -> Self {
        let pieces = vec![body.to_string().into()];
        Self { status: 200, content_type: "application/json", streamed: false, pieces }
    }

    fn events(pieces: Vec<Bytes>) -> Self {
        Self { status: 200, content_type: "text/event-stream; charset=utf-8", streamed: true, pieces }
    }

    fn array(pieces: Vec<Bytes>) -> Self {
        Self { status: 200, content_type: "application/json; charset=UTF-8", streamed: true, pieces }
    }

    fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }
}

fn event(data: &Value) -> Bytes {
    format!("data: {data}\n\n").into()
}

fn named_event(name: &str, data: &Value) -> Bytes {
    format!("event: {name}\ndata: {data}\n\n").into()
}

/// The text of an answer in as many pieces as the scenario asks for, each with the marker.
fn content(scenario: &Scenario, pieces: u32) -> Vec<String> {
    let pieces = scenario.chunks.unwrap_or(pieces).max(1);
    let words = format!("{COMPLETION_MARKER} says so. ");
    let wanted = scenario.size.map_or(words.len(), |size| size.div_ceil(pieces as usize));
    let piece: String = words.chars().cycle().take(wanted.max(words.len())).collect();
    vec![piece; pieces as usize]
}
