//! HTTP/1.1: any bytes in any pieces with any losses; and messages that are framed well, whose bodies
//! are anything, which are the same in any pieces.
#![no_main]

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use libfuzzer_sys::fuzz_target;
use llm_tracker::{
    capture::Direction::{self, Read, Write},
    stream::End,
};
use llm_tracker_fuzz::{
    Cuts, Input, Watched,
    play::{CATALOG, feed},
    seeds,
};

fuzz_target!(init: seeds::plant("http1"), |data: &[u8]| {
    let mut input = Input::new(data);
    if input.byte() & 1 == 0 { hostile(input) } else { framed(input) }
});

/// Pieces of anything.
fn hostile(mut input: Input<'_>) {
    let mut watched = Watched::new(&CATALOG);
    while !input.is_empty() {
        let choice = input.byte();
        let direction = if choice & 1 == 0 { Write } else { Read };
        match choice >> 1 & 7 {
            0 => drop(watched.lose(direction, u64::from(input.number()))),
            1 => drop(watched.lose(direction, 1 << (choice >> 4) << 32)),
            2 => drop(watched.go_back(direction, u64::from(input.byte()))),
            _ => drop(watched.push(direction, input.piece())),
        }
    }
    watched.close();
}

/// Messages that begin and end where their heads say.
fn framed(mut input: Input<'_>) {
    let cuts = input.number();
    let mut messages = Vec::new();
    let mut turns = 0;
    while !input.is_empty() && turns < 8 {
        turns += 1;
        let method = input.choose(&["POST", "POST", "GET", "PUT"]);
        let path = input.choose(&["/v1/chat/completions", "/v1/messages", "/x?y=z", "http://a:1/b", "*"]);
        let start = format!("{method} {path} HTTP/1.1\r\nHost: h\r\n");
        messages.push((Write, message(&start, &mut input)));
        let status = input.choose(&["200 OK", "404 ", "500 x", "429 Too Many Requests"]);
        let interim =
            input.choose(&["", "", "HTTP/1.1 100 \r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"]);
        messages.push((Read, message(&format!("{interim}HTTP/1.1 {status}\r\n"), &mut input)));
    }
    let whole = play(&messages, &mut Cuts::new(0));
    let pieces = play(&messages, &mut Cuts::new(cuts));
    assert_eq!(whole.exchanges.len(), turns);
    assert_eq!(whole.counters(), pieces.counters());
    for (whole, pieces) in whole.exchanges.values().zip(pieces.exchanges.values()) {
        assert_eq!(
            (&whole.request, &whole.response, whole.end),
            (&pieces.request, &pieces.response, pieces.end)
        );
        // How much comes of what does not decode depends on where it was cut.
        if whole.end == Some(End::Complete) {
            assert_eq!((&whole.sent, &whole.received), (&pieces.sent, &pieces.received));
        }
    }
    if whole.exchanges.values().all(|exchange| exchange.end == Some(End::Complete)) {
        assert_eq!(whole.made, pieces.made);
    }
}

fn play(messages: &[(Direction, Vec<u8>)], cuts: &mut Cuts) -> Watched {
    let mut watched = Watched::new(&CATALOG);
    for (direction, message) in messages {
        feed(&mut watched, *direction, message, cuts);
    }
    watched.close();
    watched
}

/// A start line, a head that says how long the body is, and the body.
fn message(start: &str, input: &mut Input<'_>) -> Vec<u8> {
    let coding = input.choose(&["", "gzip", "deflate", "br", "zstd", "gzip, br", "identity"]);
    let choice = input.byte();
    let mut body = input.piece().to_vec();
    if coding == "gzip" && choice & 1 == 0 {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let written = encoder.write_all(&body);
        body = written.and_then(|()| encoder.finish()).unwrap_or_default();
    }
    let mut head = start.to_owned();
    if !coding.is_empty() {
        head.push_str(&format!("Content-Encoding: {coding}\r\n"));
    }
    if choice & 2 == 0 {
        head.push_str(&format!("content-length:{}\r\n\r\n", body.len()));
        return [head.as_bytes(), &body].concat();
    }
    head.push_str("Transfer-Encoding: chunked\r\n\r\n");
    let mut message = head.into_bytes();
    for piece in Cuts::new(choice.into()).apply(&body) {
        message.extend(format!("{:x};a=b\r\n", piece.len()).bytes());
        message.extend(piece);
        message.extend(b"\r\n");
    }
    message.extend(if choice & 4 == 0 { &b"0\r\n\r\n"[..] } else { b"0\r\nTrailer: x\r\n\r\n" });
    message
}
