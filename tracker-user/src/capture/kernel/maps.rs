//! Handles on the kernel side's maps, each usable from a thread of its own.

use std::io;

use aya::maps::{Array, HashMap, MapData, MapError};
use tracker_common::{
    Counter,
    state::{CALL_BYTES, Connection, ConnectionKey, GoCallKey, ScopeKey, scope, verdict},
};

use crate::capture::{ConnectionId, Scope, Verdict};

/// Tells the kernel side what has been decided, about connections and about whole processes.
#[derive(Debug)]
pub struct Verdicts {
    connections: HashMap<MapData, u32, u32>,
    ignored: HashMap<MapData, ScopeKey, u32>,
}

impl Verdicts {
    pub(super) const fn new(
        connections: HashMap<MapData, u32, u32>,
        ignored: HashMap<MapData, ScopeKey, u32>,
    ) -> Self {
        Self { connections, ignored }
    }

    /// Has the connections in a scope ignored from their first byte on: nothing is heard of them. Those
    /// that are open go on as they are. A process is watched again when it executes a program.
    ///
    /// # Errors
    ///
    /// The kernel refused it.
    pub fn ignore(&mut self, scope: Scope) -> io::Result<()> {
        self.ignored.insert(key(scope), 0, 0).map_err(io::Error::other)
    }

    /// Has the next connections in a scope watched.
    ///
    /// # Errors
    ///
    /// The kernel refused it.
    pub fn watch(&mut self, scope: Scope) -> io::Result<()> {
        absent_is_fine(self.ignored.remove(&key(scope)))
    }

    /// The same in all scopes.
    ///
    /// # Errors
    ///
    /// The kernel refused it.
    pub fn watch_all(&mut self) -> io::Result<()> {
        // Removing what an iterator stands on would start it over.
        let keys: Vec<ScopeKey> = self.ignored.keys().filter_map(Result::ok).collect();
        keys.iter().try_for_each(|key| absent_is_fine(self.ignored.remove(key)))
    }

    /// Sets the verdict on a connection. It takes effect with the connection's next transfer and is
    /// final: no other can follow it. [`Verdict::Unknown`] takes one back that has not taken effect.
    ///
    /// After [`Verdict::Ignore`] nothing more is heard of the connection, its end included.
    ///
    /// # Errors
    ///
    /// The kernel refused it, and the connection stays as it is.
    pub fn set(&mut self, connection: ConnectionId, verdict: Verdict) -> io::Result<()> {
        let decided = match verdict {
            Verdict::Unknown => {
                return absent_is_fine(self.connections.remove(&connection.generation));
            }
            Verdict::Capture => verdict::CAPTURE,
            Verdict::Ignore => verdict::IGNORE,
        };
        self.connections.insert(connection.generation, decided, 0).map_err(io::Error::other)
    }
}

const fn key(scope: Scope) -> ScopeKey {
    let (kind, id) = match scope {
        Scope::Process(tgid) => (scope::PROCESS, tgid as u64),
        Scope::Cgroup(id) => (scope::CGROUP, id),
        Scope::User(uid) => (scope::USER, uid as u64),
    };
    ScopeKey { kind, reserved: 0, id }
}

