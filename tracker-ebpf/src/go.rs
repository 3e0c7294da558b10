//! Functions of Go's `crypto/tls` that move plaintext, from entry to end.
//!
//! A goroutine hops from thread to thread, also within a call, and its stack is copied to another place
//! when it has to grow. So a call is known by its goroutine and by its frame's distance from the top of
//! the stack, which no copy changes; and its end is seen by probes on instructions of the function,
//! because a return address that was replaced would be found by the runtime, which walks the stack and
//! ends the program.
//!
//! A function that finds its stack too small grows it and begins again: its entry is then seen twice,
//! with the same call, and the second time replaces the first.

use core::ptr;

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_get_attach_cookie, bpf_ktime_get_ns, bpf_probe_read_user},
    macros::uprobe,
    programs::ProbeContext,
};
use tracker_common::{
    Counter, ExitCookie, TransferCookie, cookie,
    state::{ConnectionKey, GoCallKey, verdict},
};

use crate::{
    call::{Call, current_thread},
    connection, deliver, log,
    maps::{CONNECTIONS, GO_CALLS, count},
    registers::{self, go},
};

/// `recordTypeApplicationData` (`crypto/tls/common.go`; RFC 8446, section 5.1).
const APPLICATION_DATA: u64 = 23;

/// Offset of `stack.hi` in `runtime.g`, unchanged since Go 1.3 (`runtime/runtime2.go`: assembly
/// relies on it).
const STACK_TOP: u64 = 8;

static NO_CALL: Call = Call::NONE;

/// Entry of `func(c *Conn, b []byte)` and, by the layout in the cookie, of
/// `func(c *Conn, typ recordType, b []byte)`.
#[uprobe]
fn go_entry(context: ProbeContext) -> u32 {
    let thread = current_thread();
    let key = ConnectionKey { tgid: (thread >> 32) as u32, reserved: 0, ssl: go::argument::<1>(&context) };
    if let Some(known) = CONNECTIONS.get_ptr(&key) {
        // SAFETY: a map value; one that is reused at this moment gives a verdict that is as good.
        if unsafe { (*known).verdict } == verdict::IGNORE {
            return 0;
        }
    }
    enter(&context, thread, key.ssl);
    0
}

#[inline(never)]
fn enter(context: &ProbeContext, thread: u64, conn: u64) {
    // SAFETY: the context is the one that the program was given.
    let cookie = TransferCookie(unsafe { bpf_get_attach_cookie(context.as_ptr()) });
    let second = go::argument::<2>(context);
    let third = go::argument::<3>(context);
    let fourth = go::argument::<4>(context);
    let typed = cookie.layout() == cookie::LAYOUT_GO_RECORD;
    // The type is a byte; what is above it in its register is not defined.
    if typed && second & 0xff != APPLICATION_DATA {
        return;
    }
    let (buffer, length) = if typed { (third, fourth) } else { (second, third) };
    let Some(top) = stack_top(context) else {
        count(Counter::CallsFull, 1);
        connection::end(thread, conn);
        return;
    };
    let stack = registers::stack(context);
    // SAFETY: null, or the map value of this call, which nobody else touches.
    let Some(call) = (unsafe { call_of(context, thread, top.wrapping_sub(stack)).as_mut() }) else {
        count(Counter::CallsFull, 1);
        log::calls_full(context, thread);
        connection::end(thread, conn);
        return;
    };
    call.connection.tgid = (thread >> 32) as u32;
    call.connection.ssl = conn;
    call.buffer = buffer;
    call.requested = length;
    // A buffer on the stack moves with it.
    call.done = if buffer >= stack && buffer < top { top - buffer } else { 0 };
    call.cookie = cookie;
}

/// The entry in `GO_CALLS` of a call that begins, made where there is none; null where there is no room.
#[inline(never)]
fn call_of(context: &ProbeContext, thread: u64, depth: u64) -> *mut Call {
    let key =
        GoCallKey { tgid: (thread >> 32) as u32, reserved: 0, goroutine: go::goroutine(context), depth };
    let _ = GO_CALLS.insert(&key, &NO_CALL, 0);
    GO_CALLS.get_ptr_mut(&key).unwrap_or(ptr::null_mut())
}

/// The upper end of the goroutine's stack.
#[inline(never)]
fn stack_top(context: &ProbeContext) -> Option<u64> {
    read_word(go::goroutine(context).wrapping_add(STACK_TOP))
}

#[inline(never)]
fn read_word(address: u64) -> Option<u64> {
    // On the stack: a kernel with hardened usercopy would have to find out what a map value is.
    let mut word = 0_u64;
    // SAFETY: 8 bytes as destination; any address may be tried as source.
    let error = unsafe { bpf_probe_read_user((&raw mut word).cast(), 8, address as *const _) };
    (error == 0).then_some(word)
}

/// The end of any function that has [`go_entry`], at an instruction that the cookie describes.
#[uprobe]
fn go_exit(context: ProbeContext) -> u32 {
    // SAFETY: the context is the one that the program was given.
    let cookie = ExitCookie(unsafe { bpf_get_attach_cookie(context.as_ptr()) });
    let Some(top) = stack_top(&context) else {
        return 0;
    };
    let entry_stack = registers::stack(&context).wrapping_add_signed(cookie.stack_change());
    let key = GoCallKey {
        tgid: (current_thread() >> 32) as u32,
        reserved: 0,
        goroutine: go::goroutine(&context),
        depth: top.wrapping_sub(entry_stack),
    };
    if let Some(call) = GO_CALLS.get_ptr_mut(&key) {
        // SAFETY: the map value of this call, which nobody else touches.
        leave(&context, unsafe { &mut *call }, cookie, top);
        let _ = GO_CALLS.remove(&key);
    }
    0
}

/// Ends a call, and delivers what it moved.
#[inline(never)]
fn leave(context: &ProbeContext, call: &mut Call, cookie: ExitCookie, top: u64) {
    let (first, second) = (go::argument::<1>(context), go::argument::<2>(context));
    let (third, fourth) = (go::argument::<3>(context), go::argument::<4>(context));
    let moved = match cookie.register() {
        1 => Some(first),
        2 => Some(second),
        3 => Some(third),
        4 => Some(fourth),
        _ => read_word(registers::stack(context).wrapping_add(cookie.slot())),
    };
    let Some(moved) = moved else {
        count(Counter::CountUnreadable, 1);
        connection::end(current_thread(), call.connection.ssl);
        return;
    };
    // An `int`; it comes with an error, or without: what was moved was moved.
    if moved as i64 <= 0 {
        return;
    }
    call.transferred = moved;
    if moved > call.requested {
        count(Counter::Implausible, 1);
        log::misread(context, call);
        connection::end(current_thread(), call.connection.ssl);
        return;
    }
    if call.done != 0 {
        call.buffer = top.wrapping_sub(call.done);
    }
    // SAFETY: takes no argument.
    call.timestamp = unsafe { bpf_ktime_get_ns() };
    count(Counter::Calls, 1);
    count(Counter::Bytes, moved);
    if connection::advance(call) {
        deliver::deliver(call);
    }
}

/// Entry of `func(c *Conn) Close() error`.
#[uprobe]
fn go_close(context: ProbeContext) -> u32 {
    connection::end(current_thread(), go::argument::<1>(&context));
    0
}
