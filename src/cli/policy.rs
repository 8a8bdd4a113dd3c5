//! `accessd policy`: who may enter when. Rules are added, removed, listed, explained, exported and imported.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand, ValueEnum};
use jiff::SignedDuration;

use super::adapters::{places, risks, trust};
use super::backend::Backend;
use super::output::{self, Output};
use super::when::Written;
use super::{Exit, Globals};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::policy::{
    Change, Dates, Days, Direction, Document, Doubts, Effect, Entry, Gate, Now, OnHolidays, Passage,
    PersonRow, PersonTerms, Place, Policy as Judge, Refusal, Rule, RuleBook, RuleId, Says, Schedule, Shown,
    Side, Subject, TimeOfDay, WhichDoor, Who, With, check_zone, which_door,
};

/// Say who may enter when
#[derive(Args, Debug)]
pub(super) struct Policy {
    #[command(subcommand)]
    order: Order,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Let a group in at some times; at any time where none is given
    Allow(AllowArgs),
    /// Keep a group out at some times, whatever else lets them in
    Deny(RuleArgs),
    /// Keep the door unlocked for everybody at some times
    HoldOpen(WhenArgs),
    /// Show rules and what is agreed with people
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a rule
    Remove {
        /// Its number, as `policy list` shows it
        number: i64,
    },
    /// Show rule by rule whether somebody may enter
    Why {
        /// Their name
        name: String,
        /// When instead of now, such as "2026-12-24 18:00"; supposes a clock that is right
        #[arg(long, value_name = "TIME")]
        at: Option<Written>,
        /// Who shows what: their face, face-and-pin, or pin alone
        #[arg(long, value_name = "WHAT", default_value = "face")]
        show: Showing,
        /// At which door; need not be said where there is one
        #[arg(long, value_name = "NAME")]
        door: Option<String>,
    },
    /// Let nobody in twice: within a time, or before they have left
    Passback {
        /// Not within this time, such as 5m; 0s is off
        #[arg(required_unless_present = "direction")]
        time: Option<SignedDuration>,
        /// `in`: whoever is inside must leave before coming in again; `both`: and come in before leaving again; `off`
        #[arg(long, value_name = "WAY")]
        direction: Option<Direction>,
    },
    /// Let somebody in and out as if nobody knew where they are; takes back what anti-passback holds against them
    Forgive {
        /// Their name
        #[arg(required_unless_present = "all")]
        name: Option<String>,
        /// Everybody
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
    /// Show who was last seen to come in and not to leave
    Inside {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say which zone times are meant in, such as Europe/Berlin; `machine` is this machine's
    Zone {
        /// Its IANA name
        zone: String,
    },
    /// Print everything as TOML
    Export,
    /// Replace rules, holidays and zone by those of a TOML file, and the terms of the people it names
    Import {
        /// The file
        file: PathBuf,
    },
}

/// What somebody is supposed to show.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Showing {
    /// Their face.
    Face,
    /// Their face and their PIN.
    FaceAndPin,
    /// Their number and their PIN.
    Pin,
}

impl Showing {
    /// Of a face that leaves nothing to doubt.
    fn shown(self) -> Shown {
        let face = Some(Doubts::default()).filter(|_| !matches!(self, Self::Pin));
        Shown { face, pin: !matches!(self, Self::Face) }
    }
}

#[derive(Args, Debug)]
struct AllowArgs {
    #[command(flatten)]
    rule: RuleArgs,
    /// What they must show: face, face-and-pin, or face-or-pin
    #[arg(long, value_name = "WHAT", default_value = "face")]
    with: With,
}

#[derive(Args, Debug)]
struct RuleArgs {
    /// A group, or `everybody`
    who: Who,
    #[command(flatten)]
    when: WhenArgs,
}

#[derive(Args, Debug)]
struct WhenArgs {
    /// Days of the week, such as mon-fri or sat,sun; a time over midnight belongs to the day it begins on
    #[arg(long)]
    days: Option<Days>,
    /// From this time of day, such as 07:00
    #[arg(long, value_name = "TIME")]
    from: Option<TimeOfDay>,
    /// Until this time of day, such as 19:00; of the next day when it is not after --from
    #[arg(long, value_name = "TIME")]
    until: Option<TimeOfDay>,
    /// On these dates only, such as 2026-12-01..2026-12-24
    #[arg(long)]
    dates: Option<Dates>,
    /// Not on holidays
    #[arg(long)]
    not_on_holidays: bool,
    /// On holidays only
    #[arg(long, conflicts_with = "not_on_holidays")]
    on_holidays_only: bool,
    /// Only once somebody of this group has come in within the same window
    #[arg(long, value_name = "GROUP")]
    after_first: Option<Who>,
    /// At this door only; may be given several times
    #[arg(long = "door", value_name = "NAME")]
    doors: Vec<String>,
}

impl WhenArgs {
    fn rule(self, effect: Effect, who: Who) -> Rule {
        let always = Schedule::ALWAYS;
        let holidays = match (self.not_on_holidays, self.on_holidays_only) {
            (true, _) => OnHolidays::Not,
            (_, true) => OnHolidays::Only,
            _ => OnHolidays::Too,
        };
        let when = Schedule {
            days: self.days.unwrap_or(always.days),
            from: self.from.unwrap_or(always.from),
            until: self.until.unwrap_or(always.until),
            dates: self.dates,
            holidays,
        };
        let doors = self.doors.into_iter().collect();
        Rule { effect, who, when, after_first: self.after_first, with: With::Face, doors }
    }
}

impl Policy {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let config = globals.load()?;
        let change = match self.order {
            Order::List { json } => return list(&Backend::to_read(&config)?.rule_book()?, json),
            Order::Why { name, at, show, door } => {
                return why(&config, &name, at.as_ref(), show.shown(), door.as_deref());
            }
            Order::Inside { json } => return inside(&Backend::to_read(&config)?.rule_book()?, json),
            Order::Forgive { name, .. } => Change::Forgive(name),
            Order::Passback { time, direction } => return passback(&config, time, direction),
            Order::Export => return export(&Backend::to_read(&config)?.rule_book()?),
            Order::Allow(AllowArgs { rule: RuleArgs { who, when }, with }) => {
                Change::AddRule(Rule { with, ..when.rule(Effect::Allow, who) })
            }
            Order::Deny(RuleArgs { who, when }) => Change::AddRule(when.rule(Effect::Deny, who)),
            Order::HoldOpen(when) => Change::AddRule(when.rule(Effect::HoldOpen, Who::Everybody)),
            Order::Remove { number } => Change::RemoveRule(RuleId(number)),
            Order::Zone { zone } => Change::Zone(Some(zone).filter(|zone| zone != "machine")),
            Order::Import { file } => Change::Import(read(&file)?),
        };
        let names: Vec<String> = places(&config).into_iter().map(|place| place.door).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if let Some(unknown) = change.unknown_door(&names) {
            return Err(unknown.into());
        }
        let mut backend = Backend::to_change(&config)?;
        backend.change_policy(change.clone())?;
        told(&change, &backend.rule_book()?)
    }
}

