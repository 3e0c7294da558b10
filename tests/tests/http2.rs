//! HTTP/2 through the kernel: real clients and a real server, each of them watched.

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use llm_tracker_tests::{
    child::Child,
    client::{self, LIMIT},
    compare::all_exact,
    daemon::{Daemon, SOON},
    machine,
    proxy::Proxy,
    scenario::Scenario,
    standin::StandIn,
};

const CHAT: &str = "/v1/chat/completions";

/// `curl` that speaks HTTP/2 to the proxy, with several requests on one connection.
fn curl(standin: &StandIn, proxy: &Proxy, models: &[String]) -> Command {
    let mut command = client::command(standin, "/usr/bin/curl");
    for (number, model) in models.iter().enumerate() {
        if number > 0 {
            command.arg("--next");
        }
        let url = format!("{}{CHAT}?trace=1", proxy.url());
        let arguments = client::curl_arguments(&url, &client::chat_stream(model));
        command.args(arguments.into_iter().map(|it| it.replace("--http1.1", "--http2")));
        command.args(["--write-out", "over HTTP/%{http_version}\n"]);
    }
    command
}

#[test]
fn curl_and_the_server_it_speaks_to() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let proxy = Proxy::start_http2(&standin)?;
    let scenario = Scenario::new(123, 45).cached(40).reasoning(7);
    let models = ["a", "b", "c"].map(|tag| scenario.clone().tag(tag).model());
    let finished = Child::spawn(curl(&standin, &proxy, &models), LIMIT)?.wait()?.success()?;
    ensure!(finished.stdout.matches("over HTTP/2").count() == 3, "{}", finished.stdout);
    for (pid, role) in [(finished.pid, "client"), (proxy.pid(), "server")] {
        let calls = daemon.wait_for_pid(pid, 3)?;
        all_exact(&calls, &standin)?;
        for call in &calls {
            assert_eq!((call.role.as_str(), call.path.as_str(), call.streaming), (role, CHAT, true));
            assert_eq!(call.server_address.as_deref(), Some("localhost"));
        }
    }
    daemon.stop()?;
    Ok(())
}

/// The Python client with requests at the same time on one connection.
#[test]
fn httpx_with_concurrent_streams() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let proxy = Proxy::start_http2(&standin)?;
    let model = Scenario::new(321, 54).tag("httpx").model();
    for mode in ["", "stream"] {
        let arguments = ["httpx-http2", &model, mode];
        let arguments: Vec<_> = arguments.into_iter().filter(|it| !it.is_empty()).collect();
        let mut command = client::python(&standin, "plain_http.py", &arguments)?;
        command.env("STANDIN_URL", proxy.url());
        let finished = Child::spawn(command, LIMIT)?.wait()?.success()?;
        let calls = daemon.wait_for_pid(finished.pid, 3)?;
        all_exact(&calls, &standin)?;
    }
    daemon.stop()?;
    Ok(())
}

/// curl with BoringSSL, both inside a Python extension.
#[test]
fn curl_cffi() -> Result<()> {
    let standin = StandIn::start()?;
    let proxy = Proxy::start_http2(&standin)?;
    let model = Scenario::new(321, 54).tag("cffi").model();
    let mut command = client::python(&standin, "plain_http.py", &["curl_cffi-http2", &model, "stream"])?;
    command.env("STANDIN_URL", proxy.url());
    let _resident = client::resident(&command, client::CURL_CFFI_STAYS)?;
    let mut daemon = Daemon::start()?;
    let finished = Child::spawn(command, LIMIT)?.wait()?.success()?;
    let call = daemon.wait_for_one(finished.pid)?;
    all_exact(&[call], &standin)?;
    daemon.stop()?;
    Ok(())
}

/// Node's own client, with several streams at the same time on one connection.
#[test]
fn node_with_concurrent_streams() -> Result<()> {
    let standin = StandIn::start()?;
    let proxy = Proxy::start_http2(&standin)?;
    let mut command = client::node(&standin, "http2.js", &[&Scenario::new(321, 54).cached(21).model()])?;
    command.env("STANDIN_URL", proxy.url());
    let _resident = client::resident(&command, client::NODE_STAYS)?;
    let mut daemon = Daemon::start()?;
    let finished = Child::spawn(command, LIMIT)?.wait()?.success()?;
    for (pid, role) in [(finished.pid, "client"), (proxy.pid(), "server")] {
        let calls = daemon.wait_for_pid(pid, 4)?;
        all_exact(&calls, &standin)?;
        assert!(calls.iter().all(|call| call.role == role && call.path == CHAT && call.streaming));
    }
    daemon.stop()?;
    Ok(())
}

