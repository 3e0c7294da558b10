//! rustls on aws-lc, stripped, inside programs that none of us wrote.

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
    scenario::Scenario,
    standin::StandIn,
};

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