/// Sets one of the two, or both.
fn passback(
    config: &Config,
    time: Option<SignedDuration>,
    direction: Option<Direction>,
) -> anyhow::Result<Exit> {
    let seconds = |time: SignedDuration| {
        u32::try_from(time.as_secs()).map_err(|_| anyhow!("{time:#} cannot be waited for; give 0s or more"))
    };
    let time = time.map(seconds).transpose()?.map(Change::Passback);
    let changes: Vec<Change> = time.into_iter().chain(direction.map(Change::Direction)).collect();
    let mut backend = Backend::to_change(config)?;
    changes.into_iter().try_for_each(|change| backend.change_policy(change))?;
    let mut out = Output::new();
    if let Some(direction) = direction {
        out.line(direction)?;
        if direction != Direction::Off && !places(config).iter().any(|place| place.both_ways) {
            out.line("no area has doors that lead in and doors that lead out: it takes a [[door]] with side = \"out\"")?;
        }
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// Who was last seen to go in, by area and name.
fn inside(book: &RuleBook, json: bool) -> anyhow::Result<Exit> {
    let people = book.people.iter().flat_map(|row| row.passages.iter().map(move |seen| (row, seen)));
    let mut people: Vec<_> = people.filter(|(_, seen)| seen.inside).collect();
    people.sort_by(|(a, here), (b, there)| (&here.area, &a.name).cmp(&(&there.area, &b.name)));
    let mut out = Output::new();
    if json {
        let told = |(row, seen): &(&PersonRow, &Passage)| serde_json::json!({ "name": row.name, "area": seen.area, "since": seen.at });
        out.json(&people.iter().map(told).collect::<Vec<_>>())?;
    } else if people.is_empty() {
        out.line("nobody was seen to come in who has not left")?;
    } else {
        let mut table = output::table(["AREA", "NAME", "SINCE"]);
        for (row, seen) in &people {
            table.add_row([seen.area.clone(), row.name.clone(), output::local_time(seen.at)]);
        }
        out.table(&table)?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn read(file: &std::path::Path) -> anyhow::Result<Document> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let failed = || format!("{} is no rule book; `accessd policy export` shows one", file.display());
    toml::from_str(&text).with_context(failed)
}

/// Says what the book is now, where a change may surprise.
fn told(change: &Change, book: &RuleBook) -> anyhow::Result<Exit> {
    let mut out = Output::new();
    let allows = || book.rules.iter().filter(|numbered| numbered.rule.effect == Effect::Allow);
    if let (Change::AddRule(rule), Some(last)) = (change, book.rules.last()) {
        out.line(format_args!("rule {}: {rule}", last.id.0))?;
        let unlimited = |rule: &Rule| {
            let whenever = rule.when.is_always() && rule.after_first.is_none();
            rule.who == Who::Everybody && whenever && rule.doors.is_empty()
        };
        let wide = allows().find(|numbered| numbered.id != last.id && unlimited(&numbered.rule));
        if let (Effect::Allow, Some(wide)) = (rule.effect, wide) {
            let id = wide.id.0;
            out.line(format_args!(
                "rule {id} still lets everybody in always; to end that: accessd policy remove {id}"
            ))?;
        }
    }
    if allows().next().is_none() {
        out.line("no rule lets anybody in now; for example: accessd policy allow everybody")?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn list(book: &RuleBook, json: bool) -> anyhow::Result<Exit> {
    let mut out = Output::new();
    if json {
        out.json(book)?;
        out.flush()?;
        return Ok(Exit::Done);
    }
    for numbered in &book.rules {
        out.line(format_args!("rule {}: {}", numbered.id.0, numbered.rule))?;
    }
    if book.rules.is_empty() {
        out.line("no rules: nobody is let in")?;
    }
    if let Some(zone) = &book.zone {
        out.line(format_args!("times are those of {zone}"))?;
    }
    if book.passback_s > 0 {
        out.line(format_args!("nobody enters twice within {} s", book.passback_s))?;
    }
    if book.direction != Direction::Off {
        out.line(book.direction)?;
    }
    if book.lockdown {
        out.line("LOCKDOWN: nobody is let in")?;
    }
    let agreed: Vec<_> = book.people.iter().filter(|row| row.terms != PersonTerms::default()).collect();
    if !agreed.is_empty() {
        out.line("")?;
        let zone = check_zone(book.zone.as_deref())?;
        let mut table = output::table(["NAME", "AGREED"]);
        for row in agreed {
            table.add_row([row.name.clone(), row.terms.words(&zone)]);
        }
        out.table(&table)?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn export(book: &RuleBook) -> anyhow::Result<Exit> {
    let text = toml::to_string(&Document::from(book)).context("the rule book cannot be written as TOML")?;
    let mut out = Output::new();
    out.line(text.trim_end())?;
    out.flush()?;
    Ok(Exit::Done)
}

/// The door that is called so, as the rules see it.
fn which_place(config: &Config, door: Option<&str>) -> Result<Place, WhichDoor> {
    let mut places = places(config);
    let names: Vec<&str> = places.iter().map(|place| place.door.as_str()).collect();
    let at = which_door(&names, door)?;
    Ok(places.swap_remove(at))
}

fn why(
    config: &Config,
    name: &str,
    at: Option<&Written>,
    shown: Shown,
    door: Option<&str>,
) -> anyhow::Result<Exit> {
    let mut backend = Backend::to_read(config)?;
    let person = backend.person(name)?;
    let judge = Judge::new(backend.rule_book()?)?.with_risks(risks(config));
    let entries = judge.book().people.iter().filter_map(|row| {
        let wall = row.last_entry?;
        Some((row.id, Entry { wall, mono: None }))
    });
    let wall = at.map(|at| at.read(judge.zone())).transpose()?.unwrap_or_else(|| SystemClock.wall());
    let clock_trusted = at.is_some() || trust(config).holds(&SystemClock);
    // Only a running service has its encoder's figures at hand.
    let threshold_supported = backend.threshold_supported()?;
    let place = which_place(config, door)?;
    let now = Now { wall, mono: None, clock_trusted, threshold_supported, gate: Gate::Open, place: &place };
    let steps = judge.explain(person.id, shown, &entries.collect(), &now);
    let mut out = Output::new();
    let shown = wall.to_zoned_datetime(judge.zone().clone());
    let way =
        if config.has_several_doors() { format!(" {} at {}", place.side, place.door) } else { String::new() };
    out.line(format_args!("{}{way} on {}", person.name, shown.strftime("%a %Y-%m-%d %H:%M %Z")))?;
    if let Some(seen) = judge.passage(person.id, &place.area).filter(|_| place.both_ways) {
        let went = if seen.inside { "came in" } else { "left" };
        out.line(format_args!("  was last seen: {went} on {}", output::local_time(seen.at)))?;
    }
    let (lets, keeps) = match place.side {
        Side::In => ("IN", "OUT"),
        Side::Out => ("OUT", "IN"),
    };
    for step in &steps {
        let about = match step.subject {
            Subject::Rule(id) => judge.name_of(id),
            Subject::Enrolled => "enrolled".into(),
            Subject::Lockdown => "lockdown".into(),
            Subject::Attempts => "failed attempts".into(),
            Subject::Validity => "validity".into(),
            Subject::Entries => "entries left".into(),
            Subject::Passback => "anti-passback".into(),
            Subject::End => "no further rule".into(),
        };
        let says = match &step.says {
            Says::Passes => "nothing against it".to_owned(),
            Says::Silent(why) => format!("does not apply: {why}"),
            Says::Admits => format!("LETS THEM {lets}"),
            Says::Asks(why) => format!("asks for the PIN: {why}"),
            Says::Refuses(refusal @ Refusal::NeedsPin(..)) => {
                format!("WAITS FOR THE PIN: {}", judge.words(refusal))
            }
            Says::Refuses(refusal) => format!("KEEPS THEM {keeps}: {}", judge.words(refusal)),
        };
        out.line(format_args!("  {about}: {says}"))?;
    }
    out.flush()?;
    let admitted = steps.last().is_some_and(|step| step.says == Says::Admits);
    Ok(if admitted { Exit::Done } else { Exit::No })
}
