//! How a function of Go begins: with the check whether its stack suffices.
//!
//! The check tells the calling convention, that addresses are right, and, in its conditional jump to
//! where the stack is grown, gives an instruction that the kernel emulates with all arguments in place.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};

use super::super::elf::Architecture;

/// Instructions of a check; one for large frames has six.
const MAX_STEPS: usize = 8;
/// Bytes that suffice for them.
pub(super) const BYTES: usize = 64;

/// Offset of `stackguard0` in `runtime.g`.
const STACK_GUARD: u64 = 16;

/// The calling convention of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Convention {
    /// Arguments in registers: Go 1.17 and later, 1.18 on aarch64.
    Registers,
    /// Arguments on the stack.
    Stack,
}

/// The check at the beginning of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) convention: Convention,
    /// Distance of its conditional jump from the function's first byte.
    pub(super) jump: u64,
}

/// Reads the check; `None` where the code does not begin with one.
pub(super) fn check(architecture: Architecture, code: &[u8]) -> Option<Check> {
    match architecture {
        Architecture::X86_64 => check_x86_64(code),
        Architecture::Aarch64 => check_aarch64(code),
    }
}

fn check_x86_64(code: &[u8]) -> Option<Check> {
    let mut convention = None;
    for instruction in Decoder::with_ip(64, code, 0, DecoderOptions::NONE).into_iter().take(MAX_STEPS) {
        match instruction.flow_control() {
            FlowControl::Next => {}
            FlowControl::ConditionalBranch => {
                // The check of a very large frame has a jump for an underflow before.
                if let Some(convention) = convention {
                    return Some(Check { convention, jump: instruction.ip() });
                }
                continue;
            }
            _ => return None,
        }
        if instruction.code() == Code::Mov_r64_rm64 && instruction.segment_prefix() == Register::FS {
            // `mov %fs:-8,%rcx`: the goroutine is not in a register yet.
            convention = Some(Convention::Stack);
        } else if is_guard(&instruction) {
            convention.get_or_insert(Convention::Registers);
        } else if !prepares_check(&instruction) {
            return None;
        }
    }
    None
}

/// `cmp 0x10(%r14),%rsp`, or another register in either place.
fn is_guard(instruction: &Instruction) -> bool {
    matches!(instruction.code(), Code::Cmp_r64_rm64 | Code::Cmp_rm64_r64)
        && (0..2).any(|n| instruction.op_kind(n) == OpKind::Memory)
        && instruction.memory_displacement64() == STACK_GUARD
        && matches!(instruction.memory_base(), Register::R14 | Register::RCX)
}

/// What comes before the comparison, for frames that are not small, leaves the arguments alone.
fn prepares_check(instruction: &Instruction) -> bool {
    matches!(instruction.code(), Code::Lea_r64_m | Code::Mov_r64_rm64 | Code::Mov_rm64_r64)
        && matches!(instruction.op0_register(), Register::R12 | Register::R13)
        || matches!(instruction.code(), Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32)
            && instruction.op0_register() == Register::R12
}

/// `ldr x16,[x28,#16]`, perhaps more for large frames, `cmp`, `b.ls`. The two conventions begin alike;
/// see [`super::CryptoTls`].
fn check_aarch64(code: &[u8]) -> Option<Check> {
    const LOAD_GUARD: u32 = 0xf940_0b90;
    let words = || code.chunks_exact(4).take(MAX_STEPS).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]));
    if words().next()? != LOAD_GUARD {
        return None;
    }
    // `b.ls`.
    let jump = words().position(|word| word & 0xff00_001f == 0x5400_0009)?;
    Some(Check { convention: Convention::Registers, jump: 4 * jump as u64 })
}
