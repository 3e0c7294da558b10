//! Programs in Go through the kernel: clients and servers, HTTP/1.1 and HTTP/2, each call seen once.

use anyhow::{Result, ensure};
use llm_tracker_tests::{
    child::Child,
    client::LIMIT,
    compare::all_exact,
    daemon::Daemon,
    golang::{self, RELEASES},
    scenario::Scenario,
    server::hooked,
    standin::StandIn,
};

const CHAT: &str = "/v1/chat/completions";

/// Stripped, as most programs are shipped.
const STRIPPED: golang::Flags<'_> = &["-ldflags=-s -w"];

/// One call each, as programs are built.
#[test]
fn a_client_of_every_kind() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    for release in RELEASES {
        for flags in [&[][..], STRIPPED, &["-buildmode=pie", "-ldflags=-s -w"]] {
            let folder = tempfile::tempdir()?;
            let program = golang::build(release, "client", flags, folder.path())?;
            let _idle = hooked(&mut daemon, &program)?;
            let model = Scenario::new(123, 45).cached(40).tag(release).model();
            let command = golang::client(&standin, &program, &["-stream"], &standin.url(), &model);
            let finished = Child::spawn(command, LIMIT)?.wait()?.success()?;
            let call = daemon.wait_for_one(finished.pid)?;
            assert_eq!((call.role.as_str(), call.path.as_str(), call.streaming), ("client", CHAT, true));
            assert_eq!(call.process.name.as_deref(), Some("go-client"), "{release} {flags:?}");
            all_exact(&[call], &standin)?;
        }
    }
    daemon.stop()?;
    Ok(())
}

/// Fifty goroutines on fifty connections, twenty calls each.
#[test]
fn many_goroutines() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let folder = tempfile::tempdir()?;
    let program = golang::build(RELEASES[0], "client", STRIPPED, folder.path())?;
    let _idle = hooked(&mut daemon, &program)?;
    let model = Scenario::new(321, 54).tag("many").model();
    for (stream, flags) in [(false, &[][..]), (true, &["-stream"])] {
        let flags = [&["-goroutines=50", "-calls=20", "-deep=100"], flags].concat();
        let command = golang::client(&standin, &program, &flags, &standin.url(), &model);
        let finished = Child::spawn(command, LIMIT)?.wait()?.success()?;
        let calls = daemon.wait_for_pid(finished.pid, 1000)?;
        all_exact(&calls, &standin)?;
        ensure!(calls.iter().all(|call| call.role == "client" && call.streaming == stream));
    }
    daemon.stop()?;
    Ok(())
}

/// A client and a server with one connection between them, on which all calls are made at the same time.
#[test]
fn a_client_and_a_server_over_http2() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    for (release, calls) in RELEASES.into_iter().zip(["-calls=20", "-calls=2"]) {
        let folder = tempfile::tempdir()?;
        let program = golang::build(release, "client", STRIPPED, folder.path())?;
        let _idle = hooked(&mut daemon, &program)?;
        let program_of_server = golang::build(release, "server", STRIPPED, folder.path())?;
        let _idle_server = hooked(&mut daemon, &program_of_server)?;
        let server = golang::server(&standin, &program_of_server)?;
        let model = Scenario::new(77, 33).reasoning(3).tag(release).model();
        let flags = ["-goroutines=50", calls, "-stream", "-protocol=HTTP/2.0"];
        let command = golang::client(&standin, &program, &flags, &server.url(), &model);
        let finished = Child::spawn(command, LIMIT)?.wait()?.success()?;
        let count = if calls == "-calls=20" { 1000 } else { 100 };
        for (pid, role) in [(finished.pid, "client"), (server.pid(), "server")] {
            let calls = daemon.wait_for_pid(pid, count)?;
            all_exact(&calls, &standin)?;
            ensure!(calls.iter().all(|call| call.role == role && call.path == CHAT && call.streaming));
        }
    }
    daemon.stop()?;
    Ok(())
}

/// Buffers on stacks that grow and shrink while they are read into.
#[test]
fn stacks_that_move() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    for release in RELEASES {
        let folder = tempfile::tempdir()?;
        let program = golang::build(release, "raw", STRIPPED, folder.path())?;
        let _idle = hooked(&mut daemon, &program)?;
        let scenario = Scenario { size: Some(8000), delay: Some(15), ..Scenario::new(55, 66) };
        let address = standin.address().to_string();
        let flags = ["-goroutines=20", "-calls=5"];
        let command = golang::client(&standin, &program, &flags, &address, &scenario.tag(release).model());
        let finished = Child::spawn(command, LIMIT)?.wait()?.success()?;
        let calls = daemon.wait_for_pid(finished.pid, 100)?;
        all_exact(&calls, &standin)?;
    }
    daemon.stop()?;
    Ok(())
}
