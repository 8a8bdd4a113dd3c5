//! One rule: what it does, for whom, and when, as the clock on the wall shows it in the door's zone.
//!
//! **A rule counts by what the clock on the wall shows.** Where clocks go forward, an hour that does not exist lets
//! nobody in; where they go back, the hour that comes twice counts twice. Whoever stands at the door can check the rule
//! against a watch.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Weekday};
use serde::{Deserialize, Serialize};

use super::factors::With;
use super::place::{Place, same_name};

/// A text that is no part of a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} {what}")]
pub struct RuleError {
    /// What was written.
    pub text: String,
    /// Why it does not serve, and what does.
    pub what: &'static str,
}

pub(super) fn wrong(text: &str, what: &'static str) -> RuleError {
    RuleError { text: text.to_owned(), what }
}

/// Serde by way of the text that people write.
macro_rules! as_text {
    ($($what:ty),+) => {$(
        impl TryFrom<String> for $what {
            type Error = RuleError;
            fn try_from(text: String) -> Result<Self, RuleError> {
                text.parse()
            }
        }
        impl From<$what> for String {
            fn from(value: $what) -> Self {
                value.to_string()
            }
        }
    )+};
}
as_text!(Days, TimeOfDay, Dates, Who);

/// Number of a rule; never used again after its removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleId(pub i64);

impl RuleId {
    /// What stands in for a rule at a door that leads out and that no rule names: whoever is enrolled may leave. Numbers of
    /// rules count from 1.
    pub const WAY_OUT: Self = Self(0);
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Lets them in.
    Allow,
    /// Keeps them out, whatever else allows them.
    Deny,
    /// Keeps the door unlocked for everybody.
    HoldOpen,
}

/// Whom a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Who {
    /// Everybody enrolled.
    Everybody,
    /// The members of a group.
    Group(String),
}

impl FromStr for Who {
    type Err = RuleError;
    fn from_str(text: &str) -> Result<Self, RuleError> {
        let group = text.trim().to_lowercase();
        let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_');
        match group.as_str() {
            "everybody" => Ok(Self::Everybody),
            _ if group.is_empty() || group.chars().count() > 32 || !group.chars().all(fits) => Err(wrong(
                text,
                "cannot be a group: letters, digits, `-` and `_`, 32 at most; or `everybody`",
            )),
            _ => Ok(Self::Group(group)),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("everybody"),
            Self::Group(group) => f.write_str(group),
        }
    }
}

/// Days of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Days(u8);

const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Days {
    /// All seven.
    pub const ALL: Self = Self(0b111_1111);

    /// Whether `day` is one of them.
    pub fn has(self, day: Weekday) -> bool {
        self.0 & (1 << day.to_monday_zero_offset()) != 0
    }
}

impl FromStr for Days {
    type Err = RuleError;
    /// `daily`, `mon-fri`, `sat,sun`, `fri-mon`.
    fn from_str(text: &str) -> Result<Self, RuleError> {
        const WHAT: &str = "is no day of the week; write for example `mon-fri`, `tue` or `mon,wed-thu`";
        let lower = text.trim().to_lowercase();
        if lower == "daily" {
            return Ok(Self::ALL);
        }
        let day = |name: &str| NAMES.iter().position(|n| *n == name.trim()).ok_or(wrong(text, WHAT));
        let mut days = 0;
        for part in lower.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (day(first)?, day(last)?);
            let length = (last + 7 - first) % 7;
            (0..=length).for_each(|after| days |= 1 << ((first + after) % 7));
        }
        Ok(Self(days))
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("daily");
        }
        let has = |day: usize| day < 7 && self.0 & (1 << day) != 0;
        let (mut day, mut before) = (0, "");
        while day < 7 {
            let last = (day..).take_while(|d| has(*d)).last();
            if let Some(last) = last {
                match last - day {
                    0 => write!(f, "{before}{}", NAMES[day])?,
                    _ => write!(f, "{before}{}-{}", NAMES[day], NAMES[last])?,
                }
                before = ",";
            }
            day = last.map_or(day + 1, |last| last + 1);
        }
        Ok(())
    }
}

