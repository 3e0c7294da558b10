//! As a service manager runs it: an unprivileged user under the unit's restrictions, told to reload and to stop
//! under load, watched, killed.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    api,
    child::Child,
    client::{self, LIMIT},
    compare::{all_exact, exact_or_missing},
    daemon::{Daemon, SOON},
    machine::Exclusive,
    probes::changed_bytes,
    prometheus::deploy,
    scenario::Scenario,
    standin::StandIn,
};

const CHAT: &str = "/v1/chat/completions";

/// Streams that last for some seconds.
fn slow_streams() -> String {
    Scenario { chunks: Some(100), delay: Some(50), ..Scenario::new(5, 6) }.tag("n").model()
}

/// Waits until the stand-in has been asked for so much.
fn until_served(standin: &StandIn, count: usize) -> Result<()> {
    let begun = Instant::now();
    while standin.served().len() < count {
        ensure!(begun.elapsed() < LIMIT, "{} of {count} calls began", standin.served().len());
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A line of the unit.
fn unit(key: &str) -> Result<String> {
    let unit = fs::read_to_string(deploy("systemd/llm-tracker.service"))?;
    let value = unit.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    Ok(value.with_context(|| format!("the unit has no {key}"))?.to_owned())
}

#[test]
fn systemd_thinks_well_of_the_unit() -> Result<()> {
    let mut command = Command::new("/usr/bin/systemd-analyze");
    command.args(["security", "--offline=true", "--no-pager", "--threshold=25"]);
    command.arg(deploy("systemd/llm-tracker.service"));
    let said = Child::spawn(command, LIMIT)?.wait()?.success()?;
    let score = said.stdout.lines().find(|line| line.contains("Overall exposure")).context("no score")?;
    println!("{score}");
    Ok(())
}

/// The daemon by another user with the unit's capabilities and under its filter: what systemd does, without
/// systemd.
fn as_the_unit_says(daemon: &Command, folder: &Path) -> Result<Command> {
    let copy = |from: &Path, name: &str| -> Result<_> {
        let to = folder.join(name);
        fs::copy(from, &to)?;
        fs::set_permissions(&to, fs::Permissions::from_mode(0o755))?;
        Ok(to)
    };
    let capabilities = unit("AmbientCapabilities")?.to_lowercase().replace("cap_", "+").replace(' ', ",");
    let mut command = Command::new("/usr/bin/setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(format!("--inh-caps=-all,{capabilities}"))
        .arg(format!("--bounding-set=-all,{capabilities}"))
        .arg(format!("--ambient-caps=-all,{capabilities}"))
        .arg(copy(Path::new(env!("CARGO_BIN_EXE_confined")), "confined")?)
        .arg(copy(&deploy("systemd/llm-tracker.service"), "llm-tracker.service")?)
        .arg(copy(Path::new(daemon.get_program()), "llm-tracker")?)
        .args(daemon.get_args());
    Ok(command)
}

/// `CapEff` of every thread.
fn capabilities(pid: u32) -> Result<Vec<u64>> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).context("no CapEff")?;
        found.push(u64::from_str_radix(line.trim(), 16)?);
    }
    Ok(found)
}

const CAP_BPF: u64 = 1 << 39;

#[test]
fn a_user_without_root_under_the_filter_of_the_unit() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start_under(Exclusive::take()?, "", "info", |command, folder| {
        as_the_unit_says(&command, folder)
    })?;
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    ensure!(status.contains("\nUid:\t65534\t") && status.contains("\nSeccomp:\t2\n"), "{status}");
    ensure!(status.contains("\nNoNewPrivs:\t1\n"), "{status}");
    let given = 0x0000_01c0_0008_0004;
    let held = capabilities(daemon.pid())?;
    ensure!(held.len() > 3 && held.iter().all(|&held| held == given & !CAP_BPF), "{held:x?}");
    ensure!(!daemon.log()?.contains("WARN"), "it misses something: {}", daemon.log()?);

    let curl = client::run_curl(&standin, CHAT, &client::chat(&Scenario::new(17, 23).model()))?;
    all_exact(&[daemon.wait_for_one(curl.pid)?], &standin)?;
    // Who asks is known without any privilege: there is no ledger, and nothing else is in the way.
    for ask in [api::on_socket(&daemon, "/api/v1/calls"), api::on_loopback(&daemon, "/api/v1/calls")] {
        let (status, problem) = api::answer(ask)?;
        ensure!(status == 503 && problem.contains("no-ledger"), "{status} {problem}");
    }
    // A library that is seen for the first time is hooked long after the start.
    let folder = tempfile::tempdir()?;
    let name = "libssl-of-the-service.so";
    let library = folder.path().join(name);
    fs::copy(library_path()?, &library)?;
    let mut resident = Command::new("/usr/bin/python3");
    resident
        .args(["-c", "import ctypes, sys, time\nctypes.CDLL(sys.argv[1])\ntime.sleep(600)"])
        .arg(&library);
    let resident = Child::spawn(resident, LIMIT)?;
    daemon.wait_until_hooked(name)?;
    drop(resident);
    daemon.stop()?;
    Ok(())
}

