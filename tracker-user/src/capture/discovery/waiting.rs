//! Large files that wait to be judged.
//!
//! They are held open meanwhile: a file is judged even if the process that mapped it has ended before its
//! turn, so that the next to map it is seen from its first call.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::PathBuf;

use super::file::{self, Found, Identity, Version};
use super::maps::{self, Mapping};

/// Files that can wait, each a descriptor. The next look at all processes finds those that could not.
const MAX_FILES: usize = 128;
/// Users remembered of one that waits.
const MAX_USERS: usize = 256;

/// A large file that is to be judged.
pub(super) struct Large {
    pub(super) file: File,
    pub(super) identity: Identity,
    pub(super) version: Version,
    /// As the process sees it that mapped it first.
    pub(super) path: PathBuf,
    pub(super) namespace: Option<u64>,
}

/// How soon a file is to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Before all others: it was just mapped, and the first call may be near.
    Next,
    /// After them: it was there already.
    Last,
}

/// See the module.
#[derive(Default)]
pub(super) struct Waiting {
    files: VecDeque<Large>,
    /// Who maps each of them, and each that was taken to be judged.
    users: HashMap<Identity, Vec<(u32, Mapping)>>,
}

impl Waiting {
    /// Has a file wait that a process maps, and says which it is; `None` where too many do.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub(super) fn add(
        &mut self,
        found: &Found,
        pid: u32,
        mapping: &Mapping,
        turn: Turn,
    ) -> io::Result<Option<Identity>> {
        let mut identity = found.identity;
        if !self.users.contains_key(&identity) {
            if self.files.len() >= MAX_FILES {
                return Ok(None);
            }
            let (file, opened, version) = file::open(found)?;
            identity = opened;
            let path = PathBuf::from(&mapping.path);
            let namespace = maps::mount_namespace(found.through);
            self.files.push_back(Large { file, identity, version, path, namespace });
        }
        if turn == Turn::Next
            && let Some(at) = self.files.iter().position(|large| large.identity == identity)
            && let Some(large) = self.files.remove(at)
        {
            self.files.push_front(large);
        }
        self.add_user(identity, pid, mapping);
        Ok(Some(identity))
    }

    /// One more process maps a file that waits.
    pub(super) fn add_user(&mut self, identity: Identity, pid: u32, mapping: &Mapping) {
        let users = self.users.entry(identity).or_default();
        if users.len() < MAX_USERS {
            users.push((pid, mapping.clone()));
        }
    }

    /// The next to be judged, if any. It counts as waiting until its users are taken.
    pub(super) fn next(&mut self) -> Option<Large> {
        self.files.pop_front()
    }

    /// Those that have mapped a file while it waited, some of which may have ended.
    pub(super) fn take_users(&mut self, identity: Identity) -> Vec<(u32, Mapping)> {
        self.users.remove(&identity).unwrap_or_default()
    }
}
