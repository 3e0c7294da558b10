//! Which TLS objects there are, who uses them, and which are hooked.
//!
//! Everything in here is bounded by what is alive: an object goes when its last user has gone and its
//! hooks have lingered, a process when it ends.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::file::{self, Identity, Version};
use super::leaving::Leaving;
use super::maps::{self, Alias, Mapping};
use super::object::Object;
use super::report::{Counters, ObjectReport, ProcessEvent};
use super::waiting::{Large, Turn, Waiting};
use super::{Attach, Config, standing};
use crate::capture::locate::{Located, Reason, locate};
use crate::capture::{PlanId, Proof};

mod namespaces;

/// Files remembered as seen or as judged; past that, all are forgotten and judged anew.
const MAX_REMEMBERED: usize = 64 * 1024;
/// Files from this size on are judged elsewhere: to search the largest takes some tenths of a second, in
/// which a small library would be hooked too late.
const LARGE: u64 = 8 << 20;
/// Times that hooking is tried, if the kernel refuses everything.
const MAX_ATTEMPTS: u8 = 3;

/// What is behind a mapping.
#[derive(Clone, Copy)]
enum Behind {
    /// TLS.
    Object(Identity),
    /// Something else.
    Nothing,
    /// A large file that waits to be judged.
    Waiting(Identity),
}

/// A process that maps TLS objects.
struct Process {
    objects: HashMap<Identity, Mapping>,
    namespace: Option<u64>,
}

/// See the module.
pub(super) struct Table<A: Attach> {
    attacher: A,
    linger: Duration,
    max_objects: usize,
    standing_folders: Vec<PathBuf>,
    lasting_namespaces: [Option<u64>; 2],
    /// A process in each of the other mount namespaces, so that one look tells whether it is in use.
    inhabitants: HashMap<u64, u32>,
    objects: HashMap<Identity, Object<A::Link>>,
    processes: HashMap<u32, Process>,
    /// This program. It speaks TLS with those who ask for metrics, and is nobody that is to be watched.
    own: Option<Identity>,
    /// What was found in files, so that those that come back are hooked at once.
    judged: HashMap<Identity, (Version, Vec<Located>)>,
    /// Names of files that were reached before: if one of these cannot be, nothing new is missed.
    reached: HashSet<Alias>,
    waiting: Waiting,
    namespace_check: Option<Instant>,
    leaving: Leaving,
    events: Vec<ProcessEvent>,
    pub(super) counters: Counters,
}

impl<A: Attach> Table<A> {
    pub(super) fn new(attacher: A, config: &Config) -> Self {
        Self {
            attacher,
            linger: config.linger,
            max_objects: config.max_objects,
            standing_folders: config.standing_folders.clone(),
            lasting_namespaces: maps::lasting_mount_namespaces(),
            inhabitants: HashMap::new(),
            objects: HashMap::new(),
            processes: HashMap::new(),
            own: file::at("/proc/self/exe".into()).ok().map(|found| found.identity),
            judged: HashMap::new(),
            reached: HashSet::new(),
            waiting: Waiting::default(),
            namespace_check: None,
            leaving: Leaving::default(),
            events: Vec::new(),
            counters: Counters::default(),
        }
    }

    /// What happened to processes since the last call.
    pub(super) fn take_events(&mut self) -> Vec<ProcessEvent> {
        std::mem::take(&mut self.events)
    }

    /// A process maps a file: hooks it where it is new and holds TLS.
    pub(super) fn mapped(&mut self, pid: u32, mapping: &Mapping) {
        if let Ok(Behind::Object(identity)) = self.identify(pid, mapping, Turn::Next) {
            self.add_user(pid, identity, mapping);
        }
    }

    /// The next large file that is to be judged, if any.
    pub(super) fn next_large(&mut self) -> Option<Large> {
        self.waiting.next()
    }

