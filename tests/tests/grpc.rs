//! gRPC through the kernel: a client library over libssl.

use anyhow::{Result, ensure};
use llm_tracker_tests::{
    child::Child,
    client::{self, LIMIT},
    compare::all_exact,
    daemon::Daemon,
    scenario::Scenario,
    standin::StandIn,
};

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

/// The C core that Google's and xAI's SDKs are built on, with a stripped BoringSSL inside.
#[test]
fn grpcio() -> Result<()> {
    let standin = StandIn::start()?;
    let scenario = Scenario::new(321, 54).cached(20).reasoning(9).tag("grpcio");
    let busy = Scenario { status: Some(429), ..Scenario::new(1, 1) };
    let models = [scenario.model(), busy.model()];
    let models: Vec<_> = models.iter().map(String::as_str).collect();
    let command = client::python(&standin, "grpcio_client.py", &models)?;
    let _resident = client::resident(&command, client::GRPCIO_STAYS)?;
    let mut daemon = Daemon::start()?;
    daemon.wait_until_hooked("cygrpc")?;
    let finished = Child::spawn(command, LIMIT)?.wait()?.success()?;
    ensure!(finished.stdout.contains("RESOURCE_EXHAUSTED"), "{}", finished.stdout);
    let mut calls = daemon.wait_for_pid(finished.pid, 3)?;
    let refused = calls.iter().position(|call| call.error.is_some());
    let refused = calls.remove(refused.unwrap_or(0));
    assert_eq!((refused.status, refused.error.as_deref()), (Some(200), Some("RESOURCE_EXHAUSTED")));
    all_exact(&calls, &standin)?;
    daemon.stop()?;
    Ok(())
}
