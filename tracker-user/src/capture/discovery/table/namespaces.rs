//! Mount namespaces: hooks hold the one through which they were made, and are not to outlive its processes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::super::object::Object;
use super::super::{Attach, file, maps};
use super::{Identity, Table};

/// How often it is asked whether the mount namespace of unused hooks still has a process.
const NAMESPACE_CHECK: Duration = Duration::from_secs(1);
/// How soon after an object lost a user.
const FIRST_NAMESPACE_CHECK: Duration = Duration::from_millis(100);

impl<A: Attach> Table<A> {
    /// Looks soon whether the mount namespace is still in use that the hooks of an object keep alive.
    pub(super) fn check_namespace_of(&mut self, identity: Identity) {
        let Some(object) = self.objects.get(&identity) else { return };
        // Unknown where the process was gone already, and then it does not last.
        if object.namespace.is_none() || !self.lasting_namespaces.contains(&object.namespace) {
            let soon = Instant::now() + FIRST_NAMESPACE_CHECK;
            self.namespace_check = Some(self.namespace_check.map_or(soon, |due| due.min(soon)));
        }
    }

    /// Hooks keep the mount through which they were made, and so a container's root. They go with its
    /// last process; where another container maps the same file, they are made anew through that.
    pub(super) fn release_namespaces(&mut self, now: Instant) {
        self.namespace_check = None;
        let lasting = self.lasting_namespaces;
        let foreign =
            |object: &Object<A::Link>| object.namespace.is_none() || !lasting.contains(&object.namespace);
        let inhabited = |inhabitants: &HashMap<u64, u32>, namespace: u64| {
            inhabitants.get(&namespace).is_some_and(|pid| maps::mount_namespace(*pid) == Some(namespace))
        };
        let mut used = self.objects.values().filter(|object| foreign(object)).filter_map(|o| o.namespace);
        if !used.all(|namespace| inhabited(&self.inhabitants, namespace)) {
            let Ok(inhabitants) = maps::mount_namespaces() else { return };
            self.inhabitants = inhabitants;
        }
        let dead: Vec<Identity> = self
            .objects
            .iter()
            .filter(|(_, object)| foreign(object))
            .filter(|(_, object)| object.namespace.is_none_or(|ns| !self.inhabitants.contains_key(&ns)))
            .map(|(identity, _)| *identity)
            .collect();
        for identity in dead {
            self.rehook_elsewhere(identity);
        }
        // A namespace can lose its last process later; only objects without users wait for that.
        if self.objects.values().any(|object| foreign(object) && object.unused_since.is_some()) {
            self.namespace_check = Some(now + NAMESPACE_CHECK);
        }
    }

    pub(super) fn rehook_elsewhere(&mut self, identity: Identity) {
        let user = self.objects.get(&identity).and_then(|object| {
            object.users.iter().find_map(|pid| {
                let process = self.processes.get(pid)?;
                let mapping = process.objects.get(&identity)?;
                let (file, ..) = file::open(&file::find(*pid, mapping).ok()?).ok()?;
                Some((file, process.namespace))
            })
        });
        let Some((file, namespace)) = user else { return self.release_object(identity) };
        let Some(object) = self.objects.get_mut(&identity) else { return };
        // First off, then on: two sets of hooks would see every call twice.
        object.unhook(&mut self.attacher, &mut self.counters);
        object.namespace = namespace;
        object.attempts = 0;
        object.hook(&mut self.attacher, &mut self.counters, &file);
    }
}
