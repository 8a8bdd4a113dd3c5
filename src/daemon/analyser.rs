//! The [`Analyser`] of the product: detector, tracks, quality gates, encoder, gallery and photo check, one frame at a time.

use std::time::Duration;

use image::RgbImage;

use super::analysis::{AnalyseError, Analyser, Analysis, SeenFace, StageTimes};
use super::second::SecondSight;
use crate::access::{Live, Proof, Rule};
use crate::calibration::Bar;
use crate::clock::{Clock, MonoTime};
use crate::encoder::ModelId;
use crate::encoder::Score;
use crate::frame::Frame;
use crate::gallery::{Gallery, KeptCrop, Match, NewTemplate, TemplateSource};
use crate::liveness::check::PhotoCheck;
use crate::liveness::signs::Signs;
use crate::liveness::surroundings::Watcher;
use crate::recognition::{FoundFace, Recogniser, RecognitionError};
use crate::vision::BBox;
use crate::vision::quality::QualityGates;
use crate::vision::tracks::Tracker;

/// Faces embedded in one frame at most, the largest first: a crowd must not slow the decision for the person at the
/// door.
const MAX_EMBEDDED: usize = 4;

/// Mean difference between two pictures of a face, in grey levels, up to which they are the same picture. A sensor's noise
/// alone makes more of it, a still that is played again makes none.
const SAME_PICTURE: f32 = 0.05;

/// What is wrong with a picture without a face.
const NO_FACE: &str =
    "no face is found in it; use a picture that shows the face upright, from the front and well lit";

/// What tells faces from pictures of them, and from which score on a face may be let in and is worth asking about. Clones
/// share the weights.
#[derive(Clone)]
pub struct Doubt {
    /// The networks.
    pub check: PhotoCheck,
    /// Where the threshold comes from.
    pub bar: Bar,
    /// What a grant takes.
    pub rule: Rule,
}

/// Networks and tracks. One per camera.
pub struct FaceAnalyser {
    recogniser: Recogniser,
    gates: QualityGates,
    tracker: Tracker,
    clock: std::sync::Arc<dyn Clock>,
    doubt: Option<Doubt>,
    /// The threshold for the people of this generation of the gallery.
    threshold: Option<(u64, Score)>,
    /// The last picture with a face in it.
    before: Option<RgbImage>,
    /// Watches the tracks, where anything is made of that.
    watcher: Option<Watcher>,
    /// The second camera, where there is one.
    second: Option<SecondSight>,
}

impl FaceAnalyser {
    /// Puts the pieces together; no tracks yet.
    pub fn new(recogniser: Recogniser, gates: QualityGates, clock: std::sync::Arc<dyn Clock>) -> Self {
        Self {
            recogniser,
            gates,
            tracker: Tracker::new(),
            clock,
            doubt: None,
            threshold: None,
            before: None,
            watcher: None,
            second: None,
        }
    }

    /// Has the photo check asked about every face that may be let in.
    #[must_use]
    pub fn with_doubt(self, doubt: Option<Doubt>) -> Self {
        Self { doubt, ..self }
    }

    /// Has the tracks watched: do they stir, do they bring their surroundings along?
    #[must_use]
    pub fn watching(self, watch: bool) -> Self {
        Self { watcher: watch.then(Watcher::default), ..self }
    }

    /// Has a second camera looked at for every face that is compared with somebody.
    #[must_use]
    pub fn with_second(self, second: Option<SecondSight>) -> Self {
        Self { second, ..self }
    }

    /// Says of each face that looks like somebody whether the second camera sees it as well.
    fn look_twice(&mut self, frame: &Frame, seen: &mut [SeenFace]) -> Result<(), RecognitionError> {
        let Some(second) = &self.second else { return Ok(()) };
        let mut compared = seen.iter_mut().filter(|face| face.matched.is_some()).peekable();
        if compared.peek().is_none() {
            return Ok(());
        }
        let Some(other) = second.beside(frame) else {
            compared.for_each(|face| face.signs.second = second.blind());
            return Ok(());
        };
        let faces = self.recogniser.detect(&other.image)?;
        let (size, other_size) = (frame.image.dimensions(), other.image.dimensions());
        for face in compared {
            face.signs.second = second.sees(&face.face, size, &faces, other_size);
        }
        Ok(())
    }

