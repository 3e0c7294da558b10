//! The ledger: what was seen is stored, and answered at the prompt.

use std::{
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use llm_tracker_tests::{
    child::Child,
    client,
    daemon::{Daemon, SOON},
    machine,
    scenario::Scenario,
    standin::StandIn,
};
use serde_json::Value;

const CHAT: &str = "/v1/chat/completions";

/// Asks a ledger.
fn ask(ledger: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(machine::daemon_binary()?);
    command.args(arguments).arg("--ledger").arg(ledger);
    Ok(Child::spawn(command, Duration::from_secs(30))?.wait()?.success()?.stdout)
}

fn with_ledger(ledger: &Path) -> Result<Daemon> {
    Daemon::start_with(&format!("[ledger]\nfile = {ledger:?}\n"), "info")
}

/// Ten calls of one model, one of them failed, and five of another.
fn make_calls(standin: &StandIn) -> Result<[String; 2]> {
    let (busy, other) = (Scenario::new(1000, 80).cached(600).tag("busy"), Scenario::new(7, 9).tag("other"));
    for _ in 0..9 {
        client::run_curl(standin, CHAT, &client::chat(&busy.model()))?;
    }
    let failed = Scenario { status: Some(429), ..Scenario::new(1, 2).tag("failed") };
    client::run_curl(standin, CHAT, &client::chat(&failed.model()))?;
    for _ in 0..5 {
        client::run_curl(standin, CHAT, &client::chat_stream(&other.model()))?;
    }
    Ok([busy.model(), other.model()])
}

fn wait_until_stored(daemon: &Daemon, calls: f64) -> Result<()> {
    let begun = Instant::now();
    while daemon.metrics()?.sum("llm_tracker_ledger_stored_total", &[]) < calls {
        ensure!(begun.elapsed() < SOON, "the calls are not stored");
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[test]
fn a_report_says_what_was_served() -> Result<()> {
    let standin = StandIn::start()?;
    let folder = tempfile::tempdir()?;
    let ledger = folder.path().join("ledger.db");
    let daemon = with_ledger(&ledger)?;
    let [busy, other] = make_calls(&standin)?;
    wait_until_stored(&daemon, 15.0)?;

    // While the daemon runs.
    let report: Value = serde_json::from_str(&ask(
        &ledger,
        &["report", "--json", "--by", "request_model,process", "--where", "role=client"],
    )?)?;
    let group = |model: &str| {
        let groups = report["groups"].as_array().cloned().unwrap_or_default();
        groups
            .into_iter()
            .find(|group| group["by"]["request_model"] == model && group["by"]["process"] == "curl")
            .unwrap()
    };
    let [busy_group, other_group] = [group(&busy), group(&other)];
    for (name, busy, other) in [
        ("calls", 9, 5),
        ("errors", 0, 0),
        ("input_tokens", 9000, 35),
        ("cache_read_input_tokens", 5400, 0),
        ("output_tokens", 720, 45),
    ] {
        assert_eq!(busy_group[name], busy, "{name}: {report}");
        assert!(other_group[name] == other || other == 0, "{name}: {report}");
    }
    let errors = ask(&ledger, &["report", "--by", "error", "--csv", "--where", "error!="])?;
    assert_eq!(errors.lines().count(), 2, "{errors}");

    // The same rows as in the event log.
    let stopped = daemon.stop()?;
    let of_curl = stopped.calls(|call| call.process.name.as_deref() == Some("curl"))?;
    let stored = ask(&ledger, &["calls", "--json", "-n", "1000", "--where", "process=curl"])?;
    let ids = |text: &str| text.matches("\"response_id\"").count();
    assert_eq!(stored.lines().count(), of_curl.len());
    assert_eq!(ids(&stored), 14, "all but the failed one have one");
    for command in ["calls", "report"] {
        let table = ask(&ledger, &[command])?;
        assert!(table.contains("standin-served") && !table.contains('\u{1b}'), "{table}");
    }
    let calls = ask(&ledger, &["calls", "--csv", "--where", "process=curl"])?;
    assert!(calls.starts_with("timestamp,provider,") && calls.lines().count() == 16, "{calls}");
    let none = ask(&ledger, &["report", "--where", "process=crul"])?;
    assert!(none.contains("did you mean `curl`?") && none.contains("What there is of process:"), "{none}");
    Ok(())
}

#[test]
fn calls_are_followed_as_they_happen() -> Result<()> {
    let standin = StandIn::start()?;
    let folder = tempfile::tempdir()?;
    let ledger = folder.path().join("ledger.db");
    let daemon = with_ledger(&ledger)?;
    client::run_curl(&standin, CHAT, &client::chat(&Scenario::new(1, 2).tag("before").model()))?;
    wait_until_stored(&daemon, 1.0)?;
    let mut command = Command::new(machine::daemon_binary()?);
    command.args(["calls", "--follow", "--json", "-n", "1", "--ledger"]).arg(&ledger);
    let following = Child::spawn(command, Duration::from_secs(60))?;
    let wait_for = |what: &str| -> Result<()> {
        let begun = Instant::now();
        while !following.stdout()?.contains(what) {
            ensure!(begun.elapsed() < SOON, "{what} is not shown: {}", following.stdout()?);
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    };
    wait_for("before")?;
    client::run_curl(&standin, CHAT, &client::chat(&Scenario::new(3, 4).tag("after").model()))?;
    wait_for("after")?;
    following.signal(libc::SIGINT)?;
    let shown = following.wait()?.stdout;
    assert!(shown.lines().count() >= 2 && shown.find("before") < shown.find("after"), "{shown}");
    Ok(())
}

/// What scripts rely on.
#[test]
fn exit_codes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let none = folder.path().join("none.db");
    let none = none.to_str().unwrap();
    for (arguments, code, word) in [
        (&["report", "--help"][..], 0, ""),
        (&["config", "show"], 0, ""),
        (&["report", "--ledger", none], 1, "there is no ledger"),
        (&["report", "--by", "modle"], 2, "did you mean `model`?"),
        (&["calls", "--where", "usr=ada"], 2, "did you mean `user`?"),
        (&["calls", "--since", "yesterday"], 2, "90m"),
        (&["reprot"], 2, "report"),
    ] {
        let mut command = Command::new(machine::daemon_binary()?);
        command.args(arguments);
        let finished = Child::spawn(command, Duration::from_secs(30))?.wait()?;
        let stderr = &finished.stderr;
        ensure!(finished.status.code() == Some(code) && stderr.contains(word), "{arguments:?}: {stderr}");
    }
    Ok(())
}

#[test]
fn a_daemon_that_is_killed_loses_nothing_that_was_stored() -> Result<()> {
    let standin = StandIn::start()?;
    let folder = tempfile::tempdir()?;
    let ledger = folder.path().join("ledger.db");
    let calls = |text: String| -> Result<i64> {
        let report: Value = serde_json::from_str(&text)?;
        Ok(report["total"]["calls"].as_i64().unwrap_or_default())
    };
    for round in 1..=3 {
        let daemon = with_ledger(&ledger)?;
        make_calls(&standin)?;
        wait_until_stored(&daemon, 15.0)?;
        drop(daemon.kill()?);
        let stored = calls(ask(&ledger, &["report", "--json", "--where", "process=curl"])?)?;
        assert!(stored >= 15 * round, "{stored} in round {round}");
    }
    Ok(())
}

#[test]
fn a_ledger_that_cannot_be_used_costs_no_call() -> Result<()> {
    let standin = StandIn::start()?;
    let folder = tempfile::tempdir()?;
    let ledger = folder.path().join("ledger.db");
    std::fs::write(&ledger, "this is no database, whatever its name says")?;
    let mut daemon = with_ledger(&ledger)?;
    let curl = client::run_curl(&standin, CHAT, &client::chat(&Scenario::new(3, 4).model()))?;
    daemon.wait_for_one(curl.pid)?;
    assert_eq!(daemon.metrics()?.sum("llm_tracker_ledger_stored_total", &[]), 0.0);
    let stopped = daemon.stop()?;
    let log = &stopped.finished.stderr;
    ensure!(log.contains("ledger.db") && log.contains("not a database"), "{log}");
    Ok(())
}
