//! Finds texts in what a file loads.

use memchr::memmem::Finder;

use super::elf::{ElfError, Image, Segment};

/// Places remembered per text.
const MAX_PLACES: usize = 64;
/// How far before its end a string can begin: a path in the name of a source file.
const MAX_PREFIX: u64 = 256;

/// A text that tells of a TLS stack.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Text {
    /// Without the zero behind it.
    pub(super) bytes: &'static str,
    /// Where it stands.
    pub(super) stands: Stands,
}

/// How much of a string a text is, and so what code refers to.
///
/// The zero that ends a string of C tells it from what Rust keeps of the same words, as in this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stands {
    /// It is a string of C: code refers to its beginning.
    Alone,
    /// It ends a string of C, as of the path of a source file: code refers to the beginning of that.
    AtTheEnd,
    /// Anywhere, as Rust has its strings: that it is there is all that it tells.
    Anywhere,
}

/// For each text the addresses by which code knows it when the file is loaded, in order.
///
/// Looked at is what holds constants, once for all texts.
///
/// # Errors
/// [`ElfError::Io`] where the file cannot be read.
pub(super) fn find(image: &Image<'_>, texts: &[&Text]) -> Result<Vec<Vec<u64>>, ElfError> {
    let finders: Vec<_> = texts.iter().map(|text| Finder::new(text.bytes)).collect();
    // A text and the zero behind it, but for one byte.
    let overlap = texts.iter().map(|text| text.bytes.len()).max().unwrap_or(0);
    let mut found = vec![Vec::new(); texts.len()];
    image.pieces(holds_constants, overlap, |piece, address| {
        for ((text, finder), places) in texts.iter().zip(&finders).zip(&mut found) {
            for hit in finder.find_iter(piece) {
                let ends = piece.get(hit + text.bytes.len()) == Some(&0);
                let place = address.wrapping_add(hit as u64);
                if (ends || text.stands == Stands::Anywhere)
                    && places.last() != Some(&place)
                    && places.len() < MAX_PLACES
                {
                    places.push(place);
                }
            }
        }
    })?;
    for (text, places) in texts.iter().zip(&mut found) {
        if text.stands == Stands::AtTheEnd {
            *places = places.iter().filter_map(|place| start(image, *place)).collect();
        }
    }
    Ok(found)
}

/// Where the text begins that has `address` in it: code refers to its beginning. Before it is another's
/// terminating zero or, where it is the first, anything.
fn start(image: &Image<'_>, address: u64) -> Option<u64> {
    let ends =
        |segment: &&Segment| address.checked_sub(segment.address).is_some_and(|at| at <= segment.length);
    let segment = image.segments().iter().find(ends)?;
    let first = segment.address.max(address.saturating_sub(MAX_PREFIX));
    let before = image.loaded(first, usize::try_from(address - first).ok()?);
    let text = before.iter().rev().take_while(|byte| matches!(byte, b' '..=b'~')).count() as u64;
    (text < MAX_PREFIX).then(|| address.saturating_sub(text))
}

/// A linker that does not keep code apart has put the constants, like the file's header, beside it.
const fn holds_constants(segment: &Segment) -> bool {
    !segment.writable && (!segment.executable || segment.offset == 0)
}
