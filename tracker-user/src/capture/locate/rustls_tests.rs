//! On small libraries with the shape of aws-lc's `aead.c` and what rustls says, compiled here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tests::{compile, truth};
use super::{Located, Reason, locate};
use crate::capture::{AeadFunction, Direction, Hook, HookKind, Layout, Returns};

/// The functions, each with the errors that it reports, and nothing of what else they do.
const AEAD: &str = r#"
#include <stddef.h>
#include <stdint.h>
#include <string.h>
typedef struct context Context;
typedef struct {
    uint8_t key_length, nonce_length, overhead, tag_length; uint16_t id; int extra;
    int (*init)(Context *, const uint8_t *, size_t, size_t);
    int (*init_with_direction)(Context *, const uint8_t *, size_t, size_t, int);
    void (*cleanup)(Context *);
    int (*open)(const Context *, uint8_t *, size_t *, size_t, const uint8_t *, size_t, const uint8_t *, size_t, const uint8_t *, size_t);
    int (*seal)(const Context *, uint8_t *, uint8_t *, size_t *, size_t, const uint8_t *, size_t, const uint8_t *, size_t, const uint8_t *, size_t, const uint8_t *, size_t);
    int (*gather)(const Context *, uint8_t *, const uint8_t *, size_t, const uint8_t *, size_t, const uint8_t *, size_t, const uint8_t *, size_t);
} Aead;
struct context { const Aead *aead; char state[560]; uint8_t tag; };
__attribute__((noinline)) void report(int library, int unused, int reason, const char *file, unsigned line) {
    __asm__ volatile("" : : "r"(library), "r"(reason), "r"(file), "r"(line));
}
__attribute__((noinline)) void release(void *memory) { __asm__ volatile("" : : "r"(memory)); }
const char *says(void) { return RUSTLS; }
#line 100 "/aws-lc/crypto/fipsmodule/cipher/aead.c"
#define RAISE(reason) report(30, 0, reason, __FILE__, __LINE__)
static int apart(const uint8_t *in, size_t n, const uint8_t *out, size_t m) {
    return in + n <= out || out + m <= in || in == out;
}
int begin(Context *c, const Aead *aead, const uint8_t *key, size_t n, size_t tag, int direction) {
    if (n != aead->key_length) { RAISE(120); c->aead = NULL; return 0; }
    c->aead = aead;
    int ok = aead->init ? aead->init(c, key, n, tag) : aead->init_with_direction(c, key, n, tag, direction);
    if (!ok) c->aead = NULL;
    return ok;
}
void clear(Context *c) {
    if (c->aead == NULL) return;
    if (c->aead->cleanup != NULL) c->aead->cleanup(c);
    c->aead = NULL;
}
void drop(Context *c) { if (c == NULL) return; clear(c); release(c); }
int seal(const Context *c, uint8_t *out, size_t *n, size_t room, const uint8_t *nonce, size_t nonces,
         const uint8_t *in, size_t length, const uint8_t *ad, size_t ads) {
    size_t tag;
    if (length + c->aead->overhead < length) { RAISE(117); goto error; }
    if (room < length) { RAISE(103); goto error; }
    if (!apart(in, length, out, room)) { RAISE(115); goto error; }
    if (c->aead->seal(c, out, out + length, &tag, room - length, nonce, nonces, in, length, NULL, 0, ad, ads)) {
        *n = length + tag; return 1;
    }
error:
    memset(out, 0, room); *n = 0; return 0;
}
int scatter(const Context *c, uint8_t *out, uint8_t *tag, size_t *n, size_t room, const uint8_t *nonce,
            size_t nonces, const uint8_t *in, size_t length, const uint8_t *extra, size_t extras,
            const uint8_t *ad, size_t ads) {
    if (!apart(in, length, out, length)) { RAISE(115); goto error; }
    if (!c->aead->extra && extras) { RAISE(112); goto error; }
    if (c->aead->seal(c, out, tag, n, room, nonce, nonces, in, length, extra, extras, ad, ads)) return 1;
error:
    memset(out, 0, length); memset(tag, 0, room); *n = 0; return 0;
}
int gather(const Context *c, uint8_t *out, const uint8_t *nonce, size_t nonces, const uint8_t *in,
           size_t length, const uint8_t *tag, size_t tags, const uint8_t *ad, size_t ads) {
    if (!apart(in, length, out, length)) { RAISE(115); goto error; }
    if (!c->aead->gather) { RAISE(104); goto error; }
    if (c->aead->gather(c, out, nonce, nonces, in, length, tag, tags, ad, ads)) return 1;
error:
    memset(out, 0, length); return 0;
}
#ifdef TWICE
int another(const Context *c, uint8_t *out, size_t n, const uint8_t *in) {
    if (!apart(in, n, out, n)) { RAISE(115); return 2; }
    if (!c->aead->gather) { RAISE(104); return 3; }
    return c->aead->gather(c, out, in, n, in, n, in, 16, in, 5);
}
#endif
#ifndef WITHOUT
int open_(const Context *c, uint8_t *out, size_t *n, size_t room, const uint8_t *nonce, size_t nonces,
          const uint8_t *in, size_t length, const uint8_t *ad, size_t ads) {
    if (!apart(in, length, out, room)) { RAISE(115); goto error; }
    if (c->aead->open) {
        if (!c->aead->open(c, out, n, room, nonce, nonces, in, length, ad, ads)) goto error;
        return 1;
    }
    if (length < c->tag) { RAISE(101); goto error; }
    if (room < length - c->tag) { RAISE(103); goto error; }
    if (gather(c, out, nonce, nonces, in, length - c->tag, in + length - c->tag, c->tag, ad, ads)) {
        *n = length - c->tag; return 1;
    }
error:
    memset(out, 0, room); *n = 0; return 0;
}
#endif
"#;

