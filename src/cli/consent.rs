//! `accessd consent`: what a person agreed to, and that they did.

use std::io::{Read, stdin};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::backend::Backend;
use super::output::{self, Output, local_time};
use super::{Exit, Globals, when};
use crate::store;

/// Print what a person agreed to, or write down that they did; without a name: who did, and who has not
#[derive(Args, Debug)]
pub(super) struct Consent {
    /// Their name
    name: Option<String>,
    /// Write down that they agreed to the text in this file, word for word; - reads it from standard input
    #[arg(long, value_name = "FILE", requires = "name")]
    record: Option<PathBuf>,
    /// When they agreed, if not now
    #[arg(long, value_name = "WHEN", value_parser = when::parse, requires = "record")]
    given: Option<Timestamp>,
    /// Print JSON: {"people": [{"name", "consents": [{"text", "given", "recorded", "recorded_by"}]}]}
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct People {
    people: Vec<Agreed>,
}

#[derive(Serialize)]
struct Agreed {
    name: String,
    consents: Vec<store::Consent>,
}

impl Consent {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let config = globals.load()?;
        let mut out = Output::new();
        if let (Some(name), Some(file)) = (&self.name, &self.record) {
            let mut backend = Backend::to_change(&config)?;
            let name = backend.person(name)?.name;
            backend.record_consent(&name, &read(file)?, self.given)?;
            out.line(format_args!("{name}: consent written down"))?;
            out.flush()?;
            return Ok(Exit::Done);
        }
        let mut backend = Backend::to_read(&config)?;
        let people = match &self.name {
            Some(name) => vec![backend.person(name)?],
            None => backend.people()?,
        };
        let agreed = people.into_iter().map(|person| {
            let consents = backend.consents(&person.name)?;
            Ok(Agreed { name: person.name, consents })
        });
        let people = agreed.collect::<anyhow::Result<Vec<_>>>()?;
        // Asked about one person, "no" is an answer.
        let lacking = self.name.is_some() && people.iter().any(|agreed| agreed.consents.is_empty());
        if self.json {
            out.json(&People { people })?;
        } else if self.name.is_some() {
            people.iter().try_for_each(|agreed| in_full(agreed, &mut out))?;
        } else {
            out.table(&table(&people))?;
        }
        out.flush()?;
        Ok(if lacking { Exit::No } else { Exit::Done })
    }
}

fn read(file: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        stdin().read_to_string(&mut text).context("standard input is no text")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("{} cannot be read as text", file.display()))
}

fn in_full(agreed: &Agreed, out: &mut Output) -> anyhow::Result<()> {
    let Agreed { name, consents } = agreed;
    if consents.is_empty() {
        out.line(format_args!("{name}: no consent is written down; accessd consent {name:?} --record FILE"))?;
    }
    for consent in consents {
        out.line(format_args!(
            "{name} agreed on {}; written down on {} by {}:",
            local_time(consent.given),
            local_time(consent.recorded),
            consent.recorded_by
        ))?;
        for line in consent.text.lines() {
            out.line(format_args!("    {line}"))?;
        }
    }
    Ok(())
}

fn table(people: &[Agreed]) -> comfy_table::Table {
    let mut table = output::table(["NAME", "AGREED", "WRITTEN DOWN BY"]);
    for Agreed { name, consents } in people {
        let last = consents.last();
        table.add_row([
            name.clone(),
            last.map_or_else(|| "no".to_owned(), |consent| local_time(consent.given)),
            last.map_or_else(String::new, |consent| consent.recorded_by.clone()),
        ]);
    }
    table
}
