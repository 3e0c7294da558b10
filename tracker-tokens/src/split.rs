//! Where a text is cut before its pieces are encoded.
//!
//! This is the pattern of `o200k_base` as a hand-written scanner. A pattern of classes is compared by
//! its meaning: a word with at most one character before it and a contraction after it, where an upper
//! case letter begins a new one after a lower case letter; up to three digits; punctuation with the
//! line ends after it; white space, without the character that belongs to what comes next.

use crate::layout::{BLOCK, LETTER, LOWER, MARK, NEWLINE, NUMBER, OTHER, SPACE, UPPER};

static BLOCKS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/blocks.table"));
static CLASSES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/classes.table"));

/// So many bytes after a piece may still decide whether it is longer: a contraction.
pub(crate) const LOOKAHEAD: usize = 3;

/// Class and length of the character at `at`; `None` at the end. What is no UTF-8 is [`OTHER`], byte
/// by byte.
#[inline]
fn class(text: &[u8], at: usize) -> Option<(u8, usize)> {
    let lead = *text.get(at)?;
    // ASCII is the first block.
    if lead < 0x80 {
        return Some((CLASSES[usize::from(lead)], 1));
    }
    Some(class_beyond_ascii(&text[at..], lead))
}

fn class_beyond_ascii(text: &[u8], lead: u8) -> (u8, usize) {
    let (length, bits) = match lead {
        0xc2..=0xdf => (2, lead & 0x1f),
        0xe0..=0xef => (3, lead & 0x0f),
        0xf0..=0xf4 => (4, lead & 0x07),
        _ => return (OTHER, 1),
    };
    let Some(rest) = text.get(1..length) else { return (OTHER, 1) };
    let mut code = usize::from(bits);
    for &byte in rest {
        if byte & 0xc0 != 0x80 {
            return (OTHER, 1);
        }
        code = code << 6 | usize::from(byte & 0x3f);
    }
    let block = BLOCKS.get(code / BLOCK).map_or(0, |&block| usize::from(block));
    (CLASSES.get(block * BLOCK + code % BLOCK).copied().unwrap_or(OTHER), length)
}

/// The length of the first piece of `text`, which is not empty.
#[inline]
pub(crate) fn piece(text: &[u8]) -> usize {
    let Some((first, length)) = class(text, 0) else { return 0 };
    match first {
        UPPER | LOWER | LETTER | MARK => return word(text, 0),
        NUMBER => return run(text, length, 2, |class| class == NUMBER),
        NEWLINE => return space(text),
        _ => {}
    }
    let next = class(text, length);
    if matches!(next, Some((UPPER | LOWER | LETTER | MARK, _))) {
        return word(text, length);
    }
    if first == OTHER {
        return punctuation(text, length);
    }
    if text[0] == b' ' && matches!(next, Some((OTHER, _))) {
        return punctuation(text, length);
    }
    space(text)
}

/// Goes on from `at` over at most `most` characters that fit.
#[inline]
fn run(text: &[u8], mut at: usize, most: usize, fits: impl Fn(u8) -> bool) -> usize {
    for _ in 0..most {
        match class(text, at) {
            Some((class, length)) if fits(class) => at += length,
            _ => break,
        }
    }
    at
}

/// Letters from `at` on: those before lower case ones, then these, then a contraction.
#[inline]
fn word(text: &[u8], mut at: usize) -> usize {
    // After the last of the letters that may stand on either side.
    let mut either = None;
    let end = loop {
        match class(text, at) {
            Some((UPPER, length)) => at += length,
            Some((LETTER | MARK, length)) => {
                at += length;
                either = Some(at);
            }
            Some((LOWER, _)) => {
                break run(text, at, usize::MAX, |class| matches!(class, LOWER | LETTER | MARK));
            }
            // One of either kind does for the lower case letter that has to be there.
            _ => break either.unwrap_or(at),
        }
    };
    end + contraction(&text[end..])
}

#[inline]
fn contraction(text: &[u8]) -> usize {
    if text.first() != Some(&b'\'') {
        return 0;
    }
    let letter = |at: usize| text.get(at).map(u8::to_ascii_lowercase);
    match (letter(1), letter(2)) {
        (Some(b's' | b't' | b'm' | b'd'), _) => 2,
        (Some(b'r' | b'v'), Some(b'e')) | (Some(b'l'), Some(b'l')) => 3,
        _ => 0,
    }
}

/// What is neither letter, number nor space, and the line ends and slashes after it.
fn punctuation(text: &[u8], at: usize) -> usize {
    let end = run(text, at, usize::MAX, |class| matches!(class, OTHER | MARK));
    end + text[end..].iter().take_while(|byte| matches!(byte, b'\r' | b'\n' | b'/')).count()
}

/// White space: up to its last line end, else without its last character, which the next piece takes.
fn space(text: &[u8]) -> usize {
    let (mut end, mut last, mut line) = (0, 0, None);
    while let Some((class @ (SPACE | NEWLINE), length)) = class(text, end) {
        last = end;
        end += length;
        if class == NEWLINE {
            line = Some(end);
        }
    }
    match line {
        Some(line) => line,
        None if end < text.len() && last > 0 => last,
        None => end,
    }
}
