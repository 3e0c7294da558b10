//! One JSON line a call, to a file or to standard output.
//!
//! Lines are written by a thread of its own behind a bounded queue: a full disk or a reader that
//! does not read costs lines, which are counted, and never holds up capture.

mod writer;

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{self, SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};

use super::{Record, Sample, Sink};
use crate::record::{line, losses::Losses};

/// Where the lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Appended; created where it does not exist, readable for owner and group: it holds no
    /// secrets, but it tells who did what.
    File(PathBuf),
    /// `-` on the command line.
    Stdout,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Stdout => f.write_str("standard output"),
        }
    }
}

/// Settings of a [`JsonlSink`].
#[derive(Clone, Debug)]
pub struct JsonlConfig {
    /// Where the lines go.
    pub target: Target,
    /// Lines that may wait to be written; what comes on top is lost.
    pub queue: usize,
}

impl JsonlConfig {
    /// With a queue of 8,192 lines, a few megabytes at worst.
    #[must_use]
    pub const fn new(target: Target) -> Self {
        Self { target, queue: 8192 }
    }
}

/// Why the sink cannot start. Its message says what to do.
#[derive(Debug, thiserror::Error)]
#[error("cannot write events to {target}: {source}; {hint}")]
pub struct OpenError {
    target: Target,
    source: io::Error,
    hint: &'static str,
}

impl OpenError {
    fn new(target: &Target, source: io::Error) -> Self {
        let hint = match source.kind() {
            io::ErrorKind::NotFound => "create the directory first, or name another file with --events",
            io::ErrorKind::PermissionDenied => {
                "check the permissions of the file and its directory, or name another file with --events"
            }
            io::ErrorKind::IsADirectory => "name a file in that directory with --events",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space first",
            io::ErrorKind::ReadOnlyFilesystem => "name a file on a writable file system with --events",
            _ => "name another file with --events, or `-` for standard output",
        };
        Self { target: target.clone(), source, hint }
    }
}

/// What became of the lines so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JsonlStats {
    /// Written.
    pub written: u64,
    /// Lost because the queue was full: the target takes them too slowly.
    pub queue_full: u64,
    /// Lost because the disk or the quota was full.
    pub disk_full: u64,
    /// Lost because nobody reads standard output or the pipe any more.
    pub closed: u64,
    /// Lost because writing failed otherwise, or because the line could not be made.
    pub failed: u64,
    /// Lost because they were not written within the time given at shutdown, or came after it.
    pub shutdown: u64,
}

impl JsonlStats {
    /// All that was lost.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.queue_full + self.disk_full + self.closed + self.failed + self.shutdown
    }
}

/// Why a line was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    QueueFull,
    DiskFull,
    Closed,
    Failed,
    Shutdown,
}

impl Loss {
    /// In the order of the variants.
    const NAMES: [&str; 5] = ["queue_full", "disk_full", "closed", "failed", "shutdown"];

    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Failed,
        }
    }
}

/// Shared with the writing thread.
#[derive(Debug)]
struct Shared {
    accepted: AtomicU64,
    written: AtomicU64,
    losses: Losses<{ Loss::NAMES.len() }>,
    reopen: AtomicBool,
}

impl Shared {
    const fn new() -> Self {
        Self {
            accepted: AtomicU64::new(0),
            written: AtomicU64::new(0),
            losses: Losses::new(Loss::NAMES),
            reopen: AtomicBool::new(false),
        }
    }

    fn lost(&self, loss: Loss) -> u64 {
        self.losses.of(loss as usize)
    }

    fn lose(&self, loss: Loss, lines: u64, target: &Target, error: Option<&io::Error>) {
        self.losses.lose(loss as usize, lines, target, error.map(|error| error as &dyn fmt::Display));
    }
}

/// Writes one JSON line a call.
#[derive(Debug)]
pub struct JsonlSink {
    target: Target,
    shared: Arc<Shared>,
    /// Taken at shutdown, which ends the thread.
    lines: Mutex<Option<SyncSender<Vec<u8>>>>,
    finished: Mutex<mpsc::Receiver<()>>,
}

