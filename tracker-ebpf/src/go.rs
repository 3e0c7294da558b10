//! Functions of Go's `crypto/tls` that move plaintext.
//!
//! A goroutine hops from thread to thread, also within a call, and its stack is copied to another place
//! when it has to grow. So a call is known by its goroutine and by its frame's distance from the top of
//! the stack, which no copy changes; and its end is seen by probes on instructions of the function,
//! because a return address that was replaced would be found by the runtime, which walks the stack and
//! ends the program.
//!
//! Entries are probed at the conditional jump to where a stack that is too small is grown, after which
//! the function begins again: what is about to jump is passed over.
//!
//! Reads are followed to their end. Writes are taken at their entry: another goroutine, on another
//! processor, may have read the answer before the call that sent the question returns, and the question
//! has to come first. Nothing is lost by that: a write in Go writes all, or fails and leaves a connection on
//! which every later one fails before it gets here (`halfConn.setErrorLocked`, `crypto/tls/conn.go`).

use core::ptr;

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_get_attach_cookie, bpf_ktime_get_ns, bpf_probe_read_user},
    macros::uprobe,
    programs::ProbeContext,
};
use tracker_common::{
    Counter, ExitCookie, TransferCookie,
    state::{ConnectionKey, GoCallKey, verdict},
};

use crate::{
    call::{Call, NO_CALL, current_thread},
    connection, deliver, log,
    maps::{CONNECTIONS, GO_CALLS, count},
    registers::{self, go},
};

/// `recordTypeApplicationData` (`crypto/tls/common.go`; RFC 8446, section 5.1).
const APPLICATION_DATA: u64 = 23;

/// Offset of `stack.hi` in `runtime.g`, unchanged since Go 1.3 (`runtime/runtime2.go`: assembly
/// relies on it).
const STACK_TOP: u64 = 8;

/// Entry of `func(c *Conn, b []byte) (int, error)` that reads.
#[uprobe]
fn go_read(context: ProbeContext) -> u32 {
    let thread = current_thread();
    let conn = go::argument::<1>(&context);
    if !go::grows_stack(&context) && !is_ignored(thread, conn) {
        let (buffer, length) = (go::argument::<2>(&context), go::argument::<3>(&context));
        let _ = begin(&context, thread, conn, buffer, length);
    }
    0
}

/// Entry of `func(c *Conn, typ recordType, data []byte) (int, error)` that writes.
#[uprobe]
fn go_write(context: ProbeContext) -> u32 {
    let thread = current_thread();
    let conn = go::argument::<1>(&context);
    // The type is a byte; what is above it in its register is not defined.
    if go::grows_stack(&context)
        || go::argument::<2>(&context) & 0xff != APPLICATION_DATA
        || is_ignored(thread, conn)
    {
        return 0;
    }
    let (buffer, length) = (go::argument::<3>(&context), go::argument::<4>(&context));
    // SAFETY: null, or the map value of this call, which nobody else touches.
    if let Some(call) = unsafe { begin(&context, thread, conn, buffer, length).as_mut() } {
        finish(call, length);
        forget(&context, thread);
    }
    0
}

/// Takes a call that has just begun out of `GO_CALLS`.
#[inline(never)]
fn forget(context: &ProbeContext, thread: u64) {
    if let Some(top) = stack_top(context) {
        let key = key(context, thread, top.wrapping_sub(registers::stack(context)));
        let _ = GO_CALLS.remove(&key);
    }
}

#[inline(always)]
fn is_ignored(thread: u64, conn: u64) -> bool {
    let key = ConnectionKey { tgid: (thread >> 32) as u32, reserved: 0, ssl: conn };
    // SAFETY: a map value; one that is reused at this moment gives a verdict that is as good.
    CONNECTIONS.get_ptr(&key).is_some_and(|known| unsafe { (*known).verdict } == verdict::IGNORE)
}

/// Notes a call in `GO_CALLS`; null where there is no room.
#[inline(never)]
fn begin(context: &ProbeContext, thread: u64, conn: u64, buffer: u64, length: u64) -> *mut Call {
    let stack = registers::stack(context);
    let top = stack_top(context).unwrap_or(0);
    // SAFETY: null, or the map value of this call, which nobody else touches.
    let Some(call) = (unsafe { call_of(context, thread, top.wrapping_sub(stack)).as_mut() }) else {
        count(Counter::CallsFull, 1);
        log::calls_full(context, thread);
        connection::end(thread, conn);
        return ptr::null_mut();
    };
    call.connection.tgid = (thread >> 32) as u32;
    call.connection.ssl = conn;
    call.buffer = buffer;
    call.requested = length;
    // A buffer on the stack moves with it.
    call.done = if buffer >= stack && buffer < top { top - buffer } else { 0 };
    // SAFETY: the context is the one that the program was given.
    call.cookie = TransferCookie(unsafe { bpf_get_attach_cookie(context.as_ptr()) });
    call
}

/// The entry in `GO_CALLS` of a call that begins, made where there is none; null where there is no room.
#[inline(never)]
fn call_of(context: &ProbeContext, thread: u64, depth: u64) -> *mut Call {
    let key = key(context, thread, depth);
    let _ = GO_CALLS.insert(&key, &NO_CALL, 0);
    GO_CALLS.get_ptr_mut(&key).unwrap_or(ptr::null_mut())
}

#[inline(always)]
fn key(context: &ProbeContext, thread: u64, depth: u64) -> GoCallKey {
    GoCallKey { tgid: (thread >> 32) as u32, reserved: 0, goroutine: go::goroutine(context), depth }
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

/// The end of a function that has [`go_read`], at an instruction that the cookie describes.
#[uprobe]
fn go_exit(context: ProbeContext) -> u32 {
    // SAFETY: the context is the one that the program was given.
    let cookie = ExitCookie(unsafe { bpf_get_attach_cookie(context.as_ptr()) });
    let top = stack_top(&context).unwrap_or(0);
    let entry = registers::stack(&context).wrapping_add_signed(cookie.stack_change());
    let key = key(&context, current_thread(), top.wrapping_sub(entry));
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
    if moved > call.requested {
        call.transferred = moved;
        count(Counter::Implausible, 1);
        log::misread(context, call);
        connection::end(current_thread(), call.connection.ssl);
        return;
    }
    if call.done != 0 {
        call.buffer = top.wrapping_sub(call.done);
    }
    finish(call, moved);
}

/// Delivers what a call moved.
#[inline(never)]
fn finish(call: &mut Call, moved: u64) {
    if moved == 0 {
        return;
    }
    call.transferred = moved;
    // SAFETY: takes no argument.
    call.timestamp = unsafe { bpf_ktime_get_ns() };
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
