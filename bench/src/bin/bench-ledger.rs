//! What the ledger stores a second and how soon it answers, and whether capture ever waits for it.
//!
//! A month of 50 calls a second is made of one hour that is stored call by call, as the daemon does it, and of
//! copies of the sums that came of it: the sums are all that is kept of most months, and all that is read of them.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use llm_tracker::{
    attribution::{Container, Origin, Process},
    capture::Timestamp,
    ledger::{Condition, Dimension, Ledger, LedgerConfig, LedgerSink, Retention, Span, Store},
    pricing::{Cost, CostSource, Usd},
    provider::{Call, ChunkTimes, Usage, UsageSource},
    record::{Record, Sink as _},
    stream::Role,
};
use llm_tracker_bench::{
    process,
    sample::{median, quantile},
    table::{Table, Target, against},
};
use rusqlite::Connection;

/// Measures the ledger in a directory of its own.
#[derive(Parser)]
#[command(name = "bench-ledger")]
struct Arguments {
    /// Calls to store
    #[arg(long, default_value_t = 10_000_000)]
    rows: u64,
    /// Times that each question is asked; the median is reported
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where there is room for the database, some 300 bytes a call [default: the temporary directory]
    #[arg(long)]
    directory: Option<PathBuf>,
}

/// Calls that are stored by one transaction, as the daemon does it under load.
const BATCH: u64 = 1024;
/// Of the month.
const CALLS_A_SECOND: u64 = 50;
const NANOS: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * NANOS;
const DAY: i64 = 24 * HOUR;
/// The most that a question about a month may take, seconds.
const MONTH_TARGET: f64 = 1.0;
/// The longest that the thread that captures may be with a sink, microseconds.
const RECORD_TARGET: f64 = 1000.0;

const MODELS: [(&str, &str); 8] = [
    ("openai", "gpt-5"),
    ("openai", "gpt-5-mini"),
    ("openai", "gpt-4.1"),
    ("anthropic", "claude-sonnet-4-5-20250929"),
    ("anthropic", "claude-haiku-4-5-20251001"),
    ("anthropic", "claude-opus-4-1-20250805"),
    ("gcp.gemini", "gemini-2.5-pro"),
    ("gcp.gemini", "gemini-2.5-flash"),
];
/// Containers at work at a time, each with a process of its own.
const CONTAINERS: u64 = 60;
/// Days that a container lives.
const CONTAINER_DAYS: i64 = 3;

/// Numbers that look random and are the same in each run (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// About a log-normal distribution, as durations and prompts have it: most around `middle`, few ten times it.
    fn around(&mut self, middle: f64) -> f64 {
        let sum: f64 = (0..12).map(|_| self.next() as f64 / u64::MAX as f64).sum();
        middle * ((sum - 6.0) * 0.8).exp()
    }
}

/// A call as hosts with many agents make them.
fn record(random: &mut Random, started: i64) -> Record {
    let container = random.below(CONTAINERS);
    // Each uses a few of the models.
    let (provider, model) = MODELS[((container + random.below(3)) % MODELS.len() as u64) as usize];
    let fails = random.below(50) == 0;
    let duration = random.around(6.0);
    let input = random.around(4000.0) as u64;
    let generation = started / (CONTAINER_DAYS * DAY);
    let call = Call {
        started: Timestamp(0),
        provider,
        operation: "chat",
        model: Some(model.to_owned()),
        response_model: Some(model.to_owned()),
        response_id: Some(format!("chatcmpl-{:016x}{:08x}", random.next(), random.below(1 << 32))),
        server_address: Some(format!("api.{provider}.com")),
        server_port: Some(443),
        path: "/v1/chat/completions".to_owned(),
        role: Role::Client,
        streaming: true,
        status: Some(if fails { 429 } else { 200 }),
        error: fails.then(|| "rate_limit_error".to_owned()),
        finish_reasons: vec!["stop".to_owned()],
        usage: Usage {
            input_tokens: (!fails).then_some(input),
            cache_read_input_tokens: (!fails).then_some(input / 2),
            output_tokens: (!fails).then(|| random.around(300.0) as u64),
            source: if fails { UsageSource::Missing } else { UsageSource::Reported },
            ..Usage::default()
        },
        tool_calls: (random.below(3) == 0).then(|| "bash".to_owned()).into_iter().collect(),
        server_tool_calls: Vec::new(),
        service_tier: Some("default".to_owned()),
        cost: None,
        subscription: false,
        continued: false,
        retry: None,
        labels: None,
        time_to_first_token_seconds: (!fails).then_some(duration * 0.1),
        time_per_output_token_seconds: Some(duration / 300.0),
        chunk_times: ChunkTimes::default(),
        duration_seconds: duration,
    };
    let origin = Origin {
        process: Process {
            pid: 1000 + random.below(30_000) as u32,
            name: Some(if container.is_multiple_of(2) { "python3" } else { "node" }.to_owned()),
            exe: Some("/usr/bin/python3.13".to_owned()),
            uid: Some(1000 + (container % 12) as u32),
            user: Some(format!("user{}", container % 12)),
        },
        cgroup: Some(format!("/system.slice/docker-{container:032x}{generation:032x}.scope")),
        container: Some(Container {
            id: format!("{container:032x}{generation:032x}"),
            name: Some(format!("agent-{container}")),
            image: Some("registry.example/agents:2026.1".to_owned()),
            runtime: Some("docker"),
            ..Container::default()
        }),
        ..Origin::default()
    };
    let cost = match fails {
        true => Cost::Unknown,
        false => {
            Cost::Known { amount: Usd::from_pico(input * 3_000_000), list: None, source: CostSource::List }
        }
    };
    Record { call, cost, origin, started_unix_nanos: started.into() }
}

