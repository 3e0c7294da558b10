//! One TLS connection: both directions, in and out of step.

use super::{
    Counters, End, Event, ExchangeId, Role,
    exchanges::Exchanges,
    half::{Body, Half, Phase},
    http1::{
        MAX_HEAD, Malformed,
        body::Framing,
        head::{self, Method, Request, Response, Wrapping},
        start::{PREFACE, Rigour, Start},
    },
    http2::{self, Http2},
    websocket::WebSocket,
};
use crate::capture::{Chunk, Direction, Timestamp};

/// Where events go.
pub type Sink<'s> = dyn FnMut(Event<'_>) + 's;

/// After so many changes of direction without one message start, this is no HTTP: a client that is
/// answered begins its next request at the start of a write.
const MAX_TURNS: u32 = 16;

/// A first line is judged again with every byte up to this length, and after that only when whole.
const JUDGED_LINE: usize = 1024;

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
        let (direction, at) = (chunk.direction, chunk.timestamp);
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
        let whole = bytes.len();
        while !bytes.is_empty() && !self.protocol.is_over() {
            let aligned = repeated == 0 && bytes.len() == whole;
            if let Some(http2) = &mut self.http2 {
                let mut io = http2::Io { out, counters: &mut self.counters, at };
                return http2.push(direction, bytes, aligned, &mut io);
            }
            if self.protocol == Protocol::WebSocket {
                return self.frames(direction, bytes, aligned, at, out);
            }
            bytes = match self.half(direction).phase {
                Phase::Body(_) => self.body(direction, bytes, aligned, at, out),
                Phase::Head | Phase::Seek => self.head(direction, bytes, aligned, at, out),
            };
        }
    }

    /// The connection is gone: the TLS object was freed, or its process. What was in flight ends;
    /// later chunks are ignored.
    pub fn close(&mut self, at: Timestamp, out: &mut Sink<'_>) {
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
            http2.close(&mut http2::Io { out, counters: &mut self.counters, at });
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

    /// Takes bytes at, or before, the start of a message; returns what is left of them.
    fn head<'a>(
        &mut self,
        direction: Direction,
        bytes: &'a [u8],
        aligned: bool,
        at: Timestamp,
        out: &mut Sink<'_>,
    ) -> &'a [u8] {
        let half = self.half_mut(direction);
        let rigour = half.rigour();
        let mut bytes = bytes;
        if half.head.is_empty() {
            if rigour == Rigour::InStep {
                // RFC 9112, section 2.2: empty lines before a message are tolerated.
                let content = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
                bytes = &bytes[content.unwrap_or(bytes.len())..];
                if bytes.is_empty() {
                    return bytes;
                }
            } else if !aligned {
                return self.skip(direction, bytes.len(), at, out);
            }
            half.head_at = at;
        }
        let started = half.head_at;
        let mut buffer = std::mem::take(&mut half.head);
        let carried = buffer.len();
        let view = if carried == 0 {
            &bytes[..bytes.len().min(MAX_HEAD)]
        } else {
            buffer.extend_from_slice(&bytes[..bytes.len().min(MAX_HEAD.saturating_sub(carried))]);
            &buffer[..]
        };
        let judged = match Start::of(&view[..if carried > JUDGED_LINE { 5 } else { view.len() }], rigour) {
            Start::Undecided if carried > JUDGED_LINE && view.starts_with(b"HTTP/") => Start::Response,
            Start::Undecided if carried > JUDGED_LINE => Start::Request,
            judged => judged,
        };
        let end = if judged == Start::Undecided { None } else { head::end(view, carried.saturating_sub(2)) };
        let side = self.client.map(|client| client == direction);
        let accepted = match (judged, end) {
            (Start::Http2, _) if side.is_none() => {
                // Without the preface it may be a later SETTINGS frame.
                let joined = self.bytes_out_of_step > 0 && !view.starts_with(PREFACE);
                buffer.truncate(carried);
                self.half_mut(direction).head = buffer;
                self.begin_http2(direction, joined, out);
                return bytes;
            }
            (Start::No, _)
                if side.is_none()
                    && rigour == Rigour::Seeking
                    && carried == 0
                    && http2::begins_with_frames(view) =>
            {
                self.begin_http2(direction, true, out);
                return bytes;
            }
            (Start::Request, _) if side == Some(false) => Err(Malformed),
            (Start::Response, _) if side == Some(true) => Err(Malformed),
            (Start::Http2 | Start::No, _) => Err(Malformed),
            (_, None) if view.len() >= MAX_HEAD => Err(Malformed),
            (_, None) => {
                let half = self.half_mut(direction);
                half.head = if carried == 0 { view.to_vec() } else { buffer };
                return &[];
            }
            (Start::Response, Some(end)) => {
                let method = self.exchanges.next_method().unwrap_or(Method::Other);
                head::response(&view[..end], rigour, method).map(|response| (end, Err(response)))
            }
            (_, Some(end)) => head::request(&view[..end], rigour).map(|request| (end, Ok(request))),
        };
        match accepted {
            Ok((end, message)) => {
                self.bytes_out_of_step = 0;
                self.turns = 0;
                self.protocol = Protocol::Http1;
                match message {
                    Ok(request) => self.request(direction, request, started, at, out),
                    Err(response) => self.response(direction, response, at, out),
                }
                &bytes[end.saturating_sub(carried)..]
            }
            Err(Malformed) => {
                self.reject(direction, carried, at, out);
                if carried > 0 && aligned { bytes } else { self.skip(direction, bytes.len(), at, out) }
            }
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
            http2.push(side, &head, false, &mut http2::Io { out, counters: &mut self.counters, at });
        }
        self.protocol = Protocol::Http2;
        self.http2 = Some(http2);
    }

    /// What was taken for a head is none.
    fn reject(&mut self, direction: Direction, carried: usize, at: Timestamp, out: &mut Sink<'_>) {
        if self.half(direction).rigour() == Rigour::InStep {
            self.counters.malformed += 1;
            self.lose(direction, End::Malformed, None, at, out);
        }
        self.skip(direction, carried, at, out);
    }

    fn request(
        &mut self,
        direction: Direction,
        request: Request,
        started: Timestamp,
        at: Timestamp,
        out: &mut Sink<'_>,
    ) {
        let Request { head, method, body, expects_continue } = request;
        self.client = Some(direction);
        self.counters.requests += 1;
        let half = self.half_mut(direction);
        half.requests_in_chunk += 1;
        if half.requests_in_chunk > 1 {
            self.exchanges.saw_pipelining();
        }
        let exchange = self.exchanges.begin(method, expects_continue, at, out);
        self.forget_ended();
        let role = if direction == Direction::Write { Role::Client } else { Role::Server };
        out(Event::Request { exchange, role, head: &head, at: started });
        self.start_body(direction, body, Some(exchange), at, out);
    }

    fn response(&mut self, direction: Direction, response: Response, at: Timestamp, out: &mut Sink<'_>) {
        let Response { head, body } = response;
        let client = direction.opposite();
        self.client = Some(client);
        if (100..200).contains(&head.status) && head.status != 101 {
            self.half_mut(direction).phase = Phase::Head;
            return;
        }
        let method = self.exchanges.next_method();
        let exchange = self.exchanges.respond();
        if let Some(exchange) = exchange {
            out(Event::Response { exchange, head: &head, at });
        } else {
            self.counters.unmatched_responses += 1;
            let in_step = |direction| self.half(direction).rigour() == Rigour::InStep;
            let in_step = in_step(direction) && in_step(client);
            self.unsolicited = self.exchanges.is_unsolicited() && in_step;
        }
        if head.status == 101 && self.upgrade(&head, at, out) {
            return;
        }
        let tunnel = method == Some(Method::Connect) && (200..300).contains(&head.status);
        if head.status == 101 || tunnel {
            self.exchanges.request_done(at, out);
            self.exchanges.response_done(at, out);
            self.exchanges.close(false, at, out);
            self.protocol = Protocol::Upgraded;
            return;
        }
        self.start_body(direction, body, exchange, at, out);
    }

    fn start_body(
        &mut self,
        direction: Direction,
        wrapping: Wrapping,
        exchange: Option<ExchangeId>,
        at: Timestamp,
        out: &mut Sink<'_>,
    ) {
        if wrapping.framing.is_done() {
            return self.message_done(direction, at, out);
        }
        let (body, opened) = Body::new(wrapping, exchange);
        self.half_mut(direction).phase = Phase::Body(body);
        if opened.is_err() {
            self.undecodable(direction);
        }
    }

    /// Takes bytes of a body; returns what is left of them.
    fn body<'a>(
        &mut self,
        direction: Direction,
        bytes: &'a [u8],
        aligned: bool,
        at: Timestamp,
        out: &mut Sink<'_>,
    ) -> &'a [u8] {
        let requesting = self.client == Some(direction);
        let withheld = requesting && aligned && self.exchanges.body_may_be_withheld();
        let Some(body) = self.half_mut(direction).body_mut() else { return bytes };
        if withheld && body.untouched && Start::of(bytes, Rigour::Seeking) == Start::Request {
            // RFC 9110, section 10.1.1: refused before it was sent, the body may be left out.
            self.message_done(direction, at, out);
            return bytes;
        }
        body.untouched = false;
        if !requesting {
            let known = body.exchange.is_some();
            self.exchanges.response_continues(known, at, out);
            self.forget_ended();
        }
        let Some(body) = self.half_mut(direction).body_mut() else { return bytes };
        let exchange = body.exchange.unwrap_or(ExchangeId(0)); // Without an exchange it is muted.
        let (mut rest, mut followed, mut decoded) = (bytes, Ok(()), Ok(()));
        while !rest.is_empty() && !body.framing.is_done() && followed.is_ok() {
            followed = body.framing.next(&mut rest).map(|piece| {
                let step = body.decode(piece, &mut |data| {
                    out(if requesting {
                        Event::RequestBody { exchange, data, at }
                    } else {
                        Event::ResponseBody { exchange, data, at }
                    });
                });
                if step.is_err() {
                    body.mute();
                    decoded = step;
                }
            });
        }
        let done = body.framing.is_done();
        if decoded.is_err() {
            self.undecodable(direction);
        }
        if followed.is_err() {
            self.counters.malformed += 1;
            self.lose(direction, End::Malformed, None, at, out);
        } else if done {
            self.message_done(direction, at, out);
        }
        rest
    }

    fn undecodable(&mut self, direction: Direction) {
        self.counters.undecodable += 1;
        self.exchanges.undecodable(self.client == Some(direction));
    }

    fn message_done(&mut self, direction: Direction, at: Timestamp, out: &mut Sink<'_>) {
        self.half_mut(direction).phase = Phase::Head;
        if self.client == Some(direction) {
            self.exchanges.request_done(at, out);
        } else {
            self.exchanges.response_done(at, out);
            self.forget_ended();
        }
    }

    /// `lost` bytes of a direction were never delivered.
    fn gap(&mut self, direction: Direction, lost: u64, at: Timestamp, out: &mut Sink<'_>) {
        self.counters.gaps += 1;
        self.counters.lost_bytes += lost;
        if let Some(http2) = &mut self.http2 {
            return http2.gap(direction, lost, &mut http2::Io { out, counters: &mut self.counters, at });
        }
        if self.protocol == Protocol::WebSocket {
            return self.frames_lost(direction, lost, at, out);
        }
        let requesting = self.client == Some(direction);
        let skipped = self.half_mut(direction).body_mut().and_then(|body| {
            body.mute();
            body.framing.skip(lost).then(|| body.framing.is_done())
        });
        let Some(done) = skipped else {
            return self.lose(direction, End::Gap, Some(lost), at, out);
        };
        if requesting {
            self.exchanges.request_damaged();
        } else {
            self.exchanges.response_damaged(at, out);
            self.forget_ended();
        }
        if done {
            self.message_done(direction, at, out);
        }
    }

    /// A direction has lost its place: what can no longer be told ends.
    fn lose(&mut self, direction: Direction, end: End, lost: Option<u64>, at: Timestamp, out: &mut Sink<'_>) {
        self.half_mut(direction).lose_step();
        match self.client {
            None => {}
            Some(client) if client == direction => self.exchanges.lost_request(end, at, out),
            Some(_) => self.exchanges.lost_response(end, lost, at, out),
        }
        self.forget_ended();
    }

    fn abandon(&mut self, at: Timestamp, out: &mut Sink<'_>) {
        self.exchanges.abandon(at, out);
        self.forget_ended();
    }

    /// Bodies whose exchange has ended are followed to their end, but not handed out; where it is not
    /// even remembered, they belong to nobody.
    fn forget_ended(&mut self) {
        if self.exchanges.is_abandoned() && !std::mem::replace(&mut self.abandoned, true) {
            self.counters.abandoned += 1;
        }
        for half in [&mut self.write, &mut self.read] {
            if let Some(body) = half.body_mut()
                && let Some(exchange) = body.exchange
                && self.exchanges.has_ended(exchange)
            {
                body.mute();
                body.exchange = Some(exchange).filter(|exchange| self.exchanges.contains(*exchange));
            }
        }
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

mod upgrade;

#[cfg(test)]
mod tests;
