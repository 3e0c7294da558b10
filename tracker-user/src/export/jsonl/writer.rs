//! The thread that writes the lines.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::{
        fd::AsFd as _,
        unix::fs::{FileExt as _, OpenOptionsExt as _},
    },
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use super::{Loss, Shared, Target};

/// What one write may carry: few system calls under load, little memory.
const BATCH: usize = 64 * 1024;
/// How soon a wish to reopen is noticed when there is nothing to write.
const TICK: Duration = Duration::from_millis(500);

/// An open target. Standard output is written unbuffered, like the file.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    /// The last line is not whole: the next one must not be glued to it.
    torn: bool,
}

impl Output {
    pub(super) const fn new(file: File) -> Self {
        Self { file, torn: false }
    }

    pub(super) fn open(target: &Target) -> io::Result<Self> {
        let Target::File(path) = target else {
            return Ok(Self::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)));
        };
        // Reading is for the look at the last byte below; for a named pipe it means that opening
        // does not wait for a reader.
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(path)?;
        let metadata = file.metadata()?;
        let mut last = [b'\n'];
        if let (true, Some(end)) = (metadata.is_file(), metadata.len().checked_sub(1)) {
            file.read_exact_at(&mut last, end)?;
        }
        Ok(Self { file, torn: last != [b'\n'] })
    }

    /// Writes whole lines. On failure says how many of them went out whole before it.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), (usize, io::Error)> {
        if self.torn {
            match self.file.write(b"\n") {
                Ok(1..) => self.torn = false,
                Ok(0) => return Err((0, io::ErrorKind::WriteZero.into())),
                Err(error) => return Err((0, error)),
            }
        }
        let mut done = 0;
        while done < lines.len() {
            let error = match self.file.write(&lines[done..]) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(written) => {
                    done += written;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            self.torn = done > 0 && lines[done - 1] != b'\n';
            return Err((count(&lines[..done]), error));
        }
        Ok(())
    }
}

fn count(lines: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', lines).count()
}

/// Takes lines from the queue and writes them, as many at once as are there.
pub(super) struct Writer {
    target: Target,
    output: Output,
    shared: Arc<Shared>,
}

impl Writer {
    pub(super) fn new(target: Target, output: Output, shared: Arc<Shared>) -> Self {
        Self { target, output, shared }
    }

    /// Until the queue is closed and empty.
    pub(super) fn run(mut self, inbox: &Receiver<Vec<u8>>) {
        loop {
            let first = inbox.recv_timeout(TICK);
            if self.shared.reopen.swap(false, Ordering::Acquire) {
                self.reopen();
            }
            let mut batch = match first {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            while batch.len() < BATCH {
                let Ok(line) = inbox.try_recv() else { break };
                batch.extend_from_slice(&line);
            }
            self.write(&batch);
        }
    }

    fn write(&mut self, batch: &[u8]) {
        let lines = count(batch);
        let (written, failure) = match self.output.write(batch) {
            Ok(()) => (lines, None),
            Err((written, error)) => (written, Some(error)),
        };
        self.shared.written.fetch_add(written as u64, Ordering::Relaxed);
        if let Some(error) = failure {
            let lost = (lines - written) as u64;
            self.shared.lose(Loss::of(&error), lost, &self.target, Some(&error));
        }
    }

    fn reopen(&mut self) {
        match Output::open(&self.target) {
            Ok(output) => self.output = output,
            Err(error) => {
                tracing::warn!(%error, "cannot reopen {}: the old file is still written to", self.target);
            }
        }
    }
}
