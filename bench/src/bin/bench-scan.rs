//! What it costs the daemon to look at a host with many processes, once at its start and again; and how soon
//! a large program is hooked that it has never read.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use llm_tracker_bench::{
    daemon::{self, DAY, Daemon},
    sample::median,
    table::{Table, Target, against},
};

/// Measures the first look at all processes and the later ones. Needs root.
#[derive(Parser)]
#[command(name = "bench-scan")]
struct Arguments {
    /// Sleeping processes beside those that there are
    #[arg(long, default_value_t = 2000)]
    processes: usize,
    /// Looks at all processes to wait for after the first: there is one a minute
    #[arg(long, default_value_t = 2)]
    rescans: u32,
    /// A large program with TLS in it; may be given more than once
    #[arg(long)]
    program: Vec<PathBuf>,
    /// Copies of each program to take the median of
    #[arg(long, default_value_t = 5)]
    samples: usize,
    /// The daemon [default: target/release/llm-tracker of this workspace]
    #[arg(long, env = "LLM_TRACKER_BIN")]
    binary: Option<PathBuf>,
}

/// What sleeps: programs that map few libraries, some, and libssl.
const SLEEPERS: [(&str, &[&str]); 4] = [
    ("/bin/sleep", &["3600"]),
    ("/bin/sh", &["-c", "sleep 3600; :"]),
    ("/usr/bin/python3", &["-c", "import time; time.sleep(3600)"]),
    ("/usr/bin/openssl", &["s_server", "-nocert", "-quiet", "-accept", "127.0.0.1:0"]),
];
/// Of each hundred, how many are of the last two kinds: they take memory.
const HEAVY: usize = 5;
const SWEEPS: &str = "llm_tracker_discovery_sweeps_total";
/// The most CPU time of the first look, seconds.
const FIRST_TARGET: f64 = 1.0;
/// The most that a program may take to be hooked.
const HOOKED_WITHIN: Duration = Duration::from_secs(30);
/// What is mapped of a program.
const PAGE: usize = 4096;

/// Sleeping processes, ended when this is dropped.
struct Sleepers(Vec<Child>);

impl Drop for Sleepers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // The whole group, for the shell's own child.
            // SAFETY: a system call without pointers; the group is our own, not yet reaped child's.
            unsafe { libc::kill(-child.id().cast_signed(), libc::SIGKILL) };
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

fn start(count: usize) -> Result<Sleepers> {
    let mut sleepers = Sleepers(Vec::with_capacity(count));
    let mut started = 0;
    while started < count {
        // A shell and its child are two.
        let kind = match started % 100 {
            n if n < HEAVY => 3,
            n if n < 2 * HEAVY => 2,
            n if n % 4 == 0 && started + 2 <= count => 1,
            _ => 0,
        };
        let (program, arguments) = SLEEPERS[kind];
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        sleepers.0.push(command.spawn().with_context(|| format!("start {program}"))?);
        started += if kind == 1 { 2 } else { 1 };
    }
    Ok(sleepers)
}

fn processes() -> Result<usize> {
    let is_process = |name: &std::ffi::OsStr| name.to_str().is_some_and(|name| name.parse::<u32>().is_ok());
    Ok(std::fs::read_dir("/proc")?.flatten().filter(|entry| is_process(&entry.file_name())).count())
}

/// A daemon that is ready, and the CPU time that it took to be, seconds.
fn first(binary: &Path) -> Result<(Daemon, f64)> {
    let daemon = Daemon::start(binary)?;
    let spent = daemon.cpu_time()?.as_secs_f64();
    Ok((daemon, spent))
}

/// Where the bytes of a program are when it is mapped for the first time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bytes {
    InMemory,
    OnDisk,
}

