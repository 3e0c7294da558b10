//! Made-up HTTP in the shapes that providers send. No byte of it was ever anybody's.

use std::io::Write as _;

use anyhow::{Context as _, Result};

use crate::wire;

/// Prompt tokens that every made-up answer reports.
pub const INPUT_TOKENS: u64 = 1_234;
/// Completion tokens that every made-up answer reports.
pub const OUTPUT_TOKENS: u64 = 5_678;

/// What a client sends.
#[must_use]
pub fn request(host: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
         Accept: application/json\r\nUser-Agent: bench\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// A request for a stream of OpenAI's chat completions.
#[must_use]
pub fn openai_request() -> Vec<u8> {
    request(
        "api.openai.com",
        "/v1/chat/completions",
        r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Count."}],"stream":true,"stream_options":{"include_usage":true}}"#,
    )
}

/// A request for a stream of Anthropic's messages.
#[must_use]
pub fn anthropic_request() -> Vec<u8> {
    request(
        "api.anthropic.com",
        "/v1/messages",
        r#"{"model":"claude-sonnet-4-5","max_tokens":9999,"messages":[{"role":"user","content":"Count."}],"stream":true}"#,
    )
}

/// The head of a streamed answer.
pub const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\
      Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n";

/// The head of an answer of a known length.
#[must_use]
pub fn json_head(length: usize, encoding: Option<&str>) -> Vec<u8> {
    let encoding = encoding.map(|name| format!("Content-Encoding: {name}\r\n")).unwrap_or_default();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{encoding}Content-Length: {length}\r\n\r\n")
        .into_bytes()
}

/// One piece of a body in the chunked transfer coding.
#[must_use]
pub fn chunked(piece: &[u8]) -> Vec<u8> {
    let mut out = format!("{:x}\r\n", piece.len()).into_bytes();
    out.extend_from_slice(piece);
    out.extend_from_slice(b"\r\n");
    out
}

/// The head of lines of JSON, as Ollama streams them.
pub const NDJSON_HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";

/// The head of Amazon's event stream.
pub const MESSAGES_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
      Content-Type: application/vnd.amazon.eventstream\r\n\r\n";

/// A last piece in the chunked transfer coding, and the end of the body.
#[must_use]
pub fn last_chunks(piece: &[u8]) -> Vec<u8> {
    let mut out = chunked(piece);
    out.extend_from_slice(LAST_CHUNK);
    out
}

/// The chunk that ends a chunked body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// The `number`th token of a text in no language, as it stands in JSON: no pattern for a compressor or a
/// branch predictor, escapes and characters outside ASCII now and then, the same in every run.
fn token(number: usize) -> String {
    const SYLLABLES: [&str; 16] = [
        "ta", "ri", "ven", "o", "mel", "ku", "sha", "ist", "er", "pon", "la", "qui", "do", "nth", "ge", "wa",
    ];
    // The finaliser of splitmix64.
    let mut bits = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits ^= bits >> 27;
    match bits & 63 {
        0 => return "\\n\\n".to_owned(),
        1 => return " \\\"so\\\"".to_owned(),
        2 => return " über".to_owned(),
        3..=5 => return ",".to_owned(),
        _ => {}
    }
    let syllable = |shift: u32| SYLLABLES[(bits >> shift) as usize % SYLLABLES.len()];
    let length = 1 + (bits >> 8) % 4;
    (0..length).fold(String::from(" "), |word, index| word + syllable(16 + 4 * index as u32))
}

/// The `number`th event of an OpenAI stream, as the API writes it: a word, no usage, padding.
#[must_use]
pub fn openai_event(number: usize) -> String {
    let word = token(number);
    let padding = &"aB3dE6gH9"[..1 + number % 9];
    format!(
        "data: {{\"id\":\"chatcmpl-Bench0000000000000000000000\",\"object\":\"chat.completion.chunk\",\
         \"created\":1760000000,\"model\":\"gpt-4o-mini-2024-07-18\",\"service_tier\":\"default\",\
         \"system_fingerprint\":\"fp_0123456789\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{word}\"}},\
         \"logprobs\":null,\"finish_reason\":null}}],\"usage\":null,\"obfuscation\":\"{padding}\"}}\n\n"
    )
}

/// The events that end an OpenAI stream: why it stopped, the usage, the terminator.
#[must_use]
pub fn openai_ending() -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-Bench0000000000000000000000\",\"object\":\"chat.completion.chunk\",\
         \"created\":1760000000,\"model\":\"gpt-4o-mini-2024-07-18\",\"choices\":[{{\"index\":0,\"delta\":{{}},\
         \"logprobs\":null,\"finish_reason\":\"stop\"}}],\"usage\":null}}\n\n\
         data: {{\"id\":\"chatcmpl-Bench0000000000000000000000\",\"object\":\"chat.completion.chunk\",\
         \"created\":1760000000,\"model\":\"gpt-4o-mini-2024-07-18\",\"choices\":[],{}}}\n\ndata: [DONE]\n\n",
        openai_usage()
    )
}

