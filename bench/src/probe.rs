//! Probes that do nothing: the price of being probed at all.
//!
//! A BPF program of two instructions, attached to a file's offsets for every process: through the
//! uprobe PMU, as everybody does, or by one session link, as the daemon does where the kernel has
//! them. By raw system calls, so that nothing but the kernel's own path is measured.
//!
//! And the price of the plaintext, were there nothing else to do: [`EmptySession::copying`].

use std::{
    ffi::CString,
    fs::{self, File},
    io::Error,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::FileExt as _},
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

/// What an empty program answers. A session link asks at the entry whether it is to be run at the
/// return; nobody else cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    /// Run there as well.
    Taken,
    /// Not run there, and the return is left alone.
    Skipped,
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
    name: [u8; 16],
    interface: u32,
    attach_type: u32,
}

/// `BPF_LINK_CREATE`'s part of `union bpf_attr` with its `uprobe_multi`.
#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    reference_counters: u64,
    cookies: u64,
    count: u32,
    multi_flags: u32,
    process: u32,
    reserved: u32,
}

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_PROG_TYPE_KPROBE: u32 = 2;
const BPF_TRACE_UPROBE_SESSION: u32 = 57;

/// `BPF_MAP_CREATE`'s part of `union bpf_attr`, as far as it is used.
#[repr(C)]
#[derive(Default)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

/// Code, registers (destination in the lower half), offset, immediate (linux/bpf.h).
type Instruction = [u8; 8];

const fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    let ([o0, o1], [i0, i1, i2, i3]) = (offset.to_ne_bytes(), immediate.to_ne_bytes());
    [code, destination | source << 4, o0, o1, i0, i1, i2, i3]
}

/// `r0 = answer; exit`
const fn program_that_answers(answer: i32) -> [Instruction; 2] {
    [instruction(0xb7, 0, 0, 0, answer), instruction(0x95, 0, 0, 0, 0)]
}

/// Where a program finds the second argument and the place of the probe (`struct pt_regs`).
#[cfg(target_arch = "x86_64")]
const SECOND_ARGUMENT_AND_PLACE: (i16, i16) = (104, 128);
#[cfg(target_arch = "aarch64")]
const SECOND_ARGUMENT_AND_PLACE: (i16, i16) = (8, 256);

/// A session that notes at the entry where the buffer is, and at the return copies `size` bytes of it
/// into the one value of `memory`, behind that note. No look-up, no count, no clock, no ring buffer.
fn program_that_copies(memory: &OwnedFd, size: u32) -> Result<Vec<Instruction>> {
    /// `BPF_FUNC_get_func_ip` and `BPF_FUNC_probe_read_user`.
    const FUNCTIONS: [i32; 2] = [173, 112];
    let (buffer, place) = SECOND_ARGUMENT_AND_PLACE;
    let call = |function| instruction(0x85, 0, 0, 0, function);
    Ok(vec![
        instruction(0xbf, 6, 1, 0, 0), // r6 = r1, the context
        // r7 = the value's address, which is two instructions long
        instruction(0x18, 7, 2, 0, memory.as_raw_fd()),
        instruction(0, 0, 0, 0, 0),
        call(FUNCTIONS[0]),
        instruction(0x79, 1, 6, place, 0), // r1 = where the thread is
        instruction(0x5d, 1, 0, 4, 0),     // elsewhere than at the entry? over the next four
        instruction(0x79, 1, 6, buffer, 0),
        instruction(0x7b, 7, 1, 0, 0), // *r7 = the buffer
        instruction(0xb7, 0, 0, 0, 0),
        instruction(0x95, 0, 0, 0, 0),
        instruction(0x79, 3, 7, 0, 0),                       // r3 = *r7
        instruction(0xb7, 2, 0, 0, i32::try_from(size)?),    // r2 = the size
        instruction(0xbf, 1, 7, 0, 0),                       // r1 = r7 ...
        instruction(0x07, 1, 0, 0, size_of::<u64>() as i32), // ... behind the note
        call(FUNCTIONS[1]),
        instruction(0xb7, 0, 0, 0, 0),
        instruction(0x95, 0, 0, 0, 0),
    ])
}

/// An attach type of zero is that of perf events.
fn load_empty_program(attach_type: u32, on_return: Return) -> Result<OwnedFd> {
    load_program(attach_type, &program_that_answers(i32::from(on_return == Return::Skipped)))
}

fn load_program(attach_type: u32, instructions: &[Instruction]) -> Result<OwnedFd> {
    let attributes = ProgramLoad {
        kind: BPF_PROG_TYPE_KPROBE,
        instruction_count: u32::try_from(instructions.len())?,
        instructions: instructions.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        attach_type,
        ..ProgramLoad::default()
    };
    // SAFETY: what the attributes point to outlives the call.
    unsafe { bpf(BPF_PROG_LOAD, &attributes) }.context("load a BPF program")
}

