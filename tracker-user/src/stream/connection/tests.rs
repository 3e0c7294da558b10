//! What a connection makes of bytes: framing, roles, attachment, losses.

mod early;
mod http2;
mod losses;
mod properties;

use bytes::Bytes;

use super::*;
use crate::{
    capture::ConnectionId,
    stream::{
        ExchangeId, Peer, RequestHead, ResponseHead, Role,
        coding::tests::gzip,
        http1::{MAX_HEAD, start::PREFACE},
    },
};
use Direction::{Read, Write};

/// An exchange as a consumer would remember it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    role: Option<Role>,
    request: RequestHead,
    sent: Vec<u8>,
    response: Option<ResponseHead>,
    received: Vec<u8>,
    trailers: Vec<(&'static str, String)>,
    end: Option<End>,
}

/// Feeds a connection and checks the order of what comes out.
#[derive(Default)]
struct Wire {
    connection: Connection,
    offsets: [u64; 2],
    clock: u64,
    seen: Vec<Seen>,
    times: Vec<(u64, u64)>,
}

impl Wire {
    fn chunk(&mut self, direction: Direction, bytes: &[u8]) -> Chunk {
        let offset = &mut self.offsets[direction as usize];
        self.clock += 1;
        let chunk = Chunk {
            connection: ConnectionId { tgid: 1, generation: 1, ssl: 1 },
            tid: 1,
            direction,
            offset: *offset,
            timestamp: Timestamp(self.clock),
            cgroup_id: 1,
            bytes: Bytes::copy_from_slice(bytes),
        };
        *offset += bytes.len() as u64;
        chunk
    }

    fn push(&mut self, direction: Direction, bytes: impl AsRef<[u8]>) -> &mut Self {
        let chunk = self.chunk(direction, bytes.as_ref());
        let Self { connection, seen, times, .. } = self;
        connection.push(&chunk, &mut |event| record(seen, times, &event));
        self
    }

    /// What was sent at a time that is past: the call that sent it returned only now.
    fn late(&mut self, direction: Direction, sent: u64, bytes: impl AsRef<[u8]>) -> &mut Self {
        let mut chunk = self.chunk(direction, bytes.as_ref());
        self.clock -= 1;
        chunk.timestamp = Timestamp(sent);
        let Self { connection, seen, times, .. } = self;
        connection.push(&chunk, &mut |event| record(seen, times, &event));
        self
    }

    fn write(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.push(Write, bytes)
    }

    fn read(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.push(Read, bytes)
    }

    fn lose(&mut self, direction: Direction, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.offsets[direction as usize] += bytes.as_ref().len() as u64;
        self
    }

    fn stop_waiting(&mut self) -> &mut Self {
        let Self { connection, seen, times, .. } = self;
        connection.stop_waiting(&mut |event| record(seen, times, &event));
        self
    }

    fn close(&mut self) -> &mut Self {
        self.clock += 1;
        let Self { connection, seen, times, clock, .. } = self;
        connection.close(Timestamp(*clock), &mut |event| record(seen, times, &event));
        self
    }

    /// `status body end` of each exchange, `-` for what was not seen.
    fn ends(&self) -> Vec<String> {
        let show = |seen: &Seen| {
            let status = seen.response.as_ref().map_or("-".into(), |head| head.status.to_string());
            let end = seen.end.map_or("-".into(), |end| format!("{end:?}"));
            format!("{} {status} {} {end}", seen.request.path, String::from_utf8_lossy(&seen.received))
        };
        self.seen.iter().map(show).collect()
    }

    fn counters(&mut self) -> Counters {
        self.connection.take_counters()
    }
}

