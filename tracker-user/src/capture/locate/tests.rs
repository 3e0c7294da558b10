//! On the libssl of this system, and on small libraries with OpenSSL's shape, compiled here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};
use proptest::prelude::*;

use super::*;
use crate::capture::{Direction, Hook, HookKind, Returns, Transferred};

/// The wrappers of OpenSSL 3.0 around a function that only they call. `FLAGS` is the argument that
/// OpenSSL 3.3 put before the count.
const THIN: &str = r"
#include <stddef.h>
#ifdef THREE_THREE
#define FLAGS , unsigned long flags
#define NONE , 0
#else
#define FLAGS
#define NONE
#endif
typedef struct { int (*read)(void *, void *, size_t, size_t *); int state; int references; } SSL;
extern void ERR_new(void), ERR_raise(int, int, const char *);
#ifndef INTERNAL
#define INTERNAL __attribute__((noinline, noclone)) static int
#endif
INTERNAL ssl_read_internal(SSL *s, void *b, size_t n, size_t *done) {
    if (s->read == NULL) { ERR_raise(20, 276, NULL); return -1; }
    if (s->state & 2) return 0;
    int r = s->read(s, b, n, done); s->state = r; return r;
}
INTERNAL ssl_write_internal(SSL *s, const void *b, size_t n FLAGS, size_t *done) {
    if (s->read == NULL) { ERR_raise(20, 277, NULL); return -1; }
#ifdef THREE_THREE
    s->references += flags;
#endif
    int r = s->read(s, (void *)b, n + 1, done); s->state = r + 1; return r;
}
int SSL_read(SSL *s, void *b, int n) {
    size_t done; if (n < 0) { ERR_new(); ERR_raise(20, 271, NULL); return -1; }
    int r = ssl_read_internal(s, b, (size_t)n, &done);
    if (r > 0) r = (int)done;
    return r;
}
int SSL_read_ex(SSL *s, void *b, size_t n, size_t *done) {
    int r = ssl_read_internal(s, b, n, done); if (r < 0) r = 0; return r;
}
int SSL_peek(SSL *s, void *b, int n) { ERR_new(); return s->read(s, b, n, NULL); }
int SSL_write(SSL *s, const void *b, int n) {
    size_t done; if (n < 0) { ERR_new(); ERR_raise(20, 271, NULL); return -1; }
    int r = ssl_write_internal(s, b, (size_t)n NONE, &done);
    if (r > 0) r = (int)done;
    return r;
}
#ifdef THREE_THREE
int SSL_write_ex2(SSL *s, const void *b, size_t n, unsigned long flags, size_t *done) {
    int r = ssl_write_internal(s, b, n, flags, done); if (r < 0) r = 0; return r;
}
int SSL_write_ex(SSL *s, const void *b, size_t n, size_t *done) { return SSL_write_ex2(s, b, n, 0, done); }
#else
int SSL_write_ex(SSL *s, const void *b, size_t n, size_t *done) {
    int r = ssl_write_internal(s, b, n, done); if (r < 0) r = 0; return r;
}
#endif
void SSL_free(SSL *s) { if (s == NULL) return; if (--s->references > 0) return; ERR_raise(s->state, 0, NULL); }
";

/// The internal function inlined, and beneath it a function for some connections only that both
/// variants call with the same arguments: it must not be taken for the internal one.
const INLINED: &str = r"
#include <stddef.h>
typedef struct { int (*write)(void *, const void *, size_t, size_t *); int quic; } SSL;
__attribute__((noinline)) int quic_write(SSL *s, const void *b, size_t n, size_t *done) { *done = n; return s->quic; }
int SSL_write(SSL *s, const void *b, int n) {
    size_t done; if (n < 0) return -1;
    int r = s->quic ? quic_write(s, b, (size_t)n, &done) : s->write(s, b, (size_t)n, &done);
    return r > 0 ? (int)done : r;
}
int SSL_write_ex(SSL *s, const void *b, size_t n, size_t *done) {
    int r = s->quic ? quic_write(s, b, n, done) : s->write(s, b, n, done);
    return r < 0 ? 0 : r;
}
";

/// A program that uses a libssl.
const IMPORTS: &str = r"
extern int SSL_read(void *, void *, int), SSL_write(void *, const void *, int);
int use(void *s, char *b) { return SSL_read(s, b, 1) + SSL_write(s, b, 1); }
";

