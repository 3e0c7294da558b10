//! Asks the ledger how far budgets are used, and tells who wants to know.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::json;

use super::{Budget, Used, tell};
use crate::{
    ledger::{Crossings, Ledger},
    record::Sample,
};

/// Between two looks; longer where a look takes long, so that they take a twentieth of a core at most.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const REST: u32 = 20;
/// Between two lines of the log about the same trouble.
const LOG_EVERY: Duration = Duration::from_secs(600);
/// Where a window moves on with time, a threshold can be crossed again when so much of it is free again.
const FREE_AGAIN: f64 = 0.9;

/// The budgets in force, which may change, and how far they are used.
#[derive(Clone, Debug, Default)]
pub struct Budgets(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    budgets: Vec<Budget>,
    used: Vec<Used>,
    /// Messages by budget, what was to be told, and whether it was.
    told: BTreeMap<(String, &'static str, &'static str), u64>,
    failed: u64,
}

impl Budgets {
    /// These.
    #[must_use]
    pub fn new(budgets: Vec<Budget>) -> Self {
        let budgets = State { budgets, ..State::default() };
        Self(Arc::new(Mutex::new(budgets)))
    }

    /// Puts others in their place.
    pub fn set(&self, budgets: Vec<Budget>) {
        self.with(|state| {
            state.used.retain(|used| budgets.iter().any(|budget| budget.name == used.name));
            state.budgets = budgets;
        });
    }

    /// Those in force.
    #[must_use]
    pub fn get(&self) -> Vec<Budget> {
        self.with(|state| state.budgets.clone())
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// For the metrics page.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        self.with(|State { budgets, used, told, failed }| {
            let mut samples = Vec::new();
            type Value = fn(&Used) -> f64;
            let values: [(&str, &str, Value); 4] = [
                ("llm_tracker_budget_used_ratio", "Used part of a budget.", Used::share),
                ("llm_tracker_budget_used", "What is used of a budget, in its unit.", |used| used.used),
                ("llm_tracker_budget_remaining", "What is left of a budget, in its unit.", Used::left),
                ("llm_tracker_budget_limit", "What a budget allows, in its unit.", |used| {
                    used.limit.amount()
                }),
            ];
            for (name, help, value) in values {
                samples.extend(used.iter().map(|used| {
                    Sample::gauge(name, help, value(used))
                        .label("budget", used.name.clone())
                        .label("unit", used.limit.unit())
                        .label("window", used.window)
                }));
            }
            samples.extend(told.iter().map(|((budget, what, outcome), count)| {
                let help =
                    "Thresholds of budgets that were crossed, by who was told: event, webhook, command.";
                Sample::counter("llm_tracker_budget_crossings_total", help, *count)
                    .label("budget", budget.clone())
                    .label("told", *what)
                    .label("outcome", *outcome)
            }));
            if !budgets.is_empty() {
                let help = "Looks at budgets that failed because the ledger could not be asked.";
                samples.push(Sample::counter("llm_tracker_budget_failures_total", help, *failed));
            }
            samples
        })
    }
}

/// The thread that looks after budgets. It ends with this.
#[derive(Debug)]
pub struct BudgetWatch {
    /// Dropped, it ends the thread.
    _stop: mpsc::Sender<()>,
}

/// Where the event of a crossing goes: a JSON line.
pub(crate) type Events = Box<dyn Fn(Vec<u8>) + Send>;

impl BudgetWatch {
    /// Starts it: what it asks is the ledger in `file`.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(crate) fn start(budgets: Budgets, file: PathBuf, events: Events) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        // Its own, so that it does not end before this does.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut watch = Watch { budgets, file, events, runtime, logged: None };
        let run = move || {
            let mut rest = LOOK_EVERY;
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(rest) {
                let begun = Instant::now();
                watch.look(Timestamp::now());
                rest = LOOK_EVERY.max(begun.elapsed().saturating_mul(REST));
            }
        };
        thread::Builder::new().name("budgets".to_owned()).spawn(run)?;
        Ok(Self { _stop: stop })
    }
}

