//! Layers: defaults, file, environment, flags; and where each value came from.
//!
//! Written for this purpose because what there is (`figment`, `config`) loses line and column on the way, and
//! they are what a person with a typing error needs. The keys are what the defaults look like to serde.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize as _;
use toml::{
    Table, Value,
    de::{DeTable, DeValue},
};

use super::Config;
use crate::hint;

/// What the variables of the environment begin with.
const PREFIX: &str = "LLM_TRACKER_";

/// Where the settings are read from, once at the start and again on SIGHUP.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file, where there is one.
    pub file: Option<PathBuf>,
    /// What the flags say.
    pub flags: Vec<Flag>,
}

impl Sources {
    /// Reads them, and the environment.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn read(&self) -> Result<Settings, ConfigError> {
        // One that is not text is nobody's value; `vars` would panic at it.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Settings::load(self.file.as_deref(), environment, &self.flags)
    }
}

/// A flag that was given, and the key that it sets.
#[derive(Clone, Debug)]
pub struct Flag {
    /// As it is typed: `--metrics-listen`.
    pub name: &'static str,
    /// `metrics.listen`
    pub key: &'static str,
    /// The value, as it would be in the file.
    pub value: Value,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// This line of the file.
    File(Arc<Path>, usize),
    /// This variable.
    Environment(String),
    /// This flag.
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// With its section: `metrics.listen`.
    pub key: String,
    /// Absent where it is not set and there is no default.
    pub value: Option<Value>,
    /// Where the value came from.
    pub source: Source,
}

/// What is wrong with a value, beyond its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key.
    pub key: &'static str,
    /// The value, and what it may be.
    pub what: String,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the configuration {path} is not valid: line {line}, column {column}: {why}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// Where in the line, from 1.
        column: usize,
        /// What is wrong, and what may have been meant. No value, and not the line: there may be a secret in it.
        why: String,
    },
    /// A variable or a flag has a value that cannot be.
    #[error("{from} does not fit {key}: {why}")]
    Value {
        /// Which.
        from: Source,
        /// The key that it sets.
        key: String,
        /// What is expected.
        why: String,
    },
    /// A variable names no key.
    #[error("{name} sets nothing that there is{hint}")]
    Variable {
        /// The variable.
        name: String,
        /// What may have been meant.
        hint: String,
    },
    /// A value is out of its range, or does not go with another.
    #[error("the configuration says {} = {} ({from})", problem.key, problem.what)]
    Check {
        /// What is wrong.
        problem: Problem,
        /// Where the value came from.
        from: Source,
    },
}

/// The configuration in force, and every key of it with its source.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The configuration.
    pub config: Config,
    entries: Vec<Entry>,
}

impl Settings {
    /// Flags over the environment over a file over the defaults.
    ///
    /// # Errors
    /// The file cannot be read or is not TOML; there is no such key; a value does not fit.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[Flag],
    ) -> Result<Self, ConfigError> {
        let mut entries = defaults();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path)
                .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
            read_file(path, &text, &mut entries)?;
        }
        read_environment(environment, &mut entries)?;
        for Flag { name, key, value } in flags {
            set(&mut entries, key, value.clone(), Source::Flag(name))?;
        }
        let set = entries.iter().filter(|entry| entry.source != Source::Default);
        let table = set.fold(Table::new(), |table, entry| match &entry.value {
            Some(value) => insert(table, &entry.key, value.clone()),
            None => table,
        });
        // Each layer has been understood on its own, so there is nothing left to go wrong.
        let config = Config::deserialize(table).map_err(|error| ConfigError::Value {
            from: Source::Default,
            key: "the configuration".to_owned(),
            why: error.to_string(),
        })?;
        let settings = Self { config, entries };
        settings
            .config
            .check()
            .map_err(|problem| ConfigError::Check { from: settings.source(problem.key).clone(), problem })?;
        Ok(settings)
    }

    /// All keys, in the order of their names.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Where the value of a key came from.
    #[must_use]
    pub fn source(&self, key: &str) -> &Source {
        self.entries.iter().find(|entry| entry.key == key).map_or(&Source::Default, |entry| &entry.source)
    }

    /// Takes the value of one key from `other`.
    pub(crate) fn adopt(&mut self, key: &str, other: &Self) {
        let mine = self.entries.iter_mut().find(|entry| entry.key == key);
        let theirs = other.entries.iter().find(|entry| entry.key == key);
        if let (Some(mine), Some(theirs)) = (mine, theirs) {
            mine.clone_from(theirs);
        }
    }

    /// The keys whose values are others in `newer`.
    pub fn changed<'a>(&'a self, newer: &'a Self) -> impl Iterator<Item = &'a str> {
        let pairs = self.entries.iter().zip(&newer.entries);
        pairs.filter(|(old, new)| old.value != new.value).map(|(old, _)| old.key.as_str())
    }
}

