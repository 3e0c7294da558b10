//! `llm-tracker report`, `calls`, `session` and `export`: answers from the ledger, at the prompt.

mod export;
mod fields;
mod moment;
mod prices;
mod session;
mod shapes;
mod source;
mod table;

use std::{fmt::Write as _, path::PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};

use crate::{
    config::Config,
    ledger::{Condition, Dimension, Group, Report, Span, StoredCall},
};
pub use export::{ExportArgs, export};
pub use moment::{Moment, NoMoment};
pub(crate) use session::Used;
pub use session::{SessionArgs, SessionReportError, session};
pub use shapes::Format;
use source::Source;
pub use source::SourceError;
use table::{Align, Table};
pub(crate) use table::{count, seconds, share, usd};

pub use prices::{PricesArgs, prices};

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
    /// For programs: JSON.
    #[arg(long)]
    pub json: bool,
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
    /// The latest so many.
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 50)]
    pub most: u32,
}

/// What `report` says.
///
/// # Errors
/// There is neither a daemon nor a ledger, or what there is does not answer.
pub fn report(args: &ReportArgs, config: &Config) -> Result<String, SourceError> {
    let (mut source, span) = open(&args.which, config)?;
    let report = source.report(span, &args.by, &args.which.conditions)?;
    let names: Vec<&str> = args.by.iter().map(|dimension| dimension.name()).collect();
    if args.which.json {
        return Ok(format!("{:#}\n", as_json(&report, &names)));
    }
    if args.csv {
        return Ok(as_csv(&report, &names));
    }
    if report.groups.is_empty() {
        return Ok(nothing(span, &source, &args.which));
    }
    Ok(as_table(&report, &names).to_string())
}

/// What `calls` says.
///
/// # Errors
/// As [`report`].
pub fn calls(args: &CallsArgs, config: &Config) -> Result<String, SourceError> {
    let (mut source, span) = open(&args.which, config)?;
    let calls = source.calls(span, &args.which.conditions, args.most)?;
    if args.which.json {
        let mut lines = String::new();
        for call in calls {
            // Writing to a string does not fail.
            let _ = writeln!(lines, "{}", Value::Object(call));
        }
        return Ok(lines);
    }
    if calls.is_empty() {
        return Ok(nothing(span, &source, &args.which));
    }
    Ok(list(&calls).to_string())
}

fn open(which: &Which, config: &Config) -> Result<(Source, Span), SourceError> {
    let source = Source::open(which.ledger.as_deref(), config)?;
    let now = jiff::Timestamp::now();
    let nanos = |moment: Moment| i64::try_from(moment.before(now).as_nanosecond()).unwrap_or(i64::MAX);
    let until = which.until.map_or(i64::MAX, nanos);
    Ok((source, Span { from: nanos(which.since), until }))
}

/// Why there is nothing to show.
fn nothing(span: Span, source: &Source, which: &Which) -> String {
    let from = jiff::Timestamp::from_nanosecond(span.from.into()).map(|at| format!("{at:.0}"));
    let conditions = if which.conditions.is_empty() { "" } else { " meets the conditions" };
    format!(
        "No call since {}{conditions}, {source}. An earlier --since may find some.\n",
        from.unwrap_or_default(),
    )
}

/// Tokens of groups in which none is known are not zero.
fn tokens(group: &Group, sum: u64) -> Option<u64> {
    (group.known_usage > 0).then_some(sum)
}

fn cost(group: &Group) -> Option<f64> {
    (group.known_cost > 0).then_some(group.cost_usd)
}

fn rate(group: &Group) -> Option<f64> {
    let rate = group.output_tokens as f64 / group.duration_seconds;
    (group.known_usage > 0 && rate.is_finite()).then_some(rate)
}

fn as_table(report: &Report, names: &[&str]) -> Table {
    let numbers = [
        "calls",
        "errors",
        "retries",
        "input",
        "cached",
        "output",
        "reasoning",
        "cost",
        "first token",
        "time p50",
        "time p95",
    ];
    let mut table = Table::new(
        names.iter().map(|name| (*name, Align::Left)).chain(numbers.map(|name| (name, Align::Right))),
    );
    for group in &report.groups {
        let keys = group.key.iter().map(|value| value.clone().unwrap_or_else(|| "-".to_owned()));
        let tokens = |sum| tokens(group, sum).map(count);
        let numbers = [
            Some(count(group.calls)),
            Some(share(group.errors, group.calls)),
            Some(count(group.retries)),
            tokens(group.input_tokens),
            tokens(group.cache_read_input_tokens),
            tokens(group.output_tokens),
            tokens(group.reasoning_tokens),
            cost(group).map(usd),
            group.first_tokens.quantile(0.5).map(seconds),
            group.durations.quantile(0.5).map(seconds),
            group.durations.quantile(0.95).map(seconds),
        ];
        table.row(keys.chain(numbers.map(|number| number.unwrap_or_else(|| "-".to_owned()))));
    }
    table
}

