//! Turns OpenAI's vocabulary into a table that needs no loading, and Unicode's classes into another.
//!
//! The vocabulary is that of the `tiktoken-rs` package. Nothing is downloaded.

use std::{collections::HashMap, env, error::Error, fs, path::PathBuf};

use regex_syntax::hir::{Class, HirKind};

#[path = "src/hash.rs"]
mod hash;
#[path = "src/layout.rs"]
mod layout;

use hash::hash;
use layout::{
    BLOCK, FILTER_BITS, LETTER, LOWER, MARK, NEWLINE, NONE, NUMBER, OTHER, RANK_MASK, SLOTS, SPACE, UPPER,
    filter_bit, pair, slot, tag,
};

fn main() -> Result<(), Box<dyn Error>> {
    for file in ["build.rs", "src/hash.rs", "src/layout.rs"] {
        println!("cargo::rerun-if-changed={file}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo says where to put things")?);
    let Vocabulary { slots, pairs, filter } = vocabulary(&tiktoken_rs::o200k_base()?)?;
    let little_endian = |ranks: Vec<u32>| ranks.into_iter().flat_map(u32::to_le_bytes).collect::<Vec<_>>();
    fs::write(out.join("slots.table"), slots.into_iter().flat_map(u64::to_le_bytes).collect::<Vec<_>>())?;
    fs::write(out.join("pairs.table"), little_endian(pairs))?;
    fs::write(out.join("filter.table"), filter)?;
    let (blocks, classes) = classes()?;
    fs::write(out.join("blocks.table"), blocks)?;
    fs::write(out.join("classes.table"), classes)?;
    Ok(())
}

/// All tokens with their ranks: see `layout.rs`.
struct Vocabulary {
    slots: Vec<u64>,
    pairs: Vec<u32>,
    filter: Vec<u8>,
}

fn vocabulary(encoding: &tiktoken_rs::CoreBPE) -> Result<Vocabulary, Box<dyn Error>> {
    let (mut slots, mut pairs, mut filter) = (vec![0; SLOTS], vec![NONE; 1 << 16], vec![0; FILTER_BITS / 8]);
    let mut tags = HashMap::new();
    let mut tokens = 0;
    for rank in 0.. {
        // Ranks have no gaps up to the special tokens, which no text has.
        let Ok(token) = encoding.decode_bytes(&[rank]) else { break };
        if token.starts_with(b"<|end") && token.ends_with(b"|>") {
            break;
        }
        let hash = hash(&token);
        if let Some(other) = tags.insert(tag(hash), rank) {
            return Err(format!("tokens {other} and {rank} have the same tag").into());
        }
        if let [first, second] = *token {
            pairs[pair(first, second)] = rank;
        }
        let bit = filter_bit(hash);
        filter[bit / 8] |= 1 << (bit % 8);
        let mut at = slot(hash);
        while slots[at] != 0 {
            at = (at + 1) % SLOTS;
        }
        slots[at] = tag(hash) | (u64::from(rank) + 1);
        tokens = rank + 1;
    }
    if tokens < 100_000 || u64::from(tokens) >= RANK_MASK {
        return Err(format!("{tokens} tokens are not the vocabulary that was expected").into());
    }
    Ok(Vocabulary { slots, pairs, filter })
}

/// A class for every character, in blocks of which many are the same.
fn classes() -> Result<(Vec<u8>, Vec<u8>), Box<dyn Error>> {
    let mut all = vec![OTHER; 0x11_0000];
    for (pattern, class) in [
        (r"\s", SPACE),
        (r"[\r\n]", NEWLINE),
        (r"\p{N}", NUMBER),
        (r"[\p{Lu}\p{Lt}]", UPPER),
        (r"\p{Ll}", LOWER),
        (r"[\p{Lm}\p{Lo}]", LETTER),
        (r"\p{M}", MARK),
    ] {
        for (start, end) in ranges(pattern)? {
            all[start as usize..=end as usize].fill(class);
        }
    }
    let (mut blocks, mut classes) = (Vec::new(), Vec::<u8>::new());
    for block in all.chunks(BLOCK) {
        let known = classes.chunks(BLOCK).position(|known| known == block);
        let number = known.unwrap_or_else(|| {
            classes.extend(block);
            classes.len() / BLOCK - 1
        });
        blocks.push(u8::try_from(number)?);
    }
    Ok((blocks, classes))
}

fn ranges(pattern: &str) -> Result<Vec<(u32, u32)>, Box<dyn Error>> {
    let parsed = regex_syntax::parse(pattern)?;
    let HirKind::Class(class) = parsed.kind() else { return Err("not a class".into()) };
    Ok(match class {
        Class::Unicode(class) => {
            class.iter().map(|range| (range.start().into(), range.end().into())).collect()
        }
        Class::Bytes(class) => class.iter().map(|range| (range.start().into(), range.end().into())).collect(),
    })
}
