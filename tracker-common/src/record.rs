//! What the kernel side writes into the ring buffer.
//!
//! Every record begins with a [`Header`]; `kind` says what follows it: nothing ([`CLOSED`],
//! [`EXEC`], [`EXIT`]), the rest of an [`Opened`], or the rest of a [`Data`] and its payload.

use crate::Plain;

/// [`Opened`]: a connection transferred its first bytes.
pub const OPENED: u32 = 1;
/// [`Data`]: plaintext.
pub const DATA: u32 = 2;
/// [`Header`]: the connection's `SSL` object is being freed.
pub const CLOSED: u32 = 3;
/// [`Header`]: a process replaced its program.
pub const EXEC: u32 = 4;
/// [`Header`]: a thread group leader exited.
pub const EXIT: u32 = 5;

/// Room for payload in the records of each size, in bytes. A call's bytes go into as many of the
/// largest as they fill, and the rest into the smallest that holds it.
pub const TIERS: [usize; 5] = [256, 1024, 4096, 8 * 1024, 16 * 1024];
/// The largest of [`TIERS`].
pub const LARGEST_TIER: usize = TIERS[4];
/// The most that may be configured to be copied of one call, in bytes.
pub const MAX_CALL_CAP: u32 = 4 << 20;

/// How every record begins.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the record is.
    pub kind: u32,
    /// Calling thread.
    pub tid: u32,
    /// Its thread group, in the initial pid namespace.
    pub tgid: u32,
    /// The connection's generation; zero where the record is about no connection.
    pub generation: u32,
    /// The connection's `SSL` object; zero where the record is about no connection.
    pub ssl: u64,
    /// `bpf_ktime_get_ns`.
    pub timestamp: u64,
}

/// A connection transferred its first bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// `kind` is [`OPENED`].
    pub header: Header,
    /// The caller's cgroup v2 id.
    pub cgroup_id: u64,
    /// The caller's real user id in the initial user namespace.
    pub uid: u32,
    /// [`crate::TransferCookie::plan`] of the probe that saw it.
    pub plan: u32,
    /// `comm` of the calling thread, ended by a zero.
    pub comm: [u8; 16],
}

/// Plaintext. `length` bytes of payload follow, then bytes of no meaning up to the record's size.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data {
    /// `kind` is [`DATA`].
    pub header: Header,
    /// The caller's cgroup v2 id.
    pub cgroup_id: u64,
    /// Position of the first byte in this direction of the connection.
    pub offset: u64,
    /// [`crate::cookie::WRITE`] or [`crate::cookie::READ`].
    pub direction: u32,
    /// Bytes of payload.
    pub length: u32,
}

/// A [`Data`] record with room for `N` bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DataRecord<const N: usize> {
    /// What the payload is.
    pub data: Data,
    /// Payload.
    pub payload: [u8; N],
}

// SAFETY: `repr(C)`, integers only, 4 * 4 + 2 * 8 bytes without padding.
unsafe impl Plain for Header {}
// SAFETY: `repr(C)`, integers only, 32 + 8 + 2 * 4 + 16 bytes without padding.
unsafe impl Plain for Opened {}
// SAFETY: `repr(C)`, integers only, 32 + 2 * 8 + 2 * 4 bytes without padding.
unsafe impl Plain for Data {}
