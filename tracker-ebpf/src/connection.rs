//! Connections: first sight, verdict, position, end.

use core::ptr;

use aya_ebpf::{bindings::BPF_NOEXIST, macros::uprobe, programs::ProbeContext};
use tracker_common::{
    Counter, cookie, record,
    state::{Connection, ConnectionKey, verdict},
};

use crate::{
    atomic,
    call::{Call, current_thread},
    deliver,
    maps::{CONNECTIONS, VERDICTS, count, next_generation},
    registers,
};

/// Bytes of one direction of an undecided connection between two early wake-ups of the reader: it may
/// know by then that they are copied for nothing.
const UNDECIDED_BYTES: u64 = 32 << 10;

/// Moves the connection of a call on by what the call transferred, and notes in the call where that
/// began; `false` where it is not to be delivered.
#[inline(never)]
pub(crate) fn advance(call: &mut Call) -> bool {
    let known = CONNECTIONS.get_ptr_mut(&call.connection).unwrap_or_else(|| open(call));
    // SAFETY: null or a map value. What more than one thread may change at a time is a position,
    // and that is changed atomically.
    let Some(connection) = (unsafe { known.as_mut() }) else {
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
    let fresh =
        Connection { generation: next_generation(), verdict: verdict::UNKNOWN, offsets: [0; 2], reported: 0 };
    let _ = CONNECTIONS.insert(&call.connection, &fresh, u64::from(BPF_NOEXIST));
    CONNECTIONS.get_ptr_mut(&call.connection).unwrap_or(ptr::null_mut())
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
