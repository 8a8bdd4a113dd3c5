//! Which of many frames are worth a picture: those in which something changed, and a few between.

use std::time::Duration;

use crate::clock::MonoTime;
use crate::daemon::trace::{DoorState, TracedFrame};
use crate::encoder::Score;
use crate::vision::quality::QualityIssue;
use crate::vision::tracks::TrackId;

/// Without a change there is a picture this often, while somebody is in view or the door stands open.
const INTERVAL: Duration = Duration::from_millis(500);

/// And this often of an empty corridor.
const QUIET_INTERVAL: Duration = Duration::from_secs(2);

/// What a person looking at the frame would call different from the one before.
#[derive(PartialEq)]
struct Look {
    door: DoorState,
    faces: Vec<(TrackId, Option<QualityIssue>, bool)>,
}

impl Look {
    fn of(frame: &TracedFrame, threshold: Score) -> Self {
        let faces = frame.analysis.faces.iter().map(|face| {
            let named = face.matched.as_ref().is_some_and(|m| m.best.score >= threshold);
            (face.track, face.issue, named)
        });
        Self { door: frame.door, faces: faces.collect() }
    }
}

/// Indices of at most `most` frames, ascending. Verdicts come first, then other changes, then the rest; where there is
/// room for a part of a kind only, it is spread evenly.
pub(super) fn choose(frames: &[TracedFrame], threshold: Score, most: usize) -> Vec<usize> {
    let (mut verdicts, mut changes, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let mut before: Option<(Look, MonoTime)> = None;
    for (index, frame) in frames.iter().enumerate() {
        let look = Look::of(frame, threshold);
        let captured = frame.analysis.captured;
        let (changed, last) = match &before {
            Some((earlier, last)) => (*earlier != look, *last),
            None => (true, captured),
        };
        let quiet = frame.analysis.faces.is_empty() && frame.door == DoorState::Locked;
        let due = captured.since(last) >= if quiet { QUIET_INTERVAL } else { INTERVAL };
        if !frame.conclusions.is_empty() {
            verdicts.push(index);
        } else if changed {
            changes.push(index);
        } else if due {
            others.push(index);
        }
        let pictured = changed || due || !frame.conclusions.is_empty();
        before = Some((look, if pictured { captured } else { last }));
    }
    let mut chosen = Vec::new();
    for kind in [verdicts, changes, others] {
        chosen.extend(spread(&kind, most - chosen.len()));
    }
    chosen.sort_unstable();
    chosen
}

/// At most `most` of `all`, evenly, the first one included.
fn spread(all: &[usize], most: usize) -> Vec<usize> {
    let count = all.len().min(most);
    (0..count).map(|i| all[i * all.len() / count]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::story;

    #[test]
    fn changes_verdicts_and_a_few_between_are_shown() {
        let chosen = choose(&story(), Score(0.5), 120);
        for (index, why) in [
            (0, "the first"),
            (5, "somebody comes"),
            (7, "near enough"),
            (9, "let in"),
            (14, "half a second later"),
            (15, "gone"),
            (33, "a stranger"),
            (37, "refused"),
            (39, "locked again"),
            (45, "gone"),
        ] {
            assert!(chosen.contains(&index), "{index}: {why}; {chosen:?}");
        }
        assert!(!chosen.contains(&11), "nothing happens in 11");
        let open: Vec<_> = chosen.iter().filter(|i| (9..39).contains(*i)).collect();
        assert!(open.windows(2).all(|w| w[0] < w[1] && w[1] - w[0] <= 5), "{chosen:?}");
        assert!(!chosen.contains(&50), "an empty corridor");
    }

    #[test]
    fn where_there_is_little_room_verdicts_stay() {
        assert_eq!(choose(&story(), Score(0.5), 2), [9, 37]);
        let few = choose(&story(), Score(0.5), 6);
        assert!(few.len() == 6 && few.contains(&9) && few.contains(&37), "{few:?}");
        assert_eq!(choose(&[], Score(0.5), 5), [0usize; 0]);
    }

    #[test]
    fn a_part_is_spread_evenly() {
        let all: Vec<usize> = (0..10).collect();
        assert_eq!(spread(&all, 5), [0, 2, 4, 6, 8]);
        assert_eq!(spread(&all, 99), all);
        assert_eq!(spread(&all, 0), [0usize; 0]);
    }
}
