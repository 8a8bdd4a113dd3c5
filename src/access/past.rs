//! PURE. Faces of the past: what was seen of one on its way past the door, in a form that can be kept, and the same decision
//! over it once more, by another rule or against other people.
//!
//! The looks go through [`Attempts`] as they did then, frame by frame and at the moments they had: nothing here decides.
//! Two things cannot be had again. A challenge was drawn for then, so none is asked. And the photo check is asked only
//! about faces that are near enough to be let in: where another rule would have asked it, a face counts as alive, and that is
//! told ([`Again::unasked`]).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    Attempts, Demands, Evidence, Live, Look, LookAlikes, LookOutcome, Proof, RefusalReason, Rule, Verdict,
};
use crate::clock::MonoTime;
use crate::encoder::Embedding;
use crate::gallery::{Candidate, Gallery, PersonId};
use crate::liveness::signs::Signs;
use crate::vision::quality::QualityIssue;
use crate::vision::tracks::TrackId;

/// Compared looks that are kept of one face at most: eight seconds of a quick camera. Whoever stands there for longer has been
/// decided on many times.
pub const MOST_COMPARED: usize = 120;
/// Looks of all kinds that are kept of one face at most.
pub const MOST_LOOKS: usize = 400;
/// Most values of an embedding.
const MAX_DIM: usize = 4096;
/// How far an embedding's length may be from 1.
const LENGTH_TOLERANCE: f32 = 1e-3;

/// One look, as it went into the decision.
#[derive(Clone, Debug, PartialEq)]
pub struct PastLook {
    /// Number of the frame.
    pub seq: u64,
    /// When the frame was taken.
    pub captured: MonoTime,
    /// When it was decided on.
    pub decided: MonoTime,
    /// Side of the face's box in px.
    pub size_px: f32,
    /// The other faces of the frame, by track, with their sizes.
    pub others: Vec<(TrackId, f32)>,
    /// What the frame said.
    pub sight: Sight,
    /// What the photo check said.
    pub proof: Proof,
    /// What the track had shown of itself.
    pub signs: Signs,
    /// How far the head was turned.
    pub yaw_deg: f32,
}

/// What a frame said about a face, before it was compared with anybody.
#[derive(Clone, Debug, PartialEq)]
pub enum Sight {
    /// Not good enough.
    Unusable(QualityIssue),
    /// In view.
    InView,
    /// Good enough to be compared.
    Face(Embedding),
}

/// One face on its way past the door.
#[derive(Clone, Debug, PartialEq)]
pub struct PastFace {
    /// Its track then.
    pub track: TrackId,
    /// What was seen of it, oldest first.
    pub looks: Vec<PastLook>,
}

/// How a face of the past fares now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Again {
    /// Whom it is recognised as, and by what figures; the first time.
    pub granted: Option<(PersonId, Evidence)>,
    /// Why it is refused, the first time, where it is.
    pub refused: Option<(RefusalReason, Evidence)>,
    /// The highest score of a look with anybody.
    pub best: Option<Candidate>,
    /// The photo check was not asked about a look that counts now: it counts as alive.
    pub unasked: bool,
}

impl PastFace {
    /// How many of its looks were compared.
    pub fn compared(&self) -> usize {
        self.embeddings().count()
    }

    /// Its embeddings, oldest first.
    pub fn embeddings(&self) -> impl Iterator<Item = &Embedding> {
        self.looks.iter().filter_map(|look| match &look.sight {
            Sight::Face(embedding) => Some(embedding),
            _ => None,
        })
    }

    /// What can be written of it beside its embeddings, and those as 32-bit floats, little-endian, one after the other.
    pub fn parts(&self) -> (Outline, Zeroizing<Vec<u8>>) {
        let looks = self.looks.iter().map(Line::of).collect();
        let dim = self.embeddings().next().map_or(0, Embedding::dim);
        let mut values = Zeroizing::new(Vec::with_capacity(4 * dim * self.compared()));
        for embedding in self.embeddings() {
            embedding.values().iter().for_each(|value| values.extend_from_slice(&value.to_le_bytes()));
        }
        (Outline { track: self.track, dim, looks }, values)
    }

