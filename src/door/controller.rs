//! PURE. The door's state machine: an input and the time go in, actions come out. Locked is where it starts and
//! where every trouble ends.
//!
//! Stands after `journal`: the only way to [`Action::Energise`] is a [`Recorded`] [`Grant`], which is used up by it.
//!
//! | state \ input | `Start`, `Lock`  | `Grant`, good | `Grant`, late  | `Tick`, before the deadline | `Tick`, at or after it |
//! |---------------|------------------|---------------|----------------|-----------------------------|------------------------|
//! | not started   | release → locked | drop          | drop           | –                           | –                      |
//! | locked        | release          | **energise** → unlocked | release, drop | –                  | –                      |
//! | unlocked      | release → locked | new deadline  | release, drop → locked | –                   | release → locked       |
//!
//! A clock that runs backwards releases in every state, and drops a grant that came with it. Relocking is a deadline
//! that any tick after it meets, not a thread that sleeps. The relay is always told a level, never to change.

use std::time::Duration;

use crate::access::Grant;
use crate::clock::MonoTime;
use crate::gallery::PersonId;
use crate::journal::{EventId, Recorded};

/// How long the strike is energised for one grant; bounded so that no setting leaves a door open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse(Duration);

/// A pulse that no door should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pulse of {ms} ms is out of range: choose {} to {} ms (the shortest in which people get a door open, IEC \
     60839-11-1, and the longest for which it may stand unlocked)",
    Pulse::MIN_MS,
    Pulse::MAX_MS
)]
pub struct PulseError {
    /// What was asked for.
    pub ms: u64,
}

impl Pulse {
    /// The shortest pulse in ms: IEC 60839-11-1 asks for a strike time of at least 3 s.
    pub const MIN_MS: u64 = 3_000;
    /// The longest pulse in ms.
    pub const MAX_MS: u64 = 60_000;

    /// A pulse of `ms` milliseconds.
    ///
    /// # Errors
    /// When it is not between [`Pulse::MIN_MS`] and [`Pulse::MAX_MS`].
    pub fn from_millis(ms: u64) -> Result<Self, PulseError> {
        if (Self::MIN_MS..=Self::MAX_MS).contains(&ms) {
            Ok(Self(Duration::from_millis(ms)))
        } else {
            Err(PulseError { ms })
        }
    }

    /// How long.
    pub fn duration(self) -> Duration {
        self.0
    }
}

/// What happens to the door.
#[derive(Debug)]
pub enum Input {
    /// The service starts; whatever the relay was left at, it is released.
    Start,
    /// A recorded grant.
    Grant(Recorded<Grant>),
    /// Time passed.
    Tick,
    /// Lock now: stop, fault, or an operator.
    Lock(&'static str),
}

/// What the caller must do, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Energise the relay.
    Energise {
        /// For the log.
        why: String,
    },
    /// Release the relay, also when it is believed to be released.
    Release {
        /// For the log.
        why: String,
    },
    /// Write down that a grant opened nothing.
    Report(DroppedGrant),
}

/// A grant that was recorded but not honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DroppedGrant {
    /// The grant's event.
    pub event: EventId,
    /// Who was not let in after all.
    pub person: PersonId,
    /// Their name.
    pub name: String,
    /// Why not.
    pub why: &'static str,
}

impl DroppedGrant {
    /// Uses `grant` up without opening.
    pub(super) fn new(grant: Recorded<Grant>, why: &'static str) -> Self {
        let (event, grant) = (grant.event(), grant.what());
        Self { event, person: grant.person(), name: grant.name().to_owned(), why }
    }
}

/// One door.
#[derive(Debug)]
pub struct Door {
    pulse: Pulse,
    state: State,
    /// The latest time it was told.
    last: MonoTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    NotStarted,
    Locked,
    Unlocked { until: MonoTime },
}

impl Door {
    /// A door that does nothing before [`Input::Start`].
    pub fn new(pulse: Pulse) -> Self {
        Self { pulse, state: State::NotStarted, last: MonoTime::default() }
    }

