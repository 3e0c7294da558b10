//! Which program each process runs, as the perf side-band tells: known even of a process that lives too
//! briefly to be looked up in `/proc`.
//!
//! After an exec the kernel maps the program's own file first, and the interpreter that it names
//! (`ld.so`) next, so the first executable mapping is what `/proc/PID/exe` leads to. A path is told only
//! where nothing speaks against it: a wrong one would be worse than none.

use std::ffi::OsStr;
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, PoisonError};

use super::record::{Happening, Record};
use crate::{
    capture::Timestamp,
    recent::{Lived, Recent},
};

/// Longer paths are not kept: half a path is the path of another file.
const MAX_PATH: usize = 512;

/// A handle on what is known; all clones share it.
///
/// It knows nothing until discovery was started with it, and nothing where the side-band is refused.
#[derive(Clone, Default)]
pub struct Programs(Arc<Mutex<Memory>>);

#[derive(Default)]
struct Memory {
    /// Each since its last exec, or since it was forked.
    processes: Recent<Process>,
    /// All that happened up to here has been taken in.
    until: u64,
}

/// What a process runs.
#[derive(Clone)]
struct Process {
    /// As the exec set it.
    comm: Arc<str>,
    exe: Exe,
}

#[derive(Clone)]
enum Exe {
    /// The program's file is about to be mapped.
    Awaited,
    Known(Arc<str>),
    /// Its name is none that can be told.
    Nameless,
}

impl Programs {
    /// The path of the executable, as the process sees it, that `pid` ran at the time `at`.
    ///
    /// `comm` is the name that the process had then: it has to be the one that the exec gave it. Absent
    /// also where the side-band has not been read up to `at`: to ask again later may help.
    #[must_use]
    pub fn exe(&self, pid: u32, comm: &str, at: Timestamp) -> Option<Arc<str>> {
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Lived { since, ended, known: process } = memory.processes.get(pid)?;
        // Behind `until` there may be an exec that is not known yet.
        let then = *since <= at.0 && ended.is_none_or(|ended| at.0 <= ended);
        if !then || memory.until < at.0 || *process.comm != *comm {
            return None;
        }
        match &process.exe {
            Exe::Known(path) => Some(Arc::clone(path)),
            Exe::Awaited | Exe::Nameless => None,
        }
    }

    /// Takes in all that happened up to `until`, in order.
    pub(super) fn learn(&self, records: &[Record], until: Timestamp) {
        let mut memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        memory.until = memory.until.max(until.0);
        if records.iter().any(|record| matches!(record.happening, Happening::Lost(_))) {
            // An exec may be among what is missing, of any process.
            memory.processes.clear();
            return;
        }
        for record in records {
            memory.learn(record);
        }
        let now = memory.until;
        memory.processes.clean(now);
    }
}

impl Memory {
    fn learn(&mut self, Record { time, happening }: &Record) {
        match happening {
            Happening::Executed { pid, comm } => {
                let comm = comm.as_str().into();
                self.processes.begin(*pid, *time, Process { comm, exe: Exe::Awaited });
            }
            Happening::Mapped { pid, mapping } => {
                if let Some(Lived { known: process, .. }) = self.processes.get_mut(*pid)
                    && matches!(process.exe, Exe::Awaited)
                {
                    process.exe = Exe::new(&mapping.path);
                }
            }
            Happening::Forked { pid, parent } => match self.processes.get(*parent) {
                Some(Lived { known, .. }) if !matches!(known.exe, Exe::Awaited) => {
                    let copy = known.clone();
                    self.processes.begin(*pid, *time, copy);
                }
                _ => self.processes.forget(*pid),
            },
            Happening::LeaderExited { pid } => self.processes.end(*pid, *time),
            Happening::CgroupMade { .. } | Happening::Lost(_) => {}
        }
    }
}

impl Exe {
    /// The file's name as the kernel's records have it.
    fn new(path: &OsStr) -> Self {
        let path = path.to_string_lossy();
        // Put behind it by the kernel where the file is unlinked, as after an upgrade.
        let path = path.strip_suffix(" (deleted)").unwrap_or(&path);
        // `//toolong` and `//enomem` stand for paths that the kernel could not give.
        if path.starts_with('/') && !path.starts_with("//") && path.len() <= MAX_PATH {
            Self::Known(path.into())
        } else {
            Self::Nameless
        }
    }
}

