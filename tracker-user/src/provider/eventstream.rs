//! AWS's binary event stream (`application/vnd.amazon.eventstream`), as a stream.
//!
//! A message is a prelude (total length, length of the headers, CRC-32 of both), headers, a payload
//! and a CRC-32 of everything before it. Source: the Amazon event stream specification. The crates
//! that read it hand out whole messages; here the payload passes through in the pieces it comes in,
//! because nobody may keep it.

use crc32fast::Hasher;

/// Lengths and their checksum.
const PRELUDE: usize = 12;
/// The checksum at a message's end.
const CHECKSUM: usize = 4;
/// Longest message that the specification allows.
const MAX_MESSAGE: usize = 24 << 20;
/// Longest block of headers that it allows.
const MAX_HEADERS: usize = 128 << 10;
/// So much of the headers is kept; those that matter come first and are short.
const KEPT_HEADERS: usize = 1024;

/// A step of the stream.
pub(super) enum Piece<'a> {
    /// A message begins.
    Begin(Headers<'a>),
    /// A piece of its payload, never empty.
    Payload(&'a [u8]),
    /// The message is over, and its checksum right.
    End,
}

/// The headers of a message that say what it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Headers<'a> {
    /// `:message-type`: `event`, `exception` or `error`.
    pub(super) message_type: &'a str,
    /// `:event-type`.
    pub(super) event_type: &'a str,
    /// `:exception-type`, or `:error-code` of a message of type `error`.
    pub(super) error: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Prelude,
    Headers,
    Payload,
    Checksum,
    /// Not an event stream, or damaged: there is no way to find the next message.
    Malformed,
}

/// Reads messages from pieces of any size.
pub(super) struct Decoder {
    state: State,
    /// Bytes left in the current part.
    left: usize,
    payload: usize,
    /// The prelude or the checksum, as far as it is there.
    fixed: [u8; PRELUDE],
    headers: Vec<u8>,
    checksum: Hasher,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            state: State::Prelude,
            left: PRELUDE,
            payload: 0,
            fixed: [0; PRELUDE],
            headers: Vec::new(),
            checksum: Hasher::new(),
        }
    }
}

impl Decoder {
    /// Whether the input was found not to be an event stream. Nothing is read after that.
    pub(super) fn is_malformed(&self) -> bool {
        self.state == State::Malformed
    }

    /// Whether the input ended between two messages.
    pub(super) fn is_between_messages(&self) -> bool {
        self.state == State::Prelude && self.left == PRELUDE
    }

