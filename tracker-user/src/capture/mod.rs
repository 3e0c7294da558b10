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

/// How nice the threads are that hook a program before its first call: what they do is short, and the call
/// does not wait for it.
const URGENT: i32 = -15;

/// Puts the calling thread before others.
fn hurry() {
    // On Linux this is about the calling thread only.
    if let Err(error) = rustix::process::setpriority_process(None, URGENT) {
        tracing::debug!(%error, "on a busy host, new libraries are hooked later than they could be");
    }
}
