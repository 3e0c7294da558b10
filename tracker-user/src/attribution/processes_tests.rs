use std::{
    os::unix::fs::symlink,
    process::{Child, Command, Stdio},
};

use super::*;
use crate::capture::{ConnectionId, PlanId, Timestamp};

/// A made-up `/proc`.
struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn start(&self, pid: u32, name: &str, start: u64, cgroup: &str) {
        let dir = self.dir.path().join(pid.to_string());
        fs::create_dir_all(&dir).unwrap();
        fs::write(
            dir.join("stat"),
            format!("{pid} ({name}) S 1 2 3 4 -1 5 6 7 8 9 10 11 12 13 20 0 1 0 {start} 0"),
        )
        .unwrap();
        fs::write(dir.join("comm"), format!("{name}\n")).unwrap();
        fs::write(dir.join("status"), "Uid:\t0\t0\t0\t0\n").unwrap();
        fs::write(dir.join("cgroup"), format!("0::{cgroup}\n")).unwrap();
        let _ = fs::remove_file(dir.join("exe"));
        symlink(format!("/usr/bin/{name}"), dir.join("exe")).unwrap();
    }

    fn observe(&self, attribution: &mut Attribution, pid: u32) {
        attribution.observe(&Sight::of(self.dir.path(), pid).unwrap());
    }

    fn stop(&self, pid: u32) {
        fs::remove_dir_all(self.dir.path().join(pid.to_string())).unwrap();
    }

    fn config(&self) -> Config {
        Config {
            proc_root: self.dir.path().to_owned(),
            cgroup2: Some(self.dir.path().join("none")),
            crun_state: self.dir.path().join("none"),
            user_patience: Duration::from_secs(5),
            ..Config::default()
        }
    }
}

fn opened(pid: u32, comm: &str, seconds: u64) -> Opened {
    Opened {
        connection: ConnectionId { tgid: pid, generation: 1, ssl: 1 },
        comm: comm.to_owned(),
        uid: 0,
        cgroup_id: 7,
        plan: PlanId::NONE,
        at: Timestamp(seconds * 1_000_000_000),
    }
}

fn exe(origin: &Origin) -> Option<&str> {
    origin.process.exe.as_deref()
}

fn name(origin: &Origin) -> Option<&str> {
    origin.process.name.as_deref()
}

/// Clock ticks of a process that started so many seconds after boot.
fn ticks(seconds: u64) -> u64 {
    seconds * rustix::param::clock_ticks_per_second()
}

#[test]
fn one_that_has_exited_is_still_named() {
    let host = Host::new();
    let mut attribution = Attribution::new(host.config());
    host.start(10, "curl", ticks(5), "/system.slice/a.service");
    host.observe(&mut attribution, 10);
    host.stop(10);
    attribution.gone(10);
    let origin = attribution.origin(10, 7);
    assert_eq!((name(&origin), exe(&origin)), (Some("curl"), Some("/usr/bin/curl")));
    assert_eq!(origin.process.user.as_deref(), Some("root"));
    assert_eq!(origin.cgroup.as_deref(), Some("/system.slice/a.service"));
    assert_eq!(attribution.counters().read, 1);
}

#[test]
fn the_kernels_word_counts_where_proc_is_too_late() {
    let host = Host::new();
    let mut attribution = Attribution::new(host.config());
    let origin = attribution.opened(&opened(10, "wget", 6));
    assert_eq!((name(&origin), exe(&origin), origin.process.uid), (Some("wget"), None, Some(0)));
    assert_eq!(origin.process.user.as_deref(), Some("root"));
    assert_eq!(attribution.origin(10, 7), origin, "and is remembered");
    assert_eq!(attribution.counters().too_late, 1);
}

