//! Compiles and runs `tls.c`, hooks its libssl, and compares what was captured with what it says.

use std::{
    cell::Cell,
    collections::HashMap,
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, OnceLock},
    thread,
    time::{Duration, Instant},
};

use iced_x86::{Decoder, DecoderOptions, FlowControl};
use llm_tracker::capture::{
    AttachedHooks, Attachment, CaptureEvent, ConnectionId, Connections, Counters, Direction, Hook, HookKind,
    Kernel, KernelConfig, KernelCounters, KernelLog, Layout, LoadError, PlanId, Returns, Ring, Transferred,
    Verdicts,
};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

thread_local! {
    static ATTACHMENT: Cell<Option<Attachment>> = const { Cell::new(None) };
}

/// Runs a test with probes attached in one way.
pub(crate) fn by(attachment: Attachment, test: fn()) {
    ATTACHMENT.set(Some(attachment));
    test();
}

/// How this test attaches probes.
pub(crate) fn attachment() -> Option<Attachment> {
    ATTACHMENT.get()
}

/// Which functions to hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probes {
    Public,
    Internal,
    Both,
}

/// The byte at a position of a stream, as in `tls.c`.
pub(crate) fn pattern(seed: u64, position: u64) -> u8 {
    (position.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 13) as u8
}

/// Skips, loudly, where this machine cannot run BPF at all; everything else is a failure.
pub(crate) fn skip_without_bpf(capture: Result<Capture, LoadError>) -> Option<Capture> {
    capture.map_err(skip).ok()
}

/// The same of what went wrong.
pub(crate) fn skip(error: LoadError) {
    match error {
        LoadError::NotPermitted { .. }
        | LoadError::NoBpf
        | LoadError::KernelTooOld { .. }
        | LoadError::NoSuchLinks { .. } => eprintln!("SKIPPED, nothing was tested: {error}"),
        error => panic!("{error}: {error:?}"),
    }
}

/// The kernel side, attached to a libssl that only this test's processes map.
pub(crate) struct Capture {
    _hooks: AttachedHooks,
    _kernel: Kernel,
    ring: Ring,
    pub(crate) verdicts: Verdicts,
    pub(crate) connections: Connections,
    counters: Counters,
    log: KernelLog,
    runtime: Runtime,
    libraries: TempDir,
}

impl Capture {
    pub(crate) fn start(probes: Probes, config: &KernelConfig) -> Result<Self, LoadError> {
        let config = KernelConfig { attachment: attachment(), ..*config };
        let mut kernel = Kernel::load(llm_tracker::daemon::KERNEL_OBJECT, &config)?;
        let libraries = TempDir::new().expect("a temporary directory");
        let library = libraries.path().join("libssl.so.3");
        std::fs::copy(system_libssl(), &library).expect("a copy of libssl");
        let attached = kernel.attach(PlanId::NONE, &hooks(&library, probes), &library);
        assert!(attached.refused.is_empty(), "{:?}", attached.refused);
        Ok(Self {
            _hooks: attached.link,
            ring: kernel.take_ring()?,
            verdicts: kernel.take_verdicts()?,
            connections: kernel.take_connections()?,
            counters: kernel.take_counters()?,
            log: kernel.take_log()?,
            _kernel: kernel,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
            libraries,
        })
    }

    pub(crate) fn counters(&self) -> KernelCounters {
        self.counters.read().expect("counters")
    }

