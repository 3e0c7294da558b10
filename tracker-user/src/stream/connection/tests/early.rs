//! Responses that come up before their request.

use proptest::prelude::*;

use super::{
    http2::{Peer as Http2Peer, connected, data},
    *,
};

fn early(counters: &Counters) -> (u64, u64, u64) {
    (counters.early_responses, counters.early_given_up, counters.unmatched_responses)
}

#[test]
fn the_first_of_a_connection() {
    for size in [1, 7, 1000] {
        let mut wire = Wire { clock: 10, ..Wire::default() };
        for piece in chunked(&["x", "yz"]).as_bytes().chunks(size) {
            wire.read(piece);
        }
        assert!(wire.seen.is_empty());
        assert_eq!(wire.connection.state().protocol, Protocol::Http1);
        let answered = wire.clock;
        for piece in post("/a", "one").as_bytes().chunks(size) {
            wire.late(Write, 5, piece);
        }
        assert_eq!(wire.ends(), ["/a 200 xyz Complete"], "{size}");
        assert_eq!(wire.seen[0].sent, b"one");
        assert_eq!(wire.times, [(5, answered)]);
        wire.write(post("/b", "1")).read(ok("b"));
        assert_eq!(wire.ends()[1], "/b 200 b Complete");
        assert_eq!(early(&wire.counters()), (1, 0, 0), "{size}");
    }
}

#[test]
fn between_exchanges() {
    let mut wire = Wire::default();
    wire.write(post("/a", "1")).read(ok("a"));
    for (path, body) in [("/b", "b"), ("/c", "c")] {
        let sent = wire.clock + 1;
        wire.clock += 2;
        wire.read(ok(body)).late(Write, sent, post(path, "1"));
    }
    wire.write(post("/d", "1")).read(ok("d"));
    assert_eq!(
        wire.ends(),
        ["/a 200 a Complete", "/b 200 b Complete", "/c 200 c Complete", "/d 200 d Complete"]
    );
    assert_eq!(early(&wire.counters()), (2, 0, 0));
}

#[test]
fn by_more_than_one_exchange() {
    // Two writes, both older than what was read.
    let mut wire = Wire { clock: 10, ..Wire::default() };
    wire.read(ok("a")).read(ok("b")).late(Write, 5, post("/a", "1")).late(Write, 6, post("/b", "1"));
    assert_eq!(wire.ends(), ["/a 200 a Complete", "/b 200 b Complete"]);
}

#[test]
fn before_the_body_that_was_written_by_itself() {
    let mut wire = Wire::default();
    let request = post("/a", "one");
    let (head, body) = request.split_at(request.len() - 3);
    wire.write(head);
    wire.clock = 10;
    wire.read(ok("a")).late(Write, 5, body);
    assert_eq!(wire.ends(), ["/a 200 a Complete"]);
    assert_eq!(wire.seen[0].sent, b"one");
}

#[test]
fn no_request_that_was_sent_later() {
    // The daemon came between a request and its response, or the server gave notice.
    let mut wire = Wire::default();
    wire.read(ok("?")).write(post("/a", "1")).read(ok("a"));
    assert_eq!(wire.ends(), ["/a 200 a Complete"]);
    assert_eq!(early(&wire.counters()), (0, 0, 1));

    let mut wire = Wire::default();
    wire.write(post("/a", "1")).read(ok("a")).read("HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n");
    wire.close();
    assert_eq!(wire.ends(), ["/a 200 a Complete"]);
    assert_eq!(early(&wire.counters()), (0, 0, 1));
}

#[test]
fn no_request_that_was_lost() {
    let mut wire = Wire::default();
    wire.write(post("/a", "1")).read(ok("a"));
    wire.lose(Write, post("/b", "1")).read(ok("b")).write(post("/c", "1")).read(ok("c"));
    assert_eq!(wire.ends(), ["/a 200 a Complete", "/c 200 c Complete"]);
    assert_eq!(early(&wire.counters()), (0, 0, 1));
}

