//! What the stages ask of the kernel side, joined to it.

use std::{io, path::Path, sync::Arc};

use super::pipeline::SetVerdict;
use crate::{
    attribution,
    capture::{
        AttachError, Attached, AttachedHooks, ConnectionId, Hook, Kernel, PlanId, Scope, Timestamp, Verdict,
        Verdicts,
        discovery::{self, Attach, Departure},
    },
};

/// Joins discovery to the kernel side.
pub(crate) struct KernelAttacher {
    kernel: Kernel,
    /// To the thread that takes probes out.
    detached: std::sync::mpsc::Sender<(Vec<AttachedHooks>, Departure)>,
}

impl KernelAttacher {
    pub(crate) fn new(kernel: Kernel) -> Self {
        let (detached, to_detach) = std::sync::mpsc::channel();
        let detach = move || {
            for first in &to_detach {
                let (links, departures): (Vec<_>, Vec<_>) =
                    std::iter::once(first).chain(to_detach.try_iter()).unzip();
                AttachedHooks::detach_all(links.into_iter().flatten().collect());
                drop(departures);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("detach".to_owned()).spawn(detach) {
            tracing::warn!(%error, "probes are taken out in the midst of everything else");
        }
        Self { kernel, detached }
    }
}

impl Attach for KernelAttacher {
    type Link = AttachedHooks;
    type Error = AttachError;

    fn attach(&mut self, plan: PlanId, hooks: &[Hook], file: &Path) -> Attached<AttachedHooks, AttachError> {
        self.kernel.attach(plan, hooks, file)
    }

    fn detach(&mut self, links: Vec<AttachedHooks>) {
        AttachedHooks::detach_all(links);
    }

    fn detach_later(&mut self, links: Vec<AttachedHooks>, departure: Departure) {
        // Without the thread they come back, and go here.
        drop(self.detached.send((links, departure)));
    }

    fn expect(&mut self) {
        self.kernel.expect_attach();
    }
}

/// Joins attribution to discovery.
impl attribution::Programs for discovery::Programs {
    fn exe(&self, pid: u32, comm: &str, at: Timestamp) -> Option<Arc<str>> {
        self.exe(pid, comm, at)
    }
}

/// Joins the pipeline to the kernel side.
pub(super) struct KernelVerdicts {
    verdicts: Verdicts,
    /// Said once: a table that is full stays so for a while.
    failed: bool,
}

impl KernelVerdicts {
    pub(super) const fn new(verdicts: Verdicts) -> Self {
        Self { verdicts, failed: false }
    }

    fn check(&mut self, outcome: io::Result<()>) {
        if let Err(error) = outcome
            && !std::mem::replace(&mut self.failed, true)
        {
            tracing::warn!(%error, "the kernel side did not take a verdict; it goes on copying what is ignored here");
        }
    }
}

impl SetVerdict for KernelVerdicts {
    fn set(&mut self, connection: ConnectionId, verdict: Verdict) {
        let outcome = self.verdicts.set(connection, verdict);
        self.check(outcome);
    }

    fn ignore(&mut self, scope: Scope) {
        let outcome = self.verdicts.ignore(scope);
        self.check(outcome);
    }

    fn watch(&mut self, scope: Scope) {
        let outcome = self.verdicts.watch(scope);
        self.check(outcome);
    }

    fn watch_all(&mut self) {
        let outcome = self.verdicts.watch_all();
        self.check(outcome);
    }
}
