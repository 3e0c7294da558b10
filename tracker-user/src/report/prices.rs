//! `llm-tracker prices`: what is used to say what a call costs, and why.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};

use super::table::{Column, Table};
use crate::pricing::{CostSource, Kind, Prices, Quote};

/// Arguments of `prices`.
#[derive(Clone, Debug, Args)]
pub struct PricesArgs {
    /// What is used for calls of this model; all prices where it is left out.
    #[arg(value_name = "MODEL")]
    pub model: Option<String>,
    /// Only at this provider.
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// For programs: JSON.
    #[arg(long)]
    pub json: bool,
}

/// Names that are offered where there is no price for the one asked for.
const MAX_OFFERED: usize = 10;

/// What `prices` says, in so many columns if there is a bound.
#[must_use]
pub fn prices(args: &PricesArgs, prices: &Prices, room: Option<usize>) -> String {
    let at = |quote: &Quote| {
        let wanted = args.provider.as_ref();
        wanted.is_none_or(|provider| quote.provider == *provider || quote.provider.is_empty())
    };
    let mut quotes = match &args.model {
        Some(model) => prices.quotes(model),
        None => prices.all(""),
    };
    quotes.retain(at);
    if args.json {
        return format!("{:#}\n", Value::from_iter(quotes.iter().map(as_json)));
    }
    let Some(model) = args.model.as_ref().filter(|_| quotes.is_empty()) else {
        return format!(
            "US dollars a million tokens. A kind without a price costs what the kind that it is part of costs.\n\
             The built-in list: {}.\n\n{}",
            prices.from(),
            as_table(&quotes).show(room)
        );
    };
    let mut text = format!(
        "No price for {model}: the cost of its calls is not known, and llm_tracker_unpriced_calls_total names it.\n\
         A file with its price in the form of LiteLLM's list can be named by cost.prices.\n"
    );
    let alike: Vec<_> = prices.all(model).into_iter().filter(at).collect();
    for (index, Quote { provider, name, .. }) in alike.iter().take(MAX_OFFERED).enumerate() {
        let lead = if index == 0 { "There are prices for" } else { "                    " };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{lead} {name} at {provider}");
    }
    text
}

fn as_table(quotes: &[Quote]) -> Table<'static> {
    let priced = |kind: &Kind| {
        let mut prices = quotes.iter().flat_map(|quote| &quote.prices).flat_map(|(_, prices)| prices);
        prices.any(|(other, _)| other == kind)
    };
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(priced).collect();
    let mut table = Table::new(
        ["provider", "model", "when"]
            .map(Column::text)
            .into_iter()
            .chain(kinds.iter().map(|kind| Column::number(kind.name())))
            .chain([Column::text("from").dispensable(1)]),
    );
    for Quote { provider, name, source, from, prices } in quotes {
        let from = match source {
            CostSource::Override => format!("your {from}"),
            _ => from.clone(),
        };
        let provider = if provider.is_empty() { "(any)" } else { provider };
        for (condition, prices) in prices {
            let price = |kind: &Kind| {
                let (_, price) = prices.iter().find(|(other, _)| other == kind)?;
                Some(million(price.dollars()))
            };
            let names = [provider.to_owned(), name.clone(), condition.clone()];
            table.row(names.map(Some).into_iter().chain(kinds.iter().map(price)).chain([Some(from.clone())]));
        }
    }
    table
}

/// Dollars a million tokens.
fn million(dollars: f64) -> String {
    let text = format!("{:.6}", dollars * 1e6);
    let text = text.trim_end_matches('0');
    let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    format!("{text}{}", "0".repeat(2_usize.saturating_sub(decimals)))
}

fn as_json(quote: &Quote) -> Value {
    let Quote { provider, name, source, from, prices } = quote;
    let of = |prices: &[(Kind, crate::pricing::Usd)]| -> Value {
        let fields = prices.iter().map(|(kind, price)| (kind.name().to_owned(), json!(price.dollars())));
        Value::Object(fields.collect())
    };
    let sets =
        prices.iter().map(|(condition, prices)| json!({"when": condition, "usd_per_token": of(prices)}));
    json!({
        "provider": Some(provider).filter(|provider| !provider.is_empty()),
        "model": name,
        "source": source.as_str(),
        "from": from,
        "prices": sets.collect::<Vec<_>>(),
    })
}
