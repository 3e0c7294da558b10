//! The thread that watches.

use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::judge::Judge;
use super::record::{Happening, Record};
use super::report::{ProcessEvent, Snapshot};
use super::sideband::{Drained, SideBand};
use super::table::Table;
use super::{Attach, Config, maps};
use crate::capture::{PlanId, Proof};

/// A process whose first thread has ended is looked at after this long: the others end with it, or not.
const REAP_AFTER: Duration = Duration::from_millis(50);
/// How often it is looked at; afterwards the sweeps decide.
const REAP_ATTEMPTS: u8 = 20;
/// The start takes no longer, even where large programs appear faster than they can be judged.
const LOOK_AROUND: Duration = Duration::from_secs(10);
/// Times that the side-band is drained in a row, if there is more each time.
const MAX_DRAINS: usize = 4;

/// What the thread and its handle share.
pub(super) struct Shared {
    pub(super) snapshot: Mutex<Snapshot>,
    pub(super) stop: AtomicBool,
    pub(super) wake: OwnedFd,
    /// What traffic has said since the thread last looked.
    pub(super) proofs: Mutex<Vec<(PlanId, Proof)>>,
}

impl Shared {
    /// Lets the thread look around.
    pub(super) fn wake(&self) {
        if let Err(error) = rustix::io::write(&self.wake, &1_u64.to_ne_bytes()) {
            tracing::error!(%error, "discovery could not be woken; it goes on at its next event");
        }
    }
}

pub(super) struct Worker<A: Attach, S> {
    config: Config,
    table: Table<A>,
    sink: S,
    judge: Judge,
    shared: Arc<Shared>,
    side_band: Option<SideBand>,
    polling_because: Option<String>,
    /// Processes whose first thread has ended: when to look, and how often that was done.
    ending: HashMap<u32, (Instant, u8)>,
    next_sweep: Instant,
}

impl<A: Attach, S: FnMut(ProcessEvent)> Worker<A, S> {
    pub(super) fn new(config: Config, attacher: A, sink: S, judge: Judge, shared: Arc<Shared>) -> Self {
        let (side_band, polling_because) = if config.side_band {
            match SideBand::open() {
                Ok(band) => (Some(band), None),
                Err(error) => {
                    let reason = format!(
                        "the kernel refuses perf_event_open ({error}): `llm-tracker doctor` says what it asks for"
                    );
                    tracing::warn!(reason, "new TLS libraries are found by polling only");
                    (None, Some(reason))
                }
            }
        } else {
            (None, Some("switched off".to_owned()))
        };
        let table = Table::new(attacher, &config);
        Self {
            config,
            table,
            sink,
            judge,
            shared,
            side_band,
            polling_because,
            ending: HashMap::new(),
            next_sweep: Instant::now(),
        }
    }

    /// The first look at all processes.
    pub(super) fn look_around(&mut self) {
        let until = Instant::now() + LOOK_AROUND;
        self.sweep();
        while self.judge_large() && Instant::now() < until {
            self.wait(Duration::from_millis(100));
            self.drain();
        }
        self.publish();
    }

    pub(super) fn run(&mut self) {
        crate::capture::try_to_hurry();
        while !self.shared.stop.load(Ordering::Acquire) {
            let now = Instant::now();
            if now >= self.next_sweep {
                self.sweep();
            }
            self.reap(now);
            self.table.tick(now);
            self.prove();
            self.judge_large();
            self.publish();
            let late = self.side_band.as_ref().is_some_and(SideBand::is_late);
            self.wait(if late { Duration::ZERO } else { Duration::MAX });
            self.drain();
        }
        self.table.clear();
        self.publish();
    }

    /// Takes in a large file that was judged and has the next judged; whether one is.
    fn judge_large(&mut self) -> bool {
        if let Some((large, located)) = self.judge.judged() {
            self.table.settle(large, located);
        }
        if self.judge.is_idle()
            && let Some(large) = self.table.next_large()
        {
            self.judge.take(large);
        }
        !self.judge.is_idle()
    }

