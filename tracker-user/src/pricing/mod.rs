//! What calls cost.
//!
//! The provider's own number goes first, where its answers have one. Else the tokens are multiplied with
//! the prices of the model at that provider: the operator's, else those of the
//! list that comes with the program. Where neither has the model the cost is not known; it is never that of
//! another model, and never zero. Under a subscription a call costs nothing, and what it would have cost is
//! kept beside.
//!
//! Only tokens have prices here. What providers charge beside them (searches, minutes of a sandbox, storage)
//! is in the provider's own number and in no other; so are discounts.

mod list;
mod litellm;
mod names;
mod rates;
mod table;
mod usd;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use crate::{provider::Call, stream::Role};
use list::BuiltIn;
use rates::Model;
use table::Table;

pub use rates::Kind;
pub use usd::Usd;

/// Why prices cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PricesError {
    /// The program's own list is not what it should be.
    #[error("the list of prices that comes with the program cannot be read: {0}")]
    BuiltIn(#[from] toml::de::Error),
    /// The operator's file cannot be read.
    #[error("cannot read the prices {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The operator's file is not what it should be.
    #[error("{path} is no list of prices: {why}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        why: String,
    },
}

/// Who says what a call costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CostSource {
    /// The provider, in its answer.
    Provider,
    /// The operator's prices.
    Override,
    /// The list that comes with the program.
    List,
    /// It is paid by the month.
    Subscription,
}

impl CostSource {
    /// The value of the `cost_source` field.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Override => "override",
            Self::List => "list",
            Self::Subscription => "subscription",
        }
    }
}

/// What a call costs, as far as that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cost {
    /// Nobody knows how many tokens it took; or it was served here, and is paid by who asked.
    #[default]
    Unknown,
    /// There is no price for the model.
    Unpriced,
    /// So much.
    Known {
        /// What is to be paid.
        amount: Usd,
        /// What its tokens cost by the prices; absent where they have none.
        list: Option<Usd>,
        /// Who says so.
        source: CostSource,
    },
}

impl Cost {
    /// What is to be paid.
    #[must_use]
    pub const fn amount(&self) -> Option<Usd> {
        match self {
            Self::Known { amount, .. } => Some(*amount),
            Self::Unknown | Self::Unpriced => None,
        }
    }

    /// What a call under a subscription would have cost.
    #[must_use]
    pub const fn list(&self) -> Option<Usd> {
        match self {
            Self::Known { list, source: CostSource::Subscription, .. } => *list,
            _ => None,
        }
    }

    /// Who says so.
    #[must_use]
    pub const fn source(&self) -> Option<CostSource> {
        match self {
            Self::Known { source, .. } => Some(*source),
            Self::Unknown | Self::Unpriced => None,
        }
    }
}

/// The prices in force.
#[derive(Clone, Debug)]
pub struct Prices {
    built_in: Arc<BuiltIn>,
    own: Arc<Mutex<Arc<Table>>>,
}

/// Prices of a model as they are shown, and why these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The provider at which they hold; empty: at all.
    pub provider: String,
    /// The name in the list.
    pub name: String,
    /// Whose list it is.
    pub source: CostSource,
    /// The file, or the page that the list has it from.
    pub from: String,
    /// Under which conditions (a service tier, a long prompt) which kind costs what, a token.
    pub prices: Vec<(String, Vec<(Kind, Usd)>)>,
}

impl Prices {
    /// Those of the program, and over them the operator's, if there is a file of them.
    ///
    /// # Errors
    /// The file cannot be read or is no list of prices.
    pub fn load(own: Option<&Path>) -> Result<Self, PricesError> {
        let prices = Self { built_in: Arc::new(BuiltIn::read()?), own: Arc::default() };
        prices.reload(own)?;
        Ok(prices)
    }

    /// Reads the operator's prices again.
    ///
    /// # Errors
    /// As [`load`](Self::load); then those that were in force stay so.
    pub fn reload(&self, own: Option<&Path>) -> Result<(), PricesError> {
        let table = own.map(|path| litellm::read(path, &self.built_in.litellm)).transpose()?;
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(table.unwrap_or_default());
        Ok(())
    }

