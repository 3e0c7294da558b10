//! `/proc` as discovery needs it: processes, their executable file mappings, their mount namespaces.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::str;

/// A file as the kernel names it in `/proc/PID/maps` and in the perf side-band. On some file systems
/// (btrfs, overlayfs) `stat` says otherwise, so this is no identity, but it stands for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Alias {
    pub(super) major: u32,
    pub(super) minor: u32,
    pub(super) inode: u64,
}

/// An executable mapping of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) alias: Alias,
    /// As seen in the process's mount namespace, with ` (deleted)` behind it where it is.
    pub(super) path: OsString,
}

impl Mapping {
    /// The same without the path, which is long and only one way to the file.
    pub(super) fn range(&self) -> Self {
        Self { path: OsString::new(), ..*self }
    }
}

/// Whether processes can be seen at all.
pub(super) fn check() -> io::Result<()> {
    fs::metadata("/proc/self/maps").map(drop)
}

/// Where the kernel tells of processes.
pub(super) const PROC: &str = "/proc";

/// The ids of all processes that a proc file system has.
pub(crate) fn processes(proc_root: impl AsRef<Path>) -> io::Result<impl Iterator<Item = u32>> {
    Ok(fs::read_dir(proc_root)?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()))
}

/// The executable file mappings of a process.
pub(super) fn mappings(pid: u32) -> io::Result<Vec<Mapping>> {
    let text = fs::read(format!("/proc/{pid}/maps"))?;
    Ok(text.split(|&byte| byte == b'\n').filter_map(mapping).collect())
}

/// Decodes `start-end perms offset major:minor inode path`.
fn mapping(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let mut field = || str::from_utf8(fields.next()?).ok();
    let range = field()?;
    if field()?.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let (_offset, device, inode) = (field()?, field()?, field()?.parse().ok()?);
    if inode == 0 {
        return None;
    }
    let path = fields.next()?.trim_ascii_start();
    let (start, end) = range.split_once('-')?;
    let (major, minor) = device.split_once(':')?;
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        alias: Alias {
            major: u32::from_str_radix(major, 16).ok()?,
            minor: u32::from_str_radix(minor, 16).ok()?,
            inode,
        },
        path: OsStr::from_bytes(path).to_owned(),
    })
}

/// The mount namespace of a process.
pub(super) fn mount_namespace(pid: u32) -> Option<u64> {
    fs::metadata(format!("/proc/{pid}/ns/mnt")).ok().map(|metadata| metadata.ino())
}

/// The mount namespaces that last as long as we do: our own, and that of the first process.
pub(super) fn lasting_mount_namespaces() -> [Option<u64>; 2] {
    [mount_namespace(std::process::id()), mount_namespace(1)]
}

/// All mount namespaces with a process in them, and one such process.
pub(super) fn mount_namespaces() -> io::Result<HashMap<u64, u32>> {
    Ok(processes(PROC)?.filter_map(|pid| Some((mount_namespace(pid)?, pid))).collect())
}

/// Whether nothing of a process runs any more: it is gone, or its last thread waits to be reaped.
pub(super) fn has_ended(pid: u32) -> bool {
    let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else { return true };
    // `pid (comm) state ...`, and the comm can hold anything.
    let Some(end) = stat.iter().rposition(|&byte| byte == b')') else { return true };
    let mut fields = stat.get(end + 1..).unwrap_or_default().split(|&b| b == b' ').filter(|f| !f.is_empty());
    let state = fields.next();
    // The number of threads is field 20, the state field 3.
    let threads = fields.nth(16).and_then(|f| str::from_utf8(f).ok()).and_then(|f| f.parse::<u32>().ok());
    matches!(state, Some(b"Z" | b"X")) && threads.is_none_or(|threads| threads <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let line = b"7f00-7f10 r-xp 00001000 fe:01 1234                       /usr/lib/a b.so (deleted)";
        let mapping = mapping(line).unwrap();
        assert_eq!(mapping.alias, Alias { major: 0xfe, minor: 1, inode: 1234 });
        assert_eq!((mapping.start, mapping.end), (0x7f00, 0x7f10));
        assert_eq!(mapping.path, "/usr/lib/a b.so (deleted)");
    }

    #[test]
    fn what_is_not_an_executable_file_is_left_out() {
        assert_eq!(mapping(b"7f00-7f10 r--p 00001000 fe:01 1234   /usr/lib/a.so"), None);
        assert_eq!(mapping(b"7ffc-7ffe r-xp 00000000 00:00 0      [vdso]"), None);
        assert_eq!(mapping(b"nonsense"), None);
        assert_eq!(mapping(b""), None);
    }

    #[test]
    fn this_process_is_alive_and_maps_itself() {
        let pid = std::process::id();
        assert!(!has_ended(pid));
        assert!(processes(PROC).unwrap().any(|id| id == pid));
        let program = std::env::current_exe().unwrap();
        assert!(mappings(pid).unwrap().iter().any(|mapping| mapping.path == program));
        assert!(mount_namespaces().unwrap().contains_key(&mount_namespace(pid).unwrap()));
    }
}
