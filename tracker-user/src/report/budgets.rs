//! How far budgets are used.

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Which,
    source::Source,
    table::{Column, Table},
};
use crate::{
    budget::{Limit, Used},
    config::Config,
    human::{count, usd},
    ledger::Answer,
};

/// The budgets of the configuration, which are of its ledger.
pub(super) fn used(which: &Which, config: &Config, source: &mut Source) -> Result<Vec<Used>> {
    let now = jiff::Timestamp::now();
    let budgets = if which.ledger.is_none() { config.budget.as_slice() } else { &[] };
    budgets.iter().map(|it| it.used(now, |question| Ok(source.report(&question)?.total))).collect()
}

/// An answer, and budgets beside it.
#[derive(Serialize)]
pub(super) struct With<'a> {
    #[serde(flatten)]
    answer: &'a Answer,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    budgets: Vec<Value>,
}

impl<'a> With<'a> {
    pub(super) fn new(answer: &'a Answer, used: &[Used]) -> Self {
        Self { answer, budgets: used.iter().map(fields).collect() }
    }
}

/// For people.
pub(super) fn table(all: &[Used]) -> Table<'static> {
    let columns = ["budget", "window"].map(Column::text).into_iter();
    let mut table = Table::new(columns.chain(["limit", "used", "share", "left"].map(Column::number)));
    for used in all {
        let amount = |amount: f64| match used.limit {
            Limit::Usd(_) => usd(amount),
            Limit::Tokens(_) => count(amount as u64),
        };
        let cells = [
            used.name.clone(),
            used.window.to_owned(),
            amount(used.limit.amount()),
            amount(used.used),
            format!("{:.1} %", used.share() * 100.0),
            amount(used.left()),
        ];
        table.row(cells.map(Some));
    }
    table
}

/// The same by name.
fn fields(used: &Used) -> Value {
    json!({
        "budget": used.name,
        "window": used.window,
        "unit": used.limit.unit(),
        "limit": used.limit.amount(),
        "used": used.used,
        "used_ratio": used.share(),
        "remaining": used.left(),
    })
}
