//! What capture hands to the stages above it.

use bytes::Bytes;

/// Nanoseconds on the kernel's monotonic clock (`bpf_ktime_get_ns`, `CLOCK_MONOTONIC`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Seconds from `earlier` to `self`; zero where the clocks of two CPUs disagree by a hair.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1e9
    }
}

/// One TLS connection of one process.
///
/// The `SSL` pointer alone is reused after `SSL_free` and shared by forked processes; file
/// descriptors are no identity at all, because memory BIOs have none. The generation is unique
/// for every connection that the kernel side has ever tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// Process (thread group) id in the initial pid namespace.
    pub tgid: u32,
    /// Distinguishes connections that reuse the same pointer.
    pub generation: u32,
    /// Address of the TLS library's connection object.
    pub ssl: u64,
}

/// Which way the plaintext went, seen from the process that was watched.
///
/// It says nothing about who is the client: that is learnt from the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The process handed the bytes to its TLS library.
    Write,
    /// The process received the bytes from its TLS library.
    Read,
}

impl Direction {
    /// The other direction of the same connection.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Write => Self::Read,
            Self::Read => Self::Write,
        }
    }
}

/// Consecutive plaintext bytes of one direction of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The connection the bytes belong to.
    pub connection: ConnectionId,
    /// Thread that made the call.
    pub tid: u32,
    /// Which way they went.
    pub direction: Direction,
    /// Position of the first byte in this direction, counted in the kernel whether or not the
    /// bytes before it were delivered: a jump is a gap, never to be spliced over.
    pub offset: u64,
    /// When the write that sent them was entered, or the read that received them returned: what was sent
    /// is older than the answer to it, also where the answer is delivered first.
    pub timestamp: Timestamp,
    /// The caller's cgroup v2 id.
    pub cgroup_id: u64,
    /// The plaintext.
    pub bytes: Bytes,
}
