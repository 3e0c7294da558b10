//! One TLS connection: both directions, in and out of step.

use super::{
    Counters, End, Event,
    exchanges::Exchanges,
    half::{Half, Phase},
    http1::body::Framing,
    http2::{self, Http2},
    websocket::WebSocket,
};
use crate::capture::{Chunk, Direction, Timestamp};

/// Where events go.
pub type Sink<'s> = dyn FnMut(Event<'_>) + 's;

/// After so many changes of direction without one message start, this is no HTTP: a client that is
/// answered begins its next request at the start of a write.
const MAX_TURNS: u32 = 16;

/// What a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// No message has begun yet.
    #[default]
    Unknown,
    /// HTTP/1.x.
    Http1,
    /// HTTP/2, told by the client's preface, the server's first SETTINGS, or frames in its midst.
    Http2,
    /// HTTP/1.1 ended in WebSocket.
    WebSocket,
    /// HTTP/1.1 ended in another protocol (101, or a CONNECT tunnel); not decoded.
    Upgraded,
    /// Both sides have spoken in turn, and never HTTP.
    NotHttp,
}

impl Protocol {
    /// Nothing more will come of the connection.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Upgraded | Self::NotHttp)
    }
}

/// What a verdict about the connection can be based on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionState {
    /// What it speaks.
    pub protocol: Protocol,
    /// Plaintext bytes, of both directions, passed over since a message last began cleanly.
    pub bytes_out_of_step: u64,
    /// Exchanges that have begun and not ended.
    pub exchanges: usize,
}

/// Turns the chunks of one connection into [`Event`]s.
///
/// A direction is in step when the last message was followed to its end; only then does the next
/// byte begin a message. Out of step (at first, and after a loss whose end cannot be told) a message
/// can begin only at the start of a chunk, where a writer's call began, and only with a whole head.
#[derive(Debug, Default)]
pub struct Connection {
    protocol: Protocol,
    /// The direction of the requests, once one side has shown itself.
    client: Option<Direction>,
    write: Half,
    read: Half,
    exchanges: Exchanges,
    /// Everything about the connection, once it is known to speak HTTP/2.
    http2: Option<Box<Http2>>,
    socket: Option<Box<WebSocket>>,
    /// Who has sent what looks like WebSocket frames, while nothing else is known.
    frames_from: [bool; 2],
    counters: Counters,
    bytes_out_of_step: u64,
    turns: u32,
    last_skipped: Option<Direction>,
    /// A response came that no request was seen for, with both directions in step. Unless the next
    /// chunk of requests shows a gap, the order of things cannot be relied on.
    unsolicited: bool,
    abandoned: bool,
    closed: bool,
    /// A response that came up before its request, and what follows it.
    early: Option<Box<Early>>,
    /// Nothing is to wait.
    impatient: bool,
}

impl Connection {
    /// A connection of which nothing was seen.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a verdict can be based on.
    #[must_use]
    pub fn state(&self) -> ConnectionState {
        let (bytes_out_of_step, exchanges) = match &self.http2 {
            Some(http2) => (http2.bytes_out_of_step(), http2.exchanges()),
            None => (self.bytes_out_of_step, self.exchanges.len() + usize::from(self.socket.is_some())),
        };
        ConnectionState { protocol: self.protocol, bytes_out_of_step, exchanges }
    }

    /// What went wrong or was passed over since [`Connection::take_counters`] was last called.
    pub fn take_counters(&mut self) -> Counters {
        std::mem::take(&mut self.counters)
    }

    /// Takes the next bytes of one direction. Chunks of a direction come in the order of their
    /// offsets; a jump ends what it damages, a repetition is dropped.
    pub fn push(&mut self, chunk: &Chunk, out: &mut Sink<'_>) {
        if self.closed || self.protocol.is_over() {
            return;
        }
        let half = self.half_mut(chunk.direction);
        half.latest = half.latest.max(chunk.timestamp);
        if !self.set_aside(chunk, out) {
            self.resume(out);
            self.take(chunk, true, out);
            self.resume(out);
        }
    }

