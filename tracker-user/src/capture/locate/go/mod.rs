//! Go's `crypto/tls`, in programs stripped or not.
//!
//! The linker leaves the table of functions in every program, because the runtime needs it (see
//! [`pclntab`]). The functions are found in it by their names, which a build with `garble` loses: such a
//! program is one that says nothing of TLS.
//!
//! `(*Conn).Read` is probed at its entry and its end. For writes it is the entry of
//! `(*Conn).writeRecordLocked(recordType, []byte) (int, error)`, by which `(*Conn).Write` writes once the
//! handshake is over and while the connection is sound.

mod entry;
mod exits;
mod pclntab;

use super::elf::{Architecture, Image};
use super::search::Search;
use super::{Located, Locator, Reason};
use crate::capture::{
    CountAt, Direction, Exit, Hook, HookKind, HookPlan, Layout, Returns, Transferred, Trust,
};

use entry::{Check, Convention};
use pclntab::{Function, Pclntab};

const STACK: &str = "go";

const READ: &str = "crypto/tls.(*Conn).Read";
const WRITE: &str = "crypto/tls.(*Conn).writeRecordLocked";
const CLOSE: &str = "crypto/tls.(*Conn).Close";

/// Longer functions are not taken apart; these have one or two thousand bytes.
const MAX_CODE: u64 = 64 * 1024;
/// How far into executable memory the beginning of Go's code is looked for: a C linker puts a little
/// before it.
const MAX_BEFORE_TEXT: u64 = 1 << 20;
/// Functions by which the beginning of the code is recognised: nearly all begin with a check of the stack.
/// In a wrong place every fifth has one by chance, and not once in a hundred million places every second.
const SAMPLE: u64 = 64;
/// What Go's linker aligns its code to, at least.
const TEXT_ALIGNMENT: usize = 16;

/// See the module.
pub(super) struct CryptoTls;

impl Locator for CryptoTls {
    fn locate(&self, search: &Search<'_>) -> Option<Located> {
        let image = search.image();
        let table = Pclntab::find(image)?;
        let [read, write, close] = table.functions(&[READ, WRITE, CLOSE]);
        // A method that is called through interfaces: a program that has connections has it.
        let read = read?;
        let plan = write
            .ok_or(Reason::NotLocated("it has crypto/tls, but not the function that writes records"))
            .and_then(|write| Program::new(image, &table, &[read, write])?.hooks(read, write, close))
            .map(|hooks| HookPlan { stack: STACK, trust: Trust::Symbols, hooks });
        Some(Located { stack: STACK, plan })
    }
}

/// A program whose code has been found.
struct Program<'a> {
    image: &'a Image<'a>,
    table: &'a Pclntab<'a>,
    /// What is to be added to the table's addresses.
    text: u64,
}

impl<'a> Program<'a> {
    /// Finds the code: where functions of Go begin when it is put there.
    fn new(image: &'a Image<'a>, table: &'a Pclntab<'a>, known: &[Function]) -> Result<Self, Reason> {
        let begins = |text: u64, function: &Function| {
            function.start.checked_add(text).is_some_and(|address| {
                entry::check(image.architecture(), &image.code(address, entry::BYTES)).is_some()
            })
        };
        let all_begin = |text: u64| known.iter().all(|function| begins(text, function));
        if table.has_addresses() {
            return if all_begin(0) {
                Ok(Self { image, table, text: 0 })
            } else {
                Err(Reason::NotLocated("its functions are not where its own table says"))
            };
        }
        if let Some(text) = table.text_start().filter(|&text| all_begin(text)) {
            return Ok(Self { image, table, text });
        }
        let sample = table.sample(SAMPLE);
        let fits = |text: u64| {
            let beginning = sample.iter().filter(|function| begins(text, function)).count();
            beginning * 2 > sample.len()
        };
        let mut found = image.segments().iter().filter(|segment| segment.executable).flat_map(|segment| {
            let end = segment.address.saturating_add(segment.length.min(MAX_BEFORE_TEXT));
            let first = segment.address.checked_next_multiple_of(TEXT_ALIGNMENT as u64).unwrap_or(end);
            (first..end).step_by(TEXT_ALIGNMENT).filter(|&text| all_begin(text) && fits(text))
        });
        match found.next() {
            Some(text) => Ok(Self { image, table, text }),
            None => Err(Reason::NotLocated("the beginning of its code was not found")),
        }
    }

