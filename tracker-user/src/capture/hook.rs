//! The contract between those who locate TLS functions and those who attach to them.

use super::Direction;

/// What a hooked function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookKind {
    /// Transfers plaintext: `(connection, buffer, length, ...)`.
    Transfer(Direction),
    /// Ends a connection: `(connection)`.
    Free,
}

/// What a function's arguments mean and where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `(SSL *, buffer, length, ...)`, in the registers of C's calling convention.
    Ssl,
    /// `(*Conn, buffer, length, capacity)`, in the registers of Go's (1.17 and later).
    Go,
    /// `(*Conn, record type, buffer, length, capacity)`, likewise, which transfers all or fails for good:
    /// its entry tells all. Only application data counts.
    GoRecord,
}

/// Where a transfer function leaves the number of bytes that were really transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transferred {
    /// It is the return value, where that is positive.
    Returned,
    /// It is stored through the pointer in this argument (1-based), where the return value is positive.
    StoredThrough(u8),
}

/// Where the end of a function is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Returns {
    /// Nowhere: only the entry matters.
    None,
    /// By a return probe that is set at this file offset, where the return address is on top of the
    /// stack.
    Probe(u64),
    /// By plain probes at instructions: every call that moves anything passes one of them, the first of
    /// which counts. For stacks that move, on which a return address must not be replaced.
    Instructions(Vec<Exit>),
}

/// An instruction at which a call has done its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Exit {
    /// Its file offset.
    pub offset: u64,
    /// Where the count is when it is reached.
    pub count: CountAt,
    /// What to add to the stack pointer to get that at the entry probe, in bytes.
    pub stack_change: i32,
}

/// Where the count is at an [`Exit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CountAt {
    /// In the register of the layout's argument with this number (1-based, at most 4).
    Register(u8),
    /// On the stack, this many words of 8 bytes above the stack pointer.
    Stack(u16),
}

/// One function and the cheapest instructions at which its arguments and its result can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// What the function does.
    pub kind: HookKind,
    /// Its name, for people.
    pub function: &'static str,
    /// Where its arguments are.
    pub layout: Layout,
    /// File offset of the instruction for the entry probe: the arguments are still in the registers
    /// of the layout when it is reached.
    pub entry_offset: u64,
    /// Where its end is seen.
    pub returns: Returns,
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
