//! The ring buffer: when to look into it, and what its records mean.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use bytes::Bytes;
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, timeout_at},
};
use tracker_common::{Plain, cookie, record};

use super::{CaptureEvent, Chunk, ConnectionId, Direction, Opened, PlanId, Timestamp};

/// How often the ring is looked into while there is something in it. The kernel side wakes nobody
/// more often than that for want of time.
const INTERVAL: Duration = Duration::from_millis(20);
/// Looks in vain, one after the other, before the reader waits to be woken. One would do if both
/// clocks were one; two outlast the kernel side's interval for certain.
const LOOKS_IN_VAIN: u32 = 2;
/// The longest that the reader sleeps without a look, for a record that was submitted late by a
/// thread that was preempted just then.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// The reader's end of the ring buffer.
pub struct Ring {
    records: RingBuf<MapData>,
    /// Registered with the runtime at the first wait.
    readiness: Option<AsyncFd<OwnedFd>>,
    in_vain: u32,
    next_look: Option<Instant>,
    malformed: u64,
    delivered_bytes: u64,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("in_vain", &self.in_vain)
            .field("malformed", &self.malformed)
            .field("delivered_bytes", &self.delivered_bytes)
            .finish_non_exhaustive()
    }
}

impl Ring {
    pub(super) const fn new(records: RingBuf<MapData>) -> Self {
        Self {
            records,
            readiness: None,
            in_vain: LOOKS_IN_VAIN,
            next_look: None,
            malformed: 0,
            delivered_bytes: 0,
        }
    }

    /// Waits until it is time to [`drain`](Self::drain). May be dropped at any await point and
    /// called again. Costs next to nothing while nothing happens.
    ///
    /// # Errors
    ///
    /// The ring cannot be waited for (no runtime with I/O, or the kernel refused it).
    pub async fn wait(&mut self) -> io::Result<()> {
        let readiness = match &mut self.readiness {
            Some(readiness) => readiness,
            none => {
                let fd = self.records.as_fd().try_clone_to_owned()?;
                // SAFETY: an `OwnedFd` is the same open descriptor until it is dropped.
                none.insert(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
            }
        };
        // Also before the next look is due: the kernel side wakes early when the ring fills up.
        let until = self.next_look.unwrap_or_else(|| Instant::now() + LONGEST_SLEEP);
        if let Ok(woken) = timeout_at(until, readiness.readable()).await {
            woken?.clear_ready();
        }
        Ok(())
    }

    /// Hands over what is in the ring, in order, but no more than `limit` records, and returns how
    /// many records there were. Where there were more, the next [`wait`](Self::wait) is over at once.
    pub fn drain(&mut self, limit: usize, mut receive: impl FnMut(CaptureEvent)) -> usize {
        let mut seen = 0;
        while seen < limit {
            let Some(bytes) = self.records.next() else { break };
            seen += 1;
            match parse(&bytes) {
                Some(event) => {
                    drop(bytes); // Gives the room back before the event is worked on.
                    if let CaptureEvent::Chunk(chunk) = &event {
                        self.delivered_bytes += chunk.bytes.len() as u64;
                    }
                    receive(event);
                }
                None => self.malformed += 1,
            }
        }
        self.in_vain = if seen == 0 { self.in_vain.saturating_add(1) } else { 0 };
        self.next_look = if seen == limit {
            Some(Instant::now())
        } else if self.in_vain < LOOKS_IN_VAIN {
            Some(Instant::now() + INTERVAL)
        } else {
            None
        };
        seen
    }

    /// Plaintext bytes handed over. With what the kernel side counts as lost, they are what it counts
    /// as transferred.
    #[must_use]
    pub const fn delivered_bytes(&self) -> u64 {
        self.delivered_bytes
    }

    /// Records that were not understood: a kernel side of another version. Always zero otherwise.
    #[must_use]
    pub const fn malformed(&self) -> u64 {
        self.malformed
    }
}

/// Understands a record; `None` where it is not one.
fn parse(bytes: &[u8]) -> Option<CaptureEvent> {
    let (header, _) = record::Header::read_from(bytes)?;
    let record::Header { kind, tid, tgid, generation, ssl, timestamp } = header;
    let connection = ConnectionId { tgid, generation, ssl };
    let at = Timestamp(timestamp);
    Some(match kind {
        record::DATA => {
            let (record::Data { header: _, cgroup_id, offset, direction, length }, payload) =
                record::Data::read_from(bytes)?;
            let direction = match direction {
                cookie::WRITE => Direction::Write,
                cookie::READ => Direction::Read,
                _ => return None,
            };
            let bytes = Bytes::copy_from_slice(payload.get(..usize::try_from(length).ok()?)?);
            CaptureEvent::Chunk(Chunk { connection, tid, direction, offset, timestamp: at, cgroup_id, bytes })
        }
        record::OPENED => {
            let (record::Opened { header: _, cgroup_id, uid, plan, comm }, _) =
                record::Opened::read_from(bytes)?;
            let end = comm.iter().position(|&byte| byte == 0).unwrap_or(comm.len());
            let comm = String::from_utf8_lossy(&comm[..end]).into_owned();
            let plan = PlanId::from_raw(plan);
            CaptureEvent::Opened(Opened { connection, comm, uid, cgroup_id, plan, at })
        }
        record::CLOSED => CaptureEvent::Closed { connection, at },
        record::EXEC => CaptureEvent::Exec { tgid, at },
        record::EXIT => CaptureEvent::Exit { tgid, at },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u32) -> Vec<u8> {
        let words: [u32; 8] = [kind, 8, 7, 3, 0x1000, 0, 99, 0];
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    fn data(direction: u32, length: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = header(record::DATA);
        bytes.extend([5_u64, 1000].iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend([direction, length].iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend_from_slice(payload);
        bytes
    }

    #[test]
    fn a_data_record_is_its_payload_and_not_the_room_behind_it() {
        let Some(CaptureEvent::Chunk(chunk)) = parse(&data(cookie::READ, 3, b"abcdef")) else { panic!() };
        assert_eq!(chunk.connection, ConnectionId { tgid: 7, generation: 3, ssl: 0x1000 });
        assert_eq!((chunk.tid, chunk.direction, chunk.offset), (8, Direction::Read, 1000));
        assert_eq!((chunk.timestamp, chunk.cgroup_id), (Timestamp(99), 5));
        assert_eq!(&chunk.bytes[..], b"abc");
    }

    #[test]
    fn what_is_no_record_is_none() {
        assert!(parse(&data(cookie::WRITE, 7, b"abcdef")).is_none(), "longer than the record");
        assert!(parse(&data(2, 3, b"abcdef")).is_none(), "no direction");
        assert!(parse(&header(99)).is_none(), "no kind");
        for kind in [record::OPENED, record::DATA, record::CLOSED, record::EXEC, record::EXIT] {
            assert!(parse(&header(kind)[..31]).is_none(), "too short");
        }
        assert!(parse(&header(record::OPENED)).is_none(), "too short");
        assert_eq!(parse(&header(record::EXIT)), Some(CaptureEvent::Exit { tgid: 7, at: Timestamp(99) }));
    }

    #[test]
    fn a_thread_name_ends_at_its_zero() {
        let mut bytes = header(record::OPENED);
        bytes.extend(5_u64.to_ne_bytes());
        bytes.extend([1000_u32, 0].iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(b"HTTP Client\0rest");
        let Some(CaptureEvent::Opened(opened)) = parse(&bytes) else { panic!() };
        assert_eq!((opened.comm.as_str(), opened.uid, opened.cgroup_id), ("HTTP Client", 1000, 5));
    }
}