fn openai_usage() -> String {
    format!(
        "\"usage\":{{\"prompt_tokens\":{INPUT_TOKENS},\"completion_tokens\":{OUTPUT_TOKENS},\"total_tokens\":{},\
         \"prompt_tokens_details\":{{\"cached_tokens\":0,\"audio_tokens\":0}},\
         \"completion_tokens_details\":{{\"reasoning_tokens\":0,\"audio_tokens\":0}}}}",
        INPUT_TOKENS + OUTPUT_TOKENS
    )
}

/// The events that begin an Anthropic stream.
#[must_use]
pub fn anthropic_beginning() -> String {
    format!(
        "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"id\":\"msg_Bench\",\"type\":\"message\",\
         \"role\":\"assistant\",\"model\":\"claude-sonnet-4-5-20250929\",\"content\":[],\"stop_reason\":null,\
         \"stop_sequence\":null,\"usage\":{{\"input_tokens\":{INPUT_TOKENS},\"cache_creation_input_tokens\":0,\
         \"cache_read_input_tokens\":0,\"output_tokens\":1}}}}}}\n\n\
         event: content_block_start\ndata: {{\"type\":\"content_block_start\",\"index\":0,\
         \"content_block\":{{\"type\":\"text\",\"text\":\"\"}}}}\n\n"
    )
}

/// The `number`th event of an Anthropic stream.
#[must_use]
pub fn anthropic_event(number: usize) -> String {
    let word = token(number);
    format!(
        "event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\
         \"delta\":{{\"type\":\"text_delta\",\"text\":\"{word}{}{}\"}}}}\n\n",
        token(number + 1),
        token(number + 2)
    )
}

/// The `number`th document of an Anthropic stream on Bedrock.
#[must_use]
pub fn anthropic_delta(number: usize) -> String {
    let word = token(number);
    format!(
        "{{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{word}\"}}}}"
    )
}

/// The last document of such a stream, with Bedrock's own counts.
#[must_use]
pub fn invoke_ending() -> String {
    format!(
        "{{\"type\":\"message_stop\",\"amazon-bedrock-invocationMetrics\":{{\"inputTokenCount\":{INPUT_TOKENS},\
         \"outputTokenCount\":{OUTPUT_TOKENS},\"invocationLatency\":9000,\"firstByteLatency\":400}}}}"
    )
}

/// The `number`th event of Bedrock's ConverseStream.
#[must_use]
pub fn converse_delta(number: usize) -> String {
    let (word, padding) = (token(number), &"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP"[..4 + number % 38]);
    format!("{{\"contentBlockIndex\":0,\"delta\":{{\"text\":\"{word}\"}},\"p\":\"{padding}\"}}")
}

/// Its last event.
#[must_use]
pub fn converse_ending() -> String {
    format!(
        "{{\"metrics\":{{\"latencyMs\":9000}},\"usage\":{{\"inputTokens\":{INPUT_TOKENS},\
         \"outputTokens\":{OUTPUT_TOKENS},\"totalTokens\":{}}}}}",
        INPUT_TOKENS + OUTPUT_TOKENS
    )
}

