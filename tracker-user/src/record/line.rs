//! The JSON line of a call: the fields of the call record, in its order.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    attribution::{Agent, Container, Login, Origin, Process, Session},
    pricing::{CostSource, Usd},
    record::Record,
};

/// A field that is absent was not known; no number is a placeholder.
#[derive(Serialize)]
struct Line<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    provider: &'a str,
    operation: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_address: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_port: Option<u16>,
    path: &'a str,
    role: &'static str,
    streaming: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    finish_reasons: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_read_input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_creation_input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_creation_1h_input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_input_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audio_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_tokens: Option<u64>,
    usage_source: &'static str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tool_calls: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    server_tool_calls: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    continued: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_to_first_token_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time_per_output_token_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_usd: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    list_cost_usd: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost_source: Option<&'static str>,
    process: &'a Process,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<&'a Container>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slice: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<&'a Login>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a Agent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a Session>,
}

/// The line, its newline included. It contains no other: JSON escapes them.
pub(crate) fn encode(record: &Record) -> serde_json::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(&line(record))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The same fields by their names.
pub(crate) fn fields(record: &Record) -> serde_json::Result<Map<String, Value>> {
    match serde_json::to_value(line(record))? {
        Value::Object(fields) => Ok(fields),
        _ => Ok(Map::new()),
    }
}

