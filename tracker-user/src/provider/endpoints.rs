//! The rows of the catalog that hold at every host: what a path says, and what a body or a name says without it.
//!
//! From the API references of those who made the paths, and from recordings.

use super::{
    catalog::{Endpoint, Method, Socket},
    dialect::{
        BATCH_EMBED_RPC, CHAT, CODE_ASSIST, COHERE, COMPLETE, COMPLETION, COMPLETIONS, CONVERSE, Dialect,
        EMBED_CONTENT, EMBED_RPC, EMBEDDINGS, GEMINI_SHAPE, GENERATE, GENERATE_CONTENT, GENERATE_RPC, IMAGES,
        INTERACTIONS, INVOKE_MODEL, MESSAGES, MODERATION, OLLAMA, RERANK, RESPONSES, SPEECH,
        STREAM_GENERATE_RPC, TRANSCRIPTION, VERTEX_EMBED_RPC, VERTEX_GENERATE_RPC, VERTEX_SHAPE,
        VERTEX_STREAM_GENERATE_RPC, XAI_CHAT, XAI_CHAT_SHAPE, XAI_CHAT_STREAM, XAI_CHAT_STREAM_SHAPE,
        XAI_COMPACT, XAI_DEFERRED, XAI_EMBED, XAI_IMAGE, XAI_SAMPLE, XAI_SAMPLE_STREAM,
    },
    realtime::Speech,
};

pub(super) const fn call(path: &'static str, dialect: &'static Dialect, operation: &'static str) -> Endpoint {
    Endpoint { path, method: Method::Post, dialect: Some(dialect), operation, any_task: false }
}

/// A call of which only the model's name says what it is for, if anything does.
pub(super) const fn any_task(
    path: &'static str,
    dialect: &'static Dialect,
    operation: &'static str,
) -> Endpoint {
    Endpoint { any_task: true, ..call(path, dialect, operation) }
}

/// A response that is asked for again.
pub(super) const fn poll(path: &'static str, dialect: &'static Dialect, operation: &'static str) -> Endpoint {
    Endpoint { method: Method::Get, ..call(path, dialect, operation) }
}

/// A response that is acted on, and answered with.
pub(super) const fn act(path: &'static str, dialect: &'static Dialect, operation: &'static str) -> Endpoint {
    Endpoint { method: Method::PostAgain, ..call(path, dialect, operation) }
}

const fn no_call(path: &'static str) -> Endpoint {
    Endpoint { path, method: Method::Post, dialect: None, operation: "", any_task: false }
}

/// What is in the names of models that do something else than their endpoint says.
pub(super) static TASKS: &[(&str, &str)] = &[
    ("embed", "embeddings"),
    ("rerank", "rerank"),
    ("imagen", "image_generation"),
    ("image", "image_generation"),
    ("canvas", "image_generation"),
    ("stability.", "image_generation"),
    ("veo", "video_generation"),
    ("-reel", "video_generation"),
];