/// Maps a program that is like no other, as to run it, and waits until it is hooked: how long that took, and the
/// CPU time that the daemon took, milliseconds.
fn hook(daemon: &Daemon, program: &Path, bytes: Bytes) -> Result<(f64, f64)> {
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("program");
    std::fs::copy(program, &copy).with_context(|| format!("copy {}", program.display()))?;
    let mut file = OpenOptions::new().read(true).append(true).open(&copy)?;
    // Not the same bytes as another copy.
    file.write_all(folder.path().as_os_str().as_encoded_bytes())?;
    if bytes == Bytes::OnDisk {
        file.sync_all()?;
        // SAFETY: a system call without pointers.
        ensure!(unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } == 0);
    }
    let before = daemon.cpu_time()?;
    let mapped = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64() % DAY;
    // SAFETY: a new mapping at an address of the kernel's choice, which nobody reads or runs.
    let memory = unsafe {
        let wanted = libc::PROT_READ | libc::PROT_EXEC;
        libc::mmap(std::ptr::null_mut(), PAGE, wanted, libc::MAP_PRIVATE, file.as_raw_fd(), 0)
    };
    ensure!(memory != libc::MAP_FAILED, "the copy cannot be mapped");
    let path = copy.to_string_lossy().into_owned();
    let begun = Instant::now();
    let hooked = loop {
        if let Some(hooked) = daemon::hooked_at(&daemon.whole_log(), &path) {
            break hooked;
        }
        ensure!(begun.elapsed() < HOOKED_WITHIN, "no TLS was hooked in {}", program.display());
        sleep(Duration::from_millis(20));
    };
    let spent = daemon.cpu_time()?.saturating_sub(before);
    // SAFETY: the mapping that was made above.
    unsafe { libc::munmap(memory, PAGE) };
    Ok(((hooked - mapped).rem_euclid(DAY) * 1e3, spent.as_secs_f64() * 1e3))
}

/// How soon programs are hooked that were never read.
fn programs(binary: &Path, programs: &[PathBuf], samples: usize) -> Result<Table> {
    let mut table = Table::new(
        format!("Programs that were never read ({samples} copies of each)"),
        &["", "from mapped to hooked, ms", "CPU time, ms"],
    );
    let daemon = Daemon::start(binary)?;
    for program in programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let size = std::fs::metadata(program)?.len() / 1_000_000;
        for (bytes, place) in [(Bytes::InMemory, "in memory"), (Bytes::OnDisk, "on disk")] {
            let taken: Vec<(f64, f64)> =
                (0..samples).map(|_| hook(&daemon, program, bytes)).collect::<Result<_>>()?;
            let (times, costs): (Vec<f64>, Vec<f64>) = taken.into_iter().unzip();
            let show = |figures: &[f64]| median(figures).map_or("-".to_owned(), |ms| format!("{ms:.0}"));
            table.row([format!("{name}, {size} MB {place}"), show(&times), show(&costs)]);
        }
    }
    daemon.stop()?;
    Ok(table)
}

fn main() -> Result<()> {
    let Arguments { processes: wanted, rescans, program, samples, binary } = Arguments::parse();
    let binary = daemon::binary(binary);
    if !program.is_empty() {
        println!("{}", programs(&binary, &program, samples)?);
    }
    let before = processes()?;
    let (daemon, without) = first(&binary)?;
    daemon.stop()?;
    let sleepers = start(wanted)?;
    sleep(Duration::from_secs(10));
    let now = processes()?;
    ensure!(
        now >= before + wanted * 9 / 10,
        "of {wanted} processes only {} are there",
        now.saturating_sub(before)
    );
    let (daemon, with) = first(&binary)?;

    // The second in which the look happens, with all else that the daemon does in it.
    let mut costs = Vec::new();
    for _ in 0..rescans {
        let begun = Instant::now();
        let sweeps = daemon.metrics()?.sum(SWEEPS, "");
        let spent = daemon.cpu_time()?;
        let mut at_last_sight = spent;
        loop {
            ensure!(begun.elapsed() < Duration::from_secs(150), "there is no second look");
            sleep(Duration::from_secs(1));
            let spent = daemon.cpu_time()?;
            if daemon.metrics()?.sum(SWEEPS, "") > sweeps {
                costs.push((spent - at_last_sight).as_secs_f64() * 1e3);
                break;
            }
            at_last_sight = spent;
        }
    }
    let files = daemon.metrics()?.sum("llm_tracker_files_judged_total", "");
    daemon.stop()?;
    drop(sleepers);

    let mut table = Table::new(format!("Looking at {now} processes"), &["", "CPU time", "target"]);
    table.row([format!("from start to ready, {before} processes"), format!("{without:.2} s"), String::new()]);
    table.row([
        format!("from start to ready, {now} processes ({files} files judged)"),
        format!("{with:.2} s"),
        against(with, 2, Target::AtMost(FIRST_TARGET)),
    ]);
    for cost in costs {
        table.row(["the second with a later look in it".to_owned(), format!("{cost:.1} ms"), String::new()]);
    }
    println!("{table}");
    Ok(())
}
