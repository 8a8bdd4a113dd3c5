//! `accessd person`: people without a face, and what is agreed with one person: groups, validity, number of entries, what
//! they must show.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use jiff::tz::TimeZone;

use super::backend::Backend;
use super::exit::UsageError;
use super::output::Output;
use super::when::{WhenError, Written};
use super::{Exit, Globals};
use crate::daemon::protocol::Request;
use crate::policy::{Change, Limit, PersonChange, RuleError, Who, With, check_zone};

/// Say what is agreed with a person: groups, from when until when, how often, with what
#[derive(Args, Debug)]
pub(super) struct Person {
    #[command(subcommand)]
    order: Order,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Add somebody who comes in without being recognised; then give them a PIN
    Add {
        /// Their name
        name: String,
    },
    /// Change what is agreed; what is not named stays
    Set(Set),
}

#[derive(Args, Debug)]
struct Set {
    /// Their name
    name: String,
    /// Joins this group; may be given several times
    #[arg(long, value_name = "GROUP")]
    group: Vec<Who>,
    /// Leaves this group
    #[arg(long, value_name = "GROUP")]
    no_group: Vec<Who>,
    /// Lets them in from then on, such as 2026-12-01 or "today 08:00"; `none` takes the limit away
    #[arg(long, value_name = "TIME", value_parser = moment)]
    valid_from: Option<Limit<Written>>,
    /// Lets them in until then; a date alone counts to its end; `none` takes the limit away
    #[arg(long, value_name = "TIME", value_parser = moment)]
    valid_until: Option<Limit<Written>>,
    /// Lets them in once
    #[arg(long, conflicts_with = "entries")]
    one_use: bool,
    /// Lets them in so many times; `none` takes the limit away
    #[arg(long, value_name = "N", value_parser = entries)]
    entries: Option<Limit<u32>>,
    /// What they must show instead of what the rule asks for: face, face-and-pin or face-or-pin; `none` is what the rule asks
    #[arg(long, value_name = "WHAT", value_parser = with)]
    with: Option<Limit<With>>,
}

impl Person {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let set = match self.order {
            Order::Set(set) => set,
            Order::Add { name } => return add(globals, name),
        };
        if set.is_empty() {
            return Err(UsageError(
                "nothing to change: give --group, --valid-from, --valid-until, --one-use, --entries or --with".into(),
            )
            .into());
        }
        let mut backend = Backend::to_change(&globals.load()?)?;
        let zone = check_zone(backend.rule_book()?.zone.as_deref())?;
        let name = backend.person(&set.name)?.name;
        let change = set.change(&zone)?;
        backend.change_policy(Change::Person { name: name.clone(), change })?;
        let book = backend.rule_book()?;
        let mut out = Output::new();
        for row in book.people.iter().filter(|row| row.name == name) {
            out.line(format_args!("{name}: {}", row.terms.words(&zone)))?;
        }
        out.flush()?;
        Ok(Exit::Done)
    }
}

fn add(globals: &Globals, name: String) -> anyhow::Result<Exit> {
    let mut backend = Backend::to_enrol(&globals.load()?)?;
    backend.change_person(&Request::AddPerson { name: name.clone() })?;
    let name = backend.person(&name)?.name;
    let mut out = Output::new();
    out.line(format_args!(
        "{name} is enrolled without a face; to let them in by PIN: accessd pin set {name:?}, and accessd person set \
         {name:?} --with face-or-pin"
    ))?;
    out.flush()?;
    Ok(Exit::Done)
}

impl Set {
    fn is_empty(&self) -> bool {
        let Self { name: _, group, no_group, valid_from, valid_until, one_use, entries, with } = self;
        group.is_empty()
            && no_group.is_empty()
            && valid_from.is_none()
            && valid_until.is_none()
            && !one_use
            && entries.is_none()
            && with.is_none()
    }

    /// What is to change; times are those of the rules' zone.
    fn change(self, zone: &TimeZone) -> anyhow::Result<PersonChange> {
        let groups = |list: Vec<Who>| -> Result<BTreeSet<String>, UsageError> {
            list.into_iter()
                .map(|who| match who {
                    Who::Group(group) => Ok(group),
                    Who::Everybody => Err(UsageError("everybody is of `everybody` already".into())),
                })
                .collect()
        };
        Ok(PersonChange {
            join: groups(self.group)?,
            leave: groups(self.no_group)?,
            valid_from: self.valid_from.map(|limit| read(limit, |from| from.read(zone))).transpose()?,
            valid_until: self
                .valid_until
                .map(|limit| read(limit, |until| until.read_to_the_end(zone)))
                .transpose()?,
            entries: if self.one_use { Some(Limit::At(1)) } else { self.entries },
            with: self.with,
        })
    }
}

fn moment(text: &str) -> Result<Limit<Written>, WhenError> {
    if text == "none" { Ok(Limit::None) } else { text.parse().map(Limit::At) }
}

/// Reads what limits.
fn read<T>(
    limit: Limit<Written>,
    read: impl Fn(&Written) -> Result<T, WhenError>,
) -> Result<Limit<T>, WhenError> {
    match limit {
        Limit::None => Ok(Limit::None),
        Limit::At(written) => read(&written).map(Limit::At),
    }
}

fn with(text: &str) -> Result<Limit<With>, RuleError> {
    if text == "none" { Ok(Limit::None) } else { text.parse().map(Limit::At) }
}

fn entries(text: &str) -> Result<Limit<u32>, std::num::ParseIntError> {
    if text == "none" { Ok(Limit::None) } else { text.parse().map(Limit::At) }
}
