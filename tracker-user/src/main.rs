//! The `llm-tracker` command line.

use std::{io::Write as _, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::Parser as _;
use llm_tracker::{
    cli::{Cli, Command, ConfigCommand},
    config::{LogLevel, Source},
    daemon, doctor, exec, generate, log,
    pricing::Prices,
    report, top,
};

fn main() -> ExitCode {
    run(&Cli::parse()).unwrap_or_else(|error| {
        // Whoever reads standard error may be gone; there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "llm-tracker: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let sources = cli.sources();
    let mut settings = sources.read()?;
    if !matches!(cli.command, Command::Run(_)) && *settings.source("log.level") == Source::Default {
        settings.config.log.level = LogLevel::Warn;
    }
    let log = log::start(settings.config.log);
    match &cli.command {
        Command::Run(args) if args.check_config => {
            daemon::check(&settings.config)?;
            say("the configuration can be used\n")
        }
        Command::Run(_) => daemon::run(sources, settings, log).map(|()| ExitCode::SUCCESS),
        Command::Doctor => doctor::run(&settings),
        Command::Report(args) => say(&report::report(args, &settings.config)?),
        Command::Calls(args) => say(&report::calls(args, &settings.config)?),
        Command::Session(args) => say(&report::session(args, &settings.config)?),
        Command::Export(args) => {
            report::export(args, &settings.config, std::io::stdout()).map(|()| ExitCode::SUCCESS)
        }
        Command::Exec(args) => exec::run(args, &settings.config),
        Command::Prices(args) => {
            let prices = Prices::load(settings.config.cost.prices.as_deref())?;
            say(&report::prices(args, &prices))
        }
        Command::Top(args) => say(&top::run(args, &settings.config)?),
        Command::Generate(args) => generate::run(args).map(|()| ExitCode::SUCCESS),
        Command::Config(ConfigCommand::Show { json: false }) => say(&settings.to_string()),
        Command::Config(ConfigCommand::Show { json: true }) => say(&format!("{:#}\n", settings.to_json())),
    }
}

fn say(text: &str) -> Result<ExitCode> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // Whoever wanted to read has gone.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written.context("cannot write to standard output")?,
    }
    Ok(ExitCode::SUCCESS)
}