    /// Takes one input at `now` and says what to do. See the table at the head of this file.
    pub fn handle(&mut self, input: Input, now: MonoTime) -> Vec<Action> {
        let backwards = now < self.last;
        self.last = now;
        match (self.state, input) {
            (_, Input::Start) => vec![self.lock("start")],
            (_, Input::Lock(why)) => vec![self.lock(why)],
            (_, Input::Grant(grant)) if backwards => self.drop_grant(grant, "the clock ran backwards"),
            (_, Input::Tick) if backwards => vec![self.lock("the clock ran backwards")],
            (State::NotStarted, Input::Tick) => vec![],
            (State::NotStarted, Input::Grant(grant)) => {
                vec![Action::Report(DroppedGrant::new(grant, "the door was not started"))]
            }
            (_, Input::Grant(grant)) if !grant.what().is_good_at(now) => self
                .drop_grant(grant, "too late: the decision was too long ago when it had been written down"),
            (State::Locked, Input::Grant(grant)) => vec![self.unlock(grant, now)],
            (State::Unlocked { .. }, Input::Grant(grant)) => {
                // The relay is energised already: only the deadline moves.
                self.unlock(grant, now);
                vec![]
            }
            (State::Unlocked { until }, Input::Tick) if now >= until => vec![self.lock("the pulse is over")],
            (State::Locked | State::Unlocked { .. }, Input::Tick) => vec![],
        }
    }

    /// When the door must be ticked at the latest; `None` while it is locked.
    pub fn next_deadline(&self) -> Option<MonoTime> {
        match self.state {
            State::Unlocked { until } => Some(until),
            State::NotStarted | State::Locked => None,
        }
    }

    /// Whether the strike is to be energised.
    pub fn is_unlocked(&self) -> bool {
        matches!(self.state, State::Unlocked { .. })
    }

    fn lock(&mut self, why: &str) -> Action {
        self.state = State::Locked;
        Action::Release { why: why.to_owned() }
    }

    /// The one way to open: from `now` for one pulse, whatever was left of an earlier one.
    fn unlock(&mut self, grant: Recorded<Grant>, now: MonoTime) -> Action {
        self.state = State::Unlocked { until: now + self.pulse.0 };
        Action::Energise { why: format!("grant {} for {}", grant.event().0, grant.what().name()) }
    }

    fn drop_grant(&mut self, grant: Recorded<Grant>, why: &'static str) -> Vec<Action> {
        vec![self.lock(why), Action::Report(DroppedGrant::new(grant, why))]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::record_grant;

    const PULSE_MS: u64 = 5_000;

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_millis(ms)
    }

    fn granted(decided_ms: u64) -> Input {
        let grant = Grant::for_tests(1, "Ada", at(decided_ms));
        Input::Grant(record_grant(grant, |_| Ok::<_, ()>(EventId(12))).unwrap())
    }

    fn fresh_door() -> Door {
        Door::new(Pulse::from_millis(PULSE_MS).unwrap())
    }

    fn started(now_ms: u64) -> Door {
        let mut door = fresh_door();
        assert_eq!(door.handle(Input::Start, at(now_ms)), [Action::Release { why: "start".into() }]);
        door
    }

    fn released(why: &str) -> Vec<Action> {
        vec![Action::Release { why: why.into() }]
    }

    fn energised() -> Vec<Action> {
        vec![Action::Energise { why: "grant 12 for Ada".into() }]
    }

    /// `R`: release, `E`: energise, `D`: a grant was dropped.
    fn letters(actions: &[Action]) -> String {
        actions
            .iter()
            .map(|action| match action {
                Action::Energise { .. } => 'E',
                Action::Release { .. } => 'R',
                Action::Report(_) => 'D',
            })
            .collect()
    }

