//! Processes that come and go, in number: nothing of them is left in the daemon.

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    call::CallLine,
    cgroup::Cgroup,
    child::Child,
    client::{self, LIMIT},
    daemon::Daemon,
    scenario::Scenario,
    standin::StandIn,
};

const CHAT: &str = "/v1/chat/completions";
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libssl.so.3";

/// Processes that do nothing.
const SHORT: usize = 10_000;
/// Clients that make one call, with the host's libssl.
const CLIENTS: usize = 280;
/// Clients with a libssl and a mount namespace of their own.
const STRANGERS: usize = 20;
/// The most that they may take together.
const TOGETHER: Duration = Duration::from_secs(240);
/// Memory that the allocator may keep, and that bounded tables may grow by.
const SLACK: u64 = 8 << 20;

/// What a daemon holds.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    /// Open files.
    files: usize,
    /// Links that keep probes in place.
    links: usize,
    /// TLS libraries in its tables.
    objects: u64,
    /// Open connections.
    connections: u64,
}

fn held(daemon: &Daemon) -> Result<Held> {
    let folder = format!("/proc/{}", daemon.pid());
    let mut links = 0;
    let mut files = 0;
    for entry in fs::read_dir(format!("{folder}/fdinfo"))? {
        // A descriptor may be closed between the listing and the reading.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        files += 1;
        links += usize::from(text.lines().any(|line| line.starts_with("link_id:")));
    }
    let metrics = daemon.metrics()?;
    let sum = |name| metrics.sum(name, &[]) as u64;
    Ok(Held {
        files,
        links,
        objects: sum("llm_tracker_tls_objects"),
        connections: sum("llm_tracker_connections"),
    })
}

/// Its own memory, bytes.
fn memory(daemon: &Daemon) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}

/// Runs a command so many times, one after the other, `$i` counting.
fn repeat(mut command: Command, count: usize, body: &str, arguments: &[&str]) -> Result<()> {
    let script = format!("i=0; while [ $i -lt {count} ]; do {body}; i=$((i+1)); done");
    command.args(["-ec", &script, "sh"]).args(arguments);
    Child::spawn(command, TOGETHER)?.wait()?.success().map(drop)
}

/// One round of everything, of so many processes.
fn churn(standin: &StandIn, model: &str, [short, clients, strangers]: [usize; 3]) -> Result<()> {
    let shell = || client::command(standin, "/bin/sh");
    repeat(shell(), short, "/bin/true", &[])?;
    let arguments = client::curl_arguments(&format!("{}{CHAT}", standin.url()), &client::chat(model));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    repeat(shell(), clients, "curl \"$@\" > /dev/null", &arguments)?;

    let folder = tempfile::Builder::new().prefix("llm-tracker-churn-").tempdir()?;
    let path = folder.path().to_str().context("not UTF-8")?;
    let body = format!(
        "mkdir {path}/$i; cp {LIBRARY} {path}/$i/libssl.so.3; \
         LD_LIBRARY_PATH={path}/$i unshare --mount curl \"$@\" > /dev/null; rm -r {path}/$i"
    );
    repeat(shell(), strangers, &body, &arguments)
}

#[test]
fn ten_thousand_short_processes_leave_nothing_behind() -> Result<()> {
    let standin = StandIn::start()?;
    let daemon = Daemon::start()?;
    ensure!(Path::new(LIBRARY).exists(), "no {LIBRARY}");
    // What is made once and kept is made.
    churn(&standin, &Scenario::new(1, 2).tag("first").model(), [100, 10, 3])?;
    thread::sleep(Duration::from_secs(3));
    let before = held(&daemon)?;
    let memory_before = memory(&daemon)?;
    ensure!(before.links > 0, "nothing is hooked: {before:?}");

    let model = Scenario::new(1, 2).tag("churn").model();
    churn(&standin, &model, [SHORT, CLIENTS, STRANGERS])?;
    let begun = Instant::now();
    let after = loop {
        let after = held(&daemon)?;
        // Other programs on the host come and go as well.
        let settled = after.files <= before.files
            && after.links <= before.links
            && after.objects <= before.objects
            && after.connections <= before.connections;
        if settled || begun.elapsed() > Duration::from_secs(20) {
            ensure!(settled, "left behind: {after:?}, before: {before:?}; {}", daemon.losses());
            break after;
        }
        thread::sleep(Duration::from_millis(200));
    };
    ensure!(after.links > 0, "the host's own libssl is not hooked any more");
    let memory_after = memory(&daemon)?;
    ensure!(memory_after < memory_before + SLACK, "{memory_before} bytes became {memory_after}");

    // Those with a libssl of their own may be seen as well.
    let seen = wait_for_at_least(&daemon, CLIENTS, |call| call.model.as_ref() == Some(&model))?;
    ensure!(seen >= CLIENTS, "{seen} of {CLIENTS} calls were seen; {}", daemon.losses());
    daemon.stop()?;
    Ok(())
}