/// A time of day to the minute, `00:00` to `24:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// Where a day begins.
    pub const MIDNIGHT: Self = Self(0);
    /// Where it ends.
    pub const END: Self = Self(24 * 60);

    /// The moment on `date`, on the next one for `24:00`; `None` at the end of the calendar.
    fn on(self, date: Date) -> Option<DateTime> {
        let (hour, minute) = (i8::try_from(self.0 / 60).ok()?, i8::try_from(self.0 % 60).ok()?);
        if self == Self::END {
            return Some(date.tomorrow().ok()?.at(0, 0, 0, 0));
        }
        Some(date.at(hour, minute, 0, 0))
    }
}

impl FromStr for TimeOfDay {
    type Err = RuleError;
    fn from_str(text: &str) -> Result<Self, RuleError> {
        let error = || wrong(text, "is no time of day; write for example `07:00`, `7:30` or `24:00`");
        let (hour, minute) = text.trim().split_once(':').ok_or_else(error)?;
        let digits = |part: &str, most: usize| {
            let fits = (1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            fits.then(|| part.parse::<u16>().ok()).flatten().ok_or_else(error)
        };
        let (hour, minute) = (digits(hour, 2)?, digits(minute, 2)?);
        let minutes = hour * 60 + minute;
        if minute > 59 || minutes > Self::END.0 { Err(error()) } else { Ok(Self(minutes)) }
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

/// A stretch of dates, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Dates {
    first: Date,
    last: Date,
}

impl Dates {
    /// From `first` to `last`; `None` when they are the wrong way round.
    pub fn new(first: Date, last: Date) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// The first of them.
    pub fn first(self) -> Date {
        self.first
    }

    /// Whether `date` is one of them.
    pub fn has(self, date: Date) -> bool {
        self.first <= date && date <= self.last
    }

    /// Whether `date` falls on one of them in any year. 29 February does in leap years alone.
    pub fn has_in_any_year(self, date: Date) -> bool {
        let key = |date: Date| (date.month(), date.day());
        let (first, last, date) = (key(self.first), key(self.last), key(date));
        if self.last.year() > self.first.year() && first > last {
            return first <= date || date <= last;
        }
        first <= date && date <= last
    }
}

impl FromStr for Dates {
    type Err = RuleError;
    /// `2026-12-24` or `2026-12-24..2027-01-01`.
    fn from_str(text: &str) -> Result<Self, RuleError> {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let date = |part: &str| {
            let what = "is no date; write `2026-12-24` or `2026-12-24..2027-01-01`";
            part.trim().parse::<Date>().map_err(|_| wrong(text, what))
        };
        let (first, last) = (date(first)?, date(last)?);
        Self::new(first, last).ok_or(wrong(text, "ends before it begins"))
    }
}

impl fmt::Display for Dates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}..{}", self.first, self.last),
        }
    }
}

/// What holidays do to a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnHolidays {
    /// It counts on them too.
    #[default]
    Too,
    /// It does not count on them.
    Not,
    /// It counts on them alone.
    Only,
}

/// When a rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// On which days of the week; a window over midnight belongs to the day it begins on.
    pub days: Days,
    /// From this minute.
    pub from: TimeOfDay,
    /// Until before this minute; of the next day when it is not after `from`.
    pub until: TimeOfDay,
    /// On these dates only.
    pub dates: Option<Dates>,
    /// What holidays do to it.
    pub holidays: OnHolidays,
}

impl Default for Schedule {
    fn default() -> Self {
        Self::ALWAYS
    }
}

impl Schedule {
    /// At any time.
    pub const ALWAYS: Self = Self {
        days: Days::ALL,
        from: TimeOfDay::MIDNIGHT,
        until: TimeOfDay::END,
        dates: None,
        holidays: OnHolidays::Too,
    };

    /// Whether it does without a calendar.
    pub fn is_always(&self) -> bool {
        *self == Self::ALWAYS
    }

    /// The window that `shown`, what the clock on the wall shows, falls into: where it began and where it ends.
    pub fn window(&self, shown: DateTime, is_holiday: impl Fn(Date) -> bool) -> Option<(DateTime, DateTime)> {
        let today = shown.date();
        let overnight = self.until <= self.from;
        let candidates = [Some(today), today.yesterday().ok().filter(|_| overnight)];
        candidates.into_iter().flatten().filter(|day| self.counts_on(*day, &is_holiday)).find_map(|day| {
            let begins = self.from.on(day)?;
            let ends = self.until.on(if overnight { day.tomorrow().ok()? } else { day })?;
            (begins <= shown && shown < ends).then_some((begins, ends))
        })
    }

