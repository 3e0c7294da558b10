//! Where fuzzing begins: small examples of our own, in the forms that the targets read. They are
//! written anew by each run, so that no binary file has to be kept.

use std::{env, fs, path::PathBuf};

use crate::play::{REQUESTS, SOCKETS, eventstream_message, grpc_message, hpack_literal as literal};

/// Names the folder that seeds are written to; set by `cargo xtask fuzz`.
const FOLDER: &str = "LLM_TRACKER_FUZZ_SEEDS";

/// Writes the seeds of a target, if somebody wants them. libFuzzer reads the folder after that.
///
/// # Panics
/// When they cannot be written.
pub fn plant(target: &str) {
    let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) else { return };
    fs::create_dir_all(&folder).expect("the folder can be made");
    for (number, seed) in seeds(target).into_iter().enumerate() {
        fs::write(folder.join(format!("{number:02}")), seed).expect("the folder can be written to");
    }
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "http1" => http1(),
        "http2" => http2(),
        "websocket" => websocket(),
        "sse" => BODIES.iter().map(|(_, _, body)| [CUTS, body.as_bytes()].concat()).collect(),
        "json" => [
            r#"{"a":1,"b":{"a":-2.5e1,"c":{"d":"t\u00e9\n\ud83d\ude00"}},"u":[{"a":1,"t":"x"},{"a":null}],"p":"a\"b","o":{"x":[{}]}}"#,
            "\u{feff}[{\"a\":12},{\"a\":true}] {\"a\":0}\n{\"a\":\"b\"}",
        ]
        .map(|text| [CUTS, text.as_bytes()].concat())
        .into(),
        "ndjson" => [OLLAMA, COHERE_1].map(|body| [&[0, 0][..], CUTS, body.as_bytes()].concat()).into(),
        "eventstream" => eventstream(),
        "dialects" => dialects(),
        "grpc" => grpc(),
        "realtime" => realtime(),
        "locate" => vec![elf()],
        _ => Vec::new(),
    }
}

/// Pieces of a few bytes.
const CUTS: &[u8] = &[1, 3];

/// A length and the bytes.
fn piece(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    [&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes(), bytes].concat()
}