impl Debug for Programs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Programs").field("processes", &memory.processes.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        capture::discovery::maps::{Alias, Mapping},
        recent::{GRACE, MAX_PROCESSES},
    };

    fn exec(time: u64, pid: u32, comm: &str) -> Record {
        Record { time, happening: Happening::Executed { pid, comm: comm.to_owned() } }
    }

    fn map(time: u64, pid: u32, path: &str) -> Record {
        let alias = Alias { major: 0, minor: 1, inode: 2 };
        let mapping = Mapping { start: 0x1000, end: 0x2000, alias, path: path.into() };
        Record { time, happening: Happening::Mapped { pid, mapping } }
    }

    fn fork(time: u64, pid: u32, parent: u32) -> Record {
        Record { time, happening: Happening::Forked { pid, parent } }
    }

    fn exit(time: u64, pid: u32) -> Record {
        Record { time, happening: Happening::LeaderExited { pid } }
    }

    fn after(records: &[Record], until: u64) -> Programs {
        let programs = Programs::default();
        programs.learn(records, Timestamp(until));
        programs
    }

    fn ask(programs: &Programs, pid: u32, comm: &str, at: u64) -> Option<String> {
        programs.exe(pid, comm, Timestamp(at)).map(|path| path.to_string())
    }

    fn curl() -> Vec<Record> {
        vec![exec(10, 7, "curl"), map(11, 7, "/usr/bin/curl"), map(12, 7, "/lib/ld.so"), exit(50, 7)]
    }

    #[test]
    fn the_first_mapping_after_an_exec_is_the_program() {
        let programs = after(&curl(), 100);
        assert_eq!(ask(&programs, 7, "curl", 20).as_deref(), Some("/usr/bin/curl"));
        assert_eq!(ask(&programs, 8, "curl", 20), None);
        let unknown = after(&[map(11, 7, "/lib/late.so")], 100);
        assert_eq!(ask(&unknown, 7, "curl", 20), None, "which program it was is not known");
    }

    #[test]
    fn only_what_ran_at_that_time_is_told() {
        let programs = after(&curl(), 100);
        assert_eq!(ask(&programs, 7, "curl", 9), None, "the program before");
        assert_eq!(ask(&programs, 7, "curl", 51), None, "who has its pid next");
        assert_eq!(ask(&programs, 7, "HTTP Client", 20), None, "a name that it has given itself");
    }

    #[test]
    fn nothing_is_told_of_what_is_not_read_yet() {
        // A script `curl` that will execute the program of the same name.
        let programs = after(&[exec(10, 7, "curl"), map(11, 7, "/bin/sh")], 15);
        assert_eq!(ask(&programs, 7, "curl", 20), None);
        programs.learn(&[exec(16, 7, "curl")], Timestamp(16));
        assert_eq!(ask(&programs, 7, "curl", 16), None);
        programs.learn(&[map(17, 7, "/usr/bin/curl")], Timestamp(30));
        assert_eq!(ask(&programs, 7, "curl", 20).as_deref(), Some("/usr/bin/curl"));
    }

    #[test]
    fn a_pid_that_is_used_again_is_the_new_program() {
        let programs = after(&curl(), 100);
        programs.learn(&[fork(110, 7, 1)], Timestamp(120));
        assert_eq!(ask(&programs, 7, "curl", 115), None, "of its parent nothing is known");
        programs.learn(&[exec(130, 7, "curl"), map(131, 7, "/opt/curl")], Timestamp(140));
        assert_eq!(ask(&programs, 7, "curl", 135).as_deref(), Some("/opt/curl"));
        assert_eq!(ask(&programs, 7, "curl", 20), None);
    }

    #[test]
    fn a_fork_runs_its_parents_program() {
        let programs = after(&[exec(10, 7, "agent"), map(11, 7, "/bin/agent"), fork(20, 8, 7)], 100);
        // Its later mappings are libraries.
        programs.learn(&[map(110, 8, "/lib/plugin.so"), exit(111, 7)], Timestamp(120));
        assert_eq!(ask(&programs, 8, "agent", 115).as_deref(), Some("/bin/agent"));
        assert_eq!(ask(&programs, 8, "agent", 15), None, "before it was");
        // What a parent does later is not the child's.
        programs.learn(&[exec(130, 8, "true"), map(131, 8, "/bin/true")], Timestamp(140));
        assert_eq!(ask(&programs, 8, "true", 135).as_deref(), Some("/bin/true"));
    }

    #[test]
    fn lost_records_make_it_forget() {
        let lost = Record { time: 60, happening: Happening::Lost(3) };
        let programs = after(&curl(), 55);
        programs.learn(&[lost, exec(61, 9, "wget")], Timestamp(100));
        assert_eq!((ask(&programs, 7, "curl", 20), ask(&programs, 9, "wget", 70)), (None, None));
        programs.learn(&[map(101, 9, "/lib/ld.so")], Timestamp(110));
        assert_eq!(ask(&programs, 9, "wget", 105), None);
    }

    #[test]
    fn names_that_are_none() {
        let path = |path: &str| ask(&after(&[exec(1, 7, "x"), map(2, 7, path)], 9), 7, "x", 5);
        assert_eq!(path("/bin/x (deleted)").as_deref(), Some("/bin/x"));
        assert_eq!(path("//toolong"), None);
        assert_eq!(path("[vdso]"), None);
        assert_eq!(path(&"/x".repeat(MAX_PATH / 2)).map(|path| path.len()), Some(MAX_PATH));
        assert_eq!(path(&format!("/{}", "x".repeat(MAX_PATH))), None);
    }

    #[test]
    fn memory_is_bounded_and_the_ended_go_first() {
        let programs = after(&[exec(1, 1, "init"), map(1, 1, "/bin/init")], 1);
        for pid in 2..40_000 {
            let time = u64::from(pid);
            let records = [exec(time, pid, "x"), map(time, pid, "/bin/x"), exit(time, pid)];
            programs.learn(&records, Timestamp(time));
        }
        let count = || programs.0.lock().unwrap().processes.len();
        assert!(count() <= MAX_PROCESSES && count() > MAX_PROCESSES / 2, "{}", count());
        assert_eq!(ask(&programs, 1, "init", 40).as_deref(), Some("/bin/init"));
        assert_eq!(ask(&programs, 39_999, "x", 39_999).as_deref(), Some("/bin/x"));
        assert_eq!(ask(&programs, 2, "x", 2), None);
        programs.learn(&[], Timestamp(40_000 + GRACE));
        assert_eq!(count(), 1, "the grace time is over");
    }
}
