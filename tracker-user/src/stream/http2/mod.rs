//! HTTP/2 (RFC 9113): frames to the same events as HTTP/1.1.
//!
//! Each direction is a sequence of frames (`frame`) and has one header decoder (`hpack`). A direction
//! is in step when the end of the last frame was followed (`follow`). Out of step (the daemon came late, or
//! bytes were lost) it waits for a frame at the start of a chunk, where a writer's call began, that
//! leads to another one; and its header decoder knows only what was inserted since. `streams` knows
//! which message belongs to which exchange; `head` what a header block says.

mod follow;
mod frame;
mod half;
mod head;
mod hpack;
mod streams;

use frame::{Begins, DEFAULT_MAX_LENGTH, FrameHeader, flag, kind};
use half::{BETWEEN_FRAMES, Block, Half, Payload, Phase};
use head::Fields;
use streams::{Side, Streams};

use super::{Counters, End, Event, ExchangeId, Role, Sink};
use crate::capture::{Direction, Timestamp};

/// Longest header block that is collected, bytes; servers stop at 8 to 64 KiB.
const MAX_BLOCK: usize = 64 * 1024;

/// RFC 9113, section 6.5.2.
const SETTINGS_MAX_FRAME_SIZE: u16 = 5;

/// What a step may change outside.
pub(super) struct Io<'a, 's> {
    /// Where events go.
    pub(super) out: &'a mut Sink<'s>,
    /// What is counted.
    pub(super) counters: &'a mut Counters,
    /// When the bytes came.
    pub(super) at: Timestamp,
    /// All that the other side sent up to then has come up.
    pub(super) settled: Timestamp,
}

impl Io<'_, '_> {
    fn end(&mut self, exchange: ExchangeId, end: End) {
        (self.out)(Event::End { exchange, end, at: self.at });
    }
}

/// Whether bytes with which a writer's call began are frames for certain, whatever came before.
pub(super) fn begins_with_frames(bytes: &[u8]) -> bool {
    Begins::with(bytes) == Begins::Frame
}

/// A connection that speaks HTTP/2.
pub(super) struct Http2 {
    /// The direction of the requests, once it has shown itself.
    client: Option<Direction>,
    write: Half,
    read: Half,
    streams: Streams,
    bytes_out_of_step: u64,
    early: Option<EarlyHead>,
}

/// The head of a response that came up before its request.
struct EarlyHead {
    direction: Direction,
    block: Block,
    fields: Fields,
    /// When it was complete.
    at: Timestamp,
}

/// No payload: header blocks hold credentials.
impl std::fmt::Debug for Http2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2")
            .field("client", &self.client)
            .field("streams", &self.streams.len())
            .finish_non_exhaustive()
    }
}

impl Http2 {
    /// A connection of which the first bytes are about to come.
    pub(super) fn at_start() -> Self {
        Self {
            client: None,
            write: Half::at_start(),
            read: Half::at_start(),
            streams: Streams::default(),
            bytes_out_of_step: 0,
            early: None,
        }
    }

    /// The beginning of this direction was missed.
    pub(super) fn join(&mut self, direction: Direction, counters: &mut Counters) {
        let half = self.half_mut(direction);
        half.phase = Phase::Seek(Vec::new());
        half.hpack.lose_step();
        counters.hpack_desync += 1;
    }

    /// Exchanges that have begun and not ended.
    pub(super) fn exchanges(&self) -> usize {
        self.streams.len()
    }

    /// Bytes that could not be used since a request last began.
    pub(super) const fn bytes_out_of_step(&self) -> u64 {
        self.bytes_out_of_step
    }

    /// The stream of a response in this direction that may have come up before its request, and when it
    /// began; nothing more is taken of the direction until [`Http2::resume`].
    pub(super) fn early(&self, direction: Direction) -> Option<(u32, Timestamp)> {
        let early = self.early.as_ref().filter(|early| early.direction == direction)?;
        Some((early.block.stream, early.block.started))
    }

    /// Whether a stream's request has come to its end.
    pub(super) fn request_is_whole(&self, stream: u32) -> bool {
        self.streams.request_is_whole(stream)
    }

