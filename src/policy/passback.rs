//! Anti-passback: nobody comes in twice. By time, and by direction where doors lead into an area and out of it.
//!
//! **What nobody has seen is not held against anybody.** Somebody whose place is not known, because they were enrolled or
//! forgiven since, or because direction was not looked at before, may come in and may go out; from then on it is known.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::book::PersonRow;
use super::place::{Place, Side, same_name};
use super::{Entry, Now, Refusal};

/// Whether people must leave before they come in again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// It is not looked at.
    #[default]
    Off,
    /// Whoever is inside must leave before coming in again.
    In,
    /// The same, and whoever is outside must come in before leaving again.
    Both,
}

impl Direction {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::In => "in",
            Self::Both => "both",
        }
    }
}

impl FromStr for Direction {
    type Err = DirectionError;
    fn from_str(text: &str) -> Result<Self, DirectionError> {
        let all = [Self::Off, Self::In, Self::Both].into_iter();
        all.clone()
            .find(|known| known.as_str() == text)
            .ok_or_else(|| DirectionError { text: text.to_owned() })
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "nobody need leave before coming in again",
            Self::In => "whoever is inside must leave before coming in again",
            Self::Both => {
                "whoever is inside must leave before coming in again, and come in before leaving again"
            }
        })
    }
}

/// A word that is no direction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no direction of anti-passback; it is `off`, `in` or `both`")]
pub struct DirectionError {
    text: String,
}

/// Where somebody was last seen to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// Into or out of this area.
    pub area: String,
    /// Into it.
    pub inside: bool,
    /// When.
    pub at: Timestamp,
}

impl Passage {
    /// Through a door.
    pub fn through(place: &Place, at: Timestamp) -> Self {
        Self { area: place.area.clone(), inside: place.side == Side::In, at }
    }
}

impl PersonRow {
    /// Where they were last seen to go, of one area.
    pub fn passage(&self, area: &str) -> Option<&Passage> {
        self.passages.iter().find(|passage| same_name(&passage.area, area))
    }
}

