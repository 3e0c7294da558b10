//! What comes up from the kernel, in the order in which it happened.

use super::{Chunk, ConnectionId, PlanId, Timestamp};

/// The first sight of a connection, with what the kernel knows of its process at that moment, so
/// that a process that has exited before anybody looked is still named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The connection.
    pub connection: ConnectionId,
    /// `comm` of the calling thread.
    pub comm: String,
    /// Real user id in the initial user namespace.
    pub uid: u32,
    /// The caller's cgroup v2 id.
    pub cgroup_id: u64,
    /// The plan whose probe saw it.
    pub plan: PlanId,
    /// When.
    pub at: Timestamp,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CaptureEvent {
    /// A connection was seen for the first time.
    Opened(Opened),
    /// Plaintext.
    Chunk(Chunk),
    /// The TLS library's object was freed.
    Closed {
        /// The connection.
        connection: ConnectionId,
        /// When.
        at: Timestamp,
    },
    /// A process replaced its program: its connections are gone.
    Exec {
        /// Thread group id.
        tgid: u32,
        /// When.
        at: Timestamp,
    },
    /// A thread group leader exited.
    Exit {
        /// Thread group id.
        tgid: u32,
        /// When.
        at: Timestamp,
    },
}

/// Whose connections are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Those of one process, by its thread group id, until it executes a program or exits.
    Process(u32),
    /// Those made in a cgroup, by its v2 id, not in those below it.
    Cgroup(u64),
    /// Those made as a user, by the real id in the initial user namespace.
    User(u32),
}

/// What user space has decided about a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Not decided: copied.
    #[default]
    Unknown,
    /// LLM traffic: copied.
    Capture,
    /// None of our business: nothing more is copied and no event is sent.
    Ignore,
}