    /// What the kernel side has to say, as it reaches `tracing`.
    pub(crate) fn messages(&mut self) -> String {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().expect("a lock").write(bytes)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, || self.log.forward());
        let said = lines.0.lock().expect("a lock").clone();
        String::from_utf8(said).expect("text")
    }

    pub(crate) fn malformed(&self) -> u64 {
        self.ring.malformed()
    }

    /// Starts a scenario.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Run {
        let mut child = Command::new(program())
            .args(arguments)
            .env("LD_LIBRARY_PATH", self.libraries.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        let output = child.stdout.take().expect("its output");
        let (lines, receiver) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
        Run { child, output: receiver, lines: Vec::new(), ends: Vec::new(), events: Vec::new() }
    }

    /// Runs a scenario to its end, reading all the while.
    pub(crate) fn run(&mut self, arguments: &[&str]) -> Run {
        let mut run = self.spawn(arguments);
        self.finish(&mut run);
        run
    }

    /// Runs a scenario to its end and reads only then.
    pub(crate) fn run_unread(&mut self, arguments: &[&str]) -> Run {
        let mut run = self.spawn(arguments);
        run.wait();
        self.look(&mut run);
        run.keep_own();
        run
    }

    /// Reads until the scenario has ended and its exit has been seen.
    pub(crate) fn finish(&mut self, run: &mut Run) {
        let pid = run.child.id();
        self.wait_until(run, |run| {
            run.events.iter().any(|event| matches!(event, CaptureEvent::Exit { tgid, .. } if *tgid == pid))
        });
        run.wait();
        run.keep_own();
    }

    /// Reads until the condition holds.
    pub(crate) fn wait_until(&mut self, run: &mut Run, done: impl Fn(&Run) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            self.look(run);
            if done(run) {
                return;
            }
            assert!(Instant::now() < end, "not seen: {} events, {:?}", run.events.len(), self.counters());
            let Self { runtime, ring, .. } = self;
            runtime.block_on(ring.wait()).expect("the ring");
        }
    }

    fn look(&mut self, run: &mut Run) {
        while self.ring.drain(1000, |event| run.events.push(event)) > 0 {}
        run.read_output();
    }

    /// How often the reader looks into the ring within a time.
    pub(crate) fn looks_within(&mut self, time: Duration) -> u64 {
        let Self { runtime, ring, .. } = self;
        runtime.block_on(async {
            let end = Instant::now() + time;
            let mut looks = 0;
            while Instant::now() < end {
                ring.wait().await.expect("the ring");
                ring.drain(1000, drop);
                looks += 1;
            }
            looks
        })
    }
}

/// One end of a connection, as the program tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub(crate) ssl: u64,
    pub(crate) pid: u32,
    pub(crate) written: u64,
    pub(crate) write_seed: u64,
    pub(crate) read: u64,
    pub(crate) read_seed: u64,
}

/// A scenario, and what was captured of it.
pub(crate) struct Run {
    child: Child,
    output: std::sync::mpsc::Receiver<String>,
    lines: Vec<String>,
    pub(crate) ends: Vec<End>,
    pub(crate) events: Vec<CaptureEvent>,
}

impl Run {
    pub(crate) fn send_line(&mut self) {
        self.child.stdin.as_mut().expect("its input").write_all(b"\n").expect("its input");
    }

    fn wait(&mut self) {
        let status = self.child.wait().expect("its status");
        assert!(status.success(), "{status}");
        // Until the thread that reads its output has come to the end of it.
        while let Ok(line) = self.output.recv_timeout(PATIENCE) {
            self.understand(line);
        }
    }

    fn read_output(&mut self) {
        while let Ok(line) = self.output.try_recv() {
            self.understand(line);
        }
    }

