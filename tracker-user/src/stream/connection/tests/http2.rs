//! The same over HTTP/2 frames.

use super::*;

mod properties;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub(super) fn data(stream: u32, flags: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame(0, flags, stream, payload)
}

/// One side of a connection, as a sender.
pub(super) struct Peer {
    encoder: loona_hpack::Encoder<'static>,
}

impl Peer {
    pub(super) fn new() -> Self {
        Self { encoder: loona_hpack::Encoder::new() }
    }

    fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        self.encoder.encode(fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
    }

    fn headers(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
        let block = self.block(fields);
        frame(1, flags | END_HEADERS, stream, block)
    }

    pub(super) fn post(&mut self, stream: u32, path: &str, body: &str) -> Vec<u8> {
        [self.post_head(stream, path), data(stream, END_STREAM, body)].concat()
    }

    fn post_head(&mut self, stream: u32, path: &str) -> Vec<u8> {
        let fields = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", "h:8443"),
            (":path", path),
            ("x", "y"),
        ];
        self.headers(stream, 0, &fields)
    }

    pub(super) fn ok(&mut self, stream: u32, body: &str) -> Vec<u8> {
        [self.ok_head(stream), data(stream, END_STREAM, body)].concat()
    }

    pub(super) fn ok_head(&mut self, stream: u32) -> Vec<u8> {
        self.headers(stream, 0, &[(":status", "200"), ("content-type", "text/plain"), ("server", "s")])
    }
}

/// A connection both sides of which have said what they have to say first.
pub(super) fn connected() -> (Wire, Peer, Peer) {
    let mut wire = Wire::default();
    wire.write([PREFACE, &frame(4, 0, 0, [0, 3, 0, 0, 0, 100])].concat());
    wire.read([frame(4, 0, 0, []), frame(4, 1, 0, [])].concat()).write(frame(4, 1, 0, []));
    assert_eq!(wire.connection.state().protocol, Protocol::Http2);
    (wire, Peer::new(), Peer::new())
}

#[test]
fn requests_one_after_the_other() {
    let (mut wire, mut client, mut server) = connected();
    wire.write(client.post(1, "/a?key=1", "one")).read(server.ok(1, "1"));
    wire.write(client.post(3, "/b", "two")).read(server.ok_head(3)).read(data(3, 0, "x"));
    assert_eq!(wire.connection.state().exchanges, 1);
    wire.read(data(3, END_STREAM, "y"));
    wire.write(client.headers(5, END_STREAM, &[(":method", "GET"), (":path", "/c")]));
    wire.read(server.headers(5, END_STREAM, &[(":status", "404")]));
    assert_eq!(wire.ends(), ["/a 200 1 Complete", "/b 200 xy Complete", "/c 404  Complete"]);
    let head = &wire.seen[0].request;
    assert_eq!((head.method.as_str(), head.host.as_deref(), head.port), ("POST", Some("h"), Some(8443)));
    assert_eq!(wire.seen[0].role, Some(Role::Client));
    assert_eq!(wire.seen[1].sent, b"two");
    assert_eq!(wire.seen[1].response.as_ref().unwrap().content_type.as_deref(), Some("text/plain"));
    assert_eq!(wire.times[0], (4, 5));
    assert_eq!(wire.counters(), Counters { requests: 3, ..Counters::default() });
}

#[test]
fn the_watched_process_may_serve() {
    let (mut client, mut server) = (Peer::new(), Peer::new());
    for settings_first in [true, false] {
        let mut wire = Wire::default();
        let hello = [PREFACE, &frame(4, 0, 0, [])].concat();
        if settings_first {
            wire.write(frame(4, 0, 0, [])).read(hello);
        } else {
            wire.read(&hello[..10]).read(&hello[10..]).write(frame(4, 0, 0, []));
        }
        wire.read(client.post(1, "/a", "1")).write(server.ok(1, "2"));
        assert_eq!(wire.ends(), ["/a 200 2 Complete"]);
        assert_eq!(wire.seen[0].role, Some(Role::Server));
        assert_eq!(wire.counters().hpack_desync, 0);
        (client, server) = (Peer::new(), Peer::new());
    }
}

#[test]
fn interleaved_streams() {
    let (mut wire, mut client, mut server) = connected();
    wire.write([client.post_head(1, "/a"), client.post_head(3, "/b"), client.post_head(5, "/c")].concat());
    wire.write(
        [data(3, 0, "b1"), data(1, END_STREAM, "a1"), data(5, END_STREAM, []), data(3, 1, "b2")].concat(),
    );
    wire.read([server.ok_head(5), server.ok_head(1), data(5, 0, "c1"), data(1, 0, "a1")].concat());
    wire.read(
        [data(5, 0, "c2"), server.ok_head(3), data(1, 1, "a2"), data(3, 1, "b"), data(5, 1, [])].concat(),
    );
    assert_eq!(wire.ends(), ["/a 200 a1a2 Complete", "/b 200 b Complete", "/c 200 c1c2 Complete"]);
    assert_eq!(wire.seen[1].sent, b"b1b2");
    assert_eq!(wire.connection.state().exchanges, 0);
}

