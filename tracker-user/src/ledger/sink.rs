//! The thread that stores calls, behind a bounded queue: a slow or full disk never holds up capture.
//!
//! A batch that cannot be stored is tried again every second, and the queue fills up meanwhile; what
//! finds it full is lost, and counted under what the database said last.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rusqlite::ffi::ErrorCode;

use super::{
    prune::Retention,
    schema::{self, SchemaError},
    store::Store,
};
use crate::record::{Record, Sample, Sink, losses::Losses};

/// Settings of a [`LedgerSink`].
#[derive(Clone, Debug)]
pub struct LedgerConfig {
    /// The database.
    pub file: PathBuf,
    /// What is kept.
    pub retention: Retention,
    /// Calls that may wait to be stored, a few megabytes; what comes on top is lost.
    pub queue: usize,
}

/// Calls that are stored by one transaction.
const BATCH: usize = 1024;
/// How long calls may wait for others, so that one transaction takes them all.
const GATHER: Duration = Duration::from_millis(500);
/// Between two looks at the queue meanwhile.
const LOOK: Duration = Duration::from_millis(10);
/// Between two tries at what cannot be stored.
const AGAIN: Duration = Duration::from_secs(1);
/// Between two looks at what is too old or too much.
const PRUNE: Duration = Duration::from_secs(60);
/// Between two lines of the log about the same trouble.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Why calls are not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// None: the database is too slow.
    QueueFull,
    DiskFull,
    ReadOnly,
    Corrupt,
    Failed,
    Shutdown,
}

impl Trouble {
    /// As they are shown.
    const NAMES: [&'static str; 6] =
        ["queue_full", "disk_full", "read_only", "corrupt", "failed", "shutdown"];

    fn of(error: &SchemaError) -> Self {
        let code = match error {
            SchemaError::Database(error) if schema::is_corrupt(error) => return Self::Corrupt,
            SchemaError::Database(error) => error.sqlite_error_code(),
            SchemaError::File(error) => {
                return match error.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
                    _ => Self::ReadOnly,
                };
            }
            _ => return Self::Failed,
        };
        match code {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Self::ReadOnly,
            _ => Self::Failed,
        }
    }

    /// What to do about it.
    const fn hint(self) -> &'static str {
        match self {
            Self::QueueFull => "the disk is too slow for so many calls",
            Self::DiskFull => "free some space",
            Self::ReadOnly => "it needs a directory that is there and that the daemon may write to",
            Self::Corrupt => "move the file away: a new one is made in its place within a second",
            Self::Failed | Self::Shutdown => "calls wait in memory for as long as there is room",
        }
    }
}

#[derive(Debug)]
struct Shared {
    file: PathBuf,
    accepted: AtomicU64,
    stored: AtomicU64,
    losses: Losses<{ Trouble::NAMES.len() }>,
    /// The one that keeps calls from being stored, as an index; the first is none.
    trouble: AtomicU8,
}

impl Shared {
    fn lose(&self, trouble: usize, calls: u64) {
        self.losses.lose(trouble, calls, &format_args!("the ledger {}", self.file.display()), None);
    }
}

/// Stores every call.
#[derive(Debug)]
pub struct LedgerSink {
    shared: Arc<Shared>,
    /// Taken at shutdown, which ends the thread. Boxed: the queue's room is there from the beginning.
    calls: Mutex<Option<SyncSender<Box<Record>>>>,
    finished: Mutex<Receiver<()>>,
}

impl LedgerSink {
    /// Starts the thread. A file that cannot be used now is tried again and again, and said to be so:
    /// capture and metrics go on.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn start(config: LedgerConfig) -> io::Result<Self> {
        let (calls, inbox) = mpsc::sync_channel(config.queue.max(1));
        let (done, finished) = mpsc::sync_channel(1);
        let shared = Arc::new(Shared {
            file: config.file.clone(),
            accepted: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            losses: Losses::new(Trouble::NAMES),
            trouble: AtomicU8::new(Trouble::QueueFull as u8),
        });
        let writer = Writer { config, shared: Arc::clone(&shared), store: None, pruned: None, logged: None };
        thread::Builder::new().name("ledger".into()).spawn(move || {
            writer.run(&inbox);
            let _ = done.send(());
        })?;
        Ok(Self { shared, calls: Mutex::new(Some(calls)), finished: Mutex::new(finished) })
    }

    /// Stores what is queued and ends the thread, within `patience`. What is not stored by then, or
    /// comes later, counts as lost.
    pub fn shutdown(&self, patience: Duration) {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner).take();
        if calls.is_none() {
            return;
        }
        drop(calls);
        let finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner).recv_timeout(patience);
        if finished.is_err() {
            let accepted = self.shared.accepted.load(Ordering::Relaxed);
            let left = accepted.saturating_sub(self.shared.stored.load(Ordering::Relaxed));
            self.shared.lose(Trouble::Shutdown as usize, left);
        }
    }

    /// Calls that it has taken so far, in their order.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Acquire)
    }

    /// How many of them, the first ones, are stored.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.shared.stored.load(Ordering::Acquire)
    }

    /// What became of the calls so far, for the metrics page.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        let stored = Sample::counter(
            "llm_tracker_ledger_stored_total",
            "Calls stored in the ledger.",
            self.shared.stored.load(Ordering::Relaxed),
        );
        let lost = self
            .shared
            .losses
            .samples("llm_tracker_ledger_lost_total", "Calls that did not reach the ledger, by reason.");
        std::iter::once(stored).chain(lost).collect()
    }
}

