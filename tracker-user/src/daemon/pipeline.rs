//! One thread, one direction: what the kernel reports goes in, records come out.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{
    clock::WallClock,
    filtering::Filtering,
    proof::Prover,
    self_metrics::Status,
    unknown::UnknownHosts,
    verdict::{Evidence, Speaks},
};
use crate::{
    attribution::{Attribution, Filters, Origin, Sight},
    capture::{CaptureEvent, Chunk, ConnectionId, PlanId, Proof, Scope, Timestamp, Verdict},
    export::{Record, Sink},
    live,
    pricing::Prices,
    provider::{Calls, Catalog, Interest},
    stream::{self, Connection, Event, Protocol},
};

mod delivery;

/// The most connections that are followed at once; the kernel side has its own bound, which is
/// lower unless the operator raised it. What is over it is counted and not followed.
const MAX_CONNECTIONS: usize = 1 << 20;
/// How long a connection that was given up is remembered, so that what the kernel had sent before
/// it heard of it does not make it anew, nanoseconds.
const FORGET_AFTER: u64 = 5_000_000_000;
/// How long a record may wait for the executable of a process that is gone, or for the agent of one that has
/// just begun, nanoseconds. They are known as soon as discovery has read what the kernel tells of it.
const WAIT_FOR_ORIGIN: u64 = 100_000_000;
/// How long a response may wait for the request that it answers, nanoseconds: for as long as a thread that
/// wrote may have to wait for a processor, and a tick.
const WAIT_FOR_REQUEST: u64 = 1_000_000_000;
/// Tells the kernel side what to do.
pub(crate) trait SetVerdict {
    /// What with a connection; one that is gone by then is none of its business.
    fn set(&mut self, connection: ConnectionId, verdict: Verdict);

    /// Whose connections to ignore from their first byte on.
    fn ignore(&mut self, scope: Scope);

    /// Whose to watch again.
    fn watch(&mut self, scope: Scope);

    /// To watch everybody's again.
    fn watch_all(&mut self);
}

/// What the pipeline has counted since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Connections seen.
    pub(crate) connections: u64,
    /// Connections that carried LLM traffic.
    pub(crate) captured: u64,
    /// Connections given up as none of our business.
    pub(crate) ignored: u64,
    /// Connections that switched from HTTP/1.1 to a protocol that is not decoded.
    pub(crate) undecoded_upgraded: u64,
    /// Connections that were not followed because there were too many.
    pub(crate) refused: u64,
    /// Connections given up because the operator's filters say so.
    pub(crate) filtered: u64,
    /// Calls not reported for the same reason.
    pub(crate) filtered_calls: u64,
    /// Calls that were not followed because their connection had too many in flight.
    pub(crate) untracked: u64,
    /// Calls that were still in flight when the daemon stopped.
    pub(crate) unfinished: u64,
    /// What the stream stage counted on connections that are closed.
    pub(crate) stream: stream::Counters,
}

/// One connection that is followed.
struct Followed {
    stream: Connection,
    calls: Calls,
    evidence: Evidence,
    verdict: Verdict,
    /// What it speaks now is not decoded; counted once.
    over: bool,
    /// It is listed in [`Pipeline::early`].
    listed: bool,
    origin: Arc<Origin>,
}

/// A connection as the pipeline knows it.
enum Tracked {
    Followed(Box<Followed>),
    /// Given up; kept only until what was under way has arrived.
    Ignored,
}

/// Everything between the ring buffer and the sinks.
pub(crate) struct Pipeline<V> {
    catalog: Arc<Catalog>,
    prices: Prices,
    attribution: Attribution,
    filters: Filtering,
    sinks: Vec<Arc<dyn Sink>>,
    verdicts: V,
    clock: WallClock,
    connections: HashMap<ConnectionId, Tracked>,
    by_process: HashMap<u32, Vec<ConnectionId>>,
    forget: VecDeque<(Timestamp, ConnectionId)>,
    /// Connections on which a response waits for its request, and since when.
    early: VecDeque<(Timestamp, ConnectionId)>,
    /// Records that lack only the executable or the agent, and since when.
    waiting: VecDeque<(Timestamp, Record)>,
    counters: Counters,
    unknown_hosts: UnknownHosts,
    prover: Prover,
}

