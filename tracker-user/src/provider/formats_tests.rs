//! What the formats beside OpenAI's, Anthropic's and Google's chat have of their own: framings,
//! headers, objects that are polled, gateways.

use super::*;
use crate::{
    capture::Timestamp,
    provider::{Interest, UsageSource, eventstream::tests::message},
    stream::{End, RequestHead, ResponseHead, Role},
};

/// One exchange with a catalog that others may have used before.
pub(super) struct Made<'a> {
    pub(super) catalog: Arc<Catalog>,
    pub(super) method: &'a str,
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    pub(super) request: &'a str,
    pub(super) status: u16,
    pub(super) content_type: &'a str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) trailers: Vec<(&'static str, String)>,
    pub(super) end: End,
}

pub(super) fn made<'a>(host: &'a str, path: &'a str) -> Made<'a> {
    Made {
        catalog: Arc::default(),
        method: "POST",
        host,
        path,
        request: "",
        status: 200,
        content_type: "",
        headers: Vec::new(),
        trailers: Vec::new(),
        end: End::Complete,
    }
}

impl Made<'_> {
    /// The call, the same for the answer as a whole and byte by byte.
    fn answered(&self, answer: &[u8]) -> Option<Call> {
        // The memory of responses must not see the second one.
        let alone =
            || if Arc::strong_count(&self.catalog) > 1 { Arc::clone(&self.catalog) } else { Arc::default() };
        let whole = self.in_pieces(alone(), answer, usize::MAX);
        if Arc::strong_count(&self.catalog) == 1 {
            for size in [1, 7] {
                let cut = self.in_pieces(Arc::default(), answer, size);
                assert_eq!(whole.is_some(), cut.is_some());
                if let (Some(whole), Some(cut)) = (&whole, cut) {
                    assert_eq!(*whole, cut.at_the_times_of(whole), "{size} at a time");
                }
            }
        }
        whole
    }

    /// How far it has come is asked for after each piece, which changes nothing.
    fn in_pieces(&self, catalog: Arc<Catalog>, answer: &[u8], size: usize) -> Option<Call> {
        self.run(catalog, size, answer.chunks(size), &mut |_| {})
    }

    /// The same in these pieces, and how far it has come after each.
    pub(super) fn watched<'b>(
        &self,
        pieces: impl Iterator<Item = &'b [u8]>,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Option<Call> {
        self.run(Arc::default(), usize::MAX, pieces, watch)
    }

    fn run<'b>(
        &self,
        catalog: Arc<Catalog>,
        size: usize,
        pieces: impl Iterator<Item = &'b [u8]>,
        watch: &mut dyn FnMut(Progress<'_>),
    ) -> Option<Call> {
        let mut calls = Calls::new(catalog);
        let mut out = None;
        let mut handle =
            |calls: &mut Calls, event: Event<'_>| calls.handle(&event, &mut |call| out = Some(call));
        let (exchange, at) = (ExchangeId(0), Timestamp(0));
        let head = RequestHead {
            method: self.method.into(),
            path: self.path.into(),
            host: Some(self.host.into()),
            ..RequestHead::default()
        };
        handle(&mut calls, Event::Request { exchange, role: Role::Client, head: &head, at });
        for data in self.request.as_bytes().chunks(size) {
            handle(&mut calls, Event::RequestBody { exchange, data, at });
        }
        let content_type = (!self.content_type.is_empty()).then(|| self.content_type.to_owned());
        let head = ResponseHead { status: self.status, content_type, headers: self.headers.clone() };
        handle(&mut calls, Event::Response { exchange, head: &head, at });
        for data in pieces {
            handle(&mut calls, Event::ResponseBody { exchange, data, at });
            calls.progress(&mut |_, progress| watch(progress));
        }
        if !self.trailers.is_empty() {
            handle(&mut calls, Event::Trailers { exchange, headers: &self.trailers, at });
        }
        handle(&mut calls, Event::End { exchange, end: self.end, at });
        calls.progress(&mut |_, _| unreachable!("it is over"));
        out
    }

    pub(super) fn call(&self, answer: &[u8]) -> Call {
        self.answered(answer).expect("a call")
    }
}

const BEDROCK: &str = "bedrock-runtime.us-east-1.amazonaws.com";

