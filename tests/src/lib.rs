//! End-to-end tests of llm-tracker.