/// Stores so many calls, evenly over a stretch of time; what a second of the thread's own time stores.
fn store(file: &Path, rows: u64, from: i64, length: i64) -> Result<[f64; 2]> {
    let mut random = Random(1);
    let mut store = Store::open(file)?;
    let (mut cpu, mut wall) = (Duration::ZERO, Duration::ZERO);
    let mut stored = 0;
    while stored < rows {
        let batch: Vec<Record> = (stored..rows.min(stored + BATCH))
            .map(|row| {
                let at = from + (i128::from(length) * i128::from(row) / i128::from(rows)) as i64;
                record(&mut random, at)
            })
            .collect();
        let (begun, begun_cpu) = (Instant::now(), process::thread_cpu_time());
        store.append(&batch)?;
        wall += begun.elapsed();
        cpu += process::thread_cpu_time() - begun_cpu;
        stored += batch.len() as u64;
    }
    Ok([rows as f64 / wall.as_secs_f64(), rows as f64 / cpu.as_secs_f64()])
}

/// Bytes of the trees of some tables, their indexes included.
fn bytes_of(file: &Path, tables: &str) -> Result<f64> {
    let database = Connection::open(file)?;
    Ok(database.query_row(
        &format!(
            "SELECT sum(s.pgsize) FROM sqlite_schema m, dbstat s
             WHERE m.tbl_name IN ({tables}) AND m.rootpage > 0 AND s.name = m.name AND s.aggregate = TRUE"
        ),
        [],
        |row| row.get(0),
    )?)
}

fn rows_of(file: &Path, table: &str) -> Result<u64> {
    Ok(Connection::open(file)?.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?)
}

/// The median time of an answer, seconds: a connection each, as the command line has it. What the kernel has of
/// the file in memory stays there.
fn time(file: &Path, rounds: usize, ask: impl Fn(&Ledger) -> Result<u64>) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..rounds.max(1) {
        let begun = Instant::now();
        let calls = ask(&Ledger::open(file)?)?;
        times.push(begun.elapsed().as_secs_f64());
        ensure!(calls > 0, "a question about nothing measures nothing");
    }
    median(&times).context("no rounds, no figures")
}

fn report<'a>(span: Span, by: &'a str, only: &'a [&'a str]) -> impl Fn(&Ledger) -> Result<u64> + 'a {
    move |ledger| {
        let by: Vec<Dimension> = by.split(',').map(str::parse).collect::<Result<_, _>>()?;
        let only: Vec<Condition> = only.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        Ok(ledger.report(span, &by, &only)?.total.calls)
    }
}

fn storing(file: &Path, rows: u64, end: i64) -> Result<()> {
    let [wall, cpu] = store(file, rows, end - 30 * DAY, 30 * DAY)?;
    let header =
        ["", "rows/s", "rows/s of its CPU time", "bytes a call", "bytes a row of sums", "rows of sums"];
    let mut table = Table::new(format!("{rows} calls of 30 days, stored"), &header);
    let hours = rows_of(file, "hour")?;
    table.row([
        "by 1024 a transaction".to_owned(),
        format!("{wall:.0}"),
        format!("{cpu:.0}"),
        format!("{:.0}", bytes_of(file, "'call'")? / rows as f64),
        format!("{:.0}", bytes_of(file, "'hour', 'origin', 'target'")? / hours as f64),
        hours.to_string(),
    ]);
    println!("{table}");
    Ok(())
}

fn asking(file: &Path, rows: u64, rounds: usize, end: i64) -> Result<()> {
    let since = |length| Span { from: end - length, until: i64::MAX };
    let (month, day, hour) = (since(30 * DAY - HOUR / 2), since(DAY + HOUR / 2), since(HOUR));
    let mut table = Table::new(format!("Questions to {rows} calls of 30 days"), &["", "seconds"]);
    let mut row = |what: &str, seconds: f64| table.row([what.to_owned(), format!("{seconds:.3}")]);
    for (what, span, by, only) in [
        ("a month by model", month, "model", &[][..]),
        ("a month by user and model", month, "user,model", &[]),
        ("a month by container", month, "container", &[]),
        ("a month by model, of one user", month, "model", &["user=user3"]),
        ("a day by model", day, "model", &[]),
        ("a day by tool", day, "tool", &[]),
    ] {
        row(what, time(file, rounds, report(span, by, only))?);
    }
    let calls = |span, only: &'static [&'static str]| {
        move |ledger: &Ledger| {
            let only: Vec<Condition> = only.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
            Ok(ledger.calls(span, &only, 1000)?.len() as u64)
        }
    };
    row("the last hour's calls, 1000 at most", time(file, rounds, calls(hour, &[]))?);
    row("a day's failures of one user", time(file, rounds, calls(day, &["user=user3", "error!="]))?);
    println!("{table}");
    Ok(())
}

