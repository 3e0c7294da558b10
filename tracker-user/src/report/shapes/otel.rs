//! A span for each call, as OTLP's JSON has it: the same as the exporter sends.
//!
//! The ids come of what the call is, so that whoever imports a call twice has it once.

use ring::digest;
use serde_json::{Value, json};

use crate::report::fields::Fields;

/// Attributes by the fields that they are of. What is a number to us and a text to OpenTelemetry is in `TEXTS`.
const ATTRIBUTES: [(&str, &str); 53] = [
    ("gen_ai.operation.name", "operation"),
    ("gen_ai.provider.name", "provider"),
    ("gen_ai.request.model", "model"),
    ("gen_ai.request.stream", "streaming"),
    ("gen_ai.response.model", "response_model"),
    ("gen_ai.response.id", "response_id"),
    ("gen_ai.response.finish_reasons", "finish_reasons"),
    ("gen_ai.response.time_to_first_chunk", "time_to_first_token_seconds"),
    ("gen_ai.usage.input_tokens", "input_tokens"),
    ("gen_ai.usage.cache_read.input_tokens", "cache_read_input_tokens"),
    ("gen_ai.usage.cache_creation.input_tokens", "cache_creation_input_tokens"),
    ("gen_ai.usage.output_tokens", "output_tokens"),
    ("gen_ai.usage.reasoning.output_tokens", "reasoning_tokens"),
    ("gen_ai.agent.name", "agent.name"),
    ("server.address", "server_address"),
    ("server.port", "server_port"),
    ("url.path", "path"),
    ("http.response.status_code", "status"),
    ("http.request.resend_count", "retry"),
    ("llm_tracker.usage.cache_creation_1h.input_tokens", "cache_creation_1h_input_tokens"),
    ("llm_tracker.usage.audio.input_tokens", "audio_input_tokens"),
    ("llm_tracker.usage.image.input_tokens", "image_input_tokens"),
    ("llm_tracker.usage.audio.output_tokens", "audio_output_tokens"),
    ("llm_tracker.usage.image.output_tokens", "image_output_tokens"),
    ("llm_tracker.usage_source", "usage_source"),
    ("llm_tracker.cost_usd", "cost_usd"),
    ("llm_tracker.list_cost_usd", "list_cost_usd"),
    ("llm_tracker.cost_source", "cost_source"),
    ("llm_tracker.service_tier", "service_tier"),
    ("llm_tracker.tool_calls", "tool_calls"),
    ("llm_tracker.server_tool_calls", "server_tool_calls"),
    ("llm_tracker.time_per_output_token", "time_per_output_token_seconds"),
    ("llm_tracker.continued", "continued"),
    ("process.pid", "process.pid"),
    ("llm_tracker.process.name", "process.name"),
    ("process.executable.path", "process.exe"),
    ("user.id", "process.uid"),
    ("user.name", "process.user"),
    ("process.linux.cgroup", "cgroup"),
    ("container.id", "container.id"),
    ("container.name", "container.name"),
    ("container.image.name", "container.image"),
    ("container.image.id", "container.image_id"),
    ("container.runtime.name", "container.runtime"),
    ("k8s.pod.name", "container.pod"),
    ("k8s.pod.uid", "container.pod_uid"),
    ("k8s.namespace.name", "container.namespace"),
    ("llm_tracker.unit", "unit"),
    ("llm_tracker.slice", "slice"),
    ("llm_tracker.login_uid", "login.uid"),
    ("llm_tracker.login_user", "login.user"),
    ("llm_tracker.login_session", "login.session"),
    ("session.id", "session.name"),
];

/// Ids are texts.
const TEXTS: [&str; 2] = ["user.id", "llm_tracker.login_uid"];

/// Attributes for each label: what they begin with, and where the labels are.
const LABELS: [(&str, &str); 2] =
    [("container.label", "container.labels"), ("llm_tracker.label", "session.labels")];

