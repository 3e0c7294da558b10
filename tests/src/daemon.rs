//! The daemon under test: started, asked, and required to end as it should.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    bpf,
    call::CallLine,
    child::{Child, Finished},
    machine,
    metrics::{self, Metrics},
};

/// How long the daemon may take to be ready, on a slow and busy machine.
const READY: Duration = Duration::from_secs(60);

/// How long a call may take from the wire to the event log. It is promised to be a second; a busy
/// machine gets more, and a test that asks for the promise itself says so.
pub const SOON: Duration = Duration::from_secs(15);

/// How long the daemon may take to stop.
const STOP: Duration = Duration::from_secs(30);

/// Longest life of a daemon in a test.
const LIFE: Duration = Duration::from_secs(600);

const API_SOCKET: &str = "api.sock";

/// A running `llm-tracker run`, alone on the machine. It is killed when this is dropped, but a test
/// should end with [`stop`](Self::stop), which looks at how it ends.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    folder: tempfile::TempDir,
    metrics: SocketAddr,
    _resident: Child,
    // Released last.
    _exclusive: machine::Exclusive,
}

impl Daemon {
    /// Starts it with its defaults and waits until it is ready.
    ///
    /// # Errors
    ///
    /// Where this machine or this user cannot run it, or it does not become ready.
    pub fn start() -> Result<Self> {
        Self::start_with("", "info")
    }

    /// The same with a configuration and a log level.
    ///
    /// # Errors
    ///
    /// Where this machine or this user cannot run it, or it does not become ready.
    pub fn start_with(config: &str, log_level: &str) -> Result<Self> {
        Self::start_alone(machine::Exclusive::take()?, config, log_level)
    }

    /// The same for a test that has the machine already, because its clients come before the daemon.
    ///
    /// # Errors
    ///
    /// Where this machine or this user cannot run it, or it does not become ready.
    pub fn start_alone(exclusive: machine::Exclusive, config: &str, log_level: &str) -> Result<Self> {
        Self::start_under(exclusive, config, log_level, |command, _| Ok(command))
    }

