//! The `llm-tracker` command line.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Result;
use clap::Parser as _;
use llm_tracker::{
    cli::{Cli, Command, ConfigCommand},
    config::{LogLevel, Source},
    daemon, doctor, exec, generate, log,
    pricing::Prices,
    report, terminal, top,
};

fn main() -> ExitCode {
    run(&Cli::parse()).unwrap_or_else(|error| {
        if gone(&error) {
            return ExitCode::SUCCESS;
        }
        // Whoever reads standard error may be gone; there is nobody left to tell.
        let _ = writeln!(io::stderr(), "llm-tracker: {error:#}");
        ExitCode::FAILURE
    })
}

/// Whether all that went wrong is that whoever read standard output has seen enough.
fn gone(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
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
            terminal::say("the configuration can be used\n")?;
        }
        Command::Run(_) => daemon::run(sources, settings, log)?,
        Command::Doctor => return doctor::run(&settings),
        Command::Report(args) => report::report(args, &settings.config)?,
        Command::Calls(args) => report::calls(args, &settings.config)?,
        Command::Session(args) => terminal::say(&report::session(args, &settings.config)?)?,
        Command::Export(args) => report::export(args, &settings.config, io::stdout())?,
        Command::Prices(args) => {
            let prices = Prices::load(settings.config.cost.prices.as_deref())?;
            terminal::show(&report::prices(args, &prices, terminal::width()))?;
        }
        Command::Exec(args) => return exec::run(args, &settings.config),
        Command::Top(args) => terminal::say(&top::run(args, &settings.config)?)?,
        Command::Generate(args) => generate::run(args)?,
        Command::Config(ConfigCommand::Show { json: false }) => terminal::say(&settings.to_string())?,
        Command::Config(ConfigCommand::Show { json: true }) => {
            terminal::say(&format!("{:#}\n", settings.to_json()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
