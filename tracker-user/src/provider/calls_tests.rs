use super::*;
use crate::{
    capture::Timestamp,
    provider::{Estimates, Interest, Usage, UsageSource, exchange::Exchange},
    stream::{End, RequestHead, ResponseHead, Role},
};

/// One exchange, made call by call so that a test only says what it is about.
struct Made<'a> {
    host: &'a str,
    path: &'a str,
    request: &'a str,
    status: u16,
    end: End,
}

const CHAT: Made<'static> = Made {
    host: "api.openai.com",
    path: "/v1/chat/completions",
    request: r#"{"model":"m","messages":[]}"#,
    status: 200,
    end: End::Complete,
};

const MESSAGES: Made<'static> = Made { host: "api.anthropic.com", path: "/v1/messages", ..CHAT };

impl Made<'_> {
    /// The call that comes of a response in these pieces, a second apart.
    fn answered(&self, pieces: &[&str]) -> Option<Call> {
        let mut calls = Calls::new(Arc::new(Catalog::new().with_estimates(Estimates::Never)));
        let mut out = Vec::new();
        let mut second = 0;
        let mut clock = || {
            second += 1;
            Timestamp((second - 1) * 1_000_000_000)
        };
        let mut handle = |event: Event<'_>| calls.handle(&event, &mut |call| out.push(call));
        let exchange = ExchangeId(3);
        let head = RequestHead {
            method: "POST".into(),
            path: self.path.into(),
            host: Some(self.host.into()),
            ..RequestHead::default()
        };
        handle(Event::Request { exchange, role: Role::Client, head: &head, at: clock() });
        if !self.request.is_empty() {
            handle(Event::RequestBody { exchange, data: self.request.as_bytes(), at: Timestamp(0) });
        }
        if self.status > 0 {
            let head = ResponseHead { status: self.status, ..ResponseHead::default() };
            handle(Event::Response { exchange, head: &head, at: Timestamp(0) });
        }
        for piece in pieces {
            handle(Event::ResponseBody { exchange, data: piece.as_bytes(), at: clock() });
        }
        handle(Event::End { exchange, end: self.end, at: clock() });
        assert_eq!(calls.in_flight(), 0);
        assert!(out.len() < 2);
        out.pop()
    }

    fn call(&self, pieces: &[&str]) -> Call {
        self.answered(pieces).expect("a call")
    }
}

const MESSAGE_START: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\
    \"model\":\"claude\",\"usage\":{\"input_tokens\":3,\"cache_read_input_tokens\":40,\"output_tokens\":1}}}\n\n";
const TEXT: &str = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"SECRET\"}}\n\n";
const MESSAGE_DELTA: &str = "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}\n\n";
const MESSAGE_STOP: &str = "data: {\"type\":\"message_stop\"}\n\n";

#[test]
fn a_cut_message_has_no_output_count() {
    for end in [End::Closed, End::Gap, End::Malformed, End::Complete] {
        let call = Made { end, ..MESSAGES }.call(&[MESSAGE_START, TEXT]);
        assert_eq!(call.error.as_deref(), Some("interrupted"), "{end:?}");
        assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (Some(43), None));
        assert_eq!(call.usage.cache_read_input_tokens, Some(40));
        assert_eq!(call.usage.source, UsageSource::Reported);
        assert_eq!(
            (call.response_id.as_deref(), call.response_model.as_deref()),
            (Some("msg_1"), Some("claude"))
        );
        assert!(call.streaming && call.finish_reasons.is_empty());
    }
}

#[test]
fn after_its_terminator_a_stream_may_be_closed() {
    let call =
        Made { end: End::Closed, ..MESSAGES }.call(&[MESSAGE_START, TEXT, MESSAGE_DELTA, MESSAGE_STOP]);
    assert_eq!((call.error, call.usage.output_tokens), (None, Some(9)));
    // The last count was there, the terminator was not.
    let call = MESSAGES.call(&[MESSAGE_START, MESSAGE_DELTA]);
    assert_eq!((call.error.as_deref(), call.usage.output_tokens), (Some("interrupted"), Some(9)));
    // Only in a whole stream is the first count as good as any.
    let call = MESSAGES.call(&[MESSAGE_START, MESSAGE_STOP]);
    assert_eq!((call.error, call.usage.output_tokens), (None, Some(1)));
}

