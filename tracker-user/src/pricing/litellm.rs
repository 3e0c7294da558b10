//! An operator's own prices, in the form of LiteLLM's `model_prices_and_context_window.json`.
//!
//! ```json
//! {
//!   "gpt-oss-120b": {"litellm_provider": "ollama", "input_cost_per_token": 1e-7, "output_cost_per_token": 4e-7},
//!   "our-model": {"input_cost_per_token": 0.0000002, "output_cost_per_token": 0.0000008}
//! }
//! ```
//!
//! Of an entry the prices of tokens are read, and whose model it is: LiteLLM's name of the provider, or ours, or
//! that of a `[[gateway]]`. Without one it holds at every provider, and at hosts that nobody knows.

use std::{fmt, path::Path};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
};

use super::{
    PricesError, Usd,
    rates::{Kind, Model, Rates, Tariff},
    table::Table,
};

/// LiteLLM's keys without their ends.
const KEYS: [(&str, Kind); 11] = [
    ("input_cost_per_token", Kind::Input),
    ("cache_read_input_token_cost", Kind::CacheRead),
    ("cache_creation_input_token_cost", Kind::CacheWrite),
    ("cache_creation_input_token_cost_above_1hr", Kind::CacheWrite1h),
    ("input_cost_per_audio_token", Kind::AudioInput),
    ("cache_read_input_audio_token_cost", Kind::AudioCacheRead),
    ("input_cost_per_image_token", Kind::ImageInput),
    ("output_cost_per_token", Kind::Output),
    ("output_cost_per_reasoning_token", Kind::Reasoning),
    ("output_cost_per_audio_token", Kind::AudioOutput),
    ("output_cost_per_image_token", Kind::ImageOutput),
];

/// Their last ends, and our names of tiers.
const TIERS: [(&str, &str); 3] = [("_batches", "batch"), ("_flex", "flex"), ("_priority", "priority")];

/// The largest file that is read; LiteLLM's own has 3 MB.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Reads a file. `providers` are LiteLLM's names of providers and ours.
///
/// # Errors
/// It cannot be read, or says what it cannot mean; where.
pub(super) fn read(path: &Path, providers: &[(String, String)]) -> Result<Table, PricesError> {
    use std::io::Read as _;
    let unread = |source| PricesError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(unread)?;
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(unread)?;
    let Entries(entries) = serde_json::from_str(&text)
        .map_err(|error| PricesError::Parse { path: path.to_owned(), why: error.to_string() })?;
    let mut table = Table::of(path.display().to_string());
    for (name, Entry { provider, mut model }) in entries {
        let fits = |theirs: &str, said: &str| match theirs.strip_suffix('*') {
            Some(start) => said.starts_with(start),
            None => said == theirs,
        };
        let known = provider.as_deref().and_then(|said| providers.iter().find(|(it, _)| fits(it, said)));
        let ours = match (known, &provider) {
            (Some((_, ours)), _) => ours,
            (None, Some(said)) => said,
            (None, None) => "",
        };
        // LiteLLM puts its name of the provider before some.
        let short = name.split_once('/').filter(|(start, _)| {
            provider.as_deref() == Some(*start)
                || known.is_some_and(|(it, _)| it.trim_end_matches('*') == *start)
        });
        let short = short.map_or(name.as_str(), |(_, rest)| rest).to_owned();
        model.source = table.from.clone();
        table.insert(ours, [short], model);
    }
    Ok(table)
}

/// All entries that have prices.
struct Entries(Vec<(String, Entry)>);

struct Entry {
    provider: Option<String>,
    model: Model,
}

/// A price of one token. What is wrong with it is said here, where its place is known.
struct Price(Usd);

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let dollars = f64::deserialize(deserializer)?;
        let price = Usd::from_dollars(dollars).filter(|price| price.dollars() <= 1.0);
        price
            .map(Self)
            .ok_or_else(|| D::Error::custom(format_args!("{dollars} US dollars is no price of a token")))
    }
}

