//! From a place in the code to the function that it is in.

use std::collections::BTreeMap;
use std::ops::Range;

use super::elf::{ElfError, Image};
use super::references::{self, Kind, Reference};
use super::unwind;
use super::walk::Walk;

/// Code looked at before a place for the beginning of its function, and after that.
const REACH: u64 = 8 * 1024;
/// Beginnings tried for one place.
const MAX_CANDIDATES: usize = 32;

/// The functions that places are in, by their first addresses, each followed along its paths.
///
/// By the tables that unwind the stack or, where those say nothing, the nearest address before the
/// place that something calls, if code that begins there makes sense as a function and passes the
/// place.
///
/// # Errors
/// [`ElfError::Io`] where the file cannot be read.
pub(super) fn around(image: &Image<'_>, places: &[u64]) -> Result<BTreeMap<u64, Walk>, ElfError> {
    let mut functions = BTreeMap::new();
    let mut unknown: Vec<u64> = Vec::new();
    for &place in places {
        match unwind::function(image, place) {
            Some(range) => {
                let start = range.start;
                let walk = functions.entry(start).or_insert_with(|| Walk::new(image, range));
                if !walk.passes(place) {
                    unknown.push(place);
                }
            }
            None => unknown.push(place),
        }
    }
    let entries = entries(image, &unknown)?;
    for place in unknown {
        let before = entries.iter().rev().skip_while(|entry| **entry > place);
        for (start, end) in before.take(MAX_CANDIDATES).map(|start| (*start, start.saturating_add(REACH))) {
            if place - start > REACH {
                break;
            }
            // A function ends where the next begins, as far as that is known.
            let next = entries.iter().find(|entry| **entry > place).copied().unwrap_or(end);
            let walk = functions.entry(start).or_insert_with(|| Walk::new(image, start..end.min(next)));
            if walk.is_function() && walk.passes(place) {
                break;
            }
        }
    }
    functions
        .retain(|_, walk: &mut Walk| walk.is_function() && places.iter().any(|place| walk.passes(*place)));
    Ok(functions)
}

/// What is called around places, in order.
fn entries(image: &Image<'_>, places: &[u64]) -> Result<Vec<u64>, ElfError> {
    let ranges: Vec<Range<u64>> =
        places.iter().map(|place| place.saturating_sub(REACH)..place.saturating_add(REACH)).collect();
    let mut entries: Vec<u64> = references::find(image, &ranges)?
        .into_iter()
        .filter(|reference| reference.kind == Kind::Call)
        .map(|Reference { target, .. }| target)
        .collect();
    entries.sort_unstable();
    entries.dedup();
    Ok(entries)
}
