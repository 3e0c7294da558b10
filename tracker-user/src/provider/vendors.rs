//! The rows of the catalog: who offers LLMs, where, and what an endpoint's path says.
//!
//! Providers have the names of OTel's `gen_ai.provider.name` where it has one. Hosts and paths
//! come from the vendors' API references and from recordings.

use super::{
    catalog::{Endpoint, Socket, Vendor},
    dialect::{
        CHAT, CODE_ASSIST, COMPLETIONS, Dialect, EMBED_CONTENT, EMBEDDINGS, GENERATE_CONTENT, MESSAGES,
        Quirks, RESPONSES, Reasoning,
    },
    realtime::Speech,
};

const fn call(path: &'static str, dialect: &'static Dialect, operation: &'static str) -> Endpoint {
    Endpoint { path, dialect: Some(dialect), operation }
}

const fn no_call(path: &'static str) -> Endpoint {
    Endpoint { path, dialect: None, operation: "" }
}

/// Paths that mean the same at every host. The first that fits counts.
pub(super) static ENDPOINTS: &[Endpoint] = &[
    // OpenAI and everyone who speaks like it.
    call("deployments/{model}/chat/completions", &CHAT, "chat"),
    call("deployments/{model}/completions", &COMPLETIONS, "text_completion"),
    call("deployments/{model}/embeddings", &EMBEDDINGS, "embeddings"),
    call("chat/completions", &CHAT, "chat"),
    call("fim/completions", &CHAT, "text_completion"),
    call("agents/completions", &CHAT, "chat"),
    call("completions", &COMPLETIONS, "text_completion"),
    call("embeddings", &EMBEDDINGS, "embeddings"),
    call("responses", &RESPONSES, "chat"),
    call("responses/compact", &RESPONSES, "chat"),
    // Anthropic.
    call("v1/messages", &MESSAGES, "chat"),
    // Google; other publishers' models on Vertex keep their own dialect.
    call("v1internal:generateContent", &CODE_ASSIST, "generate_content"),
    call("v1internal:streamGenerateContent", &CODE_ASSIST, "generate_content"),
    call("{model}:generateContent", &GENERATE_CONTENT, "generate_content"),
    call("{model}:streamGenerateContent", &GENERATE_CONTENT, "generate_content"),
    call("{model}:embedContent", &EMBED_CONTENT, "embeddings"),
    call("{model}:batchEmbedContents", &EMBED_CONTENT, "embeddings"),
    no_call("publishers/anthropic/models/count-tokens:rawPredict"),
    call("publishers/anthropic/models/{model}:rawPredict", &MESSAGES, "chat"),
    call("publishers/anthropic/models/{model}:streamRawPredict", &MESSAGES, "chat"),
    call("publishers/mistralai/models/{model}:rawPredict", &CHAT, "chat"),
    call("publishers/mistralai/models/{model}:streamRawPredict", &CHAT, "chat"),
];

const fn socket(path: &'static str, speech: Speech, operation: &'static str) -> Socket {
    Socket { endpoint: Endpoint { path, dialect: None, operation }, speech }
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
    no_call("v1/responses/{}"),
    no_call("v1/batches"),
    no_call("{model}:countTokens"),
];

const PLAIN: Quirks = Quirks { reasoning: Reasoning::Within, audio_beside_prompt: false };

