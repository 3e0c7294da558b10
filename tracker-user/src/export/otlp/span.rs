//! A call as a span.

use opentelemetry_proto::tonic::trace::v1::{Span, Status, span::SpanKind, status::StatusCode};

use super::attributes::Attributes;
use crate::{
    attribution::{Container, Login, Origin, Process, Session, Workload},
    export::Record,
    pricing::{CostSource, Usd},
    provider::Call,
    random,
    stream::Role,
};

/// The span of a call, in a trace of its own. It has what the call record has and no more.
pub(super) fn span(record: &Record) -> Span {
    let call = &record.call;
    let mut attributes = Attributes::default();
    of_call(call, &mut attributes);
    attributes.set("llm_tracker.cost_usd", record.cost.amount().map(Usd::dollars));
    attributes.set("llm_tracker.list_cost_usd", record.cost.list().map(Usd::dollars));
    attributes.set("llm_tracker.cost_source", record.cost.source().map(CostSource::as_str));
    of_process(&record.origin.process, &mut attributes);
    let Origin { process: _, cgroup_id: _, cgroup, container, unit, slice, login, agent, session } =
        &record.origin;
    attributes.set("process.linux.cgroup", cgroup.as_deref());
    if let Some(container) = container {
        of_container(container, &mut attributes);
    }
    attributes.set("llm_tracker.unit", unit.as_deref());
    attributes.set("llm_tracker.slice", slice.as_deref());
    if let Some(Login { uid, user, session }) = login {
        attributes.set("llm_tracker.login_uid", uid.map(|uid| uid.to_string()).as_deref());
        attributes.set("llm_tracker.login_user", user.as_deref());
        attributes.set("llm_tracker.login_session", session.as_deref());
    }
    attributes.set("gen_ai.agent.name", agent.as_ref().map(|agent| agent.name.as_str()));
    if let Some(Session { name, labels }) = session {
        attributes.set("session.id", name.as_deref());
        for (key, value) in labels {
            attributes.set(&format!("llm_tracker.label.{key}"), value.as_str());
        }
    }
    let failed = call.error_type().is_some();
    let code = if failed { StatusCode::Error } else { StatusCode::Unset };
    let kind = match call.role {
        Role::Client => SpanKind::Client,
        Role::Server => SpanKind::Server,
    };
    let model = call.model.as_deref().or(call.response_model.as_deref());
    Span {
        trace_id: id::<16>(),
        span_id: id::<8>(),
        name: model.map_or_else(|| call.operation.to_owned(), |model| format!("{} {model}", call.operation)),
        kind: kind.into(),
        start_time_unix_nano: record.started(),
        end_time_unix_nano: record.ended(),
        attributes: attributes.0,
        status: Some(Status { code: code.into(), message: String::new() }),
        ..Span::default()
    }
}

