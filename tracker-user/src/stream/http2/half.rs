//! One direction of an HTTP/2 connection.

use super::{
    frame::{FrameHeader, HEADER},
    hpack,
};
use crate::capture::Timestamp;

/// One direction.
pub(super) struct Half {
    pub(super) phase: Phase,
    pub(super) hpack: hpack::Decoder,
    /// The header block in progress: until it is whole, nothing else may come.
    pub(super) block: Option<Block>,
    /// The largest frame that this side has allowed the other to send; absent: it was not seen.
    pub(super) allows: Option<u32>,
}

/// Where a direction stands.
pub(super) enum Phase {
    /// At its first byte, or in the preface, of which so much was seen.
    Start(usize),
    /// Out of step: the bytes of what may become a frame, empty while there are none.
    Seek(Vec<u8>),
    /// In a frame header, or before it.
    Header {
        have: [u8; HEADER],
        length: usize,
        at: Timestamp,
    },
    Payload(Payload),
}

pub(super) const BETWEEN_FRAMES: Phase = Phase::Header { have: [0; HEADER], length: 0, at: Timestamp(0) };

/// A frame whose header was read.
#[derive(Clone, Copy)]
pub(super) struct Payload {
    pub(super) header: FrameHeader,
    pub(super) left: u32,
    /// Padding at its end.
    pub(super) pad: u32,
    /// The bytes before what it carries, or a record of a control frame.
    pub(super) prefix: [u8; 8],
    pub(super) prefix_length: usize,
    pub(super) prefix_wanted: usize,
}

/// A header block that is not whole yet.
pub(super) struct Block {
    pub(super) stream: u32,
    /// Of PUSH_PROMISE: read for the table's sake only.
    pub(super) pushed: bool,
    pub(super) end_stream: bool,
    pub(super) bytes: Vec<u8>,
    pub(super) too_long: bool,
    pub(super) started: Timestamp,
}

impl Half {
    pub(super) fn at_start() -> Self {
        Self { phase: Phase::Start(0), hpack: hpack::Decoder::default(), block: None, allows: None }
    }
}
