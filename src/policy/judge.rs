//! The judgement itself: one walk over the book in a fixed order, which decides, and explains if somebody listens.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use super::book::{NumberedRule, PersonRow, PersonTerms, RuleBook, moment};
use super::factors::{self, Demand, Doubts, Risks, Shown, Why, With};
use super::passback::{self, Passage};
use super::place::{Place, Side, same_name};
use super::rule::{Effect, Rule, RuleId, Schedule, Who};
use super::{Admitted, Entries, Factors, Gate, Now, TurnedAway};
use crate::access::{Grant, PinProof};
use crate::gallery::PersonId;

/// A book that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "{zone:?} is no time zone of this machine; write an IANA name such as Europe/Berlin, and install tzdata"
)]
pub struct PolicyError {
    /// The name.
    pub zone: String,
    /// What was looked for in vain.
    #[source]
    pub source: jiff::Error,
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// They are not enrolled, or not any more.
    NotEnrolled,
    /// The door is in lockdown.
    Lockdown,
    /// After failed attempts no face opens the door for so long.
    Paused(Duration),
    /// After far too many none does before an operator says so.
    FaceOff,
    /// Their validity has not begun.
    NotYetValid(Timestamp),
    /// Their validity is over.
    Expired(Timestamp),
    /// They have used up their entries.
    NoEntriesLeft,
    /// They came in so long ago, and may again after so long.
    Passback {
        /// How long ago.
        ago: Duration,
        /// How long it must be.
        within: Duration,
    },
    /// They are inside, came in so long ago, and must leave before they come in again.
    IsInside {
        /// How long ago.
        ago: Duration,
    },
    /// They are outside, left so long ago, and must come in before they leave again.
    IsOutside {
        /// How long ago.
        ago: Duration,
    },
    /// A rule keeps them out.
    Denied(RuleId),
    /// A rule would let them in once somebody of a group has come in.
    WaitsForFirst(RuleId, Who),
    /// Whether a limit on time is kept cannot be told.
    ClockNotTrusted,
    /// No rule lets them in now.
    NoRule,
    /// This rule lets them in once they give their PIN.
    NeedsPin(RuleId, Why),
    /// This rule would let them in with their PIN, and they have none.
    NoPin(RuleId, Why),
    /// This rule would let them in with their face; a PIN alone does not do.
    NeedsFace(RuleId),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEnrolled => f.write_str("not enrolled"),
            Self::Lockdown => f.write_str("lockdown"),
            Self::Paused(left) => write!(f, "paused for {} s after failed attempts", left.as_secs()),
            Self::FaceOff => f.write_str("faces are off after failed attempts: accessd door face-on"),
            Self::NotYetValid(from) => write!(f, "not valid before {from}"),
            Self::Expired(until) => write!(f, "valid until {until}"),
            Self::NoEntriesLeft => f.write_str("no entries left"),
            Self::Passback { ago, within } => {
                write!(
                    f,
                    "anti-passback: came in {} s ago, again after {} s",
                    ago.as_secs(),
                    within.as_secs()
                )
            }
            Self::IsInside { ago } => {
                let ago = ago.as_secs();
                write!(
                    f,
                    "anti-passback: is inside since {ago} s, must leave first (or: accessd policy forgive)"
                )
            }
            Self::IsOutside { ago } => {
                let ago = ago.as_secs();
                write!(f, "anti-passback: left {ago} s ago, must come in first (or: accessd policy forgive)")
            }
            Self::Denied(rule) => write!(f, "rule {} denies", rule.0),
            Self::WaitsForFirst(rule, who) => write!(f, "rule {} waits for the first of {who}", rule.0),
            Self::ClockNotTrusted => f.write_str("the clock is not trusted, and a limit on time applies"),
            Self::NoRule => f.write_str("no rule lets them in now"),
            Self::NeedsPin(_, why) => write!(f, "the PIN is asked for: {why}"),
            Self::NoPin(_, why) => {
                write!(f, "a PIN is asked for and they have none (accessd pin set): {why}")
            }
            Self::NeedsFace(rule) => write!(f, "rule {} asks for the face, a PIN alone does not do", rule.0),
        }
    }
}

