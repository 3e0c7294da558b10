//! Texts with stars, as operators write them.

use serde::Deserialize;

/// Longest pattern, and longest text that stands in place of what it fits, bytes.
pub(crate) const MAX_TEXT: usize = 256;

/// A text in which `*` stands for anything, nothing included.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Pattern(String);

/// The pattern is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pattern has at most {MAX_TEXT} bytes")]
pub(crate) struct TooLong;

impl TryFrom<String> for Pattern {
    type Error = TooLong;

    fn try_from(text: String) -> Result<Self, TooLong> {
        if text.len() > MAX_TEXT { Err(TooLong) } else { Ok(Self(text)) }
    }
}

impl Pattern {
    /// Fits the whole path where there is a slash in the pattern, else the file's name.
    pub(crate) fn fits_path(&self, path: &str) -> bool {
        let whole = self.0.contains('/');
        self.fits(if whole { path } else { path.rsplit('/').next().unwrap_or(path) })
    }

    /// Whether it says this of a text.
    pub(crate) fn fits(&self, value: &str) -> bool {
        fits(&self.0, value)
    }
}

/// Whether a text is what a pattern says. In time proportional to the product of both lengths at most, which
/// are bounded.
pub(crate) fn fits(pattern: &str, value: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == value };
    let Some(mut value) = value.strip_prefix(start) else { return false };
    // What stands between two stars is best found as early as possible.
    let (middle, end) = rest.rsplit_once('*').map_or((None, rest), |(middle, end)| (Some(middle), end));
    for part in middle.into_iter().flat_map(|middle| middle.split('*')) {
        let Some((_, after)) = value.split_once(part) else { return false };
        value = after;
    }
    value.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, value, fits) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("a*", "a", true),
            ("*a", "ba", true),
            ("*a", "ab", false),
            ("a*a", "a", false),
            ("a*b*c", "axxbxxc", true),
            ("a*b*c", "axxc", false),
            ("*b*b*", "ab", false),
            ("**x**", "x", true),
            ("/docker/*/x", "/docker/1/2/x", true),
            ("ab", "abc", false),
        ] {
            assert_eq!(Pattern(pattern.to_owned()).fits(value), fits, "{pattern} {value}");
        }
    }

    #[test]
    fn a_path_is_whole_or_its_end() {
        let fits = |pattern: &str| Pattern(pattern.to_owned()).fits_path("/usr/bin/curl");
        assert_eq!(["curl", "c*", "/usr/*", "/usr/bin/curl"].map(fits), [true; 4]);
        assert_eq!(["/curl", "bin*", "usr", "bin/curl"].map(fits), [false; 4]);
    }

    #[test]
    fn a_pattern_is_bounded() {
        assert!(Pattern::try_from("x".repeat(MAX_TEXT)).is_ok());
        assert_eq!(Pattern::try_from("x".repeat(MAX_TEXT + 1)), Err(TooLong));
    }
}
