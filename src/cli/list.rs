//! `accessd list`: everybody who is enrolled.

use std::collections::BTreeSet;

use clap::Args;
use serde::Serialize;

use super::backend::Backend;
use super::output::{self, Output};
use super::{Exit, Globals};
use crate::gallery::Person;

/// List everybody who is enrolled
#[derive(Args, Debug)]
pub(super) struct List {
    /// Print JSON: {"people": [...]}
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct People<'a> {
    people: &'a [Person],
}

impl List {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let people = Backend::to_read(&globals.load()?)?.people()?;
        let mut out = Output::new();
        if self.json {
            out.json(&People { people: &people })?;
        } else if people.is_empty() {
            out.line("nobody is enrolled; begin with: accessd enroll --name NAME")?;
        } else {
            out.table(&table(&people))?;
        }
        out.flush()?;
        Ok(Exit::Done)
    }
}

fn table(people: &[Person]) -> comfy_table::Table {
    let mut table = output::table(["NAME", "ENROLLED", "SAMPLES", "MODELS", "LAST LET IN"]);
    for person in people {
        table.add_row([
            person.name.clone(),
            output::local_time(person.created),
            person.templates.len().to_string(),
            models(person),
            last_grant(person),
        ]);
    }
    output::align_right(&mut table, [2]);
    table
}

/// The models a person has templates of.
pub(super) fn models(person: &Person) -> String {
    let models: BTreeSet<String> = person.templates.iter().map(|t| t.model.to_string()).collect();
    if models.is_empty() { "none".into() } else { models.into_iter().collect::<Vec<_>>().join(", ") }
}

/// When the door last opened for a person.
pub(super) fn last_grant(person: &Person) -> String {
    person.last_grant.map_or_else(|| "never".into(), output::local_time)
}
