//! Where the end of a function of Go is seen on x86-64.
//!
//! Its return instructions would always do, but the kernel single-steps them (see [`probe`]). So an
//! instruction is looked for that the kernel emulates and from which every way on returns the value that is
//! in some register or stack slot there. Ways that avoid it are errors and ends of streams, and their
//! returns are probed as they are.
//!
//! Go's compiler keeps nothing in registers across a call but the stack pointer, the frame pointer and
//! the goroutine (`abi-internal.md`), and addresses its frame by the stack pointer.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind,
    Register,
};

use super::super::probe;
use crate::capture::CountAt;

/// Instructions beyond this are not looked at; the functions in question have some hundred.
const MAX_INSTRUCTIONS: usize = 4096;
/// Steps of one analysis.
const MAX_STEPS: usize = 64 * 1024;
/// Places that are tried.
const MAX_PLACES: usize = 256;
/// Stack slots that are tried at each.
const MAX_SLOTS: usize = 16;

/// The registers of a layout's arguments, which the kernel side can read, in their order.
const READABLE: [Register; 4] = [Register::RAX, Register::RBX, Register::RCX, Register::RDI];

/// What the runtime does not return from.
const ENDLESS: [&str; 5] =
    ["runtime.panic", "runtime.goPanic", "runtime.throw", "runtime.fatal", "runtime.morestack"];
/// What fills a buffer.
const COPY: &str = "runtime.memmove";

/// An instruction at which the count is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its address.
    pub(super) address: u64,
    /// Where the count is.
    pub(super) count: CountAt,
    /// What to add to the stack pointer to get that at the function's entry.
    pub(super) stack_change: i32,
    /// Whether the kernel emulates it.
    pub(super) emulated: bool,
}

/// What a call leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Callee {
    Ordinary,
    Endless,
    Copy,
}

/// A place where a value can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Register(u8),
    /// By distance from the stack pointer at the function's entry.
    Slot(i32),
}

/// Where a value certainly is.
type Holders = BTreeSet<Holder>;

/// How good a place is: the returns that it spares, and then how few instructions follow it.
type Merit = (usize, Reverse<usize>);

/// A function, taken apart.
pub(super) struct Function<'a> {
    instructions: Vec<Instruction>,
    /// The first byte of each.
    by_address: HashMap<u64, usize>,
    code: &'a [u8],
    address: u64,
    callees: HashMap<u64, Callee>,
    /// The stack pointer before each, relative to that at the entry; absent where no way leads.
    stack: Vec<Option<i32>>,
    /// From here upwards the stack can be written to by other functions.
    shared: i32,
}

impl<'a> Function<'a> {
    /// Takes a function apart; `None` where it does with its stack what Go's functions do not.
    pub(super) fn new(code: &'a [u8], address: u64, name_of: impl Fn(u64) -> Option<String>) -> Option<Self> {
        let decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
        let instructions: Vec<Instruction> = decoder.into_iter().take(MAX_INSTRUCTIONS + 1).collect();
        if instructions.len() > MAX_INSTRUCTIONS {
            return None;
        }
        let by_address = instructions.iter().enumerate().map(|(at, i)| (i.ip(), at)).collect();
        let mut callees = HashMap::new();
        for call in instructions.iter().filter(|i| i.flow_control() == FlowControl::Call) {
            callees.entry(call.near_branch_target()).or_insert_with(|| {
                match name_of(call.near_branch_target()) {
                    Some(name) if ENDLESS.iter().any(|known| name.starts_with(known)) => Callee::Endless,
                    Some(name) if name == COPY => Callee::Copy,
                    _ => Callee::Ordinary,
                }
            });
        }
        let stack = vec![None; instructions.len()];
        let mut function = Self { instructions, by_address, code, address, callees, stack, shared: i32::MAX };
        function.follow_stack()?;
        Some(function)
    }

