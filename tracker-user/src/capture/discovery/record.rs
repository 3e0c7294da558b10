//! What the kernel's perf side-band says, decoded.
//!
//! Layouts: `enum perf_event_type` in the kernel's `include/uapi/linux/perf_event.h`. Every record
//! ends with the time, because the events are opened with `sample_id_all` and `PERF_SAMPLE_TIME`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use perf_event_open_sys as sys;
use sys::bindings::{
    PERF_RECORD_CGROUP, PERF_RECORD_COMM, PERF_RECORD_EXIT, PERF_RECORD_FORK, PERF_RECORD_LOST,
    PERF_RECORD_MISC_COMM_EXEC, PERF_RECORD_MMAP2,
};

use super::maps::{Alias, Mapping};
use super::report::ProcessEvent;
use crate::capture::Timestamp;

/// Bytes of a record's header: type, flags, size.
pub(super) const HEADER: usize = 8;
/// Bytes of the time at a record's end.
const TRAILER: usize = 8;

/// Something that happened, mostly to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// It mapped a file as executable.
    Mapped { pid: u32, mapping: Mapping },
    /// It was made, as a copy of another.
    Forked { pid: u32, parent: u32 },
    /// It replaced its program, which gave it this name: all mappings before are gone.
    Executed { pid: u32, comm: String },
    /// Its first thread ended.
    LeaderExited { pid: u32 },
    /// A cgroup was made.
    CgroupMade { id: u64, path: String },
    /// This many records are missing.
    Lost(u64),
}

/// A happening, and its time on the monotonic clock, in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) time: u64,
    pub(super) happening: Happening,
}

impl Record {
    /// What of it is told to others.
    pub(super) fn event(&self) -> Option<ProcessEvent> {
        let at = Timestamp(self.time);
        match &self.happening {
            &Happening::Forked { pid, parent } => Some(ProcessEvent::Forked { pid, parent, at }),
            Happening::Executed { pid, comm } => {
                Some(ProcessEvent::Executed { pid: *pid, comm: comm.clone(), at })
            }
            &Happening::LeaderExited { pid } => Some(ProcessEvent::Ended { pid, at }),
            Happening::CgroupMade { id, path } => {
                Some(ProcessEvent::CgroupMade { id: *id, path: path.clone() })
            }
            Happening::Lost(_) => Some(ProcessEvent::Lost),
            Happening::Mapped { .. } => None,
        }
    }
}

/// Decodes one record; `None` for those without interest and for malformed ones.
pub(super) fn parse(bytes: &[u8]) -> Option<Record> {
    let kind = u32_at(bytes, 0)?;
    let flags = u32::from(u16::from_ne_bytes(array_at(bytes, 4)?));
    let body = bytes.get(HEADER..bytes.len().checked_sub(TRAILER)?)?;
    let time = u64_at(bytes, bytes.len() - TRAILER)?;
    let happening = match kind {
        PERF_RECORD_MMAP2 => mapped(body)?,
        PERF_RECORD_COMM if flags & PERF_RECORD_MISC_COMM_EXEC != 0 => Happening::Executed {
            pid: process(body, 0)?,
            comm: String::from_utf8_lossy(text_at(body, 8)?).into(),
        },
        PERF_RECORD_FORK => {
            let (pid, parent) = (process(body, 0)?, process(body, 4)?);
            if pid == parent {
                return None; // A thread.
            }
            Happening::Forked { pid, parent }
        }
        PERF_RECORD_EXIT => {
            let (pid, thread) = (process(body, 0)?, u32_at(body, 8)?);
            if pid != thread {
                return None;
            }
            Happening::LeaderExited { pid }
        }
        PERF_RECORD_CGROUP => Happening::CgroupMade {
            id: u64_at(body, 0)?,
            path: String::from_utf8_lossy(text_at(body, 8)?).into(),
        },
        PERF_RECORD_LOST => Happening::Lost(u64_at(body, 8)?),
        _ => return None,
    };
    Some(Record { time, happening })
}

/// `pid, tid, addr, len, pgoff, maj, min, ino, ino_generation, prot, flags, filename`.
fn mapped(body: &[u8]) -> Option<Happening> {
    let pid = process(body, 0)?;
    let start = u64_at(body, 8)?;
    let end = start.checked_add(u64_at(body, 16)?)?;
    let alias = Alias { major: u32_at(body, 32)?, minor: u32_at(body, 36)?, inode: u64_at(body, 40)? };
    if alias.inode == 0 {
        return None; // Anonymous memory, or the kernel's own.
    }
    let path = OsString::from_vec(text_at(body, 64)?.to_vec());
    Some(Happening::Mapped { pid, mapping: Mapping { start, end, alias, path } })
}

/// A process id; absent where the process is not visible in this pid namespace.
fn process(body: &[u8], at: usize) -> Option<u32> {
    u32_at(body, at).filter(|pid| (1..=i32::MAX.unsigned_abs()).contains(pid))
}

/// The bytes up to a zero byte, or up to the end.
fn text_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    bytes.get(at..)?.split(|&byte| byte == 0).next()
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u32, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = kind.to_ne_bytes().to_vec();
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(((body.len() + HEADER + TRAILER) as u16).to_ne_bytes());
        bytes.extend(body);
        bytes.extend(77_u64.to_ne_bytes());
        bytes
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn forks_are_told_from_new_threads() {
        let fork = parse(&record(PERF_RECORD_FORK, 0, &words(&[20, 10, 20, 10, 0, 0]))).unwrap();
        assert_eq!(fork, Record { time: 77, happening: Happening::Forked { pid: 20, parent: 10 } });
        assert_eq!(parse(&record(PERF_RECORD_FORK, 0, &words(&[10, 10, 21, 10, 0, 0]))), None);
    }

    #[test]
    fn a_name_change_is_no_exec() {
        let body = [words(&[5, 5]), b"name\0\0\0\0".to_vec()].concat();
        assert_eq!(parse(&record(PERF_RECORD_COMM, 0, &body)), None);
        let exec = parse(&record(PERF_RECORD_COMM, PERF_RECORD_MISC_COMM_EXEC as u16, &body)).unwrap();
        assert_eq!(exec.happening, Happening::Executed { pid: 5, comm: "name".to_owned() });
    }

    #[test]
    fn a_cgroup_is_told_of_with_its_path() {
        let body = [4711_u64.to_ne_bytes().as_slice(), b"/docker/abc\0\0\0\0\0"].concat();
        let made = parse(&record(PERF_RECORD_CGROUP, 0, &body)).unwrap();
        assert_eq!(made.happening, Happening::CgroupMade { id: 4711, path: "/docker/abc".to_owned() });
        assert_eq!(parse(&record(PERF_RECORD_CGROUP, 0, &body[..7])), None);
    }

    #[test]
    fn no_prefix_of_a_record_panics() {
        let mapped = record(PERF_RECORD_MMAP2, 0, &[7; 100]);
        for kind in 0..20_u32 {
            let mut bytes = mapped.clone();
            bytes[..4].copy_from_slice(&kind.to_ne_bytes());
            for end in 0..bytes.len() {
                let _ = parse(&bytes[..end]);
            }
        }
    }
}
