//! PURE. What lamps and buzzer show to the person at the door.
//!
//! | lamp      | is on                                                                     |
//! |-----------|---------------------------------------------------------------------------|
//! | `Granted` | while the strike is unlocked                                              |
//! | `Refused` | for 2 s after a face was refused, unless the strike is unlocked           |
//! | `Look`    | while a face is in view that is not decided on: look at the camera; it blinks when there is something else to do |
//! | `Left`, `Right` | while the person is asked to turn the head to that side; both: to close the eyes |
//! | `Fault`   | while something is wrong: the camera, an input, a door held or forced open |
//! | `Pin`     | while the door waits for somebody's PIN                                   |
//!
//! A call for help under duress is not among what is wrong: no lamp shows it.

use std::time::Duration;

use crate::clock::MonoTime;
use crate::liveness::challenge::{Step, Tell};

/// How long a refusal is shown.
const REFUSED_FOR: Duration = Duration::from_secs(2);

/// A blink is on for so long, and off for as long.
const BLINK: Duration = Duration::from_millis(300);

/// From the last blink of a word to the first of the next.
const PAUSE: Duration = Duration::from_millis(900);

/// A face seen so lately is in view.
const SEEN_FOR: Duration = Duration::from_millis(1500);

/// What is asked of a person is shown for so long at most.
const ASKED_FOR: Duration = Duration::from_secs(60);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lamp {
    /// Come in.
    Granted,
    /// Not you.
    Refused,
    /// Look at the camera.
    Look,
    /// Turn your head to your left.
    Left,
    /// Turn your head to your right.
    Right,
    /// Something is wrong with the door.
    Fault,
    /// Enter your PIN.
    Pin,
}

impl Lamp {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Granted, Self::Refused, Self::Look, Self::Left, Self::Right, Self::Fault, Self::Pin];

    /// For messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Refused => "refused",
            Self::Look => "look",
            Self::Left => "left",
            Self::Right => "right",
            Self::Fault => "fault",
            Self::Pin => "pin",
        }
    }
}

/// What was seen lately.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lamps {
    refused: Option<MonoTime>,
    seen: Option<MonoTime>,
    waits: Waits,
    asked: Option<(Step, MonoTime)>,
    /// How often the lamp `Look` blinks before each pause.
    blinks: Option<u32>,
}

/// What the door waits for from somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Waits {
    /// For nothing.
    #[default]
    Nothing,
    /// For a PIN.
    Pin,
    /// For a face, after a PIN.
    Face,
}

impl Lamps {
    /// A face was refused.
    pub fn refused(&mut self, now: MonoTime) {
        self.refused = Some(now);
    }

    /// A face is in view.
    pub fn seen(&mut self, now: MonoTime) {
        self.seen = Some(now);
    }

    /// The door waits for this now.
    pub fn waits(&mut self, waits: Waits) {
        self.waits = waits;
    }

    /// The person is told something by a challenge.
    pub fn told(&mut self, what: Tell, now: MonoTime) {
        self.asked = match what {
            Tell::Do(step) => Some((step, now)),
            Tell::Face | Tell::Done => None,
        };
    }

    /// What `Look` says: so many blinks and a pause, again and again, or `None` for a steady light.
    pub fn advise(&mut self, blinks: Option<u32>) {
        self.blinks = blinks;
    }

    /// Whether `Look` is lit at this moment of its pattern.
    fn is_lit(&self, now: MonoTime) -> bool {
        let Some(blinks) = self.blinks else { return true };
        let half = BLINK.as_millis();
        let round = u128::from(2 * blinks) * half + PAUSE.as_millis();
        let at = now.since(MonoTime::default()).as_millis() % round;
        at < u128::from(2 * blinks) * half && (at / half).is_multiple_of(2)
    }