/// Compiles a shared library; `None`, said aloud, where there is no compiler for what is tested here.
pub(super) fn compile(folder: &Path, source: &str, flags: &[&str]) -> Option<PathBuf> {
    if cfg!(not(target_arch = "x86_64")) {
        eprintln!("SKIPPED: machine code of x86-64 is tested there");
        return None;
    }
    let (input, output) = (folder.join("library.c"), folder.join("library.so"));
    fs::write(&input, source).unwrap();
    let compiled = Command::new("gcc")
        .args(["-shared", "-fPIC", "-w", "-Wl,-Bsymbolic"])
        .args(flags)
        .arg("-o")
        .args([&output, &input])
        .status();
    match compiled {
        Ok(status) => assert!(status.success()),
        Err(error) => {
            eprintln!("SKIPPED: gcc cannot be run: {error}");
            return None;
        }
    }
    Some(output)
}

fn hooks(path: &Path) -> Vec<Hook> {
    let found = locate(&File::open(path).unwrap());
    found.into_iter().flat_map(|located| located.plan.unwrap().hooks).collect()
}

/// File offset of a function by the file's own symbols, and the bytes there.
pub(super) fn truth(path: &Path, name: &str) -> (u64, Vec<u8>) {
    let data = fs::read(path).unwrap();
    let file = object::File::parse(&*data).unwrap();
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name)).unwrap();
    let segment = file
        .segments()
        .find(|s| (s.address()..s.address() + s.file_range().1).contains(&symbol.address()))
        .unwrap();
    let offset = symbol.address() - segment.address() + segment.file_range().0;
    (offset, data[offset as usize..][..8].to_vec())
}

#[test]
fn the_internal_functions_are_found_in_optimised_code() {
    for (version, write_count) in [("-DTHREE_ZERO", 4), ("-DTHREE_THREE", 5)] {
        for level in ["-O1", "-O2", "-O3", "-Os"] {
            for protection in ["-fcf-protection=none", "-fcf-protection=full"] {
                let folder = tempfile::tempdir().unwrap();
                let Some(library) = compile(folder.path(), THIN, &[version, level, protection]) else {
                    return;
                };
                let what = format!("{version} {level} {protection}");
                let truths = ["ssl_write_internal", "ssl_read_internal"].map(|name| truth(&library, name));
                let stripped = Command::new("strip").arg(&library).status();
                assert!(stripped.unwrap().success());
                let hooks = hooks(&library);
                for ((name, count), (offset, code)) in
                    [("ssl_write_internal", write_count), ("ssl_read_internal", 4)].into_iter().zip(truths)
                {
                    let hook = hooks.iter().find(|hook| hook.function == name);
                    let hook = hook.unwrap_or_else(|| panic!("{what}: {name} not found: {hooks:?}"));
                    assert_eq!(hook.transferred, Transferred::StoredThrough(count), "{what}");
                    assert_eq!(hook.returns, Returns::Probe(hook.entry_offset), "{what}");
                    // At its first instruction or at the next that is cheap.
                    assert!(
                        (offset..offset + 16).contains(&hook.entry_offset),
                        "{what}: {offset:#x} {hook:?}"
                    );
                    if code.starts_with(&[0xf3, 0x0f, 0x1e, 0xfa]) && (0x50..0x58).contains(&code[4]) {
                        assert_eq!(hook.entry_offset, offset + 4, "{what}");
                    }
                }
                // Both internal functions and SSL_free, and no public name beside them.
                assert_eq!(hooks.len(), 3, "{what}: {hooks:?}");
            }
        }
    }
}

#[test]
fn what_both_variants_call_is_not_the_internal_function_where_that_is_inlined() {
    let folder = tempfile::tempdir().unwrap();
    for level in ["-O1", "-O2", "-O3"] {
        let Some(library) = compile(folder.path(), INLINED, &[level]) else { return };
        let names: Vec<_> = hooks(&library).iter().map(|hook| hook.function).collect();
        assert_eq!(names, ["SSL_write", "SSL_write_ex"], "{level}");
    }
}

