//! BPF instructions, as far as finding stack frames takes them.
//!
//! The encoding is RFC 9669's: eight bytes; the opcode's low three bits are the class.

/// Loads outside the ordinary addressing: 64-bit constants.
pub(crate) const CLASS_LD: u8 = 0x00;
/// Loads from memory.
pub(crate) const CLASS_LDX: u8 = 0x01;
/// Stores of a constant.
pub(crate) const CLASS_ST: u8 = 0x02;
/// Stores of a register, and atomics.
pub(crate) const CLASS_STX: u8 = 0x03;
/// 32-bit arithmetic.
pub(crate) const CLASS_ALU: u8 = 0x04;
/// Jumps, calls and exit; comparisons in 64 bits.
pub(crate) const CLASS_JMP: u8 = 0x05;
/// Jumps with comparisons in 32 bits.
pub(crate) const CLASS_JMP32: u8 = 0x06;
/// 64-bit arithmetic.
pub(crate) const CLASS_ALU64: u8 = 0x07;

/// `dst = src`.
pub(crate) const MOV64_REG: u8 = 0xbf;
/// `dst += imm`.
pub(crate) const ADD64_IMM: u8 = 0x07;
/// `dst += src`.
pub(crate) const ADD64_REG: u8 = 0x0f;
/// `dst -= imm`.
pub(crate) const SUB64_IMM: u8 = 0x17;
/// `dst -= src`.
pub(crate) const SUB64_REG: u8 = 0x1f;
/// `dst = imm64`, the only instruction of two slots.
pub(crate) const LD_IMM64: u8 = 0x18;
/// Jump by `offset`.
pub(crate) const JA: u8 = 0x05;
/// Jump by `imm` (instruction set v4).
pub(crate) const JA32: u8 = 0x06;
/// Call a helper or a function.
pub(crate) const CALL: u8 = 0x85;
/// Call through a register.
pub(crate) const CALLX: u8 = 0x8d;
/// Return.
pub(crate) const EXIT: u8 = 0x95;

/// The frame pointer: the top of the frame, which lies below it.
pub(crate) const FRAME_POINTER: usize = 10;

/// The bytes of one instruction slot.
pub(crate) const SIZE: usize = 8;

/// One instruction slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Insn {
    pub(crate) opcode: u8,
    pub(crate) dst: u8,
    pub(crate) src: u8,
    pub(crate) offset: i16,
    pub(crate) imm: i32,
}

impl Insn {
    /// Decodes a slot of an object of the given byte order.
    pub(crate) fn decode(bytes: [u8; SIZE], little_endian: bool) -> Self {
        let [opcode, registers, o0, o1, i0, i1, i2, i3] = bytes;
        let (low, high) = (registers & 0x0f, registers >> 4);
        if little_endian {
            let (offset, imm) = (i16::from_le_bytes([o0, o1]), i32::from_le_bytes([i0, i1, i2, i3]));
            Self { opcode, dst: low, src: high, offset, imm }
        } else {
            let (offset, imm) = (i16::from_be_bytes([o0, o1]), i32::from_be_bytes([i0, i1, i2, i3]));
            Self { opcode, dst: high, src: low, offset, imm }
        }
    }

    /// The instruction's class.
    pub(crate) fn class(self) -> u8 {
        self.opcode & 0x07
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_both_byte_orders() {
        // *(u64 *)(r10 - 8) = r1
        let expected = Insn { opcode: 0x7b, dst: 10, src: 1, offset: -8, imm: 0 };
        assert_eq!(Insn::decode([0x7b, 0x1a, 0xf8, 0xff, 0, 0, 0, 0], true), expected);
        assert_eq!(Insn::decode([0x7b, 0xa1, 0xff, 0xf8, 0, 0, 0, 0], false), expected);

        // r2 += -24
        let expected = Insn { opcode: ADD64_IMM, dst: 2, src: 0, offset: 0, imm: -24 };
        assert_eq!(Insn::decode([0x07, 0x02, 0, 0, 0xe8, 0xff, 0xff, 0xff], true), expected);
        assert_eq!(Insn::decode([0x07, 0x20, 0, 0, 0xff, 0xff, 0xff, 0xe8], false), expected);
    }
}