fn record(seen: &mut Vec<Seen>, times: &mut Vec<(u64, u64)>, event: &Event<'_>) {
    let open = |seen: &mut Vec<Seen>, exchange: ExchangeId| {
        let index = usize::try_from(exchange.0).unwrap();
        assert!(seen[index].end.is_none(), "an event after the end");
        index
    };
    match *event {
        Event::Request { exchange, role, head, at } => {
            assert_eq!(exchange.0, seen.len() as u64);
            seen.push(Seen { role: Some(role), request: head.clone(), ..Seen::default() });
            times.push((at.0, 0));
        }
        Event::RequestBody { exchange, data, .. } => {
            assert!(!data.is_empty());
            let index = open(seen, exchange);
            seen[index].sent.extend_from_slice(data);
        }
        Event::Response { exchange, head, .. } => {
            let index = open(seen, exchange);
            assert!(seen[index].response.replace(head.clone()).is_none());
        }
        Event::ResponseBody { exchange, data, .. } => {
            assert!(!data.is_empty());
            let index = open(seen, exchange);
            // Over HTTP/2 the head may have been unreadable.
            seen[index].received.extend_from_slice(data);
        }
        Event::Trailers { exchange, headers, .. } => {
            assert!(!headers.is_empty());
            let index = open(seen, exchange);
            seen[index].trailers.extend_from_slice(headers);
        }
        Event::Message { exchange, from, data, .. } => {
            let index = open(seen, exchange);
            assert!(seen[index].response.is_some());
            let way = if from == Peer::Client { &mut seen[index].sent } else { &mut seen[index].received };
            way.extend_from_slice(data);
        }
        Event::MessagesLost { exchange, .. } => _ = open(seen, exchange),
        Event::End { exchange, end, at } => {
            let index = open(seen, exchange);
            seen[index].end = Some(end);
            times[index].1 = at.0;
        }
    }
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn chunked(pieces: &[&str]) -> String {
    let chunks: String = pieces.iter().map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())).collect();
    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
}

#[test]
fn keep_alive() {
    let mut wire = Wire::default();
    wire.write(post("/a?key=1", "one")).read(chunked(&["x", "yz"]));
    wire.write(post("/b", "")).read(ok("2")).write("GET /c HTTP/1.1\r\n\r\n").read(ok(""));
    assert_eq!(wire.ends(), ["/a 200 xyz Complete", "/b 200 2 Complete", "/c 200  Complete"]);
    assert_eq!(wire.seen[0].sent, b"one");
    assert_eq!(wire.seen[0].role, Some(Role::Client));
    assert_eq!(wire.times, [(1, 2), (3, 4), (5, 6)]);
    let state = ConnectionState { protocol: Protocol::Http1, bytes_out_of_step: 0, exchanges: 0 };
    assert_eq!(wire.connection.state(), state);
    assert_eq!(wire.counters(), Counters { requests: 3, ..Counters::default() });
}

#[test]
fn the_side_is_learnt_from_the_bytes() {
    let mut wire = Wire::default();
    wire.read(post("/a", "one")).write(ok("1"));
    assert_eq!(wire.ends(), ["/a 200 1 Complete"]);
    assert_eq!(wire.seen[0].role, Some(Role::Server));
}

#[test]
fn pipelining() {
    let mut wire = Wire::default();
    wire.write([post("/a", "1"), post("/b", "2"), post("/c", "3")].concat());
    wire.read([chunked(&["a"]), ok("b")].concat()).read(ok("c"));
    assert_eq!(wire.ends(), ["/a 200 a Complete", "/b 200 b Complete", "/c 200 c Complete"]);
}

#[test]
fn heads_in_pieces_keep_the_time_of_their_first_byte() {
    let mut wire = Wire::default();
    wire.write("POST /a HTTP/1.1\r\nHo").write("st: h\r\nContent-Length: 3\r\n\r").write("\none");
    wire.read(ok("1"));
    assert_eq!(wire.ends(), ["/a 200 1 Complete"]);
    assert_eq!(wire.times, [(1, 4)]);
}

