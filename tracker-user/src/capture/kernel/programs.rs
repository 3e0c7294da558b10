//! Which kernel programs serve which functions: the one place to add a layout to.

use crate::capture::{AeadFunction, Layout};

/// The names of the kernel programs for functions of one layout.
#[derive(Debug)]
pub(super) struct Programs {
    /// At a transfer function's entry.
    pub(super) entry: &'static str,
    /// At its return, or at an instruction at which its work is done; absent where the entry tells all.
    pub(super) on_return: Option<&'static str>,
    /// At both, for session links; absent where no return probe can be set.
    pub(super) session: Option<&'static str>,
    /// At the entry of what begins a connection; absent where its first transfer does.
    pub(super) begin: Option<&'static str>,
    /// At the entry of what ends a connection.
    pub(super) free: &'static str,
}

impl Programs {
    /// All but those for sessions.
    pub(super) fn plain(&self) -> impl Iterator<Item = &'static str> {
        let Self { entry, on_return, session: _, begin, free } = *self;
        [Some(entry), on_return, begin, Some(free)].into_iter().flatten()
    }
}

/// All that there are.
pub(super) const ALL: [&Programs; 5] = [&SSL, &GO, &GO_RECORD, &AEAD_SEAL, &AEAD_OPEN];

const SSL: Programs = Programs {
    entry: "transfer_entry",
    on_return: Some("transfer_return"),
    session: Some("transfer_session"),
    begin: None,
    free: "connection_free",
};

const GO: Programs =
    Programs { entry: "go_read", on_return: Some("go_exit"), session: None, begin: None, free: "go_close" };

const GO_RECORD: Programs =
    Programs { entry: "go_write", on_return: None, session: None, begin: None, free: "go_close" };

const AEAD_SEAL: Programs = Programs {
    entry: "aead_seal",
    on_return: None,
    session: None,
    begin: Some("aead_begin"),
    free: "aead_free",
};

const AEAD_OPEN: Programs = Programs {
    entry: "aead_open_entry",
    on_return: Some("aead_open_return"),
    session: Some("aead_open_session"),
    begin: Some("aead_begin"),
    free: "aead_free",
};

/// Those for a layout.
pub(super) const fn of(layout: Layout) -> &'static Programs {
    match layout {
        Layout::Ssl => &SSL,
        Layout::Go => &GO,
        Layout::GoRecord => &GO_RECORD,
        Layout::Aead(AeadFunction::Seal | AeadFunction::SealScatter) => &AEAD_SEAL,
        Layout::Aead(AeadFunction::Open | AeadFunction::OpenGather) | Layout::AeadContext => &AEAD_OPEN,
    }
}
