//! Amazon Bedrock: `InvokeModel`, where every family of models keeps its own bodies, and `Converse`,
//! which is the same for all.
//!
//! Which family a body is of is told by its fields: the model's id may be an inference profile that
//! says nothing. Some families report no usage; then response headers have it or, in a stream,
//! `amazon-bedrock-invocationMetrics`. Source: Bedrock's API reference and recordings.

use super::{
    Counter::{
        self, CacheCreation, CacheCreation1h, CacheCreationElsewhere, CacheRead, CacheReadElsewhere, Input,
        InputElsewhere, Output, OutputElsewhere, Reasoning, WholeInput,
    },
    Dialect,
    Field::{
        Add, Arguments, Choice, Content, Count, CountName, ErrorType, FinishReason, Instructions, Message,
        Named, NamedCount, Prompt, ResponseId, ResponseModel, Schema, StopReason, Terminator, Tool, ToolId,
        ToolIndex, ToolKind, ToolName, Tools, Usage as UsageObject, Whole,
    },
    PLAIN, Path, StreamEnd,
    anthropic::MESSAGES_RESPONSE,
    counts::disjoint_usage,
    openai::{CHAT_ASIDE, CHAT_CHOICES},
};
use crate::provider::json::Want::{Everything, Presence, Scalar, Text, Within};

use super::Field;

/// `invoke` and `invoke-with-response-stream`.
pub(in crate::provider) static INVOKE_MODEL: Dialect = Dialect {
    name: "bedrock.invoke_model",
    request: &[
        ("messages", Within, Prompt),
        ("messages[]", Presence, Message),
        ("system", Within, Instructions),
        ("tools", Everything, Tools),
        ("message", Within, Prompt),
        ("prompt", Within, Prompt),
        ("inputText", Within, Prompt),
        ("texts", Within, Prompt),
    ],
    response: &[MESSAGES_RESPONSE, CHAT_CHOICES, CHAT_ASIDE, CONVERSE_RESPONSE, FAMILIES],
    headers: &[
        ("x-amzn-bedrock-input-token-count", Count(InputElsewhere)),
        ("x-amzn-bedrock-output-token-count", Count(OutputElsewhere)),
        ("x-amzn-bedrock-cache-read-input-token-count", Count(CacheReadElsewhere)),
        ("x-amzn-bedrock-cache-write-input-token-count", Count(CacheCreationElsewhere)),
        REQUEST_ID,
        ERROR_TYPE,
    ],
    envelopes: CONVERSE_EVENTS,
    encloses: "chunk",
    tool_kinds: &["tool_use"],
    server_tool_kinds: &["server_tool_use"],
    end: StreamEnd { done: false, kinds: &["message_stop"], finish_reason: true },
    normalise: disjoint_usage,
    ..PLAIN
};

/// `converse` and `converse-stream`.
pub(in crate::provider) static CONVERSE: Dialect = Dialect {
    name: "bedrock.converse",
    request: &[
        ("messages", Within, Prompt),
        ("messages[]", Presence, Message),
        ("messages[].content[].toolUse.input", Everything, Schema),
        ("system", Within, Instructions),
        ("toolConfig.tools", Everything, Tools),
    ],
    response: &[CONVERSE_RESPONSE, &[("__type", Scalar, ErrorType)]],
    headers: &[REQUEST_ID, ERROR_TYPE],
    envelopes: CONVERSE_EVENTS,
    tool_kinds: &["tool_use"],
    server_tool_kinds: &["server_tool_use"],
    end: StreamEnd { done: false, kinds: &["metadata"], finish_reason: true },
    normalise: disjoint_usage,
    ..PLAIN
};

/// `InvokeAgent`: an agent may ask models many times before it answers. What that took is told where the
/// request asked for traces, one by one.
pub(in crate::provider) static INVOKE_AGENT: Dialect = Dialect {
    request: &[("inputText", Presence, Prompt)],
    response: &[TRACES, &[("bytes", Presence, Content), ("__type", Scalar, ErrorType)]],
    headers: &[REQUEST_ID, ERROR_TYPE],
    end: StreamEnd { done: false, kinds: &["chunk", "returnControl"], finish_reason: false },
    nameless: true,
    ..PLAIN
};

const TRACES: &[Path] = &[
    ("trace.preProcessingTrace.modelInvocationOutput.metadata.usage.inputTokens", Scalar, Add(Input)),
    ("trace.preProcessingTrace.modelInvocationOutput.metadata.usage.outputTokens", Scalar, Add(Output)),
    ("trace.orchestrationTrace.modelInvocationOutput.metadata.usage.inputTokens", Scalar, Add(Input)),
    ("trace.orchestrationTrace.modelInvocationOutput.metadata.usage.outputTokens", Scalar, Add(Output)),
    ("trace.postProcessingTrace.modelInvocationOutput.metadata.usage.inputTokens", Scalar, Add(Input)),
    ("trace.postProcessingTrace.modelInvocationOutput.metadata.usage.outputTokens", Scalar, Add(Output)),
    ("trace.routingClassifierTrace.modelInvocationOutput.metadata.usage.inputTokens", Scalar, Add(Input)),
    ("trace.routingClassifierTrace.modelInvocationOutput.metadata.usage.outputTokens", Scalar, Add(Output)),
    ("trace.orchestrationTrace.modelInvocationInput.foundationModel", Scalar, ResponseModel),
];

