//! The pipeline's task: what comes from the kernel and from discovery, and what is due now and then.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::{
    sync::{mpsc, oneshot},
    time::MissedTickBehavior,
};

use super::{
    clock, kernel::KernelVerdicts, lifecycle, lifecycle::Watchdog, over::Over, pipeline::Pipeline,
    self_metrics::Status, settling::Settling,
};
use crate::{
    attribution::Sight,
    capture::{Connections, KernelLog, Ring, discovery},
    live::Live,
    log::Suppressed,
};

/// Records taken from the ring before anything else gets a turn.
const BATCH: usize = 1024;
/// How often the pipeline looks after itself.
const TICK: Duration = Duration::from_secs(1);
/// How many ticks lie between two sweeps of the kernel side's table for processes that are gone.
const TICKS_PER_SWEEP: u32 = 30;

/// What it owns.
pub(super) struct Work {
    pub(super) ring: Ring,
    pub(super) notices: mpsc::Receiver<Sight>,
    pub(super) settling: Settling,
    pub(super) connections: Connections,
    pub(super) messages: Option<KernelLog>,
    pub(super) pipeline: Pipeline<KernelVerdicts>,
    pub(super) live: Arc<Live>,
    pub(super) status: Arc<Mutex<Status>>,
    /// Absent until it has looked around, and after it was stopped.
    pub(super) discovery: Arc<Mutex<Option<discovery::Handle>>>,
    pub(super) watchdog: Watchdog,
    pub(super) suppressed: Suppressed,
}

impl Work {
    /// Until it is told to stop, and what is on its way then is through.
    pub(super) async fn run(mut self, mut stop: oneshot::Receiver<()>) -> Result<()> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = 0_u32;
        let mut over = Over::default();
        loop {
            tokio::select! {
                biased;
                _ = &mut stop => break,
                _ = tick.tick() => {
                    self.pipeline.tick(clock::now());
                    self.live.observe(clock::now(), |out| self.pipeline.in_flight(out));
                    self.publish();
                    self.prove();
                    self.watchdog.feed();
                    self.suppressed.report();
                    if let Some(messages) = &mut self.messages {
                        messages.forward();
                    }
                    ticks = ticks.wrapping_add(1);
                    if ticks.is_multiple_of(TICKS_PER_SWEEP) {
                        self.say();
                    }
                    if ticks.is_multiple_of(TICKS_PER_SWEEP) && !over.is_empty() {
                        self.connections.forget(
                            |tgid, generation| over.has(tgid, generation),
                            |tgid| over.has_ended(tgid),
                        );
                        over.clear();
                    }
                }
                Some(sight) = self.notices.recv() => self.pipeline.observe(&sight),
                () = self.settling.due() => {
                    let is_empty = self.drain(&mut over) < BATCH;
                    self.pipeline.tick(clock::now());
                    self.settling.look(is_empty, &self.pipeline);
                }
                ready = self.ring.wait() => {
                    ready.context("the ring buffer cannot be waited for")?;
                    self.drain(&mut over);
                }
            }
        }
        // The hooks are gone: what is in the ring now is all that there will be.
        while self.drain(&mut over) == BATCH {}
        self.pipeline.finish(clock::now());
        self.publish();
        Ok(())
    }

    fn drain(&mut self, over: &mut Over) -> usize {
        self.ring.drain(BATCH, |event| {
            over.note(&event);
            self.pipeline.handle(event);
        })
    }

    /// Tells discovery which plans traffic has verified or refuted.
    fn prove(&mut self) {
        let discovery = self.discovery.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(discovery) = discovery.as_ref() {
            let proofs = self.pipeline.take_proofs();
            if !proofs.is_empty() {
                discovery.prove(proofs);
            }
        }
    }

    /// What `systemctl status` shows.
    fn say(&self) {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let Status { undecided, captured, .. } = &*status;
        lifecycle::status(&format!(
            "watching; {captured} connections to LLMs, {undecided} of which nothing is known yet"
        ));
    }

    fn publish(&self) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        self.pipeline.report(&mut status);
        status.delivered_bytes = self.ring.delivered_bytes();
        status.malformed_records = self.ring.malformed();
    }
}
