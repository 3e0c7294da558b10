//! Follows a function of x86-64 along all its paths, and notes what it calls with which arguments.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpKind, Register};

use super::elf::Image;
use super::values::{Registers, Value};

/// Code of one function; what is larger is not followed to its end.
const MAX_CODE: u64 = 16 * 1024;
/// Instructions followed in one function, all paths together; real ones take a tenth.
const MAX_STEPS: u64 = 50_000;
/// States in which one place is passed.
const MAX_STATES: usize = 16;
/// Calls remembered of one function.
const MAX_CALLS: usize = 1024;

/// A call, or a jump out of the function.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Call {
    /// The instruction.
    pub(super) at: u64,
    /// The function, where that is said.
    pub(super) target: Option<u64>,
    /// The first six arguments, as far as they are known.
    pub(super) arguments: [Value; 6],
    /// Whether the stack is as the calling convention wants it to be at a call; `None` where that cannot
    /// be told, as after another call, which may not have returned.
    aligned: Option<bool>,
}

/// What a function does.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Each distinct call.
    pub(super) calls: HashSet<Call>,
    /// Whether it writes to memory that is not on its stack after it has called something on its second
    /// argument, as it does to copy into a buffer.
    pub(super) stores_after_copy: bool,
    /// The functions that it passes its first three arguments on to before it writes to such memory.
    pub(super) stores_after: HashSet<u64>,
    /// Instructions that were passed.
    passed: HashSet<u64>,
    /// Whether it returns with less on the stack than it found.
    unbalanced: bool,
}

impl Walk {
    /// Follows a function whose extent is known, or from its start on, and takes the instructions off
    /// `budget`.
    pub(super) fn new(image: &Image<'_>, function: Range<u64>, budget: &mut u64) -> Self {
        let end = function.end.min(function.start.saturating_add(MAX_CODE));
        let limit = usize::try_from(end.saturating_sub(function.start)).unwrap_or(0);
        let code = image.code(function.start, limit);
        let mut walker = Walker {
            code: &code,
            start: function.start,
            end: function.start.saturating_add(code.len() as u64),
            seen: HashMap::new(),
            info: InstructionInfoFactory::new(),
            left: MAX_STEPS.min(*budget),
            walk: Self::default(),
        };
        let whole = walker.left;
        let mut paths =
            vec![Path { at: function.start, registers: Registers::on_entry(), done: Done::default() }];
        while let Some(path) = paths.pop() {
            walker.follow(path, &mut paths);
        }
        *budget -= whole - walker.left;
        walker.walk
    }

    /// Whether it passes the instruction whose operand is at an address, behind its opcode.
    pub(super) fn passes(&self, address: u64) -> bool {
        (1..4).any(|back| address.checked_sub(back).is_some_and(|at| self.passed.contains(&at)))
    }

    /// Whether it makes sense as a function from its first instruction on. What begins within one, or
    /// was moved out of one, takes more from the stack than it put there, or calls with it out of line
    /// (which compilers do only where they know what they call).
    pub(super) fn is_function(&self) -> bool {
        let calls = |aligned| self.calls.iter().filter(|call| call.aligned == Some(aligned)).count();
        !self.unbalanced && calls(false) <= calls(true)
    }
}

#[derive(Clone, Hash)]
struct Path {
    at: u64,
    registers: Registers,
    done: Done,
}

/// What has happened on a path.
#[derive(Clone, Copy, Default, Hash)]
struct Done {
    called: bool,
    copied: bool,
    passed_on_to: Option<u64>,
}

struct Walker<'c> {
    code: &'c [u8],
    start: u64,
    end: u64,
    seen: HashMap<u64, HashSet<u64>>,
    info: InstructionInfoFactory,
    left: u64,
    walk: Walk,
}

