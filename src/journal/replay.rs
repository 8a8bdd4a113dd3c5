//! PURE. What another setting would have changed: attempts of the past, of which the embeddings were kept, put through the
//! decision again (`access::past`) and held against what the journal says became of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::EventId;
use super::explain::{Gate, of_evidence};
use crate::access::past::{Again, Outline, PastFace, play};
use crate::access::{Evidence, RefusalReason, Rule};
use crate::encoder::ModelId;
use crate::gallery::{Gallery, PersonId};

/// Longest outline of a kept attempt, in bytes; many times what one takes.
const MAX_OUTLINE: usize = 4 << 20;

/// Of whose attempts embeddings are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Nobody's.
    #[default]
    Nobody,
    /// Of those who were recognised.
    Recognised,
    /// Of everybody, strangers too.
    Everybody,
}

/// One face on its way past a door, with what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct PastAttempt {
    /// The encoder of its embeddings.
    pub model: ModelId,
    /// The encoder that its decisions fell by, where that was another one.
    pub decided_by: Option<ModelId>,
    /// When it was over.
    pub wall: Timestamp,
    /// At which door.
    pub door: String,
    /// In which run of the service, by the record of its start: none remembers what another saw.
    pub run: EventId,
    /// The threshold in force then.
    pub threshold: f32,
    /// The decisions that fell on it, in order.
    pub decisions: Vec<Decision>,
    /// Who came nearest, and how near, by the people of then.
    pub nearest: Option<(PersonId, f32)>,
    /// What was seen.
    pub face: PastFace,
}

/// A decision of the past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Its record; a PIN that is asked for again has none.
    pub event: Option<EventId>,
    /// What it was.
    pub then: Then,
    /// The highest score by which it fell.
    pub score: Option<f32>,
}

/// What a decision was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// Recognised, and the door opened.
    LetIn(PersonId),
    /// Recognised, and asked for a PIN.
    Asked(PersonId),
    /// Recognised, and kept out by the rule book or by a delay.
    TurnedAway(PersonId),
    /// Not recognised.
    Refused(RefusalReason),
}

impl Then {
    /// Whom it recognised.
    pub fn person(self) -> Option<PersonId> {
        match self {
            Self::LetIn(person) | Self::Asked(person) | Self::TurnedAway(person) => Some(person),
            Self::Refused(_) => None,
        }
    }
}

/// What stands before the embeddings of a kept attempt.
#[derive(Serialize, Deserialize)]
struct Head {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decided_by: Option<ModelId>,
    wall: Timestamp,
    door: String,
    run: EventId,
    threshold: f32,
    decisions: Vec<Decision>,
    nearest: Option<(PersonId, f32)>,
    face: Outline,
}

impl PastAttempt {
    /// The first decision that recognised somebody, else the first.
    pub fn decision(&self) -> Option<&Decision> {
        self.recognition().or(self.decisions.first())
    }

    /// The first decision that recognised somebody.
    pub fn recognition(&self) -> Option<&Decision> {
        self.decisions.iter().find(|decision| decision.then.person().is_some())
    }

    /// What is sealed of it: the length of its outline, the outline as JSON, the embeddings.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let (face, values) = self.face.parts();
        let head = Head {
            decided_by: self.decided_by.clone(),
            wall: self.wall,
            door: self.door.clone(),
            run: self.run,
            threshold: self.threshold,
            decisions: self.decisions.clone(),
            nearest: self.nearest,
            face,
        };
        let head = serde_json::to_vec(&head).expect("an outline is plain data");
        let length = u32::try_from(head.len()).expect("an attempt has few looks");
        let mut bytes = Zeroizing::new(Vec::with_capacity(4 + head.len() + values.len()));
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(&values);
        bytes
    }

    /// Reads what [`PastAttempt::encode`] wrote; `None` when it is anything else.
    pub fn decode(model: &ModelId, bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let (head, values) = rest.split_at_checked(length).filter(|_| length <= MAX_OUTLINE)?;
        let Head { decided_by, wall, door, run, threshold, decisions, nearest, face } =
            serde_json::from_slice(head).ok()?;
        let face = PastFace::from_parts(&face, values)?;
        Some(Self { model: model.clone(), decided_by, wall, door, run, threshold, decisions, nearest, face })
    }
}

