//! gRPC through the kernel: a client library over libssl.

use anyhow::{Result, ensure};
use llm_tracker_tests::{client, compare::all_exact, daemon::Daemon, scenario::Scenario, standin::StandIn};

/// Calls one after the other and at the same time on one connection; one of them is refused.
#[test]
fn a_client_library() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let plain = Scenario::new(321, 54).cached(20).reasoning(9).tag("grpc");
    let tool = Scenario { tool: true, ..Scenario::new(7, 8) };
    let busy = Scenario { status: Some(429), ..Scenario::new(1, 1) };
    let models = [plain.model(), tool.model(), busy.model()];
    let models: Vec<_> = models.iter().map(String::as_str).collect();
    let finished = client::run_python(&standin, "grpc_client.py", &models)?;
    ensure!(finished.stdout.contains("RESOURCE_EXHAUSTED"), "{}", finished.stdout);
    let mut calls = daemon.wait_for_pid(finished.pid, 9)?;
    let refused = calls.iter().position(|call| call.error.is_some());
    let refused = calls.remove(refused.unwrap_or(0));
    assert_eq!((refused.status, refused.error.as_deref()), (Some(200), Some("RESOURCE_EXHAUSTED")));
    assert_eq!((refused.model.as_deref(), refused.has_no_numbers()), (Some(models[2]), true));
    all_exact(&calls, &standin)?;
    for call in &calls {
        assert_eq!(call.streaming, call.path.ends_with("/StreamGenerateContent"));
        assert_eq!(call.finish_reasons.concat(), "STOP");
        assert_eq!(call.time_to_first_token_seconds.is_some(), call.streaming);
    }
    daemon.stop()?;
    Ok(())
}