/// A request of one span, which is a line.
pub(super) fn spans(call: Fields<'_>) -> Value {
    let mut attributes: Vec<Value> = ATTRIBUTES
        .iter()
        .filter_map(|(key, path)| {
            let value = call.get(path)?;
            let texts = TEXTS.contains(key).then(|| Value::String(value.to_string()));
            Some(attribute(key, texts.as_ref().unwrap_or(value)))
        })
        .collect();
    let mut more = |key: &str, value: Option<&str>| {
        attributes.extend(value.map(|value| attribute(key, &value.into())));
    };
    more("process.executable.name", call.text("process.exe").and_then(|exe| exe.rsplit('/').next()));
    more("error.type", call.error().as_deref());
    if let Some((kind, name)) = call.text("container.workload").and_then(|workload| workload.split_once('/'))
    {
        more(&format!("k8s.{kind}.name"), Some(name));
    }
    for (prefix, path) in LABELS {
        for (key, value) in call.get(path).and_then(Value::as_object).into_iter().flatten() {
            more(&format!("{prefix}.{key}"), value.as_str());
        }
    }
    let operation = call.text("operation").unwrap_or_default();
    let began = call.text("timestamp").and_then(|at| at.parse::<jiff::Timestamp>().ok()).unwrap_or_default();
    let began = began.as_nanosecond().max(0);
    let took = (call.seconds("duration_seconds").unwrap_or_default().max(0.0) * 1e9) as i128;
    let id = digest::digest(&digest::SHA256, json!(call.0).to_string().as_bytes());
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    json!({"resourceSpans": [{
        "resource": {"attributes": [attribute("service.name", &"llm-tracker".into())]},
        "scopeSpans": [{"scope": {"name": "llm-tracker"}, "spans": [{
            "traceId": hex(&id.as_ref()[..16]),
            "spanId": hex(&id.as_ref()[16..24]),
            "name": call.model().map_or_else(|| operation.to_owned(), |model| format!("{operation} {model}")),
            // SPAN_KIND_CLIENT: nothing else is exported.
            "kind": 3,
            "startTimeUnixNano": began.to_string(),
            "endTimeUnixNano": (began.saturating_add(took)).to_string(),
            "attributes": attributes,
            // STATUS_CODE_ERROR, STATUS_CODE_UNSET
            "status": {"code": if call.error().is_some() { 2 } else { 0 }},
        }]}],
    }]})
}

fn attribute(key: &str, value: &Value) -> Value {
    json!({"key": key, "value": any(value)})
}

/// OTLP's `AnyValue` in JSON: 64-bit numbers are texts.
fn any(value: &Value) -> Value {
    match value {
        Value::Bool(value) => json!({"boolValue": value}),
        Value::Number(number) if number.is_f64() => json!({"doubleValue": number}),
        Value::Number(number) => json!({"intValue": number.to_string()}),
        Value::Array(values) => json!({"arrayValue": {"values": values.iter().map(any).collect::<Vec<_>>()}}),
        Value::String(text) => json!({"stringValue": text}),
        Value::Null | Value::Object(_) => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Format, tests::lines};
    use super::*;
    use crate::{
        export::span_attributes,
        record::tests::{bare, full},
    };

    #[test]
    fn a_stored_call_is_the_span_that_is_exported() {
        for record in [full(), bare()] {
            let line = lines(Format::OtelJson, std::slice::from_ref(&record)).remove(0);
            let span = &line["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
            let attributes: BTreeMap<String, Value> = span["attributes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|it| (it["key"].as_str().unwrap().to_owned(), it["value"].clone()))
                .collect();
            assert_eq!(attributes, span_attributes(&record));
            let id = |name: &str| span[name].as_str().unwrap().len();
            assert_eq!((id("traceId"), id("spanId")), (32, 16));
            assert_eq!(line, lines(Format::OtelJson, std::slice::from_ref(&record)).remove(0));
        }
        let line = lines(Format::OtelJson, &[full()]).remove(0);
        let span = &line["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(span["name"], "chat gpt-4o");
        assert_eq!(span["startTimeUnixNano"], "1767323045123456000");
        assert_eq!(span["endTimeUnixNano"], "1767323046623456000");
        assert_eq!((&span["kind"], &span["status"]["code"]), (&json!(3), &json!(2)));
    }
}
