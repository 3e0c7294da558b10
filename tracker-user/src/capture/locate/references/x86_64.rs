//! x86-64. An operand is a distance from where the instruction ends or, in a program that is loaded at one
//! place only, an address.

use memchr::{memchr_iter, memmem};

use super::{Reference, Wanted};

/// The longest instruction that is looked for, but for one byte.
pub(super) const OVERLAP: usize = 6;

/// Bytes of a number.
const FIELD: usize = 4;

/// `lea r64, [rip + distance]`.
pub(super) fn addresses(code: &[u8], address: u64, wanted: &Wanted, found: &mut dyn FnMut(Reference)) {
    for opcode in memchr_iter(0x8d, code) {
        let rex = opcode.checked_sub(1).and_then(|before| code.get(before));
        if matches!(rex, Some(0x48 | 0x4c)) && code.get(opcode + 1).is_some_and(|mode| mode & 0xc7 == 0x05) {
            relative(code, address, opcode + 2, wanted, found);
        }
    }
}

/// `mov` of a number into a register, and `push` of one.
pub(super) fn numbers(code: &[u8], address: u64, wanted: &Wanted, found: &mut dyn FnMut(Reference)) {
    // Looked for by their upper halves, of which there are fewer.
    let mut halves: Vec<u16> = wanted
        .ranges
        .iter()
        .filter_map(|range| u32::try_from(range.start).ok())
        .map(|number| (number >> 16) as u16)
        .collect();
    halves.dedup();
    for half in halves {
        for upper in memmem::find_iter(code, &half.to_le_bytes()) {
            let Some(field) = upper.checked_sub(2) else { continue };
            let Some(number) = code.get(field..).and_then(|rest| rest.first_chunk::<FIELD>()) else {
                continue;
            };
            let target = u32::from_le_bytes(*number).into();
            if wanted.contains(target) && takes_number(&code[..field]) {
                found(Reference { at: address.wrapping_add(field as u64), target });
            }
        }
    }
}

/// Whether an instruction of which this is the beginning goes on with a number that it takes.
const fn takes_number(beginning: &[u8]) -> bool {
    // mov r32, number; push number; mov r64, number
    matches!(beginning, [.., 0xb8..=0xbf | 0x68] | [.., 0x48 | 0x49, 0xc7, 0xc0..=0xc7])
}

/// `call distance`.
pub(super) fn calls(code: &[u8], address: u64, wanted: &Wanted, found: &mut dyn FnMut(Reference)) {
    for opcode in memchr_iter(0xe8, code) {
        relative(code, address, opcode + 1, wanted, found);
    }
}

/// What a distance leads to, with which an instruction ends.
fn relative(code: &[u8], address: u64, field: usize, wanted: &Wanted, found: &mut dyn FnMut(Reference)) {
    let Some(distance) = code.get(field..).and_then(|rest| rest.first_chunk::<FIELD>()) else { return };
    let at = address.wrapping_add(field as u64);
    let end = at.wrapping_add(FIELD as u64);
    let target = end.wrapping_add_signed(i32::from_le_bytes(*distance).into());
    if wanted.contains(target) {
        found(Reference { at, target });
    }
}
