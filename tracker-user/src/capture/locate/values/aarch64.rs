//! The registers of 64-bit ARM.
//!
//! Instructions are told by their encodings (Arm Architecture Reference Manual, C4.1), of which only what moves
//! values that matter is read closely: addresses and numbers, moves, the stack. What another instruction leaves
//! in the register that it writes is not known.

use super::{Flow, Machine, Slots, Value};

/// Register 31: the stack pointer in some instructions, nothing in the others.
const STACK_POINTER: usize = 31;

/// The general registers and the stack pointer, and what was put on the stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Registers {
    general: [Value; 32],
    slots: Slots,
}

/// An instruction, and where it is.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Instruction {
    word: u32,
    at: u64,
}

impl Machine for Registers {
    type Instruction = Instruction;
    type Tools = ();

    const STACK_AT_CALL: i64 = 0;

    fn tools() {}

    fn on_entry() -> Self {
        let mut registers = Self { general: [Value::Unknown; 32], slots: Slots::default() };
        for (register, number) in (0..8).zip(1..) {
            registers.set(register, Value::Argument(number));
        }
        registers.set(STACK_POINTER, Value::Stack(0));
        registers
    }

    fn decode(code: &[u8], at: u64) -> Option<(Instruction, Flow, u64)> {
        let instruction = Instruction { word: u32::from_le_bytes(*code.first_chunk()?), at };
        Some((instruction, instruction.flow(), at.wrapping_add(4)))
    }

    fn run(&mut self, instruction: &Instruction, (): &mut ()) {
        let word = instruction.word;
        match (word >> 25) & 0xf {
            0b1000 | 0b1001 => self.run_immediate(*instruction),
            // System calls and reads of system registers.
            0b1010 | 0b1011 if word & 0xffe0_001f == 0xd400_0001 => self.set(0, Value::Unknown),
            0b1010 | 0b1011 if word & 0xfff0_0000 == 0xd530_0000 => {
                self.write(instruction.rd(), Value::Unknown);
            }
            0b0100 | 0b0110 | 0b1100 | 0b1110 => self.run_memory(*instruction),
            0b0101 | 0b1101 => self.run_register(*instruction),
            // Vectors and floating point, of which conversions and moves write a general register.
            0b0111 | 0b1111 if word & 0x5f00_fc00 == 0x1e00_0000 || word & 0xbfe0_e400 == 0x0e00_2400 => {
                self.write(instruction.rd(), Value::Unknown);
            }
            _ => {}
        }
    }

    fn returned(&mut self) {
        // x19 to x29 are the caller's (Procedure Call Standard for the Arm 64-bit Architecture, 6.1.1).
        (0..19).chain([30]).for_each(|register| self.set(register, Value::Unknown));
    }

    fn arguments(&self) -> [Value; 6] {
        std::array::from_fn(|register| self.get(register))
    }

    fn stack(&self) -> Value {
        self.get(STACK_POINTER)
    }

    fn stores_elsewhere(&self, instruction: &Instruction, (): &mut ()) -> bool {
        let Some(access) = Access::of(instruction.word) else { return false };
        !access.loads && !matches!(self.get(instruction.rn()), Value::Stack(_))
    }

    fn copies_to(&self, _: &Instruction) -> Value {
        Value::Unknown
    }
}

impl Registers {
    fn get(&self, register: usize) -> Value {
        self.general.get(register).copied().unwrap_or_default()
    }

    fn set(&mut self, register: usize, value: Value) {
        if let Some(slot) = self.general.get_mut(register) {
            *slot = value;
        }
    }

    /// Writes a register where 31 stands for none.
    fn write(&mut self, register: usize, value: Value) {
        if register != STACK_POINTER {
            self.set(register, value);
        }
    }

