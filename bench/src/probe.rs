//! Probes that do nothing: the price of being probed at all.
//!
//! A BPF program of two instructions, attached to a file's offset through the uprobe PMU, on every
//! CPU and for every process, as the daemon attaches its own. By raw system calls, so that nothing
//! but the kernel's own path is measured.

use std::{
    ffi::CString,
    fs::{self, File},
    io::Error,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use llm_tracker::capture::{HookKind, Returns, locate::locate};
use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};
use perf_event_open_sys::{bindings::perf_event_attr, ioctls, perf_event_open};

/// One place to probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// File offset of the instruction.
    pub offset: u64,
    /// Whether the return of the function that begins there is probed, not the instruction.
    pub on_return: bool,
}

/// `BPF_PROG_LOAD`'s part of `union bpf_attr`, as far as it is used (linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TYPE_KPROBE: u32 = 2;
/// `r0 = 0; exit`, each instruction eight bytes: code, registers, offset, immediate.
const DO_NOTHING: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]];

fn load_empty_program() -> Result<OwnedFd> {
    let attributes = ProgramLoad {
        kind: BPF_PROG_TYPE_KPROBE,
        instruction_count: 2,
        instructions: DO_NOTHING.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
        ..ProgramLoad::default()
    };
    // SAFETY: the attributes and what they point to outlive the call; the size is theirs.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attributes, size_of::<ProgramLoad>())
    };
    ensure!(fd >= 0, "load an empty BPF program: {}", Error::last_os_error());
    // SAFETY: a new descriptor that is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(libc::c_int::try_from(fd)?) })
}

/// Attached probes; detached when dropped.
#[derive(Debug)]
pub struct EmptyProbes {
    _events: Vec<OwnedFd>,
}

impl EmptyProbes {
    /// Attaches an empty program to each site of `file`, for every process.
    ///
    /// # Errors
    /// Without the rights, without the uprobe PMU, or at an offset that cannot be probed.
    pub fn attach(file: &Path, sites: &[Site]) -> Result<Self> {
        let program = load_empty_program()?;
        let path = CString::new(file.as_os_str().as_bytes())?;
        let pmu = PathBuf::from("/sys/bus/event_source/devices/uprobe");
        let kind = fs::read_to_string(pmu.join("type")).context("this kernel has no uprobe PMU")?;
        let format = fs::read_to_string(pmu.join("format/retprobe"))?;
        let return_bit = format.trim().strip_prefix("config:").context("the uprobe PMU's format is new")?;
        let (kind, return_bit) = (kind.trim().parse()?, return_bit.parse::<u32>()?);
        let events = sites
            .iter()
            .map(|site| Self::attach_one(&path, *site, kind, return_bit, &program))
            .collect::<Result<_>>()?;
        Ok(Self { _events: events })
    }

    fn attach_one(
        path: &CString,
        site: Site,
        kind: u32,
        return_bit: u32,
        program: &OwnedFd,
    ) -> Result<OwnedFd> {
        let mut attributes = perf_event_attr::default();
        attributes.type_ = kind;
        attributes.size = u32::try_from(size_of::<perf_event_attr>())?;
        attributes.config = u64::from(site.on_return) << return_bit;
        attributes.__bindgen_anon_3.config1 = path.as_ptr() as u64;
        attributes.__bindgen_anon_4.config2 = site.offset;
        // Every process on one CPU: where a BPF program is attached, it runs on all of them.
        // SAFETY: the attributes and the path they point to outlive the call.
        let fd = unsafe {
            perf_event_open(
                &raw mut attributes,
                -1,
                0,
                -1,
                perf_event_open_sys::bindings::PERF_FLAG_FD_CLOEXEC.into(),
            )
        };
        ensure!(fd >= 0, "open a uprobe at {:#x}: {}", site.offset, Error::last_os_error());
        // SAFETY: a new descriptor that is nobody else's.
        let event = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: both descriptors are open.
        let attached = unsafe {
            ioctls::SET_BPF(fd, program.as_raw_fd().cast_unsigned()) == 0 && ioctls::ENABLE(fd, 0) == 0
        };
        ensure!(attached, "attach to the uprobe at {:#x}: {}", site.offset, Error::last_os_error());
        Ok(event)
    }
}

/// Entry and return of the public functions, where everybody else probes.
///
/// # Errors
/// Where the file is no ELF file or has none of the names.
pub fn public_sites(file: &Path) -> Result<Vec<Site>> {
    let data = fs::read(file)?;
    let elf = object::File::parse(&*data)?;
    let mut sites = Vec::new();
    for symbol in elf.dynamic_symbols() {
        let wanted = ["SSL_read", "SSL_read_ex", "SSL_write", "SSL_write_ex"];
        if symbol.is_undefined() || !symbol.name().is_ok_and(|name| wanted.contains(&name)) {
            continue;
        }
        let address = symbol.address();
        let offset = elf.segments().find_map(|segment| {
            let (start, size) = segment.file_range();
            let inside = address.checked_sub(segment.address()).filter(|inside| *inside < size)?;
            Some(start + inside)
        });
        let offset = offset.context("a symbol outside the file")?;
        sites.extend([false, true].map(|on_return| Site { offset, on_return }));
    }
    ensure!(!sites.is_empty(), "{} exports none of SSL_read and SSL_write", file.display());
    Ok(sites)
}

/// Where the daemon probes reads and writes.
///
/// # Errors
/// Where it would not hook the file.
pub fn our_sites(file: &Path) -> Result<Vec<Site>> {
    let mut sites = Vec::new();
    for located in locate(&File::open(file)?) {
        let plan = located.plan.with_context(|| format!("{} is not hooked", located.stack))?;
        for hook in plan.hooks.iter().filter(|hook| matches!(hook.kind, HookKind::Transfer(_))) {
            sites.push(Site { offset: hook.entry_offset, on_return: false });
            match &hook.returns {
                Returns::None => {}
                Returns::Probe(offset) => sites.push(Site { offset: *offset, on_return: true }),
                Returns::Instructions(offsets) => {
                    sites.extend(offsets.iter().map(|&offset| Site { offset, on_return: false }));
                }
            }
        }
    }
    ensure!(!sites.is_empty(), "no TLS functions were located in {}", file.display());
    Ok(sites)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libssl::Libssl;

    #[test]
    fn both_kinds_of_sites_are_found_in_the_systems_libssl() {
        let library = Libssl::load().unwrap();
        let public = public_sites(library.path()).unwrap();
        let ours = our_sites(library.path()).unwrap();
        assert!(public.len() >= 4 && ours.len() >= 4);
        assert!(ours.iter().any(|site| site.on_return) && ours.iter().any(|site| !site.on_return));
    }
}
