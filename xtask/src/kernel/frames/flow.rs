//! The stack frame of one function, from its instructions.
//!
//! A frame reaches from r10 down to the lowest address that is used or computed from it. So copies
//! of r10 are followed through moves and constant additions along every path of the function. Where
//! paths meet, the lower address wins: the answer may be too large, never too small, but for two
//! things that no compiler does to an address in a frame: to move it below the object it points to
//! with a variable, or after it was reloaded from memory.

use anyhow::{Context as _, bail};

use super::insn::*;

/// What each register holds: the lowest offset from the frame pointer, if it may be such an address.
type Registers = [Option<i32>; 16];

/// Below this nothing is told apart, so that a loop which counts an address down comes to an end.
/// The verifier's own limit is 512 bytes.
const LOWEST: i32 = -1024;

/// The size in bytes of the stack frame that `code` needs.
///
/// # Errors
/// When `code` is not one whole function: a jump out of it, a cut instruction.
pub(crate) fn frame_size(code: &[Insn]) -> anyhow::Result<u32> {
    let mut entry: Registers = [None; 16];
    entry[FRAME_POINTER] = Some(0);

    let mut before: Vec<Option<Registers>> = vec![None; code.len()];
    let mut lowest = 0;
    let mut pending = Vec::new();
    arrive(&mut before, &mut pending, 0, &entry)?;
    while let Some(at) = pending.pop() {
        let (Some(&insn), Some(Some(registers))) = (code.get(at), before.get(at)) else {
            bail!("the control flow leaves the function at instruction {at}");
        };
        let mut registers = *registers;
        let touched = step(insn, &mut registers);
        lowest = lowest.min(touched.unwrap_or(0));
        for next in successors(at, insn)?.into_iter().flatten() {
            arrive(&mut before, &mut pending, next, &registers)?;
        }
    }
    Ok(lowest.unsigned_abs())
}

/// Joins what is known before instruction `at` with what arrives there on one more path, and has
/// it looked at again if that adds anything.
fn arrive(
    before: &mut [Option<Registers>],
    pending: &mut Vec<usize>,
    at: usize,
    arriving: &Registers,
) -> anyhow::Result<()> {
    let known = before
        .get_mut(at)
        .with_context(|| format!("the control flow leaves the function to instruction {at}"))?;
    let joined = known.map_or(*arriving, |known| std::array::from_fn(|r| lower(known[r], arriving[r])));
    if *known != Some(joined) {
        *known = Some(joined);
        pending.push(at);
    }
    Ok(())
}

/// The lower of two addresses, of which either may be none.
fn lower(a: Option<i32>, b: Option<i32>) -> Option<i32> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Applies `insn` to `registers`; the frame address that it uses or computes, if any.
fn step(insn: Insn, registers: &mut Registers) -> Option<i32> {
    let Insn { opcode, dst, src, offset, imm } = insn;
    let (dst, src) = (usize::from(dst), usize::from(src));
    let moved = |address: Option<i32>, by: i32| address.map(|it| it.saturating_add(by).max(LOWEST));
    match insn.class() {
        CLASS_LDX => {
            let touched = moved(registers[src], offset.into());
            registers[dst] = None;
            touched
        }
        CLASS_ST => moved(registers[dst], offset.into()),
        CLASS_STX => {
            let touched = moved(registers[dst], offset.into());
            // Only the 32- and 64-bit atomics have this mode; those that fetch overwrite src or r0.
            let is_atomic = opcode & 0xe0 == 0xc0;
            if is_atomic && imm & 1 != 0 {
                registers[if imm == COMPARE_EXCHANGE { 0 } else { src }] = None;
            }
            touched
        }
        CLASS_ALU64 => {
            registers[dst] = match opcode {
                // With an offset it is a sign extension or a cast, which no frame address survives.
                MOV64_REG if offset == 0 => registers[src],
                ADD64_IMM => moved(registers[dst], imm),
                SUB64_IMM => moved(registers[dst], imm.saturating_neg()),
                ADD64_REG => lower(registers[dst], registers[src]),
                SUB64_REG if registers[src].is_none() => registers[dst],
                _ => None,
            };
            registers[dst]
        }
        CLASS_ALU | CLASS_LD => {
            registers[dst] = None;
            None
        }
        _ => {
            if opcode == CALL || opcode == CALLX {
                registers[..=5].fill(None);
            }
            None
        }
    }
}

