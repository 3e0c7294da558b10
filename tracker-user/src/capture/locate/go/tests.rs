//! On programs that are built here, where there is a Go, and on small tables of functions that are not.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::capture::locate::{Source, locate};

/// Something with crypto/tls in it.
const PROGRAM: &str = r#"
package main
import ("net/http"; "os")
func main() { http.Get(os.Args[1]) }
"#;

/// Go releases: that of the machine, and those that the end-to-end tests have left.
fn toolchains() -> Vec<PathBuf> {
    let left = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/e2e");
    let mut found: Vec<PathBuf> = fs::read_dir(left)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("go/bin/go"))
        .filter(|program| program.exists())
        .collect();
    if Command::new("go").arg("version").output().is_ok_and(|output| output.status.success()) {
        found.push("go".into());
    }
    found.sort();
    if found.is_empty() {
        eprintln!("SKIPPED: no Go; `cargo xtask test` gets some for the end-to-end tests");
    }
    found
}

fn build(go: &Path, machine: &str, flags: &[&str], folder: &Path) -> Vec<u8> {
    let (source, output) = (folder.join("main.go"), folder.join("program"));
    fs::write(&source, PROGRAM).unwrap();
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/e2e/go-cache");
    let built = Command::new(go)
        .current_dir(folder)
        .envs([("GOARCH", machine), ("CGO_ENABLED", "0"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "")])
        .env("GOCACHE", cache)
        .args(["build", "-o"])
        .arg(&output)
        .args(flags)
        .arg(&source)
        .status();
    assert!(built.unwrap().success());
    fs::read(output).unwrap()
}

/// What the locator says, whatever machine the file is for.
fn located(bytes: &[u8]) -> Option<Located> {
    let source = bytes;
    let image = Image::parse(&source).ok()?;
    CryptoTls.locate(&Search::new(&image, std::iter::empty()))
}

fn hooks(bytes: &[u8]) -> Vec<Hook> {
    located(bytes).expect("it has crypto/tls").plan.expect("it can be hooked").hooks
}

/// The bytes of the instruction at a file offset.
fn at(bytes: &[u8], offset: u64) -> &[u8] {
    &bytes[offset as usize..][..8]
}

#[test]
fn programs_of_every_kind() {
    for go in toolchains() {
        for flags in [&[][..], &["-ldflags=-s -w"], &["-buildmode=pie", "-ldflags=-s -w"]] {
            let folder = tempfile::tempdir().unwrap();
            let bytes = build(&go, "amd64", flags, folder.path());
            let what = format!("{go:?} {flags:?}");
            let hooks = hooks(&bytes);
            assert_eq!(
                hooks.iter().map(|hook| hook.function).collect::<Vec<_>>(),
                [READ, WRITE, CLOSE],
                "{what}"
            );
            for hook in &hooks {
                // `jbe`, near.
                assert_eq!(at(&bytes, hook.entry_offset)[..2], [0x0f, 0x86], "{what}: {hook:?}");
                assert!(hook.emulated, "{what}: {hook:?}");
            }
            let Returns::Instructions(exits) = &hooks[0].returns else { panic!("{what}: {:?}", hooks[0]) };
            // One place for all that reads anything, which is a conditional jump with the count in a
            // register, and the returns of what reads nothing.
            let (first, others) = exits.split_first().unwrap();
            assert!(
                matches!(first.count, CountAt::Register(2..)) && first.stack_change > 0,
                "{what}: {exits:?}"
            );
            assert_eq!(at(&bytes, first.offset)[..1], [0x0f], "{what}: {exits:?}");
            assert!(!others.is_empty() && others.len() < 8, "{what}: {exits:?}");
            for exit in others {
                assert_eq!((exit.count, exit.stack_change), (CountAt::Register(1), 0), "{what}");
                assert_eq!(at(&bytes, exit.offset)[..1], [0xc3], "{what}: {exits:?}");
            }
        }
    }
}

