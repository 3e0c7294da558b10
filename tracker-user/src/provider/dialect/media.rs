//! Pictures, sound and documents: by tokens, by seconds, by pages, or by nothing at all.
//!
//! Sources: OpenAI's and Mistral's API references and recordings.

use super::{
    Counter::{AudioInput, CacheRead, ImageInput, ImageOutput, Input, Output, Total},
    Dialect,
    Field::{
        Content, Cost, Count, Error, ErrorCode, ErrorType, Kind, Model, OuterCode, Prompt, ResponseId,
        ResponseModel, Usage as UsageObject,
    },
    PLAIN, Path, StreamEnd,
    openai::chat_usage,
};
use crate::provider::json::Want::{Presence, Scalar};

/// `images/generations`, `edits` and `variations`. Older models report nothing.
pub(in crate::provider) static IMAGES: Dialect = Dialect {
    name: "openai.images",
    request: &[("model", Scalar, Model), ("prompt", Presence, Prompt)],
    response: &[COMMON],
    end: StreamEnd {
        done: true,
        kinds: &["image_generation.completed", "image_edit.completed"],
        finish_reason: false,
    },
    ..PLAIN
};

/// `audio/transcriptions` and `audio/translations`.
pub(in crate::provider) static TRANSCRIPTION: Dialect = Dialect {
    name: "openai.transcription",
    request: &[("model", Scalar, Model), ("input_audio", Presence, Prompt)],
    response: &[COMMON, &[("delta", Presence, Content)]],
    end: StreamEnd {
        done: true,
        kinds: &["transcript.text.done", "transcription.done"],
        finish_reason: false,
    },
    normalise: chat_usage,
    ..PLAIN
};

/// `audio/speech`: sound, or events with it.
pub(in crate::provider) static SPEECH: Dialect = Dialect {
    name: "openai.speech",
    request: &[("model", Scalar, Model), ("input", Presence, Prompt)],
    response: &[COMMON, &[("audio", Presence, Content)]],
    end: StreamEnd { done: true, kinds: &["speech.audio.done"], finish_reason: false },
    ..PLAIN
};

/// `moderations`.
pub(in crate::provider) static MODERATION: Dialect = Dialect {
    name: "openai.moderation",
    request: &[("model", Scalar, Model), ("input", Presence, Prompt)],
    response: &[COMMON, &[("id", Scalar, ResponseId)]],
    ..PLAIN
};

/// Mistral's `ocr`, counted in pages.
pub(in crate::provider) static OCR: Dialect = Dialect {
    request: &[("model", Scalar, Model), ("document", Presence, Prompt)],
    response: &[COMMON],
    ..PLAIN
};

const COMMON: &[Path] = &[
    ("model", Scalar, ResponseModel),
    ("usage", Presence, UsageObject),
    ("usage.input_tokens", Scalar, Count(Input)),
    ("usage.output_tokens", Scalar, Count(Output)),
    ("usage.total_tokens", Scalar, Count(Total)),
    ("usage.input_tokens_details.cached_tokens", Scalar, Count(CacheRead)),
    ("usage.input_tokens_details.image_tokens", Scalar, Count(ImageInput)),
    ("usage.output_tokens_details.image_tokens", Scalar, Count(ImageOutput)),
    ("usage.input_token_details.audio_tokens", Scalar, Count(AudioInput)),
    ("usage.prompt_tokens", Scalar, Count(Input)),
    ("usage.completion_tokens", Scalar, Count(Output)),
    ("usage.prompt_tokens_details.cached_tokens", Scalar, Count(CacheRead)),
    ("usage.prompt_tokens_details.audio_tokens", Scalar, Count(AudioInput)),
    ("usage.cost", Scalar, Cost),
    ("type", Scalar, Kind),
    ("error", Presence, Error),
    ("error.type", Scalar, ErrorType),
    ("error.code", Scalar, ErrorCode),
    ("code", Scalar, OuterCode),
];
