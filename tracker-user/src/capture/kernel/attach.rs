//! Probes on TLS functions.

use std::{
    io,
    path::{Path, PathBuf},
};

use aya::{
    programs::{
        ProgramError, UProbe,
        uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeError, UProbeLink, UProbeScope},
    },
    sys::SyscallError,
};
use tracker_common::{TransferCookie, cookie};

use super::Kernel;
use crate::capture::{Direction, Hook, HookKind, Transferred};

/// `ENOTSUPP`, which the kernel answers for an instruction that it cannot probe and which is no
/// errno of user space.
const ENOTSUPP: i32 = 524;

/// A hooked function. Dropping it takes its probes out.
#[derive(Debug)]
pub struct AttachedHook {
    // In this order: without an entry nobody waits for a return.
    _entry: UProbeLink,
    _return: Option<UProbeLink>,
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
    /// Hooks a function, in every process that maps the file at `path` now or later. `path` may be
    /// `/proc/self/fd/N`; it is followed once.
    ///
    /// # Errors
    ///
    /// Nothing stays attached when it fails.
    pub fn attach(&mut self, hook: &Hook, path: &Path) -> Result<AttachedHook, AttachError> {
        let Hook { kind, function, entry_offset, return_offset, transferred, emulated: _ } = *hook;
        match kind {
            HookKind::Transfer(direction) => {
                let Some(return_offset) = return_offset else {
                    return Err(AttachError::BadHook { function, what: "no offset for the return probe" });
                };
                let cookie = transfer_cookie(direction, transferred).ok_or(AttachError::BadHook {
                    function,
                    what: "the count is in no argument that is known",
                })?;
                // The return first: a call that is seen to begin is then seen to end.
                let on_return = self.attach_at("transfer_return", function, path, return_offset, None)?;
                let on_entry =
                    self.attach_at("transfer_entry", function, path, entry_offset, Some(cookie.0))?;
                Ok(AttachedHook { _entry: on_entry, _return: Some(on_return) })
            }
            HookKind::Free => {
                let on_entry = self.attach_at("connection_free", function, path, entry_offset, None)?;
                Ok(AttachedHook { _entry: on_entry, _return: None })
            }
        }
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
        let point = UProbeAttachPoint { location: UProbeAttachLocation::AbsoluteOffset(offset), cookie };
        program
            .attach(point, path, UProbeScope::AllProcesses)
            .and_then(|link| program.take_link(link))
            .map_err(|error| explain(error, function, offset))
    }
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

fn explain(error: ProgramError, function: &'static str, offset: u64) -> AttachError {
    match error {
        ProgramError::UProbeError(UProbeError::FileError { filename, io_error }) => {
            AttachError::NoUprobes { path: filename, source: io_error }
        }
        ProgramError::SyscallError(SyscallError { call, io_error }) => match io_error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => AttachError::NotPermitted(io_error),
            Some(libc::ENOENT) => AttachError::FileGone(io_error),
            Some(ENOTSUPP | libc::EOPNOTSUPP | libc::EINVAL | libc::ENOEXEC | libc::EIO) => {
                AttachError::NotProbeable { function, offset, source: io_error }
            }
            _ => AttachError::Other {
                function,
                source: ProgramError::SyscallError(SyscallError { call, io_error }),
            },
        },
        source => AttachError::Other { function, source },
    }
}
