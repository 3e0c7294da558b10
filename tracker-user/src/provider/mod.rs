//! Exchanges to [`Call`]s: who is the provider, which dialect, what usage.
//!
//! A [`Catalog`] says of a request's head whether it is an LLM call, and in which dialect its
//! bodies are written. [`Calls`], one for each connection, follows the exchanges that are, scans
//! their bodies with [`json`] for the few fields that the dialect names, and hands out one [`Call`]
//! at the end of each. Nothing else of a body is kept, not even for a moment longer than the bytes
//! are there.
//!
//! A WebSocket is a conversation of many calls: `realtime` follows it and hands out one for each
//! response.
//!
//! A new provider is a row in `vendors`, a new API a table in `dialect`.

mod answer;
mod base64;
mod body;
mod call;
mod calls;
mod catalog;
mod counted;
mod dialect;
mod endpoints;
mod estimate;
mod eventstream;
mod examples;
mod exchange;
mod form;
mod gateway;
mod grpc;
pub mod json;
mod pace;
mod progress;
pub mod protobuf;
mod realtime;
mod retries;
mod sniff;
mod tools;
mod vendors;

pub use call::{Call, Usage, UsageSource};
pub use calls::Calls;
pub use catalog::{Catalog, Interest};
pub use estimate::Estimates;
pub use gateway::{Gateway, GatewayError};
pub use pace::{ChunkTimes, SECONDS_BUCKETS};
pub use progress::Progress;

/// Those that have a row.
#[cfg(test)]
pub(crate) fn providers() -> impl Iterator<Item = &'static str> {
    vendors::VENDORS.iter().map(|vendor| vendor.provider)
}

/// A name from the wire, made fit to be shown: control characters are removed. Its length is
/// bounded where it is read.
fn wire_text(text: &str) -> String {
    const MAX: usize = 256;
    let mut kept: String = text.chars().filter(|c| !c.is_control()).collect();
    if let Some(end) = (0..=MAX).rev().find(|&end| kept.is_char_boundary(end)).filter(|_| kept.len() > MAX) {
        kept.truncate(end);
    }
    kept
}
