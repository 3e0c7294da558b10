//! Tables for people: columns that line up, in the room that there is.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Between two columns.
const GAP: usize = 2;
/// What a column of texts is cut down to before a column of numbers is left out, and at the very most.
const TEXT: [usize; 2] = [24, 8];

/// A column, by what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text, which may be cut.
    Text,
    /// A number, which may not.
    Number,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column<'a> {
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    /// Whether what is neither zero nor absent is something to look at.
    pub(super) alert: bool,
    /// Where there is no room, those with the highest are left out first; those without stay.
    pub(super) dispensable: u8,
}

impl<'a> Column<'a> {
    pub(super) const fn text(name: &'a str) -> Self {
        Self { name, kind: Kind::Text, alert: false, dispensable: 0 }
    }

    pub(super) const fn number(name: &'a str) -> Self {
        Self { name, kind: Kind::Number, alert: false, dispensable: 0 }
    }

    pub(super) const fn alert(self) -> Self {
        Self { alert: true, ..self }
    }

    pub(super) const fn dispensable(self, rank: u8) -> Self {
        Self { dispensable: rank, ..self }
    }
}

/// Rows of texts under their names.
#[derive(Debug)]
pub(super) struct Table<'a> {
    columns: Vec<Column<'a>>,
    rows: Vec<Vec<String>>,
}

/// How a table is laid out: for each column its width, or that it is left out.
#[derive(Debug)]
pub(super) struct Layout(Vec<Option<usize>>);

impl<'a> Table<'a> {
    pub(super) fn new(columns: impl IntoIterator<Item = Column<'a>>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// Adds a row of as many cells as there are columns; what is not known is `-`. What would move the cursor
    /// is shown as `?`: names come from whoever is watched.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Option<String>>) {
        let clean = |cell: Option<String>| match cell {
            Some(cell) => cell.replace(char::is_control, "?"),
            None => "-".to_owned(),
        };
        self.rows.push(cells.into_iter().map(clean).collect());
    }

    /// All of it, and what there is besides where there was no room for it.
    pub(super) fn show(&self, room: Option<usize>) -> String {
        let layout = self.layout(room);
        let mut text = self.header(&layout) + &self.body(&layout);
        let left_out = self.left_out(&layout);
        if !left_out.is_empty() {
            // Writing to a string does not fail.
            let _ =
                writeln!(text, "\nThe terminal is too narrow for: {} (--json has all).", left_out.join(", "));
        }
        text
    }

    /// All of it without colours, in as much room as it takes.
    pub(super) fn plain(&self) -> String {
        anstream::adapter::strip_str(&self.show(None)).to_string()
    }

