//! A host on which processes and containers come and go: whether every call has its right name, and what that
//! costs the daemon.
//!
//! Each second, processes that do nothing, processes that make one call and end, and containers that do the
//! same: a process in a cgroup of its own, called as Docker calls them and removed at once. What the daemon
//! says of a call is laid beside the process that made it.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use llm_tracker_bench::{
    daemon::{self, Daemon},
    table::{Table, Target, against},
};
use llm_tracker_tests::{cgroup::Cgroup, child::Child, client, scenario::Scenario, standin::StandIn};

/// Measures whether calls are named rightly where processes and containers come and go. Needs root.
#[derive(Parser)]
#[command(name = "bench-churn")]
struct Arguments {
    /// Processes a second, containers not among them
    #[arg(long, default_value_t = 100)]
    processes: u32,
    /// Those of them that make a call
    #[arg(long, default_value_t = 20)]
    callers: u32,
    /// Containers a second, each making a call
    #[arg(long, default_value_t = 10)]
    containers: u32,
    /// How long
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// The daemon [default: target/release/llm-tracker of this workspace]
    #[arg(long, env = "LLM_TRACKER_BIN")]
    binary: Option<PathBuf>,
}

const CHAT: &str = "/v1/chat/completions";
const CURL: &str = "/usr/bin/curl";
/// The most that a client may take.
const LIMIT: Duration = Duration::from_secs(30);
/// For calls to reach the event log.
const REPORT: Duration = Duration::from_secs(3);
/// The same churn before anything is measured: bounded tables fill up meanwhile.
const WARM_UP: u32 = 60;
const MIB: f64 = (1 << 20) as f64;
/// The share of calls to be named rightly, percent.
const SHARE_TARGET: f64 = 100.0;
/// What memory may grow by, MiB.
const GROWTH_TARGET: f64 = 2.0;

/// A call that was made, and who made it.
struct Caller {
    /// The answer's id: models are few on a real host, and each has its series.
    response_id: String,
    pid: u32,
    exe: PathBuf,
    container: Option<String>,
}

/// What the daemon made of it.
#[derive(Clone, Copy, Default)]
struct Found {
    calls: u32,
    seen: u32,
    named: u32,
}

/// The clients, under two names.
struct Clients<'a> {
    standin: &'a StandIn,
    programs: [PathBuf; 2],
    count: u64,
}

/// One that has been started.
struct Running {
    child: Child,
    exe: PathBuf,
    /// Its id, and its cgroup, which is kept until the client has ended.
    container: Option<(String, Cgroup)>,
}

impl Running {
    /// Waits for its end, and learns the answer's id from what it printed.
    fn finish(self) -> Result<Caller> {
        let Self { child, exe, container } = self;
        let finished = child.wait()?.success()?;
        let response_id = text_of(&finished.stdout, "id").context("an answer without an id")?.to_owned();
        Ok(Caller { response_id, pid: finished.pid, exe, container: container.map(|(id, _)| id) })
    }
}

impl Clients<'_> {
    /// Starts the next client.
    fn start(&mut self, contained: bool) -> Result<Running> {
        self.count += 1;
        let exe = self.programs[usize::from(self.count.is_multiple_of(2))].clone();
        let model = Scenario::new(3, 4).tag("churn").model();
        let mut command = client::command(self.standin, &exe);
        let url = format!("{}{CHAT}", self.standin.url());
        command.args(client::curl_arguments(&url, &client::chat(&model)));
        let mut container = None;
        if contained {
            let id = format!("{:064x}", u128::from(self.count) << 64 | u128::from(std::process::id()));
            let cgroup = Cgroup::new(&format!("/docker/{id}"))?;
            cgroup.holds(&mut command)?;
            container = Some((id, cgroup));
        }
        Ok(Running { child: Child::spawn(command, LIMIT)?, exe, container })
    }
}

/// So many seconds of it; the calls, and how long it took.
fn churn(clients: &mut Clients<'_>, arguments: &Arguments, seconds: u32) -> Result<(Vec<Caller>, Duration)> {
    let &Arguments { processes, callers, containers, .. } = arguments;
    let starts = callers + containers;
    let idle = processes.saturating_sub(callers);
    let begun = Instant::now();
    let mut made = Vec::new();
    for second in 0..seconds {
        let mut running = Vec::new();
        for number in 0..starts {
            // The containers among the others.
            let contained = (number + 1) * containers / starts > number * containers / starts;
            running.push(clients.start(contained)?);
            for _ in number * idle / starts..(number + 1) * idle / starts {
                let status = Command::new("/bin/true").stdin(Stdio::null()).status()?;
                ensure!(status.success(), "/bin/true failed");
            }
            let due = begun
                + Duration::from_secs(u64::from(second))
                + Duration::from_secs(1) * (number + 1) / starts;
            sleep(due.saturating_duration_since(Instant::now()));
        }
        for client in running {
            made.push(client.finish()?);
        }
    }
    Ok((made, begun.elapsed()))
}

