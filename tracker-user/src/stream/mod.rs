//! [`Chunk`](crate::capture::Chunk)s to HTTP exchanges: no I/O, no clock, no task.
//!
//! A [`Connection`] is fed the chunks of both directions of one TLS connection and hands out
//! borrowed [`Event`]s as soon as they are certain. Bodies pass through in pieces, already freed
//! of transfer and content codings; nothing is collected.
//!
//! A chunk goes to its direction (`half`), which is in step with the messages or waits for one to
//! begin; `http1` says what a head means and where a body ends, `coding` undoes what the body is
//! wrapped in, and `exchanges` knows which response belongs to which request; one that was delivered before
//! its request waits for it, as `connection/early.rs` explains. A connection that shows
//! itself to be HTTP/2 is `http2`'s from then on, with the same `coding`; one that was upgraded to
//! WebSocket is `websocket`'s. What a body means is
//! for the stage above; [`Beginning`] tells plaintext from what is none. [`sse`] and [`grpc`] are here
//! because they are framing too.

mod coding;
mod connection;
mod counters;
mod event;
mod exchanges;
pub mod grpc;
mod half;
mod http1;
mod http2;
mod plaintext;
pub mod sse;
mod websocket;

pub use connection::{Connection, ConnectionState, Protocol, Sink};
pub use counters::Counters;
pub use event::{End, Event, ExchangeId, Peer, RequestHead, ResponseHead, Role};
pub use plaintext::{Beginning, Looks};