    /// Puts the two together again; `None` when they do not fit, or are nothing that was ever written.
    pub fn from_parts(outline: &Outline, values: &[u8]) -> Option<Self> {
        let Outline { track, dim, looks } = outline;
        let faces = looks.iter().filter(|line| line.sight == Word::Face).count();
        let fits = *dim <= MAX_DIM && looks.len() <= MOST_LOOKS && (faces == 0) == (*dim == 0);
        if !fits || values.len() != 4 * dim * faces {
            return None;
        }
        let mut values = values.chunks_exact(4 * (*dim).max(1));
        let looks = looks.iter().map(|line| line.look(&mut values)).collect::<Option<_>>()?;
        Some(Self { track: *track, looks })
    }
}

/// A face without its embeddings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outline {
    track: TrackId,
    /// Values of each embedding; 0 where nothing was compared.
    dim: usize,
    looks: Vec<Line>,
}

/// A look without its embedding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Line {
    seq: u64,
    captured: MonoTime,
    decided: MonoTime,
    size_px: f32,
    others: Vec<(TrackId, f32)>,
    sight: Word,
    proof: Proof,
    signs: Signs,
    yaw_deg: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Unusable(QualityIssue),
    InView,
    Face,
}

impl Line {
    fn of(look: &PastLook) -> Self {
        // A size that is not a number cannot be written; it is nobody's company, as nothing is.
        let size = |px: f32| if px.is_finite() { px } else { 0.0 };
        Self {
            seq: look.seq,
            captured: look.captured,
            decided: look.decided,
            size_px: size(look.size_px),
            others: look.others.iter().map(|(track, px)| (*track, size(*px))).collect(),
            sight: match look.sight {
                Sight::Unusable(issue) => Word::Unusable(issue),
                Sight::InView => Word::InView,
                Sight::Face(_) => Word::Face,
            },
            proof: look.proof,
            signs: look.signs,
            yaw_deg: size(look.yaw_deg),
        }
    }

    fn look<'a>(&self, values: &mut impl Iterator<Item = &'a [u8]>) -> Option<PastLook> {
        let sight = match self.sight {
            Word::Unusable(issue) => Sight::Unusable(issue),
            Word::InView => Sight::InView,
            Word::Face => Sight::Face(embedding(values.next()?)?),
        };
        Some(PastLook {
            seq: self.seq,
            captured: self.captured,
            decided: self.decided,
            size_px: self.size_px,
            others: self.others.clone(),
            sight,
            proof: self.proof,
            signs: self.signs,
            yaw_deg: self.yaw_deg,
        })
    }
}

/// An embedding as it was written: of length 1 already.
fn embedding(bytes: &[u8]) -> Option<Embedding> {
    let values: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    let is_one = (length - 1.0).abs() <= LENGTH_TOLERANCE;
    // Wiped also where it is refused.
    let embedding = Embedding::normalise(values).ok()?;
    is_one.then_some(embedding)
}

/// Looks of one frame, by the face they are of.
type FrameOfThePast<'a> = Vec<(usize, &'a PastLook)>;

/// Puts faces of one door and one run of the service through the decision again, by `rule` and against `gallery`: what becomes of each, in
/// their order. `asked` says of each whether a PIN was asked for then: who is asked may be recognised again at once.
///
/// # Panics
/// When embeddings are of another dimension than the gallery's.
pub fn play(faces: &[&PastFace], asked: &[bool], gallery: &Gallery, rule: &Rule) -> Vec<Again> {
    let demands = Demands { challenge: None, ..rule.demands.clone() };
    let rule = Rule { demands, ..rule.clone() };
    let mut attempts = Attempts::new(rule.clone());
    attempts.set_rule(rule.clone(), LookAlikes::of(gallery, &rule));
    let mut again = vec![Again::default(); faces.len()];
    let mut frames: BTreeMap<(MonoTime, MonoTime, u64), FrameOfThePast<'_>> = BTreeMap::new();
    for (of, face) in faces.iter().enumerate() {
        for look in &face.looks {
            frames.entry((look.decided, look.captured, look.seq)).or_default().push((of, look));
        }
    }
    for ((now, ..), frame) in frames {
        let looks = looks_of(&frame, faces, gallery, &rule, &mut again);
        for verdict in attempts.observe(&looks, now) {
            match verdict {
                Verdict::Grant(grant) => {
                    let Some(evidence) = grant.evidence() else { continue };
                    let Some(face) = again.get_mut(evidence.track.0 as usize) else { continue };
                    if asked.get(evidence.track.0 as usize) == Some(&true) {
                        attempts.take_back(grant.person());
                    }
                    face.granted.get_or_insert_with(|| (grant.person(), evidence.clone()));
                }
                Verdict::Refuse(reason, evidence) => {
                    if let Some(face) = again.get_mut(evidence.track.0 as usize) {
                        face.refused.get_or_insert((reason, *evidence));
                    }
                }
                Verdict::Tell(_) => {}
            }
        }
    }
    again
}

