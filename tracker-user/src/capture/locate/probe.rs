//! The cheapest instruction for a probe.
//!
//! The kernel emulates a few instructions in the breakpoint handler and single-steps all others out
//! of line, which takes a second exception and in a virtual machine leaves the guest: thirty times
//! slower (`branch_setup_xol_ops` and `push_setup_xol_ops` in `arch/x86/kernel/uprobes.c`).

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, Register,
};

use super::elf::{Architecture, Image};
use crate::capture::{Hook, HookKind, Layout, Returns, Transferred};

/// What follows a function's entry is read up to here, to find branches back to it.
pub(super) const MAX_CODE: usize = 4096;

/// What has to be untouched when the probe is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// The first argument.
    FirstArgument,
    /// The first five arguments, and the return address on top of the stack.
    Call,
    /// All arguments, and the return address on top of the stack.
    Arguments,
}

/// Where to put a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Point {
    /// Distance from the function's first byte.
    pub offset: u64,
    /// Whether the kernel emulates the instruction there.
    pub emulated: bool,
}

/// Instructions looked at before the function's first one is accepted.
const MAX_STEPS: usize = 16;

/// The hook on a function of [`Layout::Ssl`] at its cheapest place; `None` where there is none.
pub(super) fn hook(
    image: &Image<'_>,
    kind: HookKind,
    function: &'static str,
    address: u64,
    transferred: Transferred,
) -> Option<Hook> {
    let need = match kind {
        HookKind::Transfer(_) => Need::Call,
        HookKind::Begin | HookKind::Free => Need::FirstArgument,
    };
    let point = point(image, address, need)?;
    let (entry_offset, _) = image.code_offset(address.checked_add(point.offset)?)?;
    Some(Hook {
        kind,
        function,
        layout: Layout::Ssl,
        entry_offset,
        // At the same instruction, so that one exception serves both.
        returns: match kind {
            HookKind::Transfer(_) => Returns::Probe(entry_offset),
            HookKind::Begin | HookKind::Free => Returns::None,
        },
        transferred,
        emulated: point.emulated,
    })
}

/// The cheapest place in a function; `None` where there is none.
///
/// On 64-bit ARM that is always its first instruction. The return address is in a register there, and to follow a
/// return the kernel replaces it: a later instruction may come when the register was stored or, with pointer
/// authentication, signed. The kernel simulates branches and what makes addresses, and takes a second exception for
/// all others (`arm_probe_decode_insn` in `arch/arm64/kernel/probes/decode-insn.c`).
pub(super) fn point(image: &Image<'_>, address: u64, need: Need) -> Option<Point> {
    match image.architecture() {
        Architecture::X86_64 => cheapest(&image.code(address, MAX_CODE), address, need),
        Architecture::Aarch64 => {
            let word = u32::from_le_bytes(image.code(address, 4).try_into().ok()?);
            // adr and adrp; b and bl; b.cond; cbz, cbnz, tbz and tbnz.
            let emulated = word & 0x1f00_0000 == 0x1000_0000
                || word & 0x7c00_0000 == 0x1400_0000
                || word & 0xff00_0010 == 0x5400_0000
                || word & 0x7c00_0000 == 0x3400_0000;
            Some(Point { offset: 0, emulated })
        }
    }
}

/// Whether a function does nothing but set arguments behind the third and jump to another.
pub(super) fn goes_on_elsewhere(code: &[u8], address: u64) -> bool {
    const FIRST_THREE: [Register; 4] = [Register::RDI, Register::RSI, Register::RDX, Register::RSP];
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let mut info = InstructionInfoFactory::new();
    for instruction in decoder.iter().take(MAX_STEPS) {
        if instruction.is_invalid() {
            return false;
        }
        match instruction.flow_control() {
            FlowControl::Next if !writes(&mut info, &instruction, &FIRST_THREE) => {}
            FlowControl::UnconditionalBranch => return true,
            _ => return false,
        }
    }
    false
}

