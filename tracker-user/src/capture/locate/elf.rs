//! An ELF file, read a piece at a time.
//!
//! The files belong to others: they may be truncated, hostile, or 400 MB long, and they may change
//! while they are read. So nothing is mapped (a file that shrinks under a mapping kills the process
//! with `SIGBUS`), nothing is read whole, and every length that the file states is checked.

use std::cell::OnceCell;
use std::fs::File;
use std::io;

use object::LittleEndian as LE;
use object::elf::{self, FileHeader64, ProgramHeader64, SectionHeader64};
use object::pod::{self, Pod};

use super::debugdata;

/// Program headers above this are not read; real files have a dozen.
const MAX_SEGMENTS: u16 = 256;
/// Section headers above this are not read; real files have up to a hundred.
const MAX_SECTIONS: u16 = 8192;
/// A symbol or string table above this is not searched.
const MAX_TABLE: u64 = 1 << 30;
/// Bytes read at a time: they stay in the cache for all that is looked for in them.
const PIECE: usize = 256 * 1024;

/// Where the bytes of a file come from.
pub trait Source {
    /// Reads at `offset` until `buffer` is full or the file ends, and says how much was read.
    ///
    /// # Errors
    /// The error of the read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

impl Source for File {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match std::os::unix::fs::FileExt::read_at(self, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl Source for &[u8] {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

/// The instruction set of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// x86-64.
    X86_64,
    /// 64-bit ARM.
    Aarch64,
}

impl Architecture {
    /// That of this program, and so of the probes that this host can run.
    pub const HOST: Option<Self> = if cfg!(target_arch = "x86_64") {
        Some(Self::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Self::Aarch64)
    } else {
        None
    };
}

/// Why a file could not be read as an ELF file.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// Not an ELF file: nearly all mapped files that are no programs.
    #[error("not an ELF file")]
    NotElf,
    /// An ELF file of another word size, byte order or machine.
    #[error("ELF file for another kind of machine")]
    ForeignMachine,
    /// The headers contradict the file.
    #[error("malformed ELF file: {0}")]
    Malformed(&'static str),
    /// Reading failed.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
}

/// A loadable part of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    /// Virtual address of its first byte.
    pub(super) address: u64,
    /// Where in the file that is.
    pub(super) offset: u64,
    /// Bytes in the file.
    pub(super) length: u64,
    /// Whether it holds code.
    pub(super) executable: bool,
    /// Whether it holds variables.
    pub(super) writable: bool,
}

/// Where the names of the sections are, and by position of the name in there each section's file range.
#[derive(Clone, Debug)]
struct SectionNames {
    strings: (u64, u64),
    sections: Vec<(u32, (u64, u64))>,
}

/// A symbol table and its string table, as file ranges.
#[derive(Clone, Copy, Debug)]
pub(super) struct SymbolTable {
    pub(super) symbols: (u64, u64),
    pub(super) strings: (u64, u64),
}

/// The headers of an ELF file, and the means to read the rest.
pub struct Image<'a> {
    source: &'a dyn Source,
    architecture: Architecture,
    position_independent: bool,
    segments: Vec<Segment>,
    unwind_table: Option<u64>,
    symbol_tables: Vec<SymbolTable>,
    names: Option<SectionNames>,
    debugdata: OnceCell<Option<Vec<u8>>>,
}

impl<'a> Image<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// [`ElfError`] says what is wrong with the file.
    pub fn parse(source: &'a dyn Source) -> Result<Self, ElfError> {
        // Look at the first bytes alone: most files end here.
        let mut ident = [0; 20];
        if source.read_at(0, &mut ident)? != ident.len() || !ident.starts_with(b"\x7fELF") {
            return Err(ElfError::NotElf);
        }
        if ident[4] != elf::ELFCLASS64.0 || ident[5] != elf::ELFDATA2LSB.0 {
            return Err(ElfError::ForeignMachine);
        }
        let header: FileHeader64<LE> = read_array(source, 0, 1)?
            .into_iter()
            .next()
            .ok_or(ElfError::Malformed("it ends inside its header"))?;
        let architecture = match header.e_machine.get(LE) {
            elf::EM_X86_64 => Architecture::X86_64,
            elf::EM_AARCH64 => Architecture::Aarch64,
            _ => return Err(ElfError::ForeignMachine),
        };
        let sections = sections(source, &header)?;
        let (segments, unwind_table) = segments(source, &header)?;
        Ok(Self {
            source,
            architecture,
            position_independent: header.e_type.get(LE) == elf::ET_DYN,
            segments,
            unwind_table,
            symbol_tables: symbol_tables(&sections),
            names: section_names(&header, &sections),
            debugdata: OnceCell::new(),
        })
    }

