//! What is called by gRPC: xAI's own API, and Google's `generateContent` family.
//!
//! Paths are of field numbers, by the published definitions: `xai/api/v1/*.proto` of xai-org/xai-proto,
//! and of googleapis/googleapis `google/ai/generativelanguage/*/generative_service.proto` and
//! `google/cloud/aiplatform/*/prediction_service.proto`, whose versions agree on these fields.

use super::{
    Code,
    Counter::{CacheRead, Input, Output, Reasoning, ToolInput, Total},
    Dialect,
    Field::{
        Choice, ChoiceIndex, Coded, Content, Count, FinishReason, Finished, Model, ModelResource, Own,
        Prompt, ResponseId, ResponseModel, ServerTool, ServiceTier, Tool, ToolId, ToolKind, ToolName,
        Usage as UsageObject,
    },
    Merge, PLAIN, Path, StreamEnd, Wire,
    counts::input_usage,
    gemini::generate_usage,
    openai::chat_usage,
};
use crate::provider::json::Want::{Presence, Scalar};

/// The trailers say whether a stream is whole, and where they are missing its finish reason.
const END: StreamEnd = StreamEnd { done: false, kinds: &[], finish_reason: true };

const UNARY: Dialect = Dialect { wire: Wire::Grpc { streaming: false }, end: END, ..PLAIN };

const STREAM: Wire = Wire::Grpc { streaming: true };

/// `GenerateContent` of the Gemini API.
pub(in crate::provider) static GENERATE_RPC: Dialect = Dialect {
    request: &[("1", Scalar, ModelResource), ("2", Presence, Prompt)],
    response: &[GEMINI],
    merge: Merge::Replace,
    normalise: generate_usage,
    ..UNARY
};

/// `StreamGenerateContent` of the Gemini API.
pub(in crate::provider) static STREAM_GENERATE_RPC: Dialect = Dialect { wire: STREAM, ..GENERATE_RPC };

/// `EmbedContent` and `BatchEmbedContents` of the Gemini API, which report nothing.
pub(in crate::provider) static EMBED_RPC: Dialect = Dialect { response: &[], ..GENERATE_RPC };

/// `GenerateContent` of Vertex AI.
pub(in crate::provider) static VERTEX_GENERATE_RPC: Dialect = Dialect {
    request: &[("5", Scalar, ModelResource), ("2", Presence, Prompt)],
    response: &[VERTEX],
    ..GENERATE_RPC
};

/// `StreamGenerateContent` of Vertex AI.
pub(in crate::provider) static VERTEX_STREAM_GENERATE_RPC: Dialect =
    Dialect { wire: STREAM, ..VERTEX_GENERATE_RPC };

/// `EmbedContent` of Vertex AI.
pub(in crate::provider) static VERTEX_EMBED_RPC: Dialect = Dialect {
    request: &[("1", Scalar, ModelResource), ("2", Presence, Prompt)],
    response: &[&[
        ("1", Presence, Own),
        ("2", Presence, UsageObject),
        ("2.1", Scalar, Count(Input)),
        ("2.3", Scalar, Count(Total)),
    ]],
    normalise: input_usage,
    ..UNARY
};

const GEMINI: &[Path] = &[
    ("1", Presence, Choice),
    ("1.3", Scalar, ChoiceIndex),
    ("1.2", Scalar, Coded(&GEMINI_FINISH)),
    ("1.1.1.2", Presence, Content),
    ("1.1.1.3", Presence, Content),
    ("1.1.1.4", Presence, Tool),
    ("1.1.1.4.1", Scalar, ToolName),
    ("1.1.1.9", Presence, ServerTool("executableCode")),
    ("2.1", Presence, Finished),
    ("3", Presence, UsageObject),
    ("3.1", Scalar, Count(Input)),
    ("3.2", Scalar, Count(Output)),
    ("3.4", Scalar, Count(CacheRead)),
    ("3.8", Scalar, Count(ToolInput)),
    ("3.10", Scalar, Count(Reasoning)),
    ("4", Scalar, ResponseModel),
    ("5", Scalar, ResponseId),
];

