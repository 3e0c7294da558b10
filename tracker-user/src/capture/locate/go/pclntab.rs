//! The table of functions that every Go program carries, stripped or not: the runtime walks stacks by it.
//!
//! `src/runtime/symtab.go` (`pcHeader`, `_func`, `functab`) and `src/debug/gosym/pclntab.go` in Go's source
//! describe it. It has had four shapes, told apart by the first word; each is read a piece at a time.

use std::cell::RefCell;

use memchr::memmem;

use super::super::elf::{Architecture, Image, Source};

/// Bytes read at a time.
const PIECE: usize = 256 * 1024;
/// Functions beyond this are not looked at; the largest programs have some hundred thousand.
const MAX_FUNCTIONS: u64 = 4 << 20;
/// Tables longer than this are not searched.
const MAX_TABLE: u64 = 1 << 30;
/// Bytes of a name that are looked at.
const MAX_NAME: usize = 96;

/// Sections that hold the table: as the Go linker names it, and in a position-independent program of Go
/// 1.25 and older.
const SECTIONS: [&str; 2] = [".gopclntab", ".data.rel.ro.gopclntab"];
/// A section that every Go program has, also where a C linker has merged the table into another one.
const BUILD_INFO: &str = ".go.buildinfo";

/// The shapes of the table, named after the first release that had them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Up to Go 1.15.
    Go12,
    /// 1.16 and 1.17.
    Go116,
    /// 1.18 and later: addresses count from the beginning of the code. 1.20 changed what is not read here.
    Go118,
}

/// One function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Function {
    /// Its address, or from Go 1.18 on its distance from the beginning of the code.
    pub(super) start: u64,
    /// That of the next function.
    pub(super) end: u64,
}

/// The table.
pub(super) struct Pclntab<'a> {
    file: Window<'a>,
    shape: Shape,
    /// Where the functions' names begin, and their length.
    names: (u64, u64),
    /// Where the index of functions begins; what is in it is relative to `functions`.
    index: u64,
    functions: u64,
    count: u64,
    text_start: Option<u64>,
}

impl<'a> Pclntab<'a> {
    /// Finds the table; `None` where the file is no Go program, or the table makes no sense.
    pub(super) fn find(image: &'a Image<'_>) -> Option<Self> {
        let source = image.source();
        if let Some(range) = SECTIONS.iter().find_map(|name| image.section(name)) {
            return Self::parse(source, range);
        }
        image.section(BUILD_INFO)?;
        image
            .segments()
            .iter()
            .filter(|segment| !segment.executable)
            .find_map(|segment| search(source, (segment.offset, segment.length.min(MAX_TABLE))))
    }

    fn parse(source: &'a dyn Source, (start, length): (u64, u64)) -> Option<Self> {
        let file = Window::new(source);
        let magic = file.number(start, 4)?;
        // Two zeros, the instruction alignment, the size of a pointer.
        let [0, 0, 1 | 2 | 4, 8] = file.bytes(start.checked_add(4)?, 4)?[..] else { return None };
        let word = |n: u64| file.number(start.checked_add(8 + 8 * n)?, 8);
        let place = |n| word(n).filter(|&offset| offset < length)?.checked_add(start);
        let count = word(0).filter(|&count| count <= MAX_FUNCTIONS)?;
        let (shape, names, functions) = match magic {
            0xffff_fffb => (Shape::Go12, (start, length), start),
            0xffff_fffa => (Shape::Go116, (place(2)?, place(3)?.checked_sub(place(2)?)?), place(6)?),
            0xffff_fff0 | 0xffff_fff1 => {
                (Shape::Go118, (place(3)?, place(4)?.checked_sub(place(3)?)?), place(7)?)
            }
            _ => return None,
        };
        // Zero in newer programs, and in those that are relocated.
        let text_start = (shape == Shape::Go118).then(|| word(2)).flatten().filter(|&address| address != 0);
        let index = if shape == Shape::Go12 { start.checked_add(16)? } else { functions };
        Some(Self { file, shape, names, index, functions, count, text_start })
    }

    /// Whether functions have addresses of their own rather than distances from the beginning of the code.
    pub(super) fn has_addresses(&self) -> bool {
        self.shape != Shape::Go118
    }

    /// Whether it is of a Go that is known to pass arguments on the stack. That of 1.16 and 1.17 looks the
    /// same, and on x86-64 only 1.16 does.
    pub(super) fn precedes_registers(&self, architecture: Architecture) -> bool {
        match self.shape {
            Shape::Go12 => true,
            Shape::Go116 => architecture == Architecture::Aarch64,
            Shape::Go118 => false,
        }
    }

    /// Where the code begins, where the table says so.
    pub(super) const fn text_start(&self) -> Option<u64> {
        self.text_start
    }

    /// The functions of these names. Each is found once, or not at all.
    pub(super) fn functions<const N: usize>(&self, names: &[&str; N]) -> [Option<Function>; N] {
        let mut found = [None; N];
        let positions = names.map(|name| self.position(name));
        if positions.iter().all(Option::is_none) {
            return found;
        }
        for at in 0..self.count {
            let Some((function, name)) = self.function(at) else { break };
            for (found, position) in found.iter_mut().zip(&positions) {
                if *position == Some(name) {
                    *found = Some(function);
                }
            }
            if found.iter().zip(&positions).all(|(found, position)| found.is_some() == position.is_some()) {
                break;
            }
        }
        found
    }

    /// About so many functions from all over the table.
    pub(super) fn sample(&self, count: u64) -> Vec<Function> {
        let step = (self.count / count).max(1);
        let every = (0..self.count).step_by(usize::try_from(step).unwrap_or(usize::MAX));
        every.filter_map(|at| self.function(at)).map(|(function, _)| function).collect()
    }

