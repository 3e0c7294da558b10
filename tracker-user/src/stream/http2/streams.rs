//! The streams of a connection, each of them one exchange.
//!
//! A stream's number says which response belongs to which request, and is never used twice; so a
//! loss costs what it touched, and never the rest of the connection.

use std::collections::BTreeMap;

use super::{Io, head::Fields};
use crate::{
    capture::Timestamp,
    stream::{
        End, Event, ExchangeId, Peer, ResponseHead, Role,
        coding::Coding,
        half::Body,
        http1::{body::Framing, head::Wrapping},
        websocket::{Extensions, WebSocket},
    },
};

/// Most streams that are open at a time. Servers allow a hundred or a few; more means that their
/// ends are not seen, and the oldest is given up.
const MAX_OPEN: usize = 1024;

/// How far one message of a stream is.
enum Message {
    /// Its head has not come.
    Awaited,
    /// In its body.
    Open {
        body: Body,
        /// The coding is not known, and the first byte is to tell.
        sniff: bool,
    },
    Done,
}

struct Stream {
    exchange: ExchangeId,
    request: Message,
    response: Message,
    /// How it will end, if its response is seen whole; absent: complete.
    fate: Option<End>,
    /// The head of its response may be among lost bytes.
    doubtful: bool,
    socket: Socket,
}

/// Whether the stream is a WebSocket (RFC 8441).
enum Socket {
    No,
    /// Its request asks for that.
    Asked,
    /// From here on its body is frames of both sides.
    Open(Box<WebSocket>),
}

/// Which of the two messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Request,
    Response,
}

impl Side {
    const fn peer(self) -> Peer {
        match self {
            Self::Request => Peer::Client,
            Self::Response => Peer::Server,
        }
    }
}

/// The open streams.
#[derive(Default)]
pub(super) struct Streams {
    open: BTreeMap<u32, Stream>,
    /// The highest number that a request had.
    highest: u32,
    next_exchange: u64,
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether of a stream's request nothing was seen, or its head only and its body is to follow.
    pub(super) fn lacks_request(&self, id: u32) -> bool {
        let untouched = |stream: &Stream| {
            let awaited = matches!(stream.response, Message::Awaited) && matches!(stream.socket, Socket::No);
            awaited && matches!(&stream.request, Message::Open { body, .. } if body.untouched)
        };
        id > self.highest || self.open.get(&id).is_some_and(untouched)
    }

    /// Whether a stream's request has come to its end.
    pub(super) fn request_is_whole(&self, id: u32) -> bool {
        let done = |stream: &Stream| matches!(stream.request, Message::Done);
        id <= self.highest && self.open.get(&id).is_none_or(done)
    }

    /// A header block of the requesting side; false if it begins no request, nor ends one.
    pub(super) fn request(
        &mut self,
        id: u32,
        mut fields: Fields,
        role: Role,
        started: Timestamp,
        io: &mut Io<'_, '_>,
    ) -> bool {
        if self.open.contains_key(&id) {
            return true; // Trailers.
        }
        // Numbers rise: a lower one has been over for long.
        if id <= self.highest || !fields.are_of_request() {
            return false;
        }
        self.highest = id;
        if self.open.len() >= MAX_OPEN
            && let Some((_, oldest)) = self.open.pop_first()
        {
            oldest.end(End::Gap, io);
        }
        let exchange = ExchangeId(self.next_exchange);
        self.next_exchange += 1;
        io.counters.requests += 1;
        let (codings, sniff) = (fields.codings(), fields.codings_are_doubtful());
        let head = fields.into_request();
        let socket = if head.asks_for_websocket() { Socket::Asked } else { Socket::No };
        (io.out)(Event::Request { exchange, role, head: &head, at: started });
        let mut fate = None;
        let request = open_body(codings, sniff, exchange, &mut fate, io);
        let stream = Stream { exchange, request, response: Message::Awaited, fate, doubtful: false, socket };
        self.open.insert(id, stream);
        true
    }

