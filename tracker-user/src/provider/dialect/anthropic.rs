//! Anthropic's messages, at Anthropic, on Vertex and at other hosts.
//!
//! A stream spreads one message over its events: `message_start` brings the input side and a
//! placeholder for the output, `message_delta` cumulative counts, of which each overwrites the
//! older one. Source: Anthropic's streaming reference and recordings.

use super::{
    Counter::{CacheCreation, CacheRead, Input, Output, OutputAtStart, Reasoning},
    Dialect,
    Field::{
        Content, Count, Error, ErrorCode, ErrorType, FinishReason, Kind, Model, Prompt, ResponseId,
        ResponseModel, ServiceTier, Tool, ToolKind, ToolName, Usage as UsageObject,
    },
    PLAIN, Path, StreamEnd,
    counts::disjoint_usage,
};
use crate::provider::json::Want::{Presence, Scalar};

/// `messages`. Input and both cache counts are disjoint here; thinking is inside the output.
pub(in crate::provider) static MESSAGES: Dialect = Dialect {
    name: "anthropic.messages",
    request: &[("model", Scalar, Model), ("messages", Presence, Prompt)],
    response: &[MESSAGES_RESPONSE],
    tool_kinds: &["tool_use"],
    server_tool_kinds: &["server_tool_use", "mcp_tool_use"],
    own_kinds: &["message", "message_start", "message_delta", "message_stop"],
    end: StreamEnd { done: false, kinds: &["message_stop"], finish_reason: false },
    normalise: disjoint_usage,
    ..PLAIN
};

/// The legacy `complete`, which reports no usage.
pub(in crate::provider) static COMPLETE: Dialect = Dialect {
    request: &[("model", Scalar, Model), ("prompt", Presence, Prompt)],
    response: &[&[
        ("type", Scalar, Kind),
        ("id", Scalar, ResponseId),
        ("model", Scalar, ResponseModel),
        ("stop_reason", Scalar, FinishReason),
        ("completion", Presence, Content),
        ("error", Presence, Error),
        ("error.type", Scalar, ErrorType),
    ]],
    ..PLAIN
};

pub(super) const MESSAGES_RESPONSE: &[Path] = &[
    ("type", Scalar, Kind),
    ("id", Scalar, ResponseId),
    ("model", Scalar, ResponseModel),
    ("stop_reason", Scalar, FinishReason),
    ("content[]", Presence, Tool),
    ("content[].type", Scalar, ToolKind),
    ("content[].name", Scalar, ToolName),
    ("usage", Presence, UsageObject),
    ("usage.input_tokens", Scalar, Count(Input)),
    ("usage.output_tokens", Scalar, Count(Output)),
    ("usage.cache_read_input_tokens", Scalar, Count(CacheRead)),
    ("usage.cache_creation_input_tokens", Scalar, Count(CacheCreation)),
    ("usage.output_tokens_details.thinking_tokens", Scalar, Count(Reasoning)),
    ("message.id", Scalar, ResponseId),
    ("message.model", Scalar, ResponseModel),
    ("message.usage", Presence, UsageObject),
    ("message.usage.input_tokens", Scalar, Count(Input)),
    ("message.usage.output_tokens", Scalar, Count(OutputAtStart)),
    ("message.usage.cache_read_input_tokens", Scalar, Count(CacheRead)),
    ("message.usage.cache_creation_input_tokens", Scalar, Count(CacheCreation)),
    ("content_block", Presence, Tool),
    ("content_block.type", Scalar, ToolKind),
    ("content_block.name", Scalar, ToolName),
    ("content_block.text", Presence, Content),
    ("delta.text", Presence, Content),
    ("delta.thinking", Presence, Content),
    ("delta.partial_json", Presence, Content),
    ("delta.stop_reason", Scalar, FinishReason),
    ("error", Presence, Error),
    ("error.type", Scalar, ErrorType),
    ("error.code", Scalar, ErrorCode),
    ("usage.service_tier", Scalar, ServiceTier),
    ("message.usage.service_tier", Scalar, ServiceTier),
];