    /// The same by another command, made of the one that would start it; the folder is there for what that
    /// needs, and everybody may write to it.
    ///
    /// # Errors
    ///
    /// Where this machine or this user cannot run it, or it does not become ready.
    pub fn start_under(
        exclusive: machine::Exclusive,
        config: &str,
        log_level: &str,
        under: impl FnOnce(Command, &Path) -> Result<Command>,
    ) -> Result<Self> {
        ensure!(machine::is_root(), "these tests load programs into the kernel: run them as root");
        let resident = resident()?;
        let folder = tempfile::Builder::new().prefix("llm-tracker-run-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
        fs::write(folder.path().join("config.toml"), config)?;
        let metrics = free_address()?;
        let mut command = Command::new(machine::daemon_binary()?);
        command
            .args(["--log-level", log_level, "run", "--events"])
            .arg(folder.path().join("events.jsonl"))
            .arg("--metrics-listen")
            .arg(metrics.to_string())
            .arg("--config")
            .arg(folder.path().join("config.toml"));
        let mut command = under(command, folder.path())?;
        command.env("LLM_TRACKER_API_SOCKET", folder.path().join(API_SOCKET));
        let child = Child::spawn(command, LIFE)?;
        let mut daemon = Self { child, folder, metrics, _resident: resident, _exclusive: exclusive };
        daemon.wait_until_ready()?;
        Ok(daemon)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY;
        while Instant::now() < deadline {
            ensure!(self.child.is_running()?, "the daemon ended; it said: {}", self.child.stderr()?);
            if metrics::get(self.metrics, "/readyz").is_ok_and(|(status, _)| status == 200) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("the daemon did not become ready; it said: {}", self.child.stderr()?)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// Where it has ended.
    pub fn signal(&self, signal: libc::c_int) -> Result<()> {
        self.child.signal(signal)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Where it serves `/metrics`.
    #[must_use]
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics
    }

    /// The socket of its API.
    #[must_use]
    pub fn api_socket(&self) -> PathBuf {
        self.folder.path().join(API_SOCKET)
    }

    /// Its event log.
    #[must_use]
    pub fn events_file(&self) -> PathBuf {
        self.folder.path().join("events.jsonl")
    }

    /// Its log on standard error so far.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    pub fn log(&mut self) -> Result<String> {
        self.child.stderr()
    }

    /// All events so far of the calls that `wanted` picks: other programs on the host may make some.
    ///
    /// # Errors
    ///
    /// Where a line is not as promised.
    pub fn calls(&self, wanted: impl Fn(&CallLine) -> bool) -> Result<Vec<CallLine>> {
        calls(&self.events_file(), wanted)
    }

    /// Waits until there are `count` such calls.
    ///
    /// # Errors
    ///
    /// Where there are fewer after [`SOON`], or more; says what was seen.
    pub fn wait_for(&mut self, count: usize, wanted: impl Fn(&CallLine) -> bool) -> Result<Vec<CallLine>> {
        let deadline = Instant::now() + SOON;
        loop {
            let calls = self.calls(&wanted)?;
            if calls.len() == count {
                return Ok(calls);
            }
            ensure!(calls.len() < count, "{} calls, not {count}: {calls:#?}", calls.len());
            if Instant::now() >= deadline {
                let all = fs::read_to_string(self.events_file())?;
                let tail: Vec<_> = all.lines().rev().take(5).collect();
                bail!(
                    "only {} of {count} calls after {SOON:?}; of {} lines the last are {tail:#?}; it said: {}",
                    calls.len(),
                    all.lines().count(),
                    last_lines(&self.child.stderr()?, 20)
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for the calls of one process.
    ///
    /// # Errors
    ///
    /// As [`wait_for`](Self::wait_for).
    pub fn wait_for_pid(&mut self, pid: u32, count: usize) -> Result<Vec<CallLine>> {
        self.wait_for(count, |call| call.process.pid == pid)
    }

    /// Waits for the only call of one process.
    ///
    /// # Errors
    ///
    /// As [`wait_for`](Self::wait_for).
    pub fn wait_for_one(&mut self, pid: u32) -> Result<CallLine> {
        self.wait_for_pid(pid, 1)?.pop().context("no call")
    }

    /// Waits until a file is hooked in whose path `name` is.
    ///
    /// # Errors
    ///
    /// Where that takes longer than [`SOON`].
    pub fn wait_until_hooked(&mut self, name: &str) -> Result<()> {
        let deadline = Instant::now() + SOON;
        let is_it = |line: &str| line.contains("hooked object=") && line.contains(name);
        while !self.log()?.lines().any(is_it) {
            ensure!(Instant::now() < deadline, "{name} was not hooked: {}", self.log()?);
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Gives it another configuration, with SIGHUP, and waits until that is in force.
    ///
    /// # Errors
    ///
    /// Where it does not say within [`SOON`] that it has read it.
    pub fn reload(&mut self, config: &str) -> Result<()> {
        let times = |daemon: &mut Self| -> Result<usize> {
            Ok(daemon.log()?.matches("the configuration was read again").count())
        };
        let before = times(self)?;
        fs::write(self.folder.path().join("config.toml"), config)?;
        self.signal(libc::SIGHUP)?;
        let deadline = Instant::now() + SOON;
        while times(self)? == before {
            ensure!(Instant::now() < deadline, "it was not read again: {}", self.log()?);
            thread::sleep(Duration::from_millis(20));
        }
        // Filters act from its next tick on, of which there is one a second.
        thread::sleep(Duration::from_millis(1500));
        Ok(())
    }

    /// A scrape.
    ///
    /// # Errors
    ///
    /// Where it fails or is not in the text format.
    pub fn metrics(&self) -> Result<Metrics> {
        let (status, text) = metrics::get(self.metrics, "/metrics")?;
        ensure!(status == 200, "/metrics answers {status}");
        Metrics::parse(&text)
    }

    /// What it says to have lost, for the message of a test that fails.
    #[must_use]
    pub fn losses(&self) -> String {
        let Ok(metrics) = self.metrics() else { return "no metrics".to_owned() };
        let is_loss = |line: &&str| {
            let names =
                ["llm_tracker_lost_", "llm_tracker_stream_", "llm_tracker_http_", "llm_tracker_kernel_bytes"];
            names.iter().any(|name| line.starts_with(name)) && !line.ends_with(" 0")
        };
        metrics.text.lines().filter(is_loss).collect::<Vec<_>>().join("\n")
    }

    /// Sends SIGTERM and requires that it ends by itself with 0 and leaves no program in the kernel.
    ///
    /// # Errors
    ///
    /// Where it does not.
    pub fn stop(self) -> Result<Stopped> {
        self.end(libc::SIGTERM, |finished| finished.success().context("the daemon did not stop well"))
    }

    /// Kills it, so that it cannot take anything away itself, and requires that no program is left in the
    /// kernel.
    ///
    /// # Errors
    ///
    /// Where one is.
    pub fn kill(self) -> Result<Stopped> {
        self.end(libc::SIGKILL, Ok)
    }

    fn end(self, signal: libc::c_int, good: impl FnOnce(Finished) -> Result<Finished>) -> Result<Stopped> {
        let Self { child, folder, metrics: _, _resident: resident, _exclusive: exclusive } = self;
        let programs = bpf::programs_of(child.pid())?;
        ensure!(!programs.is_empty(), "the daemon had no program in the kernel");
        child.signal(signal)?;
        let begun = Instant::now();
        let finished = good(child.wait()?)?;
        let took = begun.elapsed();
        ensure!(took < STOP, "the daemon took {took:?} to stop");
        // The kernel frees programs a moment after their last user has gone.
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let left: BTreeSet<_> = programs.intersection(&bpf::programs()?).copied().collect();
            if left.is_empty() {
                break;
            }
            ensure!(Instant::now() < deadline, "programs {left:?} are still in the kernel");
            thread::sleep(Duration::from_millis(20));
        }
        drop(resident);
        Ok(Stopped { finished, took, folder, exclusive })
    }
}

/// What is left of a daemon that has stopped as it should.
#[derive(Debug)]
pub struct Stopped {
    /// How it ended, and its log.
    pub finished: Finished,
    /// How long that took.
    pub took: Duration,
    folder: tempfile::TempDir,
    exclusive: machine::Exclusive,
}

impl Stopped {
    /// The machine, for the next daemon.
    #[must_use]
    pub fn into_exclusive(self) -> machine::Exclusive {
        self.exclusive
    }

    /// All events of the calls that `wanted` picks.
    ///
    /// # Errors
    ///
    /// Where a line is not as promised.
    pub fn calls(&self, wanted: impl Fn(&CallLine) -> bool) -> Result<Vec<CallLine>> {
        calls(&self.folder.path().join("events.jsonl"), wanted)
    }
}

/// A process that uses the system's libssl, as there is on every host with some life in it: a program
/// that is started later is then seen from its first call.
///
/// # Errors
///
/// Where Python does not start.
pub fn resident() -> Result<Child> {
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-c", "import ssl, time\nprint('ready', flush=True)\ntime.sleep(600)"]);
    let mut child = Child::spawn(command, LIFE)?;
    let deadline = Instant::now() + READY;
    while child.stdout()?.is_empty() {
        ensure!(child.is_running()?, "Python ended; it said: {}", child.stderr()?);
        ensure!(Instant::now() < deadline, "Python did not start");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(child)
}

/// A free port of 127.0.0.1, for a server. Nobody else is given it in the next minute: a connection to it has just
/// been closed from this side, which a server that sets `SO_REUSEADDR` may ignore (tcp(7)), as nearly all do, while
/// the kernel hands out other ports first to those who do not mind which.
///
/// # Errors
///
/// Where there is none.
pub fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let client = TcpStream::connect(address)?;
    drop(listener.accept()?);
    drop(client);
    Ok(address)
}

fn calls(file: &Path, wanted: impl Fn(&CallLine) -> bool) -> Result<Vec<CallLine>> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut calls = Vec::new();
    // A line without its end is still being written.
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        // Budgets have lines of their own.
        if line.contains("\"type\":\"llm_budget\"") {
            continue;
        }
        let call: CallLine =
            serde_json::from_str(line).with_context(|| format!("not a line as promised: {line}"))?;
        if wanted(&call) {
            calls.push(call);
        }
    }
    Ok(calls)
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
