//! A file with TLS in it, and the hooks that are in it.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::time::Instant;

use super::Attach;
use super::file::Version;
use super::report::{Counters, ObjectReport, State};
use crate::capture::locate::{Located, Reason};
use crate::capture::{Attached, HookKind, HookPlan, PlanId, Proof, Trust};

/// One TLS stack in the file.
struct Stack<L> {
    located: Located,
    plan: PlanId,
    verified: bool,
    link: Option<L>,
    functions: Vec<&'static str>,
    emulated: bool,
    failed: Vec<String>,
}

/// See the module.
pub(super) struct Object<L> {
    /// For people: the path as its first user sees it.
    path: String,
    pub(super) version: Version,
    stacks: Vec<Stack<L>>,
    /// Times that the kernel refused a whole stack.
    pub(super) attempts: u8,
    /// The processes that map it.
    pub(super) users: HashSet<u32>,
    /// The mount namespace that the hooks keep alive.
    pub(super) namespace: Option<u64>,
    /// Since when there are no users.
    pub(super) unused_since: Option<Instant>,
    /// Hooked whether or not it is used.
    pub(super) standing: bool,
}

impl<L> Object<L> {
    /// An object without hooks and, so far, without users.
    pub(super) fn new(path: String, version: Version, located: Vec<Located>, namespace: Option<u64>) -> Self {
        Self {
            path,
            version,
            stacks: located.into_iter().map(Stack::new).collect(),
            attempts: 0,
            users: HashSet::new(),
            namespace,
            unused_since: Some(Instant::now()),
            standing: false,
        }
    }

    pub(super) fn is_hooked(&self) -> bool {
        self.stacks.iter().any(|stack| stack.link.is_some())
    }

    /// Since when its hooks linger for nobody.
    pub(super) fn lingers_since(&self) -> Option<Instant> {
        self.unused_since.filter(|_| !self.standing)
    }

    /// Attaches every hook of every stack; one that fails leaves the others.
    pub(super) fn hook<A: Attach<Link = L>>(
        &mut self,
        attacher: &mut A,
        counters: &mut Counters,
        file: &File,
    ) {
        // The kernel follows this to the very inode, be it deleted or out of our sight.
        let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        for stack in &mut self.stacks {
            let Ok(plan) = &stack.located.plan else { continue };
            let Attached { link, refused } = attacher.attach(stack.plan, &plan.hooks, &path);
            for (index, error) in &refused {
                let function = plan.hooks.get(*index).map_or("?", |hook| hook.function);
                counters.attach_failures += 1;
                tracing::warn!(object = self.path, function, %error, "not hooked");
                stack.failed.push(format!("{function}: {error}"));
            }
            let refused: HashSet<usize> = refused.into_iter().map(|(index, _)| index).collect();
            let hooked = || {
                plan.hooks
                    .iter()
                    .enumerate()
                    .filter(|(index, _)| !refused.contains(index))
                    .map(|(_, hook)| hook)
            };
            if hooked().any(|hook| matches!(hook.kind, HookKind::Transfer(_))) {
                stack.link = Some(link);
                stack.functions = hooked().map(|hook| hook.function).collect();
                stack.emulated = hooked().all(|hook| hook.emulated);
                counters.attached += 1;
                tracing::info!(object = self.path, stack = plan.stack, functions = ?stack.functions, "hooked");
            } else {
                // The end of connections that are not seen is of no use.
                attacher.detach(vec![link]);
                self.attempts = self.attempts.saturating_add(1);
            }
        }
    }

    /// Takes all hooks away.
    pub(super) fn unhook<A: Attach<Link = L>>(&mut self, attacher: &mut A, counters: &mut Counters) {
        attacher.detach(self.release(counters));
    }

    /// Hands over what keeps the hooks in place, to be detached.
    pub(super) fn release(&mut self, counters: &mut Counters) -> Vec<L> {
        let mut links = Vec::new();
        for stack in &mut self.stacks {
            if let Some(link) = stack.link.take() {
                counters.detached += 1;
                tracing::info!(object = self.path, stack = stack.located.stack, "unhooked");
                links.push(link);
            }
            stack.functions.clear();
            stack.failed.clear();
            stack.emulated = true;
        }
        links
    }

    /// Takes in what traffic has said about a plan of this object. What was refuted is returned, and
    /// what kept its hooks in place, to be detached.
    pub(super) fn prove(
        &mut self,
        plan: PlanId,
        proof: Proof,
        counters: &mut Counters,
    ) -> Option<(HookPlan, Option<L>)> {
        let stack = self.stacks.iter_mut().find(|stack| stack.plan == plan)?;
        let name = stack.located.stack;
        match proof {
            Proof::Verified => {
                stack.verified = true;
                tracing::info!(object = self.path, stack = name, "verified by its traffic");
                None
            }
            Proof::Refuted => {
                tracing::warn!(object = self.path, stack = name, "no plaintext in what is hooked; unhooked");
                let plan = std::mem::replace(&mut stack.located.plan, Err(Reason::Refuted)).ok()?;
                stack.functions.clear();
                counters.refuted += 1;
                let link = stack.link.take();
                counters.detached += u64::from(link.is_some());
                Some((plan, link))
            }
        }
    }

    pub(super) fn reports(&self) -> impl Iterator<Item = ObjectReport> {
        self.stacks.iter().map(|stack| ObjectReport {
            path: self.path.clone(),
            stack: stack.located.stack,
            state: stack.state(),
            users: self.users.len(),
        })
    }
}

impl<L> Stack<L> {
    fn new(located: Located) -> Self {
        let trust = located.plan.as_ref().map_or(Trust::Inferred, |plan| plan.trust);
        Self {
            located,
            plan: PlanId::new(trust),
            verified: false,
            link: None,
            functions: Vec::new(),
            emulated: true,
            failed: Vec::new(),
        }
    }

    fn state(&self) -> State {
        match &self.located.plan {
            Err(reason) => State::NotHooked { reason: reason.clone() },
            Ok(_) if self.link.is_none() => {
                State::NotHooked { reason: Reason::AttachFailed(self.failed.join("; ")) }
            }
            Ok(_) => State::Hooked {
                functions: self.functions.clone(),
                trust: self.plan.trust(),
                verified: self.verified,
                emulated: self.emulated,
                failed: self.failed.clone(),
            },
        }
    }
}