impl Sink for LedgerSink {
    fn record(&self, record: &Record) {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = calls.as_ref().map(|calls| calls.try_send(Box::new(record.clone())));
        drop(calls);
        match sent {
            Some(Ok(())) => _ = self.shared.accepted.fetch_add(1, Ordering::Release),
            Some(Err(TrySendError::Full(_))) => {
                self.shared.lose(self.shared.trouble.load(Ordering::Relaxed).into(), 1);
            }
            Some(Err(TrySendError::Disconnected(_))) | None => {
                self.shared.lose(Trouble::Shutdown as usize, 1);
            }
        }
    }
}

impl Drop for LedgerSink {
    fn drop(&mut self) {
        self.shutdown(Duration::from_secs(1));
    }
}

/// What the thread owns.
struct Writer {
    config: LedgerConfig,
    shared: Arc<Shared>,
    /// Absent until it could be opened, and after it turned out to be corrupt.
    store: Option<Store>,
    pruned: Option<Instant>,
    logged: Option<(Trouble, Instant)>,
}

impl Writer {
    /// Until the queue is closed and empty, or closed and what is left cannot be stored.
    fn run(mut self, inbox: &Receiver<Box<Record>>) {
        let mut batch = Vec::new();
        // At once, so that whoever starts the daemon with a wrong file hears of it.
        self.store_all(&mut batch);
        loop {
            let closed = fill(&mut batch, inbox);
            while !self.store_all(&mut batch) {
                if closed {
                    self.shared.lose(Trouble::Shutdown as usize, batch.len() as u64);
                    return self.shared.lose(Trouble::Shutdown as usize, inbox.try_iter().count() as u64);
                }
                thread::sleep(AGAIN);
                // Whoever sends sees the queue full, not this batch grow.
            }
            if closed {
                return;
            }
            self.prune();
        }
    }

    /// Stores the batch and empties it; `false` where that has to wait.
    fn store_all(&mut self, batch: &mut Vec<Record>) -> bool {
        let outcome = match &mut self.store {
            Some(store) => store.append(batch.iter()).map_err(SchemaError::from),
            None => Store::open(&self.config.file).and_then(|mut store| {
                store.append(batch.iter())?;
                self.store = Some(store);
                Ok(())
            }),
        };
        match outcome {
            Ok(()) => {
                self.shared.stored.fetch_add(batch.len() as u64, Ordering::Release);
                self.shared.trouble.store(Trouble::QueueFull as u8, Ordering::Relaxed);
                batch.clear();
                if self.logged.take().is_some() {
                    tracing::info!("calls are stored in {} again", self.config.file.display());
                }
                true
            }
            Err(error) => {
                self.complain(&error);
                false
            }
        }
    }

    fn complain(&mut self, error: &SchemaError) {
        let trouble = Trouble::of(error);
        self.shared.trouble.store(trouble as u8, Ordering::Relaxed);
        // Opened anew by its name: the file may have been moved away, or made writable.
        self.store = None;
        if self.logged.is_none_or(|(last, at)| last != trouble || at.elapsed() >= LOG_EVERY) {
            self.logged = Some((trouble, Instant::now()));
            let file = self.config.file.display();
            tracing::warn!(%error, "calls cannot be stored in the ledger {file}: {}", trouble.hint());
        }
    }

    fn prune(&mut self) {
        let Some(store) = &mut self.store else { return };
        if self.pruned.is_some_and(|at| at.elapsed() < PRUNE) {
            return;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match store.prune(i64::try_from(now).unwrap_or(i64::MAX), self.config.retention) {
            // There is more: again after the next batch.
            Ok(true) => {}
            Ok(false) => self.pruned = Some(Instant::now()),
            Err(error) => {
                self.pruned = Some(Instant::now());
                self.complain(&error.into());
            }
        }
    }
}

/// Waits for calls and takes what comes within [`GATHER`]; whether there will be no more.
fn fill(batch: &mut Vec<Record>, inbox: &Receiver<Box<Record>>) -> bool {
    match inbox.recv_timeout(PRUNE) {
        Ok(record) => batch.push(*record),
        Err(RecvTimeoutError::Timeout) => return false,
        Err(RecvTimeoutError::Disconnected) => return true,
    }
    let until = Instant::now() + GATHER;
    while batch.len() < BATCH {
        match inbox.try_recv() {
            Ok(record) => batch.push(*record),
            Err(TryRecvError::Disconnected) => return true,
            Err(TryRecvError::Empty) => {
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return false;
                }
                // Whoever waits for the next one is woken by each, at the cost of who sends it.
                thread::sleep(left.min(LOOK));
            }
        }
    }
    false
}
