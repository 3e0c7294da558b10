//! What `/proc/PID` tells about a process. See proc(5).

use std::{
    fs::File,
    io::{self, BufReader, Read as _},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use rustix::time::{ClockId, clock_gettime};

use super::session::{self, Said};
use crate::capture::Timestamp;

/// No file read here is longer in practice; a hostile one does not get to be.
const MAX_FILE: u64 = 64 * 1024;
/// Enough for the options of an interpreter and the path of its script, bytes.
const MAX_ARGUMENTS: u64 = 4096;

/// One look at one process.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// When the look began.
    pub(super) at: Timestamp,
    pub(super) start: StartTime,
    pub(super) image: Option<Image>,
    pub(super) name: Option<String>,
    pub(super) exe: Option<String>,
    pub(super) uid: Option<u32>,
    /// The audit login uid.
    pub(super) login_uid: Option<u32>,
    /// The audit session.
    pub(super) session: Option<u32>,
    /// `/proc/PID/cgroup`, unparsed.
    pub(super) cgroup: Option<String>,
    /// What its environment says.
    pub(super) said: Said,
}

/// What a process runs, and whose child it is.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) start: StartTime,
    /// 0 for what the kernel started.
    pub(super) parent: u32,
    pub(super) comm: String,
    pub(super) exe: Option<String>,
    /// The first arguments; nobody may keep them, since there are secrets among such.
    pub(super) arguments: Vec<String>,
}

/// Where the arguments of a program begin, which is somewhere else after each exec: it tells whether a process still
/// runs what it was seen to run, where that is called the same. Absent where the kernel does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Image(u64);

/// When a process started, in clock ticks since boot. With the pid it identifies a process for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StartTime(u64);

impl StartTime {
    /// Whether the process began after `at`, which then belongs to an earlier owner of its pid.
    pub(super) fn is_after(self, at: Timestamp) -> bool {
        self.monotonic() > at
    }

    /// The start on the clock of events, at most a tick too early and never too late.
    ///
    /// It counts suspended time (`CLOCK_BOOTTIME`), an event's timestamp does not (`CLOCK_MONOTONIC`), and it
    /// is cut to whole ticks.
    pub(super) fn monotonic(self) -> Timestamp {
        /// The two clocks are read one after the other.
        const SLACK: u64 = 1_000_000;
        let suspended = nanos(ClockId::Boottime).saturating_sub(nanos(ClockId::Monotonic));
        let ticks_per_second = rustix::param::clock_ticks_per_second().max(1);
        let start = u128::from(self.0) * 1_000_000_000 / u128::from(ticks_per_second);
        let start = u64::try_from(start).unwrap_or(u64::MAX);
        Timestamp(start.saturating_sub(suspended).saturating_sub(SLACK))
    }
}

/// The time on the clock of events.
pub(super) fn now() -> Timestamp {
    Timestamp(nanos(ClockId::Monotonic))
}

fn nanos(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64)
}

/// Reads a process; `None` where it is gone.
pub(super) fn snapshot(proc_root: &Path, pid: u32) -> Option<Snapshot> {
    let at = now();
    let dir = proc_root.join(pid.to_string());
    let stat = read(&dir.join("stat")).ok()?;
    let start = start_time(&stat)?;
    let snapshot = Snapshot {
        at,
        start,
        image: image(&stat),
        name: read(&dir.join("comm")).ok().map(|comm| comm.trim_end_matches('\n').to_owned()),
        exe: exe(&dir.join("exe")),
        uid: read(&dir.join("status")).ok().as_deref().and_then(real_uid),
        login_uid: audit(&dir.join("loginuid")),
        session: audit(&dir.join("sessionid")),
        cgroup: read(&dir.join("cgroup")).ok(),
        said: said(&dir.join("environ")).unwrap_or_default(),
    };
    // Had the pid changed hands in between, the files would tell of two processes.
    is_there(proc_root, pid, start).then_some(snapshot)
}

/// Reads what a process runs; `None` where it is gone.
pub(super) fn program(proc_root: &Path, pid: u32) -> Option<Program> {
    let dir = proc_root.join(pid.to_string());
    let stat = read(&dir.join("stat")).ok()?;
    let program = Program {
        start: start_time(&stat)?,
        parent: parent(&stat)?,
        comm: read(&dir.join("comm")).ok()?.trim_end_matches('\n').to_owned(),
        exe: exe(&dir.join("exe")),
        arguments: read_up_to(&dir.join("cmdline"), MAX_ARGUMENTS)
            .ok()?
            .split_terminator('\0')
            .map(str::to_owned)
            .collect(),
    };
    is_there(proc_root, pid, program.start).then_some(program)
}

