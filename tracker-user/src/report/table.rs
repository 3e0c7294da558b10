//! Tables for people: columns that line up, numbers that can be read.

use std::fmt;

/// Which side of its column a text stands at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Rows of texts under their names.
#[derive(Debug)]
pub(super) struct Table {
    aligns: Vec<Align>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<'a>(columns: impl IntoIterator<Item = (&'a str, Align)>) -> Self {
        let (names, aligns): (Vec<_>, Vec<_>) =
            columns.into_iter().map(|(name, align)| (name.to_owned(), align)).unzip();
        Self { aligns, rows: vec![names] }
    }

    /// Adds a row of as many cells as there are columns. What would move the cursor is shown as `?`: names
    /// come from whoever is watched.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let clean = |cell: String| cell.replace(char::is_control, "?");
        self.rows.push(cells.into_iter().map(clean).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> = (0..self.aligns.len()).map(|column| width(column).unwrap_or(0)).collect();
        for row in &self.rows {
            let mut line = String::new();
            for ((cell, align), width) in row.iter().zip(&self.aligns).zip(&widths) {
                line += &match align {
                    Align::Left => format!("{cell:<width$}  "),
                    Align::Right => format!("{cell:>width$}  "),
                };
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// `1,234,567`
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A part of a whole in per cent; `0` where it is none.
pub(crate) fn share(part: u64, whole: u64) -> String {
    if part == 0 { "0".to_owned() } else { format!("{:.1} %", part as f64 * 100.0 / whole.max(1) as f64) }
}

/// Dollars: cents, and more digits where there are only fractions of them.
pub(crate) fn usd(dollars: f64) -> String {
    if dollars >= 0.1 || dollars == 0.0 { format!("${dollars:.2}") } else { format!("${dollars:.6}") }
}

/// A time in the unit that fits.
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds {
        ..0.9995 => format!("{:.0} ms", seconds * 1e3),
        ..100.0 => format!("{seconds:.1} s"),
        ..7200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_moves_the_cursor() {
        let mut table = Table::new([("name", Align::Left), ("calls", Align::Right)]);
        table.row(["ü\u{1b}[2J".to_owned(), "1".to_owned()]);
        assert_eq!(table.to_string(), "name   calls\nü?[2J      1\n");
    }

    #[test]
    fn numbers_can_be_read() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0, 0.000_12, 1.5].map(usd), ["$0.00", "$0.000120", "$1.50"]);
        assert_eq!(
            [0.0012, 0.9999, 99.0, 120.0, 7200.0].map(seconds),
            ["1 ms", "1.0 s", "99.0 s", "2 min", "2.0 h"]
        );
        assert_eq!((share(0, 0), share(1, 3)), ("0".to_owned(), "33.3 %".to_owned()));
    }
}
