//! `accessd guard`: the process that holds the line to the strike. `accessd run` starts it; nobody else needs to.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;

use super::Exit;
use crate::clock::SystemClock;
use crate::door::guard::process;
use crate::door::{DirectStrike, StrikeKind, open_relay};

/// Hold the line to the strike for the service, which talks to it over its standard input
#[derive(Args, Debug)]
pub(super) struct Guard {
    /// Relay to drive
    #[arg(long, value_name = "SPEC")]
    relay: String,
    /// What the strike does without power
    #[arg(long, value_name = "KIND")]
    strike: StrikeKind,
}

impl Guard {
    pub(super) fn perform(self) -> anyhow::Result<Exit> {
        let socket = std::io::stdin().as_fd().try_clone_to_owned().context("there is no standard input")?;
        let socket = UnixStream::from(socket);
        let clock = Arc::new(SystemClock);
        let relay = match open_relay(&self.relay, clock.clone()) {
            Ok(relay) => relay,
            Err(error) => {
                // The service says it, with what to try.
                process::refuse(socket, &error);
                return Ok(Exit::Failed);
            }
        };
        process::serve(socket, DirectStrike::new(relay, self.strike), &*clock)
            .context("the guard of the strike failed")?;
        Ok(Exit::Done)
    }
}
