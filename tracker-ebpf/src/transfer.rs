//! Functions that move plaintext, from entry to return.
//!
//! What a call moved is known at its return, and delivered then. A thread that writes can be preempted
//! on its way there, and the answer be read by another thread meanwhile: then the answer is delivered
//! first. A write is therefore stamped at its entry and a read at its return, so that a question is
//! older than its answer whichever comes up first, and user space can tell.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_get_attach_cookie, bpf_get_func_ip, bpf_ktime_get_ns, bpf_probe_read_user},
    macros::{uprobe, uretprobe},
    programs::{ProbeContext, RetProbeContext},
};
use tracker_common::{
    Counter, TransferCookie, cookie,
    state::{ConnectionKey, verdict},
};

use crate::{
    call::{Call, current_thread, first_call, slot},
    connection, deliver, log,
    maps::{CALLS, CONNECTIONS, count},
    registers,
};

/// Entry of a function `(SSL *, buffer, length, ...)`.
#[uprobe]
fn transfer_entry(context: ProbeContext) -> u32 {
    let _ = on_entry(&context);
    0
}

/// Return of any function that has [`transfer_entry`].
#[uretprobe]
fn transfer_return(context: RetProbeContext) -> u32 {
    on_return(&context);
    0
}

/// Entry and return of such a function, where the kernel has sessions (`BPF_TRACE_UPROBE_SESSION`,
/// Linux 6.13). What it answers at the entry says whether it is to be run at the return: 1 for no.
// Without the macro, which makes every answer 0.
#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
extern "C" fn transfer_session(context: *mut c_void) -> u32 {
    // SAFETY: the context is the one that the program was given.
    let probed = unsafe { bpf_get_func_ip(context) };
    let entry = ProbeContext::new(context);
    // At the entry the thread is at the probe. At the return it is where the function was called: a
    // function that returned to its own first instruction would not return.
    if registers::instruction(&entry) == probed {
        u32::from(!on_entry(&entry))
    } else {
        on_return(&RetProbeContext::new(context));
        0
    }
}

/// Follows a call, unless it is of no interest; whether its return is.
#[inline(always)]
fn on_entry(context: &ProbeContext) -> bool {
    let thread = current_thread();
    let key =
        ConnectionKey { tgid: (thread >> 32) as u32, reserved: 0, ssl: registers::argument::<1>(context) };
    if let Some(known) = CONNECTIONS.get_ptr(&key) {
        // SAFETY: a map value; one that is reused at this moment gives a verdict that is as good.
        if unsafe { (*known).verdict } == verdict::IGNORE {
            return false;
        }
    }
    enter(context, thread, key.ssl)
}

#[inline(never)]
fn enter(context: &ProbeContext, thread: u64, ssl: u64) -> bool {
    let cookie = attach_cookie(context);
    let slot = slot(thread, cookie);
    let known = CALLS.get_ptr_mut(&slot).unwrap_or_else(|| first_call(slot));
    // SAFETY: null, or the map value of this thread, which nobody else touches.
    let Some(call) = (unsafe { known.as_mut() }) else {
        not_followed(context, thread);
        return false;
    };
    if call.active != 0 && !replaces(context, call) {
        return false;
    }
    let length = registers::argument::<3>(context);
    let (fourth, fifth, sixth) = (
        registers::argument::<4>(context),
        registers::argument::<5>(context),
        registers::argument::<6>(context),
    );
    call.done = match cookie.done_argument() {
        4 => fourth,
        5 => fifth,
        6 => sixth,
        _ => 0,
    };
    // Functions that return the count take the length as an `int`.
    call.requested = if call.done == 0 { length & 0x7fff_ffff } else { length };
    call.connection.tgid = (thread >> 32) as u32;
    call.connection.ssl = ssl;
    call.buffer = registers::argument::<2>(context);
    call.stack = registers::stack(context);
    call.cookie = cookie;
    // SAFETY: takes no argument.
    call.timestamp = unsafe { bpf_ktime_get_ns() };
    call.active = 1;
    true
}

/// What the locator knows of the function that is probed.
#[inline(always)]
fn attach_cookie(context: &impl EbpfContext) -> TransferCookie {
    // SAFETY: the context is the one that the program was given.
    TransferCookie(unsafe { bpf_get_attach_cookie(context.as_ptr()) })
}

/// Whether a call that begins takes the place of the one that its thread is in.
#[inline(never)]
fn replaces(context: &ProbeContext, call: &Call) -> bool {
    let (ssl, stack) = (registers::argument::<1>(context), registers::stack(context));
    if stack < call.stack {
        if call.connection.ssl == ssl {
            count(Counter::Nested, 1);
        } else {
            count(Counter::NestedElsewhere, 1);
            connection::end(current_thread(), ssl);
        }
        return false;
    }
    let buffer = registers::argument::<2>(context);
    if stack == call.stack && call.connection.ssl == ssl && call.buffer == buffer {
        // The function jumped to this one: one call, and this one knows better.
        count(Counter::Nested, 1);
    } else {
        // A stack that is not deeper than it was within that call: it is over, by a `longjmp` or
        // because its return was missed.
        count(Counter::Abandoned, 1);
        let thread = current_thread();
        log::abandoned(context, thread);
        connection::end(thread, call.connection.ssl);
    }
    true
}

/// There is no room for the call of one more thread.
#[inline(never)]
fn not_followed(context: &ProbeContext, thread: u64) {
    count(Counter::CallsFull, 1);
    log::calls_full(context, thread);
    connection::end(thread, registers::argument::<1>(context));
}

/// Ends the call that the thread is in, and delivers what it moved.
#[inline(always)]
fn on_return(context: &RetProbeContext) {
    let slot = slot(current_thread(), attach_cookie(context));
    let Some(call) = CALLS.get_ptr_mut(&slot) else {
        return;
    };
    // SAFETY: the map value of this thread, which nobody else touches.
    let call = unsafe { &mut *call };
    if call.active == 0 || !registers::returns_from(call.stack, registers::stack(context)) {
        return;
    }
    call.active = 0;
    // `int`, in all functions: only its lower half is defined.
    let result = registers::result(context) as i32;
    if result > 0 && transferred(context, call, result as u64) {
        if call.cookie.direction() == cookie::READ {
            // SAFETY: takes no argument.
            call.timestamp = unsafe { bpf_ktime_get_ns() };
        }
        if connection::advance(call) {
            deliver::deliver(call);
        }
    }
}

/// Finds out how much a successful call moved; `false` where that is nothing, or not known.
#[inline(always)]
fn transferred(context: &RetProbeContext, call: &mut Call, result: u64) -> bool {
    call.transferred = result;
    if call.done != 0 {
        // On the stack: a kernel with hardened usercopy would have to find out what a map value is.
        let mut stored = 0_u64;
        // SAFETY: 8 bytes as destination; any address may be tried as source.
        let error = unsafe { bpf_probe_read_user((&raw mut stored).cast(), 8, call.done as *const _) };
        call.transferred = stored;
        if error != 0 {
            count(Counter::CountUnreadable, 1);
            log::misread(context, call);
            connection::end(current_thread(), call.connection.ssl);
            return false;
        }
    }
    if call.transferred > call.requested {
        count(Counter::Implausible, 1);
        log::misread(context, call);
        connection::end(current_thread(), call.connection.ssl);
        return false;
    }
    call.transferred != 0
}
