//! gRPC's framing: messages behind five bytes each, compressed one by one where the sender likes.
//!
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>: a flag, the length as four bytes,
//! the message. gRPC-Web adds a last one, marked by the flag's highest bit, that holds trailers.

use super::coding::{self, Coding};

/// Bytes before a message.
const PREFIX: usize = 5;

/// The message is compressed, as the header `grpc-encoding` says.
const COMPRESSED: u8 = 1;

/// gRPC-Web: these are trailers.
const TRAILERS: u8 = 0x80;

/// What the body has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A message begins.
    Begin,
    /// A piece of it, decompressed, never empty.
    Data(&'a [u8]),
    /// It is over.
    End {
        /// All of it was handed out; else it could not be decompressed.
        whole: bool,
    },
}

/// Takes the messages out of a body; constant memory, whatever their length.
pub struct Decoder {
    state: State,
    prefix: [u8; PREFIX],
    have: usize,
    coding: Option<Coding>,
}

enum State {
    Prefix,
    Message {
        left: u32,
        content: Content,
    },
    /// No gRPC: nothing more is read.
    Malformed,
}

/// How what is left of a message is read.
enum Content {
    Plain,
    Compressed(Box<coding::Decoder>),
    /// Compressed in a way that the first byte has to tell.
    Unnamed,
    Undecodable,
    /// Not a message.
    Aside,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("coding", &self.coding).finish_non_exhaustive()
    }
}

impl Decoder {
    /// For a body whose sender's `grpc-encoding` is this.
    #[must_use]
    pub fn new(encoding: Option<&str>) -> Self {
        let coding = encoding.and_then(|name| Coding::named(name.trim().as_bytes()));
        Self { state: State::Prefix, prefix: [0; PREFIX], have: 0, coding }
    }

    /// Whether the body may end here.
    #[must_use]
    pub const fn is_between_messages(&self) -> bool {
        matches!(self.state, State::Prefix) && self.have == 0
    }

    /// Takes the next bytes.
    pub fn push(&mut self, data: &[u8], sink: &mut dyn FnMut(Piece<'_>)) {
        let mut data = data;
        while !data.is_empty() {
            match &mut self.state {
                State::Malformed => return,
                State::Prefix => {
                    let (new, rest) = data.split_at(data.len().min(PREFIX - self.have));
                    self.prefix[self.have..self.have + new.len()].copy_from_slice(new);
                    self.have += new.len();
                    data = rest;
                    if self.have == PREFIX {
                        self.begin(sink);
                    }
                }
                State::Message { left, content } => {
                    let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(data.len());
                    let (piece, rest) = data.split_at(taken);
                    content.read(piece, sink);
                    *left -= taken as u32;
                    data = rest;
                    self.end_message(sink);
                }
            }
        }
    }

    /// A prefix is whole.
    fn begin(&mut self, sink: &mut dyn FnMut(Piece<'_>)) {
        self.have = 0;
        let [flag, length @ ..] = self.prefix;
        let content = match flag {
            0 => Content::Plain,
            COMPRESSED => self.coding.map_or(Content::Unnamed, Content::compressed),
            TRAILERS => Content::Aside,
            _ => {
                self.state = State::Malformed;
                return;
            }
        };
        if !matches!(content, Content::Aside) {
            sink(Piece::Begin);
        }
        self.state = State::Message { left: u32::from_be_bytes(length), content };
        self.end_message(sink);
    }

    fn end_message(&mut self, sink: &mut dyn FnMut(Piece<'_>)) {
        let State::Message { left: 0, content } = &self.state else { return };
        match content {
            Content::Aside => {}
            Content::Plain | Content::Compressed(_) | Content::Unnamed => sink(Piece::End { whole: true }),
            Content::Undecodable => sink(Piece::End { whole: false }),
        }
        self.state = State::Prefix;
    }
}

impl Content {
    fn compressed(coding: Coding) -> Self {
        coding::Decoder::new(&[coding])
            .map_or(Self::Undecodable, |decoder| Self::Compressed(Box::new(decoder)))
    }

    fn read(&mut self, piece: &[u8], sink: &mut dyn FnMut(Piece<'_>)) {
        if let (Self::Unnamed, Some(&first)) = (&*self, piece.first()) {
            *self = match first {
                0x1f => Self::compressed(Coding::Gzip),
                // RFC 1950, section 2.2: the method of zlib is 8.
                _ if first & 0x0f == 8 => Self::compressed(Coding::Deflate),
                _ => Self::Undecodable,
            };
        }
        match self {
            Self::Plain if !piece.is_empty() => sink(Piece::Data(piece)),
            Self::Compressed(decoder) => {
                if decoder.push(piece, &mut |data| sink(Piece::Data(data))).is_err() {
                    *self = Self::Undecodable;
                }
            }
            Self::Plain | Self::Unnamed | Self::Undecodable | Self::Aside => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::coding::tests::gzip;

    fn message(flag: u8, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&[flag], &length[..], content].concat()
    }

    /// The messages, `None` for one that could not be read, and whether the body may end there.
    fn read(encoding: Option<&str>, body: &[u8], size: usize) -> (Vec<Option<Vec<u8>>>, bool) {
        let mut decoder = Decoder::new(encoding);
        let (mut messages, mut current) = (Vec::new(), Vec::new());
        for piece in body.chunks(size) {
            decoder.push(piece, &mut |piece| match piece {
                Piece::Begin => assert!(current.is_empty()),
                Piece::Data(data) => {
                    assert!(!data.is_empty());
                    current.extend_from_slice(data);
                }
                Piece::End { whole } => messages.push(whole.then_some(std::mem::take(&mut current))),
            });
        }
        (messages, decoder.is_between_messages())
    }

    #[test]
    fn messages_of_any_length_in_any_split() {
        let long = vec![7; 70_000];
        let body = [message(0, b"one"), message(0, b""), message(0, &long)].concat();
        for size in [1, 4, 5, 6, 1000, body.len()] {
            let (messages, whole) = read(None, &body, size);
            assert_eq!(messages, [Some(b"one".to_vec()), Some(vec![]), Some(long.clone())]);
            assert!(whole);
        }
        assert!(!read(None, &body[..body.len() - 1], 1000).1 && !read(None, &body[..3], 1).1);
    }

    #[test]
    fn each_message_is_compressed_by_itself() {
        let text = b"the same words, the same words, the same words".to_vec();
        let body = [message(1, &gzip(&text)), message(0, &text), message(1, &gzip(&text))].concat();
        for encoding in [Some("gzip"), Some("identity"), None] {
            for size in [1, 7, body.len()] {
                assert_eq!(read(encoding, &body, size), (vec![Some(text.clone()); 3], true));
            }
        }
        let body = [message(1, b"not at all"), message(0, b"plain")].concat();
        assert_eq!(read(Some("gzip"), &body, 3), (vec![None, Some(b"plain".to_vec())], true));
    }

    #[test]
    fn what_is_no_message_is_not_handed_out() {
        let body = [message(0, b"a"), message(0x80, b"grpc-status:0\r\n")].concat();
        assert_eq!(read(None, &body, 2), (vec![Some(b"a".to_vec())], true));
        assert_eq!(read(None, b"{\"error\":{}}", 4), (vec![], false));
    }
}
