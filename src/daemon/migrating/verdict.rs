//! PURE. Whether another encoder may take over: everybody has templates of it, and of the same attempts at the doors it would
//! have made no less than the one in force.

use crate::journal::replay::{Difference, Outcome, Replayed};
use crate::store::Filling;

use super::CutOver;

/// Attempts by which somebody was recognised that must have been weighed at least: fewer show nothing, and strangers alone show no
/// more than that it knows nobody.
pub(super) const LEAST_ATTEMPTS: usize = 20;

/// People who are named in a refusal.
const NAMED: usize = 5;

/// Whether everybody has the templates of `to` that are wanted, or may be left behind.
///
/// # Errors
/// Who has too few.
pub(super) fn may_leave(to: &str, filling: &[Filling], order: &CutOver) -> Result<(), String> {
    let short: Vec<&Filling> = filling.iter().filter(|person| person.missing() > 0).collect();
    if short.is_empty() || order.leave_behind {
        return Ok(());
    }
    let name = |person: &&Filling| {
        format!("{} ({} of {})", person.person.name, person.of_other, person.of_other + person.missing())
    };
    let mut names: Vec<String> = short.iter().take(NAMED).map(name).collect();
    if short.len() > NAMED {
        names.push(format!("{} more", short.len() - NAMED));
    }
    Err(format!(
        "{} of {} people have too few samples of {to}: {}; more are made as these people are let in, and of pictures where those \
         are kept. With --leave-behind whoever has none must be enrolled anew before the door knows them",
        short.len(),
        filling.len(),
        names.join(", ")
    ))
}

/// Whether `to` may take over, by attempts that were weighed.
///
/// # Errors
/// Why not, with the numbers and what to do.
pub(super) fn may_take_over(to: &str, replayed: &Replayed, order: &CutOver) -> Result<(), String> {
    let [gained, lost, unrecognised, other] =
        [Outcome::Granted, Outcome::Refused, Outcome::Unrecognised, Outcome::Other]
            .map(|o| replayed.count(o));
    let figures = format!(
        "of {} attempts {to} would have granted {gained} more, refused {lost} that came in, not recognised {unrecognised} that \
         were kept out anyway, and taken {other} for somebody else",
        replayed.attempts
    );
    if replayed.recognised_then < LEAST_ATTEMPTS {
        return Err(format!(
            "{figures}; in {} of them somebody was recognised, and at least {LEAST_ATTEMPTS} are wanted to go by: let some days pass",
            replayed.recognised_then
        ));
    }
    let list = "`accessd replay --model` lists them";
    if other > 0 {
        return Err(format!("{figures}: it takes people for others; {list}"));
    }
    if gained == 0 && order.confirmed > 0 {
        return Err(format!("{figures}: there is nothing to confirm, leave --confirm out"));
    }
    if gained != order.confirmed {
        return Err(format!(
            "{figures}; {list}. If each of the {gained} is of somebody who ought to have been let in, say --confirm {gained}"
        ));
    }
    // Who was refused and would not be makes up for who would be; whoever was merely not asked, as they had just been let in, does not.
    let made_up =
        |difference: &&Difference| difference.outcome == Outcome::Granted && difference.was_refused.is_some();
    if lost + unrecognised > replayed.differences.iter().filter(made_up).count() {
        return Err(format!("{figures}: that is worse than the one in force; {list}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::RefusalReason;
    use crate::gallery::PersonId;
    use crate::journal::PersonRef;

    fn person(id: i64, of_this: usize, of_other: usize) -> Filling {
        let person = PersonRef { id: PersonId(id), name: format!("P{id}") };
        Filling { person, of_this, of_other }
    }

    fn replayed(attempts: usize, outcomes: &[Outcome]) -> Replayed {
        let difference = |outcome: &Outcome| Difference {
            event: None,
            wall: jiff::Timestamp::UNIX_EPOCH,
            door: "door".into(),
            outcome: *outcome,
            was: None,
            was_refused: (*outcome == Outcome::Granted).then_some(RefusalReason::Unknown),
            would_be: None,
            would_be_refused: None,
            score_then: None,
            score: None,
            gate: None,
            already: false,
            photo_check_unasked: false,
        };
        Replayed {
            attempts,
            recognised_then: attempts,
            differences: outcomes.iter().map(difference).collect(),
            ..Replayed::default()
        }
    }

    fn ask(filling: &[Filling], replayed: &Replayed, order: CutOver) -> Result<(), String> {
        may_leave("b@2", filling, &order)?;
        may_take_over("b@2", replayed, &order)
    }

    #[test]
    fn everybody_must_have_templates_unless_they_are_left_behind() {
        let (none, order) = (replayed(20, &[]), CutOver::default());
        assert_eq!(ask(&[person(1, 5, 3), person(2, 1, 1), person(3, 0, 1)], &none, order), Ok(()));
        let short: Vec<Filling> = (1..=9).map(|id| person(id, 2, usize::from(id < 3) * 2)).collect();
        let why = ask(&short, &none, order).unwrap_err();
        assert!(why.starts_with("7 of 9 people have too few samples of b@2: P3 (0 of 2), "), "{why}");
        assert!(why.contains("P7 (0 of 2), 2 more; "), "{why}");
        assert_eq!(ask(&short, &none, CutOver { leave_behind: true, ..order }), Ok(()));
    }

    #[test]
    fn it_takes_over_only_when_the_replay_shows_no_worse() {
        use Outcome::{Granted, Other, Refused, Unrecognised};
        let house = [person(1, 3, 3)];
        let by = |outcomes: &[Outcome], confirmed: usize| {
            ask(&house, &replayed(40, outcomes), CutOver { confirmed, ..CutOver::default() })
        };
        assert_eq!(by(&[], 0), Ok(()));
        assert!(
            ask(&house, &replayed(19, &[]), CutOver::default())
                .unwrap_err()
                .contains("at least 20 are wanted")
        );
        for worse in [&[Refused][..], &[Unrecognised], &[Granted, Refused, Refused]] {
            let gained = worse.iter().filter(|o| **o == Granted).count();
            assert!(by(worse, gained).unwrap_err().contains("worse"), "{worse:?}");
        }
        // Whether who is let in more ought to be is nothing that numbers tell.
        let why = by(&[Granted, Granted, Refused], 0).unwrap_err();
        assert!(
            why.contains("granted 2 more, refused 1 that came in") && why.contains("--confirm 2"),
            "{why}"
        );
        assert_eq!(by(&[Granted, Granted, Refused], 2), Ok(()));
        assert!(by(&[Granted], 2).is_err() && by(&[], 1).is_err(), "of other numbers nothing is confirmed");
        assert!(by(&[Other], 0).unwrap_err().contains("takes people for others"));

        // Twenty strangers whom it does not know either show nothing.
        let strangers = Replayed { recognised_then: 19, ..replayed(400, &[]) };
        assert!(
            ask(&house, &strangers, CutOver::default()).unwrap_err().contains("in 19 of them somebody was")
        );
        // Whoever was not asked again right after they came in makes up for nobody.
        let mut unasked = replayed(40, &[Granted, Refused]);
        unasked.differences[0].was_refused = None;
        assert!(
            ask(&house, &unasked, CutOver { confirmed: 1, ..CutOver::default() })
                .unwrap_err()
                .contains("worse")
        );
    }
}
