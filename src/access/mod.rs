//! PURE. From what was seen to a verdict: looks at one track go in with the time, a [`Verdict`] comes out.
//! Only this module can make a [`Grant`], from looks or from a [`PinProof`].
//!
//! It stands between `gallery`, whose matches it weighs, and `journal`, which writes its grants down before `door`
//! may act on them. It owns no thread, file or clock.

mod advice;
mod alike;
mod attempt;
mod crowd;
mod learning;
pub mod past;
pub mod pin;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::MonoTime;
use crate::encoder::Score;
use crate::gallery::{Candidate, Match, PersonId};
use crate::liveness::challenge::{Tell, Terms};
use crate::liveness::signs::Signs;
use crate::vision::quality::QualityIssue;
use crate::vision::tracks::TrackId;

pub use advice::{Advice, Adviser};
pub use alike::{Doubt, LookAlikes};
pub use attempt::{Attempts, FORGET_AFTER, MAX_LEAD, SUSPECTED_FOR};
pub use crowd::Several;
pub use learning::{Agreement, Learning, Lesson, NotLearnt, may_learn, presentable, vouched};
pub use pin::PinProof;

/// How long after the decision a grant may still move the relay. Writing it down takes some ms, on a bad SD card
/// some hundred; after this time the person may be gone, and the door would open for whoever stands there now.
pub const GRANT_LIFETIME: Duration = Duration::from_secs(2);

/// What a grant takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// A look names a person only at or above this score.
    pub threshold: Score,
    /// and only when that person is ahead of the runner-up by at least this much.
    pub margin: f32,
    /// and by this much when that person looks like somebody else who is enrolled.
    #[serde(default)]
    pub alike_margin: f32,
    /// k: so many of the last n looks must name the same person.
    pub frames_needed: usize,
    /// n: how many looks of a track are remembered.
    pub frames_window: usize,
    /// The newest look may be at most this old when the decision falls.
    pub max_frame_age: Duration,
    /// A person already let in is let in again only after this time.
    pub regrant_after: Duration,
    /// Who is let in when several faces are in view.
    #[serde(default)]
    pub several: Several,
    /// Whether measurements show that the threshold keeps the rate that the operator wants; true where it was set by hand.
    #[serde(default = "yes")]
    pub supported: bool,
    /// What it takes besides, so that no picture of a face opens the door.
    #[serde(default)]
    pub demands: Demands,
}

fn yes() -> bool {
    true
}

/// What a face must show of itself before it opens the door; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Demands {
    /// It is watched for at least this long from its first look, and must stir meanwhile and bring nothing of its
    /// surroundings along. Zero: it is not watched.
    pub watch: Duration,
    /// It is asked to do something, drawn at random, and must do that.
    pub challenge: Option<Terms>,
}

/// One track in one frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// Whose.
    pub track: TrackId,
    /// Number of the frame.
    pub seq: u64,
    /// When the frame was taken.
    pub captured: MonoTime,
    /// Side of the face's box in px: the nearer of two faces is the larger.
    pub size_px: f32,
    /// What the frame said.
    pub outcome: LookOutcome,
    /// Whether it looked like a face or like a picture of one.
    pub proof: Proof,
    /// What the track has shown of itself up to this look.
    pub signs: Signs,
    /// How far the head was turned to its side, in degrees; an estimate.
    pub yaw_deg: f32,
}

/// What the photo check said of a look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// The door has no photo check.
    #[default]
    Off,
    /// It has one, which was not asked: the look names nobody. Such a look lets nobody in.
    Unasked,
    /// It was asked.
    Asked(Live),
}

/// How far a face looked alive.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Live {
    /// 0 to 1.
    pub score: f32,
    /// From this it is taken for a face, below for a picture of one.
    pub needed: f32,
}

/// What one frame said about one track.
#[derive(Clone, Debug, PartialEq)]
pub enum LookOutcome {
    /// Not good enough to be matched.
    Unusable(QualityIssue),
    /// Compared with everybody enrolled; `None` when nobody is.
    Compared(Option<Match>),
    /// In view, and no more is to be said: more faces than are compared, or a picture that the camera repeats.
    InView,
}

/// The figures a verdict rests on; goes into the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The track.
    pub track: TrackId,
    /// The newest look's frame.
    pub seq: u64,
    /// Age of the newest look when the decision fell, in ms; 0 when its stamp lay ahead of the clock.
    pub frame_age_ms: u64,
    /// Best candidate of the best look: for a grant the highest score that named the person, for a refusal the
    /// highest score there was.
    pub best: Option<Candidate>,
    /// Runner-up of that look.
    pub runner_up: Option<Candidate>,
    /// Looks in the window that named the best candidate.
    pub frames_agreed: usize,
    /// Looks in the window.
    pub frames_seen: usize,
    /// How alive the looks that named the person were on average; `None` without a photo check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<Live>,
    /// Whom the best candidate is easily taken for, with the score between their samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alike: Option<Candidate>,
    /// What the track had shown of itself.
    #[serde(default, skip_serializing_if = "Signs::is_empty")]
    pub signs: Signs,
    /// How long it had been watched, in ms; `None` where faces are not watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watched_ms: Option<u64>,
    /// The rule that was applied.
    pub rule: Rule,
}

impl Evidence {
    /// Why the face alone may be too little, so that a second factor is called for.
    pub fn doubts(&self) -> Vec<Doubt> {
        let alike = self.alike.iter();
        let alike = alike.map(|like| Doubt::LooksLike { name: like.name.to_string(), score: like.score.0 });
        (!self.rule.supported).then_some(Doubt::Unsupported).into_iter().chain(alike).collect()
    }
}

