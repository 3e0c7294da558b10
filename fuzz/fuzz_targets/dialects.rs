//! Every dialect: a request of any row of the tables, with bodies that are anything.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_tracker_fuzz::{
    Input,
    play::{Exchange, REQUESTS},
    seeds,
    wire::assert_nothing_invented,
};

fuzz_target!(init: seeds::plant("dialects"), |data: &[u8]| {
    let mut input = Input::new(data);
    let row = usize::from(input.number()) % REQUESTS.len();
    let cuts = input.number();
    let status = input.choose(&[200, 200, 201, 202, 400, 429, 500]);
    let content_type = input.choose(&["application/json", "text/event-stream", "application/x-ndjson", ""]);
    let request = input.piece();
    let response = input.rest();
    let exchange = Exchange { head: &REQUESTS[row], request, status, content_type, response };
    for call in exchange.calls(cuts) {
        assert_nothing_invented(&call, [response]);
    }
});
