//! 64-bit ARM. An address is made of a page, in an `adrp`, and the rest, in an `add` that need not follow at
//! once; one that is near is made by an `adr`. (Arm Architecture Reference Manual, C6.2.)

use super::{Reference, Wanted};

/// Bytes of an instruction.
const WORD: usize = 4;
/// Instructions in which the `add` follows its `adrp`.
const NEAR: usize = 32;

/// An `adrp` and what may follow.
pub(super) const OVERLAP: usize = (NEAR + 1) * WORD;

/// `adr`, and `adrp` with `add`.
pub(super) fn addresses(code: &[u8], address: u64, wanted: &Wanted, found: &mut dyn FnMut(Reference)) {
    let code = Code::new(code, address);
    for (index, (at, word)) in code.words_from(0).enumerate() {
        let distance = immediate(word);
        if is_adr(word) {
            let target = at.wrapping_add_signed(distance);
            if wanted.contains(target) {
                found(Reference { at, target });
            }
        } else if is_adrp(word) {
            let page = (at & !0xfff).wrapping_add_signed(distance << 12);
            if wanted.reaches(page..page.saturating_add(0x1000)) {
                let after = code.words_from(index + 1).take(NEAR);
                rest_of_address(after, page, word & 0x1f, wanted, found);
            }
        }
    }
}

/// What follows an `adrp` into a register: where the register is made anew, it ends.
fn rest_of_address(
    words: impl Iterator<Item = (u64, u32)>,
    page: u64,
    register: u32,
    wanted: &Wanted,
    found: &mut dyn FnMut(Reference),
) {
    for (at, word) in words.take_while(|(_, word)| !(is_adrp(*word) && word & 0x1f == register)) {
        // add Xd, Xn, #rest
        if word & 0xffc0_0000 == 0x9100_0000 && (word >> 5) & 0x1f == register {
            let target = page.wrapping_add(u64::from((word >> 10) & 0xfff));
            if wanted.contains(target) {
                found(Reference { at, target });
            }
        }
    }
}

/// `bl`.
pub(super) fn calls(code: &[u8], address: u64, wanted: &Wanted, found: &mut dyn FnMut(Reference)) {
    for (at, word) in Code::new(code, address).words_from(0) {
        if word & 0xfc00_0000 == 0x9400_0000 {
            // 26 bits, of words.
            let distance = (word << 6).cast_signed() >> 4;
            let target = at.wrapping_add_signed(distance.into());
            if wanted.contains(target) {
                found(Reference { at, target });
            }
        }
    }
}

const fn is_adr(word: u32) -> bool {
    word & 0x9f00_0000 == 0x1000_0000
}

const fn is_adrp(word: u32) -> bool {
    word & 0x9f00_0000 == 0x9000_0000
}

/// The distance of an `adr` or, in pages, of an `adrp`: 21 bits, the lowest two apart from the others.
fn immediate(word: u32) -> i64 {
    let upper = (word << 8).cast_signed() >> 13 << 2;
    (upper | ((word >> 29) & 3).cast_signed()).into()
}

/// Instructions, each at a multiple of its size.
struct Code<'c> {
    words: &'c [[u8; WORD]],
    address: u64,
}

impl<'c> Code<'c> {
    fn new(code: &'c [u8], address: u64) -> Self {
        let ahead = address.wrapping_neg() as usize % WORD;
        let (words, _) = code.get(ahead..).unwrap_or_default().as_chunks();
        Self { words, address: address.wrapping_add(ahead as u64) }
    }

    /// Those from the n-th on, with their addresses.
    fn words_from(&self, n: usize) -> impl Iterator<Item = (u64, u32)> {
        let at = self.address.wrapping_add((n as u64).wrapping_mul(WORD as u64));
        let addresses = (0..).step_by(WORD).map(move |distance| at.wrapping_add(distance));
        addresses
            .zip(self.words.get(n..).unwrap_or_default())
            .map(|(at, word)| (at, u32::from_le_bytes(*word)))
    }
}
