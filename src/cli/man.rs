//! `accessd man`: manual pages for accessd and each of its commands, from the same text as `--help`.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, CommandFactory};

use super::output::Output;
use super::{Cli, Exit};

/// Write manual pages into a folder
#[derive(Args, Debug)]
pub(super) struct Man {
    /// Folder, made if it is not there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl Man {
    pub(super) fn perform(self) -> anyhow::Result<Exit> {
        let in_dir = || format!("manual pages cannot be written to {}", self.dir.display());
        std::fs::create_dir_all(&self.dir).with_context(in_dir)?;
        clap_mangen::generate_to(Cli::command(), &self.dir).with_context(in_dir)?;
        let mut out = Output::new();
        out.line(format_args!("manual pages are in {}: try `man -l {0}/accessd.1`", self.dir.display()))?;
        out.flush()?;
        Ok(Exit::Done)
    }
}
