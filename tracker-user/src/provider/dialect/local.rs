//! Servers of open models with an API of their own: Ollama, llama.cpp, Hugging Face's TGI; and
//! watsonx, which took over TGI's words.
//!
//! Sources: their API references and, for all but watsonx and llama.cpp, recordings.

use super::{
    Counter::{Input, InputElsewhere, Output, OutputElsewhere},
    Dialect,
    Field::{
        Arguments, Choice, Content, Count, Error, ErrorCode, ErrorType, FinishReason, Finished, Instructions,
        Message, Model, Opaque, Prompt, ResponseId, ResponseModel, Schema, Terminator, Tool, ToolId,
        ToolName, Tools, Usage as UsageObject,
    },
    PLAIN, StreamEnd,
    openai::{CHAT_ASIDE, CHAT_CHOICES, CHAT_USAGE, chat_usage},
};
use crate::provider::json::Want::{Everything, Presence, Scalar, Text, Within};

/// Ollama's `chat`, `generate`, `embed`: lines of JSON unless the request says no.
pub(in crate::provider) static OLLAMA: Dialect = Dialect {
    name: "ollama",
    request: &[
        ("model", Scalar, Model),
        ("messages", Within, Prompt),
        ("messages[]", Presence, Message),
        ("messages[].tool_calls", Everything, Schema),
        ("system", Within, Instructions),
        ("tools", Everything, Tools),
        ("images", Presence, Opaque),
        ("context", Presence, Opaque),
        ("prompt", Within, Prompt),
        ("input", Within, Prompt),
    ],
    response: &[&[
        ("model", Scalar, ResponseModel),
        ("done", Presence, Terminator),
        ("done_reason", Scalar, FinishReason),
        // Absent where the whole prompt was in the cache.
        ("prompt_eval_count", Scalar, Count(Input)),
        ("eval_count", Scalar, Count(Output)),
        ("message.content", Text, Content),
        ("message.thinking", Text, Content),
        ("message.tool_calls[]", Presence, Tool),
        ("message.tool_calls[].id", Scalar, ToolId),
        ("message.tool_calls[].function.name", Scalar, ToolName),
        ("message.tool_calls[].function.arguments", Everything, Arguments),
        ("response", Text, Content),
        ("thinking", Text, Content),
        ("error", Presence, Error),
    ]],
    end: StreamEnd { done: false, kinds: &[], finish_reason: true },
    ..PLAIN
};

/// llama.cpp's `completion`.
pub(in crate::provider) static COMPLETION: Dialect = Dialect {
    name: "llamacpp.completion",
    request: &[("model", Scalar, Model), ("prompt", Within, Prompt)],
    response: &[&[
        ("model", Scalar, ResponseModel),
        ("content", Text, Content),
        ("stop", Presence, Terminator),
        ("stop_type", Scalar, FinishReason),
        ("tokens_evaluated", Scalar, Count(Input)),
        ("tokens_predicted", Scalar, Count(Output)),
        ("error", Presence, Error),
        ("error.type", Scalar, ErrorType),
        ("error.code", Scalar, ErrorCode),
    ]],
    unfinished: &["none"],
    nameless: true,
    ..PLAIN
};

/// TGI's `generate`, and Hugging Face's inference API. There are counts only where the request asked
/// for details.
pub(in crate::provider) static GENERATE: Dialect = Dialect {
    name: "tgi.generate",
    request: &[("inputs", Within, Prompt)],
    response: &[&[
        ("token.text", Text, Content),
        ("generated_text", Text, Finished),
        ("details", Presence, UsageObject),
        ("details.finish_reason", Scalar, FinishReason),
        ("details.input_length", Scalar, Count(Input)),
        ("details.generated_tokens", Scalar, Count(Output)),
        ("error", Presence, Error),
        ("error_type", Scalar, ErrorType),
    ]],
    headers: &[("x-prompt-tokens", Count(InputElsewhere)), ("x-generated-tokens", Count(OutputElsewhere))],
    nameless: true,
    ..PLAIN
};

/// Amazon SageMaker's endpoints run any container: one of TGI, or one that speaks like OpenAI.
pub(in crate::provider) static SAGEMAKER: Dialect = Dialect {
    request: &[("inputs", Presence, Prompt), ("messages", Presence, Prompt), ("prompt", Presence, Prompt)],
    response: &[
        CHAT_CHOICES,
        CHAT_ASIDE,
        CHAT_USAGE,
        &[
            ("generated_text", Presence, Finished),
            ("details", Presence, UsageObject),
            ("details.finish_reason", Scalar, FinishReason),
            ("details.input_length", Scalar, Count(Input)),
            ("details.generated_tokens", Scalar, Count(Output)),
        ],
    ],
    headers: &[("x-amzn-requestid", ResponseId), ("x-amzn-errortype", ErrorType)],
    nameless: true,
    normalise: chat_usage,
    ..PLAIN
};

/// watsonx's `text/generation`, `text/chat` and `text/embeddings`. Streamed counts are cumulative.
pub(in crate::provider) static WATSONX: Dialect = Dialect {
    name: "watsonx",
    request: &[
        ("model_id", Scalar, Model),
        ("input", Within, Prompt),
        ("inputs", Within, Prompt),
        ("messages", Within, Prompt),
    ],
    response: &[&[
        ("id", Scalar, ResponseId),
        ("model_id", Scalar, ResponseModel),
        ("results[]", Presence, Choice),
        ("results[].generated_text", Text, Content),
        ("results[].stop_reason", Scalar, FinishReason),
        ("results[].input_token_count", Scalar, Count(InputElsewhere)),
        ("results[].generated_token_count", Scalar, Count(OutputElsewhere)),
        ("input_token_count", Scalar, Count(Input)),
        ("choices[]", Presence, Choice),
        ("choices[].finish_reason", Scalar, FinishReason),
        ("choices[].delta.content", Text, Content),
        ("choices[].message.tool_calls[]", Presence, Tool),
        ("choices[].message.tool_calls[].function.name", Scalar, ToolName),
        ("usage", Presence, UsageObject),
        ("usage.prompt_tokens", Scalar, Count(Input)),
        ("usage.completion_tokens", Scalar, Count(Output)),
        ("errors[]", Presence, Error),
        ("errors[].code", Scalar, ErrorCode),
    ]],
    unfinished: &["not_finished"],
    ..PLAIN
};
