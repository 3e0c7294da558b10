//! Remembers what was found in files, by their content.
//!
//! The same library lies in many containers, each time as another file. What was found in one holds for
//! all of the same bytes. A build id would be cheaper to compare, but anybody can write one into a file:
//! what was found in a forged copy would be believed of the real one, and probes put into the middle of
//! its instructions. So all bytes count, by a hash with a secret key, which cannot be aimed at.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;

use super::{Located, Source, locate};

/// Bytes read at a time.
const PIECE: usize = 256 * 1024;
/// Files remembered; past that, all are forgotten.
const MAX_KNOWN: usize = 512;

/// What was found in files.
#[derive(Debug, Default)]
pub struct Known {
    keys: RandomState,
    /// By what is cheap to compare.
    files: HashMap<Glance, Vec<(u64, Vec<Located>)>>,
    count: usize,
}

/// The size of a file, and a hash of its beginning, where its headers and its build id are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Glance {
    size: u64,
    beginning: u64,
}

impl Known {
    /// What [`locate`] finds in a file of `size` bytes, which is only searched if no other of the same
    /// content was.
    ///
    /// Files in which nothing was found are not remembered: they cost no more than to be recognised.
    pub fn locate(&mut self, source: &dyn Source, size: u64) -> Vec<Located> {
        let Ok(glance) = self.glance(source, size) else { return locate(source) };
        let mut content = None;
        if let Some(alike) = self.files.get(&glance) {
            content = self.content(source, size).ok();
            if let Some((_, located)) = alike.iter().find(|(known, _)| Some(*known) == content) {
                return located.clone();
            }
        }
        let located = locate(source);
        if !located.is_empty()
            && let Some(content) = content.or_else(|| self.content(source, size).ok())
        {
            if self.count >= MAX_KNOWN {
                self.files.clear();
                self.count = 0;
            }
            self.files.entry(glance).or_default().push((content, located.clone()));
            self.count += 1;
        }
        located
    }

    fn glance(&self, source: &dyn Source, size: u64) -> io::Result<Glance> {
        let mut buffer = [0; 4096];
        let read = source.read_at(0, &mut buffer)?;
        Ok(Glance { size, beginning: self.keys.hash_one(&buffer[..read]) })
    }

    fn content(&self, source: &dyn Source, size: u64) -> io::Result<u64> {
        let mut hasher = self.keys.build_hasher();
        let mut buffer = vec![0; PIECE.min(usize::try_from(size).unwrap_or(PIECE))];
        let mut at = 0;
        while at < size {
            let read = source.read_at(at, &mut buffer)?;
            hasher.write(&buffer[..read]);
            if read < buffer.len() {
                break;
            }
            at += read as u64;
        }
        Ok(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::capture::locate::Reason;

    /// A file that counts the bytes that are read of it.
    struct Counting {
        bytes: Vec<u8>,
        read: Cell<usize>,
    }

    impl Source for Counting {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            let read = self.bytes.as_slice().read_at(offset, buffer)?;
            self.read.set(self.read.get() + read);
            Ok(read)
        }
    }

    /// One page of constants, with a name in them that a stack is known by.
    fn file() -> Counting {
        let mut bytes = vec![0; 3 * PIECE];
        bytes[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0");
        bytes[0x20] = 0x40; // One program header, behind the file's:
        bytes[0x36] = 56;
        bytes[0x38] = 1;
        bytes[0x40] = 1; // all of it is loaded,
        bytes[0x44] = 4; // to be read,
        bytes[0x60..0x68].copy_from_slice(&(3 * PIECE as u64).to_le_bytes());
        bytes[0x200..0x20e].copy_from_slice(b"ssl/ssl_lib.cc");
        Counting { bytes, read: Cell::new(0) }
    }

    #[test]
    fn the_same_bytes_are_searched_once() {
        let mut known = Known::default();
        let (first, second) = (file(), file());
        let size = first.bytes.len();
        let found = known.locate(&first, size as u64);
        assert!(matches!(found[..], [Located { plan: Err(Reason::NotLocated(_)), .. }]), "{found:?}");
        assert!(first.read.get() > 2 * size, "searched, and then hashed");
        assert_eq!(known.locate(&second, size as u64), found);
        assert!(second.read.get() <= size + 4096, "hashed only: {}", second.read.get());
    }

    #[test]
    fn a_file_with_the_same_beginning_and_size_is_another() {
        let mut known = Known::default();
        let (first, mut second) = (file(), file());
        let size = first.bytes.len() as u64;
        assert_eq!(known.locate(&first, size).len(), 1);
        let last = second.bytes.len() - 1;
        second.bytes[last] = 1;
        assert_eq!(known.locate(&second, size).len(), 1);
        assert!(second.read.get() as u64 > 2 * size, "searched: {}", second.read.get());
    }

    #[test]
    fn where_nothing_was_found_nothing_is_hashed() {
        let mut known = Known::default();
        let mut first = file();
        first.bytes[0x200] = b'x';
        let size = first.bytes.len();
        assert_eq!(known.locate(&first, size as u64), []);
        assert!(known.files.is_empty());
    }
}
