//! Ollama's own shapes: chat, as lines of JSON or as one, and embed.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Answer, Asked, TOOL, content};
use crate::scenario::Scenario;

const CREATED: &str = "2026-01-01T00:00:00.17055Z";

pub(super) fn chat(asked: &Asked, scenario: &Scenario) -> Answer {
    let line = |message: Value| json!({"model": asked.model, "created_at": CREATED, "message": message, "done": false});
    let text = |text: &str| json!({"role": "assistant", "content": text});
    let mut tool = text("");
    tool["tool_calls"] = json!([{"function": {"name": TOOL, "arguments": {"city": "Paris"}}}]);
    let finish = |mut line: Value| {
        line["done"] = json!(true);
        line["done_reason"] = json!("stop");
        line["total_duration"] = json!(839_744_125);
        line["load_duration"] = json!(29_176_166);
        line["prompt_eval_count"] = json!(scenario.input);
        line["prompt_eval_duration"] = json!(166_000_000);
        line["eval_count"] = json!(scenario.output);
        line["eval_duration"] = json!(643_000_000);
        line
    };
    if !asked.streaming {
        let message = if scenario.tool { tool } else { text(&content(scenario, 1).concat()) };
        return Answer::json(&finish(line(message)));
    }
    let mut lines: Vec<_> = if scenario.tool {
        vec![line(tool)]
    } else {
        content(scenario, 3).iter().map(|piece| line(text(piece))).collect()
    };
    lines.push(finish(line(text(""))));
    let lines = lines.iter().map(|line| Bytes::from(format!("{line}\n"))).collect();
    Answer::stream("application/x-ndjson", lines)
}

pub(super) fn embed(asked: &Asked, scenario: &Scenario) -> Answer {
    let embedding: Vec<f64> = (0..64).map(|i| f64::from(i) / 1000.0 - 0.0067).collect();
    Answer::json(&json!({
        "model": asked.model, "embeddings": [embedding], "total_duration": 14_143_917,
        "load_duration": 1_019_500, "prompt_eval_count": scenario.input,
    }))
}

/// Any error, as Ollama words it.
pub(super) fn error(status: u16) -> Answer {
    Answer::json(&json!({"error": "the stand-in was asked to fail"})).status(status)
}
