//! A rule book as large as a firm's, made up, in which the longest way through is gone.

use std::collections::BTreeSet;
use std::hint::black_box;

use jiff::Timestamp;

use crate::gallery::PersonId;
use crate::policy::{
    Doubts, Effect, Entries, Entry, Gate, Holiday, Now, NumberedRule, OnHolidays, OnRisk, PersonRow,
    PersonTerms, Place, Policy, PolicyError, Refusal, Risks, Rule, RuleBook, RuleId, Schedule, Shown, Who,
    With,
};

/// People in the book.
pub(super) const PEOPLE: i64 = 10_000;
/// Rules in it.
pub(super) const RULES: i64 = 200;

/// A Monday at noon.
const NOON: &str = "2026-11-23T12:00:00Z";

/// Everything that a decision needs.
pub(super) struct Book {
    policy: Policy,
    entries: Entries,
    wall: Timestamp,
    place: Place,
    person: PersonId,
}

impl Book {
    /// Everybody is of every group and has a PIN; all rules have hours, and none lets anybody in at noon.
    pub(super) fn new() -> Result<Self, PolicyError> {
        let wall: Timestamp = NOON.parse().expect("a moment");
        let groups: Vec<String> = (0..RULES / 2).map(|n| format!("group{n}")).collect();
        let rules = (1..=RULES).map(|n| NumberedRule { id: RuleId(n), rule: rule(n, &groups) });
        let holidays = (1..=28).map(|day| Holiday {
            dates: format!("2026-02-{day:02}").parse().expect("a date"),
            name: "holiday".into(),
            yearly: true,
        });
        let person = |n| PersonRow {
            id: PersonId(n),
            name: format!("person {n}"),
            terms: PersonTerms { groups: groups.iter().cloned().collect(), ..PersonTerms::default() },
            last_entry: Some(wall),
            passages: Vec::new(),
            forgiven: None,
            has_pin: true,
        };
        let book = RuleBook {
            zone: Some("Europe/Berlin".into()),
            rules: rules.collect(),
            holidays: holidays.collect(),
            people: (1..=PEOPLE).map(person).collect(),
            ..RuleBook::default()
        };
        let risks = Risks {
            look_alike: OnRisk::Pin,
            liveness: OnRisk::Pin,
            threshold: OnRisk::Pin,
            clock_asks: false,
        };
        Ok(Self {
            policy: Policy::new(book)?.with_risks(risks),
            entries: (1..=PEOPLE).map(|n| (PersonId(n), Entry { wall, mono: None })).collect(),
            wall,
            place: Place { door: "door".into(), ..Place::default() },
            person: PersonId(PEOPLE / 2),
        })
    }

    /// One decision.
    pub(super) fn decide(&self) -> Result<RuleId, Refusal> {
        let shown = Shown { face: Some(Doubts { look_alike: true, unproven: true }), pin: true };
        let now = Now {
            wall: self.wall,
            mono: None,
            clock_trusted: true,
            threshold_supported: true,
            gate: Gate::Open,
            place: &self.place,
        };
        self.policy.decide(black_box(self.person), black_box(shown), &self.entries, &now)
    }
}

fn rule(n: i64, groups: &[String]) -> Rule {
    let group = usize::try_from(n).unwrap_or_default() % groups.len();
    let when = Schedule {
        from: "22:00".parse().expect("a time"),
        until: "06:00".parse().expect("a time"),
        holidays: OnHolidays::Not,
        ..Schedule::ALWAYS
    };
    let effect = if n % 4 == 0 { Effect::Deny } else { Effect::Allow };
    let with = if effect == Effect::Allow { With::FaceAndPin } else { With::Face };
    Rule {
        effect,
        who: Who::Group(groups[group].clone()),
        when,
        after_first: None,
        with,
        doors: BTreeSet::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_book_is_gone_through() {
        assert_eq!(Book::new().unwrap().decide(), Err(Refusal::NoRule));
    }
}
