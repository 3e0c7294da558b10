//! Starting, stopping, and what goes wrong: a sentence that says what to do, and a proper exit code.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    child::{Child, Finished},
    client::{self, LIMIT},
    compare::{all_exact, exact_or_missing},
    daemon::{Daemon, SOON, free_address, resident},
    machine::{self, Exclusive},
    metrics,
    probes::changed_bytes,
    scenario::Scenario,
    standin::StandIn,
    wait,
};

const CHAT: &str = "/v1/chat/completions";

/// Runs the binary with arguments that have to fail, from start to end.
fn run(arguments: &[&str]) -> Result<Finished> {
    let mut command = Command::new(machine::daemon_binary()?);
    command.args(arguments);
    Child::spawn(command, Duration::from_secs(30))?.wait()
}

/// Requires an exit code, and one short complaint that has all of these words in it.
fn complains(finished: &Finished, code: i32, words: &[&str]) -> Result<()> {
    let Finished { status, stderr, .. } = finished;
    ensure!(status.code() == Some(code), "{status}, not {code}: {stderr}");
    for word in words {
        ensure!(stderr.to_lowercase().contains(&word.to_lowercase()), "no `{word}` in: {stderr}");
    }
    ensure!(!stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE"), "{stderr}");
    ensure!(stderr.lines().count() <= 12, "a sentence, not a page: {stderr}");
    Ok(())
}

#[test]
fn sigterm_with_streams_in_flight() -> Result<()> {
    let standin = StandIn::start()?;
    let daemon = Daemon::start()?;
    let model = Scenario { chunks: Some(100), delay: Some(50), ..Scenario::new(5, 6) }.tag("n").model();
    let client = Child::spawn(client::python(&standin, "streams.py", &["20", &model])?, LIMIT)?;
    let pid = client.pid();
    let begun = Instant::now();
    while standin.served().len() < 20 {
        ensure!(begun.elapsed() < LIMIT, "the streams did not begin");
        thread::sleep(Duration::from_millis(20));
    }
    ensure!(changed_bytes(pid, "libssl.so")? > 0, "there is no probe to be removed");
    let stopped = daemon.stop()?;
    ensure!(changed_bytes(pid, "libssl.so")? == 0, "a probe is left in a running process");
    let calls = stopped.calls(|call| call.process.pid == pid)?;
    let exact = exact_or_missing(&calls, &standin)?;
    for call in &calls[exact..] {
        assert_eq!(call.error.as_deref(), Some("interrupted"), "{call:#?}");
    }
    assert_eq!(calls.len(), 20, "what is in flight is reported, as far as it got");
    client.wait()?.success().context("the client was disturbed")?;
    Ok(())
}

#[test]
fn metrics_tell_what_the_events_tell() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let model = Scenario::new(900, 50).cached(300).reasoning(7).tag("metrics").model();
    for _ in 0..3 {
        let curl = client::run_curl(&standin, CHAT, &client::chat_stream(&model))?;
        daemon.wait_for_one(curl.pid)?;
    }
    let failed = Scenario { status: Some(429), ..Scenario::new(1, 2) }.tag("metrics").model();
    let curl = client::run_curl(&standin, CHAT, &client::chat(&failed))?;
    daemon.wait_for_one(curl.pid)?;

    let metrics = daemon.metrics()?;
    let of = |name: &str, labels: &[(&str, &str)]| {
        let mut wanted = vec![("gen_ai_request_model", model.as_str())];
        // OTel's own metrics do not say whose call it was.
        wanted.extend(name.starts_with("llm_").then_some(("process", "curl")));
        wanted.extend(labels);
        metrics.sum(name, &wanted)
    };
    for (kind, tokens) in [("input", 2700.0), ("cache_read", 900.0), ("output", 150.0), ("reasoning", 21.0)] {
        assert_eq!(of("llm_tokens_total", &[("type", kind)]), tokens, "{kind}: {}", metrics.text);
    }
    assert_eq!(of("llm_calls_total", &[("status", "200")]), 3.0, "{}", metrics.text);
    for (kind, tokens) in [("input", 2700.0), ("output", 150.0)] {
        let labels = [("gen_ai_token_type", kind)];
        assert_eq!(of("gen_ai_client_token_usage_sum", &labels), tokens, "{}", metrics.text);
        assert_eq!(of("gen_ai_client_token_usage_count", &labels), 3.0);
    }
    let labels = [("gen_ai_operation_name", "chat"), ("gen_ai_provider_name", "unknown")];
    assert_eq!(of("gen_ai_client_operation_duration_seconds_count", &labels), 3.0, "{}", metrics.text);
    let failures = [("gen_ai_request_model", failed.as_str()), ("status", "429")];
    assert_eq!(metrics.sum("llm_calls_total", &failures), 1.0, "{}", metrics.text);
    assert_eq!(metrics.sum("llm_tokens_total", &failures[..1]), 0.0);
    assert_eq!(metrics.sum("llm_tracker_build_info", &[]), 1.0, "{}", metrics.text);
    daemon.stop()?;
    Ok(())
}

