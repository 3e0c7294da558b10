//! The attach cookie of a transfer probe.
//!
//! One entry program serves every function that moves plaintext. The cookie given at attach time
//! (`bpf_get_attach_cookie`) tells it how to read the arguments of the function it sits in.
//!
//! | bits | meaning |
//! |---|---|
//! | 0 | direction: 0 write, 1 read |
//! | 8..16 | where the count is: 0 the return value, else the 1-based argument that points to it |
//! | 16..24 | layout: [`LAYOUT_SSL`], [`LAYOUT_GO`] |
//! | others | reserved, zero |

/// `(SSL *, buffer, length, ...)` in the registers of the calling convention.
pub const LAYOUT_SSL: u8 = 0;
/// `(*Conn, buffer, length, capacity)` in the registers of Go's calling convention.
pub const LAYOUT_GO: u8 = 1;

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

    /// [`WRITE`] or [`READ`].
    #[must_use]
    pub const fn direction(self) -> u32 {
        (self.0 & 1) as u32
    }

    /// The 1-based argument that points to the count; 0 where the return value is the count.
    #[must_use]
    pub const fn done_argument(self) -> u8 {
        (self.0 >> 8) as u8
    }
}
