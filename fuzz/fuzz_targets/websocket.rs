//! WebSocket: an upgrade, and then anything, in frames and outside of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_tracker::{
    capture::Direction::{self, Read, Write},
    stream::{Counters, Peer},
};
use llm_tracker_fuzz::{
    Cuts, Input, Watched,
    play::{CATALOG, SOCKETS, feed, upgrade, websocket_frame},
    seeds,
};

const EXTENSIONS: [&str; 4] = [
    "",
    "Sec-WebSocket-Extensions: permessage-deflate\r\n",
    "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n",
    "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9; client_max_window_bits=8\r\n",
];

fuzz_target!(init: seeds::plant("websocket"), |data: &[u8]| {
    let mut input = Input::new(data);
    let Some(head) = SOCKETS.first() else { return };
    let extensions = input.choose(&EXTENSIONS);
    let cuts = input.number();
    let [request, response] = upgrade(head, extensions).map(String::into_bytes);
    let mut sent = vec![(Write, request), (Read, response)];
    while !input.is_empty() {
        let choice = input.byte();
        let (direction, peer) = if choice & 1 == 0 { (Write, Peer::Client) } else { (Read, Peer::Server) };
        sent.push((direction, match choice >> 1 & 7 {
            0 => input.piece().to_vec(),
            _ => {
                let first = input.byte();
                websocket_frame(peer, first, input.piece())
            }
        }));
    }
    let whole = play(&sent, &mut Cuts::new(0));
    let pieces = play(&sent, &mut Cuts::new(cuts));
    if whole.counters() == (Counters { requests: 1, ..Counters::default() }) {
        assert_eq!(whole.counters(), pieces.counters());
        assert_eq!(whole.exchanges, pieces.exchanges);
        assert_eq!(whole.made, pieces.made);
    }
});

fn play(sent: &[(Direction, Vec<u8>)], cuts: &mut Cuts) -> Watched {
    let mut watched = Watched::new(&CATALOG);
    for (direction, bytes) in sent {
        feed(&mut watched, *direction, bytes, cuts);
    }
    watched.close();
    watched
}
