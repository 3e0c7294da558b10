//! The contract between those who locate TLS functions and those who attach to them.

use super::Direction;

/// What a hooked function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookKind {
    /// Transfers plaintext: `(SSL *, buffer, length, ...)`.
    Transfer(Direction),
    /// Ends a connection: `(SSL *)`.
    Free,
}

/// Where a transfer function leaves the number of bytes that were really transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transferred {
    /// It is the return value, where that is positive.
    Returned,
    /// It is stored through the pointer in this argument (1-based), where the return value is positive.
    StoredThrough(u8),
}

/// One function and the cheapest instructions at which its arguments and its result can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// What the function does.
    pub kind: HookKind,
    /// Its name, for people.
    pub function: &'static str,
    /// File offset of the instruction for the entry probe: the arguments are still in the registers
    /// of the calling convention when it is reached.
    pub entry_offset: u64,
    /// File offset for the return probe, at which the return address is on top of the stack; absent
    /// where only the entry matters.
    pub return_offset: Option<u64>,
    /// Where the byte count is.
    pub transferred: Transferred,
    /// Whether the kernel emulates the probed instruction; where not, a hit costs thirty times more.
    pub emulated: bool,
}

/// All that is worth hooking in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookPlan {
    /// The TLS stack that was recognised, for people and for the `stack` label.
    pub stack: &'static str,
    /// Its functions. Each is optional for the others: one that cannot be attached fails nothing else.
    pub hooks: Vec<Hook>,
}
