//! Lets the kernel begin to wait before there is a probe to put in.
//!
//! To put a probe in, the kernel takes a lock that forks share (`dup_mmap_sem` in
//! `kernel/events/uprobes.c`), and whoever takes it for writing after a while first waits for an RCU grace
//! period: 10 to 40 ms measured, longer than a handshake on loopback. Who takes it within about as long
//! again does not wait. So when a file appears that may need hooks, a probe is put where nobody runs it and
//! taken out, while the file is still being opened and read.

use std::{
    fs::File,
    io,
    os::fd::AsRawFd as _,
    path::PathBuf,
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
};

use rustix::fs::{MemfdFlags, memfd_create};

use super::multi::Program;

/// The thread that waits ahead. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Grace(SyncSender<()>);

impl Grace {
    /// Starts the thread, which attaches `program`.
    pub(super) fn start(program: Program) -> io::Result<Self> {
        let nowhere = File::from(memfd_create("llm-tracker", MemfdFlags::CLOEXEC)?);
        nowhere.set_len(4096)?;
        // One that waits while another is served; more would be of no use.
        let (sender, requests) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("grace".to_owned())
            .spawn(move || serve(&program, &nowhere, &requests))?;
        Ok(Self(sender))
    }

    /// Begins to wait, in the background.
    pub(super) fn begin(&self) {
        let _ = self.0.try_send(()); // Full: it has begun.
    }
}

fn serve(program: &Program, nowhere: &File, requests: &Receiver<()>) {
    crate::capture::try_to_hurry();
    let path = PathBuf::from(format!("/proc/self/fd/{}", nowhere.as_raw_fd()));
    while requests.recv().is_ok() {
        if let Err(error) = program.attach_nowhere(&path) {
            tracing::debug!(%error, "new libraries are hooked later than they could be");
            return;
        }
    }
}
