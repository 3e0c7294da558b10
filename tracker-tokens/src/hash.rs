//! The hash of a token's bytes: the build makes the table with it, the counter looks up with it.

/// Multiplies to 128 bits and folds the halves.
const fn mix(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

/// Little endian, whatever its length up to eight.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// Hashes the bytes of what may be a token.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    // The first digits of pi, and of e.
    let mut state = 0x2430_8d31_3198_a2e0 ^ bytes.len() as u64;
    let (words, rest) = bytes.as_chunks::<8>();
    for eight in words {
        state = mix(state ^ u64::from_le_bytes(*eight), 0xb7e1_5162_8aed_2a6b);
    }
    mix(mix(state ^ word(rest), 0xb7e1_5162_8aed_2a6b), 0x9e37_79b9_7f4a_7c15 ^ state)
}
