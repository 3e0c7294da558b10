//! OpenAI's formats, which most vendors have taken over: chat completions, completions,
//! embeddings and responses.
//!
//! Sources: OpenAI's API reference and recordings of every vendor in the catalog; which vendor
//! departs from it, and how, stands in that vendor's row.

use super::{
    CHAT_FRAMING,
    Counter::{
        AudioInput, AudioOutput, CacheCreation, CacheCreation1h, CacheRead, ImageInput, ImageOutput, Input,
        Output, Reasoning as ReasoningCount, Total,
    },
    Dialect,
    Field::{
        Choice, ChoiceIndex, Content, Cost, Count, Error, ErrorCode, ErrorStatus, ErrorType, FinishReason,
        Kind, LatestId, Media, Message, Model, Object, Opaque, OuterCode, Own, Prompt, ResponseId,
        ResponseModel, Schema, ServiceTier, Status, Tool, ToolAtPosition, ToolId, ToolIndex, ToolKind,
        ToolName, Tools, Usage as UsageObject, Whole,
    },
    Framing, PLAIN, Path, Quirks, Reasoning, StreamEnd,
    counts::{Counts, input_usage, sum, usage},
};
use crate::provider::{
    Usage,
    json::Want::{Everything, Presence, Scalar, Text, Within},
};

/// `chat/completions`. The stream's usage comes in a last chunk, with or without choices, if the
/// client asked for it or the vendor always sends it; some repeat it cumulatively.
pub(in crate::provider) static CHAT: Dialect = Dialect {
    request: &[
        ("model", Scalar, Model),
        ("messages", Within, Prompt),
        ("messages[]", Presence, Message),
        ("prompt", Within, Prompt),
        ("tools", Everything, Tools),
        ("functions", Everything, Tools),
        ("response_format.json_schema", Everything, Schema),
    ],
    name: "openai.chat",
    response: &[CHAT_CHOICES, CHAT_ASIDE, CHAT_USAGE],
    normalise: chat_usage,
    ..PLAIN
};

/// Cloudflare's `ai/run`: the same counts around an answer of its own.
pub(in crate::provider) static WORKERS: Dialect = Dialect {
    name: "cloudflare.run",
    request: &[
        ("messages", Within, Prompt),
        ("messages[]", Presence, Message),
        ("prompt", Within, Prompt),
        ("text", Within, Prompt),
        ("tools", Everything, Tools),
    ],
    response: &[CHAT_CHOICES, CHAT_ASIDE, CHAT_USAGE, &[("response", Text, Content)]],
    envelopes: &["result"],
    ..CHAT
};

/// The legacy `completions`: the same answer, with text in place of messages.
pub(in crate::provider) static COMPLETIONS: Dialect = Dialect {
    name: "openai.completions",
    request: &[("model", Scalar, Model), ("prompt", Within, Prompt)],
    response: &[&[("object", Scalar, Object)], CHAT_CHOICES, CHAT_ASIDE, CHAT_USAGE],
    own_kinds: &["text_completion"],
    ..CHAT
};

/// `embeddings`. There is no output to count; some vendors give the total only.
pub(in crate::provider) static EMBEDDINGS: Dialect = Dialect {
    name: "openai.embeddings",
    request: &[("model", Scalar, Model), ("input", Within, Prompt)],
    response: &[EMBEDDINGS_DATA, CHAT_ASIDE, CHAT_USAGE],
    normalise: input_usage,
    ..CHAT
};

/// `responses`. The events wrap the response; only the terminal one has usage.
pub(in crate::provider) static RESPONSES: Dialect = Dialect {
    request: &[
        ("model", Scalar, Model),
        ("input", Within, Prompt),
        ("input[]", Presence, Message),
        ("instructions", Within, Prompt),
        ("tools", Everything, Tools),
        ("text.format.schema", Everything, Schema),
        // What the provider keeps is part of the prompt.
        ("prompt", Presence, Opaque),
        ("conversation", Presence, Opaque),
        ("previous_response_id", Presence, Opaque),
    ],
    name: "openai.responses",
    framing: Framing { answer: 1, tool_call: 6, ..CHAT_FRAMING },
    response: &[RESPONSES_RESPONSE],
    envelopes: &["response"],
    tool_kinds: &["function_call", "custom_tool_call", "mcp_call"],
    server_tool_kinds: &["*_call"],
    unfinished: &["queued", "in_progress"],
    polled: true,
    own_kinds: &[
        "response",
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ],
    end: StreamEnd {
        done: false,
        kinds: &[
            "response.completed",
            "response.incomplete",
            "response.failed",
            "response.cancelled",
            "response.done",
        ],
        finish_reason: false,
    },
    ..PLAIN
};

