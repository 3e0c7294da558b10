//! Many, much, long: nothing is missed, and what is lost is counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    call::CallLine,
    child::Child,
    client::{self, LIMIT},
    compare::{all_exact, exact_or_missing, made_by},
    daemon::Daemon,
    scenario::Scenario,
    standin::StandIn,
};
use serde_json::json;

const CHAT: &str = "/v1/chat/completions";

#[test]
fn a_hundred_one_shot_curls_are_all_seen() -> Result<()> {
    const AT_ONCE: usize = 5;
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let mut models = BTreeMap::new();
    for batch in 0..100 / AT_ONCE {
        let running = (0..AT_ONCE)
            .map(|i| {
                let number = batch * AT_ONCE + i;
                let model = Scenario::new(number as u64 + 1, 7).tag(number).model();
                let curl = Child::spawn(client::curl(&standin, CHAT, &client::chat(&model)), LIMIT)?;
                Ok((curl, model))
            })
            .collect::<Result<Vec<_>>>()?;
        for (curl, model) in running {
            models.insert(curl.wait()?.success()?.pid, model);
        }
    }
    assert_eq!(models.len(), 100, "no process id came twice");
    let calls = daemon.wait_for(100, |call| models.contains_key(&call.process.pid))?;
    all_exact(&calls, &standin).with_context(|| daemon.losses())?;
    for call in &calls {
        made_by(call, "curl", "/usr/bin/curl")?;
        assert_eq!(call.model.as_ref(), models.get(&call.process.pid));
    }
    daemon.stop()?;
    Ok(())
}

#[test]
fn two_hundred_streams_at_once() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let scenario = Scenario { chunks: Some(20), delay: Some(100), ..Scenario::new(17, 23) };
    let model = scenario.tag("n").model();
    let client = client::run_python(&standin, "streams.py", &["200", &model])?;
    assert!(standin.connections() >= 200, "{} connections", standin.connections());
    let calls = daemon.wait_for_pid(client.pid, 200)?;
    all_exact(&calls, &standin).with_context(|| daemon.losses())?;
    let models: BTreeSet<_> = calls.iter().map(|call| &call.model).collect();
    assert_eq!(models.len(), 200);
    daemon.stop()?;
    Ok(())
}

#[test]
fn one_connection_reused_five_hundred_times() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let model = Scenario::new(17, 23).tag("n").model();
    let client = client::run_python(&standin, "reuse.py", &["500", &model])?;
    assert_eq!(standin.connections(), 1);
    let calls = daemon.wait_for_pid(client.pid, 500)?;
    all_exact(&calls, &standin).with_context(|| daemon.losses())?;
    daemon.stop()?;
    Ok(())
}

#[test]
fn a_request_of_twenty_megabytes() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let model = Scenario::new(5_000_000, 9).model();
    let mut file = tempfile::NamedTempFile::new()?;
    let mut body = client::chat(&model);
    body["messages"][0]["content"] = json!("word ".repeat(4 << 20));
    file.write_all(body.to_string().as_bytes())?;
    let mut curl = client::command(&standin, "/usr/bin/curl");
    curl.args(["--silent", "--show-error", "--http1.1", "--limit-rate", "20M"])
        .args(["--header", "content-type: application/json"])
        .arg("--data-binary")
        .arg(format!("@{}", file.path().display()))
        .arg(format!("{}{CHAT}", standin.url()));
    let finished = Child::spawn(curl, LIMIT)?.wait()?.success()?;
    let served = standin.served();
    assert!(served[0].request_bytes > 20 << 20, "{}", served[0].request_bytes);
    let call = daemon.wait_for_one(finished.pid)?;
    all_exact(&[call], &standin).with_context(|| daemon.losses())?;
    daemon.stop()?;
    Ok(())
}

/// Python hands a whole body to its TLS library at once: far past what is copied of one call. What
/// is left out is counted, and neither this call nor the next one is damaged by it.
#[test]
fn a_request_of_twenty_megabytes_in_one_write() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let model = Scenario::new(5_000_000, 9).tag("n").model();
    let client = client::run_python(&standin, "big_request.py", &["20", &model])?;
    let calls = daemon.wait_for_pid(client.pid, 2)?;
    all_exact(&calls, &standin).with_context(|| daemon.losses())?;
    let past_cap = daemon.metrics()?.sum("llm_tracker_lost_bytes_total", &[("reason", "past_cap")]);
    assert!(past_cap > f64::from(19 << 20), "{past_cap}");
    daemon.stop()?;
    Ok(())
}