/// Whether that process still has its id.
pub(super) fn is_there(proc_root: &Path, pid: u32, start: StartTime) -> bool {
    let stat = read(&proc_root.join(pid.to_string()).join("stat"));
    stat.ok().and_then(|stat| start_time(&stat)) == Some(start)
}

fn read(path: &Path) -> io::Result<String> {
    read_up_to(path, MAX_FILE)
}

fn read_up_to(path: &Path, limit: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What an environment says; an error also where it is not ours to read.
fn said(environ: &Path) -> io::Result<Said> {
    session::read(BufReader::new(File::open(environ)?))
}

/// A number that the login set (pam_loginuid(8)); absent where nobody logged in and where the kernel has
/// no audit.
fn audit(file: &Path) -> Option<u32> {
    read(file).ok()?.trim().parse().ok().filter(|number| *number != u32::MAX)
}

/// The target of `/proc/PID/exe`; kernel threads and processes of others may have none to show.
fn exe(link: &Path) -> Option<String> {
    let target = std::fs::read_link(link).ok()?;
    let target = String::from_utf8_lossy(target.as_os_str().as_bytes()).into_owned();
    // Appended by the kernel once the file is unlinked, as after an upgrade.
    Some(target.strip_suffix(" (deleted)").map_or(target.clone(), str::to_owned))
}

/// Field 48 of `/proc/PID/stat`.
fn image(stat: &str) -> Option<Image> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let address = after_name.split_ascii_whitespace().nth(45)?.parse().ok()?;
    (address != 0).then_some(Image(address))
}

/// Field 22 of `/proc/PID/stat`. Field 2, the name, may contain spaces and parentheses.
fn start_time(stat: &str) -> Option<StartTime> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok().map(StartTime)
}

/// Field 4 of `/proc/PID/stat`.
fn parent(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// `Uid:` of `/proc/PID/status`: real, effective, saved set, file system.
fn real_uid(status: &str) -> Option<u32> {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_survives_any_name() {
        let tail = "S 1 2 3 4 -1 5 6 7 8 9 10 11 12 13 20 0 1 0 4711 99 0";
        for name in ["curl", "a) b (c", ") R 1 2 3", ""] {
            assert_eq!(start_time(&format!("12 ({name}) {tail}")), Some(StartTime(4711)), "{name}");
        }
        assert_eq!(start_time("12 (curl) S 1"), None);
        assert_eq!(start_time(""), None);
    }

    #[test]
    fn real_uid_is_the_first_of_four() {
        assert_eq!(real_uid("Name:\tx\nUid:\t1000\t0\t0\t0\nGid:\t5\t5\t5\t5\n"), Some(1000));
        assert_eq!(real_uid("Name:\tx\n"), None);
    }

    #[test]
    fn nobody_logged_in() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let after = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            audit(file.path())
        };
        assert_eq!([after("1000"), after("4294967295"), after("")], [Some(1000), None, None]);
    }

    #[test]
    fn this_process_is_read() {
        let me = snapshot(Path::new("/proc"), std::process::id()).unwrap();
        let exe = std::env::current_exe().unwrap();
        assert_eq!(me.exe.as_deref(), exe.to_str());
        assert_eq!(me.uid, Some(rustix::process::getuid().as_raw()));
        assert!(me.cgroup.unwrap().contains(":/"));
        assert!(!me.name.unwrap().contains('\n'));
    }

    #[test]
    fn a_start_is_compared_across_clocks() {
        let me = snapshot(Path::new("/proc"), std::process::id()).unwrap();
        assert!(!me.start.is_after(Timestamp(nanos(ClockId::Monotonic))), "it runs, so it has begun");
        assert!(me.start.is_after(Timestamp(0)));
    }

    #[test]
    fn a_deleted_executable_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("exe");
        std::os::unix::fs::symlink("/usr/bin/python3.11 (deleted)", &link).unwrap();
        assert_eq!(exe(&link).as_deref(), Some("/usr/bin/python3.11"));
    }

    #[test]
    fn a_gone_process_is_none() {
        assert!(snapshot(Path::new("/proc"), u32::MAX).is_none());
    }
}
