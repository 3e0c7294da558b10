//! Process id and cgroup id to [`Origin`]: who made the call.
//!
//! A process is read from `/proc` when it is first seen, so that one that has exited is still
//! named. What cannot be learnt is absent, never guessed.

mod agents;
mod cgroup;
mod container;
mod crun;
mod filter;
mod limits;
mod made;
mod origin;
mod processes;
mod procfs;
mod runtime;
mod session;
mod sight;
mod systemd;
mod users;

pub use agents::{AgentRoots, AgentRootsError, Agents};
pub use filter::{Action, Filter, Filters};
pub(crate) use filter::{Basis, Decision, decide, decide_finally};
pub use limits::{Config, Counters};
pub use made::Cgroups;
pub use origin::{Agent, Container, Login, Origin, Process, Workload};
pub use processes::{Attribution, Programs};
pub use runtime::{
    Config as RuntimeConfig, Counters as RuntimeCounters, Socket as RuntimeSocket,
    SocketAnswer as RuntimeSocketAnswer, SocketApi as RuntimeSocketApi, SocketReport as RuntimeSocketReport,
    survey as survey_runtimes,
};
pub(crate) use session::is_label;
pub use session::{Session, SessionError};
pub use sight::Sight;
