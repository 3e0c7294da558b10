//! Framings beside HTTP/1.1's, as their senders write them.

use flate2::{Compress, Compression, FlushCompress};

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The stream that carries the call.
const STREAM: u32 = 1;

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend([kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A block of fields that are neither compressed nor remembered (RFC 7541, section 6.2.2).
fn headers(flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            // Shorter than 127 bytes, the length is one.
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    let mut out = Vec::new();
    frame(&mut out, 1, flags | END_HEADERS, STREAM, &block);
    out
}

/// What is said before an answer over HTTP/2.
#[derive(Debug)]
pub struct Opening {
    /// By the client: preface, settings and the request.
    pub client: Vec<u8>,
    /// By the server: settings.
    pub server: Vec<u8>,
}

/// A connection with one request on it.
#[must_use]
pub fn opening(host: &str, path: &str, content_type: &str, body: &[u8]) -> Opening {
    let mut client = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut client, 4, 0, 0, &[]);
    client.extend(headers(
        0,
        &[
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", host),
            (":path", path),
            ("content-type", content_type),
        ],
    ));
    client.extend(last_data(body));
    let mut server = Vec::new();
    frame(&mut server, 4, 0, 0, &[]);
    Opening { client, server }
}

/// The head of an answer over HTTP/2.
#[must_use]
pub fn response_head(content_type: &str) -> Vec<u8> {
    headers(0, &[(":status", "200"), ("content-type", content_type)])
}

/// A piece of a body over HTTP/2.
pub fn data(out: &mut Vec<u8>, piece: &[u8]) {
    frame(out, 0, 0, STREAM, piece);
}

/// The last piece of a body over HTTP/2.
#[must_use]
pub fn last_data(piece: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame(&mut out, 0, END_STREAM, STREAM, piece);
    out
}

/// What gRPC ends a call with that went well.
#[must_use]
pub fn trailers() -> Vec<u8> {
    headers(END_STREAM, &[("grpc-status", "0")])
}

/// A gRPC message.
#[must_use]
pub fn grpc(message: &[u8]) -> Vec<u8> {
    [&[0], &(message.len() as u32).to_be_bytes()[..], message].concat()
}

/// A field of Protocol Buffers that is a number.
#[must_use]
pub fn number(field: u8, value: u64) -> Vec<u8> {
    let mut out = vec![field << 3];
    varint(&mut out, value);
    out
}

/// A field of Protocol Buffers that is a string or a message.
#[must_use]
pub fn bytes(field: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![field << 3 | 2];
    varint(&mut out, value.len() as u64);
    out.extend_from_slice(value);
    out
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A message of Amazon's event stream.
#[must_use]
pub fn message(event_type: &str, payload: &str) -> Vec<u8> {
    let mut headers = Vec::new();
    for (name, value) in
        [(":event-type", event_type), (":content-type", "application/json"), (":message-type", "event")]
    {
        headers.push(name.len() as u8);
        headers.extend_from_slice(name.as_bytes());
        // A string.
        headers.push(7);
        headers.extend_from_slice(&(value.len() as u16).to_be_bytes());
        headers.extend_from_slice(value.as_bytes());
    }
    let total = (16 + headers.len() + payload.len()) as u32;
    let mut message = [total.to_be_bytes(), (headers.len() as u32).to_be_bytes()].concat();
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message.extend_from_slice(&headers);
    message.extend_from_slice(payload.as_bytes());
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message
}

/// A model's own document in Bedrock's envelope.
#[must_use]
pub fn enveloped(document: &str) -> Vec<u8> {
    let padding = &"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOP"[..10 + document.len() % 32];
    message("chunk", &format!(r#"{{"bytes":"{}","p":"{padding}"}}"#, base64(document.as_bytes())))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            out.push(if digit > group.len() { '=' } else { DIGITS[value as usize] as char });
        }
    }
    out
}

/// A server that sends WebSocket messages.
#[derive(Debug)]
pub struct Sender(Option<Compress>);

impl Sender {
    /// With or without `permessage-deflate`.
    #[must_use]
    pub fn new(compressed: bool) -> Self {
        Self(compressed.then(|| Compress::new(Compression::default(), false)))
    }

    /// What follows refers to nothing that came before.
    pub fn forget(&mut self) {
        if let Some(compress) = &mut self.0 {
            compress.reset();
        }
    }

    /// A text message in one frame.
    pub fn message(&mut self, out: &mut Vec<u8>, text: &[u8]) {
        let Some(compress) = &mut self.0 else { return unmasked(out, 0x81, text) };
        let mut coded = Vec::with_capacity(text.len() + 1024);
        // Into memory that suffices, it cannot fail.
        let _ = compress.compress_vec(text, &mut coded, FlushCompress::Sync);
        coded.truncate(coded.len().saturating_sub(4));
        unmasked(out, 0xc1, &coded);
    }
}

/// A text message of a client, under a mask that changes nothing.
#[must_use]
pub fn masked(text: &[u8]) -> Vec<u8> {
    // Shorter than 126 bytes, the length is one.
    [&[0x81, 0x80 | text.len() as u8, 0, 0, 0, 0], text].concat()
}

fn unmasked(out: &mut Vec<u8>, first: u8, payload: &[u8]) {
    out.push(first);
    match payload.len() {
        length @ 0..=125 => out.push(length as u8),
        length => {
            out.push(126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
}