/// Why a track was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// Nobody enrolled scored above the threshold.
    Unknown,
    /// Two people scored too close to each other, or the looks at one track named two people.
    Ambiguous,
    /// Nobody is enrolled.
    NobodyEnrolled,
    /// The person was recognised, but on a frame that had become too old (or was stamped in the future, which
    /// proves nothing about its age): nobody is let in late.
    Stale,
    /// The looks named a person and were taken for a picture of them. The last word on this track.
    NotLive,
    /// The looks named a person, who was asked to do something and did something else, or nothing. The last word on this
    /// track.
    Challenge,
    /// The looks named a person, and a second camera saw no face there. The last word on this track.
    NotSeenTwice,
    /// The person was recognised while the second camera gave no picture.
    SecondLost,
    /// The person was recognised behind somebody nearer, whom the door would have opened for as well.
    NotNearest,
    /// The person was recognised while others were in view, and this door lets in one at a time.
    NotAlone,
}

/// Permission to open the door once. Its fields are private and only a decision makes one; the door takes it only
/// inside a [`Recorded`](crate::journal::Recorded), that is, when it is on disk, and only while it is
/// [good](Grant::is_good_at).
///
/// Whoever holds one can read it:
///
/// ```
/// fn greeting(grant: &accessd::access::Grant) -> String {
///     format!("welcome, {}", grant.name())
/// }
/// ```
///
/// but nobody outside this module can make one, neither from its parts
///
/// ```compile_fail,E0451
/// use accessd::access::{Evidence, Grant};
/// use accessd::clock::MonoTime;
/// use accessd::gallery::PersonId;
///
/// fn forge(evidence: Evidence) -> Grant {
///     Grant { person: PersonId(1), name: "Mallory".into(), evidence: Some(Box::new(evidence)), decided: MonoTime::from_millis(0) }
/// }
/// ```
///
/// nor by copying one that opened the door before:
///
/// ```compile_fail,E0599
/// fn keep_for_later(grant: &accessd::access::Grant) -> accessd::access::Grant {
///     (*grant).clone()
/// }
/// ```
#[derive(Debug, PartialEq)]
#[must_use = "a grant that is dropped opens nothing"]
pub struct Grant {
    person: PersonId,
    name: String,
    /// Apart, so that what carries a grant stays small.
    evidence: Option<Box<Evidence>>,
    decided: MonoTime,
}

#[cfg(test)]
impl Rule {
    /// The rule of most tests: three of five looks at this threshold, half a second old at most, the nearest face.
    pub(crate) fn for_tests(threshold: f32) -> Self {
        Self {
            threshold: Score(threshold),
            margin: 0.08,
            alike_margin: 0.16,
            frames_needed: 3,
            frames_window: 5,
            max_frame_age: Duration::from_millis(500),
            regrant_after: Duration::from_secs(10),
            several: Several::Nearest,
            supported: true,
            demands: Demands::default(),
        }
    }
}

impl Grant {
    /// Who is let in.
    pub fn person(&self) -> PersonId {
        self.person
    }

    /// Their name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the looks showed; `None` when it rests on a PIN alone.
    pub fn evidence(&self) -> Option<&Evidence> {
        self.evidence.as_deref()
    }

    /// When the decision fell.
    pub fn decided(&self) -> MonoTime {
        self.decided
    }

    /// Whether the door may still open for it at `now`: not before the decision and at most [`GRANT_LIFETIME`]
    /// after it.
    pub fn is_good_at(&self, now: MonoTime) -> bool {
        self.decided <= now && now.since(self.decided) <= GRANT_LIFETIME
    }

    /// A grant for the tests of the rooms after this one.
    #[cfg(test)]
    pub(crate) fn for_tests(person: i64, name: &str, decided: MonoTime) -> Self {
        let rule = Rule::for_tests(0.5);
        let best = Candidate { person: PersonId(person), name: name.into(), score: Score(0.75) };
        let evidence = Evidence {
            live: None,
            alike: None,
            signs: Signs::default(),
            watched_ms: None,
            track: TrackId(7),
            seq: 42,
            frame_age_ms: 120,
            best: Some(best),
            runner_up: None,
            frames_agreed: 3,
            frames_seen: 4,
            rule,
        };
        let evidence = Some(Box::new(evidence));
        Self { person: PersonId(person), name: name.to_owned(), evidence, decided }
    }
}

/// What somebody who is recognised is told before they are let in.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Their track.
    pub track: TrackId,
    /// Who they seem to be.
    pub person: PersonId,
    /// Their name.
    pub name: String,
    /// What.
    pub what: Tell,
}

/// What came of the looks.
#[derive(Debug, PartialEq)]
#[must_use]
pub enum Verdict {
    /// Open for this person.
    Grant(Grant),
    /// Do not open, and say so once.
    Refuse(RefusalReason, Box<Evidence>),
    /// Tell the person at the door.
    Tell(Told),
}

impl Verdict {
    /// A refusal for this reason instead of its own.
    fn because(self, reason: RefusalReason) -> Self {
        match self {
            Self::Refuse(_, evidence) => Self::Refuse(reason, evidence),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_good_from_its_decision_for_two_seconds() {
        let grant = Grant::for_tests(1, "Ada", MonoTime::from_millis(10_000));
        for (now_ms, good) in
            [(9_999, false), (10_000, true), (12_000, true), (12_001, false), (18_000, false)]
        {
            assert_eq!(grant.is_good_at(MonoTime::from_millis(now_ms)), good, "at {now_ms} ms");
        }
        assert_eq!(grant.decided(), MonoTime::from_millis(10_000));
    }
}
