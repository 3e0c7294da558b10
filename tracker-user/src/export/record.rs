//! What every sink is given.

use crate::{attribution::Origin, provider::Call};

/// A call and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The call.
    pub call: Call,
    /// Who made it.
    pub origin: Origin,
    /// Wall-clock time of the request's first byte, nanoseconds since the Unix epoch.
    pub started_unix_nanos: i128,
}
