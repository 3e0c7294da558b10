//! Sessions: what a command and all that it starts have used, told apart by labels.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use llm_tracker_tests::{
    call::CallLine,
    child::Child,
    client,
    daemon::{Daemon, SOON},
    machine,
    scenario::Scenario,
    standin::StandIn,
};
use serde_json::Value;

const CHAT: &str = "/v1/chat/completions";

/// A command in a session, in its environment.
fn in_session(arguments: &[&str], command: &Command) -> Result<Command> {
    let mut exec = Command::new(machine::daemon_binary()?);
    exec.arg("exec").args(arguments).arg("--").arg(command.get_program()).args(command.get_args());
    exec.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Ok(exec)
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command
}

fn status(arguments: &[&str], command: &Command) -> Result<Option<i32>> {
    Ok(Child::spawn(in_session(arguments, command)?, Duration::from_secs(30))?.wait()?.status.code())
}

#[test]
fn the_exit_status_is_the_commands() -> Result<()> {
    assert_eq!(status(&[], &shell("exit 42"))?, Some(42));
    assert_eq!(status(&[], &shell("kill -TERM $$"))?, Some(128 + 15));
    assert_eq!(status(&[], &Command::new("/nonexistent/command"))?, Some(127));
    assert_eq!(status(&[], &Command::new("/etc/passwd"))?, Some(126));
    // The environment is what a shell says, too.
    let nested = "test $LLM_TRACKER_SESSION = a/b && test $LLM_TRACKER_LABELS = k=2,l=x%2Cy,m=1";
    let inner = in_session(&["--session", "b", "--label", "k=2", "--label", "l=x,y"], &shell(nested))?;
    assert_eq!(status(&["--session", "a", "--label", "k=1", "--label", "m=1"], &inner)?, Some(0));
    Ok(())
}

#[test]
fn signals_reach_the_command() -> Result<()> {
    for (signal, expected) in [(libc::SIGTERM, 3), (libc::SIGUSR1, 4), (libc::SIGINT, 5), (libc::SIGHUP, 6)] {
        let script = "trap 'exit 3' TERM; trap 'exit 4' USR1; trap 'exit 5' INT; trap 'exit 6' HUP; echo ready; \
                      while :; do sleep 0.05; done";
        let mut child = Child::spawn(in_session(&[], &shell(script))?, Duration::from_secs(30))?;
        let begun = Instant::now();
        while child.stdout()?.is_empty() {
            ensure!(child.is_running()? && begun.elapsed() < SOON, "the command does not begin");
            thread::sleep(Duration::from_millis(10));
        }
        child.signal(signal)?;
        assert_eq!(child.wait()?.status.code(), Some(expected));
    }
    Ok(())
}

/// What a group of calls comes to, by the report or by the stand-in.
#[derive(Debug, Default, PartialEq, Eq)]
struct Account {
    calls: u64,
    errors: u64,
    retries: u64,
    input: u64,
    cached: u64,
    output: u64,
}

/// What the ledger says, by one dimension.
fn report(ledger: &Path, by: &str, condition: &str) -> Result<BTreeMap<String, Account>> {
    let mut command = Command::new(machine::daemon_binary()?);
    command.args(["report", "--json", "--by", by, "--where", condition, "--ledger"]).arg(ledger);
    let answer = Child::spawn(command, Duration::from_secs(30))?.wait()?.success()?.stdout;
    let answer: Value = serde_json::from_str(&answer)?;
    let groups = answer["groups"].as_array().cloned().unwrap_or_default();
    let number = |group: &Value, name: &str| group[name].as_u64().unwrap_or_default();
    Ok(groups
        .into_iter()
        .map(|group| {
            let account = Account {
                calls: number(&group, "calls"),
                errors: number(&group, "errors"),
                retries: number(&group, "retries"),
                input: number(&group, "input_tokens"),
                cached: number(&group, "cache_read_input_tokens"),
                output: number(&group, "output_tokens"),
            };
            (group[by].as_str().unwrap_or_default().to_owned(), account)
        })
        .collect())
}

