//! Process id and cgroup id to [`Origin`]: who made the call.
//!
//! A process is read from `/proc` when it is first seen, so that one that has exited is still
//! named. What cannot be learnt is absent, never guessed.

mod cgroup;
mod container;
mod crun;
mod origin;
mod processes;
mod procfs;
mod runtime;
mod users;

pub use origin::{Container, Origin, Process, Workload};
pub use processes::{Attribution, Config, Counters, Programs};
pub use runtime::{
    Config as RuntimeConfig, Counters as RuntimeCounters, Socket as RuntimeSocket,
    SocketApi as RuntimeSocketApi,
};
