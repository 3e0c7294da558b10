//! A terminal with a program in it: tmux, of which nobody sees the screen but the test.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{child, daemon::SOON};

/// How long tmux itself may take for anything.
const LIMIT: Duration = Duration::from_secs(20);

/// One; it ends with the test.
#[derive(Debug)]
pub struct Terminal {
    folder: tempfile::TempDir,
}

impl Terminal {
    /// A terminal of this size, in which a shell runs `script`.
    ///
    /// # Errors
    ///
    /// Where tmux does not start.
    pub fn open((columns, lines): (u16, u16), script: &str) -> Result<Self> {
        let terminal = Self { folder: tempfile::tempdir()? };
        let size = [columns.to_string(), lines.to_string()];
        terminal.tmux(&["new-session", "-d", "-x", &size[0], "-y", &size[1], "/bin/sh", "-c", script])?;
        Ok(terminal)
    }

    fn tmux(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("/usr/bin/tmux");
        command.args(["-f", "/dev/null", "-S"]).arg(self.folder.path().join("tmux")).args(arguments);
        // What it shows is Unicode, and the terminal has colours.
        command.env("LANG", "C.UTF-8").env("TERM", "xterm-256color").env_remove("TMUX");
        child::output(command, LIMIT)
    }

    /// What is on its screen now.
    ///
    /// # Errors
    ///
    /// Where tmux does not say.
    pub fn screen(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// Whether any of it is in a colour of its own.
    ///
    /// # Errors
    ///
    /// Where tmux does not say.
    pub fn has_colours(&self) -> Result<bool> {
        // What is bold ends with the colours that the terminal has by itself.
        let screen = self.tmux(&["capture-pane", "-p", "-e"])?.replace("\u{1b}[39m", "");
        Ok(screen.contains("\u{1b}[3"))
    }

    /// Waits until it is what is `wanted`, and returns it.
    ///
    /// # Errors
    ///
    /// Where it is not after [`SOON`]; says what it is.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + SOON;
        loop {
            let screen = self.screen()?;
            if wanted(&screen) {
                return Ok(screen);
            }
            if Instant::now() >= deadline {
                bail!("no {what} on the screen after {SOON:?}:\n{screen}");
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Presses keys, by tmux' names.
    ///
    /// # Errors
    ///
    /// Where tmux does not take them.
    pub fn press(&self, keys: &[&str]) -> Result<()> {
        self.tmux(&[&["send-keys"], keys].concat()).map(drop)
    }

    /// Makes it larger or smaller.
    ///
    /// # Errors
    ///
    /// Where tmux does not do it.
    pub fn resize(&self, (columns, lines): (u16, u16)) -> Result<()> {
        self.tmux(&["resize-window", "-x", &columns.to_string(), "-y", &lines.to_string()]).map(drop)
    }

    /// Whether a program has the screen to itself, and gives it back when it ends.
    ///
    /// # Errors
    ///
    /// Where tmux does not say.
    pub fn is_taken(&self) -> Result<bool> {
        Ok(self.tmux(&["display-message", "-p", "#{alternate_on}"])?.trim() == "1")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended by itself where that fails.
        let _ = self.tmux(&["kill-server"]);
    }
}
