//! The command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  llm-tracker doctor                       does this machine suffice, and which TLS libraries are in use?
  llm-tracker run                          metrics at http://127.0.0.1:9435/metrics
  llm-tracker run --events -               and one JSON line a call on standard output
  llm-tracker run --config /etc/llm-tracker.toml";

/// Sees every LLM call that a Linux host makes, with no proxy, no SDK and no restart.
#[derive(Debug, Parser)]
#[command(name = "llm-tracker", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// How much to say on standard error [default: info for run, warn for doctor].
    #[arg(long, global = true, value_name = "LEVEL", env = "LLM_TRACKER_LOG")]
    pub log_level: Option<LogLevel>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The level that was asked for, or what suits the command.
    #[must_use]
    pub fn log_level(&self) -> LogLevel {
        self.log_level.unwrap_or(match self.command {
            Command::Run(_) => LogLevel::Info,
            Command::Doctor(_) | Command::Generate(_) => LogLevel::Warn,
        })
    }
}

/// Levels of the log on standard error. None of them ever shows content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What may need a look.
    Warn,
    /// What an operator wants to know.
    Info,
    /// What a developer wants to know.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// The same in `tracing`'s words.
    #[must_use]
    pub const fn filter(self) -> tracing_subscriber::filter::LevelFilter {
        use tracing_subscriber::filter::LevelFilter;
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch this host until SIGTERM or SIGINT.
    Run(RunArgs),
    /// Say, line by line, whether this machine suffices, and list every TLS object in use.
    Doctor(DoctorArgs),
    /// Write manual pages and the completions of shells, for packages.
    Generate(GenerateArgs),
}

/// Flags of `run`; each goes over what the configuration says.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// Write one JSON line a call to this file (appended), or to standard output with `-`.
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Serve /metrics, /healthz and /readyz here [default: 127.0.0.1:9435].
    #[arg(long, value_name = "ADDR")]
    pub metrics_listen: Option<SocketAddr>,
    /// Do not estimate the tokens of calls for which the provider reports none.
    #[arg(long)]
    pub no_estimate: bool,
    /// Read this configuration.
    #[arg(long, value_name = "FILE", env = "LLM_TRACKER_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Flags of `doctor`.
#[derive(Clone, Debug, Default, Args)]
pub struct DoctorArgs {
    /// Read this configuration.
    #[arg(long, value_name = "FILE", env = "LLM_TRACKER_CONFIG")]
    pub config: Option<PathBuf>,
}

/// Arguments of `generate`.
#[derive(Clone, Debug, Args)]
pub struct GenerateArgs {
    /// Write into this folder, which is made where it is not there.
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