    /// Reads `input`, the next piece of the stream.
    pub(super) fn push(&mut self, mut input: &[u8], f: &mut impl FnMut(Piece<'_>)) {
        while !input.is_empty() {
            let (part, rest) = input.split_at(self.left.min(input.len()));
            let at = match self.state {
                State::Prelude => PRELUDE - self.left,
                State::Checksum => CHECKSUM - self.left,
                State::Headers | State::Payload | State::Malformed => 0,
            };
            self.left -= part.len();
            match self.state {
                State::Prelude => {
                    self.fixed[at..at + part.len()].copy_from_slice(part);
                    if self.left == 0 {
                        self.begin(f);
                    }
                }
                State::Headers => {
                    self.checksum.update(part);
                    let room = KEPT_HEADERS.saturating_sub(self.headers.len());
                    self.headers.extend_from_slice(&part[..part.len().min(room)]);
                    if self.left == 0 {
                        self.begin_payload(f);
                    }
                }
                State::Payload => {
                    self.checksum.update(part);
                    f(Piece::Payload(part));
                    if self.left == 0 {
                        self.expect_checksum();
                    }
                }
                State::Checksum => {
                    self.fixed[at..at + part.len()].copy_from_slice(part);
                    if self.left == 0 {
                        self.end(f);
                    }
                }
                State::Malformed => return,
            }
            input = rest;
        }
    }

    fn number(&self, at: usize) -> u32 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| self.fixed[at + i]);
        u32::from_be_bytes([a, b, c, d])
    }

    fn begin(&mut self, f: &mut impl FnMut(Piece<'_>)) {
        let (total, headers) = (self.number(0) as usize, self.number(4) as usize);
        let mut checksum = Hasher::new();
        checksum.update(&self.fixed[..8]);
        let right = checksum.clone().finalize() == self.number(8);
        let payload = total.checked_sub(PRELUDE + CHECKSUM).and_then(|rest| rest.checked_sub(headers));
        let (Some(payload), true) = (payload, right && total <= MAX_MESSAGE && headers <= MAX_HEADERS) else {
            self.state = State::Malformed;
            return;
        };
        checksum.update(&self.fixed[8..PRELUDE]);
        self.checksum = checksum;
        self.payload = payload;
        self.headers.clear();
        self.state = State::Headers;
        self.left = headers;
        if headers == 0 {
            self.begin_payload(f);
        }
    }

    fn begin_payload(&mut self, f: &mut impl FnMut(Piece<'_>)) {
        f(Piece::Begin(read_headers(&self.headers)));
        self.state = State::Payload;
        self.left = self.payload;
        if self.left == 0 {
            self.expect_checksum();
        }
    }

    fn expect_checksum(&mut self) {
        self.state = State::Checksum;
        self.left = CHECKSUM;
    }

    fn end(&mut self, f: &mut impl FnMut(Piece<'_>)) {
        if std::mem::take(&mut self.checksum).finalize() != self.number(0) {
            self.state = State::Malformed;
            return;
        }
        f(Piece::End);
        self.state = State::Prelude;
        self.left = PRELUDE;
    }
}

/// The headers that matter, as far as the block can be read.
fn read_headers(mut block: &[u8]) -> Headers<'_> {
    let mut headers = Headers::default();
    while let Some((name, value, rest)) = read_header(block) {
        let value = value.and_then(|value| str::from_utf8(value).ok()).unwrap_or_default();
        match name {
            b":message-type" => headers.message_type = value,
            b":event-type" => headers.event_type = value,
            b":exception-type" | b":error-code" => headers.error = value,
            _ => {}
        }
        block = rest;
    }
    headers
}

/// A header's name, its value where it is a text, and what follows.
type Header<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8]);

