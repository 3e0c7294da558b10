//! A model that runs here: llama.cpp's own server, behind nginx as such servers are, with weights that
//! were made up on the spot. Its words are nonsense; its formats and its counts are real.

use std::{
    net::SocketAddr,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    call::CallLine,
    child::{self, Child},
    client::{self, LIMIT},
    daemon::Daemon,
    machine,
    proxy::Proxy,
    standin::StandIn,
};
use serde_json::{Value, json};

/// What the model's file is called, and so the model.
const MODEL: &str = "tiny.gguf";

/// The server, and the folder with its model.
struct Server {
    _child: Child,
    _folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Server {
    fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("llm-tracker-model-").tempdir()?;
        let python = machine::python()?;
        let mut make = Command::new(&python);
        make.arg(client::script_path("tiny_model.py")).arg(MODEL).current_dir(&folder);
        child::output(make, LIMIT)?;
        let mut serve = Command::new(&python);
        serve.arg(client::script_path("llama_server.py")).arg(MODEL).current_dir(&folder);
        let mut child = Child::spawn(serve, Duration::from_secs(300))?;
        let deadline = Instant::now() + LIMIT;
        let address = loop {
            if let Some((_, said)) = child.stdout()?.split_once("listening at http://") {
                break said.lines().next().context("no address")?.parse()?;
            }
            ensure!(child.is_running()? && Instant::now() < deadline, "no server: {}", child.stderr()?);
            thread::sleep(Duration::from_millis(20));
        };
        Ok(Self { _child: child, _folder: folder, address })
    }
}

/// The two calls that a request makes, one at each side: the client's, which is returned.
fn both_sides(daemon: &mut Daemon, client: u32, proxy: &Proxy, number: usize) -> Result<CallLine> {
    let client = daemon.wait_for_one(client)?;
    let servers = daemon.wait_for_pid(proxy.pid(), number)?;
    let server = servers.last().context("no call at the server")?;
    ensure!(server.role == "server" && client.role == "client");
    let counts = |call: &CallLine| (call.response_id.clone(), call.input_tokens, call.output_tokens);
    ensure!(counts(server) == counts(&client), "{server:#?} {client:#?}");
    Ok(client)
}

#[test]
fn a_real_llama_cpp_server() -> Result<()> {
    // For its certificate only.
    let standin = StandIn::start()?;
    let server = Server::start()?;
    let proxy = Proxy::start_before(server.address, &standin)?;
    let mut daemon = Daemon::start()?;
    let mut number = 0;
    for (script, operation) in [
        ("openai_sdk.py", "chat"),
        ("openai_sdk.py", "chat-stream"),
        ("openai_sdk.py", "completions"),
        ("openai_sdk.py", "completions-stream"),
        ("openai_sdk.py", "responses"),
        ("openai_sdk.py", "responses-stream"),
        ("anthropic_sdk.py", "messages"),
        ("anthropic_sdk.py", "messages-stream"),
    ] {
        let mut command = client::python(&standin, script, &[operation, MODEL])?;
        command.env("OPENAI_BASE_URL", format!("{}/v1", proxy.url())).env("ANTHROPIC_BASE_URL", proxy.url());
        let finished = Child::spawn(command, LIMIT)?.wait()?.success()?;
        number += 1;
        let call = both_sides(&mut daemon, finished.pid, &proxy, number)?;
        let said: Value = serde_json::from_str(&finished.stdout)?;
        let what = format!("{operation}: the SDK says {said}: {call:#?}");
        ensure!(call.input_tokens.is_some_and(|count| count > 0), "{what}");
        ensure!(call.output_tokens.is_some_and(|count| count > 0), "{what}");
        ensure!(call.input_tokens == said["input"].as_u64(), "{what}");
        ensure!(call.output_tokens == said["output"].as_u64(), "{what}");
        ensure!(call.model.as_deref() == Some(MODEL) && call.response_model == call.model, "{what}");
        ensure!(call.streaming == operation.ends_with("-stream") && call.status == Some(200), "{what}");
        ensure!(call.provider == "unknown" && call.usage_source == "reported", "{what}");
        ensure!(call.error.is_none() && !call.finish_reasons.is_empty(), "{what}");
    }

    // Its own API, which only it has.
    for stream in [false, true] {
        let body = json!({"prompt": client::PROMPT, "n_predict": 5, "stream": stream});
        let mut command = client::command(&standin, "/usr/bin/curl");
        command.args(client::curl_arguments(&format!("{}/completion", proxy.url()), &body));
        let finished = Child::spawn(command, LIMIT)?.wait()?.success()?;
        number += 1;
        let call = both_sides(&mut daemon, finished.pid, &proxy, number)?;
        let last = finished.stdout.lines().rfind(|line| line.contains('{')).context("no answer")?;
        let said: Value = serde_json::from_str(last.trim_start_matches("data: "))?;
        let what = format!("it says {said}: {call:#?}");
        ensure!(call.operation == "text_completion" && call.streaming == stream, "{what}");
        ensure!(call.input_tokens == said["tokens_evaluated"].as_u64(), "{what}");
        ensure!(call.output_tokens == Some(5) && said["tokens_predicted"] == 5, "{what}");
        ensure!(call.usage_source == "reported", "{what}");
    }
    daemon.stop()?;
    Ok(())
}