struct Watch {
    budgets: Budgets,
    file: PathBuf,
    events: Events,
    runtime: tokio::runtime::Runtime,
    logged: Option<Instant>,
}

impl Watch {
    fn look(&mut self, now: Timestamp) {
        let budgets = self.budgets.get();
        if budgets.is_empty() {
            return;
        }
        match crossed(&self.file, &budgets, now) {
            Ok((used, crossings)) => {
                self.budgets.with(|state| state.used = used);
                for Crossing { budget, threshold, used } in crossings {
                    self.tell(budget, threshold, &used, now);
                }
            }
            Err(error) => {
                self.budgets.with(|state| state.failed += 1);
                if self.logged.is_none_or(|at| at.elapsed() >= LOG_EVERY) {
                    self.logged = Some(Instant::now());
                    tracing::warn!(%error, "budgets cannot be looked after");
                }
            }
        }
    }

    fn tell(&self, budget: &Budget, threshold: f64, used: &Used, now: Timestamp) {
        let Used { name, limit, used: amount, window, since } = used;
        tracing::warn!(
            budget = name,
            used = amount,
            limit = limit.amount(),
            unit = limit.unit(),
            window,
            "a budget is used to {:.0} %",
            threshold * 100.0
        );
        let event = json!({
            "type": "llm_budget",
            "timestamp": format!("{now:.6}"),
            "budget": name,
            "threshold": threshold,
            "used": amount,
            "limit": limit.amount(),
            "unit": limit.unit(),
            "window": window,
            "since": Timestamp::from_nanosecond((*since).into()).ok().map(|at| format!("{at:.6}")),
        });
        let event = event.to_string().into_bytes();
        (self.events)([&event[..], b"\n"].concat());
        self.count(name, "event", true);
        if let Some(url) = &budget.webhook {
            self.outcome(name, "webhook", tell::webhook(&self.runtime, url, &event));
        }
        if !budget.command.is_empty() {
            self.outcome(name, "command", tell::command(&budget.command, &event));
        }
    }

    fn outcome(&self, budget: &str, what: &'static str, outcome: Result<(), tell::Untold>) {
        self.count(budget, what, outcome.is_ok());
        if let Err(error) = outcome {
            tracing::warn!(budget, %error, "the {what} of a budget failed");
        }
    }

    fn count(&self, budget: &str, what: &'static str, done: bool) {
        let outcome = if done { "done" } else { "failed" };
        self.budgets.with(|state| *state.told.entry((budget.to_owned(), what, outcome)).or_default() += 1);
    }
}

/// A threshold that has just been crossed.
#[derive(Debug)]
pub(super) struct Crossing<'a> {
    pub(super) budget: &'a Budget,
    pub(super) threshold: f64,
    pub(super) used: Used,
}

/// How far all are used, and what was crossed since the last time, which is noted before anybody is told:
/// whoever is told is told once.
pub(super) fn crossed<'a>(
    file: &Path,
    budgets: &'a [Budget],
    now: Timestamp,
) -> Result<(Vec<Used>, Vec<Crossing<'a>>), anyhow::Error> {
    let ledger = Ledger::open(file)?;
    let crossings = Crossings::open(file)?;
    let (mut all, mut new) = (Vec::new(), Vec::new());
    for budget in budgets {
        let used = budget.used(now, &ledger)?;
        for &threshold in &budget.thresholds {
            let known = crossings.crossed(&used.name, threshold)?;
            // One of the calendar begins anew.
            let known = known.filter(|at| budget.rolling || *at >= used.since);
            if used.share() >= threshold {
                if known.is_none() {
                    crossings.note(&used.name, threshold, i64::try_from(now.as_nanosecond())?)?;
                    new.push(Crossing { budget, threshold, used: used.clone() });
                }
            } else if known.is_some() && budget.rolling && used.share() < threshold * FREE_AGAIN {
                crossings.forget(&used.name, threshold)?;
            }
        }
        all.push(used);
    }
    Ok((all, new))
}
