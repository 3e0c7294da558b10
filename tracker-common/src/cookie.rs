//! The attach cookies of transfer probes.
//!
//! One entry program serves every function that moves plaintext. The cookie given at attach time
//! (`bpf_get_attach_cookie`) tells it how to read the arguments of the function it sits in.
//!
//! | bits | meaning |
//! |---|---|
//! | 0 | direction: 0 write, 1 read |
//! | 8..16 | where the count is: 0 the return value, else the 1-based argument that points to it |
//! | 16..24 | layout: [`LAYOUT_SSL`], [`LAYOUT_GO`], [`LAYOUT_GO_RECORD`], `LAYOUT_AEAD_*` |
//! | 32..64 | the plan that the probe belongs to, for user space; 0 where it does not matter |
//! | others | reserved, zero |

/// `(SSL *, buffer, length, ...)` in the registers of the calling convention.
pub const LAYOUT_SSL: u8 = 0;
/// `(*Conn, buffer, length, capacity)` in the registers of Go's calling convention.
pub const LAYOUT_GO: u8 = 1;
/// `(*Conn, record type, buffer, length, capacity)`, likewise.
pub const LAYOUT_GO_RECORD: u8 = 2;
/// `EVP_AEAD_CTX_seal` of aws-lc.
pub const LAYOUT_AEAD_SEAL: u8 = 3;
/// `EVP_AEAD_CTX_seal_scatter`.
pub const LAYOUT_AEAD_SEAL_SCATTER: u8 = 4;
/// `EVP_AEAD_CTX_open`.
pub const LAYOUT_AEAD_OPEN: u8 = 5;
/// `EVP_AEAD_CTX_open_gather`.
pub const LAYOUT_AEAD_OPEN_GATHER: u8 = 6;

/// The direction bit of a connection that the process writes to.
pub const WRITE: u32 = 0;
/// The direction bit of a connection that the process reads from.
pub const READ: u32 = 1;

/// How to read the arguments and the result of a transfer function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferCookie(pub u64);

impl TransferCookie {
    /// The first argument that may hold the pointer to the count: those before it are `SSL *`,
    /// buffer and length.
    pub const FIRST_DONE_ARGUMENT: u8 = 4;
    /// The last argument that is in a register on every architecture.
    pub const LAST_DONE_ARGUMENT: u8 = 6;

    /// Packs a cookie. `layout` is one of the constants above, `direction` is [`WRITE`] or [`READ`];
    /// `done_argument` is 0 where the return value is the count, else the 1-based argument that points
    /// to it.
    #[must_use]
    pub const fn new(layout: u8, direction: u32, done_argument: u8) -> Self {
        Self((direction & 1) as u64 | (done_argument as u64) << 8 | (layout as u64) << 16)
    }

    /// The same with the number of the plan that the probe belongs to.
    #[must_use]
    pub const fn with_plan(self, plan: u32) -> Self {
        Self(self.0 & 0xffff_ffff | (plan as u64) << 32)
    }

    /// The plan that the probe belongs to.
    #[must_use]
    pub const fn plan(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// [`WRITE`] or [`READ`].
    #[must_use]
    pub const fn direction(self) -> u32 {
        (self.0 & 1) as u32
    }

    /// One of `LAYOUT_*`.
    #[must_use]
    pub const fn layout(self) -> u8 {
        (self.0 >> 16) as u8
    }

    /// The 1-based argument that points to the count; 0 where the return value is the count.
    #[must_use]
    pub const fn done_argument(self) -> u8 {
        (self.0 >> 8) as u8
    }
}

/// How to read the count at an instruction of a function that has no return probe.
///
/// | bits | meaning |
/// |---|---|
/// | 0..8 | the register: 1 to 4 that of the layout's argument with that number, 0 none |
/// | 16..32 | where no register: distance above the stack pointer, in words |
/// | 32..64 | what to add to the stack pointer to get that at the entry, in bytes, signed |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitCookie(pub u64);

impl ExitCookie {
    /// The highest register number.
    pub const LAST_REGISTER: u8 = 4;

    /// The count is in a register, numbered from 1 as the layout's arguments are.
    #[must_use]
    pub const fn in_register(register: u8, stack_change: i32) -> Self {
        Self(register as u64 | (stack_change.cast_unsigned() as u64) << 32)
    }

    /// The count is on the stack, this many 8-byte words above the stack pointer.
    #[must_use]
    pub const fn on_stack(words: u16, stack_change: i32) -> Self {
        Self((words as u64) << 16 | (stack_change.cast_unsigned() as u64) << 32)
    }

    /// The register's number; 0 where the count is on the stack.
    #[must_use]
    pub const fn register(self) -> u8 {
        self.0 as u8
    }

    /// Distance of the count above the stack pointer, in bytes.
    #[must_use]
    pub const fn slot(self) -> u64 {
        (self.0 >> 16 & 0xffff) * 8
    }

    /// What to add to the stack pointer to get that at the entry, in bytes.
    #[must_use]
    pub const fn stack_change(self) -> i64 {
        ((self.0 >> 32) as u32).cast_signed() as i64
    }
}
