//! No prompt, completion, credential, cookie or query string leaves the daemon, at any log level.

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    api,
    child::Child,
    client::{self, KEY, LIMIT, PROMPT},
    daemon::{Daemon, SOON},
    ledger::Ledger,
    metrics,
    scenario::Scenario,
    standin::{COMPLETION_MARKER, COOKIE_MARKER, StandIn},
    wait,
};

const QUERY: &str = "query-marker-3b9a75";
const SENT_COOKIE: &str = "sent-cookie-marker-c4d018";
const FRAGMENTS: [&str; 6] = [PROMPT, COMPLETION_MARKER, KEY, COOKIE_MARKER, QUERY, SENT_COOKIE];

#[test]
fn nothing_private_is_in_events_metrics_or_logs() -> Result<()> {
    let standin = StandIn::start()?;
    let ledger = Ledger::new()?;
    let mut daemon = Daemon::start_with(&ledger.config(""), "trace")?;
    let stream = Child::spawn(api::on_socket(&daemon, "/api/v1/stream"), LIMIT)?;
    let whole = Scenario::new(5, 6).tag("whole").model();
    let cut = Scenario { cut: Some(3), ..Scenario::new(5, 6) }.tag("cut").model();
    let refused = Scenario { status: Some(401), ..Scenario::new(5, 6) }.tag("refused").model();
    let tool = Scenario { tool: true, gzip: true, ..Scenario::new(5, 6) }.tag("tool").model();
    let gemini = format!("/v1beta/models/{whole}:streamGenerateContent?alt=sse&key={QUERY}");
    let mut count = 0;
    for (path, body) in [
        ("/v1/chat/completions", client::chat(&whole)),
        ("/v1/chat/completions", client::chat_stream(&whole)),
        ("/v1/chat/completions", client::chat_stream(&cut)),
        ("/v1/chat/completions", client::chat(&refused)),
        ("/v1/messages", client::messages(&tool, true)),
        ("/v1/messages", client::messages(&refused, true)),
        (&gemini, client::generate()),
        // What nobody takes for a call could still end in a message about what is wrong with it.
        ("/v1/chat/completions", serde_json::json!({"model": [PROMPT], PROMPT: client::chat(PROMPT)})),
        ("/somewhere/else", client::chat(&whole)),
    ] {
        let query = if path.contains('?') { String::new() } else { format!("?key={QUERY}") };
        let mut curl = client::curl(&standin, &format!("{path}{query}"), &body);
        curl.args(["--compressed", "--cookie", &format!("session={SENT_COOKIE}")]);
        curl.args(["--header", &format!("x-api-key: {KEY}"), "--header", &format!("x-goog-api-key: {KEY}")]);
        let finished = Child::spawn(curl, LIMIT)?.wait()?;
        if body["model"].is_string() && path != "/somewhere/else" || path == gemini {
            let seen = daemon.wait_for_pid(finished.pid, 1);
            count += seen.with_context(|| format!("{path} {body}"))?.len();
        }
    }
    // Not HTTP, and half a request.
    for raw in [format!("{PROMPT} {KEY}\n\n"), format!("POST /v1/messages?{QUERY} HTTP/1.1\r\nx: {KEY}")] {
        let mut openssl = client::command(&standin, "/usr/bin/openssl");
        let address = standin.address().to_string();
        openssl.args(["s_client", "-connect", &address]);
        Child::spawn_with_input(openssl, raw.as_bytes(), LIMIT)?.wait()?;
    }
    ensure!(count == 7, "{count} calls were seen");

    let page = daemon.metrics()?.text;
    for path in ["/", "/healthz", "/readyz", &format!("/{QUERY}")] {
        search(path, &metrics::get(daemon.metrics_address(), path)?.1)?;
    }
    search("metrics", &page)?;
    for path in ["calls?settle=30&limit=500", "report?by=model,path,server,error,process", "live", "sessions"]
    {
        let (_, answer) = api::answer(api::on_socket(&daemon, &format!("/api/v1/{path}")))?;
        ensure!(
            !path.starts_with("calls") || answer.contains(&whole),
            "no call in the API's {path}: {answer}"
        );
        search("API's answer", &answer)?;
    }
    let asked = format!("/api/v1/calls?where=model%3D{QUERY}&x={KEY}");
    search("API's refusal", &api::answer(api::on_loopback(&daemon, &asked))?.1)?;
    search("events", &std::fs::read_to_string(daemon.events_file())?)?;
    let log = daemon.log()?;
    ensure!(!log.is_empty(), "a log at trace level that says nothing shows nothing");
    search("log", &log)?;
    // What was stored is streamed a moment later.
    let is_streamed = || Ok(stream.stdout()?.contains(&whole).then_some(()));
    wait::until("no call was streamed", SOON, is_streamed)?;
    let stopped = daemon.stop()?;
    let streamed = stream.wait()?.stdout;
    search("API's stream", &streamed)?;
    search("log", &stopped.finished.stderr)?;
    let stored = std::fs::read(ledger.file())?;
    ensure!(
        stored.windows(whole.len()).any(|bytes| bytes == whole.as_bytes()),
        "the ledger has no call in it"
    );
    search("ledger", &String::from_utf8_lossy(&stored))?;
    search("standard output", &stopped.finished.stdout)
}

fn search(place: &str, text: &str) -> Result<()> {
    for line in text.lines() {
        for fragment in FRAGMENTS {
            ensure!(!line.contains(fragment), "{fragment} is in the {place}: {line}");
        }
    }
    Ok(())
}
