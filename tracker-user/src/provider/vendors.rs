//! The rows of the catalog: who offers LLMs, where, and what an endpoint's path says.
//!
//! Providers have the names of OTel's `gen_ai.provider.name` where it has one. Hosts and paths
//! come from the vendors' API references and from recordings.

use super::{
    catalog::{Endpoint, Method, Socket, Vendor},
    dialect::{
        BATCH_EMBED_RPC, CHAT, CODE_ASSIST, COHERE, COMPLETE, COMPLETION, COMPLETIONS, CONVERSATIONS,
        CONVERSE, DASHSCOPE, DASHSCOPE_INPUT, Dialect, EMBED_CONTENT, EMBED_RPC, EMBEDDINGS, GEMINI_SHAPE,
        GENERATE, GENERATE_CONTENT, GENERATE_RPC, IMAGES, INTERACTIONS, INVOKE_AGENT, INVOKE_MODEL, MESSAGES,
        MODERATION, OCR, OLLAMA, PREDICT, PREDICTIONS, Quirks, RERANK, RESPONSES, RUNS, Reasoning, SAGEMAKER,
        SPEECH, STREAM_GENERATE_RPC, TRANSCRIPTION, VERTEX_EMBED_RPC, VERTEX_GENERATE_RPC, VERTEX_SHAPE,
        VERTEX_STREAM_GENERATE_RPC, WATSONX, WORKERS, XAI_CHAT, XAI_CHAT_SHAPE, XAI_CHAT_STREAM,
        XAI_CHAT_STREAM_SHAPE, XAI_COMPACT, XAI_DEFERRED, XAI_EMBED, XAI_IMAGE, XAI_SAMPLE,
        XAI_SAMPLE_STREAM,
    },
    realtime::Speech,
};

const fn call(path: &'static str, dialect: &'static Dialect, operation: &'static str) -> Endpoint {
    Endpoint { path, method: Method::Post, dialect: Some(dialect), operation, any_task: false }
}

/// A call of which only the model's name says what it is for, if anything does.
const fn any_task(path: &'static str, dialect: &'static Dialect, operation: &'static str) -> Endpoint {
    Endpoint { any_task: true, ..call(path, dialect, operation) }
}

/// A response that is asked for again.
const fn poll(path: &'static str, dialect: &'static Dialect, operation: &'static str) -> Endpoint {
    Endpoint { method: Method::Get, ..call(path, dialect, operation) }
}

