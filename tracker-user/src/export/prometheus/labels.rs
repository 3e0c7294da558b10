//! The labels of every metric about calls, decided once.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{family::SWEEP_EVERY, origin::OriginLabel};
use crate::export::Record;

/// One label.
#[derive(Clone, Debug)]
pub(super) enum Label {
    Provider,
    /// The same where it is about this program, and by its short name.
    UnpricedProvider,
    /// The model that answered, else the one that was asked for.
    UnpricedModel,
    Operation,
    RequestModel,
    ResponseModel,
    /// OTel's `input` or `output`.
    TokenType,
    ErrorType,
    /// Ours, with the subsets.
    Type,
    Status,
    Error,
    Role,
    UsageSource,
    /// Whose call it was, as the operator wants it.
    Origin(Arc<OriginValues>),
}

/// An operator's label, and the values that are told apart.
#[derive(Debug)]
pub(super) struct OriginValues {
    label: OriginLabel,
    /// A value that nothing happened to for so long gives way when there is no room.
    idle: Duration,
    seen: Mutex<Seen>,
    overflowed: AtomicU64,
}

#[derive(Debug, Default)]
struct Seen {
    values: HashMap<Box<str>, Instant>,
    swept: Option<Instant>,
}

impl OriginValues {
    pub(super) fn new(label: OriginLabel, idle: Duration) -> Self {
        Self { label, idle, seen: Mutex::default(), overflowed: AtomicU64::new(0) }
    }

    pub(super) fn name(&self) -> &str {
        self.label.name()
    }

    /// Samples booked under `other`.
    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Whether a value is told apart; counts it where not.
    fn admit(&self, value: &str) -> bool {
        if value.is_empty() {
            return true;
        }
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Seen { values, swept } = &mut *seen;
        if let Some(touched) = values.get_mut(value) {
            *touched = now;
            return true;
        }
        let full = values.len() >= self.label.max_values();
        if full && swept.is_none_or(|at| now.duration_since(at) >= SWEEP_EVERY) {
            *swept = Some(now);
            values.retain(|_, touched| now.duration_since(*touched) < self.idle);
        }
        if values.len() >= self.label.max_values() {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        values.insert(value.into(), now);
        true
    }
}

/// Where a label's values come from, which says what gives way when there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// A set that this program fixes.
    Ours,
    /// The host.
    Origin,
    /// What was on the wire.
    Wire,
}

/// What is kept when a value is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    Start,
    /// Paths differ at their end.
    End,
}

struct Spec<'a> {
    name: &'a str,
    source: Source,
    /// Bytes.
    longest: usize,
    keep: Keep,
}

/// How much of a call's labels is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// All of it.
    Exact,
    /// Not whose it was.
    AnyOrigin,
    /// Only what takes few values by nature.
    OursOnly,
}

/// Stands for every value that is not told apart.
pub(super) const OTHER: &str = "other";
/// Between the values of a key. It occurs in none: control characters are replaced.
pub(super) const SEPARATOR: char = '\u{1f}';

/// The labels that OTel's metrics have in common.
pub(super) const MODEL: [Label; 4] =
    [Label::Provider, Label::Operation, Label::RequestModel, Label::ResponseModel];