impl<V: SetVerdict> Pipeline<V> {
    /// An empty one.
    #[must_use]
    pub(crate) fn new(
        catalog: Arc<Catalog>,
        prices: Prices,
        attribution: Attribution,
        filters: Filters,
        sinks: Vec<Arc<dyn Sink>>,
        verdicts: V,
    ) -> Self {
        Self {
            catalog,
            prices,
            attribution,
            filters: Filtering::new(filters),
            sinks,
            verdicts,
            clock: WallClock::new(),
            connections: HashMap::new(),
            by_process: HashMap::new(),
            forget: VecDeque::new(),
            early: VecDeque::new(),
            waiting: VecDeque::new(),
            counters: Counters::default(),
            unknown_hosts: UnknownHosts::default(),
            prover: Prover::default(),
        }
    }

    /// Takes what the kernel side reports, in its order.
    pub(crate) fn handle(&mut self, event: CaptureEvent) {
        match event {
            CaptureEvent::Opened(opened) => {
                let origin = self.attribution.opened(&opened);
                self.follow(opened.connection, Some(origin), opened.cgroup_id, opened.at);
                if matches!(self.connections.get(&opened.connection), Some(Tracked::Followed(_))) {
                    self.prover.opened(opened.connection, opened.plan);
                }
            }
            CaptureEvent::Chunk(chunk) => self.chunk(&chunk),
            CaptureEvent::Closed { connection, at } => {
                self.close(connection, at);
                self.unlist(connection);
            }
            CaptureEvent::Exec { tgid, at } => {
                self.close_all(tgid, at);
                self.attribution.exec(tgid, at);
            }
            CaptureEvent::Exit { tgid, at } => {
                if !other_threads_live(tgid) {
                    self.close_all(tgid, at);
                    self.attribution.gone(tgid);
                }
            }
        }
    }

    /// Discovery has found a process that maps a TLS library: the moment to learn who it is.
    pub(crate) fn observe(&mut self, sight: &Sight) {
        self.attribution.observe(sight);
        self.filters.screen(&self.attribution, sight.pid(), &mut self.verdicts);
    }

