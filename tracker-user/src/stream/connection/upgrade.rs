//! A connection that has become a WebSocket.

use super::{Connection, Protocol};
use crate::{
    capture::{Direction, Timestamp},
    stream::{
        Peer, ResponseHead, Sink,
        event::names_websocket,
        half::{Half, Phase},
        websocket::{Extensions, WebSocket, looks_like},
    },
};

impl Connection {
    /// The server switches protocols; false where it is not to a WebSocket that can be read.
    pub(super) fn upgrade(&mut self, head: &ResponseHead, at: Timestamp, out: &mut Sink<'_>) -> bool {
        let mut upgrade = head.headers.iter().filter(|(name, _)| *name == "upgrade");
        if !upgrade.any(|(_, value)| names_websocket(value)) {
            return false;
        }
        let Some(extensions) = Extensions::agreed(head) else {
            self.counters.websockets_given_up += 1;
            return false;
        };
        let Some(exchange) = self.exchanges.upgrade(at, out) else {
            self.counters.websockets_unrecognised += 1;
            return false;
        };
        self.socket = Some(Box::new(WebSocket::new(exchange, extensions)));
        self.protocol = Protocol::WebSocket;
        for half in [&mut self.write, &mut self.read] {
            let (seen, latest) = (half.seen, half.latest);
            *half = Half { phase: Phase::Head, seen, latest, ..Half::default() };
        }
        true
    }

    /// Takes the next bytes of a WebSocket.
    pub(super) fn frames(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        aligned: bool,
        at: Timestamp,
        out: &mut Sink<'_>,
    ) {
        let from = self.peer(direction);
        if let Some(socket) = &mut self.socket {
            socket.push(from, bytes, aligned, at, &mut self.counters, out);
        }
        self.drop_socket_that_is_over();
    }

    /// Bytes of a WebSocket were never delivered.
    pub(super) fn frames_lost(&mut self, direction: Direction, lost: u64, at: Timestamp, out: &mut Sink<'_>) {
        let from = self.peer(direction);
        if let Some(socket) = &mut self.socket {
            socket.gap(from, lost, at, &mut self.counters, out);
        }
        self.drop_socket_that_is_over();
    }

    /// A WebSocket whose upgrade was not seen cannot be recognised, only counted: once both sides have
    /// sent a chunk of nothing but frames.
    pub(super) fn look_for_frames(&mut self, bytes: &[u8]) {
        if self.frames_from == [true; 2] {
            return;
        }
        if let Some(peer) = looks_like(bytes) {
            self.frames_from[usize::from(peer == Peer::Client)] = true;
            self.counters.websockets_unrecognised += u64::from(self.frames_from == [true; 2]);
        }
    }

    fn peer(&self, direction: Direction) -> Peer {
        if self.client == Some(direction) { Peer::Client } else { Peer::Server }
    }

    fn drop_socket_that_is_over(&mut self) {
        self.socket = self.socket.take().filter(|socket| !socket.is_over());
    }
}
