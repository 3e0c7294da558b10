use proptest::prelude::*;

use super::*;

/// The wire format, as a sender writes it.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn bytes(field: u64, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    [varint(field << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn table() -> PathTable<&'static str> {
    PathTable::compile([
        ("", Want::Presence, "document"),
        ("1", Want::Scalar, "text"),
        ("2", Want::Presence, "message"),
        ("2.1", Want::Scalar, "inner number"),
        ("2.15.1000", Want::Scalar, "deep number"),
        ("3", Want::Presence, "present"),
        ("4", Want::Scalar, "number"),
        ("5", Want::Text, "pieces"),
    ])
}

fn read(input: &[u8], size: usize) -> (Vec<String>, bool) {
    let (table, mut scanner, mut hits) = (table(), Scanner::default(), Vec::new());
    let mut note = |hit: Hit<'_, &str>| {
        let said = match hit.value {
            Value::BeginObject => format!("{} {{", hit.field),
            Value::End => format!("{} }}", hit.field),
            Value::Present => hit.field.to_owned(),
            Value::Integer(value) => format!("{} = {value}", hit.field),
            Value::Piece(piece) => {
                let start = format!("{} << ", hit.field);
                let known = hits.pop_if(|last: &mut String| last.starts_with(&start)).unwrap_or(start);
                known + &piece.escape_ascii().to_string()
            }
            Value::Text { text, truncated } => format!("{} = {text:?}, cut: {truncated}", hit.field),
            _ => unreachable!(),
        };
        hits.push(said);
    };
    for piece in input.chunks(size.max(1)) {
        scanner.push(&table, piece, &mut note);
    }
    let whole = scanner.finish(&table, &mut note);
    (hits, whole)
}

#[test]
fn a_text_in_pieces() {
    // What would be an escape elsewhere is none here.
    let message = [bytes(5, r"wo\rds"), bytes(5, ""), bytes(5, "!"), number(5, 7), number(4, 1)].concat();
    for size in [1, 2, 100] {
        let (hits, whole) = read(&message, size);
        let expected =
            ["pieces", r"pieces << wo\\rds", "pieces", "pieces << !", "number = 1", "document }"].to_vec();
        assert_eq!((hits, whole), (expected.into_iter().map(str::to_owned).collect(), true), "{size}");
    }
}

#[test]
fn wanted_fields_come_out_and_others_are_passed_over() {
    let inner = [number(1, 7), bytes(9, [0xff; 300]), bytes(15, number(1000, 1 << 40))].concat();
    let message = [
        bytes(1, "words"),
        [varint(8 << 3 | 1), vec![1; 8], varint(8 << 3 | 5), vec![2; 4]].concat(),
        bytes(2, inner),
        bytes(2, []),
        bytes(3, "anything"),
        bytes(3, ""),
        number(3, 1),
        number(3, 0),
        number(4, -5_i64 as u64),
        number(5, 1),
    ]
    .concat();
    let expected = [
        r#"text = "words", cut: false"#,
        "message {",
        "inner number = 7",
        "deep number = 1099511627776",
        "message }",
        "message {",
        "message }",
        "present {",
        "present }",
        "present",
        "number = -5",
        "document }",
    ];
    for size in [1, 2, 3, 7, message.len()] {
        let (hits, whole) = read(&message, size);
        assert_eq!(hits, expected);
        assert!(whole);
    }
}

#[test]
fn long_texts_are_cut() {
    let (hits, whole) = read(&bytes(1, "x".repeat(300)), 11);
    assert_eq!(hits, [format!("text = {:?}, cut: true", "x".repeat(256)), "document }".into()]);
    assert!(whole);
}

#[test]
fn what_is_no_message_is_told() {
    for input in [
        &[0x00][..],                              // field number 0
        &[0x0b],                                  // a group
        &[0x08],                                  // no value
        &[0x0a, 2, b'a'],                         // a string that is cut
        &[0x80; 11],                              // a varint of more than ten bytes
        &[0x12, 2, 0x08, 0x80, 0x01],             // a number beyond its message's end
        &[0x12, 2, 0x7a, 1, 0],                   // a message beyond its message's end
        &[0x12, 2, 0x0a, 0xff, 0xff, 0xff, 0x7f], // a string beyond its message's end
        b"{\"error\": {\"code\": 429}}",
    ] {
        for size in [1, input.len()] {
            let (hits, whole) = read(input, size);
            assert!(!whole && !hits.iter().any(|hit| hit.starts_with("document")), "{input:?} {hits:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_split_of_any_bytes_gives_the_same(input in prop::collection::vec(any::<u8>(), 0..200), size in 1..40usize) {
        prop_assert_eq!(read(&input, size), read(&input, input.len()));
    }

    #[test]
    fn any_split_of_a_message_gives_the_same(
        fields in prop::collection::vec((1..6u64, any::<u64>(), "\\PC{0,40}"), 0..20),
        size in 1..40usize,
    ) {
        let field = |(at, (field, value, text)): (usize, &(u64, u64, String))| match at % 3 {
            0 => number(*field, *value),
            1 => bytes(*field, if *field == 2 { number(1, *value) } else { text.clone().into_bytes() }),
            _ => bytes(2, bytes(7, text)),
        };
        let message: Vec<u8> = fields.iter().enumerate().flat_map(field).collect();
        let whole = read(&message, message.len());
        prop_assert!(whole.1);
        prop_assert_eq!(read(&message, size), whole);
    }
}
