//! Child processes that cannot outlive or hang a test.

use std::{
    fs::File,
    io::{Seek as _, Write as _},
    os::unix::process::CommandExt as _,
    process::{Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::machine::hint;

/// How often a child is asked whether it has ended.
const POLL: Duration = Duration::from_millis(5);

/// A running child. It is killed, by its id, when this is dropped or when the test's thread ends.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
    stdout: File,
    stderr: File,
    deadline: Instant,
}

/// A child that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Its process id.
    pub pid: u32,
    /// How it ended.
    pub status: ExitStatus,
    /// All it wrote on standard output.
    pub stdout: String,
    /// All it wrote on standard error.
    pub stderr: String,
}

impl Child {
    /// Starts `command`, which has to end within `limit`.
    ///
    /// # Errors
    ///
    /// Where it cannot be started.
    pub fn spawn(command: Command, limit: Duration) -> Result<Self> {
        Self::spawn_with_input(command, b"", limit)
    }

    /// The same, with something to read on standard input.
    ///
    /// # Errors
    ///
    /// Where it cannot be started.
    pub fn spawn_with_input(mut command: Command, input: &[u8], limit: Duration) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut stdin = tempfile::tempfile()?;
        stdin.write_all(input)?;
        stdin.rewind()?;
        // Files, not pipes: nobody has to read them while the child runs.
        let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        command.stdin(stdin).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        // SAFETY: `prctl` is async-signal-safe and touches no memory.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            });
        }
        let process = command.spawn().with_context(|| format!("cannot start {name}{}", hint(&name)))?;
        Ok(Self { name, process, stdout, stderr, deadline: Instant::now() + limit })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    ///
    /// # Errors
    ///
    /// Where it has already been waited for.
    pub fn signal(&self, signal: libc::c_int) -> Result<()> {
        let pid = libc::pid_t::try_from(self.pid())?;
        // SAFETY: a system call without pointers; the id is our own, not yet reaped child's.
        let sent = unsafe { libc::kill(pid, signal) };
        ensure!(sent == 0, "cannot signal {}: {}", self.name, std::io::Error::last_os_error());
        Ok(())
    }

    /// Whether it has not ended yet.
    ///
    /// # Errors
    ///
    /// Where the kernel does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.process.try_wait()?.is_none())
    }

    /// What it has written on standard error so far.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn stderr(&self) -> Result<String> {
        read(&self.stderr)
    }

    /// What it has written on standard output so far.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read.
    pub fn stdout(&self) -> Result<String> {
        read(&self.stdout)
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// Where it is still running at its deadline; it is killed then.
    pub fn wait(mut self) -> Result<Finished> {
        let status = loop {
            if let Some(status) = self.process.try_wait()? {
                break status;
            }
            ensure!(
                Instant::now() < self.deadline,
                "{} took too long; it said: {}",
                self.name,
                self.stderr().unwrap_or_default()
            );
            thread::sleep(POLL);
        };
        Ok(Finished { pid: self.pid(), status, stdout: self.stdout()?, stderr: self.stderr()? })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail where it has ended and been reaped, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Finished {
    /// Itself, where it ended with 0.
    ///
    /// # Errors
    ///
    /// What it said, where it did not.
    pub fn success(self) -> Result<Self> {
        ensure!(self.status.success(), "{}; it said: {}{}", self.status, self.stdout, self.stderr);
        Ok(self)
    }
}

/// Reads all of a file that another process may still be appending to through a shared offset.
fn read(file: &File) -> Result<String> {
    use std::os::unix::fs::FileExt as _;
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len())?];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    bytes.truncate(filled);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Runs a short command to its end and returns its standard output.
///
/// # Errors
///
/// Where it cannot be started, takes longer than `limit` or fails.
pub fn output(command: Command, limit: Duration) -> Result<String> {
    Ok(Child::spawn(command, limit)?.wait()?.success()?.stdout)
}
