//! What the ledger stores a second and how soon it answers, and whether capture ever waits for it.
//!
//! A month of 50 calls a second is made of one hour that is stored call by call, as the daemon does it, and of
//! copies of the sums that came of it: the sums are all that is kept of most months, and all that is read of them.

use std::{
    hint::black_box,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Parser;
use llm_tracker::{
    attribution::{Container, Origin, Process, Session},
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
/// One container of so many runs a harness, in a session of its own each hour.
const HARNESSES: u64 = 3;

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
        session: container.is_multiple_of(HARNESSES).then(|| Session {
            name: Some(format!("eval-{container}-{}", started / HOUR)),
            labels: [("suite".to_owned(), format!("suite-{}", container % 4))].into(),
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

/// How long an answer takes: seconds that somebody waits, and of the thread's own time, both the median. A
/// connection each, as the command line has it. What the kernel has of the file in memory stays there.
fn time(file: &Path, rounds: usize, ask: impl Fn(&Ledger) -> Result<u64>) -> Result<[f64; 2]> {
    let (mut wall, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..rounds.max(1) {
        let (begun, begun_cpu) = (Instant::now(), process::thread_cpu_time());
        ask(&Ledger::open(file)?)?;
        wall.push(begun.elapsed().as_secs_f64());
        cpu.push((process::thread_cpu_time() - begun_cpu).as_secs_f64());
    }
    let of = |times: &[f64]| median(times).context("no rounds, no figures");
    Ok([of(&wall)?, of(&cpu)?])
}

/// Rows of answers by how long they take.
struct Answers {
    table: Table,
    rounds: usize,
    /// The most that one may take, seconds.
    target: Option<f64>,
}

impl Answers {
    fn new(title: String, rounds: usize, target: Option<f64>) -> Self {
        Self { table: Table::new(title, &["", "seconds", "of CPU time"]), rounds, target }
    }

    fn row(&mut self, file: &Path, what: &str, ask: impl Fn(&Ledger) -> Result<u64>) -> Result<()> {
        let [wall, cpu] = time(file, self.rounds, ask)?;
        let wall = match self.target {
            Some(target) => against(wall, 3, Target::AtMost(target)),
            None => format!("{wall:.3}"),
        };
        self.table.row([what.to_owned(), wall, format!("{cpu:.3}")]);
        Ok(())
    }
}

fn report<'a>(span: Span, by: &'a str, only: &'a [&'a str]) -> impl Fn(&Ledger) -> Result<u64> + 'a {
    move |ledger| {
        let by: Vec<Dimension> = by.split_terminator(',').map(str::parse).collect::<Result<_, _>>()?;
        let only: Vec<Condition> = only.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        let calls = ledger.report(span, &by, &only)?.total.calls;
        ensure!(calls > 0, "a question about nothing measures nothing");
        Ok(calls)
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
    let title = format!("Questions to {rows} calls of 30 days, none of them forgotten");
    let mut answers = Answers::new(title, rounds, None);
    let session = format!("session=eval-3-{}", end / HOUR - 300);
    let session = [session.as_str()];
    for (what, span, by, only) in [
        ("a month in all", month, "", &[][..]),
        ("a month by model", month, "model", &[]),
        ("a month by user and model", month, "user,model", &[]),
        ("a month by container", month, "container", &[]),
        ("a month by model, of one user", month, "model", &["user=user3"]),
        ("a month by session", month, "session", &[]),
        ("a month by session, of those in one", month, "session", &["session!="]),
        ("a month by label", month, "label.suite", &[]),
        ("a month by model, of one session", month, "model", &session),
        ("a day by model", day, "model", &[]),
        ("a day by session", day, "session", &[]),
        ("a day by tool", day, "tool", &[]),
    ] {
        answers.row(file, what, report(span, by, only))?;
    }
    for (what, span, only) in [
        ("the last hour's calls, 1000 at most", hour, &[][..]),
        ("a month's calls, the latest 1000", month, &[]),
        ("a day's failures of one user", day, &["user=user3", "error!="]),
        ("a month's failures of one user, the latest 1000", month, &["user=user3", "error!="]),
        ("a month's calls of one session", month, &session),
        ("a month's calls of a model that nobody used", month, &["model=none"]),
    ] {
        let only: Vec<Condition> = only.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
        answers.row(file, what, |ledger| Ok(ledger.calls(span, &only, 1000)?.len() as u64))?;
    }
    println!("{}", answers.table);
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
    let mut answers = Answers::new(title, rounds, Some(MONTH_TARGET));
    for (what, by, only) in [
        ("in all", "", &[][..]),
        ("by model", "model", &[]),
        ("by user", "user", &[]),
        ("by user and model", "user,model", &[]),
        ("by container", "container", &[]),
        ("by provider and error", "provider,error", &[]),
        ("by model, of one user", "model", &["user=user3"]),
    ] {
        answers.row(file, what, report(span, by, only))?;
    }
    println!("{}", answers.table);
    Ok(())
}

/// What else happens while calls are recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meanwhile {
    Nothing,
    /// Somebody has locked the database.
    Locked,
    /// A report of the month after the other is made.
    Reports,
}

/// How long whoever records is with the sink, while the database is written to, locked and asked.
fn recording(directory: &Path, month: &Path, end: i64) -> Result<()> {
    let header =
        ["", "calls", "stored", "lost", "microseconds, p50", "p99.9", "p99.9 of a copy alone", "reports"];
    let mut table = Table::new("How long capture is with the sink, call by call", &header);
    const FLOOD: u64 = 100_000;
    // More than any host has; the flood is as much as there can be.
    const A_SECOND: u64 = 5000;
    let paced = Some(A_SECOND);
    for (number, (what, rate, meanwhile)) in [
        ("flood", None, Meanwhile::Nothing),
        ("flood, the database locked", None, Meanwhile::Locked),
        ("flood, reports of the month meanwhile", None, Meanwhile::Reports),
        ("5,000 a second", paced, Meanwhile::Nothing),
        ("5,000 a second, reports of the month meanwhile", paced, Meanwhile::Reports),
    ]
    .into_iter()
    .enumerate()
    {
        let file = match meanwhile {
            Meanwhile::Reports => month.to_owned(),
            Meanwhile::Nothing | Meanwhile::Locked => directory.join(format!("flood-{number}.db")),
        };
        drop(Store::open(&file)?);
        let lock = Connection::open(&file)?;
        if meanwhile == Meanwhile::Locked {
            lock.execute_batch("BEGIN EXCLUSIVE")?;
        }
        let retention = Retention { calls: Duration::MAX, hours: Duration::MAX, bytes: u64::MAX };
        let sink = LedgerSink::start(LedgerConfig { file: file.clone(), retention, queue: 8192 })?;
        let over = AtomicBool::new(false);
        let (times, copies, reports) = thread::scope(|scope| {
            let reading = (meanwhile == Meanwhile::Reports).then(|| {
                scope.spawn(|| -> Result<u64> {
                    let span = Span { from: end - 30 * DAY + HOUR / 2, until: i64::MAX };
                    let mut reports = 0;
                    while !over.load(Ordering::Relaxed) {
                        report(span, "model", &[])(&Ledger::open(&file)?)?;
                        reports += 1;
                    }
                    Ok(reports)
                })
            });
            let mut random = Random(2);
            let (mut times, mut copies) = (Vec::new(), Vec::new());
            let begun = Instant::now();
            for number in 0..FLOOD {
                if let Some(rate) = rate {
                    let due = begun + Duration::from_nanos(number * 1_000_000_000 / rate);
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                }
                let record = record(&mut random, end);
                // What the machine adds by itself: nobody waits for anybody here.
                let begun = Instant::now();
                drop(black_box(record.clone()));
                copies.push(begun.elapsed().as_secs_f64() * 1e6);
                let begun = Instant::now();
                sink.record(&record);
                times.push(begun.elapsed().as_secs_f64() * 1e6);
            }
            over.store(true, Ordering::Relaxed);
            let reports =
                reading.map(|reading| reading.join().map_err(|_| anyhow!("the reader panicked"))?);
            anyhow::Ok((times, copies, reports.transpose()?.unwrap_or(0)))
        })?;
        drop(lock);
        sink.shutdown(Duration::from_secs(60));
        let of = |name: &str| -> f64 {
            sink.samples().iter().filter(|sample| sample.name == name).map(|sample| sample.value).sum()
        };
        let (stored, lost) = (of("llm_tracker_ledger_stored_total"), of("llm_tracker_ledger_lost_total"));
        ensure!(stored + lost == times.len() as f64, "{stored} stored and {lost} lost of {}", times.len());
        let at = |times: &[f64], share| quantile(times, share).unwrap_or_default();
        table.row([
            what.to_owned(),
            times.len().to_string(),
            stored.to_string(),
            lost.to_string(),
            format!("{:.1}", at(&times, 0.5)),
            against(at(&times, 0.999), 1, Target::AtMost(RECORD_TARGET)),
            format!("{:.1}", at(&copies, 0.999)),
            reports.to_string(),
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
    let file = directory.path().join("month.db");
    month(&file, rounds, end)?;
    recording(directory.path(), &file, end)?;
    let file = directory.path().join("ledger.db");
    storing(&file, rows, end)?;
    asking(&file, rows, rounds, end)
}
