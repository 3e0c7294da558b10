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
use tracker_common::{TransferCookie, cookie};

use super::{
    Kernel,
    multi::{Multi, Place, Program, Transfers},
};
use crate::capture::{Direction, Hook, HookKind, Transferred};

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
    /// All of a kind in the file.
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
#[derive(Clone, Copy)]
struct Ready {
    index: usize,
    function: &'static str,
    entry_offset: u64,
    /// Absent where only the entry matters.
    transfer: Option<Transfer>,
}

#[derive(Clone, Copy)]
struct Transfer {
    return_offset: u64,
    cookie: TransferCookie,
}

/// A place that the kernel refused.
struct Refused {
    offset: u64,
    error: io::Error,
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
    /// `/proc/self/fd/N`; it is followed once. One that cannot be hooked fails no other.
    pub fn attach(&mut self, hooks: &[Hook], path: &Path) -> Attached<AttachedHooks, AttachError> {
        let mut refused = Vec::new();
        let mut probes = Vec::new();
        let mut one_by_one = Vec::new();
        let (mut transfers, mut frees) = (Vec::new(), Vec::new());
        for (index, hook) in hooks.iter().enumerate() {
            match ready(index, hook) {
                Ok(ready) => match (&self.multi, ready.transfer) {
                    (Some(multi), Some(_)) if multi.suits(&ready) => transfers.push(ready),
                    (Some(_), None) => frees.push(ready),
                    _ => one_by_one.push(ready),
                },
                Err(error) => refused.push((index, error)),
            }
        }
        if let Some(multi) = &self.multi {
            attach_all(&transfers, |some| multi.attach_transfers(path, some), &mut probes, &mut refused);
            attach_all(&frees, |some| multi.attach_frees(path, some), &mut probes, &mut refused);
        }
        for hook in one_by_one {
            match self.attach_through_perf(&hook, path) {
                Ok(made) => probes.extend(made),
                Err(error) => refused.push((hook.index, error)),
            }
        }
        Attached { link: AttachedHooks { _probes: probes }, refused }
    }

    /// Hooks one function, or nothing.
    fn attach_through_perf(&mut self, hook: &Ready, path: &Path) -> Result<Vec<Probe>, AttachError> {
        let Ready { index: _, function, entry_offset, transfer } = *hook;
        let Some(Transfer { return_offset, cookie }) = transfer else {
            let link = self.attach_at("connection_free", function, path, entry_offset, None)?;
            return Ok(vec![Probe::Perf { _link: link }]);
        };
        // The return first: a call that is seen to begin is then seen to end.
        let on_return = self.attach_at("transfer_return", function, path, return_offset, None)?;
        let on_entry = self.attach_at("transfer_entry", function, path, entry_offset, Some(cookie.0))?;
        Ok(vec![Probe::Perf { _link: on_entry }, Probe::Perf { _link: on_return }])
    }

    fn attach_at(
        &mut self,
        program: &'static str,
        function: &'static str,
        path: &Path,
        offset: u64,
        cookie: Option<u64>,
    ) -> Result<UProbeLink, AttachError> {
        let program: &mut UProbe = self
            .ebpf
            .program_mut(program)
            .and_then(|p| p.try_into().ok())
            .ok_or(AttachError::BadHook { function, what: "the kernel side has no program for it" })?;
        if program.fd().is_err() {
            program.load().map_err(|source| AttachError::Other { function, source })?;
        }
        let point = UProbeAttachPoint { location: UProbeAttachLocation::AbsoluteOffset(offset), cookie };
        program
            .attach(point, path, UProbeScope::AllProcesses)
            .and_then(|link| program.take_link(link))
            .map_err(|error| explain_program(error, function, offset))
    }
}

impl Multi {
    /// Whether links of this kind can do it: a session has its entry and its return at one place.
    fn suits(&self, hook: &Ready) -> bool {
        match self.transfers {
            Transfers::Session(_) => hook.transfer.is_some_and(|t| t.return_offset == hook.entry_offset),
            Transfers::Pair { .. } => true,
        }
    }

    fn attach_transfers(&self, path: &Path, hooks: &[Ready]) -> Result<Vec<Probe>, Refused> {
        let entries =
            places(hooks, |hook, transfer| Place { offset: hook.entry_offset, cookie: transfer.cookie.0 });
        Ok(match &self.transfers {
            Transfers::Session(program) => vec![probe(program, path, &entries)?],
            Transfers::Pair { on_entry, on_return } => {
                let returns =
                    places(hooks, |_, transfer| Place { offset: transfer.return_offset, cookie: 0 });
                let on_return = probe(on_return, path, &returns)?;
                vec![probe(on_entry, path, &entries)?, on_return]
            }
        })
    }

    fn attach_frees(&self, path: &Path, hooks: &[Ready]) -> Result<Vec<Probe>, Refused> {
        let places: Vec<Place> =
            hooks.iter().map(|hook| Place { offset: hook.entry_offset, cookie: 0 }).collect();
        Ok(vec![probe(&self.free, path, &places)?])
    }
}

fn places(hooks: &[Ready], place: impl Fn(&Ready, Transfer) -> Place) -> Vec<Place> {
    hooks.iter().filter_map(|hook| hook.transfer.map(|transfer| place(hook, transfer))).collect()
}

fn probe(program: &Program, path: &Path, places: &[Place]) -> Result<Probe, Refused> {
    let link = program
        .attach(path, places)
        .map_err(|error| Refused { offset: places.first().map_or(0, |place| place.offset), error })?;
    Ok(Probe::Multi { _link: link })
}

/// Hooks all at once or, where the kernel refuses that, each by itself.
fn attach_all(
    hooks: &[Ready],
    attach: impl Fn(&[Ready]) -> Result<Vec<Probe>, Refused>,
    probes: &mut Vec<Probe>,
    refused: &mut Vec<(usize, AttachError)>,
) {
    if hooks.is_empty() {
        return;
    }
    if let Ok(made) = attach(hooks) {
        probes.extend(made);
        return;
    }
    for hook in hooks {
        match attach(std::slice::from_ref(hook)) {
            Ok(made) => probes.extend(made),
            Err(Refused { offset, error }) => {
                refused.push((hook.index, explain("bpf_link_create", error, hook.function, offset)));
            }
        }
    }
}

/// Checks a hook.
fn ready(index: usize, hook: &Hook) -> Result<Ready, AttachError> {
    let Hook { kind, function, entry_offset, return_offset, transferred, emulated: _ } = *hook;
    let transfer = match kind {
        HookKind::Free => None,
        HookKind::Transfer(direction) => Some(Transfer {
            return_offset: return_offset
                .ok_or(AttachError::BadHook { function, what: "no offset for the return probe" })?,
            cookie: transfer_cookie(direction, transferred).ok_or(AttachError::BadHook {
                function,
                what: "the count is in no argument that is known",
            })?,
        }),
    };
    Ok(Ready { index, function, entry_offset, transfer })
}

fn transfer_cookie(direction: Direction, transferred: Transferred) -> Option<TransferCookie> {
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
    Some(TransferCookie::new(direction, done_argument))
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
