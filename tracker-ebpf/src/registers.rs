//! User registers at a probe, by machine.
//!
//! The context of a uprobe program is the kernel's `struct pt_regs`; only the part that is the same
//! on every kernel is declared here. Reads are volatile so that the compiler keeps each at a
//! constant offset from the context: the verifier accepts no other.

use aya_ebpf::EbpfContext;

#[cfg(bpf_target_arch = "x86_64")]
mod machine {
    /// 64-bit words of `struct pt_regs` (`arch/x86/include/asm/ptrace.h`) that hold the first six
    /// arguments: rdi, rsi, rdx, rcx, r8, r9.
    pub(super) const ARGUMENTS: [usize; 6] = [14, 13, 12, 11, 9, 8];
    /// The first four of Go (`abi-internal.md`): rax, rbx, rcx, rdi.
    pub(super) const GO_ARGUMENTS: [usize; 4] = [10, 5, 11, 14];
    /// r14, the current goroutine in Go.
    pub(super) const GOROUTINE: usize = 1;
    /// rax.
    pub(super) const RESULT: usize = 10;
    /// rip.
    pub(super) const INSTRUCTION: usize = 16;
    /// rsp.
    pub(super) const STACK: usize = 19;
    /// Whether a jump "below or equal" (`jbe`) is taken, by the 64-bit word that holds the flags: carry or
    /// zero.
    pub(super) const FLAGS: usize = 18;
    #[inline(always)]
    pub(super) const fn is_below_or_equal(flags: u64) -> bool {
        flags & (1 | 1 << 6) != 0
    }
    /// The arguments that are not in registers begin above the return address.
    pub(super) const FURTHER_ARGUMENTS: u64 = 8;
    /// The return instruction pops the return address, so the stack pointer after it is above the
    /// one at any instruction of the function.
    pub(super) const RETURN_POPS: bool = true;
}

#[cfg(bpf_target_arch = "aarch64")]
mod machine {
    /// 64-bit words of `struct user_pt_regs` (`arch/arm64/include/uapi/asm/ptrace.h`) that hold the
    /// first eight arguments: x0 to x7.
    pub(super) const ARGUMENTS: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];
    /// The first four of Go (`abi-internal.md`): x0 to x3.
    pub(super) const GO_ARGUMENTS: [usize; 4] = [0, 1, 2, 3];
    /// x28, the current goroutine in Go.
    pub(super) const GOROUTINE: usize = 28;
    /// x0.
    pub(super) const RESULT: usize = 0;
    /// pc.
    pub(super) const INSTRUCTION: usize = 32;
    /// sp.
    pub(super) const STACK: usize = 31;
    /// Whether a jump "lower or same" (`b.ls`) is taken, by the 64-bit word that holds the flags: no carry,
    /// or zero.
    pub(super) const FLAGS: usize = 33;
    #[inline(always)]
    pub(super) const fn is_below_or_equal(flags: u64) -> bool {
        flags & 1 << 29 == 0 || flags & 1 << 30 != 0
    }
    /// The arguments that are not in registers begin at the top of the stack.
    pub(super) const FURTHER_ARGUMENTS: u64 = 0;
    /// The return address is in a register.
    pub(super) const RETURN_POPS: bool = false;
}

#[cfg(not(any(bpf_target_arch = "x86_64", bpf_target_arch = "aarch64")))]
compile_error!("the register layout of this machine is not known: add it to `registers.rs`");

/// Where in user memory the further arguments are, at a function's entry, eight bytes each.
#[inline(always)]
pub(crate) fn further_arguments(context: &impl EbpfContext) -> u64 {
    stack(context).wrapping_add(machine::FURTHER_ARGUMENTS)
}

/// The 1-based argument `N`, given those that are not in registers.
#[inline(always)]
pub(crate) fn any_argument<const N: usize>(context: &impl EbpfContext, further: &[u64]) -> u64 {
    const { assert!(N > 0 && N <= 6 + crate::call::FURTHER_ARGUMENTS) };
    match const { (N - 1).checked_sub(machine::ARGUMENTS.len()) } {
        Some(index) => further.get(index).copied().unwrap_or(0),
        None => word(context, const { machine::ARGUMENTS[(N - 1) % machine::ARGUMENTS.len()] }),
    }
}

/// The 1-based argument `N` (at most 6).
#[inline(always)]
pub(crate) fn argument<const N: usize>(context: &impl EbpfContext) -> u64 {
    word(context, const { machine::ARGUMENTS[N - 1] })
}

/// The return value, at a return probe.
#[inline(always)]
pub(crate) fn result(context: &impl EbpfContext) -> u64 {
    word(context, machine::RESULT)
}

/// The instruction that the thread is at.
#[inline(always)]
pub(crate) fn instruction(context: &impl EbpfContext) -> u64 {
    word(context, machine::INSTRUCTION)
}

/// The stack pointer.
#[inline(always)]
pub(crate) fn stack(context: &impl EbpfContext) -> u64 {
    word(context, machine::STACK)
}

/// Whether a return that leaves the stack pointer at `after` can be that of the function whose
/// stack pointer was `within` at its probe: returns of functions that it called are below.
#[inline(always)]
pub(crate) fn returns_from(within: u64, after: u64) -> bool {
    if machine::RETURN_POPS { after > within } else { after >= within }
}

/// What Go (1.17 and later) keeps where.
pub(crate) mod go {
    use aya_ebpf::EbpfContext;

    use super::{machine, word};

    /// The 1-based integer argument, or result, `N` (at most 4).
    #[inline(always)]
    pub(crate) fn argument<const N: usize>(context: &impl EbpfContext) -> u64 {
        word(context, const { machine::GO_ARGUMENTS[N - 1] })
    }

    /// Whether a function at its check of the stack is about to have it grown, and then to begin again.
    #[inline(always)]
    pub(crate) fn grows_stack(context: &impl EbpfContext) -> bool {
        machine::is_below_or_equal(word(context, machine::FLAGS))
    }

    /// Address of the current goroutine.
    #[inline(always)]
    pub(crate) fn goroutine(context: &impl EbpfContext) -> u64 {
        word(context, machine::GOROUTINE)
    }
}

#[inline(always)]
fn word(context: &impl EbpfContext, index: usize) -> u64 {
    // SAFETY: the context of a uprobe program is a `struct pt_regs`, and `index` lies within it; the
    // verifier checks both.
    unsafe { context.as_ptr().cast::<u64>().add(index).read_volatile() }
}
