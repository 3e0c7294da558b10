//! Server-sent events: any bytes are the same events in any pieces, and little of them is kept.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_tracker::stream::sse::{Decoder, MAX_LINE, MAX_NAME, SsePiece};
use llm_tracker_fuzz::{Cuts, Input, live, seeds};

/// What a reader makes of a stream.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    /// Name and data.
    events: Vec<(String, Vec<u8>)>,
    fields: Vec<(String, Vec<u8>)>,
    comments: usize,
}

fuzz_target!(init: seeds::plant("sse"), |data: &[u8]| {
    let mut input = Input::new(data);
    let cuts = input.number();
    let stream = input.rest();
    let whole = decode(stream, &mut Cuts::new(0));
    // Values of fields that nobody needs are cut where their line is too long to be kept.
    let mut pieces = decode(stream, &mut Cuts::new(cuts));
    for ((_, whole), (_, piece)) in whole.fields.iter().zip(&mut pieces.fields) {
        if piece.len() < whole.len() && stream.len() > MAX_LINE {
            whole.clone_into(piece);
        }
    }
    assert_eq!(whole, pieces);

    let pieces = Cuts::new(cuts).apply(stream);
    let before = live();
    let mut decoder = Decoder::new();
    for piece in pieces {
        decoder.push(piece, &mut |piece| drop(format!("{piece:?}")));
        assert!(live().saturating_sub(before) <= 4 * MAX_LINE);
    }
});

fn decode(stream: &[u8], cuts: &mut Cuts) -> Seen {
    let mut seen = Seen::default();
    let (mut name, mut event) = (String::new(), Vec::new());
    let mut take = |piece: SsePiece<'_>| match piece {
        SsePiece::Event(text) => {
            assert!(text.len() <= MAX_NAME);
            text.clone_into(&mut name);
        }
        SsePiece::Data(data) => {
            assert!(!data.is_empty());
            event.extend_from_slice(data);
        }
        SsePiece::Field { name, value } => {
            assert!(name.len() <= MAX_NAME);
            seen.fields.push((name.into(), value.into()));
        }
        SsePiece::Comment => seen.comments += 1,
        SsePiece::Dispatch => seen.events.push((std::mem::take(&mut name), std::mem::take(&mut event))),
    };
    let mut decoder = Decoder::new();
    for piece in cuts.apply(stream) {
        decoder.push(piece, &mut take);
    }
    decoder.finish(&mut take);
    seen
}
