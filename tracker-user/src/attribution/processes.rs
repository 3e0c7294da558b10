//! The processes whose calls are watched, for as long as somebody may ask about them.

use std::{
    collections::{HashMap, VecDeque},
    fmt::Debug,
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    agents::Agents,
    cgroup, container, crun,
    limits::{Config, Counters},
    made::Cgroups,
    origin::{Container, Login, Origin, Process},
    procfs::{self, Image, Snapshot, StartTime},
    runtime::Runtimes,
    session::Session,
    sight::Sight,
    systemd,
    users::{self, Users},
};
use crate::capture::{Opened, Timestamp};

/// Events are in order, so an exit comes before its pid is used again, unless it was lost. Then the
/// next look at `/proc` finds out, and there is one at least this often.
const VERIFY_EVERY: Duration = Duration::from_secs(1);
/// Execs remembered, to tell looks at the program before: as many as looks may wait.
const MAX_EXECUTED: usize = 4096;

/// Knows the programs of processes that lived too briefly to be read from `/proc`.
pub trait Programs: Debug + Send {
    /// The path of the executable that `pid` ran at the time `at`, when its name was `comm`; absent
    /// where that is not certain, or not known yet.
    fn exe(&self, pid: u32, comm: &str, at: Timestamp) -> Option<Arc<str>>;
}

/// Knows who made a call.
///
/// A pid alone does not identify a process: it is kept with the process's start time, and
/// [`Attribution::opened`] hands out the origin to keep with the connection, which stays right
/// whoever has the pid later.
#[derive(Debug)]
pub struct Attribution {
    config: Config,
    /// Asked where `/proc` is too late.
    programs: Option<Box<dyn Programs>>,
    /// Asked for whom a process works.
    agents: Option<Agents>,
    entries: HashMap<u32, Entry>,
    /// The latest execs, in order.
    executed: VecDeque<(Timestamp, u32)>,
    /// Exits in order, to be forgotten after the grace time.
    leaving: VecDeque<(Instant, u32)>,
    users: Users,
    /// Absent where the operator wants no runtime asked.
    runtimes: Option<Runtimes>,
    paths: cgroup::Paths,
    counters: Counters,
    /// Counts uses, for the least recent one.
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    /// Absent where the process was gone before it could be read.
    start: Option<StartTime>,
    image: Option<Image>,
    /// When it was read; zero where it was not.
    as_of: Timestamp,
    origin: Arc<Origin>,
    /// The cgroup that `origin` was read in; absent until a call tells.
    cgroup_id: Option<u64>,
    gone: Option<Instant>,
    verified: Instant,
    used: u64,
}

