//! The local API: who sees what, what has just happened, what happens, and whether it is as described.

use std::{
    fs,
    os::unix::{fs::symlink, process::CommandExt as _},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    api,
    child::Child,
    client::{self, LIMIT},
    daemon::{Daemon, SOON},
    ledger::{Ledger, of_this_run},
    machine,
    scenario::Scenario,
    standin::StandIn,
    wait,
};
use serde_json::Value;

const CHAT: &str = "/v1/chat/completions";
/// Users that every Debian has, and a group in which neither is.
const DAEMON: u32 = 1;
const NOBODY: u32 = 65534;
const GAMES: u32 = 60;

/// A daemon that stores calls, and where.
fn start(config: &str) -> Result<(Ledger, Daemon)> {
    let ledger = Ledger::new()?;
    let daemon = Daemon::start_with(&ledger.config(config), "info")?;
    Ok((ledger, daemon))
}

/// Has a user make a call, and be done with it.
fn call(standin: &StandIn, uid: u32, tag: &str) -> Result<String> {
    let model = Scenario::new(17, 23).ours(tag).model();
    let mut curl = client::curl(standin, CHAT, &client::chat(&model));
    // The authority's certificate is for the one who made it.
    curl.arg("--insecure").uid(uid).gid(uid);
    Child::spawn(curl, LIMIT)?.wait()?.success()?;
    Ok(model)
}

/// Has somebody ask, and be answered with JSON.
fn ask(mut curl: Command, uid: u32, gid: u32) -> Result<(u16, Value)> {
    curl.uid(uid).gid(gid);
    let (status, body) = api::answer(curl)?;
    Ok((status, serde_json::from_str(&body).with_context(|| body.clone())?))
}

/// The models of the calls in an answer, of this test's.
fn models(answer: &Value, ours: &[&str]) -> Vec<String> {
    let calls = answer["calls"].as_array().cloned().unwrap_or_default();
    let models = calls.iter().filter_map(|call| call["model"].as_str());
    models.filter(|model| ours.contains(model)).map(str::to_owned).collect()
}

/// A folder that everybody may look into.
fn open_folder() -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(folder)
}

/// The command line, run by somebody, who needs not be able to reach where it was built.
fn command_line(socket: &Path, folder: &Path, uid: u32, arguments: &[&str]) -> Result<Child> {
    let program = folder.join("llm-tracker");
    if !program.exists() {
        fs::copy(machine::daemon_binary()?, &program)?;
    }
    let mut command = Command::new(program);
    command.args(arguments).env("LLM_TRACKER_API_SOCKET", socket).uid(uid).gid(uid);
    Child::spawn(command, LIMIT)
}

/// Waits until a program has written a text to its standard output.
fn says(child: &Child, text: &str) -> Result<()> {
    let said = || Ok(child.stdout()?.contains(text).then_some(()));
    wait::until("it is not said", SOON, said).with_context(|| text.to_owned())
}

