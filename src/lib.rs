//! accessd: a door that knows its people.
//!
//! The modules are listed in the order in which data flows through them:
//!
//! ```text
//! camera ─Frame─▶ vision ─AlignedCrop─▶ encoder ─Embedding─▶ gallery ─Match─▶ access ─Grant─▶ journal ─Recorded<Grant>─▶ door ─▶ relay
//! ```
//!
//! `ARCHITECTURE.md` is the map; `tests/architecture.rs` fails when an import goes against an arrow of it.

pub mod clock;
pub mod frame;

pub mod calibration;
pub mod camera;

pub mod encoder;
pub mod liveness;
pub mod models;
pub mod nn;
pub mod recognition;
pub mod vision;

pub mod access;
pub mod door;
pub mod gallery;
pub mod journal;
pub mod policy;

pub mod config;
pub mod daemon;
pub mod seal;
pub mod store;

pub mod cli;
pub mod console;
pub mod demo;
pub mod eval;
pub mod plot;
pub mod report;
pub mod train;