#[test]
fn padding_priority_and_continuation() {
    for size in [1, 7, 10_000] {
        let (mut wire, mut client, mut server) = connected();
        let block = client.block(&[(":method", "POST"), (":path", "/a"), (":authority", "h")]);
        let (first, rest) = block.split_at(3);
        let padded = [&[4][..], &[0x80, 0, 0, 0, 9], first, &[0; 4]].concat();
        let sent = [
            frame(1, PADDED | 0x20, 1, padded),
            frame(9, 0, 1, &rest[..1]),
            frame(9, 0, 1, []),
            frame(9, END_HEADERS, 1, &rest[1..]),
            frame(0, PADDED, 1, b"\x03one\0\0\0"),
            frame(0, PADDED | END_STREAM, 1, [&[255][..], &[0; 255]].concat()),
        ];
        let received = [
            server.headers(1, 0, &[(":status", "103"), ("link", "x")]),
            frame(0x2a, 0xff, 7, b"what is this"),
            server.ok_head(1),
            frame(0, PADDED, 1, b"\0two"),
            server.headers(1, END_STREAM, &[("grpc-status", "0")]),
        ];
        for (direction, bytes) in [(Write, sent.concat()), (Read, received.concat())] {
            for piece in bytes.chunks(size) {
                wire.push(direction, piece);
            }
        }
        assert_eq!(wire.ends(), ["/a 200 two Complete"], "{size}");
        assert_eq!(wire.seen[0].sent, b"one");
        assert_eq!(wire.counters(), Counters { requests: 1, ..Counters::default() });
    }
}

#[test]
fn codings_are_undone() {
    let (mut wire, mut client, mut server) = connected();
    wire.write(client.post(1, "/a", ""));
    wire.read(server.headers(1, 0, &[(":status", "200"), ("content-encoding", "gzip")]));
    let coded = gzip(b"received");
    wire.read(data(1, 0, &coded[..9])).read(data(1, END_STREAM, &coded[9..]));
    wire.write(client.post(3, "/b", ""));
    wire.read(server.headers(3, 0, &[(":status", "200"), ("content-encoding", "what")]));
    wire.read(data(3, END_STREAM, "abc"));
    assert_eq!(wire.ends(), ["/a 200 received Complete", "/b 200  Malformed"]);
    assert_eq!(wire.counters().undecodable, 1);
}

#[test]
fn resets_and_farewells() {
    let (mut wire, mut client, mut server) = connected();
    let reset = |stream, code: u32| frame(3, 0, stream, code.to_be_bytes());
    // Cancelled by the client; refused by the server; answered and then told to stop sending.
    wire.write(client.post(1, "/cancelled", ""))
        .read(server.ok_head(1))
        .read(data(1, 0, "x"))
        .write(reset(1, 8));
    wire.read(data(1, 0, "late"));
    wire.write(client.post_head(3, "/refused")).read(reset(3, 7));
    wire.write(client.post_head(5, "/early"))
        .read(server.ok(5, "y"))
        .read(reset(5, 0))
        .write(data(5, 0, "z"));
    // The server goes away: 9 was not processed, 7 goes on.
    wire.write(client.post(7, "/kept", "")).write(client.post(9, "/unprocessed", ""));
    wire.read(frame(7, 0, 0, [0, 0, 0, 7, 0, 0, 0, 0])).read(server.ok(7, "k"));
    wire.write(client.post(11, "/closed", "")).close();
    assert_eq!(
        wire.ends(),
        [
            "/cancelled 200 x Closed",
            "/refused -  Closed",
            "/early 200 y RequestCut",
            "/kept 200 k Complete",
            "/unprocessed -  Closed",
            "/closed -  Closed"
        ]
    );
}

#[test]
fn promises_are_passed_over_and_keep_the_table_in_step() {
    let (mut wire, mut client, mut server) = connected();
    wire.write(client.post(1, "/a", ""));
    let promised = server.block(&[(":method", "GET"), (":path", "/pushed"), ("content-type", "text/css")]);
    wire.read(frame(5, END_HEADERS, 1, [&[0, 0, 0, 2][..], &promised].concat()));
    wire.read(server.headers(2, 0, &[(":status", "200"), ("content-type", "text/css")]));
    wire.read(server.headers(1, 0, &[(":status", "200"), ("content-type", "text/css")]));
    wire.read(data(2, END_STREAM, "pushed")).read(data(1, END_STREAM, "a"));
    assert_eq!(wire.ends(), ["/a 200 a Complete"]);
    assert_eq!(wire.seen[0].response.as_ref().unwrap().content_type.as_deref(), Some("text/css"));
}

