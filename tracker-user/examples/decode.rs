//! How fast one core turns bodies into calls: MB per second of its time through `stream` and
//! `provider`, for bodies made up here.
//!
//! `cargo run --release --example decode [MEGABYTES]`

use std::{fmt::Write as _, sync::Arc, time::Duration};

use bytes::Bytes;
use llm_tracker::{
    capture::{Chunk, ConnectionId, Direction, Timestamp},
    provider::{Call, Calls, Catalog},
    stream::Connection,
};

/// What one TLS record carries at most.
const RECORD: usize = 16 * 1024;

const BEDROCK: &str = "bedrock-runtime.us-east-1.amazonaws.com";

fn main() {
    let megabytes = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(32);
    let size = megabytes * 1_000_000;
    let catalog = Arc::new(Catalog::new());
    for (name, host, path, body) in [
        ("OpenAI chat SSE", "api.openai.com", "/v1/chat/completions", openai_stream(size)),
        ("Anthropic SSE", "api.anthropic.com", "/v1/messages", anthropic_stream(size)),
        ("chat JSON", "api.openai.com", "/v1/chat/completions", chat_json(size)),
        ("embeddings JSON", "api.openai.com", "/v1/embeddings", embeddings_json(size)),
        ("Ollama NDJSON", "localhost:11434", "/api/chat", ollama_lines(size)),
    ]
    .map(|(name, host, path, body)| (name, host, path, body.into_bytes()))
    .into_iter()
    .chain([
        ("Bedrock invoke", BEDROCK, "/model/m/invoke-with-response-stream", invoke_stream(size)),
        ("Bedrock converse", BEDROCK, "/model/m/converse-stream", converse_stream(size)),
    ]) {
        let exchange = exchange(host, path, &body);
        let mut best = 0.0_f64;
        for _ in 0..5 {
            let start = cpu_time();
            let call = decode(&catalog, &exchange);
            best = best.max(body.len() as f64 / 1e6 / (cpu_time() - start).as_secs_f64());
            assert_eq!(call.and_then(|call| call.usage.input_tokens), Some(12), "{name}");
        }
        println!("{name:18} {best:6.0} MB/s");
    }
}

/// Time this thread has had a core; unlike wall-clock time it does not tell of other processes.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// The whole way: TLS records of both directions in, the call out.
fn decode(catalog: &Arc<Catalog>, exchange: &[(Direction, Bytes)]) -> Option<Call> {
    let mut connection = Connection::new();
    let mut calls = Calls::new(Arc::clone(catalog));
    let mut call = None;
    let mut offsets = [0_u64; 2];
    for (direction, bytes) in exchange {
        let offset = &mut offsets[usize::from(*direction == Direction::Read)];
        let chunk = Chunk {
            connection: ConnectionId { tgid: 1, generation: 1, ssl: 1 },
            tid: 1,
            direction: *direction,
            offset: *offset,
            timestamp: Timestamp(*offset),
            cgroup_id: 1,
            bytes: bytes.clone(),
        };
        *offset += bytes.len() as u64;
        connection.push(&chunk, &mut |event| calls.handle(&event, &mut |made| call = Some(made)));
    }
    call
}

