//! PURE. Whether the face of somebody who was just let in may become one of their samples.
//!
//! A gallery that learns what it recognises drifts: each sample admits faces a little further off, and those become samples.
//! So nothing that was learnt ever vouches for anything: a face is held against the samples that an operator enrolled, and must
//! agree with them by far more than it takes to be let in. It must not come nearer to anybody else than those samples do, nor
//! belong to somebody who looks like another. And how many are learnt is bounded.
//!
//! [`may_learn`] is asked after a grant has opened the door, for the face of the look that brought it, and only there.

use super::Evidence;
use crate::encoder::{Embedding, Score};
use crate::gallery::{Gallery, PersonId};

/// A face this like one that is stored already teaches nothing.
const KNOWN_FROM: f32 = 0.95;

/// How faces are learnt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learning {
    /// Samples learnt of one person at most.
    pub most: usize,
    /// A face must agree with the enrolled samples by so much more than the threshold.
    pub above: f32,
}

/// A face that may be learnt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// Its score with the enrolled samples.
    pub enrolled: Score,
    /// Its score with whoever else is nearest; `None` when nobody else is enrolled.
    pub nearest_other: Option<Score>,
}

/// Why a face is not learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLearnt {
    /// Nothing showed that it was no picture of a face.
    Unproven,
    /// Somebody else was in view.
    Company,
    /// Its owner looks like somebody else who is enrolled.
    LookAlike,
    /// As many as may be are learnt.
    Full,
    /// It agrees too little with the samples that were enrolled.
    Unlike,
    /// It is nearer to somebody else than those samples.
    Nearer,
    /// It is like one that is stored.
    Known,
}

/// What is known of a face and its owner.
#[derive(Clone, Copy, Debug)]
pub struct Lesson<'a> {
    /// The face.
    pub face: &'a Embedding,
    /// Whose it is.
    pub person: PersonId,
    /// Why they were let in.
    pub evidence: &'a Evidence,
    /// Whether nobody else was in view.
    pub alone: bool,
    /// How many samples of theirs were learnt so far.
    pub learnt: usize,
    /// The samples that operators enrolled, of everybody.
    pub enrolled: &'a Gallery,
    /// All samples.
    pub all: &'a Gallery,
}

/// Whether a face becomes a sample of its owner.
///
/// # Errors
/// Why not.
pub fn may_learn(options: &Learning, lesson: &Lesson<'_>) -> Result<Agreement, NotLearnt> {
    if lesson.learnt >= options.most {
        return Err(NotLearnt::Full);
    }
    let agreement = vouched(options.above, lesson)?;
    if score_of(lesson.all, lesson.face, lesson.person).is_some_and(|score| score.0 >= KNOWN_FROM) {
        return Err(NotLearnt::Known);
    }
    Ok(agreement)
}

/// Whether the samples that were enrolled vouch for a face, by so much more than it takes to be let in: what makes it fit to
/// become a sample of its owner, however many they have.
///
/// # Errors
/// Why not.
pub fn vouched(above: f32, lesson: &Lesson<'_>) -> Result<Agreement, NotLearnt> {
    let Lesson { face, person, evidence, alone, enrolled, all, .. } = *lesson;
    presentable(evidence, alone)?;
    let agrees = score_of(enrolled, face, person).ok_or(NotLearnt::Unlike)?;
    let enough = agrees.0 >= evidence.rule.threshold.0 + above;
    if !enough {
        return Err(NotLearnt::Unlike);
    }
    let nearest_other = others(all, face, person);
    let before = enrolled.nearest_to(person).map(|other| other.score);
    let no_nearer = nearest_other.is_none_or(|now| before.is_some_and(|before| now <= before));
    if !no_nearer {
        return Err(NotLearnt::Nearer);
    }
    Ok(Agreement { enrolled: agrees, nearest_other })
}

/// What must be so of a look, whoever it is of: asked first, as it costs nothing.
///
/// # Errors
/// Why nothing is learnt of it.
pub fn presentable(evidence: &Evidence, alone: bool) -> Result<(), NotLearnt> {
    // Written so that a figure that is no number teaches nothing.
    let proven = evidence.live.is_some_and(|live| live.score >= live.needed);
    if !proven {
        return Err(NotLearnt::Unproven);
    }
    if !alone {
        return Err(NotLearnt::Company);
    }
    if evidence.alike.is_some() { Err(NotLearnt::LookAlike) } else { Ok(()) }
}

/// Nobody has this id: they count from 1.
const NOBODY: PersonId = PersonId(0);