const VERTEX: &[Path] = &[
    ("2", Presence, Choice),
    ("2.1", Scalar, ChoiceIndex),
    ("2.3", Scalar, Coded(&VERTEX_FINISH)),
    ("2.2.2.1", Presence, Content),
    ("2.2.2.2", Presence, Content),
    ("2.2.2.5", Presence, Tool),
    ("2.2.2.5.1", Scalar, ToolName),
    ("2.2.2.8", Presence, ServerTool("executableCode")),
    ("3.1", Presence, Finished),
    ("4", Presence, UsageObject),
    ("4.1", Scalar, Count(Input)),
    ("4.2", Scalar, Count(Output)),
    ("4.5", Scalar, Count(CacheRead)),
    ("4.8", Scalar, Coded(&VERTEX_TRAFFIC)),
    ("4.14", Scalar, Count(Reasoning)),
    ("11", Scalar, ResponseModel),
    ("13", Scalar, ResponseId),
];

static GEMINI_FINISH: Code = Code {
    field: FinishReason,
    words: &[
        "STOP",
        "MAX_TOKENS",
        "SAFETY",
        "RECITATION",
        "OTHER",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MALFORMED_FUNCTION_CALL",
        "IMAGE_SAFETY",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_OTHER",
        "NO_IMAGE",
        "IMAGE_RECITATION",
    ],
};

static VERTEX_FINISH: Code = Code {
    field: FinishReason,
    words: &[
        "STOP",
        "MAX_TOKENS",
        "SAFETY",
        "RECITATION",
        "OTHER",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MALFORMED_FUNCTION_CALL",
        "MODEL_ARMOR",
    ],
};

static VERTEX_TRAFFIC: Code = Code {
    field: ServiceTier,
    words: &["ON_DEMAND", "PROVISIONED_THROUGHPUT", "ON_DEMAND_PRIORITY", "ON_DEMAND_FLEX"],
};

/// `GetCompletion` of xAI.
pub(in crate::provider) static XAI_CHAT: Dialect = Dialect {
    request: &[("1", Presence, Prompt), ("2", Scalar, Model)],
    response: &[&[
        ("1", Scalar, ResponseId),
        ("2", Presence, Choice),
        ("2.1", Scalar, Coded(&XAI_FINISH)),
        ("2.2", Scalar, ChoiceIndex),
        ("2.3.1", Presence, Content),
        ("2.3.3", Presence, Tool),
        ("2.3.3.1", Scalar, ToolId),
        ("2.3.3.2", Scalar, Coded(&XAI_TOOL)),
        ("2.3.3.10.1", Scalar, ToolName),
        ("2.3.4", Presence, Content),
        ("6", Scalar, ResponseModel),
        ("9", Presence, UsageObject),
        ("9.1", Scalar, Count(Output)),
        ("9.2", Scalar, Count(Input)),
        ("9.3", Scalar, Count(Total)),
        ("9.6", Scalar, Count(Reasoning)),
        ("9.7", Scalar, Count(CacheRead)),
        ("15", Scalar, Coded(&XAI_TIER)),
    ]],
    tool_kinds: XAI_TOOL_KINDS,
    server_tool_kinds: XAI_SERVER_TOOL_KINDS,
    normalise: chat_usage,
    ..UNARY
};

/// `GetCompletionChunk` of xAI: the same as a stream.
pub(in crate::provider) static XAI_CHAT_STREAM: Dialect = Dialect {
    wire: STREAM,
    response: &[&[
        ("1", Scalar, ResponseId),
        ("2", Presence, Choice),
        ("2.1.1", Presence, Content),
        ("2.1.3", Presence, Tool),
        ("2.1.3.1", Scalar, ToolId),
        ("2.1.3.2", Scalar, Coded(&XAI_TOOL)),
        ("2.1.3.10.1", Scalar, ToolName),
        ("2.1.4", Presence, Content),
        ("2.3", Scalar, Coded(&XAI_FINISH)),
        ("2.4", Scalar, ChoiceIndex),
        ("4", Scalar, ResponseModel),
        ("6", Presence, UsageObject),
        ("6.1", Scalar, Count(Output)),
        ("6.2", Scalar, Count(Input)),
        ("6.3", Scalar, Count(Total)),
        ("6.6", Scalar, Count(Reasoning)),
        ("6.7", Scalar, Count(CacheRead)),
        ("12", Scalar, Coded(&XAI_TIER)),
    ]],
    ..XAI_CHAT
};

