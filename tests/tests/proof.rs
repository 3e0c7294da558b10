//! What is hooked is verified by the traffic that passes through it.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use llm_tracker_tests::{
    child::{Child, Finished},
    client::{self, LIMIT},
    daemon::Daemon,
    machine,
    scenario::Scenario,
    standin::StandIn,
};

#[test]
fn a_library_is_verified_by_the_first_call_through_it() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let model = Scenario::new(12, 34).model();
    let curl = client::run_curl(&standin, "/v1/chat/completions", &client::chat(&model))?;
    daemon.wait_for_one(curl.pid)?;
    let verified = |daemon: &Daemon| -> Result<f64> {
        let labels = [("stack", "openssl"), ("state", "verified")];
        Ok(daemon.metrics()?.sum("llm_tracker_tls_objects", &labels))
    };
    let begun = Instant::now();
    while verified(&daemon)? < 1.0 {
        ensure!(begun.elapsed() < LIMIT, "curl's libssl was not verified: {}", daemon.log()?);
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(daemon.metrics()?.sum("llm_tracker_tls_hooks_refuted_total", &[]), 0.0);

    // And whoever asks is told.
    let config = tempfile::NamedTempFile::new()?;
    std::fs::write(config.path(), format!("[metrics]\nlisten = \"{}\"\n", daemon.metrics_address()))?;
    let mut doctor = Command::new(machine::daemon_binary()?);
    doctor.arg("doctor").arg("--config").arg(config.path());
    let Finished { stdout, .. } = Child::spawn(doctor, LIMIT)?.wait()?;
    let told = stdout.lines().find(|line| line.contains("openssl") && line.contains("verified"));
    ensure!(told.is_some(), "the doctor does not say so: {stdout}");
    daemon.stop()?;
    Ok(())
}
