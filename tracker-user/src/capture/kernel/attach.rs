//! Probes on TLS functions.

use std::{
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
};

use aya::{
    programs::{
        ProgramError, UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeError, UProbeLink, UProbeScope},
    },
    sys::SyscallError,
};
use tracker_common::{ExitCookie, TransferCookie, cookie};

use super::{
    Attachment, Kernel,
    multi::{Multi, Place},
    programs,
};
use crate::capture::{
    AeadFunction, CountAt, Direction, Exit, Hook, HookKind, Layout, PlanId, Returns, Transferred,
};

/// `ENOTSUPP`, which the kernel answers for an instruction that it cannot probe and which is no
/// errno of user space.
const ENOTSUPP: i32 = 524;

/// Threads that take hooks out.
const DETACHERS: usize = 16;

/// Hooked functions of one file. Dropping it takes their probes out, which takes a grace period or two
/// of the kernel for each link.
#[derive(Debug, Default)]
pub struct AttachedHooks {
    // In this order: without an entry nobody waits for a return.
    _probes: Vec<Probe>,
}

impl AttachedHooks {
    /// Takes many out at once: the grace periods that it takes go by together.
    pub fn detach_all(all: Vec<Self>) {
        let all = Mutex::new(all);
        let next = || all.lock().unwrap_or_else(PoisonError::into_inner).pop();
        thread::scope(|scope| {
            for _ in 1..DETACHERS {
                let spawned = thread::Builder::new().spawn_scoped(scope, || while next().is_some() {});
                if spawned.is_err() {
                    break; // Those that there are do it, this one at least.
                }
            }
            while next().is_some() {}
        });
    }
}

/// What keeps probes in place.
#[derive(Debug)]
enum Probe {
    /// One probe.
    Perf { _link: UProbeLink },
    /// All of one program in the file.
    Multi { _link: OwnedFd },
}

/// What came of hooking functions.
#[derive(Debug)]
pub struct Attached<L, E> {
    /// Keeps those in place that could be hooked, if any.
    pub link: L,
    /// Those that could not, by index.
    pub refused: Vec<(usize, E)>,
}

/// A hook that can be tried.
struct Ready {
    index: usize,
    function: &'static str,
    /// In this order: a call that is seen to begin is then seen to end.
    sites: Vec<Site>,
}

/// A probe that a hook takes.
#[derive(Clone, Copy)]
struct Site {
    program: &'static str,
    /// Whether it is a return probe.
    on_return: bool,
    place: Place,
}

