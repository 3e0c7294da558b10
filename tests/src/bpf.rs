//! What the kernel says of the BPF programs in it.

use std::{collections::BTreeSet, fs, io};

use anyhow::{Context as _, Result};

/// `BPF_PROG_GET_NEXT_ID`
const GET_NEXT_ID: libc::c_long = 11;

/// The part of `union bpf_attr` that `BPF_PROG_GET_NEXT_ID` uses.
#[repr(C)]
struct NextId {
    start: u32,
    next: u32,
    flags: u32,
}

/// Ids of all programs in the kernel.
///
/// # Errors
///
/// Where the kernel does not say.
pub fn programs() -> Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    let mut attribute = NextId { start: 0, next: 0, flags: 0 };
    loop {
        // SAFETY: the kernel reads and writes no more than the size given, which is that of the struct.
        let done =
            unsafe { libc::syscall(libc::SYS_bpf, GET_NEXT_ID, &raw mut attribute, size_of::<NextId>()) };
        if done != 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() == Some(libc::ENOENT) {
                return Ok(ids);
            }
            return Err(error).context("cannot list BPF programs");
        }
        ids.insert(attribute.next);
        attribute.start = attribute.next;
    }
}

/// Ids of the programs that a process holds open.
///
/// # Errors
///
/// Where `/proc` does not say.
pub fn programs_of(pid: u32) -> Result<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor may be closed between the listing and the reading.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        ids.extend(
            text.lines()
                .filter_map(|line| line.strip_prefix("prog_id:"))
                .filter_map(|id| id.trim().parse::<u32>().ok()),
        );
    }
    Ok(ids)
}
