//! PURE. Who may enter, when: `(person, what happened before, rule book, now)` to a verdict that names its rule.
//!
//! Stands between `access`, which knows who is there, and `journal`, which writes an admission down before the door may
//! act on it. Only this room makes an [`Admitted`], and only an [`Admitted`] can be recorded, so nothing that was not
//! judged here opens the door. It reads no clock and no database: the book is a value, and so is the time.
//!
//! The order of judgement is fixed, and [`Policy::explain`] prints it: enrolled, lockdown, failed attempts, validity,
//! entries left, anti-passback, rules that deny, rules that allow. What no rule allows is refused. A rule allows with what it
//! asks for: a face, a face and a PIN, or either. At a door that leads out, only rules that name it count, and where none
//! does, whoever is enrolled may leave: nobody is to be kept inside by hours that are about coming in.

mod book;
mod factors;
mod judge;
mod passback;
mod place;
mod rule;
mod throttle;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::access::Grant;
use crate::clock::MonoTime;
use crate::gallery::PersonId;

pub use book::{
    Change, Document, Holiday, Limit, NumberedRule, PersonChange, PersonRow, PersonTerms, RuleBook,
};
pub use factors::{Doubts, OnRisk, Risks, Shown, Why, With};
pub use judge::{HoldOpen, Policy, PolicyError, Refusal, Says, Step, Subject, check_zone};
pub use passback::{Direction, DirectionError, Passage};
pub use place::{Place, Side, SideError, WhichDoor, same_name, which_door};
pub use rule::{Dates, Days, Effect, OnHolidays, Rule, RuleError, RuleId, Schedule, TimeOfDay, Who};
pub use throttle::{Gate, Patience, PinPatience, PinPause, PinThrottle, Throttle};

/// The time as a judgement sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Now<'a> {
    /// Calendar time.
    pub wall: Timestamp,
    /// Time since boot; `None` when the moment is a supposed one (`accessd policy why --at`).
    pub mono: Option<MonoTime>,
    /// Whether the calendar time is to be believed: kept by a battery, or synchronised since boot.
    pub clock_trusted: bool,
    /// Whether measurements show that the threshold keeps the rate that is wanted.
    pub threshold_supported: bool,
    /// Whether faces are looked at, after failed attempts.
    pub gate: Gate,
    /// At which door.
    pub place: &'a Place,
}

/// When somebody was let in last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// On the calendar.
    pub wall: Timestamp,
    /// On the monotonic clock, when it was since this boot: a calendar that is set meanwhile shortens no wait.
    pub mono: Option<MonoTime>,
}

impl Entry {
    /// How long ago it was; `None` when it lies ahead, which is a calendar that was set back and proves nothing.
    fn ago(&self, now: &Now<'_>) -> Option<Duration> {
        if let (Some(then), Some(now)) = (self.mono, now.mono) {
            return Some(now.since(then));
        }
        Duration::try_from(now.wall.duration_since(self.wall)).ok()
    }
}

/// Everybody's last entry.
pub type Entries = BTreeMap<PersonId, Entry>;

/// A grant that the policy has let through, with the rule that did. Its fields are private and only
/// [`Policy::admit`] makes one; the journal takes nothing else.
///
/// ```compile_fail,E0451
/// use accessd::access::Grant;
/// use accessd::policy::{Admitted, Side};
///
/// fn wave_through(grant: Grant) -> Admitted {
///     Admitted { grant, by: "me".into(), door: "mine".into(), side: Side::In }
/// }
/// ```
#[derive(Debug, PartialEq)]
#[must_use = "an admission that is dropped opens nothing"]
pub struct Admitted {
    grant: Grant,
    by: String,
    factors: Factors,
    under_duress: bool,
    door: String,
    side: Side,
}

/// What an admission rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Factors {
    /// A face.
    Face,
    /// A face and the person's PIN.
    FaceAndPin,
    /// The person's PIN.
    Pin,
}

impl Factors {
    fn of(shown: Shown) -> Self {
        match (shown.face, shown.pin) {
            (Some(_), false) => Self::Face,
            (Some(_), true) => Self::FaceAndPin,
            (None, _) => Self::Pin,
        }
    }

    /// For the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Face => "face",
            Self::FaceAndPin => "face and PIN",
            Self::Pin => "PIN",
        }
    }
}

/// A grant that is not admitted, with why.
#[derive(Debug, PartialEq)]
pub struct TurnedAway {
    /// Why.
    pub refusal: Refusal,
    /// The grant: it opens nothing, unless it is admitted after all, in its time.
    pub grant: Box<Grant>,
}

impl Admitted {
    /// The grant.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The rule that admits, as the journal names it: `rule 2: allow staff mon-fri 07:00-19:00`.
    pub fn by(&self) -> &str {
        &self.by
    }

    /// What it rests on.
    pub fn factors(&self) -> Factors {
        self.factors
    }

    /// Whether the PIN was the one that calls for help.
    pub fn under_duress(&self) -> bool {
        self.under_duress
    }

    /// Which door it is for.
    pub fn door(&self) -> &str {
        &self.door
    }

    /// Whether it is for coming in or for going out.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Back to the grant, for whoever has written it down.
    pub fn into_grant(self) -> Grant {
        self.grant
    }

    /// An admission for the tests of the rooms after this one.
    #[cfg(test)]
    pub(crate) fn for_tests(grant: Grant) -> Self {
        let by = "rule 1: allow everybody always".to_owned();
        let (door, side) = ("door".to_owned(), Side::In);
        Self { grant, by, factors: Factors::Face, under_duress: false, door, side }
    }
}

#[cfg(test)]
mod tests;
