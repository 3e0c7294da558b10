//! Gemini's shapes: `generateContent`, and `streamGenerateContent` as events or as one JSON array.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Answer, Asked, content,
    tools::{CALL, ToolCall},
};
use crate::scenario::Scenario;

pub(super) fn generate(asked: &Asked, scenario: &Scenario, id: &str, served: &str) -> Answer {
    let object = |parts: Value, finish: Option<&str>, output: u64| {
        let mut candidate = json!({"content": {"parts": parts, "role": "model"}, "index": 0});
        if let Some(finish) = finish {
            candidate["finishReason"] = json!(finish);
        }
        json!({
            "candidates": [candidate], "usageMetadata": usage(scenario, output),
            "modelVersion": served, "responseId": id,
        })
    };
    let pieces = if let Some(ToolCall { name, arguments }) = asked.tool(scenario) {
        vec![json!([{"functionCall": {"id": CALL, "name": name, "args": arguments}}])]
    } else {
        let texts = content(scenario, if asked.streaming { 3 } else { 1 });
        texts.iter().map(|text| json!([{"text": text}])).collect()
    };
    // Every event of a stream has a usage; the numbers grow and only the last are final.
    let last = pieces.len().saturating_sub(1);
    let objects: Vec<Value> = pieces
        .into_iter()
        .enumerate()
        .map(|(i, parts)| {
            let output = if i == last { scenario.output } else { scenario.output / 2 };
            object(parts, (i == last).then_some("STOP"), output)
        })
        .collect();

    if !asked.streaming {
        return Answer::json(objects.first().unwrap_or(&Value::Null));
    }
    if asked.event_stream {
        let events = objects.iter().map(|object| Bytes::from(format!("data: {object}\r\n\r\n"))).collect();
        return Answer::events(events);
    }
    let mut array: Vec<Bytes> = Vec::new();
    for (i, object) in objects.iter().enumerate() {
        array.push(format!("{}{object:#}", if i == 0 { "[" } else { ",\r\n" }).into());
    }
    array.push("\n]\n".into());
    Answer::stream("application/json; charset=UTF-8", array)
}

/// `429` and its like, as Google words them.
pub(super) fn error(status: u16) -> Answer {
    let name = match status {
        429 => "RESOURCE_EXHAUSTED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    };
    let message = "The stand-in was asked to fail.";
    Answer::json(&json!({"error": {"code": status, "message": message, "status": name}})).status(status)
}

/// Gemini counts thoughts beside the candidates.
fn usage(scenario: &Scenario, output: u64) -> Value {
    let thoughts = scenario.reasoning.unwrap_or(0).min(output);
    let mut usage = json!({
        "promptTokenCount": scenario.input,
        "candidatesTokenCount": output - thoughts,
        "totalTokenCount": scenario.input + output,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": scenario.input}],
    });
    if let Some(cached) = scenario.cached {
        usage["cachedContentTokenCount"] = json!(cached);
    }
    if scenario.reasoning.is_some() {
        usage["thoughtsTokenCount"] = json!(thoughts);
    }
    usage
}
