//! `accessd remove`: a person and all their templates go.

use std::io::{IsTerminal, Write, stdin};

use clap::Args;

use super::backend::Backend;
use super::exit::UsageError;
use super::output::{Output, count};
use super::{Exit, Globals};
use crate::gallery::Person;

/// Remove a person with all their samples
#[derive(Args, Debug)]
pub(super) struct Remove {
    /// Their name
    name: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Remove {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let mut backend = Backend::to_change(&globals.load()?)?;
        let person = backend.person(&self.name)?;
        let mut out = Output::new();
        if !self.yes && !may_go(&person)? {
            out.line(format_args!("{} stays", person.name))?;
            out.flush()?;
            return Ok(Exit::No);
        }
        backend.remove(&person.name)?;
        out.line(format_args!("{} is removed with {}", person.name, samples(&person)))?;
        out.flush()?;
        Ok(Exit::Done)
    }
}

pub(super) fn samples(person: &Person) -> String {
    count(person.templates.len(), "sample", "samples")
}

pub(super) fn may_go(person: &Person) -> anyhow::Result<bool> {
    let question = format!("Remove {} with {}?", person.name, samples(person));
    confirmed(&format!("{:?} shall go", person.name), &question)
}

/// Asks whether something is to be removed.
pub(super) fn confirmed(what: &str, question: &str) -> anyhow::Result<bool> {
    if !stdin().is_terminal() {
        return Err(UsageError(format!(
            "there is no terminal to ask on whether {what}; add --yes to remove without asking"
        ))
        .into());
    }
    eprint!("{question} This cannot be undone. [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}
