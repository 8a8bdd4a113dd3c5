//! The rule book as it is stored, changed, and written as TOML.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::factors::With;
use super::passback::{Direction, Passage};
use super::place::WhichDoor;
use super::rule::{Dates, Rule, RuleId, Who};
use crate::gallery::PersonId;

/// Days on which rules with [`OnHolidays::Not`](super::OnHolidays::Not) do not count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holiday {
    /// Which.
    pub dates: Dates,
    /// What it is called.
    pub name: String,
    /// Every year on the same dates.
    #[serde(default)]
    pub yearly: bool,
}

impl Holiday {
    /// Whether `date` is one of its days.
    pub fn has(&self, date: Date) -> bool {
        if self.yearly { self.dates.has_in_any_year(date) } else { self.dates.has(date) }
    }
}

/// What is agreed with one person.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PersonTerms {
    /// Their groups, in lower case.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// Not before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Timestamp>,
    /// Not from this moment on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
    /// So many entries are left; `None` is without number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries_left: Option<u32>,
    /// What they must show, instead of what the rule asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<With>,
}

impl PersonTerms {
    /// Whether they belong to `who`.
    pub(super) fn is_of(&self, who: &Who) -> bool {
        match who {
            Who::Everybody => true,
            Who::Group(group) => self.groups.contains(group),
        }
    }
}

impl PersonTerms {
    /// As people read it, with times as a clock in `zone` shows them.
    pub fn words(&self, zone: &TimeZone) -> String {
        let groups: Vec<&str> = self.groups.iter().map(String::as_str).collect();
        let parts = [
            (!groups.is_empty()).then(|| format!("of {}", groups.join(", "))),
            self.valid_from.map(|from| format!("from {}", moment(from, zone))),
            self.valid_until.map(|until| format!("until {}", moment(until, zone))),
            self.entries_left.map(|left| format!("entries left: {left}")),
            self.with.map(|with| format!("with {with}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { "nothing in particular".into() } else { parts.join(", ") }
    }
}

/// A moment as a clock in `zone` shows it: `2026-11-25 17:00 CET`.
pub(super) fn moment(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string()
}

/// A person with what is agreed with them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PersonRow {
    /// Who.
    pub id: PersonId,
    /// Their name.
    pub name: String,
    /// What is agreed.
    pub terms: PersonTerms,
    /// When a door last let them in.
    pub last_entry: Option<Timestamp>,
    /// Whether they have a PIN.
    #[serde(default)]
    pub has_pin: bool,
    /// Where they were last seen to go, area by area; kept where doors lead both ways.
    #[serde(default)]
    pub passages: Vec<Passage>,
    /// When anti-passback last forgave them.
    #[serde(default)]
    pub forgiven: Option<Timestamp>,
}

/// A rule with its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberedRule {
    /// Its number.
    pub id: RuleId,
    /// The rule.
    pub rule: Rule,
}

/// Everything that decides who may enter when.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleBook {
    /// The zone that times are meant in, by its IANA name; `None` is the machine's.
    pub zone: Option<String>,
    /// Nobody enters twice within so many seconds; 0 is off.
    pub passback_s: u32,
    /// Whether people must leave before they come in again.
    #[serde(default)]
    pub direction: Direction,
    /// Nobody enters at all.
    pub lockdown: bool,
    /// By number.
    pub rules: Vec<NumberedRule>,
    /// By date.
    pub holidays: Vec<Holiday>,
    /// Everybody enrolled.
    pub people: Vec<PersonRow>,
}

/// What changes with one person; what is `None` stays, an inner `None` takes the limit away.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PersonChange {
    /// Joins these groups.
    pub join: BTreeSet<String>,
    /// Leaves these groups.
    pub leave: BTreeSet<String>,
    /// Not before.
    pub valid_from: Option<Limit<Timestamp>>,
    /// Not from then on.
    pub valid_until: Option<Limit<Timestamp>>,
    /// Entries left.
    pub entries: Option<Limit<u32>>,
    /// What they must show.
    #[serde(default)]
    pub with: Option<Limit<With>>,
}

/// A limit or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit<T> {
    /// There is none.
    None,
    /// It is this.
    At(T),
}

impl<T: Copy> Limit<T> {
    fn get(self) -> Option<T> {
        match self {
            Self::None => None,
            Self::At(limit) => Some(limit),
        }
    }
}

impl PersonChange {
    /// What is agreed afterwards.
    pub fn apply(&self, before: &PersonTerms) -> PersonTerms {
        let mut groups = &before.groups | &self.join;
        groups.retain(|group| !self.leave.contains(group));
        PersonTerms {
            groups,
            valid_from: self.valid_from.map_or(before.valid_from, Limit::get),
            valid_until: self.valid_until.map_or(before.valid_until, Limit::get),
            entries_left: self.entries.map_or(before.entries_left, Limit::get),
            with: self.with.map_or(before.with, Limit::get),
        }
    }
}

/// One change of the book.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A new rule.
    AddRule(Rule),
    /// A rule goes.
    RemoveRule(RuleId),
    /// A new holiday.
    AddHoliday(Holiday),
    /// The holidays that have this day go.
    RemoveHoliday(Date),
    /// Times are meant in this zone; `None` is the machine's.
    Zone(Option<String>),
    /// Nobody enters twice within so many seconds.
    Passback(u32),
    /// Whether people must leave before they come in again. From then on nobody's place is known.
    Direction(Direction),
    /// Anti-passback forgives one person or everybody: where they are is not known any more.
    Forgive(Option<String>),
    /// Lockdown begins or ends.
    Lockdown(bool),
    /// With a person.
    Person {
        /// Their name.
        name: String,
        /// What changes.
        change: PersonChange,
    },
    /// Rules, holidays, zone and anti-passback are those of the document; the people it names get its terms, the others
    /// keep theirs.
    Import(Document),
}

impl Change {
    /// The first door that a rule of it names and that is not one of `there`.
    pub fn unknown_door(&self, there: &[&str]) -> Option<WhichDoor> {
        let rules = match self {
            Self::AddRule(rule) => std::slice::from_ref(rule),
            Self::Import(document) => document.rules.as_slice(),
            _ => &[],
        };
        let name = rules.iter().flat_map(|rule| rule.unknown_doors(there)).next()?;
        Some(WhichDoor::Unknown { name: name.to_owned(), doors: there.join(", ") })
    }
}

/// The book as TOML: what `policy export` writes and `policy import` reads. Lockdown is a state and not in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// As in [`RuleBook`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// As in [`RuleBook`].
    #[serde(default)]
    pub passback_s: u32,
    /// As in [`RuleBook`].
    #[serde(default)]
    pub direction: Direction,
    /// In their order.
    #[serde(default, rename = "rule")]
    pub rules: Vec<Rule>,
    /// By date.
    #[serde(default, rename = "holiday")]
    pub holidays: Vec<Holiday>,
    /// By name.
    #[serde(default, rename = "person")]
    pub people: BTreeMap<String, PersonTerms>,
}

impl From<&RuleBook> for Document {
    fn from(book: &RuleBook) -> Self {
        let agreed = book.people.iter().filter(|row| row.terms != PersonTerms::default());
        Self {
            zone: book.zone.clone(),
            passback_s: book.passback_s,
            direction: book.direction,
            rules: book.rules.iter().map(|numbered| numbered.rule.clone()).collect(),
            holidays: book.holidays.clone(),
            people: agreed.map(|row| (row.name.clone(), row.terms.clone())).collect(),
        }
    }
}