/// What was to be removed may have gone by itself.
fn absent_is_fine(removed: Result<(), MapError>) -> io::Result<()> {
    match removed {
        Ok(()) | Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// The connections that the kernel side knows, and what else it keeps for a process.
#[derive(Debug)]
pub struct Connections {
    known: HashMap<MapData, ConnectionKey, Connection>,
    /// A thread that exits takes its call with it, but a goroutine ends unseen. The values are the
    /// kernel side's own, and only taken out.
    go_calls: HashMap<MapData, GoCallKey, [u8; CALL_BYTES]>,
}

impl Connections {
    pub(super) const fn new(
        known: HashMap<MapData, ConnectionKey, Connection>,
        go_calls: HashMap<MapData, GoCallKey, [u8; CALL_BYTES]>,
    ) -> Self {
        Self { known, go_calls }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.known.keys().filter(Result::is_ok).count()
    }

    /// Forgets the connections, by process and generation, that `is_over` knows to be those of a program that is
    /// over, lest a later one with the same id inherits one, and returns how many; and what goroutines of processes
    /// were in that `has_ended` knows. One pass over all connections: do it now and then.
    pub fn forget(&mut self, is_over: impl Fn(u32, u32) -> bool, has_ended: impl Fn(u32) -> bool) -> usize {
        // Removing what an iterator stands on would start it over.
        let calls: Vec<GoCallKey> =
            self.go_calls.keys().filter_map(Result::ok).filter(|key| has_ended(key.tgid)).collect();
        for key in calls {
            // One that is not there any more has returned.
            let _ = self.go_calls.remove(&key);
        }
        let known = self.known.iter().filter_map(Result::ok);
        let over: Vec<ConnectionKey> = known
            .filter(|(key, connection)| is_over(key.tgid, connection.generation))
            .map(|(key, _)| key)
            .collect();
        over.iter().filter(|key| self.known.remove(key).is_ok()).count()
    }
}

/// Reads the kernel side's counters.
pub struct Counters(Array<MapData, u64>);

impl std::fmt::Debug for Counters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Counters").field(&self.read()).finish()
    }
}

macro_rules! kernel_counters {
    ($($(#[$doc:meta])* $field:ident = $counter:ident,)+) => {
        /// What the kernel side has counted since it was loaded.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct KernelCounters {
            $($(#[$doc])* pub $field: u64,)+
        }

        impl Counters {
            pub(super) const fn new(map: Array<MapData, u64>) -> Self {
                Self(map)
            }

            /// Reads them all; some twenty system calls.
            ///
            /// # Errors
            ///
            /// The kernel refused it.
            pub fn read(&self) -> io::Result<KernelCounters> {
                let read = |counter: Counter| self.0.get(&(counter as u32), 0).map_err(io::Error::other);
                Ok(KernelCounters { $($field: read(Counter::$counter)?,)+ })
            }
        }

        // A counter that is not read would be a loss that nobody sees.
        const _: () = assert!([$(Counter::$counter as u32),+].len() == Counter::ALL.len());
    };
}

kernel_counters! {
    /// Successful transfer calls on connections that are not ignored.
    calls = Calls,
    /// Bytes that they transferred: those delivered, and those lost below.
    bytes = Bytes,
    /// Times the reader was woken.
    wake_ups = WakeUps,
    /// Calls that lost bytes because the ring was full.
    ring_full = RingFull,
    /// Bytes lost because the ring was full.
    ring_full_bytes = RingFullBytes,
    /// Calls that transferred more than the cap.
    past_cap = PastCap,
    /// Bytes past the cap.
    past_cap_bytes = PastCapBytes,
    /// Records lost because user memory could not be read.
    unreadable = Unreadable,
    /// Bytes of those records.
    unreadable_bytes = UnreadableBytes,
    /// Calls whose count could not be read; the connection goes on as another generation.
    count_unreadable = CountUnreadable,
    /// Calls with a count above what was asked for; the connection goes on as another generation.
    implausible = Implausible,
    /// Calls lost because too many threads were in one; the connection goes on as another generation.
    calls_full = CallsFull,
    /// Calls that never returned; the connection goes on as another generation.
    abandoned = Abandoned,
    /// Calls on another connection within a call; that connection goes on as another generation.
    nested_elsewhere = NestedElsewhere,
    /// Calls on the same connection within a call. No loss.
    nested = Nested,
    /// Calls lost because a connection could not be stored.
    connections_full = ConnectionsFull,
    /// Bytes of those calls.
    connections_full_bytes = ConnectionsFullBytes,
    /// Records lost because the connection that their key belongs to is not known.
    unpaired = Unpaired,
    /// Bytes of those records, about.
    unpaired_bytes = UnpairedBytes,
    /// Notices (opened, closed, exec, exit) lost because the ring was full.
    notices_lost = NoticesLost,
    /// Connections ignored from their first byte on, because of whose they are.
    filtered = Filtered,
}

impl KernelCounters {
    /// Bytes known to have been transferred and not delivered.
    #[must_use]
    pub const fn lost_bytes(&self) -> u64 {
        self.ring_full_bytes + self.past_cap_bytes + self.unreadable_bytes + self.connections_full_bytes
    }
}
