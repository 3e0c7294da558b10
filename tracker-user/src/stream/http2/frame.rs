//! Frame headers (RFC 9113, section 4.1 and 6): what is legal, and what is certain.

/// Length of a frame header, bytes.
pub(super) const HEADER: usize = 9;

/// The largest frame that may be sent to a peer that has not allowed more (RFC 9113, section 4.2).
pub(super) const DEFAULT_MAX_LENGTH: u32 = 16_384;

/// Largest stream number that is believed while a frame is looked for. A connection that has made
/// more streams than that is found by one of its next frames on stream 0.
const BELIEVED_STREAM: u32 = 1 << 24;

pub(super) mod kind {
    pub(in crate::stream::http2) const DATA: u8 = 0;
    pub(in crate::stream::http2) const HEADERS: u8 = 1;
    pub(in crate::stream::http2) const PRIORITY: u8 = 2;
    pub(in crate::stream::http2) const RST_STREAM: u8 = 3;
    pub(in crate::stream::http2) const SETTINGS: u8 = 4;
    pub(in crate::stream::http2) const PUSH_PROMISE: u8 = 5;
    pub(in crate::stream::http2) const PING: u8 = 6;
    pub(in crate::stream::http2) const GOAWAY: u8 = 7;
    pub(in crate::stream::http2) const WINDOW_UPDATE: u8 = 8;
    pub(in crate::stream::http2) const CONTINUATION: u8 = 9;
}

pub(super) mod flag {
    /// On SETTINGS and PING.
    pub(in crate::stream::http2) const ACK: u8 = 1;
    pub(in crate::stream::http2) const END_STREAM: u8 = 1;
    pub(in crate::stream::http2) const END_HEADERS: u8 = 4;
    pub(in crate::stream::http2) const PADDED: u8 = 8;
    pub(in crate::stream::http2) const PRIORITY: u8 = 0x20;
}

/// A frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) length: u32,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// The bit that has to be zero when sent and ignored when received.
    reserved: bool,
}

impl FrameHeader {
    pub(super) fn parse(bytes: [u8; HEADER]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = bytes;
        let stream = u32::from_be_bytes(stream);
        Self {
            length: u32::from_be_bytes([0, a, b, c]),
            kind,
            flags,
            stream: stream & 0x7fff_ffff,
            reserved: stream >> 31 == 1,
        }
    }

    pub(super) const fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether a receiver would accept it, where frames of up to `max_length` are allowed.
    pub(super) fn is_legal(self, max_length: u32) -> bool {
        let Self { length, kind, stream, .. } = self;
        let shape = match kind {
            kind::DATA | kind::HEADERS | kind::CONTINUATION | kind::PUSH_PROMISE => stream != 0,
            kind::PRIORITY => length == 5 && stream != 0,
            kind::RST_STREAM => length == 4 && stream != 0,
            kind::SETTINGS if self.has(flag::ACK) => length == 0 && stream == 0,
            kind::SETTINGS => length.is_multiple_of(6) && stream == 0,
            kind::PING => length == 8 && stream == 0,
            kind::GOAWAY => length >= 8 && stream == 0,
            kind::WINDOW_UPDATE => length == 4,
            _ => true,
        };
        shape && length <= max_length && length as usize >= self.prefix()
    }

    /// Bytes of the payload that come before what the frame carries: pad length, priority, promised
    /// stream.
    pub(super) fn prefix(self) -> usize {
        let padded = usize::from(self.has(flag::PADDED));
        match self.kind {
            kind::DATA => padded,
            kind::HEADERS => padded + if self.has(flag::PRIORITY) { 5 } else { 0 },
            kind::PUSH_PROMISE => padded + 4,
            _ => 0,
        }
    }