    /// All its return instructions.
    pub(super) fn returns(&self) -> Vec<Place> {
        self.instructions.iter().filter(|i| i.flow_control() == FlowControl::Return).map(at_return).collect()
    }

    fn follow_stack(&mut self) -> Option<()> {
        let mut pending = vec![(0, 0)];
        while let Some((at, before)) = pending.pop() {
            let known = self.stack.get_mut(at)?;
            match known {
                Some(known) if *known == before => continue,
                // Two ways with different stacks: nothing that Go's compiler does.
                Some(_) => return None,
                None => *known = Some(before),
            }
            let instruction = self.instructions.get(at)?;
            let after = before.checked_add(stack_change(instruction)?)?;
            // An object whose address is taken. What is below the stack pointer is none: the prologue
            // of a large frame computes its limit so.
            if instruction.code() == Code::Lea_r64_m
                && instruction.memory_base() == Register::RSP
                && let Some(above @ 0..) = displacement(instruction)
            {
                self.shared = self.shared.min(before.checked_add(above)?);
            }
            pending.extend(self.next(at).into_iter().flatten().map(|next| (next, after)));
        }
        Some(())
    }

    /// The instructions that can follow one.
    fn next(&self, at: usize) -> [Option<usize>; 2] {
        let Some(instruction) = self.instructions.get(at) else { return [None, None] };
        let behind = Some(at + 1).filter(|&next| next < self.instructions.len());
        let target = || self.by_address.get(&instruction.near_branch_target()).copied();
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::IndirectCall => [behind, None],
            FlowControl::Call if self.callee(instruction) == Callee::Endless => [None, None],
            FlowControl::Call => [behind, None],
            FlowControl::ConditionalBranch => [behind, target()],
            FlowControl::UnconditionalBranch => [target(), None],
            _ => [None, None],
        }
    }

    fn callee(&self, call: &Instruction) -> Callee {
        self.callees.get(&call.near_branch_target()).copied().unwrap_or(Callee::Ordinary)
    }

    fn is_emulated(&self, instruction: &Instruction) -> bool {
        let from = instruction.ip().checked_sub(self.address).and_then(|from| usize::try_from(from).ok());
        from.and_then(|from| self.code.get(from..from + instruction.len()))
            .is_some_and(|bytes| probe::is_emulated(instruction, bytes))
    }

    /// Everything that can be reached from an instruction without passing another one.
    fn reachable(&self, from: impl IntoIterator<Item = usize>, without: Option<usize>) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut pending: Vec<usize> = from.into_iter().collect();
        while let Some(at) = pending.pop() {
            if Some(at) != without && reached.insert(at) {
                pending.extend(self.next(at).into_iter().flatten());
            }
        }
        reached
    }

    fn returns_among<'s>(&'s self, some: &'s BTreeSet<usize>) -> impl Iterator<Item = usize> + 's {
        some.iter()
            .copied()
            .filter(|&at| self.instructions.get(at).is_some_and(|i| i.flow_control() == FlowControl::Return))
    }

    /// Where a value certainly is after an instruction.
    fn step(&self, info: &mut InstructionInfoFactory, at: usize, holders: &Holders) -> Option<Holders> {
        let instruction = self.instructions.get(at)?;
        let stack = (*self.stack.get(at)?)?;
        let mut after = holders.clone();
        if matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
            after.retain(|holder| matches!(holder, Holder::Slot(slot) if *slot < self.shared));
            return Some(after);
        }
        let moved = match instruction.code() {
            Code::Mov_r64_rm64 | Code::Mov_rm64_r64 => {
                let source = operand(instruction, 1, stack).is_some_and(|from| holders.contains(&from));
                operand(instruction, 0, stack).filter(|_| source)
            }
            _ => None,
        };
        let info = info.info(instruction);
        let writes = |access| {
            !matches!(access, OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess)
        };
        for used in info.used_registers().iter().filter(|used| writes(used.access())) {
            if let Some(number) = general(used.register()) {
                after.remove(&Holder::Register(number));
            }
        }
        for used in info.used_memory().iter().filter(|used| writes(used.access())) {
            if used.base() == Register::RSP && used.index() == Register::None {
                let start = i64::from(stack) + used.displacement().cast_signed();
                let end = start + i64::try_from(used.memory_size().size()).ok()?;
                after.retain(|holder| {
                    !matches!(holder, Holder::Slot(slot) if i64::from(*slot) < end && start < i64::from(*slot) + 8)
                });
            } else {
                after.retain(|holder| !matches!(holder, Holder::Slot(slot) if *slot >= self.shared));
            }
        }
        after.extend(moved);
        Some(after)
    }

    /// Whether every way on from a place ends with the value, which is in `holder` there, in the result
    /// register, and none comes by the place again.
    fn is_returned(&self, info: &mut InstructionInfoFactory, place: usize, holder: Holder) -> bool {
        let mut known: HashMap<usize, Holders> = HashMap::new();
        let mut pending = vec![(place, Holders::from([holder]))];
        let mut returns = false;
        for _ in 0..MAX_STEPS {
            let Some((at, holders)) = pending.pop() else { return returns };
            // Where ways meet, what holds the value on both.
            let holders = match known.get(&at) {
                Some(before) => {
                    let both: Holders = before.intersection(&holders).copied().collect();
                    if both == *before {
                        continue;
                    }
                    both
                }
                None => holders,
            };
            let Some(instruction) = self.instructions.get(at) else { return false };
            if instruction.flow_control() == FlowControl::Return {
                returns = true;
                if !holders.contains(&Holder::Register(Register::RAX.number() as u8)) {
                    return false;
                }
            }
            let Some(after) = self.step(info, at, &holders) else { return false };
            known.insert(at, holders);
            for next in self.next(at).into_iter().flatten() {
                if next == place {
                    return false;
                }
                pending.push((next, after.clone()));
            }
        }
        false
    }

    /// Where the kernel side can read a value.
    fn readable(&self, at: usize, holders: &Holders) -> Option<CountAt> {
        let stack = (*self.stack.get(at)?)?;
        let register = (1_u8..).zip(READABLE).find_map(|(n, register)| {
            holders.contains(&Holder::Register(register.number() as u8)).then_some(CountAt::Register(n))
        });
        register.or_else(|| {
            holders.iter().find_map(|holder| match holder {
                Holder::Slot(slot) => {
                    let above =
                        u32::try_from(slot.checked_sub(stack)?).ok().filter(|above| above % 8 == 0)?;
                    Some(CountAt::Stack(u16::try_from(above / 8).ok()?))
                }
                Holder::Register(_) => None,
            })
        })
    }
}

