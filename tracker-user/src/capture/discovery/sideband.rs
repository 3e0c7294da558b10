//! The kernel's perf side-band: every executable mapping, fork, exec and exit on the host, as it
//! happens.
//!
//! One event of the dummy software counter per CPU counts nothing and only carries these records. The
//! reader sleeps until there is one.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use perf_event_open_sys as sys;
use rustix::mm::{MapFlags, ProtFlags};
use rustix::time::{ClockId, clock_gettime};
use sys::bindings::{
    PERF_COUNT_SW_DUMMY, PERF_FLAG_FD_CLOEXEC, PERF_SAMPLE_TIME, PERF_TYPE_SOFTWARE, perf_event_attr,
    perf_event_mmap_page,
};

use super::record::{self, HEADER, Happening, Record};
use crate::capture::Timestamp;

/// Bytes of ring per CPU; a power of two. A record has 100 to 250 bytes.
const RING: usize = 128 * 1024;

/// The events of all CPUs.
#[derive(Debug)]
pub(super) struct SideBand {
    rings: Vec<Ring>,
    /// Taken out already, but not all that happened before may be.
    late: Vec<Record>,
}

/// All records of a stretch of time.
#[derive(Debug)]
pub(super) struct Drained {
    /// In the order in which they happened.
    pub(super) records: Vec<Record>,
    /// Where it ends: what comes later happened later.
    pub(super) until: Timestamp,
}

impl SideBand {
    /// Opens an event on each CPU that is online.
    pub(super) fn open() -> io::Result<Self> {
        let mut band = Self { rings: Vec::new(), late: Vec::new() };
        band.follow_cpus()?;
        if band.rings.is_empty() {
            return Err(io::Error::other("no CPU could be watched"));
        }
        Ok(band)
    }

    /// Adds events for CPUs that have come online since, and says how many there were.
    pub(super) fn follow_cpus(&mut self) -> io::Result<usize> {
        let before = self.rings.len();
        for cpu in online(&fs::read_to_string("/sys/devices/system/cpu/online")?) {
            if self.rings.iter().any(|ring| ring.cpu == cpu) {
                continue;
            }
            match Ring::open(cpu) {
                Ok(ring) => self.rings.push(ring),
                // It has gone offline meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.rings.len() - before)
    }

    /// Stops watching the CPU of the n-th descriptor, which has gone offline.
    pub(super) fn remove(&mut self, index: usize) {
        if index < self.rings.len() {
            self.rings.remove(index).drain(&mut self.late);
        }
    }

    /// What to wait on.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.rings.iter().map(|ring| ring.event.as_fd())
    }

    /// Takes out all records of what has happened up to now.
    ///
    /// The rings are read one after the other. A process may have moved meanwhile from one that was read
    /// to one that is read next, so that what it did last would come before what it did first: what
    /// happened after the beginning waits for the next time.
    pub(super) fn drain(&mut self) -> Drained {
        let until = now();
        let mut records = std::mem::take(&mut self.late);
        for ring in &mut self.rings {
            ring.drain(&mut records);
        }
        records.sort_by_key(|record| record.time);
        self.late = records.split_off(records.partition_point(|record| record.time <= until.0));
        Drained { records, until }
    }

    /// Whether there is something for [`Self::drain`] that the descriptors do not tell of.
    pub(super) fn is_late(&self) -> bool {
        !self.late.is_empty()
    }
}

/// One CPU's event and the ring that it writes to.
#[derive(Debug)]
struct Ring {
    cpu: i32,
    event: OwnedFd,
    memory: NonNull<perf_event_mmap_page>,
    length: usize,
    page: usize,
    scratch: Vec<u8>,
}

// SAFETY: the mapping belongs to this value alone and is not bound to a thread.
unsafe impl Send for Ring {}

impl Ring {
    fn open(cpu: i32) -> io::Result<Self> {
        match Self::telling(cpu, cgroups_are_told()) {
            // Linux 5.6 and older know nothing of cgroups here.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Self::telling(cpu, false),
            opened => opened,
        }
    }

