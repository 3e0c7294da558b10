//! JSON without documents: bytes in, in any pieces; out, only the few fields a table asks for.
//!
//! A body of an LLM API is mostly text that nobody here may keep and nobody needs. So nothing is
//! collected: a [`PathTable`] is compiled once from the paths that a dialect names, and a
//! [`Scanner`] walks the bytes beside it. What no path leads to is skipped at the speed of
//! `memchr`; what one does lead to is handed out as a [`Hit`] the moment it is complete.

mod path;
mod scanner;
mod search;
mod text;

pub(super) use path::{NOWHERE, NodeId, ROOT};
pub use path::{PathTable, Want};
pub use scanner::{Hit, Scanner, Value};
pub(super) use text::Text;
pub use text::Unescape;
