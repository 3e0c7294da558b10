//! The programs that people run, each watched while it completes a prompt: `cargo xtask agents`.
//!
//! | module | what |
//! |---|---|
//! | [`catalogue`] | the agents, as data |
//! | [`fetch`] | their pinned and newest releases, from npm's registry |
//! | [`judge`] | whether their TLS stacks are located |
//! | [`conversation`] | one prompt, and what the daemon says of it |
//! | [`table`] | all of it, printed |
//!
//! Everything but the fetching happens in a network namespace of this program's own: what is started there
//! reaches the stand-in and nothing else. Ends with 1 where a pinned release is not seen as it should be.

mod catalogue;
mod conversation;
mod fetch;
mod judge;
mod table;

use std::{
    process::{Command, ExitCode},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use llm_tracker_tests::{child, daemon::Daemon, machine, standin::StandIn};

use catalogue::{AGENTS, Agent};
use conversation::{Outcome, Setting};
use fetch::{Release, Wanted};
use judge::Judgement;

#[derive(Parser)]
#[command(name = "agents", bin_name = "cargo xtask agents", about = "Watch the programs that people run")]
struct Cli {
    /// Which agents; all where none is named
    names: Vec<String>,
    /// Only the pinned releases
    #[arg(long, conflicts_with = "newest")]
    pinned: bool,
    /// Only the newest releases
    #[arg(long)]
    newest: bool,
}

/// One release, and how it went.
struct Row {
    release: Release,
    judgement: Judgement,
    /// The first start of a release in a fresh home, before the daemon knows its files.
    first: Outcome,
    /// The next one.
    second: Outcome,
}

impl Row {
    fn is_good(&self) -> bool {
        self.judgement.located && self.second.is_good()
    }
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("agents: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<bool> {
    let agents = chosen(&cli.names)?;
    let wanted = Wanted { pinned: !cli.newest, newest: !cli.pinned };
    let mut releases = Vec::new();
    for agent in agents {
        releases.extend(fetch::releases(agent, wanted)?);
    }
    leave_the_network()?;
    let mut rows = Vec::new();
    let mut machine = machine::Exclusive::take()?;
    for release in releases {
        let name = format!("{} {}", release.agent.title, release.version);
        eprintln!("running {name} ...");
        let row;
        (row, machine) = watch(release, machine).context(name)?;
        eprintln!("{} of {} calls exact", row.second.exact, row.second.made);
        rows.push(row);
    }
    table::print(&rows);
    Ok(rows.iter().filter(|row| row.release.pinned).all(Row::is_good))
}

/// The agents of these names, in the order of the catalogue.
fn chosen(names: &[String]) -> Result<Vec<&'static Agent>> {
    for name in names {
        if !AGENTS.iter().any(|agent| agent.name == *name) {
            let known: Vec<_> = AGENTS.iter().map(|agent| agent.name).collect();
            bail!("there is no agent `{name}`, but {}", known.join(", "));
        }
    }
    let chosen = |agent: &&Agent| names.is_empty() || names.iter().any(|name| name == agent.name);
    Ok(AGENTS.iter().filter(chosen).collect())
}

/// Moves this program, and all that it starts from now on, into a network of nothing but loopback.
fn leave_the_network() -> Result<()> {
    ensure!(machine::is_root(), "this loads programs into the kernel: run it as root");
    // SAFETY: a system call without pointers. There is no other thread yet that would stay behind.
    let left = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    ensure!(left == 0, "no network namespace: {}", std::io::Error::last_os_error());
    let mut ip = Command::new("ip");
    ip.args(["link", "set", "lo", "up"]);
    child::output(ip, Duration::from_secs(10)).map(drop)
}

/// Lets one release complete a prompt twice, on a machine that it has to itself.
fn watch(release: Release, machine: machine::Exclusive) -> Result<(Row, machine::Exclusive)> {
    let mut daemon = Daemon::start_alone(machine, "", "info")?;
    let standin = StandIn::start()?;
    let setting = Setting::new(&release, &standin)?;
    let first = setting.converse(&daemon)?;
    settle(&mut daemon, &setting)?;
    let second = setting.converse(&daemon)?;
    let judgement = judge::judge(release.agent.stack, &setting.program(), setting.home())?;
    let log: Vec<_> = daemon.log()?.lines().filter(|line| setting.is_about(line)).map(String::from).collect();
    drop(setting);
    let machine = daemon.stop()?.into_exclusive();
    let row = Row { release, judgement, first, second };
    if !row.is_good() {
        eprintln!("of its files the daemon said:\n{}", log.join("\n"));
    }
    Ok((row, machine))
}

/// Waits until the daemon has hooked what has just run for the first time, and has found nothing more in it
/// for a while; or for a minute.
fn settle(daemon: &mut Daemon, setting: &Setting<'_>) -> Result<()> {
    const LONGEST: Duration = Duration::from_secs(60);
    const QUIET: Duration = Duration::from_secs(3);
    let begun = Instant::now();
    let (mut known, mut since) = (0, begun);
    while begun.elapsed() < LONGEST && (known == 0 || since.elapsed() < QUIET) {
        thread::sleep(Duration::from_millis(100));
        let about = daemon.log()?.lines().filter(|line| setting.is_about(line)).count();
        if about != known {
            (known, since) = (about, Instant::now());
        }
    }
    Ok(())
}
