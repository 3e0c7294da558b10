use super::*;
use crate::provider::realtime::Speech;

const BEDROCK: &str = "bedrock-runtime.us-east-1.amazonaws.com";

fn head(method: &str, host: &str, path: &str) -> RequestHead {
    let (host, port) = match host.split_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (host, None),
    };
    RequestHead {
        method: method.into(),
        path: path.into(),
        host: (!host.is_empty()).then(|| host.into()),
        port,
        ..RequestHead::default()
    }
}

#[test]
fn subscriptions_are_told_by_where_a_call_goes_or_by_its_credential() {
    for (host, path, paid) in [
        ("chatgpt.com", "/backend-api/codex/responses", true),
        ("api.openai.com", "/v1/responses", false),
        ("api.business.githubcopilot.com", "/chat/completions", true),
        ("cloudcode-pa.googleapis.com", "/v1internal:generateContent", true),
        ("generativelanguage.googleapis.com", "/v1beta/models/m:generateContent", false),
        ("api.z.ai", "/api/coding/paas/v4/chat/completions", true),
        ("api.z.ai", "/api/paas/v4/chat/completions", false),
        ("api.anthropic.com", "/v1/messages", false),
    ] {
        assert_eq!(is_by_subscription(&head("POST", host, path)), paid, "{host}{path}");
    }
    let login = RequestHead { subscription: true, ..head("POST", "api.anthropic.com", "/v1/messages") };
    assert!(is_by_subscription(&login));
}

#[test]
fn calls_find_their_provider_and_operation() {
    let catalog = Catalog::new();
    for (host, path, provider, operation, model) in [
        ("api.openai.com", "/v1/chat/completions", "openai", "chat", None),
        ("eu.api.openai.com", "/v1/responses", "openai", "chat", None),
        ("api.openai.com", "/v1/completions", "openai", "text_completion", None),
        ("chatgpt.com", "/backend-api/codex/responses", "openai", "chat", None),
        (
            "r.openai.azure.com",
            "//openai/deployments/gpt-4/chat/completions",
            "azure.ai.openai",
            "chat",
            Some("gpt-4"),
        ),
        (
            "r.openai.azure.com",
            "/openai/deployments/e/embeddings",
            "azure.ai.openai",
            "embeddings",
            Some("e"),
        ),
        ("r.services.ai.azure.com", "/models/chat/completions", "azure.ai.inference", "chat", None),
        ("r.services.ai.azure.com", "/anthropic/v1/messages", "azure.ai.inference", "chat", None),
        ("r.openai.azure.us", "/openai/v1/responses", "azure.ai.openai", "chat", None),
        ("api.anthropic.com", "/v1/messages", "anthropic", "chat", None),
        (
            "vpce-0a1b-c2d3.bedrock-runtime.us-east-1.vpce.amazonaws.com",
            "/model/amazon.nova-lite-v1%3A0/converse",
            "aws.bedrock",
            "chat",
            Some("amazon.nova-lite-v1:0"),
        ),
        (
            "bedrock-runtime-fips.us-gov-west-1.api.aws",
            "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.m/converse-stream",
            "aws.bedrock",
            "chat",
            Some("arn:aws:bedrock:us-east-1:1:inference-profile/us.m"),
        ),
        (
            "aiplatform.eu.rep.googleapis.com",
            "/v1/projects/p/locations/eu/publishers/google/models/gemini-2.5-pro:generateContent",
            "gcp.vertex_ai",
            "generate_content",
            Some("gemini-2.5-pro"),
        ),
        ("openrouter.ai", "/api/v1/messages/", "openrouter", "chat", None),
        ("api.business.githubcopilot.com", "/chat/completions", "github_copilot", "chat", None),
        (
            "generativelanguage.googleapis.com",
            "/v1beta/models/gemini-2.5-pro:streamGenerateContent",
            "gcp.gemini",
            "generate_content",
            Some("gemini-2.5-pro"),
        ),
        (
            "generativelanguage.googleapis.com",
            "/v1beta/models/gemini-2.5-pro%3AgenerateContent",
            "gcp.gemini",
            "generate_content",
            Some("gemini-2.5-pro"),
        ),
        (
            "us-east5-aiplatform.googleapis.com",
            "/v1/projects/p/locations/l/publishers/anthropic/models/claude@1:streamRawPredict",
            "gcp.vertex_ai",
            "chat",
            Some("claude@1"),
        ),
        (
            "cloudcode-pa.googleapis.com",
            "/v1internal:streamGenerateContent",
            "gcp.gemini",
            "generate_content",
            None,
        ),
        ("models.inference.ai.azure.com", "/chat/completions", "github_models", "chat", None),
        (
            "bedrock-runtime.eu-west-1.amazonaws.com",
            "/model/amazon.titan-embed-text-v2%3A0/invoke",
            "aws.bedrock",
            "embeddings",
            Some("amazon.titan-embed-text-v2:0"),
        ),
        (
            "aiplatform.googleapis.com",
            "/v1/projects/p/locations/l/publishers/google/models/imagen-4.0:predict",
            "gcp.vertex_ai",
            "image_generation",
            Some("imagen-4.0"),
        ),
        (
            "gateway.ai.cloudflare.com",
            "/v1/a/g/workers-ai/@cf/meta/llama-3.1-8b-instruct",
            "cloudflare",
            "chat",
            Some("@cf/meta/llama-3.1-8b-instruct"),
        ),
        ("api.openai.com", "/v1/threads/t/runs", "openai", "invoke_agent", None),
        ("api.cohere.com", "/v2/rerank", "cohere", "rerank", None),
        ("127.0.0.1:11434", "/api/chat", "ollama", "chat", None),
        ("gpu.example", "/api/generate", "unknown", "text_completion", None),
        ("127.0.0.1:11434", "/v1/chat/completions", "ollama", "chat", None),
        ("127.0.0.1:8000", "/v1/chat/completions", "unknown", "chat", None),
        ("", "/v1/messages", "unknown", "chat", None),
        ("adb.azuredatabricks.net", "/serving-endpoints/m/invocations", "databricks", "chat", Some("m")),
    ] {
        let head = head("POST", host, path);
        assert_eq!(catalog.interest(&head), Interest::Call, "{host}{path}");
        let route = catalog.route(&head).unwrap();
        assert_eq!(
            (route.provider, route.operation, route.model.as_deref()),
            (provider, operation, model),
            "{host}{path}"
        );
    }
}