    fn understand(&mut self, line: String) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let ["end", ssl, numbers @ ..] = &words[..] {
            let number: Vec<u64> = numbers.iter().map(|n| n.parse().expect("a number")).collect();
            self.ends.push(End {
                ssl: hexadecimal(ssl),
                pid: number[0] as u32,
                written: number[1],
                write_seed: number[2],
                read: number[3],
                read_seed: number[4],
            });
        }
        self.lines.push(line);
    }

    /// Drops what other processes on the machine did.
    fn keep_own(&mut self) {
        let mut own: Vec<u32> = self.ends.iter().map(|end| end.pid).collect();
        own.push(self.child.id());
        self.events.retain(|event| {
            own.contains(&match event {
                CaptureEvent::Opened(opened) => opened.connection.tgid,
                CaptureEvent::Chunk(chunk) => chunk.connection.tgid,
                CaptureEvent::Closed { connection, .. } => connection.tgid,
                CaptureEvent::Exec { tgid, .. } | CaptureEvent::Exit { tgid, .. } => *tgid,
            })
        });
    }

    /// The numbers that the program gave under a name.
    pub(crate) fn numbers(&self, name: &str) -> Vec<u64> {
        self.words(name).map(|word| word.parse().expect("a number")).collect()
    }

    /// The pointer that the program gave under a name.
    pub(crate) fn pointer(&self, name: &str) -> u64 {
        hexadecimal(self.words(name).next().expect("a pointer"))
    }

    fn words(&self, name: &str) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(move |line| line.strip_prefix(name)?.strip_prefix(' '))
    }

    /// Connections that were opened, in order.
    pub(crate) fn connections(&self) -> Vec<ConnectionId> {
        self.events
            .iter()
            .filter_map(|event| match event {
                CaptureEvent::Opened(opened) => Some(opened.connection),
                _ => None,
            })
            .collect()
    }

    /// Connections that were closed, in order.
    pub(crate) fn closed(&self) -> Vec<ConnectionId> {
        self.events
            .iter()
            .filter_map(|event| match event {
                CaptureEvent::Closed { connection, .. } => Some(*connection),
                _ => None,
            })
            .collect()
    }

    fn chunks(&self) -> impl Iterator<Item = &llm_tracker::capture::Chunk> {
        self.events.iter().filter_map(|event| match event {
            CaptureEvent::Chunk(chunk) => Some(chunk),
            _ => None,
        })
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.chunks().map(|chunk| chunk.bytes.len() as u64).sum()
    }

    pub(crate) fn delivered_on(&self, connection: ConnectionId, direction: Direction) -> u64 {
        self.chunks()
            .filter(|chunk| chunk.connection == connection && chunk.direction == direction)
            .map(|chunk| chunk.bytes.len() as u64)
            .sum()
    }

    pub(crate) fn delivered_by_pointer(&self, ssl: u64, direction: Direction) -> u64 {
        self.chunks()
            .filter(|chunk| chunk.connection.ssl == ssl && chunk.direction == direction)
            .map(|chunk| chunk.bytes.len() as u64)
            .sum()
    }

    /// Each end of each connection was captured to its last byte, and each was closed.
    pub(crate) fn check_complete(&self) {
        let gaps = self.check(true);
        assert_eq!(gaps, 0);
    }

    /// What was captured is right and where it says to be; returns the bytes that are missing.
    pub(crate) fn check_prefix_and_gaps(&self) -> u64 {
        self.check(false)
    }

    fn check(&self, complete: bool) -> u64 {
        assert!(!self.ends.is_empty());
        // Ends with the same pointer follow each other in the order of their generations.
        let mut ends: HashMap<(u32, u64), Vec<End>> = HashMap::new();
        for end in &self.ends {
            ends.entry((end.pid, end.ssl)).or_default().push(*end);
        }
        let mut missing = 0;
        for ((tgid, ssl), ends) in ends {
            let mut generations: Vec<u32> = self
                .chunks()
                .map(|chunk| chunk.connection)
                .filter(|id| id.tgid == tgid && id.ssl == ssl)
                .map(|id| id.generation)
                .collect();
            generations.sort_unstable();
            generations.dedup();
            if generations.is_empty() && !complete {
                missing += ends.iter().map(|end| end.written + end.read).sum::<u64>();
                continue;
            }
            assert_eq!(generations.len(), ends.len(), "connections of {ssl:#x}");
            for (generation, end) in generations.into_iter().zip(ends) {
                let id = ConnectionId { tgid, generation, ssl };
                missing += self.check_stream(id, Direction::Write, end.written, end.write_seed);
                missing += self.check_stream(id, Direction::Read, end.read, end.read_seed);
                if complete {
                    assert!(self.closed().contains(&id), "{id:?} was not closed");
                }
            }
        }
        missing
    }

    /// Checks the chunks of a stream of a length, and returns the bytes that are missing.
    fn check_stream(&self, id: ConnectionId, direction: Direction, length: u64, seed: u64) -> u64 {
        let mut position = 0;
        let mut missing = 0;
        for chunk in self.chunks().filter(|chunk| chunk.connection == id && chunk.direction == direction) {
            let at = chunk.offset;
            assert!(at >= position, "{id:?} {direction:?}: {at} comes after {position}");
            missing += at - position;
            for (&byte, at) in chunk.bytes.iter().zip(at..) {
                assert!(byte == pattern(seed, at), "{id:?} {direction:?}: wrong at {at}");
            }
            position = at + chunk.bytes.len() as u64;
        }
        assert!(position <= length, "{id:?} {direction:?}: {position} of {length}");
        missing + length - position
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn hexadecimal(pointer: &str) -> u64 {
    u64::from_str_radix(pointer.trim_start_matches("0x"), 16).expect("a pointer")
}

/// `tls.c`, compiled once a process. nextest runs every test in a process of its own, so that the
/// program must appear whole or not at all.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (path, unfinished) = (folder.join("tls"), folder.join(format!("tls.{}", std::process::id())));
        let status = Command::new("cc")
            .args(["-O1", "-Wall", "-Wextra", "-o"])
            .arg(&unfinished)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernel/tls.c"))
            .args(["-lssl", "-lcrypto", "-lpthread"])
            .status()
            .expect("a C compiler");
        assert!(status.success(), "tls.c does not compile: are libssl's headers installed?");
        std::fs::rename(&unfinished, &path).expect("the program's place");
        path
    })
}