/// A document in the envelope of `invoke-with-response-stream`.
fn chunk(document: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in document.as_bytes().chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, &b| bits << 8 | u32::from(b)) << (8 * (3 - group.len()));
        for at in 0..=group.len() {
            text.push(ALPHABET[(bits >> (18 - 6 * at)) as usize & 63] as char);
        }
        text.extend(std::iter::repeat_n('=', 3 - group.len()));
    }
    let payload = format!(r#"{{"bytes":"{text}","p":"abcdefg"}}"#);
    message(&[(":event-type", "chunk"), (":message-type", "event")], payload.as_bytes())
}

#[test]
fn a_models_own_events_come_in_an_envelope() {
    let path = "/model/us.anthropic.claude-3-5-sonnet-v2%3A0/invoke-with-response-stream";
    let mut body = chunk(
        r#"{"type":"message_start","message":{"id":"m","model":"claude","usage":{"input_tokens":3,"cache_read_input_tokens":4,"output_tokens":1}}}"#,
    );
    body.extend(chunk(
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","name":"f"}}"#,
    ));
    body.extend(chunk(
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}}"#,
    ));
    let stop = chunk(
        r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":3,"outputTokenCount":7}}"#,
    );
    let call = made(BEDROCK, path).call(&[&body[..], &stop].concat());
    assert_eq!((call.provider, call.operation), ("aws.bedrock", "chat"));
    assert_eq!(call.model.as_deref(), Some("us.anthropic.claude-3-5-sonnet-v2:0"));
    assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (Some(7), Some(9)));
    assert_eq!((call.tool_calls, call.streaming, call.error), (vec!["f".to_owned()], true, None));

    let exception = message(
        &[(":exception-type", "modelStreamErrorException"), (":message-type", "exception")],
        b"{\"message\":\"no\"}",
    );
    let call = made(BEDROCK, path).call(&[&body[..], &exception].concat());
    assert_eq!(call.error.as_deref(), Some("modelStreamErrorException"));

    // Cut, and damaged: nothing after the damage is read.
    let call = made(BEDROCK, path).call(&[&body[..], &stop[..stop.len() - 90]].concat());
    assert_eq!(call.error.as_deref(), Some("interrupted"));
    let mut damaged = [&body[..], &stop].concat();
    damaged[20] ^= 1;
    let call = made(BEDROCK, path).call(&damaged);
    assert_eq!((call.error.as_deref(), call.usage.output_tokens), (Some("interrupted"), None));
}

