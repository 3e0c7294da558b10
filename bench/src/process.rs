//! What `/proc` says of a child, and how to end one.

use std::{
    fs,
    process::Child,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// Resident memory, bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resident {
    /// All of it (`VmRSS`).
    pub total: u64,
    /// Its own memory (`RssAnon`): heap and stacks, without program text and mapped ring buffers.
    pub anonymous: u64,
}

/// Reads a process's resident memory.
///
/// # Errors
/// Where the process is gone.
pub fn resident(pid: u32) -> Result<Resident> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read its /proc status")?;
    let field = |name: &str| -> u64 {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok())
            .map_or(0, |kib| kib * 1024)
    };
    Ok(Resident { total: field("VmRSS:"), anonymous: field("RssAnon:") })
}

/// Time that all threads of a process have spent on a CPU.
///
/// From each thread's `schedstat`, in nanoseconds: `stat` counts in ticks of ten milliseconds.
///
/// # Errors
/// Where the process is gone.
pub fn cpu_time(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("list its threads")? {
        // A thread that has exited in between is no error.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        nanoseconds += text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Processes and threads that were started on this host since it booted.
///
/// # Errors
/// Where `/proc/stat` cannot be read.
pub fn forks() -> Result<u64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().find_map(|line| line.strip_prefix("processes "));
    Ok(line.context("no count of processes in /proc/stat")?.trim().parse()?)
}

/// Time that the calling thread has spent on a CPU.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live timespec; this clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Asks a child to end and waits; kills it after `patience`.
///
/// # Errors
/// Where it had to be killed or did not exit with success.
pub fn terminate(child: &mut Child, patience: Duration) -> Result<()> {
    // SAFETY: the child has not been waited for, so the pid is its own.
    unsafe { libc::kill(child.id().cast_signed(), libc::SIGTERM) };
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                bail!("it ended with {status}");
            }
            return Ok(());
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("it did not end within {patience:?} of SIGTERM");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