    /// What is due now and then.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        self.clock.refresh();
        if self.filters.refresh(&self.attribution, &mut self.verdicts) {
            self.filter_all(now);
        }
        self.release(now, WAIT_FOR_ORIGIN);
        self.stop_waiting(now);
        while let Some(&(at, connection)) = self.forget.front()
            && now.0.saturating_sub(at.0) >= FORGET_AFTER
        {
            self.forget.pop_front();
            if matches!(self.connections.get(&connection), Some(Tracked::Ignored)) {
                self.connections.remove(&connection);
                self.unlist(connection);
            }
        }
    }

    /// Ends everything that is in flight, because the daemon stops. What is known of these calls is
    /// recorded as that of an interrupted call.
    pub(crate) fn finish(&mut self, now: Timestamp) {
        let connections: Vec<_> = self.connections.keys().copied().collect();
        for connection in connections {
            if let Some(Tracked::Followed(followed)) = self.connections.get(&connection) {
                self.counters.unfinished += followed.calls.in_flight() as u64;
            }
            self.close(connection, now);
        }
        self.by_process.clear();
        self.release(now, 0);
    }

    /// Whether nothing waits any more of what had come by then.
    pub(crate) fn is_settled(&self, by: Timestamp) -> bool {
        let waits_still = |connection| match self.connections.get(connection) {
            Some(Tracked::Followed(followed)) => {
                followed.stream.waits_since().is_some_and(|since| since.0 <= by.0)
            }
            _ => false,
        };
        self.waiting.front().is_none_or(|(since, _)| since.0 > by.0)
            && !self.early.iter().any(|(_, connection)| waits_still(connection))
    }

    /// What traffic has said about plans since the last time.
    pub(crate) fn take_proofs(&mut self) -> Vec<(PlanId, Proof)> {
        self.prover.take()
    }

    /// What is known of it now.
    pub(crate) fn report(&self, status: &mut Status) {
        let (mut undecided, mut captured) = (0, 0);
        for tracked in self.connections.values() {
            match tracked {
                Tracked::Followed(followed) if followed.evidence.verdict() == Verdict::Capture => {
                    captured += 1;
                }
                Tracked::Followed(_) => undecided += 1,
                Tracked::Ignored => {}
            }
        }
        status.undecided = undecided;
        status.captured = captured;
        status.pipeline = self.counters.clone();
        status.unknown_hosts = self.unknown_hosts.clone();
        status.attribution = self.attribution.counters();
    }

    /// Hands out how far each call that has not ended has come, but for those that the operator wants nothing of.
    pub(crate) fn in_flight(&mut self, out: &mut dyn FnMut(live::Seen<'_>)) {
        let Self { connections, filters, clock, .. } = self;
        for (&connection, tracked) in connections {
            let Tracked::Followed(followed) = tracked else { continue };
            let Followed { calls, origin, .. } = &mut **followed;
            if calls.in_flight() == 0 {
                continue;
            }
            calls.progress(&mut |exchange, progress| {
                if !filters.are_finally_ignored(origin, progress.server_address) {
                    let started_unix_nanos = clock.unix_nanos(progress.started);
                    out(live::Seen { connection, exchange, origin, started_unix_nanos, progress });
                }
            });
        }
    }

    /// Begins to follow a connection, where that is not done already.
    fn follow(
        &mut self,
        connection: ConnectionId,
        origin: Option<Arc<Origin>>,
        cgroup_id: u64,
        at: Timestamp,
    ) {
        if self.connections.contains_key(&connection) {
            return;
        }
        let origin = origin.unwrap_or_else(|| self.attribution.origin(connection.tgid, cgroup_id));
        if self.filters.are_ignored(&origin, None) {
            // The kernel side did not know yet.
            self.filters.screen(&self.attribution, connection.tgid, &mut self.verdicts);
            return self.filter_out(connection, at);
        }
        self.counters.connections += 1;
        if self.connections.len() >= MAX_CONNECTIONS {
            self.counters.refused += 1;
            return;
        }
        let followed = Followed {
            stream: Connection::new(),
            calls: Calls::new(Arc::clone(&self.catalog)).of_process(connection.tgid),
            evidence: Evidence::default(),
            verdict: Verdict::Unknown,
            over: false,
            listed: false,
            origin,
        };
        self.connections.insert(connection, Tracked::Followed(Box::new(followed)));
        self.by_process.entry(connection.tgid).or_default().push(connection);
    }

    fn chunk(&mut self, chunk: &Chunk) {
        let connection = chunk.connection;
        // Its opening may have been lost with a full ring.
        self.follow(connection, None, chunk.cgroup_id, chunk.timestamp);
        if self.prover.chunk(chunk) {
            return self.decide(connection, Verdict::Ignore, chunk.timestamp);
        }
        let bytes = chunk.bytes.len() as u64;
        self.advance(connection, bytes, chunk.timestamp, |stream, out| stream.push(chunk, out));
    }

    /// Goes on with the connections on which a response has waited for its request for too long.
    fn stop_waiting(&mut self, now: Timestamp) {
        while let Some(&(since, connection)) = self.early.front()
            && now.0.saturating_sub(since.0) >= WAIT_FOR_REQUEST
        {
            self.early.pop_front();
            let Some(Tracked::Followed(followed)) = self.connections.get_mut(&connection) else { continue };
            followed.listed = false;
            // What waits now may not be what did when it was listed.
            let waits_still = followed.stream.waits_since() == Some(since);
            self.advance(connection, 0, now, |stream, out| {
                if waits_still {
                    stream.stop_waiting(out);
                }
            });
        }
    }

    /// Has a connection take a step, of so many bytes, and draws the conclusions.
    fn advance(
        &mut self,
        connection: ConnectionId,
        bytes: u64,
        at: Timestamp,
        step: impl FnOnce(&mut Connection, &mut stream::Sink<'_>),
    ) {
        let Some(Tracked::Followed(followed)) = self.connections.get_mut(&connection) else { return };
        let Followed { stream, calls, evidence, verdict, over, listed, origin } = &mut **followed;
        let mut finished = Vec::new();
        let mut filtered = false;
        step(stream, &mut |event| {
            if let Event::Request { head, .. } = &event {
                // The first request tells where the connection leads; of later ones their calls are judged.
                filtered |= evidence.requests() == 0
                    && self.filters.ask_for_hosts()
                    && self.filters.are_ignored(origin, head.host.as_deref());
                match self.catalog.interest(head) {
                    Interest::Call | Interest::Related => evidence.related += 1,
                    Interest::Unclear => evidence.unclear += 1,
                    Interest::Unrelated => evidence.unrelated += 1,
                }
            }
            calls.handle(&event, &mut |call| finished.push(call));
        });
        if filtered {
            return self.filter_out(connection, at);
        }
        // A call is one, whether or not its head could be read.
        evidence.related += u32::try_from(finished.len()).unwrap_or(1);
        self.counters.stream += stream.take_counters();
        if let Some(since) = stream.waits_since()
            && !std::mem::replace(listed, true)
        {
            self.early.push_back((since, connection));
        }
        let stream::ConnectionState { protocol, bytes_out_of_step, exchanges: _ } = stream.state();
        evidence.bytes += bytes;
        evidence.bytes_out_of_step = bytes_out_of_step;
        evidence.speaks = match protocol {
            Protocol::Unknown => Speaks::Unknown,
            Protocol::Http1 | Protocol::Http2 => Speaks::Http,
            // One to an LLM's API was asked for by a related request, which settles it.
            Protocol::WebSocket | Protocol::Upgraded | Protocol::NotHttp => Speaks::Other,
        };
        let before = std::mem::replace(verdict, evidence.verdict());
        let now = *verdict;
        if protocol == Protocol::Upgraded && !std::mem::replace(over, true) {
            self.counters.undecoded_upgraded += 1;
        }
        let origin = Arc::clone(origin);
        for call in finished {
            self.record(call, &origin);
        }
        if now != before {
            self.decide(connection, now, at);
        }
    }

    /// Gives up a connection, and whatever is in flight on it, because the operator wants nothing of it.
    fn filter_out(&mut self, connection: ConnectionId, at: Timestamp) {
        self.verdicts.set(connection, Verdict::Ignore);
        self.counters.filtered += 1;
        self.prover.closed(connection);
        if let Some(Tracked::Followed(mut followed)) = self.connections.remove(&connection) {
            self.counters.stream += followed.stream.take_counters();
        }
        self.connections.insert(connection, Tracked::Ignored);
        self.forget.push_back((at, connection));
    }

    /// The filters have changed: gives up what they do not allow any more.
    fn filter_all(&mut self, at: Timestamp) {
        let ignored = |tracked: &Tracked| match tracked {
            Tracked::Followed(followed) => self.filters.are_ignored(&followed.origin, None),
            Tracked::Ignored => false,
        };
        let given_up: Vec<_> =
            self.connections.iter().filter(|(_, it)| ignored(it)).map(|(id, _)| *id).collect();
        given_up.into_iter().for_each(|connection| self.filter_out(connection, at));
    }

    /// Acts on a verdict that has just been reached.
    fn decide(&mut self, connection: ConnectionId, verdict: Verdict, at: Timestamp) {
        self.verdicts.set(connection, verdict);
        match verdict {
            Verdict::Unknown => {}
            Verdict::Capture => self.counters.captured += 1,
            Verdict::Ignore => {
                self.counters.ignored += 1;
                self.close(connection, at);
                self.connections.insert(connection, Tracked::Ignored);
                self.forget.push_back((at, connection));
            }
        }
    }

    /// Ends what is in flight on a connection, and forgets it.
    fn close(&mut self, connection: ConnectionId, at: Timestamp) {
        self.prover.closed(connection);
        let Some(Tracked::Followed(mut followed)) = self.connections.remove(&connection) else { return };
        let mut finished = Vec::new();
        let Followed { stream, calls, origin, .. } = &mut *followed;
        stream.close(at, &mut |event| calls.handle(&event, &mut |call| finished.push(call)));
        self.counters.stream += stream.take_counters();
        self.counters.untracked += calls.untracked();
        for call in finished {
            self.record(call, origin);
        }
    }

    fn close_all(&mut self, tgid: u32, at: Timestamp) {
        for connection in self.by_process.remove(&tgid).unwrap_or_default() {
            self.close(connection, at);
        }
    }

    /// Takes a connection off the list of its process.
    fn unlist(&mut self, connection: ConnectionId) {
        if let Some(list) = self.by_process.get_mut(&connection.tgid) {
            list.retain(|other| *other != connection);
            if list.is_empty() {
                self.by_process.remove(&connection.tgid);
            }
        }
    }
}

/// Whether a process whose leader has exited goes on in its other threads.
fn other_threads_live(tgid: u32) -> bool {
    std::fs::read_dir(format!("/proc/{tgid}/task")).is_ok_and(|tasks| tasks.flatten().count() > 1)
}