#[test]
fn a_session_is_that_of_the_environment_at_the_start_of_the_program() {
    let host = Host::new();
    let mut attribution = Attribution::new(host.config());
    let says = |environ: &str| fs::write(host.dir.path().join("10/environ"), environ).unwrap();
    let data_id = |origin: &Origin| origin.session.as_ref().and_then(|it| it.labels.get("data_id").cloned());
    host.start(10, "python3", ticks(5), "/a");
    says("API_KEY=secret\0LLM_TRACKER_SESSION=nightly\0LLM_TRACKER_LABELS=data_id=1\0");
    host.observe(&mut attribution, 10);
    // It writes its title over it, is looked at for its first call, and is moved to another cgroup.
    says("python3: worker\0");
    fs::write(host.dir.path().join("10/comm"), "worker\n").unwrap();
    let origin = attribution.opened(&opened(10, "worker", 6));
    assert_eq!((name(&origin), data_id(&origin).as_deref()), (Some("worker"), Some("1")));
    assert_eq!(data_id(&attribution.origin(10, 8)).as_deref(), Some("1"));
    assert!(!format!("{attribution:?}").contains("secret"));
    // The same program again, for something else.
    says("LLM_TRACKER_LABELS=data_id=2,=\0");
    attribution.exec(10, procfs::now());
    assert_eq!(data_id(&attribution.origin(10, 8)).as_deref(), Some("2"));
    assert_eq!(attribution.counters().sessions_refused, 1);
    // Somebody else with its id.
    host.start(10, "python3", ticks(9), "/a");
    fs::remove_file(host.dir.path().join("10/environ")).unwrap();
    attribution.gone(10);
    assert_eq!(attribution.opened(&opened(10, "python3", 10)).session, None);
}

/// A process that forks is seen before its exec, with what its parent was started for; both looks may come up after it.
#[test]
fn the_same_program_again_is_another() {
    let host = Host::new();
    let mut attribution = Attribution::new(host.config());
    let look = |image: u64, label: &str| {
        host.start(10, "python3", ticks(5), "/a");
        let stat = host.dir.path().join("10/stat");
        let text = fs::read_to_string(&stat).unwrap();
        fs::write(stat, format!("{text}{} {image}", " 0".repeat(24))).unwrap();
        fs::write(host.dir.path().join("10/environ"), format!("LLM_TRACKER_LABELS=data_id={label}\0"))
            .unwrap();
        Sight::of(host.dir.path(), 10).unwrap()
    };
    let before = look(0x7f01, "none");
    let executed = procfs::now();
    let after = look(0x7f02, "4");
    attribution.exec(10, executed);
    attribution.observe(&before);
    attribution.observe(&after);
    let origin = attribution.opened(&opened(10, "python3", 6));
    assert_eq!(origin.session.as_ref().unwrap().labels["data_id"], "4");
}

/// Knows one program, once it is told to.
#[derive(Clone, Debug, Default)]
struct Late(Arc<std::sync::atomic::AtomicBool>);

impl Programs for Late {
    fn exe(&self, pid: u32, comm: &str, at: Timestamp) -> Option<Arc<str>> {
        let known = self.0.load(std::sync::atomic::Ordering::Relaxed);
        (known && pid == 10 && comm == "wget" && at.0 >= 6_000_000_000).then(|| "/usr/bin/wget".into())
    }
}

#[test]
fn a_program_that_proc_was_too_late_for_is_asked_for_elsewhere() {
    let host = Host::new();
    let late = Late::default();
    let mut attribution = Attribution::new(host.config()).with_programs(late.clone());
    let first = attribution.opened(&opened(10, "wget", 6));
    let mut origin = Origin::clone(&first);
    attribution.complete(&mut origin, Timestamp(6_500_000_000));
    assert_eq!(exe(&origin), None, "nobody knows it yet");
    late.0.store(true, std::sync::atomic::Ordering::Relaxed);
    attribution.complete(&mut origin, Timestamp(6_500_000_000));
    assert_eq!((name(&origin), exe(&origin)), (Some("wget"), Some("/usr/bin/wget")));
    assert_eq!(exe(&attribution.opened(&opened(10, "wget", 7))), Some("/usr/bin/wget"), "its next one");

    let mut attribution = Attribution::new(host.config()).with_programs(late);
    assert_eq!(exe(&attribution.opened(&opened(10, "wget", 6))), Some("/usr/bin/wget"));
    assert_eq!(exe(&attribution.opened(&opened(11, "wget", 6))), None);
    // Found by discovery when its exec was just over; what is left of it is a zombie.
    let mut attribution = Attribution::new(host.config()).with_programs(Late(Arc::new(true.into())));
    host.start(10, "sh", ticks(5), "/a");
    host.observe(&mut attribution, 10);
    host.stop(10);
    attribution.exec(10, procfs::now());
    let origin = attribution.opened(&opened(10, "wget", 6));
    assert_eq!((name(&origin), exe(&origin)), (Some("wget"), Some("/usr/bin/wget")));
    // What `/proc` says is not asked for.
    host.start(12, "wget", ticks(5), "/a");
    let mut origin = Origin::clone(&attribution.opened(&opened(12, "wget", 6)));
    origin.process.pid = 10;
    origin.process.exe = Some("/opt/wget".to_owned());
    attribution.complete(&mut origin, Timestamp(6_000_000_000));
    assert_eq!(exe(&origin), Some("/opt/wget"));
}