impl Refusal {
    /// Which of two is told at the end of the book: the one that a PIN would turn, else the later one.
    fn or(self, later: Self) -> Self {
        if matches!(self, Self::NeedsPin(..)) { self } else { later }
    }
}

/// What a step of the judgement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Whether they are enrolled.
    Enrolled,
    /// Lockdown.
    Lockdown,
    /// Failed attempts at the door.
    Attempts,
    /// Their validity.
    Validity,
    /// Their entries.
    Entries,
    /// Anti-passback.
    Passback,
    /// A rule.
    Rule(RuleId),
    /// The end of the book.
    End,
}

/// What a step says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// Nothing against it.
    Passes,
    /// The rule does not apply.
    Silent(&'static str),
    /// The rule lets them in, which decides.
    Admits,
    /// It keeps them out, which decides.
    Refuses(Refusal),
    /// It does not keep them out if they give their PIN.
    Asks(Why),
}

/// One step of the judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// About what.
    pub subject: Subject,
    /// What it says.
    pub says: Says,
}

/// Until when a rule holds the door open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldOpen {
    /// The rule.
    pub rule: RuleId,
    /// Its window began then; tells one day's window from the next.
    pub began: DateTime,
    /// How long it still lasts.
    pub left: Duration,
}

/// A rule book made ready for judging.
#[derive(Clone, Debug)]
pub struct Policy {
    book: RuleBook,
    zone: TimeZone,
    people: HashMap<PersonId, usize>,
    risks: Risks,
}

/// The zone of that name; the machine's for none.
///
/// # Errors
/// When it is unknown on this machine.
pub fn check_zone(name: Option<&str>) -> Result<TimeZone, PolicyError> {
    let Some(name) = name else { return Ok(TimeZone::system()) };
    TimeZone::get(name).map_err(|source| PolicyError { zone: name.to_owned(), source })
}

/// Whether a rule applies at a moment.
enum Applies {
    Yes,
    No(&'static str),
    /// Once the first of these has come in.
    AfterFirst(Who),
    /// Nobody can tell: the clock is not trusted.
    Unknown,
}

impl Policy {
    /// Makes a book ready.
    ///
    /// # Errors
    /// When its zone is unknown on this machine.
    pub fn new(book: RuleBook) -> Result<Self, PolicyError> {
        let zone = check_zone(book.zone.as_deref())?;
        let people = book.people.iter().enumerate().map(|(at, row)| (row.id, at)).collect();
        Ok(Self { book, zone, people, risks: Risks::default() })
    }

    /// With what doubts about a face lead to; without it they lead to nothing.
    pub fn with_risks(self, risks: Risks) -> Self {
        Self { risks, ..self }
    }

    /// The book.
    pub fn book(&self) -> &RuleBook {
        &self.book
    }

    /// The zone that times are meant in.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Whether they are enrolled.
    pub fn knows(&self, person: PersonId) -> bool {
        self.people.contains_key(&person)
    }

    /// A refusal as the journal tells it: with its rule in full.
    pub fn words(&self, refusal: &Refusal) -> String {
        match refusal {
            Refusal::Denied(rule) => self.name_of(*rule),
            Refusal::NeedsPin(rule, _) | Refusal::NoPin(rule, _) => {
                format!("{refusal}; {}", self.name_of(*rule))
            }
            Refusal::NeedsFace(rule) => {
                format!("a PIN alone does not do; {}", self.name_of(*rule))
            }
            Refusal::WaitsForFirst(rule, who) => {
                format!("{}; nobody of {who} has come in yet", self.name_of(*rule))
            }
            Refusal::NotYetValid(from) => format!("not valid before {}", moment(*from, &self.zone)),
            Refusal::Expired(until) => format!("valid until {}", moment(*until, &self.zone)),
            other => other.to_string(),
        }
    }