    /// The name of the function that begins there.
    pub(super) fn name(&self, start: u64) -> Option<String> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let (function, name) = self.function(middle)?;
            match function.start.cmp(&start) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    let name = self.file.bytes(self.names.0.checked_add(name)?, MAX_NAME)?;
                    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
                    return Some(String::from_utf8_lossy(name.get(..end)?).into_owned());
                }
            }
        }
        None
    }

    /// A function, and where its name is.
    fn function(&self, at: u64) -> Option<(Function, u64)> {
        let (width, entry) = if self.shape == Shape::Go118 { (4, 4) } else { (8, 8) };
        let pair = self.index.checked_add(at.checked_mul(2 * width)?)?;
        let start = self.file.number(pair, width)?;
        let described = self.file.number(pair + width, width)?;
        let end = self.file.number(pair + 2 * width, width)?;
        let name = self.functions.checked_add(described)?.checked_add(entry)?;
        Some((Function { start, end }, self.file.number(name, 4)?))
    }

    /// Where a name is among the names.
    fn position(&self, name: &str) -> Option<u64> {
        let wanted = [b"\0", name.as_bytes(), b"\0"].concat();
        find(self.file.source, self.names, &wanted).map(|at| at + 1 - self.names.0)
    }
}

/// Looks for a table whose beginning no section marks.
fn search(source: &dyn Source, range: (u64, u64)) -> Option<Pclntab<'_>> {
    const BEGINNINGS: [[u8; 6]; 4] = [
        [0xf1, 0xff, 0xff, 0xff, 0, 0],
        [0xf0, 0xff, 0xff, 0xff, 0, 0],
        [0xfa, 0xff, 0xff, 0xff, 0, 0],
        [0xfb, 0xff, 0xff, 0xff, 0, 0],
    ];
    let end = range.0.checked_add(range.1)?;
    BEGINNINGS.iter().find_map(|beginning| {
        let mut from = range.0;
        // The same bytes can stand elsewhere: a few tries.
        for _ in 0..64 {
            let at = find(source, (from, end.checked_sub(from)?), beginning)?;
            if at % 8 == 0
                && let Some(table) = Pclntab::parse(source, (at, end - at)).filter(|table| table.count > 0)
            {
                return Some(table);
            }
            from = at + 1;
        }
        None
    })
}

/// The file offset of the first occurrence of some bytes in a range.
fn find(source: &dyn Source, (start, length): (u64, u64), wanted: &[u8]) -> Option<u64> {
    let finder = memmem::Finder::new(wanted);
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < length.min(MAX_TABLE) {
        let room = piece.len().min(usize::try_from(length - at).unwrap_or(usize::MAX));
        let read = source.read_at(start.checked_add(at)?, &mut piece[..room]).ok()?;
        if let Some(hit) = finder.find(&piece[..read]) {
            return Some(start + at + hit as u64);
        }
        if read < room || read <= wanted.len() {
            return None;
        }
        // What begins at the end of this piece is found in the next.
        at += (read + 1 - wanted.len()) as u64;
    }
    None
}

/// The file, of which pieces are kept: one for each of the tables that are read side by side.
struct Window<'a> {
    source: &'a dyn Source,
    pieces: RefCell<Vec<(u64, Vec<u8>)>>,
}

impl<'a> Window<'a> {
    /// Bytes of a piece; pieces begin at multiples of this.
    const BYTES: u64 = 64 * 1024;
    const PIECES: usize = 3;

    fn new(source: &'a dyn Source) -> Self {
        Self { source, pieces: RefCell::default() }
    }

    /// Bytes at a file offset: all of them, or none.
    fn bytes(&self, at: u64, count: usize) -> Option<Vec<u8>> {
        let end = at.checked_add(count as u64)?;
        let first = at / Self::BYTES * Self::BYTES;
        let mut bytes = Vec::with_capacity(count);
        let mut start = first;
        while start < end {
            self.with_piece(start, |piece| {
                let from = usize::try_from(at.saturating_sub(start)).ok()?;
                let to = usize::try_from((end - start).min(Self::BYTES)).ok()?;
                bytes.extend_from_slice(piece.get(from..to)?);
                Some(())
            })?;
            start = start.checked_add(Self::BYTES)?;
        }
        Some(bytes)
    }

    /// A number of up to 8 bytes at a file offset.
    fn number(&self, at: u64, width: u64) -> Option<u64> {
        let start = at / Self::BYTES * Self::BYTES;
        let within = usize::try_from(at - start).ok()?;
        let width = usize::try_from(width).ok().filter(|&width| width <= 8)?;
        let whole = if within + width <= Self::BYTES as usize {
            self.with_piece(start, |piece| {
                let mut whole = [0; 8];
                whole.get_mut(..width)?.copy_from_slice(piece.get(within..within + width)?);
                Some(whole)
            })?
        } else {
            let mut whole = [0; 8];
            whole.get_mut(..width)?.copy_from_slice(&self.bytes(at, width)?);
            whole
        };
        Some(u64::from_le_bytes(whole))
    }

    fn with_piece<T>(&self, start: u64, look: impl FnOnce(&[u8]) -> Option<T>) -> Option<T> {
        let mut pieces = self.pieces.borrow_mut();
        if let Some(known) = pieces.iter().position(|(at, _)| *at == start) {
            // The most recently used is last.
            pieces[known..].rotate_left(1);
        } else {
            let mut piece = vec![0; Self::BYTES as usize];
            let read = self.source.read_at(start, &mut piece).ok()?;
            piece.truncate(read);
            if pieces.len() >= Self::PIECES {
                pieces.remove(0);
            }
            pieces.push((start, piece));
        }
        look(&pieces.last()?.1)
    }
}
