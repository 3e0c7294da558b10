//! Calls as spans and metrics at OpenTelemetry collectors: a real one, and one that fails in every way.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    call::CallLine,
    client::{self, KEY, PROMPT},
    collector::{Collector, Mood, Protocol, Received, Rotel, texts},
    daemon::Daemon,
    machine::Exclusive,
    scenario::{Scenario, mark},
    standin::StandIn,
};
use opentelemetry_proto::tonic::{
    metrics::v1::{metric::Data, number_data_point::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use serde_json::Value as Json;

const CHAT: &str = "/v1/chat/completions";

fn config(address: impl std::fmt::Display, protocol: Protocol, more: &str) -> String {
    let name = match protocol {
        Protocol::Http => "http/protobuf",
        Protocol::Grpc => "grpc",
    };
    format!("[usage]\nestimate = false\n[otlp]\nendpoint = \"{address}\"\nprotocol = \"{name}\"\n{more}")
}

fn call(standin: &StandIn, daemon: &mut Daemon, body: &Json) -> Result<CallLine> {
    let finished = client::run_curl(standin, CHAT, body)?;
    daemon.wait_for_one(finished.pid)
}

/// The span of a call.
fn span_of(received: &Received, call: &CallLine) -> Option<Span> {
    let pid = call.process.pid.to_string();
    let of_call = |span: &&Span| texts(&span.attributes).get("process.pid") == Some(&pid);
    received.spans.iter().find(of_call).cloned()
}

fn agree(span: &Span, call: &CallLine) -> Result<()> {
    let model = call.model.as_deref().context("no model")?;
    assert_eq!((span.name.as_str(), span.kind()), (format!("chat {model}").as_str(), SpanKind::Client));
    let lasted = Duration::from_nanos(span.end_time_unix_nano - span.start_time_unix_nano).as_secs_f64();
    ensure!((lasted - call.duration_seconds).abs() < 1e-6, "{lasted} {}", call.duration_seconds);
    let failed = call.status.is_some_and(|status| status >= 400);
    let code = span.status.as_ref().context("no status")?.code();
    assert_eq!(code, if failed { StatusCode::Error } else { StatusCode::Unset });
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let attributes = texts(&span.attributes);
    let finish = call.finish_reasons.join(",");
    for (key, expected) in [
        ("gen_ai.operation.name", Some("chat".to_owned())),
        ("gen_ai.provider.name", Some(call.provider.clone())),
        ("gen_ai.request.model", Some(model.to_owned())),
        ("gen_ai.request.stream", Some(call.streaming.to_string())),
        ("gen_ai.response.model", call.response_model.clone()),
        ("gen_ai.response.id", call.response_id.clone()),
        ("gen_ai.response.finish_reasons", (!finish.is_empty()).then_some(finish)),
        ("gen_ai.usage.input_tokens", number(call.input_tokens)),
        ("gen_ai.usage.cache_read.input_tokens", number(call.cache_read_input_tokens)),
        ("gen_ai.usage.output_tokens", number(call.output_tokens)),
        ("gen_ai.usage.reasoning.output_tokens", number(call.reasoning_tokens)),
        ("gen_ai.response.time_to_first_chunk", call.time_to_first_token_seconds.map(|it| it.to_string())),
        ("server.address", call.server_address.clone()),
        ("server.port", call.server_port.map(|port| port.to_string())),
        ("http.response.status_code", call.status.map(|status| status.to_string())),
        ("llm_tracker.usage_source", Some(call.usage_source.clone())),
        ("process.executable.path", call.process.exe.clone()),
        ("process.linux.cgroup", call.cgroup.clone()),
        ("user.name", call.process.user.clone()),
    ] {
        assert_eq!(attributes.get(key), expected.as_ref(), "{key} of {model}");
    }
    let error = call.error.clone().or_else(|| failed.then(|| call.status.unwrap_or(0).to_string()));
    assert_eq!(attributes.get("error.type"), error.as_ref());
    Ok(())
}

/// The sum of a counter's points by an attribute.
fn sums(received: &Received, metric: &str, attribute: &str) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    if let Some(Data::Sum(sum)) = received.metrics.get(metric).and_then(|metric| metric.data.as_ref()) {
        for point in &sum.data_points {
            let attributes = texts(&point.attributes);
            if attributes.get("gen_ai.request.model").is_some_and(|model| model.contains(&mark()))
                && let Some(Value::AsInt(value)) = point.value
            {
                *sums.entry(attributes.get(attribute).cloned().unwrap_or_default()).or_default() += value;
            }
        }
    }
    sums
}

fn a_real_collector(protocol: Protocol, more: &str) -> Result<()> {
    // Before Rotel, whose TLS library would come and go under another test's daemon.
    let machine = Exclusive::take()?;
    let standin = StandIn::start()?;
    let collector = Collector::start(Protocol::Grpc)?;
    let rotel = Rotel::start(&collector)?;
    let more = format!("metrics_interval_seconds = 1\nresource = {{ \"host.group\" = \"tests\" }}\n{more}");
    let address = format!("http://{}", rotel.address(protocol));
    let mut daemon = Daemon::start_alone(machine, &config(address, protocol, &more), "info")?;
    let mut silent = client::chat_stream(&Scenario::new(70, 80).ours("silent").model());
    silent["stream_options"] = Json::Null;
    let slow = Scenario { wait: Some(30), delay: Some(20), ..Scenario::new(900, 310) };
    let bodies = [
        client::chat(&Scenario::new(120, 45).cached(40).ours("plain").model()),
        client::chat_stream(&slow.reasoning(250).ours("thinking").model()),
        client::chat(&Scenario { status: Some(429), ..Scenario::new(5, 6) }.ours("failing").model()),
        silent,
    ];
    let calls = bodies.iter().map(|body| call(&standin, &mut daemon, body)).collect::<Result<Vec<_>>>()?;
    for call in &calls {
        let span = collector.wait_for("span", |received| span_of(received, call))?;
        agree(&span, call)?;
    }
    let tokens = |kind: &str| -> i64 {
        let of = |call: &CallLine| if kind == "input" { call.input_tokens } else { call.output_tokens };
        calls.iter().filter_map(of).sum::<u64>() as i64
    };
    collector.wait_for("tokens", |received| {
        let sums = sums(received, "llm_tracker.client.tokens", "llm_tracker.type");
        (sums.get("input") == Some(&tokens("input")) && sums.get("output") == Some(&tokens("output")))
            .then_some(())
    })?;
    let received = collector.received();
    let by_status = sums(&received, "llm_tracker.client.calls", "http.response.status_code");
    assert_eq!(by_status, BTreeMap::from([("200".to_owned(), 3), ("429".to_owned(), 1)]));
    let duration = &received.metrics["gen_ai.client.operation.duration"];
    let bounds = duration.data.as_ref().and_then(|data| match data {
        Data::Histogram(histogram) => Some(histogram.data_points.first()?.explicit_bounds.len()),
        _ => None,
    });
    assert_eq!((duration.unit.as_str(), bounds), ("s", Some(14)));
    assert!(received.metrics.contains_key("gen_ai.client.operation.time_to_first_chunk"));
    assert!(received.metrics.contains_key("llm_tracker.lost_bytes"));
    for (key, value) in [("service.name", "llm-tracker"), ("host.group", "tests")] {
        assert_eq!(received.resource.get(key).map(String::as_str), Some(value));
    }
    let all = format!("{received:?}");
    ensure!(!all.contains(PROMPT) && !all.contains(KEY), "a prompt or a key was exported");
    ensure!(!rotel.log()?.contains("ERROR"), "{}", rotel.log()?);
    daemon.stop()?;
    Ok(())
}

#[test]
fn a_real_collector_over_http() -> Result<()> {
    a_real_collector(Protocol::Http, "")
}

#[test]
fn a_real_collector_over_grpc() -> Result<()> {
    a_real_collector(Protocol::Grpc, "compression = \"gzip\"")
}

/// Busy, hanging, gone, back again: the spans come, once each, and capture goes on meanwhile.
fn moods(protocol: Protocol) -> Result<()> {
    let standin = StandIn::start()?;
    let collector = Collector::start(protocol)?;
    let address = collector.address();
    let more = "timeout_seconds = 1\nmetrics = false\ncompression = \"gzip\"";
    let mut daemon = Daemon::start_with(&config(format!("http://{address}"), protocol, more), "info")?;
    let body = |name: &str| client::chat(&Scenario::new(12, 34).ours(name).model());

    for (name, mood) in [("busy", Mood::Busy(2)), ("hanging", Mood::Hangs)] {
        collector.set_mood(mood);
        let before = collector.received().requests.len();
        let call = call(&standin, &mut daemon, &body(name))?;
        let tried = |received: &Received| (received.requests.len() > before).then_some(());
        collector.wait_for("request", tried)?;
        collector.set_mood(Mood::Takes);
        agree(&collector.wait_for("span", |received| span_of(received, &call))?, &call)?;
        let requests = collector.received().requests;
        let pause = requests[before + 1] - requests[before];
        let least = match (protocol, mood) {
            (Protocol::Http, Mood::Busy(seconds)) => Duration::from_secs(seconds.into()),
            _ => Duration::from_millis(500),
        };
        ensure!(pause >= least, "{name}: again after {pause:?}");
    }

    let all = collector.received();
    assert!(all.malformed.is_empty());
    drop(collector);
    let call_while_gone = call(&standin, &mut daemon, &body("gone"))?;
    let deadline = Instant::now() + Duration::from_secs(30);
    let tries = [("signal", "traces"), ("outcome", "retried")];
    let before = daemon.metrics()?.sum("llm_tracker_otlp_requests_total", &tries);
    while daemon.metrics()?.sum("llm_tracker_otlp_requests_total", &tries) <= before {
        ensure!(Instant::now() < deadline, "nobody tries: {}", daemon.log()?);
        std::thread::sleep(Duration::from_millis(100));
    }
    let collector = Collector::start_at(address, protocol, None)?;
    agree(&collector.wait_for("span", |received| span_of(received, &call_while_gone))?, &call_while_gone)?;

    collector.set_mood(Mood::Refuses);
    let before = collector.received().requests.len();
    let refused = call(&standin, &mut daemon, &body("refused"))?;
    collector.wait_for("request", |received| (received.requests.len() > before).then_some(()))?;
    collector.set_mood(Mood::Takes);
    let last = call(&standin, &mut daemon, &body("last"))?;
    collector.wait_for("span", |received| span_of(received, &last))?;
    let received = collector.received();
    ensure!(span_of(&received, &refused).is_none(), "what is refused is not sent again");
    let spans = || received.spans.iter().chain(&all.spans);
    let mut pids: Vec<_> = spans()
        .map(|span| texts(&span.attributes))
        .filter(|attributes| attributes["gen_ai.request.model"].contains(&mark()))
        .map(|attributes| attributes["process.pid"].clone())
        .collect();
    let count = pids.len();
    pids.sort();
    pids.dedup();
    assert_eq!((pids.len(), count), (4, 4), "each once");
    let metrics = daemon.metrics()?;
    assert_eq!(metrics.sum("llm_tracker_otlp_spans_exported_total", &[]) as usize, spans().count());
    assert_eq!(metrics.sum("llm_tracker_otlp_spans_lost_total", &[("reason", "refused")]) as usize, 1);
    assert_eq!(metrics.sum("llm_tracker_otlp_spans_lost_total", &[]) as usize, 1);
    daemon.stop()?;
    Ok(())
}

#[test]
fn moods_over_http() -> Result<()> {
    moods(Protocol::Http)
}

#[test]
fn moods_over_grpc() -> Result<()> {
    moods(Protocol::Grpc)
}

/// A stop sends what is there, through TLS; one that nobody answers is soon all the same.
fn stop(protocol: Protocol) -> Result<()> {
    let standin = StandIn::start()?;
    let collector = Collector::start_tls(protocol, standin.identity())?;
    let address = format!("https://localhost:{}", collector.address().port());
    let more = format!(
        "metrics_interval_seconds = 3600\ncertificate = {:?}\nheaders = {{ x-team = \"a key\" }}",
        standin.identity().authority()
    );
    let mut daemon = Daemon::start_with(&config(address, protocol, &more), "info")?;
    let calls: Vec<_> = (0..3)
        .map(|n| call(&standin, &mut daemon, &client::chat(&Scenario::new(1, n).ours("stop").model())))
        .collect::<Result<_>>()?;
    ensure!(collector.received().metrics.is_empty(), "nothing was due");
    let stopped = daemon.stop()?;
    let received = collector.received();
    for call in &calls {
        agree(&span_of(&received, call).context("no span")?, call)?;
    }
    assert_eq!(received.headers.get("x-team").context("no header")?, "a key");
    let counted = sums(&received, "llm_tracker.client.calls", "http.response.status_code");
    assert_eq!(counted, BTreeMap::from([("200".to_owned(), 3)]));
    ensure!(!stopped.finished.stderr.contains("a key"), "a header in the log");

    collector.set_mood(Mood::Hangs);
    let address = format!("https://localhost:{}", collector.address().port());
    let config = config(address, protocol, &more);
    let mut daemon = Daemon::start_alone(stopped.into_exclusive(), &config, "info")?;
    call(&standin, &mut daemon, &client::chat(&Scenario::new(1, 1).ours("hang").model()))?;
    let begun = Instant::now();
    let stopped = daemon.stop()?;
    let lasted = begun.elapsed();
    ensure!(lasted < Duration::from_secs(6), "the stop took {lasted:?}");
    let log = stopped.finished.stderr;
    ensure!(log.contains("calls for OTLP are being lost") && log.contains("shutdown"), "{log}");
    Ok(())
}

#[test]
fn a_stop_over_http() -> Result<()> {
    stop(Protocol::Http)
}

#[test]
fn a_stop_over_grpc() -> Result<()> {
    stop(Protocol::Grpc)
}
