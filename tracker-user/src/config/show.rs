//! `llm-tracker config show`: every key, its value and where that came from.

use std::fmt;

use serde_json::json;

use super::{
    Settings, Source,
    settings::{Entry, variable},
};

impl Settings {
    /// As an object by key, for programs.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let entry = |entry: &Entry| {
            let Entry { key, value, source } = entry;
            let mut shown = json!({"value": value, "environment": variable(key)});
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
        for Entry { key, value, source } in self.entries() {
            match value {
                Some(value) => writeln!(f, "{key} = {value}  # {source}")?,
                None => writeln!(f, "# {key} is not set")?,
            }
        }
        Ok(())
    }
}
