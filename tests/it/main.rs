//! Integration tests, one module a topic.

// Clippy's leave for tests ends at `#[test]` functions; the helpers here fail the test in the same way.
#![allow(clippy::unwrap_used)]

mod store;