/// The `number`th line of an Ollama chat.
#[must_use]
pub fn ollama_line(number: usize) -> String {
    let word = token(number);
    format!(
        "{{\"model\":\"llama3.2\",\"created_at\":\"2026-08-20T13:48:21.{:09}Z\",\
         \"message\":{{\"role\":\"assistant\",\"content\":\"{word}\"}},\"done\":false}}\n",
        number % 1_000_000_000
    )
}

/// Its last line.
#[must_use]
pub fn ollama_ending() -> String {
    format!(
        "{{\"model\":\"llama3.2\",\"created_at\":\"2026-08-20T13:48:30.000000001Z\",\
         \"message\":{{\"role\":\"assistant\",\"content\":\"\"}},\"done_reason\":\"stop\",\"done\":true,\
         \"total_duration\":9000000000,\"prompt_eval_count\":{INPUT_TOKENS},\"eval_count\":{OUTPUT_TOKENS}}}\n"
    )
}

/// The `number`th event of OpenAI's Responses API over WebSocket.
#[must_use]
pub fn responses_delta(number: usize) -> String {
    let word = token(number);
    let padding = &"aB3dE6gH9"[..1 + number % 9];
    format!(
        "{{\"type\":\"response.output_text.delta\",\"sequence_number\":{number},\"item_id\":\"msg_bench0000000000\",\
         \"output_index\":0,\"content_index\":0,\"delta\":\"{word}\",\"logprobs\":[],\"obfuscation\":\"{padding}\"}}"
    )
}

/// The `number`th event of OpenAI's Realtime API: a piece of sound now and then, and of what it says.
#[must_use]
pub fn realtime_delta(number: usize) -> String {
    let (kind, delta) = if number.is_multiple_of(4) {
        let mut sound = String::new();
        for part in 0..400 {
            let word = token(number * 1000 + part);
            sound.extend(word.chars().filter(char::is_ascii_alphanumeric));
        }
        ("response.output_audio.delta", sound)
    } else {
        ("response.output_audio_transcript.delta", token(number))
    };
    format!(
        "{{\"type\":\"{kind}\",\"event_id\":\"event_bench{number:010}\",\"response_id\":\"resp_bench\",\
         \"item_id\":\"item_bench000000000\",\"output_index\":0,\"content_index\":0,\"delta\":\"{delta}\"}}"
    )
}

/// The event that ends a response over WebSocket.
#[must_use]
pub fn response_ending(kind: &str) -> String {
    format!(
        "{{\"type\":\"{kind}\",\"response\":{{\"id\":\"resp_bench\",\"object\":\"response\",\"status\":\"completed\",\
         \"model\":\"gpt-realtime\",\"output\":[],\"usage\":{{\"input_tokens\":{INPUT_TOKENS},\
         \"output_tokens\":{OUTPUT_TOKENS},\"total_tokens\":{}}}}}}}",
        INPUT_TOKENS + OUTPUT_TOKENS
    )
}

/// A request to Gemini, as a message of Protocol Buffers.
#[must_use]
pub fn gemini_request() -> Vec<u8> {
    [wire::bytes(1, b"models/gemini-2.5-flash"), wire::bytes(2, &wire::bytes(1, &wire::bytes(2, b"Count.")))]
        .concat()
}

/// The `number`th message of its answer.
#[must_use]
pub fn gemini_message(number: usize) -> Vec<u8> {
    let words = (0..6).map(|word| token(6 * number + word)).collect::<String>();
    let content = [wire::bytes(1, &wire::bytes(2, words.as_bytes())), wire::bytes(2, b"model")].concat();
    [wire::bytes(1, &wire::bytes(1, &content)), wire::bytes(4, b"gemini-2.5-flash")].concat()
}

/// The last one.
#[must_use]
pub fn gemini_ending() -> Vec<u8> {
    let counts = [wire::number(1, INPUT_TOKENS), wire::number(2, OUTPUT_TOKENS)].concat();
    [wire::bytes(1, &wire::number(2, 1)), wire::bytes(3, &counts)].concat()
}

