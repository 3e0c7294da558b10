//! The stand-in answers real clients as the providers do: shown without the daemon.

use std::{
    collections::HashSet,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    child::Child,
    client::{self, LIMIT},
    container::Bundle,
    machine::{self, Exclusive},
    proxy::Proxy,
    scenario::Scenario,
    standin::{COMPLETION_MARKER, StandIn},
};
use serde_json::Value;

/// A stand-in, and the machine: its clients are none that another test's daemon expects.
fn start() -> Result<(Exclusive, StandIn)> {
    Ok((Exclusive::take()?, StandIn::start()?))
}

/// What a Python client says its SDK understood.
fn understood(output: &str) -> Result<(u64, Option<u64>)> {
    let line: Value = serde_json::from_str(output)?;
    Ok((line["input"].as_u64().context("no input")?, line["output"].as_u64()))
}

#[test]
fn every_sdk_understands_the_numbers() -> Result<()> {
    let (_machine, standin) = start()?;
    let mut number = 100;
    let mut check = |script: &str, operation: &str, rest: &[&str]| -> Result<()> {
        number += 1;
        let scenario = Scenario::new(number, 45).cached(40).reasoning(7).tag(operation);
        let model = scenario.model();
        let mut arguments = vec![operation, &model];
        arguments.extend(rest);
        let finished = client::run_python(&standin, script, &arguments)
            .with_context(|| format!("{script} {arguments:?}"))?;
        let (input, output) = understood(&finished.stdout)?;
        ensure!(input == number, "{script} {operation}: {input} input tokens");
        ensure!(output == (operation != "embeddings").then_some(45), "{script} {operation}: {output:?}");
        Ok(())
    };
    for rest in [&[][..], &["async"]] {
        for operation in [
            "chat",
            "chat-stream",
            "responses",
            "responses-stream",
            "completions",
            "completions-stream",
            "embeddings",
            "azure",
        ] {
            check("openai_sdk.py", operation, rest)?;
        }
        check("anthropic_sdk.py", "messages", rest)?;
        check("anthropic_sdk.py", "messages-stream", rest)?;
        check("gemini_sdk.py", "generate", rest)?;
        check("gemini_sdk.py", "generate-stream", rest)?;
    }
    Ok(())
}

#[test]
fn every_library_understands_the_numbers() -> Result<()> {
    let (_machine, standin) = start()?;
    for library in ["requests", "httpx", "httpx-async", "aiohttp"] {
        for rest in [&[][..], &["stream"]] {
            let mut scenario = Scenario::new(12, 34);
            scenario.gzip = true;
            let model = scenario.model();
            let mut arguments = vec![library, &model];
            arguments.extend(rest);
            let finished = client::run_python(&standin, "plain_http.py", &arguments)?;
            assert_eq!(understood(&finished.stdout)?, (12, Some(34)), "{library} {rest:?}");
        }
    }
    Ok(())
}

#[test]
fn curl_and_openssl_get_an_answer() -> Result<()> {
    let (_machine, standin) = start()?;
    let body = client::chat_stream(&Scenario::new(1, 2).model());
    for output in [
        client::run_curl(&standin, "/v1/chat/completions", &body)?.stdout,
        client::openssl(&standin, "/v1/chat/completions", &body)?.wait()?.success()?.stdout,
    ] {
        assert!(output.contains(COMPLETION_MARKER) && output.contains("data: [DONE]"), "{output}");
    }
    assert_eq!(standin.served().len(), 2);
    let (received, sent) = standin.plaintext_bytes();
    assert!(received > 400 && sent > 2000, "{received} {sent}");
    Ok(())
}

#[test]
fn a_stream_is_spread_over_time_and_can_be_cut() -> Result<()> {
    let (_machine, standin) = start()?;
    let scenario = Scenario { chunks: Some(4), delay: Some(50), wait: Some(100), ..Scenario::new(1, 2) };
    let begun = Instant::now();
    client::run_curl(&standin, "/v1/chat/completions", &client::chat_stream(&scenario.model()))?;
    assert!(begun.elapsed() > Duration::from_millis(400), "{:?}", begun.elapsed());

    let cut = Scenario { cut: Some(2), ..Scenario::new(1, 2) }.model();
    for body in [client::chat_stream(&cut), client::chat(&cut)] {
        let curl = Child::spawn(client::curl(&standin, "/v1/chat/completions", &body), LIMIT)?.wait()?;
        assert!(!curl.status.success(), "{}", curl.stdout);
        assert!(curl.stdout.contains(COMPLETION_MARKER), "{}", curl.stdout);
        assert!(!curl.stdout.contains("\"usage\":{"), "{}", curl.stdout);
    }
    Ok(())
}

#[test]
fn errors_and_sizes_are_as_asked() -> Result<()> {
    let (_machine, standin) = start()?;
    for (path, body) in [
        (
            "/v1/chat/completions",
            client::chat(&Scenario { status: Some(429), ..Scenario::new(1, 2) }.model()),
        ),
        (
            "/v1/messages",
            client::messages(&Scenario { status: Some(529), ..Scenario::new(1, 2) }.model(), true),
        ),
    ] {
        let curl = client::run_curl(&standin, path, &body)?;
        assert!(curl.stdout.contains("\"error\""), "{}", curl.stdout);
    }
    let scenario = Scenario { size: Some(8 << 20), chunks: Some(512), ..Scenario::new(1, 2) };
    let curl = client::run_curl(&standin, "/v1/chat/completions", &client::chat_stream(&scenario.model()))?;
    assert!(curl.stdout.len() > 8 << 20);
    let refused = client::run_curl(&standin, "/v1/chat/completions", &client::chat("gpt-4o"))?;
    assert!(refused.stdout.contains("invalid"), "{}", refused.stdout);
    Ok(())
}

