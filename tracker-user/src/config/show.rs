//! `llm-tracker config show`: every key, its value and where that came from.

use std::fmt;

use serde_json::json;
use toml::Value;

use super::{
    Settings, Source,
    settings::{Entry, variable},
};

/// Keys of tables of which nobody but us is to see these values, or any; their names are shown.
const SECRET: [(&str, Option<&str>); 2] = [("otlp.headers", None), ("budget", Some("webhook"))];

impl Entry {
    fn shown(&self) -> Option<Value> {
        let mut value = self.value.clone();
        let secret = SECRET.iter().find(|(key, _)| *key == self.key);
        if let Some((value, (_, secret))) = value.as_mut().zip(secret) {
            let tables = match value {
                Value::Array(tables) => tables.as_mut_slice(),
                table => std::slice::from_mut(table),
            };
            for (name, field) in tables.iter_mut().filter_map(Value::as_table_mut).flatten() {
                if secret.is_none_or(|secret| secret == name) {
                    *field = "(hidden)".into();
                }
            }
        }
        value
    }
}

impl Settings {
    /// As an object by key, for programs.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let entry = |entry: &Entry| {
            let Entry { key, value: _, source } = entry;
            let mut shown = json!({"value": entry.shown(), "environment": variable(key)});
            shown["source"] = match source {
                Source::Default => json!("default"),
                Source::File(path, line) => json!({"file": path.to_string_lossy(), "line": line}),
                Source::Environment(name) => json!({"environment": name}),
                Source::Flag(name) => json!({"flag": name}),
            };
            (key.clone(), shown)
        };
        self.entries().iter().map(entry).collect::<serde_json::Map<_, _>>().into()
    }
}

/// A configuration file that says all of it, with the sources as comments.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in self.entries() {
            let Entry { key, value: _, source } = entry;
            match entry.shown() {
                Some(value) => writeln!(f, "{key} = {value}  # {source}")?,
                None => writeln!(f, "# {key} is not set")?,
            }
        }
        Ok(())
    }
}