/// Paths that mean the same at every host. The first that fits counts.
pub(super) static ENDPOINTS: &[Endpoint] = &[
    // OpenAI and everyone who speaks like it.
    call("deployments/{model}/chat/completions", &CHAT, "chat"),
    call("deployments/{model}/completions", &COMPLETIONS, "text_completion"),
    call("deployments/{model}/embeddings", &EMBEDDINGS, "embeddings"),
    call("deployments/{model}/images/generations", &IMAGES, "image_generation"),
    call("deployments/{model}/images/edits", &IMAGES, "image_generation"),
    call("deployments/{model}/audio/transcriptions", &TRANSCRIPTION, "transcription"),
    call("deployments/{model}/audio/translations", &TRANSCRIPTION, "translation"),
    call("deployments/{model}/audio/speech", &SPEECH, "speech"),
    call("chat/completions", &CHAT, "chat"),
    call("engines/{model}/completions", &COMPLETIONS, "text_completion"),
    call("engines/{model}/embeddings", &EMBEDDINGS, "embeddings"),
    call("fim/completions", &CHAT, "text_completion"),
    call("agents/completions", &CHAT, "chat"),
    call("completions", &COMPLETIONS, "text_completion"),
    call("embeddings", &EMBEDDINGS, "embeddings"),
    call("responses", &RESPONSES, "chat"),
    call("responses/compact", &RESPONSES, "chat"),
    poll("responses/{}", &RESPONSES, "chat"),
    act("responses/{}/cancel", &RESPONSES, "chat"),
    call("images/generations", &IMAGES, "image_generation"),
    call("images/edits", &IMAGES, "image_generation"),
    call("images/variations", &IMAGES, "image_generation"),
    call("audio/transcriptions", &TRANSCRIPTION, "transcription"),
    call("audio/translations", &TRANSCRIPTION, "translation"),
    call("audio/speech", &SPEECH, "speech"),
    call("moderations", &MODERATION, "moderation"),
    call("rerank", &RERANK, "rerank"),
    call("reranking", &RERANK, "rerank"),
    // Anthropic.
    call("v1/messages", &MESSAGES, "chat"),
    call("v1/complete", &COMPLETE, "text_completion"),
    // Google; other publishers' models on Vertex keep their own dialect.
    call("v1internal:generateContent", &CODE_ASSIST, "generate_content"),
    call("v1internal:streamGenerateContent", &CODE_ASSIST, "generate_content"),
    call("{model}:generateContent", &GENERATE_CONTENT, "generate_content"),
    call("{model}:streamGenerateContent", &GENERATE_CONTENT, "generate_content"),
    call("{model}:embedContent", &EMBED_CONTENT, "embeddings"),
    call("{model}:batchEmbedContents", &EMBED_CONTENT, "embeddings"),
    call("v1beta/interactions", &INTERACTIONS, "chat"),
    poll("v1beta/interactions/{}", &INTERACTIONS, "chat"),
    no_call("publishers/anthropic/models/count-tokens:rawPredict"),
    call("publishers/anthropic/models/{model}:rawPredict", &MESSAGES, "chat"),
    call("publishers/anthropic/models/{model}:streamRawPredict", &MESSAGES, "chat"),
    call("publishers/{}/models/{model}:rawPredict", &CHAT, "chat"),
    call("publishers/{}/models/{model}:streamRawPredict", &CHAT, "chat"),
    // Amazon Bedrock, also behind proxies. Names of inference profiles have a slash in them.
    any_task("model/{model}/invoke", &INVOKE_MODEL, "chat"),
    any_task("model/{model}/{model}/invoke", &INVOKE_MODEL, "chat"),
    any_task("model/{model}/invoke-with-response-stream", &INVOKE_MODEL, "chat"),
    any_task("model/{model}/{model}/invoke-with-response-stream", &INVOKE_MODEL, "chat"),
    call("model/{model}/converse", &CONVERSE, "chat"),
    call("model/{model}/{model}/converse", &CONVERSE, "chat"),
    call("model/{model}/converse-stream", &CONVERSE, "chat"),
    call("model/{model}/{model}/converse-stream", &CONVERSE, "chat"),
    // Cohere.
    call("v1/chat", &COHERE, "chat"),
    call("v2/chat", &COHERE, "chat"),
    call("v1/generate", &COHERE, "text_completion"),
    call("v1/embed", &COHERE, "embeddings"),
    call("v2/embed", &COHERE, "embeddings"),
    // Ollama, llama.cpp and TGI.
    call("api/chat", &OLLAMA, "chat"),
    call("api/generate", &OLLAMA, "text_completion"),
    call("api/embed", &OLLAMA, "embeddings"),
    call("api/embeddings", &OLLAMA, "embeddings"),
    call("completion", &COMPLETION, "text_completion"),
    call("generate", &GENERATE, "text_completion"),
    call("generate_stream", &GENERATE, "text_completion"),
    // gRPC, whose paths are `/package.Service/Method`: Google's in the versions that there are, and xAI's.
    call(
        "/google.ai.generativelanguage.v1.GenerativeService/GenerateContent",
        &GENERATE_RPC,
        "generate_content",
    ),
    call(
        "/google.ai.generativelanguage.v1.GenerativeService/StreamGenerateContent",
        &STREAM_GENERATE_RPC,
        "generate_content",
    ),
    call("/google.ai.generativelanguage.v1.GenerativeService/EmbedContent", &EMBED_RPC, "embeddings"),
    call(
        "/google.ai.generativelanguage.v1.GenerativeService/BatchEmbedContents",
        &BATCH_EMBED_RPC,
        "embeddings",
    ),
    call(
        "/google.ai.generativelanguage.v1beta.GenerativeService/GenerateContent",
        &GENERATE_RPC,
        "generate_content",
    ),
    call(
        "/google.ai.generativelanguage.v1beta.GenerativeService/StreamGenerateContent",
        &STREAM_GENERATE_RPC,
        "generate_content",
    ),
    call("/google.ai.generativelanguage.v1beta.GenerativeService/EmbedContent", &EMBED_RPC, "embeddings"),
    call(
        "/google.ai.generativelanguage.v1beta.GenerativeService/BatchEmbedContents",
        &BATCH_EMBED_RPC,
        "embeddings",
    ),
    call(
        "/google.ai.generativelanguage.v1alpha.GenerativeService/GenerateContent",
        &GENERATE_RPC,
        "generate_content",
    ),
    call(
        "/google.ai.generativelanguage.v1alpha.GenerativeService/StreamGenerateContent",
        &STREAM_GENERATE_RPC,
        "generate_content",
    ),
    call("/google.ai.generativelanguage.v1alpha.GenerativeService/EmbedContent", &EMBED_RPC, "embeddings"),
    call(
        "/google.ai.generativelanguage.v1alpha.GenerativeService/BatchEmbedContents",
        &BATCH_EMBED_RPC,
        "embeddings",
    ),
    call(
        "/google.cloud.aiplatform.v1.PredictionService/GenerateContent",
        &VERTEX_GENERATE_RPC,
        "generate_content",
    ),
    call(
        "/google.cloud.aiplatform.v1.PredictionService/StreamGenerateContent",
        &VERTEX_STREAM_GENERATE_RPC,
        "generate_content",
    ),
    call("/google.cloud.aiplatform.v1.PredictionService/EmbedContent", &VERTEX_EMBED_RPC, "embeddings"),
    call(
        "/google.cloud.aiplatform.v1beta1.PredictionService/GenerateContent",
        &VERTEX_GENERATE_RPC,
        "generate_content",
    ),
    call(
        "/google.cloud.aiplatform.v1beta1.PredictionService/StreamGenerateContent",
        &VERTEX_STREAM_GENERATE_RPC,
        "generate_content",
    ),
    call("/google.cloud.aiplatform.v1beta1.PredictionService/EmbedContent", &VERTEX_EMBED_RPC, "embeddings"),
    call("/xai_api.Chat/GetCompletion", &XAI_CHAT, "chat"),
    call("/xai_api.Chat/GetCompletionChunk", &XAI_CHAT_STREAM, "chat"),
    // A deferred completion is counted when it is fetched: what starts it names no response.
    act("/xai_api.Chat/GetDeferredCompletion", &XAI_DEFERRED, "chat"),
    call("/xai_api.Chat/CompactContext", &XAI_COMPACT, "chat"),
    call("/xai_api.Sample/SampleText", &XAI_SAMPLE, "text_completion"),
    call("/xai_api.Sample/SampleTextStreaming", &XAI_SAMPLE_STREAM, "text_completion"),
    call("/xai_api.Embedder/Embed", &XAI_EMBED, "embeddings"),
    call("/xai_api.Image/GenerateImage", &XAI_IMAGE, "image_generation"),
];

