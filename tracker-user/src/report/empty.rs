//! Why there is nothing to show, and where there is something.

use anyhow::Result;

use super::source::Source;
use crate::{
    hint,
    human::{count, moment},
    ledger::{Condition, Question, Span},
};

/// Values that are listed of a condition's name.
const LISTED: usize = 10;

/// A question to which the answer is empty.
pub(super) fn why(source: &mut Source, question: &Question) -> Result<String> {
    let Question { span, conditions, .. } = question;
    let since = moment(span.from);
    let mut ask = |by: Option<&Condition>, conditions: &[Condition]| {
        let by = by.map(Condition::dimension).into_iter().cloned().collect();
        source.report(&Question { span: *span, by, conditions: conditions.to_vec() })
    };
    if ask(None, &[])?.total.calls == 0 {
        let all =
            Question { span: Span { from: 0, until: i64::MAX }, by: Vec::new(), conditions: Vec::new() };
        let latest = source.calls(&all, 1)?;
        let latest = latest.first().and_then(|call| call.get("timestamp")?.as_str());
        return Ok(match latest {
            Some(latest) => format!(
                "There is no call since {since:.0} in {}; the latest is of {latest}. An earlier --since finds more.\n",
                source.name()
            ),
            None => format!(
                "There is no call in {} yet. `llm-tracker doctor` says what would be seen on this host.\n",
                source.name()
            ),
        });
    }
    for condition in conditions {
        if ask(None, std::slice::from_ref(condition))?.total.calls > 0 {
            continue;
        }
        let name = condition.dimension().name();
        let values = ask(Some(condition), &[])?.groups;
        let named = values.iter().filter_map(|group| Some((group.by.get(name)?.as_deref()?, &group.totals)));
        let meant = hint::did_you_mean(condition.pattern(), named.clone().map(|(value, _)| value));
        let mut text = format!("No call since {since:.0} fits `{condition}`{meant}\n");
        if named.clone().next().is_none() {
            text += &format!("None of them has a {name}.\n");
        } else {
            text += &format!("What there is of {name}:\n");
        }
        for (value, totals) in named.clone().take(LISTED) {
            // Values come from whoever is watched.
            let value = value.replace(char::is_control, "?");
            text += &format!("  {value} ({} {})\n", count(totals.calls), calls(totals.calls));
        }
        let more = named.count().saturating_sub(LISTED);
        if more > 0 {
            text += &format!("  and {more} more: `llm-tracker report --by {name}`\n");
        }
        return Ok(text);
    }
    Ok(format!("No call since {since:.0} fits all {} conditions, though some fit each.\n", conditions.len()))
}

const fn calls(number: u64) -> &'static str {
    if number == 1 { "call" } else { "calls" }
}
