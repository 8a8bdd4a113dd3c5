//! PURE. What the door would have decided: attempts of the past, of which the embeddings were kept, weighed again by another
//! rule against the people of now.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::EventId;
use crate::access::{Attempts, Look, LookOutcome, Proof, Rule, Verdict};
use crate::clock::MonoTime;
use crate::encoder::{Embedding, ModelId};
use crate::gallery::{Gallery, PersonId};
use crate::vision::tracks::TrackId;

/// One face on its way past the door, from when it was first compared until it was gone.
#[derive(Clone, Debug, PartialEq)]
pub struct PastAttempt {
    /// The encoder of its embeddings.
    pub model: ModelId,
    /// When it ended.
    pub wall: Timestamp,
    /// The decisions that fell on it, in order.
    pub decisions: Vec<Decision>,
    /// What was seen, in order.
    pub looks: Vec<PastLook>,
}

/// One look.
#[derive(Clone, Debug, PartialEq)]
pub struct PastLook {
    /// When its frame was taken, in ms since the first.
    pub ms: u64,
    /// The face.
    pub embedding: Embedding,
    /// Whether it looked like a face or like a picture of one.
    pub proof: Proof,
}

/// A decision of the past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Its record.
    pub event: EventId,
    /// Whom it recognised; whether they were let in is the rule book's affair.
    pub person: Option<PersonId>,
}

impl PastAttempt {
    /// The first person it was recognised as.
    pub fn recognised(&self) -> Option<(EventId, PersonId)> {
        self.decisions.iter().find_map(|decision| Some((decision.event, decision.person?)))
    }
}

/// How an attempt would have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As it did.
    Same,
    /// Recognised, and it was not.
    Granted,
    /// Not recognised, and it was.
    Refused,
    /// Recognised as somebody else.
    Other,
}

/// An attempt that would have ended otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The record of what happened.
    pub event: EventId,
    /// When.
    pub wall: Timestamp,
    /// How it would have ended.
    pub outcome: Outcome,
    /// As whom it was recognised, by their name now.
    pub was: Option<String>,
    /// As whom it would have been.
    pub would_be: Option<String>,
    /// The highest score of a look with anybody.
    pub best_score: f32,
    /// The photo check was not asked about every look that would now count: it counts as alive here.
    pub photo_check_unasked: bool,
}

/// What another rule would have changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    /// Attempts that were weighed again.
    pub attempts: usize,
    /// Attempts of another encoder, or of people who are not enrolled any more, which say nothing.
    pub skipped: usize,
    /// Recognised then.
    pub granted_then: usize,
    /// Recognised by the rule that was tried.
    pub granted_now: usize,
    /// The threshold that was tried.
    pub threshold: f32,
    /// Where the two differ, oldest first.
    pub differences: Vec<Difference>,
}

impl Replayed {
    /// How many attempts would have ended like this.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.differences.iter().filter(|difference| difference.outcome == outcome).count()
    }
}

/// Weighs attempts again by `rule` against `gallery`.
pub fn replay(attempts: &[PastAttempt], gallery: &Gallery, rule: &Rule) -> Replayed {
    let mut replayed = Replayed { threshold: rule.threshold.0, ..Replayed::default() };
    for attempt in attempts {
        let was = attempt.recognised();
        let gone = was.is_some_and(|(_, person)| gallery.name_of(person).is_none());
        let fits =
            attempt.looks.iter().all(|look| gallery.people() == 0 || look.embedding.dim() == gallery.dim());
        if attempt.model != *gallery.model() || gone || !fits {
            replayed.skipped += 1;
            continue;
        }
        let Some(event) = was.map(|(event, _)| event).or(attempt.decisions.first().map(|d| d.event)) else {
            replayed.skipped += 1;
            continue;
        };
        let again = weigh(attempt, gallery, rule);
        replayed.attempts += 1;
        replayed.granted_then += usize::from(was.is_some());
        replayed.granted_now += usize::from(again.person.is_some());
        let was = was.map(|(_, person)| person);
        let outcome = match (was, again.person) {
            (was, would_be) if was == would_be => continue,
            (None, _) => Outcome::Granted,
            (_, None) => Outcome::Refused,
            _ => Outcome::Other,
        };
        let name =
            |person: Option<PersonId>| person.and_then(|person| gallery.name_of(person)).map(str::to_owned);
        replayed.differences.push(Difference {
            event,
            wall: attempt.wall,
            outcome,
            was: name(was),
            would_be: name(again.person),
            best_score: again.best_score,
            photo_check_unasked: again.person.is_some() && again.unasked,
        });
    }
    replayed
}

struct Again {
    person: Option<PersonId>,
    best_score: f32,
    unasked: bool,
}