    /// Numbers in the instruction: addresses, sums, moves.
    fn run_immediate(&mut self, instruction: Instruction) {
        let Instruction { word, at } = instruction;
        let (rd, is_wide) = (instruction.rd(), word >> 31 == 1);
        let source = self.get(instruction.rn());
        match (word >> 23) & 7 {
            0 | 1 => {
                let distance = ((word << 8).cast_signed() >> 13 << 2) | ((word >> 29) & 3).cast_signed();
                let address = if is_wide {
                    (at & !0xfff).wrapping_add_signed(i64::from(distance) << 12)
                } else {
                    at.wrapping_add_signed(distance.into())
                };
                self.write(rd, Value::Constant(address));
            }
            2 => {
                let shift = (word >> 22 & 1) * 12;
                let number = u64::from((word >> 10 & 0xfff) << shift);
                let subtracts = word & 1 << 30 != 0;
                let sum = source.plus(if subtracts { number.wrapping_neg() } else { number });
                let sum = if is_wide { sum } else { sum.and_then(Value::lower_half) };
                if word & 1 << 29 == 0 {
                    self.set(rd, sum.unwrap_or_default());
                } else {
                    self.write(rd, Value::Unknown); // It sets the flags: a comparison.
                }
            }
            // and, orr, eor: of the stack pointer, to align it.
            4 if word >> 29 & 3 != 3 => self.set(rd, Value::Unknown),
            5 => {
                let shift = (word >> 21 & 3) * 16;
                let number = u64::from(word >> 5 & 0xffff) << shift;
                let value = match (word >> 29 & 3, self.get(rd)) {
                    (0, _) => Value::Constant(!number),
                    (2, _) => Value::Constant(number),
                    (3, Value::Constant(before)) => Value::Constant(before & !(0xffff << shift) | number),
                    _ => Value::Unknown,
                };
                self.write(rd, if is_wide { value } else { value.lower_half().unwrap_or_default() });
            }
            // sxtw
            6 if word & 0xffff_fc00 == 0x9340_7c00 => {
                let value = if matches!(source, Value::Argument(_)) { source } else { Value::Unknown };
                self.write(rd, value);
            }
            _ => self.write(rd, Value::Unknown),
        }
    }

    /// Registers only: moves.
    fn run_register(&mut self, instruction: Instruction) {
        let word = instruction.word;
        let rd = instruction.rd();
        // orr with nothing
        if word & 0x7fe0_ffe0 == 0x2a00_03e0 {
            let rm = (word >> 16 & 31) as usize;
            let source = if rm == STACK_POINTER { Value::Constant(0) } else { self.get(rm) };
            let value = if word >> 31 == 1 { source } else { source.lower_half().unwrap_or_default() };
            self.write(rd, value);
        } else if word & 0x1fe0_0000 == 0x0b20_0000 && word & 1 << 29 == 0 {
            // An extended register may be added to the stack pointer.
            self.set(rd, Value::Unknown);
        } else if word & 0x1fe0_0000 != 0x1a40_0000 {
            // ccmp has flags there.
            self.write(rd, Value::Unknown);
        }
    }

    /// Loads and stores.
    fn run_memory(&mut self, instruction: Instruction) {
        let word = instruction.word;
        let Some(access) = Access::of(word) else {
            // Exclusive, atomic and others: whatever they write.
            self.write(instruction.rd(), Value::Unknown);
            self.write((word >> 16 & 31) as usize, Value::Unknown);
            return;
        };
        let rn = instruction.rn();
        let base = if access.has_base { self.get(rn) } else { Value::Unknown };
        let moved = access.offset.and_then(|offset| base.plus(offset.cast_unsigned()));
        let address = match if access.is_post { Some(base) } else { moved } {
            Some(Value::Stack(address)) => Some(address),
            _ => None,
        };
        let registers = [Some(instruction.rd()), access.second];
        for (register, place) in registers.into_iter().flatten().zip([0, access.size]) {
            let address = address.map(|address| address.wrapping_add(place));
            if access.loads {
                if !access.is_vector {
                    let found = address.map_or(Value::Unknown, |address| self.slots.load(address));
                    let value = match access.size {
                        8 => found,
                        4 => found.lower_half().unwrap_or_default(),
                        _ => Value::Unknown,
                    };
                    self.write(register, value);
                }
            } else if let Some(address) = address {
                let value = match access.size {
                    _ if access.is_vector => Value::Unknown,
                    8 if register == STACK_POINTER => Value::Constant(0),
                    8 => self.get(register),
                    4 => self.get(register).lower_half().unwrap_or_default(),
                    _ => Value::Unknown,
                };
                self.slots.store(address, value);
                if access.size == 16 {
                    self.slots.store(address.wrapping_add(8), Value::Unknown);
                }
            }
        }
        if access.writes_base {
            self.set(rn, moved.unwrap_or_default());
        }
    }
}

