//! On the libssl of this system with its symbols taken away, on programs that it is linked into, and on
//! small files with BoringSSL's and OpenSSL 1.1.1's shape, compiled here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use object::{Object as _, ObjectSymbol as _};
use proptest::prelude::*;

use super::*;
use crate::capture::{Direction, Hook, HookKind, Returns, Transferred, Trust};

/// The functions of BoringSSL that matter, and others that raise errors beside them. `RAISE` is its
/// `ERR_put_error`, with or without the argument that is not used.
const BORING: &str = r#"
#include <stddef.h>
#include <string.h>
#define API __attribute__((noinline, noclone, visibility("hidden")))
#ifdef WITHOUT_UNUSED
extern void ERR_put_error(int, int, const char *, unsigned);
#define RAISE(reason) ERR_put_error(16, reason, "../../vendor/boringssl/ssl/ssl_lib.cc", __LINE__)
#else
extern void ERR_put_error(int, int, int, const char *, unsigned);
#define RAISE(reason) ERR_put_error(16, 0, reason, "../../vendor/boringssl/ssl/ssl_lib.cc", __LINE__)
#endif
typedef struct ssl_st {
    int (**method)(struct ssl_st *, char *, size_t *, const void *, size_t);
    struct { char *pending; size_t length; int state, error; } *s3;
    int (*do_handshake)(struct ssl_st *);
    void *quic;
} SSL;
extern void ERR_clear_error(void), discard(void *);
extern int run_handshake(SSL *);

API int SSL_do_handshake(SSL *s) {
    ERR_clear_error();
    if (s->do_handshake == NULL) { RAISE(134); return -1; }
    if (s->s3->state == 0) return 1;
    return run_handshake(s);
}
API int ssl_read_impl(SSL *s) {
    s->s3->error = 0;
    if (s->do_handshake == NULL) { RAISE(226); return -1; }
    while (s->s3->length == 0) {
        int ret = SSL_do_handshake(s);
        if (ret < 0) return ret;
        if (ret == 0) { RAISE(215); return -1; }
        s->s3->state++;
    }
    return 1;
}
#ifdef APART
API
#else
static inline __attribute__((always_inline))
#endif
int peek(SSL *s, void *b, int n) {
    if (s->quic) { RAISE(66); return -1; }
    int ret = ssl_read_impl(s);
    if (ret <= 0) return ret;
    if (n <= 0) return n;
    size_t todo = s->s3->length < (size_t)n ? s->s3->length : (size_t)n;
    memcpy(b, s->s3->pending, todo);
    return (int)todo;
}
#ifndef APART
API int SSL_peek(SSL *s, void *b, int n) { return peek(s, b, n); }
#endif
API int SSL_read(SSL *s, void *b, int n) {
    int ret = peek(s, b, n);
    if (ret <= 0) return ret;
    s->s3->pending += ret;
    s->s3->length -= ret;
    if (s->s3->length == 0) discard(s->s3);
    return ret;
}
API int SSL_write(SSL *s, const void *b, int n) {
    ERR_clear_error();
    s->s3->error = 0;
    if (s->quic) { RAISE(66); return -1; }
    if (s->do_handshake == NULL) { RAISE(226); return -1; }
    int ret = 0; size_t done = 0; char again = 0;
    do {
        if (s->s3->state) {
            ret = SSL_do_handshake(s);
            if (ret < 0) return ret;
            if (ret == 0) { RAISE(215); return -1; }
        }
        if (n < 0) { RAISE(111); return -1; }
        ret = s->method[3](s, &again, &done, b, (size_t)n);
    } while (again);
    return ret <= 0 ? ret : (int)done;
}
API int SSL_shutdown(SSL *s) {
    if (s->do_handshake == NULL) { RAISE(226); return -1; }
    if (ssl_read_impl(s) > 0) { RAISE(291); return -1; }
    return 0;
}
#ifdef TWICE
API int SSL_writev(SSL *s, const void *b, int n) {
    ERR_clear_error();
    if (s->quic) { RAISE(66); return -1; }
    if (s->do_handshake == NULL) { RAISE(226); return -1; }
    if (SSL_do_handshake(s) == 0) { RAISE(215); return -1; }
    if (n < 0) { RAISE(111); return -1; }
    return s->method[4](s, NULL, NULL, b, (size_t)n);
}
#endif
int use(SSL *s, char *b) {
#ifdef TWICE
    b += SSL_writev(s, b, 4);
#endif
#ifdef APART
    b += peek(s, b, 1);
#else
    b += SSL_peek(s, b, 1);
#endif
    return SSL_do_handshake(s) + SSL_read(s, b, 2) + SSL_write(s, b, 3) + SSL_shutdown(s);
}
"#;