/// With one release: the standard library is compiled for it.
#[test]
fn programs_for_aarch64() {
    for go in toolchains().into_iter().rev().take(1) {
        let folder = tempfile::tempdir().unwrap();
        let bytes = build(&go, "arm64", &["-ldflags=-s -w"], folder.path());
        let hooks = hooks(&bytes);
        assert_eq!(
            hooks.iter().map(|hook| hook.function).collect::<Vec<_>>(),
            [READ, WRITE, CLOSE],
            "{go:?}"
        );
        for hook in &hooks {
            let word = u32::from_le_bytes(at(&bytes, hook.entry_offset)[..4].try_into().unwrap());
            assert_eq!(word & 0xff00_001f, 0x5400_0009, "{go:?}: no b.ls: {hook:?}");
        }
        let Returns::Instructions(exits) = &hooks[0].returns else { panic!("{:?}", hooks[0]) };
        assert!(exits.len() > 3);
        for exit in exits {
            assert_eq!(at(&bytes, exit.offset)[..4], 0xd65f_03c0_u32.to_le_bytes(), "{go:?}: {exit:?}");
        }
    }
}

#[test]
fn without_section_names_of_its_own() {
    for go in toolchains() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = build(&go, "amd64", &["-ldflags=-s -w"], folder.path());
        let expected = hooks(&bytes);
        // As a C linker leaves it: the table is somewhere.
        let name = memchr::memmem::find(&bytes, b"\0.gopclntab\0").unwrap();
        bytes[name + 2] = b'x';
        assert_eq!(hooks(&bytes), expected, "{go:?}");
    }
}

#[test]
fn a_program_without_crypto_tls() {
    for go in toolchains().into_iter().take(1) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("small.go"), "package main\nfunc main() { println(1) }\n").unwrap();
        let output = folder.path().join("small");
        let built = Command::new(&go)
            .current_dir(folder.path())
            .envs([("CGO_ENABLED", "0"), ("GOTOOLCHAIN", "local"), ("GOFLAGS", "")])
            .env("GOCACHE", folder.path().join("cache"))
            .args(["build", "-o"])
            .args([&output, &folder.path().join("small.go")])
            .status();
        assert!(built.unwrap().success());
        let bytes = fs::read(output).unwrap();
        assert_eq!(located(&bytes), None);
        assert_eq!(locate(&bytes.as_slice() as &dyn Source), []);
    }
}

/// The parts of a table in the shape of Go 1.20, with functions at these distances, 64 bytes each.
fn table(names: &[&str], text_start: u64) -> Vec<u8> {
    let count = names.len() as u64;
    let mut blob = vec![0_u8];
    let mut positions = Vec::new();
    for name in names {
        positions.push(blob.len() as u32);
        blob.extend(name.bytes());
        blob.push(0);
    }
    while blob.len() % 8 != 0 {
        blob.push(0);
    }
    let names_at = 8 + 8 * 8_u64;
    let functions_at = names_at + blob.len() as u64;
    let mut bytes = vec![0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8];
    for word in [count, 0, text_start, names_at, functions_at, functions_at, functions_at, functions_at] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(&blob);
    let described = (count as u32 * 2 + 1) * 4;
    for at in 0..count as u32 {
        bytes.extend((at * 64).to_le_bytes());
        bytes.extend((described + at * 8).to_le_bytes());
    }
    bytes.extend((count as u32 * 64).to_le_bytes());
    for (at, position) in positions.iter().enumerate() {
        bytes.extend((at as u32 * 64).to_le_bytes());
        bytes.extend(position.to_le_bytes());
    }
    bytes
}

/// An ELF file with a section for the table and one for code that begins at 0x401000.
fn elf(table: &[u8], code: &[u8]) -> Vec<u8> {
    let names = b"\0.gopclntab\0.shstrtab\0";
    let (table_at, code_at) = (0x200_u64, 0x1000_u64);
    let names_at = table_at + table.len() as u64;
    assert!(names_at + (names.len() as u64) < code_at);
    let sections_at = code_at + code.len().next_multiple_of(8) as u64;
    let mut bytes = vec![0; sections_at as usize];
    let mut put = |at: u64, what: &[u8]| bytes[at as usize..][..what.len()].copy_from_slice(what);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &[2, 0, 62, 0, 1]);
    put(32, &64_u64.to_le_bytes());
    put(40, &sections_at.to_le_bytes());
    // Sizes and counts: header, program headers, section headers, index of the names.
    put(52, &[64, 0, 56, 0, 2, 0, 64, 0, 3, 0, 2, 0]);
    for (n, (flags, offset, length)) in
        [(4_u32, 0, code_at), (5, code_at, code.len() as u64)].into_iter().enumerate()
    {
        let at = 64 + 56 * n as u64;
        put(at, &1_u32.to_le_bytes());
        put(at + 4, &flags.to_le_bytes());
        for (word, value) in [(8, offset), (16, 0x40_0000 + offset), (32, length), (40, length)] {
            put(at + word, &value.to_le_bytes());
        }
    }
    put(table_at, table);
    put(names_at, names);
    put(code_at, code);
    bytes.extend([0; 64]);
    for (name, kind, offset, length) in
        [(1_u32, 1_u32, table_at, table.len() as u64), (12, 3, names_at, names.len() as u64)]
    {
        let mut section = [0; 64];
        section[..4].copy_from_slice(&name.to_le_bytes());
        section[4..8].copy_from_slice(&kind.to_le_bytes());
        section[24..32].copy_from_slice(&offset.to_le_bytes());
        section[32..40].copy_from_slice(&length.to_le_bytes());
        bytes.extend(section);
    }
    bytes
}

