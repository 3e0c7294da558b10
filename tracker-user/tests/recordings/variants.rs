//! The same exchanges as another sender might have written them: keys in another order, other white space,
//! everything escaped, members that nobody knows, other line ends. Whatever may differ without a difference
//! in meaning must make none in the call.

use std::fmt::Write as _;

use serde_json::Value;

use crate::{
    feed::{self, Chunking},
    for_all,
};

/// How a sender writes JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// In the order of their names.
    Sorted,
    /// In the opposite order, a line each.
    Reversed,
    /// Every character of every key and string escaped, the first form of each escape.
    Escaped,
    /// With members in every object that no API has, and in them what would matter elsewhere.
    Unknown,
    /// What is absent is `null`.
    Nulls,
    /// Counts are strings, as in the JSON form of Protocol Buffers.
    Strings,
}

const STYLES: [Style; 6] =
    [Style::Sorted, Style::Reversed, Style::Escaped, Style::Unknown, Style::Nulls, Style::Strings];

/// What would be read if it stood somewhere else.
const ELSEWHERE: &str = r#"{"usage":{"prompt_tokens":987654,"completion_tokens":987654,"input_tokens":987654,"output_tokens":987654},"model":"another","id":"another","choices":[{"finish_reason":"another"}],"error":{"type":"another"},"deep":[[[{"usageMetadata":{"promptTokenCount":987654}}]]],"text":"\"}]\\"}"#;

/// Names that some API has and whose absence means the same as `null`.
const NULLABLE: [&str; 3] = ["error", "usage", "service_tier"];

impl Style {
    fn write(self, value: &Value, depth: usize, out: &mut String) {
        let line = |out: &mut String, depth: usize| {
            if self == Self::Reversed {
                out.push_str("\r\n");
                out.extend(std::iter::repeat_n('\t', depth));
            }
        };
        match value {
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_by_key(|(key, _)| *key);
                if self == Self::Reversed {
                    members.reverse();
                }
                let mut written = Vec::new();
                for (key, value) in &members {
                    let mut member = String::new();
                    self.string(key, &mut member);
                    member.push_str(if self == Self::Reversed { " : " } else { ":" });
                    match value.as_u64() {
                        Some(count) if self == Self::Strings && counts(key) => {
                            self.string(&count.to_string(), &mut member);
                        }
                        _ => self.write(value, depth + 1, &mut member),
                    }
                    written.push(member);
                }
                if self == Self::Unknown {
                    written.insert(0, format!(r#""x_nobody_knows":{ELSEWHERE}"#));
                    written.push(r#""x_nor_this":[null,1e3,-0.5,true,"\u0000"]"#.to_owned());
                }
                if self == Self::Nulls && depth == 0 {
                    let absent = NULLABLE.iter().filter(|name| !members.iter().any(|(key, _)| key == *name));
                    written.extend(absent.map(|name| format!("\"{name}\":null")));
                }
                out.push('{');
                for (at, member) in written.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    line(out, depth + 1);
                    out.push_str(member);
                }
                line(out, depth);
                out.push('}');
            }
            Value::Array(elements) => {
                out.push('[');
                for (at, element) in elements.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    line(out, depth + 1);
                    self.write(element, depth + 1, out);
                }
                line(out, depth);
                out.push(']');
            }
            Value::String(text) => self.string(text, out),
            other => _ = write!(out, "{other}"),
        }
    }

    fn string(self, text: &str, out: &mut String) {
        if self != Self::Escaped {
            out.push_str(&Value::from(text).to_string());
            return;
        }
        out.push('"');
        for unit in text.encode_utf16() {
            match unit {
                0x2f => out.push_str("\\/"),
                0x0a => out.push_str("\\n"),
                _ => _ = write!(out, "\\u{unit:04X}"),
            }
        }
        out.push('"');
    }

    fn of(self, value: &Value) -> String {
        let mut out = String::new();
        self.write(value, 0, &mut out);
        out
    }
}

/// Whether a member of this name is a count of tokens.
fn counts(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    key.ends_with("tokens") || key.ends_with("tokencount") || key.ends_with("_token_count")
}