/// Calls through the procedure linkage table may end in another file.
#[test]
fn an_import_is_not_the_internal_function() {
    let folder = tempfile::tempdir().unwrap();
    let exported = ["-O2", "-DINTERNAL=__attribute__((noinline)) int", "-Wl,-Bno-symbolic"];
    let Some(library) = compile(folder.path(), THIN, &exported) else { return };
    let names: Vec<_> = hooks(&library).iter().map(|hook| hook.function).collect();
    assert_eq!(names, ["SSL_read", "SSL_read_ex", "SSL_write", "SSL_write_ex", "SSL_free"]);
}

#[test]
fn unoptimised_code_falls_back_to_the_public_names() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compile(folder.path(), THIN, &["-O0"]) else { return };
    let hooks = hooks(&library);
    for name in ["SSL_read", "SSL_read_ex", "SSL_write", "SSL_write_ex", "SSL_free"] {
        let hook = hooks.iter().find(|hook| hook.function == name).unwrap();
        let offset = truth(&library, name).0;
        assert!((offset..offset + 5).contains(&hook.entry_offset), "{hook:?}");
        assert_eq!(hook.returns == Returns::None, hook.kind == HookKind::Free);
    }
    assert_eq!(hooks.len(), 5);
}

#[test]
fn imports_are_no_definitions() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compile(folder.path(), IMPORTS, &["-O2"]) else { return };
    assert_eq!(locate(&File::open(library).unwrap()), []);
}

/// A program that takes the address of an import, and is not position-independent, has an undefined symbol
/// with a value: that of its own linkage stub.
#[test]
fn imports_with_an_address_are_none_either() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compile(folder.path(), THIN, &["-O2", "-Wl,-z,lazy"]) else { return };
    let (input, output) = (folder.path().join("program.c"), folder.path().join("program"));
    let source = "extern int SSL_write(void *, const void *, int);\n\
        int main(void) { return ((unsigned long)&SSL_write >> 4) + SSL_write(0, 0, 0); }";
    fs::write(&input, source).unwrap();
    let linked = Command::new("gcc")
        .args(["-no-pie", "-fno-pie", "-O2", "-Wl,--unresolved-symbols=ignore-all", "-o"])
        .args([&output, &input, &library])
        .status();
    assert!(linked.unwrap().success());
    let data = fs::read(&output).unwrap();
    let import = object::File::parse(&*data).unwrap();
    let import = import.dynamic_symbols().find(|symbol| symbol.name() == Ok("SSL_write")).unwrap();
    assert!(import.is_undefined() && import.address() != 0, "the case is not what it should be");
    assert_eq!(locate(&File::open(output).unwrap()), []);
}

#[test]
fn local_symbols_count() {
    let folder = tempfile::tempdir().unwrap();
    let Some(library) = compile(folder.path(), THIN, &["-O2", "-fvisibility=hidden"]) else { return };
    assert_eq!(hooks(&library).len(), 3);
    assert!(Command::new("strip").arg(&library).status().unwrap().success());
    assert_eq!(locate(&File::open(&library).unwrap()), [], "nothing is left to go by");
}

#[test]
fn the_libssl_of_this_system() {
    let path = Path::new("/usr/lib/x86_64-linux-gnu/libssl.so.3");
    let Ok(file) = File::open(path) else {
        eprintln!("SKIPPED: no {}", path.display());
        return;
    };
    let found = locate(&file);
    let plan = found[0].plan.as_ref().unwrap();
    assert_eq!((found.len(), plan.stack), (1, "openssl"));
    for wanted in [HookKind::Transfer(Direction::Read), HookKind::Transfer(Direction::Write), HookKind::Free]
    {
        let hook = plan.hooks.iter().find(|hook| hook.kind == wanted).unwrap();
        assert!(hook.emulated, "{hook:?}");
    }
    let names: Vec<_> = plan.hooks.iter().map(|hook| hook.function).collect();
    assert_eq!(names, ["ssl_read_internal", "ssl_write_internal", "SSL_free"]);
}

#[test]
fn the_gnutls_of_this_system() {
    let path = Path::new("/usr/lib/x86_64-linux-gnu/libgnutls.so.30");
    let Ok(file) = File::open(path) else {
        eprintln!("SKIPPED: no {}", path.display());
        return;
    };
    let found = locate(&file);
    let plan = found[0].plan.as_ref().unwrap();
    assert_eq!((found.len(), plan.stack), (1, "gnutls"));
    let names: Vec<_> = plan.hooks.iter().map(|hook| hook.function).collect();
    assert_eq!(
        names,
        ["gnutls_record_send2", "gnutls_record_recv", "gnutls_record_recv_seq", "gnutls_deinit"],
        "gnutls_record_send only jumps to its longer form"
    );
}

