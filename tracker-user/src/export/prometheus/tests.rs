use super::*;
use crate::record::tests::{bare, full};

fn sink(mut config: PrometheusConfig) -> PrometheusSink {
    config.commit = "abc".into();
    PrometheusSink::new(config)
}

/// The default labels and these.
fn with_more(fields: &[OriginField]) -> Vec<OriginLabel> {
    let more = fields.iter().cloned().map(OriginLabel::new);
    OriginLabel::defaults().into_iter().chain(more).collect()
}

/// The lines that begin so, without the daemon's own numbers.
fn lines(page: &str, prefix: &str) -> Vec<String> {
    page.lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
}

const LABELS: &str = r#"gen_ai_provider_name="openai",gen_ai_operation_name="chat",gen_ai_request_model="gpt-4o",gen_ai_response_model="gpt-4o-2024-08-06""#;
const ORIGIN: &str = r#"process="python3",cgroup="/docker/abc",container="abc""#;

#[test]
fn a_call_is_counted_with_its_origin() {
    let sink = sink(PrometheusConfig::default());
    sink.record(&full());
    sink.record(&full());
    let page = sink.render(Format::Text);
    assert_eq!(
        lines(&page, "llm_calls_total"),
        [format!(r#"llm_calls_total{{{LABELS},status="200",error="interrupted",{ORIGIN}}} 2"#)]
    );
    let tokens = |kind, value| {
        format!(r#"llm_tokens_total{{{LABELS},type="{kind}",usage_source="reported",{ORIGIN}}} {value}"#)
    };
    assert_eq!(
        lines(&page, "llm_tokens_total"),
        [
            tokens("cache_creation", 20),
            tokens("cache_read", 120),
            tokens("input", 200),
            tokens("output", 40),
            tokens("reasoning", 10),
        ]
    );
    assert_eq!(
        lines(&page, "llm_tracker_calls_total"),
        [r#"llm_tracker_calls_total{role="client",usage_source="reported"} 2"#]
    );
    assert_eq!(
        lines(&page, "gen_ai_client_operation_duration_seconds_sum"),
        [format!(r#"gen_ai_client_operation_duration_seconds_sum{{{LABELS},error_type="interrupted"}} 3"#)]
    );
    assert_eq!(
        lines(&page, "gen_ai_client_token_usage_sum"),
        [
            format!(
                r#"gen_ai_client_token_usage_sum{{{LABELS},gen_ai_token_type="input",usage_source="reported"}} 200"#
            ),
            format!(
                r#"gen_ai_client_token_usage_sum{{{LABELS},gen_ai_token_type="output",usage_source="reported"}} 40"#
            ),
        ]
    );
    assert_eq!(lines(&page, "llm_retries_total"), [format!("llm_retries_total{{{LABELS},{ORIGIN}}} 2")]);
    for (name, sum, count) in [
        ("gen_ai_client_operation_time_per_output_chunk_seconds", "200", 12),
        ("llm_output_tokens_per_second", "26.666666666666668", 2),
    ] {
        assert_eq!(lines(&page, &format!("{name}_sum")), [format!("{name}_sum{{{LABELS}}} {sum}")]);
        assert_eq!(lines(&page, &format!("{name}_count")), [format!("{name}_count{{{LABELS}}} {count}")]);
    }
    let bucket =
        |le| format!(r#"gen_ai_client_operation_time_to_first_chunk_seconds_bucket{{{LABELS},le="{le}"}} "#);
    assert_eq!(lines(&page, &bucket("0.16")), [bucket("0.16") + "0"]);
    assert_eq!(lines(&page, &bucket("0.32")), [bucket("0.32") + "2"]);
    assert_eq!(lines(&page, &bucket("+Inf")), [bucket("+Inf") + "2"]);
}

#[test]
fn origin_labels_on_demand() {
    let sink = sink(PrometheusConfig {
        labels: with_more(&[OriginField::User, OriginField::Pid]),
        ..PrometheusConfig::default()
    });
    sink.record(&full());
    assert!(
        lines(&sink.render(Format::Text), "llm_calls_total")[0]
            .contains(r#"container="abc",user="ada",pid="4711"}"#)
    );
}

#[test]
fn the_operators_labels_are_the_only_ones() {
    let labels: std::collections::HashMap<String, Vec<OriginLabel>> = toml::from_str(
        r#"labels = [{from = "user", name = "team", map = [["a*", "research"]]}, {from = "process", max_values = 3}]"#,
    )
    .unwrap();
    let sink = sink(PrometheusConfig { labels: labels["labels"].clone(), ..PrometheusConfig::default() });
    for process in 0..10 {
        let mut record = full();
        record.origin.process.name = Some(format!("p{process}"));
        sink.record(&record);
    }
    let page = sink.render(Format::Text);
    let calls = lines(&page, "llm_calls_total");
    assert_eq!(calls.len(), 4, "{calls:#?}");
    assert!(calls[0].ends_with(r#"error="interrupted",team="research",process="other"} 7"#), "{}", calls[0]);
    assert!(calls[1].ends_with(r#"error="interrupted",team="research",process="p0"} 1"#), "{}", calls[1]);
    // One sample of the calls, one of the retries, five of the tokens and two of the costs.
    assert_eq!(
        lines(&page, "llm_tracker_label_overflow_total"),
        [
            r#"llm_tracker_label_overflow_total{label="team"} 0"#,
            r#"llm_tracker_label_overflow_total{label="process"} 63"#
        ]
    );
    assert!(!page.contains("ada") && !page.contains("/docker/abc"));
}

#[test]
fn no_labels_are_labels_too() {
    let sink = sink(PrometheusConfig { labels: Vec::new(), ..PrometheusConfig::default() });
    sink.record(&full());
    let expected = format!(r#"llm_calls_total{{{LABELS},status="200",error="interrupted"}} 1"#);
    assert_eq!(lines(&sink.render(Format::Text), "llm_calls_total"), [expected]);
}

#[test]
fn served_calls_stay_out_of_the_client_series() {
    let sink = sink(PrometheusConfig::default());
    let mut record = full();
    record.call.role = Role::Server;
    sink.record(&record);
    let page = sink.render(Format::Text);
    for client in ["llm_calls_total", "llm_tokens_total", "gen_ai_client"] {
        assert!(lines(&page, client).is_empty(), "{client}");
    }
    for served in ["request_duration", "time_to_first_token", "time_per_output_token"] {
        assert_eq!(lines(&page, &format!("gen_ai_server_{served}_seconds_count")).len(), 1, "{served}");
    }
    assert_eq!(
        lines(&page, "llm_tracker_calls_total"),
        [r#"llm_tracker_calls_total{role="server",usage_source="reported"} 1"#]
    );
}

#[test]
fn missing_usage_makes_no_token_series() {
    let sink = sink(PrometheusConfig::default());
    let mut record = full();
    record.call.usage.source = UsageSource::Missing;
    sink.record(&record);
    sink.record(&bare());
    let page = sink.render(Format::Text);
    assert!(
        lines(&page, "llm_tokens_total").is_empty() && lines(&page, "gen_ai_client_token_usage").is_empty()
    );
    assert_eq!(lines(&page, "llm_calls_total").len(), 2);
    // Not streamed, so there is no first chunk of it.
    assert_eq!(lines(&page, "gen_ai_client_operation_time_to_first_chunk_seconds_count").len(), 1);
}

#[test]
fn absurd_numbers_are_not_booked() {
    let sink = sink(PrometheusConfig::default());
    for tokens in [u64::MAX, MAX_TOKENS + 1, MAX_TOKENS] {
        let mut record = bare();
        record.call.usage.source = UsageSource::Reported;
        record.call.usage.input_tokens = Some(tokens);
        record.call.duration_seconds = f64::INFINITY;
        sink.record(&record);
    }
    let page = sink.render(Format::Text);
    assert!(lines(&page, "llm_tokens_total")[0].ends_with(&format!(" {MAX_TOKENS}")));
    assert_eq!(lines(&page, "llm_tracker_values_rejected_total"), ["llm_tracker_values_rejected_total 5"]);
    assert!(lines(&page, "gen_ai_client_operation_duration").is_empty());
}

#[test]
fn costs_add_up_to_the_last_digit() {
    let sink = sink(PrometheusConfig::default());
    let mut record = full();
    use crate::pricing::CostSource;
    let known = |pico, list, source| Cost::Known { amount: Usd::from_pico(pico), list, source };
    for _ in 0..1000 {
        record.cost = known(100_000_000_001, None, CostSource::List);
        sink.record(&record);
    }
    record.cost = known(0, Some(Usd::from_pico(250_000_000_000)), CostSource::Subscription);
    sink.record(&record);
    record.cost = known(u64::MAX, None, CostSource::Provider);
    sink.record(&record);
    record.call.role = Role::Server;
    sink.record(&record);
    let page = sink.render(Format::Text);
    let line = |name: &str, value: &str| [format!("{name}{{{LABELS},{ORIGIN}}} {value}")];
    assert_eq!(lines(&page, "llm_cost_usd_total"), line("llm_cost_usd_total", "100.000000001"));
    let list = "llm_subscription_list_cost_usd_total";
    assert_eq!(lines(&page, list), line(list, "0.25"));
    assert_eq!(lines(&page, "llm_tracker_values_rejected_total"), ["llm_tracker_values_rejected_total 1"]);
    assert!(lines(&page, "llm_tracker_unpriced_calls_total").is_empty());
}

#[test]
fn a_model_without_a_price_is_named() {
    let sink = sink(PrometheusConfig::default());
    let mut record = full();
    record.cost = Cost::Unpriced;
    sink.record(&record);
    record.call.response_model = None;
    sink.record(&record);
    let page = sink.render(Format::Text);
    let named =
        |model: &str| format!("llm_tracker_unpriced_calls_total{{provider=\"openai\",model=\"{model}\"}} 1");
    assert_eq!(
        lines(&page, "llm_tracker_unpriced_calls_total"),
        [named("gpt-4o"), named("gpt-4o-2024-08-06")]
    );
    assert!(lines(&page, "llm_cost_usd_total").is_empty());
}

#[test]
fn two_thousand_models_make_no_two_thousand_series() {
    let sink = sink(PrometheusConfig { max_series: 340, ..PrometheusConfig::default() });
    for model in 0..2000 {
        let mut record = full();
        record.call.model = Some(format!("model-{model}"));
        record.origin.process.name = Some(format!("process-{}", model % 7));
        sink.record(&record);
    }
    let page = sink.render(Format::Text);
    let total = |metric: &str| -> u64 {
        lines(&page, metric).iter().map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    };
    for (metric, expected) in [
        ("llm_calls_total", 2000),
        ("llm_tokens_total", 2000 * (100 + 60 + 10 + 20 + 5)),
        ("gen_ai_client_token_usage_count", 4000),
        ("gen_ai_client_operation_duration_seconds_count", 2000),
    ] {
        assert_eq!(total(metric), expected, "{metric}: booked once, somewhere");
    }
    // The bound, and the few label sets made of this program's own values.
    for metric in ["llm_calls_total", "llm_tokens_total"] {
        assert!(lines(&page, metric).len() <= 340 + 5, "{metric}");
    }
    for metric in ["gen_ai_client_token_usage", "gen_ai_client_operation_duration_seconds"] {
        assert!(lines(&page, metric).len() <= 340 + 2 * 17, "{metric}");
    }
    assert!(page.contains(r#"gen_ai_request_model="model-0""#));
    assert!(page.contains(r#"gen_ai_request_model="other""#));
    let overflow = r#"llm_tracker_series_overflow_total{metric="llm_calls_total"} "#;
    assert!(lines(&page, overflow)[0].rsplit_once(' ').unwrap().1.parse::<u64>().unwrap() > 1000);
}

#[test]
fn counters_only_rise_while_series_overflow() {
    let sink = sink(PrometheusConfig { max_series: 64, ..PrometheusConfig::default() });
    let mut before = std::collections::HashMap::new();
    for round in 0..50 {
        for call in 0..20 {
            let mut record = full();
            record.origin.cgroup = Some(format!("/box/{}", round * 20 + call));
            record.call.model = Some(format!("m{}", call % (round + 1)));
            sink.record(&record);
        }
        let mut now = std::collections::HashMap::new();
        for line in lines(&sink.render(Format::Text), "llm_") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            now.insert(series.to_owned(), value.parse::<f64>().unwrap());
        }
        for (series, value) in before {
            assert!(now.get(&series).is_some_and(|now| *now >= value), "{series}");
        }
        before = now;
    }
}

#[test]
fn hostile_label_values_stay_inside_their_quotes() {
    let sink = sink(PrometheusConfig::default());
    let mut record = full();
    record.call.model = Some("a\"} 9\nllm_calls_total{x=\"\\".to_owned());
    record.origin.process.name = Some("x".repeat(10_000));
    sink.record(&record);
    let page = sink.render(Format::Text);
    let calls = lines(&page, "llm_calls_total");
    assert_eq!(calls.len(), 1);
    assert!(calls[0].contains(r#"gen_ai_request_model="a\"} 9_llm_calls_total{x=\"\\","#), "{}", calls[0]);
    assert!(calls[0].len() < 1000);
}

#[test]
fn the_daemons_own_numbers_are_on_the_same_page() {
    let sink = sink(PrometheusConfig::default());
    sink.add_source(Arc::new(|| {
        vec![
            Sample::counter("llm_tracker_lost_total", "Lost.", 3).label("stage", "ring"),
            Sample::gauge("llm_tracker_connections", "Open.", 4.0).label("state", "capture"),
            Sample::counter("llm_tracker_lost_total", "Lost.", 5).label("stage", "cap"),
        ]
    }));
    let page = sink.render(Format::Text);
    let expected = "# HELP llm_tracker_lost_total Lost.\n\
                    # TYPE llm_tracker_lost_total counter\n\
                    llm_tracker_lost_total{stage=\"ring\"} 3\n\
                    llm_tracker_lost_total{stage=\"cap\"} 5\n";
    assert!(page.contains(expected), "{page}");
    assert!(page.contains("# TYPE llm_tracker_connections gauge\n"));
    assert!(page.contains(concat!(
        "llm_tracker_build_info{version=\"",
        env!("CARGO_PKG_VERSION"),
        "\",commit=\"abc\"} 1\n"
    )));
    assert!(page.contains("\nprocess_resident_memory_bytes "));
    let types: Vec<_> = lines(&page, "# TYPE ");
    let mut unique = types.clone();
    unique.dedup();
    assert_eq!(types, unique, "every name has one head");
}

#[test]
fn open_metrics_has_units_exemplars_and_an_end() {
    let sink = sink(PrometheusConfig::default());
    sink.record(&full());
    sink.add_source(Arc::new(|| vec![Sample::counter("llm_tracker_lost_bytes_total", "\"Lost\".", 3)]));
    let page = sink.render(Format::OpenMetrics);
    let duration = "gen_ai_client_operation_duration_seconds";
    assert!(
        page.contains(&format!("# TYPE {duration} histogram\n# UNIT {duration} seconds\n# HELP {duration} "))
    );
    let bucket =
        |le, rest| format!(r#"{duration}_bucket{{{LABELS},error_type="interrupted",le="{le}"}} {rest}"#);
    assert_eq!(lines(&page, &bucket("1.28", "")), [bucket("1.28", "0")]);
    // Started at 2026-01-02T03:04:05.123456789Z, and took 1.5 seconds.
    assert_eq!(
        lines(&page, &bucket("2.56", "")),
        [bucket("2.56", r#"1 # {response_id="chatcmpl-1"} 1.5 1767323046.623"#)]
    );
    assert_eq!(lines(&page, &bucket("+Inf", "")), [bucket("+Inf", "1")]);
    assert!(page.contains(r#",gen_ai_token_type="input",usage_source="reported",le="1.0"} 0"#));
    assert!(page.contains("# TYPE llm_calls counter\n"));
    assert_eq!(lines(&page, "llm_calls_total").len(), 1);
    let expected = "# TYPE llm_tracker_lost_bytes counter\n\
                    # UNIT llm_tracker_lost_bytes bytes\n\
                    # HELP llm_tracker_lost_bytes \\\"Lost\\\".\n\
                    llm_tracker_lost_bytes_total 3\n";
    assert!(page.contains(expected), "{page}");
    assert!(page.ends_with("\n# EOF\n") && page.matches("# EOF").count() == 1);
}

/// Debian's `promtool`, where it is installed, has the last word on the format.
#[test]
fn promtool_finds_nothing_to_say() {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };
    let sink =
        sink(PrometheusConfig { labels: with_more(&[OriginField::User]), ..PrometheusConfig::default() });
    sink.record(&full());
    sink.record(&bare());
    let mut server = full();
    server.call.role = Role::Server;
    sink.record(&server);
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else { return };
    child.stdin.take().unwrap().write_all(sink.render(Format::Text).as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
}
