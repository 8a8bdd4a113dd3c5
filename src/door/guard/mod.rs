//! The second hand on the strike: a small process that holds the line, and lets go of what the daemon has forgotten.
//!
//! The controller bounds every unlocking by a deadline. That deadline is worth nothing when the process that holds it
//! is stopped, starved or stuck in a disk. So the line is held by a process of its own, which opens only on an order,
//! for the time that the order says, and as long as the daemon shows that it turns; and which locks the moment the
//! daemon ends, for the kernel closes their socket then. It loads no network, no database and no configuration.
//!
//! [`watch`] is what it decides, PURE; [`process`] its loop; [`client`] the daemon's end.

pub mod client;
pub mod process;
pub mod watch;

pub use client::GuardedStrike;
pub use watch::{Answer, BEAT_LIMIT, Order, Watch};