    /// Takes in what was found in a large file: it is hooked, even if all that mapped it have ended
    /// meanwhile, because the next of its kind is to be seen from its first call.
    pub(super) fn settle(&mut self, large: Large, located: Vec<Located>) {
        let Large { path, namespace, file, identity, version } = large;
        self.drop_object(identity);
        self.remember(identity, version, located);
        let users = self.waiting.take_users(identity);
        if self.take_in(&file, &path, namespace, identity, version).is_none() {
            return;
        }
        for (pid, mapping) in users {
            if !maps::has_ended(pid)
                && file::find(pid, &mapping).is_ok_and(|found| found.identity == identity)
            {
                self.add_user(pid, identity, &mapping);
            }
        }
        self.check_namespace_of(identity);
    }

    /// A process was made, with all the mappings of another.
    pub(super) fn forked(&mut self, pid: u32, parent: u32) {
        self.ended(pid); // One of the same id whose end was missed.
        let Some(objects) = self.processes.get(&parent).map(|parent| parent.objects.clone()) else { return };
        for (identity, mapping) in objects {
            self.add_user(pid, identity, &mapping);
        }
    }

    /// A process has ended or lost all its mappings.
    pub(super) fn ended(&mut self, pid: u32) {
        let Some(process) = self.processes.remove(&pid) else { return };
        for identity in process.objects.keys() {
            self.remove_user(pid, *identity);
        }
        self.events.push(ProcessEvent::Gone { pid });
    }

    pub(super) fn is_known(&self, pid: u32) -> bool {
        self.processes.contains_key(&pid)
    }

    /// Looks at every process, and makes the table agree.
    pub(super) fn sweep(&mut self) {
        self.counters.sweeps += 1;
        let Ok(processes) = maps::processes(maps::PROC) else { return };
        // One look per file, however many processes map it.
        let mut identities = HashMap::new();
        let mut alive = HashSet::new();
        for pid in processes {
            let Ok(mappings) = maps::mappings(pid) else { continue };
            alive.insert(pid);
            let mut held = HashMap::new();
            for mapping in mappings {
                let known = identities.get(&mapping.alias).copied();
                // One that could not be reached through this process may be through the next.
                let found = known.map_or_else(|| self.identify(pid, &mapping, Turn::Last), Ok);
                let Ok(behind) = found else { continue };
                identities.insert(mapping.alias, behind);
                match behind {
                    Behind::Object(identity) => drop(held.insert(identity, mapping)),
                    Behind::Waiting(identity) if known.is_some() => {
                        self.waiting.add_user(identity, pid, &mapping);
                    }
                    Behind::Waiting(_) => {}
                    Behind::Nothing => {}
                }
            }
            self.reconcile(pid, held);
        }
        let ended: Vec<u32> = self.processes.keys().filter(|pid| !alive.contains(pid)).copied().collect();
        ended.into_iter().for_each(|pid| self.ended(pid));
        self.stand_by();
        self.retry();
    }

    /// Hooks the libraries that the next program is likely to map. One that was replaced there, as by a
    /// package's upgrade, stays hooked only for as long as it is used.
    fn stand_by(&mut self) {
        let mut standing = HashSet::new();
        for path in standing::candidates(&self.standing_folders) {
            let Ok(found) = file::at(path.clone()) else { continue };
            if self.objects.get(&found.identity).is_some_and(|object| object.version == found.version) {
                standing.insert(found.identity);
            } else if self.found_in(found.identity, found.version).is_none_or(|located| !located.is_empty())
                && let Ok((file, identity, version)) = file::open(&found)
            {
                self.drop_object(identity);
                let here = maps::mount_namespace(std::process::id());
                standing.extend(self.judge(&file, &path, here, identity, version));
            }
        }
        for (identity, object) in &mut self.objects {
            object.standing = standing.contains(identity);
        }
    }

    /// Makes the table agree with what one process really maps.
    fn reconcile(&mut self, pid: u32, held: HashMap<Identity, Mapping>) {
        let Some(process) = self.processes.get_mut(&pid) else {
            held.into_iter().for_each(|(identity, mapping)| self.add_user(pid, identity, &mapping));
            return;
        };
        // The first thread may have ended before the others, and then nothing is read.
        if held.is_empty() && !maps::has_ended(pid) && maps::mappings(pid).is_ok_and(|all| all.is_empty()) {
            return;
        }
        let dropped: Vec<Identity> =
            process.objects.keys().filter(|identity| !held.contains_key(identity)).copied().collect();
        process.objects.retain(|identity, _| held.contains_key(identity));
        let empty = held.is_empty();
        for identity in dropped {
            self.remove_user(pid, identity);
        }
        held.into_iter().for_each(|(identity, mapping)| self.add_user(pid, identity, &mapping));
        if empty {
            self.ended(pid);
        }
    }

