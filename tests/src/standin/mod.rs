//! A provider on loopback: the endpoints of those whose SDKs the tests run, with known numbers.
//!
//! It speaks HTTP/1.1 over rustls, which nobody hooks, so that whatever the daemon reports was seen
//! on the client's side; to clients that offer nothing else HTTP/2, with Gemini's gRPC methods. Beside the
//! TLS port it has a plain one, to sit behind a proxy.

mod anthropic;
mod bedrock;
mod cohere;
mod gemini;
mod grpc;
mod ollama;
mod openai;
mod server;
mod socket;
mod tools;
mod transcript;

use bytes::Bytes;
use serde_json::Value;

use server::Body;
pub use server::StandIn;
use tools::Shell;
pub use transcript::Served;

use crate::scenario::Scenario;

/// Stands in every completion: whoever finds it outside a client has found a leak.
pub const COMPLETION_MARKER: &str = "completion-marker-9f3c61";

/// The value of the cookie that comes with every answer.
pub const COOKIE_MARKER: &str = "cookie-marker-51be07";

/// The model that the stand-in claims to have answered with, whatever was asked for.
pub const SERVED_MODEL: &str = "standin-served-2026-01-01";

/// The tool that it calls, but for the shells of agents.
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
    /// Bedrock's `converse` and `converse-stream`
    Converse,
    /// Bedrock's `invoke` and `invoke-with-response-stream`, with one of Anthropic's models
    Invoke,
    /// Cohere's `v2/chat`
    CohereChat,
    /// Cohere's `v2/embed`
    CohereEmbed,
    /// Cohere's `v2/rerank`
    Rerank,
    /// Ollama's `api/chat`
    OllamaChat,
    /// Ollama's `api/embed`
    OllamaEmbed,
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
            "converse" | "converse-stream" => Some(Self::Converse),
            "invoke" | "invoke-with-response-stream" => Some(Self::Invoke),
            "chat" if path.ends_with("/v2/chat") => Some(Self::CohereChat),
            "embed" if path.ends_with("/v2/embed") => Some(Self::CohereEmbed),
            "rerank" => Some(Self::Rerank),
            "chat" if path.ends_with("/api/chat") => Some(Self::OllamaChat),
            "embed" if path.ends_with("/api/embed") => Some(Self::OllamaEmbed),
            _ => end
                .contains(":generateContent")
                .then_some(Self::Generate)
                .or_else(|| end.contains(":streamGenerateContent").then_some(Self::Generate)),
        }
    }

    /// Whether its answers carry an id, in the body or in a header.
    #[must_use]
    pub const fn has_id(self) -> bool {
        !matches!(self, Self::Embeddings | Self::OllamaChat | Self::OllamaEmbed)
    }

    /// The model that its answers name, where `asked` was asked for.
    #[must_use]
    pub const fn served_model(self, asked: &str) -> Option<&str> {
        match self {
            Self::Converse | Self::CohereChat | Self::CohereEmbed | Self::Rerank => None,
            Self::OllamaChat | Self::OllamaEmbed => Some(asked),
            _ => Some(SERVED_MODEL),
        }
    }
}

/// Whose wire format an endpoint that several providers have is answered in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// OpenAI, and any host that is not one of the others.
    OpenAi,
    /// `api.mistral.ai`
    Mistral,
    /// `api.groq.com`
    Groq,
}

impl Vendor {
    fn of(host: &str) -> Self {
        match host.split(':').next() {
            Some("api.mistral.ai") => Self::Mistral,
            Some("api.groq.com") => Self::Groq,
            _ => Self::OpenAi,
        }
    }
}

/// What matters of a request.
#[derive(Debug)]
struct Asked {
    endpoint: Endpoint,
    vendor: Vendor,
    model: String,
    streaming: bool,
    /// OpenAI's `stream_options.include_usage`.
    include_usage: bool,
    /// Gemini's `alt=sse`.
    event_stream: bool,
    /// The shell that it offers.
    shell: Option<Shell>,
}

impl Asked {
    fn new(host: &str, path: &str, query: &str, body: &Value) -> Option<Self> {
        let endpoint = Endpoint::of(path)?;
        let segment = |before: &str| path.split_once(before)?.1.split(['/', ':']).next();
        let model = match endpoint {
            Endpoint::Generate => segment("/models/")?,
            Endpoint::Converse | Endpoint::Invoke => segment("/model/")?,
            _ => body["model"].as_str().or_else(|| segment("/deployments/"))?,
        };
        Some(Self {
            endpoint,
            vendor: Vendor::of(host),
            model: model.to_owned(),
            streaming: match endpoint {
                Endpoint::Generate => path.ends_with(":streamGenerateContent"),
                Endpoint::Converse | Endpoint::Invoke => path.ends_with("-stream"),
                // Ollama streams unless it is told not to.
                Endpoint::OllamaChat => body["stream"] != false,
                _ => body["stream"] == true,
            },
            include_usage: body["stream_options"]["include_usage"] == true,
            event_stream: query.split('&').any(|pair| pair == "alt=sse"),
            shell: Shell::of(body),
        })
    }

    /// Whether a whole answer carries a usage.
    fn reports_usage(&self) -> bool {
        match self.endpoint {
            Endpoint::Chat | Endpoint::Completions => {
                !self.streaming || self.include_usage || self.vendor != Vendor::OpenAi
            }
            // It is paid by the search.
            Endpoint::Rerank => false,
            _ => true,
        }
    }

    fn answer(&self, scenario: &Scenario, id: &str) -> Answer {
        if let Some(status) = scenario.status.filter(|status| *status >= 400) {
            return match self.endpoint {
                Endpoint::Messages => anthropic::error(status, id),
                Endpoint::Generate => gemini::error(status),
                Endpoint::Converse | Endpoint::Invoke => bedrock::error(status),
                Endpoint::CohereChat | Endpoint::CohereEmbed | Endpoint::Rerank => cohere::error(status, id),
                Endpoint::OllamaChat | Endpoint::OllamaEmbed => ollama::error(status),
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
            Endpoint::Converse => bedrock::converse(self, scenario, id),
            Endpoint::Invoke => bedrock::invoke(self, scenario, id, SERVED_MODEL),
            Endpoint::CohereChat => cohere::chat(self, scenario, id),
            Endpoint::CohereEmbed => cohere::embed(scenario, id),
            Endpoint::Rerank => cohere::rerank(id),
            Endpoint::OllamaChat => ollama::chat(self, scenario),
            Endpoint::OllamaEmbed => ollama::embed(self, scenario),
        }
    }
}

/// An answer's entity, before any coding.
#[derive(Debug)]
struct Answer {
    status: u16,
    content_type: &'static str,
    /// Headers beside those that every answer has.
    headers: Vec<(&'static str, String)>,
    streamed: bool,
    /// One piece, or one for each event of a stream.
    pieces: Vec<Bytes>,
}

impl Answer {
    fn json(body: &Value) -> Self {
        let pieces = vec![body.to_string().into()];
        Self { streamed: false, ..Self::stream("application/json", pieces) }
    }

    fn events(pieces: Vec<Bytes>) -> Self {
        Self::stream("text/event-stream; charset=utf-8", pieces)
    }

    fn stream(content_type: &'static str, pieces: Vec<Bytes>) -> Self {
        Self { status: 200, content_type, headers: Vec::new(), streamed: true, pieces }
    }

    fn header(mut self, name: &'static str, value: &impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
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
