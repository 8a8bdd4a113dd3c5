//! Integration tests, one module a topic.

// Clippy's leave for tests ends at `#[test]` functions; the helpers here fail the test in the same way.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod camera;
mod cli;
mod fetch;
mod networks;
mod store;
mod support;