fn http1() -> Vec<Vec<u8>> {
    let request = "POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nContent-Length: 14\r\n\r\n{\"model\":\"m\"}\n";
    let response = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n1f\r\ndata: {\"choices\":[{\"delta\":1}]}\r\n0\r\n\r\n";
    let hostile = |pieces: &[(u8, &[u8])]| {
        let mut seed = vec![0];
        for (choice, bytes) in pieces {
            seed.push(*choice);
            seed.extend(piece(bytes));
        }
        seed
    };
    let (head, tail) = response.as_bytes().split_at(60);
    let mut framed = [&[1][..], CUTS].concat();
    for (coding, choice) in [(0, 0), (1, 0), (1, 3), (3, 1), (4, 5)] {
        framed.extend([0, 0, coding, choice]);
        framed.extend(piece(r#"{"model":"m","messages":[{}]}"#));
        framed.extend([0, 2, coding, choice]);
        framed.extend(piece(r#"{"choices":[{"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}"#));
    }
    vec![
        hostile(&[(6, request.as_bytes()), (7, head), (7, tail)]),
        hostile(&[(6, request.as_bytes()), (1, b""), (7, response.as_bytes()), (6, request.as_bytes())]),
        framed,
    ]
}

fn http2() -> Vec<Vec<u8>> {
    let frame = |direction: u8, kind: u8, flags: u8, payload: &[u8]| {
        [vec![direction | kind, flags, 1], piece(payload)].concat()
    };
    let request: Vec<u8> = [
        vec![0x83],
        literal(":path", "/v1/chat/completions"),
        literal(":authority", "api.openai.com"),
        literal("content-type", "application/json"),
    ]
    .concat();
    let response = [vec![0x88], literal("content-type", "text/event-stream")].concat();
    let sse = "data: {\"choices\":[{\"index\":0,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7}}\n\n";
    let grpc = grpc_message(b"\x0a\x04text\x10\x07");
    let exchange = |request: &[u8], body: &[u8], response: &[u8], answer: &[u8]| {
        [
            frame(0, 1, 4, request),
            frame(0, 0, 1, body),
            frame(0x80, 1, 4, response),
            frame(0x80, 0, 8, &[&[3][..], answer, &[0; 3]].concat()),
            frame(0x80, 1, 5, &literal("grpc-status", "0")),
        ]
        .concat()
    };
    let grpc_request = [
        vec![0x83],
        literal(":path", "/xai_api.Chat/GetCompletion"),
        literal(":authority", "api.x.ai"),
        literal("content-type", "application/grpc"),
    ]
    .concat();
    let grpc_response = [vec![0x88], literal("content-type", "application/grpc")].concat();
    let head = [&[0][..], CUTS].concat();
    vec![
        [&head[..], &exchange(&request, br#"{"model":"m","messages":[]}"#, &response, sse.as_bytes())]
            .concat(),
        [&head[..], &exchange(&grpc_request, &grpc, &grpc_response, &grpc)].concat(),
        [&[1][..], CUTS, &exchange(&request, b"{}", &response, sse.as_bytes())].concat(),
    ]
}

/// A field of Protocol Buffers: a number, or what another message or text is.
fn field(number: u8, value: Result<u8, &[u8]>) -> Vec<u8> {
    match value {
        Ok(value) => vec![number << 3, value],
        Err(bytes) => [&[number << 3 | 2, bytes.len() as u8], bytes].concat(),
    }
}

fn grpc() -> Vec<Vec<u8>> {
    let text = |number: u8, text: &str| field(number, Err(text.as_bytes()));
    let message = |number: u8, fields: &[Vec<u8>]| field(number, Err(&fields.concat()));
    let counts = |fields: &[(u8, u8)]| fields.iter().flat_map(|&(n, count)| field(n, Ok(count))).collect();
    let gemini = [
        [text(1, "models/gemini-m"), message(2, &[message(1, &[text(2, "Say hello.")])])].concat(),
        [
            message(1, &[message(1, &[message(1, &[text(2, "Hello!")])]), field(2, Ok(1))]),
            message(3, &[counts(&[(1, 9), (2, 4), (4, 3)])]),
            text(4, "gemini-m"),
        ]
        .concat(),
    ];
    let xai = [
        [message(1, &[message(1, &[text(1, "Say hello.")])]), text(2, "grok-m")].concat(),
        [
            text(1, "id"),
            message(2, &[field(1, Ok(3)), message(3, &[text(1, "Hello!")])]),
            text(6, "grok-m"),
            message(9, &[counts(&[(1, 4), (2, 9), (3, 13)])]),
        ]
        .concat(),
    ];
    let seed = |end: &str, [request, response]: &[Vec<u8>; 2]| {
        let rows = crate::play::RPCS.iter();
        let row = rows.enumerate().find(|(_, head)| head.path.ends_with(end)).map_or(0, |(row, _)| row);
        let one = |message: &Vec<u8>| [&[0][..], &piece(message)].concat();
        [&[row as u8][..], CUTS, &[0, 0], &one(request), &[1], &one(response), &[1], &one(response)].concat()
    };
    vec![
        seed("GenerativeService/GenerateContent", &gemini),
        seed("GenerativeService/StreamGenerateContent", &gemini),
        seed("Chat/GetCompletion", &xai),
    ]
}

fn websocket() -> Vec<Vec<u8>> {
    let message = |choice: u8, first: u8, text: &str| [vec![choice, first], piece(text)].concat();
    let plain = [
        message(2, 0x81, r#"{"type":"response.create"}"#),
        message(3, 0x01, r#"{"type":"response.done","#),
        message(3, 0x8a, "pong"),
        message(3, 0x80, r#""response":{"id":"r","usage":{"input_tokens":3}}}"#),
        message(3, 0x88, "\x03\u{20}"),
    ]
    .concat();
    // "Hello" twice, compressed with what the first has left behind (RFC 7692, section 7.2.3.2).
    let hello = [vec![3, 0xc1], piece([0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00])].concat();
    let again = [vec![3, 0xc1], piece([0xf2, 0x00, 0x11, 0x00, 0x00])].concat();
    vec![
        [&[0][..], CUTS, &plain].concat(),
        [&[1][..], CUTS, &hello, &again].concat(),
        [&[2][..], CUTS, &hello, &hello].concat(),
    ]
}

fn eventstream() -> Vec<Vec<u8>> {
    let message = |kind: u8, event: u8, payload: &str| [vec![kind, event, 0], piece(payload)].concat();
    let invoke = [
        message(0, 0, r#"{"type":"message_start","message":{"id":"i","model":"m","usage":{"input_tokens":9,"output_tokens":1}}}"#),
        message(0, 0, r#"{"type":"content_block_delta","delta":{"text":"x"}}"#),
        message(0, 0, r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":4}}"#),
        message(0, 0, r#"{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":9,"outputTokenCount":4}}"#),
    ]
    .concat();
    let converse = [
        message(0, 2, r#"{"contentBlockIndex":0,"start":{"toolUse":{"name":"f","toolUseId":"t"}}}"#),
        message(0, 4, r#"{"stopReason":"tool_use"}"#),
        message(0, 5, r#"{"usage":{"inputTokens":5,"outputTokens":6,"cacheReadInputTokens":2}}"#),
        message(3, 6, r#"{"message":"no"}"#),
    ]
    .concat();
    let raw = eventstream_message(&[(":event-type", "chunk")], br#"{"bytes":"e30="}"#);
    vec![
        [&[0][..], CUTS, &invoke].concat(),
        [&[1][..], CUTS, &converse].concat(),
        [&[0][..], CUTS, &[0, 6, 0xff], &piece(raw)].concat(),
    ]
}

const OLLAMA: &str = concat!(
    r#"{"model":"l","message":{"content":"a"},"done":false}"#,
    "\n",
    r#"{"model":"l","message":{"tool_calls":[{"function":{"name":"f"}}]},"done":true,"done_reason":"stop","prompt_eval_count":3,"eval_count":4}"#,
    "\n"
);
const COHERE_1: &str = concat!(
    r#"{"event_type":"text-generation","text":"a","is_finished":false}"#,
    "\n",
    r#"{"event_type":"stream-end","is_finished":true,"finish_reason":"COMPLETE","response":{"meta":{"tokens":{"input_tokens":3,"output_tokens":5}}}}"#,
    "\n"
);
const REQUEST: &str = r#"{"model":"m","stream":true,"messages":[{"role":"user","content":"q"}],"input":"q","contents":[{"parts":[{"text":"q"}]}],"prompt":"q"}"#;

/// How a path ends, the content type (by its number), and an answer.
const BODIES: [(&str, u8, &str); 17] = [
    (
        "chat/completions",
        0,
        r#"{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"finish_reason":"tool_calls","message":{"tool_calls":[{"id":"t","type":"function","function":{"name":"f"}}]}}],"usage":{"prompt_tokens":12,"completion_tokens":7,"total_tokens":19,"prompt_tokens_details":{"cached_tokens":2},"completion_tokens_details":{"reasoning_tokens":3}},"service_tier":"default"}"#,
    ),
    (
        "chat/completions",
        1,
        "data: {\"id\":\"c\",\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}],\"usage\":null}\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3}}\n\ndata: [DONE]\n\n",
    ),
    (
        "v1/messages",
        0,
        r#"{"id":"m","type":"message","model":"c","content":[{"type":"tool_use","name":"f"}],"stop_reason":"tool_use","usage":{"input_tokens":5,"output_tokens":7,"cache_read_input_tokens":11,"cache_creation_input_tokens":13}}"#,
    ),
    (
        "v1/messages",
        1,
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"model\":\"c\",\"usage\":{\"input_tokens\":5,\"output_tokens\":1}}}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":9}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    ),
    (
        "responses",
        1,
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",\"model\":\"m\",\"usage\":null}}\n\nevent: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"status\":\"completed\",\"output\":[{\"type\":\"function_call\",\"name\":\"f\"}],\"usage\":{\"input_tokens\":8,\"output_tokens\":9,\"output_tokens_details\":{\"reasoning_tokens\":4}}}}\n\n",
    ),
    (
        ":generateContent",
        0,
        r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":6,"thoughtsTokenCount":7,"cachedContentTokenCount":2,"toolUsePromptTokenCount":1,"totalTokenCount":19},"modelVersion":"g","responseId":"r"}"#,
    ),
    (
        ":streamGenerateContent",
        0,
        "[{\"candidates\":[{\"index\":0}],\"usageMetadata\":{\"promptTokenCount\":5}}\n,\r\n{\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":4,\"candidatesTokenCount\":6}}]",
    ),
    (
        "model/m/converse",
        0,
        r#"{"output":{"message":{"content":[{"toolUse":{"name":"f"}}]}},"stopReason":"tool_use","usage":{"inputTokens":5,"outputTokens":6,"cacheReadInputTokens":3}}"#,
    ),
    (
        "v2/chat",
        1,
        "data: {\"type\":\"message-start\",\"id\":\"c\"}\n\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\",\"usage\":{\"tokens\":{\"input_tokens\":3,\"output_tokens\":4},\"billed_units\":{\"input_tokens\":1}}}}\n\n",
    ),
    ("api/chat", 2, OLLAMA),
    ("v1/chat", 2, COHERE_1),
    (
        "embeddings",
        0,
        r#"{"object":"list","model":"e","data":[{"embedding":[0.1,-2e-3]}],"usage":{"prompt_tokens":4,"total_tokens":4}}"#,
    ),
    (
        "completion",
        1,
        "data: {\"content\":\"a\",\"stop\":false}\n\ndata: {\"stop\":true,\"tokens_evaluated\":3,\"tokens_predicted\":4,\"timings\":{\"cache_n\":1}}\n\n",
    ),
    (
        "generate",
        0,
        r#"{"generated_text":"x","details":{"generated_tokens":3,"finish_reason":"length","prefill":[{},{}]}}"#,
    ),
    (
        "v1/predictions",
        0,
        r#"{"id":"p","status":"succeeded","metrics":{"input_token_count":3,"output_token_count":4}}"#,
    ),
    (
        "threads/m/runs",
        0,
        r#"{"id":"run_1","object":"thread.run","status":"completed","usage":{"prompt_tokens":3,"completion_tokens":4}}"#,
    ),
    (
        "audio/transcriptions",
        0,
        r#"{"text":"x","usage":{"type":"tokens","input_tokens":3,"output_tokens":4,"input_token_details":{"audio_tokens":3}}}"#,
    ),
];

fn dialects() -> Vec<Vec<u8>> {
    let seed = |(path, content_type, body): &(&str, u8, &str)| {
        let row = REQUESTS.iter().position(|head| head.path.ends_with(path))?;
        let row = u16::try_from(row).ok()?.to_be_bytes();
        Some([&row, CUTS, &[0, *content_type], &piece(REQUEST), body.as_bytes()].concat())
    };
    BODIES.iter().filter_map(seed).collect()
}

fn realtime() -> Vec<Vec<u8>> {
    let said = |from: u8, text: &str| [vec![from], piece(text)].concat();
    let realtime = [
        said(1, r#"{"type":"session.created","session":{"model":"m"}}"#),
        said(0, r#"{"type":"response.create"}"#),
        said(1, r#"{"type":"response.created","response":{"id":"r"}}"#),
        said(5, r#"{"type":"response.output_audio.delta","delta":"AAAA"}"#),
        said(1, r#"{"type":"response.done","response":{"id":"r","status":"completed","usage":{"input_tokens":3,"output_tokens":4,"input_token_details":{"cached_tokens":1}}}}"#),
    ]
    .concat();
    let live = [
        said(0, r#"{"setup":{"model":"models/g"}}"#),
        said(1, r#"{"setupComplete":{}}"#),
        said(3, r#"{"serverContent":{"modelTurn":{"parts":[{"text":"a"}]}}}"#),
        said(1, r#"{"serverContent":{"turnComplete":true},"usageMetadata":{"promptTokenCount":3,"responseTokenCount":4}}"#),
    ]
    .concat();
    let responses = [
        said(0, r#"{"type":"response.create","model":"m","input":[]}"#),
        said(1, r#"{"type":"response.completed","response":{"id":"r","usage":{"input_tokens":3,"output_tokens":4}}}"#),
    ]
    .concat();
    let seed = |path: &str, said: &[u8]| {
        let row = SOCKETS.iter().position(|head| head.path.contains(path)).unwrap_or(0);
        [&[row as u8][..], CUTS, said].concat()
    };
    vec![seed("v1/realtime", &realtime), seed("Bidi", &live), seed("responses", &responses)]
}

/// A library with `SSL_read`, `SSL_write` and `SSL_free`: its header, one segment, and a symbol table.
fn elf() -> Vec<u8> {
    const CODE: usize = 0x100;
    // push rbp; mov rbp,rsp; call +0; pop rbp; ret
    let function = [0x55, 0x48, 0x89, 0xe5, 0xe8, 0, 0, 0, 0, 0x5d, 0xc3, 0xcc, 0xcc, 0xcc, 0xcc, 0xcc];
    let names = ["SSL_read", "SSL_write", "SSL_free", "SSL_read_ex"];
    let code = function.repeat(names.len());
    let mut strings = vec![0];
    let mut symbols = vec![0; 24];
    for (index, name) in names.iter().enumerate() {
        symbols.extend((strings.len() as u32).to_le_bytes());
        symbols.extend([0x12, 0, 1, 0]); // A global function, in section 1.
        symbols.extend(((CODE + index * function.len()) as u64).to_le_bytes());
        symbols.extend((function.len() as u64).to_le_bytes());
        strings.extend(name.bytes());
        strings.push(0);
    }
    let (symbols_at, strings_at) = (CODE + code.len(), CODE + code.len() + symbols.len());
    let sections_at = strings_at + strings.len();
    let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let halves = |halves: &[u16]| halves.iter().flat_map(|half| half.to_le_bytes()).collect::<Vec<u8>>();
    let section = |kind: u32, offset: usize, size: usize, link: u32, entry: u64| {
        let mut section =
            [[0_u32.to_le_bytes(), kind.to_le_bytes()].concat(), words(&[2, 0, offset as u64, size as u64])]
                .concat();
        section.extend([link.to_le_bytes(), 0_u32.to_le_bytes()].concat());
        section.extend(words(&[8, entry]));
        section
    };
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend(halves(&[3, 62]));
    file.extend(1_u32.to_le_bytes());
    file.extend(words(&[0, 64, sections_at as u64]));
    file.extend(0_u32.to_le_bytes());
    file.extend(halves(&[64, 56, 1, 64, 3, 0]));
    file.extend([1_u32.to_le_bytes(), 5_u32.to_le_bytes()].concat());
    file.extend(words(&[0, 0, 0, sections_at as u64, sections_at as u64, 0x1000]));
    file.resize(CODE, 0);
    for part in [code, symbols.clone(), strings.clone(), section(0, 0, 0, 0, 0)] {
        file.extend(part);
    }
    file.extend(section(11, symbols_at, symbols.len(), 2, 24));
    file.extend(section(3, strings_at, strings.len(), 0, 0));
    file
}
