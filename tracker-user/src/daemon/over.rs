//! Which connections belong to programs that are over, so that nobody inherits one.

use std::collections::HashMap;

use crate::capture::CaptureEvent;

/// The processes that have exited or run another program, since they were last forgotten, and the newest connection
/// that was known then. Generations rise: what is newer is the next program's, who may have opened it a moment ago.
#[derive(Debug, Default)]
pub(super) struct Over {
    programs: HashMap<u32, u32>,
    newest: u32,
}

impl Over {
    /// Takes notice of what happened, in its order.
    pub(super) fn note(&mut self, event: &CaptureEvent) {
        match event {
            CaptureEvent::Opened(opened) if is_later(opened.connection.generation, self.newest) => {
                self.newest = opened.connection.generation;
            }
            CaptureEvent::Exit { tgid, .. } | CaptureEvent::Exec { tgid, .. } => {
                self.programs.insert(*tgid, self.newest);
            }
            _ => {}
        }
    }

    /// Whether a connection of that process, of that generation, was opened by a program that is over.
    pub(super) fn has(&self, tgid: u32, generation: u32) -> bool {
        self.programs.get(&tgid).is_some_and(|newest| !is_later(generation, *newest))
    }

    /// Whether the process has ended, too.
    pub(super) fn has_ended(&self, tgid: u32) -> bool {
        self.programs.contains_key(&tgid) && !std::path::Path::new(&format!("/proc/{tgid}")).exists()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.programs.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.programs.clear();
    }
}

/// Of two generations; they may begin anew.
const fn is_later(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{ConnectionId, Opened, PlanId, Timestamp};

    fn opened(tgid: u32, generation: u32) -> CaptureEvent {
        CaptureEvent::Opened(Opened {
            connection: ConnectionId { tgid, generation, ssl: 1 },
            comm: String::new(),
            uid: 0,
            cgroup_id: 0,
            plan: PlanId::NONE,
            at: Timestamp(0),
        })
    }

    #[test]
    fn what_the_next_program_has_opened_is_not_over() {
        let exec = |tgid| CaptureEvent::Exec { tgid, at: Timestamp(0) };
        let mut over = Over::default();
        for event in [opened(7, 3), opened(8, 4), exec(7)] {
            over.note(&event);
        }
        assert!(over.has(7, 3) && !over.has(8, 4));
        assert!(!over.has(7, 5), "opened already, and not told of yet");
        over.note(&opened(9, 6));
        assert!(over.has(7, 3) && !over.has(7, 6), "nor by what others open");
        over.note(&CaptureEvent::Exit { tgid: 7, at: Timestamp(0) });
        assert!(over.has(7, 6));
        over.clear();
        assert!(over.is_empty() && !over.has(7, 3));
    }

    #[test]
    fn generations_begin_anew() {
        let mut over = Over::default();
        for generation in [u32::MAX - 1, u32::MAX, 0, 1] {
            over.note(&opened(7, generation));
        }
        over.note(&CaptureEvent::Exit { tgid: 7, at: Timestamp(0) });
        assert!(over.has(7, u32::MAX) && over.has(7, 1) && !over.has(7, 2));
    }

    #[test]
    fn who_runs_another_program_has_not_ended() {
        let mut over = Over::default();
        let (me, nobody) = (std::process::id(), u32::MAX);
        for tgid in [me, nobody] {
            over.note(&CaptureEvent::Exec { tgid, at: Timestamp(0) });
        }
        assert!(!over.has_ended(me) && over.has_ended(nobody) && !over.has_ended(1));
    }
}
