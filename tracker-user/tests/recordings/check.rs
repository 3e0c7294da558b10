//! What has to be equal, and the few places where a recording's `expected` means something else.

use llm_tracker::provider::{Call, UsageSource};

use crate::row::Row;

/// Every field in which the call differs from the recording.
pub(crate) fn differences(row: &Row, calls: &[Call]) -> Vec<String> {
    let [call] = calls else { return vec![format!("{} calls", calls.len())] };
    let mut differences = Vec::new();
    let mut same = |field: &str, expected: Option<String>, got: Option<String>| {
        if expected != got {
            differences.push(format!("{field} is {got:?}, not {expected:?}"));
        }
    };
    // An empty name on the wire says nothing.
    let text = |key: &str| row.expected[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let number = |key: &str| row.expected[key].as_f64().filter(|&n| n >= 0.0).map(|n| format!("{n}"));
    let count = |n: Option<u64>| n.map(|n| n.to_string());

    if let Some(provider) = provider_name(row) {
        same("provider", Some(provider.into()), Some(call.provider.into()));
    }
    // Sources that recorded no request have no requested model either.
    if row.has_url() || row.has_request_body() {
        same("model", text("model_requested"), call.model.clone());
    }
    same("response_model", text("model_served"), call.response_model.clone());
    same("response_id", text("response_id"), call.response_id.clone());

    let usage = &call.usage;
    same("input_tokens", number("prompt_tokens_incl_cache"), count(usage.input_tokens));
    same("output_tokens", number("completion_tokens_incl_reasoning"), count(usage.output_tokens));
    same("cache_read_input_tokens", number("cache_read_tokens"), count(usage.cache_read_input_tokens));
    same(
        "cache_creation_input_tokens",
        number("cache_creation_tokens"),
        count(usage.cache_creation_input_tokens),
    );
    same("reasoning_tokens", number("reasoning_tokens"), count(usage.reasoning_tokens));
    let reported = usage.input_tokens.is_some() || usage.output_tokens.is_some();
    let source = if reported { UsageSource::Reported } else { UsageSource::Missing };
    same("usage_source", Some(source.as_str().into()), Some(usage.source.as_str().into()));

    same("tool_calls", Some(list(row, "tool_calls").join(" ")), Some(call.tool_calls.join(" ")));
    // A call says each reason once, whatever the number of choices.
    let mut reasons = list(row, "finish_reasons");
    let mut seen = Vec::new();
    reasons.retain(|reason| {
        !seen.contains(reason) && {
            seen.push(reason.clone());
            true
        }
    });
    same("finish_reasons", Some(reasons.join(" ")), Some(call.finish_reasons.join(" ")));

    same("status", Some(row.status.to_string()), count(call.status.map(u64::from)));
    same("streaming", Some(row.streaming.to_string()), Some(call.streaming.to_string()));
    let error = expected_error(row);
    let got = match call.error.as_deref() {
        None => Error::None,
        Some("interrupted") => Error::Interrupted,
        Some(_) => Error::Provider,
    };
    same("error", Some(format!("{error:?}")), Some(format!("{got:?}")));
    differences
}

#[derive(Debug)]
enum Error {
    None,
    Interrupted,
    Provider,
}

fn expected_error(row: &Row) -> Error {
    // The error stands in an SSE field named `error`, which `expected` does not look at.
    if !row.expected["error"].is_null() || row.id == "gpustack-openai-chat-00026" {
        return Error::Provider;
    }
    // `stream_terminated` asks for `[DONE]`. Cerebras, Perplexity and backends of Hugging Face never
    // send it: there a finish reason in a body that HTTP says is whole has to do.
    let terminated = row.expected["stream_terminated"].as_bool() != Some(false);
    if terminated || !list(row, "finish_reasons").is_empty() { Error::None } else { Error::Interrupted }
}

fn list(row: &Row, key: &str) -> Vec<String> {
    let items = row.expected[key].as_array().map(Vec::as_slice).unwrap_or_default();
    // Google's enums are numbers where the client asked for that.
    items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect::<Vec<_>>()
}

/// The catalog's name for a recording's provider; `None` where the recording hides the host.
fn provider_name(row: &Row) -> Option<&'static str> {
    let (host, _) = row.host_and_target();
    Some(match row.provider.as_str() {
        _ if host.starts_with("localhost") && !host.ends_with(":11434") => "unknown",
        "openrouter" if host == "api.anthropic.com" => "anthropic",
        "anthropic" => "anthropic",
        "openai" | "chatgpt-codex" => "openai",
        "azure-openai" => "azure.ai.openai",
        "azure-foundry" => "azure.ai.inference",
        "gemini" => "gcp.gemini",
        "vertex" => "gcp.vertex_ai",
        "bedrock" | "bedrock-mantle" => "aws.bedrock",
        "cohere" => "cohere",
        "mistral" => "mistral_ai",
        "groq" => "groq",
        "deepseek" => "deepseek",
        "xai" => "x_ai",
        "perplexity" => "perplexity",
        "openrouter" => "openrouter",
        "github-copilot" => "github_copilot",
        "vercel-gateway" => "vercel_ai_gateway",
        "together" => "together_ai",
        "cerebras" => "cerebras",
        "zai" => "z_ai",
        "huggingface" => "hugging_face",
        "databricks" => "databricks",
        "cloudflare" => "cloudflare",
        "doubleword" => "doubleword",
        "venice" => "venice",
        "avian" => "avian",
        "moonshot" => "moonshot_ai",
        "alibaba" => "alibaba_cloud",
        "voyage" => "voyage_ai",
        "ollama" => "ollama",
        _ => return None,
    })
}

/// Whether the provider counts the output while it streams: then a cut stream has a true count, of
/// what came until then.
pub(crate) fn counts_as_it_goes(row: &Row) -> bool {
    row.endpoint.starts_with("gemini") || row.provider == "perplexity"
}
