//! What runs now, and what ended in the last minutes.
//!
//! Ended calls come like to any other sink, as [`Record`]s. Of calls in flight the pipeline tells once a second how
//! far they have come (`Live::observe`): nothing is done for it as bytes arrive. What can be asked for is a
//! [`Snapshot`], for a viewer who may not see everybody's calls. All of it is bounded, and gone with the daemon: what
//! is to last is the ledger's.

mod flights;
mod groups;
mod snapshot;

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    attribution::Origin,
    capture::Timestamp,
    provider::Call,
    record::{Record, Sink},
    stream::Role,
};
use flights::Flights;
pub(crate) use flights::Seen;
use groups::{Groups, Key};
pub use snapshot::{By, Caller, Ended, InFlight, Minute, Row, Snapshot, Sums, Totals};

/// Calls that have ended and are shown one by one, at most; the newest stay.
const MAX_ENDED: usize = 256;
/// For how long, nanoseconds.
const ENDED_FOR: u64 = 5 * 60_000_000_000;

/// What runs now, and what ended in the last minutes.
#[derive(Debug)]
pub struct Live {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the daemon began to watch, nanoseconds since the Unix epoch.
    since: u64,
    flights: Flights,
    groups: Groups,
    ended: VecDeque<Ended>,
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

impl Live {
    /// Of a daemon that begins to watch now.
    #[must_use]
    pub fn new() -> Self {
        Self::since(now())
    }

    fn since(since: u64) -> Self {
        let state =
            State { since, flights: Flights::default(), groups: Groups::default(), ended: VecDeque::new() };
        Self { state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces what is known of calls in flight by those that `each` hands out, as they are `at` this time.
    pub(crate) fn observe(&self, at: Timestamp, each: impl FnOnce(&mut dyn FnMut(Seen<'_>))) {
        self.state().flights.observe(at, each);
    }

    /// What there is to see now of the calls whose owners `visible` allows.
    #[must_use]
    pub fn snapshot(&self, visible: impl Fn(&Owner) -> bool) -> Snapshot {
        self.at(now(), &visible)
    }

    fn at(&self, now: u64, visible: &dyn Fn(&Owner) -> bool) -> Snapshot {
        snapshot::take(&self.state(), now, visible)
    }
}

/// On whom it depends who may see a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// The user id of the process; absent where it could not be learnt.
    pub uid: Option<u32>,
    /// That of the login that it descends from; absent where there is none.
    pub login_uid: Option<u32>,
}

impl Owner {
    /// Of the calls of this origin.
    #[must_use]
    pub fn of(origin: &Origin) -> Self {
        let login_uid = origin.login.as_ref().and_then(|login| login.uid);
        Self { uid: origin.process.uid, login_uid }
    }
}

/// Nanoseconds since the Unix epoch.
fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(0)
}

impl Sink for Live {
    fn record(&self, record: &Record) {
        // What is served here is somebody's call as well, or comes from elsewhere.
        if record.call.role == Role::Server {
            return;
        }
        let at = record.ended();
        let mut state = self.state();
        state.groups.add(Key::new(&record.call, &record.origin), at, &Sums::of(record));
        while state.ended.len() >= MAX_ENDED
            || state.ended.front().is_some_and(|oldest| at.saturating_sub(oldest.at) > ENDED_FOR)
        {
            state.ended.pop_front();
        }
        state.ended.push_back(Ended::of(record));
    }
}

/// The model that a call is shown with: the one that was asked for, by which it is known from its beginning.
fn model(call: &Call) -> Option<&String> {
    call.model.as_ref().or(call.response_model.as_ref())
}

/// What the session of a call is called.
fn session(origin: &Origin) -> Option<&String> {
    origin.session.as_ref().and_then(|session| session.name.as_ref())
}

/// What the container of a call is called.
fn container(origin: &Origin) -> Option<&String> {
    origin.container.as_ref().map(|container| container.name.as_ref().unwrap_or(&container.id))
}

#[cfg(test)]
pub(crate) mod tests;
