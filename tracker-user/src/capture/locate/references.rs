//! Finds the places in machine code that refer to addresses.
//!
//! One pass over all code, whatever its size, and without decoding it: any bytes that read as an
//! instruction that takes or calls a wanted address. What is found may lie across instructions; whoever
//! decodes the function around it will see.

mod aarch64;
mod x86_64;

use std::ops::Range;

use super::elf::{Architecture, ElfError, Image};

/// References remembered per search.
const MAX_FOUND: usize = 64 * 1024;

/// A place that refers to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    /// Inside the instruction that has it: on x86-64 where the number begins, elsewhere where it does
    /// itself.
    pub(super) at: u64,
    /// What it refers to.
    pub(super) target: u64,
}

/// A way to look through a piece of code at an address, which is given what is found.
type Look = fn(&[u8], u64, &Wanted, &mut dyn FnMut(Reference));

/// The places that take one of the `addresses`, in order.
///
/// # Errors
/// [`ElfError::Io`] where the file cannot be read.
pub(super) fn taking(image: &Image<'_>, addresses: &[u64]) -> Result<Vec<Reference>, ElfError> {
    let wanted = Wanted::new(addresses.iter().map(|address| *address..address.saturating_add(1)));
    match image.architecture() {
        Architecture::X86_64 if image.is_position_independent() => {
            search(image, &wanted, x86_64::OVERLAP, &[x86_64::addresses])
        }
        Architecture::X86_64 => {
            search(image, &wanted, x86_64::OVERLAP, &[x86_64::addresses, x86_64::numbers])
        }
        Architecture::Aarch64 => search(image, &wanted, aarch64::OVERLAP, &[aarch64::addresses]),
    }
}

/// The places that call something in one of the `ranges`, in order.
///
/// # Errors
/// [`ElfError::Io`] where the file cannot be read.
pub(super) fn calling(
    image: &Image<'_>,
    ranges: impl Iterator<Item = Range<u64>>,
) -> Result<Vec<Reference>, ElfError> {
    let wanted = Wanted::new(ranges);
    match image.architecture() {
        Architecture::X86_64 => search(image, &wanted, x86_64::OVERLAP, &[x86_64::calls]),
        Architecture::Aarch64 => search(image, &wanted, aarch64::OVERLAP, &[aarch64::calls]),
    }
}

fn search(
    image: &Image<'_>,
    wanted: &Wanted,
    overlap: usize,
    looks: &[Look],
) -> Result<Vec<Reference>, ElfError> {
    let mut found = Vec::new();
    if wanted.ranges.is_empty() {
        return Ok(found);
    }
    image.pieces(
        |segment| segment.executable,
        overlap,
        |code, address| {
            for look in looks {
                look(code, address, wanted, &mut |reference| {
                    if found.len() < MAX_FOUND {
                        found.push(reference);
                    }
                });
            }
        },
    )?;
    // What lies where two pieces overlap is found in both.
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The addresses that are looked for, in order and without overlaps.
struct Wanted {
    ranges: Vec<Range<u64>>,
    /// The first, and how far it is from there to the end of the last: most are told by these.
    least: u64,
    span: u64,
}

impl Wanted {
    fn new(ranges: impl Iterator<Item = Range<u64>>) -> Self {
        let mut sorted: Vec<_> = ranges.collect();
        sorted.sort_unstable_by_key(|range| range.start);
        let mut merged: Vec<Range<u64>> = Vec::new();
        for range in sorted {
            match merged.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => merged.push(range),
            }
        }
        let least = merged.first().map_or(0, |range| range.start);
        let span = merged.last().map_or(0, |range| range.end.saturating_sub(least));
        Self { ranges: merged, least, span }
    }

    /// Whether any of them is in a range.
    fn reaches(&self, range: Range<u64>) -> bool {
        let after = self.ranges.partition_point(|wanted| wanted.start < range.end);
        after.checked_sub(1).and_then(|index| self.ranges.get(index)).is_some_and(|w| range.start < w.end)
    }

    fn contains(&self, address: u64) -> bool {
        address.wrapping_sub(self.least) < self.span && {
            let after = self.ranges.partition_point(|range| range.start <= address);
            after
                .checked_sub(1)
                .and_then(|index| self.ranges.get(index))
                .is_some_and(|range| address < range.end)
        }
    }
}
