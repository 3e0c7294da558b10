//! Prices by provider and model.

use std::collections::HashMap;

use super::{names, rates::Model};

/// A provider (empty: all), the name of one of its models, and the prices of that.
pub(super) type Row<'a> = (&'a str, &'a str, &'a Model);

/// Prices by provider and by the name of the model, lower case.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    models: Vec<Model>,
    /// Those of the provider without a name hold at all.
    by_name: HashMap<String, HashMap<String, usize>>,
    /// Where it is from.
    pub(super) from: String,
}

impl Table {
    /// An empty one, of what this says.
    pub(super) fn of(from: String) -> Self {
        Self { from, ..Self::default() }
    }

    /// Adds a model; of two with one name the later counts.
    pub(super) fn insert(&mut self, provider: &str, names: impl IntoIterator<Item = String>, model: Model) {
        let index = self.models.len();
        self.models.push(model.without_copies());
        let of_provider = self.by_name.entry(provider.to_owned()).or_default();
        of_provider.extend(names.into_iter().map(|name| (name.to_lowercase(), index)));
    }

    /// The model that goes by this name at this provider, with its place in the list. One that is like it
    /// is none.
    pub(super) fn find(&self, provider: &str, name: &str) -> Option<Row<'_>> {
        let places = [provider, ""].into_iter().filter_map(|place| self.by_name.get_key_value(place));
        let names = names::same(provider, name);
        places.into_iter().find_map(|(place, known)| {
            let (name, index) = names.iter().find_map(|it| known.get_key_value(it))?;
            Some((place.as_str(), name.as_str(), self.models.get(*index)?))
        })
    }

    /// Those that it has prices for.
    pub(super) fn providers(&self) -> impl Iterator<Item = &str> {
        self.by_name.keys().map(String::as_str)
    }

    /// All rows with `part` in their names.
    pub(super) fn rows<'a>(&'a self, part: &'a str) -> impl Iterator<Item = Row<'a>> {
        self.by_name.iter().flat_map(move |(provider, names)| {
            let wanted = names.iter().filter(move |(name, _)| name.contains(part));
            let row = move |(name, index): (&'a String, &usize)| {
                Some((provider.as_str(), name.as_str(), self.models.get(*index)?))
            };
            wanted.filter_map(row)
        })
    }
}
