//! Integration tests, one module a topic.

mod bad_input;
mod camera;
mod cli;
mod fetch;
mod networks;
mod store;
mod support;
