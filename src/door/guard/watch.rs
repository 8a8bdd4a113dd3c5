//! PURE. What the guard decides: orders and the time go in, moves of the strike come out.
//!
//! | state \ input | `Unlock`                   | `Lock` | `Beat`      | time: no beat for 3 s, or longer than ordered | daemon ends |
//! |---------------|----------------------------|--------|-------------|-----------------------------------------------|-------------|
//! | locked        | unlock → unlocked          | lock   | –           | –                                             | lock        |
//! | unlocked      | unlock, new bound          | lock → locked | counts as a beat | lock → locked                     | lock → locked |

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::MonoTime;

/// An unlocked strike is locked when the daemon has shown no sign of life for so long. Longer than a slow SD card
/// needs for one record, and well within the 10 s in which a hung process must have lost the door.
pub const BEAT_LIMIT: Duration = Duration::from_secs(3);

/// The daemon locks by itself when an unlocking is over; this much later the guard does.
const SLACK: Duration = Duration::from_secs(1);

/// What the daemon tells the guard: one JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// Unlock for at most so long from now.
    Unlock {
        /// In ms.
        at_most_ms: u64,
        /// For the relay's log.
        why: String,
    },
    /// Lock.
    Lock {
        /// For the relay's log.
        why: String,
    },
    /// The daemon turns.
    Beat,
}

/// What the guard answers, once at its start and once to each order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// How the strike is now.
    State {
        /// Unlocked.
        unlocked: bool,
        /// Why it was last moved.
        why: String,
    },
    /// The line did not take its level, or could not be had.
    Fault {
        /// What failed and what to try.
        what: String,
        /// What the system said.
        cause: String,
    },
}

/// A move of the strike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// Unlock.
    Unlock(String),
    /// Lock.
    Lock(String),
}

/// What the guard knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    unlocked: Option<Unlocked>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unlocked {
    until: MonoTime,
    beat: MonoTime,
}

impl Watch {
    /// A guard over a locked strike.
    pub fn new() -> Self {
        Self { unlocked: None }
    }

    /// Takes an order.
    pub fn order(&mut self, order: Order, now: MonoTime) -> Option<Move> {
        match order {
            Order::Unlock { at_most_ms, why } => {
                let until = now + Duration::from_millis(at_most_ms) + SLACK;
                self.unlocked = Some(Unlocked { until, beat: now });
                Some(Move::Unlock(why))
            }
            Order::Lock { why } => Some(self.lock(why)),
            Order::Beat => {
                // A beat that comes too late does not make up for those that did not come.
                let late = self.tick(now);
                if let Some(unlocked) = &mut self.unlocked {
                    unlocked.beat = now;
                }
                late
            }
        }
    }

    /// What time alone brings.
    pub fn tick(&mut self, now: MonoTime) -> Option<Move> {
        let Unlocked { until, beat } = self.unlocked?;
        let why = if now >= until {
            "the guard locked: the service let its time run out".to_owned()
        } else if now.since(beat) >= BEAT_LIMIT || now < beat {
            format!("the guard locked: no sign of life from the service for {} s", BEAT_LIMIT.as_secs())
        } else {
            return None;
        };
        Some(self.lock(why))
    }

