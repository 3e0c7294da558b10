//! Gemini's `generateContent` family, on the Gemini API and on Vertex AI.
//!
//! Streams come as server-sent events or as one JSON array, and end without a terminator. Their
//! counts are snapshots: a later one may be smaller or lack what an earlier one had. Source:
//! Google's reference for `GenerateContentResponse` and recordings.

use super::{
    Counter::{
        self, AudioInput, AudioOutput, CacheRead, ImageInput, ImageOutput, Input, Output, Reasoning,
        ToolInput,
    },
    Dialect,
    Field::{
        Add, Arguments, Choice, ChoiceIndex, Content, Count, CountName, Error, ErrorCode, ErrorStatus,
        FinishReason, Finished, Instructions, Media, Message, Model, Named, NamedCount, Opaque, Prompt,
        ResponseId, ResponseModel, Schema, ServerTool, ServiceTier, Tool, ToolName, Tools,
        Usage as UsageObject,
    },
    Merge, NO_FRAMING, PLAIN, Path, Quirks, StreamEnd,
    counts::{Counts, input_usage, sum, usage},
};
use crate::provider::{
    Usage,
    json::Want::{Everything, Presence, Scalar, Text, Within},
};

/// `generateContent` and `streamGenerateContent`; the model is in the path.
pub(in crate::provider) static GENERATE_CONTENT: Dialect = Dialect {
    name: "gemini.generate_content",
    request: &[
        ("contents", Within, Prompt),
        ("contents[]", Presence, Message),
        ("contents[].parts[].functionCall", Everything, Schema),
        ("contents[].parts[].functionResponse", Everything, Schema),
        ("systemInstruction", Within, Instructions),
        ("system_instruction", Within, Instructions),
        ("tools", Everything, Tools),
        ("cachedContent", Presence, Opaque),
    ],
    response: &[RESPONSE],
    streams_array: true,
    merge: Merge::Replace,
    end: StreamEnd { done: false, kinds: &[], finish_reason: true },
    framing: NO_FRAMING,
    normalise: generate_usage,
    ..PLAIN
};

/// The same inside an envelope: Code Assist, which Gemini CLI uses with a Google account.
pub(in crate::provider) static CODE_ASSIST: Dialect = Dialect {
    request: &[
        ("model", Scalar, Model),
        ("request.contents", Within, Prompt),
        ("request.contents[]", Presence, Message),
        ("request.contents[].parts[].functionCall", Everything, Schema),
        ("request.contents[].parts[].functionResponse", Everything, Schema),
        ("request.systemInstruction", Within, Instructions),
        ("request.tools", Everything, Tools),
    ],
    envelopes: &["response"],
    ..GENERATE_CONTENT
};

/// `embedContent` and `batchEmbedContents`: newer models report the prompt, older ones nothing.
pub(in crate::provider) static EMBED_CONTENT: Dialect =
    Dialect { request: &[("content", Within, Prompt), ("requests", Within, Prompt)], ..GENERATE_CONTENT };

/// `predict` on Vertex AI: embeddings say how long each prompt was, images and videos nothing.
pub(in crate::provider) static PREDICT: Dialect = Dialect {
    request: &[("instances", Presence, Prompt)],
    response: &[&[
        ("predictions[].embeddings.statistics.token_count", Scalar, Add(Input)),
        ("error", Presence, Error),
        ("error.status", Scalar, ErrorStatus),
        ("error.code", Scalar, ErrorCode),
    ]],
    normalise: input_usage,
    ..PLAIN
};

const RESPONSE: &[Path] = &[
    ("responseId", Scalar, ResponseId),
    ("modelVersion", Scalar, ResponseModel),
    ("candidates[]", Presence, Choice),
    ("candidates[].index", Scalar, ChoiceIndex),
    ("candidates[].finishReason", Scalar, FinishReason),
    ("candidates[].content.parts[].text", Text, Content),
    ("candidates[].content.parts[].inlineData", Presence, Media),
    ("candidates[].content.parts[].executableCode", Presence, ServerTool("executableCode")),
    ("candidates[].content.parts[].functionCall", Presence, Tool),
    ("candidates[].content.parts[].functionCall.name", Scalar, ToolName),
    ("candidates[].content.parts[].functionCall.args", Everything, Arguments),
    ("promptFeedback.blockReason", Presence, Finished),
    ("usageMetadata", Presence, UsageObject),
    ("usageMetadata.promptTokenCount", Scalar, Count(Input)),
    ("usageMetadata.toolUsePromptTokenCount", Scalar, Count(ToolInput)),
    ("usageMetadata.cachedContentTokenCount", Scalar, Count(CacheRead)),
    ("usageMetadata.candidatesTokenCount", Scalar, Count(Output)),
    ("usageMetadata.thoughtsTokenCount", Scalar, Count(Reasoning)),
    ("usageMetadata.promptTokensDetails[]", Presence, Named(PROMPT_PARTS)),
    ("usageMetadata.promptTokensDetails[].modality", Scalar, CountName),
    ("usageMetadata.promptTokensDetails[].tokenCount", Scalar, NamedCount),
    ("usageMetadata.candidatesTokensDetails[]", Presence, Named(ANSWER_PARTS)),
    ("usageMetadata.candidatesTokensDetails[].modality", Scalar, CountName),
    ("usageMetadata.candidatesTokensDetails[].tokenCount", Scalar, NamedCount),
    ("usageMetadata.serviceTier", Scalar, ServiceTier),
    ("usageMetadata.trafficType", Scalar, ServiceTier),
    ("error", Presence, Error),
    ("error.status", Scalar, ErrorStatus),
    ("error.code", Scalar, ErrorCode),
];

/// Parts of the prompt that may have prices of their own, by their modality.
pub(super) const PROMPT_PARTS: &[(&str, Counter)] = &[("AUDIO", AudioInput), ("IMAGE", ImageInput)];
/// The same of the answer.
pub(super) const ANSWER_PARTS: &[(&str, Counter)] = &[("AUDIO", AudioOutput), ("IMAGE", ImageOutput)];

/// Thoughts are beside the candidates, what tools brought in is beside the prompt.
pub(super) fn generate_usage(counts: &Counts, _: Quirks) -> Usage {
    let thoughts = counts.get(Reasoning);
    let prompt = counts.get(Input);
    let input = prompt.and_then(|_| sum(&[prompt, counts.get(ToolInput)]));
    usage(counts, input, sum(&[counts.get(Output), thoughts]), thoughts)
}
