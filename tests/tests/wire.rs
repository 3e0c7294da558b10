//! What happens on the wire: codings, pieces, errors, streams that end early.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};
use llm_tracker_tests::{
    child::Child,
    client::{self, LIMIT},
    compare::all_exact,
    daemon::Daemon,
    scenario::Scenario,
    standin::StandIn,
};

const CHAT: &str = "/v1/chat/completions";

#[test]
fn gzip_bodies_and_gzip_streams() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let scenario = Scenario { gzip: true, ..Scenario::new(77, 88).cached(11) };
    for body in [client::chat(&scenario.model()), client::chat_stream(&scenario.model())] {
        let mut curl = client::curl(&standin, CHAT, &body);
        curl.args(["--header", "accept-encoding: gzip"]);
        let finished = Child::spawn(curl, LIMIT)?.wait()?.success()?;
        assert!(!finished.stdout.contains("usage"), "the answer was not compressed");
        all_exact(&[daemon.wait_for_one(finished.pid)?], &standin)?;
    }
    daemon.stop()?;
    Ok(())
}

#[test]
fn answers_in_pieces_of_any_size() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    for piece in [1, 7, 1000] {
        let scenario = Scenario { piece: Some(piece), ..Scenario::new(77, 88) };
        for (path, body) in [
            (CHAT, client::chat_stream(&scenario.model())),
            ("/v1/messages", client::messages(&scenario.model(), false)),
        ] {
            let curl = client::run_curl(&standin, path, &body)?;
            all_exact(&[daemon.wait_for_one(curl.pid)?], &standin)?;
        }
    }
    daemon.stop()?;
    Ok(())
}

#[test]
fn two_calls_over_one_connection() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let (first, second) = (Scenario::new(1, 2).model(), Scenario::new(3, 4).model());
    let url = format!("{}{CHAT}", standin.url());
    let mut curl = client::curl(&standin, CHAT, &client::chat_stream(&first));
    curl.arg("--next").args(client::curl_arguments(&url, &client::chat(&second)));
    let finished = Child::spawn(curl, LIMIT)?.wait()?.success()?;
    assert_eq!(standin.connections(), 1);
    let calls = daemon.wait_for_pid(finished.pid, 2)?;
    all_exact(&calls, &standin)?;
    assert_eq!(calls.iter().map(|call| call.input_tokens).collect::<Vec<_>>(), [Some(1), Some(3)]);
    daemon.stop()?;
    Ok(())
}

#[test]
fn a_stream_without_usage_has_estimates_unless_they_are_off() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let mut body = client::chat_stream(&Scenario::new(5, 6).model());
    body["stream_options"] = serde_json::Value::Null;
    let curl = client::run_curl(&standin, CHAT, &body)?;
    let call = daemon.wait_for_one(curl.pid)?;
    all_exact(std::slice::from_ref(&call), &standin)?;
    assert_eq!(call.usage_source, "estimated", "{call:#?}");
    assert!(call.input_tokens.is_some_and(|tokens| (8..40).contains(&tokens)), "{call:#?}");
    assert!(call.output_tokens.is_some_and(|tokens| (1..200).contains(&tokens)), "{call:#?}");
    assert_eq!(call.finish_reasons, ["stop"]);
    let metrics = daemon.metrics()?;
    let model = call.model.clone().unwrap_or_default();
    let sum = |source| {
        let labels = [("type", "output"), ("usage_source", source), ("gen_ai_request_model", &*model)];
        metrics.sum("llm_tokens_total", &labels)
    };
    assert_eq!((sum("reported"), sum("estimated")), (0.0, call.output_tokens.unwrap_or_default() as f64));
    daemon.stop()?;

    let mut daemon = Daemon::start_with("[usage]\nestimate = false\n", "warn")?;
    let curl = client::run_curl(&standin, CHAT, &body)?;
    let call = daemon.wait_for_one(curl.pid)?;
    assert!(call.has_no_numbers() && call.usage_source == "missing", "{call:#?}");
    daemon.stop()?;
    Ok(())
}