    /// A header block of the responding side: a final or interim response, or trailers. False if no
    /// request awaits it.
    pub(super) fn response(&mut self, id: u32, mut fields: Fields, io: &mut Io<'_, '_>) -> bool {
        let Some(stream) = self.open.get_mut(&id) else { return false };
        if !matches!(stream.response, Message::Awaited) {
            let (exchange, headers, at) = (stream.exchange, fields.trailers(), io.at);
            if !headers.is_empty() {
                (io.out)(Event::Trailers { exchange, headers, at });
            }
            return true;
        }
        match fields.status {
            Some(100..200) => return true,
            None if !fields.unknown => stream.fate = Some(End::Malformed),
            _ => {}
        }
        let exchange = stream.exchange;
        let (codings, sniff) = (fields.codings(), fields.codings_are_doubtful());
        if let Some(status) = fields.status {
            let head = fields.into_response(status);
            (io.out)(Event::Response { exchange, head: &head, at: io.at });
            if matches!(stream.socket, Socket::Asked) && (200..300).contains(&status) {
                stream.upgrade(&head, io);
            }
        }
        stream.doubtful = false;
        stream.response = open_body(codings, sniff, exchange, &mut stream.fate, io);
        true
    }

    /// A piece of a body, `aligned` if a frame's content begins with it; false if it belongs to no stream.
    pub(super) fn data(
        &mut self,
        id: u32,
        side: Side,
        piece: &[u8],
        aligned: bool,
        io: &mut Io<'_, '_>,
    ) -> bool {
        let Some(stream) = self.open.get_mut(&id) else { return false };
        if let Socket::Open(socket) = &mut stream.socket {
            socket.push(side.peer(), piece, aligned, io.at, io.counters, io.out);
            return true;
        }
        let Stream { exchange, request, response, fate, .. } = stream;
        let exchange = *exchange;
        let (message, requesting) = match side {
            Side::Request => (request, true),
            Side::Response => (response, false),
        };
        match message {
            Message::Open { body, sniff } => {
                body.untouched = false;
                if let (true, Some(&first)) = (*sniff, piece.first()) {
                    *sniff = false;
                    let coding = sniffed(first);
                    if let Some(coding) = coding {
                        (*body, _) = Body::new(wrapping(Some(vec![coding])), Some(exchange));
                    }
                }
                let at = io.at;
                let decoded = body.decode(piece, &mut |data| {
                    (io.out)(if requesting {
                        Event::RequestBody { exchange, data, at }
                    } else {
                        Event::ResponseBody { exchange, data, at }
                    });
                });
                if decoded.is_err() {
                    body.mute();
                    io.counters.undecodable += 1;
                    *fate = Some(End::Malformed);
                }
            }
            // The head was missed.
            Message::Awaited => self.end(id, End::Gap, io),
            Message::Done => {}
        }
        true
    }

    /// END_STREAM. With that of the response the exchange is over: nobody waits for the rest of a
    /// request, which a server may refuse with RST_STREAM (RFC 9113, section 8.1).
    pub(super) fn message_done(&mut self, id: u32, side: Side, io: &mut Io<'_, '_>) {
        let Some(stream) = self.open.get_mut(&id) else { return };
        match side {
            Side::Request => stream.request = Message::Done,
            Side::Response if matches!(stream.socket, Socket::Open(_)) => self.end(id, End::Closed, io),
            Side::Response if matches!(stream.response, Message::Awaited) => self.end(id, End::Gap, io),
            Side::Response => {
                let whole = matches!(stream.request, Message::Done);
                let end = stream.fate.unwrap_or(if whole { End::Complete } else { End::RequestCut });
                self.end(id, end, io);
            }
        }
    }

