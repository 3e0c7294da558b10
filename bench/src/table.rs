//! Markdown tables that also read well in a terminal.

use std::fmt;

/// A table whose first column is text and whose other columns are figures.
#[derive(Debug)]
pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with its title and its header.
    #[must_use]
    pub fn new(title: impl Into<String>, header: &[&str]) -> Self {
        Self { title: title.into(), rows: vec![header.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row; missing cells stay empty.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let cell = |row: &'_ [String], column: usize| row.get(column).cloned().unwrap_or_default();
        let width = |column: usize| {
            self.rows.iter().map(|row| cell(row, column).chars().count()).max().unwrap_or(0).max(3)
        };
        writeln!(f, "**{}**\n", self.title)?;
        for (index, row) in self.rows.iter().enumerate() {
            for column in 0..columns {
                let (cell, width) = (cell(row, column), width(column));
                if column == 0 {
                    write!(f, "| {cell:<width$} ")?;
                } else {
                    write!(f, "| {cell:>width$} ")?;
                }
            }
            writeln!(f, "|")?;
            if index == 0 {
                for column in 0..columns {
                    let dashes = "-".repeat(width(column) + 1);
                    write!(f, "|{dashes}{}", if column == 0 { "-" } else { ":" })?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// `value` against `target`, as `value (target) verdict`.
#[must_use]
pub fn against(value: f64, digits: usize, target: Target) -> String {
    let (sign, limit, met) = match target {
        Target::AtMost(limit) => ("≤", limit, value <= limit),
        Target::AtLeast(limit) => ("≥", limit, value >= limit),
    };
    format!("{value:.digits$} ({sign} {limit}: {})", if met { "met" } else { "missed" })
}

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new("T", &["what", "n"]);
        table.row(["a longer name".to_owned(), "12".to_owned()]);
        assert_eq!(
            table.to_string(),
            "**T**\n\n| what          |   n |\n|---------------|----:|\n| a longer name |  12 |\n"
        );
    }

    #[test]
    fn target_is_judged() {
        assert_eq!(against(0.09, 2, Target::AtMost(0.1)), "0.09 (≤ 0.1: met)");
        assert_eq!(against(0.09, 2, Target::AtLeast(0.1)), "0.09 (≥ 0.1: missed)");
    }
}
