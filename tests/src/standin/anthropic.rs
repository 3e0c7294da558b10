//! Anthropic's shapes: messages.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Answer, Asked, content, named_event, tools::CALL};
use crate::scenario::Scenario;

pub(super) fn messages(asked: &Asked, scenario: &Scenario, id: &str, served: &str) -> Answer {
    let tool = asked.tool(scenario);
    let stop = if tool.is_some() { "tool_use" } else { "end_turn" };
    if !asked.streaming {
        let block = if let Some(tool) = tool {
            json!({"type": "tool_use", "id": CALL, "name": tool.name, "input": tool.arguments})
        } else {
            json!({"type": "text", "text": content(scenario, 1).concat()})
        };
        return Answer::json(&json!({
            "id": id, "type": "message", "role": "assistant", "model": served, "content": [block],
            "stop_reason": stop, "stop_sequence": null, "usage": usage(scenario, scenario.output),
        }));
    }
    let mut events: Vec<Bytes> = Vec::new();
    let mut push = |kind: &str, mut data: Value| {
        data["type"] = json!(kind);
        events.push(named_event(kind, &data));
    };
    // The first event already has a usage: the input, and an output that is not the final one.
    push(
        "message_start",
        json!({"message": {
            "id": id, "type": "message", "role": "assistant", "model": served, "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": usage(scenario, scenario.output.min(1)),
        }}),
    );
    if let Some(tool) = tool {
        let block = json!({"type": "tool_use", "id": CALL, "name": tool.name, "input": {}});
        push("content_block_start", json!({"index": 0, "content_block": block}));
        let [first, second] = tool.pieces();
        for piece in [String::new(), first, second] {
            let delta = json!({"type": "input_json_delta", "partial_json": piece});
            push("content_block_delta", json!({"index": 0, "delta": delta}));
        }
    } else {
        push("content_block_start", json!({"index": 0, "content_block": {"type": "text", "text": ""}}));
        push("ping", json!({}));
        for text in content(scenario, 3) {
            push("content_block_delta", json!({"index": 0, "delta": {"type": "text_delta", "text": text}}));
        }
    }
    push("content_block_stop", json!({"index": 0}));
    push(
        "message_delta",
        json!({
            "delta": {"stop_reason": stop, "stop_sequence": null},
            "usage": usage(scenario, scenario.output),
        }),
    );
    push("message_stop", json!({}));
    Answer::events(events)
}

/// `429`, `529` and their like, as Anthropic words them.
pub(super) fn error(status: u16, id: &str) -> Answer {
    let kind = match status {
        429 => "rate_limit_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    let error = json!({"type": kind, "message": "The stand-in was asked to fail."});
    Answer::json(&json!({"type": "error", "error": error, "request_id": id})).status(status)
}

/// Anthropic counts cached tokens, read or written, beside the input. Half of what is written is for an hour.
fn usage(scenario: &Scenario, output: u64) -> Value {
    let (read, created) = (scenario.cached.unwrap_or(0), scenario.created.unwrap_or(0));
    let mut usage = json!({
        "input_tokens": scenario.input.saturating_sub(read + created),
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": created,
        "cache_creation": {
            "ephemeral_5m_input_tokens": created - created / 2,
            "ephemeral_1h_input_tokens": created / 2,
        },
        "output_tokens": output,
        "service_tier": "standard",
    });
    if let Some(reasoning) = scenario.reasoning {
        usage["output_tokens_details"] = json!({"thinking_tokens": reasoning.min(output)});
    }
    usage
}
