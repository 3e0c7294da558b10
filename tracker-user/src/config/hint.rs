//! What was meant where something was mistyped.

/// Below it, two words have nothing to do with each other.
const ALIKE: f64 = 0.75;

/// The one of `known` that is most like `word`, if it is like it at all.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |candidate: &&str| strsim::jaro_winkler(word, candidate);
    known
        .into_iter()
        .filter(|candidate| likeness(candidate) >= ALIKE)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

/// The same, as the end of a sentence.
pub(super) fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, known).map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default()
}

/// What was meant, from a message of serde's: "unknown field `a`, expected one of `b`, `c`". So the
/// advice is the same at every depth, and for names as for values.
pub(super) fn from_message(message: &str) -> String {
    let words = || message.split('`').skip(1).step_by(2);
    if !message.starts_with("unknown ") {
        return String::new();
    }
    words().next().map(|wrong| did_you_mean(wrong, words().skip(1))).unwrap_or_default()
}
