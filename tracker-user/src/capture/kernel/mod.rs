//! The kernel side, from user space: load it, attach it, read what it keeps.
//!
//! [`Kernel`] owns the programs and attaches them. What other threads need is taken out of it once
//! and used there: [`Ring`](super::Ring) and [`Verdicts`] by the pipeline, [`Counters`] by the
//! metrics, [`Connections`] by whoever learns that a process has gone.

mod attach;
mod grace;
mod log;
mod maps;
mod multi;
mod programs;

use std::{io, sync::OnceLock};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::MapError,
    programs::{ProgramError, RawTracePoint, UProbe},
    sys::SyscallError,
    util::KernelVersion,
};
use tracker_common::record::{LARGEST_TIER, MAX_CALL_CAP};

pub use attach::{AttachError, Attached, AttachedHooks};
pub use log::KernelLog;
pub use maps::{Connections, Counters, KernelCounters, Verdicts};

use super::{Layout, Ring};
use grace::Grace;
use multi::{Multi, Unavailable};

/// The oldest kernel that has what the kernel side needs: `bpf_get_attach_cookie`, and the link that
/// carries the cookie.
const OLDEST_KERNEL: KernelVersion = KernelVersion::new(5, 15, 0);

/// The smallest ring: a few of the largest records.
const SMALLEST_RING: u32 = 4 * LARGEST_TIER as u32;
const LARGEST_RING: u32 = 1 << 30;

/// Sizes of the kernel side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelConfig {
    /// Bytes of the ring buffer; rounded up to a power of two between 64 KiB and 1 GiB.
    pub ring_bytes: u32,
    /// The most that is copied of one read or write call, in bytes; at most 4 MiB.
    pub call_cap_bytes: u32,
    /// Connections that are known at a time. The least recently used goes when they are more, and
    /// counts as a new connection when it is used again.
    pub max_connections: u32,
    /// Threads that can be followed at a time, and as many goroutines. Calls of others are counted as lost.
    pub max_threads: u32,
    /// Whether the kernel side writes messages, for [`Kernel::take_log`]. Costs nothing where not:
    /// the verifier removes them.
    pub debug: bool,
    /// How to attach probes; absent for the best way that the kernel knows.
    pub attachment: Option<Attachment>,
}

/// How probes are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// One link for all transfer functions of a file, with one program that is run at their returns only
    /// where it asked for that at their entries (Linux 6.13).
    Session,
    /// One link for all entries of a file and one for all returns (Linux 6.6).
    Multi,
    /// A perf event for each probe.
    Perf,
}

impl std::fmt::Display for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Session => "uprobe session links",
            Self::Multi => "uprobe multi links",
            Self::Perf => "perf events",
        })
    }
}

impl Default for KernelConfig {
    fn default() -> Self {
        Self {
            ring_bytes: 8 << 20,
            call_cap_bytes: 256 << 10,
            max_connections: 64 << 10,
            max_threads: 16 << 10,
            debug: false,
            attachment: None,
        }
    }
}