#[test]
fn a_stream_without_usage_has_no_numbers() {
    let call = CHAT.call(&[
        "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n",
        "data: [DONE]\n\n",
    ]);
    assert_eq!(call.usage, Usage::default());
    assert_eq!(call.usage.source, UsageSource::Missing);
    assert_eq!(call.error, None);
}

#[test]
fn the_first_token_is_the_first_that_carries_content() {
    let role = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
    let text = "data: {\"choices\":[{\"index\":0,\"delta\":{\"reasoning_content\":\"x\"}}]}\n\n";
    let call = CHAT.call(&[": waiting\n\n", role, text, text, "data: [DONE]\n\n"]);
    assert_eq!(call.time_to_first_token_seconds, Some(3.0));
    assert!((call.duration_seconds - 5.0).abs() < 1e-9, "to the last byte, not to the end's notice");
    let call =
        MESSAGES.call(&[MESSAGE_START, "event: ping\ndata: {\"type\": \"ping\"}\n\n", TEXT, MESSAGE_STOP]);
    assert_eq!(call.time_to_first_token_seconds, Some(3.0));
    let call = CHAT.call(&["{\"choices\":[{\"message\":{\"content\":\"x\"}}]}"]);
    assert_eq!((call.streaming, call.time_to_first_token_seconds), (false, None));
}