impl Label {
    fn spec(&self) -> Spec<'_> {
        const fn spec(name: &str, source: Source) -> Spec<'_> {
            Spec { name, source, longest: 128, keep: Keep::Start }
        }
        match self {
            Self::Provider => spec("gen_ai_provider_name", Source::Ours),
            Self::UnpricedProvider => spec("provider", Source::Ours),
            Self::UnpricedModel => spec("model", Source::Wire),
            Self::Operation => spec("gen_ai_operation_name", Source::Ours),
            Self::RequestModel => spec("gen_ai_request_model", Source::Wire),
            Self::ResponseModel => spec("gen_ai_response_model", Source::Wire),
            Self::TokenType => spec("gen_ai_token_type", Source::Ours),
            Self::ErrorType => spec("error_type", Source::Wire),
            Self::Type => spec("type", Source::Ours),
            Self::Status => spec("status", Source::Wire),
            Self::Error => spec("error", Source::Wire),
            Self::Role => spec("role", Source::Ours),
            Self::UsageSource => spec("usage_source", Source::Ours),
            // A pod's cgroup path takes about 200 bytes, and the container comes last.
            Self::Origin(values) if values.label.is_path() => {
                Spec { longest: 256, keep: Keep::End, ..spec(values.name(), Source::Origin) }
            }
            Self::Origin(values) => spec(values.name(), Source::Origin),
        }
    }

    pub(super) fn name(&self) -> &str {
        self.spec().name
    }

    /// Whether its values are this program's own, so that there are few.
    pub(super) fn is_ours(&self) -> bool {
        self.spec().source == Source::Ours
    }

    /// The value; empty, which to Prometheus is the same as no label, where it is not known.
    fn value<'a>(&'a self, record: &'a Record, variant: &'static str) -> Cow<'a, str> {
        let Record { call, cost: _, origin, started_unix_nanos: _ } = record;
        let text = |value: &'a Option<String>| Cow::Borrowed(value.as_deref().unwrap_or_default());
        match self {
            Self::Provider | Self::UnpricedProvider => call.provider.into(),
            Self::UnpricedModel => {
                call.response_model.as_deref().or(call.model.as_deref()).unwrap_or_default().into()
            }
            Self::Operation => call.operation.into(),
            Self::RequestModel => text(&call.model),
            Self::ResponseModel => text(&call.response_model),
            Self::TokenType | Self::Type => variant.into(),
            Self::ErrorType => call.error_type().unwrap_or_default(),
            Self::Status => call.status.map(|status| status.to_string()).unwrap_or_default().into(),
            Self::Error => text(&call.error),
            Self::Role => call.role.as_str().into(),
            Self::UsageSource => call.usage.source.as_str().into(),
            Self::Origin(values) => values.label.value(origin),
        }
    }
}

/// The label values of a call, in the order of `labels`. `variant` is the value of the one label
/// that differs between the samples of a call, where there is one.
pub(super) fn key(labels: &[Label], record: &Record, variant: &'static str, level: Level) -> String {
    let mut key = String::with_capacity(128);
    for (index, label) in labels.iter().enumerate() {
        if index > 0 {
            key.push(SEPARATOR);
        }
        let Spec { name: _, source, longest, keep } = label.spec();
        let lumped = match source {
            Source::Ours => false,
            Source::Origin => level != Level::Exact,
            Source::Wire => level == Level::OursOnly,
        };
        if lumped {
            key.push_str(OTHER);
        } else {
            let start = key.len();
            push_clean(&mut key, &label.value(record, variant), longest, keep);
            if let Label::Origin(values) = label
                && !values.admit(key.get(start..).unwrap_or_default())
            {
                key.truncate(start);
                key.push_str(OTHER);
            }
        }
    }
    key
}

/// Appends a value of at most `longest` bytes and without control characters.
fn push_clean(out: &mut String, value: &str, longest: usize, keep: Keep) {
    const CUT: char = '…';
    let kept = if value.len() <= longest {
        value
    } else {
        let room = longest - CUT.len_utf8();
        match keep {
            Keep::Start => &value[..floor(value, room)],
            Keep::End => {
                out.push(CUT);
                let start = (value.len() - room..).find(|at| value.is_char_boundary(*at));
                &value[start.unwrap_or(value.len())..]
            }
        }
    };
    out.extend(kept.chars().map(|c| if c.is_control() { '_' } else { c }));
    if keep == Keep::Start && kept.len() < value.len() {
        out.push(CUT);
    }
}