/// The internal functions of OpenSSL 1.1.1, and the end of a connection.
const NUMBERED: &str = r#"
#include <stddef.h>
#define API __attribute__((noinline, noclone, visibility("hidden")))
extern void ERR_put_error(int, int, int, const char *, int), CRYPTO_free(void *, const char *, int);
extern void CRYPTO_free_ex_data(int, void *, void *), SSL_CTX_free(void *);
#define SSLerr(function, reason) ERR_put_error(20, function, reason, "ssl/ssl_lib.c", __LINE__)
typedef struct ssl_st {
    int (**method)(struct ssl_st *, void *, size_t, size_t *);
    int references, shutdown; void *handshake, *context, *data;
} SSL;
API int ssl_read_internal(SSL *s, void *b, size_t n, size_t *done) {
    if (s->handshake == NULL) { SSLerr(523, 276); return -1; }
    if (s->shutdown & 2) return 0;
    return s->method[3](s, b, n, done);
}
API int ssl_peek_internal(SSL *s, void *b, size_t n, size_t *done) {
    if (s->handshake == NULL) { SSLerr(522, 276); return -1; }
    return s->method[4](s, b, n, done);
}
API int ssl_write_internal(SSL *s, const void *b, size_t n, size_t *done) {
    if (s->handshake == NULL) { SSLerr(524, 276); return -1; }
    if (s->shutdown & 1) { SSLerr(524, 207); return -1; }
    return s->method[5](s, (void *)b, n, done);
}
API void SSL_free(SSL *s) {
    if (s == NULL || __atomic_sub_fetch(&s->references, 1, __ATOMIC_RELAXED) > 0) return;
    CRYPTO_free_ex_data(0, s, &s->data);
    SSL_CTX_free(s->context);
    CRYPTO_free(s, "ssl/ssl_lib.c", __LINE__);
}
API void SSL_CTX_done(SSL *s) {
    CRYPTO_free_ex_data(1, s, &s->data);
    CRYPTO_free(s, "ssl/ssl_lib.c", __LINE__);
}
int use(SSL *s, char *b) {
    size_t done;
    ssl_read_internal(s, b, 1, &done), ssl_peek_internal(s, b, 2, &done), ssl_write_internal(s, b, 3, &done);
    SSL_CTX_done(s), SSL_free(s);
    return 0;
}
"#;

/// A program that has all of libssl in it.
const PROGRAM: &str = r"
#include <openssl/ssl.h>
int main(int argc, char **argv) {
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(context);
    char buffer[64];
    int n = SSL_write(ssl, argv[0], argc) + SSL_read(ssl, buffer, sizeof buffer);
    SSL_free(ssl);
    return n;
}
";

/// Names and a file's name that nothing refers to, as in a table of strings.
const NAMES_ONLY: &str = r#"
const char names[] = "x\0ssl_read_internal\0ssl_write_internal\0../ssl/ssl_lib.c\0../ssl/ssl_lib.cc";
int use(void) { return 0; }
"#;

