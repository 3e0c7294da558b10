//! Finds the internal function that the public variants of one operation share.
//!
//! `SSL_read(ssl, buf, int)` calls `ssl_read_internal(ssl, buf, size_t, &local)`, and
//! `SSL_read_ex(ssl, buf, size_t, size_t *done)` calls `ssl_read_internal(ssl, buf, size_t, done)`.
//! The internal function has no symbol in a stripped library, but it is the one function that both
//! variants call with their first three arguments in place. Which argument takes the pointer to the
//! count differs between versions (OpenSSL 3.3 put flags before it for writes), and shows at the call:
//! it is the register that holds the address of a local, or the caller's own pointer.
//!
//! The public functions are run on values that only say where they came from. Where a compiler has
//! inlined the internal function there is none to find, and what both variants then call (OpenSSL's
//! QUIC branch, for one) sees a part of the traffic only. Such a variant is told by its calls through
//! the connection's method table: a mere wrapper has none.

use std::collections::BTreeSet;

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory};

use super::elf::Image;
use super::symbols::Symbol;
use super::values::{Machine as _, Value, X86_64 as Registers};

/// Instructions followed in one function; the variants have a few dozen.
const MAX_STEPS: usize = 512;
/// Bytes of a variant; what is longer is no mere wrapper.
const MAX_CODE: usize = 1024;

/// The shared function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Funnel {
    /// Its virtual address.
    pub address: u64,
    /// The argument (1-based) that points at the count.
    pub count_argument: u8,
}

/// Where a variant's caller gets the count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    /// In the return value: the variant passes a local on.
    Local,
    /// Through the pointer in this argument.
    Argument(u8),
}

/// The function that `plain` and `extended` share, where there is exactly one.
///
/// `extended` may reach it through one function more, as `SSL_write_ex` does through `SSL_write_ex2`.
#[must_use]
pub(super) fn shared(image: &Image<'_>, plain: &Symbol, extended: &Symbol) -> Option<Funnel> {
    let from_plain = calls(image, plain.address, plain.size, Count::Local);
    let from_extended = calls(image, extended.address, extended.size, Count::Argument(4));
    let unique = |near: &BTreeSet<Funnel>| {
        let mut common = from_plain.intersection(near);
        match (common.next(), common.next()) {
            (Some(&funnel), None) => Some(Some(funnel)),
            (None, _) => None,
            (Some(_), Some(_)) => Some(None),
        }
    };
    let found = unique(&from_extended).unwrap_or_else(|| {
        let further = from_extended
            .iter()
            .flat_map(|via| calls(image, via.address, 0, Count::Argument(via.count_argument)))
            .collect();
        unique(&further).flatten()
    });
    found.filter(|funnel| !is_stub(image, funnel.address))
}

/// Whether a function passes its arguments on to the shared one.
#[must_use]
pub(super) fn leads_to(image: &Image<'_>, function: &Symbol, count_argument: u8, funnel: Funnel) -> bool {
    calls(image, function.address, function.size, Count::Argument(count_argument)).contains(&funnel)
}

/// The argument that carries the count, where a call passes the first three arguments on.
fn passes_on(registers: &Registers, count: Count) -> Option<u8> {
    let arguments = registers.arguments();
    let in_place = (1..=3).zip(arguments).all(|(n, value)| value == Value::Argument(n));
    let carries = |value: Value| match count {
        Count::Local => matches!(value, Value::Stack(_)),
        Count::Argument(n) => value == Value::Argument(n),
    };
    let mut carriers = (1..).zip(arguments).skip(3).take(2).filter(|(_, value)| carries(*value));
    match (in_place, carriers.next(), carriers.next()) {
        (true, Some((argument, _)), None) => Some(argument),
        _ => None,
    }
}

/// The functions that a wrapper calls, or ends by jumping to, with its first three arguments in place;
/// none where it is no wrapper.
fn calls(image: &Image<'_>, address: u64, size: u64, count: Count) -> BTreeSet<Funnel> {
    let limit = match usize::try_from(size) {
        Ok(0) => MAX_CODE,
        Ok(size) if size <= MAX_CODE => size,
        _ => return BTreeSet::new(),
    };
    let code = image.code(address, limit);
    let end = address.saturating_add(code.len() as u64);
    let mut info = InstructionInfoFactory::new();
    let mut found = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut paths = vec![(address, Registers::on_entry())];
    while let Some((start, mut registers)) = paths.pop() {
        let Some(rest) = start.checked_sub(address).and_then(|skip| code.get(skip as usize..)) else {
            continue;
        };
        for instruction in &mut Decoder::with_ip(64, rest, start, DecoderOptions::NONE) {
            if seen.len() >= MAX_STEPS {
                return BTreeSet::new();
            }
            if instruction.is_invalid() || !seen.insert(instruction.ip()) {
                break;
            }
            let target = instruction.near_branch_target();
            let inside = (address..end).contains(&target);
            let mut reaches = |registers: &Registers| {
                if let Some(count_argument) = passes_on(registers, count) {
                    found.insert(Funnel { address: target, count_argument });
                }
            };
            match instruction.flow_control() {
                FlowControl::Next => registers.run(&instruction, &mut info),
                FlowControl::Call => {
                    reaches(&registers);
                    registers.returned();
                }
                FlowControl::IndirectCall | FlowControl::IndirectBranch if !is_import(&instruction) => {
                    return BTreeSet::new();
                }
                FlowControl::IndirectCall => {
                    registers.returned();
                }
                FlowControl::ConditionalBranch => {
                    if inside {
                        paths.push((target, registers.clone()));
                    }
                }
                FlowControl::UnconditionalBranch => {
                    // Without a size, a jump backwards or far away is taken for the end.
                    if inside && (size > 0 || target > instruction.ip()) {
                        paths.push((target, registers.clone()));
                    }
                    if !inside || size == 0 {
                        reaches(&registers);
                    }
                    break;
                }
                _ => break,
            }
        }
    }
    found.retain(|funnel| funnel.address != address && image.code_offset(funnel.address).is_some());
    found
}

/// Whether an indirect call goes through the global offset table, to another file (`-fno-plt`).
fn is_import(instruction: &Instruction) -> bool {
    instruction.is_ip_rel_memory_operand()
}

/// Whether a function only jumps on through a table: an entry of the procedure linkage table, behind
/// which is another file's function.
fn is_stub(image: &Image<'_>, address: u64) -> bool {
    let code = image.code(address, 32);
    Decoder::with_ip(64, &code, address, DecoderOptions::NONE)
        .iter()
        .find(|instruction| instruction.code() != Code::Endbr64)
        .is_none_or(|instruction| {
            instruction.is_invalid() || instruction.flow_control() == FlowControl::IndirectBranch
        })
}
