//! What calls cost, and budgets: the same in the event log, on the metrics page and in the ledger, and what the
//! stand-in's own account says.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    call::CallLine,
    child, client,
    daemon::Daemon,
    ledger::{self, Ledger},
    machine,
    scenario::Scenario,
    standin::{Endpoint, Served, StandIn},
    wait,
};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";
/// Picodollars a token: input, read from the cache, written to it for five minutes and for an hour, output,
/// reasoning.
const PRICES: [u64; 6] = [2_500_000, 250_000, 3_125_000, 5_000_000, 10_000_000, 12_000_001];
/// Budgets are looked at every five seconds.
const SOON: Duration = Duration::from_secs(30);

/// What all calls cost, by the stand-in's account, picodollars.
fn account(served: &[Served]) -> u64 {
    let of = |served: &Served| {
        let Scenario { input, output, cached, created, reasoning, .. } = served.scenario;
        let (read, reasoning) = (cached.unwrap_or(0), reasoning.unwrap_or(0));
        // Only Anthropic's API says what is written to the cache; half of it is for an hour.
        let written = if served.endpoint == Endpoint::Messages { created.unwrap_or(0) } else { 0 };
        let hour = written / 2;
        let tokens = [input - read - written, read, written - hour, hour, output - reasoning, reasoning];
        tokens.iter().zip(PRICES).map(|(tokens, price)| tokens * price).sum::<u64>()
    };
    served.iter().map(of).sum()
}

fn price_list(file: &Path) -> Result<()> {
    let [input, read, written, hour, output, reasoning] = PRICES.map(|pico| pico as f64 / 1e12);
    // The stand-in answers with a dated name, at a host that is nobody's.
    let list = json!({"standin-served": {
        "input_cost_per_token": input,
        "cache_read_input_token_cost": read,
        "cache_creation_input_token_cost": written,
        "cache_creation_input_token_cost_above_1hr": hour,
        "output_cost_per_token": output,
        "output_cost_per_reasoning_token": reasoning,
    }});
    Ok(fs::write(file, list.to_string())?)
}

/// What must be in no log: whoever knows it can write to the channel behind it.
const SECRET: &str = "hook-secret-7d1c";

/// A webhook that takes the first event and none of the others, and the bodies that it was sent.
fn hook() -> Result<(SocketAddr, Arc<Mutex<Vec<String>>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&bodies);
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(&stream);
            let (mut length, mut line) = (0, String::new());
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap_or_default();
                }
                line.clear();
            }
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() {
                continue;
            }
            let mut bodies = heard.lock().unwrap_or_else(PoisonError::into_inner);
            let status = if bodies.is_empty() { "204 No Content" } else { "503 Service Unavailable" };
            bodies.push(String::from_utf8_lossy(&body).into_owned());
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            // Whoever does not wait for the answer has had it.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    Ok((address, bodies))
}

