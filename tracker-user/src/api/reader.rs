//! Questions to the ledger, on threads of their own: few at a time, bounded in time and size, stopped when nobody
//! waits for the answer any more.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use hyper::StatusCode;
use serde::Serialize;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};

use super::{Problem, Viewer};
use crate::{
    ledger::{Ledger, LedgerError},
    places::{Place, Places},
};

/// Questions that are answered at a time; a user has one of them.
const TURNS: usize = 4;
/// How long one waits for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(10);
/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// Groups of a report, at most.
const MOST_GROUPS: usize = 5000;
/// Bytes of an answer, at most.
const MAX_ANSWER: usize = 8 << 20;
/// Between two tries at what cannot be had yet.
const AGAIN: Duration = Duration::from_millis(20);

/// Reads the ledger for whoever asks.
#[derive(Debug)]
pub(super) struct Reader {
    file: PathBuf,
    turns: Places<Viewer>,
}

/// A turn that is kept until the answer is sent, so that slow readers hold few answers in memory.
#[derive(Debug)]
pub(super) struct Turn(#[expect(dead_code, reason = "held for its place")] Place<Viewer>);

impl Reader {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file, turns: Places::new(TURNS) }
    }

    /// Asks for somebody, who is shown nothing else than they may see.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        viewer: Viewer,
        question: impl FnOnce(&Ledger) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<(T, Turn), Problem> {
        let turn = self.turn(viewer).await?;
        let file = self.file.clone();
        let stopper = Stopper::default();
        let stopped = stopper.clone();
        let work = spawn_blocking(move || {
            let _over = stopped.over_when_dropped();
            let ledger = Ledger::open(&file)?.with_most_groups(MOST_GROUPS);
            let ledger = match viewer {
                Viewer::All => ledger,
                Viewer::User(uid) => ledger.of_user(uid),
            };
            stopped.knows(&ledger);
            // The turn lasts as long as the thread works, whoever is waiting.
            question(&ledger).map(|answer| (answer, turn))
        });
        // Dropped with this future when the client goes away.
        let _stop = stopper.stop_when_dropped();
        match timeout(ANSWER_WITHIN, work).await {
            Ok(Ok(answer)) => answer.map_err(|error| problem(&error)),
            Ok(Err(error)) => {
                tracing::error!(%error, "a question to the ledger failed");
                Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "the daemon's log says why"))
            }
            Err(_) => Err(Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too-slow",
                format!("no answer within {} seconds: ask for a shorter time", ANSWER_WITHIN.as_secs()),
            )),
        }
    }

    async fn turn(&self, viewer: Viewer) -> Result<Turn, Problem> {
        let until = Instant::now() + TURN_WITHIN;
        loop {
            if let Some(place) = self.turns.enter(viewer, viewer == Viewer::All) {
                return Ok(Turn(place));
            }
            if Instant::now() >= until {
                return Err(Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "busy",
                    "other questions are being answered: try again later",
                ));
            }
            sleep(AGAIN).await;
        }
    }
}

/// An answer as JSON, which has its turn until it is sent.
pub(super) fn json(answer: &impl Serialize, turn: Turn) -> Result<Bytes, Problem> {
    struct Held(Vec<u8>, #[expect(dead_code, reason = "held until it is sent")] Turn);
    impl AsRef<[u8]> for Held {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    let bytes = super::to_json(answer)?;
    if bytes.len() > MAX_ANSWER {
        return Err(too_large(format!("the answer has more than {MAX_ANSWER} bytes: ask for less")));
    }
    Ok(Bytes::from_owner(Held(bytes, turn)))
}

fn too_large(detail: String) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "too-large", detail)
}

fn problem(error: &LedgerError) -> Problem {
    match error {
        LedgerError::TooManyGroups(_) => too_large(error.to_string()),
        // Not its path, which is nobody's business.
        LedgerError::Missing(_) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no-ledger", "there is no ledger yet")
        }
        LedgerError::Open { source, .. } => {
            tracing::warn!(error = %source, "the ledger cannot be read for the API");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no-ledger", "the ledger cannot be read now")
        }
        LedgerError::Query(source) => {
            tracing::debug!(error = %source, "a question to the ledger was not answered");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no-answer", "the ledger does not answer now")
        }
    }
}

/// Ends a question that nobody waits for. SQLite forgets an interruption between two statements, so it is
/// repeated until the thread is done.
#[derive(Clone, Default)]
struct Stopper {
    handle: Arc<Mutex<Option<rusqlite::InterruptHandle>>>,
    over: Arc<AtomicBool>,
}

impl Stopper {
    fn knows(&self, ledger: &Ledger) {
        *self.handle.lock().unwrap_or_else(PoisonError::into_inner) = Some(ledger.interrupt_handle());
    }

    fn over_when_dropped(&self) -> impl Drop + use<> {
        struct Over(Arc<AtomicBool>);
        impl Drop for Over {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Release);
            }
        }
        Over(Arc::clone(&self.over))
    }

    fn stop_when_dropped(&self) -> impl Drop + use<> {
        struct Stop(Stopper);
        impl Drop for Stop {
            fn drop(&mut self) {
                let stopper = self.0.clone();
                if stopper.over.load(Ordering::Acquire) {
                    return;
                }
                tokio::spawn(async move {
                    while !stopper.over.load(Ordering::Acquire) {
                        if let Some(handle) = &*stopper.handle.lock().unwrap_or_else(PoisonError::into_inner)
                        {
                            handle.interrupt();
                        }
                        sleep(AGAIN).await;
                    }
                });
            }
        }
        Stop(self.clone())
    }
}