    /// Ends a stream, if it is open.
    pub(super) fn end(&mut self, id: u32, end: End, io: &mut Io<'_, '_>) {
        if let Some(stream) = self.open.remove(&id) {
            stream.end(end, io);
        }
    }

    /// So many bytes of one message's body were lost, and nothing else.
    pub(super) fn damaged(&mut self, id: u32, side: Side, lost: u64, io: &mut Io<'_, '_>) {
        if let Some(Stream { socket: Socket::Open(socket), .. }) = self.open.get_mut(&id) {
            return socket.gap(side.peer(), lost, io.at, io.counters, io.out);
        }
        match side {
            Side::Request => self.open.get_mut(&id).into_iter().for_each(Stream::cut_request),
            Side::Response => self.end(id, End::Gap, io),
        }
    }

    /// One side has lost its place: messages in progress on it are not whole. Those that have not
    /// begun may still come.
    pub(super) fn lost_place(&mut self, side: Side, end: End, io: &mut Io<'_, '_>) {
        self.open.retain(|_, stream| match (side, &stream.response, &mut stream.socket) {
            (_, _, Socket::Open(socket)) => {
                socket.gap(side.peer(), u64::MAX, io.at, io.counters, io.out);
                true
            }
            (Side::Request, ..) => {
                stream.cut_request();
                true
            }
            (Side::Response, Message::Awaited, _) => {
                stream.doubtful = true;
                true
            }
            (Side::Response, ..) => {
                io.end(stream.exchange, end);
                false
            }
        });
    }

    /// GOAWAY of the server: streams above `last` were not processed and never will be.
    pub(super) fn go_away(&mut self, last: u32, io: &mut Io<'_, '_>) {
        for stream in self.open.split_off(&last.saturating_add(1)).into_values() {
            stream.end(End::Closed, io);
        }
    }

    /// The connection is gone.
    pub(super) fn close(&mut self, io: &mut Io<'_, '_>) {
        for stream in std::mem::take(&mut self.open).into_values() {
            let end = if stream.doubtful { End::Gap } else { End::Closed };
            stream.end(end, io);
        }
    }
}

impl Stream {
    /// Reports the end of its exchange; a WebSocket knows better how it ended.
    fn end(self, end: End, io: &mut Io<'_, '_>) {
        match self.socket {
            Socket::Open(mut socket) => socket.close(io.at, io.out),
            Socket::No | Socket::Asked => io.end(self.exchange, end),
        }
    }

    /// The server agrees to a WebSocket. One whose frames cannot be read is given up.
    fn upgrade(&mut self, head: &ResponseHead, io: &mut Io<'_, '_>) {
        match Extensions::agreed(head) {
            Some(extensions) => {
                self.socket = Socket::Open(Box::new(WebSocket::new(self.exchange, extensions)));
            }
            None => io.counters.websockets_given_up += 1,
        }
    }

    /// What comes of the request's body is not whole any more.
    fn cut_request(&mut self) {
        if let Message::Open { body, .. } = &mut self.request {
            body.mute();
            self.fate = self.fate.or(Some(End::RequestCut));
        }
    }
}

fn open_body(
    codings: Option<Vec<Coding>>,
    sniff: bool,
    exchange: ExchangeId,
    fate: &mut Option<End>,
    io: &mut Io<'_, '_>,
) -> Message {
    let (body, opened) = Body::new(wrapping(codings), Some(exchange));
    if opened.is_err() {
        io.counters.undecodable += 1;
        *fate = Some(End::Malformed);
    }
    Message::Open { body, sniff }
}

/// The frames say where a body ends.
const fn wrapping(codings: Option<Vec<Coding>>) -> Wrapping {
    Wrapping { framing: Framing::UntilClose, codings }
}

/// The coding of a body by its first byte, which no text that matters begins with.
const fn sniffed(first: u8) -> Option<Coding> {
    match first {
        0x1f => Some(Coding::Gzip),
        0x28 => Some(Coding::Zstd),
        _ => None,
    }
}