fn read_header(block: &[u8]) -> Option<Header<'_>> {
    let (&length, rest) = block.split_first()?;
    let (name, rest) = rest.split_at_checked(length.into())?;
    let (&kind, rest) = rest.split_first()?;
    let fixed = match kind {
        0 | 1 => 0, // true, false
        2 => 1,     // byte
        3 => 2,     // short
        4 => 4,     // integer
        5 | 8 => 8, // long, timestamp
        9 => 16,    // UUID
        6 | 7 => {
            // bytes, string
            let (length, rest) = rest.split_first_chunk()?;
            let (value, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
            return Some((name, (kind == 7).then_some(value), rest));
        }
        _ => return None,
    };
    let (_, rest) = rest.split_at_checked(fixed)?;
    Some((name, None, rest))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A message with these headers, as AWS would send it.
    pub(in crate::provider) fn message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in headers {
            block.push(name.len() as u8);
            block.extend_from_slice(name.as_bytes());
            block.push(7);
            block.extend_from_slice(&(value.len() as u16).to_be_bytes());
            block.extend_from_slice(value.as_bytes());
        }
        let total = (PRELUDE + block.len() + payload.len() + CHECKSUM) as u32;
        let mut message = [total.to_be_bytes(), (block.len() as u32).to_be_bytes()].concat();
        message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
        message.extend_from_slice(&block);
        message.extend_from_slice(payload);
        message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
        message
    }

    /// What a consumer would see of a stream in such pieces: `(type, payload, whole)` by message.
    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<(String, Vec<u8>, bool)>, Decoder) {
        let mut seen: Vec<(String, Vec<u8>, bool)> = Vec::new();
        let mut decoder = Decoder::default();
        for piece in pieces {
            decoder.push(piece, &mut |piece| match piece {
                Piece::Begin(headers) => {
                    let name = [headers.message_type, headers.event_type, headers.error].join("/");
                    seen.push((name, Vec::new(), false));
                }
                Piece::Payload(data) => seen.last_mut().unwrap().1.extend_from_slice(data),
                Piece::End => seen.last_mut().unwrap().2 = true,
            });
        }
        (seen, decoder)
    }

    #[test]
    fn messages_in_any_pieces() {
        let stream = [
            message(&[(":event-type", "chunk"), (":message-type", "event")], b"{\"bytes\":\"e30=\"}"),
            message(&[], b""),
            message(&[(":exception-type", "throttlingException"), (":message-type", "exception")], b"{}"),
        ]
        .concat();
        let expected = [
            ("event/chunk/".to_owned(), b"{\"bytes\":\"e30=\"}".to_vec(), true),
            ("//".to_owned(), Vec::new(), true),
            ("exception//throttlingException".to_owned(), b"{}".to_vec(), true),
        ];
        for size in [1, 3, 11, stream.len()] {
            let (seen, decoder) = decode(stream.chunks(size));
            assert_eq!(seen, expected, "{size} at a time");
            assert!(decoder.is_between_messages() && !decoder.is_malformed());
        }
        let (seen, decoder) = decode([&stream[..stream.len() - 1]]);
        assert!(!seen[2].2 && !decoder.is_between_messages());
    }

    #[test]
    fn damage_is_noticed_and_ends_the_reading() {
        let stream = message(&[(":event-type", "chunk")], b"payload").repeat(2);
        for at in 0..stream.len() {
            let mut damaged = stream.clone();
            damaged[at] ^= 0x10;
            let (seen, decoder) = decode([&damaged[..]]);
            assert!(decoder.is_malformed(), "byte {at}");
            assert!(seen.iter().filter(|(_, _, whole)| *whole).count() < 2);
        }
        let mut huge = (u32::MAX.to_be_bytes()).to_vec();
        huge.extend_from_slice(&[0; 4]);
        huge.extend_from_slice(&crc32fast::hash(&huge).to_be_bytes());
        assert!(decode([&huge[..]]).1.is_malformed());
    }

    #[test]
    fn other_kinds_of_headers_are_passed_over() {
        let block =
            b"\x01a\x00\x01b\x04\x00\x00\x00\x01\x01c\x06\x00\x02xy\x01d\x09\x00\x00\x00\x00\x00\x00\x00\x00\
            \x00\x00\x00\x00\x00\x00\x00\x00\x0b:event-type\x07\x00\x01z";
        assert_eq!(read_headers(block).event_type, "z");
        assert_eq!(read_headers(&block[..block.len() - 1]), Headers::default());
    }

    proptest! {
        #[test]
        fn any_pieces_give_the_same(
            messages in prop::collection::vec(("[a-zA-Z]{0,12}", prop::collection::vec(any::<u8>(), 0..300)), 0..6),
            damaged in prop::option::of(any::<prop::sample::Index>()),
            sizes in prop::collection::vec(1usize..90, 1..12),
        ) {
            let mut stream: Vec<u8> =
                messages.iter().flat_map(|(name, payload)| message(&[(":event-type", name)], payload)).collect();
            if let (Some(damaged), false) = (damaged, stream.is_empty()) {
                let at = damaged.index(stream.len());
                stream[at] ^= 1;
            }
            let (mut pieces, mut rest, mut sizes) = (Vec::new(), &stream[..], sizes.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                pieces.push(piece);
                rest = after;
            }
            let (whole, decoder) = decode([&stream[..]]);
            let (seen, same) = decode(pieces);
            prop_assert_eq!(&whole, &seen);
            prop_assert_eq!(decoder.is_malformed(), same.is_malformed());
            prop_assert_eq!(decoder.is_between_messages(), same.is_between_messages());
            if damaged.is_none() {
                prop_assert_eq!(whole.len(), messages.len());
            }
        }

        #[test]
        fn random_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), size in 1usize..50) {
            let (_, decoder) = decode(bytes.chunks(size));
            prop_assert!(decoder.headers.capacity() <= KEPT_HEADERS * 2);
        }
    }
}
