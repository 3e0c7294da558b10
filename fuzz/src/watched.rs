//! One connection, watched: all that comes of it, in a form that does not depend on its pieces.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use llm_tracker::{
    capture::{Chunk, ConnectionId, Direction, Timestamp},
    provider::{Call, Calls, Catalog},
    stream::{Connection, ConnectionState, Counters, End, Event, Peer, RequestHead, ResponseHead},
};

use crate::allocator::live;

/// What one connection and its calls may hold, bytes: eight windows of brotli, for both bodies of the few
/// streams that a target opens, and much less for everything else.
pub const MOST_MEMORY: usize = 160 << 20;

/// Bytes that passed, by length and checksum, so that nothing is kept of a bomb.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    length: u64,
    hash: crc32fast::Hasher,
}

impl Passed {
    fn push(&mut self, data: &[u8]) {
        self.length += data.len() as u64;
        self.hash.update(data);
    }
}

impl PartialEq for Passed {
    fn eq(&self, other: &Self) -> bool {
        (self.length, self.hash.clone().finalize()) == (other.length, other.hash.clone().finalize())
    }
}

/// One message of a WebSocket, or as much as came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    data: Passed,
    whole: bool,
}

/// What was seen of an exchange.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exchange {
    pub request: RequestHead,
    pub sent: Passed,
    pub response: Option<ResponseHead>,
    pub received: Passed,
    pub messages: [Vec<Message>; 2],
    pub lost: [bool; 2],
    pub end: Option<End>,
}

/// A connection, what was seen of its exchanges, and the calls that were made of them.
pub struct Watched {
    connection: Connection,
    calls: Calls,
    offsets: [u64; 2],
    /// Every exchange, in the order of their requests.
    pub exchanges: BTreeMap<u64, Exchange>,
    /// Every call that has ended.
    pub made: Vec<Call>,
    counters: Counters,
    before: usize,
    /// What `exchanges` and `made` may take of the memory.
    own: usize,
}

impl Watched {
    /// A new connection.
    pub fn new(catalog: &Arc<Catalog>) -> Self {
        Self {
            before: live(),
            connection: Connection::new(),
            calls: Calls::new(Arc::clone(catalog)),
            offsets: [0; 2],
            exchanges: BTreeMap::new(),
            made: Vec::new(),
            counters: Counters::default(),
            own: 0,
        }
    }

    /// The next bytes of one direction.
    pub fn push(&mut self, direction: Direction, bytes: &[u8]) -> &mut Self {
        let offset = &mut self.offsets[usize::from(direction == Direction::Read)];
        let chunk = Chunk {
            connection: ConnectionId { tgid: 1, generation: 1, ssl: 1 },
            tid: 1,
            direction,
            offset: *offset,
            // All at once, so that no time depends on the pieces.
            timestamp: Timestamp(1),
            cgroup_id: 1,
            bytes: Bytes::copy_from_slice(bytes),
        };
        *offset = offset.wrapping_add(bytes.len() as u64);
        let Self { connection, calls, exchanges, made, own, .. } = self;
        connection.push(&chunk, &mut |event| note(event, calls, exchanges, made, own));
        self.check()
    }

    /// Bytes of one direction that were never delivered.
    pub fn lose(&mut self, direction: Direction, count: u64) -> &mut Self {
        let offset = &mut self.offsets[usize::from(direction == Direction::Read)];
        *offset = offset.saturating_add(count);
        self
    }

    /// Where the next byte of a direction is expected to be, moved: something is repeated.
    pub fn go_back(&mut self, direction: Direction, count: u64) -> &mut Self {
        let offset = &mut self.offsets[usize::from(direction == Direction::Read)];
        *offset = offset.saturating_sub(count);
        self
    }

    /// The connection is gone.
    pub fn close(&mut self) -> &mut Self {
        let Self { connection, calls, exchanges, made, own, .. } = self;
        connection.close(Timestamp(1), &mut |event| note(event, calls, exchanges, made, own));
        self.check();
        assert!(self.exchanges.values().all(|exchange| exchange.end.is_some()), "an exchange has no end");
        assert_eq!(self.calls.in_flight(), 0);
        self
    }

    /// What the connection says of itself.
    pub fn state(&self) -> ConnectionState {
        self.connection.state()
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn check(&mut self) -> &mut Self {
        self.counters += self.connection.take_counters();
        let held = live().saturating_sub(self.before + self.own);
        assert!(held <= MOST_MEMORY, "{held} bytes are held");
        self
    }
}

/// Takes an event down, and checks that it may come now.
fn note(
    event: Event<'_>,
    calls: &mut Calls,
    exchanges: &mut BTreeMap<u64, Exchange>,
    made: &mut Vec<Call>,
    own: &mut usize,
) {
    let _ = format!("{event:?}");
    calls.handle(&event, &mut |call| {
        *own += 2 * (size_of::<Call>() + 4096);
        made.push(call);
    });
    if let Event::Request { exchange, head, .. } = event {
        *own += 2 * (size_of::<Exchange>() + 16 * 1024);
        let new = Exchange { request: head.clone(), ..Exchange::default() };
        assert!(exchanges.insert(exchange.0, new).is_none(), "an exchange begins twice");
        return;
    }
    let (Event::Request { exchange, .. }
    | Event::RequestBody { exchange, .. }
    | Event::Response { exchange, .. }
    | Event::ResponseBody { exchange, .. }
    | Event::Trailers { exchange, .. }
    | Event::Message { exchange, .. }
    | Event::MessagesLost { exchange, .. }
    | Event::End { exchange, .. }) = event;
    let seen = exchanges.get_mut(&exchange.0).expect("an exchange begins with its request");
    assert_eq!(seen.end, None, "nothing comes after an end");
    match event {
        Event::Request { .. } => {}
        Event::RequestBody { data, .. } => {
            assert!(!data.is_empty());
            seen.sent.push(data);
        }
        Event::Response { head, .. } => {
            assert!(seen.response.replace(head.clone()).is_none(), "one response");
        }
        Event::ResponseBody { data, .. } => {
            assert!(!data.is_empty());
            seen.received.push(data);
        }
        Event::Trailers { headers, .. } => assert!(!headers.is_empty()),
        Event::Message { from, data, fin, .. } => {
            assert!(fin || !data.is_empty());
            let messages = &mut seen.messages[usize::from(from == Peer::Server)];
            if messages.last().is_none_or(|last| last.whole) {
                *own += 2 * size_of::<Message>();
                messages.push(Message::default());
            }
            let Some(last) = messages.last_mut() else { return };
            last.data.push(data);
            last.whole = fin;
        }
        Event::MessagesLost { from, .. } => seen.lost[usize::from(from == Peer::Server)] = true,
        Event::End { end, .. } => seen.end = Some(end),
    }
}
