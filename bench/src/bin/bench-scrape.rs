//! What a scrape costs: the metrics page with thousands of series, made and served.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use llm_tracker::{
    api::{Access, Api},
    attribution::{Origin, Process},
    capture::Timestamp,
    export::{
        Format, HttpConfig, HttpServer, Pages, PrometheusConfig, PrometheusSink, Readiness, Record,
        Sink as _, WebConfig,
    },
    pricing::Cost,
    provider::{Call, ChunkTimes, Usage, UsageSource},
    stream::Role,
};
use llm_tracker_bench::{
    process::thread_cpu_time,
    sample::median,
    table::{Table, Target, against},
};

/// Measures how long the metrics page takes.
#[derive(Parser)]
#[command(name = "bench-scrape")]
struct Arguments {
    /// Series on the page, at least
    #[arg(long, default_value_t = 10_000)]
    series: usize,
    /// Pages of each format, one after the other in turn
    #[arg(long, default_value_t = 50)]
    rounds: usize,
}

/// The most that 10,000 series may take of one core, milliseconds.
const TARGET: f64 = 20.0;
const FORMATS: [(Format, &str, &str); 2] = [
    (Format::Text, "text", "text/plain"),
    (Format::OpenMetrics, "OpenMetrics", "application/openmetrics-text"),
];

/// A call like those of a busy host: so many models, and so many programs that use them.
fn record(number: usize) -> Record {
    let (model, program) = (number % 37, number / 37);
    Record {
        call: Call {
            started: Timestamp(1),
            provider: "openai",
            operation: "chat",
            model: Some(format!("a-model-of-some-length-{model}")),
            response_model: Some(format!("a-model-of-some-length-{model}-2026-01-02")),
            response_id: Some(format!("chatcmpl-{number:032}")),
            server_address: Some("api.openai.com".to_owned()),
            server_port: Some(443),
            path: "/v1/chat/completions".to_owned(),
            role: Role::Client,
            streaming: true,
            status: Some(200),
            error: None,
            finish_reasons: vec!["stop".to_owned()],
            usage: Usage {
                input_tokens: Some(1000 + number as u64),
                cache_read_input_tokens: Some(600),
                output_tokens: Some(200),
                reasoning_tokens: Some(50),
                source: UsageSource::Reported,
                ..Usage::default()
            },
            tool_calls: Vec::new(),
            server_tool_calls: Vec::new(),
            service_tier: None,
            cost: None,
            subscription: false,
            continued: false,
            retry: None,
            labels: None,
            time_to_first_token_seconds: Some(0.25),
            time_per_output_token_seconds: Some(0.02),
            chunk_times: ChunkTimes::default(),
            duration_seconds: 1.5 + (number % 100) as f64 / 10.0,
        },
        origin: Origin {
            process: Process { pid: 1, name: Some(format!("worker-{program}")), ..Process::default() },
            cgroup: Some(format!("/system.slice/a-service-of-some-length-{program}.service")),
            ..Origin::default()
        },
        started_unix_nanos: 1_767_323_045_123_456_789,
        cost: Cost::Unpriced,
    }
}

/// Lines that are no comments.
fn series(page: &str) -> usize {
    page.lines().filter(|line| !line.starts_with('#')).count()
}

/// A page over HTTP, and how long it took.
fn get(address: SocketAddr, accept: &str) -> Result<(usize, Duration)> {
    let begun = Instant::now();
    let mut socket = TcpStream::connect(address)?;
    write!(socket, "GET /metrics HTTP/1.0\r\nAccept: {accept}\r\n\r\n")?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    ensure!(answer.starts_with(b"HTTP/1.0 200"), "no page");
    Ok((answer.len(), begun.elapsed()))
}

fn main() -> Result<()> {
    let Arguments { series: wanted, rounds } = Arguments::parse();
    let sink = Arc::new(PrometheusSink::new(PrometheusConfig {
        max_series: wanted.max(1000),
        ..PrometheusConfig::default()
    }));
    let mut calls = 0;
    while series(&sink.render(Format::Text)) < wanted {
        ensure!(calls < 100 * wanted, "so many series cannot be made");
        for _ in 0..100 {
            sink.record(&record(calls));
            calls += 1;
        }
    }
    let found = series(&sink.render(Format::Text));

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let listen = (Ipv4Addr::LOCALHOST, 0).into();
    let server = HttpServer::bind(HttpConfig::new(listen, Arc::new(WebConfig::load(None)?)))?;
    let address = server.local_addr()?;
    let pages =
        Pages { metrics: Arc::clone(&sink), ready: Readiness::default(), api: Api::new(Access::default()) };
    runtime.spawn(server.serve(pages, std::future::pending()));

    let mut made = [Vec::new(), Vec::new()];
    let mut served = [Vec::new(), Vec::new()];
    let mut sizes = [0; 2];
    for _ in 0..rounds {
        for (index, (format, _, accept)) in FORMATS.into_iter().enumerate() {
            let before = thread_cpu_time();
            let page = sink.render(format);
            made[index].push((thread_cpu_time() - before).as_secs_f64() * 1e3);
            let (size, lasted) = get(address, accept)?;
            served[index].push(lasted.as_secs_f64() * 1e3);
            ensure!(size > page.len(), "the page over HTTP is not whole");
            sizes[index] = page.len();
        }
    }
    let title = format!("A page of {found} series, medians of {rounds}");
    let mut table = Table::new(title, &["", "size", "CPU time, ms", "over HTTP, wall, ms"]);
    for (index, (_, name, _)) in FORMATS.into_iter().enumerate() {
        let made = median(&made[index]).context("no rounds")?;
        let served = median(&served[index]).context("no rounds")?;
        let target = Target::AtMost(TARGET * found as f64 / 10_000.0);
        table.row([
            name.to_owned(),
            format!("{:.1} MB", sizes[index] as f64 / 1e6),
            against(made, 1, target),
            format!("{served:.1}"),
        ]);
    }
    println!("{table}");
    Ok(())
}
