//! A command that is run in this program's place: it gets the signals that this one is sent, and says with what
//! to end.

use std::{
    io,
    mem::MaybeUninit,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, Command, ExitStatus},
    ptr,
};

use rustix::process::{Pid, Signal, kill_process};

/// What a program is asked to end by, or told by its operator.
const FORWARDED: [libc::c_int; 6] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2];

/// A shell's word for a command that is not there.
const NOT_FOUND: u8 = 127;
/// A shell's word for one that cannot be run.
const NOT_RUN: u8 = 126;

/// The exit status that a shell has for a command that cannot be started.
pub(super) fn status_of(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUN }
}

/// Runs a command to its end; the exit status that a shell has for it.
///
/// To be called before there are other threads: signals are held back in this one only.
///
/// # Errors
/// It cannot be started.
pub(super) fn run(command: &mut Command) -> io::Result<u8> {
    let held = Held::new()?;
    let before = held.before;
    // SAFETY: setting a signal mask is async-signal-safe, and the set is the command's own copy.
    unsafe { command.pre_exec(move || set_mask(&before).map(drop)) };
    let mut child = command.spawn()?;
    loop {
        match held.wait() {
            // One that had ended before this was asked is known, too: the signal waits for whoever asks.
            Some((libc::SIGCHLD, _)) => {
                if let Some(status) = child.try_wait()? {
                    return Ok(code(status));
                }
            }
            Some((signal, true)) => forward(&child, signal),
            // A key on the terminal, which the command was sent as well.
            Some((_, false)) | None => {}
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let by_signal = status.signal().map(|signal| 128 + signal);
    u8::try_from(status.code().or(by_signal).unwrap_or(1)).unwrap_or(u8::MAX)
}

fn forward(child: &Child, signal: libc::c_int) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(signal)) {
        // It has not been waited for, so the id is its own; a zombie does not mind.
        let _ = kill_process(pid, signal);
    }
}

/// Signals are held back for as long as this is there, to be asked for one by one.
struct Held {
    signals: libc::sigset_t,
    before: libc::sigset_t,
}

impl Held {
    fn new() -> io::Result<Self> {
        let mut signals = MaybeUninit::uninit();
        // SAFETY: `sigemptyset` makes a set of what it is given; the numbers that are added are signals'. Nobody
        // else waits for children here, so the default for their end, which a parent may have changed, is right.
        let signals = unsafe {
            libc::sigemptyset(signals.as_mut_ptr());
            for signal in FORWARDED.into_iter().chain([libc::SIGCHLD]) {
                libc::sigaddset(signals.as_mut_ptr(), signal);
            }
            libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            signals.assume_init()
        };
        let mut before = MaybeUninit::uninit();
        // SAFETY: both are sets, of which the second is written.
        let failed =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, before.as_mut_ptr()) };
        match failed {
            // SAFETY: it was written, since the call succeeded.
            0 => Ok(Self { signals, before: unsafe { before.assume_init() } }),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }

    /// The next signal, and whether a program sent it.
    fn wait(&self) -> Option<(libc::c_int, bool)> {
        let mut info = MaybeUninit::<libc::siginfo_t>::uninit();
        // SAFETY: a set to wait for, and room for what came.
        let signal = unsafe { libc::sigwaitinfo(&raw const self.signals, info.as_mut_ptr()) };
        // SAFETY: it was written, where the call succeeded. Codes of programs are not above zero (sigaction(2)).
        (signal > 0).then(|| (signal, unsafe { info.assume_init() }.si_code <= 0))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Nothing can be done about a failure, and there is no reason for one.
        let _ = set_mask(&self.before);
    }
}

fn set_mask(signals: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: a set that the kernel gave.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, signals, ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}
