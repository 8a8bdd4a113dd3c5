//! `accessd forget-learnt`: what the door has learnt of people by itself goes; what was enrolled stays.

use clap::Args;

use super::backend::Backend;
use super::output::{Output, count};
use super::{Exit, Globals};

/// Remove the samples that the door has learnt by itself; those that were enrolled stay
#[derive(Args, Debug)]
pub(super) struct ForgetLearnt {
    /// Whose
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    name: Option<String>,
    /// Everybody's
    #[arg(long)]
    all: bool,
}

impl ForgetLearnt {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let samples = Backend::to_change(&globals.load()?)?.forget_learnt(self.name.as_deref())?;
        let whose = self.name.as_deref().unwrap_or("everybody");
        let mut out = Output::new();
        out.line(format_args!("{} learnt of {whose}: removed", count(samples, "sample", "samples")))?;
        out.flush()?;
        Ok(Exit::Done)
    }
}
