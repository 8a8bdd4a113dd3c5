//! Integration tests, one module a topic.

mod camera;
mod store;
