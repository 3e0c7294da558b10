//! What the daemon itself takes: memory and CPU when idle, memory for each open LLM connection.

use std::{path::PathBuf, thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use clap::Parser;
use llm_tracker_bench::{
    daemon::{self, Daemon},
    load::{self, Load},
    process::{self, Resident},
    table::{Table, Target, against},
    traffic,
};

/// Measures the daemon's memory and idle CPU. Needs root.
#[derive(Parser)]
#[command(name = "bench-memory")]
struct Arguments {
    /// Open connections that carry a stream; each end of a local pair is one
    #[arg(long, default_value_t = 2000)]
    connections: usize,
    /// Seconds over which the idle daemon's CPU time is taken
    #[arg(long, default_value_t = 30)]
    idle_seconds: u64,
    /// The daemon [default: target/release/llm-tracker of this workspace]
    #[arg(long, env = "LLM_TRACKER_BIN")]
    binary: Option<PathBuf>,
}

const MIB: f64 = 1024.0 * 1024.0;
/// The most resident memory of an idle daemon, MiB.
const IDLE_TARGET: f64 = 40.0;
/// The most for each further open LLM connection, KiB.
const CONNECTION_TARGET: f64 = 32.0;
/// For the first look at every process, and for the ring buffers to be emptied.
const SETTLE: Duration = Duration::from_secs(3);

fn main() -> Result<()> {
    if load::is_load() {
        return load::serve();
    }
    let arguments = Arguments::parse();
    ensure!(arguments.connections >= 2, "at least one pair of connections is needed");
    let daemon = Daemon::start(&daemon::binary(arguments.binary))?;
    sleep(SETTLE);

    let (cpu_before, forks_before) = (daemon.cpu_time()?, process::forks()?);
    sleep(Duration::from_secs(arguments.idle_seconds));
    let idle_cpu = daemon.cpu_time()? - cpu_before;
    let forks = process::forks()? - forks_before;
    let idle = daemon.resident()?;

    let pairs = arguments.connections / 2;
    let mut load = Load::start()?;
    // The library may be new to the daemon, and what is to be measured has to be seen from its beginning.
    sleep(SETTLE);
    eprintln!("opening {pairs} pairs of connections");
    load.hold(pairs)?;
    sleep(SETTLE);
    let open = daemon.resident()?;
    eprintln!("the streams go on");
    for _ in 0..4 {
        load.more()?;
    }
    sleep(SETTLE);
    let streaming = daemon.resident()?;
    eprintln!("ending them");
    load.release()?;
    sleep(SETTLE);
    let after = daemon.resident()?;
    let lost = daemon.metrics()?.sum(daemon::LOST_BYTES, "");
    let tokens = format!("\"output_tokens\":{},", traffic::OUTPUT_TOKENS);
    let seen = daemon.events_with(&[&tokens])?;
    daemon.stop()?;
    ensure!(seen > 0, "the daemon saw none of the streams: what was measured was not their memory");

    let each = |now: Resident| (now.total.saturating_sub(idle.total)) as f64 / (2 * pairs) as f64 / 1024.0;
    let mut table =
        Table::new("The daemon's memory and CPU", &["", "resident MiB", "heap and stacks MiB", "target"]);
    let mut row = |title: String, now: Resident, target: String| {
        let [total, anonymous] = [now.total, now.anonymous].map(|bytes| format!("{:.1}", bytes as f64 / MIB));
        table.row([title, total, anonymous, target]);
    };
    row("idle".to_owned(), idle, against(idle.total as f64 / MIB, 1, Target::AtMost(IDLE_TARGET)));
    for (what, now) in [("open", open), ("open, 8 KiB further", streaming)] {
        let target = format!("KiB each: {}", against(each(now), 1, Target::AtMost(CONNECTION_TARGET)));
        row(format!("{} LLM connections, {what}", 2 * pairs), now, target);
    }
    row("after they have ended".to_owned(), after, String::new());
    println!("{table}");
    println!(
        "Idle CPU: {:.2} ms a second over {} s, in which {forks} processes and threads were started on the host. \
         {seen} of {} streams were reported with their numbers, {lost} bytes lost.\n",
        idle_cpu.as_secs_f64() * 1000.0 / arguments.idle_seconds.max(1) as f64,
        arguments.idle_seconds,
        2 * pairs
    );
    Ok(())
}
