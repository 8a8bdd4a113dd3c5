//! A month at a made-up door, event by event: people of an office who come and go, strangers, a cleaner who is early, a
//! door that is wedged open, a camera that is unplugged. The same seed and end always give the same month. Nobody in it is
//! real, and no event of it happened.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde_json::{Value, json};

use crate::gallery::PersonId;
use crate::journal::{Event, EventKind, PersonRef};

/// Somebody of the made-up office.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colleague {
    /// Their name.
    pub name: &'static str,
    /// Their group.
    pub group: &'static str,
}

/// Everybody who works there, but for the one whom the clip shows.
pub const OFFICE: [Colleague; 22] = {
    const fn of(name: &'static str, group: &'static str) -> Colleague {
        Colleague { name, group }
    }
    [
        of("Ada Lovelace", "staff"),
        of("Alan Turing", "lab"),
        of("Barbara McClintock", "lab"),
        of("Carl Gauss", "staff"),
        of("Chien-Shiung Wu", "lab"),
        of("Dorothy Hodgkin", "lab"),
        of("Emmy Noether", "staff"),
        of("Florence Nightingale", "staff"),
        of("Grace Hopper", "lab"),
        of("Hedy Lamarr", "lab"),
        of("Henrietta Leavitt", "staff"),
        of("Ida Rhodes", "staff"),
        of("Jean Bartik", "staff"),
        of("Karen Jones", "cleaners"),
        of("Leonhard Euler", "staff"),
        of("Lise Meitner", "lab"),
        of("Maria Mitchell", "staff"),
        of("Mary Jackson", "lab"),
        of("Nettie Stevens", "lab"),
        of("Rosalind Franklin", "lab"),
        of("Sofia Kowalewskaja", "staff"),
        of("Vera Visitor", "visitors"),
    ]
};

/// The threshold, margin and limits of the made-up door.
const THRESHOLD: f64 = 0.506;
const MARGIN: f64 = 0.08;

/// An event with its time.
pub type Dated = (Timestamp, Event);

/// The events of so many days before `end`, in their order. `people` are those of [`OFFICE`] with their ids.
pub fn events(
    people: &[(Colleague, PersonId)],
    end: Timestamp,
    days: i64,
    zone: &TimeZone,
    seed: u64,
) -> Vec<Dated> {
    let mut month = Month { people, zone, dice: Dice::new(seed), events: Vec::new() };
    let today = end.to_zoned_datetime(zone.clone()).date();
    for ago in (0..=days).rev() {
        if let Ok(day) = today.checked_sub(ago.days()) {
            month.day(day, ago);
        }
    }
    let mut events = month.events;
    events.retain(|(at, _)| *at < end);
    events.sort_by_key(|(at, _)| *at);
    events
}

struct Month<'a> {
    people: &'a [(Colleague, PersonId)],
    zone: &'a TimeZone,
    dice: Dice,
    events: Vec<Dated>,
}