    #[test]
    fn pulses_are_bounded_and_the_message_says_how() {
        for ms in [3_000, 5_000, 60_000] {
            assert_eq!(Pulse::from_millis(ms).unwrap().duration(), Duration::from_millis(ms));
        }
        for ms in [0, 2_999, 60_001, u64::MAX] {
            let message = Pulse::from_millis(ms).unwrap_err().to_string();
            assert!(
                message.starts_with(&format!("a pulse of {ms} ms is out of range: choose 3000 to 60000 ms"))
            );
        }
    }

    #[test]
    fn every_state_meets_every_input() {
        let not_started = |_: u64| fresh_door();
        let unlocked = |now_ms| {
            let mut door = started(now_ms);
            assert_eq!(door.handle(granted(now_ms), at(now_ms)), energised());
            door
        };
        type Table<'a> = [(&'a str, &'a dyn Fn(u64) -> Door, Input, u64, &'a str, bool)];
        let table: &mut Table = &mut [
            ("not started, start", &not_started, Input::Start, 10_000, "R", false),
            ("not started, lock", &not_started, Input::Lock("stop"), 10_000, "R", false),
            ("not started, tick", &not_started, Input::Tick, 10_000, "", false),
            ("not started, grant", &not_started, granted(10_000), 10_000, "D", false),
            ("locked, start", &started, Input::Start, 10_000, "R", false),
            ("locked, lock", &started, Input::Lock("stop"), 10_000, "R", false),
            ("locked, tick", &started, Input::Tick, 99_000, "", false),
            ("locked, grant", &started, granted(10_000), 10_000, "E", true),
            ("locked, grant written slowly", &started, granted(10_000), 12_000, "E", true),
            ("locked, grant too late", &started, granted(10_000), 12_001, "RD", false),
            ("locked, grant from the future", &started, granted(10_001), 10_000, "RD", false),
            ("locked, grant, clock back", &started, granted(9_000), 9_000, "RD", false),
            ("locked, tick, clock back", &started, Input::Tick, 9_000, "R", false),
            ("unlocked, start", &unlocked, Input::Start, 11_000, "R", false),
            ("unlocked, lock", &unlocked, Input::Lock("stop"), 11_000, "R", false),
            ("unlocked, tick early", &unlocked, Input::Tick, 14_999, "", true),
            ("unlocked, tick in time", &unlocked, Input::Tick, 15_000, "R", false),
            ("unlocked, tick late", &unlocked, Input::Tick, 900_000, "R", false),
            ("unlocked, grant", &unlocked, granted(11_000), 11_000, "", true),
            ("unlocked, grant too late", &unlocked, granted(10_000), 12_001, "RD", false),
            ("unlocked, tick, clock back", &unlocked, Input::Tick, 9_999, "R", false),
            ("unlocked, grant, clock back", &unlocked, granted(9_999), 9_999, "RD", false),
        ];
        for (story, state, input, now_ms, actions, unlocked) in table {
            let mut door = state(10_000);
            let input = std::mem::replace(input, Input::Tick);
            assert_eq!(letters(&door.handle(input, at(*now_ms))), *actions, "{story}");
            assert_eq!(door.is_unlocked(), *unlocked, "{story}");
            assert_eq!(door.next_deadline().is_some(), *unlocked, "{story}");
        }
    }

    #[test]
    fn rebooting_does_not_open_the_door() {
        let mut door = fresh_door();
        assert!(!door.is_unlocked());
        assert_eq!(door.handle(Input::Tick, at(50)), []);
        assert_eq!(door.handle(Input::Start, at(100)), released("start"));
        assert_eq!(door.handle(Input::Tick, at(200)), []);
    }

    #[test]
    fn relocking_needs_no_sleeping_thread_only_the_next_tick() {
        let mut door = started(1_000);
        assert_eq!(door.handle(granted(2_000), at(2_100)), energised());
        assert_eq!(door.next_deadline(), Some(at(7_100)));
        assert_eq!(
            door.handle(Input::Tick, at(60_000)),
            released("the pulse is over"),
            "however late it comes"
        );
        assert_eq!(door.next_deadline(), None);
    }

    #[test]
    fn grants_in_a_row_never_add_up() {
        let mut door = started(1_000);
        assert_eq!(door.handle(granted(2_000), at(2_000)), energised());
        for ms in 2_001..2_100 {
            assert_eq!(door.handle(granted(ms), at(ms)), [], "energised already");
        }
        assert_eq!(door.next_deadline(), Some(at(2_099 + PULSE_MS)), "one pulse after the last grant");
    }

    #[test]
    fn a_grant_that_was_recorded_after_the_person_left_opens_nothing_and_is_reported() {
        let mut door = started(1_000);
        let [Action::Release { .. }, Action::Report(dropped)] = &door.handle(granted(2_000), at(10_000))[..]
        else {
            panic!("8 s late");
        };
        assert_eq!((dropped.event, dropped.person, dropped.name.as_str()), (EventId(12), PersonId(1), "Ada"));
        assert!(dropped.why.contains("too late"), "{}", dropped.why);
    }

    #[test]
    fn the_relay_is_told_a_level_and_never_to_toggle() {
        let mut door = started(1_000);
        for ms in 1_001..1_010 {
            assert_eq!(door.handle(Input::Lock("operator"), at(ms)), released("operator"));
            assert!(!door.is_unlocked());
        }
    }

    #[test]
    fn one_wrong_time_does_not_keep_the_door_locked_for_good() {
        let mut door = started(1_000);
        assert_eq!(door.handle(Input::Tick, at(9_000_000)), []);
        assert_eq!(door.handle(Input::Tick, at(2_000)), released("the clock ran backwards"));
        assert_eq!(door.handle(granted(2_100), at(2_100)), energised());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Start,
        Grant { age_ms: u64 },
        Tick,
        Lock,
    }

    fn steps() -> impl Strategy<Value = Vec<(Step, u64, bool)>> {
        let step = prop_oneof![
            1 => Just(Step::Start),
            6 => (0..3_000_u64).prop_map(|age_ms| Step::Grant { age_ms }),
            10 => Just(Step::Tick),
            2 => Just(Step::Lock),
        ];
        // Now and then time goes backwards.
        prop::collection::vec((step, 0..4_000_u64, prop::bool::weighted(0.05)), 1..80)
    }

    proptest! {
        #[test]
        fn the_relay_is_energised_only_within_a_pulse_of_a_good_grant(steps in steps()) {
            let mut door = fresh_door();
            let (mut now_ms, mut energised, mut last_good) = (100_000_u64, false, None);
            for (step, gap_ms, back) in steps {
                now_ms = if back { now_ms - gap_ms } else { now_ms + gap_ms };
                let input = match step {
                    Step::Start => Input::Start,
                    Step::Grant { age_ms } => granted(now_ms - age_ms),
                    Step::Tick => Input::Tick,
                    Step::Lock => Input::Lock("stop"),
                };
                if matches!(step, Step::Grant { age_ms } if age_ms <= 2_000) {
                    last_good = Some(now_ms);
                }
                let before = energised;
                for action in door.handle(input, at(now_ms)) {
                    match action {
                        Action::Energise { .. } => energised = true,
                        Action::Release { .. } => energised = false,
                        Action::Report(_) => prop_assert!(!energised, "a dropped grant leaves the door locked"),
                    }
                }
                prop_assert_eq!(energised, door.is_unlocked());
                prop_assert!(before || !energised || last_good == Some(now_ms), "opened by nothing but a good grant");
                prop_assert!(!energised || last_good.is_some_and(|good| now_ms < good + PULSE_MS));
                prop_assert!(!(energised && back && gap_ms > 0), "unlocked while time ran backwards");
                if matches!(step, Step::Start | Step::Lock) {
                    prop_assert!(!energised);
                }
                if let Some(deadline) = door.next_deadline() {
                    prop_assert!(deadline > at(now_ms) && deadline <= at(now_ms + PULSE_MS));
                }
            }
        }
    }
}
