//! Alibaba's DashScope in its own format; its OpenAI-compatible one is `openai`'s.
//!
//! Streams repeat the usage in every event, cumulatively. Source: Alibaba's API reference.

use super::{
    Counter::{CacheRead, Input, Output, Reasoning, Total},
    Dialect,
    Field::{
        Choice, Content, Count, FinishReason, Model, OuterCode, Prompt, ResponseId, Tool, ToolId, ToolIndex,
        ToolName, Usage as UsageObject,
    },
    PLAIN, Path,
    counts::input_usage,
};
use crate::provider::json::Want::{Presence, Scalar};

/// `text-generation/generation` and `multimodal-generation/generation`.
pub(in crate::provider) static DASHSCOPE: Dialect =
    Dialect { name: "dashscope", request: REQUEST, response: &[RESPONSE], unfinished: &["null"], ..PLAIN };

/// Embeddings and reranking, which generate nothing.
pub(in crate::provider) static DASHSCOPE_INPUT: Dialect =
    Dialect { name: "dashscope.input", normalise: input_usage, ..DASHSCOPE };

const REQUEST: &[Path] = &[("model", Scalar, Model), ("input", Presence, Prompt)];

const RESPONSE: &[Path] = &[
    ("request_id", Scalar, ResponseId),
    ("output.finish_reason", Scalar, FinishReason),
    ("output.text", Presence, Content),
    ("output.choices[]", Presence, Choice),
    ("output.choices[].finish_reason", Scalar, FinishReason),
    ("output.choices[].message.content", Presence, Content),
    ("output.choices[].message.content[].text", Presence, Content),
    ("output.choices[].message.reasoning_content", Presence, Content),
    ("output.choices[].message.tool_calls[]", Presence, Tool),
    ("output.choices[].message.tool_calls[].index", Scalar, ToolIndex),
    ("output.choices[].message.tool_calls[].id", Scalar, ToolId),
    ("output.choices[].message.tool_calls[].function.name", Scalar, ToolName),
    ("usage", Presence, UsageObject),
    ("usage.input_tokens", Scalar, Count(Input)),
    ("usage.output_tokens", Scalar, Count(Output)),
    ("usage.total_tokens", Scalar, Count(Total)),
    ("usage.prompt_tokens_details.cached_tokens", Scalar, Count(CacheRead)),
    ("usage.output_tokens_details.reasoning_tokens", Scalar, Count(Reasoning)),
    // Of an error, which is nothing else.
    ("code", Scalar, OuterCode),
];