fn line(record: &Record) -> Line<'_> {
    // In full, so that a new field forces a decision.
    let Record { call, cost, origin, started_unix_nanos } = record;
    let Origin { process, cgroup_id: _, cgroup, container, unit, slice, login, agent, session } = origin;
    let crate::provider::Call {
        started: _,
        provider,
        operation,
        model,
        response_model,
        response_id,
        server_address,
        server_port,
        path,
        role,
        streaming,
        status,
        error,
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
        duration_seconds,
    } = call;
    Line {
        r#type: "llm_usage",
        timestamp: Timestamp::from_nanosecond(*started_unix_nanos).ok().map(|at| format!("{at:.6}")),
        provider,
        operation,
        model: model.as_deref(),
        response_model: response_model.as_deref(),
        response_id: response_id.as_deref(),
        server_address: server_address.as_deref(),
        server_port: *server_port,
        path,
        role: role.as_str(),
        streaming: *streaming,
        status: *status,
        error: error.as_deref(),
        finish_reasons,
        input_tokens: usage.input_tokens,
        cache_read_input_tokens: usage.cache_read_input_tokens,
        cache_creation_input_tokens: usage.cache_creation_input_tokens,
        cache_creation_1h_input_tokens: usage.cache_creation_1h_input_tokens,
        audio_input_tokens: usage.audio_input_tokens,
        image_input_tokens: usage.image_input_tokens,
        output_tokens: usage.output_tokens,
        reasoning_tokens: usage.reasoning_tokens,
        audio_output_tokens: usage.audio_output_tokens,
        image_output_tokens: usage.image_output_tokens,
        total_tokens: usage.input_tokens.zip(usage.output_tokens).and_then(|(i, o)| i.checked_add(o)),
        usage_source: usage.source.as_str(),
        tool_calls,
        server_tool_calls,
        service_tier: service_tier.as_deref(),
        cost_usd: cost.amount().map(Usd::dollars),
        list_cost_usd: cost.list().map(Usd::dollars),
        cost_source: cost.source().map(CostSource::as_str),
        continued: *continued,
        retry: retry.filter(|retry| *retry > 0),
        // JSON has no infinity; it would be `null`.
        time_to_first_token_seconds: time_to_first_token_seconds.filter(|seconds| seconds.is_finite()),
        time_per_output_token_seconds: time_per_output_token_seconds.filter(|seconds| seconds.is_finite()),
        output_tokens_per_second: call.output_tokens_per_second(),
        duration_seconds: Some(*duration_seconds).filter(|seconds| seconds.is_finite()),
        process,
        cgroup: cgroup.as_deref(),
        container: container.as_ref(),
        unit: unit.as_deref(),
        slice: slice.as_deref(),
        login: login.as_ref(),
        agent: agent.as_ref(),
        session: session.as_ref(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{bare, full};

    #[test]
    fn every_field_in_the_order_of_the_call_record() {
        let line = String::from_utf8(encode(&full()).unwrap()).unwrap();
        let expected = concat!(
            r#"{"type":"llm_usage","timestamp":"2026-01-02T03:04:05.123456Z","provider":"openai","#,
            r#""operation":"chat","model":"gpt-4o","response_model":"gpt-4o-2024-08-06","#,
            r#""response_id":"chatcmpl-1","server_address":"api.openai.com","server_port":443,"#,
            r#""path":"/v1/chat/completions","role":"client","streaming":true,"status":200,"#,
            r#""error":"interrupted","finish_reasons":["stop"],"input_tokens":100,"#,
            r#""cache_read_input_tokens":60,"cache_creation_input_tokens":10,"#,
            r#""cache_creation_1h_input_tokens":4,"audio_input_tokens":7,"image_input_tokens":8,"#,
            r#""output_tokens":20,"reasoning_tokens":5,"audio_output_tokens":2,"image_output_tokens":3,"#,
            r#""total_tokens":120,"usage_source":"reported","#,
            r#""tool_calls":["get_weather"],"server_tool_calls":["web_search"],"service_tier":"default","#,
            r#""retry":2,"time_to_first_token_seconds":0.25,"time_per_output_token_seconds":0.0625,"#,
            r#""output_tokens_per_second":13.333333333333334,"duration_seconds":1.5,"#,
            r#""cost_usd":0.0,"list_cost_usd":0.5,"cost_source":"subscription","#,
            r#""process":{"pid":4711,"name":"python3","exe":"/usr/bin/python3.11","uid":1000,"user":"ada"},"#,
            r#""cgroup":"/docker/abc","container":{"id":"abc","name":"web","#,
            r#""image":"nginx:1.29","image_id":"sha256:0123","runtime":"docker","#,
            r#""pod":"web-7d4b9c6f5b-x2x7z","pod_uid":"p-1","namespace":"shop","#,
            r#""workload":"deployment/web","labels":{"example.org/team":"red"}},"#,
            r#""unit":"a.service","slice":"b.slice","login":{"uid":1001,"user":"grace","session":"5"},"#,
            r#""agent":{"name":"claude","pid":4700},"#,
            r#""session":{"name":"nightly/suite-3","labels":{"data_id":"7"}}}"#,
            "\n",
        );
        assert_eq!(line, expected);
    }

    #[test]
    fn what_is_not_known_is_absent() {
        let line = String::from_utf8(encode(&bare()).unwrap()).unwrap();
        let expected = concat!(
            r#"{"type":"llm_usage","timestamp":"1970-01-01T00:00:00.000000Z","provider":"unknown","#,
            r#""operation":"chat","path":"/v1/chat/completions","role":"client","streaming":false,"#,
            r#""usage_source":"missing","duration_seconds":0.5,"process":{"pid":1}}"#,
            "\n",
        );
        assert_eq!(line, expected);
    }

    #[test]
    fn the_end_of_an_earlier_call_says_so() {
        let mut record = bare();
        record.call.continued = true;
        let line: Value = serde_json::from_slice(&encode(&record).unwrap()).unwrap();
        assert_eq!(line["continued"], true);
    }

    #[test]
    fn a_first_attempt_is_no_repetition() {
        let mut record = bare();
        record.call.retry = Some(0);
        let line: Value = serde_json::from_slice(&encode(&record).unwrap()).unwrap();
        assert_eq!(line.get("retry"), None);
    }

    #[test]
    fn a_total_needs_both_and_fits() {
        let total = |input, output| {
            let mut record = bare();
            (record.call.usage.input_tokens, record.call.usage.output_tokens) = (input, output);
            let line: Value = serde_json::from_slice(&encode(&record).unwrap()).unwrap();
            line.get("total_tokens").cloned()
        };
        assert_eq!(total(Some(1), Some(2)), Some(3.into()));
        assert_eq!(total(Some(1), None), None);
        assert_eq!(total(Some(u64::MAX), Some(1)), None);
    }

    #[test]
    fn one_line_whatever_is_in_it() {
        let mut record = bare();
        record.call.model = Some("a\nb\r\"c\u{2028}\0".to_owned());
        record.call.duration_seconds = f64::NAN;
        record.started_unix_nanos = i128::MAX;
        let line = encode(&record).unwrap();
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        let value: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["model"], "a\nb\r\"c\u{2028}\0");
        assert!(value.get("duration_seconds").is_none() && value.get("timestamp").is_none());
    }
}
