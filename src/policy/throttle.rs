//! Faces that fail one after the other make the door pause, and in the end stop looking.
//!
//! **Whom a stranger can lock out, and for how long.** A face counts once per track, and people who are known but may
//! not enter now do not count. A pause is 30 s at first, doubles with each further row of failures, and is five minutes at
//! most: that is how long somebody who makes faces at the camera can keep others out by it. Each minute takes one failure
//! away and whoever is let in takes all, so passers-by add up to nothing. Looking stops only after as many failures as
//! nobody makes by chance, and that is an alarm. Exit button and operator work all along.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::MonoTime;
use crate::gallery::PersonId;

/// The first pause.
const FIRST: Duration = Duration::from_secs(30);
/// The longest.
const LONGEST: Duration = Duration::from_secs(300);
/// After so long a failure is forgotten.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60);

/// Whether a face can open the door at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// It can.
    #[default]
    Open,
    /// Not for so long, after failed attempts.
    Paused(Duration),
    /// Not before an operator says so.
    Off,
}

/// How many failures are borne.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// So many make a pause; 0 never.
    pub attempts: u32,
    /// So many switch faces off; 0 never.
    pub face_off_after: u32,
}

/// The failed attempts at one door.
#[derive(Debug)]
pub struct Throttle {
    patience: Patience,
    failures: u32,
    forgiven: MonoTime,
    until: Option<MonoTime>,
    off: bool,
}

impl Throttle {
    /// None yet.
    pub fn new(patience: Patience) -> Self {
        Self { patience, failures: 0, forgiven: MonoTime::default(), until: None, off: false }
    }

    /// Whether a face can open the door at `now`.
    pub fn gate(&self, now: MonoTime) -> Gate {
        match self.until {
            _ if self.off => Gate::Off,
            Some(until) if now < until => Gate::Paused(until.since(now)),
            _ => Gate::Open,
        }
    }

    /// A face was nobody's. Says when that changes the gate.
    pub fn failed(&mut self, now: MonoTime) -> Option<Gate> {
        self.forgive(now);
        self.failures += 1;
        let Patience { attempts, face_off_after } = self.patience;
        if self.off {
            return None;
        }
        if face_off_after > 0 && self.failures >= face_off_after {
            self.off = true;
            return Some(Gate::Off);
        }
        if attempts == 0 || !self.failures.is_multiple_of(attempts) {
            return None;
        }
        let doublings = (self.failures / attempts - 1).min(8);
        let pause = (FIRST * (1 << doublings)).min(LONGEST);
        self.until = self.until.max(Some(now + pause));
        Some(Gate::Paused(pause))
    }

    /// Whether nothing is held against anybody at `now`.
    fn is_idle(&self, now: MonoTime) -> bool {
        let forgotten = now.since(self.forgiven) >= FORGIVEN_AFTER * (self.failures + 1);
        forgotten && self.until.is_none_or(|until| until <= now)
    }

    /// Somebody was let in, or an operator trusts faces again.
    pub fn clear(&mut self) {
        (self.failures, self.until, self.off) = (0, None, false);
    }

    fn forgive(&mut self, now: MonoTime) {
        if self.failures == 0 {
            self.forgiven = now;
            return;
        }
        let minutes = now.since(self.forgiven).as_secs() / FORGIVEN_AFTER.as_secs();
        let minutes = u32::try_from(minutes).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_sub(minutes);
        self.forgiven = if self.failures == 0 { now } else { self.forgiven + FORGIVEN_AFTER * minutes };
    }
}

/// How many wrong PINs are borne.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinPatience {
    /// So many make a pause.
    pub attempts: u32,
    /// So many of one person, with no right one in between, switch theirs off.
    pub off_after: u32,
}

