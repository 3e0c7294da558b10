//! What is said over WebSockets: any conversation with any row of the tables.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_tracker::{
    capture::Direction::{Read, Write},
    stream::Peer,
};
use llm_tracker_fuzz::{
    Cuts, Input, Watched,
    play::{CATALOG, SOCKETS, feed, upgrade, websocket_frame},
    seeds,
    wire::assert_nothing_invented,
};

fuzz_target!(init: seeds::plant("realtime"), |data: &[u8]| {
    let mut input = Input::new(data);
    let head = &SOCKETS[usize::from(input.byte()) % SOCKETS.len()];
    let cuts = input.number();
    let mut messages = Vec::new();
    while !input.is_empty() {
        let choice = input.byte();
        let from = if choice & 1 == 0 { Peer::Client } else { Peer::Server };
        // Text or binary, in one frame or two.
        messages.push((from, 1 + (choice >> 1 & 1), choice & 4 != 0, input.piece()));
    }
    let play = |mut cuts: Cuts| {
        let mut watched = Watched::new(&CATALOG);
        let [request, response] = upgrade(head, "");
        feed(&mut watched, Write, request.as_bytes(), &mut cuts);
        feed(&mut watched, Read, response.as_bytes(), &mut cuts);
        for (from, kind, split, message) in &messages {
            let direction = if *from == Peer::Client { Write } else { Read };
            let (first, last) = message.split_at(if *split { message.len() / 2 } else { 0 });
            if *split {
                feed(&mut watched, direction, &websocket_frame(*from, *kind, first), &mut cuts);
            }
            let kind = 0x80 | if *split { 0 } else { *kind };
            feed(&mut watched, direction, &websocket_frame(*from, kind, last), &mut cuts);
        }
        watched.close();
        watched
    };
    let whole = play(Cuts::new(0));
    let pieces = play(Cuts::new(cuts));
    assert_eq!(whole.exchanges, pieces.exchanges);
    assert_eq!(whole.made, pieces.made);
    for call in &whole.made {
        assert_nothing_invented(call, messages.iter().map(|(_, _, _, message)| *message));
    }
});