impl Instruction {
    /// The register that most write.
    const fn rd(self) -> usize {
        (self.word & 31) as usize
    }

    /// The first that most read.
    const fn rn(self) -> usize {
        (self.word >> 5 & 31) as usize
    }

    /// Where it leads (C4.1.65).
    fn flow(self) -> Flow {
        let Self { word, at } = self;
        // A distance in words, in so many bits from here on.
        let target = |from: u32, bits: u32| {
            let distance = (word << (32 - from - bits)).cast_signed() >> (32 - bits);
            at.wrapping_add_signed(i64::from(distance) * 4)
        };
        if word & 0xfc00_0000 == 0x1400_0000 {
            Flow::Jump(Some(target(0, 26)))
        } else if word & 0xfc00_0000 == 0x9400_0000 {
            Flow::Call(Some(target(0, 26)))
        } else if word & 0xff00_0000 == 0x5400_0000 || word & 0x7e00_0000 == 0x3400_0000 {
            Flow::Branch(target(5, 19))
        } else if word & 0x7e00_0000 == 0x3600_0000 {
            Flow::Branch(target(5, 14))
        } else if word & 0xfe00_0000 == 0xd600_0000 {
            // With and without pointer authentication.
            match word >> 21 & 0xf {
                0 | 8 => Flow::Jump(None),
                1 | 9 => Flow::Call(None),
                2 => Flow::Return,
                _ => Flow::Stop,
            }
        } else if word & 0xffe0_001f == 0xd420_0000 || word >> 16 == 0 {
            Flow::Stop // brk, udf
        } else {
            Flow::Next
        }
    }
}

/// What a load or a store moves, and where (C4.1.67).
#[derive(Clone, Copy, Debug)]
struct Access {
    loads: bool,
    is_vector: bool,
    /// Bytes of one register.
    size: i64,
    /// The other register of a pair.
    second: Option<usize>,
    /// Whether there is a base register; else it is relative to the instruction.
    has_base: bool,
    /// Distance from the base, where that is a number.
    offset: Option<i64>,
    /// Whether the distance counts afterwards only.
    is_post: bool,
    writes_base: bool,
}

