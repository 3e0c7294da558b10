//! What being watched costs a program in Go.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use llm_tracker_bench::{
    daemon::{self, Daemon, KERNEL_BYTES},
    process,
    sample::median,
    table::Table,
};

/// Measures exchanges over Go's crypto/tls, watched and not. Needs root and Go.
#[derive(Parser)]
#[command(name = "bench-go")]
struct Arguments {
    /// Exchanges in one sample
    #[arg(long, default_value_t = 5000)]
    exchanges: u32,
    /// Samples of each kind, taken in turn
    #[arg(long, default_value_t = 7)]
    samples: usize,
    /// The `go` command
    #[arg(long, env = "GO", default_value = "go")]
    go: PathBuf,
    /// The daemon [default: target/release/llm-tracker of this workspace]
    #[arg(long, env = "LLM_TRACKER_BIN")]
    binary: Option<PathBuf>,
}

/// For the daemon to see the program and to hook it.
const SETTLE: Duration = Duration::from_secs(3);
/// What is exchanged, as the program calls it, and for people.
const KINDS: [(&str, &str); 2] =
    [("other", "bytes that are no HTTP: looked at, then ignored"), ("llm", "chat completions: all copied")];

/// The program that makes the load.
struct Load {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Load {
    fn start(program: &Path) -> Result<Self> {
        let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("its standard input")?;
        let output = BufReader::new(child.stdout.take().context("its standard output")?);
        Ok(Self { child, input, output })
    }

    /// Nanoseconds an exchange.
    fn sample(&mut self, kind: &str, exchanges: u32) -> Result<f64> {
        writeln!(self.input, "{kind} {exchanges}")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        line.trim().parse().with_context(|| format!("the load said {line:?}"))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = process::terminate(&mut self.child, Duration::from_secs(5));
    }
}

fn build(go: &Path, folder: &Path) -> Result<PathBuf> {
    let program = folder.join("go-load");
    let built = Command::new(go)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("go"))
        .envs([("CGO_ENABLED", "0"), ("GOTOOLCHAIN", "local"), ("GOTELEMETRY", "off")])
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .status()
        .with_context(|| format!("start {}: set GO to a Go toolchain's `go` command", go.display()))?;
    ensure!(built.success(), "the load does not compile");
    Ok(program)
}

fn main() -> Result<()> {
    let Arguments { exchanges, samples, go, binary } = Arguments::parse();
    ensure!(exchanges > 0 && samples > 0, "nothing to measure");
    let folder = tempfile::tempdir()?;
    let program = build(&go, folder.path())?;
    let binary = daemon::binary(binary);
    // By kind, without and with the daemon; in turns, since the machine is not the same all the time.
    let mut taken = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    for _ in 0..samples {
        let mut load = Load::start(&program)?;
        for ((kind, _), [without, _]) in KINDS.into_iter().zip(&mut taken) {
            without.push(load.sample(kind, exchanges)?);
        }
        let daemon = Daemon::start(&binary)?;
        sleep(SETTLE);
        for ((kind, _), [_, with]) in KINDS.into_iter().zip(&mut taken) {
            let before = daemon.metrics()?.sum(KERNEL_BYTES, "");
            with.push(load.sample(kind, exchanges)?);
            sleep(Duration::from_secs(1));
            let seen = daemon.metrics()?.sum(KERNEL_BYTES, "") - before;
            // Both ends, both ways.
            let all = f64::from(exchanges) * 4.0 * 200.0;
            let least = if kind == "llm" { all } else { 1.0 };
            ensure!(seen >= least, "of {all} bytes {seen} were seen: it is not hooked");
        }
        daemon.stop()?;
    }
    let mut table = Table::new(
        format!("Go: an exchange of 200 B over crypto/tls, two writes and two reads ({samples} samples)"),
        &["", "alone, ns", "watched, ns", "ratio", "added by each call, ns"],
    );
    for ((_, what), [without, with]) in KINDS.into_iter().zip(&taken) {
        let (Some(without), Some(with)) = (median(without), median(with)) else { continue };
        table.row([
            what.to_owned(),
            format!("{without:.0}"),
            format!("{with:.0}"),
            format!("{:.2}", with / without),
            format!("{:.0}", (with - without) / 4.0),
        ]);
    }
    print!("{table}");
    Ok(())
}
