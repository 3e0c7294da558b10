//! Responses that come up before their request.
//!
//! What a call into the TLS library moved is delivered when the call returns. Where one thread writes and
//! another reads, the writer may be held up on its way back until the answer has been read, and the answer
//! comes up first. Taken as it comes it would belong to nobody, and later ones perhaps to the wrong
//! request. But a write is stamped when it was entered and a read when it returned, so a request is older
//! than its answer whichever is delivered first; and writes of one connection come in their order. So a
//! response that nobody awaits is set aside, with all that follows it in its direction, until
//!
//! - its request has come, whole: a large one comes in several chunks; or
//! - the other side sent something after the response had begun: nothing older will come, so the response
//!   is unsolicited, or its request was lost or sent before anybody watched; or
//! - it has waited for too long, in bytes, in chunks, or in the time of whoever owns the connection
//!   ([`Connection::stop_waiting`]); or the connection closes.
//!
//! Then it is taken as if it had come only now, but with its own timestamps. A request whose head was seen
//! and whose body has not begun counts as one that has not come: many clients write one after the other.
//! Where that body has begun nothing is set aside: its rest may have been cut off, or the server does not
//! wait for it. Over HTTP/2 it is the stream that says which request is missing, and a head is set aside
//! after its fields are decoded, because that has to be done in order.

use std::collections::VecDeque;

use super::Connection;
use crate::{
    capture::{Chunk, Direction, Timestamp},
    stream::{Sink, half::Phase, http2},
};

/// Most that is set aside, bytes. Memory moves many in the time that a thread is not run.
const MAX_BYTES: usize = 256 * 1024;
/// And in chunks, each of which costs a little more than its bytes.
const MAX_CHUNKS: usize = 256;

/// What waits for a request.
pub(super) struct Early {
    /// Where it came from.
    direction: Direction,
    /// When its first byte came.
    at: Timestamp,
    /// The stream, over HTTP/2.
    stream: Option<u32>,
    /// Its chunks, without what was taken of the first.
    chunks: VecDeque<Chunk>,
    bytes: usize,
    /// The first chunk begins where a call began.
    aligned: bool,
}

/// No payload.
impl std::fmt::Debug for Early {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Early")
            .field("direction", &self.direction)
            .field("at", &self.at)
            .field("stream", &self.stream)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Early {
    pub(super) fn new(direction: Direction, at: Timestamp, stream: Option<u32>) -> Box<Self> {
        Box::new(Self { direction, at, stream, chunks: VecDeque::new(), bytes: 0, aligned: true })
    }

    /// Whose direction is held up.
    pub(super) const fn direction(&self) -> Direction {
        self.direction
    }

    /// Adds what follows in its direction.
    pub(super) fn push(&mut self, chunk: Chunk) {
        self.bytes += chunk.bytes.len();
        self.chunks.push_back(chunk);
    }

    fn is_full(&self) -> bool {
        self.bytes > MAX_BYTES || self.chunks.len() > MAX_CHUNKS
    }
}

impl Connection {
    /// Since when a response has been waiting for its request to come up, if one has.
    #[must_use]
    pub fn waits_since(&self) -> Option<Timestamp> {
        self.early.as_ref().map(|early| early.at)
    }

    /// A response that waits for its request, if one does, has waited for long enough.
    pub fn stop_waiting(&mut self, out: &mut Sink<'_>) {
        if self.early.is_some() {
            self.counters.early_given_up += 1;
            self.take_up_all(out);
        }
    }

    /// Sets a chunk aside if its direction is held up; whether it did.
    pub(super) fn set_aside(&mut self, chunk: &Chunk, out: &mut Sink<'_>) -> bool {
        let Some(early) = self.early.as_mut().filter(|early| early.direction == chunk.direction) else {
            return false;
        };
        early.push(chunk.clone());
        if early.is_full() {
            self.stop_waiting(out);
        }
        true
    }

    /// Sets aside what is left of the chunk in which a response proved to be early.
    pub(super) fn set_rest_aside(&mut self, chunk: &Chunk, left: usize, aligned: bool) {
        let taken = chunk.bytes.len().saturating_sub(left);
        let offset = chunk.offset.saturating_add(taken as u64);
        self.half_mut(chunk.direction).seen = offset;
        if let Some(early) = &mut self.early
            && left > 0
        {
            early.aligned = aligned && taken == 0;
            early.push(Chunk { offset, bytes: chunk.bytes.slice(taken..), ..chunk.clone() });
        }
    }

    /// What the other side sent up to then has come up.
    pub(super) fn settled(&self, direction: Direction) -> Timestamp {
        if self.impatient { Timestamp(u64::MAX) } else { self.half(direction.opposite()).latest }
    }

    /// Whether a response over HTTP/1.1 that began at `at` may be ahead of its request.
    pub(super) fn is_early(&self, direction: Direction, at: Timestamp) -> bool {
        let untouched =
            || matches!(&self.half(direction.opposite()).phase, Phase::Body(body) if body.untouched);
        self.settled(direction) <= at
            && (self.exchanges.lacks_request() || self.exchanges.next_request_is_open() && untouched())
    }

    /// Takes up what waits, if it need not wait any longer.
    pub(super) fn resume(&mut self, out: &mut Sink<'_>) {
        let Some(early) = &self.early else { return };
        let request_came = match (early.stream, &self.http2) {
            (Some(stream), Some(http2)) => http2.request_is_whole(stream),
            _ => !self.exchanges.lacks_request() && !self.exchanges.next_request_is_open(),
        };
        if request_came || self.settled(early.direction) > early.at {
            self.counters.early_responses += u64::from(request_came);
            self.take_up(out);
        }
    }

    /// Takes up what waits, whether or not its request came.
    pub(super) fn take_up_all(&mut self, out: &mut Sink<'_>) {
        self.impatient = true;
        self.take_up(out);
        self.impatient = false;
    }

    fn take_up(&mut self, out: &mut Sink<'_>) {
        let Some(early) = self.early.take() else { return };
        let Early { direction, mut chunks, mut aligned, .. } = *early;
        let settled = self.settled(direction);
        if let Some(http2) = &mut self.http2 {
            http2.resume(&mut http2::Io { out, counters: &mut self.counters, at: Timestamp(0), settled });
        }
        while self.early.is_none()
            && let Some(chunk) = chunks.pop_front()
        {
            self.take(&chunk, std::mem::replace(&mut aligned, true), out);
        }
        // The next response may be early too.
        if let Some(again) = &mut self.early {
            chunks.into_iter().for_each(|chunk| again.push(chunk));
        }
    }
}
