//! The columns of the tables, and how they are fitted into a terminal.

use ratatui::{
    buffer::Buffer,
    layout::{Alignment, Constraint, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Text},
    widgets::{Cell, Row as Cells, Table, Widget as _},
};

use crate::{
    human::{count, seconds, share, usd},
    live::{Ended, InFlight, Row, Snapshot},
};

/// What a column is about, where it is more than a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    /// Something has gone wrong where it is not `0`.
    Errors,
    /// It goes on as we look.
    Live,
}

/// A column of a table of such things.
pub(super) struct Column<T> {
    title: &'static str,
    /// Of its cells; the one column with none takes what is left.
    width: u16,
    /// How wide the table has to be for it to be shown.
    from: u16,
    tone: Tone,
    cell: fn(&T, &Snapshot) -> Option<String>,
}

const fn text<T>(
    title: &'static str,
    width: u16,
    from: u16,
    cell: fn(&T, &Snapshot) -> Option<String>,
) -> Column<T> {
    Column { title, width, from, tone: Tone::Plain, cell }
}

/// Calls in flight.
pub(super) const FLIGHTS: &[Column<InFlight>] = &[
    text(" PID", 7, 0, |call, _| Some(call.caller.pid.to_string())),
    text("PROCESS", 12, 0, |call, _| call.caller.process.clone()),
    text("USER", 10, 110, |call, _| call.caller.user.clone()),
    text("CONTAINER", 16, 128, |call, _| call.caller.container.clone()),
    text("MODEL", 0, 0, |call, _| call.model.clone()),
    text("STATE", 9, 0, |call, _| Some(state(call).to_owned())),
    text(" TIME", 7, 0, |call, _| Some(seconds(call.elapsed_seconds))),
    text(" FIRST", 7, 100, |call, _| call.time_to_first_token_seconds.map(seconds)),
    text(" TOKENS", 7, 0, |call, _| {
        let about = if call.is_estimated() { "~" } else { "" };
        call.output_tokens.map(|tokens| format!("{about}{}", short(tokens)))
    }),
    Column { tone: Tone::Live, ..text(" TOK/S", 6, 0, |call, _| call.output_tokens_per_second.map(rate)) },
];

/// What calls with one name amount to.
pub(super) const ROWS: &[Column<Row>] = &[
    text("", 0, 0, |row, _| row.name.clone()),
    text(" LIVE", 5, 0, |row, _| Some(row.totals.in_flight).filter(|calls| *calls > 0).map(count)),
    Column {
        tone: Tone::Live,
        ..text(" TOK/S", 6, 0, |row, _| row.totals.output_tokens_per_second.map(rate))
    },
    text(" CALLS/M", 8, 0, |row, at| Some(rate(60.0 * at.per_second(row.totals.recent.calls as f64)))),
    Column {
        tone: Tone::Errors,
        ..text(" ERRORS", 7, 0, |row, _| Some(share(row.totals.recent.errors, row.totals.recent.calls)))
    },
    text(" $/H", 9, 0, |row, at| row.totals.recent.cost().map(|cost| usd(at.per_hour(cost)))),
    text(" CALLS", 7, 100, |row, _| Some(short(row.totals.hour.calls))),
    text(" INPUT", 7, 90, |row, _| Some(short(row.totals.hour.input_tokens))),
    text(" OUTPUT", 7, 0, |row, _| Some(short(row.totals.hour.output_tokens))),
    text(" COST", 9, 0, |row, _| row.totals.hour.cost().map(usd)),
];

/// Calls that have ended.
pub(super) const ENDED: &[Column<Ended>] = &[
    text(" AGO", 7, 0, |call, _| Some(seconds(call.ended_seconds_ago))),
    text(" PID", 7, 90, |call, _| Some(call.caller.pid.to_string())),
    text("PROCESS", 12, 0, |call, _| call.caller.process.clone()),
    text("USER", 10, 110, |call, _| call.caller.user.clone()),
    text("MODEL", 0, 0, |call, _| call.model.clone()),
    Column { tone: Tone::Errors, ..text("ERROR", 12, 0, |call, _| call.error.clone()) },
    text(" TIME", 7, 0, |call, _| Some(seconds(call.duration_seconds))),
    text(" FIRST", 7, 100, |call, _| call.time_to_first_token_seconds.map(seconds)),
    text(" INPUT", 7, 100, |call, _| call.input_tokens.map(short)),
    text(" OUTPUT", 7, 0, |call, _| call.output_tokens.map(short)),
    text(" COST", 9, 90, |call, _| call.cost_usd.map(usd)),
];

