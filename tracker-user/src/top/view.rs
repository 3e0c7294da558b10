//! What is shown, and what keys do to it. It knows no terminal: it draws into a buffer of any size.

use anyhow::Result;
use clap::ValueEnum;
use ratatui::{
    buffer::Buffer,
    crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style},
    text::{Line, Span},
    widgets::{Paragraph, Widget as _, Wrap},
};

use super::columns::{self, ENDED, FLIGHTS, Look, ROWS, Tone};
use crate::{
    human::{count, share, usd},
    live::{By, Row, Snapshot},
};

/// By what the rows are ordered, most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// Calls: those in flight, then those of the last minutes, then those of the last hour.
    Calls,
    /// Tokens of the last hour.
    Tokens,
    /// What the calls of the last hour cost.
    Cost,
    /// The errors of the last minutes.
    Errors,
    /// The name.
    Name,
}

impl Order {
    fn next(self) -> Self {
        let all = Self::value_variants();
        let position = all.iter().position(|order| *order == self).unwrap_or(0);
        all.get(position + 1).or(all.first()).copied().unwrap_or(self)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Tokens => "tokens",
            Self::Cost => "cost",
            Self::Errors => "errors",
            Self::Name => "name",
        }
    }

    fn sort(self, rows: &mut [Row]) {
        rows.sort_by(|a, b| {
            let (one, other) = (&a.totals, &b.totals);
            let tokens =
                |row: &Row| row.totals.hour.input_tokens.saturating_add(row.totals.hour.output_tokens);
            let order = match self {
                Self::Calls => (other.in_flight, other.recent.calls, other.hour.calls).cmp(&(
                    one.in_flight,
                    one.recent.calls,
                    one.hour.calls,
                )),
                Self::Tokens => tokens(b).cmp(&tokens(a)),
                Self::Cost => other.hour.cost_usd.total_cmp(&one.hour.cost_usd),
                Self::Errors => other.recent.errors.cmp(&one.recent.errors),
                Self::Name => std::cmp::Ordering::Equal,
            };
            order.then_with(|| a.name.cmp(&b.name))
        });
    }
}

/// What is to be done after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    Quit,
}

/// The lower of the two tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lower {
    Rows,
    Ended,
}

/// The tables, for what is done to one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Focus {
    Flights,
    Lower,
}

/// What is shown.
#[derive(Debug)]
pub(super) struct View {
    by: By,
    order: Order,
    look: Look,
    lower: Lower,
    focus: Focus,
    /// Rows of the two tables that are scrolled over.
    scrolled: [usize; 2],
    paused: bool,
    /// Absent until a daemon has answered.
    snapshot: Option<Snapshot>,
    /// Why there is no newer one.
    problem: Option<String>,
}

/// What a key changes the grouping to; the letter is in the name.
const GROUPS: [(char, By); By::ALL.len()] = [
    ('p', By::Process),
    ('c', By::Container),
    ('m', By::Model),
    ('s', By::Session),
    ('v', By::Provider),
    ('a', By::Agent),
    ('u', By::User),
];

impl View {
    pub(super) fn new(by: By, order: Order, colours: bool) -> Self {
        Self {
            by,
            order,
            look: Look { colours },
            lower: Lower::Rows,
            focus: Focus::Lower,
            scrolled: [0; 2],
            paused: false,
            snapshot: None,
            problem: None,
        }
    }

    /// Takes what the daemon has answered.
    pub(super) fn take(&mut self, answer: Result<Snapshot>) {
        match answer {
            Ok(_) if self.paused => self.problem = None,
            Ok(snapshot) => {
                (self.snapshot, self.problem) = (Some(snapshot), None);
                // There may be fewer rows than are scrolled over.
                for focus in [Focus::Flights, Focus::Lower] {
                    self.scroll(focus, |row| row);
                }
            }
            Err(error) => self.problem = Some(format!("{error:#}")),
        }
    }

