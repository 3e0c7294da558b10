//! The symbols that some distributions leave in stripped files ("MiniDebugInfo", Fedora and its kin).
//!
//! The section `.gnu_debugdata` holds an ELF file of its own, compressed with xz, whose `.symtab` names
//! the functions that `.dynsym` does not, at the addresses of the file around it.

use std::io::Read as _;

use lzma_rust2::XzReader;

use super::elf::Image;

const SECTION: &str = ".gnu_debugdata";
/// A larger section is not read; that of a 100 MB program is about 2 MB.
const MAX_COMPRESSED: u64 = 16 << 20;
/// More than this is not unpacked.
const MAX_UNPACKED: u64 = 128 << 20;
/// The most memory for unpacking, KiB; what `xz -9` makes takes 65 MiB.
const MAX_WINDOW_KIB: u32 = 68 << 10;
/// Files with less code than a TLS stack has are not worth the time.
const LEAST_CODE: u64 = 256 << 10;

/// The file within, if there is one that can be unpacked.
pub(super) fn read(image: &Image<'_>) -> Option<Vec<u8>> {
    if image.code_length() < LEAST_CODE {
        return None;
    }
    let (offset, length) = image.section(SECTION).filter(|&(_, length)| length <= MAX_COMPRESSED)?;
    let mut compressed = vec![0; usize::try_from(length).ok()?];
    let read = image.source().read_at(offset, &mut compressed).ok()?;
    compressed.truncate(read);
    let mut unpacked = Vec::new();
    XzReader::new_mem_limit(compressed.as_slice(), false, MAX_WINDOW_KIB)
        .take(MAX_UNPACKED)
        .read_to_end(&mut unpacked)
        .ok()?;
    Some(unpacked)
}
