//! The door's state machine: an input and the time go in, actions come out. Locked is where it starts and where
//! every trouble ends.

use std::time::Duration;

use crate::access::Grant;
use crate::clock::MonoTime;
use crate::journal::Recorded;

/// How long the strike is energised for one grant; bounded so that no setting leaves a door open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse(Duration);

/// What happens to the door.
#[derive(Debug)]
pub enum Input {
    /// A recorded grant.
    Grant(Recorded<Grant>),
    /// Time passed.
    Tick,
    /// Lock now: stop, fault, or an operator.
    Lock(&'static str),
}

/// What the caller must do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Energise the relay.
    Energise {
        /// For the log.
        why: String,
    },
    /// Release the relay.
    Release {
        /// For the log.
        why: String,
    },
}

/// One door.
#[derive(Debug)]
pub struct Door {
    pulse: Pulse,
    unlocked_until: Option<MonoTime>,
}