const fn vendor(provider: &'static str, hosts: &'static [&'static str]) -> Vendor {
    Vendor { provider, hosts, under: &[], endpoints: &[], quirks: PLAIN }
}

/// The providers. The first whose host fits counts.
pub(super) static VENDORS: &[Vendor] = &[
    vendor("openai", &["api.openai.com", "*.api.openai.com"]),
    // The ChatGPT site is more than the API that Codex uses with an account.
    Vendor { under: &["backend-api/codex/"], ..vendor("openai", &["chatgpt.com"]) },
    vendor("azure.ai.openai", &["*.openai.azure.com"]),
    Vendor {
        under: &["openai/", "voice-live/"],
        ..vendor("azure.ai.openai", &["*.cognitiveservices.azure.com"])
    },
    vendor(
        "azure.ai.inference",
        &["*.services.ai.azure.com", "*.inference.ai.azure.com", "*.models.ai.azure.com"],
    ),
    vendor("github_models", &["models.github.ai", "models.inference.ai.azure.com"]),
    vendor("github_copilot", &["api.githubcopilot.com", "api.*.githubcopilot.com"]),
    vendor("anthropic", &["api.anthropic.com"]),
    Vendor {
        quirks: Quirks { reasoning: Reasoning::Unreported, ..PLAIN },
        ..vendor("gcp.gemini", &["generativelanguage.googleapis.com"])
    },
    vendor("gcp.gemini", &["cloudcode-pa.googleapis.com"]),
    Vendor {
        quirks: Quirks { reasoning: Reasoning::Unreported, ..PLAIN },
        ..vendor("gcp.vertex_ai", &["aiplatform.googleapis.com", "*-aiplatform.googleapis.com"])
    },
    vendor("aws.bedrock", &["bedrock-runtime*.amazonaws.com", "bedrock-mantle.*.api.aws"]),
    vendor("cohere", &["api.cohere.com", "api.cohere.ai"]),
    Vendor {
        quirks: Quirks { audio_beside_prompt: true, ..PLAIN },
        ..vendor("mistral_ai", &["api.mistral.ai", "codestral.mistral.ai"])
    },
    vendor("groq", &["api.groq.com"]),
    vendor("deepseek", &["api.deepseek.com"]),
    Vendor {
        quirks: Quirks { reasoning: Reasoning::Beside, ..PLAIN },
        ..vendor("x_ai", &["api.x.ai", "*.api.x.ai"])
    },
    vendor("perplexity", &["api.perplexity.ai"]),
    vendor("ibm.watsonx.ai", &["*.ml.cloud.ibm.com"]),
    Vendor { under: &["api/"], ..vendor("openrouter", &["openrouter.ai"]) },
    vendor("vercel_ai_gateway", &["ai-gateway.vercel.sh"]),
    vendor("together_ai", &["api.together.xyz", "api.together.ai"]),
    vendor("fireworks_ai", &["api.fireworks.ai"]),
    vendor("cerebras", &["api.cerebras.ai"]),
    vendor("z_ai", &["api.z.ai", "open.bigmodel.cn"]),
    vendor("hugging_face", &["router.huggingface.co", "api-inference.huggingface.co"]),
    Vendor {
        under: &["serving-endpoints/"],
        endpoints: &[call("serving-endpoints/{model}/invocations", &CHAT, "chat")],
        ..vendor("databricks", &["*.azuredatabricks.net", "*.cloud.databricks.com", "*.gcp.databricks.com"])
    },
    Vendor { under: &["api/v2/cortex/"], ..vendor("snowflake", &["*.snowflakecomputing.com"]) },
    Vendor {
        under: &["client/v4/accounts/"],
        ..vendor("cloudflare", &["api.cloudflare.com", "gateway.ai.cloudflare.com"])
    },
    Vendor { endpoints: &[call("v1/chat", &CHAT, "chat")], ..vendor("writer", &["api.writer.com"]) },
    vendor("doubleword", &["api.doubleword.ai"]),
    vendor("venice", &["api.venice.ai"]),
    vendor("avian", &["api.avian.io"]),
    vendor("crusoe", &["*.crusoe.ai", "*.crusoecloud.com"]),
    vendor("ai21", &["api.ai21.com"]),
    vendor("moonshot_ai", &["api.moonshot.ai", "api.moonshot.cn"]),
    Vendor {
        under: &["compatible-mode/", "api/", "api-ws/"],
        ..vendor(
            "alibaba_cloud",
            &["dashscope.aliyuncs.com", "dashscope-intl.aliyuncs.com", "dashscope-us.aliyuncs.com"],
        )
    },
    vendor("heroku", &["*.inference.heroku.com"]),
    vendor("portkey", &["api.portkey.ai"]),
    vendor("voyage_ai", &["api.voyageai.com"]),
    Vendor { under: &["api/", "v1/"], ..vendor("ollama", &["ollama.com", "*:11434"]) },
];