/// Finds the place for a probe in a function that begins with the first byte of `code`; `code` should
/// hold the whole function, because a branch back to the place rules it out.
///
/// `None` where the kernel refuses probes on all candidates, or the code makes no sense.
#[must_use]
pub(super) fn cheapest(code: &[u8], address: u64, need: Need) -> Option<Point> {
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    let mut info = InstructionInfoFactory::new();
    let mut first = None;
    for _ in 0..MAX_STEPS {
        if !decoder.can_decode() {
            break;
        }
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            break;
        }
        let offset = instruction.ip() - address;
        let bytes = code.get(offset as usize..offset as usize + instruction.len()).unwrap_or_default();
        if is_emulated(&instruction, bytes) && (offset == 0 || !is_branched_into(code, address, offset)) {
            return Some(Point { offset, emulated: true });
        }
        if first.is_none() && !is_refused(&instruction, bytes) && offset == 0 {
            first = Some(Point { offset: 0, emulated: false });
        }
        if instruction.flow_control() != FlowControl::Next || spoils(&mut info, &instruction, need) {
            break;
        }
    }
    first
}

/// Whether the kernel emulates an instruction.
pub(super) fn is_emulated(instruction: &Instruction, bytes: &[u8]) -> bool {
    match instruction.code() {
        // With a REX prefix at most: the kernel refuses to emulate longer forms.
        Code::Push_r64 => matches!(bytes, [0x50..=0x57] | [0x41, 0x50..=0x57]),
        Code::Nopd | Code::Nopw | Code::Nopq => bytes == [0x90],
        Code::Nop_rm32 => bytes == [0x0f, 0x1f, 0x44, 0x00, 0x00],
        Code::Call_rel32_64 | Code::Jmp_rel8_64 | Code::Jmp_rel32_64 => {
            matches!(bytes, [0xe8 | 0xe9 | 0xeb, ..])
        }
        _ if instruction.flow_control() == FlowControl::ConditionalBranch => {
            matches!(bytes, [0x70..=0x7f, _] | [0x0f, 0x80..=0x8f, ..])
        }
        _ => false,
    }
}

/// Whether the kernel refuses a probe, or might (`is_prefix_bad` and the opcode tables there). To call
/// an instruction refused that is not costs a hook at worst in code that no compiler emits.
fn is_refused(instruction: &Instruction, bytes: &[u8]) -> bool {
    const PREFIXES: [u8; 5] = [0x26, 0x2e, 0x36, 0x3e, 0xf0];
    let prefixed = bytes
        .iter()
        .take_while(|byte| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3))
        .any(|byte| PREFIXES.contains(byte));
    let interrupts = matches!(
        instruction.flow_control(),
        FlowControl::Interrupt | FlowControl::Exception | FlowControl::XbeginXabortXend
    );
    prefixed || interrupts || instruction.is_privileged()
}

/// Whether what the probe needs is lost once an instruction has run.
fn spoils(info: &mut InstructionInfoFactory, instruction: &Instruction, need: Need) -> bool {
    const NEEDED: [Register; 7] = [
        Register::RDI,
        Register::RSP,
        Register::RSI,
        Register::RDX,
        Register::RCX,
        Register::R8,
        Register::R9,
    ];
    let needed = match need {
        Need::FirstArgument => &NEEDED[..1],
        Need::Call => &NEEDED[..6],
        Need::Arguments => &NEEDED[..],
    };
    writes(info, instruction, needed)
}

/// Whether an instruction writes any of some 64-bit registers, or a part of one.
fn writes(info: &mut InstructionInfoFactory, instruction: &Instruction, registers: &[Register]) -> bool {
    info.info(instruction).used_registers().iter().any(|used| {
        let written = matches!(
            used.access(),
            OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
        );
        written && registers.contains(&used.register().full_register())
    })
}

