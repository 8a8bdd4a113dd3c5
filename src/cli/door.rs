//! `accessd door`: what an operator does at the door itself.

use std::sync::Arc;

use clap::{Args, Subcommand};

use super::{Exit, Globals};
use crate::clock::SystemClock;
use crate::door::open_relay;

/// Move the door by hand
#[derive(Args, Debug)]
pub(super) struct Door {
    #[command(subcommand)]
    order: Order,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Drive the relay locked without the service, for its unit's ExecStopPost=: after any death of the service
    Relock,
}

impl Door {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        match self.order {
            Order::Relock => relock(globals),
        }
    }
}

/// Takes the relay, which drives it at the locked level, and lets go.
fn relock(globals: &Globals) -> anyhow::Result<Exit> {
    let config = globals.load()?;
    let mut relay = open_relay(&config.door.relay, Arc::new(SystemClock))?;
    relay.set(false, "relocked from outside")?;
    Ok(Exit::Done)
}