#[test]
fn a_reused_pid_moves_no_call_to_another_program() {
    let host = Host::new();
    let mut attribution = Attribution::new(host.config());
    host.start(10, "first", ticks(5), "/a");
    let first = attribution.opened(&opened(10, "first", 6));
    assert_eq!(name(&first), Some("first"));
    // The exit is not even reported, and the pid is used again.
    host.start(10, "second", ticks(100), "/b");
    host.observe(&mut attribution, 10);
    assert_eq!(name(&attribution.origin(10, 7)), Some("second"));
    assert_eq!(name(&first), Some("first"), "what a connection keeps stays");
    assert_eq!(attribution.counters().reused, 1);
    // An event of the first process that comes late is not the second's.
    let late = attribution.opened(&opened(10, "first", 7));
    assert_eq!((name(&late), exe(&late)), (Some("first"), None));
    assert_eq!(name(&attribution.opened(&opened(10, "second", 101))), Some("second"));
}

#[test]
fn whose_it_is_when_the_connection_opens() {
    let host = Host::new();
    let mut attribution = Attribution::new(host.config());
    host.start(10, "daemon", ticks(5), "/a");
    host.observe(&mut attribution, 10);
    let who = |origin: &Origin| (origin.process.uid, origin.process.user.clone());
    let root = (Some(0), Some("root".to_owned()));
    assert_eq!(who(&attribution.opened(&opened(10, "daemon", 6))), root);
    // It has changed its user since.
    let later = Opened { uid: 4_000_000_001, ..opened(10, "daemon", 7) };
    assert_eq!(who(&attribution.opened(&later)), (Some(4_000_000_001), None));
    assert_eq!(who(&attribution.opened(&opened(10, "daemon", 8))), root);
}

#[test]
fn units_slices_and_logins() {
    let host = Host::new();
    let mut attribution = Attribution::new(host.config());
    host.start(10, "python3", ticks(5), "/user.slice/user-0.slice/session-7.scope");
    let origin = attribution.origin(10, 1);
    assert_eq!(
        (origin.unit.as_deref(), origin.slice.as_deref()),
        (Some("session-7.scope"), Some("user-0.slice"))
    );
    let login = |uid: u32, user: &str, session: &str| {
        Some(Login { uid: Some(uid), user: Some(user.to_owned()), session: Some(session.to_owned()) })
    };
    assert_eq!(origin.login, login(0, "root", "7"), "no audit: the slice and the scope tell");

    // `sudo` in a service of the user's own manager, with audit.
    let manager = "/user.slice/user-1000.slice/user@1000.service/app.slice/x.service";
    host.start(11, "sudo", ticks(5), manager);
    fs::write(host.dir.path().join("11/loginuid"), "0").unwrap();
    fs::write(host.dir.path().join("11/sessionid"), "9\n").unwrap();
    let origin = attribution.origin(11, 2);
    assert_eq!(
        (origin.unit.as_deref(), origin.slice.as_deref()),
        (Some("x.service"), Some("user-1000.slice"))
    );
    assert_eq!(origin.login, login(0, "root", "9"));

    // A hybrid host where something else is in the v2 hierarchy.
    host.start(12, "x", ticks(5), "/elsewhere\n1:name=systemd:/system.slice/x.service");
    let origin = attribution.origin(12, 3);
    assert_eq!((origin.cgroup.as_deref(), origin.unit.as_deref()), (Some("/elsewhere"), Some("x.service")));
    assert_eq!(origin.login, None);
}

#[test]
fn a_lost_exit_is_noticed_at_the_next_look() {
    let host = Host::new();
    let mut attribution = Attribution::new(host.config());
    host.start(10, "first", ticks(5), "/a");
    attribution.opened(&opened(10, "first", 6));
    host.start(10, "second", ticks(100), "/b");
    attribution.entries.get_mut(&10).unwrap().verified -= VERIFY_EVERY;
    let second = attribution.opened(&opened(10, "thread", 101));
    assert_eq!((name(&second), second.cgroup.as_deref()), (Some("second"), Some("/b")));
}

