//! The command line.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use toml::Value;

use crate::{
    config::{Flag, LogFormat, LogLevel, Sources},
    exec::ExecArgs,
    report::{CallsArgs, ExportArgs, PricesArgs, ReportArgs, SessionArgs},
    top::TopArgs,
};

const EXAMPLES: &str = "\
Examples:
  llm-tracker doctor                       does this machine suffice, and which TLS libraries are in use?
  llm-tracker run                          metrics at http://127.0.0.1:9435/metrics
  llm-tracker run --events -               and one JSON line a call on standard output
  llm-tracker run --config /etc/llm-tracker.toml
  llm-tracker config show                  every setting, and where its value comes from

Every key of the configuration can be set by a variable of the environment: LLM_TRACKER_, its section and its
name, in capitals (metrics.listen: LLM_TRACKER_METRICS_LISTEN). Flags go over variables over the file.

Exit status: 0 where all was done; 1 where it was not, or doctor found what stands in the way: standard error says
why; 2 where the command line cannot be understood. That of exec is its command's.";

const RUN_EXAMPLES: &str = "\
Examples:
  llm-tracker run                                       metrics at http://127.0.0.1:9435/metrics
  llm-tracker run --events - --ledger ledger.db         one JSON line a call, and every call stored
  llm-tracker run --config /etc/llm-tracker.toml --check-config";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  llm-tracker doctor
  llm-tracker --config /etc/llm-tracker.toml doctor     with the settings of the service";

const CALLS_EXAMPLES: &str = "\
Examples:
  llm-tracker calls                                     the latest 50 of the last day
  llm-tracker calls --follow --where 'user=ada'         as they happen
  llm-tracker calls --since 7d -n 1000 --where 'error!=' --csv
  llm-tracker calls --json | jq 'select(.duration_seconds > 60) | .response_id'";

const CONFIG_EXAMPLES: &str = "\
Examples:
  llm-tracker config show
  llm-tracker --config /etc/llm-tracker.toml config show --json";

const GENERATE_EXAMPLES: &str = "\
Examples:
  llm-tracker generate target/generated                 llm-tracker.1, llm-tracker.bash, _llm-tracker, ...";

const REPORT_EXAMPLES: &str = "\
Examples:
  llm-tracker report                                    the last day, by model
  llm-tracker report --since 7d --by user,model
  llm-tracker report --by agent --where 'provider=anthropic' --where 'agent!='
  llm-tracker report --since 2026-01-01 --until 2026-02-01 --by container --csv";

const EXPORT_EXAMPLES: &str = "\
Examples:
  llm-tracker export --format open-strix --since 7d > events.jsonl
  llm-tracker export --format agentopt --where session=nightly
  llm-tracker export --format otel-json --where agent=claude";

const SESSION_EXAMPLES: &str = "\
Examples:
  llm-tracker session nightly                           what it has used, and its calls one by one
  llm-tracker session nightly/suite-3 --since 7d --json";

const EXEC_EXAMPLES: &str = "\
Examples:
  llm-tracker exec -- python3 agent.py
  llm-tracker exec --session nightly --label suite=web -- make eval
  llm-tracker report --by session,model --where session=nightly

The command gets LLM_TRACKER_SESSION and LLM_TRACKER_LABELS (suite=web,data_id=7) in its environment. Programs that
start others can set them, too, for each of them. The exit status is the command's.";

const PRICES_EXAMPLES: &str = "\
Examples:
  llm-tracker prices claude-sonnet-4-5-20250929         what is used for its calls, at each provider
  llm-tracker prices gpt-5 --provider azure.ai.openai
  llm-tracker prices --json                             all prices";

const TOP_EXAMPLES: &str = "\
Examples:
  llm-tracker top                          q quits, the line at the bottom has the other keys
  llm-tracker top --by model --order cost
  llm-tracker top --once                   print it, as is done in a pipe
  llm-tracker top --json | jq '.totals'";

/// Sees every LLM call that a Linux host makes, with no proxy, no SDK and no restart.
#[derive(Debug, Parser)]
#[command(name = "llm-tracker", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// How much to say on standard error [default: info for run, warn for the others].
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
    /// In which form [default: text].
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Read this configuration.
    #[arg(long, global = true, value_name = "FILE", env = "LLM_TRACKER_CONFIG")]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch this host until SIGTERM or SIGINT.
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Say, line by line, whether this machine suffices, and list every TLS object in use.
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor,
    /// Add up the calls in the ledger: tokens, cost, errors and times by model, user, process, container ...
    #[command(after_help = REPORT_EXAMPLES)]
    Report(ReportArgs),
    /// List single calls of the ledger, and those that come.
    #[command(after_help = CALLS_EXAMPLES)]
    Calls(CallsArgs),
    /// Show what tokens cost, and whose prices these are.
    #[command(after_help = PRICES_EXAMPLES)]
    Prices(PricesArgs),
    /// Show what one session has used, and its calls one by one.
    #[command(after_help = SESSION_EXAMPLES)]
    Session(SessionArgs),
    /// Write calls in the shapes of other trackers, one JSON object a line.
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(ExportArgs),
    /// Run a command whose LLM calls, and those of all that it starts, belong to a session.
    #[command(after_help = EXEC_EXAMPLES)]
    Exec(ExecArgs),
    /// Show what runs now and in the last minutes: streams in flight, rates, spending.
    #[command(after_help = TOP_EXAMPLES)]
    Top(TopArgs),
    /// Look at the configuration.
    #[command(subcommand, after_help = CONFIG_EXAMPLES)]
    Config(ConfigCommand),
    /// Write manual pages and the completions of shells, for packages.
    #[command(after_help = GENERATE_EXAMPLES)]
    Generate(GenerateArgs),
}

