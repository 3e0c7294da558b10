//! Finds the few symbols that matter among hundreds of thousands.
//!
//! First the string table is searched for the names, then the symbol table for the entries that
//! point at them: two linear passes in small pieces, and for nearly every file only the first.

use std::collections::HashMap;

use memchr::memmem;
use object::LittleEndian as LE;
use object::elf::{self, Sym64};

use super::elf::{ElfError, Image, SymbolTable, read_array};

/// Bytes read at a time.
const PIECE: usize = 256 * 1024;
/// Positions of names remembered per table: a name can also be the tail of longer ones.
const MAX_POSITIONS: usize = 1024;
/// Definitions remembered per file.
const MAX_FOUND: usize = 64;

/// A function that the file defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    /// The name, as it was asked for.
    pub name: &'static str,
    /// Virtual address.
    pub address: u64,
    /// Length in bytes; zero where the file does not say.
    pub size: u64,
}

/// Every distinct definition of the `names`, from the first table that has any; imports are none.
///
/// All names must begin with `prefix`, which is what is searched for.
///
/// # Errors
/// [`ElfError`] where the tables cannot be read.
pub(super) fn defined(
    image: &Image<'_>,
    prefix: &'static str,
    names: &[&'static str],
) -> Result<Vec<Symbol>, ElfError> {
    let found = defined_in(image, image, prefix, names)?;
    if !found.is_empty() {
        return Ok(found);
    }
    let Some(within) = image.debugdata() else { return Ok(found) };
    match Image::parse(&within) {
        Ok(within) => defined_in(&within, image, prefix, names),
        Err(_) => Ok(found), // An extra that is broken; the file itself is not.
    }
}

/// What the tables of `tables` say about the code of `image`.
fn defined_in(
    tables: &Image<'_>,
    image: &Image<'_>,
    prefix: &'static str,
    names: &[&'static str],
) -> Result<Vec<Symbol>, ElfError> {
    for table in tables.symbol_tables() {
        let positions = name_positions(tables, table, prefix, names)?;
        if positions.is_empty() {
            continue;
        }
        let found = definitions(tables, image, table, &positions)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// Where in the string table the names are.
fn name_positions(
    image: &Image<'_>,
    table: &SymbolTable,
    prefix: &str,
    names: &[&'static str],
) -> Result<HashMap<u32, &'static str>, ElfError> {
    let finder = memmem::Finder::new(prefix);
    // What is kept of one piece for the next, so that a name across the border is seen whole.
    let overlap = names.iter().map(|name| name.len() + 1).max().unwrap_or(0);
    let mut positions = HashMap::new();
    let (start, length) = table.strings;
    let mut buffer = vec![0; PIECE.min(usize::try_from(length).unwrap_or(PIECE))];
    let mut at = 0_u64;
    while at < length {
        let wanted = buffer.len().min(usize::try_from(length - at).unwrap_or(usize::MAX));
        let Some(offset) = start.checked_add(at) else { break };
        let read = image.source().read_at(offset, &mut buffer[..wanted])?;
        let piece = &buffer[..read];
        for hit in finder.find_iter(piece) {
            let rest = &piece[hit..];
            let name = names.iter().find(|name| {
                rest.strip_prefix(name.as_bytes()).is_some_and(|after| after.first() == Some(&0))
            });
            if let (Some(name), Ok(position)) = (name, u32::try_from(at + hit as u64)) {
                positions.insert(position, *name);
            }
            if positions.len() >= MAX_POSITIONS {
                return Ok(positions);
            }
        }
        if read <= overlap || read < wanted {
            break;
        }
        at += if at + read as u64 >= length { read } else { read - overlap } as u64;
    }
    Ok(positions)
}

fn definitions(
    tables: &Image<'_>,
    image: &Image<'_>,
    table: &SymbolTable,
    positions: &HashMap<u32, &'static str>,
) -> Result<Vec<Symbol>, ElfError> {
    let entry = size_of::<Sym64<LE>>();
    let mut found: Vec<Symbol> = Vec::new();
    let (start, length) = table.symbols;
    let mut left = usize::try_from(length).unwrap_or(0) / entry;
    let mut offset = start;
    while left > 0 && found.len() < MAX_FOUND {
        let count = left.min(PIECE / entry);
        let symbols: Vec<Sym64<LE>> = read_array(tables.source(), offset, count)?;
        for symbol in &symbols {
            let Some(&name) = positions.get(&symbol.st_name.get(LE)) else { continue };
            let address = symbol.st_value.get(LE);
            if symbol.st_shndx.get(LE) == elf::SHN_UNDEF
                || symbol.st_type() != elf::STT_FUNC
                || image.code_offset(address).is_none()
                || found.iter().any(|known| known.name == name && known.address == address)
            {
                continue;
            }
            found.push(Symbol { name, address, size: symbol.st_size.get(LE) });
        }
        left -= count;
        let Some(next) = offset.checked_add((count * entry) as u64) else { break };
        offset = next;
    }
    found.truncate(MAX_FOUND);
    Ok(found)
}

const _: () = assert!(size_of::<Sym64<LE>>() == 24, "the layout of the ELF specification");
