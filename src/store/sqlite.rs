//! The store on SQLite.
/// SQLite.
pub struct SqliteStore;
