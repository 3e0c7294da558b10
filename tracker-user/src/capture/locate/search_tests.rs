//! The searches that locators share, on files whose every byte is known.

use std::process::Command;

use object::{Object as _, ObjectSymbol as _};

use super::elf::Image;
use super::references::{self, Reference};
use super::strings::{self, Stands, Text};
use super::{Located, Reason, locate, unwind};

const READ: u32 = 4;
const WRITE: u32 = 2;
const EXECUTE: u32 = 1;
/// Where the first part of a file is loaded; each further one follows at the next million.
const BASE: u64 = 0x10_0000;

const X86_64: u8 = 0x3e;
const AARCH64: u8 = 0xb7;
/// Loaded where it says.
const EXECUTABLE: u8 = 2;
/// Loaded anywhere.
const DYNAMIC: u8 = 3;

/// An ELF file for x86-64 of these parts, loaded from [`BASE`] on; the first holds no headers.
fn elf(parts: &[(u32, &[u8])]) -> Vec<u8> {
    elf_of(DYNAMIC, X86_64, parts)
}

/// The same, of another kind or for another machine.
fn elf_of(kind: u8, machine: u8, parts: &[(u32, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; 64 + 56 * parts.len()];
    file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    file[16] = kind;
    file[18] = machine;
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

/// Where some texts are in a file.
fn texts(file: &[u8], texts: &[(&'static str, Stands)]) -> Vec<Vec<u64>> {
    let texts: Vec<Text> = texts.iter().map(|&(bytes, stands)| Text { bytes, stands }).collect();
    let image = Image::parse(&file).unwrap();
    strings::find(&image, &texts.iter().collect::<Vec<_>>()).unwrap()
}

#[test]
fn strings_are_found_once_also_where_two_pieces_meet() {
    let places = [0, 7, PIECE - 9, PIECE - 5, PIECE - 4, 2 * PIECE - 17, 2 * PIECE + 39];
    for place in places {
        let constants = filled(2 * PIECE + 44, &[(place, b"name\0"), (100, b"other\0")]);
        let file = elf(&[(READ, &constants), (READ | WRITE, b"name\0"), (READ | EXECUTE, b"name\0")]);
        let found = texts(&file, &[("name", Stands::Alone), ("other", Stands::Alone)]);
        let expected = [vec![BASE + place as u64], vec![BASE + 100]];
        assert_eq!(found, expected, "not in variables, and not in code");
    }
}

#[test]
fn a_string_of_c_ends_with_a_zero_and_another_need_not() {
    let file = elf(&[(READ, b"a name, and a name\0, and a nam")]);
    let found = texts(&file, &[("name", Stands::Alone), ("name", Stands::Anywhere)]);
    assert_eq!(found, [vec![BASE + 14], vec![BASE + 2, BASE + 14]]);
}

#[test]
fn the_beginning_of_a_string_is_after_a_zero_or_what_is_no_text() {
    let begins = |text: &[u8]| texts(&elf(&[(READ, text)]), &[("ssl_lib.c", Stands::AtTheEnd)]).concat();
    for (text, at) in [
        (&b"../ssl/ssl_lib.c\0"[..], 0),
        (b"a\0../ssl/ssl_lib.c\0", 2),
        (b"\xc3../ssl/ssl_lib.c\0", 1),
        (b"\0ssl/ssl_lib.c\0", 1),
        (b"ssl_lib.c\0", 0),
    ] {
        assert_eq!(begins(text), [BASE + at], "{text:?}");
    }
    let long = [&[b'x'; 500][..], b"ssl_lib.c\0"].concat();
    assert_eq!(begins(&long), [0_u64; 0], "no name is that long");
}

/// What refers to something 32 bytes into the second part of a file with this code.
fn referring(kind: u8, machine: u8, code: &[u8], calls: bool) -> Vec<Reference> {
    let file = elf_of(kind, machine, &[(READ | EXECUTE, code), (READ, &[0; 64])]);
    let source = file.as_slice();
    let image = Image::parse(&source).unwrap();
    if calls {
        references::calling(&image, [TARGET..TARGET + 1, 0..4].into_iter()).unwrap()
    } else {
        references::taking(&image, &[0, TARGET]).unwrap()
    }
}

const TARGET: u64 = BASE + 0x10_0000 + 0x20;

#[test]
fn references_are_found_once_in_all_their_forms() {
    let distance = |from: usize| ((TARGET - BASE - from as u64) as u32).to_le_bytes();
    let number = (TARGET as u32).to_le_bytes();
    for (opcode, absolute, calls) in [
        (&[0x48, 0x8d, 0x3d][..], false, false), // lea rdi, [rip + ...]
        (&[0x4c, 0x8d, 0x05], false, false),     // lea r8, [rip + ...]
        (&[0xe8], false, true),                  // call
        (&[0xb9], true, false),                  // mov ecx, ...
        (&[0x41, 0xb8], true, false),            // mov r8d, ...
        (&[0x48, 0xc7, 0xc1], true, false),      // mov rcx, ...
        (&[0x68], true, false),                  // push ...
    ] {
        for place in [3, 100, PIECE - 10, PIECE - 5, PIECE, 2 * PIECE] {
            let field = place + opcode.len();
            let operand = if absolute { number } else { distance(field + 4) };
            let code = filled(2 * PIECE + 64, &[(place, opcode), (field, &operand)]);
            let found = referring(EXECUTABLE, X86_64, &code, calls);
            let expected = Reference { at: BASE + field as u64, target: TARGET };
            assert_eq!(found, [expected], "{opcode:x?} at {place}");
            let movable = referring(DYNAMIC, X86_64, &code, calls);
            assert_eq!(movable.is_empty(), absolute, "no address is written in code that can be anywhere");
        }
    }
}

#[test]
fn what_has_no_such_opcode_is_no_reference() {
    let distance = ((TARGET - BASE - 104) as u32).to_le_bytes();
    for opcode in [&[0x48, 0x8b, 0x3d][..], &[0x48, 0x8d, 0x3c], &[0x90, 0x90, 0x90], &[0x90, 0x8d, 0x3d]] {
        let code = filled(256, &[(97, opcode), (100, &distance)]);
        assert_eq!(referring(EXECUTABLE, X86_64, &code, false), [], "{opcode:x?}");
    }
}

/// Instructions of 64-bit ARM that lead from a place in the code to [`TARGET`], as its manual encodes them.
fn arm(from: u64) -> [u32; 4] {
    let distance = (TARGET - BASE - from) as u32;
    let split = |distance: u32| (distance & 3) << 29 | (distance >> 2 & 0x7_ffff) << 5;
    let pages = ((TARGET >> 12) - ((BASE + from) >> 12)) as u32;
    [
        0x9000_0003 | split(pages),                    // adrp x3, ...
        0x9100_0064 | ((TARGET & 0xfff) as u32) << 10, // add x4, x3, ...
        0x9400_0000 | distance >> 2,                   // bl
        0x1000_0005 | split(distance),                 // adr x5, ...
    ]
}

#[test]
fn references_of_arm_are_found_in_all_their_forms() {
    let nop = 0xd503_201f_u32;
    let code_of = |words: &[(usize, u32)]| {
        let mut code = vec![nop; PIECE / 2];
        words.iter().for_each(|(at, word)| code[at / 4] = *word);
        code.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>()
    };
    for place in [64, 100, PIECE - 8, PIECE - 4, PIECE] {
        let [page, rest, call, near] = arm(place as u64);
        let expected = |at: usize| [Reference { at: BASE + at as u64, target: TARGET }];
        for gap in [4, 40] {
            let code = code_of(&[(place, page), (place + gap, rest)]);
            assert_eq!(referring(DYNAMIC, AARCH64, &code, false), expected(place + gap), "{place} {gap}");
        }
        let far = code_of(&[(place, page), (place + 4 * 33, rest)]);
        assert_eq!(referring(DYNAMIC, AARCH64, &far, false), []);
        let other = code_of(&[(place, page), (place + 4, page + (1 << 29)), (place + 8, rest)]);
        assert_eq!(referring(DYNAMIC, AARCH64, &other, false), [], "of the next page");
        assert_eq!(referring(DYNAMIC, AARCH64, &code_of(&[(place, call)]), true), expected(place));
        assert_eq!(referring(DYNAMIC, AARCH64, &code_of(&[(place, near)]), false), expected(place));
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
