//! Made-up connections, cut as TLS cuts them, through `stream` and `provider`.

use std::sync::Arc;

use anyhow::{Result, ensure};
use bytes::Bytes;
use llm_tracker::{
    capture::{Chunk, ConnectionId, Direction, Timestamp},
    provider::{Call, Calls, Catalog},
    stream::Connection,
};

mod workloads;

use crate::traffic;

/// What one TLS record carries at most, bytes.
pub const RECORD: usize = 16 << 10;

/// Bytes of the part of a stream that is repeated.
const BLOCK: usize = 1 << 20;

/// Consecutive bytes of one direction.
#[derive(Clone, Debug)]
struct Part(Direction, Bytes);

/// A connection as its client sees it: a part that comes once, one that repeats, one that ends it.
#[derive(Clone, Debug)]
pub struct Workload {
    /// For people.
    pub name: &'static str,
    /// The least that one core should decode, MB/s of captured plaintext; absent where none is set.
    pub target: Option<f64>,
    /// Bytes that TLS hands over at once.
    record: usize,
    before: Vec<Part>,
    repeated: Vec<Part>,
    after: Vec<Part>,
    /// Bytes of a repetition once its content coding is undone.
    decoded: usize,
    /// Whether each repetition is a call, or all of them one.
    call_each: bool,
    output_tokens: Option<u64>,
}

impl Workload {
    /// Repetitions that make up about so many bytes of captured plaintext.
    #[must_use]
    pub fn repetitions_for(&self, bytes: usize) -> usize {
        let each: usize = self.repeated.iter().map(|part| part.1.len()).sum();
        (bytes / each).max(1)
    }

    /// Feeds everything, as the daemon would.
    ///
    /// # Errors
    /// Where the calls that came out are not those that went in.
    pub fn run(&self, catalog: &Arc<Catalog>, repetitions: usize) -> Result<Fed> {
        let mut feeder = Feeder {
            connection: Connection::new(),
            calls: Calls::new(Arc::clone(catalog)),
            record: self.record,
            offsets: [0; 2],
            time: 0,
            fed: 0,
        };
        let (mut seen, mut wrong) = (0, 0);
        let mut judge = |call: Call| {
            let usage = &call.usage;
            let right = usage.input_tokens == Some(traffic::INPUT_TOKENS)
                && self.output_tokens.is_none_or(|tokens| usage.output_tokens == Some(tokens))
                && call.error.is_none();
            seen += usize::from(right);
            wrong += usize::from(!right);
        };
        feeder.feed(&self.before, &mut judge);
        for _ in 0..repetitions {
            feeder.feed(&self.repeated, &mut judge);
        }
        feeder.feed(&self.after, &mut judge);
        let expected = if self.call_each { repetitions } else { 1 };
        ensure!(
            seen == expected && wrong == 0,
            "{}: {seen} right and {wrong} wrong calls of {expected}",
            self.name
        );
        Ok(Fed { captured: feeder.fed, decoded: self.decoded * repetitions })
    }
}

/// How much went through.
#[derive(Clone, Copy, Debug)]
pub struct Fed {
    /// Plaintext as it left TLS, bytes.
    pub captured: usize,
    /// Repeated bodies after content decoding, bytes.
    pub decoded: usize,
}

struct Feeder {
    connection: Connection,
    calls: Calls,
    record: usize,
    /// Written, read.
    offsets: [u64; 2],
    time: u64,
    fed: usize,
}

impl Feeder {
    fn feed(&mut self, parts: &[Part], judge: &mut dyn FnMut(Call)) {
        for Part(direction, bytes) in parts {
            for start in (0..bytes.len()).step_by(self.record) {
                let bytes = bytes.slice(start..bytes.len().min(start + self.record));
                let length = bytes.len();
                let offset = &mut self.offsets[usize::from(*direction == Direction::Read)];
                self.time += 1_000;
                let chunk = Chunk {
                    connection: ConnectionId { tgid: 1, generation: 1, ssl: 1 },
                    tid: 1,
                    direction: *direction,
                    offset: *offset,
                    timestamp: Timestamp(self.time),
                    cgroup_id: 1,
                    bytes,
                };
                *offset += length as u64;
                self.fed += length;
                self.connection.push(&chunk, &mut |event| self.calls.handle(&event, judge));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_yields_its_calls() {
        let catalog = Arc::new(Catalog::new());
        for workload in Workload::all().unwrap() {
            let fed = workload.run(&catalog, 2).unwrap();
            assert!(fed.captured > 0 && fed.decoded > 100_000, "{}", workload.name);
        }
    }
}
