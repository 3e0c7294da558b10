//! The call that stands for those of a bucket.

use crate::export::Record;

/// One call that fell into a bucket.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::export) struct Exemplar {
    /// The provider's id of the response.
    pub(in crate::export) response_id: Box<str>,
    /// What was observed.
    pub(in crate::export) value: f64,
    /// When the response was whole, nanoseconds since the Unix epoch.
    pub(in crate::export) unix_nanos: u64,
}

impl Exemplar {
    /// Name of the label.
    pub(in crate::export) const LABEL: &str = "response_id";
    /// OpenMetrics allows names and values of an exemplar's labels so many characters together.
    const MAX_CHARACTERS: usize = 128;

    /// `None` where the call has no id that can be shown: part of one would lead nowhere.
    pub(super) fn of(record: &Record, value: f64) -> Option<Self> {
        let id = record.call.response_id.as_deref()?;
        let length = Self::LABEL.len() + id.chars().count();
        if id.is_empty() || length > Self::MAX_CHARACTERS || id.contains(char::is_control) {
            return None;
        }
        Some(Self { response_id: id.into(), value, unix_nanos: record.ended() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::full;

    #[test]
    fn an_id_is_shown_whole_or_not_at_all() {
        let shown = |id: &str| {
            let mut record = full();
            record.call.response_id = Some(id.to_owned());
            Exemplar::of(&record, 1.5).map(|it| it.response_id.into_string())
        };
        assert_eq!(shown("chatcmpl-1").as_deref(), Some("chatcmpl-1"));
        assert_eq!(shown(&"é".repeat(117)), Some("é".repeat(117)));
        assert_eq!(shown(&"x".repeat(118)), None);
        assert_eq!([shown(""), shown("a\nb")], [None, None]);
    }
}