    /// Whether it is what a sender writes, so that it is hardly anything else: a known frame with no
    /// flag that means nothing, on a stream that a client opened.
    fn is_plausible(self) -> bool {
        let Self { kind, flags, stream, .. } = self;
        let known_flags = match kind {
            kind::DATA => flag::END_STREAM | flag::PADDED,
            kind::HEADERS => flag::END_STREAM | flag::END_HEADERS | flag::PADDED | flag::PRIORITY,
            kind::CONTINUATION => flag::END_HEADERS,
            kind::SETTINGS | kind::PING => flag::ACK,
            kind::PRIORITY | kind::RST_STREAM | kind::GOAWAY | kind::WINDOW_UPDATE => 0,
            _ => return false,
        };
        flags & !known_flags == 0
            && !self.reserved
            && (stream == 0 || !stream.is_multiple_of(2))
            && stream < BELIEVED_STREAM
            && self.is_legal(DEFAULT_MAX_LENGTH)
    }
}

/// Whether bytes at the start of a writer's call begin with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begins {
    /// They do: one frame leads to the next, or ends where the bytes end.
    Frame,
    /// So far they could.
    Undecided,
    /// They do not, or it could never be used: a header block without its beginning.
    No,
}

impl Begins {
    /// The most bytes that are needed to tell.
    pub(super) const NEEDED: usize = HEADER + DEFAULT_MAX_LENGTH as usize + HEADER;

    /// Judges them. Random bytes pass for one frame header about once in 2^25, and the length has to
    /// lead to another one, or to the end of what was written, on top of that.
    pub(super) fn with(bytes: &[u8]) -> Self {
        let Some(first) = bytes.first_chunk::<HEADER>().map(|header| FrameHeader::parse(*header)) else {
            return Self::Undecided;
        };
        if !first.is_plausible() || first.kind == kind::CONTINUATION {
            return Self::No;
        }
        let Some(rest) = bytes.get(HEADER + first.length as usize..) else { return Self::Undecided };
        let headers_continue = first.kind == kind::HEADERS && !first.has(flag::END_HEADERS);
        match rest.first_chunk::<HEADER>().map(|header| FrameHeader::parse(*header)) {
            None if rest.is_empty() && !headers_continue => Self::Frame,
            None => Self::Undecided,
            Some(next) if !next.is_plausible() => Self::No,
            Some(next) if headers_continue != (next.kind == kind::CONTINUATION) => Self::No,
            Some(next) if headers_continue && next.stream != first.stream => Self::No,
            Some(_) => Self::Frame,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    #[test]
    fn what_begins_with_a_frame() {
        let headers = frame(kind::HEADERS, flag::END_HEADERS, 3, b"\x82");
        let data = frame(kind::DATA, flag::END_STREAM, 3, b"some text");
        for (bytes, expected) in [
            (headers.clone(), Begins::Frame),
            ([headers.clone(), data.clone()].concat(), Begins::Frame),
            ([headers.clone(), data[..12].to_vec()].concat(), Begins::Frame),
            ([headers.clone(), data[..8].to_vec()].concat(), Begins::Undecided),
            (data[..12].to_vec(), Begins::Undecided),
            ([data, b"POST / HTTP/1.1\r\n".to_vec()].concat(), Begins::No),
            (frame(kind::HEADERS, 0, 3, b"\x82"), Begins::Undecided),
            ([frame(kind::HEADERS, 0, 3, b"\x82"), headers.clone()].concat(), Begins::No),
            ([frame(kind::HEADERS, 0, 3, b"\x82"), frame(9, 4, 3, b"\x82")].concat(), Begins::Frame),
            ([frame(kind::HEADERS, 0, 3, b"\x82"), frame(9, 4, 5, b"\x82")].concat(), Begins::No),
            (frame(kind::CONTINUATION, 4, 3, b"\x82"), Begins::No),
            (frame(kind::HEADERS, 0x40, 3, b"\x82"), Begins::No),
            (frame(kind::DATA, 0, 0, b"x"), Begins::No),
            (frame(kind::DATA, 0, 2, b"x"), Begins::No),
            (frame(kind::PING, 0, 0, b"x"), Begins::No),
            (frame(kind::DATA, 0, 1, &vec![0; 16_385]), Begins::No),
            (b"{\"model\": \"a\", \"messages\": []}".to_vec(), Begins::No),
            (b"data: {\"id\": 1}\n\n".to_vec(), Begins::No),
            (b"EHLO localhost\r\n".to_vec(), Begins::No),
        ] {
            assert_eq!(Begins::with(&bytes), expected, "{bytes:?}");
        }
    }
}
