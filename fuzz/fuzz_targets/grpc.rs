//! gRPC: every service of the tables, with messages of anything, framed as they should be or not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_tracker_fuzz::{
    Input,
    play::{Exchange, GRPC, RPCS, grpc_message},
    seeds,
    wire::assert_counts_are_among,
};

fuzz_target!(init: seeds::plant("grpc"), |data: &[u8]| {
    let mut input = Input::new(data);
    let head = RPCS[usize::from(input.byte()) % RPCS.len()];
    let cuts = input.number();
    let status = u16::from(input.byte() % 18);
    let mut bodies = [Vec::new(), Vec::new()];
    while !input.is_empty() {
        let (side, framed) = (input.byte(), input.byte() != 0xff);
        let message = input.piece();
        let body = &mut bodies[usize::from(side & 1)];
        if framed {
            body.extend(grpc_message(message));
        } else {
            body.extend_from_slice(message);
        }
    }
    let [request, response] = &bodies;
    let exchange = Exchange { head, request, status, content_type: GRPC, response };
    for call in exchange.calls(cuts) {
        // What was compressed is not looked into.
        if !response.contains(&0x1f) {
            assert_counts_are_among(&call, varints(response));
        }
    }
});

/// What could be read as numbers, wherever they begin.
fn varints(body: &[u8]) -> Vec<u64> {
    let at = |start: usize| {
        let mut number = 0_u64;
        for (place, &byte) in body[start..].iter().take(10).enumerate() {
            number |= u64::from(byte & 0x7f) << (7 * place);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    };
    (0..body.len()).filter_map(at).collect()
}