    fn sweep(&mut self) {
        if let Some(band) = &mut self.side_band
            && let Err(error) = band.follow_cpus()
        {
            tracing::warn!(%error, "a CPU that came online is not watched");
        }
        self.table.sweep();
        let interval = match self.side_band {
            Some(_) => self.config.sweep_interval,
            None => self.config.poll_interval,
        };
        self.next_sweep = Instant::now() + interval;
    }

    fn drain(&mut self) {
        for _ in 0..MAX_DRAINS {
            let Some(band) = &mut self.side_band else { return };
            let Drained { records, until } = band.drain();
            let more = band.is_late();
            // First, because it takes no time and others wait for it.
            self.config.programs.learn(&records, until);
            records.iter().filter_map(Record::event).for_each(&mut self.sink);
            (self.sink)(ProcessEvent::ToldUpTo(until));
            self.follow(records);
            if !more {
                return;
            }
        }
    }

    fn follow(&mut self, records: Vec<Record>) {
        for record in records {
            match record.happening {
                Happening::Mapped { pid, mapping } => self.table.mapped(pid, &mapping),
                Happening::Forked { pid, parent } => {
                    self.ending.remove(&pid);
                    self.table.forked(pid, parent);
                }
                Happening::Executed { pid, comm: _ } => {
                    self.ending.remove(&pid);
                    self.table.ended(pid);
                }
                Happening::LeaderExited { pid } => {
                    if self.table.is_known(pid) {
                        self.ending.insert(pid, (Instant::now() + REAP_AFTER, 0));
                    }
                }
                Happening::CgroupMade { .. } => {}
                Happening::Lost(records) => {
                    self.table.counters.lost_records += records;
                    self.next_sweep = Instant::now();
                }
            }
            self.tell();
        }
    }

    fn reap(&mut self, now: Instant) {
        let table = &mut self.table;
        self.ending.retain(|&pid, (due, attempts)| {
            if now < *due {
                return true;
            }
            if maps::has_ended(pid) {
                table.ended(pid);
                return false;
            }
            *due = now + REAP_AFTER;
            *attempts += 1;
            *attempts < REAP_ATTEMPTS
        });
    }

    fn prove(&mut self) {
        let proofs = std::mem::take(&mut *self.shared.proofs.lock().unwrap_or_else(PoisonError::into_inner));
        proofs.into_iter().for_each(|(plan, proof)| self.table.prove(plan, proof));
    }

    fn tell(&mut self) {
        self.table.take_events().into_iter().for_each(&mut self.sink);
    }

    fn publish(&mut self) {
        self.tell();
        let snapshot = Snapshot {
            objects: self.table.report(),
            counters: self.table.counters,
            polling_because: self.polling_because.clone(),
        };
        *self.shared.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }

    /// Sleeps until something happens or something is due.
    fn wait(&mut self, at_most: Duration) {
        let deadline = [Some(self.next_sweep), self.table.deadline()]
            .into_iter()
            .chain(self.ending.values().map(|(due, _)| Some(*due)))
            .flatten()
            .min()
            .unwrap_or(self.next_sweep);
        let timeout = deadline.saturating_duration_since(Instant::now()).min(at_most);
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let offline = {
            let mut waits = vec![PollFd::from_borrowed_fd(self.shared.wake.as_fd(), PollFlags::IN)];
            let events = self.side_band.iter().flat_map(SideBand::descriptors);
            waits.extend(events.map(|event| PollFd::from_borrowed_fd(event, PollFlags::IN)));
            if let Err(error) = poll(&mut waits, Some(&timeout))
                && error != rustix::io::Errno::INTR
            {
                tracing::error!(%error, "discovery cannot wait for events");
                std::thread::sleep(Duration::from_secs(1));
            }
            if waits.first().is_some_and(|wake| !wake.revents().is_empty()) {
                // What it is about is looked up; it only has to be quiet again.
                let _ = rustix::io::read(&self.shared.wake, &mut [0; 8]);
            }
            waits.iter().skip(1).position(|wait| wait.revents().intersects(PollFlags::HUP | PollFlags::ERR))
        };
        if let (Some(index), Some(band)) = (offline, &mut self.side_band) {
            band.remove(index);
        }
    }
}