/// A response that is acted on, and answered with.
const fn act(path: &'static str, dialect: &'static Dialect, operation: &'static str) -> Endpoint {
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

const PLAIN: Quirks = Quirks { reasoning: Reasoning::Within, audio_beside_prompt: false };

const fn vendor(provider: &'static str, hosts: &'static [&'static str]) -> Vendor {
    Vendor { provider, hosts, under: &[], endpoints: &[], quirks: PLAIN, subscriptions: &[] }
}

const ASSISTANTS: &[Endpoint] = &[
    call("threads/runs", &RUNS, "invoke_agent"),
    call("threads/{}/runs", &RUNS, "invoke_agent"),
    poll("threads/{}/runs/{}", &RUNS, "invoke_agent"),
    act("threads/{}/runs/{}", &RUNS, "invoke_agent"),
    act("threads/{}/runs/{}/cancel", &RUNS, "invoke_agent"),
    act("threads/{}/runs/{}/submit_tool_outputs", &RUNS, "invoke_agent"),
];

/// Models that Cloudflare runs itself; their names have two slashes.
const WORKERS_AI: &[Endpoint] = &[
    any_task("ai/run/{model}/{model}/{model}", &WORKERS, "chat"),
    any_task("workers-ai/{model}/{model}/{model}", &WORKERS, "chat"),
];

const GOOGLE: &[Endpoint] = &[
    // Of Vertex AI, and in later versions.
    call("interactions", &INTERACTIONS, "chat"),
    poll("interactions/{}", &INTERACTIONS, "chat"),
    any_task("{model}:predict", &PREDICT, "prediction"),
    any_task("{model}:predictLongRunning", &PREDICT, "prediction"),
];

/// The providers. The first whose host fits counts.
pub(super) static VENDORS: &[Vendor] = &[
    Vendor { endpoints: ASSISTANTS, ..vendor("openai", &["api.openai.com", "*.api.openai.com"]) },
    // The ChatGPT site is more than the API that Codex uses with an account.
    Vendor {
        under: &["backend-api/codex/"],
        subscriptions: &["backend-api/codex/"],
        ..vendor("openai", &["chatgpt.com"])
    },
    Vendor {
        endpoints: ASSISTANTS,
        ..vendor("azure.ai.openai", &["*.openai.azure.com", "*.openai.azure.us", "*.openai.azure.cn"])
    },
    Vendor {
        under: &["openai/", "voice-live/"],
        ..vendor("azure.ai.openai", &["*.cognitiveservices.azure.com", "*.cognitiveservices.azure.us"])
    },
    vendor("github_models", &["models.github.ai", "models.inference.ai.azure.com"]),
    vendor(
        "azure.ai.inference",
        &["*.services.ai.azure.com", "*.inference.ai.azure.com", "*.models.ai.azure.com"],
    ),
    Vendor {
        subscriptions: &[""],
        ..vendor(
            "github_copilot",
            &[
                "api.githubcopilot.com",
                "api.*.githubcopilot.com",
                "proxy.*.githubcopilot.com",
                "copilot-proxy.githubusercontent.com",
            ],
        )
    },
    vendor("anthropic", &["api.anthropic.com"]),
    Vendor {
        quirks: Quirks { reasoning: Reasoning::Unreported, ..PLAIN },
        endpoints: GOOGLE,
        ..vendor("gcp.gemini", &["generativelanguage.googleapis.com"])
    },
    // Code Assist, which Gemini CLI uses with a Google account.
    Vendor { subscriptions: &[""], ..vendor("gcp.gemini", &["cloudcode-pa.googleapis.com"]) },
    Vendor {
        quirks: Quirks { reasoning: Reasoning::Unreported, ..PLAIN },
        endpoints: GOOGLE,
        ..vendor(
            "gcp.vertex_ai",
            &["aiplatform.googleapis.com", "*-aiplatform.googleapis.com", "aiplatform.*.rep.googleapis.com"],
        )
    },
    vendor(
        "aws.bedrock",
        &[
            "bedrock-runtime*.amazonaws.com",
            "bedrock-runtime*.amazonaws.com.cn",
            "bedrock-runtime*.api.aws",
            // Inside a customer's network.
            "*.bedrock-runtime*.amazonaws.com",
            "bedrock-mantle*.api.aws",
        ],
    ),
    Vendor {
        endpoints: &[call("agents/{}/agentAliases/{}/sessions/{}/text", &INVOKE_AGENT, "invoke_agent")],
        ..vendor(
            "aws.bedrock",
            &["bedrock-agent-runtime*.amazonaws.com", "bedrock-agent-runtime*.amazonaws.com.cn"],
        )
    },
    Vendor {
        endpoints: &[
            any_task("endpoints/{model}/invocations", &SAGEMAKER, "chat"),
            any_task("endpoints/{model}/invocations-response-stream", &SAGEMAKER, "chat"),
        ],
        ..vendor(
            "aws.sagemaker",
            &["runtime.sagemaker*.amazonaws.com", "runtime.sagemaker*.amazonaws.com.cn"],
        )
    },
    Vendor {
        endpoints: &[
            call("v1/summarize", &COHERE, "text_completion"),
            call("v1/classify", &COHERE, "classification"),
        ],
        ..vendor("cohere", &["api.cohere.com", "api.cohere.ai"])
    },
    Vendor {
        quirks: Quirks { audio_beside_prompt: true, ..PLAIN },
        endpoints: &[
            call("v1/ocr", &OCR, "ocr"),
            call("v1/conversations", &CONVERSATIONS, "chat"),
            call("v1/conversations/{}", &CONVERSATIONS, "chat"),
        ],
        ..vendor("mistral_ai", &["api.mistral.ai", "codestral.mistral.ai"])
    },
    vendor("groq", &["api.groq.com"]),
    vendor("deepseek", &["api.deepseek.com"]),
    Vendor {
        quirks: Quirks { reasoning: Reasoning::Beside, ..PLAIN },
        // It can be fetched once.
        endpoints: &[poll("chat/deferred-completion/{}", &CHAT, "chat")],
        ..vendor("x_ai", &["api.x.ai", "*.api.x.ai"])
    },
    vendor("perplexity", &["api.perplexity.ai"]),
    Vendor {
        endpoints: &[
            call("text/generation", &WATSONX, "text_completion"),
            call("text/generation_stream", &WATSONX, "text_completion"),
            call("text/chat", &WATSONX, "chat"),
            call("text/chat_stream", &WATSONX, "chat"),
            call("text/embeddings", &WATSONX, "embeddings"),
        ],
        ..vendor("ibm.watsonx.ai", &["*.ml.cloud.ibm.com"])
    },
    Vendor { under: &["api/"], ..vendor("openrouter", &["openrouter.ai"]) },
    vendor("vercel_ai_gateway", &["ai-gateway.vercel.sh"]),
    vendor("together_ai", &["api.together.xyz", "api.together.ai"]),
    vendor("fireworks_ai", &["api.fireworks.ai"]),
    vendor("cerebras", &["api.cerebras.ai"]),
    // With its plan for coding it has other paths than without.
    Vendor { subscriptions: &["api/coding/"], ..vendor("z_ai", &["api.z.ai", "open.bigmodel.cn"]) },
    Vendor {
        endpoints: &[
            any_task("models/{model}", &GENERATE, "text_completion"),
            any_task("models/{model}/{model}", &GENERATE, "text_completion"),
            any_task("models/{model}/{model}/pipeline/feature-extraction", &GENERATE, "embeddings"),
        ],
        ..vendor(
            "hugging_face",
            &["router.huggingface.co", "api-inference.huggingface.co", "*.endpoints.huggingface.cloud"],
        )
    },
    Vendor {
        endpoints: &[
            call("v1/predictions", &PREDICTIONS, "prediction"),
            call("models/{model}/{model}/predictions", &PREDICTIONS, "prediction"),
            call("deployments/{}/{}/predictions", &PREDICTIONS, "prediction"),
            poll("predictions/{}", &PREDICTIONS, "prediction"),
            act("predictions/{}/cancel", &PREDICTIONS, "prediction"),
        ],
        ..vendor("replicate", &["api.replicate.com"])
    },
    Vendor {
        under: &["serving-endpoints/"],
        endpoints: &[any_task("serving-endpoints/{model}/invocations", &CHAT, "chat")],
        ..vendor("databricks", &["*.azuredatabricks.net", "*.cloud.databricks.com", "*.gcp.databricks.com"])
    },
    Vendor {
        under: &["api/v2/cortex/"],
        endpoints: &[call("cortex/inference:complete", &CHAT, "chat")],
        ..vendor("snowflake", &["*.snowflakecomputing.com"])
    },
    Vendor {
        under: &["client/v4/accounts/"],
        endpoints: WORKERS_AI,
        ..vendor("cloudflare", &["api.cloudflare.com"])
    },
    Vendor { endpoints: WORKERS_AI, ..vendor("cloudflare", &["gateway.ai.cloudflare.com"]) },
    Vendor { endpoints: &[call("v1/chat", &CHAT, "chat")], ..vendor("writer", &["api.writer.com"]) },
    vendor("doubleword", &["api.doubleword.ai"]),
    vendor("venice", &["api.venice.ai"]),
    vendor("avian", &["api.avian.io"]),
    vendor("crusoe", &["*.crusoe.ai", "*.crusoecloud.com"]),
    vendor("ai21", &["api.ai21.com"]),
    vendor("moonshot_ai", &["api.moonshot.ai", "api.moonshot.cn"]),
    Vendor {
        under: &["compatible-mode/", "api/", "api-ws/"],
        endpoints: &[
            call("aigc/text-generation/generation", &DASHSCOPE, "chat"),
            call("aigc/multimodal-generation/generation", &DASHSCOPE, "chat"),
            call("embeddings/text-embedding/text-embedding", &DASHSCOPE_INPUT, "embeddings"),
            call("embeddings/multimodal-embedding/multimodal-embedding", &DASHSCOPE_INPUT, "embeddings"),
            call("rerank/text-rerank/text-rerank", &DASHSCOPE_INPUT, "rerank"),
        ],
        ..vendor(
            "alibaba_cloud",
            &[
                "dashscope.aliyuncs.com",
                "dashscope-intl.aliyuncs.com",
                "dashscope-us.aliyuncs.com",
                "*.maas.aliyuncs.com",
            ],
        )
    },
    vendor("heroku", &["*.inference.heroku.com"]),
    vendor("portkey", &["api.portkey.ai"]),
    Vendor {
        endpoints: &[
            call("multimodalembeddings", &EMBEDDINGS, "embeddings"),
            call("contextualizedembeddings", &EMBEDDINGS, "embeddings"),
        ],
        ..vendor("voyage_ai", &["api.voyageai.com"])
    },
    vendor("jina_ai", &["api.jina.ai"]),
    Vendor {
        endpoints: &[call("v1/embedding/text", &EMBEDDINGS, "embeddings")],
        ..vendor("nomic", &["api-atlas.nomic.ai"])
    },
    // They speak like OpenAI.
    vendor("nvidia", &["integrate.api.nvidia.com"]),
    vendor("deepinfra", &["api.deepinfra.com"]),
    vendor("sambanova", &["api.sambanova.ai"]),
    vendor("siliconflow", &["api.siliconflow.com", "api.siliconflow.cn"]),
    vendor("minimax", &["api.minimax.io", "api.minimaxi.com"]),
    vendor("volcengine", &["ark.*.volces.com"]),
    vendor("nebius", &["api.studio.nebius.com", "api.studio.nebius.ai", "api.tokenfactory.nebius.com"]),
    vendor("novita", &["api.novita.ai"]),
    vendor("hyperbolic", &["api.hyperbolic.xyz"]),
    vendor("lambda", &["api.lambda.ai", "api.lambdalabs.com"]),
    vendor("baseten", &["inference.baseten.co"]),
    vendor("scaleway", &["api.scaleway.ai"]),
    vendor("upstage", &["api.upstage.ai"]),
    vendor("stepfun", &["api.stepfun.com", "api.stepfun.ai"]),
    vendor("tencent_cloud", &["api.hunyuan.cloud.tencent.com"]),
    vendor("baidu", &["qianfan.baidubce.com"]),
    vendor("chutes", &["llm.chutes.ai"]),
    vendor("featherless", &["api.featherless.ai"]),
    vendor("inception", &["api.inceptionlabs.ai"]),
    Vendor { under: &["api/", "v1/"], ..vendor("ollama", &["ollama.com", "*:11434"]) },
];
