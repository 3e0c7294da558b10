//! What has to be equal, and the few places where a recording's `expected` means something else.

use llm_tracker::provider::{Call, UsageSource};

use crate::row::Row;

/// Every field in which the call differs from the recording.
pub(crate) fn differences(row: &Row, calls: &[Call]) -> Vec<String> {
    if let Some(reason) = no_call(row) {
        return calls.iter().map(|_| format!("a call, though it is {reason}")).collect();
    }
    let [call] = calls else { return vec![format!("{} calls", calls.len())] };
    let mut differences = Vec::new();
    let mut same = |field: &str, expected: Option<String>, got: Option<String>| {
        let unread = expected.as_deref().unwrap_or_default().is_empty() && unread(row, field).is_some();
        if expected != got && !unread && misread(row, field).is_none() {
            differences.push(format!("{field} is {got:?}, not {expected:?}"));
        }
    };
    // An empty name on the wire says nothing.
    let text = |key: &str| row.expected[key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    // Some formats have no normalised numbers in the index, because they are normal as they are.
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
    same(
        "input_tokens",
        number("prompt_tokens_incl_cache").or_else(|| number("input_tokens")),
        count(usage.input_tokens),
    );
    same(
        "output_tokens",
        number("completion_tokens_incl_reasoning").or_else(|| number("output_tokens")),
        count(usage.output_tokens),
    );
    same("cache_read_input_tokens", number("cache_read_tokens"), count(usage.cache_read_input_tokens));
    same(
        "cache_creation_input_tokens",
        number("cache_creation_tokens"),
        count(usage.cache_creation_input_tokens),
    );
    same("reasoning_tokens", number("reasoning_tokens"), count(usage.reasoning_tokens));
    for (name, got) in [
        ("cache_creation_1h_tokens", usage.cache_creation_1h_input_tokens),
        ("audio_input_tokens", usage.audio_input_tokens),
        ("image_input_tokens", usage.image_input_tokens),
        ("audio_output_tokens", usage.audio_output_tokens),
        ("image_output_tokens", usage.image_output_tokens),
    ] {
        // That there are none is said or not.
        same(name, number(name).filter(|it| it != "0"), count(got.filter(|it| *it > 0)));
    }
    let reported = usage.input_tokens.is_some() || usage.output_tokens.is_some();
    let source = if reported { UsageSource::Reported } else { UsageSource::Missing };
    same("usage_source", Some(source.as_str().into()), Some(usage.source.as_str().into()));

    same("tool_calls", Some(list(row, "tool_calls").join(" ")), Some(call.tool_calls.join(" ")));
    // A call says each reason once, whatever the number of choices.
    let mut reasons = list(row, "finish_reasons");
    let server_tools = list(row, "server_tool_calls").join(" ");
    same("server_tool_calls", Some(server_tools), Some(call.server_tool_calls.join(" ")));
    same("service_tier", text("service_tier"), call.service_tier.clone());
    let cost = row.expected["cost"].as_f64();
    same("cost", cost.map(|cost| cost.to_string()), call.cost.map(|cost| cost.to_string()));

    // A state that is not final is no reason.
    if POLLED.contains(&&*row.endpoint) {
        reasons.retain(|reason| !UNFINISHED.contains(&&**reason));
    }
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

/// What is on the wire and right in the call, but was not read by whoever made the index; with the
/// reason.
fn unread(row: &Row, field: &str) -> Option<&'static str> {
    Some(match field {
        "model" if row.request_body().starts_with(b"-") => "a form's fields are not read",
        "model" if row.endpoint == "hf.inference" => "the path is not read",
        "model" if row.endpoint == "replicate.predictions" => "the path is not read",
        "reasoning_tokens" if row.endpoint == "cohere.v2.chat" => "newer than the index's idea of the format",
        "finish_reasons" if row.endpoint == "bedrock.invoke_stream" => "Jamba's streams are not read",
        "cost" if ["xai", "azure-foundry"].contains(&&*row.provider) => "only read where it is in dollars",
        "response_id" | "cost" if row.endpoint == "rerank" => "they are only read of Cohere's",
        "service_tier" | "server_tool_calls" if row.endpoint == "gemini.interactions" => {
            "newer than the index's idea of the format"
        }
        _ => return None,
    })
}

/// What the index took for something that it is not; with the reason.
fn misread(row: &Row, field: &str) -> Option<&'static str> {
    Some(match (&*row.id, field) {
        ("openai-openai-audio-transcriptions-00008", "response_id") => "the id is a segment's",
        _ => return None,
    })
}

/// Endpoints of objects that are asked for until they are done.
pub(crate) const POLLED: &[&str] =
    &["openai.assistants.runs", "openai.responses.retrieve", "replicate.predictions"];

/// Their states that are not final.
const UNFINISHED: &[&str] =
    &["queued", "in_progress", "requires_action", "cancelling", "starting", "processing"];

/// Why there is no call to be seen in an exchange.
fn no_call(row: &Row) -> Option<&'static str> {
    match &*row.endpoint {
        "anthropic.count_tokens" | "gemini.countTokens" | "openai.responses.input_tokens" => Some("a count"),
        "anthropic.batches" | "anthropic.batch_results" | "batches" => Some("a batch"),
        "gemini.cachedContents" => Some("a cache"),
        _ if row.method != "GET" && row.method != "POST" => Some("neither made nor asked for"),
        endpoint if POLLED.contains(&endpoint) => {
            let reasons = list(row, "finish_reasons");
            let done = reasons.iter().any(|reason| !UNFINISHED.contains(&&**reason));
            (!made_here(row) && !done).then_some("a look at what is not done")
        }
        _ => None,
    }
}

/// Whether the exchange made the response, and did not only ask for it.
pub(crate) fn made_here(row: &Row) -> bool {
    let (_, target) = row.host_and_target();
    let path = target.split('?').next().unwrap_or_default();
    row.method == "POST" && ["runs", "predictions", "responses"].iter().any(|end| path.ends_with(end))
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
    let model = row.expected["model_requested"].as_str().unwrap_or_default();
    row.endpoint.starts_with("gemini.stream")
        || row.provider == "perplexity"
        || (row.provider == "bedrock" && (model.contains("llama") || model.contains("jamba")))
}
