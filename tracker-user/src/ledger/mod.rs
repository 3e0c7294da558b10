//! [`Record`](crate::record::Record) to durable rows, and questions to them.
//!
//! An embedded SQLite database: one row a call with all fields of the call record, and sums by the hour
//! beside them. [`LedgerSink`] writes, [`Ledger`] reads; they do not wait for each other.

mod dimension;
mod query;
mod schema;
mod sink;
mod store;
mod times;

pub use dimension::{Condition, ConditionError, Dimension, UnknownDimension};
pub use query::{Group, Ledger, LedgerError, Page, Position, Report, Span, StoredCall};
pub use schema::SchemaError;
pub use sink::{LedgerConfig, LedgerSink};
pub use store::{Retention, Store};
pub use times::Times;

#[cfg(test)]
mod tests;
