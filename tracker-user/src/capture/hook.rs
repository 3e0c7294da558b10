//! The contract between those who locate TLS functions and those who attach to them.

use std::sync::atomic::{AtomicU32, Ordering};

use super::Direction;

/// What a hooked function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookKind {
    /// Transfers plaintext: `(connection, buffer, length, ...)`.
    Transfer(Direction),
    /// Begins what is known under a pointer, where the first transfer does not tell: `(connection, ...)`.
    Begin,
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
    /// A function of aws-lc that encrypts or decrypts one record with a key. What it is given for a
    /// connection is the context of that key, which serves one direction.
    Aead(AeadFunction),
    /// `(EVP_AEAD_CTX *, ...)`, in the registers of C's: what sets up or clears the context of a key.
    AeadContext,
}

/// A function of aws-lc's `openssl/aead.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AeadFunction {
    /// `EVP_AEAD_CTX_seal(ctx, out, out_len, max_out_len, nonce, nonce_len, in, in_len, ad, ad_len)`
    Seal,
    /// `EVP_AEAD_CTX_seal_scatter(ctx, out, out_tag, out_tag_len, max_out_tag_len, nonce, nonce_len, in,
    /// in_len, extra_in, extra_in_len, ad, ad_len)`
    SealScatter,
    /// `EVP_AEAD_CTX_open(ctx, out, out_len, max_out_len, nonce, nonce_len, in, in_len, ad, ad_len)`
    Open,
    /// `EVP_AEAD_CTX_open_gather(ctx, out, nonce, nonce_len, in, in_len, in_tag, in_tag_len, ad, ad_len)`
    OpenGather,
}

impl AeadFunction {
    /// Which way the plaintext goes.
    #[must_use]
    pub const fn direction(self) -> Direction {
        match self {
            Self::Seal | Self::SealScatter => Direction::Write,
            Self::Open | Self::OpenGather => Direction::Read,
        }
    }
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

/// How sure it is that the functions are what they are taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// The file says so: they have their names.
    Symbols,
    /// They were told by what they do: traffic has to prove it, or refutes it.
    Inferred,
}

/// What traffic has said about a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// Both directions of a connection were plaintext of a protocol that is used over TLS.
    Verified,
    /// What passed through the functions was no plaintext.
    Refuted,
}

/// Which plan a probe belongs to: one for each stack in each file that is hooked, for as long as the
/// daemon runs. It travels in the attach cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlanId(u32);

impl PlanId {
    /// Of probes that nobody asks about.
    pub const NONE: Self = Self(0);
    const INFERRED: u32 = 1 << 31;

    /// One that was not given before.
    #[must_use]
    pub fn new(trust: Trust) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        // Past two thousand million they begin anew.
        let number = (NEXT.fetch_add(1, Ordering::Relaxed) & !Self::INFERRED).max(1);
        Self(if trust == Trust::Inferred { number | Self::INFERRED } else { number })
    }

    /// As it comes up from the kernel.
    pub(super) const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// As it goes down.
    pub(super) const fn raw(self) -> u32 {
        self.0
    }

    /// How the plan was found.
    #[must_use]
    pub const fn trust(self) -> Trust {
        if self.0 & Self::INFERRED == 0 { Trust::Symbols } else { Trust::Inferred }
    }
}

/// All that is worth hooking in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookPlan {
    /// The TLS stack that was recognised, for people and for the `stack` label.
    pub stack: &'static str,
    /// How it was.
    pub trust: Trust,
    /// Its functions. Each is optional for the others: one that cannot be attached fails nothing else.
    pub hooks: Vec<Hook>,
}
