//! Calls that have not ended.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::Owner;
use crate::{
    attribution::Origin,
    capture::{ConnectionId, Timestamp},
    provider::{Progress, UsageSource},
    stream::{ExchangeId, Role},
};

/// Calls that are shown one by one, at most.
pub(super) const MAX_SHOWN: usize = 1024;
/// The time over which tokens a second are counted, nanoseconds.
const RATE_OVER: u64 = 5_000_000_000;
/// Over less than that no rate is given.
const RATE_OVER_AT_LEAST: u64 = 250_000_000;

/// A call as the pipeline shows it, once a second.
pub(crate) struct Seen<'a> {
    pub(crate) connection: ConnectionId,
    pub(crate) exchange: ExchangeId,
    pub(crate) origin: &'a Arc<Origin>,
    /// Wall-clock time of the request's first byte, nanoseconds since the Unix epoch.
    pub(crate) started_unix_nanos: i128,
    pub(crate) progress: Progress<'a>,
}

/// What a call is known by; a WebSocket has several.
type Id = (ConnectionId, ExchangeId, Timestamp);

/// One of them.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) origin: Arc<Origin>,
    /// Nanoseconds since the Unix epoch.
    pub(super) started: u64,
    pub(super) provider: &'static str,
    pub(super) operation: &'static str,
    pub(super) model: Option<String>,
    pub(super) server_address: Option<String>,
    pub(super) role: Role,
    pub(super) streaming: bool,
    pub(super) status: Option<u16>,
    pub(super) time_to_first_token_seconds: Option<f64>,
    pub(super) output_tokens: Option<u64>,
    pub(super) usage_source: UsageSource,
    /// Tokens until then, oldest first.
    samples: VecDeque<(Timestamp, u64)>,
}

impl Flight {
    /// Output tokens a second, of the last seconds of the stream; absent where none have come or nobody counts.
    pub(super) fn rate(&self) -> Option<f64> {
        let (&(from, before), &(until, now)) = self.samples.front().zip(self.samples.back())?;
        let over = until.0.saturating_sub(from.0);
        (over >= RATE_OVER_AT_LEAST).then(|| now.saturating_sub(before) as f64 / until.seconds_since(from))
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Flights {
    flights: HashMap<Id, Flight>,
    /// How many more there are.
    omitted: HashMap<Owner, u64>,
}

impl Flights {
    pub(super) fn observe(&mut self, at: Timestamp, each: impl FnOnce(&mut dyn FnMut(Seen<'_>))) {
        let mut before = std::mem::take(&mut self.flights);
        self.omitted.clear();
        each(&mut |seen| {
            if self.flights.len() >= MAX_SHOWN {
                *self.omitted.entry(Owner::of(seen.origin)).or_default() += 1;
                return;
            }
            let id = (seen.connection, seen.exchange, seen.progress.started);
            let samples = before.remove(&id).map(|flight| flight.samples).unwrap_or_default();
            self.flights.insert(id, Flight::of(&seen, at, samples));
        });
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Flight> {
        self.flights.values()
    }

    pub(super) fn omitted(&self, visible: &dyn Fn(&Owner) -> bool) -> u64 {
        self.omitted.iter().filter(|(owner, _)| visible(owner)).map(|(_, count)| count).sum()
    }
}

impl Flight {
    fn of(seen: &Seen<'_>, at: Timestamp, mut samples: VecDeque<(Timestamp, u64)>) -> Self {
        let Seen { connection: _, exchange: _, origin, started_unix_nanos, progress } = seen;
        if let Some((first, tokens)) = progress.first_token.zip(progress.output_tokens) {
            if samples.is_empty() {
                samples.push_back((first, 0));
            }
            samples.push_back((at, tokens));
            // The oldest goes where the next one is old enough.
            while samples.get(1).is_some_and(|(then, _)| at.0.saturating_sub(then.0) >= RATE_OVER) {
                samples.pop_front();
            }
        }
        Self {
            origin: Arc::clone(origin),
            started: u64::try_from(*started_unix_nanos).unwrap_or(0),
            provider: progress.provider,
            operation: progress.operation,
            model: progress.model.map(str::to_owned),
            server_address: progress.server_address.map(str::to_owned),
            role: progress.role,
            streaming: progress.streaming,
            status: progress.status,
            time_to_first_token_seconds: progress
                .first_token
                .map(|first| first.seconds_since(progress.started)),
            output_tokens: progress.output_tokens,
            usage_source: progress.usage_source,
            samples,
        }
    }
}
