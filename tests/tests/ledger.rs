//! The ledger: what was seen is stored, and answered at the prompt.

use std::{process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    call::CallLine,
    child::Child,
    client,
    daemon::SOON,
    ledger::{self, Ledger},
    machine,
    scenario::Scenario,
    standin::StandIn,
    terminal::Terminal,
    wait,
};

const CHAT: &str = "/v1/chat/completions";

/// Ten calls of one model, one of them failed, and five of another.
fn make_calls(standin: &StandIn) -> Result<[String; 2]> {
    let (busy, other) = (Scenario::new(1000, 80).cached(600).ours("busy"), Scenario::new(7, 9).ours("other"));
    for _ in 0..9 {
        client::run_curl(standin, CHAT, &client::chat(&busy.model()))?;
    }
    let failed = Scenario { status: Some(429), ..Scenario::new(1, 2).ours("failed") };
    client::run_curl(standin, CHAT, &client::chat(&failed.model()))?;
    for _ in 0..5 {
        client::run_curl(standin, CHAT, &client::chat_stream(&other.model()))?;
    }
    Ok([busy.model(), other.model()])
}

#[test]
fn a_report_says_what_was_served() -> Result<()> {
    let standin = StandIn::start()?;
    let ledger = Ledger::new()?;
    let daemon = ledger.daemon()?;
    let [busy, other] = make_calls(&standin)?;
    let ours = ledger::of_this_run();
    ledger.wait_for(&daemon, 15, &ours)?;

    // While the daemon runs.
    let report = ledger.report(&["--by", "request_model,process", "--where", "role=client"])?;
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
    let errors = ledger.ask(&["report", "--by", "error", "--csv", "--where", "error!=", "--where", &ours])?;
    assert_eq!(errors.lines().count(), 2, "{errors}");

    // The same rows as in the event log.
    let stopped = daemon.stop()?;
    let logged = stopped.calls(CallLine::is_of_this_run)?;
    assert!(logged.iter().all(|call| call.process.name.as_deref() == Some("curl")), "{logged:?}");
    let stored =
        ledger.ask(&["calls", "--json", "-n", "1000", "--where", "process=curl", "--where", &ours])?;
    let ids = |text: &str| text.matches("\"response_id\"").count();
    assert_eq!((stored.lines().count(), logged.len()), (15, 15));
    assert_eq!(ids(&stored), 14, "all but the failed one have one");
    for command in ["calls", "report"] {
        let table = ledger.ask(&[command])?;
        assert!(table.contains("standin-served") && !table.contains('\u{1b}'), "{table}");
    }
    let calls = ledger.ask(&["calls", "--csv", "--where", &ours])?;
    assert!(calls.starts_with("timestamp,provider,") && calls.lines().count() == 16, "{calls}");
    let none = ledger.ask(&["report", "--where", "process=crul"])?;
    assert!(none.contains("did you mean `curl`?") && none.contains("What there is of process:"), "{none}");
    Ok(())
}

#[test]
fn calls_are_followed_as_they_happen() -> Result<()> {
    let standin = StandIn::start()?;
    let ledger = Ledger::new()?;
    let daemon = ledger.daemon()?;
    client::run_curl(&standin, CHAT, &client::chat(&Scenario::new(1, 2).ours("before").model()))?;
    ledger.wait_for(&daemon, 1, &ledger::of_this_run())?;
    let following =
        ledger.command(&["calls", "--follow", "--json", "-n", "1", "--where", &ledger::of_this_run()])?;
    let following = Child::spawn(following, Duration::from_secs(60))?;
    let wait_for = |what: &str| -> Result<()> {
        let shown = || Ok(following.stdout()?.contains(what).then_some(()));
        wait::until("it is not shown", SOON, shown).with_context(|| what.to_owned())
    };
    wait_for("before")?;
    client::run_curl(&standin, CHAT, &client::chat(&Scenario::new(3, 4).ours("after").model()))?;
    wait_for("after")?;
    following.signal(libc::SIGINT)?;
    let shown = following.wait()?.stdout;
    assert!(shown.lines().count() >= 2 && shown.find("before") < shown.find("after"), "{shown}");
    Ok(())
}

/// A terminal in which a daemon's answer is waited for, and then shown.
#[test]
fn a_terminal_has_colours_and_is_told_what_takes_long() -> Result<()> {
    let standin = StandIn::start()?;
    let ledger = Ledger::new()?;
    let daemon = ledger.daemon()?;
    make_calls(&standin)?;
    ledger.wait_for(&daemon, 15, &ledger::of_this_run())?;
    let program = machine::daemon_binary()?;
    let calls = |before: &str| {
        let (program, socket) = (program.display(), daemon.api_socket());
        let socket = socket.display();
        format!(
            "{before} LLM_TRACKER_API_SOCKET={socket} {program} calls --where error!=; echo status $?; sleep 60"
        )
    };
    let is_shown = |screen: &str| screen.contains("rate_limit_error") && screen.contains("status 0");
    let colours = Terminal::open((100, 24), &calls(""))?;
    colours.wait_for("the failed call", is_shown)?;
    ensure!(colours.has_colours()?, "{}", colours.screen()?);
    let plain = Terminal::open((100, 24), &calls("NO_COLOR=1"))?;
    plain.wait_for("the failed call", is_shown)?;
    ensure!(!plain.has_colours()?, "{}", plain.screen()?);
    drop((colours, plain));

    // A daemon that does not answer for a while, and then does.
    daemon.signal(libc::SIGSTOP)?;
    let waiting = Terminal::open((100, 24), &calls(""))?;
    let told = waiting.wait_for("what is being done", |screen| screen.contains("Looking for calls ... "));
    daemon.signal(libc::SIGCONT)?;
    told?;
    let screen = waiting.wait_for("the failed call", is_shown)?;
    ensure!(!screen.contains("Looking for calls"), "{screen}");
    daemon.stop()?;
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
    let ledger = Ledger::new()?;
    for round in 1..=3 {
        let daemon = ledger.daemon()?;
        make_calls(&standin)?;
        ledger.wait_for(&daemon, 15 * round, &ledger::of_this_run())?;
        drop(daemon.kill()?);
        let report = ledger.report(&["--where", "process=curl", "--where", &ledger::of_this_run()])?;
        assert_eq!(report["total"]["calls"], 15 * round, "in round {round}");
    }
    Ok(())
}

#[test]
fn a_ledger_that_cannot_be_used_costs_no_call() -> Result<()> {
    let standin = StandIn::start()?;
    let ledger = Ledger::new()?;
    std::fs::write(ledger.file(), "this is no database, whatever its name says")?;
    let mut daemon = ledger.daemon()?;
    let curl = client::run_curl(&standin, CHAT, &client::chat(&Scenario::new(3, 4).model()))?;
    daemon.wait_for_one(curl.pid)?;
    assert_eq!(daemon.metrics()?.sum("llm_tracker_ledger_stored_total", &[]), 0.0);
    let stopped = daemon.stop()?;
    let log = &stopped.finished.stderr;
    ensure!(log.contains("ledger.db") && log.contains("not a database"), "{log}");
    Ok(())
}
