//! Real gRPC: what grpcio (its C core, on both sides) put on the wire for xAI's and Google's own client
//! libraries, through `stream` and `provider`. How it was recorded: `tests/data/README.md`.

#![expect(clippy::unwrap_used, reason = "a recording that cannot be read fails the test")]

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use bytes::Bytes;
use llm_tracker::{
    capture::{Chunk, ConnectionId, Direction, Timestamp},
    provider::{Call, Calls, Catalog, Interest, Usage, UsageSource},
    stream::{Connection, Counters, RequestHead},
};

/// The chunks of each connection.
type Recording = BTreeMap<u64, Vec<(Direction, Vec<u8>)>>;

fn recording(name: &str) -> Recording {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/grpc").join(name);
    let mut connections = Recording::new();
    for line in fs::read_to_string(path).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let direction = if line["dir"] == "sent" { Direction::Write } else { Direction::Read };
        let hex = line["data"].as_str().unwrap();
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let bytes = (0..hex.len()).step_by(2).map(byte).collect();
        connections.entry(line["connection"].as_u64().unwrap()).or_default().push((direction, bytes));
    }
    connections
}

/// The calls of all connections, in pieces of `size` at most, from the `first` chunk on.
fn calls(recording: &Recording, size: usize, first: usize) -> (Vec<Call>, Counters) {
    let catalog = Arc::new(Catalog::new());
    let (mut out, mut counters) = (Vec::new(), Counters::default());
    for chunks in recording.values() {
        let mut connection = Connection::new();
        let mut calls = Calls::new(Arc::clone(&catalog));
        let (mut offsets, mut clock) = ([0; 2], 0);
        for (number, (direction, bytes)) in chunks.iter().enumerate() {
            for piece in bytes.chunks(size) {
                let offset = &mut offsets[usize::from(*direction == Direction::Read)];
                clock += 1_000_000;
                let chunk = Chunk {
                    connection: ConnectionId { tgid: 1, generation: 1, ssl: 1 },
                    tid: 1,
                    direction: *direction,
                    offset: *offset,
                    timestamp: Timestamp(clock),
                    cgroup_id: 1,
                    bytes: Bytes::copy_from_slice(piece),
                };
                *offset += piece.len() as u64;
                if number >= first {
                    connection.push(&chunk, &mut |event| calls.handle(&event, &mut |call| out.push(call)));
                }
            }
        }
        connection.close(Timestamp(clock), &mut |event| calls.handle(&event, &mut |call| out.push(call)));
        counters += connection.take_counters();
        assert_eq!(calls.in_flight(), 0);
    }
    (out, counters)
}

/// What is the same in every recording of a call.
fn summary(call: &Call) -> String {
    let Call { provider, operation, model, response_model, path, streaming, status, error, .. } = call;
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let method = path.rsplit('/').next().unwrap();
    format!(
        "{provider} {operation} {method} {}>{} {} {} {} {:?} {:?}/{:?}",
        text(model),
        text(response_model),
        status.unwrap(),
        if *streaming { "stream" } else { "whole" },
        text(error),
        call.finish_reasons,
        call.tool_calls,
        call.server_tool_calls,
    )
}

fn usage(input: u64, cached: u64, output: u64, reasoning: u64) -> Usage {
    Usage {
        input_tokens: Some(input),
        cache_read_input_tokens: Some(cached),
        output_tokens: Some(output),
        reasoning_tokens: Some(reasoning),
        source: UsageSource::Reported,
        ..Usage::default()
    }
}

const CHUNKINGS: [usize; 5] = [usize::MAX, 1000, 9, 2, 1];

