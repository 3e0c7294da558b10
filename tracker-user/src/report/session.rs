//! `llm-tracker session`, and what `exec` says at its end: what one session, with those within it, has used.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    Source, Which,
    fields::Fields,
    table::{Column, Table},
};
use crate::{
    config::Config,
    human::{count, seconds, share, usd},
    ledger::{Condition, Question, Span, StoredCall},
    terminal::Progress,
};

/// Calls that are looked at one by one, at most; the sums are of all.
const MOST: u32 = 10_000;
/// How much earlier than it was a call may seem to have begun, nanoseconds: the daemon reckons from another clock.
const SLACK: i64 = 10_000_000;

/// Arguments of `session`.
#[derive(Clone, Debug, Args)]
pub struct SessionArgs {
    /// Its name, as `report --by session` has it.
    pub name: String,
    #[command(flatten)]
    #[expect(missing_docs, reason = "flattened: clap would take the text for the command's own")]
    pub which: Which,
    /// For programs: JSON.
    #[arg(long)]
    pub json: bool,
}

/// What `session` says: the sums, and the sequence of calls.
///
/// # Errors
/// As [`report`](super::report()).
pub fn session(args: &SessionArgs, config: &Config) -> Result<String> {
    let SessionArgs { name, which, json } = args;
    let mut source = Source::open(which.ledger.as_deref(), config)?;
    let Question { span, conditions, .. } = which.question(&[]);
    let progress = Progress::start("Looking for the session");
    let used = Used::ask(&mut source, span, name, &conditions)?;
    drop(progress);
    if *json {
        return Ok(format!("{:#}\n", used.to_json(true)));
    }
    Ok(if used.calls.is_empty() {
        used.to_text()
    } else {
        format!("{}\n{}", used.to_text(), used.sequence().plain())
    })
}

/// What a session has used.
#[derive(Debug)]
pub(crate) struct Used {
    session: String,
    /// As `report --json` has groups: all calls together, and those of each model, tool and error.
    total: Value,
    models: Vec<Value>,
    tools: Vec<Value>,
    errors: Vec<Value>,
    /// The latest, in order.
    calls: Vec<StoredCall>,
}

impl Used {
    /// What has been used since `from`, with all that has happened by now; and whether the daemon could say so in
    /// time.
    ///
    /// # Errors
    /// No daemon answers.
    pub(crate) fn since(from: jiff::Timestamp, name: &str, config: &Config) -> Result<(Self, bool)> {
        let (mut source, settled) = Source::settled(config)?;
        let from = i64::try_from(from.as_nanosecond()).unwrap_or_default();
        let span = Span { from: from.saturating_sub(SLACK), until: i64::MAX };
        Ok((Self::ask(&mut source, span, name, &[])?, settled))
    }

