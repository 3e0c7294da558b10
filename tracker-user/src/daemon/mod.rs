//! The daemon: joins the stages and runs them until it is told to stop.
//!
//! Three threads do the work: discovery (attaches and detaches), the pipeline (everything between the
//! ring buffer and the sinks, in order) and the event log's writer; the metrics page is served beside.

mod clock;
mod files;
mod filtering;
mod kernel;
mod lifecycle;
mod over;
mod pipeline;
mod proof;
mod reload;
mod self_metrics;
mod settling;
mod unknown;
mod verdict;
mod work;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot},
};

use crate::{
    api::{Access, Api, Asked, Settle, UnknownGroup},
    attribution::{self, Agents, Attribution, Filters, Sight},
    budget::Budgets,
    capture::{
        Kernel, KernelConfig,
        discovery::{self, Discovery, ProcessEvent},
    },
    config::{ApiConfig, CaptureConfig, Config, Settings, Sources},
    doctor::environment,
    export::{
        ApiSocket, HttpConfig, HttpServer, OtlpSink, Pages, PrometheusConfig, PrometheusSink, Readiness,
        Sample, Sink, WebConfig,
    },
    live::Live,
    log::Log,
    pricing::Prices,
    privileges,
    provider::Catalog,
};
use files::Files;
pub(crate) use kernel::KernelAttacher;
use kernel::KernelVerdicts;
use lifecycle::Watchdog;
use pipeline::Pipeline;
pub use proof::Prover;
use reload::Reload;
use self_metrics::Status;
use settling::Settling;
use work::Work;

/// The kernel side, built by `cargo xtask build`.
pub static KERNEL_OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/llm-tracker.bpf.o"));

