//! A recorded exchange as the pieces in which a connection would deliver it.

use std::{
    fmt::Write as _,
    sync::{Arc, LazyLock},
};

use bytes::Bytes;
use llm_tracker::{
    capture::{Chunk, ConnectionId, Direction, Timestamp},
    provider::{Call, Calls, Catalog, Estimates},
    stream::Connection,
};

use crate::{check::POLLED, row::Row};

/// How a body is cut into pieces.
#[derive(Clone)]
pub(crate) enum Chunking {
    Whole,
    Fixed(usize),
    /// Sizes from a generator with this seed, mostly small.
    Random(u64),
    Recorded(Vec<usize>),
}

impl std::fmt::Debug for Chunking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole => f.write_str("whole"),
            Self::Fixed(size) => write!(f, "{size} at a time"),
            Self::Random(seed) => write!(f, "random, seed {seed}"),
            Self::Recorded(_) => f.write_str("as recorded"),
        }
    }
}

impl Chunking {
    pub(crate) fn pieces<'a>(&self, mut bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let mut seed = match self {
            Self::Random(seed) => *seed,
            _ => 0,
        };
        let mut recorded = match self {
            Self::Recorded(sizes) => sizes.iter(),
            _ => [].iter(),
        };
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let size = match self {
                Self::Whole => bytes.len(),
                Self::Fixed(size) => *size,
                Self::Random(_) => {
                    // SplitMix64.
                    seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    let mut z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                    1 + ((z ^ (z >> 31)) % if z & 7 == 0 { 4000 } else { 90 }) as usize
                }
                Self::Recorded(_) => recorded.next().copied().unwrap_or(bytes.len()),
            };
            let (piece, rest) = bytes.split_at(size.min(bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces
    }
}

/// What a direction has sent so far.
struct Way {
    direction: Direction,
    offset: u64,
}

/// Whether the row is of an endpoint whose objects are asked for again and again.
pub(crate) fn is_polled(row: &Row) -> bool {
    POLLED.contains(&&*row.endpoint)
}

/// The recordings say what is on the wire: nothing is estimated.
fn reports_only() -> Arc<Catalog> {
    Arc::new(Catalog::new().with_estimates(Estimates::Never))
}

/// The catalog. What is asked for again and again gets one that has seen no response yet.
pub(crate) fn catalog(row: &Row) -> Arc<Catalog> {
    static SHARED: LazyLock<Arc<Catalog>> = LazyLock::new(reports_only);
    if is_polled(row) { reports_only() } else { Arc::clone(&SHARED) }
}

/// The calls that come of a connection on which the row's exchange was made over HTTP/1.1.
///
/// Heads are made up from what was recorded; bodies are as stored, in their content coding. Streams
/// are sent chunked, in chunks that fall anywhere, everything else with its length.
pub(crate) fn calls(row: &Row, chunking: &Chunking) -> Vec<Call> {
    exchange(row, catalog(row), chunking, 100)
}

/// The same with estimates.
pub(crate) fn estimated(row: &Row, estimates: Estimates, chunking: &Chunking, percent: usize) -> Vec<Call> {
    let catalog = Arc::new(Catalog::new().with_estimates(estimates));
    exchange(row, catalog, chunking, percent)
}

/// The same when the connection closes after so much of the response body.
pub(crate) fn cut_calls(row: &Row, percent: usize) -> Vec<Call> {
    exchange(row, catalog(row), &Chunking::Fixed(1000), percent)
}

/// `call` with the times of `other`, which depend on how the bytes came.
pub(crate) fn same_times(call: &Call, other: &Call) -> Call {
    Call {
        started: other.started,
        time_to_first_token_seconds: other.time_to_first_token_seconds,
        time_per_output_token_seconds: other.time_per_output_token_seconds,
        chunk_times: other.chunk_times.clone(),
        duration_seconds: other.duration_seconds,
        ..call.clone()
    }
}

fn exchange(row: &Row, catalog: Arc<Catalog>, chunking: &Chunking, percent: usize) -> Vec<Call> {
    let mut out = Vec::new();
    let mut connection = Connection::new();
    let mut calls = Calls::new(catalog);
    let mut clock = 0;
    let mut push = |way: &mut Way, piece: &[u8]| {
        clock += 1;
        let chunk = Chunk {
            connection: ConnectionId { tgid: 1, generation: 1, ssl: 1 },
            tid: 1,
            direction: way.direction,
            offset: way.offset,
            timestamp: Timestamp(clock),
            cgroup_id: 1,
            bytes: Bytes::copy_from_slice(piece),
        };
        way.offset += piece.len() as u64;
        connection.push(&chunk, &mut |event| calls.handle(&event, &mut |call| out.push(call)));
    };
    let mut write = Way { direction: Direction::Write, offset: 0 };
    let mut read = Way { direction: Direction::Read, offset: 0 };
    let (head, body) = request(row);
    for piece in chunking.pieces(&[head, body].concat()) {
        push(&mut write, piece);
    }
    let (head, mut body) = response(row);
    body.truncate(body.len() * percent / 100);
    // The recorded sizes are those of the body: the head had a read of its own.
    let pieces = match chunking {
        Chunking::Recorded(_) => {
            let mut pieces = vec![&head[..]];
            pieces.extend(chunking.pieces(&body));
            pieces.into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>()
        }
        _ => chunking.pieces(&[head, body].concat()).into_iter().map(<[u8]>::to_vec).collect(),
    };
    for piece in &pieces {
        push(&mut read, piece);
    }
    let end = Timestamp(clock + 1);
    connection.close(end, &mut |event| calls.handle(&event, &mut |call| out.push(call)));
    out
}

/// The header fields of the response that are not about its framing in HTTP.
pub(crate) fn response_fields(row: &Row) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    fields.extend(row.content_type.clone().map(|value| ("Content-Type".to_owned(), value)));
    let recorded = row.response_headers().into_iter();
    fields.extend(recorded.map(|(name, value)| (name, value.replace(['\r', '\n'], " "))));
    if row.content_encoding != "identity" {
        fields.push(("Content-Encoding".to_owned(), row.content_encoding.clone()));
    }
    fields
}

fn request(row: &Row) -> (Vec<u8>, Vec<u8>) {
    let (host, target) = row.host_and_target();
    let body = row.request_body();
    let head = format!(
        "{} {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer none\r\nContent-Length: {}\r\n\r\n",
        row.method,
        body.len()
    );
    (head.into_bytes(), body)
}

fn response(row: &Row) -> (Vec<u8>, Vec<u8>) {
    let body = row.response_body();
    let mut head = format!("HTTP/1.1 {} Recorded\r\n", row.status);
    for (name, value) in response_fields(row) {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if !row.streaming {
        let _ = write!(head, "Content-Length: {}\r\n\r\n", body.len());
        return (head.into_bytes(), body);
    }
    head.push_str("Transfer-Encoding: chunked\r\n\r\n");
    let mut chunked = Vec::with_capacity(body.len() * 2);
    for piece in Chunking::Random(3).pieces(&body) {
        chunked.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        chunked.extend_from_slice(piece);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    (head.into_bytes(), chunked)
}