    /// Widths with which everything is seen, or as much of it as fits into `room`.
    pub(super) fn layout(&self, room: Option<usize>) -> Layout {
        let natural = |(index, column): (usize, &Column<'_>)| {
            let cells = self.rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.width());
            cells.max().unwrap_or(0).max(column.name.width())
        };
        let natural: Vec<usize> = self.columns.iter().enumerate().map(natural).collect();
        let mut widths: Vec<Option<usize>> = natural.iter().copied().map(Some).collect();
        let Some(room) = room else { return Layout(widths) };
        self.cut(&mut widths, room, TEXT[0]);
        let mut order: Vec<usize> = (0..self.columns.len()).collect();
        order.retain(|index| self.columns[*index].dispensable > 0);
        order.sort_by_key(|index| std::cmp::Reverse(self.columns[*index].dispensable));
        for index in order {
            if total(&widths) <= room {
                break;
            }
            widths[index] = None;
        }
        self.cut(&mut widths, room, TEXT[1]);
        Layout(widths)
    }

    /// Cuts the widest columns of texts, to no less than `least`.
    fn cut(&self, widths: &mut [Option<usize>], room: usize, least: usize) {
        loop {
            let excess = total(widths).saturating_sub(room);
            let texts = widths.iter_mut().zip(&self.columns).filter(|(_, column)| column.kind == Kind::Text);
            let widest = texts.filter_map(|(width, _)| width.as_mut()).max_by_key(|width| **width);
            match widest {
                // One at a time, so that they share what is missing.
                Some(width) if excess > 0 && *width > least => *width -= 1,
                _ => return,
            }
        }
    }

    /// The names of the columns.
    pub(super) fn header(&self, layout: &Layout) -> String {
        let names = self.columns.iter().map(|column| column.name);
        let bold = Style::new().bold();
        self.line(names, layout, |_, _| bold)
    }

    /// The rows, a line each.
    pub(super) fn body(&self, layout: &Layout) -> String {
        let red = AnsiColor::Red.on_default();
        let style = |column: &Column<'_>, cell: &str| {
            if column.alert && !matches!(cell, "0" | "-") { red } else { Style::new() }
        };
        self.rows.iter().map(|row| self.line(row.iter().map(String::as_str), layout, style)).collect()
    }

    /// The names of the columns for which there was no room.
    fn left_out(&self, layout: &Layout) -> Vec<&'a str> {
        let columns = self.columns.iter().zip(&layout.0);
        columns.filter(|(_, width)| width.is_none()).map(|(column, _)| column.name).collect()
    }

    fn line<'b>(
        &self,
        cells: impl Iterator<Item = &'b str>,
        Layout(widths): &Layout,
        style: impl Fn(&Column<'_>, &str) -> Style,
    ) -> String {
        let shown = cells.zip(&self.columns).zip(widths).filter_map(|(cell, width)| Some((cell, (*width)?)));
        let mut line = String::new();
        // Spaces are written before what follows them, so that no line ends in them.
        let mut spaces = 0;
        for (index, ((cell, column), width)) in shown.enumerate() {
            spaces += if index > 0 { GAP } else { 0 };
            let text = if column.kind == Kind::Text { fit(cell, width) } else { cell.to_owned() };
            let padding = width.saturating_sub(text.width());
            let (before, after) = if column.kind == Kind::Text { (0, padding) } else { (padding, 0) };
            let style = style(column, cell);
            // Writing to a string does not fail.
            let _ = write!(line, "{:1$}{style}{text}{style:#}", "", spaces + before);
            spaces = after;
        }
        line.push('\n');
        line
    }
}

/// Columns that a line takes.
fn total(widths: &[Option<usize>]) -> usize {
    let shown = widths.iter().flatten();
    shown.clone().sum::<usize>() + GAP * shown.count().saturating_sub(1)
}

/// A text in so many columns, with `…` where it was cut.
fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut used = 1;
    let keep = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= width
    };
    text.chars().take_while(keep).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(table: &Table<'_>, room: Option<usize>) -> String {
        let shown = anstream::adapter::strip_str(&table.show(room)).to_string();
        shown.split_once("\n\n").map_or_else(|| shown.clone(), |(table, _)| format!("{table}\n"))
    }

    fn cells<const N: usize>(cells: [&str; N]) -> [Option<String>; N] {
        cells.map(|cell| Some(cell.to_owned()))
    }

    #[test]
    fn columns_line_up_and_nothing_moves_the_cursor() {
        let mut table = Table::new([Column::text("name"), Column::number("calls"), Column::text("error")]);
        table.row(cells(["ü\u{1b}[2J", "1", "e"]));
        table.row([Some("模型".to_owned()), Some("23".to_owned()), None]);
        assert_eq!(plain(&table, None), "name   calls  error\nü?[2J      1  e\n模型      23  -\n");
    }

    #[test]
    fn texts_are_cut_and_numbers_are_left_out_where_there_is_no_room() {
        let mut table = Table::new([
            Column::text("model"),
            Column::number("calls"),
            Column::number("retries").dispensable(2),
            Column::number("cost").dispensable(1),
        ]);
        table.row(cells(["a-model-with-a-very-long-name", "1,000", "3", "$1.00"]));
        let widths = |room| {
            let text = plain(&table, Some(room));
            text.lines().map(|line| line.width()).max().unwrap()
        };
        for room in [60, 50, 40, 30, 20] {
            assert!(widths(room) <= room, "{}", plain(&table, Some(room)));
        }
        assert_eq!(table.left_out(&table.layout(Some(80))), [""; 0]);
        assert_eq!(table.left_out(&table.layout(Some(40))), ["retries"]);
        assert_eq!(plain(&table, Some(20)), "model          calls\na-model-with…  1,000\n");
    }
}