/// How an attempt would have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Recognised, and it was not.
    Granted,
    /// Not recognised, and the door opened.
    Refused,
    /// Not recognised, and it was, but kept out by the rule book or for want of a PIN.
    Unrecognised,
    /// Recognised as somebody else.
    Other,
}

/// An attempt that would have ended otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The record of what happened; none where nothing was decided, as somebody went by.
    pub event: Option<EventId>,
    /// When.
    pub wall: Timestamp,
    /// At which door.
    pub door: String,
    /// How it would have ended.
    pub outcome: Outcome,
    /// As whom it was recognised, by their name now.
    pub was: Option<String>,
    /// Why it was refused.
    pub was_refused: Option<RefusalReason>,
    /// As whom it would be.
    pub would_be: Option<String>,
    /// Why it would be refused; none where nothing would be decided.
    pub would_be_refused: Option<RefusalReason>,
    /// The highest score by which it was decided then, or that it had.
    pub score_then: Option<f32>,
    /// … and now.
    pub score: Option<f32>,
    /// The condition that makes the difference.
    pub gate: Option<Gate>,
    /// It would end so by the settings in force already: people have changed since.
    pub already: bool,
    /// The photo check was not asked about every look that would count: it counts as alive here.
    pub photo_check_unasked: bool,
}

/// What another setting would have changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Replayed {
    /// The encoder.
    pub model: String,
    /// The threshold in force, and the one that was tried.
    pub threshold_now: f32,
    /// See there.
    pub threshold: f32,
    /// Whether measurements show that the one tried keeps the rate asked for.
    pub supported: bool,
    /// Attempts that were put through again.
    pub attempts: usize,
    /// The first and the last of them.
    pub from: Option<Timestamp>,
    /// See there.
    pub until: Option<Timestamp>,
    /// Attempts of another encoder, or of people who are not enrolled any more, which say nothing.
    pub left_out: usize,
    /// Recognised then.
    pub recognised_then: usize,
    /// Recognised by what was tried.
    pub recognised: usize,
    /// Where the two differ, oldest first.
    pub differences: Vec<Difference>,
}

impl Replayed {
    /// How many attempts would have ended like this.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.differences.iter().filter(|difference| difference.outcome == outcome).count()
    }
}

/// Puts attempts through the decision again by `tried`, and by `now`, the rule in force, where that is of the same encoder.
pub fn replay(attempts: &[PastAttempt], gallery: &Gallery, now: Option<&Rule>, tried: &Rule) -> Replayed {
    let fits = |attempt: &&PastAttempt| {
        let gone = attempt.recognition().and_then(|decision| decision.then.person());
        let dim_fits = gallery.people() == 0 || attempt.face.embeddings().all(|e| e.dim() == gallery.dim());
        attempt.model == *gallery.model()
            && dim_fits
            && gone.is_none_or(|person| gallery.name_of(person).is_some())
    };
    let mut kept: Vec<&PastAttempt> = attempts.iter().filter(fits).collect();
    kept.sort_by_key(|attempt| attempt.wall);
    let by_tried = played(&kept, gallery, tried);
    let by_now = now.map(|now| played(&kept, gallery, now));
    let mut found = Replayed {
        model: gallery.model().to_string(),
        threshold_now: now.map_or(0.0, |now| now.threshold.0),
        threshold: tried.threshold.0,
        supported: tried.supported,
        attempts: kept.len(),
        from: kept.first().map(|attempt| attempt.wall),
        until: kept.last().map(|attempt| attempt.wall),
        left_out: attempts.len() - kept.len(),
        ..Replayed::default()
    };
    for (n, (attempt, again)) in kept.into_iter().zip(&by_tried).enumerate() {
        let in_force = by_now.as_ref().zip(now).map(|(by_now, now)| (&by_now[n], now));
        found.recognised_then += usize::from(attempt.recognition().is_some());
        found.recognised += usize::from(again.granted.is_some());
        found.differences.extend(difference(attempt, again, in_force, gallery));
    }
    found
}