    /// What is behind a mapping; a file that is new is judged, unless it is large: then it waits for that.
    fn identify(&mut self, pid: u32, mapping: &Mapping, turn: Turn) -> io::Result<Behind> {
        let behind = file::find(pid, mapping).and_then(|found| {
            let known = self.objects.get(&found.identity).map(|object| object.version);
            if known == Some(found.version) {
                return Ok(Behind::Object(found.identity));
            }
            let located = self.found_in(found.identity, found.version);
            if located.is_some_and(<[_]>::is_empty) {
                return Ok(Behind::Nothing);
            }
            let waits = located.is_none() && found.version.size >= LARGE;
            if turn == Turn::Next {
                self.attacher.expect();
            }
            if waits {
                let waits = self.waiting.add(&found, pid, mapping, turn)?;
                return waits.map(Behind::Waiting).ok_or(io::ErrorKind::QuotaExceeded.into());
            }
            let (file, identity, version) = file::open(&found)?;
            if known.is_some() {
                // Written over in place: what was known of it is void.
                self.drop_object(found.identity);
            }
            let judged = self.judge(
                &file,
                Path::new(&mapping.path),
                maps::mount_namespace(found.through),
                identity,
                version,
            );
            Ok(judged.map_or(Behind::Nothing, Behind::Object))
        });
        if behind.is_ok() {
            if self.reached.len() >= MAX_REMEMBERED {
                self.reached.clear();
            }
            self.reached.insert(mapping.alias);
        } else if !self.reached.contains(&mapping.alias) {
            self.counters.unreachable += 1;
        }
        behind
    }

    /// What was found in a file when it was judged; `None` where it was not, or has changed since.
    fn found_in(&self, identity: Identity, version: Version) -> Option<&[Located]> {
        if self.own == Some(identity) {
            return Some(&[]);
        }
        let (judged, located) = self.judged.get(&identity)?;
        (*judged == version).then_some(located)
    }

    fn judge(
        &mut self,
        file: &File,
        path: &Path,
        namespace: Option<u64>,
        identity: Identity,
        version: Version,
    ) -> Option<Identity> {
        if self.found_in(identity, version).is_none() {
            let located = locate(file);
            self.remember(identity, version, located);
        }
        self.take_in(file, path, namespace, identity, version)
    }

    fn remember(&mut self, identity: Identity, version: Version, located: Vec<Located>) {
        self.counters.judged += 1;
        if self.judged.len() >= MAX_REMEMBERED {
            self.judged.clear();
        }
        self.judged.insert(identity, (version, located));
    }

    /// Hooks what was found in a file, if anything.
    fn take_in(
        &mut self,
        file: &File,
        path: &Path,
        namespace: Option<u64>,
        identity: Identity,
        version: Version,
    ) -> Option<Identity> {
        let located = self.found_in(identity, version).filter(|located| !located.is_empty())?.to_vec();
        if self.objects.len() >= self.max_objects {
            self.counters.over_limit += 1;
            return None;
        }
        let path = path.to_string_lossy().into_owned();
        let mut object = Object::new(path, version, located, namespace);
        self.leaving.wait_for(identity);
        object.hook(&mut self.attacher, &mut self.counters, file);
        self.objects.insert(identity, object);
        Some(identity)
    }

    fn add_user(&mut self, pid: u32, identity: Identity, mapping: &Mapping) {
        let Some(object) = self.objects.get_mut(&identity) else { return };
        object.unused_since = None;
        object.users.insert(pid);
        let process = self.processes.entry(pid).or_insert_with(|| {
            self.events.push(ProcessEvent::Seen { pid });
            Process { objects: HashMap::new(), namespace: maps::mount_namespace(pid) }
        });
        process.objects.insert(identity, mapping.range());
    }

