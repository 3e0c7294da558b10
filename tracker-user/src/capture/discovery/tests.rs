//! With real processes and a stand-in for the kernel's probes.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use super::*;

mod large;
mod namespaces;
mod programs;
mod proof;

/// What the stand-in was told.
#[derive(Clone, Debug, PartialEq)]
enum Told {
    Attached {
        plan: PlanId,
        function: &'static str,
        inode: u64,
        at: Instant,
    },
    /// That there may be something to attach soon.
    Expected,
    Detached {
        inode: u64,
    },
}

struct Recorder {
    told: mpsc::Sender<Told>,
    refuse: &'static [&'static str],
}

impl Attach for Recorder {
    /// The inode, once for each function.
    type Link = Vec<u64>;
    type Error = &'static str;

    fn attach(&mut self, plan: PlanId, hooks: &[Hook], file: &Path) -> Attached<Vec<u64>, &'static str> {
        let at = Instant::now();
        let inode = fs::metadata(file).unwrap().ino();
        let (mut link, mut refused) = (Vec::new(), Vec::new());
        for (index, hook) in hooks.iter().enumerate() {
            if self.refuse.contains(&hook.function) {
                refused.push((index, "refused by the test"));
            } else {
                self.told.send(Told::Attached { plan, function: hook.function, inode, at }).unwrap();
                link.push(inode);
            }
        }
        Attached { link, refused }
    }

    fn expect(&mut self) {
        let _ = self.told.send(Told::Expected);
    }

    fn detach(&mut self, links: Vec<Vec<u64>>) {
        for inode in links.into_iter().flatten() {
            // The receiver may have gone before the handle.
            let _ = self.told.send(Told::Detached { inode });
        }
    }
}

struct Running {
    told: Receiver<Told>,
    events: Receiver<ProcessEvent>,
    handle: Handle,
}

fn start(config: Config) -> Running {
    start_refusing(config, &[])
}

fn start_refusing(config: Config, refuse: &'static [&'static str]) -> Running {
    let (sender, told) = mpsc::channel();
    let (seen, events) = mpsc::channel();
    let attacher = Recorder { told: sender, refuse };
    let handle = Discovery::start(config, attacher, move |event| seen.send(event).unwrap_or(())).unwrap();
    Running { told, events, handle }
}

/// A libssl of this system, copied to where nobody has mapped it.
fn unknown_libssl(folder: &Path) -> Option<PathBuf> {
    let found = ["/usr/lib/x86_64-linux-gnu/libssl.so.3", "/usr/lib64/libssl.so.3", "/usr/lib/libssl.so.3"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let Some(found) = found else {
        eprintln!("SKIPPED: no libssl.so.3 on this system");
        return None;
    };
    let copy = folder.join("some name.so");
    fs::copy(found, &copy).unwrap();
    Some(copy)
}

/// A process that loads the library after `before` seconds, says so, and then waits for its input to end.
fn user(library: &Path) -> Option<Child> {
    let child = Command::new("python3")
        .args([
            "-c",
            "import ctypes,sys; ctypes.CDLL(sys.argv[1]); print('loaded', flush=True); sys.stdin.read()",
        ])
        .arg(library)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    match child {
        Ok(child) => Some(child),
        Err(error) => {
            eprintln!("SKIPPED: python3 cannot be run: {error}");
            None
        }
    }
}

fn wait_until_loaded(child: &mut Child) {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "loaded\n");
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    child.wait().unwrap();
}

fn has_side_band() -> bool {
    let available = sideband::SideBand::open().is_ok();
    if !available {
        eprintln!("SKIPPED: perf_event_open is refused here");
    }
    available
}

/// Waits for what must come within ten seconds.
fn wait_for<T>(receiver: &Receiver<T>, mut wanted: impl FnMut(&T) -> bool) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let got = receiver.recv_timeout(left).expect("it did not come in time");
        if wanted(&got) {
            return got;
        }
    }
}