impl Access {
    fn of(word: u32) -> Option<Self> {
        let is_vector = word & 1 << 26 != 0;
        let size = word >> 30;
        if word & 0x3a00_0000 == 0x2800_0000 {
            let mode = word >> 23 & 3;
            let bytes = match (is_vector, size) {
                (true, _) => 4 << size,
                (false, 0) => 4,
                (false, 1) => 2, // Two words, widened with their signs.
                (false, _) => 8,
            };
            let scale = if !is_vector && size == 1 { 4 } else { bytes };
            let number = (word << 10).cast_signed() >> 25;
            return Some(Self {
                loads: word & 1 << 22 != 0,
                is_vector,
                size: bytes,
                second: Some((word >> 10 & 31) as usize),
                has_base: true,
                offset: Some(i64::from(number) * scale),
                is_post: mode == 1,
                writes_base: mode & 1 != 0,
            });
        }
        let single = Self {
            loads: true,
            is_vector,
            size: 1,
            second: None,
            has_base: true,
            offset: None,
            is_post: false,
            writes_base: false,
        };
        if word & 0x3b00_0000 == 0x1800_0000 {
            return Some(Self { has_base: false, ..single });
        }
        // A prefetch loads into no register either.
        let single = Self { is_vector: is_vector || word >> 22 == 0x3e6 || word >> 22 == 0x3e2, ..single };
        // Of vectors, the upper half of what is to be done makes the size larger.
        let what = word >> 22 & 3;
        let loads = if is_vector { what & 1 != 0 } else { what != 0 };
        let scale = if is_vector && what & 2 != 0 { 16 } else { 1 << size };
        // Words and less that are widened with their sign are not followed.
        let bytes = if !is_vector && what > 1 { 1 } else { scale };
        if word & 0x3b00_0000 == 0x3900_0000 {
            let number = i64::from(word >> 10 & 0xfff);
            return Some(Self { loads, size: bytes, offset: Some(number * scale), ..single });
        }
        if word & 0x3b20_0000 == 0x3800_0000 {
            let mode = word >> 10 & 3;
            let number = (word << 11).cast_signed() >> 23;
            return Some(Self {
                loads,
                size: bytes,
                offset: Some(number.into()),
                is_post: mode == 1,
                writes_base: mode & 1 != 0,
                ..single
            });
        }
        // With a register as distance.
        (word & 0x3b20_0c00 == 0x3820_0800).then_some(Self { loads, size: bytes, ..single })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs instructions that follow each other.
    fn run(registers: &mut Registers, at: u64, words: &[u32]) {
        for (word, at) in words.iter().zip((at..).step_by(4)) {
            let (instruction, flow, _) = Registers::decode(&word.to_le_bytes(), at).unwrap();
            assert_eq!(flow, Flow::Next, "{word:x}");
            registers.run(&instruction, &mut ());
        }
    }

    fn flow(word: u32) -> Flow {
        Registers::decode(&word.to_le_bytes(), 0x1000).unwrap().1
    }

    #[test]
    fn addresses_and_numbers() {
        let mut registers = Registers::on_entry();
        // adrp x0, page after next; add x0, x0, #16; mov w1, #123; mov w2, #-1; mov x3, #0x10000; movk x3, #2
        let words = [0xb000_0000, 0x9100_4000, 0x5280_0f61, 0x1280_0002, 0xd2a0_0023, 0xf280_0043];
        run(&mut registers, 0x1234, &words);
        let expected = [0x2010, 123, 0xffff_ffff, 0x10002].map(Value::Constant);
        assert_eq!(registers.arguments()[..4], expected);
        assert_eq!(registers.arguments()[4], Value::Argument(5));
    }

    #[test]
    fn what_is_put_on_the_stack_is_found_again() {
        let mut registers = Registers::on_entry();
        // stp x29, x30, [sp, #-80]!; mov x29, sp; stp x19, x20, [sp, #16]; mov x21, x1; sxtw x20, w2;
        // str x21, [sp, #48]; mov w19, #0
        let words =
            [0xa9bb_7bfd, 0x9100_03fd, 0xa901_53f3, 0xaa01_03f5, 0x9340_7c54, 0xf900_1bf5, 0x5280_0013];
        run(&mut registers, 0, &words);
        assert_eq!((registers.stack(), registers.get(29)), (Value::Stack(-80), Value::Stack(-80)));
        registers.returned();
        assert_eq!(registers.arguments(), [Value::Unknown; 6]);
        assert_eq!(registers.get(20), Value::Argument(3));
        // ldr x23, [sp, #48]; ldp x19, x20, [sp, #16]; ldp x29, x30, [sp], #80
        run(&mut registers, 0, &[0xf940_1bf7, 0xa941_53f3, 0xa8c5_7bfd]);
        assert_eq!((registers.get(23), registers.stack()), (Value::Argument(2), Value::Stack(0)));
        assert_eq!((registers.get(19), registers.get(20)), (Value::Unknown, Value::Unknown));
    }

    #[test]
    fn a_store_elsewhere_is_one_that_is_not_on_the_stack() {
        let registers = Registers::on_entry();
        let stores = |word: u32| {
            let (instruction, ..) = Registers::decode(&word.to_le_bytes(), 0).unwrap();
            registers.stores_elsewhere(&instruction, &mut ())
        };
        // str wzr, [x0, #196]; ldr x0, [x0, #48]; str x23, [sp, #48]
        assert_eq!([0xb900_c41f, 0xf940_1800, 0xf900_1bf7].map(stores), [true, false, false]);
    }

    #[test]
    fn where_branches_lead() {
        assert_eq!(flow(0x9400_0002), Flow::Call(Some(0x1008)));
        assert_eq!(flow(0x17ff_ffff), Flow::Jump(Some(0xffc)));
        assert_eq!(flow(0x5400_014d), Flow::Branch(0x1028)); // b.le
        assert_eq!(flow(0xb400_0108), Flow::Branch(0x1020)); // cbz
        assert_eq!(flow(0x37f8_04b4), Flow::Branch(0x1094)); // tbnz
        assert_eq!(flow(0xd63f_00a0), Flow::Call(None));
        assert_eq!(flow(0xd61f_0200), Flow::Jump(None));
        assert_eq!(flow(0xd65f_03c0), Flow::Return);
        assert_eq!(flow(0xd420_0000), Flow::Stop); // brk
        assert_eq!(flow(0xd503_233f), Flow::Next); // paciasp
    }
}