#[test]
fn losses_behind_an_early_head() {
    let mut wire = Wire::default();
    let response = ok("0123456789");
    let (head, tail) = response.split_at(response.len() - 8);
    wire.clock = 10;
    wire.read(head).lose(Read, &tail[..5]).read(&tail[5..]).late(Write, 5, post("/a", "1"));
    assert_eq!(wire.ends(), ["/a 200 01 Gap"]);
    assert_eq!(wire.counters().lost_bytes, 5);
    wire.write(post("/b", "1")).read(ok("b"));
    assert_eq!(wire.ends()[1], "/b 200 b Complete");
}

#[test]
fn interim_responses_and_upgrades() {
    let mut wire = Wire { clock: 10, ..Wire::default() };
    wire.read("HTTP/1.1 103 Early Hints\r\n\r\n").read(ok("a")).late(Write, 5, post("/a", "1"));
    assert_eq!(wire.ends(), ["/a 200 a Complete"]);

    let mut wire = Wire { clock: 10, ..Wire::default() };
    wire.read("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n").read(b"\x81\x05hello");
    wire.late(Write, 5, "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(wire.ends(), ["/ws 101 hello -"]);
    wire.read(b"\x81\x05again").close();
    assert_eq!(wire.ends(), ["/ws 101 helloagain Closed"]);
}

#[test]
fn waiting_is_bounded() {
    for size in [16, 16 << 10] {
        let mut wire = Wire::default();
        wire.read(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 4 << 20));
        let piece = vec![b'x'; size];
        let mut pieces = 0;
        while wire.connection.waits_since().is_some() {
            wire.read(&piece);
            pieces += 1;
            assert!(pieces <= 256 && pieces * size <= (256 << 10) + size, "{size}");
        }
        assert_eq!(early(&wire.counters()), (0, 1, 1));
        // What comes now is passed over as it comes.
        wire.read(&piece);
        assert_eq!(wire.connection.waits_since(), None);
    }
    let mut wire = Wire { clock: 10, ..Wire::default() };
    wire.read(ok("a"));
    assert_eq!(wire.connection.waits_since(), Some(Timestamp(11)));
    wire.stop_waiting().late(Write, 5, post("/a", "1")).write(post("/b", "1")).read(ok("b"));
    assert_eq!(early(&wire.counters()), (0, 1, 1));
}

#[test]
fn nothing_waits_in_the_ordinary_course() {
    let mut wire = Wire::default();
    let expecting = "POST /a HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    wire.write(expecting).read("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(wire.ends(), ["/a 417  RequestCut"]);
    let request = post("/b", &"x".repeat(1000));
    wire.write(&request[..500]).lose(Write, &request[500..]).read(ok("b"));
    assert_eq!(wire.ends()[1], "/b 200 b RequestCut");
    assert_eq!(wire.connection.waits_since(), None);
}

#[test]
fn payload_that_waits_is_not_printed() {
    let mut wire = Wire::default();
    wire.read(ok("hunter2"));
    let text = format!("{:?}", wire.connection);
    assert!(text.contains("Early") && !text.contains("hunter2") && !text.contains("104, 117"), "{text}");
}

#[test]
fn over_http2() {
    for size in [1, 1000] {
        let (mut wire, mut client, mut server) = connected();
        wire.write(client.post(1, "/a", "one"));
        wire.clock += 10;
        let sent = wire.clock - 5;
        // The answer to the one that is missing goes on, and so does that to the other.
        let answer = [server.ok_head(3), server.ok(1, "1"), data(3, 1, "3")].concat();
        for piece in answer.chunks(size) {
            wire.read(piece);
        }
        let answered = wire.clock;
        assert_eq!(wire.ends(), ["/a -  -"]);
        for piece in client.post(3, "/b", "two").chunks(size) {
            wire.late(Write, sent, piece);
        }
        assert_eq!(wire.ends(), ["/a 200 1 Complete", "/b 200 3 Complete"], "{size}");
        assert_eq!(wire.seen[1].sent, b"two");
        assert_eq!(wire.times[1], (sent, answered));
        assert_eq!(early(&wire.counters()), (1, 0, 0));
    }
}

