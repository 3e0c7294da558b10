//! Gaps: what they damage ends, what follows is right, and nothing is booked on the wrong request.

use super::*;

#[test]
fn inside_a_body_whose_end_is_known() {
    let mut wire = Wire::default();
    wire.write([post("/a", "1"), post("/b", "2")].concat());
    let response = ok("0123456789");
    let (head, tail) = response.split_at(response.len() - 8);
    wire.read(head).lose(Read, &tail[..5]).read(&tail[5..]).read(ok("b"));
    assert_eq!(wire.ends(), ["/a 200 01 Gap", "/b 200 b Complete"]);
    let counters = wire.counters();
    assert_eq!((counters.gaps, counters.lost_bytes, counters.skipped_bytes), (1, 5, 0));
}

#[test]
fn exactly_to_the_end_of_a_body() {
    let mut wire = Wire::default();
    let response = ok("0123456789");
    let (head, tail) = response.split_at(response.len() - 8);
    wire.write(post("/a", "1")).read(head).lose(Read, tail);
    wire.write(post("/b", "1")).read(ok("b")).write(post("/c", "1")).read(ok("c"));
    assert_eq!(wire.ends(), ["/a 200 01 Gap", "/b 200 b Complete", "/c 200 c Complete"]);
}

#[test]
fn inside_one_chunk_of_a_chunked_body() {
    let mut wire = Wire::default();
    let response = chunked(&["0123456789", "abc"]);
    let at = response.find("345").unwrap();
    wire.write([post("/a", "1"), post("/b", "2")].concat());
    wire.read(&response[..at]).lose(Read, "345").read(&response[at + 3..]).read(ok("b"));
    assert_eq!(wire.ends(), ["/a 200 012 Gap", "/b 200 b Complete"]);
}

#[test]
fn across_the_chunks_of_a_stream() {
    let mut wire = Wire::default();
    let response = chunked(&["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"]);
    let from = response.find("1\n\n").unwrap();
    let to = response.find("3\n\n").unwrap();
    wire.write(post("/a", "1")).read(&response[..from]).lose(Read, &response[from..to]);
    wire.read(&response[to..]).write(post("/b", "1")).read(chunked(&["b"]));
    assert_eq!(wire.ends(), ["/a 200 data:  Gap", "/b 200 b Complete"]);
}

#[test]
fn of_the_last_chunk_of_a_stream() {
    // Seen only when the next response comes; too few bytes to hide a whole response among them.
    let mut wire = Wire::default();
    let response = chunked(&["a"]);
    let cut = response.len() - 5;
    wire.write(post("/a", "1")).read(&response[..cut]).lose(Read, &response[cut..]);
    wire.write(post("/b", "1")).read(ok("b"));
    assert_eq!(wire.ends(), ["/a 200 a Gap", "/b 200 b Complete"]);
}

#[test]
fn wide_enough_to_hide_a_response() {
    // The end of /a, all of /b's response, and the request /c: what comes next is the answer to /c.
    let mut wire = Wire::default();
    let first = chunked(&["a"]);
    wire.write(post("/a", "1")).read(&first[..first.len() - 5]).lose(Read, &first[first.len() - 5..]);
    wire.write(post("/b", "1")).lose(Read, ok(&"b".repeat(50)));
    wire.lose(Write, post("/c", "1")).read(ok("c"));
    wire.write(post("/d", "1")).read(ok("d"));
    assert_eq!(wire.ends(), ["/a 200 a Gap", "/b -  Gap", "/d 200 d Complete"]);
}

#[test]
fn of_a_whole_response() {
    let mut wire = Wire::default();
    wire.write(post("/a", "1")).lose(Read, ok("a")).write(post("/b", "1")).read(ok("b"));
    wire.write(post("/c", "1")).read(ok("c"));
    // Whether the second response is the first's cannot be told.
    assert_eq!(wire.ends(), ["/a -  Gap", "/b -  Gap", "/c 200 c Complete"]);
}

