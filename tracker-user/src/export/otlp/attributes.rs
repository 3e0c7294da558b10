//! OpenTelemetry's names for what is known of a call.
//!
//! They are those of the semantic conventions: `gen_ai.*` as they were when they moved to a repository
//! of their own in 2026, the others of 1.42. What those have no name for begins with `llm_tracker.`.

use std::borrow::Cow;

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};

use crate::export::prometheus::floor;

/// Longest text, bytes; what is longer is cut. Collectors refuse requests of some megabytes.
const MAX_TEXT: usize = 1024;
/// Most texts of a list: the limit that OTel's SDKs have for the attributes of a span.
const MAX_LIST: usize = 128;

/// Attributes of labels: the label's name on the metrics page, OTel's name.
const OF_LABELS: [(&str, &str); 23] = [
    ("agent", "gen_ai.agent.name"),
    ("cgroup", "process.linux.cgroup"),
    ("container", "container.id"),
    ("container_name", "container.name"),
    ("error", "error.type"),
    ("error_type", "error.type"),
    ("exe", "process.executable.path"),
    ("gen_ai_operation_name", "gen_ai.operation.name"),
    ("gen_ai_provider_name", "gen_ai.provider.name"),
    ("gen_ai_request_model", "gen_ai.request.model"),
    ("gen_ai_response_model", "gen_ai.response.model"),
    ("gen_ai_token_type", "gen_ai.token.type"),
    ("image", "container.image.name"),
    ("namespace", "k8s.namespace.name"),
    ("pid", "process.pid"),
    ("pod", "k8s.pod.name"),
    ("pod_uid", "k8s.pod.uid"),
    ("process", "llm_tracker.process.name"), // `process.executable.name` is that of the file.
    ("runtime", "container.runtime.name"),
    ("session", "session.id"),
    ("status", "http.response.status_code"),
    ("uid", "user.id"),
    ("user", "user.name"),
];
/// Attributes of labels that are numbers to OTel.
const NUMBERS: [&str; 2] = ["http.response.status_code", "process.pid"];

/// The attribute that a label of the metrics page is; empty labels are none.
pub(super) fn of_label(name: &str, value: &str) -> Option<KeyValue> {
    if value.is_empty() {
        return None;
    }
    let key = OF_LABELS.iter().find(|(label, _)| *label == name).map(|(_, key)| *key);
    let key = key.map_or_else(|| Cow::Owned(format!("llm_tracker.{name}")), Cow::Borrowed);
    let number = NUMBERS.contains(&key.as_ref()).then(|| value.parse().ok()).flatten();
    let value = number.map_or_else(|| Value::StringValue(cut(value).to_owned()), Value::IntValue);
    Some(attribute(&key, value))
}

/// The attributes of one thing, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Attributes(pub(super) Vec<KeyValue>);

impl Attributes {
    /// Adds one where its value is known.
    pub(super) fn set(&mut self, key: &str, value: impl IntoValue) {
        self.0.extend(value.into_value().map(|value| attribute(key, value)));
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

/// What can be the value of an attribute, where there is one.
pub(super) trait IntoValue {
    fn into_value(self) -> Option<Value>;
}

impl<T: IntoValue> IntoValue for Option<T> {
    fn into_value(self) -> Option<Value> {
        self.and_then(T::into_value)
    }
}

impl IntoValue for &str {
    fn into_value(self) -> Option<Value> {
        Some(Value::StringValue(cut(self).to_owned()))
    }
}

impl IntoValue for bool {
    fn into_value(self) -> Option<Value> {
        Some(Value::BoolValue(self))
    }
}

impl IntoValue for u64 {
    fn into_value(self) -> Option<Value> {
        i64::try_from(self).ok().map(Value::IntValue)
    }
}

impl IntoValue for u32 {
    fn into_value(self) -> Option<Value> {
        Some(Value::IntValue(self.into()))
    }
}

impl IntoValue for u16 {
    fn into_value(self) -> Option<Value> {
        Some(Value::IntValue(self.into()))
    }
}

impl IntoValue for f64 {
    fn into_value(self) -> Option<Value> {
        self.is_finite().then_some(Value::DoubleValue(self))
    }
}

impl IntoValue for &[String] {
    fn into_value(self) -> Option<Value> {
        let value = |text: &String| AnyValue { value: text.as_str().into_value() };
        let values: Vec<_> = self.iter().take(MAX_LIST).map(value).collect();
        (!values.is_empty()).then_some(Value::ArrayValue(ArrayValue { values }))
    }
}

fn cut(text: &str) -> &str {
    if text.len() <= MAX_TEXT { text } else { &text[..floor(text, MAX_TEXT)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_and_value(name: &str, value: &str) -> Option<(String, Value)> {
        of_label(name, value).map(|it| (it.key, it.value.unwrap().value.unwrap()))
    }

    #[test]
    fn labels_have_the_names_of_the_conventions() {
        let text = |text: &str| Value::StringValue(text.to_owned());
        assert_eq!(key_and_value("error_type", "429"), Some(("error.type".to_owned(), text("429"))));
        assert_eq!(
            key_and_value("status", "429"),
            Some(("http.response.status_code".to_owned(), Value::IntValue(429)))
        );
        assert_eq!(
            key_and_value("status", "other"),
            Some(("http.response.status_code".to_owned(), text("other")))
        );
        assert_eq!(key_and_value("team", "red"), Some(("llm_tracker.team".to_owned(), text("red"))));
        assert_eq!(key_and_value("error", ""), None);
    }

    #[test]
    fn what_is_not_known_is_no_attribute() {
        let mut attributes = Attributes::default();
        attributes.set("a", None::<u64>);
        attributes.set("b", u64::MAX);
        attributes.set("c", f64::NAN);
        attributes.set("d", [].as_slice());
        assert!(attributes.0.is_empty(), "{attributes:?}");
    }

    #[test]
    fn texts_and_lists_are_bounded() {
        let Some(Value::StringValue(text)) = "é".repeat(5000).as_str().into_value() else { panic!() };
        assert_eq!(text.len(), MAX_TEXT);
        let Some(Value::ArrayValue(list)) = vec![String::new(); 5000].as_slice().into_value() else {
            panic!()
        };
        assert_eq!(list.values.len(), MAX_LIST);
    }
}
