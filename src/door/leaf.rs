//! PURE. The door leaf as its contact tells it: whether an opening was allowed, and how long it stands open.
//!
//! | state \ input          | contact opens, allowed | contact opens, not allowed    | contact closes        | open for longer than allowed |
//! |------------------------|------------------------|-------------------------------|-----------------------|------------------------------|
//! | unknown (at the start) | open, `Opened`         | open, `Opened`: who opened it is not known | closed   | –                            |
//! | closed                 | open, `Opened`         | open, `Opened`, **`Forced`**  | –                     | –                            |
//! | open                   | –                      | –                             | closed, `Closed`, alarms end | **`HeldOpen`**, once  |
//!
//! The contact is a level. An edge that is missed is made good by the next reading, so the leaf can never be inverted.

use std::time::Duration;

use crate::clock::MonoTime;

/// What there is to tell of the leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeafNotice {
    /// It was opened, or stood open at the start.
    Opened,
    /// It was opened while the strike was locked.
    Forced,
    /// It stands open for longer than allowed.
    HeldOpen {
        /// For how long, in ms.
        open_ms: u64,
    },
    /// It was closed again.
    Closed {
        /// For how long it stood open, in ms.
        open_ms: u64,
    },
}

/// What it stands in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Unknown,
    Closed,
    Open {
        since: MonoTime,
        /// From here on the allowed time counts.
        counted: MonoTime,
        forced: bool,
        held: bool,
    },
}

/// The leaf of one door.
#[derive(Clone, Copy, Debug)]
pub struct Leaf {
    state: State,
    held_open_after: Duration,
}

impl Leaf {
    /// A leaf whose contact has not been read.
    pub fn new(held_open_after: Duration) -> Self {
        Self { state: State::default(), held_open_after }
    }

    /// The contact's level, read at `at`; `allowed` when the strike let it open.
    pub fn contact(&mut self, open: bool, allowed: bool, at: MonoTime) -> Vec<LeafNotice> {
        match (self.state, open) {
            (State::Unknown, false) => {
                self.state = State::Closed;
                vec![]
            }
            (State::Unknown, true) => {
                self.open(at, false);
                vec![LeafNotice::Opened]
            }
            (State::Closed, true) => {
                self.open(at, !allowed);
                let forced = (!allowed).then_some(LeafNotice::Forced);
                [LeafNotice::Opened].into_iter().chain(forced).collect()
            }
            (State::Open { since, .. }, false) => {
                self.state = State::Closed;
                vec![LeafNotice::Closed { open_ms: at.since(since).as_millis() as u64 }]
            }
            (State::Closed, false) | (State::Open { .. }, true) => vec![],
        }
    }

    /// What time alone brings. While the strike is unlocked on purpose (`excused`) the allowed time does not run.
    pub fn tick(&mut self, excused: bool, now: MonoTime) -> Option<LeafNotice> {
        let limit = self.held_open_after;
        let State::Open { since, counted, held, .. } = &mut self.state else { return None };
        if excused {
            *counted = now;
        }
        if *held || now.since(*counted) < limit {
            return None;
        }
        *held = true;
        Some(LeafNotice::HeldOpen { open_ms: now.since(*since).as_millis() as u64 })
    }

    /// Whether it stands open; `None` before the contact was read.
    pub fn is_open(&self) -> Option<bool> {
        match self.state {
            State::Unknown => None,
            State::Closed => Some(false),
            State::Open { .. } => Some(true),
        }
    }

    /// What is wrong with it now, for people.
    pub fn alarm(&self) -> Option<&'static str> {
        match self.state {
            State::Open { forced: true, .. } => Some("the door was forced open"),
            State::Open { held: true, .. } => Some("the door is held open"),
            _ => None,
        }
    }

    fn open(&mut self, at: MonoTime, forced: bool) {
        self.state = State::Open { since: at, counted: at, forced, held: false };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_millis(ms)
    }

    fn closed() -> Leaf {
        let mut leaf = Leaf::new(Duration::from_secs(30));
        assert_eq!(leaf.contact(false, false, at(0)), []);
        leaf
    }

    #[test]
    fn a_door_just_opened_is_not_open_too_long() {
        let mut leaf = closed();
        assert_eq!(leaf.contact(true, true, at(3_600_000)), [LeafNotice::Opened]);
        assert_eq!(leaf.tick(false, at(3_600_000)), None, "an hour after the last opening");
        assert_eq!(leaf.tick(false, at(3_629_999)), None);
        assert_eq!(leaf.tick(false, at(3_630_000)), Some(LeafNotice::HeldOpen { open_ms: 30_000 }));
        assert_eq!(leaf.tick(false, at(3_700_000)), None, "said once");
        assert_eq!(leaf.alarm(), Some("the door is held open"));
        assert_eq!(leaf.contact(false, false, at(3_700_000)), [LeafNotice::Closed { open_ms: 100_000 }]);
        assert_eq!((leaf.alarm(), leaf.is_open()), (None, Some(false)));
    }

    #[test]
    fn an_opening_that_nobody_allowed_is_forced() {
        let mut leaf = closed();
        assert_eq!(leaf.contact(true, false, at(10)), [LeafNotice::Opened, LeafNotice::Forced]);
        assert_eq!(leaf.alarm(), Some("the door was forced open"));
        leaf.contact(false, false, at(20));
        assert_eq!(leaf.alarm(), None);
    }

    #[test]
    fn the_same_level_again_says_nothing_and_a_missed_edge_inverts_nothing() {
        let mut leaf = closed();
        for ms in 0..10 {
            assert_eq!(leaf.contact(false, false, at(ms)), []);
        }
        // It was opened and closed, and only the closing was seen; then it is opened.
        assert_eq!(leaf.contact(false, true, at(20)), []);
        assert_eq!(leaf.contact(true, true, at(30)), [LeafNotice::Opened]);
        assert_eq!(leaf.contact(true, true, at(40)), []);
        assert_eq!(leaf.is_open(), Some(true));
    }

    #[test]
    fn a_door_that_stands_open_at_the_start_is_told_and_then_held_but_not_forced() {
        let mut leaf = Leaf::new(Duration::from_secs(30));
        assert_eq!(leaf.is_open(), None);
        assert_eq!(leaf.contact(true, false, at(0)), [LeafNotice::Opened]);
        assert_eq!(leaf.alarm(), None);
        assert!(leaf.tick(false, at(30_000)).is_some());
    }

    #[test]
    fn a_door_that_an_operator_holds_open_is_excused_as_long_as_that_lasts() {
        let mut leaf = closed();
        leaf.contact(true, true, at(0));
        for s in 0..3_600 {
            assert_eq!(leaf.tick(true, at(s * 1000)), None);
        }
        assert_eq!(leaf.tick(false, at(3_628_000)), None);
        assert!(leaf.tick(false, at(3_629_000)).is_some(), "30 s after the end of it");
    }
}
