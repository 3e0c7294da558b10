//! Node's clients: OpenSSL is inside the `node` binary, not in a library of the system.

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    child::Child,
    client::{self, LIMIT},
    compare::{all_exact, made_by},
    daemon::Daemon,
    machine,
    scenario::Scenario,
    standin::StandIn,
};
use serde_json::Value;

/// Runs an SDK once for each operation.
fn calls(script: &str, operations: &[&str]) -> Result<()> {
    let standin = StandIn::start()?;
    let node = machine::node()?;
    let _resident = client::resident(&client::command(&standin, &node), client::NODE_STAYS)?;
    let mut daemon = Daemon::start()?;
    for (number, operation) in (1001..).zip(operations) {
        let model = Scenario::new(number, 45).cached(40).reasoning(7).tag(operation).model();
        let mut one = || -> Result<()> {
            let command = client::node(&standin, script, &[operation, &model])?;
            let finished = Child::spawn(command, LIMIT)?.wait()?.success()?;
            let call = daemon.wait_for_one(finished.pid)?;
            all_exact(std::slice::from_ref(&call), &standin)?;
            let name = call.process.name.clone().context("no name")?;
            made_by(&call, &name, node.to_str().context("not UTF-8")?)?;
            let said: Value = serde_json::from_str(&finished.stdout)?;
            let understood = (said["input"].as_u64(), said["output"].as_u64());
            ensure!(understood == (call.input_tokens, call.output_tokens), "the SDK understood {said}");
            Ok(())
        };
        one().with_context(|| format!("{script} {operation}"))?;
    }
    ensure!(standin.served().len() == operations.len(), "the clients made other calls too");
    daemon.stop()?;
    Ok(())
}

#[test]
fn openai_sdk() -> Result<()> {
    calls("openai_sdk.js", &["chat", "chat-stream", "responses", "responses-stream", "embeddings"])
}

#[test]
fn anthropic_sdk() -> Result<()> {
    calls("anthropic_sdk.js", &["messages", "messages-stream"])
}

#[test]
fn google_genai_sdk() -> Result<()> {
    calls("gemini_sdk.js", &["generate", "generate-stream"])
}
