//! The daemon's memory and CPU: idle, and with many open LLM connections.
//!
//! `bench-memory [CONNECTIONS]`, 2,000 where none are named.

use std::{
    fs,
    io::Write as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{child::Child, client, daemon::Daemon, scenario::Scenario, standin::StandIn};

/// What the daemon may take, as promised.
const IDLE_MIB: f64 = 40.0;
const CONNECTION_KIB: f64 = 32.0;

/// How long the daemon is watched doing nothing.
const IDLE: Duration = Duration::from_secs(10);

/// How long the client may take to open all connections.
const OPENING: Duration = Duration::from_secs(240);

fn main() -> Result<()> {
    let connections = match std::env::args().nth(1) {
        Some(number) => number.parse().context("usage: bench-memory [CONNECTIONS]")?,
        None => 2000_u32,
    };
    raise_descriptor_limit()?;
    let standin = StandIn::start()?;
    let daemon = Daemon::start()?;
    thread::sleep(Duration::from_secs(2));
    let idle = Usage::of(daemon.pid())?;
    print!("idle for {IDLE:?} ... ");
    std::io::stdout().flush()?;
    thread::sleep(IDLE);
    let cpu = (Usage::of(daemon.pid())?.cpu - idle.cpu).as_secs_f64() / IDLE.as_secs_f64();
    println!("{:.1} MiB resident (at most {IDLE_MIB}), {:.2} % of a core", idle.mib(), cpu * 100.0);

    print!("opening {connections} streams ... ");
    std::io::stdout().flush()?;
    // Long enough to be open all the while, with an event now and then.
    let model = Scenario { chunks: Some(100), delay: Some(5_000), ..Scenario::new(1, 2) }.model();
    let count = connections.to_string();
    let mut client =
        Child::spawn(client::python(&standin, "open_streams.py", &[&count, &model])?, OPENING * 2)?;
    let begun = Instant::now();
    while !client.stdout()?.contains("open") {
        ensure!(client.is_running()?, "the client ended; it said: {}", client.stderr()?);
        ensure!(begun.elapsed() < OPENING, "the connections were not opened in {OPENING:?}");
        thread::sleep(Duration::from_millis(100));
    }
    thread::sleep(Duration::from_secs(2));
    let open = Usage::of(daemon.pid())?;
    let each = (open.resident.saturating_sub(idle.resident)) as f64 / f64::from(connections) / 1024.0;
    println!(
        "{:.1} MiB resident: {each:.1} KiB for each (at most {CONNECTION_KIB}), after {:.1} s",
        open.mib(),
        begun.elapsed().as_secs_f64()
    );
    let pid = client.pid();
    drop(client);
    let calls = daemon.stop()?.calls(|call| call.process.pid == pid)?.len();
    println!("{calls} calls reported when the client was ended");
    ensure!(calls == connections as usize, "not every stream was followed");
    Ok(())
}

/// What a process takes.
struct Usage {
    /// Bytes.
    resident: u64,
    cpu: Duration,
}

impl Usage {
    fn of(pid: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let resident = resident.trim().trim_end_matches(" kB").parse::<u64>()? * 1024;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Fields 14 and 15, counted from the one after the name, which is the third.
        let fields: Vec<_> = stat.rsplit_once(')').context("no name")?.1.split_whitespace().collect();
        let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        // SAFETY: a library call without pointers.
        let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) })?;
        Ok(Self { resident, cpu: Duration::from_millis(ticks * 1000 / per_second) })
    }

    fn mib(&self) -> f64 {
        self.resident as f64 / f64::from(1 << 20)
    }
}

/// The stand-in holds one descriptor for each connection.
fn raise_descriptor_limit() -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills in the struct that the pointer is for.
    let read = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    ensure!(read == 0, "{}", std::io::Error::last_os_error());
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the kernel reads the struct that the pointer is for.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    ensure!(set == 0, "{}", std::io::Error::last_os_error());
    Ok(())
}