    /// Turns a grant into an admission, or says why not. A PIN counts when it is the grant's person's; a grant that rests
    /// on no looks shows no face.
    ///
    /// # Errors
    /// The refusal, with the grant: it may be admitted after all once the PIN has been typed.
    pub fn admit(
        &self,
        grant: Grant,
        pin: Option<&PinProof>,
        entries: &Entries,
        now: &Now<'_>,
    ) -> Result<Admitted, TurnedAway> {
        let pin = pin.filter(|pin| pin.person() == grant.person());
        let shown = Shown { face: grant.evidence().map(Doubts::of), pin: pin.is_some() };
        match self.decide(grant.person(), shown, entries, now) {
            Ok(rule) => {
                let Place { door, side, .. } = now.place;
                let (by, factors) = (self.name_of(rule), Factors::of(shown));
                let under_duress = pin.is_some_and(PinProof::under_duress);
                Ok(Admitted { grant, by, factors, under_duress, door: door.clone(), side: *side })
            }
            Err(refusal) => Err(TurnedAway { refusal, grant: Box::new(grant) }),
        }
    }

    /// Whether a person may enter now with what they have shown, and by which rule.
    ///
    /// # Errors
    /// Why they may not.
    pub fn decide(
        &self,
        person: PersonId,
        shown: Shown,
        entries: &Entries,
        now: &Now<'_>,
    ) -> Result<RuleId, Refusal> {
        self.walk(person, shown, entries, now, |_| {})
    }

    /// The steps of the same judgement, in order; the last one decides.
    pub fn explain(&self, person: PersonId, shown: Shown, entries: &Entries, now: &Now<'_>) -> Vec<Step> {
        let mut steps = Vec::new();
        // The last step says what the walk returns.
        let _ = self.walk(person, shown, entries, now, |step| steps.push(step));
        steps
    }

    /// A rule as the journal names it.
    pub fn name_of(&self, id: RuleId) -> String {
        if id == RuleId::WAY_OUT {
            return "the way out: whoever is enrolled may leave".to_owned();
        }
        let rule = self.book.rules.iter().find(|numbered| numbered.id == id);
        rule.map_or_else(|| format!("rule {}", id.0), |found| format!("rule {}: {}", id.0, found.rule))
    }

    /// Somebody has passed a door; or what was thought so is taken back.
    pub fn set_passage(&mut self, person: PersonId, area: &str, passage: Option<Passage>) {
        let Some(at) = self.people.get(&person) else { return };
        let passages = &mut self.book.people[*at].passages;
        passages.retain(|known| !same_name(&known.area, area));
        passages.extend(passage);
    }

    /// Where somebody was last seen to go, of one area.
    pub fn passage(&self, person: PersonId, area: &str) -> Option<&Passage> {
        self.book.people[*self.people.get(&person)?].passage(area)
    }

    /// Which rule holds the door open now, if any. None does in lockdown or while the clock is not trusted.
    pub fn hold_open(&self, entries: &Entries, now: &Now<'_>) -> Option<HoldOpen> {
        if self.book.lockdown || !now.clock_trusted {
            return None;
        }
        let shown = self.zone.to_datetime(now.wall);
        let rules = self.book.rules.iter().filter(|numbered| numbered.rule.effect == Effect::HoldOpen);
        rules
            .filter(|numbered| numbered.rule.doors.is_empty() || numbered.rule.names(now.place))
            .filter_map(|numbered| {
                let (began, ends) = self.window(&numbered.rule.when, shown)?;
                let first = numbered.rule.after_first.as_ref();
                if first.is_some_and(|who| !self.has_come_in(who, began, entries, now)) {
                    return None;
                }
                let left = self.zone.to_timestamp(ends).ok()?.duration_since(now.wall);
                Some(HoldOpen {
                    rule: numbered.id,
                    began,
                    left: Duration::try_from(left).unwrap_or_default(),
                })
            })
            .max_by_key(|hold| hold.left)
    }

