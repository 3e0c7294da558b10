//! Sessions: what a command and all that it starts have used, told apart by labels.

use std::{collections::BTreeMap, path::Path, process::Command, time::Duration};

use anyhow::{Result, ensure};
use llm_tracker_tests::{
    call::CallLine,
    child::Child,
    client,
    container::Bundle,
    daemon::{Daemon, SOON},
    ledger::{self, Ledger},
    machine,
    scenario::Scenario,
    standin::StandIn,
    wait,
};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

/// A command in a session, in its environment, and where the daemon is to be asked.
fn in_session(socket: &Path, arguments: &[&str], command: &Command) -> Result<Command> {
    let mut exec = Command::new(machine::daemon_binary()?);
    exec.arg("exec").args(arguments).arg("--").arg(command.get_program()).args(command.get_args());
    exec.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    exec.env("LLM_TRACKER_API_SOCKET", socket);
    Ok(exec)
}

/// Where no daemon is.
fn nowhere() -> &'static Path {
    Path::new("/nonexistent/api.sock")
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command
}

fn status(arguments: &[&str], command: &Command) -> Result<Option<i32>> {
    let exec = in_session(nowhere(), arguments, command)?;
    let ended = Child::spawn(exec, Duration::from_secs(30))?.wait()?;
    ensure!(ended.stderr.contains("no llm-tracker listens"), "{}", ended.stderr);
    Ok(ended.status.code())
}

#[test]
fn the_exit_status_is_the_commands() -> Result<()> {
    assert_eq!(status(&[], &shell("exit 42"))?, Some(42));
    assert_eq!(status(&[], &shell("kill -TERM $$"))?, Some(128 + 15));
    assert_eq!(status(&[], &Command::new("/nonexistent/command"))?, Some(127));
    assert_eq!(status(&[], &Command::new("/etc/passwd"))?, Some(126));
    // The environment is what a shell says, too.
    let nested = "test $LLM_TRACKER_SESSION = a/b && test $LLM_TRACKER_LABELS = k=2,l=x%2Cy,m=1";
    let inner = ["--session", "b", "--label", "k=2", "--label", "l=x,y"];
    let inner = in_session(nowhere(), &inner, &shell(nested))?;
    assert_eq!(status(&["--session", "a", "--label", "k=1", "--label", "m=1"], &inner)?, Some(0));
    Ok(())
}

