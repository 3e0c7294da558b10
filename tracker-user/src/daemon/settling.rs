//! Who waits until all that has happened has come out of the pipeline.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Interval, MissedTickBehavior, interval},
};

use super::{
    clock,
    pipeline::{Pipeline, SetVerdict},
};
use crate::{api::Asked, capture::Timestamp};

/// Between two looks while somebody waits.
const AGAIN: Duration = Duration::from_millis(10);

/// Those who wait. As many as the API has connections.
pub(super) struct Settling {
    asked: mpsc::Receiver<Asked>,
    waiting: Vec<Waiting>,
    again: Interval,
}

struct Waiting {
    since: Timestamp,
    /// The ring buffer was empty at a moment after that.
    is_drained: bool,
    tell: Asked,
}

impl Settling {
    pub(super) fn new(asked: mpsc::Receiver<Asked>) -> Self {
        let mut again = interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { asked, waiting: Vec::new(), again }
    }

    /// When the ring buffer is to be drained and [`look`](Self::look) to be called; never, while nobody waits.
    /// To be dropped at any time.
    pub(super) async fn due(&mut self) {
        let Self { asked, waiting, again } = self;
        tokio::select! {
            Some(tell) = asked.recv() => waiting.push(Waiting { since: clock::now(), is_drained: false, tell }),
            _ = again.tick(), if !waiting.is_empty() => {}
            else => std::future::pending().await,
        }
    }

    /// Tells those for whom there is nothing left to wait for.
    pub(super) fn look<V: SetVerdict>(&mut self, ring_is_empty: bool, pipeline: &Pipeline<V>) {
        for mut waiting in std::mem::take(&mut self.waiting) {
            waiting.is_drained |= ring_is_empty;
            if waiting.is_drained && pipeline.is_settled(waiting.since) {
                // Who does not wait any more needs not to be told.
                let _ = waiting.tell.send(());
            } else if !waiting.tell.is_closed() {
                self.waiting.push(waiting);
            }
        }
    }
}
