//! The strike and who may move it: a PURE controller, the driver that performs what it says, the guard that outlives it,
//! the relays they can drive, and what else is wired to a door. The last room on the data's way: nothing opens here but
//! a recorded grant, the exit button, or an operator.

mod controller;
pub mod debounce;
mod driver;
mod gpio;
pub mod guard;
mod inputs;
pub mod keypad;
mod lamps;
mod leaf;
#[cfg(feature = "rppal")]
mod pi;
pub mod sim;
mod spec;
mod strike;

use std::io;
use std::sync::Arc;

use crate::clock::Clock;

pub use controller::{
    Action, Door, DroppedGrant, Input, MAX_HOLD_OPEN, Notice, Order, Pulse, PulseError, Relock, Rules, Sensor,
};
pub use driver::{Driver, Handled, Transition};
pub use gpio::{ChipInfo, chips, find_line};
pub use inputs::{InputError, Inputs, InputsFactory, Reading, open_inputs};
pub use lamps::{Lamp, Lamps, Waits};
pub use leaf::LeafNotice;
pub use spec::{ChipName, GpioSpec, LineName, LineSpec, LineSpecError, PiSpec, Pull, Wiring};
pub use strike::{DirectStrike, Strike, StrikeKind, StrikeKindError};

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
    pub source: io::Error,
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

/// Opens the relay that `spec` names. A line of a chip is driven at its inactive level from then on; a simulated one
/// is not written to yet.
///
/// # Errors
/// When `spec` names no line, or the line is not there or not ours to drive.
pub fn open_relay(spec: &str, clock: Arc<dyn Clock>) -> Result<Box<dyn Relay>, RelayError> {
    let parsed: LineSpec = spec.parse().map_err(|error| RelayError {
        relay: spec.to_owned(),
        what: "the setting cannot be used; correct door.relay".to_owned(),
        source: io::Error::new(io::ErrorKind::InvalidInput, error),
    })?;
    let name = parsed.to_string();
    match &parsed {
        LineSpec::Sim(path) => Ok(Box::new(sim::SimRelay::open(path, clock)?)),
        LineSpec::Gpio(line) => Ok(Box::new(gpio::GpioRelay::open(line, name)?)),
        LineSpec::Pi(pin) => open_pin(pin, name),
    }
}

/// The level that a line has now, without changing it; `None` when somebody holds it. Before anybody has driven it,
/// it is the level that it has at boot.
///
/// # Errors
/// When the line is not there, or not ours to read.
pub fn level_now(spec: &LineSpec) -> Result<Option<bool>, RelayError> {
    match spec {
        LineSpec::Sim(path) => sim::level_now(path).map(Some),
        LineSpec::Gpio(line) => gpio::level_now(line),
        LineSpec::Pi(pin) => pin_level(pin, spec.to_string()).map(Some),
    }
}

#[cfg(feature = "rppal")]
fn pin_level(pin: &PiSpec, name: String) -> Result<bool, RelayError> {
    pi::level_now(pin, name)
}

#[cfg(not(feature = "rppal"))]
fn pin_level(pin: &PiSpec, name: String) -> Result<bool, RelayError> {
    open_pin(pin, name).map(|_| false)
}

#[cfg(feature = "rppal")]
fn open_pin(pin: &PiSpec, name: String) -> Result<Box<dyn Relay>, RelayError> {
    Ok(Box::new(pi::PiRelay::open(pin, name)?))
}

#[cfg(not(feature = "rppal"))]
fn open_pin(_pin: &PiSpec, name: String) -> Result<Box<dyn Relay>, RelayError> {
    Err(RelayError {
        relay: name,
        what: "this accessd was built without rppal; build it with the feature rppal, or use gpiochip:CHIP:LINE, which \
               works on a Raspberry Pi too"
            .to_owned(),
        source: io::ErrorKind::Unsupported.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;
    use crate::clock::{MonoTime, SimClock};

    #[test]
    fn opening_gives_the_relay_or_says_which_setting_is_wrong() {
        let clock = Arc::new(SimClock::new(MonoTime::from_millis(0), jiff::Timestamp::UNIX_EPOCH));
        let folder = tempfile::tempdir().unwrap();
        let spec = format!("sim:{}/relay.log", folder.path().display());
        assert_eq!(open_relay(&spec, clock.clone()).unwrap().describe(), spec);
        let Err(error) = open_relay("gpio:17", clock) else { panic!("opened") };
        assert_eq!(error.to_string(), "relay gpio:17: the setting cannot be used; correct door.relay");
        assert!(error.source().unwrap().to_string().contains("gpiochip:CHIP:LINE"));
    }

    #[cfg(not(feature = "rppal"))]
    #[test]
    fn a_pin_without_the_feature_says_how_to_get_it() {
        let Err(error) = open_relay("rppal:17", Arc::new(crate::clock::SystemClock)) else {
            panic!("opened")
        };
        assert!(error.to_string().contains("feature rppal"), "{error}");
    }
}