/// The events that end an Anthropic stream.
#[must_use]
pub fn anthropic_ending() -> String {
    format!(
        "event: content_block_stop\ndata: {{\"type\":\"content_block_stop\",\"index\":0}}\n\n\
         event: message_delta\ndata: {{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"end_turn\",\
         \"stop_sequence\":null}},\"usage\":{{\"output_tokens\":{OUTPUT_TOKENS}}}}}\n\n\
         event: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n"
    )
}

/// A chat completion of about `length` bytes that did not stream.
#[must_use]
pub fn openai_json(length: usize) -> String {
    let mut content = String::with_capacity(length + 32);
    for number in 0.. {
        if content.len() >= length {
            break;
        }
        content.push_str(&token(number));
    }
    format!(
        "{{\"id\":\"chatcmpl-Bench\",\"object\":\"chat.completion\",\"created\":1760000000,\
         \"model\":\"gpt-4o-mini-2024-07-18\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\
         \"content\":\"{content}\",\"refusal\":null,\"annotations\":[]}},\"logprobs\":null,\
         \"finish_reason\":\"stop\"}}],{}}}",
        openai_usage()
    )
}

/// An embeddings answer of about `length` bytes.
#[must_use]
pub fn embeddings_json(length: usize) -> String {
    let mut body = String::from("{\"object\":\"list\",\"data\":[");
    let mut number = 0_u32;
    for index in 0.. {
        if body.len() >= length {
            break;
        }
        if index > 0 {
            body.push(',');
        }
        body.push_str(&format!("{{\"object\":\"embedding\",\"index\":{index},\"embedding\":["));
        for dimension in 0..1536 {
            // A linear congruence: digits without a pattern, the same in every run.
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let sign = if number & 1 == 0 { "" } else { "-" };
            let comma = if dimension == 0 { "" } else { "," };
            body.push_str(&format!("{comma}{sign}0.0{:08}", number >> 6));
        }
        body.push_str("]}");
    }
    body.push_str(&format!(
        "],\"model\":\"text-embedding-3-small\",\"usage\":{{\"prompt_tokens\":{INPUT_TOKENS},\"total_tokens\":{INPUT_TOKENS}}}}}"
    ));
    body
}

/// `body` as gzip.
///
/// # Errors
/// Never in practice: it is written to memory.
pub fn gzip(body: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body)?;
    Ok(encoder.finish()?)
}

/// More than the frame of the last event of a record.
const LEFT_FOR_LAST: usize = 100;

/// One HTTP chunk of exactly `size` bytes, framing included, that holds whole events of an OpenAI
/// stream: what a server hands to one `SSL_write`.
///
/// # Errors
/// Where `size` is too small for an event.
pub fn openai_record(size: usize) -> Result<Vec<u8>> {
    let length = (1..=8_usize)
        .filter_map(|digits| {
            size.checked_sub(digits + 4).filter(|length| format!("{length:x}").len() == digits)
        })
        .next()
        .context("no HTTP chunk has this size")?;
    let mut events = String::with_capacity(length);
    for number in 0.. {
        let event = openai_event(number);
        // What is left after it must hold the last event, which fills up with content.
        if events.len() + event.len() + LEFT_FOR_LAST > length {
            break;
        }
        events.push_str(&event);
    }
    let (before, after) = ("data: {\"choices\":[{\"delta\":{\"content\":\"", "\"}}]}\n\n");
    let filler =
        length.checked_sub(events.len() + before.len() + after.len()).context("too small for an event")?;
    events.push_str(before);
    events.push_str(&"x".repeat(filler));
    events.push_str(after);
    Ok(chunked(events.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_has_the_size_asked_for() {
        for size in [64, 200, 1 << 10, 4 << 10, 16 << 10] {
            let record = openai_record(size).unwrap();
            assert_eq!(record.len(), size);
            assert!(record.ends_with(b"}\n\n\r\n"));
        }
        assert!(openai_record(40).is_err());
    }

    #[test]
    fn embeddings_are_about_as_long_as_asked() {
        let body = embeddings_json(2 << 20);
        assert!(((2 << 20)..(2 << 20) + (64 << 10)).contains(&body.len()));
    }
}