/// Wrong PINs: counted for each person that one was typed for, at whichever door, and for each door.
///
/// **Whom a stranger can lock out, and for how long.** Faces are not touched by wrong PINs, nor PINs by failed faces: whoever
/// hammers one way in leaves the other. Pauses are those of [`Throttle`], five minutes at most, so the keypad is anybody's
/// again five minutes after a stranger has left it. A person's PIN goes off after [`PinPatience::off_after`] wrong ones,
/// which the pauses of the door alone stretch over more than half an hour, with an alarm at each; an operator switches it on
/// again, and faces work all along. That end is what bounds guessing: with a thousand PINs for each person, as the length
/// rule keeps it, fifty guesses at every single one find any with a chance of 5 % at most, whoever guesses for however long.
#[derive(Debug)]
pub struct PinThrottle {
    patience: PinPatience,
    doors: BTreeMap<usize, Throttle>,
    people: BTreeMap<PersonId, Throttle>,
}

/// What a wrong PIN has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinPause {
    /// No PIN is taken for so long.
    OfTheDoor(Duration),
    /// None of this person is.
    OfThePerson(Duration),
}

impl PinThrottle {
    /// Nothing typed yet.
    pub fn new(patience: PinPatience) -> Self {
        Self { patience, doors: BTreeMap::new(), people: BTreeMap::new() }
    }

    /// Whether a PIN of this person is looked at, at a door by its number. `wrong` is how many were typed for them since the last right one.
    pub fn gate(&self, door: usize, person: PersonId, wrong: u32, now: MonoTime) -> Gate {
        if wrong >= self.patience.off_after {
            return Gate::Off;
        }
        let gate = |throttle: Option<&Throttle>| throttle.map_or(Gate::Open, |found| found.gate(now));
        match (gate(self.doors.get(&door)), gate(self.people.get(&person))) {
            (Gate::Paused(door), Gate::Paused(person)) => Gate::Paused(door.max(person)),
            (Gate::Open, gate) | (gate, _) => gate,
        }
    }

    /// Whether this many wrong PINs are the end of patience.
    pub fn is_the_last(&self, wrong: u32) -> bool {
        wrong == self.patience.off_after
    }

    /// A wrong PIN was typed for this person, or for a number that is nobody's.
    pub fn failed(&mut self, door: usize, person: PersonId, now: MonoTime) -> Vec<PinPause> {
        self.people.retain(|_, theirs| !theirs.is_idle(now));
        let patience = self.patience.into();
        let new = || Throttle::new(patience);
        let of_door = self.doors.entry(door).or_insert_with(new).failed(now);
        let theirs = self.people.entry(person).or_insert_with(new).failed(now);
        let pauses = [pause(of_door).map(PinPause::OfTheDoor), pause(theirs).map(PinPause::OfThePerson)];
        pauses.into_iter().flatten().collect()
    }

    /// A right PIN of this person was typed.
    pub fn right(&mut self, door: usize, person: PersonId) {
        self.doors.remove(&door);
        self.people.remove(&person);
    }

    /// An operator wants this person's PIN to be taken.
    pub fn forgive(&mut self, person: PersonId) {
        self.people.remove(&person);
    }
}

impl From<PinPatience> for Patience {
    fn from(patience: PinPatience) -> Self {
        Self { attempts: patience.attempts, face_off_after: 0 }
    }
}

