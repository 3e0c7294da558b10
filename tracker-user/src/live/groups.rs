//! Sums by the minute, of calls that are alike.

use std::collections::HashMap;

use super::{
    Owner, container, model, session,
    snapshot::{By, Sums},
};
use crate::{attribution::Origin, provider::Call};

/// Minutes that are remembered, the present one included.
pub(super) const MINUTES: u64 = 60;
/// Groups at most. Where there would be more, those that have been quiet for longest become one.
const MAX_GROUPS: usize = 1024;
/// What such a group is called, as in the metrics.
pub(super) const OTHER: &str = "other";
/// Nanoseconds.
pub(super) const MINUTE: u64 = 60_000_000_000;

/// What calls are told apart by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    /// Nobody, where they are of several.
    pub(super) owner: Owner,
    names: [Option<String>; By::ALL.len()],
    other: bool,
}

impl Key {
    pub(super) fn new(call: &Call, origin: &Origin) -> Self {
        Self::of(call.provider, model(call), origin)
    }

    /// Of a call that was sent to this provider for this model.
    pub(super) fn of(provider: &str, model: Option<&String>, origin: &Origin) -> Self {
        let names = By::ALL.map(|by| match by {
            By::Process => origin.process.name.clone(),
            By::Container => container(origin).cloned(),
            By::Model => model.cloned(),
            By::Session => session(origin).cloned(),
            By::Provider => Some(provider.to_owned()),
            By::Agent => origin.agent.as_ref().map(|agent| agent.name.clone()),
            By::User => origin.process.user.clone().or_else(|| origin.process.uid.map(|uid| uid.to_string())),
        });
        Self { owner: Owner::of(origin), names, other: false }
    }

    fn other(owner: Owner) -> Self {
        Self { owner, names: By::ALL.map(|_| Some(OTHER.to_owned())), other: true }
    }

    /// The group that takes its place: that of the others of its owner, and at last that of all others.
    fn folded(&self) -> Self {
        Self::other(if self.other { Owner::default() } else { self.owner })
    }

    pub(super) fn name(&self, by: By) -> Option<&String> {
        By::ALL.iter().zip(&self.names).find_map(|(it, name)| (*it == by).then_some(name.as_ref())?)
    }
}

/// Sums of the minutes in which there was something, the oldest first: most groups of a busy host are one call's.
#[derive(Debug, Default)]
pub(super) struct Minutes(Vec<(u64, Sums)>);

impl Minutes {
    fn add(&mut self, minute: u64, sums: &Sums) {
        // What is late by an hour has no place any more.
        if minute.saturating_add(MINUTES) <= self.newest() {
            return;
        }
        let at = self.0.partition_point(|(number, _)| *number < minute);
        match self.0.get_mut(at).filter(|(number, _)| *number == minute) {
            Some((_, sum)) => sum.add(sums),
            None => {
                self.0.insert(at, (minute, sums.clone()));
                let newest = self.newest();
                self.0.retain(|(number, _)| number.saturating_add(MINUTES) > newest);
            }
        }
    }

    fn newest(&self) -> u64 {
        self.0.last().map_or(0, |(number, _)| *number)
    }

    /// The sums of each minute after `minute - MINUTES`, up to `minute`.
    pub(super) fn until(&self, minute: u64) -> impl Iterator<Item = (u64, &Sums)> {
        let shown = move |number: u64| number <= minute && number.saturating_add(MINUTES) > minute;
        self.0.iter().filter(move |(number, _)| shown(*number)).map(|(number, sums)| (*number, sums))
    }
}

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: HashMap<Key, Minutes>,
}

impl Groups {
    /// Adds to the group, for the minute of this time, nanoseconds since the Unix epoch.
    pub(super) fn add(&mut self, key: Key, at: u64, sums: &Sums) {
        let minute = at / MINUTE;
        if self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(&key) {
            self.groups.retain(|_, minutes| minutes.newest().saturating_add(MINUTES) > minute);
            while self.groups.len() >= MAX_GROUPS {
                self.fold();
            }
        }
        self.groups.entry(key).or_default().add(minute, sums);
    }

    /// Folds a sixteenth, at once, because finding them looks at all.
    fn fold(&mut self) {
        let last = Key::other(Owner::default());
        let mut order: Vec<_> = self
            .groups
            .iter()
            .filter(|(key, _)| **key != last)
            .map(|(key, minutes)| (minutes.newest(), key.clone()))
            .collect();
        order.sort_unstable();
        for (_, key) in order.into_iter().take(MAX_GROUPS / 16) {
            let Some(minutes) = self.groups.remove(&key) else { continue };
            let folded = self.groups.entry(key.folded()).or_default();
            for (number, sums) in &minutes.0 {
                folded.add(*number, sums);
            }
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Minutes)> {
        self.groups.iter()
    }
}
