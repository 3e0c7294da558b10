//! The SDKs of more providers, in each provider's own words and under its real name: every call is
//! seen with its numbers, its provider and its process, and the SDK understood the same numbers.

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    child::Child,
    client::{self, LIMIT},
    compare::{all_exact, made_by},
    daemon::Daemon,
    scenario::Scenario,
    standin::StandIn,
};
use serde_json::Value;

/// Runs a Python client once for each list of arguments, the model's name put second, and once more
/// with a tool call where it streams a chat.
fn calls(script: &str, provider: &str, runs: &[&[&str]]) -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let mut number = 1000;
    for run in runs {
        for tool in [false, true] {
            if tool && !(run[0].ends_with("-stream") && run.len() == 1) {
                continue;
            }
            number += 1;
            let mut scenario = Scenario::new(number, 45).cached(40).reasoning(7).tag(run.join("-"));
            scenario.tool = tool;
            let mut one = || -> Result<()> {
                let model = scenario.model();
                let mut arguments = run.to_vec();
                arguments.insert(1, &model);
                let command = client::python_by_real_names(&standin, script, &arguments)?;
                let finished = Child::spawn(command, LIMIT)?.wait()?.success()?;
                let call = daemon.wait_for_one(finished.pid)?;
                all_exact(std::slice::from_ref(&call), &standin)?;
                made_by(&call, "python3", "/usr/bin/python3")?;
                ensure!(call.provider == provider, "the provider is {}", call.provider);
                ensure!(call.server_port == Some(standin.address().port()), "{:?}", call.server_port);
                let said: Value = serde_json::from_str(&finished.stdout)?;
                let understood = (said["input"].as_u64(), said["output"].as_u64());
                let seen = (call.input_tokens, call.output_tokens);
                ensure!(understood == seen, "the SDK understood {understood:?}, not {seen:?}");
                Ok(())
            };
            one().with_context(|| format!("{script} {run:?} {}", scenario.model()))?;
        }
    }
    ensure!(standin.served().len() as u64 == number - 1000, "the clients made other calls too");
    daemon.stop()?;
    Ok(())
}

#[test]
fn bedrock_with_boto3() -> Result<()> {
    let runs: [&[&str]; 4] = [&["converse"], &["converse-stream"], &["invoke"], &["invoke-stream"]];
    calls("bedrock_sdk.py", "aws.bedrock", &runs)
}

#[test]
fn cohere() -> Result<()> {
    let runs: [&[&str]; 6] =
        [&["chat"], &["chat-stream"], &["embed"], &["rerank"], &["chat", "async"], &["chat-stream", "async"]];
    calls("cohere_sdk.py", "cohere", &runs)
}

#[test]
fn mistral() -> Result<()> {
    let runs: [&[&str]; 4] = [&["chat"], &["chat-stream"], &["chat", "async"], &["chat-stream", "async"]];
    calls("mistral_sdk.py", "mistral_ai", &runs)
}

#[test]
fn groq() -> Result<()> {
    let runs: [&[&str]; 4] = [&["chat"], &["chat-stream"], &["chat-stream-plain"], &["chat-stream", "async"]];
    calls("groq_sdk.py", "groq", &runs)
}

#[test]
fn ollama() -> Result<()> {
    let runs: [&[&str]; 4] = [&["chat"], &["chat-stream"], &["embed"], &["chat-stream", "async"]];
    calls("ollama_sdk.py", "ollama", &runs)
}

/// What each says when it refuses: the status always, the error's type where the provider has one.
#[test]
fn refusals() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let model = Scenario { status: Some(429), ..Scenario::new(1, 2) }.model();
    let bedrock = "bedrock-runtime.us-east-1.amazonaws.com";
    for (host, path, error) in [
        (bedrock, format!("/model/{model}/converse-stream"), "ThrottlingException"),
        (bedrock, format!("/model/{model}/invoke"), "ThrottlingException"),
        ("api.cohere.com", "/v2/chat".to_owned(), "429"),
        ("api.groq.com", "/openai/v1/chat/completions".to_owned(), "rate_limit_error"),
        ("ollama.com", "/api/chat".to_owned(), "429"),
    ] {
        let curl = client::curl_by_real_name(&standin, host, &path, &client::chat(&model));
        let finished = Child::spawn(curl, LIMIT)?.wait()?.success()?;
        let call = daemon.wait_for_one(finished.pid)?;
        ensure!(call.status == Some(429) && call.has_no_numbers(), "{call:#?}");
        ensure!(call.error.as_deref() == Some(error), "{host}{path}: {:?}, not {error}", call.error);
    }
    daemon.stop()?;
    Ok(())
}
