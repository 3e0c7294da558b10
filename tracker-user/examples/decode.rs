//! How fast one core turns bodies into calls: MB per second of its time through `provider`, for
//! bodies made up here.
//!
//! `cargo run --release --example decode [MEGABYTES]`

use std::{fmt::Write as _, sync::Arc, time::Duration};

use llm_tracker::{
    capture::Timestamp,
    provider::{Call, Calls, Catalog},
    stream::{End, Event, ExchangeId, RequestHead, ResponseHead, Role},
};

/// What one TLS record carries at most.
const PIECE: usize = 16 * 1024;

fn main() {
    let megabytes = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(32);
    let size = megabytes * 1_000_000;
    let catalog = Arc::new(Catalog::new());
    for (name, host, path, body) in [
        ("OpenAI chat SSE", "api.openai.com", "/v1/chat/completions", openai_stream(size)),
        ("Anthropic SSE", "api.anthropic.com", "/v1/messages", anthropic_stream(size)),
        ("chat JSON", "api.openai.com", "/v1/chat/completions", chat_json(size)),
        ("embeddings JSON", "api.openai.com", "/v1/embeddings", embeddings_json(size)),
    ] {
        let mut best = 0.0_f64;
        for _ in 0..5 {
            let start = cpu_time();
            let call = decode(&catalog, host, path, body.as_bytes());
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

fn decode(catalog: &Arc<Catalog>, host: &str, path: &str, body: &[u8]) -> Option<Call> {
    let mut calls = Calls::new(Arc::clone(catalog));
    let mut call = None;
    let mut handle = |event: Event<'_>| calls.handle(&event, &mut |made| call = Some(made));
    let exchange = ExchangeId(0);
    let (host, path) = (Some(host.to_owned()), path.to_owned());
    let head = RequestHead { method: "POST".into(), host, path, ..RequestHead::default() };
    handle(Event::Request { exchange, role: Role::Client, head: &head, at: Timestamp(0) });
    let head = ResponseHead { status: 200, ..ResponseHead::default() };
    handle(Event::Response { exchange, head: &head, at: Timestamp(0) });
    for data in body.chunks(PIECE) {
        handle(Event::ResponseBody { exchange, data, at: Timestamp(0) });
    }
    handle(Event::End { exchange, end: End::Complete, at: Timestamp(0) });
    call
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
