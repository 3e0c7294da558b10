//! Real clients, unmodified: each call is seen with its numbers and with the process that made it.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    client,
    compare::{all_exact, made_by},
    daemon::Daemon,
    machine,
    scenario::Scenario,
    standin::StandIn,
};

/// The program that a virtual environment's `python3` turns out to be.
const PYTHON: &str = "/usr/bin/python3";

/// Runs a Python client once for each list of arguments, the model's name put second.
fn python_calls(script: &str, runs: &[&[&str]]) -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    for (number, arguments) in (1001..).zip(runs) {
        let scenario = Scenario::new(number, 45).cached(40).reasoning(7).tag(arguments.join("-"));
        let model = scenario.model();
        let mut arguments = arguments.to_vec();
        arguments.insert(1, &model);
        let mut seen = || -> Result<()> {
            let client = client::run_python(&standin, script, &arguments)?;
            let call = daemon.wait_for_one(client.pid)?;
            all_exact(std::slice::from_ref(&call), &standin)?;
            made_by(&call, "python3", PYTHON)
        };
        seen().with_context(|| format!("{script} {arguments:?}"))?;
    }
    ensure!(standin.served().len() == runs.len(), "the clients made other calls too");
    daemon.stop()?;
    Ok(())
}

#[test]
fn curl_is_seen_with_its_numbers_and_its_process() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let scenario = Scenario::new(123, 45).cached(40).reasoning(7);
    let curl = client::run_curl(&standin, "/v1/chat/completions?trace=1", &client::chat(&scenario.model()))?;
    let call = daemon.wait_for_one(curl.pid)?;
    all_exact(std::slice::from_ref(&call), &standin)?;
    made_by(&call, "curl", "/usr/bin/curl")?;
    assert_eq!(call.provider, "unknown", "nobody knows localhost");
    assert_eq!(call.server_address.as_deref(), Some("localhost"));
    assert_eq!(call.server_port, Some(standin.address().port()));
    assert_eq!(call.path, "/v1/chat/completions");
    assert_eq!(call.finish_reasons, ["stop"]);
    assert!(call.duration_seconds > 0.0);
    daemon.stop()?;
    Ok(())
}

#[test]
fn every_endpoint_and_stream_is_understood_from_curl() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let scenario = Scenario::new(123, 45).cached(40).reasoning(7);
    let (model, tool) = (scenario.model(), Scenario { tool: true, ..scenario.clone() }.model());
    let gemini = |model: &str, method: &str| format!("/v1beta/models/{model}:{method}");
    let mut streamed_responses = serde_json::json!({"model": model, "input": client::PROMPT});
    let responses = streamed_responses.clone();
    streamed_responses["stream"] = true.into();
    let created = Scenario::new(900, 5).cached(300).created(500).model();
    for (path, body) in [
        ("/v1/chat/completions".to_owned(), client::chat_stream(&model)),
        ("/v1/chat/completions".to_owned(), client::chat(&tool)),
        ("/v1/chat/completions".to_owned(), client::chat_stream(&tool)),
        ("/v1/responses".to_owned(), responses),
        ("/v1/responses".to_owned(), streamed_responses),
        ("/v1/messages".to_owned(), client::messages(&created, false)),
        ("/v1/messages".to_owned(), client::messages(&created, true)),
        ("/v1/messages".to_owned(), client::messages(&tool, true)),
        (gemini(&model, "generateContent"), client::generate()),
        (gemini(&tool, "generateContent"), client::generate()),
        (gemini(&model, "streamGenerateContent?alt=sse"), client::generate()),
        (gemini(&model, "streamGenerateContent"), client::generate()),
    ] {
        let curl = client::run_curl(&standin, &path, &body)?;
        let seen = daemon.wait_for_one(curl.pid).and_then(|call| all_exact(&[call], &standin));
        seen.with_context(|| format!("{path} {body}"))?;
    }
    daemon.stop()?;
    Ok(())
}

#[test]
fn openssl_s_client_is_seen() -> Result<()> {
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let model = Scenario::new(321, 54).model();
    let openssl = client::openssl(&standin, "/v1/messages", &client::messages(&model, true))?;
    let pid = openssl.wait()?.success()?.pid;
    let call = daemon.wait_for_one(pid)?;
    all_exact(std::slice::from_ref(&call), &standin)?;
    made_by(&call, "openssl", "/usr/bin/openssl")?;
    daemon.stop()?;
    Ok(())
}

const OPENAI: [&str; 8] = [
    "chat",
    "chat-stream",
    "responses",
    "responses-stream",
    "completions",
    "completions-stream",
    "embeddings",
    "azure",
];

#[test]
fn openai_sdk_sync() -> Result<()> {
    python_calls("openai_sdk.py", &OPENAI.each_ref().map(std::slice::from_ref))
}

#[test]
fn openai_sdk_async() -> Result<()> {
    let runs = OPENAI.map(|operation| [operation, "async"]);
    python_calls("openai_sdk.py", &runs.each_ref().map(<[_; 2]>::as_slice))
}

#[test]
fn anthropic_sdk_sync() -> Result<()> {
    python_calls("anthropic_sdk.py", &[&["messages"], &["messages-stream"]])
}

#[test]
fn anthropic_sdk_async() -> Result<()> {
    python_calls("anthropic_sdk.py", &[&["messages", "async"], &["messages-stream", "async"]])
}

#[test]
fn google_genai_sdk_sync() -> Result<()> {
    python_calls("gemini_sdk.py", &[&["generate"], &["generate-stream"]])
}

#[test]
fn google_genai_sdk_async() -> Result<()> {
    python_calls("gemini_sdk.py", &[&["generate", "async"], &["generate-stream", "async"]])
}

#[test]
fn python_requests() -> Result<()> {
    python_calls("plain_http.py", &[&["requests"], &["requests", "stream"]])
}

#[test]
fn python_httpx() -> Result<()> {
    let runs: [&[&str]; 3] = [&["httpx"], &["httpx", "stream"], &["httpx-async", "stream"]];
    python_calls("plain_http.py", &runs)
}

#[test]
fn python_aiohttp() -> Result<()> {
    python_calls("plain_http.py", &[&["aiohttp"], &["aiohttp", "stream"]])
}

/// A wheel's libcurl with the wheel's libssl, whose name has a hash in it.
#[test]
fn python_pycurl() -> Result<()> {
    let _resident = client::resident(&Command::new(machine::python()?), client::PYCURL_STAYS)?;
    python_calls("plain_http.py", &[&["pycurl"], &["pycurl", "stream"]])
}

/// curl with BoringSSL, both inside a Python extension.
#[test]
fn python_curl_cffi() -> Result<()> {
    let _resident = client::resident(&Command::new(machine::python()?), client::CURL_CFFI_STAYS)?;
    python_calls("plain_http.py", &[&["curl_cffi"], &["curl_cffi", "stream"]])
}