/// Flags of `run`; each goes over what the configuration says.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// Write one JSON line a call to this file (appended), or to standard output with `-`.
    #[arg(long, value_name = "FILE")]
    pub events: Option<PathBuf>,
    /// Store every call in this database, for `report` and `calls`.
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
    /// Serve /metrics, /healthz and /readyz here [default: 127.0.0.1:9435].
    #[arg(long, value_name = "ADDR")]
    pub metrics_listen: Option<SocketAddr>,
    /// Who may ask for metrics, and over TLS how: a file in the form of Prometheus' exporters.
    #[arg(long, value_name = "FILE")]
    pub metrics_web_config: Option<PathBuf>,
    /// Do not estimate the tokens of calls for which the provider reports none.
    #[arg(long)]
    pub no_estimate: bool,
    /// Say whether the configuration can be used, and do nothing.
    #[arg(long)]
    pub check_config: bool,
}

/// What can be done with the configuration.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Every key, its value, and where that came from.
    #[command(after_help = CONFIG_EXAMPLES)]
    Show {
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

impl Cli {
    /// Where the settings come from: the file, and the flags that were given.
    #[must_use]
    pub fn sources(&self) -> Sources {
        let Self { log_level, log_format, config, command } = self;
        let mut flags = Vec::new();
        let mut flag = |name, key, value: Option<Value>| {
            flags.extend(value.map(|value| Flag { name, key, value }));
        };
        flag("--log-level", "log.level", log_level.as_ref().map(name));
        flag("--log-format", "log.format", log_format.as_ref().map(name));
        if let Command::Run(RunArgs {
            events,
            ledger,
            metrics_listen,
            metrics_web_config,
            no_estimate,
            check_config: _,
        }) = command
        {
            flag("--events", "events.file", events.as_deref().map(path));
            flag("--ledger", "ledger.file", ledger.as_deref().map(path));
            flag(
                "--metrics-listen",
                "metrics.listen",
                metrics_listen.map(|address| address.to_string().into()),
            );
            flag("--metrics-web-config", "metrics.web_config", metrics_web_config.as_deref().map(path));
            flag("--no-estimate", "usage.estimate", no_estimate.then_some(Value::Boolean(false)));
        }
        Sources { file: config.clone(), flags }
    }
}

fn name<T: ValueEnum>(value: &T) -> Value {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned()).into()
}

fn path(path: &Path) -> Value {
    path.to_string_lossy().into_owned().into()
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

    #[test]
    fn every_command_has_examples_that_can_be_typed() {
        fn check(command: &clap::Command, path: &str) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples = help.split_once("Examples:\n").map(|(_, after)| after);
            let examples = examples.unwrap_or_else(|| panic!("{path} has no examples"));
            for line in examples.lines().take_while(|line| line.starts_with("  ")) {
                // What is explained stands behind two spaces, what becomes of it behind a bar or an arrow.
                let typed =
                    line.trim_start().split("  ").next().and_then(|line| line.split(['|', '>']).next());
                let words = typed.unwrap_or_default().split_whitespace().map(|word| word.replace('\'', ""));
                Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{path}: {line}: {error}"));
            }
            for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
                check(command, &format!("{path} {}", command.get_name()));
            }
        }
        check(&Cli::command(), "llm-tracker");
    }

    #[test]
    fn every_flag_sets_its_key() {
        let typed = "llm-tracker --log-level debug --log-format json run --events - --ledger l.db --metrics-listen [::1]:1 \
                     --metrics-web-config web.yml --no-estimate";
        let cli = Cli::parse_from(typed.split_whitespace());
        let settings = crate::config::Settings::load(None, [], &cli.sources().flags).unwrap();
        for flag in [
            "--log-level",
            "--log-format",
            "--events",
            "--ledger",
            "--metrics-listen",
            "--metrics-web-config",
        ] {
            let set = settings.entries().iter().filter(|entry| entry.source.to_string() == flag).count();
            assert_eq!(set, 1, "{flag}");
        }
        assert!(!settings.config.usage.estimate);
        assert_eq!(settings.config.log.level, LogLevel::Debug);
        assert_eq!(settings.config.metrics.listen.port(), 1);
    }
}