/// How long the OTLP collector may take to take what is queued when the daemon stops, and then the event log to
/// write what is: all of a stop is to take five seconds at most.
const LAST_EXPORT: Duration = Duration::from_secs(2);
const LAST_WRITES: Duration = Duration::from_secs(2);
/// Processes that discovery has found and the pipeline has not looked at yet. What is over it is
/// looked at with the first call, if it still lives.
const NOTICES: usize = 4096;

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// A sentence that says what is wrong and what to do. Nothing stays attached.
pub fn run(sources: Sources, settings: Settings, log: Log) -> Result<()> {
    let config = &settings.config;
    refuse_early()?;
    let web = Arc::new(web_config(config)?);
    if let Some(warning) = exposed(config, &web) {
        tracing::warn!("{warning}");
    }
    let mut http = HttpServer::bind(HttpConfig::new(config.metrics.listen, Arc::clone(&web)))?;
    if let Some(socket) = api_socket(&config.api) {
        http = http.with_socket(socket);
    }
    privileges::shed_unused().context("capabilities cannot be given up")?;
    let debug = tracing::enabled!(tracing::Level::DEBUG);
    let kernel = Kernel::load(KERNEL_OBJECT, &KernelConfig { debug, ..kernel_config(&config.capture) })?;
    let kept = privileges::shed_loading(kernel.attachment()).context("capabilities cannot be given up")?;
    tracing::info!(%kept, "capabilities that are not needed were given up");
    // The first threads: they have what is kept and nothing else.
    let files = Files::open(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    let outcome = runtime.block_on(serve(sources, settings, log, kernel, http, web, files.clone()));
    runtime.shutdown_timeout(Duration::from_secs(1));
    files.shutdown(LAST_WRITES);
    outcome
}

/// What would fail later with a worse message, before anything is opened.
fn refuse_early() -> Result<()> {
    let checks = environment::checks();
    if environment::suffices(&checks) {
        return Ok(());
    }
    let reasons: Vec<_> = checks
        .iter()
        .filter(|check| check.outcome == environment::Outcome::Bad)
        .map(|check| format!("{}: {}", check.name, check.detail))
        .collect();
    bail!("this machine does not suffice: {} (`llm-tracker doctor` has the whole list)", reasons.join("; "))
}

/// Whether the daemon could be started with this configuration, as far as that shows in files.
///
/// # Errors
/// Says what is wrong.
pub fn check(config: &Config) -> Result<()> {
    prices(config)?;
    access(config)?;
    web_config(config).map(drop)
}

/// Who may see everybody's calls. A group that is not there yet is no reason not to start.
fn access(config: &Config) -> Result<Access, UnknownGroup> {
    config.api.group.as_deref().map_or_else(|| Ok(Access::default()), Access::of_group)
}

/// The API's socket. Without it everything else works.
fn api_socket(config: &ApiConfig) -> Option<ApiSocket> {
    let bound = config.socket().map(ApiSocket::bind)?;
    bound.inspect_err(|error| tracing::warn!("{error}")).ok()
}

/// The local API, and who asks the pipeline on its behalf.
fn api(config: &Config, files: &Files, live: Arc<Live>, budgets: Budgets) -> (Api, mpsc::Receiver<Asked>) {
    let access = access(config).inspect_err(|error| tracing::warn!("{error}"));
    let api = Api::new(access.unwrap_or_default()).with_live(live).with_budgets(budgets);
    match config.ledger.file.clone().zip(files.ledger().cloned()) {
        Some((file, ledger)) => {
            let (settle, asked) = Settle::new(ledger);
            (api.with_ledger(file).with_settle(settle), asked)
        }
        None => (api, mpsc::channel(1).1),
    }
}

/// What calls cost.
fn prices(config: &Config) -> Result<Prices> {
    Prices::load(config.cost.prices.as_deref()).context("cost.prices cannot be used")
}

/// Who may ask for metrics.
pub(crate) fn web_config(config: &Config) -> Result<WebConfig> {
    let path = config.metrics.web_config.as_deref();
    WebConfig::load(path).context("metrics.web_config cannot be used")
}

/// What there is to say of metrics that everybody can read.
pub(crate) fn exposed(config: &Config, web: &WebConfig) -> Option<String> {
    let listen = config.metrics.listen;
    (!listen.ip().is_loopback() && !web.authenticates()).then(|| {
        format!(
            "metrics are served on {listen} to whoever asks: set metrics.web_config, or listen on loopback"
        )
    })
}

/// The kernel side's sizes from the configuration.
#[must_use]
pub(crate) fn kernel_config(capture: &CaptureConfig) -> KernelConfig {
    let &CaptureConfig { ring_bytes, call_cap_bytes, max_connections } = capture;
    KernelConfig { ring_bytes, call_cap_bytes, max_connections, ..KernelConfig::default() }
}

/// Discovery's settings from the configuration.
#[must_use]
pub(crate) fn discovery_config(config: &Config) -> discovery::Config {
    discovery::Config {
        sweep_interval: config.discovery.sweep(),
        linger: config.discovery.linger(),
        ..discovery::Config::default()
    }
}

async fn serve(
    sources: Sources,
    settings: Settings,
    log: Log,
    mut kernel: Kernel,
    http: HttpServer,
    web: Arc<WebConfig>,
    files: Files,
) -> Result<()> {
    let config = settings.config.clone();
    let messages = if tracing::enabled!(tracing::Level::DEBUG) { Some(kernel.take_log()?) } else { None };
    let ring = kernel.take_ring()?;
    let verdicts = kernel.take_verdicts()?;
    let counters = kernel.take_counters()?;
    let connections = kernel.take_connections()?;

    let prometheus = Arc::new(PrometheusSink::new(PrometheusConfig {
        max_series: config.metrics.max_series,
        labels: config.metrics.labels.clone(),
        series_expiry: Duration::from_secs(config.metrics.series_expiry_seconds),
        ..PrometheusConfig::default()
    }));
    let mut sinks: Vec<Arc<dyn Sink>> = vec![prometheus.clone()];
    sinks.extend(files.sinks(&prometheus));

    let live = Arc::new(Live::new());
    sinks.push(live.clone());
    let budgets = Budgets::new(config.budget.clone());
    let (api, asked) = api(&config, &files, Arc::clone(&live), budgets.clone());

    let otlp = OtlpSink::start(&config.otlp, &prometheus)?.map(Arc::new);
    if let Some(otlp) = &otlp {
        sinks.push(otlp.clone());
    }

    // The signals first: one that comes while the hooks are set takes them away again.
    let mut stop = Stop::new()?;
    let mut hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;

    let (notices_in, notices) = mpsc::channel(NOTICES);
    let discovery_config = discovery_config(&config);
    let programs = discovery_config.programs.clone();
    let attribution_config =
        attribution::Config { runtimes: config.runtimes(), ..attribution::Config::default() };
    let agents = Agents::new(config.attribution.agents.clone(), attribution_config.proc_root.clone());
    let (told, proc_root) = (agents.clone(), attribution_config.proc_root.clone());
    let cgroups = attribution::Cgroups::default();
    let made = cgroups.clone();
    let discovery = tokio::task::spawn_blocking(move || {
        Discovery::start(discovery_config, KernelAttacher::new(kernel), move |event| match event {
            // At once: it may be gone in a moment. Full: it is looked at with its first call instead.
            ProcessEvent::Seen { pid } => {
                if let Some(sight) = Sight::of(&proc_root, pid) {
                    _ = notices_in.try_send(sight);
                }
            }
            ProcessEvent::Gone { .. } => {}
            ProcessEvent::Forked { pid, parent, at } => told.forked(pid, parent, at),
            ProcessEvent::Executed { pid, comm, at } => told.executed(pid, &comm, at),
            ProcessEvent::Ended { pid, at } => told.ended(pid, at),
            ProcessEvent::CgroupMade { id, path } => made.learn(id, &path),
            ProcessEvent::Lost => told.lost(),
            ProcessEvent::ToldUpTo(at) => told.told_up_to(at),
        })
    });

    let status = Arc::new(Mutex::new(Status::default()));
    let running = Arc::new(Mutex::new(None));
    let catalog = Arc::new(
        Catalog::new().with_gateways(config.gateway.clone()).with_estimates(config.usage.estimates()),
    );
    let filters = Filters::new(config.filter.clone());
    let prices = prices(&config)?;
    let _watch = files.watch_budgets(&config, &budgets)?;
    let pipeline = Pipeline::new(
        Arc::clone(&catalog),
        prices.clone(),
        Attribution::new(attribution_config)
            .with_programs(programs)
            .with_agents(agents)
            .with_cgroups(cgroups),
        filters.clone(),
        sinks,
        KernelVerdicts::new(verdicts),
    );
    prometheus.add_source(Arc::new({
        let budgets = budgets.clone();
        move || budgets.samples()
    }));
    prometheus.add_source(Arc::new({
        let suppressed = log.suppressed().clone();
        move || {
            vec![Sample::counter(
                "llm_tracker_log_suppressed_total",
                "Messages left out of the log because they repeated themselves.",
                suppressed.total(),
            )]
        }
    }));
    let suppressed = log.suppressed().clone();
    let mut reload = Reload {
        sources,
        running: settings,
        live: reload::Live { catalog, filters, prices, budgets: budgets.clone(), log },
    };
    let (end, ended) = oneshot::channel();
    let work = Work {
        ring,
        notices,
        settling: Settling::new(asked),
        connections,
        messages,
        pipeline,
        live: Arc::clone(&live),
        status: Arc::clone(&status),
        discovery: Arc::clone(&running),
        watchdog: Watchdog::new(),
        suppressed,
    };
    let pipeline = tokio::spawn(work.run(ended));

    *running.lock().unwrap_or_else(PoisonError::into_inner) =
        Some(discovery.await.context("discovery failed")??);
    let discovery = running;
    prometheus.add_source(Arc::new({
        let (status, discovery) = (Arc::clone(&status), Arc::clone(&discovery));
        move || {
            let snapshot = discovery
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .as_ref()
                .map(discovery::Handle::snapshot)
                .unwrap_or_default();
            let status = status.lock().unwrap_or_else(PoisonError::into_inner).clone();
            self_metrics::samples(&status, counters.read().ok(), &snapshot)
        }
    }));

    let ready = Readiness::default();
    ready.set(true);
    let address = http.local_addr().context("the metrics address is gone")?;
    let scheme = if web.encrypts() { "https" } else { "http" };
    let watching = format!("watching; metrics at {scheme}://{address}/metrics");
    tracing::info!("{watching}");
    lifecycle::ready(&watching);
    let (http_stop, http_stopped) = oneshot::channel::<()>();
    let pages = Pages { metrics: prometheus, ready: ready.clone(), api };
    let http = tokio::spawn(http.serve(pages, async {
        // An error means that the sender is gone, which is the same message.
        let _ = http_stopped.await;
    }));

    let pipeline = {
        let mut pipeline = pipeline;
        loop {
            tokio::select! {
                () = stop.requested() => break Some(pipeline),
                _ = hangup.recv() => {
                    lifecycle::reloading();
                    files.reopen();
                    reload.reload();
                    lifecycle::ready(&watching);
                }
                ended = &mut pipeline => {
                    ended.context("the pipeline failed")??;
                    break None;
                }
            }
        }
    };
    tracing::info!("stopping");
    lifecycle::stopping();
    ready.set(false);
    // Nothing new first, then what is on its way, then the last answers to whoever scrapes.
    let handle = discovery.lock().unwrap_or_else(PoisonError::into_inner).take();
    tokio::task::spawn_blocking(move || handle.map(discovery::Handle::stop))
        .await
        .context("detaching failed")?;
    let _ = end.send(());
    if let Some(pipeline) = pipeline {
        pipeline.await.context("the pipeline failed")??;
    }
    if let Some(otlp) = otlp {
        otlp.shutdown(LAST_EXPORT).await;
    }
    let _ = http_stop.send(());
    http.await.context("the metrics server failed")?.context("the metrics server failed")
}

/// SIGTERM and SIGINT.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?,
        })
    }

    async fn requested(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
