//! The stack frames of the kernel object's functions, and their limit.
//!
//! Since Linux 6.13 the verifier gives a function of a uprobe program whose frame is 64 bytes or
//! more a stack per CPU, on the assumption that the program is not preempted. Uprobe programs are:
//! two of them then write into one frame. A frame is rounded up to 16 bytes, so 48 is the largest
//! that is safe. Every function of the object is held to it, since any may be called from a uprobe.
//!
//! Rust's compiler says nothing about frames for BPF, so they are read from the instructions.

mod flow;
mod insn;

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};

use insn::Insn;

/// The largest stack frame, in bytes, that keeps its function off the per-CPU stacks.
pub(crate) const LIMIT: u32 = 48;

/// A function of the object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// The symbol.
    pub(crate) name: String,
    /// The section, which names the program's type.
    pub(crate) section: String,
    /// The size of its stack frame in bytes.
    pub(crate) frame: u32,
}

/// Measures every function in every section of code, the largest frame first.
///
/// # Errors
/// When the object is not understood to the last byte of its code: then a frame could be missed.
pub(crate) fn functions<'data>(file: &impl Object<'data>) -> anyhow::Result<Vec<Function>> {
    let mut functions = Vec::new();
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        let section_name = section.name().context("a section's name")?;
        let code = section.data().with_context(|| format!("the bytes of section {section_name}"))?;

        let mut symbols: Vec<_> = file
            .symbols()
            .filter(|symbol| {
                symbol.kind() == SymbolKind::Text && symbol.section_index() == Some(section.index())
            })
            .collect();
        symbols.sort_by_key(|symbol| symbol.address());

        let mut covered = 0;
        for symbol in symbols {
            let name = symbol.name().context("a function's name")?;
            let (start, size) = (symbol.address(), symbol.size());
            if start != covered {
                break;
            }
            let frame = frame(code, start, size, file.is_little_endian())
                .with_context(|| format!("function {name} in section {section_name}"))?;
            functions.push(Function { name: name.into(), section: section_name.into(), frame });
            covered = start + size;
        }
        if covered != section.size() {
            bail!("section {section_name}: no function symbol describes the code at {covered:#x}");
        }
    }
    if functions.is_empty() {
        bail!("it has no functions");
    }
    functions.sort_by(|a, b| {
        (Reverse(a.frame), &a.section, &a.name).cmp(&(Reverse(b.frame), &b.section, &b.name))
    });
    Ok(functions)
}

fn frame(code: &[u8], start: u64, size: u64, little_endian: bool) -> anyhow::Result<u32> {
    let start = usize::try_from(start)?;
    let end = start.checked_add(usize::try_from(size)?);
    let code = end.and_then(|end| code.get(start..end)).context("it reaches past the end of its section")?;
    let (slots, rest) = code.as_chunks();
    if !rest.is_empty() {
        bail!("its size is not one of whole instructions");
    }
    let insns: Vec<_> = slots.iter().map(|slot| Insn::decode(*slot, little_endian)).collect();
    flow::frame_size(&insns)
}

/// How the functions of `object` are told to a person.
pub(crate) struct Report<'a> {
    pub(crate) object: &'a Path,
    /// As [`functions`] gives them.
    pub(crate) functions: &'a [Function],
}

impl Report<'_> {
    /// One line, for when all is well.
    pub(crate) fn summary(&self) -> String {
        let Self { object, functions } = self;
        let largest = functions.first().map_or(0, |function| function.frame);
        let (object, count) = (object.display(), functions.len());
        format!("{object}: {count} functions, largest stack frame {largest} bytes (limit {LIMIT})")
    }

    /// A table of all functions, and what to do.
    pub(crate) fn failure(&self) -> String {
        let Self { object, functions } = self;
        let over = functions.iter().filter(|function| function.frame > LIMIT).count();
        let mut text = format!(
            "{}: {over} of {} functions have a stack frame past {LIMIT} bytes, which the kernel would put \
             on a stack per CPU, where a preempted program corrupts another's. Keep less on the stack, or \
             split the function with #[inline(never)].\n\n  bytes  function",
            object.display(),
            functions.len(),
        );
        for Function { name, section, frame } in *functions {
            let mark = if *frame > LIMIT { "  <- past the limit" } else { "" };
            // Writing to a String cannot fail.
            let _ = write!(text, "\n  {frame:>5}  {section}: {name}{mark}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use object::write::{Object as Writer, Symbol, SymbolSection};
    use object::{Architecture, BinaryFormat, Endianness, SymbolFlags, SymbolScope};

    use super::*;

    /// `*(u64 *)(r10 - size) = r1; exit`
    fn code_with_frame(size: i16) -> Vec<u8> {
        let [o0, o1] = (-size).to_le_bytes();
        [[0x7b, 0x1a, o0, o1, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]].concat()
    }

    /// A section's name, its functions with their frames, and code after them without a symbol.
    type Section<'a> = (&'a str, &'a [(&'a str, i16)], &'a [u8]);

    /// A BPF object.
    fn object(sections: &[Section<'_>]) -> Vec<u8> {
        let mut writer = Writer::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
        for (name, functions, rest) in sections {
            let section = writer.add_section(Vec::new(), name.as_bytes().to_vec(), SectionKind::Text);
            for (name, size) in *functions {
                let code = code_with_frame(*size);
                let value = writer.append_section_data(section, &code, 8);
                writer.add_symbol(Symbol {
                    name: name.as_bytes().to_vec(),
                    value,
                    size: code.len() as u64,
                    kind: SymbolKind::Text,
                    scope: SymbolScope::Linkage,
                    weak: false,
                    section: SymbolSection::Section(section),
                    flags: SymbolFlags::None,
                });
            }
            writer.append_section_data(section, rest, 8);
        }
        writer.write().unwrap()
    }

    fn measure(object: &[u8]) -> anyhow::Result<Vec<Function>> {
        functions(&object::File::parse(object).unwrap())
    }

    #[test]
    fn measures_every_function_of_every_section() {
        let object = object(&[
            (".text", &[("helper", 16), ("other", 48)], &[]),
            ("uprobe", &[("enter", 56)], &[]),
            ("tracepoint", &[("exec", 8)], &[]),
        ]);
        let functions = measure(&object).unwrap();
        let seen: Vec<_> = functions.iter().map(|it| (&*it.section, &*it.name, it.frame)).collect();
        let expected = [
            ("uprobe", "enter", 56),
            (".text", "other", 48),
            (".text", "helper", 16),
            ("tracepoint", "exec", 8),
        ];
        assert_eq!(seen, expected);

        let failure = Report { object: Path::new("x.o"), functions: &functions }.failure();
        assert!(failure.starts_with("x.o: 1 of 4 functions"), "{failure}");
        assert!(failure.contains("\n     56  uprobe: enter  <- past the limit"), "{failure}");
        assert!(failure.contains("\n     48  .text: other\n"), "{failure}");
    }

    #[test]
    fn code_without_a_symbol_is_refused() {
        let error = measure(&object(&[("uprobe", &[("enter", 8)], &code_with_frame(64))])).unwrap_err();
        assert!(error.to_string().contains("code at 0x10"), "{error}");
        let error = measure(&object(&[])).unwrap_err();
        assert_eq!(error.to_string(), "it has no functions");
    }
}