#[test]
fn over_http2_with_all_that_the_client_sent() {
    let mut wire = Wire { clock: 10, ..Wire::default() };
    let (mut client, mut server) = (Http2Peer::new(), Http2Peer::new());
    wire.read([http2::frame(4, 0, 0, []), http2::frame(4, 1, 0, [])].concat()).read(server.ok(1, "1"));
    wire.late(Write, 4, [PREFACE, &http2::frame(4, 0, 0, [])].concat()).late(
        Write,
        5,
        client.post(1, "/a", "one"),
    );
    wire.write(client.post(3, "/b", "two")).read(server.ok(3, "2"));
    assert_eq!(wire.ends(), ["/a 200 1 Complete", "/b 200 2 Complete"]);
}

#[test]
fn over_http2_to_nobody() {
    let (mut wire, mut client, mut server) = connected();
    wire.read(server.ok(7, "7")).write(client.post(9, "/b", "two")).read(server.ok(9, "9"));
    assert_eq!(wire.ends(), ["/b 200 9 Complete"]);
    assert_eq!(early(&wire.counters()), (0, 0, 1));
    wire.read(server.ok(11, "11")).close();
    assert_eq!(early(&wire.counters()), (0, 0, 1));
}

/// Exchanges one after the other. `late` says of each how many pieces of its response come up before the
/// first of the writes that sent its request, and before the second, if there are two.
fn shuffled(late: &[Option<[usize; 2]>], sizes: &[usize], http2: bool) -> Wire {
    let (mut wire, mut client, mut server) =
        if http2 { connected() } else { (Wire::default(), Http2Peer::new(), Http2Peer::new()) };
    let mut sizes = sizes.iter().copied().cycle();
    for (number, late) in late.iter().enumerate() {
        let (path, body) = (format!("/{number}"), format!("<{number}>").repeat(number + 1));
        let stream = u32::try_from(number).unwrap() * 2 + 1;
        let (request, response) = if http2 {
            (client.post(stream, &path, &body), server.ok(stream, &body))
        } else {
            let response = if number.is_multiple_of(2) { ok(&body) } else { chunked(&[&body]) };
            (post(&path, &body).into_bytes(), response.into_bytes())
        };
        let body = body.len() + if http2 { 9 } else { 0 };
        let (head, body) = request.split_at(request.len() - body);
        let writes = if number % 3 == 1 { vec![head, body] } else { vec![&request[..]] };
        let sent = wire.clock + 1;
        wire.clock += 2;
        let mut rest = &response[..];
        for (write, ahead) in writes.into_iter().zip(late.unwrap_or_default()) {
            for _ in 0..ahead {
                let (piece, after) = rest.split_at(sizes.next().unwrap().min(rest.len()));
                wire.read(piece);
                rest = after;
            }
            for piece in write.chunks(sizes.next().unwrap()) {
                wire.late(Write, sent, piece);
            }
        }
        wire.read(rest);
    }
    wire
}

proptest! {
    #[test]
    fn calls_are_the_same_in_whatever_order_they_come_up(
        late in prop::collection::vec(prop::option::of([0usize..40, 0usize..40]), 1..8),
        sizes in prop::collection::vec(prop_oneof![1usize..20, 1usize..400], 1..8),
        http2 in any::<bool>(),
    ) {
        let ordered = shuffled(&vec![None; late.len()], &[1000], http2);
        let mut wire = shuffled(&late, &sizes, http2);
        prop_assert_eq!(ordered.seen.len(), late.len());
        prop_assert!(ordered.seen.iter().all(|seen| seen.end == Some(End::Complete)));
        prop_assert_eq!(&wire.seen, &ordered.seen);
        prop_assert_eq!(wire.connection.waits_since(), None);
        let counters = wire.counters();
        prop_assert_eq!((counters.early_given_up, counters.unmatched_responses), (0, 0));
        prop_assert!(wire.times.iter().all(|(began, ended)| began < ended));
    }
}
