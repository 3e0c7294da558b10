//! What the scanner does with bytes that nobody wants: the loops that decide how fast it is.

/// Consumes the rest of a string. Returns how much, and whether its closing quote was among it.
#[inline]
pub(super) fn skip_string(input: &[u8], escaped: &mut bool) -> (usize, bool) {
    let mut at = 0;
    if *escaped && !input.is_empty() {
        *escaped = false;
        at = 1;
    }
    while let Some(found) = memchr::memchr2(b'"', b'\\', &input[at..]) {
        at += found + 1;
        if input[at - 1] == b'"' {
            return (at, true);
        }
        if at == input.len() {
            *escaped = true;
            return (at, false);
        }
        at += 1;
    }
    (input.len(), false)
}

/// How many bytes at the start of `input` are neither quotes nor brackets.
#[inline]
pub(super) fn plain_prefix(input: &[u8]) -> usize {
    const LANES: usize = 16;
    let mut at = 0;
    for block in input.chunks_exact(LANES) {
        // `[` and `{`, `]` and `}` differ in one bit only; written so that it becomes vector code.
        let special = block.iter().fold(false, |any, &b| any | is_special(b));
        if special {
            break;
        }
        at += LANES;
    }
    at + input[at..].iter().position(|&b| is_special(b)).unwrap_or(input.len() - at)
}

#[inline]
const fn is_special(byte: u8) -> bool {
    let folded = byte | 0x20;
    (byte == b'"') | (folded == b'{') | (folded == b'}')
}
