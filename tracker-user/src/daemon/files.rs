//! The sinks that write files: they outlive everything else, so that what is queued still gets there.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    budget::{BudgetWatch, Budgets},
    config::Config,
    export::{JsonlConfig, JsonlSink, PrometheusSink, Sink, Target},
    ledger::{LedgerConfig, LedgerSink},
};

/// Calls that may wait to be stored, some megabytes.
const LEDGER_QUEUE: usize = 8192;

/// The event log and the ledger, as far as they are wanted.
#[derive(Clone, Debug)]
pub(super) struct Files {
    events: Option<Arc<JsonlSink>>,
    ledger: Option<Arc<LedgerSink>>,
}

impl Files {
    pub(super) fn open(config: &Config) -> Result<Self> {
        let events =
            config.events.file.as_deref().map(|file| JsonlSink::open(JsonlConfig::new(target(file))));
        let ledger = config.ledger.file.clone().map(|file| {
            LedgerSink::start(LedgerConfig {
                file,
                retention: config.ledger.retention(),
                queue: LEDGER_QUEUE,
            })
        });
        Ok(Self {
            events: events.transpose()?.map(Arc::new),
            ledger: ledger.transpose().context("the ledger's thread cannot start")?.map(Arc::new),
        })
    }

    /// The sinks, whose numbers are on the metrics page from now on.
    pub(super) fn sinks(&self, page: &PrometheusSink) -> Vec<Arc<dyn Sink>> {
        let mut sinks: Vec<Arc<dyn Sink>> = Vec::new();
        if let Some(events) = &self.events {
            sinks.push(events.clone());
            let events = Arc::clone(events);
            page.add_source(Arc::new(move || events.samples()));
        }
        if let Some(ledger) = &self.ledger {
            sinks.push(ledger.clone());
            let ledger = Arc::clone(ledger);
            page.add_source(Arc::new(move || ledger.samples()));
        }
        sinks
    }

    /// The ledger, if there is one.
    pub(super) const fn ledger(&self) -> Option<&Arc<LedgerSink>> {
        self.ledger.as_ref()
    }

    /// Looks after budgets from now on, where there is a ledger to ask; their events go to the event log.
    pub(super) fn watch_budgets(&self, config: &Config, budgets: &Budgets) -> Result<Option<BudgetWatch>> {
        let Some(file) = config.ledger.file.clone() else { return Ok(None) };
        let events = self.events.clone();
        let write = move |line| {
            if let Some(events) = &events {
                events.write(line);
            }
        };
        let watch = BudgetWatch::start(budgets.clone(), file, Box::new(write));
        Ok(Some(watch.context("the thread for budgets cannot start")?))
    }

    /// Opens the event log anew, by its name.
    pub(super) fn reopen(&self) {
        if let Some(events) = &self.events {
            events.reopen();
        }
    }

    /// Writes what is queued, all at once, within `patience`.
    pub(super) fn shutdown(&self, patience: Duration) {
        thread::scope(|scope| {
            if let Some(events) = &self.events {
                scope.spawn(move || events.shutdown(patience));
            }
            if let Some(ledger) = &self.ledger {
                ledger.shutdown(patience);
            }
        });
    }
}

fn target(file: &Path) -> Target {
    if file == Path::new("-") { Target::Stdout } else { Target::File(PathBuf::from(file)) }
}