/// Compiles; `None`, said aloud, where that cannot be done here.
fn compile(folder: &Path, source: &str, flags: &[&str]) -> Option<PathBuf> {
    if cfg!(not(target_arch = "x86_64")) {
        eprintln!("SKIPPED: machine code of x86-64 is tested there");
        return None;
    }
    let (input, output) = (folder.join("input.c"), folder.join("output"));
    fs::write(&input, source).unwrap();
    let compiled = Command::new("gcc").arg("-w").arg("-o").args([&output, &input]).args(flags).output();
    match compiled {
        Ok(compiled) if compiled.status.success() => Some(output),
        Ok(compiled) => {
            let said = String::from_utf8_lossy(&compiled.stderr).into_owned();
            assert!(said.contains("cannot find -l") || said.contains("openssl/ssl.h"), "{flags:?}: {said}");
            eprintln!("SKIPPED: libssl cannot be linked statically here");
            None
        }
        Err(error) => {
            eprintln!("SKIPPED: gcc cannot be run: {error}");
            None
        }
    }
}

fn strip(path: &Path) {
    assert!(Command::new("strip").arg(path).status().unwrap().success());
}

/// File offsets of functions, by the symbols that there are.
fn offsets<const N: usize>(path: &Path, names: [&str; N]) -> [u64; N] {
    let data = fs::read(path).unwrap();
    let file = object::File::parse(&*data).unwrap();
    let source = data.as_slice();
    let image = Image::parse(&source).unwrap();
    names.map(|name| {
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name));
        image.code_offset(symbol.unwrap_or_else(|| panic!("{name}")).address()).unwrap().0
    })
}

