//! Reaches a mapped file, whatever its path means here: it may be deleted, or in another mount
//! namespace.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::maps::Mapping;

/// `OVERLAYFS_SUPER_MAGIC`, `include/uapi/linux/magic.h`.
const OVERLAYFS: rustix::fs::FsWord = 0x794c_7630;
/// Stands for every overlay's device number.
const ANY_OVERLAY: u64 = u64::MAX;

/// Which file it is.
///
/// Containers of one image see one file of a lower layer through overlays with different device
/// numbers, and a probe sits on the one inode below. So for overlays the device is left out and the
/// time of change, which comes from below, put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    overlay_change: (i64, i64),
}

/// Which content it has, as far as can be told without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Version {
    pub(super) size: u64,
    modified: (i64, i64),
}

/// Where to find a mapped file.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// The process as which it is seen: one that maps it or, where that has ended, ourselves.
    pub(super) through: u32,
    pub(super) identity: Identity,
    pub(super) version: Version,
}

/// Finds a file that a process maps.
///
/// `/proc/PID/map_files` always leads to the right file but needs `CAP_SYS_ADMIN` or
/// `CAP_CHECKPOINT_RESTORE`, and the mapping still in place; else the path is tried below the process's
/// root, and below our own where the process has ended already. There it counts only if it is the same
/// inode.
pub(super) fn find(pid: u32, mapping: &Mapping) -> io::Result<Found> {
    let path = PathBuf::from(format!("/proc/{pid}/map_files/{:x}-{:x}", mapping.start, mapping.end));
    if let Ok(metadata) = fs::metadata(&path) {
        return Ok(found(path, pid, &metadata));
    }
    below_root(pid, mapping).or_else(|_| below_root(std::process::id(), mapping))
}

/// Finds a mapped file by its path, as one process sees it.
fn below_root(pid: u32, mapping: &Mapping) -> io::Result<Found> {
    let relative = Path::new(&mapping.path).strip_prefix("/").map_err(io::Error::other)?;
    let path = Path::new("/proc").join(pid.to_string()).join("root").join(relative);
    let metadata = fs::metadata(&path)?;
    let device = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
    // Major 0 is for file systems without a block device, where the two numbers may differ.
    if metadata.ino() != mapping.alias.inode
        || (device != (mapping.alias.major, mapping.alias.minor) && device.0 != 0)
    {
        return Err(io::Error::new(io::ErrorKind::NotFound, "another file has taken its path"));
    }
    Ok(found(path, pid, &metadata))
}

/// Finds a file by a path of our own.
pub(super) fn at(path: PathBuf) -> io::Result<Found> {
    let metadata = fs::metadata(&path)?;
    Ok(found(path, std::process::id(), &metadata))
}

/// Opens it, and looks again at what was opened.
pub(super) fn open(found: &Found) -> io::Result<(File, Identity, Version)> {
    let file = File::open(&found.path)?;
    let again = self::found(found.path.clone(), found.through, &file.metadata()?);
    Ok((file, again.identity, again.version))
}

fn found(path: PathBuf, through: u32, metadata: &Metadata) -> Found {
    let overlay = rustix::fs::major(metadata.dev()) == 0
        && rustix::fs::statfs(&path).is_ok_and(|statfs| statfs.f_type == OVERLAYFS);
    let identity = if overlay {
        Identity {
            device: ANY_OVERLAY,
            inode: metadata.ino(),
            overlay_change: (metadata.ctime(), metadata.ctime_nsec()),
        }
    } else {
        Identity { device: metadata.dev(), inode: metadata.ino(), overlay_change: (0, 0) }
    };
    let version = Version { size: metadata.size(), modified: (metadata.mtime(), metadata.mtime_nsec()) };
    Found { path, through, identity, version }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::discovery::maps;

    /// This program's own mapping, at an address where `map_files` has none.
    fn elsewhere() -> Mapping {
        let program = std::env::current_exe().unwrap();
        let mappings = maps::mappings(std::process::id()).unwrap();
        let real = mappings.into_iter().find(|mapping| mapping.path == program).unwrap();
        Mapping { start: 0x1000, end: 0x2000, ..real }
    }

    #[test]
    fn the_path_below_the_root_serves_where_map_files_does_not() {
        let pid = std::process::id();
        let found = find(pid, &elsewhere()).unwrap();
        assert!(found.path.starts_with(format!("/proc/{pid}/root")));
        let metadata = fs::metadata(std::env::current_exe().unwrap()).unwrap();
        assert_eq!(found.identity, self::found(found.path.clone(), pid, &metadata).identity);
        let (_, identity, version) = open(&found).unwrap();
        assert_eq!((identity, version), (found.identity, found.version));
    }

    #[test]
    fn our_own_root_serves_where_the_process_has_ended() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let found = find(child.id(), &elsewhere()).unwrap();
        assert_eq!(found.identity, find(std::process::id(), &elsewhere()).unwrap().identity);
        assert_eq!(found.through, std::process::id());
    }

    #[test]
    fn but_not_where_another_file_has_its_path() {
        let mut mapping = elsewhere();
        mapping.alias.inode += 1;
        assert!(find(std::process::id(), &mapping).is_err());
        mapping.path = "relative".into();
        assert!(find(std::process::id(), &mapping).is_err());
    }
}