    /// Opens it; whether it tells of new cgroups, too.
    fn telling(cpu: i32, cgroups: bool) -> io::Result<Self> {
        let mut attributes = perf_event_attr::default();
        attributes.type_ = PERF_TYPE_SOFTWARE;
        attributes.size = size_of::<perf_event_attr>() as u32;
        attributes.config = PERF_COUNT_SW_DUMMY.into();
        attributes.sample_type = PERF_SAMPLE_TIME.into();
        attributes.clockid = libc::CLOCK_MONOTONIC;
        attributes.set_mmap(1);
        attributes.set_mmap2(1);
        attributes.set_comm(1);
        attributes.set_comm_exec(1);
        attributes.set_task(1);
        attributes.set_cgroup(cgroups.into());
        attributes.set_sample_id_all(1);
        attributes.set_use_clockid(1);
        // Wake at the first byte: `wakeup_events` would count samples only, of which there are none.
        attributes.set_watermark(1);
        attributes.__bindgen_anon_2.wakeup_watermark = 1;
        // SAFETY: the attributes are initialised and outlive the call.
        let descriptor =
            unsafe { sys::perf_event_open(&raw mut attributes, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC.into()) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just returned it to us alone.
        let event = unsafe { OwnedFd::from_raw_fd(descriptor) };
        let page = rustix::param::page_size();
        let length = page + RING;
        // SAFETY: a new mapping of the event's own memory at an address of the kernel's choice.
        let memory = unsafe {
            rustix::mm::mmap(
                ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                &event,
                0,
            )?
        };
        let memory = NonNull::new(memory.cast()).ok_or_else(|| io::Error::other("mapped at zero"))?;
        Ok(Self { cpu, event, memory, length, page, scratch: Vec::new() })
    }

    fn drain(&mut self, records: &mut Vec<Record>) {
        // SAFETY: the first page is the control page, and the kernel and we touch these two words
        // atomically (`Documentation` of `struct perf_event_mmap_page`).
        let (head, tail) = unsafe {
            let page = self.memory.as_ptr();
            (AtomicU64::from_ptr(&raw mut (*page).data_head), AtomicU64::from_ptr(&raw mut (*page).data_tail))
        };
        // Acquire: the records up to the head are written before it.
        let head = head.load(Ordering::Acquire);
        let mut at = tail.load(Ordering::Relaxed);
        while at < head {
            let available = usize::try_from(head - at).unwrap_or(usize::MAX);
            let size = if available < HEADER { 0 } else { self.size_at(at) };
            if size < HEADER || size > available {
                // Not a record: nothing behind it can be understood.
                records.push(Record { time: 0, happening: Happening::Lost(1) });
                at = head;
                break;
            }
            self.copy(at, size);
            records.extend(record::parse(&self.scratch));
            at += size as u64;
        }
        // Release: our reads are done before the kernel may overwrite.
        tail.store(at, Ordering::Release);
    }

    fn size_at(&mut self, at: u64) -> usize {
        self.copy(at, HEADER);
        self.scratch.get(6..8).map_or(0, |bytes| u16::from_ne_bytes([bytes[0], bytes[1]]).into())
    }

    /// Copies bytes out of the ring, around its end where need be. `size` is below 64 KiB.
    fn copy(&mut self, at: u64, size: usize) {
        let start = (at % RING as u64) as usize;
        let first = size.min(RING - start);
        self.scratch.clear();
        // SAFETY: both ranges lie inside the data area, which begins behind the control page, and the
        // kernel does not write between tail and head.
        unsafe {
            let data = self.memory.as_ptr().cast::<u8>().add(self.page);
            self.scratch.extend_from_slice(std::slice::from_raw_parts(data.add(start), first));
            self.scratch.extend_from_slice(std::slice::from_raw_parts(data, size - first));
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: mapped by `open`, and no reference into it outlives a call.
        if let Err(error) = unsafe { rustix::mm::munmap(self.memory.as_ptr().cast(), self.length) } {
            tracing::warn!(%error, "a perf ring could not be unmapped");
        }
    }
}

/// The time on the clock that the records are stamped with.
pub(super) fn now() -> Timestamp {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Timestamp(seconds.saturating_mul(1_000_000_000).saturating_add(now.tv_nsec.unsigned_abs()))
}

/// Whether the kernel tells of cgroups of the v2 hierarchy: `perf_event` may be in one of v1, whose ids mean others.
fn cgroups_are_told() -> bool {
    fs::read_to_string("/proc/self/cgroup").is_ok_and(|cgroups| {
        let mut controllers = cgroups.lines().filter_map(|line| line.split(':').nth(1));
        !controllers.any(|list| list.split(',').any(|controller| controller == "perf_event"))
    })
}

/// The numbers in a list like `0-3,8`.
fn online(list: &str) -> Vec<i32> {
    /// More CPUs than Linux supports.
    const MAX: i32 = 16 * 1024;
    list.trim()
        .split(',')
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.parse::<i32>().ok()?..=last.parse::<i32>().ok()?.min(MAX))
        })
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(online("0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(online(""), [] as [i32; 0]);
        assert_eq!(online("x-y,7"), [7]);
    }
}