/// One hour of single calls, and copies of its sums for the rest of the month.
fn month(file: &Path, rounds: usize, end: i64) -> Result<()> {
    let per_hour = CALLS_A_SECOND * 3600;
    let first = end - 30 * DAY;
    store(file, per_hour, first, HOUR)?;
    let database = Connection::open(file)?;
    let columns: Vec<String> = database
        .prepare("SELECT name FROM pragma_table_info('hour') WHERE name NOT IN ('id', 'hour')")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let columns = columns.join(", ");
    let statement = format!(
        "WITH RECURSIVE later(h) AS (SELECT 1 UNION ALL SELECT h + 1 FROM later WHERE h < 30 * 24 - 1)
         INSERT INTO hour (hour, {columns}) SELECT hour + h, {columns} FROM later, hour WHERE hour = ?1"
    );
    database.execute(&statement, [first / HOUR])?;
    drop(database);
    // From the middle of the first hour on, the rest of which is added up from its calls.
    let span = Span { from: first + HOUR / 2, until: i64::MAX };
    let calls = Ledger::open(file)?.report(span, &[], &[])?.total.calls;
    let title = format!(
        "{calls} calls: a month of {CALLS_A_SECOND} a second, {} rows of sums; one hour stored, {} copied",
        rows_of(file, "hour")?,
        30 * 24 - 1
    );
    let mut table = Table::new(title, &["", "seconds"]);
    for by in ["model", "user,model", "container", "provider,error"] {
        let seconds = time(file, rounds, report(span, by, &[]))?;
        table.row([format!("by {by}"), against(seconds, 3, Target::AtMost(MONTH_TARGET))]);
    }
    let one = time(file, rounds, report(span, "model", &["user=user3"]))?;
    table.row(["by model, of one user".to_owned(), against(one, 3, Target::AtMost(MONTH_TARGET))]);
    println!("{table}");
    Ok(())
}

/// How long whoever records is with the sink, while the database is written to, and while it is locked.
fn recording(directory: &Path) -> Result<()> {
    let header = ["", "calls", "stored", "lost", "microseconds, p50", "p99.9", "longest"];
    let mut table = Table::new("How long capture is with the sink, call by call", &header);
    for (what, locked) in [("flood", false), ("flood, the database locked", true)] {
        let file = directory.join(format!("flood-{locked}.db"));
        drop(Store::open(&file)?);
        let lock = Connection::open(&file)?;
        if locked {
            lock.execute_batch("BEGIN EXCLUSIVE")?;
        }
        let retention = Retention { calls: Duration::MAX, hours: Duration::MAX, bytes: u64::MAX };
        let sink = LedgerSink::start(LedgerConfig { file, retention, queue: 8192 })?;
        let mut random = Random(2);
        let mut times = Vec::new();
        for _ in 0..100_000 {
            let record = record(&mut random, DAY);
            let begun = Instant::now();
            sink.record(&record);
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        drop(lock);
        sink.shutdown(Duration::from_secs(60));
        let of = |name: &str| -> f64 {
            sink.samples().iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum()
        };
        let (stored, lost) = (of("llm_tracker_ledger_stored_total"), of("llm_tracker_ledger_lost_total"));
        ensure!(stored + lost == times.len() as f64, "{stored} stored and {lost} lost of {}", times.len());
        let at = |share| quantile(&times, share).unwrap_or_default();
        table.row([
            what.to_owned(),
            times.len().to_string(),
            stored.to_string(),
            lost.to_string(),
            format!("{:.1}", at(0.5)),
            against(at(0.999), 1, Target::AtMost(RECORD_TARGET)),
            format!("{:.0}", at(1.0)),
        ]);
    }
    println!("{table}");
    Ok(())
}

fn main() -> Result<()> {
    let Arguments { rows, rounds, directory } = Arguments::parse();
    let parent = directory.unwrap_or_else(std::env::temp_dir);
    let directory = tempfile::tempdir_in(parent)?;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
    // An hour that is over, so that each run asks for as much.
    let end = now / HOUR * HOUR;
    recording(directory.path())?;
    month(&directory.path().join("month.db"), rounds, end)?;
    let file = directory.path().join("ledger.db");
    storing(&file, rows, end)?;
    asking(&file, rows, rounds, end)
}
