//! OpenAI's shapes: chat completions, completions, embeddings and responses; and how Groq and Mistral
//! depart from them.

use serde_json::{Value, json};

use super::{
    Answer, Asked, Vendor, content, event, named_event,
    tools::{CALL, ToolCall},
};
use crate::scenario::Scenario;

/// Seconds since the epoch that every object claims to have been created at.
const CREATED: u64 = 1_767_225_600;

pub(super) fn chat(asked: &Asked, scenario: &Scenario, id: &str, served: &str) -> Answer {
    let tool = asked.tool(scenario);
    let finish = if tool.is_some() { "tool_calls" } else { "stop" };
    let usage = vendor_usage(asked.vendor, scenario);
    if !asked.streaming {
        let message = if let Some(tool) = &tool {
            json!({"role": "assistant", "content": null, "tool_calls": [tool_call(tool)]})
        } else {
            json!({"role": "assistant", "content": content(scenario, 1).concat(), "refusal": null})
        };
        let mut body = json!({
            "id": id, "object": "chat.completion", "created": CREATED, "model": served,
            "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}],
            "usage": usage, "system_fingerprint": "fp_standin",
        });
        if asked.vendor == Vendor::Groq {
            body["x_groq"] = json!({"id": "req_standin", "seed": 771_344_204});
        }
        return Answer::json(&body);
    }
    let chunk = |choices: Value| {
        let mut chunk = json!({
            "id": id, "object": "chat.completion.chunk", "created": CREATED, "model": served,
            "system_fingerprint": "fp_standin", "choices": choices,
        });
        if asked.include_usage && asked.vendor == Vendor::OpenAi {
            // Every chunk of such a stream has the key; only the last has numbers.
            chunk["usage"] = Value::Null;
        }
        chunk
    };
    let delta = |delta: Value, finish: Value| {
        chunk(json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]))
    };
    let mut chunks = vec![delta(json!({"role": "assistant", "content": ""}), Value::Null)];
    let mut end = delta(json!({}), json!(finish));
    if let Some(tool) = &tool {
        let mut call = tool_call(tool);
        call["index"] = json!(0);
        match asked.vendor {
            Vendor::OpenAi => {
                call["function"]["arguments"] = json!("");
                chunks.push(delta(json!({"tool_calls": [call]}), Value::Null));
                for piece in tool.pieces() {
                    let call = json!({"index": 0, "function": {"arguments": piece}});
                    chunks.push(delta(json!({"tool_calls": [call]}), Value::Null));
                }
            }
            Vendor::Groq => chunks.push(delta(json!({"tool_calls": [call]}), Value::Null)),
            Vendor::Mistral => end = delta(json!({"tool_calls": [call]}), json!(finish)),
        }
    } else {
        let pieces = content(scenario, 3);
        chunks.extend(pieces.iter().map(|text| delta(json!({"content": text}), Value::Null)));
    }
    if asked.vendor == Vendor::Groq {
        end["x_groq"] = json!({"id": "req_standin", "usage": usage});
    }
    // Mistral always says it, with the finish; Groq says it there too, and once more.
    let with_finish = match asked.vendor {
        Vendor::OpenAi => false,
        Vendor::Groq => asked.include_usage,
        Vendor::Mistral => true,
    };
    if with_finish {
        end["usage"] = usage.clone();
    }
    chunks.push(end);
    if asked.include_usage && asked.vendor != Vendor::Mistral {
        let mut last = chunk(json!([]));
        last["usage"] = usage;
        chunks.push(last);
    }
    let mut events: Vec<_> = chunks.iter().map(event).collect();
    events.push("data: [DONE]\n\n".into());
    Answer::events(events)
}

pub(super) fn completions(asked: &Asked, scenario: &Scenario, id: &str, served: &str) -> Answer {
    let object = |text: &str, finish: Value, usage: Option<Value>| {
        let mut object = json!({
            "id": id, "object": "text_completion", "created": CREATED, "model": served,
            "choices": [{"text": text, "index": 0, "logprobs": null, "finish_reason": finish}],
        });
        if let Some(usage) = usage {
            object["usage"] = usage;
        }
        object
    };
    let usage = usage(scenario, "prompt", "completion");
    if !asked.streaming {
        return Answer::json(&object(&content(scenario, 1).concat(), json!("stop"), Some(usage)));
    }
    let mut events: Vec<_> =
        content(scenario, 3).iter().map(|text| event(&object(text, Value::Null, None))).collect();
    events.push(event(&object("", json!("stop"), None)));
    if asked.include_usage {
        let mut last = object("", Value::Null, Some(usage));
        last["choices"] = json!([]);
        events.push(event(&last));
    }
    events.push("data: [DONE]\n\n".into());
    Answer::events(events)
}

