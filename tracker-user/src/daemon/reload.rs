//! SIGHUP: what of the configuration may change while the daemon runs.

use std::sync::Arc;

use crate::{
    attribution::Filters,
    budget::Budgets,
    config::{Config, Settings, Sources},
    log::Log,
    pricing::Prices,
    provider::Catalog,
};

/// What can be told of a change while it works.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) catalog: Arc<Catalog>,
    pub(super) filters: Filters,
    pub(super) prices: Prices,
    pub(super) budgets: Budgets,
    pub(super) log: Log,
}

/// How a change gets to where it matters.
type TakeOver = fn(&Live, &Config);

/// The keys that are taken over, and how. None of them touches a call that is under way. All others are read
/// at the start only.
const TAKEN_OVER: [(&str, TakeOver); 6] = [
    ("budget", |live, config| live.budgets.set(config.budget.clone())),
    // With the file itself, which may have changed under its name.
    ("cost.prices", |_, _| {}),
    ("filter", |live, config| live.filters.set(config.filter.clone())),
    ("gateway", |live, config| live.catalog.set_gateways(config.gateway.clone())),
    ("log.level", |live, config| live.log.set_level(config.log.level)),
    ("usage.estimate", |live, config| live.catalog.set_estimates(config.usage.estimates())),
];

/// Reads the settings again.
#[derive(Debug)]
pub(super) struct Reload {
    pub(super) sources: Sources,
    /// What is in force.
    pub(super) running: Settings,
    pub(super) live: Live,
}

impl Reload {
    /// Takes over what has changed and can be, and names the rest. Settings with a mistake are not taken: the
    /// log says where and why, and what was in force stays so.
    pub(super) fn reload(&mut self) {
        match self.sources.read() {
            Ok(read) => {
                if let Err(error) = self.live.prices.reload(read.config.cost.prices.as_deref()) {
                    tracing::error!("the prices were not taken over, the old ones stay in force: {error}");
                }
                let (taken, left) = self.take_over(&read);
                tracing::info!(changed = taken.join(", "), "the configuration was read again");
                for key in left {
                    tracing::warn!("{key} has changed: that takes a restart");
                }
            }
            Err(error) => {
                tracing::error!("the configuration was not taken over, the old one stays in force: {error}");
            }
        }
    }

    /// The keys that were taken over, and those that could not be.
    fn take_over(&mut self, read: &Settings) -> (Vec<String>, Vec<String>) {
        let changed = self.running.changed(read).map(str::to_owned);
        let (taken, left): (Vec<_>, Vec<_>) =
            changed.partition(|key| TAKEN_OVER.iter().any(|(known, _)| known == key));
        for (key, take_over) in TAKEN_OVER {
            if taken.iter().any(|taken| taken == key) {
                take_over(&self.live, &read.config);
                self.running.adopt(key, read);
            }
        }
        (taken, left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::LogConfig, log, provider::Interest, stream::RequestHead};

    #[test]
    fn what_can_be_is_taken_over_and_the_rest_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
        let (subscriber, log) = log::build(LogConfig::default());
        let live = Live {
            catalog: Arc::new(Catalog::new()),
            filters: Filters::default(),
            prices: Prices::load(None).unwrap(),
            budgets: Budgets::default(),
            log,
        };
        let _guard = tracing::subscriber::set_default(subscriber);
        let mut reload = Reload { running: sources.read().unwrap(), sources, live };
        let mut read = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            reload.sources.read().map(|read| reload.take_over(&read)).unwrap_or_default()
        };
        let owned = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect::<Vec<_>>();
        let text = "[log]\nlevel = \"error\"\n[usage]\nestimate = false\n[events]\nfile = \"-\"\n";
        assert_eq!(read(text), (owned(&["log.level", "usage.estimate"]), owned(&["events.file"])));
        assert!(!tracing::enabled!(tracing::Level::WARN), "the level is in force");
        assert_eq!(read(text), (Vec::new(), owned(&["events.file"])), "it still waits for the restart");
        assert_eq!(read("[events]\nfiles = \"-\"\n"), Default::default());
        assert_eq!(read(""), (owned(&["log.level", "usage.estimate"]), Vec::new()));
        assert!(tracing::enabled!(tracing::Level::WARN));
    }

    #[test]
    fn a_mistake_leaves_the_old_gateways_and_filters() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let sources = Sources { file: Some(file.path().to_owned()), ..Sources::default() };
        let catalog = Arc::new(Catalog::new());
        let filters = Filters::default();
        let live = Live {
            catalog: Arc::clone(&catalog),
            filters: filters.clone(),
            prices: Prices::load(None).unwrap(),
            budgets: Budgets::default(),
            log: log::build(LogConfig::default()).1,
        };
        let mut reload = Reload { running: sources.read().unwrap(), sources, live };
        let head = RequestHead {
            method: "POST".into(),
            path: "/ask".into(),
            host: Some("llm.corp.example".into()),
            ..RequestHead::default()
        };
        let mut interest = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            reload.reload();
            catalog.interest(&head)
        };
        let good = "[[gateway]]\nname = \"corp\"\nhosts = [\"*.corp.example\"]\npaths = [\"/ask\"]\ndialect = \"openai.chat\"\n";
        assert_eq!(interest(""), Interest::Unrelated);
        assert_eq!(interest(good), Interest::Call);
        assert_eq!(interest("[[gateway]]\nname = 1\n"), Interest::Call);
        let filter = "[[filter]]\naction = \"ignore\"\nuser = \"ada\"\n";
        assert_eq!(interest(&format!("{good}{filter}")), Interest::Call);
        assert_eq!(filters.get().len(), 1);
        assert_eq!(interest("[[filter]]\nuser = \"ada\"\n"), Interest::Call);
        assert_eq!(filters.get().len(), 1);
        assert_eq!(interest(""), Interest::Unrelated);
        assert!(filters.get().is_empty());
    }
}