/// The libssl that the program is linked with.
fn system_libssl() -> PathBuf {
    let output = Command::new("ldd").arg(program()).output().expect("ldd");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.contains("libssl.so.3")).expect("a libssl.so.3");
    PathBuf::from(line.split_whitespace().nth(2).expect("its path"))
}

fn hooks(library: &Path, probes: Probes) -> Vec<Hook> {
    let data = std::fs::read(library).expect("libssl");
    let file = object::File::parse(&*data).expect("libssl");
    let symbol = |name: &str| file.dynamic_symbols().find(|symbol| symbol.name() == Ok(name));
    let address = |name: &str| symbol(name).map(|symbol| symbol.address()).expect("a public function");
    let offset = |address: u64| {
        let section = file
            .sections()
            .find(|section| (section.address()..section.address() + section.size()).contains(&address))
            .expect("a section");
        address - section.address() + section.file_range().expect("bytes in the file").0
    };
    let hook = |kind, function, address, transferred| Hook {
        kind,
        function,
        layout: Layout::Ssl,
        entry_offset: offset(address),
        returns: Returns::Probe(offset(address)),
        transferred,
        emulated: false,
    };
    let (read, write) = (HookKind::Transfer(Direction::Read), HookKind::Transfer(Direction::Write));
    let mut hooks = vec![hook(HookKind::Free, "SSL_free", address("SSL_free"), Transferred::Returned)];
    if probes != Probes::Internal {
        for (kind, plain, ex) in [(read, "SSL_read", "SSL_read_ex"), (write, "SSL_write", "SSL_write_ex")] {
            hooks.push(hook(kind, plain, address(plain), Transferred::Returned));
            hooks.push(hook(kind, ex, address(ex), Transferred::StoredThrough(4)));
        }
    }
    if probes != Probes::Public {
        // The one function that both public ones call. Since OpenSSL 3.3 the writing one takes flags
        // before the pointer to the count.
        let written = if symbol("SSL_write_ex2").is_some() { 5 } else { 4 };
        let functions = [
            (read, "ssl_read_internal", "SSL_read", "SSL_read_ex", 4),
            (write, "ssl_write_internal", "SSL_write", "SSL_write_ex", written),
        ];
        for (kind, name, plain, ex, done) in functions {
            let internal = calls(&file, address(plain))
                .into_iter()
                .find(|callee| calls(&file, address(ex)).contains(callee))
                .expect("an internal function");
            hooks.push(hook(kind, name, internal, Transferred::StoredThrough(done)));
        }
    }
    hooks
}

/// Functions within the library that the function at `address` calls, up to its first return.
fn calls(file: &object::File<'_>, address: u64) -> Vec<u64> {
    let text = file.section_by_name(".text").expect(".text");
    let range = text.address()..text.address() + text.size();
    let code = text.data_range(address, 400).ok().flatten().expect("code");
    Decoder::with_ip(64, code, address, DecoderOptions::NONE)
        .into_iter()
        .take_while(|instruction| instruction.flow_control() != FlowControl::Return)
        .filter(|instruction| instruction.flow_control() == FlowControl::Call)
        .map(|instruction| instruction.near_branch_target())
        .filter(|target| range.contains(target))
        .collect()
}