    /// The instruction set.
    #[must_use]
    pub const fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// `.dynsym` first, then `.symtab`.
    pub(super) fn symbol_tables(&self) -> &[SymbolTable] {
        &self.symbol_tables
    }

    pub(super) const fn source(&self) -> &dyn Source {
        self.source
    }

    /// Whether it can be loaded anywhere, so that no address is written in its code.
    pub(super) const fn is_position_independent(&self) -> bool {
        self.position_independent
    }

    /// Reads some of the segments a piece at a time, and shows each piece with its address. The last
    /// `overlap` bytes of each, of which there are few, are the first of the next: what lies across two
    /// is seen whole.
    ///
    /// # Errors
    /// [`ElfError::Io`] where the file cannot be read.
    pub(super) fn pieces(
        &self,
        which: impl Fn(&Segment) -> bool,
        overlap: usize,
        mut look: impl FnMut(&[u8], u64),
    ) -> Result<(), ElfError> {
        let mut buffer = vec![0; PIECE];
        for segment in self.segments.iter().filter(|segment| which(segment)) {
            let mut at = 0;
            while at < segment.length {
                let left = usize::try_from(segment.length - at).unwrap_or(usize::MAX);
                let wanted = left.min(PIECE);
                let Some(offset) = segment.offset.checked_add(at) else { break };
                let read = self.source.read_at(offset, &mut buffer[..wanted])?;
                look(&buffer[..read], segment.address.wrapping_add(at));
                if read < wanted || left <= PIECE {
                    break;
                }
                at += PIECE.saturating_sub(overlap).max(1) as u64;
            }
        }
        Ok(())
    }

    /// Bytes of code.
    pub(super) fn code_length(&self) -> u64 {
        let code = self.segments.iter().filter(|segment| segment.executable);
        code.fold(0, |sum, segment| sum.saturating_add(segment.length))
    }

    /// The file range of the section of this name, if there is one.
    pub(super) fn section(&self, name: &str) -> Option<(u64, u64)> {
        let names = self.names.as_ref()?;
        names.sections.iter().find_map(|&(position, range)| {
            let at = names.strings.0.checked_add(position.into())?;
            let mut found = vec![0; name.len() + 1];
            let read = self.source.read_at(at, &mut found).ok()?;
            (found.get(..read)?.strip_suffix(&[0])? == name.as_bytes()).then_some(range)
        })
    }

    /// The symbols that distributions leave in stripped files; see [`debugdata`].
    pub(super) fn debugdata(&self) -> Option<&[u8]> {
        self.debugdata.get_or_init(|| debugdata::read(self)).as_deref()
    }

    /// What is loaded of it.
    pub(super) fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The address of `.eh_frame_hdr`.
    pub(super) const fn unwind_table(&self) -> Option<u64> {
        self.unwind_table
    }

    /// Up to `limit` loaded bytes from a virtual address on; empty where there are none.
    pub(super) fn loaded(&self, address: u64, limit: usize) -> Vec<u8> {
        let place = self.segments.iter().find_map(|segment| segment.place(address));
        self.read(place, limit)
    }

    /// The file offset of code at a virtual address, and how many bytes of its segment follow.
    #[must_use]
    pub fn code_offset(&self, address: u64) -> Option<(u64, u64)> {
        self.segments.iter().filter(|segment| segment.executable).find_map(|segment| segment.place(address))
    }

    /// Up to `limit` bytes of code from a virtual address on; empty where there is no code.
    #[must_use]
    pub fn code(&self, address: u64, limit: usize) -> Vec<u8> {
        self.read(self.code_offset(address), limit)
    }