/// The last character boundary at or before `at`.
pub(in crate::export) fn floor(value: &str, at: usize) -> usize {
    (0..=at).rev().find(|at| value.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        export::prometheus::origin::OriginField,
        record::tests::{bare, full},
    };

    fn origin(field: OriginField) -> Label {
        Label::Origin(Arc::new(OriginValues::new(OriginLabel::new(field), Duration::from_secs(3600))))
    }

    fn clean(value: &str, longest: usize, keep: Keep) -> String {
        let mut out = String::new();
        push_clean(&mut out, value, longest, keep);
        out
    }

    #[test]
    fn values_are_cut_at_characters_and_cleaned() {
        assert_eq!(clean("gpt-4o", 128, Keep::Start), "gpt-4o");
        assert_eq!(clean("a\nb\u{1f}c\0d\u{7f}e\u{85}f", 128, Keep::Start), "a_b_c_d_e_f");
        for keep in [Keep::Start, Keep::End] {
            for length in 1..300 {
                let value: String = "aé漢🦀".chars().cycle().take(length).collect();
                let cut = clean(&value, 128, keep);
                assert!(cut.len() <= 128, "{length}");
                assert_eq!(cut == value, value.len() <= 128);
            }
        }
        assert_eq!(clean(&format!("{}end", "x".repeat(500)), 16, Keep::End), "…xxxxxxxxxxend");
        assert_eq!(clean(&format!("start{}", "x".repeat(500)), 16, Keep::Start), "startxxxxxxxx…");
    }

    #[test]
    fn a_pods_whole_cgroup_fits() {
        let path = format!(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice/cri-containerd-{}.scope",
            "0f4e0b1c_3c5e_4b1f_8a53_1c2d3e4f5a6b",
            "a".repeat(64),
        );
        assert!(path.len() <= origin(OriginField::Cgroup).spec().longest);
    }

    #[test]
    fn values_do_not_run_into_each_other() {
        let key = |request: &str, response: &str| {
            let mut record = bare();
            record.call.model = Some(request.to_owned());
            record.call.response_model = Some(response.to_owned());
            key(&MODEL, &record, "", Level::Exact)
        };
        assert_ne!(key("ab", "c"), key("a", "bc"));
        assert_ne!(key("a\u{1f}", "b"), key("a", "\u{1f}b"));
    }

    #[test]
    fn what_gives_way_gives_way_in_order() {
        let labels = [Label::Provider, Label::RequestModel, origin(OriginField::Process), Label::Status];
        let key = |level| key(&labels, &full(), "", level).replace(SEPARATOR, "|");
        assert_eq!(key(Level::Exact), "openai|gpt-4o|python3|200");
        assert_eq!(key(Level::AnyOrigin), "openai|gpt-4o|other|200");
        assert_eq!(key(Level::OursOnly), "openai|other|other|other");
    }

    #[test]
    fn a_label_has_so_many_values_and_no_more() {
        let label =
            toml::from_str::<HashMap<String, OriginLabel>>("x = {from = \"process\", max_values = 2}");
        let values = Arc::new(OriginValues::new(label.unwrap().remove("x").unwrap(), Duration::ZERO));
        let labels = [Label::Origin(Arc::clone(&values))];
        let value = |name: &str| {
            let mut record = bare();
            record.origin.process.name = Some(name.to_owned());
            key(&labels, &record, "", Level::Exact)
        };
        assert_eq!(["a", "b", "", "a"].map(value), ["a", "b", "", "a"]);
        assert_eq!(value("c"), "c", "who was idle gives way");
        assert_eq!(["d", "e", "e", "c", "d"].map(value), ["d", "other", "other", "c", "d"], "once a minute");
        assert_eq!(values.overflowed(), 2);
    }

    #[test]
    fn an_error_has_a_type_even_without_a_name() {
        let error = |status, error: Option<&str>| {
            let mut record = bare();
            record.call.status = Some(status);
            record.call.error = error.map(str::to_owned);
            key(&[Label::ErrorType], &record, "", Level::Exact)
        };
        assert_eq!(error(200, None), "");
        assert_eq!(error(429, None), "429");
        assert_eq!(error(429, Some("rate_limit_exceeded")), "rate_limit_exceeded");
        assert_eq!(error(200, Some("interrupted")), "interrupted");
    }
}
