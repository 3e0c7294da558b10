//! Cohere's shapes, version 2: chat, embed, rerank.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Answer, Asked, TOOL, content, named_event};
use crate::scenario::Scenario;

pub(super) fn chat(asked: &Asked, scenario: &Scenario, id: &str) -> Answer {
    let finish = if scenario.tool { "TOOL_CALL" } else { "COMPLETE" };
    if !asked.streaming {
        let message = if scenario.tool {
            json!({
                "role": "assistant", "tool_plan": content(scenario, 1).concat(),
                "tool_calls": [tool_call("{\"city\":\"Paris\"}")],
            })
        } else {
            json!({"role": "assistant", "content": [{"type": "text", "text": content(scenario, 1).concat()}]})
        };
        let usage = usage(scenario);
        return Answer::json(&json!({"id": id, "message": message, "finish_reason": finish, "usage": usage}))
            .header("num-tokens", &(scenario.input / 2 + scenario.output));
    }
    let mut events: Vec<Bytes> = Vec::new();
    let mut push = |kind: &str, mut data: Value| {
        data["type"] = json!(kind);
        events.push(named_event(kind, &data));
    };
    let empty =
        json!({"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []});
    push("message-start", json!({"id": id, "delta": {"message": empty}}));
    if scenario.tool {
        for text in content(scenario, 2) {
            push("tool-plan-delta", json!({"delta": {"message": {"tool_plan": text}}}));
        }
        let start = json!({"message": {"tool_calls": tool_call("")}});
        push("tool-call-start", json!({"index": 0, "delta": start}));
        for piece in ["{\"city\":", "\"Paris\"}"] {
            let delta = json!({"message": {"tool_calls": {"function": {"arguments": piece}}}});
            push("tool-call-delta", json!({"index": 0, "delta": delta}));
        }
        push("tool-call-end", json!({"index": 0}));
    } else {
        let start = json!({"message": {"content": {"type": "text", "text": ""}}});
        push("content-start", json!({"index": 0, "delta": start}));
        for text in content(scenario, 3) {
            let delta = json!({"message": {"content": {"text": text}}});
            push("content-delta", json!({"index": 0, "delta": delta}));
        }
        push("content-end", json!({"index": 0}));
    }
    push("message-end", json!({"delta": {"finish_reason": finish, "usage": usage(scenario)}}));
    events.push("data: [DONE]\n\n".into());
    Answer::stream("text/event-stream", events)
}

pub(super) fn embed(scenario: &Scenario, id: &str) -> Answer {
    let embedding: Vec<f64> = (0..64).map(|i| f64::from(i) / 1000.0 + 0.0001).collect();
    Answer::json(&json!({
        "id": id, "embeddings": {"float": [embedding]}, "texts": [super::COMPLETION_MARKER],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": scenario.input}},
        "response_type": "embeddings_by_type",
    }))
}

pub(super) fn rerank(id: &str) -> Answer {
    Answer::json(&json!({
        "id": id,
        "results": [{"index": 1, "relevance_score": 0.10183054}, {"index": 0, "relevance_score": 0.03762639}],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
    }))
}

/// `429` and its like, as Cohere words them.
pub(super) fn error(status: u16, id: &str) -> Answer {
    Answer::json(&json!({"id": id, "message": "The stand-in was asked to fail."})).status(status)
}

fn tool_call(arguments: &str) -> Value {
    json!({
        "id": "get_weather_standin", "type": "function",
        "function": {"name": TOOL, "arguments": arguments},
    })
}

/// What was billed is less than what the model saw, and must not be taken for it.
fn usage(scenario: &Scenario) -> Value {
    let Scenario { input, output, cached, reasoning, .. } = *scenario;
    let mut usage = json!({
        "billed_units": {"input_tokens": input / 2, "output_tokens": output.saturating_sub(1)},
        "tokens": {"input_tokens": input, "output_tokens": output},
    });
    if let Some(cached) = cached {
        usage["cached_tokens"] = json!(cached);
    }
    if let Some(reasoning) = reasoning {
        usage["tokens"]["reasoning_tokens"] = json!(reasoning);
    }
    usage
}