/// What chat completions say beside their usage.
pub(super) const CHAT_CHOICES: &[Path] = &[
    ("id", Scalar, ResponseId),
    ("model", Scalar, ResponseModel),
    ("choices[]", Presence, Choice),
    ("choices[].index", Scalar, ChoiceIndex),
    ("choices[].finish_reason", Scalar, FinishReason),
    ("choices[].text", Text, Content),
    ("choices[].message.content", Text, Whole),
    ("choices[].message.content[].text", Text, Whole),
    ("choices[].message.reasoning", Text, Whole),
    ("choices[].message.reasoning_content", Text, Whole),
    ("choices[].message.refusal", Text, Whole),
    ("choices[].message.tool_calls[].function.arguments", Text, Whole),
    ("choices[].message.tool_calls[].custom.input", Text, Whole),
    ("choices[].message.function_call.arguments", Text, Whole),
    ("choices[].message.tool_calls[]", Presence, Tool),
    ("choices[].message.tool_calls[].index", Scalar, ToolIndex),
    ("choices[].message.tool_calls[].id", Scalar, ToolId),
    ("choices[].message.tool_calls[].function.name", Scalar, ToolName),
    ("choices[].message.tool_calls[].custom.name", Scalar, ToolName),
    ("choices[].message.function_call", Presence, Tool),
    ("choices[].message.function_call.name", Scalar, ToolName),
    ("choices[].delta.content", Text, Content),
    ("choices[].delta.content[].text", Text, Content),
    ("choices[].delta.content[].thinking[].text", Text, Content),
    ("choices[].delta.refusal", Text, Content),
    ("choices[].delta.reasoning", Text, Content),
    ("choices[].delta.reasoning_content", Text, Content),
    ("choices[].delta.reasoning_text", Text, Content),
    ("choices[].delta.audio.data", Presence, Media),
    ("choices[].delta.audio.transcript", Text, Content),
    ("choices[].delta.tool_calls[]", Presence, Tool),
    ("choices[].delta.tool_calls[].index", Scalar, ToolIndex),
    ("choices[].delta.tool_calls[].id", Scalar, ToolId),
    ("choices[].delta.tool_calls[].function.name", Scalar, ToolName),
    ("choices[].delta.tool_calls[].function.arguments", Text, Content),
    ("choices[].delta.tool_calls[].custom.name", Scalar, ToolName),
    ("choices[].delta.tool_calls[].custom.input", Text, Content),
    ("choices[].delta.function_call", Presence, Tool),
    ("choices[].delta.function_call.name", Scalar, ToolName),
    ("choices[].delta.function_call.arguments", Text, Content),
];

/// What stands beside the choices, or what is in their place after a failure.
pub(super) const CHAT_ASIDE: &[Path] = &[
    ("service_tier", Scalar, ServiceTier),
    ("error", Presence, Error),
    ("error.type", Scalar, ErrorType),
    ("error.code", Scalar, ErrorCode),
    ("error.status", Scalar, ErrorStatus),
    ("type", Scalar, Kind),
    ("code", Scalar, OuterCode),
];

const EMBEDDINGS_DATA: &[Path] =
    &[("id", Scalar, ResponseId), ("model", Scalar, ResponseModel), ("data[].embedding", Presence, Own)];

