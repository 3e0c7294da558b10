//! Standard output and standard error as people see them, and as pipes do.

use std::{
    io::{self, IsTerminal as _, Write as _},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// Writes to standard output, as it is.
///
/// # Errors
/// It cannot be written; [`io::ErrorKind::BrokenPipe`] where whoever read has gone, which is no failure.
pub fn say(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// The same of a text with colours, which it loses where nobody would see them: in a pipe, on a terminal that
/// has none, with `NO_COLOR` or `CLICOLOR=0`. `CLICOLOR_FORCE=1` keeps them.
///
/// # Errors
/// As [`say`].
pub fn show(text: &str) -> io::Result<()> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Columns of the terminal that standard output is; absent where it is none.
#[must_use]
pub fn width() -> Option<usize> {
    let stdout = io::stdout();
    let (terminal_size::Width(width), _) = terminal_size::terminal_size_of(&stdout)?;
    (stdout.is_terminal() && width > 0).then(|| width.into())
}

/// Says on a terminal what is being done, from its second second on, for as long as it lives.
#[derive(Debug)]
pub struct Progress {
    done: Option<mpsc::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Progress {
    /// Begins; `what` is shown on standard error, where that is a terminal.
    #[must_use]
    pub fn start(what: &'static str) -> Self {
        if !io::stderr().is_terminal() {
            return Self { done: None, thread: None };
        }
        let (done, ended) = mpsc::channel();
        let begun = Instant::now();
        let work = move || {
            let mut shown = false;
            while ended.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                shown = true;
                // Nobody is left to be told where this fails.
                let _ = write!(io::stderr(), "\r{what} ... {} s", begun.elapsed().as_secs());
            }
            if shown {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
        };
        // Without it there is only nothing to look at.
        let thread = thread::Builder::new().name("progress".into()).spawn(work).ok();
        Self { done: Some(done), thread }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.done = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}