/// The fields of a group by name; absent is not known.
fn fields(group: &Group, names: &[&str]) -> Map<String, Value> {
    let mut fields = Map::new();
    for (name, value) in names.iter().zip(&group.key) {
        fields.insert((*name).to_owned(), json!(value));
    }
    let tokens = |sum| json!(tokens(group, sum));
    for (name, value) in [
        ("calls", json!(group.calls)),
        ("errors", json!(group.errors)),
        ("retries", json!(group.retries)),
        ("calls_with_usage", json!(group.known_usage)),
        ("input_tokens", tokens(group.input_tokens)),
        ("cache_read_input_tokens", tokens(group.cache_read_input_tokens)),
        ("cache_creation_input_tokens", tokens(group.cache_creation_input_tokens)),
        ("output_tokens", tokens(group.output_tokens)),
        ("reasoning_tokens", tokens(group.reasoning_tokens)),
        ("calls_with_cost", json!(group.known_cost)),
        ("cost_usd", json!(cost(group))),
        ("list_cost_usd", json!(Some(group.list_cost_usd).filter(|cost| *cost > 0.0))),
        ("output_tokens_per_second", json!(rate(group))),
        ("time_to_first_token_seconds_p50", json!(group.first_tokens.quantile(0.5))),
        ("time_to_first_token_seconds_p95", json!(group.first_tokens.quantile(0.95))),
        ("duration_seconds_p50", json!(group.durations.quantile(0.5))),
        ("duration_seconds_p95", json!(group.durations.quantile(0.95))),
    ] {
        fields.insert(name.to_owned(), value);
    }
    fields
}

fn as_json(report: &Report, names: &[&str]) -> Value {
    let since = jiff::Timestamp::from_nanosecond(report.span.from.into()).map(|at| format!("{at:.6}"));
    let groups: Vec<Value> = report.groups.iter().map(|group| Value::Object(fields(group, names))).collect();
    json!({ "since": since.ok(), "groups": groups })
}

fn as_csv(report: &Report, names: &[&str]) -> String {
    let header = fields(&Group { key: vec![None; names.len()], ..Group::default() }, names);
    // The names of what was asked for come first, in their order.
    let numbers = header.keys().map(String::as_str).filter(|name| !names.contains(name));
    let columns: Vec<&str> = names.iter().copied().chain(numbers).collect();
    let mut text = columns.join(",") + "\r\n";
    for group in &report.groups {
        let fields = fields(group, names);
        let cells: Vec<String> = columns.iter().map(|name| cell(fields.get(*name))).collect();
        text += &(cells.join(",") + "\r\n");
    }
    text
}

/// As RFC 4180 has it; a text that a spreadsheet would take for a formula is made none.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => {
            let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.clone() };
            if text.contains([',', '"', '\n', '\r']) {
                format!("\"{}\"", text.replace('"', "\"\""))
            } else {
                text
            }
        }
        Some(number) => number.to_string(),
    }
}

fn list(calls: &[StoredCall]) -> Table {
    let (left, right) = (Align::Left, Align::Right);
    let mut table = Table::new([
        ("time", left),
        ("process", left),
        ("pid", right),
        ("provider", left),
        ("model", left),
        ("status", right),
        ("input", right),
        ("cached", right),
        ("output", right),
        ("cost", right),
        ("first token", right),
        ("time", right),
        ("tools", left),
        ("error", left),
    ]);
    for call in calls {
        let text = |name: &str| call.get(name).and_then(Value::as_str).map(str::to_owned);
        let number = |name: &str| call.get(name).and_then(Value::as_u64).map(count);
        let time = |name: &str| call.get(name).and_then(Value::as_f64).map(seconds);
        let process = call.get("process");
        let tools = call
            .get("tool_calls")
            .and_then(Value::as_array)
            .map(|tools| tools.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "));
        table.row(
            [
                text("timestamp"),
                process.and_then(|it| it.get("name")?.as_str().map(str::to_owned)),
                process.and_then(|it| it.get("pid")?.as_u64()).map(|pid| pid.to_string()),
                text("provider"),
                text("response_model").or_else(|| text("model")),
                call.get("status").map(ToString::to_string),
                number("input_tokens"),
                number("cache_read_input_tokens"),
                number("output_tokens"),
                call.get("cost_usd").and_then(Value::as_f64).map(usd),
                time("time_to_first_token_seconds"),
                time("duration_seconds"),
                tools,
                text("error"),
            ]
            .map(|value| value.unwrap_or_else(|| "-".to_owned())),
        );
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut known = Group {
            key: vec![Some("a,\"b\"".to_owned())],
            calls: 1234,
            errors: 1,
            known_usage: 1000,
            input_tokens: 1_000_000,
            known_cost: 2,
            cost_usd: 0.25,
            ..Group::default()
        };
        known.durations.add(0, 3);
        let unknown = Group { key: vec![None], calls: 1, ..Group::default() };
        Report { span: Span { from: 0, until: i64::MAX }, groups: vec![known, unknown] }
    }

    #[test]
    fn a_table_has_what_is_known_and_nothing_else() {
        let table = as_table(&report(), &["model"]).to_string();
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines[1],
            [
                "a,\"b\"",
                "1,234",
                "0.1",
                "%",
                "0",
                "1,000,000",
                "0",
                "0",
                "0",
                "$0.25",
                "-",
                "1.0",
                "s",
                "1.0",
                "s"
            ]
        );
        assert_eq!(lines[2], ["-", "1", "0", "0", "-", "-", "-", "-", "-", "-", "-", "-"]);
    }

    #[test]
    fn a_spreadsheet_gets_its_quotes_and_no_formula() {
        let csv = as_csv(&report(), &["model"]);
        let lines: Vec<&str> = csv.lines().collect();
        assert!(lines[0].starts_with("model,") && lines[1].starts_with("\"a,\"\"b\"\"\","), "{csv}");
        assert_eq!(lines[0].split(',').count(), lines[2].split(',').count());
        assert_eq!(cell(Some(&json!("=1+1"))), "'=1+1");
    }

    #[test]
    fn json_says_null_for_what_is_not_known() {
        let json = as_json(&report(), &["model"]);
        assert_eq!(json["groups"][0]["cost_usd"], 0.25);
        assert!(json["groups"][1]["input_tokens"].is_null() && json["groups"][1]["model"].is_null());
    }
}
