//! `llm-tracker report`, `calls`, `session` and `export`: answers at the prompt.
//!
//! A `Source` answers, `render` and `calls` show it; neither knows of the other.

mod budgets;
mod calls;
mod csv;
mod empty;
mod export;
mod fields;
mod moment;
mod prices;
mod render;
mod session;
mod shapes;
mod source;
mod table;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::{
    config::Config,
    ledger::{Condition, Dimension, Question, Span},
    terminal::{self, Progress},
};
use calls::{Form, Writer};
pub use export::{ExportArgs, export};
pub use moment::{Moment, NoMoment};
pub use prices::{PricesArgs, prices};
pub(crate) use session::Used;
pub use session::{SessionArgs, session};
pub use shapes::Format;
use source::Source;

/// Where the packaged service keeps its ledger.
pub const DEFAULT_LEDGER: &str = "/var/lib/llm-tracker/ledger.db";

/// Which calls, of which ledger.
#[derive(Clone, Debug, Args)]
pub struct Which {
    /// From then on: an age (90m, 24h, 7d) or a time (2026-01-31, 2026-01-31T08:00:00Z).
    #[arg(long, value_name = "WHEN", default_value = "24h")]
    pub since: Moment,
    /// Until then, as above [default: now].
    #[arg(long, value_name = "WHEN")]
    pub until: Option<Moment>,
    /// Only calls of which this is so: NAME=PATTERN or NAME!=PATTERN, `*` is anything, nothing is no value.
    #[arg(long = "where", value_name = "CONDITION")]
    pub conditions: Vec<Condition>,
    /// Read this ledger. Without it the daemon is asked, which shows users their own calls, and root and its
    /// group everybody's; where none runs, it is the ledger of the configuration that is read [default:
    /// /var/lib/llm-tracker/ledger.db].
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,
}

/// Arguments of `report`.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// What calls are told apart by, in this order (model, user, process, container, agent, tool, ...).
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "model")]
    pub by: Vec<Dimension>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "flattened: clap would take the text for the command's own")]
    pub which: Which,
    /// For programs: JSON.
    #[arg(long)]
    pub json: bool,
    /// For spreadsheets: comma-separated values.
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
}

/// Arguments of `calls`.
#[derive(Clone, Debug, Args)]
pub struct CallsArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "flattened: clap would take the text for the command's own")]
    pub which: Which,
    /// For programs: a line of the event log each.
    #[arg(long)]
    pub json: bool,
    /// For spreadsheets: comma-separated values.
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    /// The latest so many.
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 50)]
    pub most: u32,
    /// And those that come, until it is interrupted; a daemon that is started again is waited for.
    #[arg(long, short, conflicts_with = "until")]
    pub follow: bool,
}

impl Which {
    /// What is asked now, told apart `by` something.
    fn question(&self, by: &[Dimension]) -> Question {
        let now = jiff::Timestamp::now();
        let nanos = |moment: Moment| i64::try_from(moment.before(now).as_nanosecond()).unwrap_or(i64::MAX);
        let span = Span { from: nanos(self.since), until: self.until.map_or(i64::MAX, nanos) };
        Question { span, by: by.to_vec(), conditions: self.conditions.clone() }
    }
}

/// Shows what calls add up to.
///
/// # Errors
/// There is neither a daemon nor a ledger, or what there is does not answer; standard output cannot be written.
pub fn report(args: &ReportArgs, config: &Config) -> Result<()> {
    let ReportArgs { by, which, json, csv } = args;
    let mut source = Source::open(which.ledger.as_deref(), config)?;
    let question = which.question(by);
    let progress = Progress::start("Adding up calls");
    // Those of the configuration are of its ledger.
    let budgets = if which.ledger.is_none() { config.budget.as_slice() } else { &[] };
    let said = source.report_with(&question, budgets)?;
    drop(progress);
    let answer = &said.answer;
    if *json {
        terminal::say(&format!("{}\n", serde_json::to_string_pretty(&said)?))?;
    } else if *csv {
        terminal::say(&render::as_csv(answer)?)?;
    } else if answer.groups.is_empty() {
        terminal::say(&empty::why(&mut source, &question)?)?;
    } else {
        terminal::show(&render::table(answer, terminal::width()))?;
    }
    if !*json && !*csv {
        terminal::show(&budgets::show(&said.budgets, said.budgets_not_shown, terminal::width()))?;
    }
    Ok(())
}

/// Shows single calls.
///
/// # Errors
/// As [`report`].
pub fn calls(args: &CallsArgs, config: &Config) -> Result<()> {
    let CallsArgs { which, json, csv, most, follow } = args;
    let question = which.question(&[]);
    let form = match (json, csv) {
        (true, _) => Form::Json,
        (_, true) => Form::Csv,
        _ => Form::Table,
    };
    let mut writer = Writer::new(form, terminal::width());
    let mut source = Source::open(which.ledger.as_deref(), config)?;
    if *follow {
        return source.follow(&question, *most, |calls| Ok(terminal::show(&writer.write(calls)?)?));
    }
    let progress = Progress::start("Looking for calls");
    let calls = source.calls(&question, *most)?;
    drop(progress);
    if calls.is_empty() && form == Form::Table {
        terminal::say(&empty::why(&mut source, &question)?)?;
    } else {
        terminal::show(&writer.write(&calls)?)?;
    }
    Ok(())
}
