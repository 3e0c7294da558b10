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
        Choice, ChoiceIndex, Coded, Content, Count, FinishReason, Finished, Instructions, Media, Message,
        Model, ModelResource, Opaque, Own, Prompt, ResponseId, ResponseModel, Schema, ServerTool,
        ServiceTier, Tool, ToolId, ToolKind, ToolName, Tools, Usage as UsageObject,
    },
    Merge, NO_FRAMING, PLAIN, Path, StreamEnd, Wire,
    counts::input_usage,
    gemini::generate_usage,
    openai::chat_usage,
};
use crate::provider::json::Want::{Presence, Scalar, Text};

/// The trailers say whether a stream is whole, and where they are missing its finish reason.
const END: StreamEnd = StreamEnd { done: false, kinds: &[], finish_reason: true };

const UNARY: Dialect = Dialect { wire: Wire::Grpc { streaming: Some(false) }, end: END, ..PLAIN };

const STREAM: Wire = Wire::Grpc { streaming: Some(true) };

/// `GenerateContent` of the Gemini API.
pub(in crate::provider) static GENERATE_RPC: Dialect = Dialect {
    request: &[
        ("1", Scalar, ModelResource),
        ("2", Presence, Message),
        ("2.1.2", Text, Prompt),
        ("2.1.3", Presence, Opaque),
        ("2.1.4", Presence, Opaque),
        ("2.1.5", Presence, Opaque),
        ("2.1.6", Presence, Opaque),
        // Tools, like what they are called with and answer, are messages of any depth.
        ("5", Presence, Opaque),
        ("8.1.2", Text, Instructions),
        ("9", Presence, Opaque),
    ],
    response: &[GEMINI],
    merge: Merge::Replace,
    framing: NO_FRAMING,
    normalise: generate_usage,
    ..UNARY
};

/// `StreamGenerateContent` of the Gemini API.
pub(in crate::provider) static STREAM_GENERATE_RPC: Dialect = Dialect { wire: STREAM, ..GENERATE_RPC };

/// `EmbedContent` of the Gemini API, which reports nothing.
pub(in crate::provider) static EMBED_RPC: Dialect = Dialect {
    request: &[("1", Scalar, ModelResource), ("2", Presence, Prompt), ("2.1.2", Text, Prompt)],
    response: &[],
    ..GENERATE_RPC
};

/// `BatchEmbedContents`: several of those requests.
pub(in crate::provider) static BATCH_EMBED_RPC: Dialect = Dialect {
    request: &[("1", Scalar, ModelResource), ("2", Presence, Prompt), ("2.2.1.2", Text, Prompt)],
    ..EMBED_RPC
};

/// `GenerateContent` of Vertex AI.
pub(in crate::provider) static VERTEX_GENERATE_RPC: Dialect = Dialect {
    request: &[
        ("5", Scalar, ModelResource),
        ("2", Presence, Message),
        ("2.2.1", Text, Prompt),
        ("2.2.2", Presence, Opaque),
        ("2.2.3", Presence, Opaque),
        ("2.2.5", Presence, Opaque),
        ("2.2.6", Presence, Opaque),
        ("6", Presence, Opaque),
        ("8.2.1", Text, Instructions),
        ("9", Presence, Opaque),
    ],
    response: &[VERTEX],
    ..GENERATE_RPC
};

/// `StreamGenerateContent` of Vertex AI.
pub(in crate::provider) static VERTEX_STREAM_GENERATE_RPC: Dialect =
    Dialect { wire: STREAM, ..VERTEX_GENERATE_RPC };

/// `EmbedContent` of Vertex AI.
pub(in crate::provider) static VERTEX_EMBED_RPC: Dialect = Dialect {
    request: &[("1", Scalar, ModelResource), ("2", Presence, Prompt), ("2.2.1", Text, Prompt)],
    response: &[&[
        ("1", Presence, Own),
        ("2", Presence, UsageObject),
        ("2.1", Scalar, Count(Input)),
        ("2.3", Scalar, Count(Total)),
    ]],
    framing: NO_FRAMING,
    normalise: input_usage,
    ..UNARY
};

/// What `GenerateContent` and its stream are where the path could not be read. Numbers of fields are few and
/// everybody's: the names of the models have to be Google's, in the request and in the answer.
pub(in crate::provider) static GEMINI_SHAPE: Dialect =
    Dialect { wire: Wire::Grpc { streaming: None }, models: GOOGLE_MODELS, ..GENERATE_RPC };

/// The same of Vertex AI.
pub(in crate::provider) static VERTEX_SHAPE: Dialect =
    Dialect { wire: Wire::Grpc { streaming: None }, models: GOOGLE_MODELS, ..VERTEX_GENERATE_RPC };

const GOOGLE_MODELS: &[&str] = &["gemini-", "gemma-"];

