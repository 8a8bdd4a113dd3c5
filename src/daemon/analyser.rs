//! The [`Analyser`] of the product: detector, tracks, quality gates, encoder and gallery, one frame at a time.

use std::time::Duration;

use super::analysis::{AnalyseError, Analyser, Analysis, SeenFace, StageTimes};
use crate::clock::{Clock, MonoTime};
use crate::encoder::ModelId;
use crate::frame::Frame;
use crate::gallery::Gallery;
use crate::recognition::{FoundFace, Recogniser, RecognitionError};
use crate::vision::quality::QualityGates;
use crate::vision::tracks::Tracker;

/// Faces embedded in one frame at most, the largest first: a crowd must not slow the decision for the person at the
/// door.
const MAX_EMBEDDED: usize = 4;

/// Networks and tracks. One per camera.
pub struct FaceAnalyser {
    recogniser: Recogniser,
    gates: QualityGates,
    tracker: Tracker,
    clock: std::sync::Arc<dyn Clock>,
}

impl FaceAnalyser {
    /// Puts the pieces together; no tracks yet.
    pub fn new(recogniser: Recogniser, gates: QualityGates, clock: std::sync::Arc<dyn Clock>) -> Self {
        Self { recogniser, gates, tracker: Tracker::new(), clock }
    }

    fn look(&mut self, frame: &Frame, gallery: &Gallery) -> Result<Analysis, RecognitionError> {
        let mut times = StageTimes::default();
        let started = self.clock.now();
        let faces = self.recogniser.detect(&frame.image)?;
        let detected = self.lap(started, &mut times.detect_us);
        let found: Vec<FoundFace> = faces.into_iter().map(|f| FoundFace::new(&frame.image, f)).collect();
        let places: Vec<_> = found.iter().map(|f| f.face).collect();
        let tracks = self.tracker.update(&places, frame.captured);
        let aligned = self.lap(detected, &mut times.align_us);
        let issues: Vec<_> = found.iter().map(|f| self.gates.judge(&f.quality)).collect();
        let good = (0..found.len()).filter(|&i| issues[i].is_none()).take(MAX_EMBEDDED);
        let good: Vec<usize> = good.collect();
        let crops: Vec<_> = good.iter().map(|&i| &found[i].crop).collect();
        let mut embeddings: Vec<_> = (0..found.len()).map(|_| None).collect();
        for (&i, embedding) in good.iter().zip(self.recogniser.embed(&crops)?) {
            embeddings[i] = Some(embedding);
        }
        let embedded = self.lap(aligned, &mut times.embed_us);
        let mut seen = Vec::with_capacity(found.len());
        for (((found, track), issue), embedding) in found.iter().zip(tracks).zip(issues).zip(embeddings) {
            let track = embedding.as_ref().map_or(track, |e| self.tracker.confirm(track, e));
            let matched = embedding.as_ref().and_then(|e| gallery.find(e));
            seen.push(SeenFace {
                track,
                face: found.face,
                quality: found.quality,
                issue,
                embedding,
                matched,
            });
        }
        self.lap(embedded, &mut times.match_us);
        Ok(Analysis {
            seq: frame.seq,
            captured: frame.captured,
            size: frame.image.dimensions(),
            gallery_generation: gallery.generation(),
            faces: seen,
            times,
        })
    }

    /// Writes down the time since `from` and returns now.
    fn lap(&self, from: MonoTime, into: &mut u64) -> MonoTime {
        let now = self.clock.now();
        *into = now.since(from).min(Duration::from_secs(3600)).as_micros() as u64;
        now
    }
}

impl Analyser for FaceAnalyser {
    fn analyse(&mut self, frame: &Frame, gallery: &Gallery) -> Result<Analysis, AnalyseError> {
        self.look(frame, gallery).map_err(|e| AnalyseError {
            seq: frame.seq,
            what: "a network did not run".to_owned(),
            source: Some(Box::new(e)),
        })
    }

    fn model(&self) -> &ModelId {
        self.recogniser.model()
    }
}
