//! Asking the daemon's local API.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{child::Child, client::LIMIT, daemon::Daemon};

/// `curl` that asks on the socket.
#[must_use]
pub fn on_socket(daemon: &Daemon, path: &str) -> Command {
    let mut command = curl(&format!("http://localhost{path}"));
    command.arg("--unix-socket").arg(daemon.api_socket());
    command
}

/// The same over TCP.
#[must_use]
pub fn on_loopback(daemon: &Daemon, path: &str) -> Command {
    curl(&format!("http://{}{path}", daemon.metrics_address()))
}

fn curl(url: &str) -> Command {
    let mut command = Command::new("/usr/bin/curl");
    command.args(["--silent", "--show-error", "--no-buffer", "--max-time", "60", url]);
    command
}

/// What such a command is answered: the status and the text.
///
/// # Errors
///
/// Where it is not.
pub fn answer(mut curl: Command) -> Result<(u16, String)> {
    curl.args(["--write-out", "\n%{http_code}"]);
    let said = Child::spawn(curl, LIMIT)?.wait()?.success()?.stdout;
    let (body, status) = said.rsplit_once('\n').context("no status")?;
    Ok((status.parse()?, body.to_owned()))
}