#[test]
fn costs_are_the_same_everywhere_and_a_budget_tells_once() -> Result<()> {
    let standin = StandIn::start()?;
    let ledger = Ledger::new()?;
    let file = |name: &str| ledger.folder().join(name);
    let (prices, told) = (file("prices.json"), file("told"));
    price_list(&prices)?;
    let (hook, posted) = hook()?;
    let ours = ledger::of_this_run();
    let config = ledger.config(&format!(
        "[cost]\nprices = {prices:?}\n\
         [[budget]]\nname = \"tests\"\nwhere = [\"process=python*\", \"{ours}\"]\nlimit_usd = 0.02\nwindow = \"month\"\nrolling = true\n\
         thresholds = [0.5]\nwebhook = \"http://{hook}/{SECRET}\"\ncommand = [\"/bin/sh\", \"-c\", 'cat >> {0}; echo >> {0}']\n\
         [[budget]]\nname = \"nobody\"\nwhere = [\"process=nobody\"]\nlimit_tokens = 10\nwindow = \"day\"\n",
        told.display()
    ));
    let mut daemon = Daemon::start_with(&config, "info")?;
    let scenario = |number: u64| Scenario::new(1000 + number, 80).cached(600).reasoning(7).ours(number);
    let mut number = 0;
    let call = |daemon: &mut Daemon, script: &str, operation: &str, scenario: Scenario| -> Result<()> {
        let finished = client::run_python(&standin, script, &[operation, &scenario.model()])?.success()?;
        daemon.wait_for_one(finished.pid).map(drop)
    };
    for operation in ["chat", "chat-stream", "responses"] {
        number += 1;
        call(&mut daemon, "openai_sdk.py", operation, scenario(number))?;
    }
    for operation in ["messages", "stream"] {
        number += 1;
        call(&mut daemon, "anthropic_sdk.py", operation, scenario(number).created(301))?;
    }
    let account = |standin: &StandIn| account(&standin.served()) as f64 / 1e12;
    let expected = account(&standin);
    let logged = daemon.calls(CallLine::is_of_this_run)?;
    ensure!(logged.len() == 5, "{} calls", logged.len());
    ensure!(logged.iter().all(|call| call.cost_source.as_deref() == Some("override")), "{logged:?}");
    ensure!(logged.iter().filter(|call| call.cache_creation_1h_input_tokens == Some(150)).count() == 2);
    let same = |what: &str, cost: f64| -> Result<()> {
        ensure!((cost - expected).abs() < 1e-12, "{what}: {cost} is not {expected}");
        Ok(())
    };
    same("the event log", logged.iter().filter_map(|call| call.cost_usd).sum())?;
    let metrics = daemon.metrics()?;
    let cost_of = |call: &CallLine| {
        let model = call.model.as_deref().unwrap_or_default();
        metrics.sum("llm_cost_usd_total", &[("process", "python3"), ("gen_ai_request_model", model)])
    };
    same("metrics", logged.iter().map(cost_of).sum())?;
    ensure!(
        metrics.sum("llm_tracker_unpriced_calls_total", &[("model", "standin-served-2026-01-01")]) == 0.0
    );

    // More than half of the budget and less than all: told once, and not again after a restart.
    ensure!((0.01..0.02).contains(&expected), "{expected}");
    let config_file = file("config.toml");
    fs::write(&config_file, &config)?;
    let report = || -> Result<Value> {
        let mut command = Command::new(machine::daemon_binary()?);
        command.arg("--config").arg(&config_file);
        command.args(["report", "--json", "--by", "process", "--where", &ours]);
        Ok(serde_json::from_str(&child::output(command, SOON)?)?)
    };
    let lines = || fs::read_to_string(&told).unwrap_or_default().lines().count();
    wait::until("nobody is told of the budget", SOON, || Ok((lines() > 0).then_some(())))?;
    let python = |report: &Value| {
        let groups = report["groups"].as_array().cloned().unwrap_or_default();
        groups.into_iter().find(|group| group["by"]["process"] == "python3")
    };
    let said = report()?;
    let group = python(&said).context("no group")?;
    same("the ledger", group["cost_usd"].as_f64().context("no cost")?)?;
    same("the budget", said["budgets"][0]["used"].as_f64().context("no budget")?)?;
    let mut daemon = Daemon::start_alone(daemon.stop()?.into_exclusive(), &config, "info")?;
    let ratio = wait::until("the budget is not on the page", SOON, || {
        let ratio = daemon.metrics()?.sum("llm_tracker_budget_used_ratio", &[("budget", "tests")]);
        Ok((ratio > 0.0).then_some(ratio))
    })?;
    same("the metric", ratio * 0.02)?;
    ensure!(lines() == 1, "{}", fs::read_to_string(&told)?);

    // The rest of it.
    for number in 100..106 {
        client::run_python(&standin, "openai_sdk.py", &["chat", &scenario(number).model()])?.success()?;
    }
    wait::until("nobody is told of the limit", SOON, || Ok((lines() > 1).then_some(())))?;
    let told = fs::read_to_string(&told)?;
    let thresholds: Vec<f64> = told
        .lines()
        .map(|line| Ok(serde_json::from_str::<Value>(line)?["threshold"].as_f64().unwrap_or_default()))
        .collect::<Result<_>>()?;
    ensure!(thresholds == [0.5, 1.0], "{told}");
    // The webhook took the first event, also over the restart once, and was tried in vain with the second.
    let count = |daemon: &Daemon, told: &str, outcome: &str| -> Result<f64> {
        let labels = [("budget", "tests"), ("told", told), ("outcome", outcome)];
        Ok(daemon.metrics()?.sum("llm_tracker_budget_crossings_total", &labels))
    };
    wait::until("nobody says that the webhook failed", SOON, || {
        Ok((count(&daemon, "webhook", "failed")? == 1.0).then_some(()))
    })?;
    ensure!(count(&daemon, "webhook", "done")? == 0.0 && count(&daemon, "event", "done")? == 1.0);
    let posted = posted.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let thresholds: Vec<_> = posted
        .iter()
        .map(|body| Ok(serde_json::from_str::<Value>(body)?["threshold"].as_f64()))
        .collect::<Result<_>>()?;
    ensure!(thresholds == [Some(0.5), Some(1.0), Some(1.0), Some(1.0)], "{posted:?}");
    let log = daemon.log()?;
    ensure!(log.contains("the webhook of a budget failed") && !log.contains(SECRET), "{log}");
    let events = fs::read_to_string(daemon.events_file())?;
    ensure!(events.matches("\"type\":\"llm_budget\"").count() == 1, "{events}");
    daemon.stop()?;
    Ok(())
}

#[test]
fn prices_are_read_again_and_a_mistake_leaves_the_old_ones() -> Result<()> {
    let standin = StandIn::start()?;
    let folder = tempfile::tempdir()?;
    let prices = folder.path().join("prices.json");
    let list = |price: &str| format!("{{\"standin-served\": {{\"input_cost_per_token\": {price}}}}}");
    fs::write(&prices, list("1e-6"))?;
    let mut daemon = Daemon::start_with(&format!("[cost]\nprices = {prices:?}\n"), "info")?;
    // An answer costs nothing extra: only the prompt has a price, and embeddings have no answer.
    let cost = |daemon: &mut Daemon| -> Result<Option<f64>> {
        let body = json!({"model": Scenario::new(1000, 0).model(), "input": "a"});
        let curl = client::run_curl(&standin, "/v1/embeddings", &body)?;
        Ok(daemon.wait_for_one(curl.pid)?.cost_usd)
    };
    ensure!(cost(&mut daemon)? == Some(0.001));
    fs::write(&prices, list("-1"))?;
    daemon.signal(libc::SIGHUP)?;
    wait::until("the mistake is not said", SOON, || {
        Ok(daemon.log()?.contains("is no price of a token at line 1").then_some(()))
    })?;
    ensure!(cost(&mut daemon)? == Some(0.001));
    fs::write(&prices, list("2e-6"))?;
    daemon.signal(libc::SIGHUP)?;
    wait::until("the price is not in force", SOON, || Ok((cost(&mut daemon)? == Some(0.002)).then_some(())))?;
    let unpriced = client::run_curl(&standin, CHAT, &client::chat(&Scenario::new(3, 4).model()))?;
    ensure!(daemon.wait_for_one(unpriced.pid)?.cost_usd.is_none(), "there is no price for the answer");
    let named = daemon.metrics()?.sum("llm_tracker_unpriced_calls_total", &[("provider", "unknown")]);
    ensure!(named == 1.0, "{named} without a price");
    daemon.stop()?;
    Ok(())
}
