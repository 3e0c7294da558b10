//! The fields of a stored call, by their names in the event log.

use std::borrow::Cow;

use serde_json::Value;

use crate::ledger::StoredCall;

/// A call; what is not known of it is absent.
#[derive(Clone, Copy, Debug)]
pub(in crate::report) struct Fields<'a>(pub(in crate::report) &'a StoredCall);

/// What says that a model has not come to its end, because it waits for a tool.
const CALLS_TOOLS: [&str; 6] =
    ["tool_calls", "tool_use", "function_call", "tool_call", "pause_turn", "requires_action"];

/// Operations that are a step of a conversation.
const SPEAKS: [&str; 3] = ["chat", "generate_content", "text_completion"];

impl<'a> Fields<'a> {
    /// A field by its path: `process.name`.
    pub(in crate::report) fn get(self, path: &str) -> Option<&'a Value> {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let field = self.0.get(first)?;
        rest.map_or(Some(field), |rest| field.get(rest))
    }

    pub(in crate::report) fn text(self, path: &str) -> Option<&'a str> {
        self.get(path)?.as_str()
    }

    pub(in crate::report) fn number(self, path: &str) -> Option<u64> {
        self.get(path)?.as_u64()
    }

    pub(in crate::report) fn seconds(self, path: &str) -> Option<f64> {
        self.get(path)?.as_f64()
    }

    pub(in crate::report) fn list(self, path: &str) -> impl Iterator<Item = &'a str> {
        self.get(path).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// A label of its session.
    pub(in crate::report) fn label(self, key: &str) -> Option<&'a str> {
        self.get("session.labels")?.get(key)?.as_str()
    }

    /// The model that was asked for, else the one that answered.
    pub(in crate::report) fn model(self) -> Option<&'a str> {
        self.text("model").or_else(|| self.text("response_model"))
    }

    /// What went wrong: the error, else a status that is one.
    pub(in crate::report) fn error(self) -> Option<Cow<'a, str>> {
        let status = || self.number("status").filter(|status| *status >= 400);
        self.text("error").map(Cow::Borrowed).or_else(|| status().map(|status| status.to_string().into()))
    }

    /// Where it went. All that is watched is TLS; a query is nowhere kept.
    pub(in crate::report) fn url(self) -> Option<String> {
        let (host, path) = (self.text("server_address")?, self.text("path")?);
        let port = self.number("server_port").map(|port| format!(":{port}"));
        Some(format!("https://{host}{}{path}", port.unwrap_or_default()))
    }

    /// Whether it is the end of a call that was stored before, and no further one.
    pub(in crate::report) fn is_continued(self) -> bool {
        self.get("continued").is_some()
    }

    /// Whether it is a step of a conversation.
    pub(in crate::report) fn speaks(self) -> bool {
        self.text("operation").is_some_and(|operation| SPEAKS.contains(&operation))
    }

    /// Whether the model came to its end with it: it failed not, and waits for no tool of the client's.
    pub(in crate::report) fn ends_turn(self) -> bool {
        let waits = |reason: &str| CALLS_TOOLS.iter().any(|word| word.eq_ignore_ascii_case(reason));
        self.speaks()
            && self.error().is_none()
            && self.list("tool_calls").next().is_none()
            && !self.list("finish_reasons").any(waits)
    }
}
