//! What the build writes and the counter reads.

/// Slots of the hash table: 38 % are in use.
pub(crate) const SLOTS: usize = 1 << 19;

/// The lower bits of a slot are the token's rank and one more, zero where the slot is free.
pub(crate) const RANK_MASK: u64 = (1 << 18) - 1;

/// The upper bits are those of the hash. No two tokens have the same, and a text that is none has
/// those of one once in 10^8 times the tokens that there are.
pub(crate) const fn tag(hash: u64) -> u64 {
    hash & !RANK_MASK
}

/// Where a token is looked for first.
pub(crate) const fn slot(hash: u64) -> usize {
    // Not the bits that are compared.
    (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 45) as usize
}

/// Stands for the rank of what is no token.
pub(crate) const NONE: u32 = u32::MAX;

/// Bits of the filter, of which every token sets one: what finds its bit clear is no token. Most of what
/// is looked up is none, and the filter stays in the cache where the table does not.
pub(crate) const FILTER_BITS: usize = 1 << 21;

/// The bit of a text.
pub(crate) const fn filter_bit(hash: u64) -> usize {
    (hash >> 32) as usize % FILTER_BITS
}

/// Where the rank of two bytes stands in the table of pairs, with which encoding begins.
pub(crate) const fn pair(first: u8, second: u8) -> usize {
    (first as usize) << 8 | second as usize
}

// Classes of characters.

/// None of the others: punctuation, symbols, what is not assigned.
pub(crate) const OTHER: u8 = 0;
/// White space that does not end a line.
pub(crate) const SPACE: u8 = 1;
/// CR and LF.
pub(crate) const NEWLINE: u8 = 2;
/// Numbers.
pub(crate) const NUMBER: u8 = 3;
/// Upper and title case letters.
pub(crate) const UPPER: u8 = 4;
/// Lower case letters.
pub(crate) const LOWER: u8 = 5;
/// Letters without case.
pub(crate) const LETTER: u8 = 6;
/// Combining marks.
pub(crate) const MARK: u8 = 7;

/// Characters in a block of the class table.
pub(crate) const BLOCK: usize = 128;
