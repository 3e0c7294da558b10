//! The JSON scanner: the same in any pieces, and where `serde_json` reads a document too, the same
//! numbers and texts.
#![no_main]

use std::{collections::BTreeMap, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use llm_tracker::provider::json::{Hit, PathTable, Scanner, Value, Want};
use llm_tracker_fuzz::{Cuts, Input, live, seeds};

/// Path, the same as a JSON pointer where it is of one value, and what is wanted.
const PATHS: [(&str, Option<&str>, Want); 9] = [
    ("", None, Want::Presence),
    ("a", Some("/a"), Want::Scalar),
    ("b.a", Some("/b/a"), Want::Scalar),
    ("b.c.d", Some("/b/c/d"), Want::Scalar),
    ("u[].a", None, Want::Scalar),
    ("u[].t", None, Want::Presence),
    ("p", None, Want::Text),
    ("w", None, Want::Everything),
    ("o", None, Want::Presence),
];

static TABLE: LazyLock<PathTable<usize>> = LazyLock::new(|| {
    PathTable::compile(PATHS.iter().enumerate().map(|(n, (path, _, want))| (*path, *want, n)))
});

fuzz_target!(init: seeds::plant("json"), |data: &[u8]| {
    let mut input = Input::new(data);
    let cuts = input.number();
    let text = input.rest();
    let whole = scan(text, &mut Cuts::new(0));
    assert_eq!(whole, scan(text, &mut Cuts::new(cuts)));

    let Ok(document) = serde_json::from_slice::<serde_json::Value>(text) else { return };
    if !document.is_object() {
        return;
    }
    let mut last = BTreeMap::new();
    for (field, hit) in &whole.hits {
        last.insert(*field, hit);
    }
    for (field, (path, pointer, _)) in PATHS.iter().enumerate() {
        let Some(expected) = pointer.and_then(|pointer| document.pointer(pointer)) else { continue };
        let found = last.get(&field).map(|hit| hit.as_str());
        match expected {
            serde_json::Value::Number(number) if number.is_i64() => {
                assert_eq!(found, Some(&*format!("{number} 0")), "{path}");
            }
            serde_json::Value::Bool(_) | serde_json::Value::Null => {
                assert_eq!(found, Some(&*format!("{expected} 0")), "{path}");
            }
            serde_json::Value::String(text) if text.len() <= 256 => {
                assert_eq!(found, Some(&*format!("{text:?} 0")), "{path}");
            }
            _ => {}
        }
    }
    // A number at the top level ends with the text, and only then.
    assert!(whole.complete);
});

#[derive(Debug, PartialEq)]
struct Seen {
    hits: Vec<(usize, String)>,
    documents: u64,
    complete: bool,
}

fn scan(text: &[u8], cuts: &mut Cuts) -> Seen {
    let before = live();
    let mut scanner = Scanner::default();
    let mut hits: Vec<(usize, String)> = Vec::new();
    let mut open_piece = false;
    for piece in cuts.apply(text) {
        scanner.push(&TABLE, piece, &mut |Hit { field, value, index }| {
            let shown = match value {
                Value::Piece(piece) => {
                    let piece = String::from_utf8_lossy(&piece.iter().map(|b| b & 0x7f).collect::<Vec<_>>())
                        .into_owned();
                    // Pieces of a text have no end of their own.
                    if let (true, Some((last, text))) = (open_piece, hits.last_mut())
                        && *last == field
                    {
                        text.push_str(&piece);
                        return;
                    }
                    open_piece = true;
                    return hits.push((field, piece));
                }
                Value::Key(key) => format!("key {}", String::from_utf8_lossy(key)),
                Value::BeginObject => "{".into(),
                Value::BeginArray => "[".into(),
                Value::End => "}".into(),
                Value::Present => "present".into(),
                Value::Integer(number) => format!("{number} {index}"),
                Value::Float(number) => format!("{number:?} {index}"),
                Value::Bool(truth) => format!("{truth} {index}"),
                Value::Null => format!("null {index}"),
                Value::Text { text, truncated: false } => format!("{text:?} {index}"),
                Value::Text { text, truncated: true } => format!("{text:?}... {index}"),
            };
            open_piece = false;
            hits.push((field, shown));
        });
    }
    let _ = format!("{scanner:?}");
    let own = hits.capacity() * size_of::<(usize, String)>()
        + hits.iter().map(|(_, shown)| shown.capacity()).sum::<usize>();
    assert!(live().saturating_sub(before) <= own + 4096, "the scanner allocates");
    Seen { hits, documents: scanner.documents(), complete: scanner.is_complete() }
}
