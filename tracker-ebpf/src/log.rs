//! Messages for who looks for a fault: what the counters say, with the thread it happened to.
//!
//! The loader sets the level, `off` unless asked, before the programs are loaded, and the verifier
//! then removes what is below it. Each message has a function of its own, so that no caller's frame
//! grows. None may carry payload.

use aya_ebpf::{
    EbpfContext,
    programs::{ProbeContext, RawTracePointContext},
};
use aya_log_ebpf::debug;

use crate::call::Call;

/// A program was replaced.
#[inline(never)]
pub(crate) fn exec(context: &RawTracePointContext, thread: u64) {
    debug!(context, "process {}: exec", (thread >> 32) as u32);
}

/// See `Counter::Abandoned`.
#[inline(never)]
pub(crate) fn abandoned(context: &ProbeContext, thread: u64) {
    debug!(context, "process {} thread {}: a call never returned", (thread >> 32) as u32, thread as u32);
}

/// See `Counter::CallsFull`.
#[inline(never)]
pub(crate) fn calls_full(context: &ProbeContext, thread: u64) {
    debug!(context, "process {} thread {}: too many threads", (thread >> 32) as u32, thread as u32);
}

/// See `Counter::CountUnreadable` and `Counter::Implausible`.
#[inline(never)]
pub(crate) fn misread(context: &impl EbpfContext, call: &Call) {
    debug!(
        context,
        "process {}: misread a call: {} of {} bytes", call.connection.tgid, call.transferred, call.requested
    );
}
