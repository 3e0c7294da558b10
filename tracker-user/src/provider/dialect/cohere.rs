//! Cohere, both versions of its API, and reranking by whomever.
//!
//! `tokens` is what the model saw and said, `billed_units` what of it is charged; the latter counts
//! where there is nothing else. Source: Cohere's API reference and recordings.

use super::{
    Counter::{CacheRead, Input, InputElsewhere, Output, OutputElsewhere, Reasoning, Total},
    Dialect,
    Field::{
        Choice, Content, Cost, Count, Error, ErrorCode, ErrorType, FinishReason, Instructions, Kind, Message,
        Model, Opaque, Prompt, ResponseId, ResponseModel, Schema, Terminator, Tool, ToolId, ToolIndex,
        ToolName, Tools, Usage as UsageObject, Whole,
    },
    PLAIN, Path, StreamEnd,
    counts::input_usage,
};
use crate::provider::json::Want::{Everything, Presence, Scalar, Text, Within};

/// `chat`, `generate` and `embed`.
pub(in crate::provider) static COHERE: Dialect = Dialect {
    name: "cohere",
    request: &[
        ("model", Scalar, Model),
        ("messages", Within, Prompt),
        ("message", Within, Prompt),
        ("prompt", Within, Prompt),
        ("texts", Within, Prompt),
        ("images", Presence, Opaque),
        ("inputs", Within, Prompt),
        ("messages[]", Presence, Message),
        ("preamble", Within, Instructions),
        ("chat_history", Within, Instructions),
        ("documents", Everything, Schema),
        ("tools", Everything, Tools),
    ],
    response: &[RESPONSE, META],
    end: StreamEnd { done: true, kinds: &["message-end", "stream-end"], finish_reason: true },
    ..PLAIN
};

/// `rerank`: Cohere's, Jina's, Voyage's and what speaks like one of them.
pub(in crate::provider) static RERANK: Dialect = Dialect {
    name: "rerank",
    request: &[("model", Scalar, Model), ("query", Presence, Prompt)],
    response: &[
        META,
        &[
            ("id", Scalar, ResponseId),
            ("model", Scalar, ResponseModel),
            ("usage.prompt_tokens", Scalar, Count(Input)),
            ("usage.total_tokens", Scalar, Count(Total)),
            ("usage.cost", Scalar, Cost),
            ("error", Presence, Error),
            ("error.type", Scalar, ErrorType),
            ("error.code", Scalar, ErrorCode),
        ],
    ],
    normalise: input_usage,
    ..PLAIN
};

const RESPONSE: &[Path] = &[
    ("type", Scalar, Kind),
    ("event_type", Scalar, Kind),
    ("is_finished", Presence, Terminator),
    ("id", Scalar, ResponseId),
    ("generation_id", Scalar, ResponseId),
    ("finish_reason", Scalar, FinishReason),
    ("generations[]", Presence, Choice),
    ("generations[].finish_reason", Scalar, FinishReason),
    ("generations[].text", Text, Whole),
    ("message.content[].text", Text, Whole),
    ("text", Text, Content),
    ("message.tool_calls[]", Presence, Tool),
    ("message.tool_calls[].id", Scalar, ToolId),
    ("message.tool_calls[].function.name", Scalar, ToolName),
    ("tool_calls[]", Presence, Tool),
    ("tool_calls[].name", Scalar, ToolName),
    ("index", Scalar, ToolIndex),
    ("delta.finish_reason", Scalar, FinishReason),
    ("delta.message.content.text", Text, Content),
    ("delta.message.content.thinking", Text, Content),
    ("delta.message.tool_plan", Text, Content),
    ("delta.message.tool_calls", Presence, Tool),
    ("delta.message.tool_calls.id", Scalar, ToolId),
    ("delta.message.tool_calls.function.name", Scalar, ToolName),
    ("delta.message.tool_calls.function.arguments", Text, Content),
    ("delta.usage", Presence, UsageObject),
    ("delta.usage.tokens.input_tokens", Scalar, Count(Input)),
    ("delta.usage.tokens.output_tokens", Scalar, Count(Output)),
    ("delta.usage.tokens.reasoning_tokens", Scalar, Count(Reasoning)),
    ("delta.usage.billed_units.input_tokens", Scalar, Count(InputElsewhere)),
    ("delta.usage.billed_units.output_tokens", Scalar, Count(OutputElsewhere)),
    ("delta.usage.cached_tokens", Scalar, Count(CacheRead)),
    ("response.meta", Presence, UsageObject),
    ("response.meta.tokens.input_tokens", Scalar, Count(Input)),
    ("response.meta.tokens.output_tokens", Scalar, Count(Output)),
    ("response.meta.billed_units.input_tokens", Scalar, Count(InputElsewhere)),
    ("response.meta.billed_units.output_tokens", Scalar, Count(OutputElsewhere)),
    ("response.meta.cached_tokens", Scalar, Count(CacheRead)),
];

/// Usage of an answer that is not streamed: `usage` in version 2, `meta` in version 1.
const META: &[Path] = &[
    ("usage", Presence, UsageObject),
    ("usage.tokens.input_tokens", Scalar, Count(Input)),
    ("usage.tokens.output_tokens", Scalar, Count(Output)),
    ("usage.tokens.reasoning_tokens", Scalar, Count(Reasoning)),
    ("usage.billed_units.input_tokens", Scalar, Count(InputElsewhere)),
    ("usage.billed_units.output_tokens", Scalar, Count(OutputElsewhere)),
    ("usage.cached_tokens", Scalar, Count(CacheRead)),
    ("meta", Presence, UsageObject),
    ("meta.tokens.input_tokens", Scalar, Count(Input)),
    ("meta.tokens.output_tokens", Scalar, Count(Output)),
    ("meta.billed_units.input_tokens", Scalar, Count(InputElsewhere)),
    ("meta.billed_units.output_tokens", Scalar, Count(OutputElsewhere)),
    ("meta.cached_tokens", Scalar, Count(CacheRead)),
];