/// The looks of a frame as they went in then. Tracks are numbered by face, and whoever else was in view keeps their company
/// under numbers beyond.
fn looks_of(
    frame: &FrameOfThePast<'_>,
    faces: &[&PastFace],
    gallery: &Gallery,
    rule: &Rule,
    again: &mut [Again],
) -> Vec<Look> {
    let mut looks: Vec<Look> = Vec::with_capacity(frame.len());
    for (of, look) in frame {
        let outcome = match &look.sight {
            Sight::Unusable(issue) => LookOutcome::Unusable(*issue),
            Sight::InView => LookOutcome::InView,
            Sight::Face(embedding) => LookOutcome::Compared(gallery.find(embedding)),
        };
        let mut proof = look.proof;
        if let LookOutcome::Compared(Some(found)) = &outcome {
            let face = &mut again[*of];
            if face.best.as_ref().is_none_or(|best| found.best.score > best.score) {
                face.best = Some(found.best.clone());
            }
            if proof == Proof::Unasked && found.best.score >= rule.threshold {
                face.unasked = true;
                proof = Proof::Asked(Live { score: 1.0, needed: 0.0 });
            }
        }
        looks.push(Look {
            track: TrackId(*of as u64),
            seq: look.seq,
            captured: look.captured,
            size_px: look.size_px,
            outcome,
            proof,
            signs: look.signs,
            yaw_deg: look.yaw_deg,
        });
    }
    let known = |track: TrackId| frame.iter().any(|(of, _)| faces[*of].track == track);
    let others = frame.first().map_or(&[][..], |(_, look)| &look.others);
    for (n, (_, size_px)) in others.iter().enumerate().filter(|(_, (track, _))| !known(*track)) {
        let of = frame[0].1;
        looks.push(Look {
            track: TrackId((faces.len() + n) as u64),
            seq: of.seq,
            captured: of.captured,
            size_px: *size_px,
            outcome: LookOutcome::InView,
            proof: Proof::Off,
            signs: Signs::default(),
            yaw_deg: 0.0,
        });
    }
    looks
}

/// Three people, and faces that are so alike to them, for the tests here and of the journal.
#[cfg(test)]
pub(crate) mod fixtures {
    use super::*;
    use crate::encoder::ModelId;

    /// A face that scores this much with the person at that axis of the three.
    pub(crate) fn face(axis: usize, score: f32) -> Embedding {
        let mut values = vec![0.0; 4];
        (values[axis], values[3]) = (score, (1.0 - score * score).sqrt());
        Embedding::normalise(values).unwrap()
    }

