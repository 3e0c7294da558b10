//! Each way to carry the answers of LLMs, as a connection.

use anyhow::Result;
use llm_tracker::capture::Direction;

use super::{BLOCK, Part, RECORD, Workload};
use crate::{traffic, wire};

/// The least that one core should decode of any framing, MB/s of captured plaintext.
const LEAST: f64 = 250.0;

/// The least of the framing that most calls use, in MB/s.
const LEAST_OF_EVENTS: f64 = 300.0;

/// Where a made-up Bedrock is.
const BEDROCK: &str = "bedrock-runtime.us-east-1.amazonaws.com";

impl Workload {
    /// All of them.
    ///
    /// # Errors
    /// Never in practice: bodies are compressed to memory.
    pub fn all() -> Result<Vec<Self>> {
        let openai = Self::stream(
            "OpenAI SSE",
            traffic::openai_request(),
            traffic::STREAM_HEAD,
            "",
            &|number| traffic::openai_event(number).into_bytes(),
            &traffic::openai_ending().into_bytes(),
        );
        let anthropic = Self::stream(
            "Anthropic SSE",
            traffic::anthropic_request(),
            traffic::STREAM_HEAD,
            &traffic::anthropic_beginning(),
            &|number| traffic::anthropic_event(number).into_bytes(),
            &traffic::anthropic_ending().into_bytes(),
        );
        let mut small = openai.clone();
        small.name = "OpenAI SSE, 300 B records";
        small.target = None;
        small.record = 300;
        Ok(vec![
            openai.answers("OpenAI SSE, one call each 100 KB"),
            anthropic.answers("Anthropic SSE, one call each 100 KB"),
            openai,
            small,
            anthropic,
            Self::http2(),
            Self::grpc(),
            Self::stream(
                "Ollama NDJSON",
                traffic::request("127.0.0.1:11434", "/api/chat", r#"{"model":"llama3.2","messages":[]}"#),
                traffic::NDJSON_HEAD,
                "",
                &|number| traffic::ollama_line(number).into_bytes(),
                &traffic::ollama_ending().into_bytes(),
            )
            .at_least(LEAST),
            Self::bedrock("Bedrock InvokeModel", "invoke-with-response-stream", &|number| {
                wire::enveloped(&traffic::anthropic_delta(number))
            })
            .ending_with(&wire::enveloped(&traffic::invoke_ending())),
            Self::bedrock("Bedrock Converse", "converse-stream", &|number| {
                wire::message("contentBlockDelta", &traffic::converse_delta(number))
            })
            .ending_with(
                &[
                    wire::message("messageStop", r#"{"stopReason":"end_turn"}"#),
                    wire::message("metadata", &traffic::converse_ending()),
                ]
                .concat(),
            ),
            Self::socket("OpenAI Responses WebSocket", "/v1/responses", false, &traffic::responses_delta),
            Self::socket("OpenAI Realtime WebSocket", "/v1/realtime", false, &traffic::realtime_delta),
            Self::socket("the same, compressed", "/v1/realtime", true, &traffic::realtime_delta),
            Self::body(
                "OpenAI JSON 4 MB, gzip",
                "/v1/chat/completions",
                &traffic::openai_json(4_000_000),
                true,
            )?,
            Self::body("OpenAI JSON 4 MB", "/v1/chat/completions", &traffic::openai_json(4_000_000), false)?,
            Self::body("embeddings 2 MB", "/v1/embeddings", &traffic::embeddings_json(2_000_000), false)?,
        ])
    }

    /// A call whose answer goes on and on: `frame` writes a piece of it, and returns how long it is
    /// without its framing.
    fn endless(
        name: &'static str,
        before: Vec<Part>,
        frame: &mut dyn FnMut(usize, &mut Vec<u8>) -> usize,
        end: Vec<u8>,
    ) -> Self {
        let (mut block, mut decoded) = (Vec::new(), 0);
        for number in 0.. {
            if block.len() >= BLOCK {
                break;
            }
            decoded += frame(number, &mut block);
        }
        Self {
            name,
            target: Some(LEAST),
            record: RECORD,
            decoded,
            before,
            repeated: vec![Part(Direction::Read, block.into())],
            after: vec![Part(Direction::Read, end.into())],
            call_each: false,
            output_tokens: Some(traffic::OUTPUT_TOKENS),
        }
    }

    const fn at_least(mut self, target: f64) -> Self {
        self.target = Some(target);
        self
    }

    /// One HTTP/1.1 chunk for each event.
    /// The same as many streams of an ordinary length, one after another.
    fn answers(&self, name: &'static str) -> Self {
        const LENGTH: usize = 100_000;
        let mut repeated = self.before.clone();
        for Part(direction, bytes) in &self.repeated {
            // Up to the end of a chunk of the transfer coding, which is an event.
            let end = (LENGTH..bytes.len()).find(|&end| bytes[..end].ends_with(b"\n\n\r\n"));
            repeated.push(Part(*direction, bytes.slice(..end.unwrap_or(bytes.len()))));
        }
        repeated.extend(self.after.iter().cloned());
        Self {
            name,
            before: Vec::new(),
            decoded: repeated.iter().map(|part| part.1.len()).sum(),
            repeated,
            after: Vec::new(),
            call_each: true,
            ..self.clone()
        }
    }

    fn stream(
        name: &'static str,
        request: Vec<u8>,
        head: &[u8],
        beginning: &str,
        event: &dyn Fn(usize) -> Vec<u8>,
        ending: &[u8],
    ) -> Self {
        let mut head = head.to_vec();
        if !beginning.is_empty() {
            head.extend(traffic::chunked(beginning.as_bytes()));
        }
        let before = vec![Part(Direction::Write, request.into()), Part(Direction::Read, head.into())];
        let end = if ending.is_empty() { Vec::new() } else { traffic::last_chunks(ending) };
        let mut frame = |number, block: &mut Vec<u8>| {
            let event = event(number);
            block.extend(traffic::chunked(&event));
            event.len()
        };
        Self::endless(name, before, &mut frame, end).at_least(LEAST_OF_EVENTS)
    }

    /// Amazon's event stream, one message a chunk, without its end.
    fn bedrock(name: &'static str, operation: &str, message: &dyn Fn(usize) -> Vec<u8>) -> Self {
        let path = format!("/model/anthropic.claude-sonnet-4-5-20250929-v1:0/{operation}");
        let request = traffic::request(BEDROCK, &path, r#"{"messages":[],"max_tokens":9999}"#);
        Self::stream(name, request, traffic::MESSAGES_HEAD, "", message, &[]).at_least(LEAST)
    }

    fn ending_with(mut self, ending: &[u8]) -> Self {
        self.after = vec![Part(Direction::Read, traffic::last_chunks(ending).into())];
        self
    }

    /// OpenAI's events again, each in a DATA frame of its own.
    fn http2() -> Self {
        let body = r#"{"model":"gpt-4o-mini","messages":[],"stream":true}"#;
        let before =
            wire::opening("api.openai.com", "/v1/chat/completions", "application/json", body.as_bytes());
        let mut head = before.server;
        head.extend(wire::response_head("text/event-stream; charset=utf-8"));
        let before = vec![Part(Direction::Write, before.client.into()), Part(Direction::Read, head.into())];
        let mut frame = |number, block: &mut Vec<u8>| {
            let event = traffic::openai_event(number);
            wire::data(block, event.as_bytes());
            event.len()
        };
        Self::endless(
            "OpenAI SSE, HTTP/2",
            before,
            &mut frame,
            wire::last_data(traffic::openai_ending().as_bytes()),
        )
    }

    /// Gemini's stream by gRPC, one message a DATA frame.
    fn grpc() -> Self {
        let path = "/google.ai.generativelanguage.v1beta.GenerativeService/StreamGenerateContent";
        let request = wire::grpc(&traffic::gemini_request());
        let opening = wire::opening("generativelanguage.googleapis.com", path, "application/grpc", &request);
        let mut head = opening.server;
        head.extend(wire::response_head("application/grpc"));
        let before = vec![Part(Direction::Write, opening.client.into()), Part(Direction::Read, head.into())];
        let mut frame = |number, block: &mut Vec<u8>| {
            let message = wire::grpc(&traffic::gemini_message(number));
            wire::data(block, &message);
            message.len()
        };
        let mut end = Vec::new();
        wire::data(&mut end, &wire::grpc(&traffic::gemini_ending()));
        end.extend(wire::trailers());
        Self::endless("Gemini gRPC", before, &mut frame, end)
    }

    /// A conversation over WebSocket: one response, of many messages.
    fn socket(name: &'static str, path: &str, compressed: bool, delta: &dyn Fn(usize) -> String) -> Self {
        let extensions = if compressed { "Sec-WebSocket-Extensions: permessage-deflate\r\n" } else { "" };
        let request = format!(
            "GET {path}?model=gpt-realtime HTTP/1.1\r\nHost: api.openai.com\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\
             Sec-WebSocket-Version: 13\r\n{extensions}\r\n"
        );
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n{extensions}\r\n"
        );
        let mut sender = wire::Sender::new(compressed);
        let mut first = Vec::new();
        sender.message(&mut first, br#"{"type":"response.created","response":{"id":"resp_bench","object":"response","model":"gpt-realtime","status":"in_progress"}}"#);
        let ask = wire::masked(br#"{"type":"response.create","model":"gpt-realtime","input":[]}"#);
        let before = vec![
            Part(Direction::Write, request.into()),
            Part(Direction::Read, head.into()),
            Part(Direction::Write, ask.into()),
            Part(Direction::Read, first.into()),
        ];
        // A repetition refers to nothing before itself.
        sender.forget();
        let mut frame = |number, block: &mut Vec<u8>| {
            let event = delta(number);
            sender.message(block, event.as_bytes());
            event.len()
        };
        let mut workload = Self::endless(name, before, &mut frame, Vec::new());
        sender.forget();
        let mut end = Vec::new();
        let done = if path.ends_with("realtime") { "response.done" } else { "response.completed" };
        sender.message(&mut end, traffic::response_ending(done).as_bytes());
        workload.after = vec![Part(Direction::Read, end.into())];
        if compressed {
            workload.target = None;
        }
        workload
    }

    fn body(name: &'static str, path: &str, body: &str, gzip: bool) -> Result<Self> {
        let embeddings = path.ends_with("/embeddings");
        let request = if embeddings {
            traffic::request(
                "api.openai.com",
                path,
                r#"{"model":"text-embedding-3-small","input":["a","b"]}"#,
            )
        } else {
            traffic::request("api.openai.com", path, r#"{"model":"gpt-4o-mini","messages":[]}"#)
        };
        let sent = if gzip { traffic::gzip(body.as_bytes())? } else { body.as_bytes().to_vec() };
        let mut response = traffic::json_head(sent.len(), gzip.then_some("gzip"));
        response.extend(sent);
        Ok(Self {
            name,
            target: None,
            record: RECORD,
            decoded: body.len(),
            before: Vec::new(),
            repeated: vec![Part(Direction::Write, request.into()), Part(Direction::Read, response.into())],
            after: Vec::new(),
            call_each: true,
            output_tokens: (!embeddings).then_some(traffic::OUTPUT_TOKENS),
        })
    }
}
