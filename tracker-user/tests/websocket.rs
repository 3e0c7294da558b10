//! Recorded conversations over WebSocket, framed as clients and servers do, in many chunkings,
//! through `stream` and `provider`: every response has to come out as it stands in the recording.
//!
//! The recordings are read from `../shared/wire` beside this repository (`ws_index.jsonl`); where that
//! is missing the test says so and only runs on the examples in `tests/data`, which have the same form.
//!
//! What a failure prints are ids and fields, never messages.

#![expect(clippy::unwrap_used, reason = "a recording that cannot be read fails the test")]

#[path = "websocket/frames.rs"]
mod frames;
#[path = "websocket/http2.rs"]
mod http2;

use std::{fs, path::Path, sync::Arc};

use bytes::Bytes;
use frames::{Framing, Sender};
use llm_tracker::{
    capture::{Chunk, ConnectionId, Direction, Timestamp},
    provider::{Call, Calls, Catalog, Estimates, UsageSource},
    stream::{Connection, Counters, Protocol},
};
use serde_json::Value;

struct Row {
    id: String,
    provider: String,
    model: String,
    expected: Vec<Value>,
    /// The messages of each connection, and who sent them.
    connections: Vec<Vec<(Direction, Vec<u8>)>>,
}

impl Row {
    fn load(folder: &Path) -> Vec<Self> {
        let index = fs::read_to_string(folder.join("ws_index.jsonl")).unwrap();
        index.lines().map(|line| Self::parse(folder, &serde_json::from_str(line).unwrap())).collect()
    }

    fn parse(folder: &Path, line: &Value) -> Self {
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        let mut expected = line["expected_events"].as_array().unwrap().clone();
        let mut connections = vec![Vec::new()];
        for line in fs::read_to_string(folder.join(text("transcript"))).unwrap().lines() {
            let message: Value = serde_json::from_str(line).unwrap();
            let direction = match message["dir"].as_str() {
                Some("sent") => Direction::Write,
                Some("received") => Direction::Read,
                _ => {
                    connections.push(Vec::new());
                    continue;
                }
            };
            usage_beside_the_response(&mut expected, &message["data"]);
            // The message as it stands, its keys in their order.
            let (_, data) = line.split_once("\"data\": ").unwrap();
            let data = data.strip_suffix('}').unwrap();
            assert_eq!(serde_json::from_str::<Value>(data).unwrap(), message["data"]);
            connections.last_mut().unwrap().push((direction, data.as_bytes().to_vec()));
        }
        Self { id: text("id"), provider: text("provider"), model: text("model"), expected, connections }
    }

    fn endpoint(&self) -> (&'static str, &'static str) {
        match self.provider.as_str() {
            "openai-realtime" => ("api.openai.com", "/v1/realtime?model=m"),
            "openai-responses" => ("api.openai.com", "/v1/responses"),
            "azure-realtime" => ("r.openai.azure.com", "/openai/v1/realtime?api-key=none"),
            "xai-realtime" => ("api.x.ai", "/v1/realtime"),
            "gemini-live" if self.model.starts_with("publishers/") => (
                "us-central1-aiplatform.googleapis.com",
                "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent",
            ),
            "gemini-live" => (
                "generativelanguage.googleapis.com",
                "//ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent?key=none",
            ),
            other => unreachable!("{other}"),
        }
    }

    fn request(&self) -> String {
        let (host, path) = self.endpoint();
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\
             X-LLM-Tracker-Labels: data_id=7\r\n\r\n"
        )
    }
}

/// An exception: xAI leaves `response.usage` empty, and the index took that for all; the counts stand
/// beside the response, in the same event.
fn usage_beside_the_response(expected: &mut [Value], message: &Value) {
    let usage = &message["usage"];
    for event in expected {
        let same = event["event"] == message["type"] && event["response_id"] == message["response"]["id"];
        if same && message["response"]["usage"] == serde_json::json!({}) && usage.is_object() {
            event["input_tokens"] = usage["input_tokens"].clone();
            event["output_tokens"] = usage["output_tokens"].clone();
        }
    }
}

