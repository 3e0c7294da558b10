//! Which kernel programs serve which functions: the one place to add a layout to.

use crate::capture::Layout;

/// The names of the kernel programs for functions of one layout.
#[derive(Debug)]
pub(super) struct Programs {
    /// At a transfer function's entry.
    pub(super) entry: &'static str,
    /// At its return, or at an instruction at which its work is done; absent where the entry tells all.
    pub(super) on_return: Option<&'static str>,
    /// At both, for session links; absent where no return probe can be set.
    pub(super) session: Option<&'static str>,
    /// At the entry of what ends a connection.
    pub(super) free: &'static str,
}

impl Programs {
    /// All but those for sessions.
    pub(super) fn plain(&self) -> impl Iterator<Item = &'static str> {
        [self.entry, self.free].into_iter().chain(self.on_return)
    }
}

/// All that there are.
pub(super) const ALL: [&Programs; 3] = [&SSL, &GO, &GO_RECORD];

const SSL: Programs = Programs {
    entry: "transfer_entry",
    on_return: Some("transfer_return"),
    session: Some("transfer_session"),
    free: "connection_free",
};

const GO: Programs =
    Programs { entry: "go_read", on_return: Some("go_exit"), session: None, free: "go_close" };

const GO_RECORD: Programs = Programs { entry: "go_write", on_return: None, session: None, free: "go_close" };

/// Those for a layout.
pub(super) const fn of(layout: Layout) -> &'static Programs {
    match layout {
        Layout::Ssl => &SSL,
        Layout::Go => &GO,
        Layout::GoRecord => &GO_RECORD,
    }
}
