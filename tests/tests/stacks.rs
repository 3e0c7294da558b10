//! TLS stacks that are not OpenSSL's, each in a real client: seen as well as curl.

use anyhow::Result;
use llm_tracker_tests::{
    client,
    compare::{all_exact, made_by},
    daemon::Daemon,
    scenario::Scenario,
    standin::StandIn,
};

#[test]
fn wget_speaks_through_gnutls() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let model = Scenario::new(123, 45).cached(40).reasoning(7).model();
    for body in [client::chat(&model), client::chat_stream(&model)] {
        let wget = client::run_wget(&standin, "/v1/chat/completions", &body)?;
        let call = daemon.wait_for_one(wget.pid)?;
        all_exact(std::slice::from_ref(&call), &standin)?;
        made_by(&call, "wget", "/usr/bin/wget")?;
    }
    let objects = daemon.metrics()?.sum("llm_tracker_tls_objects", &[("stack", "gnutls")]);
    assert!(objects >= 1.0, "it was another stack");
    daemon.stop()?;
    Ok(())
}
