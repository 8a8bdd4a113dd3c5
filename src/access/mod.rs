//! PURE. From what was seen to a verdict: looks at one track go in with the time, a [`Verdict`] comes out.
//! Only this module can make a [`Grant`].

mod attempt;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::MonoTime;
use crate::encoder::Score;
use crate::gallery::{Candidate, Match, PersonId};
use crate::vision::quality::QualityIssue;
use crate::vision::tracks::TrackId;

pub use attempt::Attempts;

/// What a grant takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// A look names a person only at or above this score.
    pub threshold: Score,
    /// and only when that person is ahead of the runner-up by at least this much.
    pub margin: f32,
    /// k: so many of the last n looks must name the same person.
    pub frames_needed: usize,
    /// n: how many looks of a track are remembered.
    pub frames_window: usize,
    /// The newest look may be at most this old when the decision falls.
    pub max_frame_age: Duration,
    /// A person already let in is let in again only after this time.
    pub regrant_after: Duration,
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
    /// What the frame said.
    pub outcome: LookOutcome,
}

/// What one frame said about one track.
#[derive(Clone, Debug, PartialEq)]
pub enum LookOutcome {
    /// Not good enough to be matched.
    Unusable(QualityIssue),
    /// Compared with everybody enrolled; `None` when nobody is.
    Compared(Option<Match>),
}

/// The figures a verdict rests on; goes into the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The track.
    pub track: TrackId,
    /// The newest look's frame.
    pub seq: u64,
    /// Age of the newest look when the decision fell, in ms.
    pub frame_age_ms: u64,
    /// Best candidate of the best look.
    pub best: Option<Candidate>,
    /// Runner-up of that look.
    pub runner_up: Option<Candidate>,
    /// Looks in the window that named the person.
    pub frames_agreed: usize,
    /// Looks in the window.
    pub frames_seen: usize,
    /// The rule that was applied.
    pub rule: Rule,
}

/// Why a track was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// Nobody enrolled scored above the threshold.
    Unknown,
    /// Two people scored too close to each other.
    Ambiguous,
    /// Nobody is enrolled.
    NobodyEnrolled,
    /// The person was recognised, but on a frame that had become too old: nobody is let in late.
    Stale,
}

/// Permission to open the door once. Its fields are private and only a decision makes one; the door takes it only
/// inside a [`Recorded`](crate::journal::Recorded), that is, when it is on disk.
#[derive(Debug, PartialEq)]
#[must_use = "a grant that is dropped opens nothing"]
pub struct Grant {
    person: PersonId,
    name: String,
    evidence: Evidence,
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

    /// Why.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }
}

/// What came of the looks.
#[derive(Debug, PartialEq)]
#[must_use]
pub enum Verdict {
    /// Open for this person.
    Grant(Grant),
    /// Do not open, and say so once.
    Refuse(RefusalReason, Evidence),
}