impl Attribution {
    /// Starts with nobody known.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let mount = config
            .cgroup2
            .clone()
            .or_else(|| cgroup::v2_mount(&fs::read_to_string(config.proc_root.join("self/mountinfo")).ok()?));
        Self {
            users: Users::new(config.user_patience, users::from_host),
            runtimes: config.runtimes.clone().map(|runtimes| Runtimes::new(runtimes, &config.proc_root)),
            paths: cgroup::Paths::new(mount, cgroup::Limits::default()),
            entries: HashMap::new(),
            executed: VecDeque::new(),
            leaving: VecDeque::new(),
            counters: Counters::default(),
            clock: 0,
            programs: None,
            agents: None,
            config,
        }
    }

    /// Asks `programs` for the executable where `/proc` is too late.
    #[must_use]
    pub fn with_programs(self, programs: impl Programs + 'static) -> Self {
        Self { programs: Some(Box::new(programs)), ..self }
    }

    /// Says for whom processes work, as `agents` knows it.
    #[must_use]
    pub fn with_agents(self, agents: Agents) -> Self {
        Self { agents: Some(agents), ..self }
    }

    /// Knows the cgroups that `made` is told of.
    #[must_use]
    pub fn with_cgroups(self, made: Cgroups) -> Self {
        Self { paths: self.paths.with_made(made), ..self }
    }

    /// A process was first seen to map a TLS library, and read while it was there.
    pub fn observe(&mut self, sight: &Sight) {
        self.forget_the_gone();
        self.counters.read += 1;
        let Sight { pid, snapshot } = sight;
        let is_newer = |entry: &Entry| entry.start == Some(snapshot.start) && entry.as_of > snapshot.at;
        if self.entries.get(pid).is_some_and(is_newer) {
            return;
        }
        if !self.has_executed_since(*pid, snapshot.at) {
            self.settle(*pid, snapshot, None);
        } else if let Some(now) = self.read(*pid) {
            self.settle(*pid, &now, None);
        } else {
            // Of the program that it ran last nothing was seen.
            return;
        }
        // Its exit may have been told before this was taken in.
        if !procfs::is_there(&self.config.proc_root, *pid, snapshot.start) {
            self.gone(*pid);
        }
    }

    /// A process replaced its program. One that was not known stays unknown until it matters.
    pub fn exec(&mut self, pid: u32, at: Timestamp) {
        if self.executed.len() >= MAX_EXECUTED {
            self.executed.pop_front();
        }
        self.executed.push_back((at, pid));
        if self.entries.get(&pid).is_none_or(|entry| entry.as_of >= at) {
            return;
        }
        // Its environment is another as well, and who is put into a container is so before that.
        self.entries.remove(&pid);
        if let Some(snapshot) = self.read(pid) {
            self.insert(pid, &snapshot, None);
        }
    }

    /// Whether a process has replaced its program, or may have, after it was looked at.
    fn has_executed_since(&self, pid: u32, at: Timestamp) -> bool {
        let forgotten = self.executed.len() >= MAX_EXECUTED
            && self.executed.front().is_some_and(|(oldest, _)| *oldest > at);
        forgotten || self.executed.iter().any(|(then, who)| *who == pid && *then > at)
    }

    /// A connection was opened. Returns the origin to keep with it.
    ///
    /// What the kernel knew at that moment is used where the process is gone by now, or where its
    /// pid is another's.
    pub fn opened(&mut self, opened: &Opened) -> Arc<Origin> {
        self.forget_the_gone();
        let pid = opened.connection.tgid;
        let known = |entry: &Entry| entry.start.is_none_or(|start| !start.is_after(opened.at));
        let fresh = |entry: &Entry| entry.gone.is_none() && entry.verified.elapsed() < VERIFY_EVERY;
        if !self.entries.get(&pid).is_some_and(|entry| fresh(entry) && known(entry)) {
            match self.read(pid) {
                Some(snapshot) if !snapshot.start.is_after(opened.at) => {
                    self.settle(pid, &snapshot, Some(opened.cgroup_id));
                }
                now => {
                    // What was learnt of it before, unless that was another process.
                    if !self.entries.get(&pid).is_some_and(known) {
                        self.counters.too_late += 1;
                        let mut origin = self.as_the_kernel_says(opened);
                        self.add_agent(&mut origin, opened.at);
                        let origin = Arc::new(origin);
                        if now.is_none() {
                            self.insert_gone(pid, Arc::clone(&origin), opened.cgroup_id);
                        }
                        return origin;
                    }
                    if let Some(entry) = self.entries.get_mut(&pid) {
                        entry.verified = Instant::now();
                    }
                }
            }
        }
        // An exec may have been over before it could be read, or only a zombie was left to read.
        self.fill_in(pid, opened);
        let mut origin = Origin::clone(&self.origin(pid, opened.cgroup_id));
        self.add_agent(&mut origin, opened.at);
        self.fill(origin.container.as_mut(), origin.cgroup.as_deref());
        Arc::new(origin)
    }

    /// Says for whom it works; whether more may be known soon.
    fn add_agent(&self, origin: &mut Origin, at: Timestamp) -> bool {
        let Some(agents) = &self.agents else { return false };
        let (agent, more) = agents.of(origin.process.pid, at);
        // What was known once of a process that is forgotten by now stays.
        origin.agent = agent.or(origin.agent.take());
        more
    }

    /// Adds to an origin what was not known yet when it was handed out, and says whether nothing more can be
    /// expected soon. `at` is a time at which the process made the call.
    pub fn complete(&mut self, origin: &mut Origin, at: Timestamp) -> bool {
        let more = self.add_agent(origin, at);
        let path = origin.cgroup_id.and_then(|id| self.paths.remembered(id));
        if path.is_some() {
            let login = origin.login.take().unwrap_or_default();
            let found = Origin { cgroup_id: None, cgroup: path, ..std::mem::take(origin) };
            *origin = self.placed(found, login, None);
        }
        let process = &mut origin.process;
        if let (None, Some(comm)) = (&process.exe, &process.name) {
            process.exe = self.exe(process.pid, comm, at);
        }
        let named = self.fill(origin.container.as_mut(), origin.cgroup.as_deref());
        let placed = origin.cgroup_id.is_none() || !self.paths.are_told();
        named && placed && !more && (origin.process.exe.is_some() || origin.process.name.is_none())
    }

    /// Adds to an origin the labels that a request has beside those of its process.
    pub fn label(&mut self, origin: &mut Origin, labels: &str) {
        let mut session = origin.session.take().unwrap_or_default();
        self.counters.sessions_refused += u64::from(session.add_labels(labels));
        origin.session = session.known();
    }

    /// Adds to a container what its runtime says, and says whether there is nothing to wait for.
    fn fill(&self, container: Option<&mut Container>, cgroup: Option<&str>) -> bool {
        match (&self.runtimes, container, cgroup) {
            (Some(runtimes), Some(container), Some(cgroup)) => runtimes.fill(container, cgroup),
            _ => true,
        }
    }

    /// Whose call it is, by pid and the cgroup v2 id that the kernel saw at the call.
    pub fn origin(&mut self, pid: u32, cgroup_id: u64) -> Arc<Origin> {
        if !self.entries.contains_key(&pid) {
            if let Some(snapshot) = self.read(pid) {
                self.insert(pid, &snapshot, Some(cgroup_id));
            } else {
                self.counters.too_late += 1;
                let process = Process { pid, ..Process::default() };
                let origin = self.in_cgroup(process, Login::default(), None, Some(cgroup_id));
                self.insert_gone(pid, Arc::new(origin), cgroup_id);
            }
        }
        self.refresh(pid, cgroup_id);
        self.clock += 1;
        let Some(entry) = self.entries.get_mut(&pid) else { return Arc::default() };
        entry.used = self.clock;
        // Late answers arrive here.
        if let (Some(uid), None) = (entry.origin.process.uid, &entry.origin.process.user)
            && let Some(user) = self.users.name(uid)
        {
            Arc::make_mut(&mut entry.origin).process.user = Some(user);
        }
        if let Some(Login { uid: Some(uid), user: None, .. }) = entry.origin.login
            && let Some(name) = self.users.name(uid)
            && let Some(login) = &mut Arc::make_mut(&mut entry.origin).login
        {
            login.user = Some(name);
        }
        Arc::clone(&entry.origin)
    }

    /// What is known of a process that was there when it was last looked at.
    pub(crate) fn living(&self, pid: u32) -> Option<Origin> {
        let entry = self.entries.get(&pid).filter(|entry| entry.gone.is_none())?;
        let mut origin = Origin::clone(&entry.origin);
        self.fill(origin.container.as_mut(), origin.cgroup.as_deref());
        Some(origin)
    }

    /// All of which that is so.
    pub(crate) fn all_living(&self) -> Vec<u32> {
        let living = self.entries.iter().filter(|(_, entry)| entry.gone.is_none());
        living.map(|(pid, _)| *pid).collect()
    }

    /// Whether a process is still the one that is known, and runs the same program.
    pub(crate) fn is_unchanged(&self, pid: u32) -> bool {
        let now = procfs::snapshot(&self.config.proc_root, pid);
        now.is_some_and(|now| {
            self.entries
                .get(&pid)
                .is_some_and(|entry| entry.start == Some(now.start) && entry.origin.process.exe == now.exe)
        })
    }

    /// The v2 id of the cgroup with that path, where it is in that hierarchy.
    pub(crate) fn cgroup_id(&self, path: &str) -> Option<u64> {
        self.paths.id(path)
    }

    /// A process exited. It is remembered for the grace time.
    pub fn gone(&mut self, pid: u32) {
        self.forget_the_gone();
        if let Some(entry) = self.entries.get_mut(&pid) {
            let now = Instant::now();
            entry.gone = Some(now);
            self.leaving.push_back((now, pid));
        }
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            processes: self.entries.len() as u64,
            runtimes: self.runtimes.as_ref().map(Runtimes::counters).unwrap_or_default(),
            ..self.counters
        }
    }

    fn read(&mut self, pid: u32) -> Option<Snapshot> {
        let snapshot = procfs::snapshot(&self.config.proc_root, pid)?;
        self.counters.read += 1;
        Some(snapshot)
    }

    /// Takes a look at a process into account: the same one as before is only confirmed.
    fn settle(&mut self, pid: u32, snapshot: &Snapshot, cgroup_id: Option<u64>) {
        match self.entries.get_mut(&pid) {
            Some(entry) if entry.start == Some(snapshot.start) => {
                entry.verified = Instant::now();
                entry.gone = None;
                // Of one that is about to be gone no program is seen: what is known may be the one before.
                if snapshot.exe.is_some() {
                    entry.as_of = snapshot.at;
                }
                // Programs rename themselves, and an exec may have been lost. Of a leader that
                // exited before its threads there is nothing more to read than before.
                let process = &entry.origin.process;
                let renamed = process.name != snapshot.name || process.exe != snapshot.exe;
                if (renamed || entry.image != snapshot.image) && snapshot.exe.is_some() {
                    let cgroup_id = cgroup_id.or(entry.cgroup_id);
                    self.insert(pid, snapshot, cgroup_id);
                }
            }
            before => {
                self.counters.reused += u64::from(before.is_some_and(|entry| entry.start.is_some()));
                self.insert(pid, snapshot, cgroup_id);
            }
        }
    }

    fn insert(&mut self, pid: u32, snapshot: &Snapshot, cgroup_id: Option<u64>) {
        let process = Process {
            pid,
            name: snapshot.name.clone(),
            exe: snapshot.exe.clone(),
            uid: snapshot.uid,
            user: snapshot.uid.and_then(|uid| self.users.name(uid)),
        };
        let session = snapshot.session.map(|session| session.to_string());
        let login = Login { uid: snapshot.login_uid, user: None, session };
        let session = self.session(pid, snapshot);
        let origin = self.in_cgroup(process, login, snapshot.cgroup.as_deref(), cgroup_id);
        let origin = Arc::new(Origin { session, ..origin });
        self.remember(pid, Some(snapshot), origin, cgroup_id, None);
    }

    /// The session of a process, as it was when its program was first seen: some write over their environment, to
    /// have room for a longer name.
    fn session(&mut self, pid: u32, snapshot: &Snapshot) -> Option<Session> {
        if let Some(Entry { start, image, origin, .. }) = self.entries.get(&pid)
            && (*start, *image) == (Some(snapshot.start), snapshot.image)
            && origin.process.exe == snapshot.exe
        {
            return origin.session.clone();
        }
        self.counters.sessions_refused += u64::from(snapshot.said.refused);
        snapshot.said.session.clone()
    }

    fn insert_gone(&mut self, pid: u32, origin: Arc<Origin>, cgroup_id: u64) {
        let now = Instant::now();
        self.remember(pid, None, origin, Some(cgroup_id), Some(now));
        self.leaving.push_back((now, pid));
    }

    fn remember(
        &mut self,
        pid: u32,
        snapshot: Option<&Snapshot>,
        origin: Arc<Origin>,
        cgroup_id: Option<u64>,
        gone: Option<Instant>,
    ) {
        if self.entries.len() >= self.config.max_processes && !self.entries.contains_key(&pid) {
            self.make_room();
        }
        self.clock += 1;
        let entry = Entry {
            start: snapshot.map(|it| it.start),
            image: snapshot.and_then(|it| it.image),
            as_of: snapshot.map_or(Timestamp(0), |it| it.at),
            origin,
            cgroup_id,
            gone,
            verified: Instant::now(),
            used: self.clock,
        };
        self.entries.insert(pid, entry);
    }

    /// Only what the kernel said at the call.
    fn as_the_kernel_says(&mut self, opened: &Opened) -> Origin {
        let process = Process {
            pid: opened.connection.tgid,
            name: Some(opened.comm.clone()).filter(|comm| !comm.is_empty()),
            exe: self.exe(opened.connection.tgid, &opened.comm, opened.at),
            uid: Some(opened.uid),
            user: self.users.name(opened.uid),
        };
        self.in_cgroup(process, Login::default(), None, Some(opened.cgroup_id))
    }

    /// Fills what could not be read with what the kernel said. Whose it is can have changed since: a service
    /// that begins as root goes on as somebody else, and that is who opened the connection.
    fn fill_in(&mut self, pid: u32, opened: &Opened) {
        let Some(entry) = self.entries.get(&pid) else { return };
        let Process { name, exe, uid, .. } = &entry.origin.process;
        if name.is_some() && exe.is_some() && *uid == Some(opened.uid) {
            return;
        }
        let late = if exe.is_none() { self.exe(pid, &opened.comm, opened.at) } else { None };
        let Some(entry) = self.entries.get_mut(&pid) else { return };
        let process = &mut Arc::make_mut(&mut entry.origin).process;
        process.name.get_or_insert_with(|| opened.comm.clone());
        if process.uid.replace(opened.uid) != Some(opened.uid) {
            // Asked for where the origin is handed out.
            process.user = None;
        }
        process.exe = process.exe.take().or(late);
    }

    fn exe(&self, pid: u32, comm: &str, at: Timestamp) -> Option<String> {
        Some(self.programs.as_ref()?.exe(pid, comm, at)?.to_string())
    }

    /// `cgroups` is `/proc/PID/cgroup`, where it could be read.
    fn in_cgroup(
        &mut self,
        process: Process,
        login: Login,
        cgroups: Option<&str>,
        cgroup_id: Option<u64>,
    ) -> Origin {
        if let Some(path) = cgroups.and_then(cgroup::v2) {
            self.paths.remember(path);
        }
        let cgroup = cgroups.and_then(cgroup::path);
        let cgroup = cgroup.or_else(|| cgroup_id.and_then(|id| self.paths.get(id)));
        let cgroup_id = cgroup_id.filter(|_| cgroup.is_none());
        let origin = Origin { process, cgroup_id, cgroup, ..Origin::default() };
        self.placed(origin, login, cgroups.and_then(cgroup::systemd))
    }

    /// Adds what the path of its cgroup says, and that in systemd's own hierarchy of v1.
    fn placed(&mut self, origin: Origin, login: Login, systemd: Option<&str>) -> Origin {
        let cgroup = origin.cgroup.as_deref();
        let mut container = cgroup.and_then(|path| {
            container::container(path)
                .or_else(|| crun::container(&self.config.crun_state, path))
                .or_else(|| self.runtimes.as_ref()?.container(path))
        });
        // The first sight of a container, at the latest: so its name is there when its first call is over.
        self.fill(container.as_mut(), cgroup);
        let place = cgroup.map(systemd::Place::of).filter(|place| place.unit.is_some());
        let place = place.or_else(|| Some(systemd::Place::of(systemd?)));
        let systemd::Place { unit, slice, session, owner } = place.unwrap_or_default();
        let (uid, session) = (login.uid.or(owner), session.or(login.session));
        let login = (uid.is_some() || session.is_some()).then(|| Login {
            uid,
            user: uid.and_then(|uid| self.users.name(uid)),
            session,
        });
        Origin { container, unit, slice, login, ..origin }
    }

    /// Follows a process that was moved to another cgroup. The first call counts as a move: since
    /// the process was first seen it may also have renamed itself.
    fn refresh(&mut self, pid: u32, cgroup_id: u64) {
        let Some(entry) = self.entries.get_mut(&pid) else { return };
        if entry.cgroup_id.replace(cgroup_id) == Some(cgroup_id) {
            return;
        }
        let (start, origin) = (entry.start, Arc::clone(&entry.origin));
        let now = procfs::snapshot(&self.config.proc_root, pid).filter(|now| Some(now.start) == start);
        if let Some(now) = now.filter(|now| now.exe.is_some()) {
            self.insert(pid, &now, Some(cgroup_id));
        } else if origin.cgroup.is_none() || self.is_elsewhere(cgroup_id, &origin) {
            let Origin { process, login, session, .. } = Origin::clone(&origin);
            let origin = self.in_cgroup(process, login.unwrap_or_default(), None, Some(cgroup_id));
            if let Some(entry) = self.entries.get_mut(&pid) {
                entry.origin = Arc::new(Origin { session, ..origin });
            }
        }
    }

    /// Whether a cgroup is known to be another than the one that was read. Where it is the root, what was read may be
    /// of a v1 hierarchy.
    fn is_elsewhere(&mut self, cgroup_id: u64, origin: &Origin) -> bool {
        self.paths.get(cgroup_id).is_some_and(|path| path != "/" && Some(&path) != origin.cgroup.as_ref())
    }

    fn forget_the_gone(&mut self) {
        while let Some((at, pid)) = self.leaving.front().copied() {
            if at.elapsed() < self.config.grace {
                break;
            }
            self.leaving.pop_front();
            // The pid may have come back meanwhile, or have gone again.
            if self.entries.get(&pid).is_some_and(|entry| entry.gone == Some(at)) {
                self.entries.remove(&pid);
            }
        }
    }

    /// Forgets a sixteenth, the gone ones first, then the least recently used: at once, because
    /// finding them looks at all.
    fn make_room(&mut self) {
        let mut order: Vec<(bool, u64, u32)> =
            self.entries.iter().map(|(pid, entry)| (entry.gone.is_none(), entry.used, *pid)).collect();
        order.sort_unstable();
        for (_, _, pid) in order.iter().take((self.config.max_processes / 16).max(1)) {
            self.entries.remove(pid);
            self.counters.evicted += 1;
        }
        self.leaving.retain(|(at, pid)| self.entries.get(pid).is_some_and(|entry| entry.gone == Some(*at)));
    }
}

#[cfg(test)]
#[path = "processes_tests.rs"]
mod tests;
