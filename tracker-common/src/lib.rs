//! What crosses the kernel boundary, defined once for both sides.
//!
//! - [`record`]: what the kernel side writes into the ring buffer.
//! - [`state`]: what both sides keep in maps: connections, verdicts.
//! - [`cookie`]: how an attached probe is told where its function keeps its arguments.
//! - [`counter`]: what the kernel side counts.
//!
//! Everything is `#[repr(C)]` and free of padding, so that no uninitialised kernel memory leaves
//! the kernel, and made of integers only, so that any bytes are a valid value.
#![no_std]

pub mod cookie;
pub mod counter;
pub mod plain;
pub mod record;
pub mod state;

pub use cookie::{ExitCookie, TransferCookie};
pub use counter::Counter;
pub use plain::Plain;
