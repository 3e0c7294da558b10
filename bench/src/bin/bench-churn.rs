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
use llm_tracker_tests::{
    call::CallLine, cgroup::Cgroup, child::Child, client, scenario::Scenario, standin::StandIn,
};

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
    /// The same before anything is judged, for as long as bounded tables take to fill
    #[arg(long, default_value_t = 240)]
    warm_up: u32,
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
/// Between two looks at the daemon, seconds.
const LOOK_EVERY: u32 = 10;
/// Calls that went wrong and are shown one by one, at most.
const SHOWN: usize = 50;
const MIB: f64 = (1 << 20) as f64;
/// The share of calls to be named rightly, percent.
const SHARE_TARGET: f64 = 100.0;
/// What memory may grow by, MiB.
const GROWTH_TARGET: f64 = 2.0;

/// A call that was made, and who made it.
#[derive(Debug)]
struct Caller {
    /// The answer's id: models are few on a real host, and each has its series.
    response_id: String,
    pid: u32,
    exe: PathBuf,
    /// The container's id.
    container: Option<String>,
    /// When it was started, since the churn began.
    started: Duration,
}

/// What the daemon made of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// It was not reported.
    Unseen,
    /// All that is said of its caller is right.
    Right,
    /// So is what is said, and something is not.
    Incomplete(String),
    /// Something is said that is not so.
    Wrong(String),
}

/// The verdicts on the calls of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Found {
    calls: u32,
    seen: u32,
    right: u32,
    wrong: u32,
}

/// The clients, under two names.
struct Clients<'a> {
    standin: &'a StandIn,
    programs: [PathBuf; 2],
    count: u64,
    /// When the churn began.
    begun: Instant,
}

/// One that has been started.
struct Running {
    child: Child,
    exe: PathBuf,
    started: Duration,
    /// Its id, and its cgroup, which is kept until the client has ended.
    container: Option<(String, Cgroup)>,
}

impl Running {
    /// Waits for its end, and learns the answer's id from what it printed.
    fn finish(self) -> Result<Caller> {
        let Self { child, exe, started, container } = self;
        let finished = child.wait()?.success()?;
        let answer: serde_json::Value = serde_json::from_str(&finished.stdout)?;
        let response_id = answer["id"].as_str().context("an answer without an id")?.to_owned();
        Ok(Caller { response_id, pid: finished.pid, exe, container: container.map(|(id, _)| id), started })
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
        let started = self.begun.elapsed();
        Ok(Running { child: Child::spawn(command, LIMIT)?, exe, started, container })
    }
}

/// So many seconds of it; the calls, and how long it took. `look` is called now and then.
fn churn(
    clients: &mut Clients<'_>,
    arguments: &Arguments,
    seconds: u32,
    mut look: impl FnMut() -> Result<()>,
) -> Result<(Vec<Caller>, Duration)> {
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
        if (second + 1).is_multiple_of(LOOK_EVERY) {
            look()?;
        }
    }
    Ok((made, begun.elapsed()))
}

/// What the daemon says of a call, laid beside who made it.
fn verdict(caller: &Caller, line: Option<&CallLine>) -> Verdict {
    let Some(line) = line else { return Verdict::Unseen };
    let exe = caller.exe.to_string_lossy();
    let comm = caller.exe.file_name().unwrap_or_default().to_string_lossy();
    let comm: String = comm.chars().take(15).collect();
    let container = line.container.as_ref().map(|container| container.id.as_str());
    let pid = line.process.pid.to_string();
    let said = [
        ("pid", Some(pid.as_str()), Some(caller.pid.to_string())),
        ("name", line.process.name.as_deref(), Some(comm)),
        ("exe", line.process.exe.as_deref(), Some(exe.into_owned())),
        ("container", container, caller.container.clone()),
    ];
    let (mut wrong, mut absent) = (Vec::new(), Vec::new());
    for (what, said, so) in said {
        match (said, so.as_deref()) {
            (said, so) if said == so => {}
            (None, Some(so)) => absent.push(format!("no {what} instead of {so}")),
            (said, so) => wrong.push(format!("{what} {said:?} instead of {so:?}")),
        }
    }
    match (wrong.is_empty(), absent.is_empty()) {
        (true, true) => Verdict::Right,
        (true, false) => Verdict::Incomplete(absent.join(", ")),
        (false, _) => Verdict::Wrong([wrong, absent].concat().join(", ")),
    }
}

