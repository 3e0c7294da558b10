//! Single calls as a table, as JSON lines, as CSV; those that there are, and those that come.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::Value;

use super::{
    csv,
    table::{Column, Layout, Table},
};
use crate::{
    human::{count, seconds, usd},
    ledger::StoredCall,
};

/// In which form calls are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// For people.
    Table,
    /// A line of the event log each.
    Json,
    /// A line each, of the columns in [`CSV`].
    Csv,
}

/// Writes calls in one form; what the first of them needs is written once.
#[derive(Debug)]
pub(super) struct Writer {
    form: Form,
    room: Option<usize>,
    layout: Option<Layout>,
    begun: bool,
}

/// What the columns of the CSV are, as paths into the call record.
const CSV: &[&str] = &[
    "timestamp",
    "provider",
    "operation",
    "model",
    "response_model",
    "response_id",
    "server_address",
    "server_port",
    "path",
    "role",
    "streaming",
    "status",
    "error",
    "finish_reasons",
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation_1h_input_tokens",
    "audio_input_tokens",
    "image_input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_output_tokens",
    "image_output_tokens",
    "total_tokens",
    "usage_source",
    "tool_calls",
    "server_tool_calls",
    "service_tier",
    "continued",
    "retry",
    "time_to_first_token_seconds",
    "time_per_output_token_seconds",
    "output_tokens_per_second",
    "duration_seconds",
    "cost_usd",
    "list_cost_usd",
    "cost_source",
    "process.pid",
    "process.name",
    "process.exe",
    "process.uid",
    "process.user",
    "cgroup",
    "container.id",
    "container.name",
    "container.image",
    "container.image_id",
    "container.runtime",
    "container.pod",
    "container.pod_uid",
    "container.namespace",
    "container.workload",
    "container.labels",
    "unit",
    "slice",
    "login.uid",
    "login.user",
    "login.session",
    "agent.name",
    "agent.pid",
    "session.name",
    "session.labels",
];

/// A field of a call, by its path.
fn field<'a>(call: &'a StoredCall, path: &str) -> Option<&'a Value> {
    let mut names = path.split('.');
    let first = call.get(names.next()?)?;
    names.try_fold(first, |value, name| value.get(name))
}

impl Writer {
    /// For a terminal of so many columns, or for a file.
    pub(super) const fn new(form: Form, room: Option<usize>) -> Self {
        Self { form, room, layout: None, begun: false }
    }

    /// The text of these calls, to be written after that of those before.
    pub(super) fn write(&mut self, calls: &[StoredCall]) -> Result<String> {
        let first = !std::mem::replace(&mut self.begun, true);
        match self.form {
            Form::Table => Ok(self.table(calls)),
            Form::Json => {
                let mut lines = String::new();
                for call in calls {
                    writeln!(lines, "{}", serde_json::to_string(call)?)?;
                }
                Ok(lines)
            }
            Form::Csv => {
                let mut writer = csv::Writer::default();
                if first {
                    writer.line(CSV.iter().map(|path| Some(Value::from(*path))))?;
                }
                for call in calls {
                    writer.line(CSV.iter().map(|path| field(call, path).cloned()))?;
                }
                writer.text()
            }
        }
    }

    /// Columns are as wide as the first calls need them; later ones are cut to it, so that they line up.
    fn table(&mut self, calls: &[StoredCall]) -> String {
        let mut table = Table::new([
            Column::text("time"),
            Column::text("process"),
            Column::number("pid").dispensable(4),
            Column::text("provider").dispensable(3),
            Column::text("model"),
            Column::number("status").dispensable(5),
            Column::number("input"),
            Column::number("cached").dispensable(7),
            Column::number("output"),
            Column::number("cost").dispensable(1),
            Column::number("first").dispensable(6),
            Column::number("took"),
            Column::text("tools").dispensable(2),
            Column::text("error").alert(),
        ]);
        for call in calls {
            table.row(cells(call));
        }
        if calls.is_empty() {
            return String::new();
        }
        match &self.layout {
            Some(layout) => table.body(layout),
            None => {
                let layout = table.layout(self.room);
                let text = table.header(&layout) + &table.body(&layout);
                self.layout = Some(layout);
                text
            }
        }
    }
}

fn cells(call: &StoredCall) -> [Option<String>; 14] {
    let text = |path: &str| field(call, path).and_then(Value::as_str).map(str::to_owned);
    let number = |path: &str| field(call, path).and_then(Value::as_u64);
    let time = |path: &str| field(call, path).and_then(Value::as_f64).map(seconds);
    let tools = field(call, "tool_calls").and_then(Value::as_array);
    [
        // To the second: whoever needs more asks for JSON.
        text("timestamp").map(|at| at.split('.').next().unwrap_or_default().replace('T', " ")),
        text("process.name"),
        number("process.pid").map(|pid| pid.to_string()),
        text("provider"),
        text("response_model").or_else(|| text("model")),
        number("status").map(|status| status.to_string()),
        number("input_tokens").map(count),
        number("cache_read_input_tokens").map(count),
        number("output_tokens").map(count),
        field(call, "cost_usd").and_then(Value::as_f64).map(usd),
        time("time_to_first_token_seconds"),
        time("duration_seconds"),
        tools.map(|tools| tools.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")),
        text("error"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{
        line,
        tests::{bare, full},
    };

    fn call(record: &crate::record::Record) -> StoredCall {
        line::fields(record).unwrap()
    }

    /// The paths of all that is no object.
    fn paths(before: &str, fields: &StoredCall, found: &mut Vec<String>) {
        for (name, value) in fields {
            match value {
                Value::Object(fields) if name != "labels" => {
                    paths(&format!("{before}{name}."), fields, found);
                }
                _ => found.push(format!("{before}{name}")),
            }
        }
    }

    #[test]
    fn a_spreadsheet_gets_every_field_of_the_call_record() {
        let mut record = full();
        record.call.continued = true;
        let mut found = Vec::new();
        paths("", &call(&record), &mut found);
        found.retain(|path| path != "type");
        found.sort();
        let mut columns = CSV.to_vec();
        columns.sort_unstable();
        assert_eq!(found, columns);
    }

    #[test]
    fn what_comes_later_stands_under_what_came_first() {
        let mut writer = Writer::new(Form::Table, Some(100));
        assert_eq!(writer.write(&[]).unwrap(), "");
        let mut text = writer.write(&[call(&full())]).unwrap();
        text += &writer.write(&[call(&bare())]).unwrap();
        let text = anstream::adapter::strip_str(&text).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        let column = lines[0].find("process").unwrap();
        assert!(lines[1][column..].starts_with("python3") && lines[2][column..].starts_with('-'), "{text}");
        assert!(lines[1].starts_with("2026-01-02 03:04:05  "), "{text}");
        assert!(lines.iter().all(|line| line.chars().count() <= 100), "{text}");
    }

    #[test]
    fn programs_get_the_lines_of_the_event_log() {
        let text = Writer::new(Form::Json, None).write(&[call(&full()), call(&bare())]).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines, [Value::Object(call(&full())), Value::Object(call(&bare()))]);

        let mut writer = Writer::new(Form::Csv, None);
        let lines = writer.write(&[call(&full())]).unwrap() + &writer.write(&[call(&bare())]).unwrap();
        assert_eq!(lines.lines().count(), 3, "one header: {lines}");
    }
}
