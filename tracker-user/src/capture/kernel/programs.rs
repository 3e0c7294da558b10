//! Which kernel programs serve which functions: the one place to add a layout to.

use crate::capture::Layout;

/// The names of the kernel programs for functions of one layout.
#[derive(Debug)]
pub(super) struct Programs {
    /// At a transfer function's entry.
    pub(super) entry: &'static str,
    /// At its return.
    pub(super) on_return: &'static str,
    /// At both, for session links; absent where no return probe can be set.
    pub(super) session: Option<&'static str>,
    /// At the entry of what ends a connection.
    pub(super) free: &'static str,
}

/// All that there are.
pub(super) const ALL: [&Programs; 1] = [&SSL];

const SSL: Programs = Programs {
    entry: "transfer_entry",
    on_return: "transfer_return",
    session: Some("transfer_session"),
    free: "connection_free",
};

/// Those for a layout; `None` where the kernel side knows none.
pub(super) const fn of(layout: Layout) -> Option<&'static Programs> {
    match layout {
        Layout::Ssl => Some(&SSL),
        Layout::Go => None,
    }
}
