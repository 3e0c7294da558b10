//! Into the ring buffer, and waking the reader.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_get_current_uid_gid,
        generated::{bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_ktime_get_ns, bpf_probe_read_user},
    },
};
use tracker_common::{
    Counter,
    record::{self, Data, DataRecord, Header, LARGEST_TIER, MAX_CALL_CAP, Opened, TIERS},
};

use crate::{
    atomic::Word,
    call::{Call, current_thread},
    maps::{CALL_CAP_BYTES, RING, WAKE_UP_BYTES, WAKE_UP_INTERVAL_NS, count},
};

/// Enough for the largest cap.
const MAX_FULL_RECORDS: u32 = MAX_CALL_CAP / LARGEST_TIER as u32;
/// A reader that does not keep up is not woken more often than this.
const PRESSURE_INTERVAL_NS: u64 = 1_000_000;

/// When the reader was last woken; zero asks for it to be woken with the next record.
static LAST_WAKE_UP: Word = Word::new(0);

/// Delivers what a call transferred, up to the cap.
#[inline(always)]
pub(crate) fn deliver(call: &mut Call) {
    let cap = u64::from(CALL_CAP_BYTES.load());
    call.left = call.transferred;
    if call.left > cap {
        count(Counter::PastCap, 1);
        count(Counter::PastCapBytes, call.left - cap);
        call.left = cap;
    }
    if call.left < LARGEST_TIER as u64 || send_full(call) {
        send_rest(call);
    }
}

/// Delivers as much as fills records of the largest tier; `false` where the ring is full.
#[inline(never)]
fn send_full(call: &mut Call) -> bool {
    for _ in 0..MAX_FULL_RECORDS {
        if call.left < LARGEST_TIER as u64 {
            break;
        }
        if !send::<{ TIERS[4] }>(call) {
            return false;
        }
    }
    true
}

/// Delivers what is left, less than the largest tier, in one record of the smallest that holds it.
#[inline(always)]
fn send_rest(call: &mut Call) {
    let left = call.left;
    if left == 0 {
        return;
    }
    if left <= TIERS[0] as u64 {
        send::<{ TIERS[0] }>(call);
    } else if left <= TIERS[1] as u64 {
        send::<{ TIERS[1] }>(call);
    } else if left <= TIERS[2] as u64 {
        send::<{ TIERS[2] }>(call);
    } else if left <= TIERS[3] as u64 {
        send::<{ TIERS[3] }>(call);
    } else {
        send::<{ TIERS[4] }>(call);
    }
}

/// Delivers one record; `false` where the ring is full, and what is left of the call is lost.
#[inline(never)]
fn send<const N: usize>(call: &mut Call) -> bool {
    let Some(mut entry) = RING.reserve::<DataRecord<N>>(0) else {
        count(Counter::RingFull, 1);
        count(Counter::RingFullBytes, call.left);
        return false;
    };
    let length = if call.left > N as u64 { N as u64 } else { call.left };
    let record = entry.as_mut_ptr();
    // SAFETY: `record` is a reservation of its type's size, and every byte of `data` is written
    // before it is submitted. The payload's end is not, and is not read: it holds old records.
    let error = unsafe {
        header(
            &raw mut (*record).data.header,
            record::DATA,
            call.generation,
            call.connection.ssl,
            call.timestamp,
        );
        let data = &raw mut (*record).data;
        (*data).cgroup_id = bpf_get_current_cgroup_id();
        (*data).offset = call.offset;
        (*data).direction = call.cookie.direction();
        (*data).length = length as u32;
        bpf_probe_read_user((&raw mut (*record).payload).cast(), length as u32, call.buffer as *const _)
    };
    call.buffer = call.buffer.wrapping_add(length);
    call.offset = call.offset.wrapping_add(length);
    call.left -= length;
    if error == 0 {
        entry.submit(wake_up());
    } else {
        entry.discard(u64::from(BPF_RB_NO_WAKEUP));
        count(Counter::Unreadable, 1);
        count(Counter::UnreadableBytes, length);
    }
    true
}

/// Has the reader woken with the next record.
#[inline(always)]
pub(crate) fn hurry() {
    LAST_WAKE_UP.store(0);
}

/// Reports the first sight of a call's connection; `false` where the ring is full.
#[inline(never)]
pub(crate) fn opened(call: &Call) -> bool {
    let Some(mut entry) = RING.reserve::<Opened>(0) else {
        count(Counter::NoticesLost, 1);
        return false;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: `record` is a reservation of its type's size; every byte is written.
    unsafe {
        header(
            &raw mut (*record).header,
            record::OPENED,
            call.generation,
            call.connection.ssl,
            call.timestamp,
        );
        (*record).cgroup_id = bpf_get_current_cgroup_id();
        (*record).uid = bpf_get_current_uid_gid() as u32;
        (*record).plan = call.cookie.plan();
        bpf_get_current_comm((&raw mut (*record).comm).cast(), 16);
    }
    // The reader should look at the process while it is there: wake it with the bytes that follow.
    hurry();
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    true
}

/// Sends a record that is nothing but a header.
#[inline(never)]
pub(crate) fn notice(kind: u32, generation: u32, ssl: u64) {
    let Some(mut entry) = RING.reserve::<Header>(0) else {
        count(Counter::NoticesLost, 1);
        return;
    };
    // SAFETY: takes no argument.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: a reservation of the header's size; every byte is written.
    unsafe { header(entry.as_mut_ptr(), kind, generation, ssl, now) };
    entry.submit(wake_up());
}

/// Fills in a header.
///
/// # Safety
///
/// `header` is writable.
#[inline(always)]
unsafe fn header(header: *mut Header, kind: u32, generation: u32, ssl: u64, timestamp: u64) {
    let thread = current_thread();
    // SAFETY: the caller's promise.
    unsafe {
        (*header).kind = kind;
        (*header).tid = thread as u32;
        (*header).tgid = (thread >> 32) as u32;
        (*header).generation = generation;
        (*header).ssl = ssl;
        (*header).timestamp = timestamp;
    }
}

/// How to submit a record: most wake nobody. The reader is woken when it has been left alone for an
/// interval, and earlier when the ring fills up; once woken it looks again by the clock until nothing
/// has come for longer than that interval.
#[inline(always)]
fn wake_up() -> u64 {
    // Not the record's own time, which is older by as long as a write took.
    // SAFETY: takes no argument.
    let now = unsafe { bpf_ktime_get_ns() };
    let since = now.saturating_sub(LAST_WAKE_UP.load());
    if since > WAKE_UP_INTERVAL_NS.load()
        || (since > PRESSURE_INTERVAL_NS
            && RING.query(u64::from(BPF_RB_AVAIL_DATA)) > u64::from(WAKE_UP_BYTES.load()))
    {
        LAST_WAKE_UP.store(now);
        count(Counter::WakeUps, 1);
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    }
}

const _: () = assert!(size_of::<Data>() == 56 && size_of::<Opened>() == 64 && size_of::<Header>() == 32);