#[test]
fn exec_changes_name_and_executable() {
    let host = Host::new();
    let mut attribution = Attribution::new(host.config());
    host.start(10, "sh", ticks(5), "/a");
    host.observe(&mut attribution, 10);
    host.start(10, "curl", ticks(5), "/a");
    attribution.exec(10, procfs::now());
    assert_eq!(exe(&attribution.origin(10, 7)), Some("/usr/bin/curl"));
    // Over before it could be read: the old name would be a lie, the kernel's is not. The cgroup may be another, too.
    host.stop(10);
    attribution.exec(10, procfs::now());
    attribution.gone(10);
    let origin = attribution.opened(&opened(10, "wget", 9));
    assert_eq!((name(&origin), exe(&origin), origin.cgroup.as_deref()), (Some("wget"), None, None));
    attribution.exec(11, procfs::now());
    assert_eq!(attribution.counters().processes, 1, "an exec alone is no reason to remember anybody");
}

#[test]
fn a_program_that_renames_itself_has_its_new_name() {
    let host = Host::new();
    let mut attribution = Attribution::new(host.config());
    host.start(10, "node", ticks(5), "/a");
    host.observe(&mut attribution, 10);
    host.start(10, "claude", ticks(5), "/a");
    assert_eq!(name(&attribution.origin(10, 7)), Some("claude"));
    host.start(10, "renamed", ticks(5), "/a");
    host.observe(&mut attribution, 10);
    assert_eq!(name(&attribution.origin(10, 7)), Some("renamed"));
    assert_eq!(attribution.counters().reused, 0);
}

#[test]
fn a_leader_that_exits_before_its_threads_stays() {
    let host = Host::new();
    let mut attribution = Attribution::new(Config { grace: Duration::ZERO, ..host.config() });
    host.start(10, "python3", ticks(5), "/a");
    host.observe(&mut attribution, 10);
    fs::remove_file(host.dir.path().join("10/exe")).unwrap();
    attribution.gone(10);
    host.observe(&mut attribution, 10);
    assert_eq!(exe(&attribution.origin(10, 7)), None, "no grace: it was read again, as far as it goes");
    let mut attribution = Attribution::new(host.config());
    host.start(10, "python3", ticks(5), "/a");
    host.observe(&mut attribution, 10);
    fs::remove_file(host.dir.path().join("10/exe")).unwrap();
    attribution.gone(10);
    assert_eq!(exe(&attribution.opened(&opened(10, "worker", 6))), Some("/usr/bin/python3"));
    assert!(attribution.entries[&10].gone.is_none());
}

#[test]
fn a_process_is_followed_into_its_cgroup() {
    let host = Host::new();
    let mut attribution = Attribution::new(host.config());
    host.start(10, "agent", ticks(5), "/a");
    assert_eq!(attribution.origin(10, 1).cgroup.as_deref(), Some("/a"));
    let id = "1f3870be274f6c49b3e31a0c6728957f1f3870be274f6c49b3e31a0c6728957f";
    host.start(10, "agent", ticks(5), &format!("/docker/{id}"));
    assert_eq!(attribution.origin(10, 1).cgroup.as_deref(), Some("/a"), "same id, nothing to read");
    let moved = attribution.origin(10, 2);
    assert_eq!(moved.container.as_ref().map(|container| container.id.as_str()), Some(id));
}