    /// Asks for all of it. Calls that a watched process served are nobody's usage.
    fn ask(source: &mut Source, span: Span, name: &str, conditions: &[Condition]) -> Result<Self> {
        let session = format!("session={}", literal(name));
        let conditions = [conditions, &[session.parse()?, "role=client".parse()?]].concat();
        let mut groups = |by: &'static str| -> Result<Vec<Value>> {
            let mut conditions = conditions.clone();
            if !matches!(by, "" | "model") {
                conditions.push(format!("{by}!=").parse()?);
            }
            let by =
                by.split(',').filter(|name| !name.is_empty()).map(str::parse).collect::<Result<_, _>>()?;
            let answer = source.report(&Question { span, by, conditions })?;
            let flat = answer.groups.into_iter().map(|group| {
                let mut fields = serde_json::to_value(&group.totals)?;
                for (name, value) in group.by {
                    fields[name] = value.into();
                }
                Ok(fields)
            });
            flat.collect()
        };
        Ok(Self {
            session: name.to_owned(),
            total: groups("")?.pop().unwrap_or(Value::Null),
            models: groups("model")?,
            tools: groups("tool")?,
            errors: groups("error")?,
            calls: source.calls(&Question { span, by: Vec::new(), conditions: conditions.clone() }, MOST)?,
        })
    }

    /// Answers to users, and the calls of which they are: a turn ends with a call in which the model neither failed nor
    /// asked for a tool. Absent where not all calls are there.
    fn turns(&self) -> Option<(usize, usize)> {
        let all = u32::try_from(self.calls.len()).is_ok_and(|calls| calls < MOST);
        let calls = || self.calls.iter().map(Fields);
        all.then(|| {
            let steps = calls().filter(|call| call.speaks() && !call.is_continued());
            (calls().filter(|call| call.ends_turn()).count(), steps.count())
        })
    }

    fn calls_per_turn(&self) -> Option<f64> {
        let (turns, steps) = self.turns()?;
        (turns > 0).then(|| steps as f64 / turns as f64)
    }

    /// For programs.
    pub(crate) fn to_json(&self, with_calls: bool) -> Value {
        let named = |groups: &[Value], name: &str| -> Map<String, Value> {
            let named = |group: &Value| Some((group[name].as_str()?.to_owned(), group["calls"].clone()));
            groups.iter().filter_map(named).collect()
        };
        let mut answer = json!({
            "session": self.session,
            "total": self.total,
            "models": self.models,
            "tools": named(&self.tools, "tool"),
            "errors": named(&self.errors, "error"),
            "turns": self.turns().map(|(turns, _)| turns),
            "calls_per_turn": self.calls_per_turn(),
        });
        if with_calls {
            answer["calls"] = json!(self.calls);
        }
        answer
    }

    /// For people.
    pub(crate) fn to_text(&self) -> String {
        if self.models.is_empty() {
            return format!("The session {} has made no LLM calls.\n", clean(&self.session));
        }
        let mut text = format!("The session {}:\n{}", clean(&self.session), self.table().plain());
        let list = |groups: &[Value], name: &str| -> String {
            let item = |group: &Value| {
                let calls = group["calls"].as_u64().unwrap_or_default();
                format!("{} {}", clean(group[name].as_str().unwrap_or("-")), count(calls))
            };
            groups.iter().map(item).collect::<Vec<_>>().join(", ")
        };
        for (title, list) in [("tools", list(&self.tools, "tool")), ("errors", list(&self.errors, "error"))] {
            if !list.is_empty() {
                // Writing to a string does not fail.
                let _ = writeln!(text, "{title}: {list}");
            }
        }
        if let (Some((turns, _)), Some(each)) = (self.turns(), self.calls_per_turn()) {
            let _ = writeln!(text, "turns: {}, of {each:.1} calls each", count(turns as u64));
        }
        text
    }

    /// The sums, by model and in all.
    fn table(&self) -> Table<'static> {
        let (left, right) = (Column::text, Column::number);
        let mut table = Table::new([
            left("model"),
            right("calls"),
            right("errors"),
            right("retries"),
            right("input"),
            right("cached"),
            right("output"),
            right("cost"),
            right("time p50"),
            right("time p95"),
        ]);
        let total = Some(&self.total).filter(|_| self.models.len() > 1);
        for (group, is_total) in
            self.models.iter().map(|group| (group, false)).chain(total.map(|it| (it, true)))
        {
            let number = |name: &str| group[name].as_u64();
            let time = |name: &str| group[name].as_f64().map(seconds);
            let name = if is_total { Some("in all") } else { group["model"].as_str() };
            table.row([
                name.map(str::to_owned),
                number("calls").map(count),
                number("errors").zip(number("calls")).map(|(errors, calls)| share(errors, calls)),
                number("retries").map(count),
                number("input_tokens").map(count),
                number("cache_read_input_tokens").map(count),
                number("output_tokens").map(count),
                group["cost_usd"].as_f64().map(usd),
                time("duration_seconds_p50"),
                time("duration_seconds_p95"),
            ]);
        }
        table
    }

    /// The calls, one by one.
    fn sequence(&self) -> Table<'static> {
        let (left, right) = (Column::text, Column::number);
        let mut table = Table::new([
            left("time"),
            right("pid"),
            left("model"),
            right("input"),
            right("cached"),
            right("output"),
            right("cost"),
            right("time"),
            right("retry"),
            left("tools"),
            left("finish"),
            left("error"),
        ]);
        for call in self.calls.iter().map(Fields) {
            let number = |name: &str| call.number(name).map(count);
            let list =
                |name: &str| Some(call.list(name).collect::<Vec<_>>().join(" ")).filter(|it| !it.is_empty());
            table.row([
                // The day is known, or does not matter; microseconds do not either.
                call.text("timestamp").and_then(|at| at.get(11..23)).map(str::to_owned),
                call.number("process.pid").map(|pid| pid.to_string()),
                call.model().map(str::to_owned),
                number("input_tokens"),
                number("cache_read_input_tokens"),
                number("output_tokens"),
                call.seconds("cost_usd").map(usd),
                call.seconds("duration_seconds").map(seconds),
                number("retry"),
                list("tool_calls"),
                list("finish_reasons"),
                call.error().map(std::borrow::Cow::into_owned),
            ]);
        }
        table
    }
}

/// What would move the cursor is shown as `?`, as in a [`Table`].
fn clean(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// A pattern that fits this text only.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '*' | '?' | '[' => {
                pattern.push('[');
                pattern.push(c);
                pattern.push(']');
            }
            _ => pattern.push(c),
        }
    }
    pattern
}
