//! Numbers that nobody can guess.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// So many bytes, of the kernel.
///
/// # Errors
/// It has none, or a sandbox forbids to ask for them.
pub(crate) fn bytes<const BYTES: usize>() -> io::Result<[u8; BYTES]> {
    const { assert!(BYTES <= 256, "more may come in parts (getrandom(2))") }
    let mut bytes = [0; BYTES];
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes)
}