/// Why the kernel side could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel is too old.
    #[error("this kernel is Linux {found}; llm-tracker needs Linux 5.15 or newer")]
    KernelTooOld {
        /// The version that runs.
        found: String,
    },
    /// The kernel did not allow it.
    #[error(
        "the kernel did not allow {action}: run llm-tracker as root, or with CAP_BPF, CAP_PERFMON, \
         CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH; in a container it needs to be privileged"
    )]
    NotPermitted {
        /// What was tried.
        action: String,
        /// The kernel's answer.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The kernel has no BPF.
    #[error("this kernel is built without BPF (CONFIG_BPF_SYSCALL); llm-tracker cannot work on it")]
    NoBpf,
    /// The verifier, or another check of the kernel, rejected a program.
    #[error("this kernel rejected the program `{program}`; please report this with the output of `uname -a`")]
    Rejected {
        /// The program.
        program: &'static str,
        /// The kernel's answer, with the verifier's log.
        #[source]
        source: ProgramError,
    },
    /// The kernel has not the way to attach probes that was asked for.
    #[error("this kernel cannot attach probes by {attachment}: {reason}")]
    NoSuchLinks {
        /// What was asked for.
        attachment: Attachment,
        /// Why not.
        reason: String,
    },
    /// The object is not one of this version's.
    #[error("the embedded kernel side is not usable: {what}; build again with `cargo xtask build`")]
    BadObject {
        /// What is wrong with it.
        what: String,
    },
    /// Something else.
    #[error("could not load the kernel side")]
    Other(#[from] EbpfError),
}

/// The loaded kernel side. Dropping it detaches everything that was attached through it, except
/// what [`AttachedHooks`] hold, which detach when they are dropped.
#[derive(Debug)]
pub struct Kernel {
    ebpf: Ebpf,
    /// Absent where probes are attached through perf.
    multi: Option<Multi>,
    attachment: Attachment,
    /// Started when it is first asked for, by which time this process may have given up what only loading
    /// needs. Absent where probes are attached through perf, or there can be none.
    grace: OnceLock<Option<Grace>>,
}

/// Programs on tracepoints, and the tracepoint of each.
const TRACEPOINTS: [(&str, &str); 2] =
    [("process_exec", "sched_process_exec"), ("process_exit", "sched_process_exit")];

impl Kernel {
    /// Loads the kernel side and begins to follow processes. No TLS library is watched before
    /// [`Kernel::attach`].
    ///
    /// # Errors
    ///
    /// Says what is missing, and what to do about it.
    pub fn load(object: &[u8], config: &KernelConfig) -> Result<Self, LoadError> {
        if let Ok(version) = KernelVersion::current()
            && version < OLDEST_KERNEL
        {
            return Err(LoadError::KernelTooOld { found: format!("{version:?}") });
        }
        let KernelConfig { ring_bytes, call_cap_bytes, max_connections, max_threads, debug, attachment } =
            *config;
        let ring_bytes = ring_bytes.clamp(SMALLEST_RING, LARGEST_RING).next_power_of_two();
        let call_cap_bytes = call_cap_bytes.clamp(1, MAX_CALL_CAP);
        let wake_up_bytes = ring_bytes / 4;
        let log_level = if debug { aya_log::Level::Debug as u8 } else { 0 };
        let ebpf = EbpfLoader::new()
            .map_max_entries("RING", ring_bytes)
            .map_max_entries("CONNECTIONS", max_connections.max(1))
            .map_max_entries("VERDICTS", max_connections.max(1))
            .map_max_entries("CALLS", max_threads.max(1).saturating_mul(2)) // one a direction
            .map_max_entries("GO_CALLS", max_threads.max(1))
            .map_max_entries("KEY_CONTEXTS", max_connections.max(1).saturating_mul(2)) // likewise
            .override_global("CALL_CAP_BYTES", &call_cap_bytes, true)
            .override_global("WAKE_UP_BYTES", &wake_up_bytes, true)
            .override_global(aya_log::LEVEL, &log_level, true)
            .load(object)
            .map_err(|error| explain(error, "creating BPF maps"))?;
        let (attachment, multi) = choose(object, &ebpf, attachment)?;
        tracing::info!(by = %attachment, "probes are attached");
        let mut kernel = Self { ebpf, multi, attachment, grace: OnceLock::new() };
        if kernel.multi.is_none() {
            for name in programs::ALL.iter().flat_map(|programs| programs.plain()) {
                let program = kernel.probe(name)?;
                // Some serve more than one layout.
                if program.fd().is_err() {
                    program.load().map_err(|source| rejected(name, source))?;
                }
            }
        }
        for (name, tracepoint) in TRACEPOINTS {
            let program: &mut RawTracePoint =
                kernel.ebpf.program_mut(name).and_then(|p| p.try_into().ok()).ok_or_else(|| missing(name))?;
            program.load().map_err(|source| rejected(name, source))?;
            program.attach(tracepoint).map_err(|source| rejected(name, source))?;
        }
        Ok(kernel)
    }

    /// Says that probes may be attached soon, so that the kernel is ready when they are.
    pub fn expect_attach(&self) {
        let start = || {
            let grace = self.multi.as_ref()?.share(programs::of(Layout::Ssl).free).and_then(Grace::start);
            grace
                .inspect_err(
                    |error| tracing::warn!(%error, "new libraries are hooked later than they could be"),
                )
                .ok()
        };
        if let Some(grace) = self.grace.get_or_init(start) {
            grace.begin();
        }
    }

    /// How probes are attached.
    #[must_use]
    pub const fn attachment(&self) -> Attachment {
        self.attachment
    }

    /// Takes the ring out, to be read by one reader.
    ///
    /// # Errors
    ///
    /// Fails when it was taken before, or cannot be mapped.
    pub fn take_ring(&mut self) -> Result<Ring, LoadError> {
        Ok(Ring::new(self.take_map("RING")?))
    }

    /// Takes the handle that sets verdicts out.
    ///
    /// # Errors
    ///
    /// Fails when it was taken before.
    pub fn take_verdicts(&mut self) -> Result<Verdicts, LoadError> {
        Ok(Verdicts::new(self.take_map("VERDICTS")?, self.take_map("IGNORED")?))
    }

    /// Takes the handle that reads counters out.
    ///
    /// # Errors
    ///
    /// Fails when it was taken before.
    pub fn take_counters(&mut self) -> Result<Counters, LoadError> {
        Ok(Counters::new(self.take_map("COUNTERS")?))
    }

    /// Takes the handle that forgets connections out.
    ///
    /// # Errors
    ///
    /// Fails when it was taken before.
    pub fn take_connections(&mut self) -> Result<Connections, LoadError> {
        Ok(Connections::new(self.take_map("CONNECTIONS")?, self.take_map("GO_CALLS")?))
    }

    /// Takes the reader of the kernel side's messages out.
    ///
    /// # Errors
    ///
    /// Fails when it was taken before.
    pub fn take_log(&mut self) -> Result<KernelLog, LoadError> {
        aya_log::EbpfLogger::init_with_logger(&mut self.ebpf, log::ToTracing)
            .map(KernelLog::new)
            .map_err(|error| LoadError::BadObject { what: format!("messages: {error}") })
    }

    fn take_map<M: TryFrom<aya::maps::Map, Error = MapError>>(
        &mut self,
        name: &'static str,
    ) -> Result<M, LoadError> {
        let map = self.ebpf.take_map(name).ok_or_else(|| missing(name))?;
        M::try_from(map).map_err(|error| LoadError::BadObject { what: format!("map `{name}`: {error}") })
    }

    fn probe(&mut self, name: &'static str) -> Result<&mut UProbe, LoadError> {
        self.ebpf.program_mut(name).and_then(|p| p.try_into().ok()).ok_or_else(|| missing(name))
    }
}

/// The wanted way to attach probes or, where none is wanted, the best that the kernel knows.
fn choose(
    object: &[u8],
    ebpf: &Ebpf,
    wanted: Option<Attachment>,
) -> Result<(Attachment, Option<Multi>), LoadError> {
    for kind in [Attachment::Session, Attachment::Multi] {
        if wanted.is_some_and(|wanted| wanted != kind) {
            continue;
        }
        match Multi::load(object, ebpf, kind) {
            Ok(multi) => return Ok((kind, Some(multi))),
            Err(error) if wanted.is_some() => {
                return Err(LoadError::NoSuchLinks { attachment: kind, reason: error.to_string() });
            }
            Err(Unavailable::NoLinks) => {}
            Err(error) => tracing::warn!(%error, "no {kind}"),
        }
    }
    Ok((Attachment::Perf, None))
}

fn missing(name: &str) -> LoadError {
    LoadError::BadObject { what: format!("it has no `{name}`, or that was taken before") }
}

fn rejected(program: &'static str, source: ProgramError) -> LoadError {
    match &source {
        ProgramError::LoadError { io_error, .. }
        | ProgramError::SyscallError(SyscallError { io_error, .. })
            if is_permission(io_error) =>
        {
            not_permitted(&format!("loading the BPF program `{program}`"), source)
        }
        _ => LoadError::Rejected { program, source },
    }
}

fn explain(error: EbpfError, action: &str) -> LoadError {
    let io_error = match &error {
        EbpfError::MapError(MapError::CreateError { io_error, .. }) => io_error,
        EbpfError::MapError(MapError::SyscallError(SyscallError { io_error, .. })) => io_error,
        EbpfError::ParseError(parse) => return LoadError::BadObject { what: parse.to_string() },
        _ => return LoadError::Other(error),
    };
    if is_permission(io_error) {
        not_permitted(action, error)
    } else if io_error.raw_os_error() == Some(libc::ENOSYS) {
        LoadError::NoBpf
    } else {
        LoadError::Other(error)
    }
}

fn not_permitted(action: &str, source: impl std::error::Error + Send + Sync + 'static) -> LoadError {
    LoadError::NotPermitted { action: action.to_owned(), source: Box::new(source) }
}

fn is_permission(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES))
}