const SAYS: &str = r#"-DRUSTLS="cannot decrypt peer's message""#;

/// A library, and where its functions are by their names, which it has lost.
fn stripped(folder: &Path, flags: &[&str]) -> Option<(PathBuf, impl Fn(&str) -> u64 + use<>)> {
    let library = compile(folder, AEAD, flags)?;
    let names = ["begin", "clear", "drop", "seal", "scatter", "gather", "open_"];
    let offsets: Vec<u64> = names
        .iter()
        .map(
            |name| if flags.contains(&"-DWITHOUT") && *name == "open_" { 0 } else { truth(&library, name).0 },
        )
        .collect();
    assert!(Command::new("strip").arg(&library).status().unwrap().success());
    Some((library, move |name: &str| offsets[names.iter().position(|it| *it == name).unwrap()]))
}

fn judge(library: &Path) -> Vec<Located> {
    locate(&File::open(library).unwrap())
}

fn hooks(found: &[Located]) -> &[Hook] {
    match found {
        [Located { stack: "rustls", plan: Ok(plan) }] => &plan.hooks,
        other => panic!("{other:?}"),
    }
}

#[test]
fn its_functions_are_found_in_stripped_code() {
    for level in ["-O1", "-O2", "-O3", "-Os"] {
        for protection in ["-fcf-protection=none", "-fcf-protection=full"] {
            let folder = tempfile::tempdir().unwrap();
            let Some((library, offset)) = stripped(folder.path(), &[level, protection, SAYS]) else { return };
            let found = judge(&library);
            let hooks = hooks(&found);
            let near = |name: &str, hook: &Hook| {
                assert!(
                    (offset(name)..offset(name) + 24).contains(&hook.entry_offset),
                    "{level} {name} {hook:?}"
                );
            };
            for (name, function) in [
                ("seal", AeadFunction::Seal),
                ("scatter", AeadFunction::SealScatter),
                ("open_", AeadFunction::Open),
                ("gather", AeadFunction::OpenGather),
            ] {
                let hook = hooks.iter().find(|hook| hook.layout == Layout::Aead(function)).unwrap();
                near(name, hook);
                let reads = function.direction() == Direction::Read;
                assert_eq!(hook.kind, HookKind::Transfer(function.direction()));
                let returns = if reads { Returns::Probe(hook.entry_offset) } else { Returns::None };
                assert_eq!(hook.returns, returns);
            }
            near("begin", hooks.iter().find(|hook| hook.kind == HookKind::Begin).unwrap());
            let clears: Vec<_> = hooks.iter().filter(|hook| hook.kind == HookKind::Free).collect();
            assert!(!clears.is_empty() && clears.len() <= 2, "{level} {clears:?}");
            // Either it alone, or what has it inlined as well.
            near(
                "clear",
                clears.iter().min_by_key(|hook| hook.entry_offset.abs_diff(offset("clear"))).unwrap(),
            );
        }
    }
}

#[test]
fn a_function_that_is_not_there_is_no_reason_to_do_without() {
    let folder = tempfile::tempdir().unwrap();
    // Those that open are two, of which one will do.
    let Some((library, _)) = stripped(folder.path(), &["-O2", SAYS, "-DWITHOUT"]) else { return };
    assert_eq!(
        hooks(&judge(&library))
            .iter()
            .filter(|hook| hook.kind == HookKind::Transfer(Direction::Read))
            .count(),
        1
    );
    // That which clears is one.
    let without = AEAD.replace("c->aead->cleanup(c)", "c->tag = 0");
    let Some(library) = compile(folder.path(), &without, &["-O2", SAYS]) else { return };
    assert!(matches!(judge(&library)[..], [Located { plan: Err(Reason::NotLocated(_)), .. }]));
    let without = AEAD.replace("RAISE(117)", "RAISE(118)");
    let Some(library) = compile(folder.path(), &without, &["-O2", SAYS]) else { return };
    assert!(matches!(judge(&library)[..], [Located { plan: Err(Reason::NotLocated(_)), .. }]));
}

#[test]
fn two_that_fit_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let Some((library, _)) = stripped(folder.path(), &["-O2", SAYS, "-DTWICE"]) else { return };
    assert!(matches!(judge(&library)[..], [Located { plan: Err(Reason::NotLocated(_)), .. }]));
}

/// Another library on aws-lc has its own functions, and is hooked there.
#[test]
fn without_rustls_it_is_somebody_else() {
    let folder = tempfile::tempdir().unwrap();
    let Some((library, _)) = stripped(folder.path(), &["-O2", r#"-DRUSTLS="cannot decrypt""#]) else {
        return;
    };
    assert_eq!(judge(&library), []);
}

/// A tool that looks for rustls holds the same strings.
#[test]
fn its_own_anchors_are_not_rustls() {
    let found = locate(&File::open("/proc/self/exe").unwrap());
    // It has rustls in it, on ring.
    assert!(found.iter().all(|located| located.plan.is_err()), "{found:?}");
}

#[test]
fn a_damaged_file_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let Some((library, _)) = stripped(folder.path(), &["-O2", SAYS]) else { return };
    let intact = fs::read(library).unwrap();
    let strategy = proptest::collection::vec((0..intact.len(), proptest::arbitrary::any::<u8>()), 1..40);
    proptest::proptest!(proptest::prelude::ProptestConfig::with_cases(200), |(damage in strategy, end in 0..=intact.len(), cut: bool)| {
        let mut bytes = intact.clone();
        for (at, value) in damage {
            bytes[at] = value;
        }
        bytes.truncate(if cut { end } else { intact.len() });
        let _ = locate(&bytes.as_slice());
    });
}
