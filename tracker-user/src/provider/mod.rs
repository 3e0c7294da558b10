//! Exchanges to [`Call`]s: who is the provider, which dialect, what usage.

mod call;
pub mod json;

pub use call::{Call, Usage, UsageSource};
