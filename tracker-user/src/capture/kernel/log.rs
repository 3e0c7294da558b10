//! Messages of the kernel side, handed on to `tracing`.

use std::fmt;

use aya_log::EbpfLogger;

/// Reads the messages that the kernel side writes when
/// [`KernelConfig::debug`](super::KernelConfig::debug) is set. None carries payload.
pub struct KernelLog(EbpfLogger<ToTracing>);

impl fmt::Debug for KernelLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelLog").finish_non_exhaustive()
    }
}

impl KernelLog {
    pub(super) const fn new(logger: EbpfLogger<ToTracing>) -> Self {
        Self(logger)
    }

    /// Hands on the messages that have come since.
    pub fn forward(&mut self) {
        self.0.flush();
    }
}

/// Turns the records of the `log` crate into events of target `llm_tracker::kernel`.
pub(super) struct ToTracing;

impl log::Log for ToTracing {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::debug!(target: "llm_tracker::kernel", "{}", record.args());
    }

    fn flush(&self) {}
}
