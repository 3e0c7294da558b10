//! Maps, settings and counters. Names and sizes are the loader's to change (`capture/kernel`).

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, LruHashMap, RingBuf},
};
use tracker_common::{
    Counter,
    state::{Connection, ConnectionKey, GoCallKey, ScopeKey},
};

use crate::{
    aead::FreshContext,
    atomic::{self, Word},
    call::Call,
};

/// Everything that goes up, in order.
#[map]
pub(crate) static RING: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// The calls that each thread is in, by [`slot`](crate::call::slot).
#[map]
pub(crate) static CALLS: HashMap<u64, Call> = HashMap::with_max_entries(32 << 10, 0);

/// The calls that goroutines are in. Preallocated, like all maps here: kernels before 6.1 warn of a
/// tracing program that makes them allocate.
#[map]
pub(crate) static GO_CALLS: HashMap<GoCallKey, Call> = HashMap::with_max_entries(16 << 10, 0);

/// Known connections. One that is evicted comes back as another generation.
#[map]
pub(crate) static CONNECTIONS: LruHashMap<ConnectionKey, Connection> =
    LruHashMap::with_max_entries(64 << 10, 0);

/// Verdicts by generation, from user space, each removed once it is part of its connection. Least
/// recently used, so that verdicts that came too late go away.
#[map]
pub(crate) static VERDICTS: LruHashMap<u32, u32> = LruHashMap::with_max_entries(64 << 10, 0);

/// Whose connections are ignored: the keys count, the values have no meaning. Least recently used: what is
/// forgotten is told to user space again with its next connection.
#[map]
pub(crate) static IGNORED: LruHashMap<ScopeKey, u32> = LruHashMap::with_max_entries(16 << 10, 0);

/// The connections of the key contexts of aws-lc, by process and address of the context; 0 where that
/// is not known. One that is evicted is not known any more.
#[map]
pub(crate) static KEY_CONTEXTS: LruHashMap<ConnectionKey, u64> = LruHashMap::with_max_entries(128 << 10, 0);

/// The context that a thread has just set up, by thread.
#[map]
pub(crate) static FRESH_CONTEXTS: LruHashMap<u64, FreshContext> = LruHashMap::with_max_entries(16 << 10, 0);

/// By [`Counter`].
#[map]
static COUNTERS: Array<u64> = Array::with_max_entries(Counter::ALL.len() as u32, 0);

/// The most that is copied of one call, in bytes; at most `record::MAX_CALL_CAP`.
#[unsafe(no_mangle)]
pub(crate) static CALL_CAP_BYTES: Global<u32> = Global::new(256 << 10);
/// Bytes waiting in the ring from which on the reader is woken.
#[unsafe(no_mangle)]
pub(crate) static WAKE_UP_BYTES: Global<u32> = Global::new(2 << 20);
/// Nanoseconds after which the reader is woken for anything.
#[unsafe(no_mangle)]
pub(crate) static WAKE_UP_INTERVAL_NS: Global<u64> = Global::new(20_000_000);

/// The last generation that was given to a connection.
static LAST_GENERATION: Word = Word::new(0);

/// A generation that no connection has had.
#[inline(always)]
pub(crate) fn next_generation() -> u32 {
    (LAST_GENERATION.fetch_add(1) as u32).wrapping_add(1)
}

/// The last number that was given to a connection that has no object of its own.
static LAST_NUMBER: Word = Word::new(0);

/// A number for a connection that no other has, nor the address of an object.
#[inline(always)]
pub(crate) fn next_number() -> u64 {
    LAST_NUMBER.fetch_add(1).wrapping_add(1) | 1 << 63
}

/// Adds to a counter. Atomic, since a program can be preempted between a read and a write.
#[inline(always)]
pub(crate) fn count(counter: Counter, n: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the map's values are aligned `u64`s that live as long as the program.
        unsafe { atomic::add(value, n) };
    }
}