fn only(path: &Path) -> Located {
    let mut found = locate(&File::open(path).unwrap());
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

/// Whether a hook sits at a function's entry, or at the cheap instruction next to it.
#[track_caller]
fn assert_at(hook: &Hook, offset: u64, what: &str) {
    assert!((offset..offset + 24).contains(&hook.entry_offset), "{what}: {offset:#x} {hook:x?}");
}

/// The ways in which code gets at the address of a string, and with and without tables for unwinding.
const LAYOUTS: [&[&str]; 6] = [
    &["-shared", "-fPIC"],
    &["-shared", "-fPIC", "-fcf-protection=full", "-Wl,-z,noseparate-code"],
    &["-shared", "-fPIC", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"],
    &["-nostdlib", "-static", "-no-pie", "-fno-pie", "-Wl,--unresolved-symbols=ignore-all", "-Wl,-euse"],
    &[
        "-nostdlib",
        "-static",
        "-no-pie",
        "-fno-pie",
        "-Wl,--unresolved-symbols=ignore-all",
        "-Wl,-euse",
        "-fno-asynchronous-unwind-tables",
        "-fno-unwind-tables",
    ],
    &["-shared", "-fPIC", "-fstack-protector-all", "-fno-omit-frame-pointer"],
];

#[test]
fn boringssl_is_found_by_what_its_functions_raise() {
    let folder = tempfile::tempdir().unwrap();
    for layout in LAYOUTS {
        for variant in ["-DINLINED", "-DAPART", "-DWITHOUT_UNUSED"] {
            for level in ["-O1", "-O2", "-O3", "-Os"] {
                let what = format!("{layout:?} {variant} {level}");
                let flags = [&[variant, level], layout].concat();
                let Some(path) = compile(folder.path(), BORING, &flags) else { return };
                let [read, write, handshake] = offsets(&path, ["SSL_read", "SSL_write", "SSL_do_handshake"]);
                strip(&path);
                let Located { stack, plan } = only(&path);
                let plan = plan.unwrap_or_else(|reason| panic!("{what}: {reason}"));
                assert_eq!((stack, plan.stack), ("boringssl", "boringssl"));
                let [on_read, on_write, on_handshake] = &plan.hooks[..] else { panic!("{what}: {plan:x?}") };
                assert_at(on_read, read, &what);
                assert_at(on_write, write, &what);
                assert_at(on_handshake, handshake, &what);
                assert_eq!(on_read.kind, HookKind::Transfer(Direction::Read));
                assert_eq!(on_write.kind, HookKind::Transfer(Direction::Write));
                assert_eq!(on_handshake.kind, HookKind::Free);
                for hook in [on_read, on_write] {
                    assert_eq!(hook.transferred, Transferred::Returned);
                    assert_eq!(hook.returns, Returns::Probe(hook.entry_offset));
                }
            }
        }
    }
}

/// In hundreds of megabytes of code there are bytes that look like a call into the middle of a function.
#[test]
fn what_looks_like_a_call_ends_no_function() {
    let folder = tempfile::tempdir().unwrap();
    let source = format!("{BORING}\nasm(\".text\\nseeming: .byte 0xe8, 0, 0, 0, 0\\n\");\n");
    let flags = [&["-DINLINED", "-O2"], LAYOUTS[2]].concat();
    let Some(path) = compile(folder.path(), &source, &flags) else { return };
    let [write, seeming, others @ ..] =
        offsets(&path, ["SSL_write", "seeming", "SSL_shutdown", "SSL_read", "SSL_peek", "use"]);
    let next = others.into_iter().filter(|other| *other > write).min().unwrap_or(write + 0x100);
    strip(&path);
    let mut data = fs::read(&path).unwrap();
    let at = |offset: u64| usize::try_from(offset).unwrap();
    for inside in (write + 0x30)..next {
        if inside.is_multiple_of(16) || [0xc3, 0xcc, 0x90, 0x0b].contains(&data[at(inside) - 1]) {
            continue; // There a function may begin.
        }
        let distance = i32::try_from(inside.cast_signed() - (seeming + 5).cast_signed()).unwrap();
        data[at(seeming) + 1..][..4].copy_from_slice(&distance.to_le_bytes());
        fs::write(&path, &data).unwrap();
        let plan = only(&path).plan.unwrap_or_else(|reason| panic!("{inside:#x}: {reason}"));
        assert_at(&plan.hooks[1], write, "SSL_write");
    }
}

#[test]
fn openssl_1_1_1_is_found_by_the_numbers_of_its_functions() {
    let folder = tempfile::tempdir().unwrap();
    for layout in LAYOUTS {
        for level in ["-O1", "-O2", "-O3", "-Os"] {
            let what = format!("{layout:?} {level}");
            let flags = [&[level], layout].concat();
            let Some(path) = compile(folder.path(), NUMBERED, &flags) else { return };
            let truth = offsets(&path, ["ssl_read_internal", "ssl_write_internal", "SSL_free"]);
            strip(&path);
            let hooks = only(&path).plan.unwrap_or_else(|reason| panic!("{what}: {reason}")).hooks;
            assert_eq!(hooks.len(), 3, "{what}: {hooks:x?}");
            for (hook, offset) in hooks.iter().zip(truth) {
                assert_at(hook, offset, &what);
            }
            assert_eq!(hooks[0].transferred, Transferred::StoredThrough(4), "{what}");
            assert_eq!(hooks[1].transferred, Transferred::StoredThrough(4), "{what}");
        }
    }
}

#[test]
fn the_libssl_of_this_system_inside_a_stripped_program() {
    let folder = tempfile::tempdir().unwrap();
    for linked in [&["-static"][..], &["-static-pie"], &["-static", "-Wl,-z,noseparate-code"]] {
        let flags = [&["-O2"], linked, &["-lssl", "-lcrypto"]].concat();
        let Some(path) = compile(folder.path(), PROGRAM, &flags) else { return };
        let truth = offsets(&path, ["ssl_read_internal", "ssl_write_internal", "SSL_free"]);
        let named = locate(&File::open(&path).unwrap());
        strip(&path);
        let found = only(&path);
        assert_eq!(found.stack, "openssl");
        let hooks = found.plan.unwrap().hooks;
        for (hook, offset) in hooks.iter().zip(truth) {
            assert_at(hook, offset, &format!("{linked:?}"));
        }
        assert_eq!(named.len(), 1, "what has symbols is not searched for once more");
        let of_named: Vec<_> = named.into_iter().flat_map(|found| found.plan.unwrap().hooks).collect();
        assert_eq!(hooks, of_named, "{linked:?}");
    }
}

/// The real thing with its tables taken away, against what its symbols say.
#[test]
fn the_libssl_of_this_system_without_symbols() {
    let Ok(mut bytes) = fs::read("/usr/lib/x86_64-linux-gnu/libssl.so.3") else {
        eprintln!("SKIPPED: no libssl.so.3 here");
        return;
    };
    let named = locate(&bytes.as_slice());
    bytes[0x28..0x30].fill(0); // Where the section headers are, and how many.
    bytes[0x3c..0x40].fill(0);
    let found = locate(&bytes.as_slice());
    let [Located { stack: "openssl", plan: Ok(found) }] = &found[..] else { panic!("{found:?}") };
    let [Located { stack: "openssl", plan: Ok(named) }] = &named[..] else { panic!("{named:?}") };
    assert_eq!(found.hooks, named.hooks);
    assert_eq!((found.trust, named.trust), (Trust::Inferred, Trust::Symbols));
}

#[test]
fn what_could_be_two_functions_is_neither() {
    let folder = tempfile::tempdir().unwrap();
    for layout in LAYOUTS {
        let flags = [&["-DTWICE", "-O2"], layout].concat();
        let Some(path) = compile(folder.path(), BORING, &flags) else { return };
        strip(&path);
        let plan = only(&path).plan;
        assert!(matches!(plan, Err(Reason::NotLocated(why)) if why.contains("SSL_write")), "{plan:?}");
    }
}

/// Where the compiler has moved what raises errors out of the functions, the parts that do are no functions:
/// a probe there would see errors only.
#[test]
fn what_was_moved_out_of_a_function_is_not_taken_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let moved =
        BORING.replace("extern void ERR_put_error", "extern __attribute__((cold)) void ERR_put_error");
    for layout in LAYOUTS {
        let flags = [&["-O2", "-freorder-blocks-and-partition"], layout].concat();
        let Some(path) = compile(folder.path(), &moved, &flags) else { return };
        let parts = Command::new("nm").arg(&path).output().unwrap();
        assert!(String::from_utf8_lossy(&parts.stdout).contains("SSL_write.cold"), "nothing was moved");
        let truth = offsets(&path, ["SSL_read", "SSL_write", "SSL_do_handshake"]);
        strip(&path);
        match only(&path).plan {
            Err(reason) => assert!(matches!(reason, Reason::NotLocated(_)), "{layout:?}: {reason}"),
            Ok(plan) => {
                for (hook, offset) in plan.hooks.iter().zip(truth) {
                    assert_at(hook, offset, &format!("{layout:?}"));
                }
            }
        }
    }
}

#[test]
fn names_without_functions_are_a_stack_that_is_not_hooked() {
    let folder = tempfile::tempdir().unwrap();
    let Some(path) = compile(folder.path(), NAMES_ONLY, &["-shared", "-fPIC"]) else { return };
    let found = locate(&File::open(path).unwrap());
    let stacks: Vec<_> = found.iter().map(|located| located.stack).collect();
    assert_eq!(stacks, ["openssl", "boringssl"]);
    for located in found {
        assert!(matches!(located.plan, Err(Reason::NotLocated(_))), "{located:?}");
    }
}

#[test]
fn damaged_files_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    for layout in &LAYOUTS[1..4] {
        let flags = [&["-O2"], *layout].concat();
        let Some(path) = compile(folder.path(), BORING, &flags) else { return };
        strip(&path);
        let intact = fs::read(path).unwrap();
        let at = prop_oneof![0..1024_usize, 0..intact.len()];
        let damage = prop::collection::vec((at, prop_oneof![Just(0_u8), Just(0xff), any::<u8>()]), 1..12);
        proptest!(ProptestConfig::with_cases(300), |(damage in damage, end in 0..=intact.len(), cut: bool)| {
            let mut bytes = intact.clone();
            for (at, value) in damage {
                bytes[at] = value;
            }
            bytes.truncate(if cut { end } else { intact.len() });
            for located in locate(&bytes.as_slice()) {
                for hook in located.plan.into_iter().flat_map(|plan| plan.hooks) {
                    prop_assert!(hook.entry_offset < intact.len() as u64);
                }
            }
        });
    }
}
