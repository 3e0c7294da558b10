//! The terminal: keys and signals in, the view out, and everything as it was in the end.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};
use ratatui::crossterm::event;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::{
    source::Source,
    view::{Next, View},
};

/// Puts the terminal back as it was.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing.
        let _ = ratatui::try_restore();
    }
}

/// Shows the view, and what the source says every `delay`, until somebody wants to quit.
pub(super) async fn run(mut view: View, mut source: Source, delay: Duration) -> Result<()> {
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut hangup = listen(SignalKind::hangup())?;

    // A panic restores it, too.
    let mut terminal = ratatui::try_init().context("the terminal cannot be used")?;
    let _restore = Restore;

    let (pressed, mut events) = mpsc::channel(64);
    let keys = move || {
        while let Ok(event) = event::read() {
            if pressed.blocking_send(event).is_err() {
                break;
            }
        }
    };
    let (answered, mut answers) = mpsc::channel(1);
    let looks = move || {
        while answered.blocking_send(source.fetch()).is_ok() {
            thread::sleep(delay);
        }
    };
    // What still waits in them for a key or an answer in the end does so for nothing.
    thread::Builder::new().name("keys".to_owned()).spawn(keys).context("no thread for the keys")?;
    thread::Builder::new().name("looks".to_owned()).spawn(looks).context("no thread to ask the daemon")?;

    loop {
        terminal
            .draw(|frame| view.draw(frame.area(), frame.buffer_mut()))
            .context("the terminal cannot be written to")?;
        tokio::select! {
            event = events.recv() => match event {
                Some(event) if view.handle(&event) == Next::Go => {}
                _ => break,
            },
            Some(answer) = answers.recv() => view.take(answer),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => break,
        }
    }
    Ok(())
}
