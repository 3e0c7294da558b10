//! `llm-tracker` sees every LLM call that a Linux host makes, with no proxy, no SDK and no restart.
//!
//! Data moves one way, one folder a stage, and no stage imports a later one:
//!
//! | stage | in | out |
//! |---|---|---|
//! | [`capture`] | the kernel | [`capture::Chunk`] |
//! | [`stream`] | chunks | [`stream::Event`]s of HTTP exchanges |
//! | [`provider`] | events | [`provider::Call`] |
//! | [`attribution`] | process id, cgroup id | [`attribution::Origin`] |
//! | [`pricing`] | [`provider::Call`] | [`pricing::Cost`] |
//! | [`live`] | records, and calls in flight | what runs now |
//! | [`ledger`] | [`record::Record`] | rows, and answers from them |
//! | [`api`] | a question | what somebody may see of the ledger, and of now |
//! | [`export`] | [`record::Record`] | Prometheus, JSON lines, OTLP |
//!
//! [`daemon`] joins them; [`doctor`] says what stands in the way, [`top`] what runs now, [`generate`] what a package
//! installs beside it.
//!
//! `stream` and `provider` do no I/O, take no clock and start no task: bytes and timestamps in,
//! calls out. The same code runs under the daemon, under a replay of recordings and in a benchmark.
pub mod api;
pub mod attribution;
mod baggage;
pub mod budget;
pub mod capture;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod doctor;
pub mod exec;
pub mod export;
pub mod generate;
mod hint;
pub mod human;
pub mod ledger;
pub mod live;
pub mod log;
mod pattern;
mod places;
pub mod pricing;
pub mod privileges;
pub mod provider;
mod random;
mod recent;
pub mod record;
pub mod report;
pub mod stream;
pub mod terminal;
pub mod top;