/// Whether a branch anywhere in the code leads behind the function's entry and not past `offset`: then
/// the place may be reached again without a call.
fn is_branched_into(code: &[u8], address: u64, offset: u64) -> bool {
    let place = address + 1..=address + offset;
    Decoder::with_ip(64, code, address, DecoderOptions::NONE).iter().any(|instruction| {
        matches!(
            instruction.flow_control(),
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
        ) && place.contains(&instruction.near_branch_target())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(code: &[u8], need: Need) -> Option<(u64, bool)> {
        cheapest(code, 0x1000, need).map(|point| (point.offset, point.emulated))
    }

    #[test]
    fn a_push_at_the_entry_or_behind_the_landing_pad() {
        assert_eq!(place(&[0x41, 0x55, 0xc3], Need::Call), Some((0, true)));
        assert_eq!(place(&[0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0xc3], Need::Call), Some((4, true)));
    }

    #[test]
    fn the_return_address_has_to_be_on_top_of_the_stack_but_not_for_an_entry() {
        // sub $0x18,%rsp; test %edx,%edx; js +0
        let code = [0x48, 0x83, 0xec, 0x18, 0x85, 0xd2, 0x78, 0x00, 0xc3];
        assert_eq!(place(&code, Need::Call), Some((0, false)));
        assert_eq!(place(&code, Need::FirstArgument), Some((6, true)));
    }

    #[test]
    fn arguments_that_change_end_the_search() {
        // mov %rsi,%rdi; push %rbp
        assert_eq!(place(&[0x48, 0x89, 0xf7, 0x55, 0xc3], Need::FirstArgument), Some((0, false)));
        // xor %ecx,%ecx; push %rbp
        assert_eq!(place(&[0x31, 0xc9, 0x55, 0xc3], Need::Call), Some((0, false)));
        assert_eq!(place(&[0x31, 0xc9, 0x55, 0xc3], Need::FirstArgument), Some((2, true)));
    }

    #[test]
    fn a_place_that_a_loop_comes_back_to_is_none() {
        // test %rdi,%rdi; push %rbp; ...; jne back to the push
        let code = [0x48, 0x85, 0xff, 0x55, 0x90, 0x75, 0xfc, 0xc3];
        assert_eq!(place(&code, Need::FirstArgument), Some((0, false)));
        // The same, but back to behind the push.
        let code = [0x48, 0x85, 0xff, 0x55, 0x90, 0x75, 0xfd, 0xc3];
        assert_eq!(place(&code, Need::FirstArgument), Some((3, true)));
    }

    #[test]
    fn longer_forms_of_cheap_instructions_are_not_cheap() {
        // xchg %ax,%ax; pushq $1; push mem
        assert_eq!(place(&[0x66, 0x90, 0xc3], Need::Call), Some((0, false)));
        assert_eq!(place(&[0x6a, 0x01, 0xc3], Need::Call), Some((0, false)));
        assert_eq!(place(&[0xff, 0x30, 0xc3], Need::Call), Some((0, false)));
        assert_eq!(place(&[0x0f, 0x1f, 0x44, 0x00, 0x00, 0xc3], Need::Call), Some((0, true)));
    }

    #[test]
    fn what_the_kernel_refuses_is_no_place() {
        // int3; lock incl (%rdi); hlt; nothing
        assert_eq!(place(&[0xcc, 0xc3], Need::Call), None);
        assert_eq!(place(&[0xf0, 0xff, 0x07, 0xc3], Need::Call), None);
        assert_eq!(place(&[0xf4, 0xc3], Need::Call), None);
        assert_eq!(place(&[], Need::Call), None);
    }

    #[test]
    fn a_function_that_only_goes_on_to_another() {
        // xor %r8d,%r8d; xor %ecx,%ecx; jmp
        let thin = [0x45, 0x31, 0xc0, 0x31, 0xc9, 0xe9, 0, 1, 0, 0];
        assert!(goes_on_elsewhere(&thin, 0x1000));
        // The same with another buffer; with a test first; without an end.
        assert!(!goes_on_elsewhere(&[0x31, 0xf6, 0xe9, 0, 1, 0, 0], 0x1000));
        assert!(!goes_on_elsewhere(&[0x85, 0xd2, 0x78, 0x01, 0xe9, 0, 1, 0, 0], 0x1000));
        assert!(!goes_on_elsewhere(&thin[..5], 0x1000));
    }
}
