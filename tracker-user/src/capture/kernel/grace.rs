//! Keeps the kernel ready for probes while files appear that may need them.
//!
//! To put a probe in, the kernel takes a lock that forks share (`dup_mmap_sem` in
//! `kernel/events/uprobes.c`), and whoever takes it for writing after a while first waits for an RCU grace
//! period: 5 to 20 ms measured, longer than a handshake on loopback. For about as long afterwards the lock
//! is awake, and taking it takes 50 µs. So when a file appears that may need hooks, the lock is woken while
//! the file is still being opened and read, and kept awake for a moment, because new files seldom come
//! alone: a probe is put where nobody runs it and taken out, again and again.
//!
//! Forks hardly notice: awake, they pay one memory barrier more. But who takes the lock waits for forks
//! that are under way, and those that begin meanwhile wait with him. Where that takes long, because a large
//! process forks, the lock is left alone for ten times as long.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{MemfdFlags, memfd_create};

use super::multi::Program;

/// How long the lock is kept awake after the last news.
const AWAKE: Duration = Duration::from_secs(1);
/// Between two takings, of which one puts a probe in and the next takes it out: below the shortest grace
/// period measured, 5 ms at 250 ticks a second.
const PACE: Duration = Duration::from_millis(4);
/// A taking that took longer is more than a grace period: it has waited for a fork.
const LONG: Duration = Duration::from_millis(30);
/// The lock is left alone for this many times what such a taking took.
const LEAVE_ALONE: u32 = 10;
/// Threads that take probes out, after which the kernel waits for 30 to 60 ms.
const REMOVERS: usize = 12;

/// The thread that keeps the lock awake. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Grace {
    /// When the lock may fall asleep.
    until: Arc<Mutex<Instant>>,
    news: SyncSender<()>,
}

impl Grace {
    /// Starts the thread, which attaches `program`.
    pub(super) fn start(program: Program) -> io::Result<Self> {
        let nowhere = File::from(memfd_create("llm-tracker", MemfdFlags::CLOEXEC)?);
        nowhere.set_len(4096)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", nowhere.as_raw_fd()));
        let until = Arc::new(Mutex::new(Instant::now()));
        // One that waits while another is served; more would be of no use.
        let (news, to_serve) = mpsc::sync_channel(1);
        let shared = Arc::clone(&until);
        thread::Builder::new().name("grace".to_owned()).spawn(move || {
            crate::capture::try_to_hurry();
            let take = || program.attach_nowhere(&path);
            while to_serve.recv().is_ok() {
                if let Err(error) = keep_awake(&shared, take) {
                    tracing::debug!(%error, "new libraries are hooked later than they could be");
                    break;
                }
            }
            drop(nowhere);
        })?;
        Ok(Self { until, news })
    }

    /// Wakes the lock and keeps it awake for a moment, in the background.
    pub(super) fn begin(&self) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + AWAKE;
        let _ = self.news.try_send(()); // Full: it has begun.
    }
}

/// Takes the lock with `take` again and again, by putting in probes, and has those removed beside it.
fn keep_awake(until: &Mutex<Instant>, take: impl Fn() -> io::Result<OwnedFd>) -> io::Result<()> {
    let is_over = || Instant::now() >= *until.lock().unwrap_or_else(PoisonError::into_inner);
    if is_over() {
        return Ok(()); // What is served was told while the last was kept up.
    }
    let (first, mut pause) = timed(&take)?; // Before anything else: there may be no time to lose.
    let mut probe = Some(first);
    let (sender, probes) = mpsc::sync_channel(1);
    let probes = Mutex::new(probes);
    thread::scope(|scope| {
        let sender = sender; // Dropped at the end, at which the removers end.
        for _ in 0..REMOVERS {
            let remover = thread::Builder::new().name("grace".to_owned());
            if remover.spawn_scoped(scope, || while next(&probes).is_some() {}).is_err() {
                break;
            }
        }
        loop {
            thread::sleep(pause);
            if is_over() {
                return Ok(());
            }
            (probe, pause) = match probe {
                // Where no remover is free, it stays for a while.
                Some(probe) => (sender.try_send(probe).err().map(unsent), PACE),
                None => {
                    let (probe, pause) = timed(&take)?;
                    (Some(probe), pause)
                }
            };
        }
    })
}

fn unsent(error: TrySendError<OwnedFd>) -> OwnedFd {
    let (TrySendError::Full(probe) | TrySendError::Disconnected(probe)) = error;
    probe
}

fn next(probes: &Mutex<Receiver<OwnedFd>>) -> Option<OwnedFd> {
    probes.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Takes the lock, and says how long to leave it alone then.
fn timed(take: impl Fn() -> io::Result<OwnedFd>) -> io::Result<(OwnedFd, Duration)> {
    let start = Instant::now();
    Ok((take()?, pause_after(start.elapsed())))
}

fn pause_after(taking: Duration) -> Duration {
    if taking > LONG { taking * LEAVE_ALONE } else { PACE }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn it_is_kept_awake_until_it_is_over() {
        const TIMES: usize = 5;
        let taken = AtomicUsize::new(0);
        let until = Mutex::new(Instant::now() + Duration::from_secs(60));
        let take = || {
            if taken.fetch_add(1, Ordering::Relaxed) + 1 == TIMES {
                *until.lock().unwrap() = Instant::now();
            }
            Ok(memfd_create("probe", MemfdFlags::CLOEXEC)?)
        };
        let begun = Instant::now();
        keep_awake(&until, take).unwrap();
        assert_eq!(taken.load(Ordering::Relaxed), TIMES);
        // Between two of them one probe at least is taken out.
        assert!(begun.elapsed() >= 2 * (TIMES - 1) as u32 * PACE, "{:?}", begun.elapsed());
        keep_awake(&until, take).unwrap();
        assert_eq!(taken.load(Ordering::Relaxed), TIMES, "it was over");
    }

    #[test]
    fn who_cannot_take_it_does_not_try_again() {
        let taken = AtomicUsize::new(0);
        let refused = keep_awake(&Mutex::new(Instant::now() + AWAKE), || {
            taken.fetch_add(1, Ordering::Relaxed);
            Err(io::ErrorKind::PermissionDenied.into())
        });
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(taken.into_inner(), 1);
    }

    #[test]
    fn a_lock_that_forks_hold_is_left_alone() {
        assert_eq!(pause_after(Duration::from_micros(50)), PACE);
        assert_eq!(pause_after(LONG), PACE, "that was a grace period");
        assert_eq!(pause_after(2 * LONG), 2 * LONG * LEAVE_ALONE);
    }
}