    /// Does what an event asks for; a new size is seen when it is drawn.
    pub(super) fn handle(&mut self, event: &Event) -> Next {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.press(*key),
            _ => Next::Go,
        }
    }

    fn press(&mut self, key: KeyEvent) -> Next {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if control => return Next::Quit,
            KeyCode::Char('q') | KeyCode::Esc => return Next::Quit,
            KeyCode::Char('o') => self.order = self.order.next(),
            KeyCode::Char('e') => self.show(Lower::Ended),
            KeyCode::Char(' ') => self.paused = !self.paused,
            KeyCode::Tab | KeyCode::BackTab => {
                self.focus = match self.focus {
                    Focus::Flights => Focus::Lower,
                    Focus::Lower => Focus::Flights,
                };
            }
            KeyCode::Up | KeyCode::Char('k') => self.scroll(self.focus, |row| row.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.scroll(self.focus, |row| row.saturating_add(1)),
            KeyCode::PageUp => self.scroll(self.focus, |row| row.saturating_sub(10)),
            KeyCode::PageDown => self.scroll(self.focus, |row| row.saturating_add(10)),
            KeyCode::Home => self.scroll(self.focus, |_| 0),
            KeyCode::Char(letter) if !control => {
                if let Some((_, by)) = GROUPS.iter().find(|(key, _)| *key == letter) {
                    self.by = *by;
                    self.show(Lower::Rows);
                }
            }
            _ => {}
        }
        Next::Go
    }

    fn show(&mut self, lower: Lower) {
        self.lower = lower;
        self.scrolled[1] = 0;
    }

    /// Never beyond the last row.
    fn scroll(&mut self, table: Focus, to: impl Fn(usize) -> usize) {
        let [flights, lower] = &mut self.scrolled;
        let (row, rows) = match (table, self.snapshot.as_ref()) {
            (Focus::Flights, snapshot) => (flights, snapshot.map(|it| it.in_flight.len())),
            (Focus::Lower, snapshot) => (
                lower,
                snapshot.map(|it| match self.lower {
                    Lower::Rows => it.by.get(&self.by).map_or(0, Vec::len),
                    Lower::Ended => it.ended.len(),
                }),
            ),
        };
        *row = to(*row).min(rows.unwrap_or(0).saturating_sub(1));
    }

    /// Lines of a page with all of it.
    pub(super) fn height(&self) -> u16 {
        let lines = self.snapshot.as_ref().map_or(0, |snapshot| {
            let rows = snapshot.by.get(&self.by).map_or(0, Vec::len);
            SUMMARY as usize + 2 * TITLES as usize + snapshot.in_flight.len().max(1) + rows.max(1)
        });
        u16::try_from(lines).unwrap_or(u16::MAX)
    }

    /// Draws all of it, for paper.
    pub(super) fn draw_page(&self, area: Rect, buffer: &mut Buffer) {
        if let Some(snapshot) = &self.snapshot {
            let flights = snapshot.in_flight.len().max(1);
            self.draw_snapshot(snapshot, area, u16::try_from(flights).unwrap_or(u16::MAX), buffer);
        }
    }

    /// Draws what fits.
    pub(super) fn draw(&self, area: Rect, buffer: &mut Buffer) {
        let help = HELP.min(area.height.saturating_sub(SUMMARY + 1));
        let [top, bottom] = Layout::vertical([Constraint::Min(0), Constraint::Length(help)]).areas(area);
        match &self.snapshot {
            Some(snapshot) => {
                // The upper table has at most half of the room, and no more than it needs.
                let room = top.height.saturating_sub(SUMMARY + 2 * TITLES);
                let flights = u16::try_from(snapshot.in_flight.len()).unwrap_or(u16::MAX).max(1);
                self.draw_snapshot(snapshot, top, flights.min(room.div_ceil(2)), buffer);
            }
            None => {
                let text = self.problem.as_deref().unwrap_or("The daemon is being asked ...");
                Paragraph::new(text).wrap(Wrap { trim: true }).render(top, buffer);
            }
        }
        self.draw_help(bottom, buffer);
    }

    fn draw_snapshot(&self, snapshot: &Snapshot, area: Rect, flights: u16, buffer: &mut Buffer) {
        let [summary, upper_title, upper, lower_title, lower] = Layout::vertical([
            Constraint::Length(SUMMARY),
            Constraint::Length(1),
            Constraint::Length(flights + TITLES - 1),
            Constraint::Length(1),
            Constraint::Min(0),
        ])
        .areas(area);
        self.draw_summary(snapshot, summary, buffer);

        let [over, _] = self.scrolled;
        let calls = snapshot.in_flight.get(over..).unwrap_or_default();
        let all = snapshot.in_flight.len() as u64 + snapshot.in_flight_omitted;
        let shown = calls.len().min(flights.into());
        let title = format!("In flight: {}", part(shown, all));
        self.draw_title(Focus::Flights, &title, upper_title, buffer);
        columns::table(FLIGHTS, "", calls, snapshot, self.look, (upper, buffer));

        let room = lower.height.saturating_sub(1);
        match self.lower {
            Lower::Rows => self.draw_rows(snapshot, room, (lower_title, lower), buffer),
            Lower::Ended => {
                let calls = snapshot.ended.get(self.scrolled[1]..).unwrap_or_default();
                let shown = calls.len().min(room.into());
                let all = snapshot.ended.len() as u64;
                let title = format!("Ended in the last five minutes: {}", part(shown, all));
                self.draw_title(Focus::Lower, &title, lower_title, buffer);
                columns::table(ENDED, "", calls, snapshot, self.look, (lower, buffer));
            }
        }
    }

    fn draw_rows(&self, snapshot: &Snapshot, room: u16, (title, area): (Rect, Rect), buffer: &mut Buffer) {
        let mut rows = snapshot.by.get(&self.by).cloned().unwrap_or_default();
        self.order.sort(&mut rows);
        let all = rows.len() as u64;
        let rows = rows.get(self.scrolled[1]..).unwrap_or_default();
        let shown = rows.len().min(room.into());
        let order = match self.order {
            Order::Name => "in order".to_owned(),
            order => format!("most {} first", order.name()),
        };
        let (by, shown) = (self.by.as_str(), part(shown, all));
        let window = minutes(snapshot.window_seconds);
        let text = format!("By {by}: {shown}, {order}. Rates: {window}; tokens, cost: 1 h");
        self.draw_title(Focus::Lower, &text, title, buffer);
        let first = self.by.as_str().to_uppercase();
        columns::table(ROWS, &first, rows, snapshot, self.look, (area, buffer));
    }

    fn draw_title(&self, focus: Focus, title: &str, area: Rect, buffer: &mut Buffer) {
        let mark = if self.focus == focus { "> " } else { "  " };
        let modifier = if self.focus == focus { Modifier::BOLD } else { Modifier::empty() };
        Line::styled(format!("{mark}{title}"), Style::new().add_modifier(modifier)).render(area, buffer);
    }

    fn draw_summary(&self, snapshot: &Snapshot, area: Rect, buffer: &mut Buffer) {
        let totals = &snapshot.totals;
        let speed = totals.output_tokens_per_second.map_or_else(|| "-".to_owned(), columns::rate);
        let cost = |cost: Option<f64>| cost.map_or_else(|| "cost unknown".to_owned(), usd);
        let spending = totals.recent.cost().map(|cost| snapshot.per_hour(cost));
        let calls = columns::rate(60.0 * snapshot.per_second(totals.recent.calls as f64));
        let now = Line::from(vec![
            Span::styled("llm-tracker  ", Style::new().add_modifier(Modifier::BOLD)),
            Span::raw(format!("{} in flight  ", count(totals.in_flight))),
            Span::styled(format!("{speed} tok/s  "), self.look.of(Tone::Live)),
            Span::raw(match spending {
                Some(dollars) => format!("{}/h  ", usd(dollars)),
                None => "cost unknown  ".to_owned(),
            }),
            Span::raw(format!("{calls} calls/min  ")),
            Span::styled(
                format!("{} errors", share(totals.recent.errors, totals.recent.calls)),
                self.look.of(if totals.recent.errors > 0 { Tone::Errors } else { Tone::Plain }),
            ),
        ]);
        let hour = &totals.hour;
        let before = format!(
            "last hour    {} calls  {} tokens in  {} out  {}",
            count(hour.calls),
            count(hour.input_tokens),
            count(hour.output_tokens),
            cost(hour.cost())
        );
        let [first, second, third] = Layout::vertical([Constraint::Length(1); SUMMARY as usize]).areas(area);
        now.render(first, buffer);
        Line::raw(before).render(second, buffer);
        if let Some(problem) = &self.problem {
            let style = self.look.of(Tone::Errors).add_modifier(Modifier::BOLD);
            Line::styled(format!("as it was at {}: {problem}", snapshot.at), style).render(third, buffer);
        } else if self.paused {
            let style = Style::new().add_modifier(Modifier::BOLD);
            Line::styled(format!("paused at {}; space goes on", snapshot.at), style).render(third, buffer);
        }
    }

    fn draw_help(&self, area: Rect, buffer: &mut Buffer) {
        let mut groups = Vec::new();
        for (key, by) in GROUPS {
            let chosen = self.lower == Lower::Rows && self.by == by;
            groups.extend(key_help(&key.to_string(), by.as_str(), chosen));
        }
        let mut others = Vec::new();
        for (key, does, chosen) in [
            ("e", "ended", self.lower == Lower::Ended),
            ("o", "order", false),
            ("Tab \u{2191}\u{2193}", "scroll", false),
            ("space", "pause", self.paused),
            ("q", "quit", false),
        ] {
            others.extend(key_help(key, does, chosen));
        }
        others.push(Span::raw("~ is our own count"));
        Paragraph::new(vec![Line::from(groups), Line::from(others)]).render(area, buffer);
    }
}

/// Lines above the tables, below them, and of a table without rows.
const SUMMARY: u16 = 3;
const HELP: u16 = 2;
const TITLES: u16 = 2;

fn key_help(key: &str, does: &'static str, chosen: bool) -> [Span<'static>; 4] {
    let does = if chosen { Span::raw(does).style(Modifier::REVERSED) } else { Span::raw(does) };
    [Span::raw(key.to_owned()).style(Modifier::BOLD), Span::raw(" "), does, Span::raw("  ")]
}

/// How many are shown, of how many.
fn part(shown: usize, all: u64) -> String {
    if all > shown as u64 { format!("{} of {}", count(shown as u64), count(all)) } else { count(all) }
}

fn minutes(seconds: f64) -> String {
    if seconds < 90.0 { format!("{seconds:.0} s") } else { format!("{:.0} min", seconds / 60.0) }
}

#[cfg(test)]
mod tests;
