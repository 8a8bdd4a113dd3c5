//! Faces that fail one after the other make the door pause, and in the end stop looking.
//!
//! **Whom a stranger can lock out, and for how long.** A face counts once per track, and people who are known but may
//! not enter now do not count. A pause is 30 s at first, doubles with each further row of failures, and is five minutes at
//! most: that is how long somebody who makes faces at the camera can keep others out by it. Each minute takes one failure
//! away and whoever is let in takes all, so passers-by add up to nothing. Looking stops only after as many failures as
//! nobody makes by chance, and that is an alarm. Exit button and operator work all along.

use std::time::Duration;

use crate::clock::MonoTime;

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
}