    fn counts_on(&self, day: Date, is_holiday: impl Fn(Date) -> bool) -> bool {
        self.days.has(day.weekday())
            && self.dates.is_none_or(|dates| dates.has(day))
            && match self.holidays {
                OnHolidays::Too => true,
                OnHolidays::Not => !is_holiday(day),
                OnHolidays::Only => is_holiday(day),
            }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_always() {
            return f.write_str("always");
        }
        write!(f, "{} {}-{}", self.days, self.from, self.until)?;
        if let Some(dates) = self.dates {
            write!(f, " on {dates}")?;
        }
        match self.holidays {
            OnHolidays::Too => Ok(()),
            OnHolidays::Not => f.write_str(", not on holidays"),
            OnHolidays::Only => f.write_str(", on holidays only"),
        }
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Rule {
    /// What it does.
    pub effect: Effect,
    /// For whom; for a door that is held open it is `everybody`.
    pub who: Who,
    /// When.
    pub when: Schedule,
    /// Only once a member of this group has been let in within the present window.
    pub after_first: Option<Who>,
    /// What they must show; of rules that allow.
    pub with: With,
    /// At these doors; at all of them when none is named.
    pub doors: BTreeSet<String>,
}

impl Rule {
    /// Whether it names this door.
    pub fn names(&self, place: &Place) -> bool {
        self.doors.iter().any(|door| place.is_called(door))
    }

    /// The doors that it names and that are not there.
    pub fn unknown_doors<'a>(&'a self, there: &'a [&str]) -> impl Iterator<Item = &'a str> {
        let is_there = |door: &str| there.iter().any(|known| same_name(known, door));
        self.doors.iter().map(String::as_str).filter(move |door| !is_there(door))
    }
}

/// A rule as it is written: what goes without saying is left out, and a misspelt key is refused.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    effect: Effect,
    #[serde(default = "everybody")]
    who: Who,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    days: Option<Days>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<TimeOfDay>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<TimeOfDay>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dates: Option<Dates>,
    #[serde(default)]
    holidays: OnHolidays,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after_first: Option<Who>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    with: Option<With>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    doors: BTreeSet<String>,
}

fn everybody() -> Who {
    Who::Everybody
}

impl TryFrom<Written> for Rule {
    type Error = RuleError;
    fn try_from(written: Written) -> Result<Self, RuleError> {
        let Written { effect, who, days, from, until, dates, holidays, after_first, with, doors } = written;
        let with = with.unwrap_or_default();
        if effect != Effect::Allow && with != With::Face {
            return Err(wrong(&with.to_string(), "is asked by rules that allow, and by no others"));
        }
        let always = Schedule::ALWAYS;
        let when = Schedule {
            days: days.unwrap_or(always.days),
            from: from.unwrap_or(always.from),
            until: until.unwrap_or(always.until),
            dates,
            holidays,
        };
        Ok(Self { effect, who, when, after_first, with, doors })
    }
}

impl From<Rule> for Written {
    fn from(rule: Rule) -> Self {
        let Schedule { days, from, until, dates, holidays } = rule.when;
        let always = Schedule::ALWAYS;
        Self {
            effect: rule.effect,
            who: rule.who,
            days: Some(days).filter(|days| *days != always.days),
            from: Some(from).filter(|from| *from != always.from),
            until: Some(until).filter(|until| *until != always.until),
            dates,
            holidays,
            after_first: rule.after_first,
            with: Some(rule.with).filter(|with| *with != With::Face),
            doors: rule.doors,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.effect {
            Effect::Allow => write!(f, "allow {} {}", self.who, self.when)?,
            Effect::Deny => write!(f, "deny {} {}", self.who, self.when)?,
            Effect::HoldOpen => write!(f, "hold open {}", self.when)?,
        }
        if let Some(who) = &self.after_first {
            write!(f, ", once {who} came in")?;
        }
        if self.with != With::Face {
            write!(f, ", with {}", self.with)?;
        }
        let doors: Vec<&str> = self.doors.iter().map(String::as_str).collect();
        if doors.is_empty() { Ok(()) } else { write!(f, ", at {}", doors.join(" and ")) }
    }
}
