//! Exchanges as a well-behaved peer would frame them, around bodies that are anything.

use std::sync::{Arc, LazyLock};

use llm_tracker::{
    capture::Direction::{self, Read, Write},
    provider::{Call, Catalog},
    stream::{Peer, RequestHead},
};

use crate::{Cuts, Watched};

/// All rows of the tables; what it remembers of polled objects lasts for the whole run.
pub static CATALOG: LazyLock<Arc<Catalog>> = LazyLock::new(|| Arc::new(Catalog::new()));

/// Every request that the tables know.
pub static REQUESTS: LazyLock<Vec<RequestHead>> = LazyLock::new(Catalog::example_requests);

/// Those of them that are gRPC's: `/package.Service/Method`.
pub static RPCS: LazyLock<Vec<&RequestHead>> = LazyLock::new(|| {
    let is_rpc = |path: &str| path.split('/').nth(1).is_some_and(|service| service.contains('.'));
    REQUESTS.iter().filter(|head| is_rpc(&head.path)).collect()
});

/// Every WebSocket that the tables know.
pub static SOCKETS: LazyLock<Vec<RequestHead>> = LazyLock::new(Catalog::example_sockets);

/// One request and its answer: over HTTP/2 where the content type is gRPC's, else over HTTP/1.1.
pub struct Exchange<'a> {
    pub head: &'a RequestHead,
    pub request: &'a [u8],
    /// HTTP's, or gRPC's.
    pub status: u16,
    pub content_type: &'a str,
    pub response: &'a [u8],
}

impl Exchange<'_> {
    /// The calls that come of it, which do not depend on its pieces.
    ///
    /// # Panics
    /// When they do.
    pub fn calls(&self, cuts: u16) -> Vec<Call> {
        let whole = self.play(&CATALOG, &mut Cuts::new(0));
        let pieces = self.play(&CATALOG, &mut Cuts::new(cuts));
        if whole != pieces {
            // One that was polled has been counted by now; else it is a difference.
            let fresh = || Arc::new(Catalog::new());
            let whole = self.play(&fresh(), &mut Cuts::new(0));
            let pieces = self.play(&fresh(), &mut Cuts::new(cuts));
            assert_eq!(whole, pieces, "the pieces make a difference");
        }
        whole
    }

    fn play(&self, catalog: &Arc<Catalog>, cuts: &mut Cuts) -> Vec<Call> {
        let mut watched = Watched::new(catalog);
        let [sent, received] = if self.content_type == GRPC { self.http2() } else { self.http1() };
        feed(&mut watched, Write, &sent, cuts);
        feed(&mut watched, Read, &received, cuts);
        watched.close();
        std::mem::take(&mut watched.made)
    }

    /// What client and server send.
    fn http1(&self) -> [Vec<u8>; 2] {
        let Self { head, request, status, content_type, response } = self;
        let ask = request_head(head, &format!("Content-Length: {}\r\n", request.len()));
        let answer = format!(
            "HTTP/1.1 {status} \r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            response.len()
        );
        [[ask.as_bytes(), request].concat(), [answer.as_bytes(), response].concat()]
    }

    fn http2(&self) -> [Vec<u8>; 2] {
        const END_STREAM: u8 = 1;
        const END_HEADERS: u8 = 4;
        let Self { head, request, status, content_type, response } = self;
        let fields = |fields: &[(&str, &str)]| {
            fields.iter().flat_map(|(name, value)| hpack_literal(name, value)).collect::<Vec<u8>>()
        };
        let ask = fields(&[
            (":method", "POST"),
            (":scheme", "https"),
            (":path", &head.path),
            (":authority", head.host.as_deref().unwrap_or("localhost")),
            ("content-type", content_type),
            ("grpc-encoding", "gzip"),
        ]);
        let answer = fields(&[(":status", "200"), ("content-type", content_type), ("grpc-encoding", "gzip")]);
        let trailers = fields(&[("grpc-status", &status.to_string())]);
        let settings = http2_frame(4, 0, 0, &[]);
        let sent = [
            HTTP2_PREFACE,
            &settings,
            &http2_frame(1, END_HEADERS, 1, &ask),
            &http2_frame(0, END_STREAM, 1, request),
        ];
        let received = [
            &settings[..],
            &http2_frame(1, END_HEADERS, 1, &answer),
            &http2_frame(0, 0, 1, response),
            &http2_frame(1, END_HEADERS | END_STREAM, 1, &trailers),
        ];
        [sent.concat(), received.concat()]
    }
}

/// The content type that stands for HTTP/2 with messages of Protocol Buffers.
pub const GRPC: &str = "application/grpc";

/// What a client of HTTP/2 sends first (RFC 9113, section 3.4).
pub const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A header field as a literal with incremental indexing (RFC 7541, section 6.2.1).
#[must_use]
pub fn hpack_literal(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    assert!(name.len() < 127 && value.len() < 127, "longer ones have lengths of several bytes");
    [vec![0x40], text(name), text(value)].concat()
}

/// A message of gRPC, not compressed.
#[must_use]
pub fn grpc_message(message: &[u8]) -> Vec<u8> {
    [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

/// A request's head as its client writes it.
#[must_use]
pub fn request_head(head: &RequestHead, more: &str) -> String {
    let RequestHead { method, path, host, port, .. } = head;
    let host = host.as_deref().unwrap_or("localhost");
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{method} {path} HTTP/1.1\r\nHost: {host}{port}\r\n{more}\r\n")
}

/// Sends bytes in pieces.
pub fn feed(watched: &mut Watched, direction: Direction, bytes: &[u8], cuts: &mut Cuts) {
    for piece in cuts.apply(bytes) {
        watched.push(direction, piece);
    }
}

/// The two heads of a WebSocket's opening.
#[must_use]
pub fn upgrade(head: &RequestHead, extensions: &str) -> [String; 2] {
    let request =
        request_head(head, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n");
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{extensions}\r\n"
    );
    [request, response]
}

/// A WebSocket frame as that peer sends it: clients mask.
#[must_use]
pub fn websocket_frame(from: Peer, first: u8, payload: &[u8]) -> Vec<u8> {
    let masked = from == Peer::Client;
    let mut frame = vec![first];
    let bit = if masked { 0x80 } else { 0 };
    match u16::try_from(payload.len()) {
        Ok(length @ 0..126) => frame.push(bit | length as u8),
        Ok(length) => {
            frame.push(bit | 126);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(bit | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    let mask = if masked { [1, 2, 3, 4] } else { [0; 4] };
    if masked {
        frame.extend(mask);
    }
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A message of Amazon's event stream.
#[must_use]
pub fn eventstream_message(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(name.len() as u8);
        block.extend_from_slice(name.as_bytes());
        block.push(7);
        block.extend_from_slice(&(value.len() as u16).to_be_bytes());
        block.extend_from_slice(value.as_bytes());
    }
    let total = (16 + block.len() + payload.len()) as u32;
    let mut message = [total.to_be_bytes(), (block.len() as u32).to_be_bytes()].concat();
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message.extend_from_slice(&block);
    message.extend_from_slice(payload);
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message
}

/// An HTTP/2 frame (RFC 9113, section 4.1).
#[must_use]
pub fn http2_frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}