/// Their usage; everything is included in everything.
pub(super) const CHAT_USAGE: &[Path] = &[
    ("usage", Presence, UsageObject),
    ("usage.prompt_tokens", Scalar, Count(Input)),
    ("usage.completion_tokens", Scalar, Count(Output)),
    ("usage.total_tokens", Scalar, Count(Total)),
    ("usage.cost", Scalar, Cost),
    ("usage.cost.total_cost", Scalar, Cost),
    // xAI.
    ("usage.cost_in_usd_ticks", Scalar, Cost),
    ("usage.prompt_tokens_details.cached_tokens", Scalar, Count(CacheRead)),
    ("usage.prompt_tokens_details.cache_write_tokens", Scalar, Count(CacheCreation)),
    ("usage.prompt_tokens_details.audio_tokens", Scalar, Count(AudioInput)),
    ("usage.prompt_tokens_details.image_tokens", Scalar, Count(ImageInput)),
    ("usage.completion_tokens_details.reasoning_tokens", Scalar, Count(ReasoningCount)),
    ("usage.completion_tokens_details.audio_tokens", Scalar, Count(AudioOutput)),
    ("usage.completion_tokens_details.image_tokens", Scalar, Count(ImageOutput)),
    // DeepSeek, Together, Mistral and GitHub Copilot have these beside, or in place of, the details.
    ("usage.prompt_cache_hit_tokens", Scalar, Count(CacheRead)),
    ("usage.cached_tokens", Scalar, Count(CacheRead)),
    ("usage.num_cached_tokens", Scalar, Count(CacheRead)),
    ("usage.reasoning_tokens", Scalar, Count(ReasoningCount)),
    // Databricks, for Anthropic's models.
    ("usage.cache_read_input_tokens", Scalar, Count(CacheRead)),
    ("usage.cache_creation_input_tokens", Scalar, Count(CacheCreation)),
    ("usage.cache_creation.ephemeral_1h_input_tokens", Scalar, Count(CacheCreation1h)),
    // Groq without `include_usage`; with it the same numbers come up to three times.
    ("x_groq.usage", Presence, UsageObject),
    ("x_groq.usage.prompt_tokens", Scalar, Count(Input)),
    ("x_groq.usage.completion_tokens", Scalar, Count(Output)),
    ("x_groq.usage.total_tokens", Scalar, Count(Total)),
    ("x_groq.usage.prompt_tokens_details.cached_tokens", Scalar, Count(CacheRead)),
    ("x_groq.usage.completion_tokens_details.reasoning_tokens", Scalar, Count(ReasoningCount)),
];

const RESPONSES_RESPONSE: &[Path] = &[
    ("type", Scalar, Kind),
    ("object", Scalar, Object),
    ("id", Scalar, LatestId),
    ("model", Scalar, ResponseModel),
    ("status", Scalar, Status),
    ("output[]", Presence, ToolAtPosition),
    ("output[].type", Scalar, ToolKind),
    ("output[].content[].text", Text, Whole),
    ("output[].summary[].text", Text, Whole),
    ("output[].arguments", Text, Whole),
    ("output[].input", Text, Whole),
    ("output[].name", Scalar, ToolName),
    ("output_index", Scalar, ToolIndex),
    ("item", Presence, Tool),
    ("item.type", Scalar, ToolKind),
    ("item.name", Scalar, ToolName),
    ("delta", Text, Content),
    ("service_tier", Scalar, ServiceTier),
    ("usage.cost", Scalar, Cost),
    ("usage.cost_in_usd_ticks", Scalar, Cost),
    ("usage", Presence, UsageObject),
    ("usage.input_tokens", Scalar, Count(Input)),
    ("usage.output_tokens", Scalar, Count(Output)),
    ("usage.total_tokens", Scalar, Count(Total)),
    ("usage.input_tokens_details.cached_tokens", Scalar, Count(CacheRead)),
    ("usage.input_tokens_details.cache_write_tokens", Scalar, Count(CacheCreation)),
    ("usage.output_tokens_details.reasoning_tokens", Scalar, Count(ReasoningCount)),
    // Fireworks keeps the names of chat completions.
    ("usage.prompt_tokens", Scalar, Count(Input)),
    ("usage.completion_tokens", Scalar, Count(Output)),
    ("error", Presence, Error),
    ("error.type", Scalar, ErrorType),
    ("error.code", Scalar, ErrorCode),
    ("error.status", Scalar, ErrorStatus),
    ("code", Scalar, OuterCode),
];

pub(super) fn chat_usage(counts: &Counts, quirks: Quirks) -> Usage {
    let prompt = counts.get(Input);
    let completion = counts.get(Output);
    let reported = counts.get(ReasoningCount);
    let total = counts.get(Total);

    let input = match quirks.audio_beside_prompt {
        true if prompt.is_some() => sum(&[prompt, counts.get(AudioInput)]),
        _ => prompt,
    };
    // Gateways relay what their backends count, so the total may betray one that counts beside.
    let beside = quirks.reasoning == Reasoning::Beside
        || (reported > Some(0) && completion.is_some() && total == sum(&[prompt, completion, reported]));
    let reasoning = match (quirks.reasoning, prompt, completion, total) {
        (Reasoning::Unreported, Some(prompt), Some(completion), Some(total)) if reported.is_none() => {
            total.checked_sub(prompt.saturating_add(completion)).filter(|&rest| rest > 0)
        }
        _ => reported,
    };
    let added = beside || (reasoning.is_some() && reported.is_none());
    let output = completion.and_then(|_| sum(&[completion, if added { reasoning } else { None }]));
    usage(counts, input, output, reasoning)
}
