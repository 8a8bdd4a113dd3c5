//! `accessd person`: people without a face, and what is agreed with one person: groups, validity, number of entries, what
//! they must show.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::backend::Backend;
use super::exit::UsageError;
use super::output::Output;
use super::{Exit, Globals, when};
use crate::daemon::protocol::Request;
use crate::policy::{Change, Limit, PersonChange, RuleError, Who, With};

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
    #[arg(long, value_name = "TIME", value_parser = from)]
    valid_from: Option<Limit<Timestamp>>,
    /// Lets them in until then; a date alone counts to its end; `none` takes the limit away
    #[arg(long, value_name = "TIME", value_parser = until)]
    valid_until: Option<Limit<Timestamp>>,
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
        let (name, change) = (set.name.clone(), set.change()?);
        let mut backend = Backend::to_change(&globals.load()?)?;
        let name = backend.person(&name)?.name;
        backend.change_policy(Change::Person { name: name.clone(), change })?;
        let book = backend.rule_book()?;
        let mut out = Output::new();
        for row in book.people.iter().filter(|row| row.name == name) {
            out.line(format_args!("{name}: {}", row.terms))?;
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
    fn change(self) -> Result<PersonChange, UsageError> {
        let groups = |list: Vec<Who>| -> Result<BTreeSet<String>, UsageError> {
            list.into_iter()
                .map(|who| match who {
                    Who::Group(group) => Ok(group),
                    Who::Everybody => Err(UsageError("everybody is of `everybody` already".into())),
                })
                .collect()
        };
        let change = PersonChange {
            join: groups(self.group)?,
            leave: groups(self.no_group)?,
            valid_from: self.valid_from,
            valid_until: self.valid_until,
            entries: if self.one_use { Some(Limit::At(1)) } else { self.entries },
            with: self.with,
        };
        if change == PersonChange::default() {
            return Err(UsageError(
                "nothing to change: give --group, --valid-from, --valid-until, --one-use, --entries or --with".into(),
            ));
        }
        Ok(change)
    }
}

fn from(text: &str) -> Result<Limit<Timestamp>, when::WhenError> {
    if text == "none" { Ok(Limit::None) } else { when::parse(text).map(Limit::At) }
}

fn until(text: &str) -> Result<Limit<Timestamp>, when::WhenError> {
    let day_after =
        text.parse::<Date>().ok().filter(|_| !text.contains(':')).and_then(|day| day.tomorrow().ok());
    let end = day_after.and_then(|day| day.to_zoned_datetime(TimeZone::system()).ok());
    end.map_or_else(|| from(text), |end| Ok(Limit::At(end.timestamp())))
}

fn with(text: &str) -> Result<Limit<With>, RuleError> {
    if text == "none" { Ok(Limit::None) } else { text.parse().map(Limit::At) }
}

fn entries(text: &str) -> Result<Limit<u32>, std::num::ParseIntError> {
    if text == "none" { Ok(Limit::None) } else { text.parse().map(Limit::At) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_alone_counts_to_its_end() {
        let midnight = |date: &str| {
            let date: Date = date.parse().unwrap();
            Limit::At(date.to_zoned_datetime(TimeZone::system()).unwrap().timestamp())
        };
        assert_eq!(until("2026-12-31"), Ok(midnight("2027-01-01")));
        assert_eq!(from("2026-12-31"), Ok(midnight("2026-12-31")));
        let moment = "2026-12-31T17:00:00Z";
        assert_eq!(until(moment), Ok(Limit::At(moment.parse().unwrap())));
        assert_eq!(until("none"), Ok(Limit::None));
        assert!(until("whenever").unwrap_err().to_string().contains("is no moment"));
    }
}