#[test]
fn xai_by_its_own_sdk() {
    let recording = recording("xai.jsonl");
    for size in CHUNKINGS {
        let (calls, counters) = calls(&recording, size, 0);
        let summaries: Vec<_> = calls.iter().map(summary).collect();
        let tools = r#"["REASON_TOOL_CALLS"] ["get_weather"]/["web_search"]"#;
        assert_eq!(
            summaries,
            [
                format!("x_ai chat GetCompletion grok-4>grok-4-0709 200 whole - {tools}"),
                r#"x_ai chat GetCompletionChunk grok-4>grok-4-0709 200 stream - ["REASON_STOP"] []/[]"#
                    .into(),
                "x_ai chat GetCompletion busy>- 200 whole RESOURCE_EXHAUSTED [] []/[]".into(),
                "x_ai chat GetCompletionChunk broken>grok-4-0709 200 stream UNAVAILABLE [] []/[]".into(),
                "x_ai chat GetCompletionChunk cut>grok-4-0709 200 stream interrupted [] []/[]".into(),
                format!("x_ai chat GetCompletion grok-4-gzip>grok-4-0709 200 whole - {tools}"),
                r#"x_ai chat GetCompletionChunk grok-4-gzip>grok-4-0709 200 stream - ["REASON_STOP"] []/[]"#
                    .into(),
            ],
            "in pieces of {size}"
        );
        for at in [0, 1, 5, 6] {
            assert_eq!(calls[at].usage, usage(120, 64, 37, 7), "{at}");
        }
        assert_eq!(calls[2].usage.source, UsageSource::Missing);
        // Something was said before these two broke off.
        for at in [3, 4] {
            let Usage { input_tokens, output_tokens, source, .. } = calls[at].usage;
            assert_eq!(source, UsageSource::Estimated, "{at}");
            assert!(output_tokens.is_some_and(|tokens| (1..40).contains(&tokens)), "{at}: {output_tokens:?}");
            assert!(input_tokens.is_some_and(|tokens| (1..100).contains(&tokens)), "{at}: {input_tokens:?}");
        }
        assert_eq!(calls[0].response_id.as_deref(), Some("resp-1"));
        assert!(calls[1].time_to_first_token_seconds.unwrap() < calls[1].duration_seconds);
        assert_eq!(Counters { requests: 0, ..counters }, Counters::default());
    }
}

/// The same three calls of each of Google's two APIs: answered, streamed, refused.
fn by_googles_library(name: &str, provider: &str, check: impl Fn(&Call)) {
    let recording = recording(name);
    for size in CHUNKINGS {
        let (calls, _) = calls(&recording, size, 0);
        let summaries: Vec<_> = calls.iter().map(summary).collect();
        let end = r#"["STOP"] ["get_weather"]/[]"#;
        let models = "gemini-2.5-flash>gemini-2.5-flash";
        assert_eq!(
            summaries,
            [
                format!("{provider} generate_content GenerateContent {models} 200 whole - {end}"),
                format!("{provider} generate_content StreamGenerateContent {models} 200 stream - {end}"),
                format!(
                    "{provider} generate_content GenerateContent gemini-2.5-flash-busy>- 200 whole \
                     PERMISSION_DENIED [] []/[]"
                ),
            ]
        );
        calls[..2].iter().for_each(&check);
    }
}

#[test]
fn gemini_by_googles_library() {
    by_googles_library("gemini.jsonl", "gcp.gemini", |call| {
        assert_eq!(call.usage, usage(43, 8, 17, 5));
        assert_eq!(call.response_id.as_deref(), Some("id-7"));
    });
}

#[test]
fn vertex_by_googles_library() {
    by_googles_library("vertex.jsonl", "gcp.vertex_ai", |call| {
        assert_eq!(call.usage, usage(40, 8, 17, 5));
        assert_eq!(call.service_tier.as_deref(), Some("ON_DEMAND"));
    });
}