/// Each look is weighed the moment its frame was taken: how long the networks took is not what is asked.
fn weigh(attempt: &PastAttempt, gallery: &Gallery, rule: &Rule) -> Again {
    // What a face had to show besides was seen in pictures, which are not kept.
    let rule = Rule { demands: Default::default(), ..rule.clone() };
    let (mut attempts, mut best_score) = (Attempts::new(rule), f32::NEG_INFINITY);
    let unasked = attempt.looks.iter().any(|look| look.proof == Proof::Unasked);
    let mut person = None;
    for (seq, look) in attempt.looks.iter().enumerate() {
        let captured = MonoTime::from_millis(1_000 + look.ms);
        let matched = gallery.find(&look.embedding);
        best_score = matched.iter().fold(best_score, |best, found| best.max(found.best.score.0));
        // The check is asked only about faces that are near enough to be let in; a lower threshold would have asked it.
        let proof = if unasked { Proof::Off } else { look.proof };
        let outcome = LookOutcome::Compared(matched);
        let look = Look {
            track: TrackId(1),
            seq: seq as u64,
            captured,
            outcome,
            proof,
            signs: Default::default(),
            yaw_deg: 0.0,
        };
        for verdict in attempts.observe(&[look], captured) {
            if let Verdict::Grant(grant) = verdict {
                person.get_or_insert(grant.person());
            }
        }
    }
    Again { person, best_score, unasked }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::encoder::Score;

    fn rule(threshold: f32) -> Rule {
        Rule {
            threshold: Score(threshold),
            margin: 0.08,
            frames_needed: 3,
            frames_window: 5,
            max_frame_age: Duration::from_millis(500),
            regrant_after: Duration::from_secs(10),
            demands: Default::default(),
        }
    }

    /// A face that scores this much with the person at that axis of the three.
    fn face(axis: usize, score: f32) -> Embedding {
        let mut values = vec![0.0; 4];
        (values[axis], values[3]) = (score, (1.0 - score * score).sqrt());
        Embedding::normalise(values).unwrap()
    }

    fn gallery() -> Gallery {
        let people = [(1, "Ada"), (2, "Bob"), (3, "Cy")];
        let template = |(id, name): (i64, &str)| (PersonId(id), name.into(), face(id as usize - 1, 1.0));
        Gallery::new(ModelId("m@1".into()), 1, people.map(template).into())
    }

    fn attempt(event: i64, person: Option<i64>, axis: usize, scores: &[f32], proof: Proof) -> PastAttempt {
        let look =
            |(i, score): (usize, &f32)| PastLook { ms: 100 * i as u64, embedding: face(axis, *score), proof };
        PastAttempt {
            model: ModelId("m@1".into()),
            wall: Timestamp::UNIX_EPOCH,
            decisions: vec![Decision { event: EventId(event), person: person.map(PersonId) }],
            looks: scores.iter().enumerate().map(look).collect(),
        }
    }

    fn a_day() -> Vec<PastAttempt> {
        vec![
            attempt(1, Some(1), 0, &[0.8, 0.8, 0.8], Proof::Off),
            attempt(2, None, 0, &[0.45; 5], Proof::Off),
            attempt(3, None, 1, &[0.1, 0.46, 0.47, 0.48, 0.46], Proof::Off),
            attempt(4, Some(3), 2, &[0.55, 0.56, 0.57], Proof::Off),
            attempt(5, None, 1, &[0.2; 5], Proof::Off),
        ]
    }

    #[test]
    fn a_lower_threshold_lets_more_in_and_a_higher_one_fewer() {
        let told = |threshold: f32| {
            let found = replay(&a_day(), &gallery(), &rule(threshold));
            let differences: Vec<_> = found.differences.iter().map(|d| (d.event.0, d.outcome)).collect();
            (found.granted_then, found.granted_now, differences)
        };
        assert_eq!(told(0.5), (2, 2, vec![]), "the rule of then decides as it did");
        assert_eq!(told(0.44), (2, 4, vec![(2, Outcome::Granted), (3, Outcome::Granted)]));
        assert_eq!(told(0.6), (2, 1, vec![(4, Outcome::Refused)]));
        let found = replay(&a_day(), &gallery(), &rule(0.44));
        assert_eq!(found.differences[1].would_be.as_deref(), Some("Bob"));
        assert!((found.differences[1].best_score - 0.48).abs() < 1e-5);
        assert_eq!(found.count(Outcome::Granted), 2);
    }

    #[test]
    fn looks_that_the_photo_check_was_not_asked_about_count_as_alive_and_are_told() {
        let attempts = [attempt(1, None, 0, &[0.45; 5], Proof::Unasked)];
        let found = replay(&attempts, &gallery(), &rule(0.4));
        assert!(found.differences[0].photo_check_unasked);
    }

    #[test]
    fn what_cannot_be_compared_is_left_out_and_counted() {
        let of_another = PastAttempt { model: ModelId("other@2".into()), ..a_day().remove(0) };
        let gone = attempt(2, Some(9), 0, &[0.8; 3], Proof::Off);
        let found = replay(&[of_another, gone], &gallery(), &rule(0.5));
        assert_eq!((found.attempts, found.skipped), (0, 2));
    }
}
