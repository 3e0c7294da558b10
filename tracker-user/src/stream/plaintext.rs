//! Whether bytes are the plaintext of a TLS connection, or anything else that passed through a function
//! taken for one of a TLS library.

use super::{http1::start::Rigour, http1::start::Start, http2, websocket};

/// Bytes of a direction that are kept, and judged.
const SAMPLE: usize = 1024;
/// Fewer say nothing about their distribution.
const NOISE_BYTES: usize = 128;
/// Chi-squared of the sixteen values of a nibble, above which bytes are not random. With fifteen degrees
/// of freedom random bytes exceed it once in a hundred thousand times; text, or numbers in binary, by far.
const NOISE_LIMIT: usize = 50;

/// What one direction looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// Messages of a protocol that is used over TLS.
    Protocol,
    /// Too little, or nothing that is known; text, also of no protocol, stays this.
    Undecided,
    /// Evenly distributed bytes: ciphertext, or something compressed that began before it was seen.
    Noise,
}

/// The first bytes of one direction of a connection.
#[derive(Debug, Default)]
pub struct Beginning {
    sample: Vec<u8>,
    protocol: bool,
    /// A chain of WebSocket frames: masked, and often compressed. Too little to be sure of it.
    framed: bool,
}

impl Beginning {
    /// Takes what one call moved, or its first part.
    pub fn push(&mut self, bytes: &[u8]) {
        let room = SAMPLE.saturating_sub(self.sample.len());
        self.sample.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        self.protocol |= [bytes, &self.sample].into_iter().any(is_protocol);
        self.framed |= websocket::looks_like(bytes).is_some();
    }

    /// Whether more bytes can say more of their distribution.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.sample.len() >= SAMPLE
    }

    /// What is known so far.
    #[must_use]
    pub fn looks(&self) -> Looks {
        if self.protocol {
            Looks::Protocol
        } else if !self.framed && is_noise(&self.sample) {
            Looks::Noise
        } else {
            Looks::Undecided
        }
    }
}

/// Whether the bytes begin a message of a protocol that leaves no doubt.
fn is_protocol(bytes: &[u8]) -> bool {
    matches!(Start::of(bytes, Rigour::Seeking), Start::Request | Start::Response | Start::Http2)
        || http2::begins_with_frames(bytes)
        || WORDS.iter().any(|words| bytes.starts_with(words))
        || BINARY.iter().any(|begins| begins(bytes))
}

/// How text protocols begin, either side: SMTP (RFC 5321), IMAP (RFC 9051), POP3 (RFC 1939), Redis
/// (RESP), NATS, XMPP (RFC 6120), SIP (RFC 3261).
const WORDS: [&[u8]; 24] = [
    b"EHLO ",
    b"HELO ",
    b"LHLO ",
    b"MAIL FROM:",
    b"220 ",
    b"220-",
    b"250 ",
    b"250-",
    b"* OK",
    b"* CAPABILITY ",
    b"* PREAUTH ",
    b"+OK",
    b"-ERR ",
    b"CAPA\r\n",
    b"*1\r\n$",
    b"*2\r\n$",
    b"*3\r\n$",
    b"*4\r\n$",
    b"*5\r\n$",
    b"INFO {",
    b"CONNECT {",
    b"<?xml ",
    b"<stream:",
    b"SIP/2.0 ",
];

/// How binary protocols begin. Each tells a header of several bytes from anything else.
const BINARY: [fn(&[u8]) -> bool; 5] = [postgres, mysql, amqp, mqtt, mongodb];

/// PostgreSQL: a start-up message of version 3, or the answer to it (`R`, its length, a kind of
/// authentication).
fn postgres(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [0, 0, _, _, 0, 3, 0, 0 | 2, b'a'..=b'z', ..] | [b'R', 0, 0, 0, 8..=64, 0, 0, 0, 0..=12, ..]
    )
}

/// MySQL: the client's answer to the handshake, with its zeros, or the server's OK to it.
fn mysql(bytes: &[u8]) -> bool {
    match bytes {
        [_, _, 0, 2, _, _, _, _, _, _, _, _, _, rest @ ..] => {
            rest.get(..19).is_some_and(|filler| filler.iter().all(|&byte| byte == 0))
        }
        [7..=255, 0, 0, 3..=6, 0, 0, 0, 2, 0, ..] => true,
        _ => false,
    }
}

/// AMQP 0-9-1 and 1.0: the client's header, or the server's `connection.start`.
fn amqp(bytes: &[u8]) -> bool {
    bytes.starts_with(b"AMQP\0")
        || bytes.starts_with(b"AMQP\x03")
        || matches!(bytes, [1, 0, 0, 0, 0, _, _, 0, 10, 0, 10, ..])
}

