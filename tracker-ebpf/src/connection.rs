//! Connections: first sight, verdict, position, end.

use core::ptr;

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{bpf_get_current_uid_gid, generated::bpf_get_current_cgroup_id},
    macros::uprobe,
    programs::ProbeContext,
};
use tracker_common::{
    Counter, cookie, record,
    state::{Connection, ConnectionKey, ScopeKey, scope, verdict},
};

use crate::{
    atomic,
    call::{Call, current_thread},
    deliver,
    maps::{CONNECTIONS, IGNORED, VERDICTS, count, next_generation},
    registers,
};

/// Bytes of one direction of an undecided connection between two early wake-ups of the reader: it may
/// know by then that they are copied for nothing.
const UNDECIDED_BYTES: u64 = 32 << 10;

/// Counts what a call transferred, moves its connection on by that, and notes in the call where that began;
/// `false` where it is not to be delivered.
#[inline(never)]
pub(crate) fn advance(call: &mut Call) -> bool {
    let known = CONNECTIONS.get_ptr_mut(&call.connection).unwrap_or_else(|| open(call));
    // SAFETY: null or a map value. What more than one thread may change at a time is a position,
    // and that is changed atomically.
    let Some(connection) = (unsafe { known.as_mut() }) else {
        count(Counter::Calls, 1);
        count(Counter::Bytes, call.transferred);
        count(Counter::ConnectionsFull, 1);
        count(Counter::ConnectionsFullBytes, call.transferred);
        return false;
    };
    if connection.verdict == verdict::UNKNOWN {
        adopt_verdict(connection);
    }
    if connection.verdict == verdict::IGNORE {
        return false;
    }
    count(Counter::Calls, 1);
    count(Counter::Bytes, call.transferred);
    let position = if call.cookie.direction() == cookie::READ {
        &raw mut connection.offsets[1]
    } else {
        &raw mut connection.offsets[0]
    };
    // SAFETY: an aligned `u64` in a map value.
    call.offset = unsafe { atomic::fetch_add(position, call.transferred) };
    call.generation = connection.generation;
    if connection.verdict == verdict::UNKNOWN
        && call.offset / UNDECIDED_BYTES != (call.offset + call.transferred) / UNDECIDED_BYTES
    {
        deliver::hurry();
    }
    if connection.reported == 0 && deliver::opened(call) {
        connection.reported = 1;
    }
    true
}

/// The call's connection, new; null where it cannot be stored.
#[inline(never)]
fn open(call: &Call) -> *mut Connection {
    let verdict = if is_filtered() { verdict::IGNORE } else { verdict::UNKNOWN };
    let fresh = Connection { generation: next_generation(), verdict, offsets: [0; 2], reported: 0 };
    let _ = CONNECTIONS.insert(&call.connection, &fresh, u64::from(BPF_NOEXIST));
    CONNECTIONS.get_ptr_mut(&call.connection).unwrap_or(ptr::null_mut())
}

/// Whether the operator wants nothing of whoever makes this call; counted.
#[inline(never)]
fn is_filtered() -> bool {
    // SAFETY: takes no argument.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    let filtered = is_ignored(scope::PROCESS, current_thread() >> 32)
        || is_ignored(scope::CGROUP, cgroup)
        || is_ignored(scope::USER, bpf_get_current_uid_gid() & 0xffff_ffff);
    if filtered {
        count(Counter::Filtered, 1);
    }
    filtered
}

#[inline(never)]
fn is_ignored(kind: u32, id: u64) -> bool {
    let key = ScopeKey { kind, reserved: 0, id };
    IGNORED.get_ptr(&key).is_some()
}

/// A process is another program from now on, or gone: what was decided of it does not hold any more.
#[inline(never)]
pub(crate) fn decide_anew(tgid: u64) {
    let key = ScopeKey { kind: scope::PROCESS, reserved: 0, id: tgid };
    let _ = IGNORED.remove(&key);
}

/// Takes over what user space has decided, if it has.
#[inline(never)]
fn adopt_verdict(connection: &mut Connection) {
    let generation = connection.generation;
    if let Some(decided) = VERDICTS.get_ptr(&generation) {
        // SAFETY: a map value, one aligned word.
        connection.verdict = unsafe { decided.read() };
        let _ = VERDICTS.remove(&generation);
    }
}

/// Entry of `SSL_free(SSL *)`.
#[uprobe]
fn connection_free(context: ProbeContext) -> u32 {
    end(current_thread(), registers::argument::<1>(&context));
    0
}

/// Forgets a connection and says so, unless it is ignored.
///
/// At `SSL_free`, and where it is not known how much a call moved: what follows is then another
/// generation, lest it be taken for the continuation.
#[inline(never)]
pub(crate) fn end(thread: u64, ssl: u64) {
    let key = ConnectionKey { tgid: (thread >> 32) as u32, reserved: 0, ssl };
    let Some(connection) = CONNECTIONS.get_ptr(&key) else {
        return;
    };
    // SAFETY: a map value.
    let (generation, decided) = unsafe { ((*connection).generation, (*connection).verdict) };
    let _ = CONNECTIONS.remove(&key);
    if decided == verdict::IGNORE {
        return;
    }
    if decided == verdict::UNKNOWN {
        forget_verdict(generation);
    }
    deliver::notice(record::CLOSED, generation, ssl);
}

#[inline(never)]
fn forget_verdict(generation: u32) {
    let _ = VERDICTS.remove(&generation);
}
