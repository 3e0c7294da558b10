//! How far budgets are used.

use super::table::{Column, Table};
use crate::{
    budget::BudgetUse,
    human::{count, usd},
};

/// For people: a table, and what is not in it.
pub(super) fn show(used: &[BudgetUse], not_shown: Option<usize>, width: Option<usize>) -> String {
    let mut text = String::new();
    if !used.is_empty() {
        text = format!("\n{}", table(used).show(width));
    }
    if let Some(not_shown) = not_shown {
        text += &format!(
            "\nBudgets that cover calls of others, too, are for root and the group in `api.group`: {not_shown}.\n"
        );
    }
    text
}

fn table(all: &[BudgetUse]) -> Table<'static> {
    let columns = ["budget", "window"].map(Column::text).into_iter();
    let mut table = Table::new(columns.chain(["limit", "used", "share", "left"].map(Column::number)));
    for used in all {
        let amount = |amount: f64| if used.unit == "usd" { usd(amount) } else { count(amount as u64) };
        let cells = [
            used.budget.clone(),
            used.window.clone(),
            amount(used.limit),
            amount(used.used),
            format!("{:.1} %", used.used_ratio * 100.0),
            amount(used.remaining),
        ];
        table.row(cells.map(Some));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_shown_is_said() {
        let used = BudgetUse {
            budget: "ada".to_owned(),
            window: "day".to_owned(),
            unit: "usd".to_owned(),
            limit: 20.0,
            used: 5.0,
            used_ratio: 0.25,
            remaining: 15.0,
        };
        let text = show(&[used], Some(2), Some(80));
        assert!(
            text.contains("$5.00") && text.contains("25.0 %") && text.contains("`api.group`: 2."),
            "{text}"
        );
        assert_eq!(show(&[], None, Some(80)), "");
    }
}