/// Every key with its default.
fn defaults() -> Vec<Entry> {
    fn collect(key: &str, value: serde_json::Value, entries: &mut Vec<Entry>) {
        match value {
            serde_json::Value::Object(section) if !section.is_empty() => {
                for (name, value) in section {
                    collect(&if key.is_empty() { name } else { format!("{key}.{name}") }, value, entries);
                }
            }
            value => entries.push(Entry {
                key: key.to_owned(),
                // Of what is not set by default there is no value, in TOML's words.
                value: Value::deserialize(value).ok(),
                source: Source::Default,
            }),
        }
    }
    let mut entries = Vec::new();
    // JSON, because it has a word for what is not set.
    collect("", serde_json::to_value(Config::default()).unwrap_or_default(), &mut entries);
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    entries
}

fn read_file(path: &Path, text: &str, entries: &mut [Entry]) -> Result<(), ConfigError> {
    let wrong = |error: toml::de::Error| {
        let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or_default();
        ConfigError::Parse {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().unwrap_or_default().chars().count() + 1,
            why: hint::explain(error.message()),
        }
    };
    // All that can be wrong has its place in the text, which only this knows.
    toml::from_str::<Config>(text).map_err(wrong)?;
    let values: Table = toml::from_str(text).map_err(wrong)?;
    let places = DeTable::parse(text).map_err(wrong)?;
    let path: Arc<Path> = path.into();
    for entry in entries {
        let Some(value) = find(&values, &entry.key) else { continue };
        let line = place(places.get_ref(), &entry.key)
            .map_or(1, |at| text.bytes().take(at).filter(|&byte| byte == b'\n').count() + 1);
        entry.value = Some(value.clone());
        entry.source = Source::File(Arc::clone(&path), line);
    }
    Ok(())
}

fn find<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    let (section, rest) = key.split_once('.').unwrap_or((key, ""));
    let value = table.get(section)?;
    if rest.is_empty() { Some(value) } else { find(value.as_table()?, rest) }
}

/// Where in the text a key's value begins, bytes.
fn place(table: &DeTable<'_>, key: &str) -> Option<usize> {
    let (section, rest) = key.split_once('.').unwrap_or((key, ""));
    let value = table.get(section)?;
    match value.get_ref() {
        DeValue::Table(table) if !rest.is_empty() => place(table, rest),
        _ => Some(value.span().start),
    }
}

/// The variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_ascii_uppercase())
}

fn read_environment(
    environment: impl IntoIterator<Item = (String, String)>,
    entries: &mut [Entry],
) -> Result<(), ConfigError> {
    let keys: BTreeMap<String, String> =
        entries.iter().map(|entry| (variable(&entry.key), entry.key.clone())).collect();
    let sections: Vec<String> =
        keys.values().filter_map(|key| Some(variable(key.split_once('.')?.0) + "_")).collect();
    // An empty one is as good as none: whoever composes containers often cannot leave it out.
    for (name, text) in
        environment.into_iter().filter(|(name, text)| name.starts_with(PREFIX) && !text.is_empty())
    {
        if let Some(key) = keys.get(&name) {
            let default =
                entries.iter().find(|entry| entry.key == *key).and_then(|entry| entry.value.as_ref());
            set(entries, key, value(text, default), Source::Environment(name))?;
        } else if sections.iter().any(|section| name.starts_with(section)) {
            // Others with this beginning are not ours to judge.
            let hint = hint::did_you_mean(&name, keys.keys().map(String::as_str));
            return Err(ConfigError::Variable { name, hint });
        }
    }
    Ok(())
}

/// What stands behind the `=` in the file; quotes may be left out.
fn value(text: String, default: Option<&Value>) -> Value {
    match default {
        Some(Value::String(_)) => Value::String(text),
        _ => text.parse().unwrap_or(Value::String(text)),
    }
}

/// Puts a value over what is there, if it can be one of that key.
fn set(entries: &mut [Entry], key: &str, value: Value, source: Source) -> Result<(), ConfigError> {
    if let Err(error) = Config::deserialize(insert(Table::new(), key, value.clone())) {
        let why = hint::explain(error.message());
        return Err(ConfigError::Value { from: source, key: key.to_owned(), why });
    }
    if let Some(entry) = entries.iter_mut().find(|entry| entry.key == key) {
        entry.value = Some(value);
        entry.source = source;
    }
    Ok(())
}

/// The table with one more value.
fn insert(mut table: Table, key: &str, value: Value) -> Table {
    match key.split_once('.') {
        None => _ = table.insert(key.to_owned(), value),
        Some((section, rest)) => {
            let inner = match table.remove(section) {
                Some(Value::Table(inner)) => inner,
                _ => Table::new(),
            };
            table.insert(section.to_owned(), Value::Table(insert(inner, rest, value)));
        }
    }
    table
}
