//! The list of prices that comes with the program.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Usd,
    rates::{Kind, Model, Rates, Tariff},
    table::Table,
};

/// Written by `refresh.py`.
const FILE: &str = include_str!("prices.toml");

/// The list, and what LiteLLM calls our providers.
#[derive(Debug)]
pub(super) struct BuiltIn {
    pub(super) table: Table,
    /// LiteLLM's names, with `*` for any end, and ours.
    pub(super) litellm: Vec<(String, String)>,
}

impl BuiltIn {
    /// Reads it.
    ///
    /// # Errors
    /// It is not what it should be, which a test excludes.
    pub(super) fn read() -> Result<Self, toml::de::Error> {
        let List { from, retrieved, provider } = toml::from_str(FILE)?;
        let mut built_in = Self { table: Table::of(format!("{from}, {retrieved}")), litellm: Vec::new() };
        for Provider { name, litellm, source, models } in provider {
            built_in.litellm.extend(litellm.into_iter().map(|theirs| (theirs, name.clone())));
            for row in models {
                let (names, model) = row.into_model(&source);
                built_in.table.insert(&name, names, model);
            }
        }
        Ok(built_in)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    from: String,
    retrieved: toml::value::Datetime,
    provider: Vec<Provider>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Provider {
    name: String,
    litellm: Vec<String>,
    source: String,
    models: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    names: Vec<String>,
    batch: Option<Tier>,
    flex: Option<Tier>,
    priority: Option<Tier>,
    #[serde(flatten)]
    standard: Tier,
}

#[derive(Deserialize)]
struct Tier {
    #[serde(default)]
    above: Vec<Above>,
    #[serde(flatten)]
    base: Prices,
}

#[derive(Deserialize)]
struct Above {
    tokens: u64,
    #[serde(flatten)]
    prices: Prices,
}

/// US dollars a million tokens.
type Prices = BTreeMap<Kind, f64>;

impl Row {
    fn into_model(self, source: &str) -> (Vec<String>, Model) {
        let Self { names, batch, flex, priority, standard } = self;
        let tiers = [("batch", batch), ("flex", flex), ("priority", priority)];
        let tiers = tiers.into_iter().filter_map(|(name, tier)| Some((name.to_owned(), tier?.into_tariff())));
        let model =
            Model { standard: standard.into_tariff(), tiers: tiers.collect(), source: source.to_owned() };
        (names, model)
    }
}

impl Tier {
    fn into_tariff(self) -> Tariff {
        let above = self.above.into_iter().map(|Above { tokens, prices }| (tokens, rates(&prices)));
        Tariff { base: rates(&self.base), above: above.collect() }
    }
}

fn rates(prices: &Prices) -> Rates {
    let mut rates = Rates::default();
    for (kind, dollars) in prices {
        if let Some(price) = Usd::from_dollars(*dollars / 1e6) {
            rates.set(*kind, price);
        }
    }
    rates
}
