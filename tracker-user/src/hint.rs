//! What was meant where something was mistyped.

/// Below it, two words have nothing to do with each other.
const ALIKE: f64 = 0.75;

/// The one of `known` that is most like `word`, if it is like it at all.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |candidate: &&str| strsim::jaro_winkler(word, candidate);
    known
        .into_iter()
        .filter(|candidate| likeness(candidate) >= ALIKE)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

/// The same, as the end of a sentence.
pub(crate) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default()
}

/// A message of serde's with what was meant: "unknown field `a`, expected one of `b`, `c`" tells. So the
/// advice is the same at every depth, and for names as for values. A text that is of the wrong type is left
/// out: it may be a secret.
pub(crate) fn explain(message: &str) -> String {
    let words = || message.split('`').skip(1).step_by(2);
    if message.starts_with("unknown ") {
        let meant = words().next().map(|wrong| did_you_mean(wrong, words().skip(1)));
        return format!("{message}{}", meant.unwrap_or_default());
    }
    match (message.split_once(" string \""), message.rsplit_once("\", expected")) {
        (Some((before, _)), Some((_, after))) => format!("{before} string, expected{after}"),
        _ => message.to_owned(),
    }
}