/// How a sender writes events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    /// As most do.
    Plain,
    /// Ended by CR and LF, without a space after the colon, with comments and fields that mean nothing.
    Chatty,
    /// Ended by CR alone, after a byte order mark.
    Returns,
}

/// Another way to write a body; `None` where it cannot be written otherwise.
fn rewritten(body: &[u8], style: Style, lines: Lines) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(body).ok()?;
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        return Some(style.of(&value).into_bytes());
    }
    let first = text.trim_start().chars().next()?;
    if first == '{' {
        let documents = text.lines().filter(|line| !line.trim().is_empty());
        let documents: Result<Vec<Value>, _> = documents.map(serde_json::from_str).collect();
        return Some(
            documents.ok()?.iter().map(|value| style.of(value) + "\n").collect::<String>().into_bytes(),
        );
    }
    // A stream that breaks off is one of the ambiguous ones, or none of events.
    if !["data", "event", "id", ":"].iter().any(|start| text.starts_with(start)) {
        return None;
    }
    let end = match lines {
        Lines::Plain => "\n",
        Lines::Chatty => "\r\n",
        Lines::Returns => "\r",
    };
    let mut out = String::from(if lines == Lines::Returns { "\u{feff}" } else { "" });
    let text = text.replace("\r\n", "\n");
    for line in text.split_inclusive('\n') {
        let (content, ended) = line.strip_suffix('\n').map_or((line, ""), |content| (content, end));
        let Some(data) = content.strip_prefix("data:").map(|data| data.strip_prefix(' ').unwrap_or(data))
        else {
            out.extend([content, ended]);
            continue;
        };
        let space = if lines == Lines::Chatty { "" } else { " " };
        if lines == Lines::Chatty {
            let _ = write!(out, ": still here{end}retry: 3000{end}unheard-of: x{end}");
        }
        let Ok(value) = serde_json::from_str::<Value>(data) else {
            let _ = write!(out, "data:{space}{data}{ended}");
            continue;
        };
        // Data of several lines are several lines of data.
        let data = style.of(&value).replace("\r\n", &format!("{end}data:{space}"));
        let _ = write!(out, "data:{space}{data}{ended}");
    }
    Some(out.into_bytes())
}

#[test]
fn what_means_the_same_is_the_same_call() {
    let said = for_all(|row| {
        if row.ambiguous || row.content_encoding != "identity" {
            return (0, Vec::new());
        }
        let original = feed::calls(row, &Chunking::Whole);
        let (mut tried, mut wrong) = (0, Vec::new());
        for (number, style) in STYLES.into_iter().enumerate() {
            let lines = [Lines::Plain, Lines::Chatty, Lines::Returns][number % 3];
            let Some(response) = rewritten(&row.response_body(), style, lines) else { continue };
            let request = rewritten(&row.request_body(), style, Lines::Plain);
            let altered = row.altered(request, response);
            tried += 1;
            let calls = feed::calls(&altered, &Chunking::Random(4));
            let same = calls.len() == original.len()
                && calls.iter().zip(&original).all(|(call, told)| feed::same_times(call, told) == *told);
            if !same {
                wrong.push(format!("{} {style:?} {lines:?}: {calls:?}, not {original:?}", row.id));
            }
        }
        (tried, wrong)
    });
    eprintln!("{} bodies written otherwise", said.iter().map(|(tried, _)| tried).sum::<usize>());
    let wrong: Vec<_> = said.into_iter().flat_map(|(_, wrong)| wrong).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The examples above are what they say.
#[test]
fn styles_say_the_same() {
    let value: Value = serde_json::from_str(r#"{"b":[1,{"c":"/\n\ud83e\udd80"}],"a":null}"#).expect("JSON");
    for style in [Style::Sorted, Style::Reversed, Style::Escaped] {
        let written = style.of(&value);
        assert_eq!(serde_json::from_str::<Value>(&written).expect("JSON"), value, "{written}");
    }
    for style in [Style::Unknown, Style::Nulls] {
        let mut read: Value = serde_json::from_str(&style.of(&value)).expect("JSON");
        assert!(read.as_object().expect("an object").len() > 2);
        read.as_object_mut().expect("an object").retain(|key, _| key == "a" || key == "b");
        assert_eq!(read["a"], value["a"]);
    }
}