impl Walker<'_> {
    /// Whether a path has not been here in this state.
    fn is_new(&mut self, path: &Path) -> bool {
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        let states = self.seen.entry(path.at).or_default();
        states.len() < MAX_STATES && states.insert(hasher.finish())
    }

    /// Follows a path until it ends or was followed before; where it forks, one way waits in `paths`.
    fn follow(&mut self, mut path: Path, paths: &mut Vec<Path>) {
        if !self.is_new(&path) {
            return;
        }
        let code = self.code;
        let rest = path.at.checked_sub(self.start).and_then(|skip| code.get(usize::try_from(skip).ok()?..));
        let Some(rest) = rest else { return };
        for instruction in &mut Decoder::with_ip(64, rest, path.at, DecoderOptions::NONE) {
            if instruction.is_invalid() || self.left == 0 {
                return;
            }
            self.left -= 1;
            self.walk.passed.insert(instruction.ip());
            let target = instruction.near_branch_target();
            let inside = (self.start..self.end).contains(&target);
            match instruction.flow_control() {
                FlowControl::Next => {
                    if (path.done.copied || path.done.passed_on_to.is_some())
                        && stores_elsewhere(&instruction, &path.registers, &mut self.info)
                    {
                        self.walk.stores_after_copy |= path.done.copied;
                        self.walk.stores_after.extend(path.done.passed_on_to);
                    }
                    // `rep movsb`, which compilers use for size.
                    path.done.copied |= instruction.is_string_instruction()
                        && path.registers.get(Register::RDI) == Value::Argument(2);
                    path.registers.step(&instruction, &mut self.info);
                }
                FlowControl::Call | FlowControl::IndirectCall => {
                    let aligned = match path.registers.get(Register::RSP) {
                        // Counted from a return address, just as the call will put one.
                        Value::Stack(top) if !path.done.called => Some(top.rem_euclid(16) == 8),
                        _ => None,
                    };
                    let call = self.call(&instruction, &path.registers, aligned);
                    path.done.called = true;
                    path.done.copied |= call.arguments[0] == Value::Argument(2);
                    if call.arguments.starts_with(&[1, 2, 3].map(Value::Argument)) {
                        path.done.passed_on_to = call.target;
                    }
                    path.registers.returned();
                }
                FlowControl::ConditionalBranch => {
                    if inside {
                        paths.push(Path { at: target, ..path.clone() });
                    }
                    path.at = instruction.next_ip();
                    if !self.is_new(&path) {
                        return;
                    }
                }
                FlowControl::UnconditionalBranch if inside => {
                    paths.push(Path { at: target, ..path });
                    return;
                }
                FlowControl::UnconditionalBranch | FlowControl::IndirectBranch => {
                    self.call(&instruction, &path.registers, None);
                    return;
                }
                FlowControl::Return => {
                    // Less than nothing was put there only where a call before did not return.
                    self.walk.unbalanced |=
                        matches!(path.registers.get(Register::RSP), Value::Stack(top) if top > 0);
                    return;
                }
                _ => return,
            }
        }
    }

    /// Notes a call, or a jump that may be one.
    fn call(&mut self, instruction: &Instruction, registers: &Registers, aligned: Option<bool>) -> Call {
        let direct = instruction.near_branch_target();
        let call = Call {
            at: instruction.ip(),
            target: (direct != 0).then_some(direct),
            arguments: registers.arguments(),
            aligned,
        };
        if self.walk.calls.len() < MAX_CALLS {
            self.walk.calls.insert(call.clone());
        }
        call
    }
}

/// Whether an instruction writes to memory that is not on the function's stack.
fn stores_elsewhere(
    instruction: &Instruction,
    registers: &Registers,
    info: &mut InstructionInfoFactory,
) -> bool {
    use iced_x86::OpAccess::{ReadWrite, Write};
    instruction.op0_kind() == OpKind::Memory
        && matches!(info.info(instruction).op0_access(), Write | ReadWrite)
        && !matches!(registers.get(instruction.memory_base()), Value::Stack(_))
        && !instruction.is_ip_rel_memory_operand()
}
