//! A fleet that has outgrown one Prometheus (`deploy/fleet`): an agent scrapes the daemon and writes what it
//! has scraped to a real store elsewhere.

use std::{
    fs,
    net::SocketAddr,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use llm_tracker_tests::{
    child::Child,
    client::{self, LIMIT},
    daemon::{Daemon, SOON, free_address},
    metrics::get,
    prometheus::{deploy, promtool},
    scenario::Scenario,
    standin::StandIn,
};

#[test]
fn what_an_agent_scrapes_arrives_in_a_store() -> Result<()> {
    promtool(&["check", "config", "--agent", "../fleet/prometheus-agent.yml"], "")?;

    let standin = StandIn::start()?;
    let daemon = Daemon::start()?;
    let folder = tempfile::Builder::new().prefix("llm-tracker-fleet-").tempdir()?;
    let store = free_address()?;
    let mut command = Command::new("/usr/bin/victoria-metrics");
    command.arg(format!("-httpListenAddr={store}")).arg("-search.latencyOffset=0s");
    command.arg(format!("-storageDataPath={}", folder.path().join("store").display()));
    let _store = Child::spawn(command, LIMIT * 5)?;

    let config = [
        ("scrape_interval: 15s", "scrape_interval: 1s".to_owned()),
        ("127.0.0.1:9435", daemon.metrics_address().to_string()),
        ("127.0.0.1:8428", store.to_string()),
    ]
    .into_iter()
    .try_fold(fs::read_to_string(deploy("fleet/prometheus-agent.yml"))?, |config, (from, to)| {
        ensure!(config.contains(from), "the example has no `{from}`");
        Ok(config.replacen(from, &to, 1))
    })?;
    let file = folder.path().join("agent.yml");
    fs::write(&file, config)?;
    let mut command = Command::new("/usr/bin/prometheus");
    command.args(["--enable-feature=agent", "--log.level=warn"]);
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.agent.path={}", folder.path().join("agent").display()));
    command.arg(format!("--web.listen-address={}", free_address()?));
    let agent = Child::spawn(command, LIMIT * 5)?;

    let model = Scenario::new(120, 45).tag(format!("fleet{}", std::process::id())).model();
    let request = client::curl(&standin, "/v1/chat/completions", &client::chat(&model));
    Child::spawn(request, LIMIT)?.wait()?.success()?;
    let tokens = format!("llm_tokens_total{{gen_ai_request_model=\"{model}\",type=\"input\"");
    let expected = format!("{tokens},site=\"site-1\",team=\"platform\"}}");
    let deadline = Instant::now() + SOON * 2;
    while !stored(store, &expected)?.contains("\"120\"") {
        ensure!(Instant::now() < deadline, "{expected} is not there; the agent said: {}", agent.stderr()?);
        thread::sleep(Duration::from_millis(200));
    }
    // What nobody asks for stays where it is.
    ensure!(daemon.metrics()?.text.contains("process_open_fds"), "there is no such metric to be kept back");
    ensure!(stored(store, "process_open_fds")?.contains("\"result\":[]"), "more is sent than is asked for");
    daemon.stop()?;
    Ok(())
}

/// What the store answers to an expression.
fn stored(store: SocketAddr, expression: &str) -> Result<String> {
    let query: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
    match get(store, &format!("/api/v1/query?query={query}")) {
        Ok((200, body)) => Ok(body),
        // It may not listen yet.
        Ok((_, body)) => bail!("{body}"),
        Err(_) => Ok(String::new()),
    }
}