#[test]
fn what_is_no_call_is_told_apart() {
    let catalog = Catalog::new();
    for (method, host, path, interest) in [
        ("GET", "api.openai.com", "/v1/models", Interest::Related),
        ("GET", "api.openai.com", "/v1/responses/resp_1", Interest::Call),
        ("POST", "api.openai.com", "/v1/responses/input_tokens", Interest::Related),
        ("POST", "api.anthropic.com", "/v1/messages/count_tokens", Interest::Related),
        ("POST", "api.anthropic.com", "/v1/messages/batches", Interest::Related),
        ("POST", "generativelanguage.googleapis.com", "/v1beta/models/m:countTokens", Interest::Related),
        (
            "POST",
            "aiplatform.googleapis.com",
            "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict",
            Interest::Related,
        ),
        ("POST", BEDROCK, "/model/m/count-tokens", Interest::Related),
        ("GET", "api.anthropic.com", "/v1/messages/batches/b/results", Interest::Related),
        ("GET", "api.openai.com", "/v1/threads/t/runs", Interest::Related),
        ("DELETE", "api.openai.com", "/v1/responses/resp_1", Interest::Related),
        ("POST", "generativelanguage.googleapis.com", "/v1beta/cachedContents", Interest::Related),
        ("POST", "chatgpt.com", "/backend-api/conversation", Interest::Unrelated),
        ("GET", "openrouter.ai", "/docs", Interest::Unrelated),
        ("GET", "example.org", "/", Interest::Unrelated),
        ("GET", "localhost:8000", "/v1/models", Interest::Related),
        ("GET", "localhost:8000", "/v1/chat/completions", Interest::Related),
        ("POST", "example.org", "/v1/messages/inbox", Interest::Unrelated),
        ("POST", "example.org", "/messages", Interest::Unrelated),
        ("POST", "evilapi.openai.com.example.org", "/search", Interest::Unrelated),
    ] {
        assert_eq!(catalog.interest(&head(method, host, path)), interest, "{method} {host}{path}");
    }
}