/// OpenAI's SDK for Node, with undici told to speak HTTP/2.
#[test]
fn openai_sdk_for_node() -> Result<()> {
    let standin = StandIn::start()?;
    let proxy = Proxy::start_http2(&standin)?;
    let node = client::node(&standin, "openai_sdk.js", &[])?;
    let _resident = client::resident(&node, client::NODE_STAYS)?;
    let mut daemon = Daemon::start()?;
    for operation in ["chat", "chat-stream", "responses-stream"] {
        let model = Scenario::new(321, 54).cached(21).tag(operation).model();
        let mut command = client::node(&standin, "openai_sdk.js", &[operation, &model, "http2"])?;
        command.env("OPENAI_BASE_URL", format!("{}/v1", proxy.url()));
        let finished = Child::spawn(command, LIMIT)?.wait()?.success()?;
        let call = daemon.wait_for_one(finished.pid)?;
        all_exact(std::slice::from_ref(&call), &standin)?;
        assert_eq!(call.role, "client");
    }
    daemon.stop()?;
    Ok(())
}

/// Runs a client until it says `word`, starts the daemon only then, and lets the client go on by making the
/// file that it waits for. The daemon, and who the client was.
fn watched_from_the_middle(command: Command, word: &str, go: &Path) -> Result<(Daemon, u32)> {
    let exclusive = machine::Exclusive::take()?;
    let mut client = Child::spawn(command, LIMIT)?;
    while !client.stdout()?.contains(word) {
        ensure!(client.is_running()?, "{}", client.stderr()?);
        thread::sleep(Duration::from_millis(20));
    }
    let daemon = Daemon::start_alone(exclusive, "", "info")?;
    fs::write(go, "")?;
    let pid = client.pid();
    client.wait()?.success()?;
    Ok((daemon, pid))
}

/// The daemon starts in the middle of a connection: what begins after that is seen, or its head is
/// missing and its body tells.
#[test]
fn a_daemon_that_comes_late() -> Result<()> {
    let standin = StandIn::start()?;
    let proxy = Proxy::start_http2(&standin)?;
    let folder = tempfile::tempdir()?;
    let go = folder.path().join("go");
    let model = Scenario::new(77, 33).tag("late").model();
    let mut command = client::command(&standin, machine::python()?);
    command.env("STANDIN_URL", proxy.url());
    command.arg(client::script_path("http2_late.py")).args([&model, &go.display().to_string()]);
    let (mut daemon, pid) = watched_from_the_middle(command, "first", &go)?;
    let mut calls = daemon.wait_for_pid(pid, 2)?;
    // The path stands in the part of the header table that was sent before; the numbers do not.
    for call in &mut calls {
        assert_eq!((call.path.as_str(), call.operation.as_str()), ("", "chat"));
        call.path = CHAT.into();
    }
    all_exact(&calls, &standin)?;
    // What the daemon says of itself is brought up to date now and then.
    let deadline = Instant::now() + SOON;
    while daemon.metrics()?.sum("llm_tracker_hpack_desync_total", &[]) < 2.0 {
        ensure!(Instant::now() < deadline, "{}", daemon.metrics()?.text);
        thread::sleep(Duration::from_millis(50));
    }
    daemon.stop()?;
    Ok(())
}

/// The daemon starts in the middle of a stream, of which most is still to come: what follows on that
/// connection is seen, and the rest of the stream taken for nothing else.
#[test]
fn a_daemon_that_comes_late_to_a_running_stream() -> Result<()> {
    let standin = StandIn::start()?;
    let proxy = Proxy::start_http2(&standin)?;
    let folder = tempfile::tempdir()?;
    let go = folder.path().join("go");
    let model = Scenario::new(77, 33).model();
    let mut command = client::node(&standin, "http2.js", &[&model, &go.display().to_string()])?;
    command.env("STANDIN_URL", proxy.url());
    let (mut daemon, pid) = watched_from_the_middle(command, "running", &go)?;
    // Who does not know what was asked cannot say that there was a call.
    let calls = daemon.wait_for_pid(pid, 3)?;
    all_exact(&calls, &standin)?;
    // The host's name stands in the part of the header table that was sent before; Node's encoder never
    // puts the path there.
    assert!(calls.iter().all(|call| call.server_address.is_none()), "{calls:#?}");
    daemon.stop()?;
    Ok(())
}
