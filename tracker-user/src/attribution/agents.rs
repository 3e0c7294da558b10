//! For which agent or CI job a process works: the root of the tree of processes that it is in.
//!
//! Who works for whom is settled when a process is made: it works for whom its parent works for, and goes
//! on to when the parent is gone. What was made before anybody told of it is found by its ancestors in
//! `/proc`. The nearest root counts; where that was started by one of the same name, with no other in
//! between, the one that was started first does, so that an agent that starts itself is one.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Deserialize;

use super::{
    origin::Agent,
    procfs::{self, Program},
};
use crate::{
    capture::Timestamp,
    pattern::Pattern,
    recent::{Lived, Recent},
};

/// Ancestors that are looked at; deeper trees occur by mistake.
const MAX_DEPTH: usize = 64;
/// Longest name of a root.
const MAX_NAME: usize = 64;
/// Patterns of all roots together.
const MAX_PATTERNS: usize = 1_000;

/// What is a root unless the operator says otherwise. With a slash in it, a pattern is about a whole path.
const DEFAULTS: &[(&str, &[&str])] = &[
    ("aider", &["aider"]),
    ("amp", &["amp", "*/@sourcegraph/amp/*"]),
    ("auggie", &["auggie", "*/@augmentcode/auggie/*"]),
    ("azure-pipelines", &["Agent.Worker"]),
    ("buildkite-agent", &["buildkite-agent"]),
    ("circleci", &["circleci-agent", "circleci-runner"]),
    ("claude", &["claude", "*/@anthropic-ai/claude-code/*"]),
    ("codex", &["codex", "*/@openai/codex/*"]),
    ("copilot", &["copilot", "*/@github/copilot/*"]),
    ("crush", &["crush"]),
    ("cursor-agent", &["cursor-agent"]),
    ("droid", &["droid"]),
    ("drone-runner", &["drone-runner-*"]),
    ("forgejo-runner", &["forgejo-runner"]),
    ("gemini", &["gemini", "*/@google/gemini-cli/*"]),
    ("gitea-runner", &["act_runner"]),
    ("github-actions", &["Runner.Worker"]),
    ("gitlab-runner", &["gitlab-runner"]),
    ("goose", &["goose"]),
    ("jenkins", &["jenkins", "jenkins.war", "*/jenkins*/agent.jar", "*/jenkins*/remoting.jar"]),
    ("kiro-cli", &["kiro-cli"]),
    ("opencode", &["opencode", "*/opencode-ai/*"]),
    ("openhands", &["openhands"]),
    ("plandex", &["plandex"]),
    ("qwen", &["qwen", "*/@qwen-code/qwen-code/*"]),
    ("teamcity-agent", &["*/teamcity-agent*/buildAgent/*"]),
    ("woodpecker-agent", &["woodpecker-agent"]),
];

/// Programs that run others, which their arguments name.
const INTERPRETERS: &[&str] = &[
    "bash", "bun", "dash", "deno", "java", "node", "nodejs", "perl", "python*", "pypy*", "ruby", "sh", "zsh",
];

/// What counts as the root of an agent's or a job's processes: `[attribution.agents]`, a name and patterns
/// each, over the defaults. One without patterns is none.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, Vec<Pattern>>")]
pub struct AgentRoots(BTreeMap<Arc<str>, Vec<Pattern>>);

/// What is wrong with the roots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an agent's name has 1 to {MAX_NAME} bytes, and all agents have at most {MAX_PATTERNS} patterns")]
pub struct AgentRootsError;

impl Default for AgentRoots {
    fn default() -> Self {
        // Those that are too long are not in the table; see the test.
        let patterns = |texts: &[&str]| {
            texts.iter().filter_map(|text| Pattern::try_from((*text).to_owned()).ok()).collect()
        };
        Self(DEFAULTS.iter().map(|(name, texts)| ((*name).into(), patterns(texts))).collect())
    }
}

impl TryFrom<BTreeMap<String, Vec<Pattern>>> for AgentRoots {
    type Error = AgentRootsError;

    fn try_from(given: BTreeMap<String, Vec<Pattern>>) -> Result<Self, AgentRootsError> {
        if given.keys().any(|name| name.is_empty() || name.len() > MAX_NAME)
            || given.values().map(Vec::len).sum::<usize>() > MAX_PATTERNS
        {
            return Err(AgentRootsError);
        }
        let mut roots = Self::default();
        roots.0.extend(given.into_iter().map(|(name, patterns)| (name.into(), patterns)));
        Ok(roots)
    }
}

impl AgentRoots {
    /// The root that goes by that name or path.
    fn called(&self, text: &str) -> Option<&Arc<str>> {
        let is = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.fits_path(text));
        self.0.iter().find(|(_, patterns)| is(patterns)).map(|(name, _)| name)
    }

    /// The root that a program is.
    fn is(&self, program: &Program) -> Option<&Arc<str>> {
        let Program { comm, exe, arguments, .. } = program;
        let own = [Some(comm.as_str()), exe.as_deref(), arguments.first().map(String::as_str)];
        let own = own.into_iter().flatten();
        own.chain(script(program)).find_map(|text| self.called(text))
    }
}

/// What an interpreter runs: its first argument that is no option, which may also be the module or the
/// archive that `-m` or `-jar` names.
fn script(program: &Program) -> Option<&str> {
    let Program { exe, arguments, .. } = program;
    let called = exe.as_deref().or(arguments.first().map(String::as_str))?;
    let file = called.rsplit('/').next()?;
    let interprets = INTERPRETERS
        .iter()
        .any(|name| name.strip_suffix('*').map_or(*name == file, |start| file.starts_with(start)));
    let script = arguments.iter().skip(1).find(|argument| !argument.starts_with('-'))?;
    interprets.then_some(script)
}