    /// The daemon is gone: the strike is to be locked, for this reason.
    pub fn hung_up(&mut self) -> &'static str {
        match self.unlocked.take() {
            Some(_) => "the guard locked: the service ended",
            None => "the service ended",
        }
    }

    /// The strike did not move as it was told: it counts as locked.
    pub fn failed(&mut self) {
        self.unlocked = None;
    }

    /// When [`Watch::tick`] is due at the latest.
    pub fn next_deadline(&self) -> Option<MonoTime> {
        self.unlocked.map(|Unlocked { until, beat }| until.min(beat + BEAT_LIMIT))
    }

    /// Whether the strike is to be unlocked.
    pub fn is_unlocked(&self) -> bool {
        self.unlocked.is_some()
    }

    fn lock(&mut self, why: String) -> Move {
        self.unlocked = None;
        Move::Lock(why)
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_millis(ms)
    }

    fn unlock(at_most_ms: u64) -> Order {
        Order::Unlock { at_most_ms, why: "grant".into() }
    }

    fn unlocked() -> Watch {
        let mut watch = Watch::new();
        assert_eq!(watch.order(unlock(5_000), at(1_000)), Some(Move::Unlock("grant".into())));
        watch
    }

    fn locked_because(made: Option<Move>) -> String {
        match made {
            Some(Move::Lock(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_service_that_hangs_loses_the_strike_within_three_seconds() {
        let mut watch = unlocked();
        assert_eq!(watch.next_deadline(), Some(at(4_000)));
        assert_eq!(watch.tick(at(3_999)), None);
        assert!(locked_because(watch.tick(at(4_000))).contains("no sign of life"));
        assert_eq!((watch.is_unlocked(), watch.next_deadline()), (false, None));
    }

    #[test]
    fn a_service_that_turns_keeps_it_for_the_time_ordered_and_no_longer() {
        let mut watch = unlocked();
        for ms in (1_100..7_000).step_by(100) {
            assert_eq!(watch.order(Order::Beat, at(ms)), None, "{ms}");
        }
        assert!(locked_because(watch.order(Order::Beat, at(7_000))).contains("run out"));
        assert_eq!(watch.order(Order::Beat, at(7_100)), None, "a beat never unlocks");
        assert!(!watch.is_unlocked());
    }

    #[test]
    fn a_late_beat_does_not_revive() {
        let mut watch = unlocked();
        assert!(locked_because(watch.order(Order::Beat, at(5_000))).contains("no sign of life"));
    }

    #[test]
    fn a_service_that_ends_loses_it_at_once() {
        let mut watch = unlocked();
        assert_eq!(watch.hung_up(), "the guard locked: the service ended");
        assert!(!watch.is_unlocked());
        assert_eq!(Watch::new().hung_up(), "the service ended", "locked once more");
    }

    #[test]
    fn what_is_said_on_the_socket_is_one_object_a_line() {
        for (order, line) in [
            (unlock(3_000), r#"{"do":"unlock","at_most_ms":3000,"why":"grant"}"#),
            (Order::Beat, r#"{"do":"beat"}"#),
        ] {
            assert_eq!(serde_json::to_string(&order).unwrap(), line);
            assert_eq!(serde_json::from_str::<Order>(line).unwrap(), order);
        }
        assert!(serde_json::from_str::<Order>(r#"{"do":"unlock"}"#).is_err(), "no unlocking without a bound");
    }

    proptest! {
        #[test]
        fn never_unlocked_beyond_its_bound_or_without_beats(
            steps in prop::collection::vec((0..4_u8, 0..2_500_u64, 0..10_000_u64), 1..100)
        ) {
            let mut watch = Watch::new();
            let (mut now, mut bound, mut heard) = (10_000_u64, 0, 0);
            for (what, gap, at_most) in steps {
                now += gap;
                // The loop never sleeps past a deadline.
                if let Some(due) = watch.next_deadline().filter(|due| *due <= at(now)) {
                    watch.tick(due);
                }
                let was = watch.is_unlocked();
                match what {
                    0 => { watch.order(unlock(at_most), at(now)); bound = now + at_most + 1_000; heard = now; }
                    1 => { watch.order(Order::Beat, at(now)); if was { heard = now; } prop_assert!(was || !watch.is_unlocked()); }
                    2 => { watch.order(Order::Lock { why: String::new() }, at(now)); prop_assert!(!watch.is_unlocked()); }
                    _ => { watch.tick(at(now)); prop_assert!(was || !watch.is_unlocked()); }
                }
                prop_assert!(!watch.is_unlocked() || (now < bound && now < heard + 3_000));
            }
        }
    }
}