const GEMINI: &[Path] = &[
    ("1", Presence, Choice),
    ("1.3", Scalar, ChoiceIndex),
    ("1.2", Scalar, Coded(&GEMINI_FINISH)),
    ("1.1.1.2", Text, Content),
    ("1.1.1.3", Presence, Media),
    ("1.1.1.4", Presence, Tool),
    ("1.1.1.4.1", Scalar, ToolName),
    ("1.1.1.4.2", Presence, Media),
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
    ("2.2.2.1", Text, Content),
    ("2.2.2.2", Presence, Media),
    ("2.2.2.5", Presence, Tool),
    ("2.2.2.5.1", Scalar, ToolName),
    ("2.2.2.5.2", Presence, Media),
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

/// What xAI says of a call's tokens, in all of its messages.
const XAI_USAGE: &[Path] = &[
    ("", Presence, UsageObject),
    ("1", Scalar, Count(Output)),
    ("2", Scalar, Count(Input)),
    ("3", Scalar, Count(Total)),
    ("6", Scalar, Count(Reasoning)),
    ("7", Scalar, Count(CacheRead)),
];

/// What the model says, whole or the next piece of it.
const XAI_SAID: &[Path] = &[
    ("1", Text, Content),
    ("3", Presence, Tool),
    ("3.1", Scalar, ToolId),
    ("3.2", Scalar, Coded(&XAI_TOOL)),
    ("3.10.1", Scalar, ToolName),
    ("3.10.2", Text, Content),
    ("4", Text, Content),
];

const XAI_COMPLETION: &[Path] = &[
    ("1", Scalar, ResponseId),
    ("2", Presence, Choice),
    ("2.1", Scalar, Coded(&XAI_FINISH)),
    ("2.2", Scalar, ChoiceIndex),
    ("6", Scalar, ResponseModel),
    ("15", Scalar, Coded(&XAI_TIER)),
];

/// `GetCompletion` of xAI.
pub(in crate::provider) static XAI_CHAT: Dialect = Dialect {
    request: &[
        ("1", Presence, Message),
        ("1.1.1", Text, Prompt),
        ("1.1.2", Presence, Opaque),
        ("1.1.3", Presence, Opaque),
        ("1.4.10.1", Text, Prompt),
        ("1.4.10.2", Text, Prompt),
        ("1.6", Presence, Opaque),
        ("2", Scalar, Model),
        ("10.2", Text, Schema),
        ("17", Presence, Tools),
        ("17.1.1", Text, Schema),
        ("17.1.2", Text, Schema),
        ("17.1.4", Text, Schema),
        ("22", Presence, Opaque),
    ],
    response: &[XAI_COMPLETION],
    nested: &[("2.3", XAI_SAID), ("9", XAI_USAGE)],
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
        ("2.3", Scalar, Coded(&XAI_FINISH)),
        ("2.4", Scalar, ChoiceIndex),
        ("4", Scalar, ResponseModel),
        ("12", Scalar, Coded(&XAI_TIER)),
    ]],
    nested: &[("2.1", XAI_SAID), ("6", XAI_USAGE)],
    ..XAI_CHAT
};

/// `GetCompletion` where the path could not be read.
pub(in crate::provider) static XAI_CHAT_SHAPE: Dialect = Dialect { models: XAI_MODELS, ..XAI_CHAT };

/// `GetCompletionChunk` likewise.
pub(in crate::provider) static XAI_CHAT_STREAM_SHAPE: Dialect =
    Dialect { models: XAI_MODELS, ..XAI_CHAT_STREAM };

const XAI_MODELS: &[&str] = &["grok-"];

/// `GetDeferredCompletion` of xAI: a completion that was asked for before, once it is there.
pub(in crate::provider) static XAI_DEFERRED: Dialect = Dialect {
    request: &[],
    response: &[],
    nested: &[("1", XAI_COMPLETION), ("1.2.3", XAI_SAID), ("1.9", XAI_USAGE)],
    polled: true,
    ..XAI_CHAT
};

/// `CompactContext` of xAI.
pub(in crate::provider) static XAI_COMPACT: Dialect = Dialect {
    request: &[("1", Scalar, Model), ("2", Presence, Prompt)],
    response: &[&[("1", Scalar, ResponseId)]],
    nested: &[("4", XAI_USAGE)],
    ..XAI_CHAT
};

/// `SampleText` of xAI.
pub(in crate::provider) static XAI_SAMPLE: Dialect = Dialect {
    request: &[("1", Text, Prompt), ("3", Scalar, Model)],
    response: &[XAI_COMPLETION, &[("2.3", Text, Content)]],
    nested: &[("9", XAI_USAGE)],
    framing: NO_FRAMING,
    ..XAI_CHAT
};

/// `SampleTextStreaming` of xAI.
pub(in crate::provider) static XAI_SAMPLE_STREAM: Dialect = Dialect { wire: STREAM, ..XAI_SAMPLE };

/// `Embed` of xAI, which counts vectors and not tokens.
pub(in crate::provider) static XAI_EMBED: Dialect = Dialect {
    request: &[
        ("1", Presence, Prompt),
        ("1.1", Text, Prompt),
        ("1.2", Presence, Opaque),
        ("2", Scalar, Model),
    ],
    response: &[&[("1", Scalar, ResponseId), ("2", Presence, Own), ("4", Scalar, ResponseModel)]],
    framing: NO_FRAMING,
    ..UNARY
};

/// `GenerateImage` of xAI.
pub(in crate::provider) static XAI_IMAGE: Dialect = Dialect {
    request: &[("1", Presence, Prompt), ("2", Scalar, Model)],
    response: &[&[("1", Presence, Own), ("2", Scalar, ResponseModel)]],
    nested: &[("3", XAI_USAGE)],
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
