//! A file with TLS in it, and the hooks that are in it.

use std::collections::HashSet;
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::time::Instant;

use super::Attach;
use super::file::Version;
use super::report::{Counters, ObjectReport, State};
use crate::capture::HookKind;
use crate::capture::locate::{Located, Reason};

/// One TLS stack in the file.
struct Stack<L> {
    located: Located,
    links: Vec<L>,
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
        self.stacks.iter().any(|stack| !stack.links.is_empty())
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
            let mut transfers = false;
            for hook in &plan.hooks {
                match attacher.attach(hook, &path) {
                    Ok(link) => {
                        transfers |= matches!(hook.kind, HookKind::Transfer(_));
                        stack.links.push(link);
                        stack.functions.push(hook.function);
                        stack.emulated &= hook.emulated;
                    }
                    Err(error) => {
                        counters.attach_failures += 1;
                        tracing::warn!(object = self.path, function = hook.function, %error, "not hooked");
                        stack.failed.push(format!("{}: {error}", hook.function));
                    }
                }
            }
            if transfers {
                counters.attached += 1;
                tracing::info!(object = self.path, stack = plan.stack, functions = ?stack.functions, "hooked");
            } else {
                // The end of connections that are not seen is of no use.
                stack.links.drain(..).for_each(|link| attacher.detach(link));
                stack.functions.clear();
                self.attempts = self.attempts.saturating_add(1);
            }
        }
    }

    /// Takes all hooks away.
    pub(super) fn unhook<A: Attach<Link = L>>(&mut self, attacher: &mut A, counters: &mut Counters) {
        for stack in &mut self.stacks {
            if !stack.links.is_empty() {
                counters.detached += 1;
                tracing::info!(object = self.path, stack = stack.located.stack, "unhooked");
            }
            stack.links.drain(..).for_each(|link| attacher.detach(link));
            stack.functions.clear();
            stack.failed.clear();
            stack.emulated = true;
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
        Self { located, links: Vec::new(), functions: Vec::new(), emulated: true, failed: Vec::new() }
    }

    fn state(&self) -> State {
        match &self.located.plan {
            Err(reason) => State::NotHooked { reason: reason.clone() },
            Ok(_) if self.links.is_empty() => {
                State::NotHooked { reason: Reason::AttachFailed(self.failed.join("; ")) }
            }
            Ok(_) => State::Hooked {
                functions: self.functions.clone(),
                emulated: self.emulated,
                failed: self.failed.clone(),
            },
        }
    }
}
