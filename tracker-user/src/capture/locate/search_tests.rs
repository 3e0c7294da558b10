//! The searches that locators share, on files whose every byte is known.

use std::process::Command;

use object::{Object as _, ObjectSymbol as _};

use super::elf::Image;
use super::references::{self, Kind, Reference};
use super::{Located, Reason, locate};
use super::{strings, unwind};

const READ: u32 = 4;
const WRITE: u32 = 2;
const EXECUTE: u32 = 1;
/// Where the first part of a file is loaded; each further one follows at the next million.
const BASE: u64 = 0x10_0000;

/// An ELF file for x86-64 of these parts, loaded from [`BASE`] on; the first holds no headers.
fn elf(parts: &[(u32, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; 64 + 56 * parts.len()];
    file[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0");
    file[0x20] = 64;
    file[0x36] = 56;
    file[0x38] = parts.len() as u8;
    for (index, (flags, bytes)) in parts.iter().enumerate() {
        let (header, offset) = (64 + 56 * index, file.len() as u64);
        let address = BASE + 0x10_0000 * index as u64;
        let length = bytes.len() as u64;
        for (at, value) in
            [(0, u64::from(*flags) << 32 | 1), (8, offset), (16, address), (32, length), (40, length)]
        {
            file[header + at..][..8].copy_from_slice(&value.to_le_bytes());
        }
        file.extend_from_slice(bytes);
    }
    file
}

/// Many bytes, with others put in.
fn filled(length: usize, inserts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0x90; length];
    for (at, insert) in inserts {
        bytes[*at..][..insert.len()].copy_from_slice(insert);
    }
    bytes
}

const PIECE: usize = 256 * 1024;

#[test]
fn strings_are_found_once_also_where_two_pieces_meet() {
    let places = [0, 7, PIECE - 9, PIECE - 4, 2 * PIECE - 17, 2 * PIECE + 40];
    for place in places {
        let constants = filled(2 * PIECE + 44, &[(place, b"name"), (100, b"other")]);
        let file = elf(&[(READ, &constants), (READ | WRITE, b"name"), (READ | EXECUTE, b"name")]);
        let source = file.as_slice();
        let image = Image::parse(&source).unwrap();
        let [names, others] = strings::find(&image, [b"name", b"other"]).unwrap();
        assert_eq!(names, [BASE + place as u64], "not in variables, and not in code");
        assert_eq!(others, [BASE + 100]);
    }
}

#[test]
fn the_beginning_of_a_string_is_after_a_zero_or_what_is_no_text() {
    for (text, at, begins) in [
        (&b"../ssl/ssl_lib.c\0"[..], 7, 0),
        (b"a\0../ssl/ssl_lib.c\0", 9, 2),
        (b"\xc3../ssl/ssl_lib.c\0", 8, 1),
        (b"\0ssl/ssl_lib.c\0", 1, 1),
    ] {
        let file = elf(&[(READ, text)]);
        let source = file.as_slice();
        let image = Image::parse(&source).unwrap();
        assert_eq!(strings::start(&image, BASE + at), Some(BASE + begins), "{text:?}");
    }
    let long = filled(600, &[]).iter().map(|_| b'x').collect::<Vec<_>>();
    let file = elf(&[(READ, &long)]);
    let source = file.as_slice();
    assert_eq!(strings::start(&Image::parse(&source).unwrap(), BASE + 500), None, "no name is that long");
}

#[test]
fn references_are_found_once_in_all_their_forms() {
    let target = BASE + 0x10_0000 + 0x20;
    let distance = |from: usize| ((target - BASE - from as u64) as u32).to_le_bytes();
    let number = (target as u32).to_le_bytes();
    for (opcode, absolute, kind) in [
        (&[0x48, 0x8d, 0x3d][..], false, Kind::Address), // lea rdi, [rip + ...]
        (&[0x4c, 0x8d, 0x05], false, Kind::Address),     // lea r8, [rip + ...]
        (&[0xe8], false, Kind::Call),
        (&[0xe9], false, Kind::Jump),
        (&[0x0f, 0x84], false, Kind::Jump),         // je
        (&[0xb9], true, Kind::Address),             // mov ecx, ...
        (&[0x41, 0xb8], true, Kind::Address),       // mov r8d, ...
        (&[0x48, 0xc7, 0xc1], true, Kind::Address), // mov rcx, ...
        (&[0x68], true, Kind::Address),             // push ...
    ] {
        for place in [3, 100, PIECE - 10, PIECE - 5, PIECE, 2 * PIECE] {
            let field = place + opcode.len();
            let operand = if absolute { number } else { distance(field + 4) };
            let code = filled(2 * PIECE + 64, &[(place, opcode), (field, &operand)]);
            let file = elf(&[(READ | EXECUTE, &code), (READ, &[0; 64])]);
            let source = file.as_slice();
            let image = Image::parse(&source).unwrap();
            let found = references::find(&image, &[target..target + 1, 0..4]).unwrap();
            let expected = Reference { at: BASE + field as u64, target, kind };
            assert_eq!(found, [expected], "{opcode:x?} at {place}");
        }
    }
}

#[test]
fn what_has_no_such_opcode_is_no_reference() {
    let target = BASE + 0x10_0000;
    let distance = ((target - BASE - 104) as u32).to_le_bytes();
    for opcode in [&[0x48, 0x8b, 0x3d][..], &[0x48, 0x8d, 0x3c], &[0x90, 0x90, 0x90]] {
        let code = filled(256, &[(97, opcode), (100, &distance)]);
        let file = elf(&[(READ | EXECUTE, &code), (READ, &[0; 64])]);
        let source = file.as_slice();
        let image = Image::parse(&source).unwrap();
        assert_eq!(references::taking(&image, &[target]).unwrap(), [0_u64; 0], "{opcode:x?}");
    }
}

/// Thousands of references, each of which could be in a function of its own.
#[test]
fn a_file_that_is_made_to_take_long_is_given_up() {
    let text = b"ssl/ssl_lib.cc\0";
    for count in [4000_i32, 5000] {
        let mut code = Vec::new();
        for n in 0..count {
            let lea = BASE + code.len() as u64 + 7;
            code.extend_from_slice(&[0x48, 0x8d, 0x3d]); // lea rdi, [rip + ...]
            code.extend_from_slice(&((BASE + 0x10_0000 - lea) as u32).to_le_bytes());
            code.extend_from_slice(&[0x74, 0xf7, 0x75, 0xf5]); // je, jne: back
            code.push(0xe8); // call of something a little before
            code.extend_from_slice(&(-(n % 100) * 16).to_le_bytes());
        }
        let file = elf(&[(READ | EXECUTE, &code), (READ, text)]);
        let found = locate(&file.as_slice());
        let [Located { plan: Err(Reason::NotLocated(_)), .. }] = found[..] else { panic!("{found:?}") };
    }
}

/// Every function of a real library: its extent by the tables for unwinding, against its symbols.
#[test]
fn the_extent_of_functions_is_that_of_their_symbols() {
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (folder.path().join("f.c"), folder.path().join("f.so"));
    let functions: String = (0..200)
        .map(|n| format!("int f{n}(int a) {{ for (int i = 0; i < a; i++) a += i * {n}; return a; }}\n"))
        .collect();
    std::fs::write(&input, functions).unwrap();
    for flags in [&["-O1", "-shared", "-fPIC"][..], &["-O1", "-shared", "-fPIC", "-fexceptions"]] {
        let Ok(compiled) = Command::new("gcc").args(flags).arg("-o").args([&output, &input]).status() else {
            eprintln!("SKIPPED: gcc cannot be run");
            return;
        };
        assert!(compiled.success());
        let data = std::fs::read(&output).unwrap();
        let source = data.as_slice();
        let image = Image::parse(&source).unwrap();
        let file = object::File::parse(source).unwrap();
        let named: Vec<_> = file
            .symbols()
            .filter(|symbol| {
                symbol.name().is_ok_and(|name| name.starts_with('f') && name[1..].parse::<u8>().is_ok())
            })
            .collect();
        assert_eq!(named.len(), 200);
        for symbol in named {
            let (start, end) = (symbol.address(), symbol.address() + symbol.size());
            for inside in [start, start + 1, end - 1] {
                assert_eq!(unwind::function(&image, inside), Some(start..end));
            }
            // Padding belongs to none.
            let after = unwind::function(&image, end);
            assert!(after.is_none_or(|next| next.start == end), "{symbol:?}");
        }
        assert_eq!(unwind::function(&image, 0), None);
        assert_eq!(unwind::function(&image, u64::MAX), None);
    }
}