    fn walk(
        &self,
        person: PersonId,
        shown: Shown,
        entries: &Entries,
        now: &Now<'_>,
        mut tell: impl FnMut(Step),
    ) -> Result<RuleId, Refusal> {
        let Some(row) = self.row(person) else {
            let says = Says::Refuses(Refusal::NotEnrolled);
            tell(Step { subject: Subject::Enrolled, says });
            return Err(Refusal::NotEnrolled);
        };
        tell(Step { subject: Subject::Enrolled, says: Says::Passes });
        // Time that is up, and entries that are used, keep nobody inside.
        let terms = &row.terms;
        let comes_in = now.place.side == Side::In;
        let no_entries = (comes_in && terms.entries_left == Some(0)).then_some(Refusal::NoEntriesLeft);
        let validity = outside_validity(terms, now).filter(|_| comes_in);
        let (within, entry) = (Duration::from_secs(self.book.passback_s.into()), entries.get(&person));
        let passback = passback::against(row, self.book.direction, within, entry, now);
        // Failed faces say nothing about who shows none; a PIN besides, typed or to be asked for, stands against them.
        let gate = at_the_gate(now.gate).filter(|_| shown.face.is_some());
        let pin_for_faces = row.has_pin.then_some(Why::FailedAttempts);
        let no_clock = self.risks.clock_asks && validity == Some(Refusal::ClockNotTrusted);
        let checks = [
            (Subject::Lockdown, self.book.lockdown.then_some(Refusal::Lockdown), None),
            (Subject::Attempts, gate, pin_for_faces),
            (Subject::Validity, validity, no_clock.then_some(Why::Clock)),
            (Subject::Entries, no_entries, None),
            (Subject::Passback, passback, None),
        ];
        let mut because = None;
        for (subject, refusal, instead) in checks {
            let says = match (&refusal, instead) {
                (None, _) => Says::Passes,
                (Some(_), Some(why)) => Says::Asks(why),
                (Some(refusal), None) => Says::Refuses(refusal.clone()),
            };
            tell(Step { subject, says });
            match (refusal, instead) {
                (None, _) => {}
                (Some(_), Some(why)) => because = because.or(Some(why)),
                (Some(refusal), None) => return Err(refusal),
            }
        }
        let demand = Demand {
            shown,
            has_pin: row.has_pin,
            risks: self.risks,
            supported: now.threshold_supported,
            because,
        };
        let demand = self.denials(terms, demand, entries, now, &mut tell)?;
        let is_named =
            |numbered: &NumberedRule| numbered.rule.effect == Effect::Allow && numbered.rule.names(now.place);
        if !comes_in && !self.book.rules.iter().any(is_named) {
            return leave(demand, &mut tell);
        }
        self.allowances(terms, demand, entries, now, &mut tell)
    }

    /// Whether a rule that nobody can hold against a clock asks for the PIN. Not when it waits for somebody: who came in
    /// within its window is not known then either.
    fn pin_instead_of_clock(&self, rule: &Rule) -> bool {
        self.risks.clock_asks && rule.after_first.is_none()
    }

    fn row(&self, person: PersonId) -> Option<&PersonRow> {
        self.people.get(&person).map(|at| &self.book.people[*at])
    }

    fn denials(
        &self,
        terms: &PersonTerms,
        demand: Demand,
        entries: &Entries,
        now: &Now<'_>,
        tell: &mut impl FnMut(Step),
    ) -> Result<Demand, Refusal> {
        let mut because = demand.because;
        for numbered in self.book.rules.iter().filter(|numbered| numbered.rule.effect == Effect::Deny) {
            let says = match self.applies(numbered, terms, entries, now) {
                Applies::Yes => Says::Refuses(Refusal::Denied(numbered.id)),
                Applies::Unknown if self.pin_instead_of_clock(&numbered.rule) => Says::Asks(Why::Clock),
                Applies::Unknown => Says::Refuses(Refusal::ClockNotTrusted),
                Applies::AfterFirst(_) => Says::Silent("its first person has not come in"),
                Applies::No(why) => Says::Silent(why),
            };
            tell(Step { subject: Subject::Rule(numbered.id), says: says.clone() });
            match says {
                Says::Refuses(refusal) => return Err(refusal),
                Says::Asks(why) => because = because.or(Some(why)),
                _ => {}
            }
        }
        Ok(Demand { because, ..demand })
    }

