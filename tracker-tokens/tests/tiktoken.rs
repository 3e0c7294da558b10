//! The numbers have to be those of `tiktoken-rs`.

#![expect(clippy::unwrap_used, reason = "a reference that does not load fails the test")]

use std::sync::LazyLock;

use proptest::prelude::*;
use tiktoken_rs::CoreBPE;
use tracker_tokens::Counter;

static REFERENCE: LazyLock<CoreBPE> = LazyLock::new(|| tiktoken_rs::o200k_base().unwrap());

fn reference(text: &str) -> u64 {
    REFERENCE.encode_ordinary(text).len() as u64
}

fn count(pieces: &[&[u8]]) -> u64 {
    let mut counter = Counter::default();
    for piece in pieces {
        counter.push(piece);
        let _ = counter.so_far(); // It may be asked for at any time.
    }
    let so_far = counter.so_far();
    assert_eq!(so_far, counter.tokens());
    so_far
}

#[test]
fn every_text_has_the_tokens_that_it_should() {
    let texts = [
        "",
        "Hello, world!",
        "I'm sure they'LL say we've done it; he'd 'tis o'clock don't",
        "  two spaces,\n\n  lines\r\n\r\n\tand tabs   \n",
        "camelCaseWORDSandHTMLParser XMLHttpRequest iPhone ABCdefGHI",
        "3.14159 and 1234567890, ١٢٣٤ ½ Ⅷ",
        "größere Übung, naïve façade, ŁÓDŹ, İstanbul ǅungla",
        "日本語のテキスト、漢字とカナ。中文ABC混排def",
        "e\u{301}tude n\u{303} क्षत्रिय नमस्ते สวัสดีครับ",
        "❤️ 👩‍👩‍👧‍👦 🇪🇺 …—«»",
        "fn main() { println!(\"{}\", x); } // ok\n/* http://example.com/a//b */\n",
        "{\"name\":\"get_weather\",\"arguments\":{\"city\":\"Zürich\"}}",
        "supercalifragilisticexpialidocious antidisestablishmentarianism qwertzuiop",
        "aGVsbG8gd29ybGQgdGhpcyBpcyBiYXNlNjQgdGV4dCB3aXRob3V0IHNwYWNlcw==",
        "-----BEGIN-----\n======\n......\n______ //// \\\\\\\\",
        "\u{a0}non\u{a0}breaking\u{2003}wide\u{3000}space \u{2028}line",
    ];
    for text in texts {
        let expected = reference(text);
        assert_eq!(count(&[text.as_bytes()]), expected, "{text:?}");
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(count(&bytes), expected, "{text:?}, bytewise");
    }
    let all = texts.join("\n").repeat(6);
    let expected = reference(&all);
    for size in [1, 3, 7, 100, 1023, 1024, 1025, 5000] {
        let pieces: Vec<&[u8]> = all.as_bytes().chunks(size).collect();
        assert_eq!(count(&pieces), expected, "{size} at a time");
    }
}

#[test]
fn bytes_that_are_no_text_are_counted_too() {
    for bytes in [&[0xff_u8; 5000][..], &[0xe2, 0x82], &[0xf4, 0x90, 0x80, 0x80], &[b'a'; 100_000]] {
        assert!((1..=bytes.len() as u64).contains(&count(&[bytes])));
    }
}

proptest! {
    #[test]
    fn any_text_in_any_pieces(
        text in "([a-zA-Z]{1,9}|[ \t]{1,3}|[\r\n]{1,2}|[0-9]{1,5}|['!?/.,(){}\\[\\]-]{1,3}|[äÖßéŁжДλ漢字あ한]{1,4}|'s|'LL|🦀|…){0,60}",
        size in 1_usize..50,
    ) {
        let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        prop_assert_eq!(count(&pieces), reference(&text));
    }
}
