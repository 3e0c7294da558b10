//! Names and values in one text, as W3C's baggage and OpenTelemetry's variables write them: `a=1,b=x%2Cy`.

use std::fmt::Write as _;

use percent_encoding::percent_decode_str;

/// The pairs, decoded; `None` for what is no such pair. What is empty between commas is nothing.
pub(crate) fn pairs(text: &str) -> impl Iterator<Item = Option<(String, String)>> {
    let decoded = |text: &str| Some(percent_decode_str(text.trim()).decode_utf8().ok()?.into_owned());
    text.split(',').filter(|pair| !pair.trim().is_empty()).map(move |pair| {
        let (name, value) = pair.split_once('=')?;
        Some((decoded(name)?, decoded(value)?))
    })
}

/// The text of pairs, of which [`pairs`] makes the same again.
pub(crate) fn text<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push(',');
        }
        encode(name, &mut text);
        text.push('=');
        encode(value, &mut text);
    }
    text
}

/// What a header can carry as it is (W3C baggage's `baggage-octet`), but for what has a meaning here.
fn encode(plain: &str, text: &mut String) {
    for byte in plain.bytes() {
        match byte {
            b'"' | b',' | b';' | b'\\' | b'%' | b'=' | ..=b' ' | 0x7f.. => {
                // Writing to a string does not fail.
                let _ = write!(text, "%{byte:02X}");
            }
            _ => text.push(char::from(byte)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_again(expected: Vec<(String, String)>) {
            let text = text(expected.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()));
            let read: Option<Vec<_>> = pairs(&text).collect();
            prop_assert_eq!(read, Some(expected));
        }
    }

    #[test]
    fn what_is_no_pair_is_told_and_what_is_empty_is_nothing() {
        let read: Vec<_> = pairs(", a = 1 ,,b,c=%ff").collect();
        assert_eq!(read, [Some(("a".to_owned(), "1".to_owned())), None, None]);
        assert_eq!(pairs("").count(), 0);
    }
}