/// The text under the first such key of a line of JSON.
fn text_of<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{key}\":\""))?;
    Some(rest.split_once('"')?.0)
}

/// Lays what the daemon reported beside what was done.
fn compare(callers: &[Caller], events: &str) -> [Found; 2] {
    let id = |line| text_of(line, "response_id");
    let lines: HashMap<&str, &str> = events.lines().filter_map(|line| Some((id(line)?, line))).collect();
    let mut found = [Found::default(); 2];
    for Caller { response_id, pid, exe, container } in callers {
        let found = &mut found[usize::from(container.is_some())];
        found.calls += 1;
        let Some(line) = lines.get(response_id.as_str()) else { continue };
        found.seen += 1;
        let whose = match container {
            Some(id) => line.contains(&format!("\"container\":{{\"id\":\"{id}\"")),
            None => !line.contains("\"container\":"),
        };
        let process = format!("\"pid\":{pid},\"name\":");
        let program = format!("\"exe\":\"{}\"", exe.display());
        found.named += u32::from(whose && line.contains(&process) && line.contains(&program));
    }
    found
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.callers + arguments.containers > 0, "nothing to measure");
    ensure!(arguments.callers <= arguments.processes, "more callers than processes");
    let folder = tempfile::tempdir()?;
    let other = folder.path().join("another-program");
    fs::copy(CURL, &other).context("copy curl")?;
    let standin = StandIn::start()?;
    let programs = [Path::new(CURL).canonicalize()?, other];
    let mut clients = Clients { standin: &standin, programs, count: 0 };
    let daemon = Daemon::start(&daemon::binary(arguments.binary.clone()))?;
    churn(&mut clients, &arguments, WARM_UP)?;

    let (memory, cpu) = (daemon.resident()?, daemon.cpu_time()?);
    let (callers, took) = churn(&mut clients, &arguments, arguments.seconds)?;
    sleep(REPORT);
    let (memory_after, cpu_after) = (daemon.resident()?, daemon.cpu_time()?);
    let events = daemon.events()?;
    daemon.stop()?;

    let mut table = Table::new(
        format!(
            "{} processes and {} containers a second for {} s, which took {:.0} s",
            arguments.processes,
            arguments.containers,
            arguments.seconds,
            took.as_secs_f64()
        ),
        &["calls of", "made", "seen, %", "of these named rightly, %"],
    );
    let share =
        |part: u32, whole: u32| if whole == 0 { 100.0 } else { f64::from(part) * 100.0 / f64::from(whole) };
    for (name, found) in ["processes", "containers"].into_iter().zip(compare(&callers, &events)) {
        let Found { calls, seen, named } = found;
        table.row([
            name.to_owned(),
            calls.to_string(),
            format!("{:.1}", share(seen, calls)),
            against(share(named, seen), 2, Target::AtLeast(SHARE_TARGET)),
        ]);
    }
    println!("{table}");
    let mut table = Table::new("The daemon meanwhile", &["", "before", "after"]);
    let mib = |bytes: u64| bytes as f64 / MIB;
    table.row([
        "resident, MiB".to_owned(),
        format!("{:.1}", mib(memory.total)),
        format!("{:.1}", mib(memory_after.total)),
    ]);
    let growth = mib(memory_after.anonymous) - mib(memory.anonymous);
    table.row([
        "its own memory, MiB".to_owned(),
        format!("{:.1}", mib(memory.anonymous)),
        format!(
            "{:.1}, grown by {}",
            mib(memory_after.anonymous),
            against(growth, 1, Target::AtMost(GROWTH_TARGET))
        ),
    ]);
    let busy = cpu_after.saturating_sub(cpu).as_secs_f64() * 100.0 / (took + REPORT).as_secs_f64();
    table.row(["CPU, % of a core".to_owned(), String::new(), format!("{busy:.1}")]);
    println!("{table}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_named_rightly_or_not() {
        let caller = |id: &str, pid, container: Option<&str>| Caller {
            response_id: id.to_owned(),
            pid,
            exe: "/usr/bin/curl".into(),
            container: container.map(str::to_owned),
        };
        let line = |id: &str, pid: u32, rest: &str| {
            format!(
                "{{\"response_id\":\"{id}\",\"process\":{{\"pid\":{pid},\"name\":\"curl\",\"exe\":\"/usr/bin/curl\"}}{rest}}}\n"
            )
        };
        let events = [
            line("a", 1, ""),
            line("b", 9, ""),
            line("c", 3, ",\"container\":{\"id\":\"x\"}"),
            line("d", 4, ",\"container\":{\"id\":\"x\"}"),
        ];
        let callers = [
            caller("a", 1, None),
            caller("b", 2, None),
            caller("c", 3, Some("x")),
            caller("d", 4, None),
            caller("e", 5, None),
        ];
        let [plain, contained] = compare(&callers, &events.concat());
        assert_eq!((plain.calls, plain.seen, plain.named), (4, 3, 1));
        assert_eq!((contained.calls, contained.seen, contained.named), (1, 1, 1));
    }
}