fn object<'a>(snapshot: &'a Snapshot, path: &Path) -> Option<&'a ObjectReport> {
    // A deleted file's path has a remark behind it.
    snapshot.objects.iter().find(|object| object.path.starts_with(path.to_str().unwrap()))
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !check() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The first sight, hooking, users and the end of an object that appears while we run.
fn follow(config: &Config) {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = unknown_libssl(folder.path()) else { return };
    let inode = fs::metadata(&library).unwrap().ino();
    let running = start(Config { linger: Duration::from_millis(300), ..config.clone() });
    let Some(mut first) = user(&library) else { return };
    wait_until_loaded(&mut first);
    let is_ours = |told: &Told| matches!(told, Told::Attached { inode: its, .. } if *its == inode);
    wait_for(&running.told, is_ours);
    wait_for(&running.events, |event| *event == ProcessEvent::Seen { pid: first.id() });

    let Some(mut second) = user(&library) else { return };
    wait_until_loaded(&mut second);
    wait_for(&running.events, |event| *event == ProcessEvent::Seen { pid: second.id() });
    eventually("two users", || object(&running.handle.snapshot(), &library).is_some_and(|o| o.users == 2));
    let snapshot = running.handle.snapshot();
    let State::Hooked { functions, failed, .. } = &object(&snapshot, &library).unwrap().state else {
        panic!("not hooked: {snapshot:?}");
    };
    assert!(functions.contains(&"SSL_free") && failed.is_empty(), "{functions:?} {failed:?}");

    let pids = HashSet::from([first.id(), second.id()]);
    end(first);
    end(second);
    let mut gone = HashSet::new();
    while gone != pids {
        if let ProcessEvent::Gone { pid } = wait_for(&running.events, |_| true) {
            gone.extend(pids.get(&pid));
        }
    }
    eventually("its end", || object(&running.handle.snapshot(), &library).is_none());
    // Hooked once for both, and what was hooked is unhooked.
    let rest: Vec<Told> = running.told.try_iter().collect();
    assert_eq!(rest.iter().filter(|told| is_ours(told)).count(), functions.len() - 1);
    assert_eq!(rest.iter().filter(|told| **told == Told::Detached { inode }).count(), functions.len());
    running.handle.stop();
}

#[test]
fn an_unknown_library_is_followed_by_the_side_band() {
    if has_side_band() {
        follow(&Config { sweep_interval: Duration::from_secs(3600), ..Config::default() });
    }
}

#[test]
fn and_by_polling_where_there_is_none() {
    follow(&Config { side_band: false, poll_interval: Duration::from_millis(50), ..Config::default() });
}

#[test]
fn a_deleted_library_of_a_running_process_is_hooked() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = unknown_libssl(folder.path()) else { return };
    let inode = fs::metadata(&library).unwrap().ino();
    let Some(mut child) = user(&library) else { return };
    wait_until_loaded(&mut child);
    fs::remove_file(&library).unwrap();
    if fs::read_dir("/proc/self/map_files")
        .and_then(|mut files| files.next().map_or(Ok(()), |file| fs::metadata(file?.path()).map(drop)))
        .is_err()
    {
        eprintln!("SKIPPED: map_files cannot be followed without CAP_SYS_ADMIN");
        return end(child);
    }
    let running = start(Config::default());
    wait_for(&running.told, |told| matches!(told, Told::Attached { inode: its, .. } if *its == inode));
    assert_eq!(object(&running.handle.snapshot(), &library).unwrap().users, 1);
    end(child);
}

#[test]
fn forked_processes_are_users_and_an_exec_ends_that() {
    if !has_side_band() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = unknown_libssl(folder.path()) else { return };
    let running = start(Config { sweep_interval: Duration::from_secs(3600), ..Config::default() });
    let script = "import ctypes,os,sys\n\
        ctypes.CDLL(sys.argv[1])\n\
        pid = os.fork()\n\
        if pid == 0:\n  sys.stdin.readline(); os.execvp('cat', ['cat'])\n\
        print(pid, flush=True); os.waitpid(pid, 0)";
    let mut parent = Command::new("python3")
        .args(["-c", script])
        .arg(&library)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let child: u32 = line.trim().parse().unwrap();
    wait_for(&running.events, |event| *event == ProcessEvent::Seen { pid: child });
    eventually("two users", || object(&running.handle.snapshot(), &library).is_some_and(|o| o.users == 2));
    parent.stdin.as_mut().unwrap().write_all(b"now\n").unwrap();
    wait_for(&running.events, |event| *event == ProcessEvent::Gone { pid: child });
    eventually("one user", || object(&running.handle.snapshot(), &library).is_some_and(|o| o.users == 1));
    end(parent);
}

