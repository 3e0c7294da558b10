//! User names from the host's user database.

use std::{
    collections::HashMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

/// More users than this on one host are named as they come and forgotten all at once.
const MAX_CACHED: usize = 4096;
/// Questions that may wait for an answer.
const MAX_WAITING: usize = 256;
/// How long a name holds; user databases change.
const FRESH: Duration = Duration::from_secs(15 * 60);

/// Resolves user ids on a thread of its own: behind the user database there may be a directory
/// server that does not answer, and nobody may wait for that.
#[derive(Debug)]
pub(super) struct Users {
    shared: Arc<Shared>,
    questions: mpsc::SyncSender<u32>,
    patience: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    answers: Mutex<HashMap<u32, Answer>>,
    answered: Condvar,
}

#[derive(Clone, Debug)]
struct Answer {
    /// `None` in the outer option while the question is open.
    name: Option<Option<String>>,
    asked: Instant,
}

impl Shared {
    fn answers(&self) -> MutexGuard<'_, HashMap<u32, Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Users {
    /// `patience`: the longest that [`Users::name`] may wait.
    pub(super) fn new(patience: Duration, lookup: impl Fn(u32) -> Option<String> + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let (questions, inbox) = mpsc::sync_channel(MAX_WAITING);
        let theirs = Arc::clone(&shared);
        let worker = move || {
            while let Ok(uid) = inbox.recv() {
                let name = lookup(uid);
                theirs.answers().insert(uid, Answer { name: Some(name), asked: Instant::now() });
                theirs.answered.notify_all();
            }
        };
        // Without the thread nobody is named, and everything else goes on.
        if let Err(error) = thread::Builder::new().name("users".into()).spawn(worker) {
            tracing::warn!(%error, "no thread for user names: calls will carry the uid only");
        }
        Self { shared, questions, patience }
    }

    /// The name; `None` where there is none, or where the answer is late: the next call may have it.
    pub(super) fn name(&self, uid: u32) -> Option<String> {
        let mut answers = self.shared.answers();
        let known = answers.get(&uid).cloned();
        if known.as_ref().is_none_or(|answer| answer.asked.elapsed() > FRESH) {
            if answers.len() >= MAX_CACHED {
                answers.clear();
            }
            if self.questions.try_send(uid).is_err() {
                return known?.name?;
            }
            // A stale name stands until the new one is there.
            let name = known.as_ref().and_then(|answer| answer.name.clone());
            answers.insert(uid, Answer { name, asked: Instant::now() });
        }
        // A question that has been open for longer is not waited for again.
        let waited =
            known.filter(|answer| answer.name.is_none()).map_or(Duration::ZERO, |a| a.asked.elapsed());
        let patience = self.patience.saturating_sub(waited);
        let open = |answers: &mut HashMap<u32, Answer>| answers.get(&uid).is_some_and(|a| a.name.is_none());
        let (answers, _) = self
            .shared
            .answered
            .wait_timeout_while(answers, patience, open)
            .unwrap_or_else(PoisonError::into_inner);
        answers.get(&uid)?.name.clone()?
    }
}

/// `getpwuid_r`: files, and whatever else the host's name service switch names.
pub(super) fn from_host(uid: u32) -> Option<String> {
    uzers::get_user_by_uid(uid).map(|user| user.name().to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn root_is_root() {
        let users = Users::new(Duration::from_secs(5), from_host);
        assert_eq!(users.name(0).as_deref(), Some("root"));
        assert_eq!(users.name(4_000_000_001), None);
    }

    #[test]
    fn asked_once_then_cached() {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let users = Users::new(Duration::from_secs(5), |uid| {
            ASKED.fetch_add(1, Ordering::Relaxed);
            (uid == 7).then(|| "seven".to_owned())
        });
        for _ in 0..10 {
            assert_eq!(users.name(7).as_deref(), Some("seven"));
            assert_eq!(users.name(8), None);
        }
        assert_eq!(ASKED.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_database_that_hangs_holds_nobody() {
        let (release, held) = mpsc::channel::<()>();
        let users = Users::new(Duration::from_millis(20), move |_| {
            let _ = held.recv();
            Some("late".to_owned())
        });
        let begun = Instant::now();
        for uid in 0..1000 {
            // Many users, one patience each at most, and none once the queue is full.
            assert_eq!(users.name(uid % 10), None);
        }
        assert!(begun.elapsed() < Duration::from_secs(5));
        drop(release);
        let deadline = Instant::now() + Duration::from_secs(5);
        while users.name(3).is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(users.name(3).as_deref(), Some("late"));
    }
}
