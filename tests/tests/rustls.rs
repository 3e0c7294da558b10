//! rustls, stripped: on aws-lc inside programs that none of us wrote, and in both roles in one of ours; on ring,
//! where it cannot be seen.

use std::{
    collections::BTreeSet,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    child::Child,
    client::{self, LIMIT},
    compare::{all_exact, made_by},
    daemon::Daemon,
    machine,
    proxy::Proxy,
    rust::{self, Library},
    scenario::Scenario,
    server::{Server, hooked, idle},
    standin::StandIn,
};

const CHAT: &str = "/v1/chat/completions";

/// The program that a virtual environment's `python3` turns out to be.
const PYTHON: &str = "/usr/bin/python3";

/// A process with the library, as it may be there before the daemon: that a program is seen from its first
/// call is for those whose files are known.
fn resident() -> Result<Child> {
    let mut python = Command::new(machine::python()?);
    python.args(["-c", "import pyreqwest.client, time\nprint('ready', flush=True)\ntime.sleep(300)"]);
    let mut child = Child::spawn(python, Duration::from_secs(300))?;
    while child.stdout()?.is_empty() {
        ensure!(child.is_running()?, "Python ended; it said: {}", child.stderr()?);
        thread::sleep(Duration::from_millis(10));
    }
    Ok(child)
}

/// Requires that each of so many calls of a client is seen once, and exactly.
fn reqwest(
    standin: &StandIn,
    url: &str,
    daemon: &mut Daemon,
    calls: usize,
    arguments: &[&str],
) -> Result<()> {
    let scenario = Scenario { chunks: Some(8), delay: Some(10), ..Scenario::new(123, 45).cached(40) };
    let model = scenario.tag("n").model();
    let mut command = client::python(standin, "rustls_http.py", &[&model])?;
    command.args(arguments).env("STANDIN_URL", url);
    let finished = Child::spawn(command, LIMIT)?.wait()?.success()?;
    let seen = daemon.wait_for_pid(finished.pid, calls).with_context(|| daemon.losses())?;
    all_exact(&seen, standin).with_context(|| daemon.losses())?;
    let models: BTreeSet<_> = seen.iter().map(|call| &call.model).collect();
    ensure!(models.len() == calls, "{} models", models.len());
    made_by(&seen[0], "python3", PYTHON)
}

fn check(http2: bool, calls: usize, arguments: &[&str]) -> Result<()> {
    let standin = StandIn::start()?;
    let _resident = resident()?;
    let mut daemon = Daemon::start()?;
    // It is ready before it has read every program on a busy host.
    let deadline = Instant::now() + LIMIT;
    while !daemon.log()?.contains("_pyreqwest.cpython") {
        ensure!(Instant::now() < deadline, "not hooked: {}", daemon.log()?);
        thread::sleep(Duration::from_millis(50));
    }
    let proxy = if http2 { Some(Proxy::start_http2(&standin)?) } else { None };
    let url = proxy.as_ref().map_or_else(|| standin.url(), Proxy::url);
    reqwest(&standin, &url, &mut daemon, calls, arguments)?;
    daemon.stop()?;
    Ok(())
}

#[test]
fn tls_1_3() -> Result<()> {
    check(false, 1, &["1"])
}

#[test]
fn tls_1_2() -> Result<()> {
    check(false, 1, &["1", "tls12"])
}

#[test]
fn http2() -> Result<()> {
    check(true, 20, &["20", "http2"])
}

/// Each on a connection of its own, on threads that take turns; then once more on those connections.
#[test]
fn many_connections_on_threads_that_take_turns() -> Result<()> {
    check(false, 200, &["100", "rounds=2"])
}

/// Requests that take many records.
#[test]
fn requests_of_a_megabyte() -> Result<()> {
    check(false, 8, &["4", "rounds=2", "more=1000000"])
}

#[test]
fn many_connections_of_tls_1_2() -> Result<()> {
    check(false, 60, &["30", "tls12", "rounds=2"])
}

/// A client and a server of ours, with one connection between them.
fn between(keys: &[(&str, &str)]) -> Result<()> {
    let standin = StandIn::start()?;
    let program = rust::build(Library::AwsLc)?;
    let mut daemon = Daemon::start()?;
    let _idle = hooked(&mut daemon, &program)?;
    let mut command = rust::server(&standin, &program);
    command.envs(keys.iter().copied());
    let server = Server::start(command)?;
    let scenario = Scenario::new(123, 45).cached(40);
    let bodies = ["a", "b", "c", "d"].map(|tag| client::chat(&scenario.clone().tag(tag).model()));
    let mut command = rust::client(&standin, &program, server.address(), CHAT, &bodies);
    command.envs(keys.iter().copied());
    let finished = Child::spawn(command, LIMIT)?.wait()?.success()?;
    for (pid, role) in [(finished.pid, "client"), (server.pid(), "server")] {
        let calls = daemon.wait_for_pid(pid, bodies.len()).with_context(|| daemon.losses())?;
        all_exact(&calls, &standin)?;
        ensure!(calls.iter().all(|call| call.role == role), "{calls:?}");
    }
    let lost = daemon.metrics()?.sum("llm_tracker_lost_transfers_total", &[("reason", "unpaired")]);
    ensure!(lost == 0.0, "{}", daemon.losses());
    daemon.stop()?;
    Ok(())
}

#[test]
fn a_server() -> Result<()> {
    between(&[])
}

/// Both change their keys after every message, and each has the other change its own (RFC 8446, section 4.6.3).
#[test]
fn keys_that_change() -> Result<()> {
    between(&[("KEY_UPDATES", "1")])
}

#[test]
fn on_ring_it_is_said_not_to_be_seen() -> Result<()> {
    let program = rust::build(Library::Ring)?;
    let daemon = Daemon::start()?;
    let labels = [("stack", "rustls"), ("state", "not_located")];
    let before = daemon.metrics()?.sum("llm_tracker_tls_objects", &labels);
    let _idle = idle(&program)?;
    let deadline = Instant::now() + LIMIT;
    while daemon.metrics()?.sum("llm_tracker_tls_objects", &labels) <= before {
        ensure!(Instant::now() < deadline, "{}", daemon.metrics()?.text);
        thread::sleep(Duration::from_millis(50));
    }
    daemon.stop()?;
    Ok(())
}