    /// Takes the head that waits, if one does.
    pub(super) fn resume(&mut self, io: &mut Io<'_, '_>) {
        if let Some(EarlyHead { block, fields, at, .. }) = self.early.take() {
            io.at = at;
            self.response(&block, fields, io);
        }
    }

    /// Takes the next bytes of a direction; `aligned` if a writer's call began with them. Returns what is
    /// left of them: all that follows a head that is [`early`](Self::early), else nothing.
    pub(super) fn push<'a>(
        &mut self,
        direction: Direction,
        bytes: &'a [u8],
        aligned: bool,
        io: &mut Io<'_, '_>,
    ) -> &'a [u8] {
        let whole = bytes.len();
        let mut bytes = bytes;
        while !bytes.is_empty() && self.early(direction).is_none() {
            let aligned = aligned && bytes.len() == whole;
            bytes = match &mut self.half_mut(direction).phase {
                Phase::Start(_) => self.start(direction, bytes, io),
                Phase::Seek(_) => return self.seek(direction, bytes, aligned, io),
                Phase::Header { .. } => self.header(direction, bytes, io),
                Phase::Payload(payload) => {
                    let payload = *payload;
                    self.payload(direction, payload, bytes, io)
                }
            };
        }
        bytes
    }

    /// `lost` bytes of a direction were never delivered.
    pub(super) fn gap(&mut self, direction: Direction, lost: u64, io: &mut Io<'_, '_>) {
        let side = self.side(direction);
        let half = self.half_mut(direction);
        if let Phase::Payload(payload) = &mut half.phase
            && payload.prefix_length == payload.prefix_wanted
            && half.block.is_none()
            && lost <= u64::from(payload.left)
        {
            let header = payload.header;
            // Its header said how long the frame is: only what it carries is lost.
            payload.left -= u32::try_from(lost).unwrap_or(payload.left);
            let payload = *payload;
            if let (kind::DATA, Some(side)) = (header.kind, side) {
                self.streams.damaged(header.stream, side, lost, io);
            }
            if payload.left == 0 {
                self.frame_done(direction, payload, io);
            }
            return;
        }
        self.lose_place(direction, End::Gap, io);
    }

    /// The connection is gone.
    pub(super) fn close(&mut self, io: &mut Io<'_, '_>) {
        self.streams.close(io);
    }

    fn half_mut(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Write => &mut self.write,
            Direction::Read => &mut self.read,
        }
    }

    fn side(&self, direction: Direction) -> Option<Side> {
        self.client.map(|client| if client == direction { Side::Request } else { Side::Response })
    }

    /// Where the next frame begins can no longer be told.
    fn lose_place(&mut self, direction: Direction, end: End, io: &mut Io<'_, '_>) {
        let half = self.half_mut(direction);
        half.block = None;
        // While no frame was found again there is nothing new to lose.
        if !matches!(half.phase, Phase::Seek(_)) {
            self.join(direction, io.counters);
        } else {
            half.phase = Phase::Seek(Vec::new());
        }
        if let Some(side) = self.side(direction) {
            self.streams.lost_place(side, end, io);
        }
    }

    fn malformed(&mut self, direction: Direction, io: &mut Io<'_, '_>) {
        io.counters.malformed += 1;
        self.lose_place(direction, End::Malformed, io);
    }

    fn pass_over(&mut self, count: usize, io: &mut Io<'_, '_>) {
        self.bytes_out_of_step += count as u64;
        io.counters.skipped_bytes += count as u64;
    }

    /// What stands before the payload proper is whole.
    fn prefix(
        &mut self,
        direction: Direction,
        payload: &mut Payload,
        io: &mut Io<'_, '_>,
    ) -> Result<(), hpack::Broken> {
        let [a, b, c, d, e, f, ..] = payload.prefix;
        match payload.header.kind {
            kind::SETTINGS => {
                if u16::from_be_bytes([a, b]) == SETTINGS_MAX_FRAME_SIZE {
                    self.half_mut(direction).allows = Some(u32::from_be_bytes([c, d, e, f]));
                }
                if payload.left > 0 {
                    payload.prefix_length = 0;
                }
            }
            kind::RST_STREAM => self.streams.end(payload.header.stream, End::Closed, io),
            kind::GOAWAY if self.side(direction) == Some(Side::Response) => {
                self.streams.go_away(u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff, io);
            }
            kind::DATA | kind::HEADERS | kind::PUSH_PROMISE if payload.header.has(flag::PADDED) => {
                payload.pad = a.into();
                if payload.pad > payload.left {
                    return Err(hpack::Broken);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A piece of what a frame carries, `first` if nothing of that came before it.
    fn carried(
        &mut self,
        direction: Direction,
        header: FrameHeader,
        piece: &[u8],
        first: bool,
        io: &mut Io<'_, '_>,
    ) {
        match header.kind {
            kind::DATA => {
                let side = self.side(direction);
                if !side.is_some_and(|side| self.streams.data(header.stream, side, piece, first, io)) {
                    self.pass_over(piece.len(), io);
                }
            }
            kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION => {
                if let Some(block) = &mut self.half_mut(direction).block {
                    block.too_long |= block.bytes.len() + piece.len() > MAX_BLOCK;
                    if block.too_long {
                        block.bytes = Vec::new();
                    } else {
                        block.bytes.extend_from_slice(piece);
                    }
                }
            }
            _ => {}
        }
    }

    fn frame_done(&mut self, direction: Direction, payload: Payload, io: &mut Io<'_, '_>) {
        let header = payload.header;
        let half = self.half_mut(direction);
        half.phase = BETWEEN_FRAMES;
        match header.kind {
            kind::DATA if header.has(flag::END_STREAM) => {
                if let Some(side) = self.side(direction) {
                    self.streams.message_done(header.stream, side, io);
                }
            }
            kind::HEADERS | kind::PUSH_PROMISE | kind::CONTINUATION if header.has(flag::END_HEADERS) => {
                if let Some(block) = half.block.take() {
                    self.block_done(direction, block, io);
                }
            }
            // Without a word about it the limit is the initial one.
            kind::SETTINGS if !header.has(flag::ACK) => {
                half.allows.get_or_insert(DEFAULT_MAX_LENGTH);
            }
            _ => {}
        }
    }

    /// A header block is whole.
    fn block_done(&mut self, direction: Direction, block: Block, io: &mut Io<'_, '_>) {
        let half = self.half_mut(direction);
        let fields = if block.too_long {
            half.hpack.lose_step();
            io.counters.hpack_desync += 1;
            Fields::unknown()
        } else {
            let (fields, read) = Fields::read(&mut half.hpack, &block.bytes);
            io.counters.hpack_desync += u64::from(read.is_err());
            fields
        };
        // Pushed responses have even numbers, and nobody asked for them.
        if block.pushed || block.stream.is_multiple_of(2) {
            return;
        }
        let shown = match (fields.are_of_request(), fields.status) {
            (true, None) => Some(direction),
            (false, Some(_)) => Some(direction.opposite()),
            _ => None,
        };
        if shown.is_some() && self.client.is_some() && shown != self.client {
            io.counters.malformed += 1;
            return;
        }
        self.client = self.client.or(shown);
        let Some(side) = self.side(direction) else { return };
        match side {
            Side::Request => {
                let role = if direction == Direction::Write { Role::Client } else { Role::Server };
                if self.streams.request(block.stream, fields, role, block.started, io) {
                    self.bytes_out_of_step = 0;
                }
            }
            Side::Response => {
                let begins = fields.status.is_some();
                if begins && self.streams.lacks_request(block.stream) && io.settled <= block.started {
                    self.early = Some(EarlyHead { direction, block, fields, at: io.at });
                    return;
                }
                return self.response(&block, fields, io);
            }
        }
        if block.end_stream {
            self.streams.message_done(block.stream, side, io);
        }
    }

    /// A header block of the responding side, the turn of which it is.
    fn response(&mut self, block: &Block, fields: Fields, io: &mut Io<'_, '_>) {
        let begins = fields.status.is_some_and(|status| status >= 200);
        if !self.streams.response(block.stream, fields, io) && begins {
            io.counters.unmatched_responses += 1;
        }
        if block.end_stream {
            self.streams.message_done(block.stream, Side::Response, io);
        }
    }
}
