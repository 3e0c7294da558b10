//! A recorded exchange as the pieces in which a connection would deliver it.

use std::sync::Arc;

use llm_tracker::{
    capture::Timestamp,
    provider::{Call, Calls, Catalog},
    stream::{End, Event, ExchangeId, RequestHead, ResponseHead, Role},
};

use crate::row::Row;

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

/// The calls that a connection with this exchange gives.
pub(crate) fn calls(catalog: &Arc<Catalog>, row: &Row, chunking: &Chunking) -> Vec<Call> {
    let (host, target) = row.host_and_target();
    let (host, port) = match host.split_once(':') {
        Some((host, port)) => (host.to_owned(), port.parse().ok()),
        None => (host, None),
    };
    let path = target.split(['?', '#']).next().unwrap_or_default().to_owned();
    let head =
        RequestHead { method: row.method.clone(), path, host: Some(host), port, ..RequestHead::default() };
    let mut out = Vec::new();
    let mut calls = Calls::new(Arc::clone(catalog));
    let exchange = ExchangeId(7);
    let (request, response) = (row.request_body(), row.decoded_response_body());
    let mut handle = |event: Event<'_>| calls.handle(&event, &mut |call| out.push(call));
    handle(Event::Request { exchange, role: Role::Client, head: &head, at: Timestamp(1) });
    for data in chunking.pieces(&request) {
        handle(Event::RequestBody { exchange, data, at: Timestamp(2) });
    }
    let head =
        ResponseHead { status: row.status, content_type: row.content_type.clone(), headers: Vec::new() };
    handle(Event::Response { exchange, head: &head, at: Timestamp(3) });
    for data in chunking.pieces(&response) {
        handle(Event::ResponseBody { exchange, data, at: Timestamp(4) });
    }
    handle(Event::End { exchange, end: End::Complete, at: Timestamp(5) });
    out
}
