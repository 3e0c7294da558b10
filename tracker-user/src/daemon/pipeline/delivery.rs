//! The last of the pipeline: a call becomes a record, waits for what is not known yet of who made it, and goes out.

use std::sync::Arc;

use super::{Pipeline, SetVerdict};
use crate::{attribution::Origin, capture::Timestamp, daemon::clock, export::Record, provider::Call};

/// Records that wait at most; what is over it goes out as it is.
const MAX_WAITING: usize = 4096;

impl<V: SetVerdict> Pipeline<V> {
    pub(super) fn record(&mut self, mut call: Call, origin: &Arc<Origin>) {
        let mut origin = Origin::clone(origin);
        if let Some(labels) = call.labels.take() {
            self.attribution.label(&mut origin, &labels);
        }
        let mut record = Record {
            started_unix_nanos: self.clock.unix_nanos(call.started),
            cost: self.prices.cost(&call),
            call,
            origin,
        };
        if !self.complete(&mut record) && self.waiting.len() < MAX_WAITING {
            self.waiting.push_back((clock::now(), record));
        } else {
            self.deliver(&record);
        }
    }

    /// Adds what was not known yet at the first sight of the connection, and says whether there is
    /// nothing to wait for.
    fn complete(&mut self, record: &mut Record) -> bool {
        self.attribution.complete(&mut record.origin, record.call.started)
    }

    /// Delivers the waiting records that are complete, or that have waited for so many nanoseconds.
    pub(super) fn release(&mut self, now: Timestamp, patience: u64) {
        for (since, mut record) in std::mem::take(&mut self.waiting) {
            if self.complete(&mut record) || now.0.saturating_sub(since.0) >= patience {
                self.deliver(&record);
            } else {
                self.waiting.push_back((since, record));
            }
        }
    }

    fn deliver(&mut self, record: &Record) {
        let Record { call, origin, .. } = record;
        if self.filters.are_finally_ignored(origin, call.server_address.as_deref()) {
            self.counters.filtered_calls += 1;
            // A name may have come late: then it is there for the next ones.
            return self.filters.screen(&self.attribution, origin.process.pid, &mut self.verdicts);
        }
        self.unknown_hosts.count(call.provider, call.server_address.as_deref());
        for sink in &self.sinks {
            sink.record(record);
        }
    }
}
