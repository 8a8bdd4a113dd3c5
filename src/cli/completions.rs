//! `accessd completions`: what the shell should offer when Tab is pressed.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::output::Output;
use super::{Cli, Exit};

/// Print completions for a shell
///
/// For bash: accessd completions bash > /etc/bash_completion.d/accessd
#[derive(Args, Debug)]
pub(super) struct Completions {
    /// Which shell
    shell: Shell,
}

impl Completions {
    pub(super) fn perform(self) -> anyhow::Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "accessd", &mut script);
        let mut out = Output::new();
        out.line(String::from_utf8_lossy(&script).trim_end())?;
        out.flush()?;
        Ok(Exit::Done)
    }
}
