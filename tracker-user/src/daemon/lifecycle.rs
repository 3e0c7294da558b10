//! Tells systemd how the daemon does (`sd_notify(3)`), where it was started by it (`Type=notify`).

use std::time::Duration;

use sd_notify::NotifyState;

/// How often systemd wants to hear that the daemon works, where it does (`WatchdogSec=`).
///
/// It is fed by the pipeline's own task between two batches of records, so that it starves when that does not
/// get through any more, for whatever reason.
#[derive(Debug)]
pub(super) struct Watchdog {
    every: Option<Duration>,
}

impl Watchdog {
    /// As the environment says.
    pub(super) fn new() -> Self {
        Self { every: sd_notify::watchdog_enabled() }
    }

    /// Says that the work goes on. Called more often than it is asked for.
    pub(super) fn feed(&self) {
        if self.every.is_some() {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

/// It watches.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It reads its configuration again; [`ready`] ends that.
pub(super) fn reloading() {
    // Without the time systemd would not know which of two reloads this is.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// It ends.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// What it does, for `systemctl status`.
pub(super) fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

fn tell(states: &[NotifyState<'_>]) {
    // Nothing depends on it, and without a socket nothing is sent.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be told");
    }
}