fn score_of(gallery: &Gallery, face: &Embedding, person: PersonId) -> Option<Score> {
    let everybody = gallery.nearest_other(face, NOBODY, Score(-1.0));
    everybody.into_iter().find(|candidate| candidate.person == person).map(|own| own.score)
}

fn others(gallery: &Gallery, face: &Embedding, person: PersonId) -> Option<Score> {
    gallery.nearest_other(face, person, Score(-1.0)).first().map(|nearest| nearest.score)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::access::{Live, Rule};
    use crate::encoder::{ModelId, compare};
    use crate::gallery::Candidate;
    use crate::liveness::signs::Signs;
    use crate::vision::tracks::TrackId;

    const ADA: PersonId = PersonId(1);
    const BOB: PersonId = PersonId(2);
    const OPTIONS: Learning = Learning { most: 3, above: 0.15 };
    const THRESHOLD: f32 = 0.5;

    fn evidence() -> Evidence {
        Evidence {
            track: TrackId(1),
            seq: 1,
            frame_age_ms: 10,
            best: None,
            runner_up: None,
            frames_agreed: 3,
            frames_seen: 3,
            live: Some(Live { score: 0.9, needed: 0.5 }),
            alike: None,
            signs: Signs::default(),
            watched_ms: None,
            rule: Rule::for_tests(THRESHOLD),
        }
    }

    /// A face so many degrees from Ada's, on the way to Bob's at 90.
    fn at(degrees: f32) -> Embedding {
        let (y, x) = degrees.to_radians().sin_cos();
        Embedding::normalise(vec![x, y, 0.0]).unwrap()
    }

    /// A face so many degrees from Ada's, away from Bob's in no direction.
    fn aside(degrees: f32) -> Embedding {
        let (z, x) = degrees.to_radians().sin_cos();
        Embedding::normalise(vec![x, 0.0, z]).unwrap()
    }

    fn gallery(faces: Vec<(PersonId, Embedding)>) -> Gallery {
        let named = faces.into_iter().map(|(person, face)| (person, Arc::from("x"), face)).collect();
        Gallery::new(ModelId("m@1".into()), 1, named)
    }

    /// Asks about one face of Ada's.
    fn ask(
        face: &Embedding,
        change: impl FnOnce(&mut Evidence),
        alone: bool,
        learnt: usize,
    ) -> Result<(), NotLearnt> {
        let people = gallery(vec![(ADA, at(0.0)), (ADA, at(20.0)), (BOB, at(100.0))]);
        let mut evidence = evidence();
        change(&mut evidence);
        let lesson =
            Lesson { face, person: ADA, evidence: &evidence, alone, learnt, enrolled: &people, all: &people };
        may_learn(&OPTIONS, &lesson).map(drop)
    }

    #[test]
    fn each_reason_not_to_learn_a_face() {
        let (nothing, good) = (|_: &mut Evidence| {}, aside(30.0));
        assert_eq!(ask(&good, nothing, true, 0), Ok(()));
        let unproven = |e: &mut Evidence| e.live = None;
        assert_eq!(ask(&good, unproven, true, 0), Err(NotLearnt::Unproven), "no photo check");
        let suspected = |e: &mut Evidence| e.live = Some(Live { score: 0.4, needed: 0.5 });
        assert_eq!(ask(&good, suspected, true, 0), Err(NotLearnt::Unproven), "taken for a picture");
        assert_eq!(ask(&good, nothing, false, 0), Err(NotLearnt::Company));
        let twin = Candidate { person: BOB, name: "Bob".into(), score: Score(0.6) };
        assert_eq!(ask(&good, |e| e.alike = Some(twin), true, 0), Err(NotLearnt::LookAlike));
        assert_eq!(ask(&good, nothing, true, 3), Err(NotLearnt::Full));
        assert_eq!(
            ask(&aside(55.0), nothing, true, 0),
            Err(NotLearnt::Unlike),
            "let in, and no more than that"
        );
        assert_eq!(ask(&at(35.0), nothing, true, 0), Err(NotLearnt::Nearer), "towards Bob");
        assert_eq!(ask(&aside(10.0), nothing, true, 0), Err(NotLearnt::Known));
        let raw: Embedding = serde_json::from_str("[1e300, 0.0, 0.0]").unwrap();
        assert!(ask(&raw, nothing, true, 0).is_err(), "no number");
    }

    #[test]
    fn both_numbers_of_the_options_act() {
        let people = gallery(vec![(ADA, at(0.0)), (BOB, at(60.0))]);
        let face = aside(40.0);
        let with = |options: Learning, learnt: usize| {
            let lesson = Lesson {
                face: &face,
                person: ADA,
                evidence: &evidence(),
                alone: true,
                learnt,
                enrolled: &people,
                all: &people,
            };
            may_learn(&options, &lesson).map(drop)
        };
        assert_eq!(with(Learning { above: 0.26, ..OPTIONS }, 0), Ok(()), "0.766 is 0.266 above");
        assert_eq!(with(Learning { above: 0.27, ..OPTIONS }, 0), Err(NotLearnt::Unlike));
        assert_eq!(with(Learning { most: 5, ..OPTIONS }, 4), Ok(()));
        assert_eq!(with(Learning { most: 4, ..OPTIONS }, 4), Err(NotLearnt::Full));
    }

    /// What Ada's samples become when everything that opens the door for her is offered in turn. `guarded`: by the rule above;
    /// else as others do, where what is recognised is learnt.
    fn offer(enrolled: &[(PersonId, Embedding)], probes: &[Embedding], guarded: bool) -> Vec<Embedding> {
        let originals = gallery(enrolled.to_vec());
        let mut learnt: Vec<Embedding> = Vec::new();
        for face in probes {
            let mine = learnt.iter().map(|face| (ADA, face.clone()));
            let all = gallery(enrolled.iter().cloned().chain(mine).collect());
            let opens = all.find(face).is_some_and(|found| {
                let ahead = found.runner_up.is_none_or(|second| found.best.score.0 - second.score.0 >= 0.08);
                found.best.person == ADA && found.best.score.0 >= THRESHOLD && ahead
            });
            let evidence = evidence();
            let lesson = Lesson {
                face,
                person: ADA,
                evidence: &evidence,
                alone: true,
                learnt: learnt.len(),
                enrolled: &originals,
                all: &all,
            };
            if opens && (!guarded || may_learn(&OPTIONS, &lesson).is_ok()) {
                learnt.push(face.clone());
            }
        }
        learnt
    }

    fn unit(dim: usize) -> impl Strategy<Value = Embedding> {
        prop::collection::vec(-1f32..1.0, dim)
            .prop_filter_map("zero", |values| Embedding::normalise(values).ok())
    }

    /// A way from one face to another in so many steps.
    fn way(from: &Embedding, to: &Embedding, steps: usize) -> Vec<Embedding> {
        let between = |share: f32| {
            let mixed = from.values().iter().zip(to.values()).map(|(a, b)| a + share * (b - a)).collect();
            Embedding::normalise(mixed).ok()
        };
        (1..=steps).filter_map(|i| between(i as f32 / steps as f32)).collect()
    }

    #[test]
    fn a_gallery_that_learns_whatever_it_recognises_ends_up_letting_a_stranger_in_and_ours_does_not() {
        let stranger = aside(120.0);
        let enrolled = [(ADA, aside(0.0)), (BOB, at(70.0))];
        let probes: Vec<Embedding> = (1..=60).map(|i| aside(2.0 * i as f32)).collect();
        let lets_in =
            |learnt: &[Embedding]| learnt.iter().any(|face| compare(face, &stranger).score.0 >= THRESHOLD);
        assert!(lets_in(&offer(&enrolled, &probes, false)), "what others do");
        let learnt = offer(&enrolled, &probes, true);
        assert!(!learnt.is_empty() && !lets_in(&learnt), "{}", learnt.len());
    }

    proptest! {
        #[test]
        fn no_chain_of_look_alikes_moves_the_gallery_away_from_who_was_enrolled(
            ada in prop::collection::vec(unit(6), 1..4), others in prop::collection::vec(unit(6), 0..4),
            goals in prop::collection::vec(unit(6), 1..4), steps in 2usize..40,
        ) {
            let mut enrolled: Vec<(PersonId, Embedding)> = ada.iter().map(|face| (ADA, face.clone())).collect();
            enrolled.extend(others.iter().zip(2..).map(|(face, id)| (PersonId(id), face.clone())));
            let mut probes = Vec::new();
            let mut from = ada[0].clone();
            for goal in &goals {
                probes.extend(way(&from, goal, steps));
                from = goal.clone();
            }
            let nearest = |faces: &[Embedding]| {
                let pairs = faces.iter().flat_map(|a| others.iter().map(move |b| compare(a, b).score.0));
                pairs.fold(f32::MIN, f32::max)
            };
            let learnt = offer(&enrolled, &probes, true);
            prop_assert!(learnt.len() <= OPTIONS.most);
            for face in &learnt {
                let agrees = ada.iter().map(|own| compare(own, face).score.0).fold(f32::MIN, f32::max);
                prop_assert!(agrees >= THRESHOLD + OPTIONS.above - 1e-5, "{}", agrees);
            }
            prop_assert!(others.is_empty() || nearest(&learnt) <= nearest(&ada) + 1e-5);
        }
    }
}