fn pause(gate: Option<Gate>) -> Option<Duration> {
    match gate {
        Some(Gate::Paused(pause)) => Some(pause),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> MonoTime {
        MonoTime::from_millis(s * 1000)
    }

    fn throttle() -> Throttle {
        Throttle::new(Patience { attempts: 5, face_off_after: 50 })
    }

    #[test]
    fn pauses_grow_to_five_minutes_and_fifty_failures_switch_faces_off() {
        let mut throttle = throttle();
        let pauses: Vec<Gate> = (0..49).filter_map(|_| throttle.failed(at(1000))).collect();
        let seconds = [30, 60, 120, 240, 300, 300, 300, 300, 300];
        assert_eq!(pauses, seconds.map(|s| Gate::Paused(Duration::from_secs(s))));
        assert_eq!(throttle.gate(at(1299)), Gate::Paused(Duration::from_secs(1)));
        assert_eq!(throttle.gate(at(1300)), Gate::Open);
        assert_eq!(throttle.failed(at(1000)), Some(Gate::Off));
        assert_eq!(throttle.gate(at(1_000_000)), Gate::Off);
        assert_eq!(throttle.failed(at(1000)), None, "said once");
        throttle.clear();
        assert_eq!(throttle.gate(at(1000)), Gate::Open);
    }

    #[test]
    fn passers_by_add_up_to_nothing() {
        let mut throttle = throttle();
        assert!((0..10_000).all(|n| throttle.failed(at(n * 60)).is_none()), "one a minute");
        let mut throttle = self::throttle();
        for round in 0..100 {
            assert!((0..4).all(|n| throttle.failed(at(round * 10 + n)).is_none()));
            throttle.clear();
        }
    }

    #[test]
    fn nothing_is_borne_for_ever_where_nothing_is_set() {
        let mut never = Throttle::new(Patience { attempts: 0, face_off_after: 0 });
        assert!((0..1000).all(|_| never.failed(at(5)).is_none()));
    }

    #[test]
    fn wrong_pins_pause_their_person_and_the_door_and_the_last_one_switches_off() {
        let mut pins = PinThrottle::new(PinPatience { attempts: 5, off_after: 50 });
        let (ada, bob, nobody) = (PersonId(1), PersonId(2), PersonId(99));
        let half = Duration::from_secs(30);
        assert!((0..4).all(|_| pins.failed(0, ada, at(100)).is_empty()));
        assert_eq!(pins.gate(0, ada, 4, at(100)), Gate::Open);
        // The fifth is typed for another: the door pauses, they do not.
        assert_eq!(pins.failed(0, nobody, at(100)), [PinPause::OfTheDoor(half)]);
        assert_eq!(pins.gate(0, bob, 0, at(100)), Gate::Paused(half));
        assert_eq!(pins.gate(0, bob, 0, at(130)), Gate::Open);
        assert_eq!(pins.failed(0, ada, at(130)), [PinPause::OfThePerson(half)]);
        assert_eq!(
            (pins.gate(0, ada, 5, at(131)), pins.gate(0, bob, 0, at(131))),
            (Gate::Paused(half - Duration::from_secs(1)), Gate::Open)
        );
        // A right one of another ends what is held against the door, not what is held against a person.
        pins.right(0, bob);
        assert_eq!(pins.gate(0, ada, 5, at(131)), Gate::Paused(half - Duration::from_secs(1)));
        assert_eq!((pins.gate(0, ada, 49, at(999)), pins.gate(0, ada, 50, at(999))), (Gate::Open, Gate::Off));
        assert!(pins.is_the_last(50) && !pins.is_the_last(49) && !pins.is_the_last(51));
        assert_eq!(pins.gate(0, bob, 0, at(131)), Gate::Open, "others are not touched");
    }

    #[test]
    fn numbers_that_are_nobodys_fill_no_memory() {
        let mut pins = PinThrottle::new(PinPatience { attempts: 5, off_after: 50 });
        for n in 0..10_000 {
            pins.failed(0, PersonId(n), at(300 * u64::try_from(n).unwrap()));
        }
        assert!(pins.people.len() < 10, "{}", pins.people.len());
    }

    /// What the length rule and the end of patience promise, driven as fast as the pauses let anybody.
    #[test]
    fn whoever_guesses_for_a_year_has_five_percent_at_most() {
        for people in [1_u32, 10, 100] {
            let space = 10_u64.pow(crate::access::pin::digits_needed(people as usize) as u32);
            let mut pins = PinThrottle::new(PinPatience { attempts: 5, off_after: 50 });
            let (mut now, mut wrong) = (0, vec![0_u32; people as usize]);
            let mut guesses = 0_u64;
            while now < 365 * 86_400 && wrong.iter().any(|wrong| *wrong < 50) {
                let open = (0..people as usize)
                    .find(|p| pins.gate(0, PersonId(*p as i64), wrong[*p], at(now)) == Gate::Open);
                let Some(person) = open else {
                    now += 30;
                    continue;
                };
                pins.failed(0, PersonId(person as i64), at(now));
                wrong[person] += 1;
                guesses += 1;
            }
            assert_eq!(guesses, 50 * u64::from(people), "then all are off");
            assert!(guesses * 20 <= space, "{people} people: {guesses} of {space}");
        }
    }
}
