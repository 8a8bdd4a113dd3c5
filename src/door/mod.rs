//! The strike and who may move it: a PURE controller, the driver that performs what it says, and the relays it can
//! drive. The last room on the data's way; nothing but a recorded grant opens here.

mod controller;
mod driver;
pub mod sim;
mod spec;

pub use controller::{Action, Door, DroppedGrant, Input, Pulse, PulseError};
pub use driver::{Driver, Handled, Transition};
pub use spec::{RelaySpec, RelaySpecError, open_relay};

/// Why a relay could not be driven.
#[derive(Debug, thiserror::Error)]
#[error("relay {relay}: {what}")]
pub struct RelayError {
    /// Which relay, as configured.
    pub relay: String,
    /// What was tried and what to do about it.
    pub what: String,
    /// What the system said.
    #[source]
    pub source: std::io::Error,
}

/// A line to the strike. An implementation releases the line when it is dropped.
pub trait Relay: Send {
    /// Drives the line; `why` is for the simulated relay's log.
    ///
    /// # Errors
    /// When the line did not take the value.
    fn set(&mut self, energised: bool, why: &str) -> Result<(), RelayError>;

    /// The relay as configured, for messages.
    fn describe(&self) -> String;
}