#[test]
fn an_event_is_written_within_a_second() -> Result<()> {
    let standin = StandIn::start()?;
    let daemon = Daemon::start()?;
    // The quickest of some: the machine may be busy with something else for a moment.
    let mut quickest = Duration::MAX;
    for _ in 0..5 {
        let curl = client::run_curl(&standin, CHAT, &client::chat(&Scenario::new(1, 2).model()))?;
        let ended = Instant::now();
        let event = || Ok((!daemon.calls(|call| call.process.pid == curl.pid)?.is_empty()).then_some(()));
        wait::until("no event", SOON, event)?;
        quickest = quickest.min(ended.elapsed());
    }
    ensure!(quickest < Duration::from_secs(1), "it took {quickest:?}");
    daemon.stop()?;
    Ok(())
}

#[test]
fn events_on_standard_output() -> Result<()> {
    let standin = StandIn::start()?;
    let _exclusive = Exclusive::take()?;
    let _resident = resident()?;
    let address = free_address()?;
    let mut command = Command::new(machine::daemon_binary()?);
    command.args(["run", "--events", "-", "--metrics-listen", &address.to_string()]);
    let daemon = Child::spawn(command, LIMIT * 2)?;
    wait_until_ready(&daemon, address)?;
    let model = Scenario::new(1, 2).tag("stdout").model();
    client::run_curl(&standin, CHAT, &client::chat(&model))?;
    let begun = Instant::now();
    while !daemon.stdout()?.contains(&model) {
        ensure!(begun.elapsed() < Duration::from_secs(10), "no event; it said: {}", daemon.stderr()?);
        thread::sleep(Duration::from_millis(20));
    }
    daemon.signal(libc::SIGTERM)?;
    let finished = daemon.wait()?.success()?;
    for line in finished.stdout.lines() {
        serde_json::from_str::<llm_tracker_tests::call::CallLine>(line)
            .context("standard output is for events")?;
    }
    Ok(())
}

