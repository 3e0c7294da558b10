//! What is sent, as the daemon writes it and [`Client`](super::Client) reads it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    budget::BudgetUse,
    ledger::{Answer, Position, StoredCall},
};

/// An answer to `/api/v1/calls`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calls {
    /// In order, the latest last.
    pub calls: Vec<StoredCall>,
    /// What `before` has to be to get those before; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Whether all that had happened when it was asked is in it; absent where that was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled: Option<bool>,
}

/// An answer to `/api/v1/report`: what `report --json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The sums.
    #[serde(flatten)]
    pub answer: Answer,
    /// How far the budgets of the configuration are used, whatever was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<BudgetUse>,
    /// How many more there are, which cover others' calls, too; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budgets_not_shown: Option<usize>,
    /// As in [`Calls`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled: Option<bool>,
}

/// The place of a call in the order of all, as clients carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor(pub(super) Position);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.started, self.0.row)
    }
}

/// A text that is no [`Cursor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it has to be what an answer had as `before`")]
pub(super) struct NoCursor;

impl FromStr for Cursor {
    type Err = NoCursor;

    fn from_str(text: &str) -> Result<Self, NoCursor> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten()
        };
        let (started, row) = text.split_once('-').ok_or(NoCursor)?;
        Ok(Self(Position { started: number(started).ok_or(NoCursor)?, row: number(row).ok_or(NoCursor)? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back() {
        let cursor = Cursor(Position { started: i64::MAX, row: 7 });
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for text in ["", "-", "1-", "-1-2", "1-+2", "1-99999999999999999999", "x-1"] {
            assert_eq!(text.parse::<Cursor>(), Err(NoCursor), "{text}");
        }
    }
}
