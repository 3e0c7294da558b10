//! Amazon's event stream: bytes that are none, and messages whose checksums are right, with anything in
//! them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use llm_tracker::stream::RequestHead;
use llm_tracker_fuzz::{
    Input,
    play::{Exchange, eventstream_message},
    seeds,
    wire::assert_nothing_invented,
};

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fuzz_target!(init: seeds::plant("eventstream"), |data: &[u8]| {
    let mut input = Input::new(data);
    let path = input.choose(&["/model/m/invoke-with-response-stream", "/model/m/converse-stream", "/model/m/invoke"]);
    let cuts = input.number();
    let head = RequestHead {
        method: "POST".into(),
        path: path.into(),
        host: Some("bedrock-runtime.us-east-1.amazonaws.com".into()),
        ..RequestHead::default()
    };
    let (mut response, mut payloads) = (Vec::new(), Vec::new());
    while !input.is_empty() {
        let kind = input.choose(&["event", "event", "event", "exception", "error"]);
        let event = input.choose(&["chunk", "messageStart", "contentBlockStart", "contentBlockDelta", "messageStop", "metadata", ""]);
        let raw = input.byte() == 0xff;
        let payload = input.piece();
        payloads.push(payload);
        let wrapped = format!(r#"{{"bytes":"{}","p":"abc"}}"#, base64(payload));
        let payload = if event == "chunk" { wrapped.as_bytes() } else { payload };
        if raw {
            response.extend_from_slice(payload);
        } else {
            let headers = [(":message-type", kind), (":event-type", event), (":exception-type", "someException")];
            response.extend(eventstream_message(&headers, payload));
        }
    }
    let exchange = Exchange {
        head: &head,
        request: br#"{"messages":[]}"#,
        status: 200,
        content_type: "application/vnd.amazon.eventstream",
        response: &response,
    };
    for call in exchange.calls(cuts) {
        assert_nothing_invented(&call, payloads.iter().copied().chain([&response[..]]));
    }
});

fn base64(data: &[u8]) -> String {
    let mut text = String::new();
    for group in data.chunks(3) {
        let bits = group.iter().fold(0, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let sextet = (bits >> (18 - 6 * digit) & 63) as usize;
            text.push(if digit <= group.len() { BASE64[sextet].into() } else { '=' });
        }
    }
    text
}
