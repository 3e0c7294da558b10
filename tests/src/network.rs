//! A network of a test's own.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::{child, client};

/// Leaves the machine's network for a new one that has loopback and nothing else. It is this thread's, and that of
/// the threads and programs that it starts from now on.
///
/// # Errors
///
/// Where that is not allowed.
pub fn leave() -> Result<()> {
    // SAFETY: a system call without pointers, about this thread only.
    let left = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    ensure!(left == 0, "cannot leave the network: {}", std::io::Error::last_os_error());
    let mut loopback = Command::new("/usr/sbin/ip");
    loopback.args(["link", "set", "lo", "up"]);
    child::output(loopback, client::LIMIT).map(drop)
}
