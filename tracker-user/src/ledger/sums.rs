//! What calls add up to: one table of what a call brings, for those who write sums of hours and for those who
//! ask single calls.

use super::times::Times;

/// What a group of calls adds up to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// Calls.
    pub calls: u64,
    /// Those that failed, or were cut off.
    pub errors: u64,
    /// Those that repeated one that had failed.
    pub retries: u64,
    /// Those of which at least one token count is known; the sums below are theirs.
    pub known_usage: u64,
    /// Prompt tokens, cached ones included.
    pub input_tokens: u64,
    /// Of those, read from the provider's cache.
    pub cache_read_input_tokens: u64,
    /// Of those, written to it.
    pub cache_creation_input_tokens: u64,
    /// Generated tokens, reasoning included.
    pub output_tokens: u64,
    /// Of those, spent on reasoning.
    pub reasoning_tokens: u64,
    /// Calls whose cost is known.
    pub known_cost: u64,
    /// What those cost, US dollars.
    pub cost_usd: f64,
    /// What those under subscriptions would have cost, US dollars.
    pub list_cost_usd: f64,
    /// Time that all calls took together, seconds.
    pub duration_seconds: f64,
    /// Time that those took together whose output is known, seconds.
    pub output_seconds: f64,
    /// How long they took.
    pub durations: Times,
    /// How long the first token took, where there was one.
    pub first_tokens: Times,
}

/// How the values of several rows become one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A number that is added.
    Number,
    /// Durations that are counted.
    Times,
}

/// A column of `hour`: what it holds, and what a row `c` of `call` brings to it.
struct Column {
    name: &'static str,
    kind: Kind,
    of_a_call: &'static str,
}

const fn number(name: &'static str, of_a_call: &'static str) -> Column {
    Column { name, kind: Kind::Number, of_a_call }
}

const fn times(name: &'static str, of_a_call: &'static str) -> Column {
    Column { name, kind: Kind::Times, of_a_call }
}

/// How many there are.
pub(super) const COLUMNS: usize = ALL.len();

/// All of them.
const ALL: [Column; 15] = [
    // The end of a call that was stored before brings its usage, and is no further call.
    number("calls", "1 - c.continued"),
    number("retries", "coalesce(c.retry, 0) > 0"),
    number("known_usage", "c.input_tokens IS NOT NULL OR c.output_tokens IS NOT NULL"),
    number("input_tokens", "coalesce(c.input_tokens, 0)"),
    number("cache_read_input_tokens", "coalesce(c.cache_read_input_tokens, 0)"),
    number("cache_creation_input_tokens", "coalesce(c.cache_creation_input_tokens, 0)"),
    number("output_tokens", "coalesce(c.output_tokens, 0)"),
    number("reasoning_tokens", "coalesce(c.reasoning_tokens, 0)"),
    number("known_cost", "c.cost_usd IS NOT NULL"),
    number("cost_usd", "coalesce(c.cost_usd, 0.0)"),
    number("list_cost_usd", "coalesce(c.list_cost_usd, 0.0)"),
    number("duration_seconds", "c.duration_seconds"),
    number("output_seconds", "iif(c.output_tokens IS NULL, 0.0, c.duration_seconds)"),
    times("durations", "iif(c.continued, NULL, c.duration_seconds)"),
    times("first_tokens", "iif(c.continued, NULL, c.time_to_first_token_seconds)"),
];

fn list(column: impl Fn(&Column) -> String) -> String {
    ALL.iter().map(column).collect::<Vec<_>>().join(", ")
}

/// The columns' names.
pub(super) fn names() -> String {
    list(|column| column.name.to_owned())
}

/// For a `SELECT` that adds up rows `c` of `call`.
pub(super) fn of_calls() -> String {
    list(|Column { name, kind, of_a_call }| match kind {
        Kind::Number => format!("sum({of_a_call}) AS {name}"),
        Kind::Times => format!("times({of_a_call}) AS {name}"),
    })
}

/// For a `SELECT` of what each row `c` of `call` brings.
pub(super) fn of_each_call() -> String {
    list(|column| column.of_a_call.to_owned())
}

/// For a `SELECT` that adds up rows `c` that are sums.
pub(super) fn of_sums() -> String {
    list(|Column { name, kind, .. }| match kind {
        Kind::Number => format!("sum(c.{name}) AS {name}"),
        Kind::Times => format!("times(c.{name}) AS {name}"),
    })
}

/// For an `INSERT` that finds a row there: what makes it the sum of both.
pub(super) fn of_both() -> String {
    list(|Column { name, kind, .. }| match kind {
        Kind::Number => format!("{name} = {name} + excluded.{name}"),
        Kind::Times => format!("{name} = times_and({name}, excluded.{name})"),
    })
}

/// The sums of `$sums`, borrowed as that is: the errors, of which there is no column, and those of [`ALL`], in that
/// order: numbers, amounts, times. In full, so that a new field forces a decision.
macro_rules! by_column {
    ($sums:expr) => {{
        let Sums {
            calls,
            errors,
            retries,
            known_usage,
            input_tokens,
            cache_read_input_tokens,
            cache_creation_input_tokens,
            output_tokens,
            reasoning_tokens,
            known_cost,
            cost_usd,
            list_cost_usd,
            duration_seconds,
            output_seconds,
            durations,
            first_tokens,
        } = $sums;
        let numbers = [
            calls,
            retries,
            known_usage,
            input_tokens,
            cache_read_input_tokens,
            cache_creation_input_tokens,
            output_tokens,
            reasoning_tokens,
            known_cost,
        ];
        let amounts = [cost_usd, list_cost_usd, duration_seconds, output_seconds];
        (errors, numbers, amounts, [durations, first_tokens])
    }};
}

impl Sums {
    /// Adds a row whose first columns are [`ALL`] of them, of one call or of several, which failed or did not.
    pub(super) fn add_row(&mut self, row: &rusqlite::Row<'_>, failed: bool) -> rusqlite::Result<()> {
        let (errors, numbers, amounts, times) = by_column!(self);
        if failed {
            *errors = errors.saturating_add(row.get(0)?);
        }
        let mut columns = 0..COLUMNS;
        for (sum, column) in numbers.into_iter().zip(&mut columns) {
            *sum = sum.saturating_add(row.get(column)?);
        }
        for (sum, column) in amounts.into_iter().zip(&mut columns) {
            *sum += row.get::<_, f64>(column)?;
        }
        for (sum, column) in times.into_iter().zip(&mut columns) {
            sum.add_value(row.get_ref(column)?)?;
        }
        Ok(())
    }

    /// Adds what `other` adds up to.
    pub fn add(&mut self, other: &Self) {
        let (errors, numbers, amounts, times) = by_column!(self);
        let (more_errors, more_numbers, more_amounts, more_times) = by_column!(other);
        *errors = errors.saturating_add(*more_errors);
        for (sum, more) in numbers.into_iter().zip(more_numbers) {
            *sum = sum.saturating_add(*more);
        }
        for (sum, more) in amounts.into_iter().zip(more_amounts) {
            *sum += more;
        }
        for (sum, more) in times.into_iter().zip(more_times) {
            sum.merge(more);
        }
    }
}
