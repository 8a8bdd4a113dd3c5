//! Integration tests, one module a topic.

mod camera;
mod fetch;
mod store;
