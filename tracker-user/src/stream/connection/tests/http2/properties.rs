//! What holds for any bytes, any chunking, any interleaving and any loss.

use proptest::prelude::*;

use super::*;

/// One exchange: its number is in the path and all over its bodies.
#[derive(Clone, Debug)]
struct Turn {
    pieces: usize,
    size: usize,
    trailers: bool,
    padded: bool,
}

fn turn() -> impl Strategy<Value = Turn> {
    (1usize..5, 1usize..30, any::<bool>(), any::<bool>()).prop_map(|(pieces, size, trailers, padded)| Turn {
        pieces,
        size,
        trailers,
        padded,
    })
}

impl Turn {
    fn piece(&self, number: usize) -> String {
        format!("<{number}>").repeat(self.size)
    }

    fn body(&self, number: usize) -> String {
        self.piece(number).repeat(self.pieces)
    }

    /// The frames of one message: its head comes first.
    fn frames(&self, number: usize, head: Vec<u8>) -> Vec<Vec<u8>> {
        let stream = stream(number);
        let mut frames = vec![head];
        for index in 1..=self.pieces {
            let end = if index == self.pieces && !self.trailers { END_STREAM } else { 0 };
            let piece = self.piece(number);
            frames.push(if self.padded {
                data(stream, end | PADDED, [&[5][..], piece.as_bytes(), &[0; 5]].concat())
            } else {
                data(stream, end, piece)
            });
        }
        if self.trailers {
            // Encoded in another order than sent, so without the table.
            frames.push(frame(1, END_STREAM | END_HEADERS, stream, b"\x00\x01t\x01v"));
        }
        frames
    }
}

fn stream(number: usize) -> u32 {
    u32::try_from(number).unwrap() * 2 + 1
}

/// The frames of a whole connection: batches of requests, whose frames are interleaved, and their
/// responses in the same manner.
fn script(turns: &[Turn], order: &[usize]) -> Vec<(Direction, Vec<u8>)> {
    let (mut client, mut server) = (Peer::new(), Peer::new());
    let mut frames =
        vec![(Write, [PREFACE, &frame(4, 0, 0, [0, 3, 0, 0, 0, 100])].concat()), (Read, frame(4, 0, 0, []))];
    let mut order = order.iter().copied().cycle();
    for (batch, turns) in turns.chunks(3).enumerate() {
        for direction in [Write, Read] {
            let mut queues: Vec<_> = (batch * 3..)
                .zip(turns)
                .map(|(number, turn)| {
                    let sender = if direction == Write { &mut client } else { &mut server };
                    let head = if direction == Write {
                        sender.post_head(stream(number), &format!("/{number}"))
                    } else {
                        let number = number.to_string();
                        let fields = [(":status", "200"), ("request-id", &number), ("content-type", "a/b")];
                        sender.headers(stream(number.parse().unwrap()), 0, &fields)
                    };
                    turn.frames(number, head).into_iter()
                })
                .collect();
            // Heads go in the order in which they were encoded.
            for queue in &mut queues {
                frames.extend(queue.next().map(|frame| (direction, frame)));
            }
            while !queues.is_empty() {
                let chosen = order.next().unwrap_or(0) % queues.len();
                match queues[chosen].next() {
                    Some(frame) => frames.push((direction, frame)),
                    None => drop(queues.remove(chosen)),
                }
            }
        }
    }
    frames
}

