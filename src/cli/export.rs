//! `accessd export`: a person's own copy of everything that is kept about them.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::backend::Backend;
use super::output::Output;
use super::{Exit, Globals};

/// Give a person their data: JSON with samples, templates, consent, terms, and what the log says about them
#[derive(Args, Debug)]
pub(super) struct Export {
    /// Their name
    name: String,
    /// Write it to this new file, which nobody else can read, instead of standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Export {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let mut backend = Backend::to_change(&globals.load()?)?;
        let Some(path) = &self.out else {
            let mut out = Output::new();
            out.json(&backend.export(&self.name)?)?;
            out.flush()?;
            return Ok(Exit::Done);
        };
        let make = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let mut file = make.with_context(|| format!("{} cannot be made; give a new file", path.display()))?;
        let written = backend.export(&self.name).and_then(|export| {
            let text = serde_json::to_string_pretty(&export).context("the data cannot be written as JSON")?;
            writeln!(file, "{text}").and_then(|()| file.sync_all()).context("the disk does not take it")
        });
        if written.is_err() {
            std::fs::remove_file(path).ok();
        }
        written?;
        Ok(Exit::Done)
    }
}