fn rows() -> Vec<Row> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = Row::load(&manifest.join("tests/data"));
    assert!(!own.is_empty());
    let shared = manifest.join("../../shared/wire");
    if shared.join("ws_index.jsonl").is_file() {
        own.into_iter().chain(Row::load(&shared)).collect()
    } else {
        eprintln!("{} is missing: only the examples in tests/data are tested", shared.display());
        own
    }
}

/// The recordings say what is on the wire: nothing is estimated.
fn reports_only() -> Arc<Catalog> {
    Arc::new(Catalog::new().with_estimates(Estimates::Never))
}

/// Bytes of one direction, and what the tracker makes of them.
struct Wire {
    connection: Connection,
    calls: Calls,
    offsets: [u64; 2],
    clock: u64,
    out: Vec<Call>,
    counters: Counters,
}

impl Wire {
    fn new(catalog: &Arc<Catalog>) -> Self {
        Self {
            connection: Connection::new(),
            calls: Calls::new(Arc::clone(catalog)),
            offsets: [0; 2],
            clock: 0,
            out: Vec::new(),
            counters: Counters::default(),
        }
    }

    fn push(&mut self, direction: Direction, bytes: &[u8]) {
        let offset = &mut self.offsets[usize::from(direction == Direction::Read)];
        self.clock += 1;
        let chunk = Chunk {
            connection: ConnectionId { tgid: 1, generation: 1, ssl: 1 },
            tid: 1,
            direction,
            offset: *offset,
            timestamp: Timestamp(self.clock),
            cgroup_id: 1,
            bytes: Bytes::copy_from_slice(bytes),
        };
        *offset += bytes.len() as u64;
        let Self { connection, calls, out, .. } = self;
        connection.push(&chunk, &mut |event| calls.handle(&event, &mut |call| out.push(call)));
        self.counters += self.connection.take_counters();
    }

    /// Bytes that were sent, but never delivered.
    fn lose(&mut self, direction: Direction, count: usize) {
        self.offsets[usize::from(direction == Direction::Read)] += count as u64;
    }

    fn upgrade(&mut self, row: &Row, framing: Framing) {
        self.push(Direction::Write, row.request().as_bytes());
        let extensions = framing
            .extensions()
            .map_or_else(String::new, |extensions| format!("Sec-WebSocket-Extensions: {extensions}\r\n"));
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n{extensions}\r\n"
        );
        self.push(Direction::Read, head.as_bytes());
        assert_eq!(self.connection.state().protocol, Protocol::WebSocket);
    }

    fn open_over_http2(&mut self, row: &Row, framing: Framing) {
        let (host, path) = row.endpoint();
        for (direction, bytes) in http2::opening(host, path, framing.extensions().as_deref()) {
            self.push(direction, &bytes);
        }
        assert_eq!(self.connection.state().protocol, Protocol::Http2);
    }

    fn close(mut self) -> (Vec<Call>, Counters) {
        let at = Timestamp(self.clock + 1);
        let Self { connection, calls, out, .. } = &mut self;
        connection.close(at, &mut |event| calls.handle(&event, &mut |call| out.push(call)));
        assert_eq!(calls.in_flight(), 0);
        (self.out, self.counters)
    }
}

/// How bytes fall into chunks: all of a message, one byte, or sizes that repeat.
const CHUNKINGS: [&[usize]; 4] = [&[usize::MAX], &[1], &[2, 3, 5, 7, 1], &[1000, 1, 13]];

fn framings() -> Vec<Framing> {
    let deflates = [None, Some((15, true)), Some((15, false)), Some((9, true)), Some((10, false))];
    deflates
        .into_iter()
        .flat_map(|deflate| [None, Some(50), Some(1)].map(|fragment| Framing { deflate, fragment }))
        .collect()
}

/// What carries the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Http1,
    Http2,
}