/// Lays what the daemon reported beside what was done, and says of each call that was not named rightly why not.
fn compare(callers: &[Caller], calls: &[CallLine]) -> ([Found; 2], Vec<String>) {
    let by_id: HashMap<&str, &CallLine> =
        calls.iter().filter_map(|call| Some((call.response_id.as_deref()?, call))).collect();
    let mut found = [Found::default(); 2];
    let mut complaints = Vec::new();
    for caller in callers {
        let found = &mut found[usize::from(caller.container.is_some())];
        let line = by_id.get(caller.response_id.as_str()).copied();
        let verdict = verdict(caller, line);
        found.calls += 1;
        found.seen += u32::from(verdict != Verdict::Unseen);
        found.right += u32::from(verdict == Verdict::Right);
        found.wrong += u32::from(matches!(verdict, Verdict::Wrong(_)));
        let what = match verdict {
            Verdict::Right => continue,
            Verdict::Unseen => {
                // What there is of it has no answer with an id.
                let of_pid = calls.iter().filter(|call| call.process.pid == caller.pid);
                let of_pid: Vec<_> = of_pid.map(|call| (&call.timestamp, call.status, &call.error)).collect();
                format!("unseen; of its pid there is {of_pid:?}")
            }
            Verdict::Incomplete(what) => format!("incomplete: {what}"),
            Verdict::Wrong(what) => format!("WRONG: {what}"),
        };
        let Caller { pid, started, container, .. } = caller;
        let (second, cgroup) = (started.as_secs_f64(), line.map(|line| &line.cgroup));
        let kind = if container.is_some() { "container" } else { "process" };
        complaints.push(format!("{second:.3} s, {kind}, pid {pid}: {what}; reported cgroup {cgroup:?}"));
    }
    (found, complaints)
}

/// The daemon's counters that say what it lost or could not learn.
const LOSSES: &[&str] = &[
    "llm_tracker_lost_",
    "llm_tracker_stream_gaps_total",
    "llm_tracker_http_unmatched_responses_total",
    "llm_tracker_connections_refused_total",
    "llm_tracker_connections_abandoned_total",
    "llm_tracker_processes_too_late_total",
    "llm_tracker_processes_evicted_total",
    "llm_tracker_discovery_lost_records_total",
];