    /// Takes a chunk whose turn it is, or the rest of one that was set aside. `whole`: a call began with it.
    fn take(&mut self, chunk: &Chunk, whole: bool, out: &mut Sink<'_>) {
        let (direction, at) = (chunk.direction, chunk.timestamp);
        let settled = self.settled(direction);
        let half = self.half_mut(direction);
        let seen = half.seen;
        half.seen = seen.max(chunk.offset.saturating_add(chunk.bytes.len() as u64));
        let mut bytes = &chunk.bytes[..];
        let lost = chunk.offset.saturating_sub(seen);
        if lost > 0 {
            self.gap(direction, lost, at, out);
        }
        let repeated =
            usize::try_from(seen.saturating_sub(chunk.offset)).unwrap_or(usize::MAX).min(bytes.len());
        bytes = &bytes[repeated..];
        self.counters.repeated_bytes += repeated as u64;
        if self.client == Some(direction) && std::mem::take(&mut self.unsolicited) && lost == 0 {
            self.abandon(at, out);
        }
        self.half_mut(direction).requests_in_chunk = 0;
        if self.protocol == Protocol::Unknown && repeated == 0 {
            self.look_for_frames(bytes);
        }
        let (length, whole) = (bytes.len(), whole && repeated == 0);
        while !bytes.is_empty() && !self.protocol.is_over() {
            let aligned = whole && bytes.len() == length;
            if let Some(http2) = &mut self.http2 {
                let mut io = http2::Io { out, counters: &mut self.counters, at, settled };
                bytes = http2.push(direction, bytes, aligned, &mut io);
                let early = http2.early(direction);
                self.early = self
                    .early
                    .take()
                    .or_else(|| early.map(|(stream, began)| Early::new(direction, began, Some(stream))));
            } else if self.protocol == Protocol::WebSocket {
                return self.frames(direction, bytes, aligned, at, out);
            } else {
                bytes = match self.half(direction).phase {
                    Phase::Body(_) => self.body(direction, bytes, aligned, at, out),
                    Phase::Head | Phase::Seek => self.head(direction, bytes, aligned, at, out),
                };
            }
            if self.early.as_ref().is_some_and(|early| early.direction() == direction) {
                return self.set_rest_aside(chunk, bytes.len(), whole);
            }
        }
    }

    /// The connection is gone: the TLS object was freed, or its process. What was in flight ends;
    /// later chunks are ignored.
    pub fn close(&mut self, at: Timestamp, out: &mut Sink<'_>) {
        self.take_up_all(out);
        if let Some(mut socket) = self.socket.take() {
            socket.close(at, out);
        }
        let server = self.client.map(Direction::opposite);
        let ends_response = server.is_some_and(|server| {
            let half = self.half(server);
            matches!(&half.phase, Phase::Body(body) if body.framing == Framing::UntilClose)
        });
        self.exchanges.close(ends_response, at, out);
        if let Some(mut http2) = self.http2.take() {
            http2.close(&mut http2::Io {
                out,
                counters: &mut self.counters,
                at,
                settled: Timestamp(u64::MAX),
            });
        }
        self.closed = true;
        (self.write, self.read) = (Half::default(), Half::default());
    }

    fn half(&self, direction: Direction) -> &Half {
        match direction {
            Direction::Write => &self.write,
            Direction::Read => &self.read,
        }
    }

    fn half_mut(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Write => &mut self.write,
            Direction::Read => &mut self.read,
        }
    }

    /// The connection speaks HTTP/2: this direction begins, or it was `joined` in its midst. What was
    /// held of either direction is read again.
    fn begin_http2(&mut self, direction: Direction, joined: bool, out: &mut Sink<'_>) {
        let mut http2 = Box::new(Http2::at_start());
        for side in [direction, direction.opposite()] {
            let half = self.half_mut(side);
            let (seen, head, at) = (half.seen, std::mem::take(&mut half.head), half.head_at);
            let passed_over = side != direction && seen > head.len() as u64;
            if joined || passed_over {
                http2.join(side, &mut self.counters);
            }
            // A few bytes, too few for a response.
            let settled = Timestamp(u64::MAX);
            let mut io = http2::Io { out, counters: &mut self.counters, at, settled };
            http2.push(side, &head, false, &mut io);
        }
        self.protocol = Protocol::Http2;
        self.http2 = Some(http2);
    }

    /// `lost` bytes of a direction were never delivered.
    fn gap(&mut self, direction: Direction, lost: u64, at: Timestamp, out: &mut Sink<'_>) {
        self.counters.gaps += 1;
        self.counters.lost_bytes += lost;
        if let Some(http2) = &mut self.http2 {
            let settled = Timestamp(u64::MAX);
            let mut io = http2::Io { out, counters: &mut self.counters, at, settled };
            return http2.gap(direction, lost, &mut io);
        }
        if self.protocol == Protocol::WebSocket {
            return self.frames_lost(direction, lost, at, out);
        }
        self.message_gap(direction, lost, at, out);
    }

    /// Passes over bytes that are out of step.
    fn skip(
        &mut self,
        direction: Direction,
        count: usize,
        at: Timestamp,
        out: &mut Sink<'_>,
    ) -> &'static [u8] {
        self.counters.skipped_bytes += count as u64;
        self.bytes_out_of_step += count as u64;
        let answering = self.client == Some(direction.opposite());
        if answering && count > 0 && self.exchanges.next_method().is_some() {
            // These bytes belong to the response that is awaited: its head was missed.
            self.lose(direction, End::Gap, None, at, out);
        }
        if self.protocol == Protocol::Unknown && self.last_skipped.replace(direction) != Some(direction) {
            self.turns += 1;
            if self.turns >= MAX_TURNS {
                self.protocol = Protocol::NotHttp;
                (self.write, self.read) = (Half::default(), Half::default());
            }
        }
        &[]
    }
}

mod early;
mod http1;
mod upgrade;

use early::Early;

#[cfg(test)]
mod tests;
