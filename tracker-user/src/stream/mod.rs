//! [`Chunk`](crate::capture::Chunk)s to HTTP exchanges: no I/O, no clock, no task.
//!
//! A [`Connection`] is fed the chunks of both directions of one TLS connection and hands out
//! borrowed [`Event`]s as soon as they are certain. Bodies pass through in pieces, already freed
//! of transfer and content codings; nothing is collected.

mod event;
pub mod sse;

pub use event::{End, Event, ExchangeId, RequestHead, ResponseHead, Role};
