//! A real WebSocket client: every response on its one connection is a call, seen in the kernel.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use llm_tracker_tests::{
    client,
    compare::{all_exact, made_by},
    daemon::{Daemon, SOON},
    scenario::Scenario,
    standin::StandIn,
};

/// Runs the client with these models and requires a call for each.
fn responses(compression: &str) -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let plain = Scenario::new(1234, 45).cached(40).reasoning(7);
    let tool = Scenario { tool: true, ..Scenario::new(55, 6) };
    let long = Scenario { size: Some(60_000), chunks: Some(9), delay: Some(5), ..Scenario::new(9, 999) };
    let models = [plain, tool, long].map(|scenario| scenario.tag(compression).model());
    let mut arguments = vec!["/v1/responses", compression];
    arguments.extend(models.iter().map(String::as_str));
    let client = client::run_python(&standin, "websocket_client.py", &arguments)?;
    let mut calls = daemon.wait_for_pid(client.pid, models.len())?;
    for (call, model) in calls.iter_mut().zip(&models) {
        made_by(call, "python3", "/usr/bin/python3")?;
        ensure!(call.model.as_ref() == Some(model), "{:?} instead of {model}", call.model);
        ensure!(call.provider == "unknown", "nobody knows localhost: {}", call.provider);
        let labels = call.session.as_ref().map(|session| &session.labels);
        ensure!(labels.is_some_and(|labels| labels["data_id"] == "7"), "the upgrade's labels: {labels:?}");
        // Of the upgrade; the stand-in notes what it would have answered over HTTP.
        ensure!(call.status == Some(101), "status is {:?}", call.status);
        call.status = Some(200);
        let first = call.time_to_first_token_seconds.unwrap_or(-1.0);
        ensure!(first >= 0.0 && first <= call.duration_seconds, "the first token came after {first} s");
    }
    all_exact(&calls, &standin)?;
    ensure!(calls[2].duration_seconds > 0.04, "nine pieces, five milliseconds apart");
    ensure!(standin.served().len() == models.len(), "the client made other calls too");
    daemon.stop()?;
    Ok(())
}

#[test]
fn responses_over_websocket() -> Result<()> {
    responses("none")
}

#[test]
fn responses_over_compressed_websocket() -> Result<()> {
    responses("deflate")
}

#[test]
fn a_websocket_that_breaks_off_leaves_an_interrupted_call() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let whole = Scenario::new(10, 20).tag("whole").model();
    let cut = Scenario { cut: Some(4), ..Scenario::new(30, 40) }.model();
    let arguments = ["/v1/responses", "deflate", &whole, &cut];
    let client = client::run_python(&standin, "websocket_client.py", &arguments);
    // How the client takes it is its own business.
    let pid = client.map_or(0, |client| client.pid);
    let calls = daemon.wait_for(2, |call| {
        call.process.pid == pid || pid == 0 && call.path == "/v1/responses" && call.status == Some(101)
    })?;
    ensure!(calls[0].error.is_none() && calls[0].total_tokens == Some(30), "{:#?}", calls[0]);
    ensure!(calls[1].error.as_deref() == Some("interrupted"), "{:#?}", calls[1]);
    ensure!(calls[1].usage_source == "estimated" && calls[1].model.as_ref() == Some(&cut), "{:#?}", calls[1]);
    daemon.stop()?;
    Ok(())
}

#[test]
fn a_websocket_to_anything_else_is_ignored() -> Result<()> {
    let standin = StandIn::start()?;
    let daemon = Daemon::start()?;
    let model = Scenario::new(10, 20).model();
    client::run_python(
        &standin,
        "websocket_client.py",
        &["/chat/socket/responses-of-a-game", "none", &model],
    )
    .ok();
    let curl = client::run_curl(&standin, "/v1/responses", &client::chat(&Scenario::new(1, 2).model()))?;
    let mut daemon = daemon;
    daemon.wait_for_one(curl.pid)?;
    let calls = daemon.calls(|call| call.path.starts_with("/chat/socket"))?;
    ensure!(calls.is_empty(), "{calls:#?}");
    // The daemon publishes what it has counted now and then.
    let deadline = Instant::now() + SOON;
    let ignored = || {
        daemon.metrics().map(|now| now.sum("llm_tracker_connections_decided_total", &[("verdict", "ignore")]))
    };
    while ignored()? < 1.0 {
        ensure!(Instant::now() < deadline, "the connection was not ignored");
        thread::sleep(Duration::from_millis(50));
    }
    daemon.stop()?;
    Ok(())
}
