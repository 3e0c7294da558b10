use std::{io::Write as _, sync::LazyLock};

use super::*;
use crate::{
    provider::{Usage, UsageSource},
    record::tests::bare,
};

fn usage(input: u64, output: u64) -> Usage {
    Usage {
        input_tokens: Some(input),
        output_tokens: Some(output),
        source: UsageSource::Reported,
        ..Usage::default()
    }
}

fn call(provider: &'static str, model: &str, usage: Usage) -> Call {
    Call { provider, model: Some(model.to_owned()), usage, ..bare().call }
}

/// Those of the list, read once: without optimisation that takes a while.
fn prices() -> &'static Prices {
    static PRICES: LazyLock<Prices> = LazyLock::new(|| Prices::load(None).unwrap());
    &PRICES
}

/// Millionths of a dollar.
fn micro(cost: Cost) -> Option<f64> {
    cost.amount().map(|amount| amount.pico() as f64 / 1e6)
}

#[test]
fn every_model_of_the_list_has_a_plausible_price() {
    let prices = prices();
    let all = prices.all("");
    assert!(all.len() > 2000, "{}", all.len());
    for Quote { provider, name, prices: sets, .. } in &all {
        assert_eq!(*name, name.to_lowercase());
        for (condition, set) in sets {
            let million = |kind| set.iter().find(|(it, _)| *it == kind).map(|(_, it)| it.dollars() * 1e6);
            assert!(set.iter().all(|(_, price)| price.dollars() * 1e6 <= 600.0), "{provider} {name}");
            if let Some((input, read)) = million(Kind::Input).zip(million(Kind::CacheRead)) {
                assert!(read <= input, "{provider} {name} {condition}");
            }
        }
    }
}

#[test]
fn every_provider_of_the_list_is_one_of_the_catalog() {
    for provider in prices().built_in.table.providers() {
        assert!(crate::provider::providers().any(|known| known == provider), "{provider}");
    }
}

/// By hand, from the providers' pages.
#[test]
fn what_calls_cost() {
    let cached = |read, written, hour, usage| Usage {
        cache_read_input_tokens: Some(read),
        cache_creation_input_tokens: Some(written),
        cache_creation_1h_input_tokens: Some(hour),
        ..usage
    };
    for (provider, model, usage, expected) in [
        ("openai", "gpt-4o-2024-08-06", usage(1000, 100), 1000.0 * 2.5 + 100.0 * 10.0),
        ("openai", "gpt-5-mini", usage(1000, 100), 1000.0 * 0.25 + 100.0 * 2.0),
        ("openai", "gpt-4o", cached(600, 0, 0, usage(1000, 0)), 400.0 * 2.5 + 600.0 * 1.25),
        (
            "anthropic",
            "claude-sonnet-4-5-20250929",
            cached(500, 300, 100, usage(1000, 10)),
            200.0 * 3.0 + 500.0 * 0.3 + 200.0 * 3.75 + 100.0 * 6.0 + 10.0 * 15.0,
        ),
        ("gcp.gemini", "gemini-2.5-pro", usage(200_000, 0), 200_000.0 * 1.25),
        ("gcp.gemini", "models/gemini-2.5-pro", usage(200_001, 1), 200_001.0 * 2.5 + 15.0),
        (
            "gcp.gemini",
            "gemini-2.5-flash",
            Usage { audio_input_tokens: Some(300), ..usage(1000, 0) },
            700.0 * 0.3 + 300.0,
        ),
        // Most of the cached tokens have to be audio.
        (
            "openai",
            "gpt-realtime",
            Usage {
                audio_input_tokens: Some(900),
                audio_output_tokens: Some(50),
                ..cached(800, 0, 0, usage(1000, 60))
            },
            200.0 * 32.0 + 800.0 * 0.4 + 10.0 * 16.0 + 50.0 * 64.0,
        ),
        ("aws.bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", usage(1000, 0), 3300.0),
        ("aws.bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", usage(1000, 0), 3000.0),
        // More is said to be cached than there is.
        ("openai", "gpt-4o", cached(161, 0, 0, usage(10, 0)), 10.0 * 1.25),
    ] {
        let cost = prices().cost(&call(provider, model, usage));
        assert_eq!(micro(cost), Some(expected), "{provider} {model}");
        assert_eq!(cost.source(), Some(CostSource::List));
    }
}

#[test]
fn a_tier_has_its_own_prices_or_none() {
    let cost = |provider, model, tier: &str, input| {
        let mut call = call(provider, model, usage(input, 0));
        call.service_tier = Some(tier.to_owned());
        prices().cost(&call)
    };
    assert_eq!(micro(cost("openai", "gpt-5", "default", 1000)), Some(1250.0));
    assert_eq!(micro(cost("openai", "gpt-5", "flex", 1000)), Some(625.0));
    assert_eq!(micro(cost("openai", "gpt-5", "priority", 1000)), Some(2500.0));
    assert_eq!(micro(cost("gcp.vertex_ai", "gemini-2.5-pro", "ON_DEMAND", 1000)), Some(1250.0));
    // Paid before; not on the list; dearer by how much nobody says.
    assert_eq!(cost("gcp.vertex_ai", "gemini-2.5-pro", "PROVISIONED_THROUGHPUT", 1000), Cost::Unpriced);
    assert_eq!(cost("anthropic", "claude-sonnet-4-5", "priority", 1000), Cost::Unpriced);
    assert_eq!(cost("gcp.gemini", "gemini-2.5-pro", "flex", 300_000), Cost::Unpriced);
}

