//! Kernel to [`Chunk`]: discover processes, locate TLS functions, attach, read the ring buffer.

mod chunk;
pub mod discovery;
mod event;
mod hook;
mod kernel;
pub mod locate;
mod ring;

use std::sync::Once;

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
///
/// # Errors
/// This process may not: that takes CAP_SYS_NICE or a limit on niceness (`RLIMIT_NICE`) that allows it.
pub(crate) fn hurry() -> rustix::io::Result<()> {
    // On Linux this is about the calling thread only.
    rustix::process::setpriority_process(None, URGENT)
}

/// The same, where what follows is done in any case.
fn try_to_hurry() {
    static SAID: Once = Once::new();
    if let Err(error) = hurry() {
        SAID.call_once(|| tracing::info!(%error, "{NO_HURRY}"));
    }
}

/// What it means where that is not allowed, and what to do.
pub(crate) const NO_HURRY: &str = "on a busy host new libraries are hooked later than they could be: allow a niceness \
     of -15 (LimitNICE=-15 in a unit, --ulimit nice=35 for a container) or CAP_SYS_NICE";
