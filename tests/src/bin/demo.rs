//! The demo: real, unmodified clients make LLM calls over TLS, the daemon watches through the
//! kernel, and what it saw is printed beside what the provider answered.
//!
//! The provider is a stand-in on loopback that speaks OpenAI's, Anthropic's and Gemini's APIs. Ends
//! with 1 where anything differs or was not seen.

use std::{
    fmt::Display,
    io::IsTerminal as _,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use llm_tracker_tests::{
    call::CallLine,
    child::{Child, Finished},
    client::{self, LIMIT},
    container::Bundle,
    daemon::Daemon,
    machine,
    metrics::Metrics,
    scenario::Scenario,
    standin::{Served, StandIn},
};

const CHAT: &str = "/v1/chat/completions";

fn main() -> ExitCode {
    match demo() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One client and the call that it made.
struct Row {
    client: &'static str,
    model: String,
}

fn demo() -> Result<bool> {
    let paint = Paint { on: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() };
    let standin = StandIn::start()?;
    let begun = Instant::now();
    let daemon = Daemon::start()?;
    println!("{}", paint.bold("llm-tracker demo"));
    println!("  provider   a stand-in for OpenAI, Anthropic and Gemini at {}, TLS by rustls", standin.url());
    println!(
        "  daemon     llm-tracker run, pid {}, ready after {:.1} s",
        daemon.pid(),
        begun.elapsed().as_secs_f64()
    );
    println!("  clients    unmodified; the model's name tells the stand-in what to answer\n");

    let mut rows = Vec::new();
    let mut left_out = Vec::new();
    for Client { name, scenario, needs, run } in clients() {
        let model = scenario.model();
        if let Err(error) = needs() {
            left_out.push((name, error));
            continue;
        }
        run(&standin, &model).with_context(|| format!("{name} failed"))?;
        rows.push(Row { client: name, model });
    }
    let calls = wait_for_all(&daemon, &rows)?;
    let well = table(&paint, &rows, &calls, &standin.served());
    for (name, error) in &left_out {
        println!("  {} {name}: {error:#}", paint.dim("left out"));
    }
    excerpt(&paint, &daemon.metrics()?, &rows);
    let line = std::fs::read_to_string(daemon.events_file())?;
    if let Some(line) = line.lines().last() {
        println!("\n{}\n{line}", paint.bold("The last line of the event log"));
    }
    let pid = daemon.pid();
    daemon.stop()?;
    println!("\nllm-tracker ({pid}) was sent SIGTERM, ended with 0 and left no program in the kernel.");
    let verdict = if well {
        paint.good("every call was seen, with the provider's own numbers")
    } else {
        paint.bad("not every call was seen as it was answered")
    };
    println!("{verdict}");
    Ok(well)
}

/// Who calls, what the stand-in is to answer, what it takes, and how it is done.
struct Client {
    name: &'static str,
    scenario: Scenario,
    needs: fn() -> Result<()>,
    run: fn(&StandIn, &str) -> Result<Finished>,
}

fn clients() -> [Client; 7] {
    let streamed = |scenario: Scenario| Scenario { wait: Some(120), delay: Some(20), ..scenario };
    let nothing = || Ok(());
    let python = || machine::python().map(drop);
    let crun = || match machine::hint("/usr/bin/crun") {
        hint if hint.is_empty() => Ok(()),
        hint => bail!("no crun{hint}"),
    };
    [
        Client {
            name: "curl",
            scenario: Scenario::new(120, 45).cached(40),
            needs: nothing,
            run: |standin, model| {
                let body = client::chat(model);
                finish(client::curl_by_real_name(standin, "api.openai.com", CHAT, &body))
            },
        },
        Client {
            name: "curl, streamed",
            scenario: streamed(Scenario::new(900, 310).reasoning(250)),
            needs: nothing,
            run: |standin, model| {
                let body = client::chat_stream(model);
                finish(client::curl_by_real_name(standin, "api.openai.com", CHAT, &body))
            },
        },
        Client {
            name: "openssl s_client",
            scenario: Scenario::new(33, 12),
            needs: nothing,
            run: |standin, model| {
                let body = client::messages(model, true);
                client::openssl(standin, "/v1/messages", &body)?.wait()?.success()
            },
        },
        Client {
            name: "Python openai",
            scenario: streamed(Scenario::new(1200, 80).cached(1000)),
            needs: python,
            run: |standin, model| {
                let arguments = ["responses-stream", model];
                finish(client::python_by_real_names(standin, "openai_sdk.py", &arguments)?)
            },
        },
        Client {
            name: "Python anthropic",
            scenario: Scenario::new(5000, 210).cached(4000).created(900),
            needs: python,
            run: |standin, model| {
                let arguments = ["messages-stream", model, "async"];
                finish(client::python_by_real_names(standin, "anthropic_sdk.py", &arguments)?)
            },
        },
        Client {
            name: "Python google-genai",
            scenario: Scenario::new(64, 500).reasoning(420),
            needs: python,
            run: |standin, model| {
                let arguments = ["generate-stream", model];
                finish(client::python_by_real_names(standin, "gemini_sdk.py", &arguments)?)
            },
        },
        Client {
            name: "curl in a container",
            scenario: Scenario::new(77, 7),
            needs: crun,
            run: |standin, model| {
                let url = format!("{}{CHAT}", standin.url());
                let arguments = client::curl_arguments(&url, &client::chat(model));
                let id = format!("demo-{}", std::process::id());
                Bundle::new(&id, standin, &arguments)?.run()?.wait()?.success()
            },
        },
    ]
}

fn finish(command: Command) -> Result<Finished> {
    Child::spawn(command, LIMIT)?.wait()?.success()
}

/// The calls of these models, all of them or those that were seen in a reasonable time.
fn wait_for_all(daemon: &Daemon, rows: &[Row]) -> Result<Vec<CallLine>> {
    let begun = Instant::now();
    loop {
        let ours = |call: &CallLine| rows.iter().any(|row| call.model.as_ref() == Some(&row.model));
        let calls = daemon.calls(ours)?;
        if calls.len() >= rows.len() || begun.elapsed() > Duration::from_secs(5) {
            return Ok(calls);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

const HEADINGS: [&str; 11] = [
    "client",
    "provider",
    "process",
    "container",
    "in",
    "cached",
    "out",
    "reason",
    "first token",
    "time",
    "answered",
];

/// Prints a line a client and returns whether every call is what the stand-in answered.
fn table(paint: &Paint, rows: &[Row], calls: &[CallLine], served: &[Served]) -> bool {
    let mut well = true;
    let mut cells: Vec<[String; HEADINGS.len()]> = vec![HEADINGS.map(String::from)];
    let mut notes = Vec::new();
    for Row { client, model } in rows {
        let call = calls.iter().find(|call| call.model.as_ref() == Some(model));
        let answer = served.iter().find(|served| served.model == *model);
        let mut row: [String; HEADINGS.len()] = std::array::from_fn(|_| "-".to_owned());
        (*client).clone_into(&mut row[0]);
        if let Some(call) = call {
            call.provider.clone_into(&mut row[1]);
            row[2] = format!("{} {}", call.process.name.as_deref().unwrap_or("?"), call.process.pid);
            if let Some(container) = &call.container {
                container.id.clone_into(&mut row[3]);
            }
            let numbers =
                [call.input_tokens, call.cache_read_input_tokens, call.output_tokens, call.reasoning_tokens];
            for (cell, number) in row[4..8].iter_mut().zip(numbers) {
                *cell = or_dash(number);
            }
            row[8] = call.time_to_first_token_seconds.map_or_else(|| "-".to_owned(), seconds);
            row[9] = seconds(call.duration_seconds);
        } else {
            "NOT SEEN".clone_into(&mut row[1]);
        }
        if let Some(Served { scenario, .. }) = answer {
            let Scenario { input, output, cached, reasoning, .. } = scenario;
            row[10] = format!("{input}/{}/{output}/{}", or_dash(*cached), or_dash(*reasoning));
        }
        cells.push(row);
        let note = match (call, answer) {
            (Some(call), Some(answer)) => call.compare(answer).err(),
            (None, _) => Some("was not seen".to_owned()),
            (_, None) => Some("was not answered".to_owned()),
        };
        well &= note.is_none();
        notes.push(note);
    }
    let widths: [usize; HEADINGS.len()] =
        std::array::from_fn(|i| cells.iter().map(|row| row[i].len()).max().unwrap_or(0));
    for (number, row) in cells.iter().enumerate() {
        let line: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(i, cell)| {
                let width = widths[i];
                if (4..10).contains(&i) { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            })
            .collect();
        let line = line.join("  ").trim_end().to_owned();
        match number.checked_sub(1).and_then(|i| notes.get(i)) {
            None => println!("  {}", paint.bold(&line)),
            Some(None) => println!("{} {line}", paint.good("=")),
            Some(Some(note)) => println!("{} {line}\n    {}", paint.bad("!"), paint.bad(note)),
        }
    }
    println!("  {}\n", paint.dim("answered: in/cached/out/reason as the provider said"));
    well
}

/// Prints what `/metrics` has of one model, and what the daemon says of itself.
fn excerpt(paint: &Paint, metrics: &Metrics, rows: &[Row]) {
    println!("{}", paint.bold("From /metrics"));
    let Some(Row { model, .. }) = rows.iter().find(|row| row.client == "Python openai").or(rows.first())
    else {
        return;
    };
    for line in metrics.text.lines().filter(|line| !line.starts_with('#')) {
        let of_model = line.starts_with("llm_") && line.contains(&format!("\"{model}\""));
        let shown = of_model && !line.contains("_bucket") || line.starts_with("llm_tracker_lost_bytes_total");
        if shown {
            println!("  {line}");
        }
    }
}

fn or_dash(number: Option<u64>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn seconds(seconds: f64) -> String {
    format!("{:.0} ms", seconds * 1000.0)
}

/// Colours, where the output is a terminal and nobody objects.
struct Paint {
    on: bool,
}

impl Paint {
    fn with(&self, code: &str, text: impl Display) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    fn bold(&self, text: impl Display) -> String {
        self.with("1", text)
    }

    fn dim(&self, text: impl Display) -> String {
        self.with("2", text)
    }

    fn good(&self, text: impl Display) -> String {
        self.with("32", text)
    }

    fn bad(&self, text: impl Display) -> String {
        self.with("31", text)
    }
}