    /// Ada, Bob and Cy, one at each axis.
    pub(crate) fn gallery() -> Gallery {
        let people = [(1, "Ada"), (2, "Bob"), (3, "Cy")];
        let template = |(id, name): (i64, &str)| (PersonId(id), name.into(), face(id as usize - 1, 1.0));
        Gallery::new(ModelId("m@1".into()), 1, people.map(template).into())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::fixtures::{face, gallery};
    use super::*;

    fn look(ms: u64, score: f32) -> PastLook {
        PastLook {
            seq: ms,
            captured: MonoTime::from_millis(ms),
            decided: MonoTime::from_millis(ms + 80),
            size_px: 100.0,
            others: Vec::new(),
            sight: Sight::Face(face(0, score)),
            proof: Proof::Off,
            signs: Signs::default(),
            yaw_deg: 1.5,
        }
    }

    fn past(track: u64, from_ms: u64, scores: &[f32]) -> PastFace {
        let looks = scores.iter().zip(0..).map(|(score, n)| look(from_ms + 66 * n, *score)).collect();
        PastFace { track: TrackId(track), looks }
    }

    fn played(faces: &[PastFace], threshold: f32) -> Vec<Option<i64>> {
        let all: Vec<&PastFace> = faces.iter().collect();
        let again = play(&all, &vec![false; all.len()], &gallery(), &Rule::for_tests(threshold));
        again.into_iter().map(|face| face.granted.map(|(person, _)| person.0)).collect()
    }

    #[test]
    fn the_threshold_decides_as_it_would_have_then() {
        let day =
            [past(1, 1_000, &[0.7; 3]), past(2, 60_000, &[0.45; 5]), past(3, 120_000, &[0.52, 0.53, 0.54])];
        assert_eq!(played(&day, 0.5), [Some(1), None, Some(1)]);
        assert_eq!(played(&day, 0.44), [Some(1), Some(1), Some(1)]);
        assert_eq!(played(&day, 0.6), [Some(1), None, None]);
    }

    #[test]
    fn whoever_was_let_in_is_held_back_on_another_track_as_then_unless_a_pin_was_asked_for() {
        let twice = [past(1, 1_000, &[0.7; 3]), past(2, 3_000, &[0.7; 3])];
        assert_eq!(played(&twice, 0.5), [Some(1), None]);
        let all: Vec<&PastFace> = twice.iter().collect();
        let again = play(&all, &[true, true], &gallery(), &Rule::for_tests(0.5));
        assert!(again.iter().all(|face| face.granted.is_some()));
    }

    #[test]
    fn a_face_in_front_is_in_the_way_whether_it_was_kept_or_not() {
        let mut behind = past(1, 1_000, &[0.7; 5]);
        behind.looks.iter_mut().for_each(|look| look.others = vec![(TrackId(9), 200.0)]);
        let alone = play(&[&behind], &[false], &gallery(), &Rule::for_tests(0.5)).remove(0);
        assert_eq!(alone.granted, None);
        assert_eq!(alone.refused.unwrap().0, RefusalReason::NotNearest);
        let mut front = past(9, 1_000, &[0.2; 5]);
        for look in &mut front.looks {
            (look.size_px, look.others) = (200.0, vec![(TrackId(1), 100.0)]);
        }
        let both = play(&[&behind, &front], &[false, false], &gallery(), &Rule::for_tests(0.5));
        assert_eq!(both[0].refused.as_ref().unwrap().0, RefusalReason::NotNearest);
        assert_eq!(both[1].refused.as_ref().unwrap().0, RefusalReason::Unknown);
    }

    #[test]
    fn looks_that_the_photo_check_was_not_asked_about_count_as_alive_and_are_told() {
        let mut unasked = past(1, 1_000, &[0.45; 5]);
        unasked.looks.iter_mut().for_each(|look| look.proof = Proof::Unasked);
        let again =
            |threshold| play(&[&unasked], &[false], &gallery(), &Rule::for_tests(threshold)).remove(0);
        assert!(again(0.4).granted.is_some() && again(0.4).unasked);
        assert!(again(0.5).granted.is_none() && !again(0.5).unasked);
        let mut picture = past(1, 1_000, &[0.7; 5]);
        picture.looks.iter_mut().for_each(|look| look.proof = Proof::Asked(Live { score: 0.1, needed: 0.5 }));
        let picture = play(&[&picture], &[false], &gallery(), &Rule::for_tests(0.4)).remove(0);
        assert_eq!(picture.refused.unwrap().0, RefusalReason::NotLive, "a picture stays one");
    }

    #[test]
    fn a_late_look_is_late_again() {
        let mut late = past(1, 1_000, &[0.7; 5]);
        late.looks.iter_mut().for_each(|look| look.decided = look.captured + Duration::from_millis(900));
        let again = play(&[&late], &[false], &gallery(), &Rule::for_tests(0.5)).remove(0);
        assert_eq!(again.refused.unwrap().0, RefusalReason::Stale);
    }

    #[test]
    fn a_face_is_the_same_when_it_was_put_together_again_and_nothing_else_is_taken_for_one() {
        let mut whole = past(7, 1_000, &[0.7, 0.6, 0.5]);
        whole.looks[1].sight = Sight::Unusable(QualityIssue::Blurred);
        whole.looks[2].others = vec![(TrackId(8), 40.0)];
        whole.looks[2].proof = Proof::Asked(Live { score: 0.9, needed: 0.5 });
        let (outline, values) = whole.parts();
        let text = serde_json::to_string(&outline).unwrap();
        let outline: Outline = serde_json::from_str(&text).unwrap();
        assert_eq!(PastFace::from_parts(&outline, &values), Some(whole));
        assert_eq!(PastFace::from_parts(&outline, &values[4..]), None);
        assert_eq!(PastFace::from_parts(&outline, &[&values[..], &[0; 16]].concat()), None);
        assert_eq!(PastFace::from_parts(&outline, &vec![0; values.len()]), None);
        assert_eq!(PastFace::from_parts(&Outline { dim: 2, ..outline.clone() }, &values), None);
        assert_eq!(PastFace::from_parts(&Outline { dim: 0, ..outline }, &[]), None);
    }
}