/// `cmp 0x10(%r14),%rsp; jbe +0; test %rcx,%rcx; je +3; mov %rcx,%rax; ret`, in 64 bytes.
fn function() -> Vec<u8> {
    let mut code = vec![0x49, 0x3b, 0x66, 0x10, 0x76, 0x00];
    code.extend([0x48, 0x85, 0xc9, 0x74, 0x03, 0x48, 0x89, 0xc8, 0xc3]);
    code.resize(64, 0xcc);
    code
}

/// All in one: names, and where the code is said to begin.
fn victim(text_start: u64) -> Vec<u8> {
    let names = ["main.main", READ, WRITE, CLOSE];
    elf(&table(&names, text_start), &function().repeat(names.len()))
}

#[test]
fn a_small_table() {
    // Where it says where its code begins, and where it does not.
    for text_start in [0x40_1000, 0] {
        let hooks = hooks(&victim(text_start));
        let entries: Vec<u64> = hooks.iter().map(|hook| hook.entry_offset).collect();
        assert_eq!(entries, [0x1044, 0x1084, 0x10c4]);
        assert_eq!(hooks[1].returns, Returns::None);
        let exit = Exit { offset: 0x104e, count: CountAt::Register(1), stack_change: 0 };
        assert_eq!(hooks[0].returns, Returns::Instructions(vec![exit]));
    }
}

#[test]
fn what_is_not_there_is_said() {
    let reason = |names: &[&str], code: &[u8]| {
        located(&elf(&table(names, 0x40_1000), code)).map(|located| located.plan.unwrap_err())
    };
    let code = function().repeat(3);
    assert_eq!(reason(&["main.main", "main.a", "main.b"], &code), None);
    assert!(matches!(reason(&["main.main", READ, CLOSE], &code), Some(Reason::NotLocated(_))));
    // No check of a stack where functions should begin.
    assert!(matches!(reason(&["main.main", READ, WRITE], &[0xcc; 192]), Some(Reason::NotLocated(_))));
    // Arguments on the stack: `mov %fs:-8,%rcx; cmp 0x10(%rcx),%rsp; jbe`.
    let mut old =
        vec![0x64, 0x48, 0x8b, 0x0c, 0x25, 0xf8, 0xff, 0xff, 0xff, 0x48, 0x3b, 0x61, 0x10, 0x76, 0, 0xc3];
    old.resize(64, 0xcc);
    let found = reason(&["main.main", READ, WRITE], &old.repeat(3));
    assert!(found.as_ref().is_some_and(|reason| reason.to_string().contains("on the stack")), "{found:?}");
}

#[test]
fn damaged_tables_do_no_harm() {
    let intact = victim(0);
    let place = prop_oneof![0x200..0x400_usize, 0..intact.len()];
    let damage = prop::collection::vec((place, prop_oneof![Just(0_u8), Just(0xff), any::<u8>()]), 1..10);
    proptest!(ProptestConfig::with_cases(2000), |(damage in damage, end in 0..=intact.len(), cut: bool)| {
        let mut bytes = intact.clone();
        for (at, value) in damage {
            bytes[at] = value;
        }
        bytes.truncate(if cut { end } else { intact.len() });
        let _ = located(&bytes);
    });
}

/// Code of any kind where functions should be.
#[test]
fn damaged_code_does_no_harm() {
    proptest!(ProptestConfig::with_cases(1000), |(noise in prop::collection::vec(any::<u8>(), 1..56))| {
        let names = ["main.main", READ, WRITE, CLOSE];
        let mut code = function().repeat(names.len());
        code[64 + 6..][..noise.len()].copy_from_slice(&noise);
        let _ = located(&elf(&table(&names, 0x40_1000), &code));
    });
}