fn of_call(call: &Call, attributes: &mut Attributes) {
    // In full, so that a new field forces a decision.
    let Call {
        started: _,
        provider,
        operation,
        model,
        response_model,
        response_id,
        server_address,
        server_port,
        path,
        role: _,
        streaming,
        status,
        error: _,
        finish_reasons,
        usage,
        tool_calls,
        server_tool_calls,
        service_tier,
        cost: _,
        subscription: _,
        continued,
        retry,
        labels: _,
        time_to_first_token_seconds,
        time_per_output_token_seconds,
        chunk_times: _,
        duration_seconds: _,
    } = call;
    attributes.set("gen_ai.operation.name", *operation);
    attributes.set("gen_ai.provider.name", *provider);
    attributes.set("gen_ai.request.model", model.as_deref());
    attributes.set("gen_ai.request.stream", *streaming);
    attributes.set("gen_ai.response.model", response_model.as_deref());
    attributes.set("gen_ai.response.id", response_id.as_deref());
    attributes.set("gen_ai.response.finish_reasons", finish_reasons.as_slice());
    if *streaming {
        attributes.set("gen_ai.response.time_to_first_chunk", *time_to_first_token_seconds);
    }
    attributes.set("gen_ai.usage.input_tokens", usage.input_tokens);
    attributes.set("gen_ai.usage.cache_read.input_tokens", usage.cache_read_input_tokens);
    attributes.set("gen_ai.usage.cache_creation.input_tokens", usage.cache_creation_input_tokens);
    attributes.set("llm_tracker.usage.cache_creation_1h.input_tokens", usage.cache_creation_1h_input_tokens);
    attributes.set("llm_tracker.usage.audio.input_tokens", usage.audio_input_tokens);
    attributes.set("llm_tracker.usage.image.input_tokens", usage.image_input_tokens);
    attributes.set("gen_ai.usage.output_tokens", usage.output_tokens);
    attributes.set("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens);
    attributes.set("llm_tracker.usage.audio.output_tokens", usage.audio_output_tokens);
    attributes.set("llm_tracker.usage.image.output_tokens", usage.image_output_tokens);
    attributes.set("server.address", server_address.as_deref());
    attributes.set("server.port", *server_port);
    attributes.set("url.path", path.as_str());
    attributes.set("http.response.status_code", *status);
    attributes.set("http.request.resend_count", retry.filter(|retry| *retry > 0));
    attributes.set("error.type", call.error_type().as_deref());
    attributes.set("llm_tracker.usage_source", usage.source.as_str());
    attributes.set("llm_tracker.service_tier", service_tier.as_deref());
    attributes.set("llm_tracker.tool_calls", tool_calls.as_slice());
    attributes.set("llm_tracker.server_tool_calls", server_tool_calls.as_slice());
    attributes.set("llm_tracker.time_per_output_token", *time_per_output_token_seconds);
    attributes.set("llm_tracker.continued", continued.then_some(true));
}

fn of_process(process: &Process, attributes: &mut Attributes) {
    let Process { pid, name, exe, uid, user } = process;
    attributes.set("process.pid", *pid);
    attributes.set("llm_tracker.process.name", name.as_deref());
    let file = exe.as_deref().and_then(|exe| exe.rsplit('/').next());
    attributes.set("process.executable.name", file);
    attributes.set("process.executable.path", exe.as_deref());
    attributes.set("user.id", uid.map(|uid| uid.to_string()).as_deref());
    attributes.set("user.name", user.as_deref());
}

fn of_container(container: &Container, attributes: &mut Attributes) {
    let Container { id, name, image, image_id, runtime, pod, pod_uid, namespace, workload, labels } =
        container;
    attributes.set("container.id", id.as_str());
    attributes.set("container.name", name.as_deref());
    attributes.set("container.image.name", image.as_deref());
    attributes.set("container.image.id", image_id.as_deref());
    attributes.set("container.runtime.name", *runtime);
    attributes.set("k8s.pod.name", pod.as_deref());
    attributes.set("k8s.pod.uid", pod_uid.as_deref());
    attributes.set("k8s.namespace.name", namespace.as_deref());
    if let Some(Workload { kind, name }) = workload {
        attributes.set(&format!("k8s.{kind}.name"), name.as_str());
    }
    for (key, value) in labels {
        attributes.set(&format!("container.label.{key}"), value.as_str());
    }
}

/// Bytes that nobody else has: the only one that is not allowed is that all are zero.
fn id<const BYTES: usize>() -> Vec<u8> {
    loop {
        match random::bytes::<BYTES>() {
            Ok(bytes) if bytes != [0; BYTES] => return bytes.to_vec(),
            Ok(_) => {}
            // A sandbox forbids it.
            Err(_) => return vec![1; BYTES],
        }
    }
}

/// What is exported of a call, in JSON.
#[cfg(test)]
pub(crate) fn span_attributes(record: &Record) -> std::collections::BTreeMap<String, serde_json::Value> {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
    use serde_json::json;

    fn any(value: AnyValue) -> serde_json::Value {
        match value.value.unwrap() {
            Value::StringValue(text) => json!({"stringValue": text}),
            Value::IntValue(number) => json!({"intValue": number.to_string()}),
            Value::DoubleValue(number) => json!({"doubleValue": number}),
            Value::BoolValue(bool) => json!({"boolValue": bool}),
            Value::ArrayValue(list) => {
                json!({"arrayValue": {"values": list.values.into_iter().map(any).collect::<Vec<_>>()}})
            }
            other => panic!("{other:?}"),
        }
    }

    let attributes = span(record).attributes.into_iter();
    attributes.map(|attribute| (attribute.key, any(attribute.value.unwrap()))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use opentelemetry_proto::tonic::common::v1::any_value::Value;

    use super::*;
    use crate::record::tests::{bare, full};

    fn attributes(span: &Span) -> BTreeMap<&str, String> {
        let text = |value: &Value| match value {
            Value::StringValue(text) => text.clone(),
            Value::IntValue(number) => number.to_string(),
            Value::DoubleValue(number) => number.to_string(),
            Value::BoolValue(bool) => bool.to_string(),
            Value::ArrayValue(list) => format!("{:?}", list.values),
            other => panic!("{other:?}"),
        };
        let pair = |it: &'_ opentelemetry_proto::tonic::common::v1::KeyValue| {
            text(it.value.as_ref().unwrap().value.as_ref().unwrap())
        };
        span.attributes.iter().map(|it| (it.key.as_str(), pair(it))).collect()
    }

    #[test]
    fn a_call_by_the_conventions() {
        let span = span(&full());
        assert_eq!(span.name, "chat gpt-4o");
        assert_eq!(span.kind(), SpanKind::Client);
        assert_eq!(span.start_time_unix_nano, 1_767_323_045_123_456_789);
        assert_eq!(span.end_time_unix_nano - span.start_time_unix_nano, 1_500_000_000);
        assert_eq!(span.status.as_ref().unwrap().code(), StatusCode::Error);
        assert_eq!((span.trace_id.len(), span.span_id.len(), span.parent_span_id.len()), (16, 8, 0));
        let attributes = attributes(&span);
        for (key, value) in [
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "openai"),
            ("gen_ai.request.model", "gpt-4o"),
            ("gen_ai.response.model", "gpt-4o-2024-08-06"),
            ("gen_ai.response.id", "chatcmpl-1"),
            ("gen_ai.response.time_to_first_chunk", "0.25"),
            ("gen_ai.usage.input_tokens", "100"),
            ("gen_ai.usage.cache_read.input_tokens", "60"),
            ("gen_ai.usage.cache_creation.input_tokens", "10"),
            ("gen_ai.usage.output_tokens", "20"),
            ("gen_ai.usage.reasoning.output_tokens", "5"),
            ("server.address", "api.openai.com"),
            ("server.port", "443"),
            ("error.type", "interrupted"),
            ("http.response.status_code", "200"),
            ("http.request.resend_count", "2"),
            ("process.pid", "4711"),
            ("process.executable.name", "python3.11"),
            ("process.executable.path", "/usr/bin/python3.11"),
            ("user.id", "1000"),
            ("user.name", "ada"),
            ("container.id", "abc"),
            ("container.name", "web"),
            ("k8s.pod.uid", "p-1"),
            ("k8s.deployment.name", "web"),
            ("container.label.example.org/team", "red"),
            ("llm_tracker.unit", "a.service"),
            ("llm_tracker.login_user", "grace"),
            ("gen_ai.agent.name", "claude"),
            ("llm_tracker.cost_usd", "0"),
            ("llm_tracker.list_cost_usd", "0.5"),
            ("llm_tracker.cost_source", "subscription"),
            ("session.id", "nightly/suite-3"),
            ("llm_tracker.label.data_id", "7"),
        ] {
            assert_eq!(attributes.get(key).map(String::as_str), Some(value), "{key}");
        }
        for (key, word) in
            [("gen_ai.response.finish_reasons", "stop"), ("llm_tracker.tool_calls", "get_weather")]
        {
            assert!(attributes[key].contains(word), "{key}");
        }
    }

    #[test]
    fn what_is_not_known_is_absent() {
        let span = span(&bare());
        assert_eq!((span.name.as_str(), span.status.as_ref().unwrap().code()), ("chat", StatusCode::Unset));
        let attributes = attributes(&span);
        assert!(attributes.keys().all(|key| !key.starts_with("gen_ai.usage.")));
        assert_eq!(attributes["llm_tracker.usage_source"], "missing");
        let known = [
            "gen_ai.operation.name",
            "gen_ai.provider.name",
            "gen_ai.request.stream",
            "llm_tracker.usage_source",
            "process.pid",
            "url.path",
        ];
        assert!(attributes.keys().eq(&known), "{attributes:?}");
    }

    #[test]
    fn who_serves_is_a_server() {
        let mut record = full();
        record.call.role = Role::Server;
        assert_eq!(span(&record).kind(), SpanKind::Server);
    }

    #[test]
    fn an_error_has_a_type_even_without_a_name() {
        let mut record = bare();
        record.call.status = Some(503);
        let span = span(&record);
        assert_eq!(attributes(&span)["error.type"], "503");
        assert_eq!(span.status.unwrap().code(), StatusCode::Error);
    }

    #[test]
    fn absurd_times_make_no_absurd_spans() {
        let mut record = bare();
        (record.started_unix_nanos, record.call.duration_seconds) = (-5, f64::INFINITY);
        let first = span(&record);
        assert_eq!((first.start_time_unix_nano, first.end_time_unix_nano), (0, 0));
        (record.started_unix_nanos, record.call.duration_seconds) = (i128::MAX, 1e18);
        assert_eq!(span(&record).end_time_unix_nano, u64::MAX);
        assert_ne!(first.trace_id, span(&record).trace_id);
    }
}
