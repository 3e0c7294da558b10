//! Where functions begin and end, by the tables that unwind the stack.
//!
//! `.eh_frame_hdr` (Linux Standard Base, "Exception Frame Header") is a sorted table of the functions that
//! `.eh_frame` describes. It may be sparse: the entry before an address can be of a function that ended
//! long before it.

use std::ops::Range;

use super::elf::Image;

/// `DW_EH_PE_datarel | DW_EH_PE_sdata4`, as every linker writes the table.
const TABLE_ENCODING: u8 = 0x3b;
/// `DW_EH_PE_udata4`.
const COUNT_ENCODING: u8 = 0x03;
/// `DW_EH_PE_pcrel | DW_EH_PE_sdata4`.
const POINTER_ENCODING: u8 = 0x1b;
/// Bytes looked at of an entry; what is needed of it stands in front.
const ENTRY: usize = 64;

/// The function, or the part of one, that an address is in; `None` where the tables do not say.
pub(super) fn function(image: &Image<'_>, address: u64) -> Option<Range<u64>> {
    let table = image.unwind_table()?;
    let header = image.loaded(table, 12);
    let (&[1, pointer_encoding, COUNT_ENCODING, TABLE_ENCODING], rest) = header.split_first_chunk()? else {
        return None;
    };
    if pointer_encoding & 0x0f != 0x0b {
        return None;
    }
    let (_, count) = rest.split_at_checked(4)?;
    let mut low = 0_u64;
    let mut high = u64::from(u32::from_le_bytes(count.try_into().ok()?));
    let entry = |index: u64| {
        let bytes = image.loaded(table.checked_add(12)?.checked_add(index.checked_mul(8)?)?, 8);
        let (start, description) = bytes.split_first_chunk()?;
        let absolute = |bytes| table.wrapping_add_signed(i32::from_le_bytes(bytes).into());
        Some((absolute(*start), absolute(description.try_into().ok()?)))
    };
    // The last entry that begins at the address or before it.
    while low < high {
        let middle = low.midpoint(high);
        if entry(middle)?.0 <= address {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    let (start, description) = entry(low.checked_sub(1)?)?;
    let covered = start..start.checked_add(length(image, description)?)?;
    covered.contains(&address).then_some(covered)
}

/// How much code a frame description covers.
fn length(image: &Image<'_>, description: u64) -> Option<u64> {
    let bytes = image.loaded(description, ENTRY);
    let back = u64::from(word(&bytes, 4)?);
    if back == 0 {
        return None; // It is no description.
    }
    let common = description.checked_add(4)?.checked_sub(back)?;
    // Only the range counts, and that has the pointer's size, whatever the pointer is relative to.
    match pointer_encoding(&image.loaded(common, ENTRY))? {
        POINTER_ENCODING | 0x0b | 0x03 => Some(word(&bytes, 12)?.into()),
        0x00 | 0x04 | 0x0c | 0x10 | 0x1c => Some(u64::from_le_bytes(bytes.get(16..24)?.try_into().ok()?)),
        _ => None,
    }
}

/// How pointers are written in the descriptions of a common entry: what stands for `R` in its
/// augmentation.
fn pointer_encoding(common: &[u8]) -> Option<u8> {
    if word(common, 4)? != 0 {
        return None;
    }
    let (&version, rest) = common.get(8..)?.split_first()?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    let (augmentation, rest) = rest.split_at(end);
    let mut rest = rest.get(1..)?;
    let skip_number = |rest: &mut &[u8]| -> Option<()> {
        let end = rest.iter().position(|byte| byte & 0x80 == 0)?;
        *rest = rest.get(end + 1..)?;
        Some(())
    };
    skip_number(&mut rest)?; // The alignment of code,
    skip_number(&mut rest)?; // and of data,
    if version == 1 {
        rest = rest.get(1..)?; // and the register with the return address.
    } else {
        skip_number(&mut rest)?;
    }
    let Some(b"z") = augmentation.get(..1) else { return Some(0) };
    skip_number(&mut rest)?;
    for letter in &augmentation[1..] {
        match letter {
            b'R' => return rest.first().copied(),
            b'L' => rest = rest.get(1..)?,
            b'P' => {
                let (encoding, after) = rest.split_first()?;
                let size = match encoding & 0x0f {
                    0x03 | 0x0b => 4,
                    0x00 | 0x04 | 0x0c => 8,
                    _ => return None,
                };
                rest = after.get(size..)?;
            }
            b'S' | b'B' => {}
            _ => return None,
        }
    }
    Some(0)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}