#[test]
fn frames_may_be_as_large_as_was_allowed() {
    let (mut wire, mut client, mut server) = connected();
    wire.write(client.post(1, "/a", ""));
    wire.write(frame(4, 0, 0, [0, 4, 0, 0, 1, 0, 0, 5, 0, 0, 0x80, 0]));
    wire.read(server.ok_head(1)).read(data(1, END_STREAM, "x".repeat(0x8000)));
    assert_eq!(wire.seen[0].received.len(), 0x8000);
    wire.write(client.post(3, "/b", "")).read(server.ok_head(3)).read(data(
        3,
        END_STREAM,
        "x".repeat(0x8001),
    ));
    assert_eq!(wire.ends()[1], "/b 200  Malformed");
    assert_eq!(wire.counters().malformed, 1);
}

#[test]
fn what_is_not_allowed_ends_and_the_next_is_right() {
    for wrong in [
        data(0, 0, "x"),
        frame(3, 0, 1, "xyz"),
        frame(9, END_HEADERS, 1, "x"),
        frame(0, PADDED, 1, "\x09123"),
        frame(6, 0, 0, "ping"),
        frame(4, 0, 0, "12345"),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        [frame(1, 0, 1, "\x01"), data(1, 0, "x")].concat(),
    ] {
        let (mut wire, mut client, mut server) = connected();
        wire.write(client.post(1, "/a", "")).read(server.ok_head(1)).read(&wrong);
        wire.write(client.post(3, "/b", "")).read(server.ok(3, "b"));
        assert_eq!(wire.ends(), ["/a 200  Malformed", "/b 200 b Complete"], "{wrong:?}");
        assert_eq!((wire.counters().malformed, wire.connection.state().exchanges), (1, 0));
    }
}

#[test]
fn losses_inside_a_body_cost_that_body() {
    let (mut wire, mut client, mut server) = connected();
    wire.write([client.post_head(1, "/a"), client.post_head(3, "/b"), client.post_head(5, "/c")].concat());
    let long = data(5, END_STREAM, "long request");
    wire.write(&long[..12]).lose(Write, &long[12..]).write([data(1, 1, "x"), data(3, 1, "x")].concat());
    wire.read([server.ok_head(1), server.ok_head(3), server.ok_head(5)].concat());
    let body = data(1, END_STREAM, "a response");
    wire.read(&body[..12]).lose(Read, &body[12..15]).read(&body[15..]);
    wire.read(data(3, END_STREAM, "b")).read(data(5, END_STREAM, "c"));
    assert_eq!(wire.ends(), ["/a 200 a r Gap", "/b 200 b Complete", "/c 200 c RequestCut"]);
    assert_eq!(
        wire.counters(),
        Counters { requests: 3, gaps: 2, lost_bytes: 12, skipped_bytes: 4, ..Counters::default() }
    );
}

#[test]
fn losses_elsewhere_cost_what_was_in_progress() {
    let (mut wire, mut client, mut server) = connected();
    wire.write([client.post(1, "/a", "1"), client.post(3, "/b", "1"), client.post(5, "/c", "1")].concat());
    wire.read([server.ok_head(1), data(1, 0, "a")].concat());
    let named = |server: &mut Peer, stream, id| {
        server.headers(stream, 0, &[(":status", "200"), ("request-id", id), ("content-type", "text/plain")])
    };
    wire.lose(Read, [data(1, 0, "lost"), named(&mut server, 5, "5")].concat());
    wire.read([data(1, END_STREAM, "z"), named(&mut server, 3, "3"), data(3, END_STREAM, "b")].concat());
    wire.read(data(5, END_STREAM, "c"));
    wire.write(client.post(7, "/d", "1")).read(server.ok(7, "d"));
    assert_eq!(wire.ends(), ["/a 200 a Gap", "/b 200 b Complete", "/c -  Gap", "/d 200 d Complete"]);
    // The name of one field stands in a part of the table that was lost.
    let head = wire.seen[1].response.as_ref().unwrap();
    assert_eq!((head.headers.len(), head.content_type.as_deref()), (0, Some("text/plain")));
    assert_eq!(wire.counters().hpack_desync, 1);
}