fn calls(catalog: &Arc<Catalog>, row: &Row, framing: Framing, sizes: &[usize]) -> Vec<Call> {
    calls_over(Over::Http1, catalog, row, framing, sizes)
}

fn calls_over(over: Over, catalog: &Arc<Catalog>, row: &Row, framing: Framing, sizes: &[usize]) -> Vec<Call> {
    let mut all = Vec::new();
    for messages in &row.connections {
        let mut wire = Wire::new(catalog);
        match over {
            Over::Http1 => wire.upgrade(row, framing),
            Over::Http2 => wire.open_over_http2(row, framing),
        }
        let mut senders = [Direction::Write, Direction::Read].map(|way| Sender::new(framing, way));
        // Gemini Live's server sends its JSON in binary messages.
        let opcode = if row.provider == "gemini-live" { 2 } else { 1 };
        for (direction, text) in messages {
            let sender = &mut senders[usize::from(*direction == Direction::Read)];
            let bytes = sender.message(opcode, text);
            let mut rest = &bytes[..];
            for size in sizes.iter().cycle() {
                let (piece, after) = rest.split_at(rest.len().min(*size));
                match over {
                    Over::Http1 => wire.push(*direction, piece),
                    Over::Http2 => wire.push(*direction, &http2::data(*direction, piece)),
                }
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
        }
        let close = senders[1].close();
        match over {
            Over::Http1 => wire.push(Direction::Read, &close),
            Over::Http2 => {
                wire.push(Direction::Read, &[http2::data(Direction::Read, &close), http2::end()].concat());
            }
        }
        let (calls, counters) = wire.close();
        assert_eq!(
            Counters { requests: 0, ..counters },
            Counters::default(),
            "{}: losses in a whole conversation",
            row.id
        );
        all.extend(calls);
    }
    all
}

fn differences(row: &Row, calls: &[Call]) -> Vec<String> {
    let mut found = Vec::new();
    if calls.len() != row.expected.len() {
        found.push(format!("{} calls, not {}", calls.len(), row.expected.len()));
    }
    let provider = match row.provider.as_str() {
        "azure-realtime" => "azure.ai.openai",
        "xai-realtime" => "x_ai",
        "gemini-live" if row.model.starts_with("publishers/") => "gcp.vertex_ai",
        "gemini-live" => "gcp.gemini",
        _ => "openai",
    };
    for (at, (call, expected)) in calls.iter().zip(&row.expected).enumerate() {
        let mut same = |field: &str, want: Option<String>, got: Option<String>| {
            if want != got {
                found.push(format!("{at}: {field} is {got:?}, not {want:?}"));
            }
        };
        let text = |key: &str| expected[key].as_str().map(str::to_owned);
        let number = |key: &str| expected[key].as_u64().map(|count| count.to_string());
        let count = |count: Option<u64>| count.map(|count| count.to_string());
        let event = text("event").unwrap();
        let operation = match event.as_str() {
            "usageMetadata" => "generate_content",
            "conversation.item.input_audio_transcription.completed" => "transcription",
            _ => "chat",
        };
        same("provider", Some(provider.into()), Some(call.provider.into()));
        same("operation", Some(operation.into()), Some(call.operation.into()));
        let usage = &call.usage;
        same("input_tokens", number("input_tokens"), count(usage.input_tokens));
        same("output_tokens", number("output_tokens"), count(usage.output_tokens));
        same("cache_read", number("cache_read_tokens"), count(usage.cache_read_input_tokens));
        same("reasoning", number("reasoning_tokens"), count(usage.reasoning_tokens));
        let source = if usage.input_tokens.is_some() { UsageSource::Reported } else { UsageSource::Missing };
        same("source", Some(source.as_str().into()), Some(usage.source.as_str().into()));
        let status = expected["http_status"].as_u64().unwrap_or(101);
        same("status", Some(status.to_string()), count(call.status.map(u64::from)));
        same("error", text("error"), call.error.clone());
        if event == "usageMetadata" {
            same("model", text("model"), call.model.clone());
        } else {
            same("response_id", text("response_id"), call.response_id.clone());
            same("finish_reasons", text("status"), call.finish_reasons.first().cloned());
            let tools: Vec<_> =
                expected["tool_calls"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            same("tools", Some(tools.join(" ")), Some(call.tool_calls.join(" ")));
            if operation == "chat" && event != "error" {
                same("response_model", text("model"), call.response_model.clone());
            }
        }
        if call.started.0 == 0 || call.duration_seconds < 0.0 {
            found.push(format!("{at}: times"));
        }
    }
    found
}

#[test]
fn conversations_come_out_as_expected() {
    let catalog = reports_only();
    let rows = rows();
    let (mut failures, mut events) = (Vec::new(), 0);
    for row in &rows {
        events += row.expected.len();
        let first = calls(&catalog, row, Framing::default(), &[usize::MAX]);
        if first.iter().any(|call| call.labels.as_deref() != Some("data_id=7")) {
            failures.push(format!("{}: the labels of the upgrade are not its calls'", row.id));
        }
        for framing in framings() {
            for sizes in CHUNKINGS {
                let found = differences(row, &calls(&catalog, row, framing, sizes));
                failures
                    .extend(found.iter().map(|found| format!("{} {framing:?} {sizes:?} {found}", row.id)));
            }
        }
        // Where the transcript has what a response's first token is, it was found.
        let silent = first.iter().filter(|call| call.operation != "transcription" && call.error.is_none());
        for call in silent.filter(|call| call.usage.output_tokens.is_some_and(|output| output > 3)) {
            if call.time_to_first_token_seconds.is_none() {
                failures.push(format!("{}: no first token", row.id));
            }
        }
    }
    eprintln!("{} conversations with {events} responses", rows.len());
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

/// The same on a stream of HTTP/2, of which the status is 200.
#[test]
fn conversations_over_http2() {
    let catalog = reports_only();
    let mut failures = Vec::new();
    for row in &rows() {
        for framing in framings() {
            for sizes in [&[usize::MAX][..], &[1000, 1, 13]] {
                let mut calls = calls_over(Over::Http2, &catalog, row, framing, sizes);
                for call in calls.iter_mut().filter(|call| call.status == Some(200)) {
                    call.status = Some(101);
                }
                let found = differences(row, &calls);
                failures
                    .extend(found.iter().map(|found| format!("{} {framing:?} {sizes:?} {found}", row.id)));
            }
        }
    }
    assert!(failures.is_empty(), "{} differences:\n{}", failures.len(), failures.join("\n"));
}

/// The messages of a row's only connection, each as one chunk, as a daemon sees them that loses some.
fn damaged(catalog: &Arc<Catalog>, row: &Row, framing: Framing, lost: &dyn Fn(usize) -> bool) -> Vec<Call> {
    let mut wire = Wire::new(catalog);
    wire.upgrade(row, framing);
    let mut senders = [Direction::Write, Direction::Read].map(|way| Sender::new(framing, way));
    for (at, (direction, text)) in row.connections[0].iter().enumerate() {
        let bytes = senders[usize::from(*direction == Direction::Read)].message(1, text);
        if lost(at) {
            wire.lose(*direction, bytes.len());
        } else {
            wire.push(*direction, &bytes);
        }
    }
    wire.close().0
}

/// Whatever single message is lost: no number but those of the recording, each at most once, and
/// what was not lost itself is found again.
#[test]
fn a_loss_gives_no_wrong_number() {
    let catalog = reports_only();
    let mut wrong = Vec::new();
    for row in rows().iter().filter(|row| row.connections.len() == 1) {
        let key = |call: &Call| (call.operation, call.usage.clone());
        for framing in [
            Framing::default(),
            Framing { deflate: Some((15, true)), ..Framing::default() },
            Framing { deflate: Some((15, false)), ..Framing::default() },
        ] {
            let whole = damaged(&catalog, row, framing, &|_| false);
            let messages = row.connections[0].len();
            for lost in (0..messages).step_by(1 + messages / 40) {
                let calls = damaged(&catalog, row, framing, &|at| at == lost);
                let mut left: Vec<_> = whole.iter().map(key).collect();
                for call in calls.iter().filter(|call| call.usage.source == UsageSource::Reported) {
                    match left.iter().position(|known| *known == key(call)) {
                        Some(known) => drop(left.remove(known)),
                        None => wrong.push(format!("{} {framing:?} without {lost}: a number", row.id)),
                    }
                }
                let reported = left.iter().filter(|(_, usage)| usage.source == UsageSource::Reported).count();
                let takeover = framing.deflate.is_some_and(|(_, takeover)| takeover);
                if reported > 1 && !takeover {
                    wrong.push(format!("{} {framing:?} without {lost}: {reported} are missing", row.id));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// A conversation that is cut off: what had not ended is `interrupted` and has no number.
#[test]
fn a_cut_gives_interrupted_calls() {
    let catalog = reports_only();
    let mut interrupted = 0;
    for row in rows().iter().filter(|row| row.connections.len() == 1) {
        for end in 0..row.connections[0].len() {
            let mut wire = Wire::new(&catalog);
            wire.upgrade(row, Framing::default());
            for (direction, text) in &row.connections[0][..end] {
                wire.push(*direction, &Sender::new(Framing::default(), *direction).message(1, text));
            }
            for call in wire.close().0 {
                let cut = call.error.as_deref() == Some("interrupted");
                interrupted += usize::from(cut);
                assert!(!cut || call.usage.source == UsageSource::Missing, "{} cut at {end}", row.id);
            }
        }
    }
    assert!(interrupted > 0);
}

/// A daemon that comes when the WebSocket is open cannot know what it is, and says so.
#[test]
fn without_its_upgrade_it_is_counted() {
    let catalog = reports_only();
    for row in rows() {
        let mut wire = Wire::new(&catalog);
        let mut senders = [Direction::Write, Direction::Read].map(|way| Sender::new(Framing::default(), way));
        for (direction, text) in &row.connections[0] {
            let bytes = senders[usize::from(*direction == Direction::Read)].message(1, text);
            wire.push(*direction, &bytes);
        }
        let (calls, counters) = wire.close();
        assert_eq!((calls.len(), counters.websockets_unrecognised), (0, 1), "{}", row.id);
    }
}

/// Where something was reported that stays. Counted anew, all that is text comes near: sound has no count.
#[test]
fn estimates_of_what_is_text_come_near() {
    let (never, missing) = (reports_only(), Arc::new(Catalog::new()));
    let always = Arc::new(Catalog::new().with_estimates(Estimates::Always));
    let (mut wrong, mut compared) = (Vec::new(), 0);
    for row in rows() {
        let call = |catalog: &Arc<Catalog>, sizes: &[usize]| calls(catalog, &row, Framing::default(), sizes);
        let reported = call(&never, &[usize::MAX]);
        let whole = call(&always, &[usize::MAX]);
        let pieces = call(&always, &[7]);
        for (at, (told, kept)) in reported.iter().zip(call(&missing, &[1000])).enumerate() {
            let (counted, again) = (&whole[at].usage, &pieces[at].usage);
            if told.usage.source == UsageSource::Reported && told.usage != kept.usage || counted != again {
                wrong.push(format!("{} {at}: {:?}, {counted:?}, {again:?}", row.id, kept.usage));
            }
            if told.usage.reasoning_tokens > Some(0) {
                continue;
            }
            eprintln!(
                "{} {at}: {:?} of {:?} in, {:?} of {:?} out",
                row.id,
                counted.input_tokens,
                told.usage.input_tokens,
                counted.output_tokens,
                told.usage.output_tokens
            );
            let (Some(counted), Some(told)) = (counted.output_tokens, told.usage.output_tokens) else {
                continue;
            };
            compared += 1;
            if counted.abs_diff(told) > 20 + told / 2 {
                wrong.push(format!("{} {at}: {counted} of {told}", row.id));
            }
        }
    }
    assert!(compared > 0);
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