impl JsonlSink {
    /// Opens the target and starts the writing thread.
    ///
    /// # Errors
    /// The target cannot be written to, or there is no thread to be had.
    pub fn open(config: JsonlConfig) -> Result<Self, OpenError> {
        let JsonlConfig { target, queue } = config;
        let output = writer::Output::open(&target).map_err(|source| OpenError::new(&target, source))?;
        let (lines, inbox) = mpsc::sync_channel(queue.max(1));
        let (done, finished) = mpsc::sync_channel(1);
        let shared = Arc::new(Shared::new());
        let writer = writer::Writer::new(target.clone(), output, Arc::clone(&shared));
        thread::Builder::new()
            .name("events".into())
            .spawn(move || {
                writer.run(&inbox);
                let _ = done.send(());
            })
            .map_err(|source| OpenError::new(&target, source))?;
        Ok(Self { target, shared, lines: Mutex::new(Some(lines)), finished: Mutex::new(finished) })
    }

    /// Opens the file anew, by its name: what log rotation asks for with SIGHUP. Lines queued
    /// before go to the new file or the old one, and to one of them only.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, Ordering::Release);
    }

    /// Writes what is queued and ends the thread, within `patience`. Lines that are not written by
    /// then, or come later, count as lost.
    pub fn shutdown(&self, patience: Duration) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner).take();
        if lines.is_none() {
            return;
        }
        drop(lines);
        let finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(patience);
        let stats = self.stats();
        let left = self
            .shared
            .accepted
            .load(Ordering::Relaxed)
            .saturating_sub(stats.written + stats.disk_full + stats.closed + stats.failed);
        if finished.is_err() && left > 0 {
            self.shared.lose(Loss::Shutdown, left, &self.target, None);
        }
    }

    /// What became of the lines so far.
    #[must_use]
    pub fn stats(&self) -> JsonlStats {
        JsonlStats {
            written: self.shared.written.load(Ordering::Relaxed),
            queue_full: self.shared.lost(Loss::QueueFull),
            disk_full: self.shared.lost(Loss::DiskFull),
            closed: self.shared.lost(Loss::Closed),
            failed: self.shared.lost(Loss::Failed),
            shutdown: self.shared.lost(Loss::Shutdown),
        }
    }

    /// The same for the metrics page.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let written = Sample::counter(
            "llm_tracker_events_written_total",
            "Calls written to the event log.",
            self.shared.written.load(Ordering::Relaxed),
        );
        let lost = self
            .shared
            .losses
            .samples("llm_tracker_events_lost_total", "Calls that did not reach the event log, by reason.");
        std::iter::once(written).chain(lost).collect()
    }
}

impl Sink for JsonlSink {
    fn record(&self, record: &Record) {
        let line = match line::encode(record) {
            Ok(line) => line,
            Err(error) => {
                return self.shared.lose(Loss::Failed, 1, &self.target, Some(&error.into()));
            }
        };
        self.write(line);
    }
}

impl JsonlSink {
    /// Takes a line, its newline included.
    pub(crate) fn write(&self, line: Vec<u8>) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = lines.as_ref().map(|lines| lines.try_send(line));
        drop(lines);
        match sent {
            Some(Ok(())) => {
                self.shared.accepted.fetch_add(1, Ordering::Relaxed);
            }
            Some(Err(TrySendError::Full(_))) => self.shared.lose(Loss::QueueFull, 1, &self.target, None),
            Some(Err(TrySendError::Disconnected(_))) | None => {
                self.shared.lose(Loss::Shutdown, 1, &self.target, None);
            }
        }
    }
}

impl Drop for JsonlSink {
    fn drop(&mut self) {
        self.shutdown(Duration::from_secs(1));
    }
}

#[cfg(test)]
mod tests;
