//! What `llm-tracker` costs, measured: `cargo xtask bench overhead|decode|memory`.
//!
//! Each binary prints Markdown tables with the targets beside the figures. It reports; no figure
//! fails a run. Only ratios that were taken in one run, interleaved, mean anything on another
//! machine. A run does fail where it would report the speed of something that did not happen: a
//! decoder that returned other numbers than it was fed, a daemon that did not see the traffic.

pub mod allocator;
pub mod daemon;
pub mod libssl;
pub mod load;
pub mod nginx;
pub mod probe;
pub mod process;
pub mod replay;
pub mod sample;
pub mod table;
pub mod traffic;
pub mod wire;
