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
