//! Finds the places in the machine code of x86-64 that refer to addresses.
//!
//! One pass over all code, whatever its size, and without decoding it: any four bytes that lead to a
//! wanted address, as a distance from where they end or as an absolute address, and that stand behind
//! an opcode that takes them so. What is found may lie across instructions; whoever decodes the function
//! around it will see.

use std::ops::Range;

use super::elf::{ElfError, Image};

/// Bytes read at a time.
const PIECE: usize = 256 * 1024;
/// Bytes before the four that tell the opcode, and the four.
const BEFORE: usize = 3;
const FIELD: usize = 4;
/// References remembered per search.
const MAX_FOUND: usize = 64 * 1024;

/// How an instruction refers to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It takes the address: `lea` from the instruction pointer, or `mov` of it as a number.
    Address,
    /// It calls.
    Call,
    /// It jumps, perhaps into another function.
    Jump,
}

/// A place that refers to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// Inside the instruction: where the four bytes begin.
    pub(super) at: u64,
    /// What they lead to.
    pub(super) target: u64,
    pub(super) kind: Kind,
}

/// The places that take one of the `addresses`, in no order.
///
/// # Errors
/// [`ElfError::Io`] where the file cannot be read.
pub(super) fn taking(image: &Image<'_>, addresses: &[u64]) -> Result<Vec<u64>, ElfError> {
    let ranges: Vec<_> = addresses.iter().map(|address| *address..address.saturating_add(1)).collect();
    let taking = |found: &Reference| found.kind == Kind::Address;
    Ok(find(image, &ranges)?.into_iter().filter(taking).map(|found| found.at).collect())
}

/// The places that call the function at an address.
///
/// # Errors
/// [`ElfError::Io`] where the file cannot be read.
pub(super) fn calling(image: &Image<'_>, address: u64) -> Result<Vec<u64>, ElfError> {
    let function = address..address.saturating_add(1);
    let calling = |found: &Reference| found.kind == Kind::Call;
    Ok(find(image, &[function])?.into_iter().filter(calling).map(|found| found.at).collect())
}

/// All references to addresses in the `ranges`, in the order of the segments.
///
/// # Errors
/// [`ElfError::Io`] where the file cannot be read.
pub(super) fn find(image: &Image<'_>, ranges: &[Range<u64>]) -> Result<Vec<Reference>, ElfError> {
    let ranges = merged(ranges);
    let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else { return Ok(Vec::new()) };
    let (least, span) = (first.start, last.end.saturating_sub(first.start));
    let wanted = |address: u64| {
        let after = ranges.partition_point(|range| range.start <= address);
        after.checked_sub(1).and_then(|index| ranges.get(index)).is_some_and(|range| address < range.end)
    };
    let mut found = Vec::new();
    let mut buffer = vec![0; PIECE];
    for segment in image.segments().iter().filter(|segment| segment.executable) {
        let mut at = 0;
        while at < segment.length && found.len() < MAX_FOUND {
            let left = usize::try_from(segment.length - at).unwrap_or(usize::MAX);
            let wanted_bytes = left.min(PIECE);
            let Some(offset) = segment.offset.checked_add(at) else { break };
            let read = image.source().read_at(offset, &mut buffer[..wanted_bytes])?;
            // Where the four bytes of the first window end.
            let mut end = segment.address.wrapping_add(at).wrapping_add((BEFORE + FIELD) as u64);
            for window in buffer[..read].windows(BEFORE + FIELD) {
                let &[a, b, c, d0, d1, d2, d3] = window else { break };
                let field = [d0, d1, d2, d3];
                let distance = i32::from_le_bytes(field);
                let near = end.wrapping_add_signed(distance.into());
                let number = u64::from(u32::from_le_bytes(field));
                if near.wrapping_sub(least) < span || number.wrapping_sub(least) < span {
                    let referred = [(relative([a, b, c]), near), (absolute([a, b, c]), number)];
                    found.extend(referred.into_iter().filter_map(|(kind, target)| {
                        let at = end.wrapping_sub(FIELD as u64);
                        kind.filter(|_| wanted(target)).map(|kind| Reference { at, target, kind })
                    }));
                }
                end = end.wrapping_add(1);
            }
            if read < wanted_bytes || left <= PIECE {
                break;
            }
            at += (PIECE - (BEFORE + FIELD - 1)) as u64;
        }
    }
    found.truncate(MAX_FOUND);
    Ok(found)
}

/// The same addresses, in order and without overlaps.
fn merged(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in sorted {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// What an opcode does with the distance behind it.
const fn relative(opcode: [u8; BEFORE]) -> Option<Kind> {
    match opcode {
        // REX.W lea r64, [rip + distance]
        [0x48 | 0x4c, 0x8d, mode] if mode & 0xc7 == 0x05 => Some(Kind::Address),
        [.., 0xe8] => Some(Kind::Call),
        [.., 0xe9] | [_, 0x0f, 0x80..=0x8f] => Some(Kind::Jump),
        _ => None,
    }
}

/// What an opcode does with the number behind it.
const fn absolute(opcode: [u8; BEFORE]) -> Option<Kind> {
    match opcode {
        // mov r32, number; mov r64, number; push number
        [.., 0xb8..=0xbf | 0x68] | [0x48 | 0x49, 0xc7, 0xc0..=0xc7] => Some(Kind::Address),
        _ => None,
    }
}
