//! Keys and values of the maps that both sides touch.

use crate::Plain;

/// A connection, as long as its `SSL` object lives.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionKey {
    /// Thread group id in the initial pid namespace.
    pub tgid: u32,
    /// Zero.
    pub reserved: u32,
    /// Address of the `SSL` object.
    pub ssl: u64,
}

/// A call that a goroutine is in.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GoCallKey {
    /// Thread group id in the initial pid namespace.
    pub tgid: u32,
    /// Zero.
    pub reserved: u32,
    /// Address of the goroutine.
    pub goroutine: u64,
    /// Distance of the stack pointer at the function's entry from the upper end of the stack.
    pub depth: u64,
}

/// Size of what the kernel side keeps of a call; its meaning is the kernel side's own.
pub const CALL_BYTES: usize = 152;

/// What the kernel side knows of a connection. Only the kernel side writes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Unique among all connections ever tracked; tells pointers that were used again apart.
    pub generation: u32,
    /// One of [`verdict`].
    pub verdict: u32,
    /// Bytes transferred so far, by direction ([`crate::cookie::WRITE`], [`crate::cookie::READ`]).
    pub offsets: [u64; 2],
    /// Whether an opened record was delivered.
    pub reported: u64,
}

/// What user space has decided, as stored in the `VERDICTS` map by generation.
pub mod verdict {
    /// Not decided: copied.
    pub const UNKNOWN: u32 = 0;
    /// LLM traffic: copied.
    pub const CAPTURE: u32 = 1;
    /// None of our business: nothing is copied, no event is sent.
    pub const IGNORE: u32 = 2;
}

/// Whose connections are ignored from their first byte on, as the operator wants it: the keys of the `IGNORED`
/// map, which user space fills.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScopeKey {
    /// One of [`scope`].
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
    /// What it says depends on the kind.
    pub id: u64,
}

/// Kinds of [`ScopeKey`].
pub mod scope {
    /// `id` is a thread group id. Goes when that process executes a program or exits.
    pub const PROCESS: u32 = 1;
    /// `id` is a cgroup v2 id.
    pub const CGROUP: u32 = 2;
    /// `id` is a real user id in the initial user namespace.
    pub const USER: u32 = 3;
}

// SAFETY: `repr(C)`, integers only, 4 + 4 + 8 bytes without padding.
unsafe impl Plain for ScopeKey {}
// SAFETY: `repr(C)`, integers only, 4 + 4 + 8 bytes without padding.
unsafe impl Plain for ConnectionKey {}
// SAFETY: `repr(C)`, integers only, 2 * 4 + 2 * 8 bytes without padding.
unsafe impl Plain for GoCallKey {}
// SAFETY: `repr(C)`, integers only, 4 + 4 + 16 + 8 bytes without padding.
unsafe impl Plain for Connection {}

// SAFETY: as for `Plain`.
#[cfg(feature = "user")]
unsafe impl aya::Pod for ScopeKey {}
// SAFETY: as for `Plain`.
#[cfg(feature = "user")]
unsafe impl aya::Pod for ConnectionKey {}
// SAFETY: as for `Plain`.
#[cfg(feature = "user")]
unsafe impl aya::Pod for GoCallKey {}
// SAFETY: as for `Plain`.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Connection {}