#[test]
fn tokens_and_chunks_are_timed() {
    let chunk = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";
    let usage = |details: &str| {
        format!(
            "data: {{\"choices\":[],\"usage\":{{\"prompt_tokens\":1,\"completion_tokens\":5{details}}}}}\n\n"
        )
    };
    let (plain, reasoned) = (usage(""), usage(",\"completion_tokens_details\":{\"reasoning_tokens\":2}"));
    let done = "data: [DONE]\n\n";
    // Three chunks: one, a second later two at once.
    let call = CHAT.call(&[chunk, &chunk.repeat(2), &plain, done]);
    assert_eq!(call.time_per_output_token_seconds, Some(0.25));
    assert_eq!((call.chunk_times.counts[0], call.chunk_times.counts[7], call.chunk_times.sum), (1, 1, 1.0));
    assert_eq!(call.output_tokens_per_second(), Some(5.0 / 4.0));
    let call = CHAT.call(&[chunk, chunk, &reasoned, done]);
    assert_eq!(call.time_per_output_token_seconds, None, "reasoning may have been streamed or not");
    let call = CHAT.call(&[chunk, chunk, &plain]);
    assert_eq!(call.time_per_output_token_seconds, None, "cut short");
    let call = CHAT.call(&[r#"{"choices":[{"message":{"content":"x"}}],"usage":{"completion_tokens":5}}"#]);
    assert_eq!(call.chunk_times, Default::default());
}

#[test]
fn a_repeated_request_is_told_from_another() {
    let catalog = Arc::new(Catalog::new());
    let mut second = 0;
    let mut send = |process: u32, body: &[&str], status: u16, said: Option<&str>| {
        let mut calls = Calls::new(Arc::clone(&catalog)).of_process(process);
        let (exchange, mut made) = (ExchangeId(0), None);
        let mut handle = |event: Event<'_>| calls.handle(&event, &mut |call| made = Some(call));
        let mut head = RequestHead {
            method: "POST".into(),
            path: CHAT.path.into(),
            host: Some(CHAT.host.into()),
            ..RequestHead::default()
        };
        head.headers.extend(said.map(|said| ("x-stainless-retry-count", said.to_owned())));
        second += 2;
        let at = |half: u64| Timestamp((second + half) * 500_000_000);
        handle(Event::Request { exchange, role: Role::Client, head: &head, at: at(0) });
        for data in body {
            handle(Event::RequestBody { exchange, data: data.as_bytes(), at: at(0) });
        }
        let head = ResponseHead { status, ..ResponseHead::default() };
        handle(Event::Response { exchange, head: &head, at: at(1) });
        handle(Event::End { exchange, end: End::Complete, at: at(1) });
        made.and_then(|call| call.retry)
    };
    let whole = [r#"{"model":"m","messages":[1]}"#];
    let pieces = [r#"{"model":"m","#, r#""messages":"#, "[1]}"];
    assert_eq!(send(1, &whole, 429, None), None);
    assert_eq!(send(2, &whole, 200, None), None);
    assert_eq!(send(1, &[r#"{"model":"m","messages":[2]}"#], 200, None), None);
    assert_eq!(send(1, &pieces, 503, None), Some(1));
    assert_eq!(send(1, &whole, 200, Some("2")), Some(2));
    assert_eq!(send(1, &whole, 200, None), None);
}

#[test]
fn errors_have_the_providers_type_or_the_status() {
    for (status, body, error) in [
        (400, r#"{"error":{"type":"invalid_request_error","code":"x"}}"#, Some("invalid_request_error")),
        (404, r#"{"error":{"type":null,"code":"model_not_found"}}"#, Some("model_not_found")),
        (429, r#"[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}]"#, Some("RESOURCE_EXHAUSTED")),
        (200, r#"{"error":{"message":"no","code":502}}"#, Some("502")),
        (400, r#"{"object":"error","type":"invalid_model","code":"1500"}"#, Some("invalid_model")),
        (400, r#"{"code":"invalid-argument","error":"a long message"}"#, Some("invalid-argument")),
        (503, "<html>busy</html>", Some("503")),
        (500, "", Some("500")),
        (200, "data: {\"error\":{\"message\":\"boom\"}}\n\n", Some("error")),
        (200, "event: error\ndata: {}\n\n", Some("error")),
        (200, "data: {}\n\nerror: {\"message\":\"boom\"}\n\n", Some("error")),
        (200, r#"{"error":null,"choices":[]}"#, None),
        (200, r#"{"choices":["#, Some("interrupted")),
    ] {
        let pieces = if body.is_empty() { vec![] } else { vec![body] };
        assert_eq!(Made { status, ..CHAT }.call(&pieces).error.as_deref(), error, "{status} {body}");
    }
    let overloaded = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
    assert_eq!(MESSAGES.call(&[MESSAGE_START, overloaded]).error.as_deref(), Some("overloaded_error"));
}

#[test]
fn vendors_count_in_their_own_way() {
    let body =
        |usage: &str| format!("{{\"choices\":[{{\"finish_reason\":\"stop\"}}],\"usage\":{{{usage}}}}}");
    let numbers = |host: &'static str, usage: &str| {
        let usage = Made { host, ..CHAT }.call(&[&body(usage)]).usage;
        (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens)
    };
    let reasoning =
        r#""prompt_tokens":9,"completion_tokens":2,"completion_tokens_details":{"reasoning_tokens":5}"#;
    assert_eq!(numbers("api.openai.com", reasoning), (Some(9), Some(2), Some(5)));
    assert_eq!(numbers("api.x.ai", reasoning), (Some(9), Some(7), Some(5)));
    // A gateway in front of one that counts beside: the total says so.
    let total = format!("{reasoning},\"total_tokens\":16");
    assert_eq!(numbers("gateway.example", &total), (Some(9), Some(7), Some(5)));
    let hidden = r#""prompt_tokens":9,"completion_tokens":2,"total_tokens":31"#;
    assert_eq!(numbers("generativelanguage.googleapis.com", hidden), (Some(9), Some(22), Some(20)));
    assert_eq!(numbers("api.openai.com", hidden), (Some(9), Some(2), None));
    let audio = r#""prompt_tokens":4,"completion_tokens":2,"prompt_tokens_details":{"audio_tokens":300}"#;
    assert_eq!(numbers("api.mistral.ai", audio), (Some(304), Some(2), None));
    assert_eq!(numbers("api.openai.com", audio), (Some(4), Some(2), None));
    let odd = r#""prompt_tokens":28.0,"completion_tokens":-9,"prompt_tokens_details":null"#;
    assert_eq!(numbers("api.openai.com", odd), (Some(28), None, None));
}

#[test]
fn repeats_are_not_added_up() {
    let usage = "{\"prompt_tokens\":5,\"completion_tokens\":3,\"total_tokens\":8}";
    let finish = format!(
        "data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"stop\"}}],\"x_groq\":{{\"usage\":{usage}}},\"usage\":{usage}}}\n\n"
    );
    let last = format!("data: {{\"choices\":[],\"usage\":{usage}}}\n\n");
    let call = Made { host: "api.groq.com", path: "/openai/v1/chat/completions", ..CHAT }.call(&[
        &finish,
        &last,
        "data: [DONE]\n\n",
    ]);
    assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (Some(5), Some(3)));
    assert_eq!(call.finish_reasons, ["stop"]);
}

#[test]
fn tools_are_named_once_and_in_order() {
    let delta = |choice: u32, calls: &str| {
        format!("data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{calls}]}},\"index\":{choice}}}]}}\n\n")
    };
    let call = CHAT.call(&[
        &delta(0, r#"{"index":0,"id":"a","function":{"name":"one","arguments":""}}"#),
        &delta(0, r#"{"index":0,"function":{"name":"","arguments":"{}"}}"#),
        &delta(0, r#"{"index":1,"id":"b","function":{"name":"two"}},{"index":2,"id":"c","function":{"name":"two"}}"#),
        &delta(0, r#"{"index":1,"id":"b","function":{"name":"two","arguments":"x"}}"#),
        &delta(1, r#"{"index":0,"id":"d","function":{"name":"three"}}"#),
        // A new id under an old number, and a call without a number.
        &delta(0, r#"{"index":0,"id":"e","function":{"name":"four"}}"#),
        &delta(0, r#"{"id":"f","function":{"name":"five"}}"#),
    ]);
    assert_eq!(call.tool_calls, ["one", "two", "two", "three", "four", "five"]);
    let many = format!(
        r#"{{"choices":[{{"message":{{"tool_calls":[{}]}}}}]}}"#,
        [r#"{"function":{"name":"f"}}"#; 500].join(",")
    );
    assert_eq!(CHAT.call(&[&many]).tool_calls.len(), 64);
}

#[test]
fn an_unknown_host_needs_bodies_that_agree() {
    let answer = r#"{"id":"c","model":"llama","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    let elsewhere = Made { host: "shop.example", path: "/search/completions", ..CHAT };
    let call = elsewhere.call(&[answer]);
    assert_eq!((call.provider, call.operation), ("unknown", "text_completion"));
    assert_eq!(Made { request: r#"{"q":"shoes"}"#, ..elsewhere }.answered(&[r#"{"items":[]}"#]), None);
    assert_eq!(Made { request: "", status: 0, end: End::Gap, ..elsewhere }.answered(&[]), None);
    assert!(Made { request: "", ..elsewhere }.answered(&[answer]).is_some());
}

/// Without a path the counts say too little: transcriptions and images have those of `responses`.
#[test]
fn an_unknown_path_needs_an_answer_that_only_one_dialect_has() {
    let made = Made { host: "", path: "", request: r#"{"model":"m","input":"x","prompt":"x"}"#, ..CHAT };
    let usage = r#""model":"m","usage":{"input_tokens":3,"output_tokens":4}}"#;
    for other in
        ["{", r#"{"object":"response.input_tokens","#, r#"{"object":"thread.run","#, r#"{"type":"x","#]
    {
        assert_eq!(made.answered(&[other, usage]), None, "{other}");
    }
    let call = made.call(&[r#"{"object":"response","#, usage]);
    assert_eq!((call.operation, call.usage.output_tokens), ("chat", Some(4)));
    let call = made.call(&[r#"{"data":[{"embedding":[0.5]}],"usage":{"prompt_tokens":3}}"#]);
    assert_eq!((call.operation, call.usage.input_tokens), ("embeddings", Some(3)));

    // A look at an answer that was given before asks nothing.
    let look = Made { request: "", ..made };
    assert_eq!(look.answered(&[r#"{"object":"response","#, usage]), None);
}

#[test]
fn what_was_never_answered_is_a_call_too() {
    let call = Made { status: 0, end: End::Closed, ..CHAT }.call(&[]);
    assert_eq!(
        (call.status, call.error.as_deref(), call.model.as_deref()),
        (None, Some("interrupted"), Some("m"))
    );
}

#[test]
fn nothing_of_the_content_is_kept() {
    let request = r#"{"model":"m\u0007\n","messages":[{"role":"user","content":"SECRET"}],"user":"SECRET"}"#;
    let call = Made { request, ..MESSAGES }.call(&[MESSAGE_START, TEXT, MESSAGE_DELTA, MESSAGE_STOP]);
    assert_eq!(call.model.as_deref(), Some("m"));
    assert!(!format!("{call:?}").contains("SECRET"));
    let error = format!(r#"{{"error":{{"type":"{}","message":"SECRET"}}}}"#, "SECRET ".repeat(20));
    let call = Made { status: 400, ..CHAT }.call(&[&error]);
    assert_eq!(call.error.as_deref(), Some("400"));
    assert!(!format!("{call:?}").contains("SECRET"));
    let long = format!(r#"{{"id":"{}","choices":[]}}"#, "é".repeat(1000));
    assert_eq!(CHAT.call(&[&long]).response_id.map(|id| id.len()), Some(256));
}

#[test]
fn an_exchange_in_flight_is_small_and_others_cost_nothing() {
    assert!(size_of::<Exchange>() < 2048, "{}", size_of::<Exchange>());
    let catalog = Arc::new(Catalog::new());
    let mut calls = Calls::new(Arc::clone(&catalog));
    let mut head =
        RequestHead { method: "GET".into(), host: Some("example.org".into()), ..RequestHead::default() };
    assert_eq!(catalog.interest(&head), Interest::Unrelated);
    let request = |head: &RequestHead, n, calls: &mut Calls| {
        let event = Event::Request { exchange: ExchangeId(n), role: Role::Client, head, at: Timestamp(0) };
        calls.handle(&event, &mut |_| {});
    };
    request(&head, 0, &mut calls);
    assert_eq!(calls.in_flight(), 0);
    head = RequestHead {
        method: "POST".into(),
        host: Some("api.openai.com".into()),
        path: "/v1/embeddings".into(),
        ..head
    };
    for n in 0..2000 {
        request(&head, n, &mut calls);
    }
    assert_eq!((calls.in_flight(), calls.untracked()), (MAX_IN_FLIGHT, 2000 - MAX_IN_FLIGHT as u64));
}

proptest::proptest! {
    /// Damaged, cut and rearranged streams of every dialect: no panic, and the same call in any pieces.
    #[test]
    fn any_stream_in_any_pieces_gives_the_same(
        parts in proptest::collection::vec((0_usize..10, 0_usize..300, "[\\x00-\\x7f]{0,3}"), 0..8),
        size in 1_usize..50,
        which in 0_usize..4,
    ) {
        let blocks = [
            MESSAGE_START, TEXT, MESSAGE_DELTA, MESSAGE_STOP,
            "data: {\"choices\":[{\"index\":1,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"a\",\"function\":{\"name\":\"f\"}}]}}]}\r\n\r\n",
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n",
            "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"status\":\"completed\",\"output\":[{\"type\":\"function_call\",\"name\":\"f\"}],\"usage\":{\"input_tokens\":1}}}\n\n",
            "[{\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":4}}\n,\r\n{}]",
            "{\"error\":{\"type\":\"x\",\"code\":1}}",
            ": comment\n\n",
        ];
        let mut body = String::new();
        for (block, cut, noise) in &parts {
            body.push_str(&blocks[*block][..blocks[*block].len().min(*cut)]);
            body.push_str(noise);
        }
        let path = ["/v1/messages", "/v1/chat/completions", "/v1/responses", "/v1beta/models/m:streamGenerateContent"][which];
        let made = Made { path, ..CHAT };
        let whole = made.call(&[&body]);
        let pieces: Vec<_> = body.as_bytes().chunks(size).map(|piece| str::from_utf8(piece).unwrap()).collect();
        let cut = made.call(&pieces).at_the_times_of(&whole);
        assert_eq!(whole, cut);
    }
}