/// A container's first process is forked outside of it, moved into it, and becomes the container's program.
#[test]
fn a_look_at_the_program_before_names_nobody() {
    const ID: &str = "1f3870be274f6c49b3e31a0c6728957f1f3870be274f6c49b3e31a0c6728957f";
    let host = Host::new();
    let looks = || {
        host.start(10, "shim", ticks(5), "/system.slice/shim.service");
        let before = Sight::of(host.dir.path(), 10).unwrap();
        let executed = procfs::now();
        host.start(10, "tool", ticks(5), &format!("/docker/{ID}"));
        let after = Sight::of(host.dir.path(), 10).unwrap();
        host.stop(10);
        (before, executed, after)
    };
    let container = |origin: &Origin| origin.container.as_ref().map(|container| container.id.clone());
    let new = || {
        let cgroups = Cgroups::default();
        (Attribution::new(host.config()).with_cgroups(cgroups.clone()), cgroups)
    };

    // Neither the look that comes up after the exec nor the one before it counts.
    for is_told_first in [true, false] {
        let (mut attribution, cgroups) = new();
        let (before, executed, _) = looks();
        if is_told_first {
            attribution.exec(10, executed);
            attribution.observe(&before);
        } else {
            attribution.observe(&before);
            attribution.exec(10, executed);
        }
        let origin = attribution.opened(&opened(10, "tool", 6));
        assert_eq!((name(&origin), exe(&origin)), (Some("tool"), None), "{is_told_first}");
        assert_eq!((origin.cgroup.as_deref(), container(&origin)), (None, None));
        // The kernel tells of the cgroup a moment later.
        let mut origin = Origin::clone(&origin);
        assert!(!attribution.complete(&mut origin, procfs::now()));
        cgroups.learn(7, &format!("/docker/{ID}"));
        attribution.complete(&mut origin, procfs::now());
        assert_eq!(container(&origin).as_deref(), Some(ID));
        assert_eq!((origin.process.pid, origin.cgroup_id), (10, None));
    }
    // Nor does one for which there was no program left to see.
    let (mut attribution, _) = new();
    let (before, executed, mut last) = looks();
    last.snapshot.exe = None;
    attribution.observe(&before);
    attribution.observe(&last);
    attribution.exec(10, executed);
    assert_eq!(name(&attribution.opened(&opened(10, "tool", 6))), Some("tool"));
    // The look after it does, whatever comes up first.
    for is_told_first in [true, false] {
        let (mut attribution, _) = new();
        let (before, executed, after) = looks();
        if is_told_first {
            attribution.exec(10, executed);
        }
        attribution.observe(&after);
        attribution.observe(&before);
        if !is_told_first {
            attribution.exec(10, executed);
        }
        let origin = attribution.opened(&opened(10, "tool", 6));
        assert_eq!((exe(&origin), container(&origin).as_deref()), (Some("/usr/bin/tool"), Some(ID)));
    }
}

#[test]
fn where_the_kernel_saw_the_call_counts() {
    let host = Host::new();
    let cgroups = Cgroups::default();
    let mut attribution = Attribution::new(host.config()).with_cgroups(cgroups.clone());
    host.start(10, "tool", ticks(5), "/a");
    host.observe(&mut attribution, 10);
    host.stop(10);
    attribution.gone(10);
    assert_eq!(
        attribution.opened(&opened(10, "tool", 6)).cgroup.as_deref(),
        Some("/a"),
        "nobody knows better"
    );
    cgroups.learn(8, "/b");
    assert_eq!(attribution.origin(10, 8).cgroup.as_deref(), Some("/b"), "it had moved");
}

#[test]
fn the_gone_are_forgotten_after_the_grace_time() {
    let host = Host::new();
    let mut attribution = Attribution::new(Config { grace: Duration::ZERO, ..host.config() });
    for pid in 1..=50 {
        host.start(pid, "curl", ticks(5), "/a");
        host.observe(&mut attribution, pid);
        attribution.gone(pid);
    }
    host.start(1000, "curl", ticks(5), "/a");
    host.observe(&mut attribution, 1000);
    assert_eq!(attribution.counters().processes, 1);
    assert!(attribution.leaving.is_empty());
}

#[test]
fn memory_is_bounded_and_the_gone_go_first() {
    let host = Host::new();
    let mut attribution = Attribution::new(Config { max_processes: 32, ..host.config() });
    host.start(1, "daemon", ticks(5), "/a");
    host.observe(&mut attribution, 1);
    for pid in 2..=200 {
        host.start(pid, "curl", ticks(5), "/a");
        host.observe(&mut attribution, pid);
        attribution.gone(pid);
    }
    let counters = attribution.counters();
    assert!(counters.processes <= 32, "{counters:?}");
    assert_eq!(counters.evicted + counters.processes, 200);
    assert!(attribution.leaving.len() <= 32);
    assert!(attribution.entries.contains_key(&1), "the living stay");
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_real_process_is_named() {
    let mut attribution = Attribution::new(Config::default());
    let mut child = Killed(Command::new("sleep").arg("60").stdout(Stdio::null()).spawn().unwrap());
    let pid = child.0.id();
    // `spawn` returns after the exec.
    attribution.observe(&Sight::of("/proc".as_ref(), pid).unwrap());
    child.0.kill().unwrap();
    child.0.wait().unwrap();
    attribution.gone(pid);
    let origin = attribution.origin(pid, 0);
    assert_eq!(name(&origin), Some("sleep"));
    assert!(exe(&origin).is_some_and(|exe| exe.starts_with('/')));
    assert_eq!(origin.process.uid, Some(rustix::process::getuid().as_raw()));
    assert!(origin.cgroup.as_ref().is_some_and(|path| path.starts_with('/')));
}