pub(super) fn embeddings(scenario: &Scenario, served: &str) -> Answer {
    // A float in text is some eight bytes.
    let dimensions = scenario.size.unwrap_or(64) / 8;
    let embedding: Vec<f64> = (0..dimensions).map(|i| (i % 997) as f64 / 1000.0 + 0.0001).collect();
    Answer::json(&json!({
        "object": "list", "model": served,
        "data": [{"object": "embedding", "index": 0, "embedding": embedding}],
        "usage": {"prompt_tokens": scenario.input, "total_tokens": scenario.input},
    }))
}

pub(super) fn responses(asked: &Asked, scenario: &Scenario, id: &str, served: &str) -> Answer {
    let pieces = content(scenario, 3);
    let tool = asked.tool(scenario);
    let item = if let Some(tool) = &tool {
        json!({
            "type": "function_call", "id": "fc_standin", "call_id": CALL, "name": tool.name,
            "arguments": tool.arguments.to_string(), "status": "completed",
        })
    } else {
        json!({
            "type": "message", "id": "msg_standin", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": pieces.concat(), "annotations": []}],
        })
    };
    let response = |status: &str, output: Value, usage: Value| {
        json!({
            "id": id, "object": "response", "created_at": CREATED, "status": status, "error": null,
            "incomplete_details": null, "instructions": null, "model": served, "output": output,
            "parallel_tool_calls": true, "temperature": 1.0, "tool_choice": "auto", "tools": [],
            "top_p": 1.0, "metadata": {}, "usage": usage,
        })
    };
    let completed = response("completed", json!([item]), usage(scenario, "input", "output"));
    if !asked.streaming {
        return Answer::json(&completed);
    }
    let mut events = Vec::new();
    let mut push = |kind: &str, mut data: Value| {
        data["type"] = json!(kind);
        data["sequence_number"] = json!(events.len());
        events.push(named_event(kind, &data));
    };
    let begun = response("in_progress", json!([]), Value::Null);
    push("response.created", json!({"response": begun}));
    push("response.in_progress", json!({"response": begun}));
    push("response.output_item.added", json!({"output_index": 0, "item": item}));
    if let Some(tool) = &tool {
        let delta = tool.arguments.to_string();
        let done = json!({"item_id": "fc_standin", "output_index": 0, "delta": delta});
        push("response.function_call_arguments.delta", done);
    } else {
        for text in &pieces {
            push(
                "response.output_text.delta",
                json!({
                    "item_id": "msg_standin", "output_index": 0, "content_index": 0, "delta": text,
                    "logprobs": [],
                }),
            );
        }
    }
    push("response.output_item.done", json!({"output_index": 0, "item": item}));
    push("response.completed", json!({"response": completed}));
    Answer::events(events)
}

/// `429` and its like, as OpenAI words them.
pub(super) fn error(status: u16) -> Answer {
    let (kind, code) = match status {
        429 => ("rate_limit_error", "rate_limit_exceeded"),
        500.. => ("server_error", "internal_error"),
        _ => ("invalid_request_error", "invalid_value"),
    };
    Answer::json(&json!({"error": {
        "message": "The stand-in was asked to fail.", "type": kind, "param": null, "code": code,
    }}))
    .status(status)
}

fn tool_call(tool: &ToolCall) -> Value {
    json!({
        "id": CALL, "type": "function",
        "function": {"name": tool.name, "arguments": tool.arguments.to_string()},
    })
}

/// The usage of a chat completion, in a vendor's words.
fn vendor_usage(vendor: Vendor, scenario: &Scenario) -> Value {
    if vendor == Vendor::Mistral {
        // It says nothing of reasoning, and has a second name for what was cached.
        let mut usage = usage(&Scenario { reasoning: None, ..scenario.clone() }, "prompt", "completion");
        if let Some(cached) = scenario.cached {
            usage["num_cached_tokens"] = json!(cached);
        }
        return usage;
    }
    let mut usage = usage(scenario, "prompt", "completion");
    if vendor == Vendor::Groq {
        for time in ["queue_time", "prompt_time", "completion_time", "total_time"] {
            usage[time] = json!(0.25);
        }
    }
    usage
}

/// OpenAI counts cached tokens inside the prompt and reasoning inside the output.
fn usage(scenario: &Scenario, input: &str, output: &str) -> Value {
    let mut usage = json!({
        format!("{input}_tokens"): scenario.input,
        format!("{output}_tokens"): scenario.output,
        "total_tokens": scenario.input + scenario.output,
    });
    if let Some(cached) = scenario.cached {
        usage[format!("{input}_tokens_details")] = json!({"cached_tokens": cached});
    }
    if let Some(reasoning) = scenario.reasoning {
        usage[format!("{output}_tokens_details")] = json!({"reasoning_tokens": reasoning});
    }
    if let Some(cost) = scenario.cost {
        usage["cost"] = json!(cost as f64 / 1e6);
    }
    usage
}
