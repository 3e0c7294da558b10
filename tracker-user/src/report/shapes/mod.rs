//! Stored calls in the shapes that other trackers write: `llm-tracker export`.
//!
//! A shape is a function from a call, or from what calls add up to, to JSON objects, one a line. What is not known is
//! `null`; bodies always are, because nobody has kept them. Calls that a watched process served are nobody's usage,
//! and are left out.

mod otel;
mod summary;
mod turns;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::fields::Fields;
use crate::ledger::StoredCall;
use summary::Summaries;
use turns::Turns;

/// Whose shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The `llm_usage` events of open-strix: one for each call that has a usage.
    OpenStrix,
    /// AgentOpt's `CallRecord`, one for each call; its ids are the labels of that name.
    Agentopt,
    /// A summary for each trial, which is a session, and one for all of them, which is the task.
    Hangman,
    /// A usage event for each call, and a summary for each turn.
    Kit,
    /// OTLP's JSON, as the collector's file exporter writes it: a span for each call.
    OtelJson,
}

/// Makes lines of calls that come in order.
#[derive(Debug)]
pub(super) struct Shape(Maker);

#[derive(Debug)]
enum Maker {
    /// Each call is a line, or none.
    Each(fn(Fields<'_>) -> Option<Value>),
    Summaries(Summaries),
    Turns(Turns),
}

impl Shape {
    pub(super) fn new(format: Format) -> Self {
        Self(match format {
            Format::OpenStrix => Maker::Each(open_strix),
            Format::Agentopt => Maker::Each(|call| Some(agentopt(call))),
            Format::Hangman => Maker::Summaries(Summaries::default()),
            Format::Kit => Maker::Turns(Turns::default()),
            Format::OtelJson => Maker::Each(|call| Some(otel::spans(call))),
        })
    }

    /// Takes the next call.
    pub(super) fn take(&mut self, call: &StoredCall, out: &mut dyn FnMut(&Value)) {
        let call = Fields(call);
        if call.text("role") == Some("server") {
            return;
        }
        match &mut self.0 {
            Maker::Each(shape) => {
                if let Some(line) = shape(call) {
                    out(&line);
                }
            }
            Maker::Summaries(summaries) => summaries.take(call),
            Maker::Turns(turns) => turns.take(call, out),
        }
    }

    /// There are no more.
    pub(super) fn finish(self, out: &mut dyn FnMut(&Value)) {
        match self.0 {
            Maker::Each(_) => {}
            Maker::Summaries(summaries) => summaries.finish(out),
            Maker::Turns(turns) => turns.finish(out),
        }
    }
}

/// What `LangChain`'s `init_chat_model` calls providers, where that is not what OpenTelemetry calls them.
const LANGCHAIN: [(&str, &str); 8] = [
    ("aws.bedrock", "bedrock"),
    ("azure.ai.inference", "azure_ai"),
    ("azure.ai.openai", "azure_openai"),
    ("gcp.gemini", "google_genai"),
    ("gcp.vertex_ai", "google_vertexai"),
    ("ibm.watsonx.ai", "ibm"),
    ("mistral_ai", "mistralai"),
    ("x_ai", "xai"),
];

fn open_strix(call: Fields<'_>) -> Option<Value> {
    if call.number("input_tokens").is_none() && call.number("output_tokens").is_none() {
        return None;
    }
    let provider = call.text("provider").unwrap_or("unknown");
    let provider =
        LANGCHAIN.iter().find(|(otel, _)| *otel == provider).map_or(provider, |(_, langchain)| langchain);
    Some(json!({
        "type": "llm_usage",
        "timestamp": call.text("timestamp"),
        "session_id": call.text("session.name"),
        "model": call.model().map(|model| format!("{provider}:{model}")),
        "input_tokens": call.number("input_tokens"),
        "output_tokens": call.number("output_tokens"),
        "total_tokens": call.number("total_tokens"),
        "cache_read_input_tokens": call.number("cache_read_input_tokens"),
        "cache_creation_input_tokens": call.number("cache_creation_input_tokens"),
    }))
}

fn agentopt(call: Fields<'_>) -> Value {
    json!({
        "data_id": call.label("data_id"),
        "combo_id": call.label("combo_id"),
        "agent_id": call.label("agent_id"),
        "model": call.model(),
        "prompt_tokens": call.number("input_tokens"),
        "completion_tokens": call.number("output_tokens"),
        "latency_seconds": call.seconds("duration_seconds"),
        "request_url": call.url(),
        "request_body": null,
        "response_body": null,
        "timestamp": call.text("timestamp"),
        // Its own cache answers without a call, and a call is what was seen.
        "cached": false,
        "error": call.error(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{
        Record, line,
        tests::{bare, full},
    };

    /// A call as it comes out of the ledger.
    pub(super) fn stored(record: &Record) -> StoredCall {
        serde_json::from_slice(&line::encode(record).unwrap()).unwrap()
    }

    /// The lines of calls.
    pub(super) fn lines(format: Format, records: &[Record]) -> Vec<Value> {
        let mut shape = Shape::new(format);
        let mut lines = Vec::new();
        for record in records {
            shape.take(&stored(record), &mut |line| lines.push(line.clone()));
        }
        shape.finish(&mut |line| lines.push(line.clone()));
        lines
    }

    #[test]
    fn open_strix_has_an_event_for_each_usage() {
        let mut gemini = full();
        gemini.call.provider = "gcp.gemini";
        let expected = |model: &str| {
            json!({
                "type": "llm_usage", "timestamp": "2026-01-02T03:04:05.123456Z",
                "session_id": "nightly/suite-3", "model": model,
                "input_tokens": 100, "output_tokens": 20, "total_tokens": 120,
                "cache_read_input_tokens": 60, "cache_creation_input_tokens": 10,
            })
        };
        let lines = lines(Format::OpenStrix, &[full(), bare(), gemini]);
        assert_eq!(lines, [expected("openai:gpt-4o"), expected("google_genai:gpt-4o")]);
    }

    #[test]
    fn agentopt_has_a_record_for_each_call() {
        let expected = [
            json!({
                "data_id": "7", "combo_id": null, "agent_id": null, "model": "gpt-4o",
                "prompt_tokens": 100, "completion_tokens": 20, "latency_seconds": 1.5,
                "request_url": "https://api.openai.com:443/v1/chat/completions",
                "request_body": null, "response_body": null,
                "timestamp": "2026-01-02T03:04:05.123456Z", "cached": false, "error": "interrupted",
            }),
            json!({
                "data_id": null, "combo_id": null, "agent_id": null, "model": null,
                "prompt_tokens": null, "completion_tokens": null, "latency_seconds": 0.5,
                "request_url": null, "request_body": null, "response_body": null,
                "timestamp": "1970-01-01T00:00:00.000000Z", "cached": false, "error": null,
            }),
        ];
        assert_eq!(lines(Format::Agentopt, &[full(), bare()]), expected);
    }

    #[test]
    fn what_a_watched_process_served_is_nobodys_usage() {
        let mut served = full();
        served.call.role = crate::stream::Role::Server;
        for format in Format::value_variants() {
            let served = lines(*format, std::slice::from_ref(&served));
            assert_eq!(served, lines(*format, &[]), "{format:?}");
        }
    }
}
