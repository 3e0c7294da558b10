//! How many tokens a piece is: byte-pair encoding.

use std::cell::Cell;

use crate::{
    hash::hash,
    layout::{NONE, RANK_MASK, SLOTS, filter_bit, pair, slot, tag},
};

/// The longest piece that is encoded in one: no token is longer. Longer ones are cut, so that the time
/// for one does not grow with its square.
pub(crate) const MAX_PIECE: usize = 128;

static SLOTS_TABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/slots.table"));
static PAIRS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pairs.table"));
static FILTER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/filter.table"));

/// Remembered words. A power of two.
const WORDS: usize = 4096;
/// The bits of a remembered word that are its number of tokens; the others are its hash.
const COUNT_MASK: u64 = 0xff;

thread_local! {
    /// How many tokens the words are that came last, by their hash: most of a text are few words.
    static KNOWN: [Cell<u64>; WORDS] = const { [const { Cell::new(0) }; WORDS] };
}

/// The rank of a token, or [`NONE`].
#[inline]
fn rank(bytes: &[u8]) -> u32 {
    rank_of(hash(bytes))
}

#[inline]
fn rank_of(hash: u64) -> u32 {
    let bit = filter_bit(hash);
    if FILTER[bit / 8] >> (bit % 8) & 1 == 0 {
        return NONE;
    }
    let (slots, _) = SLOTS_TABLE.as_chunks::<8>();
    let mut at = slot(hash);
    loop {
        let Some(slot) = slots.get(at) else { return NONE };
        let slot = u64::from_le_bytes(*slot);
        if slot == 0 {
            return NONE;
        }
        if tag(slot) == tag(hash) {
            return (slot & RANK_MASK) as u32 - 1;
        }
        at = (at + 1) % SLOTS;
    }
}

/// How many tokens the piece is.
#[inline]
pub(crate) fn tokens(piece: &[u8]) -> u64 {
    match piece.len() {
        0 | 1 => piece.len() as u64,
        2..=MAX_PIECE => {
            let hash = hash(piece);
            KNOWN.with(|known| {
                let known = &known[(hash >> 52) as usize % WORDS];
                if known.get() & !COUNT_MASK == hash & !COUNT_MASK {
                    return known.get() & COUNT_MASK;
                }
                let tokens = if rank_of(hash) == NONE { merge(piece) } else { 1 };
                known.set(hash & !COUNT_MASK | tokens);
                tokens
            })
        }
        _ => piece.chunks(MAX_PIECE).map(tokens).sum(),
    }
}

/// Joins, again and again, the two neighbours that make the token of the lowest rank.
fn merge(piece: &[u8]) -> u64 {
    // Where each part begins, and the rank that it would have together with the next one.
    let mut parts = [(0_u8, NONE); MAX_PIECE + 1];
    let mut count = piece.len();
    let (pairs, _) = PAIRS.as_chunks::<4>();
    for (at, two) in piece.windows(2).enumerate() {
        parts[at] = (at as u8, u32::from_le_bytes(pairs[pair(two[0], two[1])]));
    }
    parts[count - 1].0 = (count - 1) as u8;
    parts[count] = (count as u8, NONE);
    loop {
        let lowest = parts[..count].iter().enumerate().min_by_key(|(_, (_, rank))| *rank);
        let Some((at, _)) = lowest.filter(|(_, (_, rank))| *rank != NONE) else { return count as u64 };
        parts.copy_within(at + 2..=count, at + 1);
        count -= 1;
        let joined = |first: usize| {
            let (start, end) = (parts[first].0, parts.get(first + 2)?.0);
            (first + 2 <= count).then(|| rank(&piece[usize::from(start)..usize::from(end)]))
        };
        let (before, here) = (at.checked_sub(1).and_then(joined), joined(at));
        parts[at].1 = here.unwrap_or(NONE);
        if let (Some(before), Some(previous)) = (before, at.checked_sub(1)) {
            parts[previous].1 = before;
        }
    }
}