    fn hooks(&self, read: Function, write: Function, close: Option<Function>) -> Result<Vec<Hook>, Reason> {
        if self.table.precedes_registers(self.image.architecture())
            || self.check(read).is_some_and(|(_, check)| check.convention == Convention::Stack)
        {
            return Err(Reason::NotLocated("built by a Go that passes arguments on the stack"));
        }
        let exits = self.exits(read).filter(|exits| !exits.is_empty()).ok_or(Reason::NoProbePoint)?;
        let cheap = exits.iter().any(|exit| exit.emulated);
        let exits = exits.iter().map(|exit| {
            let &exits::Place { address, count, stack_change, emulated: _ } = exit;
            Some(Exit { offset: self.offset(address)?, count, stack_change })
        });
        let exits = exits.collect::<Option<_>>().ok_or(Reason::NoProbePoint)?;
        let read = Hook {
            returns: Returns::Instructions(exits),
            emulated: cheap,
            ..self
                .hook(HookKind::Transfer(Direction::Read), Layout::Go, READ, read)
                .ok_or(Reason::NoProbePoint)?
        };
        let write = self
            .hook(HookKind::Transfer(Direction::Write), Layout::GoRecord, WRITE, write)
            .ok_or(Reason::NoProbePoint)?;
        let close = close.and_then(|close| self.hook(HookKind::Free, Layout::Go, CLOSE, close));
        Ok([read, write].into_iter().chain(close).collect())
    }

    /// A hook on a function's entry.
    fn hook(&self, kind: HookKind, layout: Layout, function: &'static str, at: Function) -> Option<Hook> {
        let (address, check) = self.check(at)?;
        Some(Hook {
            kind,
            function,
            layout,
            entry_offset: self.offset(address.checked_add(check.jump)?)?,
            returns: Returns::None,
            transferred: Transferred::Returned,
            emulated: true,
        })
    }

    /// The address of a function, and the check that it begins with.
    fn check(&self, function: Function) -> Option<(u64, Check)> {
        let address = function.start.checked_add(self.text)?;
        let code = self.image.code(address, entry::BYTES);
        Some((address, entry::check(self.image.architecture(), &code)?))
    }

    /// Where a function ends.
    fn exits(&self, function: Function) -> Option<Vec<exits::Place>> {
        let address = function.start.checked_add(self.text)?;
        let length = function.end.checked_sub(function.start).filter(|&length| length <= MAX_CODE)?;
        let code = self.image.code(address, length as usize);
        match self.image.architecture() {
            Architecture::X86_64 => {
                let name_of = |address: u64| self.table.name(address.checked_sub(self.text)?);
                exits::Function::new(&code, address, name_of).map(|function| exits::cheapest(&function))
            }
            Architecture::Aarch64 => Some(returns_aarch64(&code, address)),
        }
    }

    fn offset(&self, address: u64) -> Option<u64> {
        self.image.code_offset(address).map(|(offset, _)| offset)
    }
}

/// The returns of a function on aarch64, where the kernel simulates them.
fn returns_aarch64(code: &[u8], address: u64) -> Vec<exits::Place> {
    const RETURN: u32 = 0xd65f_03c0;
    (0_u64..)
        .step_by(4)
        .zip(code.chunks_exact(4))
        .filter(|(_, word)| u32::from_le_bytes([word[0], word[1], word[2], word[3]]) == RETURN)
        .map(|(at, _)| exits::Place {
            address: address.saturating_add(at),
            count: CountAt::Register(1),
            stack_change: 0,
            emulated: true,
        })
        .collect()
}

#[cfg(test)]
mod tests;
