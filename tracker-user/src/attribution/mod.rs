//! Process id and cgroup id to [`Origin`]: who made the call.

mod origin;

pub use origin::{Container, Origin, Process};
