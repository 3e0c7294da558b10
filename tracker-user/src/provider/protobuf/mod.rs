//! Protocol Buffers without messages: bytes in, in any pieces; out, only the fields a table asks for.
//!
//! The tables are those of [`json`](super::json), with field numbers in place of keys: `4.1` is field 1
//! of the message that is field 4. The wire does not tell a message from a string, so a field is read as
//! a message where the table has a path below it.

mod scanner;

pub use scanner::Scanner;