#[test]
fn a_refused_function_leaves_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = unknown_libssl(folder.path()) else { return };
    let Some(mut child) = user(&library) else { return };
    wait_until_loaded(&mut child);
    let running = start_refusing(Config::default(), &["SSL_free"]);
    let snapshot = running.handle.snapshot();
    let State::Hooked { functions, failed, .. } = &object(&snapshot, &library).unwrap().state else {
        panic!("not hooked: {snapshot:?}");
    };
    assert!(!functions.is_empty() && !functions.contains(&"SSL_free"));
    assert_eq!(failed, &["SSL_free: refused by the test"]);
    drop(running);

    let all =
        &["ssl_read_internal", "ssl_write_internal", "SSL_read", "SSL_write", "SSL_read_ex", "SSL_write_ex"];
    let running = start_refusing(Config::default(), all);
    let snapshot = running.handle.snapshot();
    let State::NotHooked { reason } = &object(&snapshot, &library).unwrap().state else {
        panic!("hooked: {snapshot:?}");
    };
    assert_eq!(reason.label(), "attach_failed");
    end(child);
}

#[test]
fn the_tables_return_to_their_size() {
    if !has_side_band() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = unknown_libssl(folder.path()) else { return };
    let running = start(Config { linger: Duration::from_millis(200), ..Config::default() });
    // Preloaded into a short-lived program: mapped, used, gone.
    // `LD_PRELOAD` cannot name a path with a space, so a link does.
    let link = folder.path().join("lib.so");
    fs::hard_link(&library, &link).unwrap();
    for _ in 0..200 {
        assert!(Command::new("true").env("LD_PRELOAD", &link).status().unwrap().success());
    }
    eventually("no users of it are left", || object(&running.handle.snapshot(), &link).is_none());
    let mut balance: HashSet<u32> = HashSet::new();
    let mut seen = 0;
    for event in running.events.try_iter() {
        match event {
            ProcessEvent::Seen { pid } => {
                seen += 1;
                balance.insert(pid);
            }
            ProcessEvent::Gone { pid } => assert!(balance.remove(&pid), "{pid} was never seen"),
            _ => {}
        }
    }
    assert!(seen >= 100, "only {seen} of 200 short-lived users were seen");
    let left: Vec<_> = balance.into_iter().filter(|&pid| maps::has_ended(pid)).collect();
    // An end that was lost, which is counted, is found out by the next sweep.
    let lost = running.handle.snapshot().counters.lost_records;
    assert!(left.len() as u64 <= 1 + lost, "processes that have ended are still in the table: {left:?}");
}

#[test]
fn a_survey_attaches_nothing_and_sees_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = unknown_libssl(folder.path()) else { return };
    let Some(mut child) = user(&library) else { return };
    wait_until_loaded(&mut child);
    let snapshot = survey().unwrap();
    assert!(matches!(object(&snapshot, &library).unwrap().state, State::Hooked { .. }));
    end(child);
}

/// From the start of a program to the hooks in a library that nobody knew: printed, not judged.
#[test]
fn latency_is_printed() {
    if !has_side_band() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = unknown_libssl(folder.path()) else { return };
    let running = start(Config::default());
    let mut last = Vec::new();
    for round in 0..10 {
        let fresh = folder.path().join(format!("libssl-{round}.so"));
        fs::copy(&library, &fresh).unwrap();
        let inode = fs::metadata(&fresh).unwrap().ino();
        let began = Instant::now();
        let child = Command::new("cat").env("LD_PRELOAD", &fresh).stdin(Stdio::piped()).spawn().unwrap();
        let Told::Attached { at, .. } = wait_for(
            &running.told,
            |told| matches!(told, Told::Attached { inode: its, function: "SSL_free", .. } if *its == inode),
        ) else {
            unreachable!()
        };
        last.push(at.duration_since(began));
        end(child);
    }
    last.sort();
    println!("spawn to last attach: {last:?}");
}

#[test]
fn a_library_that_nobody_uses_yet_is_hooked_until_it_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let Some(copy) = unknown_libssl(folder.path()) else { return };
    let library = folder.path().join("libssl.so.3");
    fs::rename(copy, &library).unwrap();
    let running = start(Config {
        standing_folders: vec![folder.path().to_owned()],
        side_band: false,
        poll_interval: Duration::from_millis(50),
        linger: Duration::from_millis(50),
        ..Config::default()
    });
    let hooked = || {
        let snapshot = running.handle.snapshot();
        object(&snapshot, &library).is_some_and(|object| matches!(object.state, State::Hooked { .. }))
    };
    // Before anybody maps it, and for longer than hooks linger.
    assert!(hooked());
    thread::sleep(Duration::from_millis(300));
    assert!(hooked());
    fs::remove_file(&library).unwrap();
    eventually("its end", || object(&running.handle.snapshot(), &library).is_none());
}
