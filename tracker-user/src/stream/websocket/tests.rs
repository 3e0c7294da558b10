use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

use super::*;

const TAKEOVER: &str = "permessage-deflate";
const NO_TAKEOVER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// What came out: whole messages, losses and the end.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    messages: Vec<(Peer, Vec<u8>)>,
    open: [Vec<u8>; 2],
    lost: usize,
    end: Option<End>,
}

struct Fed {
    socket: WebSocket,
    counters: Counters,
    seen: Seen,
}

impl Fed {
    fn new(extensions: &str) -> Self {
        let extensions = Extensions::read([extensions]).unwrap();
        let socket = WebSocket::new(ExchangeId(5), extensions);
        Self { socket, counters: Counters::default(), seen: Seen::default() }
    }

    fn push(&mut self, from: Peer, bytes: &[u8]) {
        let Self { socket, counters, seen } = self;
        socket.push(from, bytes, true, Timestamp(1), counters, &mut |event| seen.take(&event));
    }

    fn gap(&mut self, from: Peer, lost: u64) {
        let Self { socket, counters, seen } = self;
        socket.gap(from, lost, Timestamp(1), counters, &mut |event| seen.take(&event));
    }

    fn close(mut self) -> Seen {
        let Self { socket, seen, .. } = &mut self;
        socket.close(Timestamp(1), &mut |event| seen.take(&event));
        self.seen
    }

    fn texts(&self) -> Vec<&str> {
        self.seen.messages.iter().map(|(_, text)| std::str::from_utf8(text).unwrap()).collect()
    }
}

impl Seen {
    fn take(&mut self, event: &Event<'_>) {
        assert_eq!(self.end, None, "an event after the end");
        match *event {
            Event::Message { exchange, from, data, fin, .. } => {
                assert_eq!(exchange, ExchangeId(5));
                assert!(fin || !data.is_empty());
                let open = &mut self.open[usize::from(from == Peer::Client)];
                open.extend_from_slice(data);
                if fin {
                    self.messages.push((from, std::mem::take(open)));
                }
            }
            Event::MessagesLost { from, .. } => {
                self.lost += 1;
                self.open[usize::from(from == Peer::Client)].clear();
            }
            Event::End { end, .. } => self.end = Some(end),
            _ => unreachable!("no event of a WebSocket"),
        }
    }
}

fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    let bit = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        length @ 0..126 => frame.push(bit | length as u8),
        length @ 126..0x10000 => {
            frame.push(bit | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(bit | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    let key = mask.unwrap_or_default();
    frame.extend(mask.iter().flatten());
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    frame
}

fn text(payload: &str) -> Vec<u8> {
    frame(0x81, None, payload.as_bytes())
}

struct Deflater(Compress);

impl Deflater {
    fn new() -> Self {
        Self(Compress::new(Compression::new(6), false))
    }

    fn message(&mut self, payload: &str) -> Vec<u8> {
        let mut coded = Vec::with_capacity(payload.len() + 100);
        self.0.compress_vec(payload.as_bytes(), &mut coded, FlushCompress::Sync).unwrap();
        frame(0xc1, None, coded.strip_suffix(&[0, 0, 0xff, 0xff]).unwrap())
    }
}

#[test]
fn examples_of_rfc_6455() {
    let mut fed = Fed::new("");
    fed.push(Peer::Client, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    fed.push(Peer::Server, b"\x81\x05Hello");
    fed.push(Peer::Server, b"\x01\x03Hel\x89\x05Hello\x80\x02lo");
    let long = [&b"\x82\x7f\0\0\0\0\0\x01\0\0"[..], &[b'x'; 65536]].concat();
    fed.push(Peer::Server, &long);
    assert_eq!(fed.texts()[..3], ["Hello"; 3]);
    assert_eq!(fed.seen.messages[0].0, Peer::Client);
    assert_eq!(fed.texts()[3].len(), 65536);
    // Both say goodbye.
    fed.push(Peer::Server, b"\x88\x02\x03\xe8");
    assert_eq!(fed.seen.end, None);
    fed.push(Peer::Client, &frame(0x88, Some([1, 2, 3, 4]), b"\x03\xe8"));
    assert_eq!(fed.seen.end, Some(End::Complete));
    assert_eq!(fed.counters, Counters::default());
}

#[test]
fn examples_of_rfc_7692() {
    let messages: [&[u8]; 6] = [
        b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00",
        // In two fragments.
        b"\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00",
        // With the window of the one before.
        b"\xc1\x05\xf2\x00\x11\x00\x00",
        // Not compressed.
        b"\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00",
        // Two blocks.
        b"\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00",
        // A final block.
        b"\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00",
    ];
    let mut fed = Fed::new(TAKEOVER);
    for message in messages {
        fed.push(Peer::Server, message);
    }
    assert_eq!(fed.texts(), ["Hello"; 6]);
    assert_eq!(fed.close().end, Some(End::Closed));
}

#[test]
fn extensions_are_read_as_agreed() {
    let both = |client, server| Some(Extensions { client: Some(client), server: Some(server) });
    let deflate = |takeover, window_bits| deflate::Deflate { takeover, window_bits };
    assert_eq!(Extensions::read([]), Some(Extensions::default()));
    assert_eq!(Extensions::read([TAKEOVER]), both(deflate(true, 15), deflate(true, 15)));
    assert_eq!(
        Extensions::read(["Permessage-Deflate ; server_max_window_bits=10;CLIENT_no_context_takeover"]),
        both(deflate(false, 15), deflate(true, 10))
    );
    for unknown in [
        "x-webkit-deflate-frame",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; other",
        "permessage-deflate, permessage-deflate",
    ] {
        assert_eq!(Extensions::read([unknown]), None, "{unknown}");
    }
}

#[test]
fn what_nobody_sends_ends_it() {
    let cases: [&[u8]; 9] = [
        b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", // longer than a length may be
        b"\x83\x00",                                         // unknown opcodes
        b"\x8b\x00",
        b"\x91\x00",           // RSV3
        b"\xc1\x00",           // compressed, which was not agreed on
        b"\x80\x00",           // nothing to continue
        b"\x01\x01a\x81\x01b", // a message in a message
        b"\x09\x00",           // a control frame in fragments
        b"\x89\x7e\x00\x7e",   // a long control frame
    ];
    for bytes in cases {
        let mut fed = Fed::new("");
        fed.push(Peer::Server, bytes);
        assert_eq!(fed.seen.end, Some(End::Malformed), "{bytes:x?}");
        assert_eq!((fed.counters.malformed, fed.counters.websockets_given_up), (1, 1));
    }
    let mut fed = Fed::new(TAKEOVER);
    fed.push(Peer::Server, b"\xc1\x03\xff\xff\xff");
    assert_eq!((fed.seen.end, fed.counters.undecodable), (Some(End::Malformed), 1));
}

#[test]
fn a_huge_length_costs_nothing() {
    let mut fed = Fed::new("");
    fed.push(Peer::Server, b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xffx");
    assert_eq!((fed.seen.messages.len(), fed.seen.end), (0, None));
    assert_eq!(fed.close().end, Some(End::Closed));
}

#[test]
fn a_loss_inside_a_payload_costs_its_message_only() {
    for extensions in ["", TAKEOVER, NO_TAKEOVER] {
        let mut fed = Fed::new(extensions);
        let whole = frame(0x81, Some([9, 8, 7, 6]), b"{\"long\": \"............\"}");
        fed.push(Peer::Client, &whole[..10]);
        fed.gap(Peer::Client, 9);
        fed.push(Peer::Client, &whole[19..]);
        // To the end, and then the next one.
        fed.push(Peer::Client, &whole[..10]);
        fed.gap(Peer::Client, whole.len() as u64 - 10);
        fed.push(Peer::Client, &whole);
        assert_eq!(fed.texts(), ["{\"long\": \"............\"}"]);
        assert_eq!((fed.seen.lost, fed.seen.end), (2, None));
    }
}

#[test]
fn after_a_loss_only_a_chain_of_frames_is_believed() {
    let mut fed = Fed::new("");
    fed.push(Peer::Server, &text("one"));
    fed.gap(Peer::Server, 100);
    // The middle of something, and a frame that is cut.
    fed.push(Peer::Server, b"\"delta\":\"\x81\x01");
    fed.push(Peer::Server, &text("cut")[..4]);
    assert_eq!((fed.texts(), fed.seen.lost), (vec!["one"], 1));
    // The end of a message whose beginning was lost, and a ping.
    fed.push(Peer::Server, &[frame(0x80, None, b"end"), frame(0x89, None, b""), text("two")].concat());
    // In step again: frames may come in any pieces.
    let three = text("three");
    fed.push(Peer::Server, &three[..1]);
    fed.push(Peer::Server, &three[1..]);
    assert_eq!(fed.texts(), ["one", "two", "three"]);
    assert_eq!(fed.counters, Counters { skipped_bytes: 15, ..Counters::default() });
}

#[test]
fn what_is_never_found_again_is_given_up() {
    let mut fed = Fed::new("");
    fed.gap(Peer::Server, 1);
    for _ in 0..=(1 << 20) / 4096 {
        fed.push(Peer::Server, &[b'a'; 4096]);
    }
    assert_eq!((fed.seen.end, fed.counters.websockets_given_up), (Some(End::Gap), 1));
    // The client's side alone is not missed that much.
    let mut fed = Fed::new(TAKEOVER);
    fed.gap(Peer::Client, 1);
    assert_eq!((fed.seen.end, fed.counters.websockets_given_up), (None, 1));
    fed.push(Peer::Client, &frame(0x81, Some([0; 4]), b"never read"));
    fed.push(Peer::Server, &text("still read"));
    assert_eq!(fed.texts(), ["still read"]);
    assert_eq!(fed.close().end, Some(End::Closed));
}

#[test]
fn a_lost_window_is_the_end_of_compressed_messages() {
    let payload = "a text, a text, a text, with some length to it, a text";
    for (extensions, end, expected) in [(TAKEOVER, Some(End::Gap), 1), (NO_TAKEOVER, None, 2)] {
        let mut fed = Fed::new(extensions);
        fed.push(Peer::Server, &Deflater::new().message(payload));
        let lost = Deflater::new().message(payload);
        fed.push(Peer::Server, &lost[..8]);
        fed.gap(Peer::Server, lost.len() as u64 - 8);
        fed.push(Peer::Server, &Deflater::new().message(payload));
        assert_eq!((fed.seen.end, fed.seen.messages.len(), fed.seen.lost), (end, expected, 1));
        assert!(fed.texts().iter().all(|text| *text == payload));
    }
}

#[test]
fn a_bomb_is_handed_out_in_bounded_pieces() {
    let mut socket = WebSocket::new(ExchangeId(5), Extensions::read([TAKEOVER]).unwrap());
    let bomb = Deflater::new().message(&"0".repeat(8 << 20));
    let mut total = 0;
    socket.push(Peer::Server, &bomb, true, Timestamp(1), &mut Counters::default(), &mut |event| {
        let Event::Message { data, .. } = event else { unreachable!() };
        assert!(data.len() <= 8192);
        total += data.len();
    });
    assert_eq!(total, 8 << 20);
}

#[test]
fn debug_prints_lengths_only() {
    let event = Event::Message {
        exchange: ExchangeId(1),
        from: Peer::Client,
        data: b"s3cret",
        fin: true,
        at: Timestamp(1),
    };
    let printed = format!("{event:?} {:?}", Fed::new(TAKEOVER).socket);
    assert!(printed.contains('6') && !printed.contains("s3cret"));
}

#[test]
fn chunks_that_look_like_websocket() {
    assert_eq!(looks_like(&text("hello")), Some(Peer::Server));
    assert_eq!(looks_like(&frame(0x82, Some([1; 4]), b"hello")), Some(Peer::Client));
    for other in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0\0\x12\x04\0\0\0\0\0", b"{\"a\":1}", b"\x81", b""] {
        assert_eq!(looks_like(other), None);
    }
}

/// A conversation of one side, with everything in it.
fn conversation(from: Peer, compressed: bool) -> (Vec<u8>, Vec<String>) {
    let mask = (from == Peer::Client).then_some([0xde, 0xad, 0xbe, 0xef]);
    let texts: Vec<String> =
        (0..6).map(|n| format!("{{\"n\":{n},\"t\":\"{}\"}}", "ab ".repeat(n * 40))).collect();
    let mut compress = Compress::new(Compression::new(6), false);
    let mut bytes = Vec::new();
    for (n, text) in texts.iter().enumerate() {
        let mut payload = text.clone().into_bytes();
        let mut rsv = 0;
        if compressed && n % 3 != 0 {
            let mut coded = Vec::with_capacity(payload.len() + 100);
            compress.compress_vec(&payload, &mut coded, FlushCompress::Sync).unwrap();
            payload = coded.strip_suffix(&[0, 0, 0xff, 0xff]).unwrap().to_vec();
            rsv = 0x40;
        }
        let (head, tail) = payload.split_at(payload.len() / 2);
        bytes.extend(frame(1 | rsv, mask, head));
        bytes.extend(frame(0x8a, mask, b"pong"));
        bytes.extend(frame(0x80, mask, tail));
    }
    (bytes, texts)
}

proptest! {
    #[test]
    fn any_split_gives_the_same(
        client in any::<bool>(),
        compressed in any::<bool>(),
        sizes in prop::collection::vec(1usize..200, 1..20),
    ) {
        let from = if client { Peer::Client } else { Peer::Server };
        let (bytes, texts) = conversation(from, compressed);
        let mut fed = Fed::new(if compressed { TAKEOVER } else { "" });
        let mut rest = &bytes[..];
        for size in sizes.iter().cycle() {
            let (piece, after) = rest.split_at(rest.len().min(*size));
            fed.push(from, piece);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(fed.texts(), texts);
    }

    #[test]
    fn losses_never_invent_a_message(
        cuts in prop::collection::vec((0usize..1200, 1usize..300), 1..4),
        size in 1usize..300,
    ) {
        let (bytes, texts) = conversation(Peer::Server, false);
        let mut fed = Fed::new("");
        let mut cuts = cuts;
        cuts.sort_unstable();
        let mut at = 0;
        for (start, length) in cuts {
            let start = start.clamp(at, bytes.len());
            bytes[at..start].chunks(size).for_each(|piece| fed.push(Peer::Server, piece));
            at = (start + length).min(bytes.len());
            if at > start {
                fed.gap(Peer::Server, (at - start) as u64);
            }
        }
        bytes[at..].chunks(size).for_each(|piece| fed.push(Peer::Server, piece));
        for text in fed.texts() {
            prop_assert!(texts.iter().any(|known| known == text), "{}", text);
        }
    }

    #[test]
    fn any_bytes_do_no_harm(
        pieces in prop::collection::vec((any::<bool>(), 0u64..5, prop::collection::vec(any::<u8>(), 0..60)), 0..20),
        which in 0usize..3,
    ) {
        let mut fed = Fed::new(["", TAKEOVER, NO_TAKEOVER][which]);
        for (client, lost, bytes) in pieces {
            let from = if client { Peer::Client } else { Peer::Server };
            if lost == 4 {
                fed.gap(from, u64::from(bytes.first().copied().unwrap_or(1)));
            }
            fed.push(from, &bytes);
        }
        prop_assert!(fed.close().end.is_some());
    }
}