    fn remove_user(&mut self, pid: u32, identity: Identity) {
        let Some(object) = self.objects.get_mut(&identity) else { return };
        object.users.remove(&pid);
        if object.users.is_empty() {
            object.unused_since = Some(Instant::now());
        }
        self.check_namespace_of(identity);
    }

    /// When [`Table::tick`] has something to do, if ever.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let lingers = self.objects.values().filter_map(Object::lingers_since).min();
        [lingers.map(|since| since + self.linger), self.namespace_check].into_iter().flatten().min()
    }

    /// Takes away hooks that nobody needs.
    pub(super) fn tick(&mut self, now: Instant) {
        let over: Vec<Identity> = self
            .objects
            .iter()
            .filter(|(_, object)| object.lingers_since().is_some_and(|since| now >= since + self.linger))
            .map(|(identity, _)| *identity)
            .collect();
        over.into_iter().for_each(|identity| self.release_object(identity));
        if self.namespace_check.is_some_and(|due| now >= due) {
            self.release_namespaces(now);
        }
    }

    /// Tries again what the kernel refused altogether.
    fn retry(&mut self) {
        let refused: Vec<Identity> = self
            .objects
            .iter()
            .filter(|(_, object)| (1..MAX_ATTEMPTS).contains(&object.attempts) && !object.is_hooked())
            .map(|(identity, _)| *identity)
            .collect();
        for identity in refused {
            let attempts = self.objects.get(&identity).map_or(0, |object| object.attempts);
            self.rehook_elsewhere(identity);
            if let Some(object) = self.objects.get_mut(&identity).filter(|object| object.attempts > 0) {
                object.attempts = attempts + 1;
            }
        }
    }

    /// Forgets an object, whose hooks are gone on return.
    fn drop_object(&mut self, identity: Identity) {
        let links = self.forget_object(identity);
        self.attacher.detach(links);
    }

    /// The same, without waiting for the hooks to be gone: others are to be made meanwhile.
    fn release_object(&mut self, identity: Identity) {
        let links = self.forget_object(identity);
        if !links.is_empty() {
            self.attacher.detach_later(links, self.leaving.begin(identity));
        }
    }

    /// Forgets an object, and hands over what keeps its hooks in place.
    fn forget_object(&mut self, identity: Identity) -> Vec<A::Link> {
        let Some(mut object) = self.objects.remove(&identity) else { return Vec::new() };
        let links = object.release(&mut self.counters);
        for pid in object.users {
            if let Some(process) = self.processes.get_mut(&pid) {
                process.objects.remove(&identity);
                if process.objects.is_empty() {
                    self.ended(pid);
                }
            }
        }
        links
    }

    /// Takes in what traffic has said about a plan; one that it refutes is unhooked, and not hooked again
    /// when its file comes back.
    pub(super) fn prove(&mut self, plan: PlanId, proof: Proof) {
        let counters = &mut self.counters;
        let refuted = self.objects.iter_mut().find_map(|(identity, object)| {
            let (refuted, link) = object.prove(plan, proof, counters)?;
            Some((*identity, object.version, refuted, link))
        });
        let Some((identity, version, refuted, link)) = refuted else { return };
        self.attacher.detach(link.into_iter().collect());
        if let Some((judged, located)) = self.judged.get_mut(&identity)
            && *judged == version
        {
            let same = |found: &&mut Located| found.plan.as_ref().is_ok_and(|plan| *plan == refuted);
            located.iter_mut().filter(same).for_each(|found| found.plan = Err(Reason::Refuted));
        }
    }

    /// Takes all hooks away, all at once. No process is gone by that.
    pub(super) fn clear(&mut self) {
        let counters = &mut self.counters;
        let links = self.objects.values_mut().flat_map(|object| object.release(counters)).collect();
        self.attacher.detach(links);
        self.leaving.wait_for_all();
        self.objects.clear();
        self.processes.clear();
        self.events.clear();
    }

    pub(super) fn report(&self) -> Vec<ObjectReport> {
        let mut reports: Vec<_> = self.objects.values().flat_map(Object::reports).collect();
        reports.sort_by(|a, b| a.path.cmp(&b.path));
        reports
    }
}
