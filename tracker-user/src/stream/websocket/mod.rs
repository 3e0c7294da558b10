//! WebSocket (RFC 6455): bytes of both directions in, pieces of messages out.
//!
//! It does not matter what carries the bytes: a connection after `101 Switching Protocols`, or an
//! HTTP/2 stream after an extended CONNECT. Frames are passed on as they come and never collected;
//! what is kept is a header of 14 bytes and, where compression was agreed on and is used, its window.
//!
//! A direction knows where its next frame begins as long as nothing is lost, and after a loss inside
//! a payload whose length is known. After any other it waits for a chunk that is a chain of frames
//! from its first byte on.

mod deflate;
mod header;
mod side;

use side::{Fault, Side};

pub(super) use deflate::Extensions;

use super::{Counters, End, Event, ExchangeId, Peer, Sink};
use crate::capture::Timestamp;

/// One WebSocket, from its upgrade to its end.
#[derive(Debug)]
pub(super) struct WebSocket {
    exchange: ExchangeId,
    client: Side,
    server: Side,
    over: bool,
}

/// Where what a side reads goes.
struct Target<'t, 's> {
    exchange: ExchangeId,
    from: Peer,
    at: Timestamp,
    out: &'t mut Sink<'s>,
}

impl Target<'_, '_> {
    fn piece(&mut self, data: &[u8], fin: bool) {
        let Self { exchange, from, at, .. } = *self;
        (self.out)(Event::Message { exchange, from, data, fin, at });
    }

    fn lost(&mut self) {
        let Self { exchange, from, at, .. } = *self;
        (self.out)(Event::MessagesLost { exchange, from, at });
    }
}

impl WebSocket {
    /// The exchange was upgraded; the next bytes of both directions are frames.
    pub(super) fn new(exchange: ExchangeId, extensions: Extensions) -> Self {
        let Extensions { client, server } = extensions;
        Self { exchange, client: Side::new(true, client), server: Side::new(false, server), over: false }
    }

    /// Whether the end of the exchange was reported.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// Takes the next bytes that `from` sent. `aligned`: a chunk begins with them.
    pub(super) fn push(
        &mut self,
        from: Peer,
        bytes: &[u8],
        aligned: bool,
        at: Timestamp,
        counters: &mut Counters,
        out: &mut Sink<'_>,
    ) {
        if self.over {
            return;
        }
        let mut target = Target { exchange: self.exchange, from, at, out: &mut *out };
        let skipped = self.side(from).skipped;
        let taken = self.side(from).push(bytes, aligned, &mut target);
        counters.skipped_bytes += self.side(from).skipped - skipped;
        if let Err(fault) = taken {
            self.fail(from, fault, at, counters, out);
        } else if self.server.is_closed() && !self.client.is_open() {
            self.end(End::Complete, at, out);
        }
    }

    /// `lost` bytes that `from` sent were never delivered.
    pub(super) fn gap(
        &mut self,
        from: Peer,
        lost: u64,
        at: Timestamp,
        counters: &mut Counters,
        out: &mut Sink<'_>,
    ) {
        if self.over {
            return;
        }
        let mut target = Target { exchange: self.exchange, from, at, out: &mut *out };
        if let Err(fault) = self.side(from).gap(lost, &mut target) {
            self.fail(from, fault, at, counters, out);
        }
    }

    /// What carried it is gone.
    pub(super) fn close(&mut self, at: Timestamp, out: &mut Sink<'_>) {
        // Many peers hang up without waiting for the answer to their close frame.
        let said = self.client.is_closed() || self.server.is_closed();
        self.end(if said { End::Complete } else { End::Closed }, at, out);
    }

    fn side(&mut self, from: Peer) -> &mut Side {
        match from {
            Peer::Client => &mut self.client,
            Peer::Server => &mut self.server,
        }
    }

    fn fail(&mut self, from: Peer, fault: Fault, at: Timestamp, counters: &mut Counters, out: &mut Sink<'_>) {
        let end = match fault {
            Fault::Malformed => {
                counters.malformed += 1;
                End::Malformed
            }
            Fault::Undecodable => {
                counters.undecodable += 1;
                End::Malformed
            }
            Fault::Lost => End::Gap,
        };
        counters.websockets_given_up += 1;
        // The server's messages tell all that matters; the client's only who asked, and when.
        if from == Peer::Server || fault != Fault::Lost {
            self.end(end, at, out);
        } else {
            self.client.give_up();
        }
    }

    fn end(&mut self, end: End, at: Timestamp, out: &mut Sink<'_>) {
        if !std::mem::replace(&mut self.over, true) {
            (self.client, self.server) = (Side::new(true, None), Side::new(false, None));
            out(Event::End { exchange: self.exchange, end, at });
        }
    }
}

/// Whether a chunk of a connection of which nothing is known looks like WebSocket, and if so whether
/// its sender is a client: clients mask their frames, servers do not.
pub(super) fn looks_like(bytes: &[u8]) -> Option<Peer> {
    let masked = bytes.get(1)? & 0x80 != 0;
    let first = bytes.first()? & 0x0f != 0;
    (first && header::is_chain(bytes, masked, true)).then_some(if masked {
        Peer::Client
    } else {
        Peer::Server
    })
}

#[cfg(test)]
mod tests;
