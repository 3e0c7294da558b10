//! The registers of x86-64.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind,
    Register,
};

use super::{Flow, Machine, Slots, Value};

/// Integer arguments in the order of the System V calling convention.
const ARGUMENTS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];
const CALLER_SAVED: [Register; 9] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];
/// The general registers, and what was put on the stack.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Registers {
    general: [Value; 16],
    slots: Slots,
}

impl Registers {
    pub(in super::super) fn get(&self, register: Register) -> Value {
        index(register).and_then(|index| self.general.get(index)).copied().unwrap_or_default()
    }

    fn set(&mut self, register: Register, value: Value) {
        if let Some(slot) = index(register).and_then(|index| self.general.get_mut(index)) {
            *slot = value;
        }
    }

    /// What an instruction leaves in its first operand, where that can be told.
    fn result(&self, instruction: &Instruction) -> Option<Value> {
        let from_register = instruction.op1_kind() == OpKind::Register;
        let from_memory = instruction.op1_kind() == OpKind::Memory;
        let source = || self.get(instruction.op1_register());
        match instruction.code() {
            Code::Mov_r64_rm64 | Code::Mov_rm64_r64 if from_register => Some(source()),
            Code::Mov_r64_rm64 if from_memory => {
                self.address(instruction).map(|address| self.slots.load(address))
            }
            // A length, which is checked not to be negative, is widened one way or the other.
            Code::Movsxd_r64_rm32 | Code::Mov_r32_rm32 | Code::Mov_rm32_r32 if from_register => {
                match source() {
                    Value::Constant(value) if instruction.code() != Code::Movsxd_r64_rm32 => {
                        Some(Value::Constant(value & 0xffff_ffff))
                    }
                    value @ Value::Argument(_) => Some(value),
                    _ => None,
                }
            }
            Code::Movsxd_r64_rm32 | Code::Mov_r32_rm32 if from_memory => {
                let value = self.address(instruction).map(|address| self.slots.load(address));
                value.filter(|value| matches!(value, Value::Argument(_)))
            }
            Code::Mov_r32_imm32 | Code::Mov_r64_imm64 | Code::Mov_rm64_imm32 | Code::Mov_rm32_imm32 => {
                Some(Value::Constant(instruction.immediate(1)))
            }
            Code::Lea_r64_m if instruction.is_ip_rel_memory_operand() => {
                Some(Value::Constant(instruction.ip_rel_memory_address()))
            }
            Code::Lea_r64_m | Code::Lea_r32_m => self.computed(instruction),
            Code::Xor_r32_rm32 | Code::Xor_rm32_r32 | Code::Xor_r64_rm64 | Code::Xor_rm64_r64
                if from_register && instruction.op0_register() == instruction.op1_register() =>
            {
                Some(Value::Constant(0))
            }
            Code::Add_rm64_imm8 | Code::Add_rm64_imm32 | Code::Add_RAX_imm32 => {
                self.plus(instruction.op0_register(), instruction.immediate(1))
            }
            Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32 | Code::Sub_RAX_imm32 => {
                self.plus(instruction.op0_register(), instruction.immediate(1).wrapping_neg())
            }
            // All ones, the shortest way.
            Code::Or_rm32_imm8 if instruction.immediate(1) == u64::MAX => Some(Value::Constant(0xffff_ffff)),
            Code::Pop_r64 => match self.get(Register::RSP) {
                Value::Stack(address) => Some(self.slots.load(address)),
                _ => None,
            },
            _ => None,
        }
    }

    fn plus(&self, register: Register, addend: u64) -> Option<Value> {
        self.get(register).plus(addend)
    }

    /// The value of an address computation.
    fn computed(&self, instruction: &Instruction) -> Option<Value> {
        if instruction.memory_index() != Register::None {
            return None;
        }
        let value = self.plus(instruction.memory_base(), instruction.memory_displacement64())?;
        match value {
            Value::Constant(value) if instruction.code() == Code::Lea_r32_m => {
                Some(Value::Constant(value & 0xffff_ffff))
            }
            value => Some(value),
        }
    }

    /// The address on the stack that a memory operand means.
    fn address(&self, instruction: &Instruction) -> Option<i64> {
        if instruction.memory_index() != Register::None {
            return None;
        }
        match self.get(instruction.memory_base()) {
            Value::Stack(base) => Some(base.wrapping_add_unsigned(instruction.memory_displacement64())),
            _ => None,
        }
    }

