//! PURE. Enrolled people who look alike: for them a face alone says too little.
//!
//! Worked out from the gallery whenever people change, and asked at each look: whoever has a look-alike must be further ahead of
//! everybody else, and whatever else the door asks for, such as a PIN, can be asked of them ([`Evidence::doubts`]).
//!
//! [`Evidence::doubts`]: super::Evidence::doubts

use std::collections::BTreeMap;

use super::Rule;
use crate::encoder::Score;
use crate::gallery::{Candidate, Gallery, PersonId};

/// What makes a face alone too little to open a door by.
#[derive(Clone, Debug, PartialEq)]
pub enum Doubt {
    /// Nobody has measured that the threshold keeps strangers out as often as the operator wants.
    Unsupported,
    /// The face is easily taken for that of somebody else who is enrolled.
    LooksLike {
        /// Who.
        name: String,
        /// How much, a cosine between their samples.
        score: f32,
    },
}

/// Everybody who looks like somebody else, with whom they are most alike.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LookAlikes(BTreeMap<PersonId, Candidate>);

impl LookAlikes {
    /// Of the people enrolled under `rule`: the pairs with samples that come within the margin of naming each other.
    pub fn of(gallery: &Gallery, rule: &Rule) -> Self {
        let mut alike = BTreeMap::new();
        // Most alike first, so that the first entry of each stays.
        for (a, b) in gallery.likenesses(Self::bar(rule)).pairs {
            alike.entry(a.person).or_insert_with(|| b.clone());
            alike.entry(b.person).or_insert(a);
        }
        Self(alike)
    }

    /// The score between two people's samples from which they look alike.
    pub fn bar(rule: &Rule) -> Score {
        Score(rule.threshold.0 - rule.margin)
    }

    /// Whom `person` is most like, if anybody.
    pub fn of_person(&self, person: PersonId) -> Option<&Candidate> {
        self.0.get(&person)
    }

    /// How many people look like somebody else.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Nobody does.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How far ahead of everybody else `person` must be.
    pub fn margin(&self, person: PersonId, rule: &Rule) -> f32 {
        if self.0.contains_key(&person) { rule.margin.max(rule.alike_margin) } else { rule.margin }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::access::{Attempts, Demands, Look, LookOutcome, Proof, RefusalReason, Several, Verdict};
    use crate::clock::MonoTime;
    use crate::encoder::{Embedding, ModelId};
    use crate::gallery::Match;
    use crate::liveness::signs::Signs;
    use crate::vision::tracks::TrackId;

    fn at(degrees: f32) -> Embedding {
        let (y, x) = degrees.to_radians().sin_cos();
        Embedding::normalise(vec![x, y]).unwrap()
    }

    fn rule() -> Rule {
        Rule {
            threshold: Score(0.5),
            margin: 0.08,
            alike_margin: 0.2,
            frames_needed: 3,
            frames_window: 5,
            max_frame_age: Duration::from_millis(500),
            regrant_after: Duration::from_secs(10),
            several: Several::Each,
            supported: true,
            demands: Demands::default(),
        }
    }

    #[test]
    fn relatives_must_be_further_ahead_than_others_and_are_known_as_such() {
        let templates = |other: f32| {
            vec![(PersonId(1), Arc::from("Tia"), at(0.0)), (PersonId(2), Arc::from("Tamera"), at(other))]
        };
        let shown = |other: f32, face: f32, rule: Rule| {
            let gallery = Gallery::new(ModelId("m@1".into()), 1, templates(other));
            let mut attempts = Attempts::new(rule.clone());
            attempts.set_rule(rule.clone(), LookAlikes::of(&gallery, &rule));
            let look = |seq: u64| Look {
                track: TrackId(1),
                seq,
                captured: MonoTime::from_millis(1_000 + seq),
                size_px: 90.0,
                outcome: LookOutcome::Compared(gallery.find(&at(face))),
                proof: Proof::Off,
                signs: Signs::default(),
                yaw_deg: 0.0,
            };
            let said =
                (0..5).flat_map(|seq| attempts.observe(&[look(seq)], MonoTime::from_millis(1_100))).next();
            match said.expect("a verdict") {
                Verdict::Grant(grant) => (grant.name().to_owned(), grant.evidence().unwrap().doubts()),
                Verdict::Refuse(reason, evidence) => (format!("{reason:?}"), evidence.doubts()),
                Verdict::Tell(told) => panic!("nobody asked for {told:?}"),
            }
        };
        let between: Match = Gallery::new(ModelId("m@1".into()), 1, templates(30.0)).find(&at(9.0)).unwrap();
        let ahead = between.best.score.0 - between.runner_up.unwrap().score.0;
        assert!((0.03..0.08).contains(&ahead), "{ahead}");
        let loose = Rule { margin: 0.02, alike_margin: 0.02, ..rule() };
        assert_eq!(shown(30.0, 9.0, loose.clone()).0, "Tia", "what a small margin does");
        let (said, doubts) = shown(30.0, 9.0, Rule { alike_margin: 0.2, ..loose.clone() });
        assert_eq!(said, format!("{:?}", RefusalReason::Ambiguous));
        let [Doubt::LooksLike { name, score }] = &doubts[..] else { panic!("{doubts:?}") };
        assert!(name == "Tamera" && (score - 0.866).abs() < 1e-3);
        // Strangers to each other, 90° apart, are held to the small margin, and nothing is doubted.
        assert_eq!(shown(90.0, 9.0, Rule { alike_margin: 0.9, ..loose }), ("Tia".to_owned(), vec![]));
        let unsupported = Rule { supported: false, ..rule() };
        assert_eq!(shown(90.0, 9.0, unsupported).1, [Doubt::Unsupported]);
    }

    #[test]
    fn twins_are_found_whichever_of_them_is_asked_for() {
        let rule = rule();
        let people = [(1, "Tia", 0.0), (2, "Tamera", 30.0), (3, "Kin", 64.0), (4, "Carl", 180.0)];
        let templates = people.map(|(id, name, degrees)| (PersonId(id), Arc::from(name), at(degrees)));
        let alike = LookAlikes::of(&Gallery::new(ModelId("m@1".into()), 1, templates.into()), &rule);
        let like = |id: i64| alike.of_person(PersonId(id)).map(|like| (&*like.name, like.score.0));
        assert_eq!(alike.len(), 3);
        assert!(matches!(like(1), Some(("Tamera", score)) if (score - 0.866).abs() < 1e-3));
        assert!(matches!(like(2), Some(("Tia", _))), "the more alike of two: {:?}", like(2));
        assert!(matches!(like(3), Some(("Tamera", score)) if score > 0.8), "34° apart");
        assert_eq!(like(4), None);
        assert_eq!(alike.margin(PersonId(1), &rule), 0.2);
        assert_eq!(alike.margin(PersonId(4), &rule), 0.08);
        assert_eq!(
            alike.margin(PersonId(1), &Rule { alike_margin: 0.0, ..rule }),
            0.08,
            "never less than others"
        );
    }
}
