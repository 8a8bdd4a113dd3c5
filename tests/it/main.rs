//! Integration tests, one module a topic.

mod bad_input;
mod camera;
mod cli;
mod crash;
mod fetch;
mod networks;
mod real_clips;
mod store;
mod support;
