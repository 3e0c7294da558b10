//! Questions and their answers, as they cross a process boundary: what `report --json` prints.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    dimension::{Condition, Dimension},
    query::{Report, Span},
    sums::Sums,
};
use crate::human::moment;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// When the calls began.
    pub span: Span,
    /// What they are told apart by.
    pub by: Vec<Dimension>,
    /// What they have to be like: all of it.
    pub conditions: Vec<Condition>,
}

/// Sums of calls. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The first moment of what it is about: the beginning of an hour where the single calls of that are gone.
    pub since: Timestamp,
    /// The first moment after it; `null` where there is none.
    pub until: Option<Timestamp>,
    /// What the groups are told apart by, in this order.
    pub by: Vec<String>,
    /// All calls together; a call counts once here.
    pub total: Totals,
    /// The dearest first, then those with the most tokens, then with the most calls.
    pub groups: Vec<AnswerGroup>,
}

/// The sums of one group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerGroup {
    /// A value for each name in [`Answer::by`]; `null` where the calls have none.
    pub by: BTreeMap<String, Option<String>>,
    /// Its sums, beside it.
    #[serde(flatten)]
    pub totals: Totals,
}

/// Sums for programs and people: what is not known of any call is `null`, not zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Calls.
    pub calls: u64,
    /// Those that failed, or were cut off.
    pub errors: u64,
    /// Those that repeated one that had failed.
    pub retries: u64,
    /// Those of which at least one token count is known; the tokens are theirs.
    pub calls_with_usage: u64,
    /// Prompt tokens, cached ones included.
    pub input_tokens: Option<u64>,
    /// Of those, read from the provider's cache.
    pub cache_read_input_tokens: Option<u64>,
    /// Of those, written to it.
    pub cache_creation_input_tokens: Option<u64>,
    /// Generated tokens, reasoning included.
    pub output_tokens: Option<u64>,
    /// Of those, spent on reasoning.
    pub reasoning_tokens: Option<u64>,
    /// Input and output.
    pub total_tokens: Option<u64>,
    /// Calls whose cost is known.
    pub calls_with_cost: u64,
    /// What those cost, US dollars.
    pub cost_usd: Option<f64>,
    /// What those under subscriptions would have cost, US dollars.
    pub list_cost_usd: Option<f64>,
    /// Output tokens by the time that their calls took.
    pub output_tokens_per_second: Option<f64>,
    /// The median of the times to the first token, seconds; a percentile is off by 4.5 % at most.
    pub time_to_first_token_seconds_p50: Option<f64>,
    /// 95 % of them were no longer.
    pub time_to_first_token_seconds_p95: Option<f64>,
    /// The median of the durations, seconds.
    pub duration_seconds_p50: Option<f64>,
    /// 95 % of them were no longer.
    pub duration_seconds_p95: Option<f64>,
}

impl From<&Sums> for Totals {
    fn from(sums: &Sums) -> Self {
        let tokens = |tokens| (sums.known_usage > 0).then_some(tokens);
        let rate = sums.output_tokens as f64 / sums.output_seconds;
        Self {
            calls: sums.calls,
            errors: sums.errors,
            retries: sums.retries,
            calls_with_usage: sums.known_usage,
            input_tokens: tokens(sums.input_tokens),
            cache_read_input_tokens: tokens(sums.cache_read_input_tokens),
            cache_creation_input_tokens: tokens(sums.cache_creation_input_tokens),
            output_tokens: tokens(sums.output_tokens),
            reasoning_tokens: tokens(sums.reasoning_tokens),
            total_tokens: tokens(sums.input_tokens.saturating_add(sums.output_tokens)),
            calls_with_cost: sums.known_cost,
            cost_usd: (sums.known_cost > 0).then_some(sums.cost_usd),
            list_cost_usd: Some(sums.list_cost_usd).filter(|cost| *cost > 0.0),
            output_tokens_per_second: Some(rate).filter(|rate| sums.output_tokens > 0 && rate.is_finite()),
            time_to_first_token_seconds_p50: sums.first_tokens.quantile(0.5),
            time_to_first_token_seconds_p95: sums.first_tokens.quantile(0.95),
            duration_seconds_p50: sums.durations.quantile(0.5),
            duration_seconds_p95: sums.durations.quantile(0.95),
        }
    }
}

impl Answer {
    /// What is said about calls told apart by `by`.
    #[must_use]
    pub fn new(by: &[Dimension], report: &Report) -> Self {
        let Report { span, total, groups } = report;
        let names: Vec<String> = by.iter().map(ToString::to_string).collect();
        let groups = groups.iter().map(|group| AnswerGroup {
            by: names.iter().cloned().zip(group.key.iter().cloned()).collect(),
            totals: Totals::from(&group.sums),
        });
        Self {
            since: moment(span.from),
            until: (span.until < i64::MAX).then(|| moment(span.until)),
            total: Totals::from(total),
            groups: groups.collect(),
            by: names,
        }
    }
}
