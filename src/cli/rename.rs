//! `accessd rename`: a person gets another name; templates and history stay.

use clap::Args;

use super::backend::Backend;
use super::output::Output;
use super::{Exit, Globals};

/// Give a person another name
#[derive(Args, Debug)]
pub(super) struct Rename {
    /// Their name now
    name: String,
    /// The new name
    #[arg(value_name = "NEW")]
    to: String,
}

impl Rename {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        Backend::to_change(&globals.load()?)?.rename(&self.name, &self.to)?;
        let mut out = Output::new();
        out.line(format_args!("{} is now {}", self.name, self.to))?;
        out.flush()?;
        Ok(Exit::Done)
    }
}