const REQUEST_ID: (&str, Field) = ("x-amzn-requestid", ResponseId);
const ERROR_TYPE: (&str, Field) = ("x-amzn-errortype", ErrorType);

/// Events that are a member of their document in Nova's own stream, and a header in Converse's.
const CONVERSE_EVENTS: &[&str] =
    &["messageStart", "contentBlockStart", "contentBlockDelta", "messageStop", "metadata"];

/// Converse, and Nova's own bodies. Cache counts come under two names, with the same value.
const CONVERSE_RESPONSE: &[Path] = &[
    ("stopReason", Scalar, FinishReason),
    ("output.message.content[].text", Text, Whole),
    ("output.message.content[].toolUse.input", Everything, Arguments),
    ("output.message.content[].toolUse", Presence, Tool),
    ("output.message.content[].toolUse.name", Scalar, ToolName),
    ("output.message.content[].toolUse.type", Scalar, ToolKind),
    ("contentBlockIndex", Scalar, ToolIndex),
    ("start.toolUse", Presence, Tool),
    ("start.toolUse.toolUseId", Scalar, ToolId),
    ("start.toolUse.name", Scalar, ToolName),
    ("start.toolUse.type", Scalar, ToolKind),
    ("delta.text", Text, Content),
    ("delta.toolUse.input", Text, Content),
    ("delta.reasoningContent.text", Text, Content),
    ("usage", Presence, UsageObject),
    ("usage.inputTokens", Scalar, Count(Input)),
    ("usage.outputTokens", Scalar, Count(Output)),
    ("usage.cacheReadInputTokens", Scalar, Count(CacheRead)),
    ("usage.cacheReadInputTokenCount", Scalar, Count(CacheRead)),
    ("usage.cacheWriteInputTokens", Scalar, Count(CacheCreation)),
    ("usage.cacheWriteInputTokenCount", Scalar, Count(CacheCreation)),
    ("usage.cacheDetails[]", Presence, Named(WRITTEN_FOR)),
    ("usage.cacheDetails[].ttl", Scalar, CountName),
    ("usage.cacheDetails[].inputTokens", Scalar, NamedCount),
];

/// How long what is written to the cache is kept.
const WRITTEN_FOR: &[(&str, Counter)] = &[("1h", CacheCreation1h)];

/// What the other families call things.
const FAMILIES: &[Path] = &[
    // Those that speak like OpenAI: Jamba, DeepSeek, gpt-oss, Qwen, Mistral's chat models.
    ("choices[].stop_reason", Scalar, StopReason),
    ("usage.prompt_tokens", Scalar, Count(WholeInput)),
    ("usage.completion_tokens", Scalar, Count(Output)),
    ("usage.prompt_tokens_details.cached_tokens", Scalar, Count(CacheRead)),
    ("usage.completion_tokens_details.reasoning_tokens", Scalar, Count(Reasoning)),
    // Titan: text and embeddings.
    ("inputTextTokenCount", Scalar, Count(Input)),
    ("totalOutputTextTokenCount", Scalar, Count(Output)),
    ("completionReason", Scalar, FinishReason),
    ("outputText", Text, Content),
    ("results[]", Presence, Choice),
    ("results[].tokenCount", Scalar, Add(Output)),
    ("results[].completionReason", Scalar, FinishReason),
    // Llama.
    ("prompt_token_count", Scalar, Count(Input)),
    ("generation_token_count", Scalar, Count(Output)),
    ("generation", Text, Content),
    // Mistral's text models.
    ("outputs[]", Presence, Choice),
    ("outputs[].stop_reason", Scalar, FinishReason),
    ("outputs[].text", Text, Content),
    // Cohere.
    ("finish_reason", Scalar, FinishReason),
    ("text", Text, Content),
    ("tool_calls[]", Presence, Tool),
    ("tool_calls[].name", Scalar, ToolName),
    ("generations[]", Presence, Choice),
    ("generations[].finish_reason", Scalar, FinishReason),
    ("generations[].text", Text, Content),
    // AI21's Jurassic, and Claude before it had messages.
    ("completions[]", Presence, Choice),
    ("completions[].finishReason.reason", Scalar, FinishReason),
    ("completion", Text, Content),
    ("amazon-bedrock-invocationMetrics", Presence, Terminator),
    ("amazon-bedrock-invocationMetrics.inputTokenCount", Scalar, Count(InputElsewhere)),
    ("amazon-bedrock-invocationMetrics.outputTokenCount", Scalar, Count(OutputElsewhere)),
    ("amazon-bedrock-invocationMetrics.cacheReadInputTokenCount", Scalar, Count(CacheReadElsewhere)),
    ("amazon-bedrock-invocationMetrics.cacheWriteInputTokenCount", Scalar, Count(CacheCreationElsewhere)),
    ("__type", Scalar, ErrorType),
];