/// The `imm` of the atomic compare-and-exchange.
const COMPARE_EXCHANGE: i32 = 0xf1;

/// The instructions that can follow `insn` at `at`.
fn successors(at: usize, insn: Insn) -> anyhow::Result<[Option<usize>; 2]> {
    let jump = |by: i32| {
        let by = isize::try_from(by).ok();
        by.and_then(|by| (at + 1).checked_add_signed(by))
            .with_context(|| format!("the control flow leaves the function at instruction {at}"))
    };
    let next = at + 1;
    Ok(match (insn.class(), insn.opcode) {
        (_, EXIT) => [None, None],
        (_, LD_IMM64) => [Some(next + 1), None],
        (_, CALL | CALLX) => [Some(next), None],
        (_, JA) => [Some(jump(insn.offset.into())?), None],
        (_, JA32) => [Some(jump(insn.imm)?), None],
        (CLASS_JMP | CLASS_JMP32, _) => [Some(next), Some(jump(insn.offset.into())?)],
        _ => [Some(next), None],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(code: &[[u8; SIZE]]) -> anyhow::Result<u32> {
        let code: Vec<_> = code.iter().map(|bytes| Insn::decode(*bytes, true)).collect();
        frame_size(&code)
    }

    /// `*(u64 *)(rBASE + offset) = r1`
    fn store(base: u8, offset: i16) -> [u8; SIZE] {
        let [o0, o1] = offset.to_le_bytes();
        [0x7b, 0x10 | base, o0, o1, 0, 0, 0, 0]
    }

    /// `rDST = *(u64 *)(rBASE + offset)`
    fn load(dst: u8, base: u8, offset: i16) -> [u8; SIZE] {
        let [o0, o1] = offset.to_le_bytes();
        [0x79, base << 4 | dst, o0, o1, 0, 0, 0, 0]
    }

    /// `rDST += imm`
    fn add(dst: u8, imm: i32) -> [u8; SIZE] {
        let [i0, i1, i2, i3] = imm.to_le_bytes();
        [ADD64_IMM, dst, 0, 0, i0, i1, i2, i3]
    }

    /// `rDST = rSRC`
    fn mov(dst: u8, src: u8) -> [u8; SIZE] {
        [MOV64_REG, src << 4 | dst, 0, 0, 0, 0, 0, 0]
    }

    /// `if r1 == 0 goto +offset`
    fn jump_if_zero(offset: i16) -> [u8; SIZE] {
        let [o0, o1] = offset.to_le_bytes();
        [0x15, 1, o0, o1, 0, 0, 0, 0]
    }

    const RETURN: [u8; SIZE] = [EXIT, 0, 0, 0, 0, 0, 0, 0];
    const HELPER: [u8; SIZE] = [CALL, 0, 0, 0, 1, 0, 0, 0];

    #[test]
    fn no_frame() {
        assert_eq!(frame(&[load(0, 1, 8), store(2, -64), RETURN]).unwrap(), 0);
    }

    #[test]
    fn loads_and_stores_through_the_frame_pointer() {
        assert_eq!(frame(&[store(10, -8), store(10, -40), load(0, 10, -24), RETURN]).unwrap(), 40);
        // *(u32 *)(r10 - 56) = 7
        assert_eq!(frame(&[[0x62, 0x0a, 0xc8, 0xff, 7, 0, 0, 0], RETURN]).unwrap(), 56);
        // lock *(u64 *)(r10 - 16) += r1
        assert_eq!(frame(&[[0xdb, 0x1a, 0xf0, 0xff, 0, 0, 0, 0], RETURN]).unwrap(), 16);
    }

    #[test]
    fn an_address_that_is_only_computed_counts() {
        assert_eq!(frame(&[mov(2, 10), add(2, -24), HELPER, RETURN]).unwrap(), 24);
        // r2 -= 32
        assert_eq!(frame(&[mov(2, 10), [SUB64_IMM, 2, 0, 0, 32, 0, 0, 0], HELPER, RETURN]).unwrap(), 32);
    }

    #[test]
    fn copies_are_followed() {
        let code = [mov(6, 10), add(6, -16), mov(7, 6), add(7, -16), store(7, -8), RETURN];
        assert_eq!(frame(&code).unwrap(), 40);
        // Upwards again: the lowest point counts.
        assert_eq!(frame(&[mov(6, 10), add(6, -64), add(6, 32), store(6, 0), RETURN]).unwrap(), 64);
    }

    #[test]
    fn an_overwritten_copy_is_forgotten() {
        // By a load, by a call, by a constant, by 32-bit arithmetic.
        assert_eq!(frame(&[mov(1, 10), load(1, 9, 0), store(1, -80), RETURN]).unwrap(), 0);
        assert_eq!(frame(&[mov(1, 10), HELPER, store(1, -80), RETURN]).unwrap(), 0);
        assert_eq!(frame(&[mov(1, 10), [0xb7, 1, 0, 0, 0, 0, 0, 0], store(1, -80), RETURN]).unwrap(), 0);
        assert_eq!(frame(&[mov(1, 10), [0x04, 1, 0, 0, 1, 0, 0, 0], store(1, -80), RETURN]).unwrap(), 0);
        // r6 to r9 outlive a call.
        assert_eq!(frame(&[mov(6, 10), HELPER, store(6, -80), RETURN]).unwrap(), 80);
    }

    #[test]
    fn a_variable_index_keeps_the_base() {
        // r2 = r10 - 32 + r3, either way round
        let index = [ADD64_REG, 0x32, 0, 0, 0, 0, 0, 0];
        assert_eq!(frame(&[mov(2, 10), add(2, -32), index, store(2, -8), RETURN]).unwrap(), 40);
        let base = [ADD64_REG, 0x23, 0, 0, 0, 0, 0, 0];
        assert_eq!(frame(&[mov(2, 10), add(2, -32), base, store(3, -8), RETURN]).unwrap(), 40);
    }

    #[test]
    fn paths_meet_at_the_lower_address() {
        // One path leaves r6 as a map value, the other as a frame address.
        let code = [mov(6, 2), jump_if_zero(2), mov(6, 10), add(6, -16), store(6, -32), RETURN];
        assert_eq!(frame(&code).unwrap(), 48);
        // Code past an unconditional jump is looked at only where something jumps to it.
        let skip = [JA, 0, 1, 0, 0, 0, 0, 0];
        assert_eq!(frame(&[skip, store(10, -400), RETURN]).unwrap(), 0);
        let far = [JA32, 0, 0, 0, 1, 0, 0, 0];
        assert_eq!(frame(&[far, store(10, -400), store(10, -8), RETURN]).unwrap(), 8);
    }

    #[test]
    fn a_loop_ends() {
        // do { r6 -= 8; *r6 = r1 } while (r1 == 0)
        let code = [mov(6, 10), add(6, -8), store(6, 0), jump_if_zero(-3), RETURN];
        assert_eq!(frame(&code).unwrap(), LOWEST.unsigned_abs());
    }

    #[test]
    fn a_constant_of_two_slots_is_one_instruction() {
        // The second slot would be `*(u64 *)(r10 - 8) = r1`, were it looked at.
        let constant = [LD_IMM64, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(frame(&[constant, store(10, -8), RETURN]).unwrap(), 0);
    }

    #[test]
    fn a_part_of_a_function_is_refused() {
        assert!(frame(&[]).is_err());
        assert!(frame(&[store(10, -8)]).is_err());
        assert!(frame(&[jump_if_zero(7), RETURN]).is_err());
        assert!(frame(&[jump_if_zero(-3), RETURN]).is_err());
        assert!(frame(&[[LD_IMM64, 1, 0, 0, 0, 0, 0, 0]]).is_err());
    }
}
