//! Lines of JSON, which may be documents, halves of them, or nothing of the kind.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_tracker::stream::RequestHead;
use llm_tracker_fuzz::{Input, play::Exchange, seeds, wire::assert_nothing_invented};

fuzz_target!(init: seeds::plant("ndjson"), |data: &[u8]| {
    let mut input = Input::new(data);
    let path = input.choose(&["/api/chat", "/api/generate", "/v1/chat", "/v1/chat/completions"]);
    let content_type = input.choose(&["application/x-ndjson", "application/stream+json", "application/json"]);
    let cuts = input.number();
    let response = input.rest();
    let head = RequestHead {
        method: "POST".into(),
        path: path.into(),
        host: Some("localhost".into()),
        port: Some(11434),
        ..RequestHead::default()
    };
    let request = br#"{"model":"m","messages":[{"role":"user"}]}"#;
    let exchange = Exchange { head: &head, request, status: 200, content_type, response };
    for call in exchange.calls(cuts) {
        assert_nothing_invented(&call, [response]);
    }
});