#[test]
fn signals_reach_the_command() -> Result<()> {
    for (signal, expected) in [(libc::SIGTERM, 3), (libc::SIGUSR1, 4), (libc::SIGINT, 5), (libc::SIGHUP, 6)] {
        let script = "trap 'exit 3' TERM; trap 'exit 4' USR1; trap 'exit 5' INT; trap 'exit 6' HUP; echo ready; \
                      while :; do sleep 0.05; done";
        let child = Child::spawn(in_session(nowhere(), &[], &shell(script))?, Duration::from_secs(30))?;
        wait::until("the command does not begin", SOON, || Ok((!child.stdout()?.is_empty()).then_some(())))?;
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

impl Account {
    /// Of a group in a report.
    fn of(group: &Value) -> Self {
        let number = |name: &str| group[name].as_u64().unwrap_or_default();
        Self {
            calls: number("calls"),
            errors: number("errors"),
            retries: number("retries"),
            input: number("input_tokens"),
            cached: number("cache_read_input_tokens"),
            output: number("output_tokens"),
        }
    }

    fn sum<'a>(accounts: impl IntoIterator<Item = &'a Self>) -> Self {
        accounts.into_iter().fold(Self::default(), |sum, it| Self {
            calls: sum.calls + it.calls,
            errors: sum.errors + it.errors,
            retries: sum.retries + it.retries,
            input: sum.input + it.input,
            cached: sum.cached + it.cached,
            output: sum.output + it.output,
        })
    }
}

/// What the ledger says, by one dimension.
fn report(ledger: &Ledger, by: &str, condition: &str) -> Result<BTreeMap<String, Account>> {
    let answer = ledger.report(&["--by", by, "--where", condition])?;
    let groups = answer["groups"].as_array().cloned().unwrap_or_default();
    let named = |group: Value| (group["by"][by].as_str().unwrap_or_default().to_owned(), Account::of(&group));
    Ok(groups.into_iter().map(named).collect())
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

#[test]
fn an_evaluation_is_told_apart_by_its_data_points() -> Result<()> {
    let standin = StandIn::start()?;
    let ledger = Ledger::new()?;
    let daemon = ledger.daemon()?;
    let harness = client::python(&standin, "harness.py", &["20"])?;
    let said = ledger.folder().join("used.json");
    let arguments = ["--session", "nightly", "--label", "agent_id=planner", "--json", "--output"];
    let exec =
        in_session(&daemon.api_socket(), &[&arguments[..], &[&said.to_string_lossy()]].concat(), &harness)?;
    Child::spawn(exec, Duration::from_secs(300))?.wait()?.success()?;

    // Nobody has waited: when it ends, all is there.
    let expected = served(&standin);
    assert_eq!(expected.len(), 20);
    let all = Account::sum(expected.values());
    assert_eq!((all.calls as usize, all.retries), (standin.served().len(), 4));
    let used: Value = serde_json::from_str(&std::fs::read_to_string(&said)?)?;
    assert_eq!(used["settled"], true, "{used}");
    assert_eq!(Account::of(&used["total"]), all, "{}", daemon.losses());
    assert_eq!(used["tools"], json!({"get_weather": 20}));
    // Two of each data point's calls end well and ask for nothing.
    assert_eq!((&used["turns"], &used["calls_per_turn"]), (&json!(40), &json!(all.calls as f64 / 40.0)));
    assert_eq!(report(&ledger, "label.data_id", "session=nightly")?, expected, "{}", daemon.losses());
    // Every call has the label of the command, too.
    let planner = &report(&ledger, "label.agent_id", "session=nightly")?["planner"];
    assert_eq!(*planner, all);

    let session = ledger.ask(&["session", "nightly", "--json"])?;
    let calls = serde_json::from_str::<Value>(&session)?["calls"].as_array().map(Vec::len);
    assert_eq!(calls, Some(all.calls as usize));
    let session = ledger.ask(&["session", "nightly"])?;
    assert_eq!(session.lines().filter(|line| line.contains("get_weather")).count(), 21, "{session}");
    for (format, lines) in [
        ("open-strix", all.calls - all.errors),
        ("agentopt", all.calls),
        ("hangman", 2),
        // A data point whose last calls fail leaves a turn open; there are eight.
        ("kit", all.calls + 40 + 8),
        ("otel-json", all.calls),
    ] {
        let exported = ledger.ask(&["export", "--format", format, "--where", "session=nightly"])?;
        let values: Vec<Value> = exported.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        assert_eq!(values.len() as u64, lines, "{format}: {exported}");
    }
    daemon.stop()?;
    Ok(())
}

/// `docker run --env LLM_TRACKER_SESSION --env LLM_TRACKER_LABELS` and its likes.
#[test]
fn a_container_is_of_the_session_that_its_environment_names() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let url = format!("{}{CHAT}", standin.url());
    // The first call gives the daemon a moment with a libssl that it has never seen.
    let first = Scenario { wait: Some(500), ..Scenario::new(1, 2) }.model();
    let boxed = Scenario::new(3, 4).tag("boxed").model();
    let mut arguments = client::curl_arguments(&url, &client::chat(&first));
    arguments.push("--next".to_owned());
    arguments.extend(client::curl_arguments(&url, &client::chat(&boxed)));
    let bundle = Bundle::new(&format!("session-{}", std::process::id()), &standin, &arguments)?
        .with_environment(&["LLM_TRACKER_SESSION=nightly", "LLM_TRACKER_LABELS=data_id=9"])?;
    bundle.run()?.wait()?.success()?;
    let calls = daemon.wait_for(1, |call| call.model.as_ref() == Some(&boxed))?;
    let session = calls[0].session.as_ref();
    ensure!(calls[0].container.is_some(), "{calls:?}");
    ensure!(session.is_some_and(|it| it.name.as_deref() == Some("nightly")), "{session:?}");
    ensure!(session.is_some_and(|it| it.labels["data_id"] == "9"), "{session:?}");
    daemon.stop()?;
    Ok(())
}

#[test]
fn a_session_within_another_counts_for_both() -> Result<()> {
    let standin = StandIn::start()?;
    let ledger = Ledger::new()?;
    let mut daemon = ledger.daemon()?;
    let chat =
        |tag: &str| client::curl(&standin, CHAT, &client::chat(&Scenario::new(10, 5).ours(tag).model()));
    let socket = daemon.api_socket();
    let inner = in_session(&socket, &["--session", "point", "--label", "data_id=1"], &chat("inner"))?;
    let run = |session: &str, label: &str, command: &Command| -> Result<String> {
        let exec = in_session(&socket, &["--session", session, "--label", label], command)?;
        Ok(Child::spawn(exec, client::LIMIT)?.wait()?.success()?.stderr)
    };
    // A shell that becomes another program, ten times: each lives for some milliseconds.
    for _ in 0..10 {
        run("outer", "combo_id=a", &inner)?;
    }
    let said = run("outer", "combo_id=b", &chat("outer"))?;
    assert!(said.contains("The session outer:") && said.contains("turns: 1, of 1.0 calls each"), "{said}");
    run("outer2", "combo_id=b", &chat("other"))?;
    Child::spawn(chat("none"), client::LIMIT)?.wait()?.success()?;
    let calls = daemon.wait_for(13, CallLine::is_of_this_run)?;
    let ours = ledger::of_this_run();
    ledger.wait_for(&daemon, 13, &ours)?;

    let sessions = report(&ledger, "session", &ours)?;
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
