//! Kernel to [`Chunk`]: discover processes, locate TLS functions, attach, read the ring buffer.

mod chunk;
mod event;
mod hook;

pub use chunk::{Chunk, ConnectionId, Direction, Timestamp};
pub use event::{CaptureEvent, Opened, Verdict};
pub use hook::{Hook, HookKind, HookPlan, Transferred};