#[test]
fn bodiless_responses() {
    let mut wire = Wire::default();
    wire.write("HEAD /a HTTP/1.1\r\n\r\n").read("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    wire.write("GET /b HTTP/1.1\r\n\r\n").read("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n");
    wire.write("GET /c HTTP/1.1\r\n\r\n").read("HTTP/1.1 204 No Content\r\n\r\n");
    wire.write("GET /d HTTP/1.1\r\n\r\n").read(ok("d"));
    assert_eq!(
        wire.ends(),
        ["/a 200  Complete", "/b 304  Complete", "/c 204  Complete", "/d 200 d Complete"]
    );
}

#[test]
fn interim_responses_and_expectations() {
    let expecting = "POST /a HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    let mut wire = Wire::default();
    wire.write(expecting).read("HTTP/1.1 100 Continue\r\n\r\n").write("one");
    wire.read("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n").read(ok("1"));
    // Refused: the body is left out, and the next request follows.
    wire.write(expecting)
        .read("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")
        .write(post("/b", "x"))
        .read(ok("2"));
    // Answered early, and the body sent all the same.
    wire.write(expecting).read(ok("3")).write("two");
    assert_eq!(
        wire.ends(),
        ["/a 200 1 Complete", "/a 417  RequestCut", "/b 200 2 Complete", "/a 200 3 RequestCut"]
    );
    wire.write(post("/c", "1")).read(ok("4"));
    assert_eq!(wire.ends()[4], "/c 200 4 Complete");
}

#[test]
fn close_delimited_bodies() {
    let mut wire = Wire::default();
    wire.write(post("/a", "")).read("HTTP/1.0 200 OK\r\n\r\nabc").read("def");
    assert_eq!(wire.ends(), ["/a 200 abcdef -"]);
    assert_eq!(wire.close().ends(), ["/a 200 abcdef Complete"]);
    assert_eq!(wire.write(post("/b", "")).ends().len(), 1);
}

#[test]
fn closed_before_the_end() {
    let response = ok("abc");
    for cut in [0, 10, response.len() - 1] {
        let mut wire = Wire::default();
        wire.write(post("/a", "1")).read(&response[..cut]).close();
        assert_eq!(wire.seen[0].end, Some(End::Closed), "{cut}");
    }
}

#[test]
fn upgrades_and_tunnels_end_http() {
    let mut wire = Wire::default();
    wire.write("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
    wire.read(b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x05hello").write(post("/b", ""));
    assert_eq!(wire.ends(), ["/ws 101  Complete"]);
    assert_eq!(wire.connection.state().protocol, Protocol::Upgraded);

    let mut wire = Wire::default();
    wire.write("CONNECT h:443 HTTP/1.1\r\n\r\n").read("HTTP/1.1 407 No\r\nContent-Length: 1\r\n\r\nx");
    wire.write("CONNECT h:443 HTTP/1.1\r\n\r\n").read("HTTP/1.1 200 OK\r\n\r\n").write(post("/b", ""));
    assert_eq!(wire.ends(), [" 407 x Complete", " 200  Complete"]);
    assert_eq!(wire.connection.state().protocol, Protocol::Upgraded);
}

#[test]
fn http2_is_told_from_either_side() {
    let settings = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
    for (direction, bytes) in [(Write, &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..]), (Read, &settings[..])] {
        for size in [1, 100] {
            let mut wire = Wire::default();
            for piece in bytes.chunks(size) {
                wire.push(direction, piece);
            }
            assert_eq!(wire.connection.state().protocol, Protocol::Http2);
        }
    }
}

#[test]
fn what_is_not_http_is_told_after_a_few_turns() {
    let mut wire = Wire::default();
    for _ in 0..MAX_TURNS {
        assert_eq!(wire.connection.state().protocol, Protocol::Unknown);
        wire.write("EHLO x\r\n").write("more").read("250 y\r\n");
        if wire.connection.state().protocol == Protocol::NotHttp {
            return;
        }
    }
    panic!("still {:?}", wire.connection.state());
}

#[test]
fn attached_in_the_middle_of_a_connection() {
    let mut wire = Wire::default();
    // The end of a request, the text of which looks like a head, and its answer: all skipped.
    wire.write("tail {\"text\": \"\nPOST / HTTP/1.1\r\n\r\n\"}").read("2\"}\r\n0\r\n\r\n");
    assert_eq!(wire.connection.state().bytes_out_of_step, 47);
    assert_eq!(wire.connection.state().protocol, Protocol::Unknown);
    wire.write(post("/a", "1")).read(ok("a"));
    assert_eq!(wire.ends(), ["/a 200 a Complete"]);
    assert_eq!(wire.connection.state().bytes_out_of_step, 0);

    // Between a request and its response, which is followed but belongs to nobody.
    let mut wire = Wire::default();
    wire.read(&chunked(&["HTTP/1.1 200 OK\r\n\r\n"])[..60])
        .read(&chunked(&["HTTP/1.1 200 OK\r\n\r\n"])[60..]);
    wire.write(post("/a", "1")).read(ok("a")).write(post("/b", "1")).read(ok("b"));
    assert_eq!(wire.ends(), ["/a 200 a Complete", "/b 200 b Complete"]);
    assert_eq!(wire.counters().unmatched_responses, 1);
}

#[test]
fn an_unsolicited_response_ends_the_trust_in_the_order() {
    let mut wire = Wire::default();
    wire.write(post("/a", "1")).read(ok("a")).read("HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n");
    wire.write(post("/b", "1")).read(ok("?")).write(post("/c", "1")).read(ok("?"));
    assert_eq!(wire.ends(), ["/a 200 a Complete", "/b -  Gap", "/c -  Gap"]);
    assert_eq!(wire.counters().abandoned, 1);
}

#[test]
fn codings_are_undone_both_ways() {
    let coded = |first: &str, body: &[u8]| {
        let head = format!("{first}\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", body.len());
        [head.as_bytes(), body].concat()
    };
    let mut wire = Wire::default();
    wire.write(coded("POST /a HTTP/1.1", &gzip(b"sent"))).read(coded("HTTP/1.1 200 OK", &gzip(b"received")));
    assert_eq!(wire.seen[0].sent, b"sent");
    assert_eq!(wire.ends(), ["/a 200 received Complete"]);
}

#[test]
fn undecodable_bodies_are_passed_over() {
    let mut wire = Wire::default();
    let unknown = "HTTP/1.1 200 OK\r\nContent-Encoding: what\r\nContent-Length: 3\r\n\r\nabc";
    let broken = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc";
    for response in [unknown, broken] {
        wire.write(post("/a", "1")).read(response);
    }
    wire.write(post("/b", "1")).read(ok("b"));
    assert_eq!(wire.ends(), ["/a 200  Malformed", "/a 200  Malformed", "/b 200 b Complete"]);
    assert_eq!(wire.counters().undecodable, 2);
}

#[test]
fn malformed_messages_end_and_the_next_is_right() {
    let mut wire = Wire::default();
    wire.write(post("/a", "1")).read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n");
    wire.write(post("/b", "1")).read("nonsense").write(post("/c", "1")).read(ok("c"));
    wire.write("POST /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n");
    wire.read("HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n").write(post("/e", "1")).read(ok("e"));
    assert_eq!(
        wire.ends(),
        ["/a 200  Malformed", "/b -  Gap", "/c 200 c Complete", "/d -  Malformed", "/e 200 e Complete"]
    );
    assert_eq!(wire.counters().malformed, 2);
}

#[test]
fn heads_are_bounded() {
    for size in [100, 8192, 1 << 20] {
        let mut wire = Wire::default();
        let head = format!("POST /a HTTP/1.1\r\nX: {}", "x".repeat(MAX_HEAD));
        for piece in head.as_bytes().chunks(size) {
            wire.write(piece);
            assert!(wire.connection.write.head.len() <= MAX_HEAD);
        }
        wire.write(post("/b", "1")).read(ok("b"));
        assert_eq!(wire.ends(), ["/b 200 b Complete"], "{size}");
    }
}

#[test]
fn trailers_of_chunked_bodies() {
    for (section, kept) in [
        ("X-Generated-Tokens: 7\r\nSet-Cookie: hunter2\r\n", &[("x-generated-tokens", "7".to_owned())][..]),
        ("no colon\r\n", &[]),
        ("", &[]),
    ] {
        let response =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n{section}\r\n");
        for size in [1, 5, 1000] {
            let mut wire = Wire::default();
            wire.write(post("/a", "1"));
            for piece in response.as_bytes().chunks(size) {
                wire.read(piece);
            }
            wire.write(post("/b", "1")).read(ok("b"));
            assert_eq!(wire.ends(), ["/a 200 a Complete", "/b 200 b Complete"], "{size}");
            assert_eq!(wire.seen[0].trailers, kept, "{size}");
        }
    }
}

#[test]
fn idle_connections_are_small() {
    let mut wire = Wire::default();
    let head = format!("POST /a HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(5000));
    wire.write(&head[..3000]).write(&head[3000..]).read(ok("a"));
    assert_eq!(wire.ends(), ["/a 200 a Complete"]);
    assert_eq!(wire.connection.write.head.capacity() + wire.connection.read.head.capacity(), 0);
    assert!(size_of::<Connection>() <= 512, "{}", size_of::<Connection>());
}

#[test]
fn debug_prints_no_payload() {
    let mut wire = Wire::default();
    wire.write("POST /hunter2 HTTP/1.1\r\nAuthorization: hunter2");
    let event = Event::RequestBody { exchange: ExchangeId(0), data: b"hunter2", at: Timestamp(0) };
    let text = format!("{:?} {event:?}", wire.connection);
    assert!(!text.contains("hunter2") && !text.contains("104, 117"), "{text}");
}
