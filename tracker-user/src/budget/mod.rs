//! Limits on what calls may cost or take, which are watched and never enforced.
//!
//! ```toml
//! [[budget]]
//! name = "ada"
//! where = ["user=ada", "provider!=ollama"]   # as in `llm-tracker report --where`
//! limit_usd = 20.0                           # or limit_tokens
//! window = "day"                             # hour, day or month
//! thresholds = [0.5, 0.8]                    # told beside the limit itself
//! webhook = "https://hooks.example/llm"
//! command = ["/usr/local/bin/tell-ada"]
//! ```
//!
//! A budget is a question to the ledger that is asked again and again: so it means what a report says, holds
//! over a restart, and covers whatever a report can tell apart.

mod tell;
mod watch;

use std::time::Duration;

use hyper::Uri;
use jiff::{Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::ledger::{Condition, Ledger, LedgerError, Span, Totals};

pub use watch::{BudgetWatch, Budgets};

/// The most budgets, and the most thresholds of one: each is a question, and a message.
const MAX_BUDGETS: usize = 64;
const MAX_THRESHOLDS: usize = 16;
/// Nanoseconds of a second.
const NANOS: i64 = 1_000_000_000;

/// One `[[budget]]` of the configuration, checked.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Fields")]
pub struct Budget {
    name: String,
    conditions: Vec<Condition>,
    limit: Limit,
    window: Window,
    rolling: bool,
    /// Shares of the limit, ascending; the last one is all of it.
    thresholds: Vec<f64>,
    webhook: Option<Uri>,
    command: Vec<String>,
}

/// What may not be exceeded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// US dollars.
    Usd(f64),
    /// Input and output tokens.
    Tokens(u64),
}

impl Limit {
    /// `usd` or `tokens`.
    #[must_use]
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Usd(_) => "usd",
            Self::Tokens(_) => "tokens",
        }
    }

    /// The number.
    #[must_use]
    pub const fn amount(self) -> f64 {
        match self {
            Self::Usd(dollars) => dollars,
            Self::Tokens(tokens) => tokens as f64,
        }
    }
}

/// The time in which a limit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Window {
    Hour,
    Day,
    Month,
}

impl Window {
    const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// How long one is that moves on with time; a month has thirty days then.
    const fn length(self) -> Duration {
        const HOUR: u64 = 3600;
        Duration::from_secs(match self {
            Self::Hour => HOUR,
            Self::Day => 24 * HOUR,
            Self::Month => 30 * 24 * HOUR,
        })
    }

    /// When the one of the calendar began that `now` is in, UTC.
    fn began(self, now: Timestamp) -> Timestamp {
        let now = now.to_zoned(TimeZone::UTC);
        let began = match self {
            Self::Hour => now.with().minute(0).second(0).subsec_nanosecond(0).build(),
            Self::Day => now.start_of_day(),
            Self::Month => now.first_of_month().and_then(|first| first.start_of_day()),
        };
        began.unwrap_or(now).timestamp()
    }
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    name: String,
    #[serde(default, rename = "where")]
    conditions: Vec<String>,
    limit_usd: Option<f64>,
    limit_tokens: Option<u64>,
    window: Window,
    #[serde(default)]
    rolling: bool,
    #[serde(default)]
    thresholds: Vec<f64>,
    webhook: Option<String>,
    #[serde(default)]
    command: Vec<String>,
}

/// What is wrong with a budget.
#[derive(Debug, thiserror::Error)]
pub enum BudgetError {
    /// The name cannot be a label.
    #[error("a budget's name is made of 1 to 64 letters, digits, `.`, `-` and `_`")]
    Name,
    /// A condition is none.
    #[error(transparent)]
    Condition(#[from] crate::ledger::ConditionError),
    /// There is no limit, or there are two, or it is none.
    #[error("a budget has either `limit_usd` or `limit_tokens`, above zero")]
    Limit,
    /// A threshold is not one.
    #[error("a threshold is a share of the limit, above 0 and up to 10; there may be 16 of them")]
    Threshold,
    /// The webhook is no URL.
    #[error("a webhook is a URL that begins with http:// or https://")]
    Webhook,
    /// The command could be any.
    #[error("a command begins with the whole path of a program")]
    Command,
}

impl TryFrom<Fields> for Budget {
    type Error = BudgetError;

