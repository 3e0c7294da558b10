//! The rows of the catalog: who offers LLMs, where, and what paths mean there and nowhere else.
//!
//! Providers have the names of OTel's `gen_ai.provider.name` where it has one. Hosts and paths
//! come from the vendors' API references and from recordings.

use super::{
    catalog::{Endpoint, Vendor},
    dialect::{
        CHAT, COHERE, CONVERSATIONS, DASHSCOPE, DASHSCOPE_INPUT, EMBEDDINGS, GENERATE, INTERACTIONS,
        INVOKE_AGENT, OCR, PREDICT, PREDICTIONS, Quirks, RUNS, Reasoning, SAGEMAKER, WATSONX, WORKERS,
    },
    endpoints::{act, any_task, call, poll},
};

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
