//! Integration tests, one module a topic.

mod fetch;
mod store;