#[test]
fn a_cut_stream_is_interrupted_and_what_came_of_it_is_estimated() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let scenario = Scenario { cut: Some(4), ..Scenario::new(5, 6) };
    for (path, body) in [
        (CHAT, client::chat_stream(&scenario.model())),
        (CHAT, client::chat(&scenario.model())),
        // Its first event has a usage, whose output is a placeholder.
        ("/v1/messages", client::messages(&scenario.model(), true)),
    ] {
        let curl = Child::spawn(client::curl(&standin, path, &body), LIMIT)?.wait()?;
        assert!(!curl.status.success());
        let call = daemon.wait_for_one(curl.pid).with_context(|| format!("{path} {body}"))?;
        assert_eq!(call.error.as_deref(), Some("interrupted"), "{call:#?}");
        assert_eq!(call.usage_source, "estimated", "{call:#?}");
        // What the provider did say stays.
        let reported = path == "/v1/messages";
        assert_eq!(call.input_tokens == Some(5), reported, "{call:#?}");
        assert!(!body["stream"].is_boolean() || call.output_tokens.is_some(), "{call:#?}");
        assert_eq!(call.model, Some(scenario.model()));
    }
    daemon.stop()?;
    Ok(())
}

#[test]
fn a_killed_client_leaves_an_interrupted_call() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let scenario = Scenario { chunks: Some(500), delay: Some(50), ..Scenario::new(5, 6) };
    let curl = Child::spawn(client::curl(&standin, CHAT, &client::chat_stream(&scenario.model())), LIMIT)?;
    while curl.stdout()?.is_empty() {
        thread::sleep(Duration::from_millis(20));
    }
    curl.signal(libc::SIGKILL)?;
    let pid = curl.wait()?.pid;
    let call = daemon.wait_for_one(pid)?;
    assert_eq!(call.error.as_deref(), Some("interrupted"), "{call:#?}");
    assert_eq!(call.usage_source, "estimated", "{call:#?}");
    daemon.stop()?;
    Ok(())
}

#[test]
fn errors_have_a_status_a_type_and_no_numbers() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    for (path, status, error) in [
        (CHAT, 429, "rate_limit_exceeded"),
        (CHAT, 500, "server_error"),
        ("/v1/messages", 429, "rate_limit_error"),
        ("/v1/messages", 529, "overloaded_error"),
    ] {
        let model = Scenario { status: Some(status), ..Scenario::new(5, 6) }.model();
        let curl = client::run_curl(&standin, path, &client::messages(&model, false))?;
        let call = daemon.wait_for_one(curl.pid)?;
        all_exact(std::slice::from_ref(&call), &standin)?;
        assert!(call.error.is_some(), "{error} is expected: {call:#?}");
        assert!(call.has_no_numbers() && call.usage_source == "missing", "{call:#?}");
    }
    daemon.stop()?;
    Ok(())
}

#[test]
fn times_are_those_of_the_wire() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let scenario = Scenario { wait: Some(300), delay: Some(200), chunks: Some(3), ..Scenario::new(5, 6) };
    let (before, begun) = (std::time::SystemTime::now(), std::time::Instant::now());
    let curl = client::run_curl(&standin, CHAT, &client::chat_stream(&scenario.model()))?;
    let lasted = begun.elapsed().as_secs_f64();
    let call = daemon.wait_for_one(curl.pid)?;
    // Content comes with the second event; five more follow it.
    let first = call.time_to_first_token_seconds.context("no time to the first token")?;
    assert!((0.5..lasted).contains(&first), "{first} of {lasted}");
    assert!((1.3..lasted).contains(&call.duration_seconds), "{} of {lasted}", call.duration_seconds);
    assert!(call.duration_seconds - first > 0.7, "{first} of {}", call.duration_seconds);
    let day = before.duration_since(std::time::UNIX_EPOCH)?.as_secs() / 86_400;
    let today = date_of(day)?;
    assert!(
        call.timestamp.starts_with(&today) || call.timestamp.starts_with(&date_of(day + 1)?),
        "{call:#?}"
    );
    daemon.stop()?;
    Ok(())
}

/// `YYYY-MM-DD` of a day since the epoch.
fn date_of(day: u64) -> Result<String> {
    let mut date = std::process::Command::new("/usr/bin/date");
    date.args(["--utc", "+%F", "--date", &format!("@{}", day * 86_400)]);
    Ok(llm_tracker_tests::child::output(date, LIMIT)?.trim().to_owned())
}

#[test]
fn other_https_traffic_makes_no_event() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let mut curl = client::command(&standin, "/usr/bin/curl");
    curl.args(["--silent", &format!("{}/healthz", standin.url())]);
    let other = Child::spawn(curl, LIMIT)?.wait()?.success()?;
    assert_eq!(other.stdout, "ok\n");
    // A call that comes later is there, so the other one would be too.
    let model = Scenario::new(1, 2).model();
    let curl = client::run_curl(&standin, CHAT, &client::chat(&model))?;
    daemon.wait_for_one(curl.pid)?;
    assert_eq!(daemon.calls(|call| call.process.pid == other.pid)?, []);
    daemon.stop()?;
    Ok(())
}
