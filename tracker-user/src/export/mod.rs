//! [`Record`] to the outside: one file a sink.

mod record;

pub use record::Record;