/// Nothing that was seen belongs to another exchange or was never sent.
fn nothing_is_mixed_up(wire: &Wire) {
    for seen in &wire.seen {
        let shown = [&seen.sent, &seen.received].map(|body| String::from_utf8(body.clone()).unwrap());
        let id = |body: &str| body.split(['<', '>']).find(|part| !part.is_empty()).map(str::to_owned);
        let path = seen.request.path.strip_prefix('/').map(str::to_owned);
        let head = seen.response.as_ref().and_then(|head| head.headers.first());
        let mut ids: Vec<_> =
            [path, id(&shown[1]), head.map(|head| head.1.clone())].into_iter().flatten().collect();
        ids.dedup();
        assert!(ids.len() <= 1, "{ids:?}");
        for body in shown {
            // Lost bytes leave a hole only where the body ends.
            let parts = body.replace("><", ">\n<");
            assert!(parts.lines().all(|part| part.starts_with('<')), "{body}");
        }
    }
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1usize..20, 1usize..400], 1..8)
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same(
        turns in prop::collection::vec(turn(), 1..9),
        order in prop::collection::vec(0usize..3, 1..9),
        sizes in sizes(),
    ) {
        let mut wire = Wire::default();
        let mut sizes = sizes.iter().copied().cycle();
        for (direction, frame) in script(&turns, &order) {
            let mut rest = &frame[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(sizes.next().unwrap().min(rest.len()));
                wire.push(direction, piece);
                rest = after;
            }
        }
        for (number, (seen, turn)) in wire.seen.iter().zip(&turns).enumerate() {
            prop_assert_eq!(&seen.request.path, &format!("/{number}"));
            prop_assert_eq!(seen.sent.clone(), turn.body(number).into_bytes());
            prop_assert_eq!(seen.received.clone(), turn.body(number).into_bytes());
            prop_assert_eq!(seen.end, Some(End::Complete));
        }
        prop_assert_eq!(wire.seen.len(), turns.len());
        prop_assert_eq!(wire.counters(), Counters { requests: turns.len() as u64, ..Counters::default() });
    }

    /// Whatever is lost, also the beginning of all, and wherever chunks begin.
    #[test]
    fn losses_mix_nothing_up(
        turns in prop::collection::vec(turn(), 1..9),
        order in prop::collection::vec(0usize..3, 1..9),
        sizes in sizes(),
        joined in 0usize..20,
        lost in prop::collection::vec(0usize..400, 0..6),
    ) {
        let mut wire = Wire::default();
        let mut sizes = sizes.iter().copied().cycle();
        let mut number = 0;
        for (direction, frame) in script(&turns, &order).into_iter().skip(joined) {
            let mut rest = &frame[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(sizes.next().unwrap().min(rest.len()));
                if lost.contains(&number) {
                    wire.lose(direction, piece);
                } else {
                    wire.push(direction, piece);
                }
                number += 1;
                rest = after;
            }
        }
        wire.close();
        nothing_is_mixed_up(&wire);
        let complete = |seen: &&Seen| seen.end == Some(End::Complete);
        for seen in wire.seen.iter().filter(complete) {
            // Whole means whole.
            let id = seen.response.as_ref().and_then(|head| head.headers.first()).map(|head| head.1.clone());
            let id = id.or_else(|| seen.request.path.strip_prefix('/').map(str::to_owned));
            if let Some(number) = id.and_then(|id| id.parse::<usize>().ok()) {
                prop_assert_eq!(seen.received.clone(), turns[number].body(number).into_bytes());
                prop_assert_eq!(seen.sent.clone(), turns[number].body(number).into_bytes());
            }
        }
    }

    /// After losses the connection serves again: what begins after them is whole.
    #[test]
    fn what_comes_after_a_loss_is_whole(
        turns in prop::collection::vec(turn(), 1..5),
        order in prop::collection::vec(0usize..3, 1..9),
        lost in prop::collection::vec(any::<bool>(), 30),
    ) {
        let mut wire = Wire::default();
        let mut lost = lost.into_iter();
        for (direction, frame) in script(&turns, &order) {
            if lost.next() == Some(true) {
                wire.lose(direction, &frame);
            } else {
                wire.push(direction, &frame);
            }
        }
        let before = wire.seen.len();
        let (mut client, mut server) = (Peer::new(), Peer::new());
        wire.write(client.post(101, "/last", "1")).read(server.ok(101, "last"));
        prop_assert_eq!(wire.ends().split_off(before), ["/last 200 last Complete"]);
    }

    #[test]
    fn random_bytes_never_panic(
        pieces in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(any::<u8>(), 0..80), 0usize..4), 0..30),
        begun in any::<bool>(),
    ) {
        let mut wire = if begun { connected().0 } else { Wire::default() };
        for (write, bytes, lost) in pieces {
            let direction = if write { Write } else { Read };
            wire.lose(direction, vec![0; if lost == 0 { 7 } else { 0 }]).push(direction, bytes);
        }
        wire.close();
    }

    /// Frames that are almost right.
    #[test]
    fn random_frames_never_panic(
        frames in prop::collection::vec(
            (any::<bool>(), 0u8..12, any::<u8>(), 0u32..8, prop::collection::vec(any::<u8>(), 0..40)), 0..60),
        size in 1usize..60,
    ) {
        let mut wire = connected().0;
        for (write, kind, flags, stream, payload) in frames {
            for piece in frame(kind, flags, stream, payload).chunks(size) {
                wire.push(if write { Write } else { Read }, piece);
            }
        }
        wire.close();
    }
}