#[test]
fn what_is_not_known_has_no_price() {
    for (provider, model) in [
        ("openai", "gpt-5-micro"),
        ("openai", "ft:gpt-5-2025-08-07:org::id"),
        ("openai", "llama-3.3-70b"),
        ("ollama", "gpt-oss:20b"),
        ("unknown", "gpt-4o"),
        ("groq", "gpt-oss-120b"),
        ("mistral_ai", "mistral-large-1999"),
    ] {
        let cost = prices().cost(&call(provider, model, usage(1000, 10)));
        assert_eq!(cost, Cost::Unpriced, "{provider} {model}");
    }
    let of = |usage| prices().cost(&call("openai", "gpt-4o", usage));
    assert_eq!(of(Usage::default()), Cost::Unknown, "nobody knows what it took");
    assert_eq!(of(Usage { output_tokens: None, ..usage(10, 0) }), Cost::Unpriced);
    let embeddings = Usage { output_tokens: None, ..usage(1_000_000, 0) };
    let mut call = Call { operation: "embeddings", ..call("openai", "text-embedding-3-small", embeddings) };
    assert_eq!(micro(prices().cost(&call)), Some(20_000.0));
    call.role = Role::Server;
    assert_eq!(prices().cost(&call), Cost::Unknown, "who asked pays");
}

#[test]
fn the_model_that_answered_counts() {
    let cost = |provider, asked: &str, answered: &str| {
        let mut call = call(provider, asked, usage(1000, 0));
        call.response_model = Some(answered.to_owned());
        micro(prices().cost(&call))
    };
    assert_eq!(cost("openai", "gpt-5", "gpt-5-mini-2025-08-07"), Some(250.0));
    assert_eq!(cost("openai", "gpt-5", "gpt-5-experiment"), Some(1250.0));
    assert_eq!(cost("azure.ai.openai", "gpt-5", "gpt-4o-2024-08-06"), Some(2500.0));
    assert_eq!(cost("azure.ai.openai", "gpt-5", "something"), None, "a deployment may be called anything");
}

#[test]
fn what_the_provider_says_goes_first_and_a_subscription_costs_nothing() {
    let mut call = call("openrouter", "x/y", usage(1000, 10));
    assert_eq!(prices().cost(&call), Cost::Unpriced);
    call.cost = Some(0.000_123_4);
    let cost = prices().cost(&call);
    assert_eq!((micro(cost), cost.source()), (Some(123.4), Some(CostSource::Provider)));
    call.provider = "x_ai";
    call.cost = Some(1_234_000.0);
    assert_eq!(micro(prices().cost(&call)), Some(123.4));
    call.provider = "anthropic";
    call.model = Some("claude-sonnet-4-5".to_owned());
    call.usage = usage(1000, 0);
    call.subscription = true;
    let cost = prices().cost(&call);
    assert_eq!((micro(cost), cost.list().map(Usd::dollars)), (Some(0.0), Some(0.003)));
    assert_eq!(cost.source(), Some(CostSource::Subscription));
    call.model = Some("claude-unknown".to_owned());
    let cost = prices().cost(&call);
    assert_eq!((micro(cost), cost.list()), (Some(0.0), None));
}

#[test]
fn own_prices_go_over_the_list_until_they_have_a_mistake() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let own = r#"{"gpt-4o": {"litellm_provider": "openai", "input_cost_per_token": 1e-6},
                  "mine": {"input_cost_per_token": 2e-6}}"#;
    file.write_all(own.as_bytes()).unwrap();
    let prices = Prices::load(Some(file.path())).unwrap();
    let cost = |provider, model| micro(prices.cost(&call(provider, model, usage(1000, 0))));
    assert_eq!((cost("openai", "gpt-4o"), cost("openai", "gpt-4o-2024-08-06")), (Some(1000.0), Some(1000.0)));
    assert_eq!(cost("openai", "gpt-4o-mini"), Some(150.0), "that one is on the list");
    assert_eq!((cost("ollama", "mine"), cost("unknown", "MINE")), (Some(2000.0), Some(2000.0)));
    let quotes = prices.quotes("gpt-4o");
    let openai = quotes.iter().find(|quote| quote.provider == "openai").unwrap();
    assert_eq!((openai.source, openai.from.as_str()), (CostSource::Override, file.path().to_str().unwrap()));
    std::fs::write(file.path(), "{\"mine\": 1}").unwrap();
    let error = prices.reload(Some(file.path())).unwrap_err().to_string();
    assert!(error.contains("line 1 column 10"), "{error}");
    assert_eq!(cost("ollama", "mine"), Some(2000.0));
    std::fs::write(file.path(), "{}").unwrap();
    prices.reload(Some(file.path())).unwrap();
    assert_eq!((cost("ollama", "mine"), cost("openai", "gpt-4o")), (None, Some(2500.0)));
}

/// Thoughts cost what the answer does in every tier, of which lists say so for the usual one alone.
#[test]
fn what_costs_the_same_does_so_in_every_tier() {
    for (tier, input, output) in
        [("standard", 0.3, 2.5), ("batch", 0.15, 1.25), ("flex", 0.15, 1.25), ("priority", 0.54, 4.5)]
    {
        let thinking = Usage { reasoning_tokens: Some(900), ..usage(1000, 1000) };
        let tier_of =
            Call { service_tier: Some(tier.to_owned()), ..call("gcp.gemini", "gemini-2.5-flash", thinking) };
        assert_eq!(micro(prices().cost(&tier_of)), Some(1000.0 * (input + output)), "{tier}");
    }
}