impl Month<'_> {
    fn day(&mut self, day: Date, ago: i64) {
        let free = matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
        if day.weekday() == Weekday::Monday {
            let at = self.at(day, 5.5);
            self.put(at, EventKind::Stop, json!({ "why": "SIGTERM" }));
            self.put(
                at + s(4),
                EventKind::Start,
                json!({ "version": env!("CARGO_PKG_VERSION"), "people": self.people.len() }),
            );
        }
        for n in 0..self.people.len() {
            self.person(day, n, free);
        }
        let strangers = if free { self.dice.below(2) } else { 2 + self.dice.below(5) };
        for _ in 0..strangers {
            let at = self.between(day, 8.0, 19.0);
            self.stranger(at);
        }
        if ago % 9 == 4 {
            let at = self.between(day, 9.0, 17.0);
            self.put(at, EventKind::Operator, json!({ "order": "unlock" })).actor =
                Some("console: ada".into());
            self.strike(at, "opened by console: ada", 6);
        }
        self.trouble(day, ago);
    }

    /// What does not happen every day.
    fn trouble(&mut self, day: Date, ago: i64) {
        match ago {
            23 => {
                let at = self.between(day, 11.0, 12.0);
                self.put(
                    at,
                    EventKind::CameraLost,
                    json!({ "what": "no picture for 2 s: v4l:0: No such device" }),
                );
                self.put(at + s(94), EventKind::CameraBack, json!({ "silent_ms": 94_000 }));
            }
            17 => {
                let at = self.between(day, 14.0, 15.0);
                self.put(at, EventKind::HeldOpen, json!({ "open_ms": 30_000 }));
                self.put(at + s(142), EventKind::DoorClosed, json!({ "open_ms": 172_000 }));
            }
            12 => {
                let at = self.between(day, 9.0, 10.0);
                let rule = json!({ "rule": "allow visitors always" });
                self.put(at, EventKind::Policy, rule).actor = Some("console: ada".into());
                let change = json!({ "name": "Vera Visitor", "change": "of visitors" });
                self.put(at + s(51), EventKind::Policy, change).actor = Some("console: grace".into());
            }
            8 => {
                let at = self.between(day, 21.0, 22.0);
                for n in 0..5 {
                    self.stranger(at + s(9 * n));
                }
                self.put(at + s(45), EventKind::Throttled, json!({ "attempts": 5, "pause_s": 30 }));
            }
            5 => {
                let at = self.between(day, 2.0, 3.0);
                self.put(at, EventKind::ForcedOpen, json!({}));
                self.put(at + s(7), EventKind::DoorClosed, json!({ "open_ms": 7_000 }));
            }
            3 => {
                let at = self.between(day, 16.0, 17.0);
                self.put(at, EventKind::Lockdown, json!({})).actor = Some("uid 1000 (ada)".into());
                self.put(at + s(312), EventKind::LockdownOver, json!({})).actor =
                    Some("uid 1000 (ada)".into());
            }
            _ => {}
        }
    }

    fn person(&mut self, day: Date, n: usize, free: bool) {
        let (colleague, _) = self.people[n];
        let comes = match colleague.group {
            "cleaners" => day.weekday() == Weekday::Tuesday,
            "visitors" => self.dice.below(9) == 0,
            "lab" => !free || self.dice.below(5) == 0,
            _ => !free,
        };
        if !comes || self.dice.below(12) == 0 {
            return;
        }
        let (early, late) = if colleague.group == "cleaners" { (17.4, 18.9) } else { (7.2, 9.8) };
        let came = self.between(day, early, late);
        if colleague.group == "cleaners" && came < self.at(day, 18.0) {
            let why = "no rule lets them in now";
            self.refuse_known(came, n, why);
            let later = self.between(day, 18.02, 18.4);
            self.grant(later, n, "rule 3: allow cleaners tue 18:00-22:00");
        } else {
            self.grant(came, n, "rule 2: allow staff mon-fri 07:00-19:00, not on holidays");
        }
        if self.dice.below(3) > 0 && colleague.group != "cleaners" {
            let lunch = self.between(day, 11.8, 13.0);
            self.leave(lunch);
            let minutes = 20 + self.dice.below(35) as i64;
            self.grant(
                lunch + s(60 * minutes),
                n,
                "rule 2: allow staff mon-fri 07:00-19:00, not on holidays",
            );
        }
        let home = self.between(day, 16.2, 18.9);
        self.leave(home);
    }

    fn grant(&mut self, at: Timestamp, n: usize, by: &str) {
        let (colleague, id) = self.people[n];
        let by = match colleague.group {
            "lab" => "rule 4: allow lab daily 06:00-23:00",
            "visitors" => "rule 5: allow visitors always",
            _ => by,
        };
        let score = self.dice.score(0.70, 0.07);
        let mut detail = self.evidence(colleague.name, id, score, self.people.len(), n, 3);
        detail["by"] = by.into();
        let event = self.put(at, EventKind::Grant, detail);
        event.person = Some(PersonRef { id, name: colleague.name.into() });
        self.strike(at, "granted", 5);
    }

    fn refuse_known(&mut self, at: Timestamp, n: usize, why: &str) {
        let (colleague, id) = self.people[n];
        let score = self.dice.score(0.68, 0.06);
        let mut detail = self.evidence(colleague.name, id, score, self.people.len(), n, 3);
        detail["reason"] = "policy".into();
        detail["why"] = why.into();
        let event = self.put(at, EventKind::Refusal, detail);
        event.person = Some(PersonRef { id, name: colleague.name.into() });
    }

    fn stranger(&mut self, at: Timestamp) {
        let n = self.dice.below(self.people.len() as u64) as usize;
        let (colleague, id) = self.people[n];
        let is_picture = self.dice.below(14) == 0;
        let score =
            if is_picture { self.dice.score(0.66, 0.04) } else { self.dice.score(0.24, 0.07).min(0.46) };
        let mut detail =
            self.evidence(colleague.name, id, score, self.people.len(), n, if is_picture { 4 } else { 0 });
        detail["reason"] = if is_picture { "not_live" } else { "unknown" }.into();
        if is_picture {
            let alive = 0.03 + self.dice.share() * 0.3;
            detail["live"] = json!({ "score": round(alive), "needed": 0.5 });
        }
        self.put(at, EventKind::Refusal, detail);
    }

    /// The figures of a decision, as `access` would write them.
    fn evidence(
        &mut self,
        name: &str,
        id: PersonId,
        score: f64,
        people: usize,
        n: usize,
        agreed: usize,
    ) -> Value {
        let other = (n + 1 + self.dice.below(people.max(2) as u64 - 1) as usize) % people.max(1);
        let (second, second_id) = self.people[other];
        let runner_up = self.dice.score(0.21, 0.05).min(score - 0.02);
        let alive = 0.86 + self.dice.share() * 0.13;
        let mut detail = json!({
            "track": 1 + self.dice.below(900),
            "seq": 1000 + self.dice.below(2_000_000),
            "frame_age_ms": 38 + self.dice.below(70),
            "best": { "person": id, "name": name, "score": round(score) },
            "runner_up": { "person": second_id, "name": second.name, "score": round(runner_up) },
            "frames_agreed": agreed,
            "frames_seen": 3 + self.dice.below(3),
            "rule": {
                "threshold": THRESHOLD, "margin": MARGIN, "frames_needed": 3, "frames_window": 5,
                "max_frame_age": { "secs": 0, "nanos": 500_000_000 },
                "regrant_after": { "secs": 10, "nanos": 0 },
            },
        });
        if agreed == 3 {
            detail["live"] = json!({ "score": round(alive), "needed": 0.5 });
        }
        detail
    }

    /// Out by the exit button.
    fn leave(&mut self, at: Timestamp) {
        self.put(at, EventKind::Rex, json!({}));
        self.strike(at, "exit button", 5);
    }

    /// The strike moves, somebody goes through, and it moves back.
    fn strike(&mut self, at: Timestamp, why: &str, for_s: i64) {
        let opened = at + SignedDuration::from_millis(700 + self.dice.below(900) as i64);
        let open_ms = 1_900 + self.dice.below(1_800);
        self.put(at + SignedDuration::from_millis(14), EventKind::Unlocked, json!({ "why": why }));
        self.put(opened, EventKind::DoorOpened, json!({}));
        let closed = opened + SignedDuration::from_millis(open_ms as i64);
        self.put(closed, EventKind::DoorClosed, json!({ "open_ms": open_ms }));
        let relocked = (at + s(for_s)).min(closed + SignedDuration::from_millis(20));
        self.put(relocked.max(closed), EventKind::Locked, json!({ "why": "the door was closed" }));
    }

    fn put(&mut self, at: Timestamp, kind: EventKind, detail: Value) -> &mut Event {
        self.events.push((at, Event::new(kind, detail)));
        &mut self.events.last_mut().expect("one was just put in").1
    }

    /// So many hours after midnight on the clock on the wall.
    fn at(&self, day: Date, hours: f64) -> Timestamp {
        let midnight = self.zone.to_timestamp(day.at(0, 0, 0, 0)).unwrap_or(Timestamp::UNIX_EPOCH);
        midnight + SignedDuration::from_millis((hours * 3_600_000.0) as i64)
    }

    fn between(&mut self, day: Date, from: f64, until: f64) -> Timestamp {
        let along = self.dice.share();
        self.at(day, from + (until - from) * along)
    }
}

