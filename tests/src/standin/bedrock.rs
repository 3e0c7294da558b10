//! Amazon Bedrock's shapes: `Converse`, and `InvokeModel` with one of Anthropic's models; streams in
//! the AWS event-stream encoding.

use bytes::{BufMut as _, Bytes, BytesMut};
use flate2::Crc;
use serde_json::{Value, json};

use super::{Answer, Asked, TOOL, anthropic, content, socket::base64};
use crate::scenario::Scenario;

/// What fills messages up, so that their sizes tell an onlooker nothing.
const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP";

const REQUEST_ID: &str = "x-amzn-requestid";

/// The only id of such an answer is in a header.
pub(super) fn converse(asked: &Asked, scenario: &Scenario, id: &str) -> Answer {
    let stop = if scenario.tool { "tool_use" } else { "end_turn" };
    let usage = usage(scenario);
    if !asked.streaming {
        let block = if scenario.tool {
            json!({"toolUse": {"toolUseId": "tooluse_standin", "name": TOOL, "input": {"city": "Paris"}}})
        } else {
            json!({"text": content(scenario, 1).concat()})
        };
        let body = json!({
            "metrics": {"latencyMs": 516}, "output": {"message": {"content": [block], "role": "assistant"}},
            "stopReason": stop, "usage": usage,
        });
        return Answer::json(&body).header(REQUEST_ID, &id);
    }
    let mut events = vec![message("messageStart", json!({"role": "assistant"}))];
    if scenario.tool {
        let start = json!({"toolUse": {"toolUseId": "tooluse_standin", "name": TOOL}});
        events.push(message("contentBlockStart", json!({"contentBlockIndex": 0, "start": start})));
        for piece in ["{\"city\":", "\"Paris\"}"] {
            let delta = json!({"toolUse": {"input": piece}});
            events.push(message("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": delta})));
        }
    } else {
        for text in content(scenario, 3) {
            let delta = json!({"text": text});
            events.push(message("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": delta})));
        }
    }
    events.push(message("contentBlockStop", json!({"contentBlockIndex": 0})));
    events.push(message("messageStop", json!({"stopReason": stop})));
    events.push(message("metadata", json!({"metrics": {"latencyMs": 584}, "usage": usage})));
    stream(events).header(REQUEST_ID, &id)
}

/// Anthropic's own bodies, with Bedrock's count in headers or in the last event.
pub(super) fn invoke(asked: &Asked, scenario: &Scenario, id: &str, served: &str) -> Answer {
    let Scenario { input, output, cached, created, .. } = *scenario;
    let (read, written) = (cached.unwrap_or(0), created.unwrap_or(0));
    let uncached = input.saturating_sub(read + written);
    let mut answer = anthropic::messages(asked, scenario, id, served);
    if !asked.streaming {
        return answer
            .header(REQUEST_ID, &"83d69887-28b1-4348-85e1-fb6d7a2a6c27")
            .header("x-amzn-bedrock-input-token-count", &uncached)
            .header("x-amzn-bedrock-output-token-count", &output)
            .header("x-amzn-bedrock-cache-read-input-token-count", &read)
            .header("x-amzn-bedrock-cache-write-input-token-count", &written)
            .header("x-amzn-bedrock-invocation-latency", &587);
    }
    let last = answer.pieces.len().saturating_sub(1);
    let events = std::mem::take(&mut answer.pieces).into_iter().enumerate().map(|(i, event)| {
        // The same events as Anthropic streams, without the framing of SSE.
        let text = String::from_utf8_lossy(&event);
        let data = text.split_once("data: ").map_or("", |(_, data)| data.trim_end());
        let mut inner: Value = serde_json::from_str(data).unwrap_or_default();
        if i == last {
            inner["amazon-bedrock-invocationMetrics"] = json!({
                "inputTokenCount": uncached, "outputTokenCount": output, "invocationLatency": 512,
                "firstByteLatency": 389, "cacheReadInputTokenCount": read, "cacheWriteInputTokenCount": written,
            });
        }
        message("chunk", json!({"bytes": base64(inner.to_string().as_bytes())}))
    });
    stream(events.collect()).header(REQUEST_ID, &"bc84f6e3-bfd9-4071-bcbc-59db0bfadd43")
}

/// `429` and its like, as AWS words them: the type is in a header.
pub(super) fn error(status: u16) -> Answer {
    let kind = match status {
        429 => "ThrottlingException",
        500.. => "InternalServerException",
        _ => "ValidationException",
    };
    Answer::json(&json!({"message": "The stand-in was asked to fail."}))
        .status(status)
        .header("x-amzn-errortype", &kind)
}

/// Bedrock counts cached tokens beside the input, but in the total, and says cache counts twice.
fn usage(scenario: &Scenario) -> Value {
    let Scenario { input, output, cached, created, .. } = *scenario;
    let mut usage = json!({
        "inputTokens": input.saturating_sub(cached.unwrap_or(0) + created.unwrap_or(0)),
        "outputTokens": output, "totalTokens": input + output, "serverToolUsage": {},
    });
    for (name, count) in [("cacheReadInputToken", cached), ("cacheWriteInputToken", created)] {
        if let Some(count) = count {
            usage[format!("{name}s")] = json!(count);
            usage[format!("{name}Count")] = json!(count);
        }
    }
    usage
}

fn stream(events: Vec<Bytes>) -> Answer {
    Answer::stream("application/vnd.amazon.eventstream", events)
}

/// One message: lengths and their checksum, headers, payload, checksum of it all.
fn message(event: &str, mut payload: Value) -> Bytes {
    let mut headers = BytesMut::new();
    for (name, value) in
        [(":event-type", event), (":content-type", "application/json"), (":message-type", "event")]
    {
        headers.put_u8(name.len() as u8);
        headers.put_slice(name.as_bytes());
        headers.put_u8(7); // a string
        headers.put_u16(value.len() as u16);
        headers.put_slice(value.as_bytes());
    }
    let text = payload.to_string();
    payload["p"] = json!(PADDING[..text.len() % PADDING.len()]);
    let payload = payload.to_string();

    let mut message = BytesMut::new();
    message.put_u32((12 + headers.len() + payload.len() + 4) as u32);
    message.put_u32(headers.len() as u32);
    message.put_u32(checksum(&message));
    message.put_slice(&headers);
    message.put_slice(payload.as_bytes());
    message.put_u32(checksum(&message));
    message.freeze()
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}