/// A library that a package's upgrade puts in the place of another, with programs that use either.
#[test]
fn a_library_replaced_while_it_is_in_use() -> Result<()> {
    let standin = StandIn::start()?;
    let daemon = Daemon::start()?;
    let folder = tempfile::Builder::new().prefix("llm-tracker-upgrade-").tempdir()?;
    let library = folder.path().join("libssl.so.3");
    fs::copy(LIBRARY, &library)?;
    let start = |tag: &str| -> Result<Child> {
        let model = Scenario { wait: Some(20), ..Scenario::new(17, 23) }.tag(tag).model();
        let mut command = client::python(&standin, "reuse.py", &["100", &model])?;
        command.env("LD_LIBRARY_PATH", folder.path());
        Child::spawn(command, LIMIT)
    };
    let old = start("old")?;
    while standin.served().is_empty() {
        thread::sleep(Duration::from_millis(10));
    }
    // As dpkg does: the new file is written beside the old one and renamed over it.
    let beside = folder.path().join("libssl.so.3.dpkg-new");
    let mut bytes = fs::read(LIBRARY)?;
    bytes.extend_from_slice(b"a newer one");
    fs::write(&beside, bytes)?;
    fs::rename(&beside, &library)?;
    let new = start("new")?;
    let maps = |child: &Child| fs::read_to_string(format!("/proc/{}/maps", child.pid()));
    let shown = library.to_str().context("not UTF-8")?;
    ensure!(maps(&old)?.contains(&format!("{shown} (deleted)")), "the old one is not replaced");
    let pids = [old.pid(), new.pid()];
    for child in [old, new] {
        child.wait()?.success()?;
    }
    for pid in pids {
        // The hooks race with the first calls of a library never seen before, and with no other.
        let seen = wait_for_at_least(&daemon, 80, |call| call.process.pid == pid)?;
        ensure!(seen >= 80, "{seen} of 100 calls of {pid}; {}", daemon.losses());
    }
    daemon.stop()?;
    Ok(())
}

/// A process that gets no processor until this is dropped.
struct Halted(libc::pid_t);

impl Halted {
    fn new(pid: u32) -> Result<Self> {
        let halted = Self(libc::pid_t::try_from(pid)?);
        // SAFETY: a system call without pointers, on a child that has not been waited for.
        ensure!(unsafe { libc::kill(halted.0, libc::SIGSTOP) } == 0, "{}", std::io::Error::last_os_error());
        Ok(halted)
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { libc::kill(self.0, libc::SIGCONT) };
    }
}

/// The daemon gets no processor while a container comes, makes its call and goes: there is nothing to look at
/// afterwards, neither a process nor a cgroup.
#[test]
fn a_container_that_is_gone_before_anybody_looks_is_named() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let id = format!("{:064x}", std::process::id());
    let mut command = client::command(&standin, "/usr/bin/curl");
    let model = Scenario::new(3, 5).tag("gone").model();
    command.args(client::curl_arguments(&format!("{}{CHAT}", standin.url()), &client::chat(&model)));
    let halted = Halted::new(daemon.pid())?;
    let pid = {
        let cgroup = Cgroup::new(&format!("/docker/{id}"))?;
        cgroup.holds(&mut command)?;
        Child::spawn(command, LIMIT)?.wait()?.success()?.pid
    };
    drop(halted);
    let call = daemon.wait_for_one(pid)?;
    let process = (call.process.name.as_deref(), call.process.exe.as_deref(), call.process.uid);
    assert_eq!(process, (Some("curl"), Some("/usr/bin/curl"), Some(0)));
    assert_eq!(call.cgroup, Some(format!("/docker/{id}")));
    assert_eq!(
        call.container.map(|container| (container.id, container.runtime)),
        Some((id, Some("docker".to_owned())))
    );
    daemon.stop()?;
    Ok(())
}

/// A library that is loaded by a program that has long been running.
#[test]
fn a_library_loaded_late() -> Result<()> {
    let standin = StandIn::start()?;
    let daemon = Daemon::start()?;
    let folder = tempfile::Builder::new().prefix("llm-tracker-late-").tempdir()?;
    fs::copy(LIBRARY, folder.path().join("libssl.so.3"))?;
    let model = Scenario { wait: Some(20), ..Scenario::new(17, 23) }.tag("late").model();
    let script = client::script_path("reuse.py");
    let script = script.to_str().context("not UTF-8")?;
    let late = "import runpy, sys, time; assert 'ssl' not in sys.modules; time.sleep(1); \
                sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')";
    let mut command = client::command(&standin, "/usr/bin/python3");
    command.env("LD_LIBRARY_PATH", folder.path()).args(["-c", late, script, "100", &model]);
    let child = Child::spawn(command, LIMIT)?;
    let pid = child.pid();
    child.wait()?.success()?;
    let seen = wait_for_at_least(&daemon, 80, |call| call.process.pid == pid)?;
    ensure!(seen >= 80, "{seen} of 100 calls; {}", daemon.losses());
    daemon.stop()?;
    Ok(())
}

/// Waits for so many calls, and says how many there are.
fn wait_for_at_least(daemon: &Daemon, count: usize, wanted: impl Fn(&CallLine) -> bool) -> Result<usize> {
    let begun = Instant::now();
    loop {
        let seen = daemon.calls(&wanted)?.len();
        if seen >= count || begun.elapsed() > Duration::from_secs(10) {
            return Ok(seen);
        }
        thread::sleep(Duration::from_millis(100));
    }
}
