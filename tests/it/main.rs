//! Integration tests, one module a topic.
#![allow(clippy::unwrap_used, reason = "clippy takes only #[test] functions for tests, not what they share")]

mod allocations;
mod attacks;
mod bad_input;
mod camera;
mod cli;
mod crash;
#[cfg(feature = "cuda")]
mod cuda;
mod doors;
mod eval;
mod faults;
mod fetch;
mod fuzz;
mod journal;
mod liveness;
mod migration;
mod models;
mod networks;
mod pins;
mod policy;
mod powercut;
mod privacy;
mod real_clips;
mod replay;
mod spoof;
mod store;
mod strangers;
mod support;
mod train;