    /// What a call costs.
    #[must_use]
    pub fn cost(&self, call: &Call) -> Cost {
        if call.role == Role::Server {
            return Cost::Unknown;
        }
        let own = self.own();
        let found = find(&own, &self.built_in.table, call);
        let priced = found.and_then(|(source, model)| Some((model.amount(call)?, source)));
        let list = priced.map(|(amount, _)| amount);
        if call.subscription {
            return Cost::Known { amount: Usd::ZERO, list, source: CostSource::Subscription };
        }
        if let Some(amount) = call.stated_cost_usd().and_then(Usd::from_dollars) {
            return Cost::Known { amount, list, source: CostSource::Provider };
        }
        match priced {
            Some((amount, source)) => Cost::Known { amount, list, source },
            // Of what failed nobody says what it took, and what took nothing needs no price.
            None if call.usage.input_tokens.or(call.usage.output_tokens).is_none() => Cost::Unknown,
            None => Cost::Unpriced,
        }
    }

    /// Where the list that comes with the program is from, and when.
    #[must_use]
    pub fn from(&self) -> &str {
        &self.built_in.table.from
    }

    /// What is used for calls of a model of this name, at each provider that has it.
    #[must_use]
    pub fn quotes(&self, name: &str) -> Vec<Quote> {
        let own = self.own();
        let tables = [(CostSource::Override, &*own), (CostSource::List, &self.built_in.table)];
        let providers: BTreeSet<&str> = tables.iter().flat_map(|(_, table)| table.providers()).collect();
        let of = |provider: &str| {
            let at = |(source, table): &(CostSource, &Table)| {
                let (provider, name, model) = table.find(provider, name)?;
                Some(quote(provider, name, *source, model))
            };
            tables.iter().find_map(at)
        };
        let mut quotes: Vec<_> = providers.into_iter().filter_map(of).collect();
        // What holds at all was found at each.
        quotes.dedup();
        quotes
    }

    /// All prices of models with `part` in their names, the operator's first.
    #[must_use]
    pub fn all(&self, part: &str) -> Vec<Quote> {
        let (own, part) = (self.own(), part.to_lowercase());
        let tables = [(CostSource::Override, &*own), (CostSource::List, &self.built_in.table)];
        let quotes = tables.into_iter().flat_map(|(source, table)| {
            let mut rows: Vec<_> = table.rows(&part).collect();
            rows.sort_unstable_by_key(|(provider, name, _)| (*provider, *name));
            rows.into_iter().map(move |(provider, name, model)| quote(provider, name, source, model))
        });
        quotes.collect()
    }

    fn own(&self) -> Arc<Table> {
        Arc::clone(&self.own.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn quote(provider: &str, name: &str, source: CostSource, model: &Model) -> Quote {
    Quote {
        provider: provider.to_owned(),
        name: name.to_owned(),
        source,
        from: model.source.clone(),
        prices: model.shown(),
    }
}

/// Providers at which the name that is asked for is the customer's, and only the answer says which model it
/// is.
const OWN_NAMES: [&str; 2] = ["azure.ai.openai", "azure.ai.inference"];

/// The prices of the model that answered; where those are not known, of the one that was asked for.
fn find<'a>(own: &'a Table, list: &'a Table, call: &Call) -> Option<(CostSource, &'a Model)> {
    let asked = call.model.as_deref();
    let answered = call.response_model.as_deref();
    let asked = asked.filter(|_| answered.is_none() || !OWN_NAMES.contains(&call.provider));
    let of = |name| {
        let tables = [(CostSource::Override, own), (CostSource::List, list)];
        tables.into_iter().find_map(|(source, table)| Some((source, table.find(call.provider, name)?.2)))
    };
    answered.and_then(of).or_else(|| asked.and_then(of))
}

#[cfg(test)]
mod tests;