    /// What the photo check says of a face; asked only when the face is near enough to somebody to be let in as them.
    fn proof(
        &mut self,
        image: &RgbImage,
        bbox: &BBox,
        matched: Option<&Match>,
        gallery: &Gallery,
    ) -> Result<Proof, RecognitionError> {
        let Some(doubt) = &mut self.doubt else { return Ok(Proof::Off) };
        let Some(found) = matched else { return Ok(Proof::Unasked) };
        let threshold = match self.threshold {
            Some((generation, threshold)) if generation == gallery.generation() => threshold,
            _ => doubt.bar.threshold(gallery, &doubt.rule),
        };
        self.threshold = Some((gallery.generation(), threshold));
        if found.best.score < threshold {
            return Ok(Proof::Unasked);
        }
        let failed = |source| RecognitionError::Run { name: "photo check".to_owned(), source };
        let said = doubt.check.look(image, bbox).map_err(failed)?;
        Ok(Proof::Asked(Live { score: said.together, needed: doubt.check.threshold() as f32 }))
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
        for (((found, track), issue), embedding) in found.into_iter().zip(tracks).zip(issues).zip(embeddings)
        {
            let track = embedding.as_ref().map_or(track, |e| self.tracker.confirm(track, e));
            let matched = embedding.as_ref().and_then(|e| gallery.find(e));
            let repeated = self.before.as_ref().is_some_and(|b| is_same(b, &frame.image, &found.face.bbox));
            seen.push(SeenFace {
                crop: embedding.is_some().then_some(found.crop),
                snapshot: None,
                proof: Proof::Unasked,
                signs: Signs::default(),
                repeated,
                track,
                face: found.face,
                quality: found.quality,
                issue,
                embedding,
                matched,
            });
        }
        let matched = self.lap(embedded, &mut times.match_us);
        for face in &mut seen {
            face.proof = self.proof(&frame.image, &face.face.bbox, face.matched.as_ref(), gallery)?;
        }
        if let Some(watcher) = &mut self.watcher {
            // Largest first; a crowd behind them opens no door.
            for face in seen.iter_mut().take(MAX_EMBEDDED) {
                face.signs = watcher.look(&frame.image, face.track, &face.face, frame.captured);
            }
        }
        self.look_twice(frame, &mut seen)?;
        self.lap(matched, &mut times.live_us);
        if !seen.is_empty() {
            self.before = Some(frame.image.clone());
        }
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

    fn study(&mut self, picture: &RgbImage) -> Result<Result<NewTemplate, String>, AnalyseError> {
        let failed =
            |e| AnalyseError { seq: 0, what: "a network did not run".to_owned(), source: Some(Box::new(e)) };
        let mut faces = self.recogniser.find(picture).map_err(failed)?;
        let face = match faces.len() {
            1 => faces.remove(0),
            0 => return Ok(Err(NO_FACE.into())),
            n => {
                return Ok(Err(format!(
                    "{n} faces are in it; use a picture of one person alone, or cut it out"
                )));
            }
        };
        if let Some(issue) = self.gates.judge(&face.quality) {
            return Ok(Err(self.gates.explain(issue, &face.quality)));
        }
        let embedding = self.recogniser.embed(&[&face.crop]).map_err(failed)?.remove(0);
        let (model, source) = (self.recogniser.model().clone(), TemplateSource::Image);
        let crop = KeptCrop::of(&face.crop);
        Ok(Ok(NewTemplate { model, embedding, quality: face.quality, source, crop }))
    }

    fn model(&self) -> &ModelId {
        self.recogniser.model()
    }
}

/// Whether two frames show the same picture in `bbox`.
fn is_same(before: &RgbImage, now: &RgbImage, bbox: &BBox) -> bool {
    if before.dimensions() != now.dimensions() {
        return false;
    }
    let (width, height) = (now.width() as usize, now.height() as usize);
    let span = |from: f32, length: f32, limit: usize| {
        // A cast of what is no number, or beyond the range, gives 0 or the nearest bound.
        let first = (from.max(0.0) as usize).min(limit);
        first..((from + length).max(0.0).ceil() as usize).clamp(first, limit)
    };
    let (across, down) = (span(bbox.x, bbox.w, width), span(bbox.y, bbox.h, height));
    let count = 3 * across.len() * down.len();
    let (a, b) = (before.as_raw(), now.as_raw());
    let apart: u64 = down
        .map(|y| {
            let row = 3 * (y * width + across.start)..3 * (y * width + across.end);
            a[row.clone()].iter().zip(&b[row]).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>()
        })
        .sum();
    count > 0 && apart as f32 / count as f32 <= SAME_PICTURE
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    #[test]
    fn the_same_picture_of_a_face_is_known_and_a_sensors_noise_is_another() {
        let plain = RgbImage::from_fn(64, 48, |x, y| Rgb([x as u8, y as u8, 90]));
        let bbox = BBox { x: 10.0, y: 10.0, w: 20.0, h: 20.0 };
        assert!(is_same(&plain, &plain, &bbox));
        let mut other_place = plain.clone();
        other_place.put_pixel(50, 40, Rgb([255; 3]));
        assert!(is_same(&plain, &other_place, &bbox), "what is not the face does not count");
        let mut speck = plain.clone();
        speck.put_pixel(15, 15, Rgb([15, 20, 90]));
        assert!(is_same(&plain, &speck, &bbox), "nearly the same is the same");
        let noisy =
            RgbImage::from_fn(64, 48, |x, y| Rgb([x as u8, y as u8, 90 + ((x * 7 + y * 3) % 2) as u8]));
        assert!(!is_same(&plain, &noisy, &bbox), "half a level in one colour is more than none");
        for nowhere in [BBox { x: f32::NAN, ..bbox }, BBox { x: 500.0, ..bbox }, BBox { w: -5.0, ..bbox }] {
            is_same(&plain, &plain, &nowhere);
        }
        assert!(!is_same(&plain, &RgbImage::new(8, 8), &bbox), "another size is another picture");
    }
}