    /// What an instruction puts on the stack, and where.
    fn stored(&self, instruction: &Instruction) -> Option<(i64, Value)> {
        match instruction.code() {
            Code::Push_r64 | Code::Pushq_imm8 | Code::Pushq_imm32 => {
                let Value::Stack(top) = self.get(Register::RSP) else { return None };
                let value = match instruction.op0_kind() {
                    OpKind::Register => self.get(instruction.op0_register()),
                    _ => Value::Constant(instruction.immediate(0)),
                };
                Some((top.wrapping_sub(8), value))
            }
            _ if instruction.op0_kind() == OpKind::Memory => {
                let value = match instruction.code() {
                    Code::Mov_rm64_r64 | Code::Mov_rm32_r32 => self.get(instruction.op1_register()),
                    _ => Value::Unknown,
                };
                Some((self.address(instruction)?, value))
            }
            _ => None,
        }
    }
}

impl Machine for Registers {
    type Instruction = Instruction;
    type Tools = InstructionInfoFactory;

    /// Above it the call puts the return address.
    const STACK_AT_CALL: i64 = 8;

    fn tools() -> InstructionInfoFactory {
        InstructionInfoFactory::new()
    }

    fn on_entry() -> Self {
        let mut registers = Self { general: [Value::Unknown; 16], slots: Slots::default() };
        for (register, number) in ARGUMENTS.into_iter().zip(1..) {
            registers.set(register, Value::Argument(number));
        }
        registers.set(Register::RSP, Value::Stack(0));
        registers
    }

    fn decode(code: &[u8], at: u64) -> Option<(Instruction, Flow, u64)> {
        let instruction = Decoder::with_ip(64, code, at, DecoderOptions::NONE).decode();
        let target = Some(instruction.near_branch_target()).filter(|target| *target != 0);
        let flow = match instruction.flow_control() {
            FlowControl::Next => Flow::Next,
            FlowControl::Call | FlowControl::IndirectCall => Flow::Call(target),
            FlowControl::ConditionalBranch => Flow::Branch(target?),
            FlowControl::UnconditionalBranch | FlowControl::IndirectBranch => Flow::Jump(target),
            FlowControl::Return => Flow::Return,
            _ => Flow::Stop,
        };
        (!instruction.is_invalid()).then(|| (instruction, flow, instruction.next_ip()))
    }

    fn run(&mut self, instruction: &Instruction, tools: &mut InstructionInfoFactory) {
        let (top, frame) = (self.get(Register::RSP), self.get(Register::RBP));
        let result = self.result(instruction);
        let info = tools.info(instruction);
        let stored = if is_write(info.op0_access()) || instruction.is_stack_instruction() {
            self.stored(instruction)
        } else {
            None
        };
        for used in info.used_registers() {
            if is_write(used.access()) {
                self.set(used.register().full_register(), Value::Unknown);
            }
        }
        if let (Some(value), OpKind::Register) = (result, instruction.op0_kind()) {
            self.set(instruction.op0_register(), value);
        }
        if let Some((address, value)) = stored {
            self.slots.store(address, value);
        }
        if let (Code::Leaveq, Value::Stack(frame)) = (instruction.code(), frame) {
            self.set(Register::RBP, self.slots.load(frame));
            self.set(Register::RSP, Value::Stack(frame.wrapping_add(8)));
        } else if let Value::Stack(top) = top
            && instruction.stack_pointer_increment() != 0
        {
            let moved = instruction.stack_pointer_increment();
            self.set(Register::RSP, Value::Stack(top.wrapping_add(moved.into())));
        }
    }

    fn returned(&mut self) {
        CALLER_SAVED.iter().for_each(|&register| self.set(register, Value::Unknown));
    }

    fn arguments(&self) -> [Value; 6] {
        ARGUMENTS.map(|register| self.get(register))
    }

    fn stack(&self) -> Value {
        self.get(Register::RSP)
    }

    fn stores_elsewhere(&self, instruction: &Instruction, tools: &mut InstructionInfoFactory) -> bool {
        instruction.op0_kind() == OpKind::Memory
            && matches!(tools.info(instruction).op0_access(), OpAccess::Write | OpAccess::ReadWrite)
            && !matches!(self.get(instruction.memory_base()), Value::Stack(_))
            && !instruction.is_ip_rel_memory_operand()
    }

    fn copies_to(&self, instruction: &Instruction) -> Value {
        // `rep movsb`, which compilers use for size.
        if instruction.is_string_instruction() { self.get(Register::RDI) } else { Value::Unknown }
    }
}

fn is_write(access: OpAccess) -> bool {
    !matches!(access, OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess)
}

fn index(register: Register) -> Option<usize> {
    register.is_gpr().then(|| register.full_register().number())
}