fn s(seconds: i64) -> SignedDuration {
    SignedDuration::from_secs(seconds)
}

fn round(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}

/// Chance that can be repeated: SplitMix64 (Steele, Lea, Flood 2014).
pub struct Dice(u64);

impl Dice {
    /// The same seed gives the same chance.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// From 0 to 1.
    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A score around `middle`: nearly normal, from four throws.
    fn score(&mut self, middle: f64, spread: f64) -> f64 {
        let sum: f64 = (0..4).map(|_| self.share() - 0.5).sum();
        (middle + sum * spread * 1.73).clamp(0.02, 0.95)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Evidence;

    fn month() -> Vec<Dated> {
        let people: Vec<_> =
            OFFICE.iter().zip(1..).map(|(colleague, id)| (*colleague, PersonId(id))).collect();
        let end = "2026-11-24T15:00:00Z".parse().unwrap();
        events(&people, end, 30, &TimeZone::UTC, 7)
    }

    #[test]
    fn a_month_is_the_same_each_time_in_order_and_ends_where_it_should() {
        let one = month();
        assert_eq!(one, month());
        assert!(one.is_sorted_by_key(|(at, _)| *at));
        let end: Timestamp = "2026-11-24T15:00:00Z".parse().unwrap();
        assert!(one.iter().all(|(at, _)| *at < end));
        assert!((3_000..12_000).contains(&one.len()), "{}", one.len());
    }

    #[test]
    fn every_decision_has_the_figures_that_it_would_have() {
        let (mut grants, mut refusals) = (0, 0);
        for (_, event) in month() {
            if !matches!(event.kind, EventKind::Grant | EventKind::Refusal) {
                continue;
            }
            let evidence: Evidence = serde_json::from_value(event.detail.clone()).unwrap();
            let (best, second) = (evidence.best.unwrap().score.0, evidence.runner_up.unwrap().score.0);
            assert!(second < best);
            if event.kind == EventKind::Grant {
                grants += 1;
                assert!(
                    best >= evidence.rule.threshold.0 && best - second >= evidence.rule.margin,
                    "{event:?}"
                );
            } else if event.detail["reason"] == "unknown" {
                refusals += 1;
                assert!(best < evidence.rule.threshold.0, "{event:?}");
            }
        }
        assert!(grants > 500 && refusals > 50, "{grants}, {refusals}");
    }
}
