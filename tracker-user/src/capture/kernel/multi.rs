//! Links that probe many places of a file at once, which aya does not know.
//!
//! `uprobe_multi` links (Linux 6.6) take all offsets of a file in one system call, and are taken out
//! after one grace period, where each probe through perf costs one or more of its own. Session links
//! (Linux 6.13) are such links with one program for entry and return; what it says at the entry decides
//! whether it is run at the return.
//!
//! A program has to be loaded for the kind of link that it is for. aya makes the maps; here the same
//! object is taken apart once more and its programs are linked with those maps.

use std::{
    collections::{HashMap, HashSet},
    ffi::{CString, c_long},
    io, mem,
    os::{
        fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use aya::{
    Ebpf,
    maps::{Map, MapData},
};
use aya_obj::{
    Object,
    generated::{bpf_cmd, bpf_prog_type},
};

use super::{Attachment, programs};

// `enum bpf_attach_type` (`include/uapi/linux/bpf.h`); aya-obj's is older than the second.
const BPF_TRACE_UPROBE_MULTI: u32 = 48;
const BPF_TRACE_UPROBE_SESSION: u32 = 57;
/// The probes of the link are return probes.
const BPF_F_UPROBE_MULTI_RETURN: u32 = 1;

/// Bytes of the verifier's log that are kept.
const LOG_BYTES: usize = 64 << 10;

/// `struct { ... } /* BPF_PROG_LOAD */` of `union bpf_attr`, as far as it is used.
#[repr(C)]
#[derive(Default)]
struct ProgramAttributes {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// `link_create` of `union bpf_attr` with its `uprobe_multi`.
#[repr(C)]
#[derive(Default)]
struct LinkAttributes {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    ref_ctr_offsets: u64,
    cookies: u64,
    cnt: u32,
    multi_flags: u32,
    pid: u32,
    reserved: u32,
}

/// A place to probe in a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) cookie: u64,
}

/// Why programs of this kind are not there.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unavailable {
    #[error("the kernel has no such links")]
    NoLinks,
    #[error("the object cannot be linked once more: {0}")]
    BadObject(String),
    #[error("the kernel rejected the program `{program}`: {log}")]
    Rejected {
        program: &'static str,
        log: String,
        #[source]
        source: io::Error,
    },
}

/// A program for one kind of link.
#[derive(Debug)]
pub(super) struct Program {
    fd: OwnedFd,
    attach_type: u32,
}

impl Program {
    /// See [`Multi::attach`].
    fn attach(&self, flags: u32, path: &Path, places: &[Place]) -> io::Result<OwnedFd> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let (offsets, cookies): (Vec<u64>, Vec<u64>) =
            places.iter().map(|place| (place.offset, place.cookie)).unzip();
        let attributes = LinkAttributes {
            prog_fd: self.fd.as_raw_fd().cast_unsigned(),
            attach_type: self.attach_type,
            path: address(path.as_ptr()),
            offsets: address(offsets.as_ptr()),
            cookies: address(cookies.as_ptr()),
            cnt: u32::try_from(places.len()).map_err(io::Error::other)?,
            multi_flags: flags,
            ..LinkAttributes::default()
        };
        // SAFETY: a command that returns a descriptor; what the attributes point to outlives the call,
        // and both arrays have `cnt` elements.
        unsafe { bpf(bpf_cmd::BPF_LINK_CREATE, &attributes) }
    }

    /// Puts a probe at the beginning of a file that nobody runs. Dropping the descriptor takes it out.
    pub(super) fn attach_nowhere(&self, path: &Path) -> io::Result<OwnedFd> {
        self.attach(0, path, &[Place { offset: 0, cookie: 0 }])
    }

    /// Whether the kernel makes links of this kind: it finds fault with the path, and not before.
    fn links_exist(&self) -> bool {
        let refused = self.attach(0, Path::new("/"), &[Place { offset: 0, cookie: 0 }]);
        refused.is_err_and(|error| error.raw_os_error() == Some(libc::EBADF))
    }
}

