//! Where a body ends (RFC 9112, sections 6 and 7).

use memchr::memchr;

use super::{MAX_HEAD, Malformed};

/// The framing of one body, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Framing {
    /// This many bytes are left.
    Length(u64),
    /// Chunked transfer coding.
    Chunked(Chunked),
    /// The body ends with the connection.
    UntilClose,
}

/// How far a chunked body has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Chunked {
    /// In the digits of a chunk's size.
    Size { size: u64, digits: u8 },
    /// After the digits, up to the line's end: an extension. `seen` bounds it.
    Extension { size: u64, seen: usize },
    /// In a chunk's data, with this many bytes left.
    Data(u64),
    /// Before the line end that follows a chunk's data.
    DataEnd,
    /// In the trailer section, of which there is this; its last line is not whole, or empty.
    Trailer(Vec<u8>),
    /// Past the last line end; the trailer section, without the empty line behind it.
    Done(Vec<u8>),
}

impl Chunked {
    pub(in crate::stream) const START: Self = Self::Size { size: 0, digits: 0 };
}

impl Framing {
    /// Whether the body is over.
    pub(in crate::stream) fn is_done(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked::Done(_)))
    }

    /// What came behind the body, once it is over; empty where nothing did.
    pub(in crate::stream) fn trailers(&self) -> &[u8] {
        if let Self::Chunked(Chunked::Done(trailers)) = self { trailers } else { &[] }
    }

    /// Takes the next piece of the body off `input`. An empty piece means that `input` is used up or
    /// that the body is over.
    pub(in crate::stream) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Length(left) => Ok(take(input, left)),
            Self::UntilClose => Ok(std::mem::take(input)),
            Self::Chunked(state) => state.next(input),
        }
    }

    /// Passes over `lost` bytes that were never seen; false if the body may have ended among them.
    pub(in crate::stream) fn skip(&mut self, lost: u64) -> bool {
        match self {
            Self::Length(left) | Self::Chunked(Chunked::Data(left)) => {
                let within = lost <= *left;
                *left = left.saturating_sub(lost);
                within
            }
            Self::UntilClose => true,
            Self::Chunked(_) => false,
        }
    }
}

impl Chunked {
    fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
        while let Some((&byte, after)) = input.split_first() {
            match self {
                Self::Data(left) if *left > 0 => return Ok(take(input, left)),
                Self::Data(_) => *self = Self::DataEnd,
                Self::Done(_) => break,
                Self::Size { size, digits } => match (byte as char).to_digit(16) {
                    Some(digit) => {
                        // Sixteen digits fill 64 bits; leading zeros beyond that are nobody's habit.
                        if *digits == 16 {
                            return Err(Malformed);
                        }
                        *size = *size << 4 | u64::from(digit);
                        *digits += 1;
                        *input = after;
                    }
                    None if *digits == 0 => return Err(Malformed),
                    None => *self = Self::Extension { size: *size, seen: 0 },
                },
                Self::Extension { size, seen } => {
                    // A chunk size is followed by an extension, by white space or by the line's end.
                    if *seen == 0 && !b";\r\n \t".contains(&byte) {
                        return Err(Malformed);
                    }
                    let Some(size) = end_of_line(input, seen)?.then_some(*size) else { break };
                    *self = if size == 0 { Self::Trailer(Vec::new()) } else { Self::Data(size) };
                }
                Self::DataEnd => {
                    *input = after;
                    match byte {
                        b'\r' => {}
                        b'\n' => *self = Self::START,
                        _ => return Err(Malformed),
                    }
                }
                Self::Trailer(section) => {
                    *input = after;
                    let line_begins = section.last().is_none_or(|last| *last == b'\n');
                    match byte {
                        b'\n' if line_begins => *self = Self::Done(std::mem::take(section)),
                        b'\r' if line_begins => {}
                        _ if section.len() == MAX_HEAD => return Err(Malformed),
                        _ => section.push(byte),
                    }
                }
            }
        }
        Ok(&[])
    }
}

/// Skips to after the next line end; false if it is not in `input`.
fn end_of_line(input: &mut &[u8], seen: &mut usize) -> Result<bool, Malformed> {
    let end = memchr(b'\n', input);
    let line = end.map_or(input.len(), |end| end + 1);
    *seen += line;
    *input = &input[line..];
    if *seen > MAX_HEAD { Err(Malformed) } else { Ok(end.is_some()) }
}