/// What anti-passback holds against somebody at a door.
pub(super) fn against(
    row: &PersonRow,
    direction: Direction,
    within: Duration,
    entry: Option<&Entry>,
    now: &Now<'_>,
) -> Option<Refusal> {
    let seen = row.passage(&now.place.area).filter(|_| now.place.both_ways);
    let ago = |passage: &Passage| Duration::try_from(now.wall.duration_since(passage.at)).unwrap_or_default();
    match (now.place.side, direction, seen) {
        (Side::In, Direction::In | Direction::Both, Some(seen)) if seen.inside => {
            return Some(Refusal::IsInside { ago: ago(seen) });
        }
        (Side::Out, Direction::Both, Some(seen)) if !seen.inside => {
            return Some(Refusal::IsOutside { ago: ago(seen) });
        }
        _ => {}
    }
    let entry = entry.filter(|_| now.place.side == Side::In)?;
    // Whoever has left since comes in anew.
    let left = seen.is_some_and(|seen| !seen.inside && seen.at >= entry.wall);
    if left || row.forgiven.is_some_and(|forgiven| forgiven >= entry.wall) {
        return None;
    }
    let ago = entry.ago(now)?;
    (ago < within).then_some(Refusal::Passback { ago, within })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gallery::PersonId;
    use crate::policy::{Gate, PersonTerms};

    fn place(side: Side, both_ways: bool) -> Place {
        Place { door: side.to_string(), side, area: "house".into(), both_ways }
    }

    fn row() -> PersonRow {
        let terms = PersonTerms::default();
        PersonRow {
            id: PersonId(1),
            name: "Ada".into(),
            terms,
            last_entry: None,
            passages: vec![],
            forgiven: None,
            has_pin: false,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// One person, doors in and out of one area, and what the door makes of it.
    struct Walk {
        row: PersonRow,
        entry: Option<Entry>,
        direction: Direction,
        within: Duration,
        both_ways: bool,
    }

    impl Walk {
        fn new(direction: Direction, within_s: u64) -> Self {
            let within = Duration::from_secs(within_s);
            Self { row: row(), entry: None, direction, within, both_ways: true }
        }

        fn passes(&mut self, side: Side, second: i64) -> Result<(), Refusal> {
            let place = place(side, self.both_ways);
            let now = Now {
                wall: at(second),
                mono: None,
                clock_trusted: true,
                threshold_supported: true,
                gate: Gate::Open,
                place: &place,
            };
            if let Some(refusal) = against(&self.row, self.direction, self.within, self.entry.as_ref(), &now)
            {
                return Err(refusal);
            }
            if side == Side::In {
                self.entry = Some(Entry { wall: at(second), mono: None });
            }
            self.row.passages = vec![Passage::through(&place, at(second))];
            Ok(())
        }
    }

    #[test]
    fn whoever_is_inside_leaves_before_coming_in_again() {
        let mut ada = Walk::new(Direction::In, 0);
        assert_eq!(ada.passes(Side::In, 0), Ok(()));
        assert_eq!(ada.passes(Side::In, 90), Err(Refusal::IsInside { ago: Duration::from_secs(90) }));
        assert_eq!(ada.passes(Side::Out, 100), Ok(()));
        assert_eq!(ada.passes(Side::Out, 101), Ok(()), "leaving twice is no matter here");
        assert_eq!(ada.passes(Side::In, 102), Ok(()));
    }

    #[test]
    fn whoever_is_outside_comes_in_before_leaving_where_that_is_asked_for() {
        let mut ada = Walk::new(Direction::Both, 0);
        assert_eq!(ada.passes(Side::Out, 0), Ok(()), "nobody has seen where she was");
        assert_eq!(ada.passes(Side::Out, 7), Err(Refusal::IsOutside { ago: Duration::from_secs(7) }));
        assert_eq!(ada.passes(Side::In, 8), Ok(()));
        assert_eq!(ada.passes(Side::Out, 9), Ok(()));
    }

    #[test]
    fn the_time_counts_between_two_entries_and_not_for_whoever_has_left_or_is_forgiven() {
        let mut ada = Walk::new(Direction::Off, 60);
        assert_eq!(ada.passes(Side::In, 0), Ok(()));
        assert_eq!(ada.passes(Side::Out, 1), Ok(()), "going out is not coming in twice");
        assert_eq!(ada.passes(Side::In, 2), Ok(()));
        let (ago, within) = (Duration::from_secs(8), Duration::from_secs(60));
        assert_eq!(ada.passes(Side::In, 10), Err(Refusal::Passback { ago, within }));
        ada.row.forgiven = Some(at(2));
        assert_eq!(ada.passes(Side::In, 10), Ok(()));
        assert!(ada.passes(Side::In, 20).is_err(), "once");
    }

    #[test]
    fn where_no_door_leads_out_nobody_is_known_to_be_inside() {
        let mut ada = Walk { both_ways: false, ..Walk::new(Direction::Both, 0) };
        assert_eq!(ada.passes(Side::In, 0), Ok(()));
        assert_eq!(ada.passes(Side::In, 1), Ok(()));
    }

    #[test]
    fn words_are_read_back_and_others_refused() {
        for direction in [Direction::Off, Direction::In, Direction::Both] {
            assert_eq!(direction.as_str().parse(), Ok(direction));
        }
        assert!("out".parse::<Direction>().unwrap_err().to_string().contains("`both`"));
    }

    proptest! {
        /// However people come and go: nobody is let in twice without leaving or being forgiven in between, with `both`
        /// nobody out twice without coming in, and whoever is forgiven passes either way.
        #[test]
        fn nobody_comes_in_twice(
            both in any::<bool>(),
            steps in prop::collection::vec((0..4_u8, 1..300_i64), 1..60),
        ) {
            let mut ada = Walk::new(if both { Direction::Both } else { Direction::In }, 0);
            let (mut second, mut known) = (0, None);
            for (step, pause) in steps {
                second += pause;
                let side = match step {
                    0 => { ada.row.passages.clear(); known = None; continue }
                    1 | 2 => Side::In,
                    _ => Side::Out,
                };
                let passed = ada.passes(side, second).is_ok();
                let barred = known == Some(side) && (side == Side::In || both);
                prop_assert_eq!(passed, !barred, "{:?} after {:?}", side, known);
                if passed { known = Some(side) }
            }
        }
    }
}