    fn read(&self, place: Option<(u64, u64)>, limit: usize) -> Vec<u8> {
        let Some((offset, left)) = place else { return Vec::new() };
        let mut bytes = vec![0; limit.min(usize::try_from(left).unwrap_or(limit))];
        let read = self.source.read_at(offset, &mut bytes).unwrap_or(0);
        bytes.truncate(read);
        bytes
    }
}

impl Segment {
    /// The file offset of an address, and how many bytes follow.
    fn place(&self, address: u64) -> Option<(u64, u64)> {
        let into = address.checked_sub(self.address)?;
        let left = self.length.checked_sub(into).filter(|&left| left > 0)?;
        Some((self.offset.checked_add(into)?, left))
    }
}

fn segments(source: &dyn Source, header: &FileHeader64<LE>) -> Result<(Vec<Segment>, Option<u64>), ElfError> {
    let count = header.e_phnum.get(LE);
    if count > MAX_SEGMENTS || usize::from(header.e_phentsize.get(LE)) != size_of::<ProgramHeader64<LE>>() {
        return Err(ElfError::Malformed("its program headers are not plausible"));
    }
    let headers: Vec<ProgramHeader64<LE>> = read_array(source, header.e_phoff.get(LE), count.into())?;
    let of_type = |wanted| headers.iter().filter(move |header| header.p_type.get(LE) == wanted);
    let segments = of_type(elf::PT_LOAD)
        .map(|header| Segment {
            address: header.p_vaddr.get(LE),
            offset: header.p_offset.get(LE),
            length: header.p_filesz.get(LE),
            executable: header.p_flags.get(LE).contains(elf::PF_X),
            writable: header.p_flags.get(LE).contains(elf::PF_W),
        })
        .collect();
    Ok((segments, of_type(elf::PT_GNU_EH_FRAME).map(|header| header.p_vaddr.get(LE)).next()))
}

/// A file without section headers has no sections, which is no error: it is merely stripped.
fn sections(source: &dyn Source, header: &FileHeader64<LE>) -> Result<Vec<SectionHeader64<LE>>, ElfError> {
    let count = header.e_shnum.get(LE);
    if header.e_shoff.get(LE) == 0 || count == 0 {
        return Ok(Vec::new());
    }
    if count > MAX_SECTIONS || usize::from(header.e_shentsize.get(LE)) != size_of::<SectionHeader64<LE>>() {
        return Err(ElfError::Malformed("its section headers are not plausible"));
    }
    read_array(source, header.e_shoff.get(LE), count.into())
}

fn range(section: &SectionHeader64<LE>) -> (u64, u64) {
    (section.sh_offset.get(LE), section.sh_size.get(LE).min(MAX_TABLE))
}

fn symbol_tables(sections: &[SectionHeader64<LE>]) -> Vec<SymbolTable> {
    let mut tables = Vec::new();
    for wanted in [elf::SHT_DYNSYM, elf::SHT_SYMTAB] {
        for section in sections.iter().filter(|section| section.sh_type.get(LE) == wanted).take(2) {
            if let Some(strings) = sections.get(section.sh_link.get(LE) as usize) {
                tables.push(SymbolTable { symbols: range(section), strings: range(strings) });
            }
        }
    }
    tables
}

fn section_names(header: &FileHeader64<LE>, sections: &[SectionHeader64<LE>]) -> Option<SectionNames> {
    let strings = range(sections.get(usize::from(header.e_shstrndx.get(LE).0))?);
    let sections = sections
        .iter()
        .filter(|section| section.sh_type.get(LE) != elf::SHT_NOBITS)
        .map(|section| (section.sh_name.get(LE), range(section)))
        .collect();
    Some(SectionNames { strings, sections })
}

/// Reads `count` records; the caller has bounded the count.
pub(super) fn read_array<T: Pod>(source: &dyn Source, offset: u64, count: usize) -> Result<Vec<T>, ElfError> {
    let length = count * size_of::<T>();
    // Words, so that the records are aligned.
    let mut buffer = vec![0_u64; length.div_ceil(8)];
    let bytes = pod::bytes_of_slice_mut(&mut buffer);
    let read = source.read_at(offset, &mut bytes[..length])?;
    match pod::slice_from_bytes::<T>(&bytes[..read], count) {
        Ok((records, _)) => Ok(records.to_vec()),
        Err(()) => Err(ElfError::Malformed("it ends inside a table")),
    }
}
