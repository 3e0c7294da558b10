//! `llm-tracker config show`: every key, its value and where that came from.

use std::fmt;

use serde_json::json;
use toml::Value;

use super::{
    Settings, Source,
    settings::{Entry, variable},
};

/// Keys of tables whose values nobody but us is to see; their names are shown.
const SECRET: [&str; 1] = ["otlp.headers"];

impl Entry {
    fn shown(&self) -> Option<Value> {
        let mut value = self.value.clone();
        if let Some(Value::Table(fields)) = value.as_mut().filter(|_| SECRET.contains(&self.key.as_str())) {
            fields.iter_mut().for_each(|(_, field)| *field = "(hidden)".into());
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