    fn try_from(fields: Fields) -> Result<Self, BudgetError> {
        let Fields {
            name,
            conditions,
            limit_usd,
            limit_tokens,
            window,
            rolling,
            mut thresholds,
            webhook,
            command,
        } = fields;
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
        if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
            return Err(BudgetError::Name);
        }
        let mut parsed = Vec::with_capacity(conditions.len());
        for condition in conditions {
            parsed.push(condition.parse()?);
        }
        let limit = match (limit_usd, limit_tokens) {
            (Some(dollars), None) if dollars.is_finite() && dollars > 0.0 => Limit::Usd(dollars),
            (None, Some(tokens)) if tokens > 0 => Limit::Tokens(tokens),
            _ => return Err(BudgetError::Limit),
        };
        let fits = |share: &f64| *share > 0.0 && *share <= 10.0;
        if thresholds.len() > MAX_THRESHOLDS || !thresholds.iter().all(fits) {
            return Err(BudgetError::Threshold);
        }
        thresholds.push(1.0);
        thresholds.sort_by(f64::total_cmp);
        thresholds.dedup();
        let url = |text: String| text.parse::<Uri>().ok().filter(is_web).ok_or(BudgetError::Webhook);
        let webhook = webhook.map(url).transpose()?;
        if command.first().is_some_and(|program| !program.starts_with('/')) {
            return Err(BudgetError::Command);
        }
        Ok(Self { name, conditions: parsed, limit, window, rolling, thresholds, webhook, command })
    }
}

fn is_web(url: &Uri) -> bool {
    url.host().is_some() && matches!(url.scheme_str(), Some("http" | "https"))
}

/// What is wrong with budgets together.
#[must_use]
pub fn check(budgets: &[Budget]) -> Option<String> {
    if budgets.len() > MAX_BUDGETS {
        return Some(format!("there are {} of them, and there may be {MAX_BUDGETS}", budgets.len()));
    }
    let twice = |(at, budget): (usize, &Budget)| budgets.iter().take(at).any(|it| it.name == budget.name);
    budgets.iter().enumerate().find(|&it| twice(it)).map(|(_, it)| format!("two are called {}", it.name))
}

/// How far a budget is used.
#[derive(Clone, Debug, PartialEq)]
pub struct Used {
    /// Which.
    pub name: String,
    /// What may not be exceeded.
    pub limit: Limit,
    /// How much was, in the limit's unit.
    pub used: f64,
    /// In words: `day`, or `24 h` where it moves on with time.
    pub window: &'static str,
    /// The first moment that counts, nanoseconds since the Unix epoch.
    pub since: i64,
}

impl Used {
    /// The part of the limit; above 1 it is exceeded.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.used / self.limit.amount()
    }

    /// What is left of it.
    #[must_use]
    pub fn left(&self) -> f64 {
        (self.limit.amount() - self.used).max(0.0)
    }
}

/// The same as a report has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BudgetUse {
    /// Its name.
    pub budget: String,
    /// As in [`Used`].
    pub window: String,
    /// `usd` or `tokens`: what the numbers are in.
    pub unit: String,
    /// What may not be exceeded.
    pub limit: f64,
    /// How much was used.
    pub used: f64,
    /// The part of the limit; above 1 it is exceeded.
    pub used_ratio: f64,
    /// What is left of it.
    pub remaining: f64,
}

impl From<Used> for BudgetUse {
    fn from(used: Used) -> Self {
        Self {
            used_ratio: used.share(),
            remaining: used.left(),
            budget: used.name,
            window: used.window.to_owned(),
            unit: used.limit.unit().to_owned(),
            limit: used.limit.amount(),
            used: used.used,
        }
    }
}

impl Budget {
    /// Whether all that it covers is this user's.
    #[must_use]
    pub fn is_of(&self, uid: u32, user: Option<&str>) -> bool {
        let uid = uid.to_string();
        let names = [("uid", Some(uid.as_str())), ("user", user), ("user", Some(uid.as_str()))];
        let is = |condition: &Condition| {
            names.iter().any(|(dimension, name)| name.is_some_and(|name| condition.is(dimension, name)))
        };
        self.conditions.iter().any(is)
    }

    /// How far it is used, by a ledger.
    ///
    /// # Errors
    /// The ledger's.
    pub fn used(&self, now: Timestamp, ledger: &Ledger) -> Result<Used, LedgerError> {
        let nanos = |at: Timestamp| i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX);
        let since = if self.rolling {
            let length = i64::try_from(self.window.length().as_secs()).unwrap_or(i64::MAX);
            nanos(now).saturating_sub(length.saturating_mul(NANOS))
        } else {
            nanos(self.window.began(now))
        };
        let span = Span { from: since, until: i64::MAX };
        let totals = Totals::from(&ledger.report(span, &[], &self.conditions)?.total);
        let used = match self.limit {
            Limit::Usd(_) => totals.cost_usd.unwrap_or_default(),
            Limit::Tokens(_) => totals.total_tokens.unwrap_or_default() as f64,
        };
        let window = match (self.rolling, self.window) {
            (false, window) => window.name(),
            (true, Window::Hour) => "60 min",
            (true, Window::Day) => "24 h",
            (true, Window::Month) => "30 d",
        };
        Ok(Used { name: self.name.clone(), limit: self.limit, used, window, since })
    }
}

#[cfg(test)]
mod tests;