/// The system's libssl.
fn library_path() -> Result<String> {
    let maps = "import ssl\nprint(next(l.split()[-1] for l in open('/proc/self/maps') if 'libssl.so' in l))";
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", maps]);
    Ok(Child::spawn(command, LIMIT)?.wait()?.success()?.stdout.trim().to_owned())
}

#[test]
fn root_gives_up_what_it_does_not_need() -> Result<()> {
    let daemon = Daemon::start()?;
    let unneeded = CAP_BPF | 1 | 1 << 12 | 1 << 16; // with CAP_CHOWN, CAP_NET_ADMIN and CAP_SYS_MODULE
    let held = capabilities(daemon.pid())?;
    ensure!(held.iter().all(|held| held & unneeded == 0), "{held:x?}");
    daemon.stop()?;
    Ok(())
}

/// What the daemon tells the service manager.
struct Manager(UnixDatagram);

impl Manager {
    fn hears(&self, word: &str) -> Result<()> {
        let deadline = Instant::now() + SOON;
        let mut message = [0; 4096];
        let mut heard = Vec::new();
        self.0.set_read_timeout(Some(Duration::from_millis(500)))?;
        while Instant::now() < deadline {
            let Ok(length) = self.0.recv(&mut message) else { continue };
            let text = String::from_utf8(message[..length].to_vec())?;
            if text.lines().any(|line| line.starts_with(word)) {
                return Ok(());
            }
            heard.push(text);
        }
        anyhow::bail!("no {word} in {heard:?}")
    }

    /// How often that is said in this time.
    fn count(&self, word: &str, within: Duration) -> Result<usize> {
        let begun = Instant::now();
        let (mut count, mut message) = (0, [0; 4096]);
        self.0.set_read_timeout(Some(Duration::from_millis(100)))?;
        while begun.elapsed() < within {
            let Ok(length) = self.0.recv(&mut message) else { continue };
            count += usize::from(String::from_utf8_lossy(&message[..length]).contains(word));
        }
        Ok(count)
    }
}

#[test]
fn the_service_manager_is_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("notify");
    let manager = Manager(UnixDatagram::bind(&socket)?);
    let daemon = Daemon::start_under(Exclusive::take()?, "", "info", |mut command, _| {
        command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "4000000").env_remove("WATCHDOG_PID");
        Ok(command)
    })?;
    manager.hears("READY=1")?;
    ensure!(manager.count("WATCHDOG=1", Duration::from_secs(4))? >= 2, "the watchdog starves");
    // A daemon that does not move does not say that it does.
    daemon.signal(libc::SIGSTOP)?;
    manager.count("", Duration::from_millis(300))?;
    let while_stopped = manager.count("WATCHDOG=1", Duration::from_secs(3));
    daemon.signal(libc::SIGCONT)?;
    assert_eq!(while_stopped?, 0);
    daemon.signal(libc::SIGHUP)?;
    manager.hears("RELOADING=1")?;
    manager.hears("READY=1")?;
    let stop = thread::spawn(move || daemon.stop());
    manager.hears("STOPPING=1")?;
    stop.join().map_err(|_| anyhow::anyhow!("the stop failed"))??;
    Ok(())
}

#[test]
fn a_reload_loses_no_call() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let client = Child::spawn(client::python(&standin, "streams.py", &["20", &slow_streams()])?, LIMIT)?;
    let pid = client.pid();
    until_served(&standin, 20)?;
    let config = daemon.events_file().with_file_name("config.toml");
    fs::write(
        &config,
        "[log]\nlevel = \"debug\"\n[capture]\nring_bytes = 65536\n[usage]\nestimate = false\n",
    )?;
    for _ in 0..5 {
        daemon.signal(libc::SIGHUP)?;
        thread::sleep(Duration::from_millis(100));
    }
    let deadline = Instant::now() + SOON;
    while !daemon.log()?.contains("capture.ring_bytes has changed: that takes a restart") {
        ensure!(Instant::now() < deadline, "{}", daemon.log()?);
        thread::sleep(Duration::from_millis(50));
    }
    // A flag goes over what the file says of the level.
    ensure!(daemon.log()?.contains("changed=\"usage.estimate\""), "{}", daemon.log()?);
    fs::write(&config, "[log]\nlevle = \"debug\"\n")?;
    daemon.signal(libc::SIGHUP)?;
    while !daemon.log()?.contains("did you mean `level`?") {
        ensure!(Instant::now() < deadline, "{}", daemon.log()?);
        thread::sleep(Duration::from_millis(50));
    }
    client.wait()?.success()?;
    all_exact(&daemon.wait_for_pid(pid, 20)?, &standin)?;
    daemon.stop()?;
    Ok(())
}