fn at_return(instruction: &Instruction) -> Place {
    Place { address: instruction.ip(), count: CountAt::Register(1), stack_change: 0, emulated: false }
}

/// The places that together see every call of the function end, the first that a call passes before any
/// other: an emulated instruction with everything in place, and the returns of the ways that avoid it.
/// All returns where there is no such instruction.
pub(super) fn cheapest(function: &Function<'_>) -> Vec<Place> {
    found(function).unwrap_or_else(|| function.returns())
}

fn found(function: &Function<'_>) -> Option<Vec<Place>> {
    let mut info = InstructionInfoFactory::new();
    let stored: BTreeSet<i32> = function
        .instructions
        .iter()
        .zip(&function.stack)
        .filter(|(i, _)| i.code() == Code::Mov_rm64_r64)
        .filter_map(|(i, stack)| match operand(i, 0, (*stack)?)? {
            Holder::Slot(slot) => Some(slot),
            Holder::Register(_) => None,
        })
        .take(MAX_SLOTS)
        .collect();
    let holders: Vec<Holder> = READABLE
        .iter()
        .map(|register| Holder::Register(register.number() as u8))
        .chain(stored.into_iter().map(Holder::Slot))
        .collect();
    let candidates = (0..function.instructions.len()).filter(|&at| {
        function.stack.get(at).is_some_and(Option::is_some)
            && function.instructions.get(at).is_some_and(|i| function.is_emulated(i))
    });
    // The one before the most returns, and of those the last: a way that ends with an error can have a
    // place of its own.
    let mut best: Option<(Merit, Vec<Place>)> = None;
    for place in candidates.take(MAX_PLACES) {
        let onwards = function.reachable(function.next(place).into_iter().flatten(), None);
        let merit = (function.returns_among(&onwards).count(), Reverse(onwards.len()));
        if onwards.contains(&place) || best.as_ref().is_some_and(|(best, _)| *best >= merit) {
            continue;
        }
        let copies = onwards.iter().chain([&place]).any(|&at| {
            function
                .instructions
                .get(at)
                .is_some_and(|i| i.flow_control() == FlowControl::Call && function.callee(i) == Callee::Copy)
        });
        let around = function.reachable([0], Some(place));
        if copies || merit.0 == 0 || function.returns_among(&onwards).any(|end| around.contains(&end)) {
            continue;
        }
        let Some(&holder) = holders.iter().find(|&&holder| function.is_returned(&mut info, place, holder))
        else {
            continue;
        };
        let (Some(count), Some(Some(stack)), Some(instruction)) = (
            function.readable(place, &Holders::from([holder])),
            function.stack.get(place),
            function.instructions.get(place),
        ) else {
            continue;
        };
        let Some(stack_change) = stack.checked_neg() else { continue };
        let mut places = vec![Place { address: instruction.ip(), count, stack_change, emulated: true }];
        let others = function.returns_among(&around).filter_map(|at| function.instructions.get(at));
        places.extend(others.map(at_return));
        best = Some((merit, places));
    }
    best.map(|(_, places)| places)
}