/// The trees of processes; all clones share them.
#[derive(Clone, Debug)]
pub struct Agents(Arc<Mutex<Trees>>);

#[derive(Debug)]
struct Trees {
    roots: AgentRoots,
    proc_root: PathBuf,
    processes: Recent<Member>,
    /// All that happened up to here is known; zero where nobody tells.
    until: u64,
}

#[derive(Clone, Debug, Default)]
struct Member {
    root: Option<Root>,
    /// Whether more than the name of its program was looked at, or is not needed.
    settled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Root {
    name: Arc<str>,
    pid: u32,
}

impl Agents {
    /// Knows no process yet. `proc_root` is the host's `/proc`.
    #[must_use]
    pub fn new(roots: AgentRoots, proc_root: PathBuf) -> Self {
        let processes = Recent::default();
        Self(Arc::new(Mutex::new(Trees { roots, proc_root, processes, until: 0 })))
    }

    /// A process was made as a copy of its parent.
    pub fn forked(&self, pid: u32, parent: u32, at: Timestamp) {
        self.with(|trees| {
            let root = trees.root_of(parent);
            trees.processes.begin(pid, at.0, Member { root, settled: true });
        });
    }

    /// A process replaced its program, and is called `comm` now.
    pub fn executed(&self, pid: u32, comm: &str, at: Timestamp) {
        self.with(|trees| {
            if trees.processes.get(pid).is_none() {
                let root = trees.climb(pid);
                trees.processes.begin(pid, at.0, Member { root, settled: true });
            }
            let found = trees.roots.called(comm).cloned();
            let Some(Lived { known: member, .. }) = trees.processes.get_mut(pid) else { return };
            member.settled = found.is_some();
            member.become_root(pid, found);
        });
    }

    /// The first thread of a process ended.
    pub fn ended(&self, pid: u32, at: Timestamp) {
        self.with(|trees| trees.processes.end(pid, at.0));
    }

    /// Some of what happened was not told.
    pub fn lost(&self) {
        self.with(|trees| trees.processes.clear());
    }

    /// All that happened up to here was told.
    pub fn told_up_to(&self, at: Timestamp) {
        self.with(|trees| {
            trees.until = trees.until.max(at.0);
            trees.processes.clean(at.0);
        });
    }

    /// For whom `pid` works, which was a process at the time `at`; and whether it is of use to ask again
    /// soon, because its beginning has not been told of yet.
    pub(super) fn of(&self, pid: u32, at: Timestamp) -> (Option<Agent>, bool) {
        self.with(|trees| {
            let agent = |root: Root| Agent { name: root.name.to_string(), pid: root.pid };
            match trees.processes.get(pid) {
                Some(process) if process.since > at.0 => (None, false),
                Some(_) => (trees.root_of(pid).map(agent), false),
                None => {
                    let Some(start) = procfs::program(&trees.proc_root, pid).map(|it| it.start.monotonic())
                    else {
                        return (None, trees.until < at.0 && trees.until > 0);
                    };
                    let root = if start > at { None } else { trees.climb(pid) };
                    (root.map(agent), start.0 > trees.until && trees.until > 0)
                }
            }
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Trees) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Member {
    /// Becomes a root, unless it works for one of the same name.
    fn become_root(&mut self, pid: u32, name: Option<Arc<str>>) {
        if let Some(name) = name
            && self.root.as_ref().is_none_or(|root| root.name != name)
        {
            self.root = Some(Root { name, pid });
        }
    }
}

impl Trees {
    /// For whom a process works that is there now.
    fn root_of(&mut self, pid: u32) -> Option<Root> {
        match self.processes.get(pid) {
            None => return self.climb(pid),
            Some(process) if process.known.settled => return process.known.root.clone(),
            Some(_) => {}
        }
        // After an exec: what was executed may be told by the arguments only, which come a moment later.
        let program = procfs::program(&self.proc_root, pid);
        let settled = program.as_ref().is_none_or(|program| !program.arguments.is_empty());
        let found = program.and_then(|program| self.roots.is(&program).cloned());
        let Lived { known: member, .. } = self.processes.get_mut(pid)?;
        member.settled = settled;
        member.become_root(pid, found);
        member.root.clone()
    }

    /// The same for a process of which nothing is known: by its ancestors, up to one that is.
    fn climb(&mut self, pid: u32) -> Option<Root> {
        let mut unknown: Vec<(u32, Program)> = Vec::new();
        let mut root = None;
        let mut next = pid;
        while unknown.len() < MAX_DEPTH && next != 0 {
            if self.processes.get(next).is_some() {
                root = self.root_of(next);
                break;
            }
            let Some(program) = procfs::program(&self.proc_root, next) else { break };
            // A parent that is younger than its child is somebody else with its id.
            let child = unknown.last().map(|(_, child)| child.start.monotonic());
            if child.is_some_and(|child| program.start.monotonic() > child) {
                break;
            }
            let parent = program.parent;
            unknown.push((next, program));
            next = parent;
        }
        for (pid, program) in unknown.into_iter().rev() {
            let mut member = Member { root, settled: !program.arguments.is_empty() };
            member.become_root(pid, self.roots.is(&program).cloned());
            root = member.root.clone();
            // Where nobody tells of ends, nobody could tell when this is another process. And what has just
            // begun is told of in a moment, with its parent, who may be gone already.
            let start = program.start.monotonic().0;
            if start <= self.until {
                self.processes.begin(pid, start, member);
            }
        }
        root
    }
}

#[cfg(test)]
#[path = "agents_tests.rs"]
mod tests;
