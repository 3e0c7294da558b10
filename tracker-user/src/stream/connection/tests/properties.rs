//! What holds for any bytes, any chunking and any loss.

use proptest::prelude::*;

use super::*;

/// One exchange of a well-behaved client: its number is in the path and in the response.
#[derive(Clone, Debug)]
struct Turn {
    request_chunked: bool,
    interim: bool,
    response: u8,
    size: usize,
}

impl Turn {
    fn body(&self, number: usize) -> String {
        format!("<{number}>").repeat(self.size)
    }

    fn request(&self, number: usize) -> Vec<u8> {
        let body = self.body(number);
        if self.request_chunked {
            let head = format!("POST /{number} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
            return format!("{head}{:X};x=y\r\n{body}\r\n0\r\nT: 1\r\n\r\n", body.len()).into();
        }
        post(&format!("/{number}"), &body).into()
    }

    fn response(&self, number: usize) -> Vec<u8> {
        let body = self.body(number);
        let (early, late) = body.split_at(body.len() / 2);
        let interim = if self.interim { "HTTP/1.1 103 Early Hints\r\n\r\n" } else { "" };
        let message = match self.response {
            0 => ok(&body).into_bytes(),
            1 => chunked(&[early, late]).into(),
            2 => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            _ => {
                let body = gzip(body.as_bytes());
                let head = format!(
                    "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                [head.as_bytes(), &body].concat()
            }
        };
        [interim.as_bytes(), &message].concat()
    }
}

fn turn() -> impl Strategy<Value = Turn> {
    (any::<bool>(), any::<bool>(), 0u8..4, 1usize..40).prop_map(
        |(request_chunked, interim, response, size)| Turn { request_chunked, interim, response, size },
    )
}

/// Cuts `bytes` into pieces of the given sizes, over and over.
fn cut<'a>(bytes: &'a [u8], sizes: &mut impl Iterator<Item = usize>) -> Vec<&'a [u8]> {
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(sizes.next().unwrap_or(1).clamp(1, rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// The turns one after the other, both messages of each cut into pieces.
fn play(turns: &[Turn], sizes: &[usize], mut lost: impl FnMut() -> bool) -> Wire {
    let mut wire = Wire::default();
    let mut sizes = sizes.iter().copied().cycle();
    for (number, turn) in turns.iter().enumerate() {
        for (direction, message) in [(Write, turn.request(number)), (Read, turn.response(number))] {
            for piece in cut(&message, &mut sizes) {
                if lost() {
                    wire.lose(direction, piece);
                } else {
                    wire.push(direction, piece);
                }
            }
        }
    }
    wire
}

proptest! {
    #[test]
    fn chunking_changes_nothing(
        turns in prop::collection::vec(turn(), 1..6),
        sizes in prop::collection::vec(1usize..90, 1..20),
    ) {
        let whole = play(&turns, &[usize::MAX], || false);
        prop_assert_eq!(whole.seen.len(), turns.len());
        for (number, (seen, turn)) in whole.seen.iter().zip(&turns).enumerate() {
            prop_assert_eq!(seen.end, Some(End::Complete));
            prop_assert_eq!(&seen.sent, &turn.body(number).into_bytes());
        }
        let pieces = play(&turns, &sizes, || false);
        prop_assert_eq!(&pieces.seen, &whole.seen);
        let bytewise = play(&turns, &[1], || false);
        prop_assert_eq!(&bytewise.seen, &whole.seen);
    }

    #[test]
    fn pipelined_turns_by_any_chunking(
        turns in prop::collection::vec(turn(), 1..6),
        sizes in prop::collection::vec(1usize..200, 1..20),
        ahead in prop::collection::vec(any::<bool>(), 1..20),
    ) {
        let stream = |message: fn(&Turn, usize) -> Vec<u8>| -> Vec<u8> {
            turns.iter().enumerate().flat_map(|(number, turn)| message(turn, number)).collect()
        };
        let (requests, responses) = (stream(Turn::request), stream(Turn::response));
        let whole = play(&turns, &[usize::MAX], || false);
        let mut sizes = sizes.iter().copied().cycle();
        let mut wire = Wire::default();
        let mut waiting = cut(&responses, &mut sizes).into_iter().peekable();
        let mut fed = 0;
        let mut ahead = ahead.iter().cycle();
        let mut sent = 0;
        for piece in cut(&requests, &mut sizes) {
            wire.write(piece);
            sent += piece.len();
            // A response cannot be ahead of its request: only bytes of answered ones may come.
            let mut allowed = 0;
            let mut request_bytes = 0;
            for (number, turn) in turns.iter().enumerate() {
                request_bytes += turn.request(number).len();
                if request_bytes <= sent {
                    allowed += turn.response(number).len();
                }
            }
            while *ahead.next().unwrap_or(&false) && waiting.peek().is_some_and(|piece| fed + piece.len() <= allowed) {
                let piece = waiting.next().unwrap();
                fed += piece.len();
                wire.read(piece);
            }
        }
        waiting.for_each(|piece| { wire.read(piece); });
        prop_assert_eq!(&wire.seen, &whole.seen);
    }

    #[test]
    fn losses_never_put_a_response_on_another_request(
        turns in prop::collection::vec(turn(), 1..12),
        sizes in prop::collection::vec(1usize..400, 1..20),
        losses in (0.02f64..0.7).prop_flat_map(|rate| prop::collection::vec(prop::bool::weighted(rate), 1..60)),
    ) {
        let mut losses = losses.into_iter().cycle();
        let mut wire = play(&turns, &sizes, || losses.next().unwrap_or(false));
        wire.close();
        for seen in &wire.seen {
            prop_assert!(seen.end.is_some());
            let number: usize = seen.request.path[1..].parse().unwrap();
            let expected = turns[number].body(number);
            // Whatever was handed out is a prefix of the truth, and all of it where it says so.
            let truth = if turns[number].response == 2 { "" } else { &expected };
            let received = String::from_utf8_lossy(&seen.received);
            prop_assert!(truth.starts_with(&*received), "{} got {}", number, received);
            prop_assert!(expected.as_bytes().starts_with(&seen.sent));
            if seen.end == Some(End::Complete) {
                prop_assert_eq!(&*received, truth);
                prop_assert_eq!(&seen.sent[..], expected.as_bytes());
            }
        }
    }

    #[test]
    fn after_a_loss_the_next_exchange_but_one_is_right(
        turns in prop::collection::vec(turn(), 4..5),
        sizes in prop::collection::vec(30usize..400, 1..20),
        lost_piece in 0usize..40,
    ) {
        let mut piece = 0;
        let wire = play(&turns, &sizes, || { piece += 1; piece - 1 == lost_piece });
        let wrong: Vec<_> = wire.seen.iter().filter(|seen| seen.end != Some(End::Complete)).collect();
        let complete = wire.seen.len() - wrong.len();
        prop_assert!(complete + 2 >= turns.len(), "{:?}", wire.ends());
    }

    #[test]
    fn random_bytes_do_not_panic(
        pieces in prop::collection::vec((any::<bool>(), 0u8..6, prop::collection::vec(any::<u8>(), 0..40), 0u64..20), 0..40),
    ) {
        let mut wire = Wire::default();
        for (write, kind, bytes, lost) in pieces {
            let direction = if write { Write } else { Read };
            if kind == 5 {
                wire.offsets[direction as usize] += lost;
            }
            let text: &[u8] = match kind {
                0 => b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
                1 => b"HTTP/1.1 200 OK\r\nContent-Encoding: br, gzip\r\nContent-Length: 30\r\n\r\n",
                2 => b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n7\r\n",
                3 => b"GET /b HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
                _ => &bytes,
            };
            wire.push(direction, text);
        }
        wire.close();
        prop_assert!(wire.seen.iter().all(|seen| seen.end.is_some()));
    }
}
