//! The `llm-tracker` command line.
fn main() {}
