//! Finds the processes that use TLS, whatever they are and wherever they run, and keeps the hooks in
//! place.
//!
//! At the start every process's executable mappings are looked at; ever after the kernel's perf
//! side-band tells of new ones as they appear. Each distinct file is judged once, by its content
//! ([`super::locate`]), reached through the process that maps it, so that deleted files and other mount
//! namespaces are no exception; and hooked once, for all processes. Should records be lost, and once a
//! minute, all processes are looked at again.

mod file;
mod judge;
mod leaving;
mod maps;
mod object;
mod programs;
mod record;
mod report;
mod sideband;
mod standing;
mod table;
mod waiting;
mod worker;

use std::convert::Infallible;
use std::fmt::{Debug, Display};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

pub use leaving::Departure;
pub(crate) use maps::processes;
pub use programs::Programs;
pub use report::{Counters, ObjectReport, ProcessEvent, Snapshot, State};

use super::locate::locate;
use super::{Attached, Hook, PlanId, Proof};
use judge::Judge;
use table::Table;
use worker::{Shared, Worker};

/// Puts probes into files.
pub trait Attach {
    /// The probes of one call in place.
    type Link;
    /// Why a function could not be probed.
    type Error: Display;

    /// Probes functions of a file, for all processes that map it; those that cannot be are told by their
    /// index, and nothing of them is left in place.
    ///
    /// `file` is good during this call only. It leads to the inode itself (`/proc/self/fd/N`): the
    /// kernel accepts it for a uprobe even where the file is deleted or out of sight. `plan` comes back
    /// with each connection that the probes see.
    fn attach(&mut self, plan: PlanId, hooks: &[Hook], file: &Path) -> Attached<Self::Link, Self::Error>;

    /// Takes probes away, and returns when they are.
    fn detach(&mut self, links: Vec<Self::Link>) {
        drop(links);
    }

    /// Takes probes away in its own time. `departure` is dropped when they are gone.
    fn detach_later(&mut self, links: Vec<Self::Link>, departure: Departure) {
        self.detach(links);
        drop(departure);
    }

    /// A file was mapped that is about to be judged: there may be something to probe soon.
    fn expect(&mut self) {}
}

/// How discovery behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// Time between looks at all processes, which find what the side-band does not tell (`dlclose`).
    pub sweep_interval: Duration,
    /// The same where there is no side-band.
    pub poll_interval: Duration,
    /// How long hooks stay after the last user has gone, so that the next is seen from its first call.
    /// They go at once with the last process of the mount namespace that they belong to.
    pub linger: Duration,
    /// TLS objects held at most.
    pub max_objects: usize,
    /// Whether to use the side-band.
    pub side_band: bool,
    /// Folders whose `libssl.so*` is hooked before anybody uses it. An unused hook costs nothing.
    pub standing_folders: Vec<PathBuf>,
    /// Where to note which programs run. Keep a clone of it to ask.
    pub programs: Programs,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sweep_interval: Duration::from_secs(60),
            poll_interval: Duration::from_secs(2),
            linger: Duration::from_secs(5 * 60),
            max_objects: 1024,
            side_band: true,
            standing_folders: standing::folders(),
            programs: Programs::default(),
        }
    }
}

/// Why discovery cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Without `/proc` no process can be seen.
    #[error("/proc cannot be read ({0}): mount it, and without hidepid")]
    Proc(#[source] io::Error),
    /// A thread or a descriptor could not be had.
    #[error("discovery cannot start: {0}")]
    Resource(#[from] io::Error),
}

/// Starts discovery.
#[derive(Debug)]
pub struct Discovery;

impl Discovery {
    /// Starts the thread that watches, and returns once all running processes have been looked at.
    ///
    /// `sink` is called on that thread and must not block it.
    ///
    /// # Errors
    /// [`Error`]. A refused side-band is none: it is in [`Snapshot::polling_because`].
    pub fn start<A, S>(config: Config, attacher: A, sink: S) -> Result<Handle, Error>
    where
        A: Attach + Send + 'static,
        A::Link: Send,
        S: FnMut(ProcessEvent) + Send + 'static,
    {
        maps::check().map_err(Error::Proc)?;
        let shared = Arc::new(Shared {
            snapshot: Mutex::default(),
            stop: AtomicBool::new(false),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(io::Error::from)?,
            proofs: Mutex::default(),
        });
        let judge = Judge::start(Arc::clone(&shared))?;
        let mut worker = Worker::new(config, attacher, sink, judge, Arc::clone(&shared));
        worker.look_around();
        let thread = thread::Builder::new().name("discovery".to_owned()).spawn(move || worker.run())?;
        Ok(Handle { shared, thread: Some(thread) })
    }
}

/// Running discovery; stops when dropped.
pub struct Handle {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// What is known now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says what traffic has said about plans: those that it refutes are unhooked.
    pub fn prove(&self, proofs: Vec<(PlanId, Proof)>) {
        self.shared.proofs.lock().unwrap_or_else(PoisonError::into_inner).extend(proofs);
        self.shared.wake();
    }

    /// Takes all hooks away and ends the thread.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake();
        if thread.join().is_err() {
            tracing::error!("discovery had ended by a panic");
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}

impl Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("running", &self.thread.is_some()).finish_non_exhaustive()
    }
}

/// Looks once at all processes, attaching nothing: [`State::Hooked`] means that it could be.
///
/// # Errors
/// [`Error::Proc`].
pub fn survey() -> Result<Snapshot, Error> {
    struct Nothing;
    impl Attach for Nothing {
        type Link = ();
        type Error = Infallible;
        fn attach(&mut self, _: PlanId, _: &[Hook], _: &Path) -> Attached<(), Infallible> {
            Attached { link: (), refused: Vec::new() }
        }
    }
    maps::check().map_err(Error::Proc)?;
    let mut table = Table::new(Nothing, &Config::default());
    table.sweep();
    while let Some(large) = table.next_large() {
        let located = locate(&large.file);
        table.settle(large, located);
    }
    Ok(Snapshot { objects: table.report(), counters: table.counters, polling_because: None })
}

#[cfg(test)]
mod tests;