/// Door by door and run by run; in the order of `attempts`.
fn played(attempts: &[&PastAttempt], gallery: &Gallery, rule: &Rule) -> Vec<Again> {
    let mut stretches: BTreeMap<(&str, i64), Vec<usize>> = BTreeMap::new();
    for (n, attempt) in attempts.iter().enumerate() {
        stretches.entry((&attempt.door, attempt.run.0)).or_default().push(n);
    }
    let mut again = vec![Again::default(); attempts.len()];
    for places in stretches.into_values() {
        let faces: Vec<&PastFace> = places.iter().map(|n| &attempts[*n].face).collect();
        let asked: Vec<bool> = places.iter().map(|n| was_asked(attempts[*n])).collect();
        for (n, face) in places.into_iter().zip(play(&faces, &asked, gallery, rule)) {
            again[n] = face;
        }
    }
    again
}

fn was_asked(attempt: &PastAttempt) -> bool {
    attempt.decisions.iter().any(|decision| matches!(decision.then, Then::Asked(_)))
}

fn difference(
    attempt: &PastAttempt,
    again: &Again,
    in_force: Option<(&Again, &Rule)>,
    gallery: &Gallery,
) -> Option<Difference> {
    let decision = attempt.decision();
    let was = decision.and_then(|decision| decision.then.person());
    let would_be = again.granted.as_ref().map(|(person, _)| *person);
    let outcome = match (was, would_be) {
        (was, would_be) if was == would_be => return None,
        // A challenge ends as it did: it is not asked again.
        (None, Some(_)) if failed_a_challenge(attempt) => return None,
        (None, Some(_)) => Outcome::Granted,
        (Some(_), None) if attempt.decisions.iter().any(|d| matches!(d.then, Then::LetIn(_))) => {
            Outcome::Refused
        }
        (Some(_), None) => Outcome::Unrecognised,
        _ => Outcome::Other,
    };
    let name =
        |person: Option<PersonId>| person.and_then(|person| gallery.name_of(person)).map(str::to_owned);
    let refused = |then: &Decision| match then.then {
        Then::Refused(reason) => Some(reason),
        _ => None,
    };
    let is_so_already =
        |(in_force, _): (&Again, &Rule)| in_force.granted.as_ref().map(|(person, _)| *person) == would_be;
    Some(Difference {
        event: decision.and_then(|decision| decision.event),
        wall: attempt.wall,
        door: attempt.door.clone(),
        outcome,
        was: name(was),
        was_refused: decision.and_then(refused),
        would_be: name(would_be),
        would_be_refused: again.refused.as_ref().map(|(reason, _)| *reason).filter(|_| would_be.is_none()),
        score_then: decision.and_then(|d| d.score).or(attempt.nearest.map(|(_, score)| score)),
        score: best_score(again),
        gate: gate(again, in_force.map(|(_, now)| now)),
        already: in_force.is_some_and(is_so_already),
        photo_check_unasked: would_be.is_some() && again.unasked,
    })
}

fn failed_a_challenge(attempt: &PastAttempt) -> bool {
    attempt.decisions.iter().any(|decision| decision.then == Then::Refused(RefusalReason::Challenge))
}

/// Of the look that decided, or the highest there was.
fn best_score(again: &Again) -> Option<f32> {
    let of = |evidence: &Evidence| evidence.best.as_ref().map(|best| best.score.0);
    let decided = again.granted.as_ref().map(|(_, evidence)| of(evidence));
    let refused = || again.refused.as_ref().map(|(_, evidence)| of(evidence));
    decided.or_else(refused).flatten().or(again.best.as_ref().map(|best| best.score.0))
}