/// MQTT: `CONNECT`, or `CONNACK`.
fn mqtt(bytes: &[u8]) -> bool {
    let connect = bytes.first() == Some(&0x10)
        && bytes.get(2..10).is_some_and(|head| {
            [&b"\0\x04MQTT"[..], b"\0\x06MQIsdp"].iter().any(|name| {
                // The remaining length takes one byte, or two.
                head.starts_with(name) || head.get(1..).is_some_and(|head| head.starts_with(name))
            })
        });
    connect || matches!(bytes, [0x20, 2, 0 | 1, 0..=5])
}

/// MongoDB: a length, two ids, and `OP_MSG`, `OP_QUERY` or `OP_REPLY`.
fn mongodb(bytes: &[u8]) -> bool {
    matches!(bytes, [_, _, _, 0, _, _, _, _, _, _, _, _, 0xdd | 0xd4, 7, 0, 0, ..])
}

/// Whether bytes are spread as evenly as ciphertext is: over their upper and their lower halves.
fn is_noise(bytes: &[u8]) -> bool {
    if bytes.len() < NOISE_BYTES {
        return false;
    }
    let even = |nibble: fn(u8) -> u8| {
        let mut counts = [0_usize; 16];
        for &byte in bytes {
            if let Some(count) = counts.get_mut(usize::from(nibble(byte))) {
                *count += 1;
            }
        }
        let squares: usize = counts.iter().map(|count| count * count).sum();
        // At most 1024 bytes: nothing overflows, and the sum is never below the even one.
        (squares * 16 / bytes.len()).saturating_sub(bytes.len()) < NOISE_LIMIT
    };
    even(|byte| byte >> 4) && even(|byte| byte & 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(calls: &[&[u8]]) -> Looks {
        let mut beginning = Beginning::default();
        calls.iter().for_each(|call| beginning.push(call));
        beginning.looks()
    }

    /// Bytes of a multiplicative generator.
    fn random(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed;
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(length)
        .collect()
    }

    #[test]
    fn protocols_that_are_used_over_tls() {
        let mysql_login = [&b"\x55\0\0\x02\x0d\xa6\xff\x01\0\0\0\x01\x2d"[..], &[0; 23], b"root\0"].concat();
        let first: [&[u8]; 15] = [
            b"POST /v1/messages HTTP/1.1\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
            b"\0\0\x04\x08\0\0\0\0\0\0\x0f\0\x01",
            b"EHLO mail.example.org\r\n",
            b"220 mail.example.org ESMTP\r\n",
            b"\0\0\0\x54\0\x03\0\0user\0me\0database\0db\0\0",
            b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0",
            &mysql_login,
            b"\x07\0\0\x03\0\0\0\x02\0\0\0",
            b"AMQP\0\0\x09\x01",
            b"\x10\x10\0\x04MQTT\x04\x02\0\x3c\0\x04me",
            b"\x20\x02\0\0",
            b"*1\r\n$4\r\nPING\r\n",
            b"\x3a\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0",
        ];
        for bytes in first {
            assert_eq!(looks(&[bytes]), Looks::Protocol, "{bytes:?}");
        }
    }

    #[test]
    fn a_message_that_comes_in_pieces_or_after_the_end_of_another() {
        assert_eq!(looks(&[b"POST /v1/mess", b"ages HTTP/1.1\r\n"]), Looks::Protocol);
        assert_eq!(looks(&[&random(1, 900), b"HTTP/1.1 200 OK\r\n"]), Looks::Protocol);
    }

    #[test]
    fn random_bytes_are_noise_in_calls_of_any_size() {
        for seed in 1..200 {
            let bytes = random(seed, 1024);
            assert_eq!(looks(&[&bytes]), Looks::Noise, "{seed}");
            let calls: Vec<&[u8]> = bytes.chunks(32).take(4).collect();
            assert_eq!(looks(&calls[..3]), Looks::Undecided);
            assert_eq!(looks(&calls), Looks::Noise, "{seed}");
        }
    }

    #[test]
    fn neither_text_nor_numbers_are_noise() {
        let text =
            b"It is a truth universally acknowledged, that a single man in possession of a good fortune ";
        let base64 =
            b"TG9yZW0gaXBzdW0gZG9sb3Igc2l0IGFtZXQsIGNvbnNlY3RldHVyIGFkaXBpc2NpbmcgZWxpdC4g".repeat(3);
        let numbers: Vec<u8> = (0_u32..200).flat_map(|number| (number * 1237).to_le_bytes()).collect();
        let umlauts = "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich ".repeat(3);
        let others: [&[u8]; 6] =
            [&text.repeat(2), &base64, &numbers, umlauts.as_bytes(), &[0; 500], b"short"];
        for bytes in others {
            assert_eq!(looks(&[bytes]), Looks::Undecided, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn masked_frames_of_a_websocket_are_not_held_against_it() {
        let payload = random(7, 200);
        let frame = [&[0x81, 0xfe, 0, 200, 1, 2, 3, 4][..], &payload].concat();
        assert_eq!(looks(&[&frame]), Looks::Undecided);
    }
}