#[test]
fn users_see_their_own_calls_and_root_sees_all() -> Result<()> {
    let standin = StandIn::start()?;
    let (_ledger, daemon) = start("[api]\ngroup = \"games\"\n")?;
    let made =
        [call(&standin, DAEMON, "daemon")?, call(&standin, NOBODY, "nobody")?, call(&standin, 0, "root")?];
    let ours: Vec<&str> = made.iter().map(String::as_str).collect();

    // At once: nobody waits for a clock.
    let path = "/api/v1/calls?settle=30";
    let (status, all) = ask(api::on_socket(&daemon, path), 0, 0)?;
    ensure!(status == 200 && all["settled"] == true, "{status} {all}");
    assert_eq!(models(&all, &ours), ours);
    for (uid, model) in [(DAEMON, ours[0]), (NOBODY, ours[1])] {
        for curl in [api::on_socket(&daemon, path), api::on_loopback(&daemon, path)] {
            let (status, own) = ask(curl, uid, uid)?;
            assert_eq!((status, models(&own, &ours)), (200, vec![model.to_owned()]), "{own}");
            let calls = own["calls"].as_array().context("no calls")?;
            ensure!(
                calls.iter().all(|call| call["process"]["uid"] == uid || call["login"]["uid"] == uid),
                "{own}"
            );
        }
        let (_, report) = ask(api::on_socket(&daemon, "/api/v1/report?by=request_model"), uid, uid)?;
        let keys: Vec<_> = report["groups"]
            .as_array()
            .context("no groups")?
            .iter()
            .map(|it| &it["by"]["request_model"])
            .collect();
        ensure!(keys.iter().any(|key| *key == model) && !keys.iter().any(|key| *key == ours[2]), "{report}");
    }
    assert_eq!(models(&ask(api::on_loopback(&daemon, path), 0, 0)?.1, &ours), ours);
    assert_eq!(
        models(&ask(api::on_socket(&daemon, path), DAEMON, GAMES)?.1, &ours),
        ours,
        "the group sees all"
    );

    // A web page that has its own name point here.
    let mut page = api::on_loopback(&daemon, path);
    page.args(["--header", "Host: evil.example"]);
    let (status, problem) = ask(page, DAEMON, DAEMON)?;
    assert_eq!((status, problem["type"].as_str()), (421, Some("urn:llm-tracker:problem:wrong-host")));

    // The command line asks the daemon.
    let folder = open_folder()?;
    let socket = daemon.api_socket();
    let command_line = |uid: u32, arguments: &[&str]| -> Result<String> {
        Ok(command_line(&socket, folder.path(), uid, arguments)?.wait()?.success()?.stdout)
    };
    let own = command_line(DAEMON, &["report", "--json", "--by", "request_model"])?;
    ensure!(own.contains(ours[0]) && !own.contains(ours[1]) && !own.contains(ours[2]), "{own}");
    let calls = command_line(0, &["calls", "--json", "-n", "1000"])?;
    ensure!(ours.iter().all(|model| calls.contains(model)), "{calls}");
    let table = command_line(NOBODY, &["report"])?;
    ensure!(table.starts_with("model"), "{table}");
    daemon.stop()?;
    Ok(())
}

#[test]
fn what_has_just_happened_is_in_an_answer_that_waits() -> Result<()> {
    let standin = StandIn::start()?;
    let (_ledger, daemon) = start("")?;
    let mut longest = Duration::ZERO;
    for round in 0..5 {
        // Children that are gone, whose executables discovery has to have read, and one that is cut off.
        let model = Scenario::new(17, 23).tag(format!("r{round}")).model();
        let cut = Scenario { cut: Some(3), ..Scenario::new(17, 23) }.tag(format!("c{round}")).model();
        for body in [client::chat(&model), client::chat_stream(&model), client::chat_stream(&cut)] {
            Child::spawn(client::curl(&standin, CHAT, &body), LIMIT)?.wait()?;
        }
        let begun = Instant::now();
        let path = format!(
            "/api/v1/report?settle=30&by=request_model&where=process%3Dcurl&where=request_model%3D*{round}*"
        );
        let (_, answer) = ask(api::on_socket(&daemon, &path), 0, 0)?;
        longest = longest.max(begun.elapsed());
        let groups = answer["groups"].as_array().context("no groups")?;
        let calls = |model: &str| {
            groups.iter().find(|it| it["by"]["request_model"] == model).map(|it| it["calls"].clone())
        };
        ensure!(answer["settled"] == true, "{answer}");
        assert_eq!((calls(&model), calls(&cut)), (Some(2.into()), Some(1.into())), "{answer}");
    }
    println!("the longest wait for what had just happened: {longest:?}");
    daemon.stop()?;
    Ok(())
}

