//! The call that a thread is in.

use core::ptr;

use aya_ebpf::{bindings::BPF_NOEXIST, helpers::bpf_get_current_pid_tgid};
use tracker_common::{
    TransferCookie, cookie,
    state::{CALL_BYTES, ConnectionKey},
};

use crate::maps::CALLS;

/// The transfer call in one direction that a thread is in, or one of a goroutine, and the scratch memory
/// for following it.
///
/// A thread keeps its entries from its first call until it exits: taking one up and giving it back on
/// each call would cost two more map operations. A thread is in one program at a time, so nobody
/// else touches it.
#[repr(C)]
pub(crate) struct Call {
    /// The connection; also the key for looking it up, without a copy on the stack.
    pub(crate) connection: ConnectionKey,
    /// Plaintext in user memory; moves on as it is delivered.
    pub(crate) buffer: u64,
    /// The most that the call may transfer.
    pub(crate) requested: u64,
    /// Where in user memory the count will be; 0 where it is the return value. For a goroutine, how far
    /// below the upper end of its stack the buffer begins; 0 where that is elsewhere.
    pub(crate) done: u64,
    /// The count.
    pub(crate) transferred: u64,
    /// Bytes that are still to be delivered.
    pub(crate) left: u64,
    /// Position of `buffer` in the stream.
    pub(crate) offset: u64,
    /// Stack pointer at the entry probe.
    pub(crate) stack: u64,
    /// When a write was entered, or a read returned.
    pub(crate) timestamp: u64,
    /// Direction, and where the count is.
    pub(crate) cookie: TransferCookie,
    /// The connection's generation.
    pub(crate) generation: u32,
    /// 1 between entry and return.
    pub(crate) active: u32,
    /// Arguments that are not in registers, for the functions that have so many.
    pub(crate) further: [u64; FURTHER_ARGUMENTS],
}

/// Of a function with 13 arguments, on the machine that has the fewest of them in registers.
pub(crate) const FURTHER_ARGUMENTS: usize = 7;

impl Call {
    /// What a new entry is inserted as: an insertion copies from somewhere, and the stack has no
    /// room for it.
    pub(crate) const NONE: Self = Self {
        connection: ConnectionKey { tgid: 0, reserved: 0, ssl: 0 },
        buffer: 0,
        requested: 0,
        done: 0,
        transferred: 0,
        left: 0,
        offset: 0,
        stack: 0,
        timestamp: 0,
        cookie: TransferCookie(0),
        generation: 0,
        active: 0,
        further: [0; FURTHER_ARGUMENTS],
    };
}

/// Where the call of a thread is kept. A read can have a write within it: Node sends its request from the
/// callback at the end of the handshake, which `SSL_read` runs.
#[inline(always)]
pub(crate) fn slot(thread: u64, cookie: TransferCookie) -> u64 {
    // Thread ids end at 2^22.
    if cookie.direction() == cookie::READ { thread | READ_SLOT } else { thread }
}

/// What is set in the slot of a thread's reads.
pub(crate) const READ_SLOT: u64 = 1 << 31;

const _: () = assert!(size_of::<Call>() == CALL_BYTES);

/// [`Call::NONE`], in memory.
pub(crate) static NO_CALL: Call = Call::NONE;

/// Makes the entry of `slot` in `CALLS`; null where there is no room.
#[inline(never)]
pub(crate) fn first_call(slot: u64) -> *mut Call {
    let _ = CALLS.insert(&slot, &NO_CALL, u64::from(BPF_NOEXIST));
    CALLS.get_ptr_mut(&slot).unwrap_or(ptr::null_mut())
}

/// The calling thread: thread group id in the upper half, thread id in the lower.
#[inline(always)]
pub(crate) fn current_thread() -> u64 {
    bpf_get_current_pid_tgid()
}
