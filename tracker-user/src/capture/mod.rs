//! Kernel to [`Chunk`]: discover processes, locate TLS functions, attach, read the ring buffer.

mod chunk;
pub mod discovery;
mod event;
mod hook;
mod kernel;
pub mod locate;
mod ring;

pub use chunk::{Chunk, ConnectionId, Direction, Timestamp};
pub use event::{CaptureEvent, Opened, Scope, Verdict};
pub use hook::{
    AeadFunction, CountAt, Exit, Hook, HookKind, HookPlan, Layout, PlanId, Proof, Returns, Transferred, Trust,
};
pub use kernel::{
    AttachError, Attached, AttachedHooks, Attachment, Connections, Counters, Kernel, KernelConfig,
    KernelCounters, KernelLog, LoadError, Verdicts,
};
pub use ring::Ring;