/// How far a call has come.
fn state(call: &InFlight) -> &'static str {
    match (&*call.role, call.time_to_first_token_seconds, call.status) {
        ("server", ..) => "serving",
        (_, Some(_), _) => "streaming",
        (_, None, Some(_)) => "answering",
        (_, None, None) => "waiting",
    }
}

/// A number in four digits or so: `9,999`, `10k`, `1.2M`.
fn short(number: u64) -> String {
    match number {
        0..10_000 => count(number),
        10_000..1_000_000 => format!("{}k", number / 1000),
        1_000_000..1_000_000_000 => format!("{:.1}M", number as f64 / 1e6),
        _ => format!("{:.1}G", number as f64 / 1e9),
    }
}

/// So many of something in a time.
pub(super) fn rate(rate: f64) -> String {
    match rate {
        ..=0.0 => "0".to_owned(),
        ..9.95 => format!("{rate:.1}"),
        // No rate is so high that it would not fit.
        _ => short(rate.round() as u64),
    }
}

/// How things look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) colours: bool,
}

impl Look {
    pub(super) fn of(self, tone: Tone) -> Style {
        let colour = match tone {
            Tone::Plain => return Style::new(),
            Tone::Errors => Color::Red,
            Tone::Live => Color::Green,
        };
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }
}

/// Draws the rows from `offset` on, under their titles; `first` is the title of the first column, where that has
/// none. Names come from whoever is watched: what would move the cursor is shown as `?`.
pub(super) fn table<T>(
    columns: &[Column<T>],
    first: &str,
    rows: &[T],
    snapshot: &Snapshot,
    look: Look,
    (area, buffer): (Rect, &mut Buffer),
) {
    let columns: Vec<_> = columns.iter().filter(|column| column.from <= area.width).collect();
    let numbers = |column: &Column<T>| column.title.starts_with(' ');
    let title = |column: &Column<T>| if column.title.is_empty() { first } else { column.title.trim_start() };
    let shown = rows.iter().take(area.height.saturating_sub(1).into());
    let texts: Vec<Vec<String>> = shown
        .map(|row| {
            let cell = |column: &&Column<T>| (column.cell)(row, snapshot).unwrap_or_else(|| "-".to_owned());
            columns.iter().map(|column| cell(column).replace(char::is_control, "?")).collect()
        })
        .collect();
    let fixed: u16 = columns.iter().map(|column| column.width + 1).sum();
    let left = (area.width + 1).saturating_sub(fixed);
    let widths = columns.iter().enumerate().map(|(index, column)| match column.width {
        0 => {
            let widest = texts.iter().filter_map(|row| row.get(index)).map(|text| Line::raw(text).width());
            let wanted = widest.max().unwrap_or(0).max(12);
            u16::try_from(wanted).unwrap_or(u16::MAX).min(left)
        }
        width => width,
    });
    let widths: Vec<Constraint> = widths.map(Constraint::Length).collect();
    let cell = |column: &Column<T>, text: String| {
        let alignment = if numbers(column) { Alignment::Right } else { Alignment::Left };
        Cell::new(Text::from(text).alignment(alignment))
    };
    let titles = columns.iter().map(|column| cell(column, title(column).to_owned()));
    let rows = texts.into_iter().map(|texts| {
        let cells = columns.iter().zip(texts).map(|(column, text)| {
            let quiet = matches!(text.as_str(), "-" | "0");
            let style = if quiet { Style::new() } else { look.of(column.tone) };
            cell(column, text).style(style)
        });
        Cells::new(cells.collect::<Vec<_>>())
    });
    Table::new(rows.collect::<Vec<_>>(), widths)
        .header(Cells::new(titles.collect::<Vec<_>>()).style(Style::new().add_modifier(Modifier::BOLD)))
        .column_spacing(1)
        .render(area, buffer);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_fit_their_columns() {
        assert_eq!(
            [0, 9_999, 10_000, 999_999, 1_250_000, 2_000_000_000].map(short),
            ["0", "9,999", "10k", "999k", "1.2M", "2.0G"]
        );
        assert_eq!([0.0, 0.04, 9.94, 9.96, 184.4].map(rate), ["0", "0.0", "9.9", "10", "184"]);
    }
}
