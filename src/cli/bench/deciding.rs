//! Four people before the door, frame by frame, for the time that deciding takes once they have been seen, embedded and matched.

use std::time::Duration;

use crate::access::{Adviser, Attempts, Look, LookOutcome, Proof, Rule, Verdict};
use crate::clock::MonoTime;
use crate::encoder::Embedding;
use crate::gallery::{Gallery, Match};
use crate::liveness::signs::Signs;
use crate::vision::tracks::Tracker;
use crate::vision::{BBox, Face};

/// From one frame to the next.
const FRAME: Duration = Duration::from_millis(66);
/// As many as are embedded in one frame.
const PEOPLE: u16 = 4;

/// Those people, and what follows them.
pub(super) struct Party {
    tracker: Tracker,
    attempts: Attempts,
    adviser: Adviser,
    now: MonoTime,
    seq: u64,
    probe: Embedding,
    matched: Option<Match>,
}

impl Party {
    pub(super) fn new(rule: Rule, gallery: &Gallery, probe: &Embedding) -> Self {
        Self {
            tracker: Tracker::new(),
            attempts: Attempts::new(rule),
            adviser: Adviser::default(),
            now: MonoTime::from_millis(1_000),
            seq: 0,
            probe: probe.clone(),
            matched: gallery.find(probe),
        }
    }

    /// One more frame.
    pub(super) fn frame(&mut self) -> Vec<Verdict> {
        (self.now, self.seq) = (self.now + FRAME, self.seq + 1);
        let sway = (self.seq % 7) as f32;
        let face = |i: u16| Face {
            bbox: BBox { x: 150.0 * f32::from(i) + sway, y: 100.0, w: 90.0, h: 110.0 },
            landmarks: [[0.0; 2]; 5],
            score: 0.9,
        };
        let faces: Vec<Face> = (0..PEOPLE).map(face).collect();
        let tracks = self.tracker.update(&faces, self.now);
        let looks: Vec<Look> = tracks
            .into_iter()
            .zip(&faces)
            .map(|(track, face)| Look {
                track: self.tracker.confirm(track, &self.probe),
                seq: self.seq,
                captured: self.now,
                size_px: (face.bbox.w * face.bbox.h).sqrt(),
                outcome: LookOutcome::Compared(self.matched.clone()),
                proof: Proof::Off,
                signs: Signs::default(),
                yaw_deg: 0.0,
            })
            .collect();
        let several = self.attempts.rule().several;
        let _ = self.adviser.see(&looks, several, self.now);
        self.attempts.observe(&looks, self.now)
    }
}
