//! What runs now: `llm-tracker top` in a terminal and the page in a browser, with streams in flight that the
//! kernel has shown.

use std::{path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use llm_tracker_tests::{
    child::{self, Child},
    client,
    daemon::{Daemon, SOON},
    machine, metrics,
    scenario::Scenario,
    standin::StandIn,
    terminal::Terminal,
    wait,
};
use serde_json::Value;

const CHAT: &str = "/v1/chat/completions";
const LIMIT: Duration = Duration::from_secs(60);

/// A stream that goes on for some seconds, of so many pieces.
fn stream(standin: &StandIn, tag: &str, chunks: u32) -> Result<Child> {
    let slow = Scenario { chunks: Some(chunks), delay: Some(150), ..Scenario::new(1000, 80).tag(tag) };
    Child::spawn(client::curl(standin, CHAT, &client::chat_stream(&slow.model())), LIMIT)
}

fn top(socket: &Path, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(machine::daemon_binary()?);
    command.arg("top").args(arguments).env("LLM_TRACKER_API_SOCKET", socket);
    Ok(command)
}

/// What a shell is to run: the same, whose process id is in a file beside the socket, then how it ended and what
/// it left of the terminal.
fn script(socket: &Path, before: &str) -> Result<String> {
    let binary = machine::daemon_binary()?;
    let (binary, socket) = (binary.display(), socket.display());
    Ok(format!(
        "(export LLM_TRACKER_API_SOCKET={socket} {before}; exec /bin/sh -c 'echo $$ > {socket}.pid; exec {binary} top'); \
         echo ended with $?; stty -a; sleep 60"
    ))
}

/// The terminal is a shell's again.
fn assert_restored(terminal: &Terminal) -> Result<()> {
    let screen =
        terminal.wait_for("end", |screen| screen.contains("ended with 0") && screen.contains("echo"))?;
    let words: Vec<&str> = screen.split([' ', ';', '\n']).collect();
    ensure!(words.contains(&"icanon") && words.contains(&"echo") && words.contains(&"isig"), "{screen}");
    ensure!(!terminal.is_taken()?, "{screen}");
    Ok(())
}

#[test]
fn a_stream_in_flight_is_seen_in_a_terminal() -> Result<()> {
    let standin = StandIn::start()?;
    let daemon = Daemon::start()?;
    let socket = daemon.api_socket();
    let curl = stream(&standin, "seen", 100)?;
    let terminal = Terminal::open((80, 24), &script(&socket, "")?)?;

    let is_streaming = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let fast = words.last().and_then(|rate| rate.parse::<f64>().ok()).is_some_and(|rate| rate > 0.0);
        words.first() == Some(&curl.pid().to_string().as_str()) && line.contains("streaming") && fast
    };
    let screen = terminal.wait_for("stream", |screen| screen.lines().any(is_streaming))?;
    let line = screen.lines().find(|line| is_streaming(line)).unwrap_or_default();
    assert!(line.contains("curl") && line.contains("standin-in1000") && line.contains('~'), "{screen}");
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    assert!(screen.lines().last().is_some_and(|line| line.contains("q quit")), "{screen}");
    assert!(terminal.is_taken()? && terminal.has_colours()?, "{screen}");

    // The same for a pipe, and for programs.
    let once = child::output(top(&socket, &[])?, LIMIT)?;
    assert!(once.lines().any(is_streaming), "{once}");
    let live: Value = serde_json::from_str(&child::output(top(&socket, &["--json"])?, LIMIT)?)?;
    let flights = live["in_flight"].as_array().context("no calls")?;
    let flight = flights.iter().find(|flight| flight["pid"] == curl.pid()).context("not that call")?;
    assert_eq!(
        (&flight["usage_source"], &flight["streaming"]),
        (&"estimated".into(), &true.into()),
        "{flight}"
    );
    assert!(flight["time_to_first_token_seconds"].as_f64() > Some(0.0), "{flight}");

    terminal.press(&["m"])?;
    terminal.wait_for("grouping", |screen| screen.contains("By model: "))?;
    terminal.resize((120, 40))?;
    terminal.wait_for("wide table", |screen| screen.contains("FIRST") && screen.contains("USER"))?;

    let pid = curl.pid().to_string();
    curl.wait()?.success()?;
    // Other tests' clients may be there, too.
    let ended = |screen: &str| !screen.contains(&pid) && screen.contains("By model: ");
    terminal.wait_for("end of the call", ended)?;
    terminal.press(&["e"])?;
    terminal.wait_for("ended call", |screen| screen.contains("Ended in") && screen.contains("curl"))?;
    terminal.press(&["q"])?;
    assert_restored(&terminal)?;

    // Also without colours, and when it is told to end.
    for signal in ["-TERM", "-INT", "-HUP"] {
        let terminal = Terminal::open((80, 24), &script(&socket, "NO_COLOR=1")?)?;
        terminal.wait_for("call", |screen| screen.contains("curl"))?;
        assert!(!terminal.has_colours()?);
        let pid = std::fs::read_to_string(format!("{}.pid", socket.display()))?;
        let mut kill = Command::new("/usr/bin/kill");
        kill.args([signal, pid.trim()]);
        child::output(kill, LIMIT)?;
        assert_restored(&terminal)?;
    }

    let _stopped = daemon.stop()?;
    let gone = Child::spawn(top(&socket, &["--once"])?, LIMIT)?.wait()?;
    assert!(!gone.status.success() && gone.stderr.contains("no daemon"), "{}", gone.stderr);
    Ok(())
}

/// The document after its script has run.
fn document(address: &str) -> Result<String> {
    let profile = tempfile::tempdir()?;
    let mut browser = Command::new("/usr/lib/chromium/chromium-headless-shell");
    browser
        .args(["--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("http://{address}/"));
    child::output(browser, LIMIT)
}

#[test]
fn the_page_shows_it_and_names_stay_text() -> Result<()> {
    const EVIL: &str = "<img src=x onerror=document.body.id='evil'>";
    let standin = StandIn::start()?;
    let mut daemon = Daemon::start()?;
    let evil = Scenario::new(7, 9).tag(EVIL).model();
    let made = client::run_curl(&standin, CHAT, &client::chat(&evil))?;
    daemon.wait_for_one(made.pid)?;
    let curl = stream(&standin, "page", 400)?;

    let address = daemon.metrics_address();
    wait::until("it is not in flight", SOON, || {
        let live: Value = serde_json::from_str(&metrics::get(address, "/api/v1/live")?.1)?;
        let flights = live["in_flight"].as_array().context("no calls")?;
        Ok(flights.iter().any(|flight| flight["pid"] == curl.pid()).then_some(()))
    })?;
    let page = document(&address.to_string())?;
    let (_, shown) = page.split_once("<dd id=\"in_flight\">").context("no number of calls")?;
    let (shown, _) = shown.split_once('<').context("no end")?;
    assert!(shown.parse::<u32>()? >= 1, "{page}");
    assert!(page.contains(&format!("<td>curl ({})</td>", curl.pid())), "{page}");
    assert!(page.contains("Tokens by the minute") && page.matches("<rect").count() == 60, "{page}");
    assert!(page.contains("&lt;img src=x onerror") && !page.contains("<img"), "{page}");
    assert!(!page.contains("id=\"evil\""), "{page}");
    daemon.stop()?;
    Ok(())
}