#[test]
fn usage_that_is_only_in_headers() {
    let request = Made {
        headers: vec![
            ("x-amzn-bedrock-input-token-count", "8".into()),
            ("x-amzn-bedrock-output-token-count", "12".into()),
            ("x-amzn-bedrock-cache-read-input-token-count", "100".into()),
            ("x-amzn-requestid", "r-1".into()),
        ],
        ..made(BEDROCK, "/model/mistral.mistral-7b-instruct-v0%3A2/invoke")
    };
    let call = request.call(br#"{"outputs":[{"text":"x","stop_reason":"stop"}]}"#);
    assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (Some(108), Some(12)));
    assert_eq!((call.response_id.as_deref(), call.finish_reasons), (Some("r-1"), vec!["stop".to_owned()]));
    // They may come behind the body, too.
    let behind = Made {
        trailers: request.headers.clone(),
        ..made(BEDROCK, "/model/mistral.mistral-7b-instruct-v0%3A2/invoke")
    };
    let same = behind.call(br#"{"outputs":[{"text":"x","stop_reason":"stop"}]}"#);
    assert_eq!((&same.usage, &same.response_id), (&call.usage, &call.response_id));
    // The body goes first.
    let call = request.call(br#"{"prompt_token_count":1,"generation_token_count":2,"stop_reason":"length"}"#);
    assert_eq!(call.usage.output_tokens, Some(2));
    let error = Made {
        status: 400,
        headers: vec![("x-amzn-errortype", "ValidationException:http://internal.amazon.com/".into())],
        ..made(BEDROCK, "/model/arn:aws:bedrock:us-east-1:1:inference-profile/us.m/converse")
    };
    let call = error.call(br#"{"message":"SECRET"}"#);
    assert_eq!(call.error.as_deref(), Some("ValidationException"));
    assert_eq!(call.model.as_deref(), Some("arn:aws:bedrock:us-east-1:1:inference-profile/us.m"));
}

#[test]
fn converse_counts_after_its_stop() {
    let event = |name: &str, payload: &str| {
        message(&[(":event-type", name), (":message-type", "event")], payload.as_bytes())
    };
    let start = [
        event("messageStart", r#"{"role":"assistant"}"#),
        event(
            "contentBlockStart",
            r#"{"contentBlockIndex":0,"start":{"toolUse":{"name":"f","toolUseId":"t"}}}"#,
        ),
        event("messageStop", r#"{"stopReason":"tool_use"}"#),
    ]
    .concat();
    let metadata = event(
        "metadata",
        r#"{"usage":{"inputTokens":5,"outputTokens":6,"cacheWriteInputTokens":7,"cacheWriteInputTokenCount":7,"totalTokens":18}}"#,
    );
    let call = made(BEDROCK, "/model/m/converse-stream").call(&[&start[..], &metadata].concat());
    assert_eq!((call.usage.input_tokens, call.usage.cache_creation_input_tokens), (Some(12), Some(7)));
    assert_eq!((call.error, call.tool_calls), (None, vec!["f".to_owned()]));
    let cut = Made { end: End::Closed, ..made(BEDROCK, "/model/m/converse-stream") };
    assert_eq!(cut.call(&start).error.as_deref(), Some("interrupted"));
}

#[test]
fn lines_of_json() {
    let first =
        r#"{"model":"m","message":{"content":"x","tool_calls":[{"function":{"name":"f"}}]},"done":false}"#;
    let last = r#"{"model":"m","done":true,"done_reason":"stop","prompt_eval_count":4,"eval_count":5}"#;
    let ollama = Made { request: r#"{"model":"m","messages":[]}"#, ..made("gpu-7.example", "/api/chat") };
    let call = ollama.call(format!("{first}\n{last}\n").as_bytes());
    assert_eq!((call.provider, call.operation, call.streaming), ("unknown", "chat", true));
    assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (Some(4), Some(5)));
    assert_eq!((call.tool_calls.len(), call.error), (1, None));
    let call = ollama.call(format!("{first}\n{}", &last[..40]).as_bytes());
    assert_eq!((call.error.as_deref(), call.usage.source), (Some("interrupted"), UsageSource::Estimated));
    let one = Made { content_type: "application/x-ndjson", ..ollama };
    assert!(one.call(last.as_bytes()).streaming);
    let call = Made { status: 404, ..one }.call(br#"{"error":"model not found"}"#);
    assert_eq!((call.streaming, call.error.as_deref()), (false, Some("404")));
}

#[test]
fn a_background_response_is_one_call() {
    let catalog: Arc<Catalog> = Arc::default();
    let post = || Made {
        catalog: Arc::clone(&catalog),
        request: r#"{"model":"m","input":"x","background":true}"#,
        ..made("api.openai.com", "/v1/responses")
    };
    let get = |path| Made { method: "GET", catalog: Arc::clone(&catalog), ..made("api.openai.com", path) };
    let begun = post().call(br#"{"id":"resp_1","status":"queued","model":"m","usage":null}"#);
    assert_eq!((begun.usage.source, begun.continued), (UsageSource::Missing, false));
    assert!(begun.finish_reasons.is_empty());
    let poll = get("/v1/responses/resp_1");
    assert_eq!(poll.answered(br#"{"id":"resp_1","status":"in_progress","usage":null}"#), None);
    let done =
        br#"{"id":"resp_1","status":"completed","model":"m","usage":{"input_tokens":1,"output_tokens":2}}"#;
    let ended = poll.call(done);
    assert_eq!((ended.usage.output_tokens, ended.continued), (Some(2), true));
    assert_eq!(poll.answered(done), None, "asked for once more");
    // One that was made before anybody watched.
    let old = String::from_utf8_lossy(done).replace("resp_1", "resp_0");
    assert!(!get("/v1/responses/resp_0").call(old.as_bytes()).continued);
    // One that was whole when it was made.
    let new = old.replace("resp_0", "resp_2");
    post().call(new.as_bytes());
    assert_eq!(get("/v1/responses/resp_2").answered(new.as_bytes()), None);
    assert_eq!(get("/v1/responses/resp_3").answered(br#"{"error":{"code":"x"}}"#), None);
}

#[test]
fn an_operators_gateway_has_its_name() {
    #[derive(serde::Deserialize)]
    struct File {
        gateway: Vec<crate::provider::Gateway>,
    }
    let file: File = toml::from_str(
        r#"
        [[gateway]]
        name = "corp"
        hosts = ["*.corp.example", "10.0.0.7:8000"]
        [[gateway]]
        name = "asker"
        hosts = ["ask.example"]
        paths = ["/team/*/models/{model}/ask"]
        dialect = "anthropic.messages"
        "#,
    )
    .unwrap();
    let catalog = Arc::new(Catalog::new().with_gateways(file.gateway));
    let request =
        |host: &'static str, path: &'static str| Made { catalog: Arc::clone(&catalog), ..made(host, path) };
    let answer = br#"{"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
    let call = request("llm.corp.example", "/any/v1/chat/completions").call(answer);
    assert_eq!((call.provider, call.usage.output_tokens), ("corp", Some(2)));
    assert_eq!(request("10.0.0.8", "/v1/chat/completions").answered(answer), None);
    let call = request("ask.example", "/team/red/models/big/ask")
        .call(br#"{"usage":{"input_tokens":1,"output_tokens":3}}"#);
    assert_eq!((call.provider, call.operation, call.model.as_deref()), ("asker", "chat", Some("big")));
    assert_eq!(call.usage.output_tokens, Some(3));
    let head = |path: &str| RequestHead {
        method: "POST".into(),
        host: Some("ask.example".into()),
        path: path.into(),
        ..RequestHead::default()
    };
    assert_eq!(catalog.interest(&head("/x/team/red/models/big/ask")), Interest::Related);
    catalog.set_gateways(Vec::new());
    assert_eq!(catalog.interest(&head("/team/red/models/big/ask")), Interest::Unrelated);
}

#[test]
fn uploads_name_their_model_in_a_form() {
    let request = "--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n\0\x01\r\n--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--b--";
    let call = Made { request, ..made("speech.example", "/v1/audio/transcriptions") }
        .call(br#"{"text":"x","usage":{"type":"duration","seconds":3}}"#);
    assert_eq!((call.operation, call.model.as_deref()), ("transcription", Some("whisper-1")));
    assert_eq!(call.usage.source, UsageSource::Missing);
    // Sound begins with any byte, that of an event stream among them.
    let speech =
        Made { request: r#"{"model":"tts","input":"x"}"#, ..made("api.openai.com", "/v1/audio/speech") };
    for body in [&b"\0\0\0\x20ftypM4A \0\0\0\0"[..], b"ID3\x04", b"\xff\xfb"] {
        let call = speech.call(body);
        assert_eq!((call.error, call.streaming), (None, false));
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Any bytes, at any endpoint, in any pieces: no panic, and the same call.
    #[test]
    fn any_bytes_in_any_pieces_give_the_same(
        parts in proptest::collection::vec((0_usize..8, 0_usize..400, proptest::collection::vec(proptest::num::u8::ANY, 0..3)), 0..6),
        which in 0_usize..9,
    ) {
        let blocks = [
            chunk(r#"{"type":"message_delta","usage":{"output_tokens":9}}"#),
            message(&[(":event-type", "metadata")], br#"{"usage":{"inputTokens":5}}"#),
            message(&[(":message-type", "exception"), (":exception-type", "x")], b"{}"),
            br#"{"done":true,"eval_count":3,"tool_calls":[{"name":"f"}]}"#.to_vec(),
            b"event: thread.run.completed\ndata: {\"id\":\"run\",\"status\":\"completed\"}\n\n".to_vec(),
            b"event: thread.message.delta\ndata: {\"id\":\"msg\",\"status\":\"completed\"}\n\n".to_vec(),
            b"[{\"generated_text\":\"x\",\"details\":{\"generated_tokens\":1}}]".to_vec(),
            b"data: {\"type\":\"message-end\",\"delta\":{\"usage\":{\"tokens\":{\"input_tokens\":3}}}}\n\n".to_vec(),
        ];
        let (host, path) = [
            (BEDROCK, "/model/m/invoke-with-response-stream"), (BEDROCK, "/model/m/converse-stream"),
            ("api.cohere.com", "/v1/chat"), ("localhost", "/api/chat"), ("api.openai.com", "/v1/threads/runs"),
            ("localhost", "/generate"), ("api.openai.com", "/v1/audio/speech"), ("api.replicate.com", "/v1/predictions"),
            ("generativelanguage.googleapis.com", "/v1beta/interactions"),
        ][which];
        let mut body = Vec::new();
        for (block, cut, noise) in &parts {
            body.extend_from_slice(&blocks[*block][..blocks[*block].len().min(*cut)]);
            body.extend_from_slice(noise);
        }
        made(host, path).answered(&body);
    }
}

#[test]
fn an_agents_traces_are_added_up() {
    let agent =
        made("bedrock-agent-runtime.eu-west-1.amazonaws.com", "/agents/A/agentAliases/B/sessions/S/text");
    let trace = |kind: &str, input: u32, output: u32| {
        let usage = format!(r#"{{"usage":{{"inputTokens":{input},"outputTokens":{output}}}}}"#);
        let output = format!(r#"{{"modelInvocationOutput":{{"metadata":{usage}}}}}"#);
        message(&[(":event-type", "trace")], format!(r#"{{"trace":{{"{kind}":{output}}}}}"#).as_bytes())
    };
    let answer = message(&[(":event-type", "chunk")], br#"{"bytes":"SGVsbG8="}"#);
    let body =
        [trace("preProcessingTrace", 1, 2), trace("orchestrationTrace", 10, 20), answer.clone()].concat();
    let call = agent.call(&body);
    assert_eq!((call.provider, call.operation), ("aws.bedrock", "invoke_agent"));
    assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (Some(11), Some(22)));
    assert_eq!((call.error, call.streaming), (None, true));
    assert!(call.time_to_first_token_seconds.is_some());
    let call = agent.call(&answer);
    assert_eq!((call.error, call.usage.source), (None, UsageSource::Missing));
}

#[test]
fn sagemakers_containers() {
    let endpoint = || made("runtime.sagemaker.us-east-1.amazonaws.com", "/endpoints/llama-3/invocations");
    let call = endpoint()
        .call(br#"[{"generated_text":"x","details":{"generated_tokens":3,"finish_reason":"length"}}]"#);
    assert_eq!((call.provider, call.model.as_deref()), ("aws.sagemaker", Some("llama-3")));
    assert_eq!((call.usage.output_tokens, call.finish_reasons), (Some(3), vec!["length".to_owned()]));
    let call = endpoint().call(br#"{"choices":[{}],"usage":{"prompt_tokens":5,"completion_tokens":6}}"#);
    assert_eq!((call.usage.input_tokens, call.usage.output_tokens), (Some(5), Some(6)));
}

#[test]
fn dashscopes_own_format() {
    let request = r#"{"model":"qwen-plus","input":{"messages":[]}}"#;
    let generation = || Made {
        request,
        ..made("dashscope.aliyuncs.com", "/api/v1/services/aigc/text-generation/generation")
    };
    let call = generation().call(
        br#"{"output":{"choices":[{"finish_reason":"tool_calls","message":{"tool_calls":[{"index":0,"id":"t","function":{"name":"f"}}]}}]},
            "usage":{"input_tokens":5,"output_tokens":6,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":2}},"request_id":"r"}"#,
    );
    assert_eq!((call.provider, call.model.as_deref()), ("alibaba_cloud", Some("qwen-plus")));
    assert_eq!((call.usage.input_tokens, call.usage.cache_read_input_tokens), (Some(5), Some(2)));
    assert_eq!((call.tool_calls, call.response_id.as_deref()), (vec!["f".to_owned()], Some("r")));
    let event = |reason: &str, output: u32| {
        format!(
            "id:1\nevent:result\n:HTTP_STATUS/200\ndata:{{\"output\":{{\"text\":\"x\",\"finish_reason\":\"{reason}\"}},\
             \"usage\":{{\"input_tokens\":5,\"output_tokens\":{output}}},\"request_id\":\"r\"}}\n\n"
        )
    };
    let call = generation().call([event("null", 1), event("stop", 7)].concat().as_bytes());
    assert_eq!((call.usage.output_tokens, call.finish_reasons), (Some(7), vec!["stop".to_owned()]));
    assert_eq!((call.error, call.streaming), (None, true));
    let call = generation().call(event("null", 1).as_bytes());
    assert_eq!(call.error.as_deref(), Some("interrupted"));
    let refused = Made { status: 400, ..generation() };
    let call = refused.call(br#"{"code":"InvalidParameter","message":"no","request_id":"r"}"#);
    assert_eq!(call.error.as_deref(), Some("InvalidParameter"));
    let path = "/api/v1/services/embeddings/text-embedding/text-embedding";
    let call = Made { request, ..made("dashscope.aliyuncs.com", path) }
        .call(br#"{"output":{"embeddings":[]},"usage":{"total_tokens":4}}"#);
    assert_eq!((call.operation, call.usage.input_tokens), ("embeddings", Some(4)));
}

#[test]
fn a_deferred_completion_continues_its_request() {
    let deferred =
        |status| Made { method: "GET", status, ..made("api.x.ai", "/v1/chat/deferred-completion/some-id") };
    assert_eq!(deferred(202).answered(b""), None);
    let call = deferred(200)
        .call(br#"{"id":"c","choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":6}}"#);
    assert_eq!((call.usage.output_tokens, call.continued), (Some(6), true));
}
