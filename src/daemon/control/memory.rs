//! The faces at one door until they are gone, with what was decided on them: what is kept of an attempt, where anything is.
//!
//! Stands beside the decision and never before it. When people change, what was gathered under the others is dropped: nothing
//! of somebody who has just been erased is written afterwards.

use std::collections::VecDeque;

use crate::access::past::{MOST_COMPARED, MOST_LOOKS, PastFace, PastLook, Sight};
use crate::access::{Evidence, FORGET_AFTER, Look, LookOutcome, Verdict};
use crate::clock::MonoTime;
use crate::daemon::analysis::Analysis;
use crate::daemon::doorway::DoorId;
use crate::daemon::snapshot;
use crate::daemon::trace::Conclusion;
use crate::gallery::{PersonId, SAME_PERSON};
use crate::journal::replay::{Decision, Keep, PastAttempt, Then};
use crate::journal::{EventId, EventKind, Stamp};
use crate::store::Snapshot;
use crate::vision::align::AlignedCrop;
use crate::vision::tracks::TrackId;

use super::Control;

/// What one door remembers.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    keep: Keep,
    /// Whether crops are gathered too.
    crops: bool,
    faces: Vec<Open>,
    /// Of whom a look became a template of the other encoder, the latest ones.
    taught: VecDeque<TrackId>,
}

/// Looks of one face that are compared again at most while crops are gathered, which take 37 kB each.
const MOST_WITH_CROPS: usize = 40;
/// Faces that are remembered as having given a template: none is in view for so long that more would be needed.
const MOST_TAUGHT: usize = 32;

/// A face that may still be in view.
#[derive(Debug)]
struct Open {
    face: PastFace,
    threshold: f32,
    decisions: Vec<Decision>,
    nearest: Option<(PersonId, f32)>,
    seen: MonoTime,
    compared: usize,
    /// No more of it is gathered.
    over: bool,
    /// Of the looks that were compared, while the encoder is changed.
    crops: Vec<AlignedCrop>,
}

impl Memory {
    pub(crate) fn new(keep: Keep, crops: bool) -> Self {
        Self { keep, crops, ..Self::default() }
    }

    /// Takes in what a frame showed, as it went into the decision at `now`.
    pub(super) fn take(&mut self, analysis: &Analysis, looks: &[Look], threshold: f32, now: MonoTime) {
        if self.keep == Keep::Nobody {
            return;
        }
        for (n, (look, face)) in looks.iter().zip(&analysis.faces).enumerate() {
            let sight = match (&look.outcome, &face.embedding) {
                (LookOutcome::Compared(_), Some(embedding)) => Sight::Face(embedding.clone()),
                (LookOutcome::Unusable(issue), _) => Sight::Unusable(*issue),
                _ => Sight::InView,
            };
            let crops = self.crops;
            let open = self.open(look.track, threshold);
            open.seen = now;
            if let (Sight::Face(_), Some(found)) = (&sight, &face.matched)
                && open.nearest.is_none_or(|(_, score)| found.best.score.0 > score)
            {
                open.nearest = Some((found.best.person, found.best.score.0));
            }
            let most = if crops { MOST_WITH_CROPS } else { MOST_COMPARED };
            let full = open.compared >= most || open.face.looks.len() >= MOST_LOOKS;
            if full {
                continue;
            }
            if matches!(sight, Sight::Face(_)) {
                open.compared += 1;
                open.crops.extend(face.crop.clone().filter(|_| crops));
            }
            let others = looks.iter().enumerate().filter(|(other, _)| *other != n);
            open.face.looks.push(PastLook {
                seq: look.seq,
                captured: look.captured,
                decided: now,
                size_px: look.size_px,
                others: others.map(|(_, other)| (other.track, other.size_px)).collect(),
                sight,
                proof: look.proof,
                signs: look.signs,
                yaw_deg: look.yaw_deg,
            });
        }
    }

    fn open(&mut self, track: TrackId, threshold: f32) -> &mut Open {
        let known = self.faces.iter().position(|open| open.face.track == track && !open.over);
        let at = known.unwrap_or_else(|| {
            self.faces.push(Open {
                face: PastFace { track, looks: Vec::new() },
                threshold,
                decisions: Vec::new(),
                nearest: None,
                seen: MonoTime::default(),
                compared: 0,
                over: false,
                crops: Vec::new(),
            });
            self.faces.len() - 1
        });
        &mut self.faces[at]
    }

    /// A decision fell on a face. One that fell after its last look that is kept cannot be weighed again and is left out.
    fn decided(&mut self, track: TrackId, decision: Decision) {
        let open = self.faces.iter_mut().find(|open| open.face.track == track && !open.over);
        if let Some(open) = open.filter(|open| open.face.looks.last().is_some_and(|l| l.decided == open.seen))
        {
            open.decisions.push(decision);
        }
    }

    /// A look of this face became a template of the other encoder.
    pub(super) fn teaches(&mut self, track: TrackId) {
        self.taught.push_back(track);
        if self.taught.len() > MOST_TAUGHT {
            self.taught.pop_front();
        }
    }

    /// The evidence of all faces was forgotten: what follows is weighed anew, and so are their attempts.
    pub(super) fn cut(&mut self) {
        self.faces.iter_mut().for_each(|open| open.over = true);
    }

