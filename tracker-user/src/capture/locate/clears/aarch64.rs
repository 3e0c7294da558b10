//! In code of 64-bit ARM.

use super::{CLEANUP, MAX_CODE};

/// Bytes of an instruction.
const WORD: usize = 4;
/// `str xzr, [register]`, but for the register.
const STORE_ZERO: u32 = 0xf900_001f;

/// Where something is set to zero behind a load from where `cleanup` would be.
pub(super) fn places(code: &[u8], address: u64, found: &mut dyn FnMut(u64)) {
    let ahead = address.wrapping_neg() as usize % WORD;
    let mut cleanup = None;
    for (index, word) in words(code.get(ahead..).unwrap_or_default()).enumerate() {
        if is_load(word) && displacement(word) == CLEANUP {
            cleanup = Some(index);
        } else if is_store_of_zero(word) && cleanup.is_some_and(|at| index - at < MAX_CODE / WORD) {
            found(address.wrapping_add((ahead + index * WORD) as u64));
        }
    }
}

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// The context: the first argument.
    Context,
    /// `ctx->aead`.
    Aead,
    /// `ctx->aead->cleanup`.
    Cleanup,
}

/// Whether code calls `ctx->aead->cleanup(ctx)` and then sets `ctx->aead` to zero. Read from top to
/// bottom, as such short code is laid out.
pub(super) fn clears(code: &[u8], _: u64) -> bool {
    let mut values = [None; 32];
    values[0] = Some(Value::Context);
    let mut called = false;
    for word in words(code) {
        let (rd, rn) = ((word & 31) as usize, (word >> 5 & 31) as usize);
        if is_load(word) {
            values[rd] = match (values[rn], displacement(word)) {
                (Some(Value::Context), 0) => Some(Value::Aead),
                (Some(Value::Aead), CLEANUP) => Some(Value::Cleanup),
                _ => None,
            };
        } else if word & 0xffe0_ffe0 == 0xaa00_03e0 {
            values[rd] = values[(word >> 16 & 31) as usize]; // mov
        } else if is_store_of_zero(word) {
            if called && values[rn] == Some(Value::Context) {
                return true;
            }
        } else if word & 0xffff_fc1f == 0xd63f_0000 {
            // blr
            if values[rn] != Some(Value::Cleanup) || values[0] != Some(Value::Context) {
                return false;
            }
            called = true;
            values[..19].fill(None);
        } else if word & 0xffff_fc1f == 0xd61f_0000 {
            return false; // br
        } else if word & 0xfc00_0000 == 0x9400_0000 {
            values[..19].fill(None); // bl
        } else if writes_register(word) {
            values[rd] = None;
            if word & 0x3a40_0000 == 0x2840_0000 {
                values[(word >> 10 & 31) as usize] = None; // The other of a pair that is loaded.
            }
        }
    }
    false
}

fn words(code: &[u8]) -> impl Iterator<Item = u32> {
    code.as_chunks::<WORD>().0.iter().map(|word| u32::from_le_bytes(*word))
}

/// `ldr register, [register, #displacement]`, of eight bytes.
const fn is_load(word: u32) -> bool {
    word & 0xffc0_0000 == 0xf940_0000
}

/// Its displacement.
const fn displacement(word: u32) -> u64 {
    ((word >> 10 & 0xfff) * 8) as u64
}

const fn is_store_of_zero(word: u32) -> bool {
    word & 0xffff_fc1f == STORE_ZERO
}

/// Whether the lowest bits of an instruction name a register that it writes: neither of a branch nor of a store.
const fn writes_register(word: u32) -> bool {
    let is_branch = word & 0x1c00_0000 == 0x1400_0000;
    let is_store = word & 0x0a00_0000 == 0x0800_0000 && word & 0x0040_0000 == 0;
    !is_branch && !is_store
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// `ldr x8, [x0]; cbz x8, end; str x19, [sp, #-16]!; mov x19, x0; ldr x8, [x8, #32]; cbz x8, on; blr x8;
    /// on: str xzr, [x19]; ldr x19, [sp], #16; end: ret`
    const CLEARS: [u32; 10] = [
        0xf940_0008,
        0xb400_0108,
        0xf81f_0ff3,
        0xaa00_03f3,
        0xf940_1108,
        0xb400_0048,
        0xd63f_0100,
        0xf900_027f,
        0xf841_07f3,
        0xd65f_03c0,
    ];

    #[test]
    fn what_clears_is_told_from_what_does_something_else() {
        assert!(clears(&code(&CLEARS), 0));
        let changed = |at: usize, word: u32| {
            let mut words = CLEARS;
            words[at] = word;
            clears(&code(&words), 0)
        };
        assert!(!changed(4, 0xf940_1508), "another function of the table");
        assert!(!changed(7, 0xf900_067f), "another member is set to zero");
        assert!(!changed(3, 0xaa01_03f3), "of another object");
        assert!(!changed(6, 0xd503_201f), "nothing is called");
    }

    #[test]
    fn only_stores_behind_a_load_are_looked_at() {
        let mut found = Vec::new();
        places(&code(&CLEARS), 0x1000, &mut |place| found.push(place));
        assert_eq!(found, [0x101c]);
        found.clear();
        // The same at an odd address, as a piece may begin.
        let mut odd = vec![0];
        odd.extend(code(&CLEARS));
        places(&odd, 0xfff, &mut |place| found.push(place));
        assert_eq!(found, [0x101c]);
    }
}