/// What a key is the price of: the kind, the tier, and the tokens that the prompt has to be above.
fn meaning(key: &str) -> Option<(Kind, &'static str, u64)> {
    let tier = TIERS.iter().find_map(|(end, tier)| Some((key.strip_suffix(end)?, *tier)));
    let (key, tier) = tier.unwrap_or((key, ""));
    if let Some((_, kind)) = KEYS.iter().find(|(known, _)| *known == key) {
        return Some((*kind, tier, 0));
    }
    let (key, above) = key.strip_suffix("k_tokens")?.rsplit_once("_above_")?;
    let (_, kind) = KEYS.iter().find(|(known, _)| *known == key)?;
    Some((*kind, tier, above.parse::<u64>().ok()?.checked_mul(1000)?))
}

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;
        impl<'de> Visitor<'de> for Of {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of models")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some((name, entry)) = map.next_entry::<String, Entry>()? {
                    // LiteLLM's description of the form has no prices that mean anything.
                    let standard = &entry.model.standard;
                    let priced = !standard.base.are_none() && name != "sample_spec";
                    entries.extend(priced.then_some((name, entry)));
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Of)
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Of;
        impl<'de> Visitor<'de> for Of {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of prices")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
                let (mut provider, mut model) = (None, Model::default());
                while let Some(key) = map.next_key::<String>()? {
                    if key == "litellm_provider" {
                        provider = map.next_value()?;
                    } else if let Some((kind, tier, above)) = meaning(&key) {
                        if let Some(Price(price)) = map.next_value::<Option<Price>>()? {
                            put(model.tier_mut(tier), kind, above, price);
                        }
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                // What was not told of a tier's usual prices is not made up from its others.
                model.tiers.retain(|(_, tariff)| !tariff.base.are_none());
                Ok(Entry { provider, model })
            }
        }
        deserializer.deserialize_map(Of)
    }
}

fn put(tariff: &mut Tariff, kind: Kind, above: u64, price: Usd) {
    if above == 0 {
        return tariff.base.set(kind, price);
    }
    let at = tariff.above.partition_point(|(tokens, _)| *tokens < above);
    if tariff.above.get(at).is_none_or(|(tokens, _)| *tokens != above) {
        tariff.above.insert(at, (above, Rates::default()));
    }
    if let Some((_, rates)) = tariff.above.get_mut(at) {
        rates.set(kind, price);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Result<Table, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let providers = [("vertex_ai*".to_owned(), "gcp.vertex_ai".to_owned())];
        read(file.path(), &providers)
            .map_err(|error| error.to_string().replace(&file.path().display().to_string(), "FILE"))
    }

    #[test]
    fn what_keys_mean() {
        for (key, meant) in [
            ("input_cost_per_token", Some((Kind::Input, "", 0))),
            ("output_cost_per_token_batches", Some((Kind::Output, "batch", 0))),
            ("input_cost_per_token_above_200k_tokens", Some((Kind::Input, "", 200_000))),
            (
                "cache_creation_input_token_cost_above_1hr_above_200k_tokens_priority",
                Some((Kind::CacheWrite1h, "priority", 200_000)),
            ),
            ("input_cost_per_second", None),
            ("input_cost_per_token_above_k_tokens", None),
            ("search_context_cost_per_query", None),
        ] {
            assert_eq!(meaning(key), meant, "{key}");
        }
    }

    #[test]
    fn whose_model_it_is() {
        let table = table(
            r#"{"sample_spec": {"litellm_provider": "one of", "input_cost_per_token": 0},
                "vertex_ai/claude-x": {"litellm_provider": "vertex_ai-anthropic_models", "input_cost_per_token": 1e-6},
                "mine": {"litellm_provider": "corp", "output_cost_per_token": 2e-6, "mode": "chat", "x": [{}]},
                "everyones/1": {"input_cost_per_token": 3e-6, "output_cost_per_token": null},
                "free": {"supports_vision": true}}"#,
        )
        .unwrap();
        let find = |provider, name| {
            let (_, _, model) = table.find(provider, name)?;
            Kind::ALL.iter().find_map(|kind| model.standard.base.get(*kind))
        };
        let dollars = |dollars| Usd::from_dollars(dollars / 1e6);
        assert_eq!(find("gcp.vertex_ai", "claude-x@20260101"), dollars(1.0));
        assert_eq!(find("anthropic", "claude-x"), None);
        assert_eq!(find("corp", "Mine"), dollars(2.0));
        assert_eq!(find("unknown", "everyones/1"), dollars(3.0));
        assert_eq!((find("corp", "free"), find("one of", "sample_spec")), (None, None));
    }

    #[test]
    fn a_mistake_has_its_place() {
        let wrong = |text| table(text).map(|_| ()).unwrap_err();
        assert_eq!(
            wrong("{\"m\": {\n  \"input_cost_per_token\": -1}}"),
            "FILE is no list of prices: -1 US dollars is no price of a token at line 2 column 29"
        );
        assert_eq!(
            wrong("{\"m\": {\"input_cost_per_token\": 2.5}}"),
            "FILE is no list of prices: 2.5 US dollars is no price of a token at line 1 column 35"
        );
        assert!(wrong("[]").starts_with("FILE is no list of prices: invalid type"));
        assert!(wrong("{\"m\": 1}").contains("expected an object of prices"));
    }
}