/// Why a function could not be hooked. None of it concerns any other function.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The hook cannot work.
    #[error("the hook on `{function}` is not usable: {what}")]
    BadHook {
        /// The hooked function.
        function: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The kernel has no uprobes.
    #[error("{path} is missing: this kernel has no uprobes (CONFIG_UPROBE_EVENTS), or /sys is not mounted")]
    NoUprobes {
        /// The file that describes them.
        path: PathBuf,
        /// Why it could not be read.
        #[source]
        source: io::Error,
    },
    /// The kernel did not allow it.
    #[error("the kernel did not allow a probe: it takes root, or CAP_PERFMON and CAP_BPF")]
    NotPermitted(#[source] io::Error),
    /// The file has gone.
    #[error("the file is gone")]
    FileGone(#[source] io::Error),
    /// The instruction at that offset cannot be probed, or the offset is not in the file.
    #[error("the kernel cannot probe `{function}` at file offset {offset:#x}")]
    NotProbeable {
        /// The hooked function.
        function: &'static str,
        /// The file offset.
        offset: u64,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// Something else.
    #[error("could not attach to `{function}`")]
    Other {
        /// The hooked function.
        function: &'static str,
        /// What went wrong.
        #[source]
        source: ProgramError,
    },
}

impl Kernel {
    /// Hooks functions of the file at `path`, in every process that maps it now or later. `path` may be
    /// `/proc/self/fd/N`; it is followed once. One that cannot be hooked fails no other. `plan` comes up
    /// with each connection that they see.
    pub fn attach(
        &mut self,
        plan: PlanId,
        hooks: &[Hook],
        path: &Path,
    ) -> Attached<AttachedHooks, AttachError> {
        let mut refused = Vec::new();
        let mut ready = Vec::new();
        let sessions = self.attachment == Attachment::Session;
        for (index, hook) in hooks.iter().enumerate() {
            match sites(hook, plan, sessions) {
                Ok(sites) => ready.push(Ready { index, function: hook.function, sites }),
                Err(error) => refused.push((index, error)),
            }
        }
        // All at once or, where the kernel refuses that or cannot do it, each by itself.
        let mut probes = match &self.multi {
            Some(multi) => attach_together(multi, &ready, path).ok(),
            None => None,
        };
        if probes.is_none() {
            let mut made = Vec::new();
            for hook in &ready {
                let attached = match &self.multi {
                    Some(multi) => attach_together(multi, std::slice::from_ref(hook), path),
                    None => self.attach_through_perf(hook, path),
                };
                match attached {
                    Ok(probes) => made.extend(probes),
                    Err(error) => refused.push((hook.index, error)),
                }
            }
            probes = Some(made);
        }
        Attached { link: AttachedHooks { _probes: probes.unwrap_or_default() }, refused }
    }

    /// Hooks one function, or nothing.
    fn attach_through_perf(&mut self, hook: &Ready, path: &Path) -> Result<Vec<Probe>, AttachError> {
        let mut probes = Vec::new();
        for site in &hook.sites {
            probes.push(Probe::Perf { _link: self.attach_at(hook.function, path, site)? });
        }
        probes.reverse();
        Ok(probes)
    }

    fn attach_at(
        &mut self,
        function: &'static str,
        path: &Path,
        site: &Site,
    ) -> Result<UProbeLink, AttachError> {
        let Place { offset, cookie } = site.place;
        let program: &mut UProbe = self
            .ebpf
            .program_mut(site.program)
            .and_then(|p| p.try_into().ok())
            .ok_or(AttachError::BadHook { function, what: "the kernel side has no program for it" })?;
        if program.fd().is_err() {
            program.load().map_err(|source| AttachError::Other { function, source })?;
        }
        let location = UProbeAttachLocation::AbsoluteOffset(offset);
        let point = UProbeAttachPoint { location, cookie: Some(cookie) };
        program
            .attach(point, path, UProbeScope::AllProcesses)
            .and_then(|link| program.take_link(link))
            .map_err(|error| explain_program(error, function, offset))
    }
}

/// Hooks functions with one link for each program, or nothing.
fn attach_together(multi: &Multi, hooks: &[Ready], path: &Path) -> Result<Vec<Probe>, AttachError> {
    let mut links: Vec<(&Ready, Site, Vec<Place>)> = Vec::new();
    for hook in hooks {
        for &site in &hook.sites {
            let same = |(_, other, _): &&mut (_, Site, _)| {
                (other.program, other.on_return) == (site.program, site.on_return)
            };
            match links.iter_mut().find(same) {
                Some((_, _, places)) => places.push(site.place),
                None => links.push((hook, site, vec![site.place])),
            }
        }
    }
    let mut probes = Vec::new();
    for (Ready { function, .. }, Site { program, on_return, place }, places) in links {
        let link = multi
            .attach(program, on_return, path, &places)
            .map_err(|error| explain("bpf_link_create", error, function, place.offset))?;
        probes.push(Probe::Multi { _link: link });
    }
    probes.reverse();
    Ok(probes)
}

/// The probes that a hook takes, those at its ends first.
fn sites(hook: &Hook, plan: PlanId, sessions: bool) -> Result<Vec<Site>, AttachError> {
    let bad = |what| AttachError::BadHook { function: hook.function, what };
    let programs = programs::of(hook.layout);
    let site =
        |program, on_return, offset, cookie| Site { program, on_return, place: Place { offset, cookie } };
    let direction = match hook.kind {
        HookKind::Free => return Ok(vec![site(programs.free, false, hook.entry_offset, 0)]),
        HookKind::Begin => {
            let program = programs.begin.ok_or_else(|| bad("the kernel side has no program for it"))?;
            return Ok(vec![site(program, false, hook.entry_offset, 0)]);
        }
        HookKind::Transfer(direction) => direction,
    };
    let cookie = transfer_cookie(hook.layout, direction, hook.transferred)
        .ok_or_else(|| bad("the count is in no argument that is known"))?
        .with_plan(plan.raw())
        .0;
    let mut sites: Vec<Site> = match (&hook.returns, programs.on_return, programs.session) {
        // A session has its entry and its return at one place.
        (Returns::Probe(offset), _, Some(session)) if sessions && *offset == hook.entry_offset => {
            return Ok(vec![site(session, false, hook.entry_offset, cookie)]);
        }
        (Returns::Probe(offset), Some(on_return), _) => vec![site(on_return, true, *offset, cookie)],
        (Returns::Instructions(exits), Some(on_return), _) if !exits.is_empty() => exits
            .iter()
            .map(|exit| Some(site(on_return, false, exit.offset, exit_cookie(*exit)?.0)))
            .collect::<Option<_>>()
            .ok_or_else(|| bad("the count is in no register that is known"))?,
        (Returns::None, None, _) => Vec::new(),
        _ => return Err(bad("its layout and where it is seen to end do not go together")),
    };
    sites.push(site(programs.entry, false, hook.entry_offset, cookie));
    Ok(sites)
}

fn transfer_cookie(layout: Layout, direction: Direction, transferred: Transferred) -> Option<TransferCookie> {
    let layout = match layout {
        Layout::Ssl => cookie::LAYOUT_SSL,
        Layout::Go => cookie::LAYOUT_GO,
        Layout::GoRecord => cookie::LAYOUT_GO_RECORD,
        Layout::Aead(AeadFunction::Seal) => cookie::LAYOUT_AEAD_SEAL,
        Layout::Aead(AeadFunction::SealScatter) => cookie::LAYOUT_AEAD_SEAL_SCATTER,
        Layout::Aead(AeadFunction::Open) => cookie::LAYOUT_AEAD_OPEN,
        Layout::Aead(AeadFunction::OpenGather) => cookie::LAYOUT_AEAD_OPEN_GATHER,
        Layout::AeadContext => return None,
    };
    let direction = match direction {
        Direction::Write => cookie::WRITE,
        Direction::Read => cookie::READ,
    };
    let done_argument = match transferred {
        Transferred::Returned => 0,
        Transferred::StoredThrough(n)
            if (TransferCookie::FIRST_DONE_ARGUMENT..=TransferCookie::LAST_DONE_ARGUMENT).contains(&n) =>
        {
            n
        }
        Transferred::StoredThrough(_) => return None,
    };
    Some(TransferCookie::new(layout, direction, done_argument))
}

fn exit_cookie(exit: Exit) -> Option<ExitCookie> {
    match exit.count {
        CountAt::Register(n) => (1..=ExitCookie::LAST_REGISTER)
            .contains(&n)
            .then(|| ExitCookie::in_register(n, exit.stack_change)),
        CountAt::Stack(words) => Some(ExitCookie::on_stack(words, exit.stack_change)),
    }
}

fn explain_program(error: ProgramError, function: &'static str, offset: u64) -> AttachError {
    match error {
        ProgramError::UProbeError(UProbeError::FileError { filename, io_error }) => {
            AttachError::NoUprobes { path: filename, source: io_error }
        }
        ProgramError::SyscallError(SyscallError { call, io_error }) => {
            explain(call, io_error, function, offset)
        }
        source => AttachError::Other { function, source },
    }
}

fn explain(call: &'static str, error: io::Error, function: &'static str, offset: u64) -> AttachError {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => AttachError::NotPermitted(error),
        Some(libc::ENOENT) => AttachError::FileGone(error),
        Some(ENOTSUPP | libc::EOPNOTSUPP | libc::EINVAL | libc::ENOEXEC | libc::EIO) => {
            AttachError::NotProbeable { function, offset, source: error }
        }
        _ => AttachError::Other {
            function,
            source: ProgramError::SyscallError(SyscallError { call, io_error: error }),
        },
    }
}