/// A command of `bpf(2)` that returns a descriptor.
///
/// # Safety
///
/// `attributes` is the beginning of the command's part of `union bpf_attr`, and what it points to is
/// as the command expects it.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> Result<OwnedFd> {
    // SAFETY: the caller's promise; the size is that of the attributes.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if fd < 0 {
        return Err(Error::last_os_error().into());
    }
    // SAFETY: a new descriptor that is nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(libc::c_int::try_from(fd)?) })
}

/// Entry and return of functions, probed by one session link with an empty program: what the kernel
/// takes before the daemon's program has done anything. Detached when dropped.
#[derive(Debug)]
pub struct EmptySession {
    _link: OwnedFd,
}

impl EmptySession {
    /// Attaches an empty program to the entry sites of `file`, for every process; absent where the
    /// kernel has no session links (before Linux 6.13).
    ///
    /// # Errors
    /// Without the rights, or at an offset that cannot be probed.
    pub fn attach(file: &Path, sites: &[Site], on_return: Return) -> Result<Option<Self>> {
        let Ok(program) = load_empty_program(BPF_TRACE_UPROBE_SESSION, on_return) else {
            // An older kernel knows no such attach type.
            load_empty_program(0, on_return)?;
            return Ok(None);
        };
        Self::link(file, sites, &program).map(Some)
    }

    /// Attaches the least program that gets hold of the plaintext: each call's first `size` bytes are
    /// copied to one place in the kernel, where nobody looks for them. No capture can take less.
    ///
    /// # Errors
    /// As [`EmptySession::attach`], and where the kernel has no session links.
    pub fn copying(file: &Path, sites: &[Site], size: usize) -> Result<Self> {
        let size = u32::try_from(size)?;
        let attributes =
            MapCreate { kind: BPF_MAP_TYPE_ARRAY, key_size: 4, value_size: 8 + size, max_entries: 1 };
        // SAFETY: the attributes point to nothing.
        let memory = unsafe { bpf(BPF_MAP_CREATE, &attributes) }.context("create a BPF map")?;
        // The program keeps the map, and the link the program.
        let program = load_program(BPF_TRACE_UPROBE_SESSION, &program_that_copies(&memory, size)?)?;
        Self::link(file, sites, &program)
    }

    fn link(file: &Path, sites: &[Site], program: &OwnedFd) -> Result<Self> {
        let path = CString::new(file.as_os_str().as_bytes())?;
        let offsets: Vec<u64> = sites.iter().filter(|site| !site.on_return).map(|site| site.offset).collect();
        let attributes = LinkCreate {
            program: program.as_raw_fd().cast_unsigned(),
            attach_type: BPF_TRACE_UPROBE_SESSION,
            path: path.as_ptr() as u64,
            offsets: offsets.as_ptr() as u64,
            count: u32::try_from(offsets.len())?,
            ..LinkCreate::default()
        };
        // SAFETY: the path and the `count` offsets outlive the call.
        let link = unsafe { bpf(BPF_LINK_CREATE, &attributes) }.context("attach a session")?;
        Ok(Self { _link: link })
    }
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
        let program = load_empty_program(0, Return::Taken)?;
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
                Returns::Instructions(exits) => {
                    sites.extend(exits.iter().map(|exit| Site { offset: exit.offset, on_return: false }));
                }
            }
        }
    }
    ensure!(!sites.is_empty(), "no TLS functions were located in {}", file.display());
    Ok(sites)
}

/// How many of the sites of `file` are probed already, in the memory of a process that maps it: its code
/// then differs from the file. What is measured meanwhile has somebody else's probes in it.
///
/// # Errors
/// Where the process does not map the file, or its memory cannot be read.
pub fn probed_already(pid: u32, file: &Path, sites: &[Site]) -> Result<usize> {
    let code = File::open(file)?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mappings: Vec<(u64, u64, u64)> = maps
        .lines()
        .filter(|line| Path::new(line.splitn(6, ' ').nth(5).unwrap_or_default().trim()) == file)
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (start, end) = fields.next()?.split_once('-')?;
            let offset = fields.nth(1)?;
            let number = |text| u64::from_str_radix(text, 16).ok();
            Some((number(start)?, number(end)?, number(offset)?))
        })
        .collect();
    let mut probed = 0;
    for site in sites.iter().filter(|site| !site.on_return) {
        let address = mappings.iter().find_map(|&(start, end, offset)| {
            let inside = site.offset.checked_sub(offset)?;
            (inside < end - start).then_some(start + inside)
        });
        let (mut in_file, mut in_memory) = ([0], [0]);
        code.read_exact_at(&mut in_file, site.offset)?;
        memory.read_exact_at(&mut in_memory, address.context("the site is not mapped")?)?;
        probed += usize::from(in_file != in_memory);
    }
    Ok(probed)
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
        // Somebody may be probing this machine's library; not more than there is to probe.
        let entries = public.iter().filter(|site| !site.on_return).count();
        assert!(probed_already(std::process::id(), library.path(), &public).unwrap() <= entries);
    }
}
