//! Programs that start and end, in order with the data.
//!
//! Raw tracepoints: they need no tracefs, and no layout that changes with the kernel.

use aya_ebpf::{macros::raw_tracepoint, programs::RawTracePointContext};
use tracker_common::record;

use crate::{
    call::{READ_SLOT, current_thread},
    connection, deliver, log,
    maps::{CALLS, FRESH_CONTEXTS},
};

/// `sched_process_exec(task, old_pid, binprm)`: the thread has its new program, and has become the
/// leader of its group if it was not.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn process_exec(context: RawTracePointContext) -> i32 {
    let thread = current_thread();
    let old_tid: u32 = context.arg(1);
    forget(thread);
    forget(thread & !0xffff_ffff | u64::from(old_tid));
    connection::decide_anew(thread >> 32);
    deliver::notice(record::EXEC, 0, 0);
    log::exec(&context, thread);
    0
}

/// `sched_process_exit(task, ...)`, for every thread.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn process_exit(_context: RawTracePointContext) -> i32 {
    let thread = current_thread();
    forget(thread);
    if (thread >> 32) as u32 == thread as u32 {
        connection::decide_anew(thread >> 32);
        deliver::notice(record::EXIT, 0, 0);
    }
    0
}

/// Forgets the calls that a thread was in.
#[inline(never)]
fn forget(thread: u64) {
    let _ = CALLS.remove(&thread);
    let _ = CALLS.remove(&(thread | READ_SLOT));
    let _ = FRESH_CONTEXTS.remove(&thread);
}
