//! HTTP/1.1 (RFC 9112) as it is spoken, not as a server would have to insist on it.

pub(super) mod body;
pub(super) mod head;
pub(super) mod start;

/// Longest head that is accepted, in bytes; common servers stop at 8 to 32 KiB.
pub(super) const MAX_HEAD: usize = 64 * 1024;

/// The bytes are not what the protocol allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;
