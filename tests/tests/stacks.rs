//! TLS stacks that are no libssl with its symbols, each in a real client: seen as well as curl.

use std::{
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    child::{self, Child},
    client::{self, LIMIT},
    compare::{all_exact, made_by},
    daemon::{Daemon, SOON},
    machine,
    scenario::Scenario,
    standin::StandIn,
};

#[test]
fn wget_speaks_through_gnutls() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let model = Scenario::new(123, 45).cached(40).reasoning(7).model();
    for body in [client::chat(&model), client::chat_stream(&model)] {
        let wget = client::run_wget(&standin, "/v1/chat/completions", &body)?;
        let call = daemon.wait_for_one(wget.pid)?;
        all_exact(std::slice::from_ref(&call), &standin)?;
        made_by(&call, "wget", "/usr/bin/wget")?;
    }
    let objects = daemon.metrics()?.sum("llm_tracker_tls_objects", &[("stack", "gnutls")]);
    assert!(objects >= 1.0, "it was another stack");
    daemon.stop()?;
    Ok(())
}

/// OpenSSL inside a program that has lost its symbols. The connection that is left in the middle of its
/// answer and the next one lie at the same address: neither is taken for the other.
#[test]
fn a_stripped_program_with_openssl_inside() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let folder = tempfile::tempdir()?;
    let program = client::linked(folder.path())?;
    let scenario = Scenario::new(123, 45).cached(40).reasoning(7);
    let left = Scenario { size: Some(20_000), chunks: Some(20), ..Scenario::new(900, 800) };
    let hooked = |daemon: &Daemon| -> Result<f64> {
        Ok(daemon.metrics()?.sum("llm_tracker_tls_objects", &[("stack", "openssl"), ("state", "hooked")]))
    };
    let before = hooked(&daemon)?;
    let requests = [
        ("read", client::chat(&scenario.clone().tag("a").model())),
        ("leave", client::chat_stream(&left.model())),
        ("read", client::chat_stream(&scenario.clone().tag("b").model())),
        ("leave", client::chat_stream(&left.model())),
        ("read", client::chat(&scenario.tag("c").model())),
    ];
    let client = client::run_linked(&standin, &program, "/v1/chat/completions", &requests)?;
    let deadline = Instant::now() + SOON;
    while hooked(&daemon)? <= before {
        ensure!(Instant::now() < deadline, "the program was not hooked");
        thread::sleep(Duration::from_millis(50));
    }
    client.signal(libc::SIGUSR1)?;
    let finished = client.wait()?.success()?;
    let calls = daemon.wait_for_pid(finished.pid, requests.len())?;
    let left = left.model();
    let (cut, whole): (Vec<_>, Vec<_>) =
        calls.into_iter().partition(|call| call.model.as_deref() == Some(left.as_str()));
    ensure!(whole.len() == 3 && cut.len() == 2, "{whole:?} {cut:?}");
    all_exact(&whole, &standin)?;
    for call in &whole {
        made_by(call, "linked", &program.display().to_string())?;
    }
    for call in &cut {
        ensure!(call.error.as_deref() == Some("interrupted"), "{call:?}");
    }
    daemon.stop()?;
    Ok(())
}

/// OpenSSL inside a Python extension, which is `cryptography`'s: as the wheel has it, with local symbols, and
/// stripped. Python's own libssl is loaded beside it and not used.
#[test]
fn a_python_extension_with_openssl_inside() -> Result<()> {
    let standin = StandIn::start()?;
    let folder = tempfile::tempdir()?;
    let mut copy = Command::new("/bin/cp");
    copy.arg("--recursive").arg(machine::site_packages()?.join("cryptography")).arg(folder.path());
    child::output(copy, LIMIT)?;
    let mut strip = Command::new("/usr/bin/strip");
    strip.arg(folder.path().join("cryptography/hazmat/bindings/_rust.abi3.so"));
    child::output(strip, LIMIT)?;
    let client = |first: &Path, arguments: &[&str]| -> Result<Command> {
        let mut client = client::python(&standin, "plain_http.py", arguments)?;
        let path =
            [first, &machine::crate_folder().join("clients")].map(|folder| folder.display().to_string());
        client.env("PYTHONPATH", path.join(":"));
        Ok(client)
    };
    let kinds = [("as-it-is", Path::new("/nonexistent")), ("stripped", folder.path())];
    let residents = kinds.map(|(_, first)| client::resident(&client(first, &[])?, client::PYOPENSSL_STAYS));
    let mut daemon = Daemon::start()?;
    // It is read beside everything else: it is large.
    for extension in ["site-packages/cryptography/", &folder.path().display().to_string()] {
        daemon.wait_until_hooked(extension)?;
    }
    for (kind, first) in kinds {
        for manner in [&["stream"][..], &[]] {
            let model = Scenario::new(123, 45).cached(40).reasoning(7).tag(kind).model();
            let client = client(first, &[&["pyopenssl", &model], manner].concat())?;
            let finished = Child::spawn(client, LIMIT)?.wait()?.success()?;
            let call = daemon.wait_for_one(finished.pid).context(kind)?;
            all_exact(std::slice::from_ref(&call), &standin)?;
            made_by(&call, "python3", "/usr/bin/python3")?;
        }
    }
    for resident in residents {
        resident?;
    }
    daemon.stop()?;
    Ok(())
}

/// A connection whose keys change between two requests, on which nobody but the library acts.
#[test]
fn openssl_changes_its_keys() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let scenario = Scenario::new(123, 45).cached(40);
    let requests = ["before", "after"].map(|tag| {
        let body = client::chat(&scenario.clone().tag(tag).model()).to_string();
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost:{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            standin.address().port(),
            body.len()
        )
    });
    // A `K` where a line begins is no input: it asks for new keys in both directions.
    let script = "{ printf %s \"$1\"; sleep 1; echo K; sleep 1; printf %s \"$2\"; sleep 1; } |
        openssl s_client -connect \"$3\" -CAfile \"$4\" -verify_return_error";
    let mut command = client::command(&standin, "/bin/sh");
    command.args(["-ec", script, "sh"]).args(&requests).arg(standin.address().to_string());
    command.arg(standin.identity().authority());
    let finished = Child::spawn(command, LIMIT)?.wait()?.success()?;
    ensure!(finished.stderr.contains("KEYUPDATE"), "{}", finished.stderr);
    let port = standin.address().port();
    let calls = daemon.wait_for(2, |call| call.server_port == Some(port))?;
    all_exact(&calls, &standin)?;
    made_by(&calls[1], "openssl", "/usr/bin/openssl")?;
    daemon.stop()?;
    Ok(())
}