fn wait_until_ready(daemon: &Child, address: std::net::SocketAddr) -> Result<()> {
    let begun = Instant::now();
    while !metrics::get(address, "/readyz").is_ok_and(|(status, _)| status == 200) {
        ensure!(begun.elapsed() < Duration::from_secs(60), "not ready; it said: {}", daemon.stderr()?);
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[test]
fn a_full_disk_costs_events_and_nothing_else() -> Result<()> {
    let standin = StandIn::start()?;
    let _exclusive = Exclusive::take()?;
    let _resident = resident()?;
    let address = free_address()?;
    let mut command = Command::new(machine::daemon_binary()?);
    command.args(["run", "--events", "/dev/full", "--metrics-listen", &address.to_string()]);
    let daemon = Child::spawn(command, LIMIT * 2)?;
    wait_until_ready(&daemon, address)?;
    let model = Scenario::new(123, 2).tag("full").model();
    client::run_curl(&standin, CHAT, &client::chat(&model))?;
    let begun = Instant::now();
    loop {
        let page = metrics::Metrics::parse(&metrics::get(address, "/metrics")?.1)?;
        if page.sum("llm_tracker_events_lost_total", &[]) >= 1.0 {
            let input = [("gen_ai_request_model", model.as_str()), ("type", "input")];
            assert_eq!(page.sum("llm_tokens_total", &input), 123.0, "metrics go on");
            break;
        }
        ensure!(begun.elapsed() < Duration::from_secs(10), "no loss in {}", page.text);
        thread::sleep(Duration::from_millis(50));
    }
    daemon.signal(libc::SIGTERM)?;
    let finished = daemon.wait()?.success()?;
    ensure!(finished.stderr.contains("/dev/full"), "it does not say which file: {}", finished.stderr);
    ensure!(finished.stderr.to_lowercase().contains("space"), "it does not say why: {}", finished.stderr);
    Ok(())
}

#[test]
fn a_port_that_is_taken() -> Result<()> {
    let taken = TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let finished = run(&["run", "--metrics-listen", &address])?;
    complains(&finished, 1, &[&address, "in use"])
}

#[test]
fn an_events_file_that_cannot_be_opened() -> Result<()> {
    let address = free_address()?.to_string();
    let finished = run(&["run", "--events", "/nonexistent/events.jsonl", "--metrics-listen", &address])?;
    complains(&finished, 1, &["/nonexistent/events.jsonl"])
}

#[test]
fn a_flag_that_does_not_exist() -> Result<()> {
    complains(&run(&["run", "--evnets", "x"])?, 2, &["--evnets", "--events"])?;
    complains(&run(&["run", "--metrics-listen", "nowhere"])?, 2, &["--metrics-listen", "nowhere"])?;
    complains(&run(&["watch"])?, 2, &["watch"])
}

#[test]
fn a_configuration_that_is_wrong() -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    let path = file.path().to_str().context("not UTF-8")?;
    for (text, words) in [
        ("[capture]\nring_bites = 1\n", ["ring_bites", "line 2"]),
        ("[capture\n", ["line 1", path]),
        ("[capture]\nring_bytes = 1\n", ["ring_bytes", "4096"]),
    ] {
        fs::write(file.path(), text)?;
        complains(&run(&["run", "--config", path])?, 1, &words).context(text)?;
    }
    complains(&run(&["run", "--config", "/nonexistent.toml"])?, 1, &["/nonexistent.toml"])
}

/// The binary where a user without rights can run it, and what it says to one.
fn as_nobody(arguments: &[&str]) -> Result<Finished> {
    let folder = tempfile::Builder::new().prefix("llm-tracker-bin-").tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    let binary = folder.path().join("llm-tracker");
    fs::copy(machine::daemon_binary()?, &binary)?;
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))?;
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]);
    command.arg(binary).args(arguments);
    Child::spawn(command, Duration::from_secs(30))?.wait()
}

#[test]
fn a_user_who_is_not_root() -> Result<()> {
    let address = free_address()?.to_string();
    complains(&as_nobody(&["run", "--metrics-listen", &address])?, 1, &["root"])?;
    let doctor = as_nobody(&["doctor"])?;
    ensure!(!doctor.status.success(), "doctor has to say that this does not suffice");
    ensure!(format!("{}{}", doctor.stdout, doctor.stderr).contains("CAP_"), "{doctor:?}");
    Ok(())
}

