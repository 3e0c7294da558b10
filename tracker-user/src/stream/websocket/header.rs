//! The header of a frame (RFC 6455, section 5.2).

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    /// More of the message in progress.
    Continuation,
    /// A message, or the first frame of one: text or binary, which says nothing about what is in it
    /// (Gemini Live sends its JSON as binary).
    Message,
    /// The last frame of its direction.
    Close,
    /// Ping or pong.
    Control,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The message ends with this frame.
    pub(super) fin: bool,
    /// RSV1: the message is compressed (RFC 7692, section 6).
    pub(super) compressed: bool,
    pub(super) opcode: Opcode,
    /// The masking key, where the payload is masked.
    pub(super) mask: Option<[u8; 4]>,
    /// Payload length, bytes.
    pub(super) length: u64,
    /// The length is written in the fewest bytes, as it has to be.
    minimal: bool,
}

/// No endpoint sends such a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Header {
    /// Two bytes, eight of extended length, four of masking key.
    pub(super) const MAX: usize = 14;

    /// Reads the header that `bytes` begin with, and says how long it is; `None` where it goes on
    /// beyond them.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let &[first, ref rest @ ..] = bytes else { return Ok(None) };
        let opcode = match first & 0x0f {
            0 => Opcode::Continuation,
            1 | 2 => Opcode::Message,
            8 => Opcode::Close,
            9 | 10 => Opcode::Control,
            _ => return Err(Malformed),
        };
        let (fin, compressed) = (first & 0x80 != 0, first & 0x40 != 0);
        let control = matches!(opcode, Opcode::Close | Opcode::Control);
        // RSV2 and RSV3 belong to extensions that nobody has defined; RSV1 only to a message's start.
        if first & 0x30 != 0 || compressed && opcode != Opcode::Message || control && !fin {
            return Err(Malformed);
        }
        let &[second, ref rest @ ..] = rest else { return Ok(None) };
        let short = second & 0x7f;
        if control && short > 125 {
            return Err(Malformed);
        }
        let (length, extended, minimal) = match (short, rest) {
            (126, &[a, b, ..]) => {
                let length = u64::from(u16::from_be_bytes([a, b]));
                (length, 2, length > 125)
            }
            (127, &[a, b, c, d, e, f, g, h, ..]) => {
                let length = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
                (length, 8, length > u64::from(u16::MAX))
            }
            (126 | 127, _) => return Ok(None),
            (length, _) => (u64::from(length), 0, true),
        };
        if length >> 63 != 0 {
            return Err(Malformed);
        }
        let masked = second & 0x80 != 0;
        let mask = match (masked, &rest[extended..]) {
            (false, _) => None,
            (true, &[a, b, c, d, ..]) => Some([a, b, c, d]),
            (true, _) => return Ok(None),
        };
        let used = 2 + extended + if masked { 4 } else { 0 };
        Ok(Some((Self { fin, compressed, opcode, mask, length, minimal }, used)))
    }
}

/// Frames that have to be seen whole before one that is cut by the end of a chunk is believed.
const WITNESSES: u32 = 2;

/// Whether `bytes` are a chain of frames of one direction, from its first byte on. That every
/// length leads to another header, and the last to the end, is what other bytes hardly ever do.
pub(super) fn is_chain(bytes: &[u8], masked: bool, compression: bool) -> bool {
    let mut rest = bytes;
    let mut whole = 0;
    while !rest.is_empty() {
        let Ok(Some((header, used))) = Header::read(rest) else { return false };
        let fits = header.minimal
            && header.mask.is_some() == masked
            && (compression || !header.compressed)
            && (whole > 0 || header.opcode != Opcode::Continuation || header.length > 0);
        if !fits {
            return false;
        }
        rest = &rest[used..];
        match usize::try_from(header.length).ok().and_then(|length| rest.get(length..)) {
            Some(after) => rest = after,
            None => return whole >= WITNESSES,
        }
        whole += 1;
    }
    whole > 0
}