/// What the stand-in has served, by the tag of the model's name: a data point's number.
fn served(standin: &StandIn) -> BTreeMap<String, Account> {
    let mut accounts = BTreeMap::<String, Account>::new();
    for served in standin.served() {
        let Scenario { input, output, cached, status, tag, .. } = served.scenario;
        let account = accounts.entry(tag.unwrap_or_default()).or_default();
        account.calls += 1;
        if let Some(status) = status {
            account.errors += 1;
            // One that can be repeated is, once.
            account.retries += u64::from(status == 529 && account.errors.is_multiple_of(2));
        } else {
            account.input += input;
            account.cached += cached.unwrap_or_default();
            account.output += output;
        }
    }
    accounts
}

fn wait_until_stored(daemon: &Daemon, calls: usize) -> Result<()> {
    let begun = Instant::now();
    while daemon.metrics()?.sum("llm_tracker_ledger_stored_total", &[]) < calls as f64 {
        ensure!(begun.elapsed() < SOON, "the calls are not stored: {}", daemon.losses());
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn with_ledger(ledger: &Path) -> Result<Daemon> {
    Daemon::start_with(&format!("[ledger]\nfile = {ledger:?}\n"), "info")
}

#[test]
fn an_evaluation_is_told_apart_by_its_data_points() -> Result<()> {
    let standin = StandIn::start()?;
    let folder = tempfile::tempdir()?;
    let ledger = folder.path().join("ledger.db");
    let daemon = with_ledger(&ledger)?;
    let harness = client::python(&standin, "harness.py", &["20"])?;
    let exec = in_session(&["--session", "nightly", "--label", "agent_id=planner"], &harness)?;
    Child::spawn(exec, Duration::from_secs(300))?.wait()?.success()?;

    let expected = served(&standin);
    assert_eq!(expected.len(), 20);
    assert_eq!(expected.values().map(|account| account.retries).sum::<u64>(), 4);
    wait_until_stored(&daemon, standin.served().len())?;
    assert_eq!(report(&ledger, "label.data_id", "session=nightly")?, expected, "{}", daemon.losses());
    // Every call has the label of the command, too.
    let planner = &report(&ledger, "label.agent_id", "session=nightly")?["planner"];
    assert_eq!(planner.calls as usize, standin.served().len());
    daemon.stop()?;
    Ok(())
}

#[test]
fn a_session_within_another_counts_for_both() -> Result<()> {
    let standin = StandIn::start()?;
    let folder = tempfile::tempdir()?;
    let ledger = folder.path().join("ledger.db");
    let mut daemon = with_ledger(&ledger)?;
    let chat =
        |tag: &str| client::curl(&standin, CHAT, &client::chat(&Scenario::new(10, 5).tag(tag).model()));
    let inner = in_session(&["--session", "point", "--label", "data_id=1"], &chat("inner"))?;
    let run = |session: &str, label: &str, command: &Command| -> Result<()> {
        let exec = in_session(&["--session", session, "--label", label], command)?;
        Child::spawn(exec, client::LIMIT)?.wait()?.success().map(drop)
    };
    // A shell that becomes another program, ten times: each lives for some milliseconds.
    for _ in 0..10 {
        run("outer", "combo_id=a", &inner)?;
    }
    run("outer", "combo_id=b", &chat("outer"))?;
    run("outer2", "combo_id=b", &chat("other"))?;
    Child::spawn(chat("none"), client::LIMIT)?.wait()?.success()?;
    let calls = daemon.wait_for(13, |call| call.process.name.as_deref() == Some("curl"))?;
    wait_until_stored(&daemon, 13)?;

    let sessions = report(&ledger, "session", "role=client")?;
    let calls_of = |name: &str| sessions.get(name).map_or(0, |account| account.calls);
    assert_eq!(["outer/point", "outer", "outer2", ""].map(calls_of), [10, 1, 1, 1], "{calls:?}");
    assert_eq!(report(&ledger, "role", "session=outer")?["client"].calls, 11);
    let labelled = |call: &&CallLine| {
        let labels = call.session.as_ref().map(|session| session.labels.len());
        labels == Some(2) && call.session.as_ref().is_some_and(|it| it.labels["combo_id"] == "a")
    };
    assert_eq!(calls.iter().filter(labelled).count(), 10);
    daemon.stop()?;
    Ok(())
}
