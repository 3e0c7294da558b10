//! What is delivered in another order than it happened.

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    call::CallLine, child::Child, client, daemon::Daemon, scenario::Scenario, standin::StandIn,
};

const CALLS: usize = 2_000;
/// Threads that take the processors from the one that writes, which comes after all others.
const BUSY: usize = 1;

/// The daemon is told of a write when it returns, and of its answer often before that.
#[test]
fn answers_that_are_read_before_the_write_returns() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let folder = tempfile::tempdir()?;
    let program = client::two_threads(folder.path())?;
    let scenario = Scenario::new(123, 45);
    let mut command = client::command(&standin, &program);
    command.arg(standin.address().port().to_string()).arg(standin.identity().authority());
    command.args(["/v1/chat/completions", &client::chat(&scenario.model()).to_string()]);
    command.args([CALLS.to_string(), BUSY.to_string()]);
    let finished = Child::spawn(command, 4 * client::LIMIT)?.wait()?.success()?;
    let early = finished.stdout.trim().strip_prefix("early ").context("it did not count")?;
    let early: usize = early.parse()?;
    println!("{early} of {CALLS} answers were read first");
    let calls = daemon.wait_for_pid(finished.pid, CALLS)?;
    let is_whole = |call: &&CallLine| call.error.is_none() && call.input_tokens == Some(123);
    let whole = calls.iter().filter(is_whole).count();
    ensure!(whole == CALLS, "{whole} of {CALLS} are whole\n{}", daemon.losses());
    ensure!(early > 0, "the writer was never held up");
    let put_in_order = daemon.metrics()?.sum("llm_tracker_http_early_responses_total", &[]);
    ensure!(put_in_order > 0.0, "none was delivered first");
    for call in &calls {
        let first = call.time_to_first_token_seconds.unwrap_or(0.0);
        ensure!((0.0..=call.duration_seconds).contains(&first), "{call:?}");
    }
    daemon.stop()?;
    Ok(())
}
