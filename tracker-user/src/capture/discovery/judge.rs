//! Judges large files beside everything else: to search the largest takes some tenths of a second.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread;

use super::waiting::Large;
use super::worker::Shared;
use crate::capture::locate::{Located, locate};

/// A thread that judges one file after the other.
pub(super) struct Judge {
    files: Sender<Large>,
    judged: Receiver<(Large, Vec<Located>)>,
    /// Whether it has a file.
    busy: bool,
}

impl Judge {
    /// Starts the thread, which ends with the last handle to it. It wakes the worker after each file.
    pub(super) fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let (files, to_judge) = mpsc::channel::<Large>();
        let (done, judged) = mpsc::channel();
        thread::Builder::new().name("judge".to_owned()).spawn(move || {
            for large in to_judge {
                let located = locate(&large.file);
                if done.send((large, located)).is_err() {
                    return;
                }
                shared.wake();
            }
        })?;
        Ok(Self { files, judged, busy: false })
    }

    /// Whether it can take a file.
    pub(super) const fn is_idle(&self) -> bool {
        !self.busy
    }

    /// Gives it a file.
    pub(super) fn take(&mut self, large: Large) {
        self.busy = self.files.send(large).is_ok();
        if !self.busy {
            tracing::error!("large files are not judged any more: the thread for it has ended");
        }
    }

    /// A file that it is done with.
    pub(super) fn judged(&mut self) -> Option<(Large, Vec<Located>)> {
        let judged = self.judged.try_recv();
        self.busy &= matches!(judged, Err(TryRecvError::Empty));
        judged.ok()
    }
}
