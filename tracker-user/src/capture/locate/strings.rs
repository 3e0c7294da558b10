//! Finds strings in what a file loads.

use memchr::memmem::Finder;

use super::elf::{ElfError, Image, Segment};

/// Bytes read at a time: they stay in the cache for all that is looked for in them.
const PIECE: usize = 256 * 1024;
/// Places remembered per string.
const MAX_PLACES: usize = 64;
/// How far before a hit a string can begin: a path in the name of a source file.
const MAX_PREFIX: u64 = 256;

/// The addresses at which strings end up when the file is loaded, for each string in the order of the
/// addresses.
///
/// Looked at is what holds constants.
///
/// # Errors
/// [`ElfError::Io`] where the file cannot be read.
pub(super) fn find<const N: usize>(
    image: &Image<'_>,
    strings: [&[u8]; N],
) -> Result<[Vec<u64>; N], ElfError> {
    let finders = strings.map(Finder::new);
    let overlap = strings.iter().map(|string| string.len()).max().unwrap_or(0).saturating_sub(1);
    let mut found = [const { Vec::new() }; N];
    let mut buffer = vec![0; PIECE];
    for segment in constants(image) {
        let mut at = 0;
        while at < segment.length {
            let left = usize::try_from(segment.length - at).unwrap_or(usize::MAX);
            let wanted = left.min(PIECE);
            let Some(offset) = segment.offset.checked_add(at) else { break };
            let read = image.source().read_at(offset, &mut buffer[..wanted])?;
            let address = segment.address.wrapping_add(at);
            for (finder, places) in finders.iter().zip(&mut found) {
                for hit in finder.find_iter(&buffer[..read]) {
                    let place = address.wrapping_add(hit as u64);
                    if places.last() != Some(&place) && places.len() < MAX_PLACES {
                        places.push(place);
                    }
                }
            }
            if read < wanted || left <= PIECE {
                break;
            }
            at += (PIECE - overlap) as u64;
        }
    }
    Ok(found)
}

/// Where the text begins that has `address` in it: code refers to its beginning. Before it is another's
/// terminating zero or, where it is the first, anything.
pub(super) fn start(image: &Image<'_>, address: u64) -> Option<u64> {
    let ends =
        |segment: &&Segment| address.checked_sub(segment.address).is_some_and(|at| at <= segment.length);
    let segment = image.segments().iter().find(ends)?;
    let first = segment.address.max(address.saturating_sub(MAX_PREFIX));
    let before = image.loaded(first, usize::try_from(address - first).ok()?);
    let text = before.iter().rev().take_while(|byte| matches!(byte, b' '..=b'~')).count() as u64;
    (text < MAX_PREFIX).then(|| address.saturating_sub(text))
}

/// A linker that does not keep code apart has put the constants, like the file's header, beside it.
fn constants<'a>(image: &'a Image<'_>) -> impl Iterator<Item = &'a Segment> {
    image
        .segments()
        .iter()
        .filter(|segment| !segment.writable && (!segment.executable || segment.offset == 0))
}
