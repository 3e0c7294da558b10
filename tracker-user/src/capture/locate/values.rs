//! Runs straight-line code on values that only say where they came from.

mod aarch64;
mod x86_64;

use std::hash::Hash;

pub(super) use {aarch64::Registers as Aarch64, x86_64::Registers as X86_64};

/// Places on the stack that are remembered; what no longer fits is forgotten.
const MAX_SLOTS: usize = 64;

/// What a register holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Value {
    /// Not known.
    #[default]
    Unknown,
    /// The n-th argument, perhaps widened.
    Argument(u8),
    /// An address on the stack, from where the stack pointer was when the function was entered.
    Stack(i64),
    /// A number, or the address of something in the file.
    Constant(u64),
}

impl Value {
    /// The sum of what is held and a number.
    fn plus(self, addend: u64) -> Option<Self> {
        match self {
            Self::Stack(address) => Some(Self::Stack(address.wrapping_add_unsigned(addend))),
            Self::Constant(value) => Some(Self::Constant(value.wrapping_add(addend))),
            Self::Unknown | Self::Argument(_) => None,
        }
    }

    /// The lower half of it, widened with zeros. A length, which is checked not to be negative, is widened one
    /// way or the other.
    fn lower_half(self) -> Option<Self> {
        match self {
            Self::Constant(value) => Some(Self::Constant(value & 0xffff_ffff)),
            Self::Argument(_) => Some(self),
            Self::Unknown | Self::Stack(_) => None,
        }
    }
}

/// Where an instruction leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// To the next.
    Next,
    /// Into a function, where that is said, and back.
    Call(Option<u64>),
    /// To the next or elsewhere.
    Branch(u64),
    /// Elsewhere.
    Jump(Option<u64>),
    /// Back to the caller.
    Return,
    /// Nowhere.
    Stop,
}

/// The registers of a processor, and its instructions as far as they move values that matter.
pub(super) trait Machine: Clone + Hash {
    /// A decoded instruction.
    type Instruction;
    /// See [`Self::tools`].
    type Tools;
    /// Where the stack pointer is at a call that keeps to the calling convention, modulo 16.
    const STACK_AT_CALL: i64;

    /// What it takes to look at instructions.
    fn tools() -> Self::Tools;
    /// As a function finds them.
    fn on_entry() -> Self;
    /// The instruction that code at an address begins with, where it leads and the address of the next.
    fn decode(code: &[u8], at: u64) -> Option<(Self::Instruction, Flow, u64)>;
    /// Runs an instruction that is no branch.
    fn run(&mut self, instruction: &Self::Instruction, tools: &mut Self::Tools);
    /// A call of a function that nothing is known of has returned.
    fn returned(&mut self);
    /// What is in the places of the first six arguments.
    fn arguments(&self) -> [Value; 6];
    /// The stack pointer.
    fn stack(&self) -> Value;
    /// Whether an instruction writes to memory that is not on the function's stack.
    fn stores_elsewhere(&self, instruction: &Self::Instruction, tools: &mut Self::Tools) -> bool;
    /// Where an instruction copies a piece of memory to, by itself.
    fn copies_to(&self, instruction: &Self::Instruction) -> Value;
}

/// What was put on the stack, by the addresses, in no order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Slots(Vec<(i64, Value)>);

impl Slots {
    fn store(&mut self, address: i64, value: Value) {
        self.0.retain(|(known, _)| !(address.saturating_sub(7)..=address.saturating_add(7)).contains(known));
        if value != Value::Unknown && self.0.len() < MAX_SLOTS {
            self.0.push((address, value));
        }
    }

    fn load(&self, address: i64) -> Value {
        self.0.iter().find(|(known, _)| *known == address).map_or(Value::Unknown, |(_, value)| *value)
    }
}
