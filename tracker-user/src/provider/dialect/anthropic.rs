//! Anthropic's messages, at Anthropic, on Vertex and at other hosts.
//!
//! A stream spreads one message over its events: `message_start` brings the input side and a
//! placeholder for the output, `message_delta` cumulative counts, of which each overwrites the
//! older one. Source: Anthropic's streaming reference and recordings.

use super::{
    CHAT_FRAMING,
    Counter::{CacheCreation, CacheCreation1h, CacheRead, Input, Output, OutputAtStart, Reasoning},
    Dialect,
    Field::{
        Arguments, Content, Count, Error, ErrorCode, ErrorType, FinishReason, Instructions, Kind, Message,
        Model, Prompt, ResponseId, ResponseModel, Schema, ServiceTier, Tool, ToolKind, ToolName, Tools,
        Usage as UsageObject, Whole,
    },
    Framing, PLAIN, Path, StreamEnd,
    counts::disjoint_usage,
};
use crate::provider::json::Want::{Everything, Presence, Scalar, Text, Within};

/// As measured, but for the tools: those are in Anthropic's documentation of tool use, for most models.
pub(super) const MESSAGES_FRAMING: Framing = Framing { tools: 346, answer: 3, ..CHAT_FRAMING };

/// `messages`. Input and both cache counts are disjoint here; thinking is inside the output.
pub(in crate::provider) static MESSAGES: Dialect = Dialect {
    name: "anthropic.messages",
    request: &[
        ("model", Scalar, Model),
        ("messages", Within, Prompt),
        ("messages[]", Presence, Message),
        ("messages[].content[].input", Everything, Schema),
        ("system", Within, Instructions),
        ("tools", Everything, Tools),
    ],
    response: &[MESSAGES_RESPONSE],
    tool_kinds: &["tool_use"],
    server_tool_kinds: &["server_tool_use", "mcp_tool_use"],
    own_kinds: &["message", "message_start", "message_delta", "message_stop"],
    end: StreamEnd { done: false, kinds: &["message_stop"], finish_reason: false },
    framing: MESSAGES_FRAMING,
    normalise: disjoint_usage,
    ..PLAIN
};

/// The legacy `complete`, which reports no usage.
pub(in crate::provider) static COMPLETE: Dialect = Dialect {
    request: &[("model", Scalar, Model), ("prompt", Within, Prompt)],
    response: &[&[
        ("type", Scalar, Kind),
        ("id", Scalar, ResponseId),
        ("model", Scalar, ResponseModel),
        ("stop_reason", Scalar, FinishReason),
        ("completion", Text, Content),
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
    ("content[].text", Text, Whole),
    ("content[].thinking", Text, Whole),
    ("content[].input", Everything, Arguments),
    ("usage", Presence, UsageObject),
    ("usage.input_tokens", Scalar, Count(Input)),
    ("usage.output_tokens", Scalar, Count(Output)),
    ("usage.cache_read_input_tokens", Scalar, Count(CacheRead)),
    ("usage.cache_creation_input_tokens", Scalar, Count(CacheCreation)),
    ("usage.cache_creation.ephemeral_1h_input_tokens", Scalar, Count(CacheCreation1h)),
    ("usage.output_tokens_details.thinking_tokens", Scalar, Count(Reasoning)),
    ("message.id", Scalar, ResponseId),
    ("message.model", Scalar, ResponseModel),
    ("message.usage", Presence, UsageObject),
    ("message.usage.input_tokens", Scalar, Count(Input)),
    ("message.usage.output_tokens", Scalar, Count(OutputAtStart)),
    ("message.usage.cache_read_input_tokens", Scalar, Count(CacheRead)),
    ("message.usage.cache_creation_input_tokens", Scalar, Count(CacheCreation)),
    ("message.usage.cache_creation.ephemeral_1h_input_tokens", Scalar, Count(CacheCreation1h)),
    ("content_block", Presence, Tool),
    ("content_block.type", Scalar, ToolKind),
    ("content_block.name", Scalar, ToolName),
    ("content_block.text", Text, Content),
    ("delta.text", Text, Content),
    ("delta.thinking", Text, Content),
    ("delta.partial_json", Text, Content),
    ("delta.stop_reason", Scalar, FinishReason),
    ("error", Presence, Error),
    ("error.type", Scalar, ErrorType),
    ("error.code", Scalar, ErrorCode),
    ("usage.service_tier", Scalar, ServiceTier),
    ("message.usage.service_tier", Scalar, ServiceTier),
];
