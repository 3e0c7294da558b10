//! What the fuzz targets share.
//!
//! A target turns libFuzzer's bytes into traffic ([`Input`]), plays it through `stream` and `provider`
//! ([`Watched`]), and asserts what has to hold whatever was sent:
//!
//! - nothing panics, and no arithmetic overflows;
//! - an exchange begins once, ends once, and nothing of it comes outside of that;
//! - what is held is bounded ([`MOST_MEMORY`]), whatever a body decompresses to;
//! - the same bytes in other pieces are the same calls;
//! - no number is reported that is not on the wire ([`wire`]).

mod allocator;
mod input;
pub mod play;
pub mod seeds;
mod watched;
pub mod wire;

pub use allocator::live;
pub use input::{Cuts, Input};
pub use watched::{MOST_MEMORY, Watched};