#[test]
fn nss_is_seen_and_not_hooked() {
    let folder = tempfile::tempdir().unwrap();
    let source = "int SSL_ImportFD(int m) { return m; } int SSL_ResetHandshake(int m) { return -m; }";
    let Some(library) = compile(folder.path(), source, &["-O2"]) else { return };
    let found = locate(&File::open(library).unwrap());
    assert_eq!((found.len(), found[0].stack), (1, "nss"));
    assert_eq!(found[0].plan.as_ref().unwrap_err().label(), "not_located");
}

/// As Fedora strips its packages: names that `.dynsym` lacks go into a compressed file of their own.
#[test]
fn compressed_symbols_count() {
    let folder = tempfile::tempdir().unwrap();
    let run = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).current_dir(folder.path()).status()
    };
    if run("xz", &["--version"]).is_err() {
        eprintln!("SKIPPED: no xz");
        return;
    }
    // Code enough for a TLS stack to be in there.
    let source = format!("{THIN}\n__asm__(\".text\\n.fill 300000, 1, 0x90\");");
    let Some(library) = compile(folder.path(), &source, &["-O2", "-fvisibility=hidden"]) else { return };
    let expected = hooks(&library);
    assert_eq!(expected.len(), 3);
    for (program, arguments) in [
        ("objcopy", &["--only-keep-debug", "library.so", "within"][..]),
        ("strip", &["library.so"]),
        ("xz", &["within"]),
        ("objcopy", &["--add-section", ".gnu_debugdata=within.xz", "library.so"]),
    ] {
        assert!(run(program, arguments).unwrap().success(), "{program}");
    }
    assert_eq!(hooks(&library), expected);

    // A section that is no xz file, or a broken one, is as if it were not there.
    let mut bytes = fs::read(&library).unwrap();
    let at = memchr::memmem::find(&bytes, b"\xfd7zXZ").unwrap();
    bytes[at + 100] ^= 1;
    assert_eq!(locate(&bytes.as_slice()), []);
    bytes[at] = 0;
    assert_eq!(locate(&bytes.as_slice()), []);
}

#[test]
fn what_is_no_elf_file_is_dismissed() {
    for bytes in [&b""[..], b"\x7fELF", b"#!/bin/sh\necho SSL_write\n"] {
        assert_eq!(locate(&bytes as &dyn Source), []);
    }
}

/// Any file with TLS in it, to be damaged.
fn victim() -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let library = compile(folder.path(), THIN, &["-O2"])?;
    Some(fs::read(library).unwrap())
}

#[test]
fn damaged_files_do_no_harm() {
    let Some(intact) = victim() else { return };
    let headers = u64::from_le_bytes(intact[0x28..0x30].try_into().unwrap()) as usize;
    assert_eq!(locate(&intact.as_slice()).len(), 1, "{headers:#x}");
    let at = prop_oneof![0..1024_usize, headers..intact.len(), 0..intact.len()];
    let damage = prop::collection::vec((at, prop_oneof![Just(0_u8), Just(0xff), any::<u8>()]), 1..12);
    proptest!(ProptestConfig::with_cases(2000), |(damage in damage, end in 0..=intact.len(), cut: bool)| {
        let mut bytes = intact.clone();
        for (at, value) in damage {
            bytes[at] = value;
        }
        bytes.truncate(if cut { end } else { intact.len() });
        for located in locate(&bytes.as_slice()) {
            for hook in located.plan.into_iter().flat_map(|plan| plan.hooks) {
                prop_assert!(hook.entry_offset < u64::MAX / 2);
            }
        }
    });
}

/// Every loadable byte counts here, so the machine code is damaged too.
#[test]
fn damaged_code_does_no_harm() {
    let Some(intact) = victim() else { return };
    proptest!(ProptestConfig::with_cases(500), |(seed in prop::collection::vec(any::<u8>(), 64..512), at in 0x1000..0x1400_usize)| {
        let mut bytes = intact.clone();
        let end = (at + seed.len()).min(bytes.len());
        bytes[at..end].copy_from_slice(&seed[..end - at]);
        let _ = locate(&bytes.as_slice());
    });
}
