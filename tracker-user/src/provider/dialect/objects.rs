//! APIs whose answer is an object that lives on the server: it is made, asked for until it is done,
//! and counted once. (Background responses are such objects too; their dialect is OpenAI's.)
//!
//! Sources: the vendors' API references and, but for Mistral's conversations, recordings.

use super::{
    Counter::{CacheRead, Input, Output, Reasoning, ToolInput},
    Counts, Dialect,
    Field::{
        Content, Count, Error, ErrorCode, ErrorStatus, ErrorType, Kind, LatestId, Model, Prompt, ResponseId,
        ResponseModel, ServiceTier, Status, Tool, ToolAtPosition, ToolId, ToolIndex, ToolKind, ToolName,
        Usage as UsageObject,
    },
    PLAIN, Quirks, StreamEnd,
    counts::{sum, usage},
};
use crate::provider::{
    Usage,
    json::Want::{Presence, Scalar, Text},
};

/// Runs of OpenAI's assistants. Messages and steps come as events beside the run's own.
pub(in crate::provider) static RUNS: Dialect = Dialect {
    request: &[("model", Scalar, Model), ("assistant_id", Presence, Prompt)],
    response: &[&[
        ("id", Scalar, ResponseId),
        ("model", Scalar, ResponseModel),
        ("status", Scalar, Status),
        ("required_action.submit_tool_outputs.tool_calls[]", Presence, Tool),
        ("required_action.submit_tool_outputs.tool_calls[].id", Scalar, ToolId),
        ("required_action.submit_tool_outputs.tool_calls[].function.name", Scalar, ToolName),
        ("delta.content[].text.value", Text, Content),
        ("usage", Presence, UsageObject),
        ("usage.prompt_tokens", Scalar, Count(Input)),
        ("usage.completion_tokens", Scalar, Count(Output)),
        ("usage.prompt_token_details.cached_tokens", Scalar, Count(CacheRead)),
        ("usage.completion_tokens_details.reasoning_tokens", Scalar, Count(Reasoning)),
        ("last_error", Presence, Error),
        ("last_error.code", Scalar, ErrorCode),
        ("error", Presence, Error),
        ("error.type", Scalar, ErrorType),
        ("error.code", Scalar, ErrorCode),
    ]],
    asides: &["thread.run.step", "thread.message", "thread.created"],
    unfinished: &["queued", "in_progress", "requires_action", "cancelling"],
    polled: true,
    end: StreamEnd { done: true, kinds: &[], finish_reason: false },
    ..PLAIN
};

/// Gemini's interactions.
pub(in crate::provider) static INTERACTIONS: Dialect = Dialect {
    name: "gemini.interactions",
    request: &[("model", Scalar, Model), ("input", Presence, Prompt)],
    response: &[&[
        ("type", Scalar, Kind),
        ("event_type", Scalar, Kind),
        ("id", Scalar, LatestId),
        ("model", Scalar, ResponseModel),
        ("status", Scalar, Status),
        ("service_tier", Scalar, ServiceTier),
        ("steps[]", Presence, ToolAtPosition),
        ("steps[].type", Scalar, ToolKind),
        ("steps[].name", Scalar, ToolName),
        ("outputs[]", Presence, ToolAtPosition),
        ("outputs[].type", Scalar, ToolKind),
        ("outputs[].name", Scalar, ToolName),
        ("index", Scalar, ToolIndex),
        ("step", Presence, Tool),
        ("step.type", Scalar, ToolKind),
        ("step.name", Scalar, ToolName),
        ("content", Presence, Tool),
        ("content.type", Scalar, ToolKind),
        ("content.name", Scalar, ToolName),
        ("delta.text", Text, Content),
        ("delta.content.text", Text, Content),
        ("delta.arguments", Text, Content),
        ("usage", Presence, UsageObject),
        ("usage.total_input_tokens", Scalar, Count(Input)),
        ("usage.total_tool_use_tokens", Scalar, Count(ToolInput)),
        ("usage.total_cached_tokens", Scalar, Count(CacheRead)),
        ("usage.total_output_tokens", Scalar, Count(Output)),
        ("usage.total_thought_tokens", Scalar, Count(Reasoning)),
        ("error", Presence, Error),
        ("error.status", Scalar, ErrorStatus),
        ("error.code", Scalar, ErrorCode),
    ]],
    envelopes: &["interaction"],
    tool_kinds: &["function_call"],
    server_tool_kinds: &["*_call"],
    unfinished: &["queued", "in_progress"],
    polled: true,
    end: StreamEnd {
        done: true,
        kinds: &["interaction.completed", "interaction.complete"],
        finish_reason: false,
    },
    normalise: interactions_usage,
    ..PLAIN
};

/// Replicate's predictions, of any kind of model.
pub(in crate::provider) static PREDICTIONS: Dialect = Dialect {
    request: &[("model", Scalar, Model), ("input", Presence, Prompt)],
    response: &[&[
        ("id", Scalar, ResponseId),
        ("model", Scalar, ResponseModel),
        ("status", Scalar, Status),
        ("metrics", Presence, UsageObject),
        ("metrics.input_token_count", Scalar, Count(Input)),
        ("metrics.output_token_count", Scalar, Count(Output)),
        ("error", Presence, Error),
    ]],
    unfinished: &["queued", "starting", "processing"],
    polled: true,
    ..PLAIN
};

/// Mistral's conversations.
pub(in crate::provider) static CONVERSATIONS: Dialect = Dialect {
    request: &[("model", Scalar, Model), ("agent_id", Scalar, Model), ("inputs", Presence, Prompt)],
    response: &[&[
        ("type", Scalar, Kind),
        ("conversation_id", Scalar, ResponseId),
        ("model", Scalar, ResponseModel),
        ("outputs[]", Presence, Tool),
        ("outputs[].type", Scalar, ToolKind),
        ("outputs[].name", Scalar, ToolName),
        ("outputs[].model", Scalar, ResponseModel),
        ("name", Scalar, ToolName),
        ("content", Text, Content),
        ("usage", Presence, UsageObject),
        ("usage.prompt_tokens", Scalar, Count(Input)),
        ("usage.completion_tokens", Scalar, Count(Output)),
        ("error", Presence, Error),
        ("error.code", Scalar, ErrorCode),
    ]],
    tool_kinds: &["function.call"],
    end: StreamEnd { done: true, kinds: &["conversation.response.done"], finish_reason: false },
    ..PLAIN
};

/// Thoughts are beside the output, what tools brought in is beside the prompt.
fn interactions_usage(counts: &Counts, _: Quirks) -> Usage {
    let prompt = counts.get(Input);
    let input = prompt.and_then(|_| sum(&[prompt, counts.get(ToolInput)]));
    let output = sum(&[counts.get(Output), counts.get(Reasoning)]);
    usage(counts, input, output, counts.get(Reasoning))
}