#[test]
fn every_path_of_every_dialect_can_be_reached() {
    for compiled in &Catalog::new().dialects {
        let (dialect, mut seen) = (compiled.dialect, Vec::new());
        let response = || dialect.response.iter().copied().flatten();
        for (path, _, _) in response().chain(dialect.request) {
            assert!(path.matches(['.', '[']).count() < 12, "{path} is deeper than the scanner follows");
        }
        for row @ (path, _, field) in response() {
            // Groups of rows overlap; they have to agree.
            let again = seen.iter().find(|(known, _, _)| known == path);
            assert!(again.is_none_or(|(_, _, known)| known == field), "{path} means two things");
            seen.push(*row);
        }
        for group in dialect.response {
            for (at, (path, _, _)) in group.iter().enumerate() {
                assert!(!group[..at].iter().any(|(known, _, _)| known == path), "{path} is there twice");
            }
        }
    }
}

#[test]
fn websockets_find_their_provider() {
    let socket = |host: &str, path: &str, upgrade: &str| {
        let mut head = head("GET", host, path);
        head.headers.push(("upgrade", upgrade.into()));
        let route = Catalog::socket(&head);
        (route.map(|route| (route.provider, route.speech, route.certain)), Catalog::new().interest(&head))
    };
    let live = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent";
    for (host, path, provider, speech) in [
        ("api.openai.com", "/v1/realtime", "openai", Speech::Realtime),
        ("api.openai.com", "/v1/responses", "openai", Speech::Responses),
        ("chatgpt.com", "/backend-api/codex/responses", "openai", Speech::Responses),
        ("r.openai.azure.com", "/openai/realtime", "azure.ai.openai", Speech::Realtime),
        ("r.openai.azure.com", "//openai/v1/realtime", "azure.ai.openai", Speech::Realtime),
        ("r.cognitiveservices.azure.com", "/voice-live/realtime", "azure.ai.openai", Speech::Realtime),
        ("r.services.ai.azure.com", "/voice-live/realtime", "azure.ai.inference", Speech::Realtime),
        ("api.x.ai", "/v1/realtime", "x_ai", Speech::Realtime),
        ("dashscope-intl.aliyuncs.com", "/api-ws/v1/realtime", "alibaba_cloud", Speech::Realtime),
        ("generativelanguage.googleapis.com", live, "gcp.gemini", Speech::Live),
        (
            "us-central1-aiplatform.googleapis.com",
            "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent",
            "gcp.vertex_ai",
            Speech::Live,
        ),
    ] {
        let found = socket(host, path, "WebSocket");
        assert_eq!(found, (Some((provider, speech, true)), Interest::Call), "{host}{path}");
    }
    assert_eq!(
        socket("gateway.internal", "/v1/realtime", "h2c, websocket"),
        (Some((UNKNOWN, Speech::Realtime, false)), Interest::Call)
    );
    for (host, path, upgrade) in [
        ("gateway.internal", "/v1/realtime", "h2c"),
        ("db.example.org", "/realtime/v1/websocket", "websocket"),
        ("chatgpt.com", "/ws/chat", "websocket"),
        ("example.org", "/ws", "websocket"),
    ] {
        assert_eq!(socket(host, path, upgrade), (None, Interest::Unrelated), "{host}{path}");
    }
    // Over HTTP/2 it is an extended CONNECT.
    let mut head = head("CONNECT", "api.openai.com", "/v1/realtime");
    head.headers.push((":protocol", "websocket".into()));
    assert!(Catalog::socket(&head).is_some());
}
