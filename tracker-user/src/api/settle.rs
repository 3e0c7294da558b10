//! Waiting until all that has happened is in the ledger.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use crate::ledger::LedgerSink;

/// Questions whether all that had happened by now has come out of the pipeline; dropped by whoever does not wait
/// any more.
pub(crate) type Asked = oneshot::Sender<()>;

/// Those that may wait to be heard.
const WAITING: usize = 64;
/// Between two looks at what is stored.
const AGAIN: Duration = Duration::from_millis(10);

/// Knows when what had happened is stored.
#[derive(Debug)]
pub struct Settle {
    pipeline: mpsc::Sender<Asked>,
    ledger: Arc<LedgerSink>,
}

impl Settle {
    /// What asks, and where the pipeline hears of it.
    pub(crate) fn new(ledger: Arc<LedgerSink>) -> (Self, mpsc::Receiver<Asked>) {
        let (pipeline, asked) = mpsc::channel(WAITING);
        (Self { pipeline, ledger }, asked)
    }

    /// How many calls are stored since the daemon began.
    pub(super) fn stored(&self) -> u64 {
        self.ledger.stored()
    }

    /// Waits until every call that was over when this was asked is in the ledger: out of the kernel's ring
    /// buffer, through the pipeline, committed. `false` where that takes longer than `patience`.
    pub(super) async fn settled(&self, patience: Duration) -> bool {
        let settled = async {
            let (asked, answered) = oneshot::channel();
            if self.pipeline.send(asked).await.is_err() || answered.await.is_err() {
                return false;
            }
            let accepted = self.ledger.accepted();
            while self.ledger.stored() < accepted {
                sleep(AGAIN).await;
            }
            true
        };
        timeout(patience, settled).await.unwrap_or(false)
    }
}