/// Dialects that their bodies alone give away, where the path could not be read.
pub(super) static SHAPES: &[(&Dialect, &str)] = &[
    (&CHAT, "chat"),
    (&MESSAGES, "chat"),
    (&RESPONSES, "chat"),
    (&GENERATE_CONTENT, "generate_content"),
    (&COMPLETIONS, "text_completion"),
    (&EMBEDDINGS, "embeddings"),
    (&GEMINI_SHAPE, "generate_content"),
    (&VERTEX_SHAPE, "generate_content"),
    (&XAI_CHAT_SHAPE, "chat"),
    (&XAI_CHAT_STREAM_SHAPE, "chat"),
];

const fn socket(path: &'static str, speech: Speech, operation: &'static str) -> Socket {
    Socket { endpoint: Endpoint { operation, ..no_call(path) }, speech }
}

/// Paths of WebSockets that mean the same at every host. The first that fits counts.
pub(super) static SOCKETS: &[Socket] = &[
    // OpenAI, xAI, Alibaba and others; Azure's resource-wide and Foundry's paths.
    socket("v1/realtime", Speech::Realtime, "chat"),
    socket("openai/realtime", Speech::Realtime, "chat"),
    socket("voice-live/realtime", Speech::Realtime, "chat"),
    socket("paas/v4/realtime", Speech::Realtime, "chat"),
    // The Responses API, which Codex prefers to speak over WebSocket.
    socket("responses", Speech::Responses, "chat"),
    // Gemini Live, on the Gemini API and on Vertex AI.
    socket("ws/{model}.BidiGenerateContent", Speech::Live, "generate_content"),
    socket("ws/{model}.BidiGenerateContentConstrained", Speech::Live, "generate_content"),
    socket("ws/{}/BidiGenerateContent", Speech::Live, "generate_content"),
];

/// Paths at unknown hosts that are no calls, but show that the host serves an LLM API.
pub(super) static NEIGHBOURS: &[Endpoint] = &[
    no_call("v1/models"),
    no_call("v1/models/{}"),
    no_call("v1beta/models"),
    no_call("v1/messages/count_tokens"),
    no_call("v1/messages/batches"),
    no_call("v1/responses/input_tokens"),
    no_call("v1/batches"),
    no_call("model/{}/count-tokens"),
    no_call("api/tags"),
    no_call("{model}:countTokens"),
    no_call("/google.ai.generativelanguage.v1beta.GenerativeService/CountTokens"),
    no_call("/xai_api.Models/ListLanguageModels"),
    no_call("/xai_api.Chat/StartDeferredCompletion"),
];
