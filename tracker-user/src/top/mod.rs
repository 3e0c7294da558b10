//! `llm-tracker top`: what runs now and in the last minutes, on the whole screen, or once for a pipe.

mod columns;
mod screen;
mod source;
mod view;

use std::{io::IsTerminal as _, time::Duration};

use anyhow::{Context as _, Result};
use clap::Args;
use ratatui::{buffer::Buffer, layout::Rect};
use tokio::runtime;

use crate::{
    config::Config,
    live::{By, Snapshot},
};
use source::Source;
use view::{Order, View};

/// How wide the page is where nobody says how wide the paper is.
const PAGE: u16 = 132;

/// Arguments of `top`.
#[derive(Clone, Debug, Args)]
pub struct TopArgs {
    /// What calls are told apart by at first.
    #[arg(long, value_name = "NAME", default_value = "process")]
    pub by: By,
    /// In which order, most first.
    #[arg(long, value_name = "COLUMN", default_value = "calls")]
    pub order: Order,
    /// Seconds from one look to the next.
    #[arg(long, short = 'd', value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub delay: u32,
    /// Print it once, as is done where standard output is no terminal.
    #[arg(long, short = 'b')]
    pub once: bool,
    /// For programs: JSON, once.
    #[arg(long)]
    pub json: bool,
}

/// Shows it, until somebody wants to quit; where it was printed once, that text is returned.
///
/// # Errors
/// No daemon answers, where it is to be printed once; the terminal cannot be used.
pub fn run(args: &TopArgs, config: &Config) -> Result<String> {
    let mut source = Source::of(config);
    let view = View::new(args.by, args.order, has_colours());
    let full_screen =
        std::io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|it| it != "dumb");
    if full_screen && !args.once && !args.json {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let delay = Duration::from_secs(args.delay.into());
        let shown = runtime.context("the runtime cannot start")?.block_on(screen::run(view, source, delay));
        return shown.map(|()| String::new());
    }
    let snapshot = source.fetch()?;
    if args.json {
        return serde_json::to_string(&snapshot).map(|line| line + "\n").context("it cannot be written");
    }
    Ok(page(view, snapshot))
}

/// Whether to use colours: <https://no-color.org>.
fn has_colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// All of it as text, however long.
fn page(mut view: View, snapshot: Snapshot) -> String {
    view.take(Ok(snapshot));
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let area = Rect::new(0, 0, columns.unwrap_or(PAGE).clamp(40, 1000), view.height());
    let mut buffer = Buffer::empty(area);
    view.draw_page(area, &mut buffer);
    let mut text = String::new();
    for row in buffer.content().chunks(area.width.into()) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        text += line.trim_end();
        text.push('\n');
    }
    text
}