#[test]
fn calls_are_streamed_as_they_happen() -> Result<()> {
    let standin = StandIn::start()?;
    let (_ledger, daemon) = start("")?;
    let mut listening = api::on_socket(&daemon, "/api/v1/stream?where=process%3Dcurl");
    listening.uid(DAEMON).gid(DAEMON);
    let listening = Child::spawn(listening, LIMIT)?;
    says(&listening, "id: ")?;
    let other = call(&standin, NOBODY, "nobody")?;
    let own = call(&standin, DAEMON, "daemon")?;
    says(&listening, &own)?;
    daemon.stop()?;
    let heard = listening.wait()?.success()?.stdout;
    let events: Vec<&str> = heard.split("\n\n").filter(|event| event.starts_with("event: call\n")).collect();
    let data = events
        .iter()
        .find(|event| event.contains(&own))
        .context("no event")?
        .trim_start_matches("event: call\ndata: ");
    let event: Value = serde_json::from_str(data)?;
    assert_eq!((event["input_tokens"].as_u64(), event["process"]["uid"].as_u64()), (Some(17), Some(1)));
    ensure!(!heard.contains(&other), "somebody else's call is in {heard}");
    ensure!(heard.ends_with("event: end\ndata: {\"reason\":\"stopping\"}\n\n"), "{heard}");
    Ok(())
}

#[test]
fn users_follow_their_own_calls_over_a_restart_of_the_daemon() -> Result<()> {
    let standin = StandIn::start()?;
    let folder = open_folder()?;
    let socket = folder.path().join("api.sock");
    let (ledger, daemon) = start("")?;
    // Each daemon has a socket of its own here.
    symlink(daemon.api_socket(), &socket)?;
    let before = call(&standin, DAEMON, "before")?;
    let (_, answer) = ask(api::on_socket(&daemon, "/api/v1/calls?settle=30"), 0, 0)?;
    ensure!(answer["settled"] == true, "{answer}");
    let arguments = ["calls", "--follow", "--json", "-n", "1", "--where", &of_this_run()];
    let following = command_line(&socket, folder.path(), DAEMON, &arguments)?;
    says(&following, &before)?;
    let other = call(&standin, NOBODY, "nobody")?;
    let own = call(&standin, DAEMON, "own")?;
    says(&following, &own)?;

    let exclusive = daemon.stop()?.into_exclusive();
    let daemon = Daemon::start_alone(exclusive, &ledger.config(""), "info")?;
    fs::remove_file(&socket)?;
    symlink(daemon.api_socket(), &socket)?;
    let again = call(&standin, DAEMON, "again")?;
    says(&following, &again)?;
    following.signal(libc::SIGINT)?;
    let followed = following.wait()?;
    for (model, lines) in [(before, 1), (other, 0), (own, 1), (again, 1)] {
        assert_eq!(followed.stdout.lines().filter(|line| line.contains(&model)).count(), lines, "{model}");
    }
    ensure!(followed.stderr.contains("the daemon has stopped: waiting for it"), "{}", followed.stderr);
    daemon.stop()?;
    Ok(())
}

/// Schemathesis asks what the description allows, and what it does not.
#[test]
fn it_is_as_it_is_described() -> Result<()> {
    let standin = StandIn::start()?;
    let (_ledger, daemon) = start("")?;
    for tag in ["a", "b"] {
        call(&standin, DAEMON, tag)?;
    }
    let (_, answer) = ask(api::on_socket(&daemon, "/api/v1/calls?settle=30"), 0, 0)?;
    ensure!(answer["settled"] == true, "{answer}");
    let url = format!("http://{}", daemon.metrics_address());
    let folder = tempfile::tempdir()?;
    let mut schemathesis = Command::new(machine::schemathesis()?);
    schemathesis
        .env_clear()
        .current_dir(folder.path())
        .args(["run", &format!("{url}/api/v1/openapi.yaml"), "--url", &url])
        // A stream does not end, and is another test's.
        .args(["--exclude-path", "/api/v1/stream", "--checks", "all", "--seed", "1"])
        .args(["--max-examples", "40", "--request-timeout", "40", "--no-color"]);
    let said = Child::spawn(schemathesis, 4 * LIMIT)?.wait()?;
    ensure!(said.status.success(), "{}{}", said.stdout, said.stderr);
    println!("{}", said.stdout);
    daemon.stop()?;
    Ok(())
}