/// Whatever the daemon missed, no number is made up: a call has its counts or none.
#[test]
fn joined_in_the_middle() {
    for name in ["xai.jsonl", "gemini.jsonl", "vertex.jsonl"] {
        let recording = recording(name);
        let chunks = recording.values().map(Vec::len).max().unwrap();
        let (all, _) = calls(&recording, usize::MAX, 0);
        for first in 1..chunks {
            let (seen, counters) = calls(&recording, usize::MAX, first);
            assert!(counters.hpack_desync > 0 || seen.is_empty(), "{name} from {first}");
            for call in seen {
                let known = |other: &Call| other.usage == call.usage && other.model == call.model;
                assert!(all.iter().any(known), "{name} from {first}: {}", summary(&call));
            }
        }
    }
}

/// The same as of a connection on which all was said in heads before: preface gone, and every field of a head
/// in the part of the table that nobody saw, but for the method and the status.
fn without_heads(recording: &Recording) -> Recording {
    const PREFACE: usize = 24;
    const HEADERS: u8 = 1;
    let shortened = |(direction, bytes): &(Direction, Vec<u8>)| {
        let mut rest = if bytes.starts_with(b"PRI ") { &bytes[PREFACE..] } else { &bytes[..] };
        let mut out = Vec::new();
        while let [a, b, c, kind, ..] = *rest {
            let (frame, after) = rest.split_at(9 + u32::from_be_bytes([0, a, b, c]) as usize);
            let payload: &[u8] = match (kind, direction) {
                (HEADERS, Direction::Write) => &[0xc0, 0x83, 0x86, 0xc1],
                (HEADERS, Direction::Read) if frame[9] == 0x88 => &[0x88, 0xc0],
                (HEADERS, Direction::Read) => &[0xbe, 0xbf],
                _ => &frame[9..],
            };
            out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
            out.extend_from_slice(&frame[3..9]);
            out.extend_from_slice(payload);
            rest = after;
        }
        (*direction, out)
    };
    recording.iter().map(|(id, chunks)| (*id, chunks.iter().map(shortened).collect())).collect()
}

/// Where the paths cannot be read, messages that name a model which only one API has tell what a call is. The
/// first head of a connection only shows that others came before it.
#[test]
fn told_by_its_messages() {
    for (name, recognised) in [("xai.jsonl", 3), ("gemini.jsonl", 1), ("vertex.jsonl", 1)] {
        let whole = recording(name);
        let (all, _) = calls(&whole, usize::MAX, 0);
        for size in CHUNKINGS {
            let (seen, counters) = calls(&without_heads(&whole), size, 0);
            assert!(counters.hpack_desync > 0);
            assert_eq!(seen.len(), recognised, "{name}: {seen:?}");
            for call in seen {
                assert_eq!((call.provider, &*call.path, call.status), ("unknown", "", Some(200)));
                let as_told = |told: &&Call| {
                    (call.operation, call.streaming, &call.error)
                        == (told.operation, told.streaming, &told.error)
                        && (&call.model, &call.response_model) == (&told.model, &told.response_model)
                        && (&call.usage, &call.response_id) == (&told.usage, &told.response_id)
                        && (&call.finish_reasons, &call.tool_calls)
                            == (&told.finish_reasons, &told.tool_calls)
                };
                assert!(all.iter().any(|told| as_told(&told)), "{name}: {call:?}");
            }
        }
    }
}

#[test]
fn other_services_are_nobodys_call() {
    let catalog = Catalog::new();
    let interest = |host: &str, path: &str| {
        catalog.interest(&RequestHead {
            method: "POST".into(),
            path: path.into(),
            host: Some(host.into()),
            content_type: Some("application/grpc".into()),
            ..RequestHead::default()
        })
    };
    for path in [
        "/etcdserverpb.KV/Range",
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        "/grpc.health.v1.Health/Check",
        "/other.v1.PredictionService/GenerateContent",
    ] {
        assert_eq!(interest("service.internal", path), Interest::Unrelated, "{path}");
    }
    assert_eq!(interest("proxy.internal", "/xai_api.Chat/GetCompletion"), Interest::Call);
    assert_eq!(interest("api.x.ai", "/xai_api.Models/ListLanguageModels"), Interest::Related);
}
