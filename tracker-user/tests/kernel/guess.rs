//! A guess about two functions, put to the proof by what passes through them.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use llm_tracker::{
    capture::{
        CaptureEvent, Direction, Hook, HookKind, Kernel, KernelConfig, Layout, PlanId, Proof, Returns,
        Transferred, Trust,
    },
    daemon::Prover,
};
use object::{Object as _, ObjectSymbol as _};
use tempfile::TempDir;

/// `guess.c`, running.
struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn start(path: &Path, moves: &str) -> Self {
        let mut child = Command::new(path)
            .arg(moves)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let mut program = Self { child, output };
        program.expect("ready");
        program
    }

    fn expect(&mut self, wanted: &str) {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("a line");
        assert_eq!(line.trim_end(), wanted);
    }

    /// Makes one more connection.
    fn connect(&mut self) {
        self.child.stdin.as_mut().expect("its input").write_all(b"\n").expect("a line");
        self.expect("done");
    }

    /// Whether its code differs from the file at an offset: there is a probe.
    fn is_probed(&self, path: &Path, offset: u64) -> bool {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.child.id())).expect("maps");
        let line = maps.lines().find(|line| line.contains(" r-xp ")).expect("code");
        let fields: Vec<&str> = line.split_whitespace().collect();
        let start = u64::from_str_radix(fields[0].split('-').next().expect("a range"), 16).expect("a number");
        let mapped = u64::from_str_radix(fields[2], 16).expect("an offset");
        let (mut in_memory, mut in_file) = ([0], [0]);
        let memory = std::fs::File::open(format!("/proc/{}/mem", self.child.id())).expect("its memory");
        memory.read_exact_at(&mut in_memory, start + offset - mapped).expect("its code");
        std::fs::File::open(path).expect("the file").read_exact_at(&mut in_file, offset).expect("its code");
        in_memory != in_file
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn compile(folder: &Path) -> PathBuf {
    let path = folder.join("guess");
    let status = Command::new("cc")
        .args(["-O1", "-Wall", "-Wextra", "-o"])
        .arg(&path)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernel/guess.c"))
        .status()
        .expect("a C compiler");
    assert!(status.success(), "guess.c does not compile");
    path
}

fn hooks(program: &Path) -> Vec<Hook> {
    let data = std::fs::read(program).expect("the program");
    let file = object::File::parse(&*data).expect("an ELF file");
    let hook = |function, direction| {
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(function)).expect("the function");
        let section = symbol.section_index().expect("its section");
        let section = object::Object::section_by_index(&file, section).expect("its section");
        let start = object::ObjectSection::file_range(&section).expect("bytes").0;
        let offset = symbol.address() - object::ObjectSection::address(&section) + start;
        Hook {
            kind: HookKind::Transfer(direction),
            function,
            layout: Layout::Ssl,
            entry_offset: offset,
            returns: Returns::Probe(offset),
            transferred: Transferred::Returned,
            emulated: false,
        }
    };
    vec![hook("guess_write", Direction::Write), hook("guess_read", Direction::Read)]
}

/// Lets the program make connections until its plan is settled, at most so many; `None` where this machine
/// cannot run BPF.
fn proof(moves: &str, at_most: u32) -> Option<Proof> {
    let folder = TempDir::new().expect("a folder");
    let path = compile(folder.path());
    let config = KernelConfig { attachment: crate::harness::attachment(), ..KernelConfig::default() };
    let mut kernel = match Kernel::load(llm_tracker::daemon::KERNEL_OBJECT, &config) {
        Ok(kernel) => kernel,
        Err(error) => {
            crate::harness::skip(error);
            return None;
        }
    };
    let hooks = hooks(&path);
    let plan = PlanId::new(Trust::Inferred);
    let attached = kernel.attach(plan, &hooks, &path);
    assert!(attached.refused.is_empty(), "{:?}", attached.refused);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut ring = {
        let _context = runtime.enter();
        kernel.take_ring().expect("the ring")
    };

    let mut program = Program::start(&path, moves);
    assert!(program.is_probed(&path, hooks[0].entry_offset));
    let (mut prover, mut settled, mut ours) = (Prover::default(), None, std::collections::HashSet::new());
    for _ in 0..at_most {
        program.connect();
        let (end, mut chunks) = (Instant::now() + Duration::from_secs(10), 0);
        while chunks < 2 {
            assert!(Instant::now() < end, "the connection was not seen");
            ring.drain(1000, |event| match event {
                CaptureEvent::Opened(opened) if opened.connection.tgid == program.child.id() => {
                    assert_eq!(opened.plan, plan, "the plan came up with the connection");
                    ours.insert(opened.connection);
                    prover.opened(opened.connection, opened.plan);
                }
                CaptureEvent::Chunk(chunk) if ours.contains(&chunk.connection) => {
                    prover.chunk(&chunk);
                    chunks += 1;
                }
                _ => {}
            });
            thread::sleep(Duration::from_millis(2));
        }
        if let [(of, proof)] = prover.take()[..] {
            assert_eq!(of, plan);
            settled = Some(proof);
            break;
        }
    }
    // What discovery does with one that is refuted.
    drop(attached.link);
    assert!(!program.is_probed(&path, hooks[0].entry_offset));
    program.connect();
    Some(settled.expect("nothing was found out"))
}

pub(crate) fn right() {
    assert!(matches!(proof("http", 1), Some(Proof::Verified) | None));
}

pub(crate) fn wrong() {
    assert!(matches!(proof("noise", 3), Some(Proof::Refuted) | None));
}
