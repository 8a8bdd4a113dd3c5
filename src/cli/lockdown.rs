//! `accessd lockdown`: nobody is let in until it is over. The exit button works all along.

use clap::{Args, Subcommand};

use super::backend::Backend;
use super::output::Output;
use super::{Exit, Globals};
use crate::policy::Change;

/// Let nobody in, whatever the rules say, until it is over; the exit button works all along
#[derive(Args, Debug)]
pub(super) struct Lockdown {
    #[command(subcommand)]
    order: Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
enum Order {
    /// Begin: lock the door and let nobody in, also after a restart
    On,
    /// End
    Off,
}

impl Lockdown {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let on = self.order == Order::On;
        Backend::to_change(&globals.load()?)?.change_policy(Change::Lockdown(on))?;
        let mut out = Output::new();
        out.line(if on { "lockdown: nobody is let in" } else { "lockdown is over" })?;
        out.flush()?;
        Ok(Exit::Done)
    }
}