fn take<'a>(input: &mut &'a [u8], left: &mut u64) -> &'a [u8] {
    let length = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
    let (piece, rest) = input.split_at(length);
    *input = rest;
    *left -= length as u64;
    piece
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body and what is left behind it.
    fn read(mut framing: Framing, bytes: &[u8], size: usize) -> Result<(Vec<u8>, usize), Malformed> {
        let (mut body, mut used) = (Vec::new(), 0);
        for mut piece in bytes.chunks(size) {
            while !piece.is_empty() && !framing.is_done() {
                let before = piece.len();
                body.extend_from_slice(framing.next(&mut piece)?);
                used += before - piece.len();
            }
        }
        assert!(framing.is_done() || framing == Framing::UntilClose || used == bytes.len());
        Ok((body, bytes.len() - used))
    }

    fn chunked(bytes: &str) -> Result<(String, usize), Malformed> {
        let read = |size| read(Framing::Chunked(Chunked::START), bytes.as_bytes(), size);
        assert_eq!(read(1), read(bytes.len()));
        read(3).map(|(body, left)| (String::from_utf8(body).unwrap(), left))
    }

    #[test]
    fn chunks_extensions_and_trailers() {
        assert_eq!(chunked("3\r\nabc\r\n0\r\n\r\nHTTP"), Ok(("abc".into(), 4)));
        assert_eq!(
            chunked("3;a=\"b\"\r\nabc\r\n1 \r\nd\r\n0;x\r\nT: 1\r\nU: 2\r\n\r\n"),
            Ok(("abcd".into(), 0))
        );
        assert_eq!(chunked("3\nabc\n00A\n0123456789\n0\n\n!"), Ok(("abc0123456789".into(), 1)));
    }

    #[test]
    fn trailers_are_kept() {
        for (bytes, trailers) in [
            ("1\r\na\r\n0\r\nT: 1\r\nU: 2\r\n\r\n", "T: 1\r\nU: 2\r\n"),
            ("0\nT: 1\n\n", "T: 1\n"),
            ("0\r\n\r\n", ""),
        ] {
            for size in [1, 4, 100] {
                let mut framing = Framing::Chunked(Chunked::START);
                for mut piece in bytes.as_bytes().chunks(size) {
                    while !piece.is_empty() {
                        assert!(framing.trailers().is_empty());
                        framing.next(&mut piece).unwrap();
                    }
                }
                assert_eq!(framing.trailers(), trailers.as_bytes());
            }
        }
    }

    #[test]
    fn what_is_no_chunk() {
        for bytes in ["\r\n", "x\r\n", "3x\r\n", "3\r\nabcd\r\n", "-1\r\n", "00000000000000001\r\n"] {
            assert_eq!(chunked(bytes), Err(Malformed), "{bytes:?}");
        }
        assert_eq!(chunked(&format!("3;{}\r\nabc\r\n", "x".repeat(MAX_HEAD))), Err(Malformed));
        assert_eq!(chunked(&format!("0\r\nT: {}\r\n\r\n", "x".repeat(MAX_HEAD))), Err(Malformed));
    }

    #[test]
    fn length_and_close() {
        assert_eq!(read(Framing::Length(3), b"abcd", 2), Ok((b"abc".to_vec(), 1)));
        assert_eq!(read(Framing::UntilClose, b"abcd", 3), Ok((b"abcd".to_vec(), 0)));
    }

    #[test]
    fn losses_are_skipped_only_where_the_end_is_known() {
        let mut length = Framing::Length(10);
        assert!(length.skip(4) && !length.is_done() && length.skip(6) && length.is_done());
        assert!(!Framing::Length(10).skip(11));
        assert!(Framing::UntilClose.skip(1 << 40));
        let mut chunk = Framing::Chunked(Chunked::START);
        assert!(!chunk.clone().skip(1));
        chunk.next(&mut &b"a\r\n01"[..]).unwrap();
        assert!(chunk.skip(8));
        assert_eq!(read(chunk.clone(), b"\r\n0\r\n\r\n", 1), Ok((vec![], 0)));
        assert!(!chunk.skip(1));
    }
}