#[test]
fn of_a_response_head() {
    let mut wire = Wire::default();
    let response = chunked(&["a"]);
    wire.write(post("/a", "1")).lose(Read, &response[..30]).read(&response[30..]);
    assert_eq!(wire.ends(), ["/a -  Gap"]);
    wire.write(post("/b", "1")).read(ok("b"));
    assert_eq!(wire.ends(), ["/a -  Gap", "/b 200 b Complete"]);
}

#[test]
fn of_a_whole_request() {
    let mut wire = Wire::default();
    wire.write(post("/a", "1")).read(ok("a"));
    wire.lose(Write, post("/b", "1")).read(ok("b")).write(post("/c", "1")).read(ok("c"));
    assert_eq!(wire.ends(), ["/a 200 a Complete", "/c 200 c Complete"]);
    assert_eq!(wire.counters().unmatched_responses, 1);
}

#[test]
fn of_the_rest_of_a_large_request() {
    // What a cap on the bytes copied per call does to every large request.
    let mut wire = Wire::default();
    let request = post("/a", &"x".repeat(1000));
    wire.write(&request[..500]).lose(Write, &request[500..]).read(chunked(&["a"]));
    // Over with its response, not when the next request shows the gap.
    assert_eq!(wire.ends()[0], "/a 200 a RequestCut");
    wire.write(post("/b", "1")).read(ok("b"));
    assert_eq!(wire.ends()[1], "/b 200 b Complete");
}

#[test]
fn inside_a_request_body() {
    let mut wire = Wire::default();
    let request = post("/a", "0123456789");
    let at = request.find("345").unwrap();
    wire.write(&request[..at]).lose(Write, "345").write(&request[at + 3..]).read(ok("a"));
    assert_eq!(wire.ends(), ["/a 200 a RequestCut"]);
    assert_eq!(wire.seen[0].sent, b"012");
}

#[test]
fn of_the_end_of_a_chunked_request() {
    let mut wire = Wire::default();
    wire.write("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n").lose(Write, "a\r\n0\r\n\r\n");
    wire.read(ok("a")).write(post("/b", "1")).read(ok("b"));
    assert_eq!(wire.ends(), ["/a 200 a RequestCut", "/b 200 b Complete"]);
}

#[test]
fn with_pipelining_what_cannot_be_told_is_dropped_for_good() {
    let mut wire = Wire::default();
    let response = chunked(&["0123", "456"]);
    wire.write([post("/a", "1"), post("/b", "2"), post("/c", "3")].concat());
    wire.read(&response[..50]).lose(Read, &response[50..]).lose(Read, ok(&"b".repeat(50))).read(ok("c"));
    wire.write(post("/d", "1")).read(ok("d"));
    let ends: Vec<_> = wire.seen.iter().map(|seen| (seen.response.is_some(), seen.end)).collect();
    assert_eq!(
        ends,
        [(true, Some(End::Gap)), (false, Some(End::Gap)), (false, Some(End::Gap)), (false, Some(End::Gap))]
    );
}

#[test]
fn pipelining_is_learnt_from_responses_that_go_on() {
    let mut wire = Wire::default();
    let response = chunked(&["a", "aa"]);
    wire.write(post("/a", "1"))
        .read(&response[..50])
        .write(post("/b", "1"))
        .read(&response[50..])
        .read(ok("b"));
    wire.write(post("/c", "1")).write(post("/d", "1")).lose(Read, ok("c")).read(ok("d"));
    wire.write(post("/e", "1")).read(ok("e"));
    assert_eq!(
        wire.ends(),
        ["/a 200 aaa Complete", "/b 200 b Complete", "/c -  Gap", "/d -  Gap", "/e -  Gap"]
    );
}

#[test]
fn repeated_bytes_are_dropped() {
    let mut wire = Wire::default();
    wire.write(post("/a", "1"));
    wire.offsets[Write as usize] -= 10;
    wire.write("0123456789").read(ok("a"));
    assert_eq!(wire.ends(), ["/a 200 a Complete"]);
    assert_eq!(wire.counters().repeated_bytes, 10);
}