    /// The people are others: nothing that was gathered is kept.
    pub(super) fn drop_all(&mut self) {
        self.faces.clear();
    }

    /// Those that have gone, or all.
    fn gone(&mut self, now: MonoTime, all: bool) -> Vec<Open> {
        let is_gone = |open: &mut Open| all || open.over || now.since(open.seen) > FORGET_AFTER;
        let gone: Vec<Open> = self.faces.extract_if(.., is_gone).collect();
        let keep = self.keep;
        let counts = |open: &Open| {
            let recognised = open.decisions.iter().any(|decision| decision.then.person().is_some());
            open.compared > 0 && (keep == Keep::Everybody || recognised)
        };
        gone.into_iter().filter(counts).collect()
    }
}

/// A verdict, before it is acted on.
pub(super) struct Fallen {
    track: TrackId,
    then: Then,
    score: Option<f32>,
}

impl Fallen {
    pub(super) fn of(verdict: &Verdict) -> Option<Self> {
        let score = |evidence: &Evidence| evidence.best.as_ref().map(|best| best.score.0);
        match verdict {
            Verdict::Grant(grant) => {
                let evidence = grant.evidence()?;
                Some(Self {
                    track: evidence.track,
                    then: Then::LetIn(grant.person()),
                    score: score(evidence),
                })
            }
            Verdict::Refuse(reason, evidence) => {
                Some(Self { track: evidence.track, then: Then::Refused(*reason), score: score(evidence) })
            }
            Verdict::Tell(_) => None,
        }
    }

    /// What became of it: `first` is the first record that it led to, `opened` whether the door was unlocked.
    fn became(self, first: Option<(EventId, EventKind)>, opened: bool, concluded: bool) -> Decision {
        let then = match (self.then, first) {
            (Then::LetIn(person), _) if opened => Then::LetIn(person),
            (Then::LetIn(person), Some((_, EventKind::PinAsked))) => Then::Asked(person),
            // Somebody who is being asked was seen once more.
            (Then::LetIn(person), None) if !concluded => Then::Asked(person),
            (Then::LetIn(person), _) => Then::TurnedAway(person),
            (other, _) => other,
        };
        Decision { event: first.map(|(event, _)| event), then, score: self.score }
    }
}

impl Control {
    /// Puts a decision down with the face that it fell on.
    pub(super) fn remember(
        &mut self,
        door: DoorId,
        analysis: &Analysis,
        fallen: Option<Fallen>,
        conclusion: Option<&Conclusion>,
    ) {
        let first = self.first_event.take();
        let Some(fallen) = fallen else { return };
        let opened = matches!(conclusion, Some(Conclusion::Granted { .. }));
        let track = fallen.track;
        let decision = fallen.became(first, opened, conclusion.is_some());
        self.keep_picture(analysis, track, &decision);
        self.doors[door].memory.decided(track, decision);
    }

    /// Keeps a picture of a refusal where that is wanted. As with attempts, what cannot be kept is told and dropped.
    fn keep_picture(&mut self, analysis: &Analysis, track: TrackId, decision: &Decision) {
        let Some(event) = decision.event.filter(|_| self.snapshots.keeps(decision.then)) else { return };
        let face = analysis.faces.iter().find(|face| face.track == track);
        let Some(jpeg) = face.and_then(|face| face.snapshot.as_deref()).and_then(snapshot::jpeg) else {
            return;
        };
        let near =
            face.and_then(|face| face.matched.as_ref()).filter(|found| found.best.score >= SAME_PERSON);
        let person = decision.then.person().or(near.map(|found| found.best.person));
        let picture = Snapshot { event, person, jpeg };
        if let Err(error) = self.store.keep_snapshot(&picture, Stamp::now(&*self.clock)) {
            log::warn!("the picture of event {} is not kept: {error}", event.0);
        }
    }

    /// Writes down the attempts that are over, or all that there are. What cannot be kept is told and dropped: it is no part of
    /// the door.
    pub(super) fn keep_attempts(&mut self, all: bool) {
        let at = Stamp::now(&*self.clock);
        let (mut kept, mut to_the_other) = (Vec::new(), Vec::new());
        for doorway in &mut self.doors.0 {
            for open in doorway.memory.gone(at.mono, all) {
                if self.migrating.is_some() && !doorway.memory.taught.contains(&open.face.track) {
                    to_the_other.push((kept.len(), open.crops));
                }
                kept.push(PastAttempt {
                    model: self.terms.model.clone(),
                    decided_by: None,
                    wall: at.wall.checked_sub(at.mono.since(open.seen)).unwrap_or(at.wall),
                    door: doorway.place.door.clone(),
                    run: self.run,
                    threshold: open.threshold,
                    decisions: open.decisions,
                    nearest: open.nearest,
                    face: open.face,
                });
            }
        }
        if kept.is_empty() {
            return;
        }
        if let Err(error) = self.store.keep(&kept, at) {
            log::warn!("{} attempts are not kept for a replay: {error}", kept.len());
        }
        for (n, crops) in to_the_other {
            if let Some(migrating) = &self.migrating {
                migrating.attempt(kept[n].clone(), crops, self.gallery.load().generation());
            }
        }
    }
}
