//! The `llm-tracker` command line.

use std::{io::Write as _, process::ExitCode};

use clap::Parser as _;
use llm_tracker::{
    cli::{Cli, Command},
    daemon, doctor, generate,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_max_level(cli.log_level().filter())
        .with_writer(std::io::stderr)
        .with_ansi(colours())
        .with_target(false)
        .init();
    let result = match cli.command {
        Command::Run(args) => daemon::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Doctor(args) => doctor::run(&args),
        Command::Generate(args) => generate::run(&args).map(|()| ExitCode::SUCCESS),
    };
    result.unwrap_or_else(|error| {
        // Whoever reads standard error may be gone; there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "llm-tracker: {error:#}");
        ExitCode::FAILURE
    })
}

/// `NO_COLOR` (<https://no-color.org>) and pipes are respected.
fn colours() -> bool {
    use std::io::IsTerminal as _;
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && std::io::stderr().is_terminal()
}