#[test]
fn one_connection_serves_many_requests() -> Result<()> {
    let (_machine, standin) = start()?;
    let model = Scenario::new(1, 2).tag("reuse").model();
    client::run_python(&standin, "reuse.py", &["50", &model])?;
    assert_eq!((standin.connections(), standin.served().len()), (1, 50));
    Ok(())
}

#[test]
fn many_streams_run_at_once() -> Result<()> {
    let (_machine, standin) = start()?;
    let model = Scenario { delay: Some(20), ..Scenario::new(1, 2) }.tag("n").model();
    let finished = client::run_python(&standin, "streams.py", &["50", &model])?;
    let line: Value = serde_json::from_str(&finished.stdout)?;
    assert_eq!(line["output"], 100);
    Ok(())
}

#[test]
fn streams_stay_open() -> Result<()> {
    let (_machine, standin) = start()?;
    let model = Scenario { chunks: Some(100), delay: Some(500), ..Scenario::new(1, 2) }.model();
    let mut client = Child::spawn(client::python(&standin, "open_streams.py", &["60", &model])?, LIMIT)?;
    while !client.stdout()?.contains("open 60") {
        ensure!(client.is_running()?, "{}", client.stderr()?);
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(standin.connections(), 60);
    Ok(())
}

#[test]
fn forked_processes_have_equal_ssl_pointers() -> Result<()> {
    let (_machine, standin) = start()?;
    let model = Scenario::new(1, 2).tag("fork").model();
    for how in ["equal", "shared"] {
        let finished = client::run_python(&standin, "fork.py", &[how, &model])?;
        let lines: Vec<Value> =
            finished.stdout.lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?;
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["ssl"], lines[1]["ssl"], "{how}");
        assert!(lines[0]["ssl"].as_u64() > Some(4096));
        let pids: HashSet<_> = lines.iter().map(|line| line["pid"].as_u64()).collect();
        assert_eq!(pids.len(), 2);
    }
    Ok(())
}

#[test]
fn nginx_ends_tls_in_front_of_it() -> Result<()> {
    let (_machine, standin) = start()?;
    let proxy = Proxy::start(&standin)?;
    let mut curl = client::command(&standin, "/usr/bin/curl");
    let body = client::chat_stream(&Scenario::new(1, 2).model());
    curl.args(client::curl_arguments(&format!("{}/v1/chat/completions", proxy.url()), &body));
    let finished = Child::spawn(curl, LIMIT)?.wait()?.success()?;
    assert!(finished.stdout.contains("[DONE]"), "{}", finished.stdout);
    assert_eq!(standin.plaintext_bytes(), (0, 0), "the call has to come in on the plain port");
    Ok(())
}

#[test]
fn a_container_makes_a_call() -> Result<()> {
    if !machine::is_root() {
        eprintln!("not root: containers of the host's network need it");
        return Ok(());
    }
    let (_machine, standin) = start()?;
    let body = client::chat(&Scenario::new(1, 2).model());
    let url = format!("{}/v1/chat/completions", standin.url());
    let id = format!("standin-{}", std::process::id());
    let container = Bundle::new(&id, &standin, &client::curl_arguments(&url, &body))?;
    let finished = container.run()?.wait()?.success()?;
    assert!(finished.stdout.contains(COMPLETION_MARKER), "{}", finished.stdout);
    Ok(())
}

#[test]
fn clients_may_come_beside_each_other() -> Result<()> {
    let (_machine, standin) = start()?;
    let body = client::chat(&Scenario::new(1, 2).model());
    thread::scope(|scope| {
        let runs: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    for _ in 0..10 {
                        client::run_curl(&standin, "/v1/chat/completions", &body)?;
                    }
                    Ok(())
                })
            })
            .collect();
        runs.into_iter().try_for_each(|run| run.join().unwrap())
    })?;
    assert_eq!(standin.served().len(), 40);
    Ok(())
}

#[test]
fn clients_believe_in_the_providers_real_names() -> Result<()> {
    if !machine::is_root() {
        eprintln!("not root: a mount namespace needs it");
        return Ok(());
    }
    let (_machine, standin) = start()?;
    let model = Scenario::new(1, 2).model();
    let curl =
        client::curl_by_real_name(&standin, "api.openai.com", "/v1/chat/completions", &client::chat(&model));
    Child::spawn(curl, LIMIT)?.wait()?.success()?;
    for (script, operation) in
        [("openai_sdk.py", "chat"), ("anthropic_sdk.py", "messages"), ("gemini_sdk.py", "generate")]
    {
        let python = client::python_by_real_names(&standin, script, &[operation, &model])?;
        let finished = Child::spawn(python, LIMIT)?.wait()?.success()?;
        assert_eq!(understood(&finished.stdout)?, (1, Some(2)), "{script}");
    }
    assert_eq!(standin.served().len(), 4);
    Ok(())
}