/// `GetDeferredCompletion` of xAI: a completion that was asked for before, once it is there.
pub(in crate::provider) static XAI_DEFERRED: Dialect = Dialect {
    request: &[],
    response: &[&[
        ("1.1", Scalar, ResponseId),
        ("1.2", Presence, Choice),
        ("1.2.1", Scalar, Coded(&XAI_FINISH)),
        ("1.2.2", Scalar, ChoiceIndex),
        ("1.2.3.3", Presence, Tool),
        ("1.2.3.3.1", Scalar, ToolId),
        ("1.2.3.3.2", Scalar, Coded(&XAI_TOOL)),
        ("1.2.3.3.10.1", Scalar, ToolName),
        ("1.6", Scalar, ResponseModel),
        ("1.9", Presence, UsageObject),
        ("1.9.1", Scalar, Count(Output)),
        ("1.9.2", Scalar, Count(Input)),
        ("1.9.3", Scalar, Count(Total)),
        ("1.9.6", Scalar, Count(Reasoning)),
        ("1.9.7", Scalar, Count(CacheRead)),
        ("1.15", Scalar, Coded(&XAI_TIER)),
    ]],
    polled: true,
    ..XAI_CHAT
};

/// `CompactContext` of xAI.
pub(in crate::provider) static XAI_COMPACT: Dialect = Dialect {
    request: &[("1", Scalar, Model), ("2", Presence, Prompt)],
    response: &[&[
        ("1", Scalar, ResponseId),
        ("4", Presence, UsageObject),
        ("4.1", Scalar, Count(Output)),
        ("4.2", Scalar, Count(Input)),
        ("4.3", Scalar, Count(Total)),
        ("4.6", Scalar, Count(Reasoning)),
        ("4.7", Scalar, Count(CacheRead)),
    ]],
    ..XAI_CHAT
};

/// `SampleText` of xAI.
pub(in crate::provider) static XAI_SAMPLE: Dialect = Dialect {
    request: &[("1", Presence, Prompt), ("3", Scalar, Model)],
    response: &[&[
        ("1", Scalar, ResponseId),
        ("2", Presence, Choice),
        ("2.1", Scalar, Coded(&XAI_FINISH)),
        ("2.2", Scalar, ChoiceIndex),
        ("2.3", Presence, Content),
        ("6", Scalar, ResponseModel),
        ("9", Presence, UsageObject),
        ("9.1", Scalar, Count(Output)),
        ("9.2", Scalar, Count(Input)),
        ("9.3", Scalar, Count(Total)),
        ("9.6", Scalar, Count(Reasoning)),
        ("9.7", Scalar, Count(CacheRead)),
    ]],
    ..XAI_CHAT
};

/// `SampleTextStreaming` of xAI.
pub(in crate::provider) static XAI_SAMPLE_STREAM: Dialect = Dialect { wire: STREAM, ..XAI_SAMPLE };

/// `Embed` of xAI, which counts vectors and not tokens.
pub(in crate::provider) static XAI_EMBED: Dialect = Dialect {
    request: &[("1", Presence, Prompt), ("2", Scalar, Model)],
    response: &[&[("1", Scalar, ResponseId), ("2", Presence, Own), ("4", Scalar, ResponseModel)]],
    ..UNARY
};

/// `GenerateImage` of xAI.
pub(in crate::provider) static XAI_IMAGE: Dialect = Dialect {
    request: &[("1", Presence, Prompt), ("2", Scalar, Model)],
    response: &[&[
        ("1", Presence, Own),
        ("2", Scalar, ResponseModel),
        ("3", Presence, UsageObject),
        ("3.1", Scalar, Count(Output)),
        ("3.2", Scalar, Count(Input)),
        ("3.3", Scalar, Count(Total)),
        ("3.6", Scalar, Count(Reasoning)),
        ("3.7", Scalar, Count(CacheRead)),
    ]],
    ..XAI_CHAT
};

static XAI_FINISH: Code = Code {
    field: FinishReason,
    words: &["REASON_MAX_LEN", "REASON_MAX_CONTEXT", "REASON_STOP", "REASON_TOOL_CALLS", "REASON_TIME_LIMIT"],
};

static XAI_TIER: Code =
    Code { field: ServiceTier, words: &["SERVICE_TIER_DEFAULT", "SERVICE_TIER_PRIORITY"] };

static XAI_TOOL: Code = Code {
    field: ToolKind,
    words: &[
        "client_side_tool",
        "web_search_tool",
        "x_search_tool",
        "code_execution_tool",
        "collections_search_tool",
        "mcp_tool",
        "attachment_search_tool",
    ],
};

const XAI_TOOL_KINDS: &[&str] = &["client_side_tool"];

const XAI_SERVER_TOOL_KINDS: &[&str] = &[
    "web_search_tool",
    "x_search_tool",
    "code_execution_tool",
    "collections_search_tool",
    "mcp_tool",
    "attachment_search_tool",
];
