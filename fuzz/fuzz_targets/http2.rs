//! HTTP/2: frames with anything in them. As long as nothing was wrong with them, they are the same in
//! any pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_tracker::{
    capture::Direction::{self, Read, Write},
    stream::{Counters, End},
};
use llm_tracker_fuzz::{
    Cuts, Input, Watched,
    play::{CATALOG, HTTP2_PREFACE, feed, http2_frame},
    seeds,
};

fuzz_target!(init: seeds::plant("http2"), |data: &[u8]| {
    let mut input = Input::new(data);
    let choice = input.byte();
    let cuts = input.number();
    let mut frames = Vec::new();
    // Without it the daemon came late.
    if choice & 1 == 0 {
        frames.push((Write, [HTTP2_PREFACE, &http2_frame(4, 0, 0, &[])].concat()));
        frames.push((Read, http2_frame(4, 0, 0, &[])));
    }
    while !input.is_empty() {
        let choice = input.byte();
        let direction = if choice & 0x80 == 0 { Write } else { Read };
        let (flags, stream) = (input.byte(), u32::from(input.byte() & 7));
        let payload = input.piece();
        frames.push((direction, match choice >> 4 & 7 {
            // No frame at all.
            7 => payload.to_vec(),
            _ => http2_frame(choice & 0xf, flags, stream, payload),
        }));
    }
    let whole = play(&frames, &mut Cuts::new(0));
    let pieces = play(&frames, &mut Cuts::new(cuts));
    // What was not right is passed over up to a place that depends on where a piece begins.
    let requests = whole.counters().requests;
    let right = whole.counters() == (Counters { requests, ..Counters::default() });
    let wrong = |end| matches!(end, Some(End::Malformed | End::Gap));
    if right && !whole.exchanges.values().any(|exchange| wrong(exchange.end)) {
        assert_eq!(whole.counters(), pieces.counters());
        assert_eq!(whole.exchanges, pieces.exchanges);
        assert_eq!(whole.made, pieces.made);
    }
});

fn play(frames: &[(Direction, Vec<u8>)], cuts: &mut Cuts) -> Watched {
    let mut watched = Watched::new(&CATALOG);
    for (direction, frame) in frames {
        feed(&mut watched, *direction, frame, cuts);
    }
    watched.close();
    watched
}