/// The programs for `uprobe_multi` links, by name.
#[derive(Debug)]
pub(super) struct Multi(HashMap<&'static str, Program>);

impl Multi {
    /// Loads the programs, and with [`Attachment::Session`] those for sessions as well, to work on the
    /// maps of `ebpf`, made from the same object.
    pub(super) fn load(object: &[u8], ebpf: &Ebpf, kind: Attachment) -> Result<Self, Unavailable> {
        let wanted = match kind {
            Attachment::Session => BPF_TRACE_UPROBE_SESSION,
            Attachment::Multi => BPF_TRACE_UPROBE_MULTI,
            Attachment::Perf => return Err(Unavailable::NoLinks),
        };
        let linked = link(object, ebpf)?;
        let mut programs = HashMap::new();
        let mut links_exist = false;
        for layout in programs::ALL {
            let session = layout.session.filter(|_| kind == Attachment::Session);
            let plain = layout.plain().map(|name| (name, BPF_TRACE_UPROBE_MULTI));
            for (name, attach_type) in
                session.map(|name| (name, BPF_TRACE_UPROBE_SESSION)).into_iter().chain(plain)
            {
                if programs.contains_key(name) {
                    continue; // It serves another layout as well.
                }
                let program = load(&linked, name, attach_type)?;
                if attach_type == wanted && !links_exist {
                    links_exist = program.links_exist();
                    if !links_exist {
                        return Err(Unavailable::NoLinks);
                    }
                }
                programs.insert(name, program);
            }
        }
        Ok(Self(programs))
    }

    /// One more descriptor of a program.
    pub(super) fn share(&self, program: &'static str) -> io::Result<Program> {
        let program = self.0.get(program).ok_or_else(|| io::Error::other("no such program"))?;
        Ok(Program { fd: program.fd.try_clone()?, attach_type: program.attach_type })
    }

    /// Probes all the places in the file at `path`, for all processes, or none of them. Dropping the
    /// descriptor takes the probes out. `on_return` sets return probes.
    pub(super) fn attach(
        &self,
        program: &'static str,
        on_return: bool,
        path: &Path,
        places: &[Place],
    ) -> io::Result<OwnedFd> {
        let program = self.0.get(program).ok_or_else(|| io::Error::other("no such program"))?;
        program.attach(if on_return { BPF_F_UPROBE_MULTI_RETURN } else { 0 }, path, places)
    }
}

/// The object, its programs linked with each other's functions and with the maps that exist.
fn link(object: &[u8], ebpf: &Ebpf) -> Result<Object, Unavailable> {
    let bad = |error: &dyn std::fmt::Display| Unavailable::BadObject(error.to_string());
    let mut object = Object::parse(object).map_err(|error| bad(&error))?;
    let maps: Vec<(String, RawFd, aya_obj::Map)> = mem::take(&mut object.maps)
        .into_iter()
        .map(|(name, map)| {
            let made = ebpf.map(&name).ok_or_else(|| bad(&format_args!("no map `{name}`")))?;
            let made = data(made).ok_or_else(|| bad(&format_args!("map `{name}` is of another kind")))?;
            Ok((name, made.fd().as_fd().as_raw_fd(), map))
        })
        .collect::<Result<_, Unavailable>>()?;
    let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    object
        .relocate_maps(maps.iter().map(|(name, fd, map)| (name.as_str(), *fd, map)), &sections)
        .map_err(|error| bad(&error))?;
    object.relocate_calls(&sections).map_err(|error| bad(&error))?;
    object.sanitize_functions(aya::features());
    Ok(object)
}

/// The kinds of map that the kernel side has.
const fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::RingBuf(data)
        | Map::PerCpuArray(data) => Some(data),
        _ => None,
    }
}

fn load(object: &Object, name: &'static str, attach_type: u32) -> Result<Program, Unavailable> {
    let program = object.programs.get(name);
    let function = program.and_then(|program| object.functions.get(&program.function_key()));
    let (Some(program), Some(function)) = (program, function) else {
        return Err(Unavailable::BadObject(format!("no program `{name}`")));
    };
    let rejected = |log, source| Unavailable::Rejected { program: name, log, source };
    let count = u32::try_from(function.instructions.len())
        .map_err(|error| rejected(String::new(), io::Error::other(error)))?;
    let mut attributes = ProgramAttributes {
        prog_type: bpf_prog_type::BPF_PROG_TYPE_KPROBE as u32,
        insn_cnt: count,
        insns: address(function.instructions.as_ptr()),
        license: address(program.license.as_ptr()),
        expected_attach_type: attach_type,
        ..ProgramAttributes::default()
    };
    // The last byte stays zero.
    for (to, from) in attributes.prog_name.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: a command that returns a descriptor; the instructions and the licence outlive the call.
    let loaded = unsafe { bpf(bpf_cmd::BPF_PROG_LOAD, &attributes) };
    let fd = loaded.or_else(|_| {
        // Once more, for the reason.
        let mut log = vec![0_u8; LOG_BYTES];
        attributes.log_level = 1;
        attributes.log_size = LOG_BYTES as u32;
        attributes.log_buf = address(log.as_mut_ptr());
        // SAFETY: as above, and the log has the size that is given.
        unsafe { bpf(bpf_cmd::BPF_PROG_LOAD, &attributes) }.map_err(|error| {
            let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
            rejected(String::from_utf8_lossy(log.get(..end).unwrap_or_default()).into_owned(), error)
        })
    })?;
    Ok(Program { fd, attach_type })
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}

/// A command of `bpf(2)` that returns a descriptor.
///
/// # Safety
///
/// `attributes` is the beginning of the command's part of `union bpf_attr`, and the memory that it
/// points to is as the command expects it. The command returns a new descriptor.
unsafe fn bpf<T>(command: bpf_cmd, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise. The kernel reads `size_of::<T>()` bytes and takes the rest for zero.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as c_long, std::ptr::from_ref(attributes), size_of::<T>())
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = RawFd::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel has just made it; bpf descriptors are closed on exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

const _: () = assert!(size_of::<ProgramAttributes>() == 72 && size_of::<LinkAttributes>() == 64);