#[test]
fn joined_in_the_middle() {
    let mut server = Peer::new();
    let _ = server.headers(1, 0, &[(":status", "200"), ("request-id", "0")]);
    let post = |stream, block: &[u8]| [frame(1, END_HEADERS, stream, block), data(stream, 1, "x")].concat();
    // In the middle of a long response.
    let mut wire = Wire::default();
    wire.read("rest of a body that began").read(data(3, 0, "more"));
    assert_eq!(wire.connection.state().protocol, Protocol::Http2);
    wire.read(data(3, END_STREAM, "end")).write(frame(8, 0, 0, [0, 0, 0, 9]));
    // A new path; one from before, by its number; the new one by its number. The host is from before.
    wire.write(post(5, b"\x83\x87\xc1\x44\x04/new")).read(server.ok(5, "b"));
    wire.write(post(7, b"\x83\x87\xc2\xc1")).read(server.headers(
        7,
        0,
        &[(":status", "200"), ("request-id", "7")],
    ));
    wire.read(data(7, 1, "c")).write(post(9, b"\x83\x87\xc1\xbe"));
    wire.read(server.headers(9, 0, &[(":status", "429")])).read(data(9, END_STREAM, "no"));
    assert_eq!(wire.ends(), ["/new 200 b Complete", " 200 c Complete", "/new 429 no Complete"]);
    assert!(wire.seen.iter().all(|seen| seen.request.method == "POST" && seen.request.host.is_none()));
    assert!(wire.seen[1].response.as_ref().unwrap().headers.is_empty());
    assert_eq!(wire.counters().hpack_desync, 2);
}

#[test]
fn joined_where_a_frame_is_cut() {
    let (_, mut client, mut server) = connected();
    let _ = (client.post(1, "/gone", ""), server.ok_head(1));
    let mut wire = Wire::default();
    wire.write(client.post(3, "/a", "1"));
    // The head comes whole; its body in pieces, whose length shows only at the next frame.
    let body = data(1, 0, "x".repeat(100));
    wire.read(&body[..50]).read(&body[50..]).read([server.ok_head(3), data(3, END_STREAM, "a")].concat());
    assert_eq!(wire.ends(), ["/a 200 a Complete"]);
}

#[test]
fn a_coding_that_was_not_read_is_told_by_the_body() {
    let (_, mut client, mut server) = connected();
    let coded = [(":status", "200"), ("content-encoding", "gzip")];
    let _ = (client.post(1, "/gone", ""), server.headers(1, 0, &coded));
    let mut wire = Wire::default();
    wire.write(client.post(3, "/a", "1")).read(server.headers(3, 0, &coded));
    wire.read(data(3, END_STREAM, gzip(b"received")));
    assert_eq!(wire.ends(), ["/a 200 received Complete"]);
}

#[test]
fn header_blocks_and_streams_are_bounded() {
    let (mut wire, mut client, mut server) = connected();
    let piece = vec![0; 16_000];
    wire.write(frame(1, 0, 1, &piece));
    for _ in 0..100 {
        wire.write(frame(9, 0, 1, &piece));
    }
    wire.write(frame(9, END_HEADERS, 1, [])).write(client.post(3, "/b", "")).read(server.ok(3, "b"));
    assert_eq!(wire.ends(), ["/b 200 b Complete"]);
    assert_eq!(wire.counters().hpack_desync, 1);
    for stream in 0..5000 {
        wire.write(client.post(5 + 2 * stream, "/x", ""));
        assert!(wire.connection.state().exchanges <= 1024);
    }
    assert_eq!(wire.ends()[1], "/x -  Gap");
}

#[test]
fn old_streams_do_not_come_back() {
    let (mut wire, mut client, mut server) = connected();
    wire.write(client.post(3, "/a", "")).read(server.ok(3, "a"));
    wire.write(client.post(1, "/old", "")).write(client.post(3, "/again", "")).read(server.ok(3, "b"));
    assert_eq!(wire.ends(), ["/a 200 a Complete"]);
    assert_eq!(wire.counters().unmatched_responses, 1);
}

#[test]
fn no_header_is_printed() {
    let (mut wire, mut client, _) = connected();
    let head = client.headers(1, 0, &[(":method", "POST"), (":path", "/hunter2"), ("cookie", "hunter2")]);
    wire.write(&head[..head.len() - 1]);
    assert!(!format!("{:?}", wire.connection).contains("hunter2"));
}

#[test]
fn trailers_are_handed_out() {
    let (mut wire, mut client, mut server) = connected();
    wire.write(client.post(1, "/a.B/C", "one")).read([server.ok_head(1), data(1, 0, "1")].concat());
    wire.read(server.headers(1, END_STREAM, &[("grpc-status", "0"), ("grpc-message", "secret")]));
    wire.write(client.post(3, "/a.B/C", "two"));
    wire.read(server.headers(3, END_STREAM, &[(":status", "200"), ("grpc-status", "8")]));
    assert_eq!(wire.ends(), ["/a.B/C 200 1 Complete", "/a.B/C 200  Complete"]);
    assert_eq!(wire.seen[0].trailers, [("grpc-status", "0".to_owned())]);
    assert_eq!(wire.seen[1].trailers, []);
    assert_eq!(wire.seen[1].response.as_ref().unwrap().headers, [("grpc-status", "8".to_owned())]);
}