#[test]
fn a_stream_of_eight_megabytes() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    for (path, stream) in [(CHAT, true), ("/v1/messages", true)] {
        // A few MB/s: far more than any model, and no test of how fast this machine is.
        let scenario = Scenario {
            size: Some(8 << 20),
            chunks: Some(1024),
            delay: Some(1),
            ..Scenario::new(31, 500_000)
        };
        let model = scenario.model();
        let body = if path == CHAT { client::chat_stream(&model) } else { client::messages(&model, stream) };
        let curl = client::run_curl(&standin, path, &body)?;
        assert!(curl.stdout.len() > 8 << 20);
        let call = daemon.wait_for_one(curl.pid)?;
        all_exact(&[call], &standin).with_context(|| daemon.losses())?;
    }
    daemon.stop()?;
    Ok(())
}

#[test]
fn a_burst_over_a_tiny_ring_is_accounted_for_to_the_byte() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start_with("[capture]\nring_bytes = 4096\n", "warn")?;
    let scenario = Scenario { size: Some(1 << 20), chunks: Some(64), ..Scenario::new(31, 41) };
    let model = scenario.tag("n").model();
    let before = Accounts::settled(&daemon)?;
    let client = client::run_python(&standin, "streams.py", &["20", &model])?;
    // One small call afterwards, when the ring is empty again, is whole.
    let after = Scenario::new(3, 4).tag("after").model();
    thread::sleep(Duration::from_secs(2));
    let curl = client::run_curl(&standin, CHAT, &client::chat(&after))?;
    all_exact(&[daemon.wait_for_one(curl.pid)?], &standin)?;

    let accounts = Accounts::settled(&daemon)?.since(&before);
    assert!(accounts.lost > 0.0, "the ring did not overflow: {accounts:?}");
    let (received, sent) = standin.plaintext_bytes();
    let on_the_wire = (received + sent) as f64;
    assert!(accounts.transferred >= on_the_wire, "{accounts:?} of {on_the_wire}");
    // Unless somebody else on this host used TLS meanwhile, it is exactly that.
    if accounts.connections == standin.connections() as f64 {
        assert_eq!(accounts.transferred, on_the_wire, "{accounts:?}");
    }
    let stopped = daemon.stop()?;
    let calls = stopped.calls(|call: &CallLine| call.process.pid == client.pid)?;
    let exact = exact_or_missing(&calls, &standin)?;
    assert!(exact < 20, "a burst that loses bytes damages calls");
    Ok(())
}

/// Plaintext bytes, as the daemon counts them, and connections.
#[derive(Debug)]
struct Accounts {
    transferred: f64,
    delivered: f64,
    lost: f64,
    connections: f64,
}

impl Accounts {
    fn of(daemon: &Daemon) -> Result<Self> {
        let metrics = daemon.metrics()?;
        let sum = |name: &str| -> Result<f64> {
            ensure!(metrics.select(name, &[]).next().is_some(), "no {name} in {}", metrics.text);
            Ok(metrics.sum(name, &[]))
        };
        Ok(Self {
            transferred: sum("llm_tracker_kernel_bytes_total")?,
            delivered: sum("llm_tracker_delivered_bytes_total")?,
            lost: sum("llm_tracker_lost_bytes_total")?,
            connections: sum("llm_tracker_connections_seen_total")?,
        })
    }

    /// Once every byte was either delivered or counted as lost: some are on their way at any moment,
    /// and the daemon's own numbers are a second old.
    fn settled(daemon: &Daemon) -> Result<Self> {
        let begun = Instant::now();
        loop {
            let accounts = Self::of(daemon)?;
            if accounts.transferred == accounts.delivered + accounts.lost {
                return Ok(accounts);
            }
            ensure!(begun.elapsed() < Duration::from_secs(30), "bytes are missing: {accounts:?}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn since(self, before: &Self) -> Self {
        Self {
            transferred: self.transferred - before.transferred,
            delivered: self.delivered - before.delivered,
            lost: self.lost - before.lost,
            connections: self.connections - before.connections,
        }
    }
}

#[test]
fn nothing_grows_with_the_number_of_connections() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let run = |tag: &str| -> Result<u32> {
        let model = Scenario::new(17, 23).tag(tag).model();
        Ok(client::run_python(&standin, "streams.py", &["100", &model])?.pid)
    };
    let open = |daemon: &Daemon| -> Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", daemon.pid()))?.count())
    };
    let pid = run("a")?;
    daemon.wait_for_pid(pid, 100)?;
    let (descriptors, memory) = (open(&daemon)?, resident(&daemon)?);
    for tag in ["b", "c", "d"] {
        let pid = run(tag)?;
        daemon.wait_for_pid(pid, 100)?;
    }
    assert!(open(&daemon)? <= descriptors + 2, "{} descriptors, were {descriptors}", open(&daemon)?);
    assert!(resident(&daemon)? < memory + (8 << 20), "{} bytes, were {memory}", resident(&daemon)?);
    daemon.stop()?;
    Ok(())
}

/// Resident memory of the daemon, bytes.
fn resident(daemon: &Daemon) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}
