//! From a place in the code to the function that it is in.

use std::collections::BTreeMap;

use super::Reason;
use super::elf::{Architecture, ElfError, Image};
use super::references::{self, Reference};
use super::unwind;
use super::walk::Walk;

/// Code looked at before a place for the beginning of its function, and after that.
const REACH: u64 = 8 * 1024;
/// Beginnings tried for one place.
const MAX_CANDIDATES: usize = 32;
/// Places looked at and instructions followed in one file; of the largest that are known, two hundred
/// and fifty thousand. What takes more was made to.
const MAX_PLACES: usize = 4096;
const MAX_STEPS: u64 = 250_000;
const TOO_MUCH: Reason = Reason::NotLocated("there is too much code to follow");

/// The functions that places are in, by their first addresses, each followed along its paths.
///
/// By the tables that unwind the stack or, where those say nothing, the nearest address before the
/// place that something calls, if code that begins there makes sense as a function and passes the
/// place.
///
/// # Errors
/// [`Reason::Unreadable`], and [`Reason::NotLocated`] where it would take too long.
pub(super) fn around(image: &Image<'_>, places: &[u64]) -> Result<BTreeMap<u64, Walk>, Reason> {
    if places.len() > MAX_PLACES {
        return Err(TOO_MUCH);
    }
    let mut budget = MAX_STEPS;
    let mut functions = BTreeMap::new();
    let mut unknown: Vec<u64> = Vec::new();
    for &place in places {
        let function = unwind::function(image, place).is_some_and(|range| {
            let start = range.start;
            functions.entry(start).or_insert_with(|| Walk::new(image, range, &mut budget)).passes(place)
        });
        if !function {
            unknown.push(place);
        }
    }
    let entries = entries(image, &unknown)?;
    for place in unknown {
        let (before, after) = entries.split_at(entries.partition_point(|entry| *entry <= place));
        for &start in before.iter().rev().take(MAX_CANDIDATES).take_while(|start| place - **start <= REACH) {
            // A function ends where the next begins, as far as that is known.
            let next = after.iter().copied().find(|entry| may_begin(image, *entry)).unwrap_or(u64::MAX);
            let end = start.saturating_add(REACH).min(next);
            let walk = functions.entry(start).or_insert_with(|| Walk::new(image, start..end, &mut budget));
            if walk.is_function() && walk.passes(place) {
                break;
            }
        }
    }
    if budget == 0 {
        return Err(TOO_MUCH);
    }
    functions
        .retain(|_, walk: &mut Walk| walk.is_function() && places.iter().any(|place| walk.passes(*place)));
    Ok(functions)
}

/// Whether what seems to be called may be a function that follows another. In hundreds of megabytes of code there
/// are bytes that look like a call and are part of an instruction; what they lead to is in the middle of something.
/// A function is aligned, or what stands before it does not go on: a return, a trap or padding.
fn may_begin(image: &Image<'_>, entry: u64) -> bool {
    const ALIGNED: u64 = 16;
    /// The last bytes of `ret`, `int3`, `nop` and `ud2`.
    const ENDS: [u8; 4] = [0xc3, 0xcc, 0x90, 0x0b];
    entry.is_multiple_of(ALIGNED)
        || image.architecture() != Architecture::X86_64
        || entry.checked_sub(1).is_some_and(|before| image.code(before, 1).iter().any(|it| ENDS.contains(it)))
}

/// What is called around places, in order.
fn entries(image: &Image<'_>, places: &[u64]) -> Result<Vec<u64>, ElfError> {
    let ranges = places.iter().map(|place| place.saturating_sub(REACH)..place.saturating_add(REACH));
    let mut entries: Vec<u64> =
        references::calling(image, ranges)?.into_iter().map(|Reference { target, .. }| target).collect();
    entries.sort_unstable();
    entries.dedup();
    Ok(entries)
}
