use super::{super::path::PathTable, *};

/// Everything that was found, written out, with the input cut into pieces of `size` bytes.
fn scan(paths: &[(&'static str, Want)], input: &[u8], size: usize) -> (Vec<String>, Scanner) {
    let table = PathTable::compile(paths.iter().map(|&(path, want)| (path, want, path)));
    let mut scanner = Scanner::default();
    let mut found = Vec::new();
    for piece in input.chunks(size) {
        scanner.push(&table, piece, &mut |hit| {
            let value = match hit.value {
                Value::BeginObject => "{".into(),
                Value::BeginArray => "[".into(),
                Value::End => "end".into(),
                Value::Present => "present".into(),
                Value::Integer(n) => n.to_string(),
                Value::Float(n) => format!("{n:?}"),
                Value::Bool(b) => b.to_string(),
                Value::Null => "null".into(),
                Value::Text { text, truncated } => format!("{text:?}{}", if truncated { "+" } else { "" }),
                Value::Piece(piece) => {
                    pieces(&mut found, hit.field, piece);
                    return;
                }
                Value::Key(key) => format!("key {}", String::from_utf8_lossy(key)),
            };
            found.push(format!("{}@{}={value}", hit.field, hit.index));
        });
    }
    (found, scanner)
}

/// A piece of text joins the one before it.
fn pieces(found: &mut Vec<String>, field: &str, piece: &[u8]) {
    let piece = String::from_utf8_lossy(piece);
    let start = format!("{field}=<");
    match found.last_mut().and_then(|last| last.starts_with(&start).then(|| last.pop()).map(|_| last)) {
        Some(last) => *last += &format!("{piece}>"),
        None => found.push(format!("{start}{piece}>")),
    }
}

/// The same in every chunking, or the test fails.
fn hits(paths: &[(&'static str, Want)], input: &str) -> Vec<String> {
    let (whole, scanner) = scan(paths, input.as_bytes(), usize::MAX);
    assert!(!scanner.is_malformed(), "{input}");
    for size in 1..input.len().min(40) {
        let (pieces, _) = scan(paths, input.as_bytes(), size);
        assert_eq!(whole, pieces, "in pieces of {size}: {input}");
    }
    whole
}

#[test]
fn only_what_was_asked_for_comes_out() {
    let input = r#" {"id":"a\"b","skip":{"id":"no","deep":[[{"id":1}],"]}"]},"n":-3,"f":28.0,"t":true,"z":null,
        "usage":{"in":12,"out":{"x":1}},"e":1e3}"#;
    assert_eq!(
        hits(
            &[
                ("id", Want::Scalar),
                ("n", Want::Scalar),
                ("f", Want::Scalar),
                ("t", Want::Scalar),
                ("z", Want::Scalar),
                ("e", Want::Scalar),
                ("usage", Want::Presence),
                ("usage.in", Want::Scalar)
            ],
            input
        ),
        [
            r#"id@0="a\"b""#,
            "n@0=-3",
            "f@0=28.0",
            "t@0=true",
            "z@0=null",
            "usage@0={",
            "usage.in@0=12",
            "usage@0=end",
            "e@0=1000.0"
        ]
    );
}

#[test]
fn arrays_carry_their_positions() {
    let paths = [
        ("choices[].index", Want::Scalar),
        ("choices[].delta.tool_calls[]", Want::Presence),
        ("choices[].delta.tool_calls[].name", Want::Scalar),
        ("choices[].delta.content", Want::Presence),
    ];
    let input = r#"{"choices":[{"delta":{"content":"","tool_calls":[]},"index":7},
        {"delta":{"tool_calls":[{"name":"a"},{"x":[1,2],"name":"b"}],"content":"x\n"}}]}"#;
    assert_eq!(
        hits(&paths, input),
        [
            "choices[].index@0=7",
            "choices[].delta.tool_calls[]@0={",
            "choices[].delta.tool_calls[].name@0=\"a\"",
            "choices[].delta.tool_calls[]@0=end",
            "choices[].delta.tool_calls[]@1={",
            "choices[].delta.tool_calls[].name@1=\"b\"",
            "choices[].delta.tool_calls[]@1=end",
            "choices[].delta.content@1=present",
        ]
    );
}

#[test]
fn escapes_are_undone_and_long_strings_cut() {
    let paths = [("s", Want::Scalar)];
    assert_eq!(
        hits(&paths, r#"{"s":"\u00e9\ud83d\ude00\n\/\\ \ud83dx"}"#),
        ["s@0=\"é😀\\n/\\\\ \u{fffd}x\""]
    );
    assert_eq!(hits(&paths, r#"{"\u0073":1,"s\\":2}"#), ["s@0=1"]);
    let long = format!(r#"{{"s":"{}é"}}"#, "x".repeat(255));
    assert_eq!(hits(&paths, &long), [format!("s@0=\"{}\"+", "x".repeat(255))]);
}

#[test]
fn documents_may_follow_each_other_or_stand_in_an_array() {
    let paths = [("", Want::Presence), ("n", Want::Scalar)];
    assert_eq!(hits(&paths, "{\"n\":1}\n{\"n\":2}"), ["@0={", "n@0=1", "@0=end", "@0={", "n@0=2", "@0=end"]);
    assert_eq!(
        hits(&paths, "[{\"n\":1}\r\n,\r\n{\"n\":2}]"),
        ["@0=[", "@0={", "n@0=1", "@0=end", "@1={", "n@1=2", "@1=end", "@0=end"]
    );
}

#[test]
fn whitespace_and_a_byte_order_mark_may_come_first() {
    assert_eq!(hits(&[("n", Want::Scalar)], "\u{feff}\n\n      \n {\"n\" : 1 , \"m\" : [ ] }\n"), ["n@0=1"]);
}

#[test]
fn what_is_not_json_is_flagged_and_stops() {
    for input in [
        "<html>",
        "{n:1}",
        "{\"n\":1]",
        "[1}",
        "]",
        ",",
        "{\"n\":--}",
        "{,}",
        "{\"n\" 1}",
        "[DONE]",
        "{\"n\":1 2}",
    ] {
        for size in [1, 100] {
            let (_, scanner) = scan(&[("n", Want::Scalar)], input.as_bytes(), size);
            assert!(scanner.is_malformed(), "{input}");
            assert!(!scanner.is_complete(), "{input}");
        }
    }
}

#[test]
fn an_open_document_is_not_complete() {
    for (input, complete) in
        [("", false), ("{\"n\":1", false), ("{}", true), ("{} {", false), ("[{}]\n", true)]
    {
        assert_eq!(scan(&[("n", Want::Scalar)], input.as_bytes(), 2).1.is_complete(), complete, "{input}");
    }
}

#[test]
fn depth_costs_nothing() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(scan(&[("n", Want::Scalar)], deep.as_bytes(), 7).1.is_complete());
    let deep = format!("{}1{}", r#"{"n":"#.repeat(1000), "}".repeat(1000));
    assert!(scan(&[("n", Want::Scalar)], deep.as_bytes(), 7).1.is_complete());
    assert!(size_of::<Scanner>() < 1024);
}

proptest::proptest! {
    #[test]
    fn any_bytes_in_any_pieces_give_the_same(input: Vec<u8>, size in 1_usize..9) {
        let paths = [("a", Want::Scalar), ("a.b[]", Want::Presence)];
        let (whole, one) = scan(&paths, &input, usize::MAX);
        let (pieces, other) = scan(&paths, &input, size);
        assert_eq!(whole, pieces);
        assert_eq!(one.is_malformed(), other.is_malformed());
    }

    #[test]
    fn any_json_like_bytes_in_any_pieces_give_the_same(input in "[\\[\\]{}\":,ab0\\\\u n\\-]{0,60}", size in 1_usize..9) {
        let paths = [("a", Want::Scalar), ("a.b[]", Want::Presence), ("b", Want::Scalar)];
        let (whole, one) = scan(&paths, input.as_bytes(), usize::MAX);
        let (pieces, other) = scan(&paths, input.as_bytes(), size);
        assert_eq!(whole, pieces);
        assert_eq!(one.is_malformed(), other.is_malformed());
    }
}

#[test]
fn a_string_in_pieces() {
    let paths = [("a", Want::Text), ("b", Want::Scalar)];
    assert_eq!(hits(&paths, r#"{"a":"x\"y\\","p":"z","b":1}"#), ["a@0=present", r#"a=<x\"y\\>"#, "b@0=1"],);
    assert_eq!(hits(&paths, r#"{"a":""}{"a":1}{"a":null}{"a":{}}"#), ["a@0=present", "a@0={", "a@0=end"]);
}

#[test]
fn everything_inside_a_value() {
    let paths = [
        ("in", Want::Within),
        ("in[]", Want::Presence),
        ("in[].more", Want::Everything),
        ("in[].id", Want::Scalar),
        ("**.skip", Want::Presence),
    ];
    let input = r#"{"out":"no","in":[{"text":"a","skip":{"text":"no"},"id":7,"deep":[{"skip":"no","x":true}],
        "more":{"skip":"b","n":1.5}},"c"]}"#;
    assert_eq!(
        hits(&paths, input),
        [
            "in@0=[",
            "in[]@0={",
            "in@0=present",
            "in=<a>",
            "**.skip@0={",
            "**.skip@0=end",
            "in[].id@0=7",
            "in@0=[",
            "in@0={",
            "**.skip@0=present",
            "in@0=key x",
            "in@0=true",
            "in@0=end",
            "in@0=end",
            "in[].more@0={",
            "in[].more@0=key skip",
            "in[].more@0=present",
            "in[].more=<b>",
            "in[].more@0=key n",
            "in[].more@0=1.5",
            "in[].more@0=end",
            "in[]@0=end",
            "in[]@1=present",
            "in@0=end",
        ]
    );
}