/// By how much an instruction changes the stack pointer; `None` where that is not known.
fn stack_change(instruction: &Instruction) -> Option<i32> {
    match instruction.code() {
        Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32 if instruction.op0_register() == Register::RSP => {
            i32::try_from(instruction.immediate(1).cast_signed()).ok()?.checked_neg()
        }
        Code::Add_rm64_imm8 | Code::Add_rm64_imm32 if instruction.op0_register() == Register::RSP => {
            i32::try_from(instruction.immediate(1).cast_signed()).ok()
        }
        Code::Lea_r64_m
            if instruction.op0_register() == Register::RSP
                && instruction.memory_base() == Register::RSP
                && instruction.memory_index() == Register::None =>
        {
            displacement(instruction)
        }
        _ if instruction.op0_kind() == OpKind::Register
            && instruction.op0_register() == Register::RSP
            && !matches!(
                instruction.mnemonic(),
                iced_x86::Mnemonic::Cmp | iced_x86::Mnemonic::Test | iced_x86::Mnemonic::Push
            ) =>
        {
            None
        }
        _ if instruction.flow_control() == FlowControl::Next => Some(instruction.stack_pointer_increment()),
        _ => Some(0),
    }
}

fn displacement(instruction: &Instruction) -> Option<i32> {
    i32::try_from(instruction.memory_displacement64().cast_signed()).ok()
}

/// What an operand of a 64-bit move stands for; `stack` is the stack pointer.
fn operand(instruction: &Instruction, number: u32, stack: i32) -> Option<Holder> {
    match instruction.op_kind(number) {
        OpKind::Register => general(instruction.op_register(number)).map(Holder::Register),
        OpKind::Memory
            if instruction.memory_base() == Register::RSP && instruction.memory_index() == Register::None =>
        {
            Some(Holder::Slot(stack.checked_add(displacement(instruction)?)?))
        }
        _ => None,
    }
}

fn general(register: Register) -> Option<u8> {
    register.is_gpr().then(|| register.full_register().number() as u8)
}
