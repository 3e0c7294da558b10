//! In code of x86-64.

use std::collections::HashMap;

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind,
    Register,
};
use memchr::memchr_iter;

use super::{CLEANUP, MAX_CODE};

/// Bytes that tell what a store is.
const STORE: usize = 9;
/// Registers that a call leaves alone.
const PRESERVED: [Register; 6] =
    [Register::RBX, Register::RBP, Register::R12, Register::R13, Register::R14, Register::R15];

/// Where something is set to zero behind a use of `cleanup`, or what looks like it.
pub(super) fn places(code: &[u8], address: u64, found: &mut dyn FnMut(u64)) {
    // Behind what was looked at for an earlier use.
    let mut next = 0;
    for cleanup in memchr_iter(CLEANUP as u8, code).filter(|at| uses_cleanup(code, *at)) {
        for start in next.max(cleanup)..cleanup + MAX_CODE {
            next = start + 1;
            if code.get(start..start + STORE).is_some_and(zeroes) {
                found(address.wrapping_add(start as u64));
            }
        }
    }
}

/// Whether bytes are, with their opcode in the fourth place, `movq $0, (register)` or, where code is to be
/// small, `andq $0, (register)` or `xor %eax, %eax; mov %rax, (register)`.
const fn zeroes(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [_, _, 0x48 | 0x49, 0xc7, 0..=3 | 6..=7, 0, 0, 0, 0]
            | [_, _, 0x48 | 0x49, 0x83, 0x20..=0x23 | 0x26..=0x27, 0, ..]
            | [0x31 | 0x33, 0xc0, 0x48 | 0x49, 0x89, 0..=3 | 6..=7, ..]
    )
}

/// Whether the displacement at `at` is that of a `call *0x20(register)` or a `mov 0x20(register), register`,
/// by the bytes.
fn uses_cleanup(code: &[u8], at: usize) -> bool {
    let before = |back: usize| at.checked_sub(back).and_then(|at| code.get(at)).copied().unwrap_or(0);
    match before(2) {
        0xff => matches!(before(1), 0x50..=0x57),
        0x8b => matches!(before(1), 0x40..=0x7f),
        _ => false,
    }
}

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// The context: the first argument.
    Context,
    /// `ctx->aead`.
    Aead,
    /// `ctx->aead->cleanup`.
    Cleanup,
    /// 0.
    Zero,
}

/// Whether code calls `ctx->aead->cleanup(ctx)` and then sets `ctx->aead` to zero. Read from top to
/// bottom, as such short code is laid out.
pub(super) fn clears(code: &[u8], address: u64) -> bool {
    let mut info = InstructionInfoFactory::new();
    let mut values = HashMap::from([(Register::RDI, Value::Context)]);
    let mut called = false;
    for instruction in &mut Decoder::with_ip(64, code, address, DecoderOptions::NONE) {
        // What the memory operand means, if it is a plain one.
        let memory = (instruction.memory_index() == Register::None
            && (0..instruction.op_count()).any(|operand| instruction.op_kind(operand) == OpKind::Memory))
        .then(|| values.get(&instruction.memory_base()).copied())
        .flatten();
        let displacement = instruction.memory_displacement64();
        let loaded = match (memory, displacement) {
            (Some(Value::Context), 0) => Some(Value::Aead),
            (Some(Value::Aead), CLEANUP) => Some(Value::Cleanup),
            _ => None,
        };
        match instruction.flow_control() {
            FlowControl::IndirectCall => {
                let function = match instruction.op0_kind() {
                    OpKind::Register => values.get(&instruction.op0_register()).copied(),
                    _ => loaded,
                };
                if function != Some(Value::Cleanup) || values.get(&Register::RDI) != Some(&Value::Context) {
                    return false;
                }
                called = true;
                values.retain(|register, _| PRESERVED.contains(register));
            }
            FlowControl::Next | FlowControl::ConditionalBranch => {
                let moved = is_move(&instruction);
                let value = match instruction.op1_kind() {
                    OpKind::Register if moved => values.get(&instruction.op1_register()).copied(),
                    OpKind::Register if is_zero(&instruction) => Some(Value::Zero),
                    OpKind::Memory if moved => loaded,
                    _ => None,
                };
                let stores_zero = match instruction.code() {
                    Code::Mov_rm64_imm32 | Code::And_rm64_imm8 => instruction.immediate(1) == 0,
                    _ => moved && value == Some(Value::Zero),
                };
                if called && stores_zero && memory == Some(Value::Context) && displacement == 0 {
                    return true;
                }
                for used in info.info(&instruction).used_registers() {
                    if !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None) {
                        values.remove(&used.register().full_register());
                    }
                }
                if let (Some(value), OpKind::Register) = (value, instruction.op0_kind()) {
                    values.insert(instruction.op0_register().full_register(), value);
                }
            }
            FlowControl::Call | FlowControl::Return | FlowControl::UnconditionalBranch => {}
            _ => return false,
        }
        if instruction.flow_control() == FlowControl::Call {
            values.retain(|register, _| PRESERVED.contains(register));
        }
    }
    false
}

/// Whether an instruction sets a register to zero, the short way.
fn is_zero(instruction: &Instruction) -> bool {
    matches!(instruction.code(), Code::Xor_r32_rm32 | Code::Xor_rm32_r32)
        && instruction.op0_register() == instruction.op1_register()
}

fn is_move(instruction: &Instruction) -> bool {
    matches!(instruction.code(), Code::Mov_r64_rm64 | Code::Mov_rm64_r64)
}
