//! [`Record`](crate::record::Record) to durable rows, and questions to them.
//!
//! An embedded SQLite database: one row a call with all fields of the call record, and sums by the hour
//! beside them. [`LedgerSink`] writes, [`Ledger`] reads; they do not wait for each other. A [`Question`] and its
//! [`Answer`] are the same wherever they are asked.

mod answer;
mod crossings;
mod dimension;
mod groups;
mod prune;
mod query;
mod schema;
mod sink;
mod store;
mod sums;
mod times;

pub use answer::{Answer, AnswerGroup, Question, Totals};

pub use crossings::Crossings;
pub use dimension::{Condition, ConditionError, Dimension, UnknownDimension};
pub use groups::Group;
pub use prune::Retention;
pub use query::{Ledger, LedgerError, Page, Position, Report, Span, StoredCall};
pub use schema::SchemaError;
pub use sink::{LedgerConfig, LedgerSink};
pub use store::Store;
pub use sums::Sums;
pub use times::Times;

#[cfg(test)]
mod tests;
