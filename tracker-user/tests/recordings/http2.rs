//! A recorded exchange over HTTP/2: two streams with it on one connection, frame by frame in turn.

use std::collections::VecDeque;

use bytes::Bytes;
use llm_tracker::{
    capture::{Chunk, ConnectionId, Direction, Timestamp},
    provider::{Call, Calls},
    stream::{Connection, Counters},
};

use crate::{
    feed::{self, Chunking},
    row::Row,
};

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// The streams that carry the exchange.
const STREAMS: [u32; 2] = [3, 5];

/// What a watcher sees of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// All of it.
    Start,
    /// Not its first exchange, in which all of the request's fields were put into the header table.
    Middle,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Octets that the header table may hold where no setting says otherwise.
const TABLE_SIZE: usize = 4096;

/// A field as most clients write it: whatever may be indexed is.
#[derive(Default)]
struct Encoder {
    /// The oldest entry first.
    table: VecDeque<(String, String)>,
}

impl Encoder {
    fn block(&mut self, fields: &[(String, String)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            let known = match (name.as_str(), value.as_str()) {
                (":method", "POST") => Some(3),
                (":scheme", "https") => Some(7),
                (":status", "200") => Some(8),
                _ => self.table.iter().rev().position(|(n, v)| n == name && v == value).map(|at| 62 + at),
            };
            if let Some(index) = known {
                let mut integer = loona_hpack::encoder::encode_integer(index, 7);
                integer[0] |= 0x80;
                block.extend(integer);
                continue;
            }
            block.push(0x40);
            for text in [name, value] {
                block.extend(loona_hpack::encoder::encode_integer(text.len(), 7));
                block.extend(text.bytes());
            }
            self.insert(name.clone(), value.clone());
        }
        block
    }

    /// An entry counts 32 octets more than its texts; the oldest make room (RFC 7541, section 4).
    fn insert(&mut self, name: String, value: String) {
        self.table.push_back((name, value));
        while self.table.iter().map(|(name, value)| name.len() + value.len() + 32).sum::<usize>() > TABLE_SIZE
        {
            self.table.pop_front();
        }
    }
}

/// The frames of one message, its head in two frames, its body as cut.
fn message(encoder: &mut Encoder, stream: u32, fields: &[(String, String)], body: &[u8]) -> Vec<Vec<u8>> {
    let block = encoder.block(fields);
    let (first, rest) = block.split_at(block.len() / 2);
    let mut frames = vec![[frame(1, 0, stream, first), frame(9, END_HEADERS, stream, rest)].concat()];
    for (number, piece) in Chunking::Random(u64::from(stream)).pieces(body).into_iter().enumerate() {
        frames.push(match number % 3 {
            0 => frame(0, PADDED, stream, &[&[3], piece, &[0; 3]].concat()),
            _ => frame(0, 0, stream, piece),
        });
    }
    frames.push(frame(0, END_STREAM, stream, &[]));
    frames
}

/// The messages' frames in turn, behind all of their heads.
fn interleave(messages: Vec<Vec<Vec<u8>>>) -> Vec<u8> {
    let mut queues: Vec<_> = messages.into_iter().map(Vec::into_iter).collect();
    let mut bytes = Vec::new();
    while queues.iter().any(|queue| queue.len() > 0) {
        for queue in &mut queues {
            bytes.extend(queue.next().unwrap_or_default());
        }
    }
    bytes
}

/// The calls of the connection, and what was counted.
pub(crate) fn calls(row: &Row, chunking: &Chunking, from: From) -> (Vec<Call>, Counters) {
    let (host, target) = row.host_and_target();
    let request = [
        (":method", row.method.clone()),
        (":scheme", "https".into()),
        (":authority", host),
        (":path", target),
        ("authorization", "Bearer none".into()),
    ]
    .map(|(name, value): (&str, String)| (name.to_owned(), value));
    let mut response = vec![(":status".to_owned(), row.status.to_string())];
    let fields = feed::response_fields(row).into_iter();
    response.extend(fields.map(|(name, value)| (name.to_ascii_lowercase(), value)));

    let (mut client, mut server) = (Encoder::default(), Encoder::default());
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    match from {
        From::Start => {
            sent.push([&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat());
            received.push(frame(4, 0, 0, &[]));
        }
        From::Middle => {
            client.block(&request);
            server.block(&response);
            sent.push(frame(8, 0, 0, &[0, 0, 1, 0]));
            received.push(frame(6, 1, 0, &[0; 8]));
        }
    }
    let (asked, answered) = (row.request_body(), row.response_body());
    sent.push(interleave(STREAMS.map(|id| message(&mut client, id, &request, &asked)).into()));
    received.push(interleave(STREAMS.map(|id| message(&mut server, id, &response, &answered)).into()));

    let mut out = Vec::new();
    let mut connection = Connection::new();
    let mut calls = Calls::new(feed::catalog(row));
    let mut clock = 0;
    for (direction, messages) in [(Direction::Write, sent), (Direction::Read, received)] {
        let mut offset = 0;
        for (number, bytes) in messages.iter().enumerate() {
            // What tells that these are frames comes in one piece.
            let whole = from == From::Middle && number == 0;
            let pieces = if whole { vec![&bytes[..]] } else { chunking.pieces(bytes) };
            for piece in pieces {
                clock += 1;
                let chunk = Chunk {
                    connection: ConnectionId { tgid: 1, generation: 1, ssl: 1 },
                    tid: 1,
                    direction,
                    offset,
                    timestamp: Timestamp(clock),
                    cgroup_id: 1,
                    bytes: Bytes::copy_from_slice(piece),
                };
                offset += piece.len() as u64;
                connection.push(&chunk, &mut |event| calls.handle(&event, &mut |call| out.push(call)));
            }
        }
    }
    let end = Timestamp(clock + 1);
    connection.close(end, &mut |event| calls.handle(&event, &mut |call| out.push(call)));
    (out, connection.take_counters())
}
