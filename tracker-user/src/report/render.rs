//! Sums as a table, as CSV.

use serde_json::Value;

use super::{
    csv,
    table::{Column, Table},
};
use crate::{
    human::{count, seconds, share, usd},
    ledger::{Answer, Totals},
};

/// The table, in the room that there is.
pub(super) fn table(answer: &Answer, room: Option<usize>) -> String {
    let mut table = Table::new(answer.by.iter().map(|name| Column::text(name)).chain([
        Column::number("calls"),
        Column::number("errors").alert(),
        Column::number("retries").alert().dispensable(5),
        Column::number("input"),
        Column::number("cached").dispensable(4),
        Column::number("written").dispensable(9),
        Column::number("output"),
        Column::number("reasoning").dispensable(7),
        Column::number("cost"),
        Column::number("at list").dispensable(10),
        Column::number("tokens/s").dispensable(6),
        Column::number("first p50").dispensable(3),
        Column::number("first p95").dispensable(8),
        Column::number("time p50").dispensable(1),
        Column::number("time p95").dispensable(2),
    ]));
    for group in &answer.groups {
        let keys = answer.by.iter().map(|name| group.by.get(name).cloned().flatten());
        table.row(keys.chain(cells(&group.totals)));
    }
    if answer.groups.len() > 1 {
        let keys = (0..answer.by.len()).map(|column| Some(if column == 0 { "all" } else { "" }.to_owned()));
        table.row(keys.chain(cells(&answer.total)));
    }
    table.show(room)
}

fn cells(totals: &Totals) -> [Option<String>; 15] {
    // In full, so that a new field forces a decision.
    let Totals {
        calls,
        errors,
        retries,
        calls_with_usage: _,
        input_tokens,
        cache_read_input_tokens,
        cache_creation_input_tokens,
        output_tokens,
        reasoning_tokens,
        total_tokens: _,
        calls_with_cost: _,
        cost_usd,
        list_cost_usd,
        output_tokens_per_second,
        time_to_first_token_seconds_p50,
        time_to_first_token_seconds_p95,
        duration_seconds_p50,
        duration_seconds_p95,
    } = totals;
    [
        Some(count(*calls)),
        Some(share(*errors, *calls)),
        Some(count(*retries)),
        input_tokens.map(count),
        cache_read_input_tokens.map(count),
        cache_creation_input_tokens.map(count),
        output_tokens.map(count),
        reasoning_tokens.map(count),
        cost_usd.map(usd),
        list_cost_usd.map(usd),
        output_tokens_per_second.map(|rate| format!("{rate:.1}")),
        time_to_first_token_seconds_p50.map(seconds),
        time_to_first_token_seconds_p95.map(seconds),
        duration_seconds_p50.map(seconds),
        duration_seconds_p95.map(seconds),
    ]
}

/// The columns of the CSV beside the names of what was asked for.
const CSV: [&str; 18] = [
    "calls",
    "errors",
    "retries",
    "calls_with_usage",
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "total_tokens",
    "calls_with_cost",
    "cost_usd",
    "list_cost_usd",
    "output_tokens_per_second",
    "time_to_first_token_seconds_p50",
    "time_to_first_token_seconds_p95",
    "duration_seconds_p50",
    "duration_seconds_p95",
];

/// One line a group: the names of what was asked for, then the fields of the totals.
pub(super) fn as_csv(answer: &Answer) -> anyhow::Result<String> {
    let mut writer = csv::Writer::default();
    let names = answer.by.iter().map(String::as_str).chain(CSV);
    writer.line(names.map(|name| Some(Value::from(name))))?;
    for group in &answer.groups {
        let keys = answer.by.iter().map(|name| Some(group.by.get(name).cloned().flatten().into()));
        let totals = serde_json::to_value(&group.totals)?;
        writer.line(keys.chain(CSV.iter().map(|name| totals.get(name).cloned())))?;
    }
    writer.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::AnswerGroup;

    fn answer() -> Answer {
        let known = Totals {
            calls: 1234,
            errors: 1,
            calls_with_usage: 1000,
            input_tokens: Some(1_000_000),
            output_tokens: Some(0),
            cost_usd: Some(0.25),
            duration_seconds_p50: Some(1.04),
            ..Totals::default()
        };
        let unknown = Totals { calls: 1, ..Totals::default() };
        let group = |model: Option<&str>, totals| AnswerGroup {
            by: [("model".to_owned(), model.map(str::to_owned))].into(),
            totals,
        };
        Answer {
            since: jiff::Timestamp::UNIX_EPOCH,
            until: None,
            by: vec!["model".to_owned()],
            total: Totals { calls: 1235, ..Totals::default() },
            groups: vec![group(Some("a,\"b\""), known), group(None, unknown)],
        }
    }

    #[test]
    fn a_table_has_what_is_known_and_nothing_else() {
        let table = table(&answer(), None);
        let table = anstream::adapter::strip_str(&table).to_string();
        let lines: Vec<String> =
            table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines[1], "a,\"b\" 1,234 0.1 % 0 1,000,000 - - 0 - $0.25 - - - - 1.0 s -");
        assert_eq!(lines[2], "- 1 0 0 - - - - - - - - - - - -");
        assert!(lines[3].starts_with("all 1,235 "), "{table}");
    }

    #[test]
    fn a_narrow_terminal_has_what_matters() {
        let table = anstream::adapter::strip_str(&table(&answer(), Some(80))).to_string();
        let (rows, rest) = table.split_once("\n\n").unwrap();
        assert!(rows.lines().all(|line| line.chars().count() <= 80), "{table}");
        assert!(rows.contains("cost") && rows.contains("errors") && rest.contains("written"), "{table}");
    }

    #[test]
    fn json_says_null_for_what_is_not_known() {
        let json = serde_json::to_value(answer()).unwrap();
        assert_eq!(json["groups"][0]["cost_usd"], 0.25);
        assert_eq!(json["groups"][0]["by"]["model"], "a,\"b\"");
        assert!(json["groups"][1]["input_tokens"].is_null() && json["groups"][1]["by"]["model"].is_null());
        assert_eq!(serde_json::from_value::<Answer>(json).unwrap(), answer());
    }

    #[test]
    fn a_spreadsheet_gets_its_quotes_and_empty_cells() {
        let text = as_csv(&answer()).unwrap();
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert!(
            lines[0].starts_with("model,calls,errors,") && lines[1].starts_with("\"a,\"\"b\"\"\",1234,1,"),
            "{text}"
        );
        assert!(lines[2].starts_with(",1,0,0,0,,,"), "{text}");
        let fields = serde_json::to_value(Totals::default()).unwrap();
        assert!(
            CSV.iter().all(|name| fields.get(name).is_some())
                && CSV.len() == fields.as_object().unwrap().len()
        );
    }
}