    /// Whether `lamp` is on.
    pub fn is_on(&self, lamp: Lamp, unlocked: bool, fault: bool, now: MonoTime) -> bool {
        let lately = |then: Option<MonoTime>, time: Duration| then.is_some_and(|then| now.since(then) < time);
        let refused = lately(self.refused, REFUSED_FOR);
        let asked = self.asked.filter(|&(_, then)| now.since(then) < ASKED_FOR && !refused && !unlocked);
        let asked = asked.map(|(step, _)| step);
        match lamp {
            Lamp::Granted => unlocked,
            Lamp::Refused => refused && !unlocked,
            Lamp::Look => {
                let seen = lately(self.seen, SEEN_FOR) && self.waits == Waits::Nothing;
                (seen || self.waits == Waits::Face)
                    && !refused
                    && !unlocked
                    && asked.is_none()
                    && self.is_lit(now)
            }
            Lamp::Left => matches!(asked, Some(Step::Left | Step::Blink)),
            Lamp::Right => matches!(asked, Some(Step::Right | Step::Blink)),
            Lamp::Fault => fault,
            Lamp::Pin => self.waits == Waits::Pin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_millis(ms)
    }

    /// The first letters of the lamps that are on.
    fn on(lamps: &Lamps, unlocked: bool, fault: bool, ms: u64) -> String {
        let on = Lamp::ALL.into_iter().filter(|lamp| lamps.is_on(*lamp, unlocked, fault, at(ms)));
        on.map(|lamp| lamp.as_str().chars().next().unwrap()).collect()
    }

    #[test]
    fn a_person_is_asked_to_look_and_then_told_yes_or_no() {
        let mut lamps = Lamps::default();
        assert_eq!(on(&lamps, false, false, 0), "");
        lamps.seen(at(1_000));
        assert_eq!(on(&lamps, false, false, 1_000), "l");
        assert_eq!(on(&lamps, true, false, 1_100), "g");
        lamps.refused(at(1_200));
        assert_eq!(on(&lamps, false, false, 1_200), "r");
        assert_eq!(on(&lamps, false, false, 3_199), "r");
        assert_eq!(on(&lamps, false, false, 3_200), "");
        assert_eq!(on(&lamps, true, true, 1_300), "gf");
    }

    #[test]
    fn a_person_is_asked_for_what_is_missing() {
        let mut lamps = Lamps::default();
        lamps.seen(at(0));
        lamps.waits(Waits::Pin);
        assert_eq!(on(&lamps, false, false, 100), "p", "not to look, which they have done");
        lamps.waits(Waits::Face);
        assert_eq!(on(&lamps, false, false, 9_000), "l");
        lamps.waits(Waits::Nothing);
        assert_eq!(on(&lamps, false, false, 9_000), "");
    }

    #[test]
    fn who_is_asked_to_turn_sees_to_which_side_until_it_is_done_or_refused() {
        for (step, left, right) in
            [(Step::Left, true, false), (Step::Right, false, true), (Step::Blink, true, true)]
        {
            let mut lamps = Lamps::default();
            lamps.seen(at(0));
            lamps.told(Tell::Do(step), at(0));
            let sides = |lamps: &Lamps, unlocked, ms| {
                [Lamp::Left, Lamp::Right, Lamp::Look].map(|l| lamps.is_on(l, unlocked, false, at(ms)))
            };
            assert_eq!(sides(&lamps, false, 10), [left, right, false], "{step:?}");
            assert_eq!(sides(&lamps, true, 10), [false; 3], "{step:?}");
            lamps.told(Tell::Face, at(20));
            assert_eq!(sides(&lamps, false, 20), [false, false, true], "{step:?}");
            lamps.told(Tell::Do(step), at(30));
            lamps.refused(at(40));
            assert_eq!(sides(&lamps, false, 50), [false; 3], "{step:?}");
        }
    }

    #[test]
    fn advice_is_so_many_blinks_and_a_pause() {
        let mut lamps = Lamps::default();
        lamps.advise(Some(2));
        // One letter each 100 ms, over two rounds of 2.1 s.
        let shown: String = (0..42)
            .map(|i| {
                lamps.seen(at(100 * i));
                if lamps.is_on(Lamp::Look, false, false, at(100 * i)) { '#' } else { '.' }
            })
            .collect();
        assert_eq!(shown, "###...###............".repeat(2));
        assert_eq!(on(&lamps, true, false, 4_100), "g", "who is let in needs no advice");
        lamps.advise(None);
        assert!((0..30).all(|i| on(&lamps, false, false, 4_100 + 10 * i) == "l"), "steady");
    }

    #[test]
    fn who_walks_away_is_not_asked_any_more() {
        let mut lamps = Lamps::default();
        lamps.seen(at(0));
        assert_eq!(
            (on(&lamps, false, false, 1_499), on(&lamps, false, true, 1_500)),
            ("l".into(), "f".into())
        );
    }
}