/// A `POST` and its answer: events in one HTTP chunk each, other bodies with their length.
fn exchange(host: &str, path: &str, body: &[u8]) -> Vec<(Direction, Bytes)> {
    let request =
        format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 13\r\n\r\n{{\"model\":\"m\"}}");
    let mut response = b"HTTP/1.1 200 OK\r\n".to_vec();
    let whole = |response: &mut Vec<u8>| {
        response.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        response.extend_from_slice(body);
    };
    match std::str::from_utf8(body) {
        Ok(events) if !events.starts_with('{') => {
            response
                .extend_from_slice(b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
            for event in events.split_inclusive("\n\n") {
                response.extend_from_slice(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
            }
            response.extend_from_slice(b"0\r\n\r\n");
        }
        _ => whole(&mut response),
    }
    let mut response = Bytes::from(response);
    let mut records = vec![(Direction::Write, Bytes::from(request))];
    while !response.is_empty() {
        records.push((Direction::Read, response.split_to(response.len().min(RECORD))));
    }
    records
}

fn openai_stream(size: usize) -> String {
    let mut body = String::new();
    while body.len() < size {
        body.push_str(concat!(
            r#"data: {"id":"chatcmpl-CXYfa0Jn2zkVwVx5Lf3IvWq1rTgHb","object":"chat.completion.chunk","#,
            r#""created":1761000000,"model":"gpt-4o-mini-2024-07-18","service_tier":"default","#,
            r#""system_fingerprint":"fp_560af6e559","choices":[{"index":0,"delta":{"content":" token"},"#,
            r#""logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"q8ZkP2vYd1"}"#,
            "\n\n"
        ));
    }
    body.push_str(r#"data: {"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":3}}"#);
    body.push_str("\n\ndata: [DONE]\n\n");
    body
}

fn anthropic_stream(size: usize) -> String {
    let mut body = String::from("event: message_start\ndata: ");
    body.push_str(r#"{"type":"message_start","message":{"id":"m","usage":{"input_tokens":12}}}"#);
    body.push_str("\n\n");
    while body.len() < size {
        body.push_str("event: content_block_delta\ndata: ");
        body.push_str(r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" some words"}        }"#);
        body.push_str("\n\n");
    }
    body.push_str("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
    body
}

fn chat_json(size: usize) -> String {
    let mut body = String::from(r#"{"id":"c","choices":[{"index":0,"message":{"content":""#);
    while body.len() < size {
        body.push_str(r#"Some text of an answer, with \"quotes\" and\nlines, as models write it. "#);
    }
    body.push_str(r#""},"finish_reason":"stop"}],"usage":{"prompt_tokens":12,"completion_tokens":3}}"#);
    body
}

fn embeddings_json(size: usize) -> String {
    let mut body = String::from(r#"{"object":"list","data":["#);
    let mut value = 0.0123_f64;
    while body.len() < size {
        body.push_str(r#"{"object":"embedding","index":0,"embedding":["#);
        for _ in 0..1536 {
            value = (value * 3.9 * (1.0 - value)).clamp(0.01, 0.99);
            let _ = write!(body, "{:.9},", value - 0.5);
        }
        body.push_str("0.0]},");
    }
    body.push_str(r#"{}],"model":"m","usage":{"prompt_tokens":12,"total_tokens":12}}"#);
    body
}

fn ollama_lines(size: usize) -> String {
    let mut body = String::new();
    while body.len() < size {
        body.push_str(concat!(
            r#"{"model":"llama3.2","created_at":"2026-08-20T13:48:21.068526Z","#,
            r#""message":{"role":"assistant","content":" words"},"done":false}"#,
            "\n"
        ));
    }
    body.push_str(r#"{"model":"llama3.2","done":true,"prompt_eval_count":12,"eval_count":3}"#);
    body
}

/// A message of Amazon's event stream.
fn message(event_type: &str, payload: &str) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, value) in [(":event-type", event_type), (":message-type", "event")] {
        headers.push(name.len() as u8);
        headers.extend_from_slice(name.as_bytes());
        headers.push(7);
        headers.extend_from_slice(&(value.len() as u16).to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let total = (16 + headers.len() + payload.len()) as u32;
    let mut message = [total.to_be_bytes(), (headers.len() as u32).to_be_bytes()].concat();
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message.extend_from_slice(&headers);
    message.extend_from_slice(payload.as_bytes());
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message
}

/// `{"type":"content_block_delta",...}` again and again, and usage at the end, in Base64.
fn invoke_stream(size: usize) -> Vec<u8> {
    // {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" some words"}}
    let delta = "eyJ0eXBlIjoiY29udGVudF9ibG9ja19kZWx0YSIsImluZGV4IjowLCJkZWx0YSI6eyJ0eXBlIjoidGV4dF9kZWx0YSIsInRleHQiOiIgc29tZSB3b3JkcyJ9fQ==";
    // {"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":12}}
    let stop = "eyJ0eXBlIjoibWVzc2FnZV9zdG9wIiwiYW1hem9uLWJlZHJvY2staW52b2NhdGlvbk1ldHJpY3MiOnsiaW5wdXRUb2tlbkNvdW50IjoxMn19";
    let chunk = |text: &str| message("chunk", &format!(r#"{{"bytes":"{text}","p":"abcdefghijkl"}}"#));
    let delta = chunk(delta);
    let mut body = delta.repeat(size / delta.len());
    body.extend(chunk(stop));
    body
}

fn converse_stream(size: usize) -> Vec<u8> {
    let delta = message(
        "contentBlockDelta",
        r#"{"contentBlockIndex":0,"delta":{"text":" some words"},"p":"abcdefghijklmnopqrstuvwxyz"}"#,
    );
    let mut body = delta.repeat(size / delta.len());
    body.extend(message("messageStop", r#"{"stopReason":"end_turn"}"#));
    body.extend(message("metadata", r#"{"usage":{"inputTokens":12,"outputTokens":3}}"#));
    body
}