/// Under load: streams that have ended are told to the last one, and all is over within five seconds.
#[test]
fn a_stop_under_load_is_over_in_five_seconds() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let finished =
        client::run_python(&standin, "streams.py", &["50", &Scenario::new(17, 23).tag("a").model()])?;
    let begun = standin.served().len();
    let clients = (0..2)
        .map(|_| Child::spawn(client::python(&standin, "streams.py", &["50", &slow_streams()])?, LIMIT))
        .collect::<Result<Vec<_>>>()?;
    until_served(&standin, begun + 100)?;
    let log = daemon.log()?;
    let stopped = daemon.stop()?;
    ensure!(
        stopped.took < Duration::from_secs(5),
        "{:?}; it said: {log}{}",
        stopped.took,
        stopped.finished.stderr
    );
    let calls = stopped.calls(|call| call.process.pid == finished.pid)?;
    all_exact(&calls, &standin)?;
    assert_eq!(calls.len(), 50, "a call that was over is not lost");
    for client in clients {
        let pid = client.pid();
        let calls = stopped.calls(|call| call.process.pid == pid)?;
        exact_or_missing(&calls, &standin)?;
        assert_eq!(calls.len(), 50, "what is in flight is reported, as far as it got");
        client.wait()?.success().context("the client was disturbed")?;
    }
    Ok(())
}

/// What other programs see of tracing in the kernel.
fn traces() -> String {
    let files = ["/sys/kernel/tracing/uprobe_events", "/sys/kernel/debug/tracing/uprobe_events"];
    let pins = fs::read_dir("/sys/fs/bpf").map_or(0, Iterator::count);
    let events: Vec<_> = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    format!("{events:?} {pins} pins")
}

#[test]
fn a_crash_leaves_nothing_behind() -> Result<()> {
    let standin = StandIn::start()?;
    let exclusive = Exclusive::take()?;
    let mut client = open_streams(&standin, 20)?;
    // Another daemon on the host would have its own.
    let (before, probes) = (traces(), changed_bytes(client.pid(), "libssl.so")?);
    let daemon = Daemon::start_alone(exclusive, "", "info")?;
    ensure!(changed_bytes(client.pid(), "libssl.so")? > 0, "there is no probe to be left");
    let killed = daemon.kill()?;
    ensure!(!killed.finished.status.success(), "it ended by itself");
    let deadline = Instant::now() + SOON;
    while changed_bytes(client.pid(), "libssl.so")? > probes {
        ensure!(Instant::now() < deadline, "a probe is left in a running process");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(traces(), before);
    ensure!(client.is_running()?, "the client was disturbed: {}", client.stderr()?);
    Ok(())
}

/// A client with so many streams open, which stays until it is killed.
fn open_streams(standin: &StandIn, count: usize) -> Result<Child> {
    let slow = Scenario { chunks: Some(400), delay: Some(500), ..Scenario::new(5, 6) }.model();
    let client = client::python(standin, "open_streams.py", &[&count.to_string(), &slow])?;
    let mut client = Child::spawn(client, 8 * LIMIT)?;
    let begun = Instant::now();
    while !client.stdout()?.contains("open") {
        ensure!(client.is_running()? && begun.elapsed() < 4 * LIMIT, "{}", client.stderr()?);
        thread::sleep(Duration::from_millis(50));
    }
    Ok(client)
}

/// The daemon comes to a host whose programs have their connections open for long.
#[test]
fn a_start_among_thousands_of_connections() -> Result<()> {
    const OPEN: usize = 2000;
    let standin = StandIn::start()?;
    let exclusive = Exclusive::take()?;
    let _open = open_streams(&standin, OPEN)?;
    let begun = Instant::now();
    let mut daemon = Daemon::start_alone(exclusive, "", "info")?;
    println!("ready after {:?} among {OPEN} connections", begun.elapsed());
    let curl = client::run_curl(&standin, CHAT, &client::chat(&Scenario::new(17, 23).tag("new").model()))?;
    all_exact(&[daemon.wait_for_one(curl.pid)?], &standin)?;
    let deadline = Instant::now() + 2 * SOON;
    while daemon.metrics()?.sum("llm_tracker_connections_seen_total", &[]) < OPEN as f64 {
        ensure!(Instant::now() < deadline, "few of them are followed: {}", daemon.metrics()?.text);
        thread::sleep(Duration::from_millis(200));
    }
    let stopped = daemon.stop()?;
    ensure!(stopped.took < Duration::from_secs(5), "{:?}", stopped.took);
    Ok(())
}