    /// The first rule that allows and whose factors were shown; else what comes nearest to it.
    fn allowances(
        &self,
        terms: &PersonTerms,
        demand: Demand,
        entries: &Entries,
        now: &Now<'_>,
        tell: &mut impl FnMut(Step),
    ) -> Result<RuleId, Refusal> {
        let mut end = Refusal::NoRule;
        for numbered in self.book.rules.iter().filter(|numbered| numbered.rule.effect == Effect::Allow) {
            let subject = Subject::Rule(numbered.id);
            let with = terms.with.unwrap_or(numbered.rule.with);
            let met = match self.applies(numbered, terms, entries, now) {
                Applies::Yes => Ok(demand.met(with)),
                Applies::Unknown if self.pin_instead_of_clock(&numbered.rule) => {
                    let because = demand.because.or(Some(Why::Clock));
                    Ok(Demand { because, ..demand }.met(with))
                }
                Applies::No(why) => Err(why),
                Applies::AfterFirst(who) => {
                    end = end.or(Refusal::WaitsForFirst(numbered.id, who));
                    Err("its first person has not come in")
                }
                Applies::Unknown => {
                    end = end.or(Refusal::ClockNotTrusted);
                    Err("the clock is not trusted")
                }
            };
            let says = match met {
                Ok(Ok(())) => {
                    tell(Step { subject, says: Says::Admits });
                    return Ok(numbered.id);
                }
                Ok(Err(missing)) => {
                    end = end.or(factors::refusal(numbered.id, missing));
                    Says::Silent("it asks for more than was shown")
                }
                Err(why) => Says::Silent(why),
            };
            tell(Step { subject, says });
        }
        tell(Step { subject: Subject::End, says: Says::Refuses(end.clone()) });
        Err(end)
    }

    fn applies(
        &self,
        numbered: &NumberedRule,
        terms: &PersonTerms,
        entries: &Entries,
        now: &Now<'_>,
    ) -> Applies {
        let rule = &numbered.rule;
        match (rule.doors.is_empty(), now.place.side) {
            (true, Side::Out) => return Applies::No("it is about coming in"),
            (false, _) if !rule.names(now.place) => return Applies::No("it is about another door"),
            _ => {}
        }
        if !terms.is_of(&rule.who) {
            return Applies::No("they are not of this group");
        }
        if rule.when.is_always() && rule.after_first.is_none() {
            return Applies::Yes;
        }
        if !now.clock_trusted {
            return Applies::Unknown;
        }
        let Some((began, _)) = self.window(&rule.when, self.zone.to_datetime(now.wall)) else {
            return Applies::No("not at this time");
        };
        match &rule.after_first {
            Some(who) if !self.has_come_in(who, began, entries, now) => Applies::AfterFirst(who.clone()),
            _ => Applies::Yes,
        }
    }

    fn window(&self, when: &Schedule, shown: DateTime) -> Option<(DateTime, DateTime)> {
        when.window(shown, |date: Date| self.book.holidays.iter().any(|holiday| holiday.has(date)))
    }

    /// Whether somebody of `who` has been let in since the clock on the wall showed `began`.
    fn has_come_in(&self, who: &Who, began: DateTime, entries: &Entries, now: &Now<'_>) -> bool {
        let recent = entries
            .iter()
            .filter(|(_, entry)| entry.wall <= now.wall && self.zone.to_datetime(entry.wall) >= began);
        let mut terms = recent.filter_map(|(id, _)| self.people.get(id));
        terms.any(|at| self.book.people[*at].terms.is_of(who))
    }
}

/// The way out, which no rule is about: a face or a PIN of theirs will do, and doubts about the face keep nobody inside.
fn leave(demand: Demand, tell: &mut impl FnMut(Step)) -> Result<RuleId, Refusal> {
    let subject = Subject::Rule(RuleId::WAY_OUT);
    let met = Demand { risks: Risks::default(), ..demand }.met(With::FaceOrPin);
    let refusal = met.err().map(|missing| factors::refusal(RuleId::WAY_OUT, missing));
    let says = refusal.clone().map_or(Says::Admits, Says::Refuses);
    tell(Step { subject, says });
    refusal.map_or(Ok(RuleId::WAY_OUT), Err)
}

fn at_the_gate(gate: Gate) -> Option<Refusal> {
    match gate {
        Gate::Open => None,
        Gate::Paused(left) => Some(Refusal::Paused(left)),
        Gate::Off => Some(Refusal::FaceOff),
    }
}

fn outside_validity(terms: &PersonTerms, now: &Now<'_>) -> Option<Refusal> {
    let limited = terms.valid_from.is_some() || terms.valid_until.is_some();
    if limited && !now.clock_trusted {
        return Some(Refusal::ClockNotTrusted);
    }
    let early = terms.valid_from.filter(|from| now.wall < *from).map(Refusal::NotYetValid);
    early.or_else(|| terms.valid_until.filter(|until| *until <= now.wall).map(Refusal::Expired))
}