/// What the daemon holds at one moment.
fn look(daemon: &Daemon, begun: Instant, table: &mut Table) -> Result<()> {
    let (memory, metrics) = (daemon.resident()?, daemon.metrics()?);
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / MIB);
    let held = |name: &str| format!("{:.0}", metrics.sum(name, ""));
    let cells = [
        format!("{:.0}", begun.elapsed().as_secs_f64()),
        mib(memory.total),
        mib(memory.anonymous),
        held("llm_tracker_processes"),
        held("llm_tracker_containers"),
        metrics.series().to_string(),
    ];
    eprintln!("{}", cells.join("  "));
    table.row(cells);
    Ok(())
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
    let daemon = Daemon::start(&daemon::binary(arguments.binary.clone()))?;
    let begun = Instant::now();
    let mut clients = Clients { standin: &standin, programs, count: 0, begun };
    let columns =
        ["after, s", "resident, MiB", "its own memory, MiB", "processes known", "containers known", "series"];
    let mut course = Table::new("What the daemon holds", &columns);
    look(&daemon, begun, &mut course)?;
    churn(&mut clients, &arguments, arguments.warm_up, || look(&daemon, begun, &mut course))?;

    let (memory, cpu) = (daemon.resident()?, daemon.cpu_time()?);
    let before = daemon.metrics()?;
    let (callers, took) =
        churn(&mut clients, &arguments, arguments.seconds, || look(&daemon, begun, &mut course))?;
    sleep(REPORT);
    let (memory_after, cpu_after) = (daemon.resident()?, daemon.cpu_time()?);
    let after = daemon.metrics()?;
    let events = daemon.events()?;
    daemon.stop()?;
    let calls: Vec<CallLine> = events
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("no event: {line}")))
        .collect::<Result<_>>()?;

    let mut table = Table::new(
        format!(
            "{} processes and {} containers a second for {} s, which took {:.0} s",
            arguments.processes,
            arguments.containers,
            arguments.seconds,
            took.as_secs_f64()
        ),
        &["calls of", "made", "seen, %", "of these named rightly, %", "wrongly"],
    );
    let share =
        |part: u32, whole: u32| if whole == 0 { 100.0 } else { f64::from(part) * 100.0 / f64::from(whole) };
    let (found, complaints) = compare(&callers, &calls);
    for (name, Found { calls, seen, right, wrong }) in ["processes", "containers"].into_iter().zip(found) {
        table.row([
            name.to_owned(),
            calls.to_string(),
            format!("{:.2}", share(seen, calls)),
            against(share(right, seen), 2, Target::AtLeast(SHARE_TARGET)),
            wrong.to_string(),
        ]);
    }
    println!("{table}");
    for complaint in complaints.iter().take(SHOWN) {
        println!("{complaint}");
    }
    for (series, grown) in after.grown_since(&before) {
        if LOSSES.iter().any(|loss| series.starts_with(loss)) {
            println!("{series} grew by {grown}");
        }
    }
    println!("{course}");
    let mib = |bytes: u64| bytes as f64 / MIB;
    let growth = mib(memory_after.anonymous) - mib(memory.anonymous);
    let busy = cpu_after.saturating_sub(cpu).as_secs_f64() * 100.0 / (took + REPORT).as_secs_f64();
    println!(
        "After {} s of warm-up its own memory grew by {} MiB; it took {busy:.1} % of a core.",
        arguments.warm_up,
        against(growth, 1, Target::AtMost(GROWTH_TARGET))
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(pid: u32, container: Option<&str>) -> Caller {
        Caller {
            response_id: format!("r{pid}"),
            pid,
            exe: "/usr/bin/curl".into(),
            container: container.map(str::to_owned),
            started: Duration::ZERO,
        }
    }

    fn line(pid: u32, said_pid: u32, exe: Option<&str>, container: Option<&str>) -> CallLine {
        let process = serde_json::json!({"pid": said_pid, "name": "curl", "exe": exe});
        serde_json::from_value(serde_json::json!({
            "type": "llm_usage", "timestamp": "", "provider": "", "operation": "", "path": "", "role": "client",
            "streaming": false, "usage_source": "reported", "duration_seconds": 1.0,
            "response_id": format!("r{pid}"), "process": process,
            "container": container.map(|id| serde_json::json!({"id": id})),
        }))
        .unwrap()
    }

    #[test]
    fn a_call_is_named_rightly_or_not() {
        const CURL: Option<&str> = Some("/usr/bin/curl");
        let calls = [
            line(1, 1, CURL, None),
            line(2, 9, CURL, None),
            line(3, 3, CURL, Some("x")),
            line(4, 4, CURL, Some("x")),
            line(6, 6, None, None),
            line(7, 7, CURL, None),
        ];
        let callers = [
            caller(1, None),
            caller(2, None),
            caller(3, Some("x")),
            caller(4, None),
            caller(5, None),
            caller(6, None),
            caller(7, Some("y")),
        ];
        let (found, complaints) = compare(&callers, &calls);
        assert_eq!(found[0], Found { calls: 5, seen: 4, right: 1, wrong: 2 });
        assert_eq!(found[1], Found { calls: 2, seen: 2, right: 1, wrong: 0 });
        assert_eq!(complaints.len(), 5, "{complaints:?}");
    }
}