/// The condition that makes the difference. Of somebody who would be recognised: the first that the rule in force does not find
/// met, with the limit that is tried. Of somebody who would not be: the first that is not met by what is tried.
fn gate(again: &Again, now: Option<&Rule>) -> Option<Gate> {
    let unmet = |gates: Vec<Gate>| gates.into_iter().find(|gate| gate.met == Some(false));
    match (&again.granted, &again.refused) {
        (Some((_, evidence)), _) => {
            let by_now = now.map(|now| Evidence { rule: now.clone(), ..evidence.clone() });
            let name = by_now.and_then(|by_now| unmet(of_evidence(&by_now, None)));
            let name = name.map_or("score".to_owned(), |gate| gate.name);
            of_evidence(evidence, None).into_iter().find(|gate| gate.name == name)
        }
        (None, Some((reason, evidence))) => unmet(of_evidence(evidence, Some(*reason))),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::access::Proof;
    use crate::access::past::fixtures::{face, gallery};
    use crate::access::past::{PastLook, Sight};
    use crate::clock::MonoTime;
    use crate::liveness::signs::Signs;
    use crate::vision::tracks::TrackId;

    fn attempt(event: i64, then: Then, axis: usize, scores: &[f32]) -> PastAttempt {
        let looks = scores.iter().zip(0..).map(|(score, n)| {
            let captured = MonoTime::from_millis(100_000 * event as u64 + 66 * n);
            PastLook {
                seq: n,
                captured,
                decided: captured + Duration::from_millis(80),
                size_px: 100.0,
                others: Vec::new(),
                sight: Sight::Face(face(axis, *score)),
                proof: Proof::Off,
                signs: Signs::default(),
                yaw_deg: 0.0,
            }
        });
        let best = scores.iter().copied().fold(0.0, f32::max);
        PastAttempt {
            model: ModelId("m@1".into()),
            decided_by: None,
            wall: Timestamp::UNIX_EPOCH + Duration::from_secs(100 * event as u64),
            door: "door".into(),
            run: EventId(1),
            threshold: 0.5,
            decisions: vec![Decision { event: Some(EventId(event)), then, score: Some(best) }],
            nearest: Some((PersonId(axis as i64 + 1), best)),
            face: PastFace { track: TrackId(event as u64), looks: looks.collect() },
        }
    }

    fn a_day() -> Vec<PastAttempt> {
        let unknown = Then::Refused(RefusalReason::Unknown);
        let mut passed_by = attempt(6, unknown, 0, &[0.46, 0.47, 0.48]);
        passed_by.decisions.clear();
        vec![
            attempt(1, Then::LetIn(PersonId(1)), 0, &[0.8, 0.8, 0.8]),
            attempt(2, unknown, 0, &[0.45; 5]),
            attempt(3, unknown, 1, &[0.1, 0.46, 0.47, 0.48, 0.46]),
            attempt(4, Then::LetIn(PersonId(3)), 2, &[0.55, 0.56, 0.57]),
            attempt(5, unknown, 1, &[0.2; 5]),
            passed_by,
            attempt(7, Then::TurnedAway(PersonId(2)), 1, &[0.55, 0.56, 0.57]),
        ]
    }

    fn told(threshold: f32) -> Vec<(Option<i64>, Outcome, Option<String>)> {
        let found = replay(&a_day(), &gallery(), Some(&Rule::for_tests(0.5)), &Rule::for_tests(threshold));
        assert_eq!(found.attempts, 7);
        let told = |d: &Difference| (d.event.map(|e| e.0), d.outcome, d.would_be.clone());
        found.differences.iter().map(told).collect()
    }

    #[test]
    fn a_lower_threshold_lets_more_in_and_a_higher_one_fewer() {
        assert_eq!(told(0.5), [], "the rule of then decides as it did");
        let ada = || Some("Ada".to_owned());
        assert_eq!(
            told(0.44),
            [
                (Some(2), Outcome::Granted, ada()),
                (Some(3), Outcome::Granted, Some("Bob".into())),
                (None, Outcome::Granted, ada())
            ],
            "also somebody who only went by, of whom there is no record"
        );
        assert_eq!(told(0.6), [(Some(4), Outcome::Refused, None), (Some(7), Outcome::Unrecognised, None)]);
    }

    #[test]
    fn each_difference_says_by_what_it_came() {
        let found = replay(&a_day(), &gallery(), Some(&Rule::for_tests(0.5)), &Rule::for_tests(0.44));
        let second = &found.differences[1];
        assert_eq!((second.score_then, second.score), (Some(0.48), Some(0.48)));
        assert_eq!(second.was_refused, Some(RefusalReason::Unknown));
        let gate = second.gate.as_ref().unwrap();
        assert_eq!((gate.name.as_str(), gate.limit, gate.met), ("score", Some(0.44), Some(true)));
        assert!(!second.already);
        let found = replay(&a_day(), &gallery(), Some(&Rule::for_tests(0.5)), &Rule::for_tests(0.6));
        let first = &found.differences[0];
        assert_eq!((first.was.as_deref(), first.would_be_refused), (Some("Cy"), None));
        assert_eq!((found.recognised_then, found.recognised), (3, 1));
        // Five looks and none of them names anybody: a refusal falls, with its gate.
        let day = [attempt(4, Then::LetIn(PersonId(3)), 2, &[0.55; 5])];
        let found = replay(&day, &gallery(), Some(&Rule::for_tests(0.5)), &Rule::for_tests(0.6));
        let gate = found.differences[0].gate.as_ref().unwrap();
        assert_eq!((gate.name.as_str(), gate.limit, gate.met), ("score", Some(0.6), Some(false)));
        assert_eq!(found.differences[0].would_be_refused, Some(RefusalReason::Unknown));
    }

    #[test]
    fn what_follows_already_from_the_settings_in_force_is_told_apart() {
        let day = [attempt(2, Then::Refused(RefusalReason::Unknown), 0, &[0.55; 5])];
        let found = replay(&day, &gallery(), Some(&Rule::for_tests(0.5)), &Rule::for_tests(0.44));
        assert!(found.differences[0].already, "Ada was enrolled after she had been refused");
    }

    #[test]
    fn a_challenge_ends_as_it_did() {
        let day = [attempt(2, Then::Refused(RefusalReason::Challenge), 0, &[0.8; 5])];
        assert_eq!(
            replay(&day, &gallery(), Some(&Rule::for_tests(0.5)), &Rule::for_tests(0.44)).differences,
            []
        );
    }

    #[test]
    fn what_cannot_be_compared_is_left_out_and_counted() {
        let of_another = PastAttempt { model: ModelId("other@2".into()), ..a_day().remove(0) };
        let gone = attempt(2, Then::LetIn(PersonId(9)), 0, &[0.8; 3]);
        let found =
            replay(&[of_another, gone], &gallery(), Some(&Rule::for_tests(0.5)), &Rule::for_tests(0.5));
        assert_eq!((found.attempts, found.left_out), (0, 2));
    }

    #[test]
    fn an_attempt_is_read_as_it_was_written_and_nothing_else_is() {
        for attempt in a_day() {
            let bytes = attempt.encode();
            assert_eq!(PastAttempt::decode(&attempt.model, &bytes), Some(attempt.clone()));
            assert_eq!(PastAttempt::decode(&attempt.model, &bytes[..bytes.len() - 1]), None);
        }
        for bytes in [&b""[..], b"\xff\xff\xff\xff", b"\x02\0\0\0{}", b"\0\0\0\0"] {
            assert_eq!(PastAttempt::decode(&ModelId("m@1".into()), bytes), None);
        }
    }
}