#[test]
fn doctor_lists_what_is_hooked() -> Result<()> {
    let _exclusive = Exclusive::take()?;
    let standin = StandIn::start()?;
    let slow = Scenario { chunks: Some(600), delay: Some(100), ..Scenario::new(1, 2) };
    let _client = Child::spawn(client::curl(&standin, CHAT, &client::chat_stream(&slow.model())), LIMIT)?;
    wait::until("it does not call", LIMIT, || Ok((!standin.served().is_empty()).then_some(())))?;
    let doctor = run(&["doctor"])?.success()?;
    let line = doctor.stdout.lines().find(|line| line.contains("libssl.so"));
    ensure!(line.is_some(), "no libssl in: {}", doctor.stdout);
    Ok(())
}

#[test]
fn a_second_daemon_beside_the_first() -> Result<()> {
    let standin = StandIn::start()?;
    let mut first = Daemon::start()?;
    let address = free_address()?;
    let mut command = Command::new(machine::daemon_binary()?);
    command.args(["run", "--events", "-", "--metrics-listen", &address.to_string()]);
    let second = Child::spawn(command, LIMIT * 2)?;
    wait_until_ready(&second, address)?;
    let curl = client::run_curl(&standin, CHAT, &client::chat(&Scenario::new(1, 2).model()))?;
    all_exact(&[first.wait_for_one(curl.pid)?], &standin)?;
    second.signal(libc::SIGTERM)?;
    second.wait()?.success()?;
    let curl = client::run_curl(&standin, CHAT, &client::chat(&Scenario::new(3, 4).model()))?;
    all_exact(&[first.wait_for_one(curl.pid)?], &standin)?;
    first.stop()?;
    Ok(())
}

#[test]
fn a_configuration_is_checked_and_shown() -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    let path = file.path().to_str().context("not UTF-8")?;
    fs::write(file.path(), "[metrics]\nmax_series = 77\n")?;
    run(&["run", "--config", path, "--check-config"])?.success()?;
    let shown = run(&["config", "show", "--config", path])?.success()?.stdout;
    ensure!(shown.contains(&format!("metrics.max_series = 77  # {path}:2\n")), "{shown}");
    let json = run(&["config", "show", "--json", "--config", path])?.success()?.stdout;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!(json["metrics.listen"]["source"], "default");
    fs::write(file.path(), "[metrics]\nmax_serie = 77\n")?;
    complains(
        &run(&["run", "--config", path, "--check-config"])?,
        1,
        &["line 2", "did you mean `max_series`?"],
    )?;
    fs::write(file.path(), "[metrics]\nweb_config = \"/nonexistent/web.yml\"\n")?;
    complains(&run(&["run", "--config", path, "--check-config"])?, 1, &["/nonexistent/web.yml"])?;
    fs::write(file.path(), "[api]\ngroup = \"no-such-group\"\n")?;
    complains(&run(&["run", "--config", path, "--check-config"])?, 1, &["no-such-group", "api.group"])
}

#[test]
fn the_environment_and_logs_for_programs() -> Result<()> {
    let mut command = Command::new(machine::daemon_binary()?);
    command
        .args(["--log-format", "json", "run", "--check-config"])
        .env("LLM_TRACKER_METRICS_LISTEN", "nowhere");
    let finished = Child::spawn(command, Duration::from_secs(30))?.wait()?;
    complains(&finished, 1, &["LLM_TRACKER_METRICS_LISTEN", "metrics.listen"])?;
    let _exclusive = Exclusive::take()?;
    let address = free_address()?;
    let mut command = Command::new(machine::daemon_binary()?);
    command
        .env("LLM_TRACKER_METRICS_LISTEN", address.to_string())
        .env("LLM_TRACKER_LOG_FORMAT", "json")
        .arg("run");
    let daemon = Child::spawn(command, LIMIT)?;
    wait_until_ready(&daemon, address)?;
    daemon.signal(libc::SIGTERM)?;
    for line in daemon.wait()?.success()?.stderr.lines() {
        let line: serde_json::Value = serde_json::from_str(line)?;
        ensure!(line["message"].is_string() && line["level"].is_string(), "{line}");
    }
    Ok(())
}
