//! Follows a function along all its paths, and notes what it calls with which arguments.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;

use super::elf::{Architecture, Image};
use super::values::{Aarch64, Flow, Machine, Value, X86_64};

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
        match image.architecture() {
            Architecture::X86_64 => Walker::<X86_64>::walk(image, function, budget),
            Architecture::Aarch64 => Walker::<Aarch64>::walk(image, function, budget),
        }
    }

    /// Whether it passes the instruction that is at an address or, on x86-64, whose operand is, behind its
    /// opcode.
    pub(super) fn passes(&self, address: u64) -> bool {
        (0..4).any(|back| address.checked_sub(back).is_some_and(|at| self.passed.contains(&at)))
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
struct Path<M> {
    at: u64,
    registers: M,
    done: Done,
}

/// What has happened on a path.
#[derive(Clone, Copy, Default, Hash)]
struct Done {
    called: bool,
    copied: bool,
    passed_on_to: Option<u64>,
}

struct Walker<'c, M: Machine> {
    code: &'c [u8],
    start: u64,
    end: u64,
    seen: HashMap<u64, HashSet<u64>>,
    tools: M::Tools,
    left: u64,
    walk: Walk,
}

impl<M: Machine> Walker<'_, M> {
    fn walk(image: &Image<'_>, function: Range<u64>, budget: &mut u64) -> Walk {
        let end = function.end.min(function.start.saturating_add(MAX_CODE));
        let limit = usize::try_from(end.saturating_sub(function.start)).unwrap_or(0);
        let code = image.code(function.start, limit);
        let mut walker = Walker {
            code: &code,
            start: function.start,
            end: function.start.saturating_add(code.len() as u64),
            seen: HashMap::new(),
            tools: M::tools(),
            left: MAX_STEPS.min(*budget),
            walk: Walk::default(),
        };
        let whole = walker.left;
        let mut paths = vec![Path { at: function.start, registers: M::on_entry(), done: Done::default() }];
        while let Some(path) = paths.pop() {
            walker.follow(path, &mut paths);
        }
        *budget -= whole - walker.left;
        walker.walk
    }

    /// Whether a path has not been here in this state.
    fn is_new(&mut self, path: &Path<M>) -> bool {
        let mut hasher = DefaultHasher::new();
        path.hash(&mut hasher);
        let states = self.seen.entry(path.at).or_default();
        states.len() < MAX_STATES && states.insert(hasher.finish())
    }

    /// Follows a path until it ends or was followed before; where it forks, one way waits in `paths`.
    fn follow(&mut self, mut path: Path<M>, paths: &mut Vec<Path<M>>) {
        if !self.is_new(&path) {
            return;
        }
        let (code, inside) = (self.code, self.start..self.end);
        while self.left > 0 {
            let rest =
                path.at.checked_sub(self.start).and_then(|skip| code.get(usize::try_from(skip).ok()?..));
            let Some((instruction, flow, next)) = rest.and_then(|rest| M::decode(rest, path.at)) else {
                return;
            };
            self.left -= 1;
            self.walk.passed.insert(path.at);
            match flow {
                Flow::Next => {
                    if (path.done.copied || path.done.passed_on_to.is_some())
                        && path.registers.stores_elsewhere(&instruction, &mut self.tools)
                    {
                        self.walk.stores_after_copy |= path.done.copied;
                        self.walk.stores_after.extend(path.done.passed_on_to);
                    }
                    path.done.copied |= path.registers.copies_to(&instruction) == Value::Argument(2);
                    path.registers.run(&instruction, &mut self.tools);
                }
                Flow::Call(target) => {
                    let aligned = match path.registers.stack() {
                        Value::Stack(top) if !path.done.called => {
                            Some(top.rem_euclid(16) == M::STACK_AT_CALL)
                        }
                        _ => None,
                    };
                    let call = self.call(&path, target, aligned);
                    path.done.called = true;
                    path.done.copied |= call.arguments[0] == Value::Argument(2);
                    if call.arguments.starts_with(&[1, 2, 3].map(Value::Argument)) {
                        path.done.passed_on_to = call.target;
                    }
                    path.registers.returned();
                }
                Flow::Branch(target) => {
                    if inside.contains(&target) {
                        paths.push(Path { at: target, ..path.clone() });
                    }
                    path.at = next;
                    if !self.is_new(&path) {
                        return;
                    }
                }
                Flow::Jump(Some(target)) if inside.contains(&target) => {
                    paths.push(Path { at: target, ..path });
                    return;
                }
                Flow::Jump(target) => {
                    self.call(&path, target, None);
                    return;
                }
                Flow::Return => {
                    // Less than nothing was put there only where a call before did not return.
                    self.walk.unbalanced |= matches!(path.registers.stack(), Value::Stack(top) if top > 0);
                    return;
                }
                Flow::Stop => return,
            }
            path.at = next;
        }
    }

    /// Notes a call, or a jump that may be one.
    fn call(&mut self, path: &Path<M>, target: Option<u64>, aligned: Option<bool>) -> Call {
        let call = Call { at: path.at, target, arguments: path.registers.arguments(), aligned };
        if self.walk.calls.len() < MAX_CALLS {
            self.walk.calls.insert(call.clone());
        }
        call
    }
}
