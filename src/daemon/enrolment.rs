//! PURE. Enrolment at the door's camera: analysed frames and the time go in, hints and samples come out. Samples are
//! of one face alone in view, good enough, some time apart, and all of the same person.

use std::time::Duration;

use crate::clock::MonoTime;
use crate::encoder::{ModelId, compare};
use crate::gallery::{KeptCrop, NewTemplate, TemplateSource};
use crate::vision::quality::QualityIssue;

use super::analysis::{Analysis, SeenFace};
use super::protocol::EnrolProgress;

/// Cosine to the first sample from which a sample counts as the same person.
const SAME_PERSON: f32 = 0.5;

/// A hint that has not changed is sent again after this time.
const REPEAT_HINT_AFTER: Duration = Duration::from_millis(500);

/// How enrolment at a camera goes; see the keys of `[enrolment]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnrolmentOptions {
    /// Good samples needed.
    pub samples: usize,
    /// Give up after this time.
    pub timeout: Duration,
    /// Least time between two samples.
    pub interval: Duration,
}

/// The samples of one person, as they come together.
#[derive(Debug)]
pub(crate) struct Sampling {
    options: EnrolmentOptions,
    model: ModelId,
    began: MonoTime,
    samples: Vec<NewTemplate>,
    newest: Option<MonoTime>,
    said: Option<(MonoTime, usize, &'static str)>,
}

impl Sampling {
    pub(crate) fn new(options: EnrolmentOptions, model: ModelId, began: MonoTime) -> Self {
        Self { options, model, began, samples: Vec::new(), newest: None, said: None }
    }

    /// Takes a sample from the frame if it can, and says how it goes when that is news.
    pub(crate) fn look(&mut self, analysis: &Analysis, now: MonoTime) -> Option<EnrolProgress> {
        if analysis.captured < self.began || self.is_complete() {
            return None;
        }
        let hint = match analysis.faces.as_slice() {
            [] => "nobody in view",
            [face] => self.judge(face, analysis.captured)?,
            _ => "more than one face in view",
        };
        self.is_news(hint, now).then(|| EnrolProgress {
            taken: self.samples.len(),
            wanted: self.options.samples,
            quality: match analysis.faces.as_slice() {
                [face] => Some(face.quality),
                _ => None,
            },
            hint: hint.to_owned(),
        })
    }

    /// All samples are there.
    pub(crate) fn is_complete(&self) -> bool {
        self.samples.len() >= self.options.samples
    }

    /// The time is up.
    pub(crate) fn is_late(&self, now: MonoTime) -> bool {
        now.since(self.began) >= self.options.timeout
    }

    /// The samples so far.
    pub(crate) fn samples(&self) -> &[NewTemplate] {
        &self.samples
    }

    /// The hint for the only face in view, empty when a sample was taken; `None` when it is too early for one.
    fn judge(&mut self, face: &SeenFace, captured: MonoTime) -> Option<&'static str> {
        if let Some(issue) = face.issue {
            return Some(advice(issue));
        }
        if self.newest.is_some_and(|newest| captured.since(newest) < self.options.interval) {
            return None;
        }
        let embedding = face.embedding.clone()?;
        let first = self.samples.first().map(|first| &first.embedding);
        if first.is_some_and(|first| compare(first, &embedding).score.0 < SAME_PERSON) {
            self.samples.clear();
            return Some("not the face of the first sample, starting again; one person alone, please");
        }
        self.newest = Some(captured);
        self.samples.push(NewTemplate {
            model: self.model.clone(),
            embedding,
            quality: face.quality,
            source: TemplateSource::Camera,
            crop: face.crop.as_ref().and_then(KeptCrop::of),
        });
        Some("")
    }

    fn is_news(&mut self, hint: &'static str, now: MonoTime) -> bool {
        let taken = self.samples.len();
        let news = self.said.is_none_or(|(at, then, said)| {
            (then, said) != (taken, hint) || now.since(at) >= REPEAT_HINT_AFTER
        });
        if news {
            self.said = Some((now, taken, hint));
        }
        news
    }
}

/// What the person in view should do.
fn advice(issue: QualityIssue) -> &'static str {
    match issue {
        QualityIssue::TooSmall => "come closer",
        QualityIssue::Blurred => "hold still",
        QualityIssue::TooDark => "more light",
        QualityIssue::TooBright => "less light",
        QualityIssue::TurnedAway => "look at the camera",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::fakes::{analysis, model, poor_face, seen};

    fn sampling(samples: usize) -> Sampling {
        let options = EnrolmentOptions {
            samples,
            timeout: Duration::from_secs(60),
            interval: Duration::from_millis(300),
        };
        Sampling::new(options, model(), MonoTime::from_millis(1_000))
    }

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_millis(ms)
    }

    fn hint(sampling: &mut Sampling, faces: Vec<SeenFace>, ms: u64) -> Option<(usize, String)> {
        sampling.look(&analysis(ms, at(ms), 0, faces), at(ms)).map(|p| (p.taken, p.hint))
    }

    #[test]
    fn samples_are_taken_an_interval_apart_until_there_are_enough() {
        let mut s = sampling(2);
        assert_eq!(hint(&mut s, vec![seen(1, &[1.0, 0.0])], 1_000), Some((1, String::new())));
        assert_eq!(hint(&mut s, vec![seen(1, &[1.0, 0.1])], 1_200), None);
        assert!(!s.is_complete());
        assert_eq!(hint(&mut s, vec![seen(1, &[1.0, 0.1])], 1_300), Some((2, String::new())));
        assert!(s.is_complete());
        assert_eq!(s.samples().len(), 2);
        assert_eq!(s.samples()[0].source, TemplateSource::Camera);
    }

    #[test]
    fn every_trouble_has_its_hint_and_takes_no_sample() {
        let mut s = sampling(2);
        let cases = [
            (vec![], "nobody in view"),
            (vec![seen(1, &[1.0, 0.0]), seen(2, &[0.0, 1.0])], "more than one face in view"),
            (vec![poor_face(1, QualityIssue::TooSmall)], "come closer"),
            (vec![poor_face(1, QualityIssue::Blurred)], "hold still"),
            (vec![poor_face(1, QualityIssue::TooDark)], "more light"),
            (vec![poor_face(1, QualityIssue::TooBright)], "less light"),
            (vec![poor_face(1, QualityIssue::TurnedAway)], "look at the camera"),
        ];
        for (n, (faces, wanted)) in cases.into_iter().enumerate() {
            assert_eq!(hint(&mut s, faces, 2_000 + n as u64), Some((0, wanted.to_owned())));
        }
    }

    #[test]
    fn another_face_starts_it_again() {
        let mut s = sampling(3);
        hint(&mut s, vec![seen(1, &[1.0, 0.0])], 1_000);
        let (taken, said) = hint(&mut s, vec![seen(2, &[0.0, 1.0])], 2_000).unwrap();
        assert_eq!(taken, 0);
        assert!(said.contains("starting again"), "{said}");
        assert_eq!(hint(&mut s, vec![seen(2, &[0.0, 1.0])], 3_000), Some((1, String::new())));
    }

    #[test]
    fn a_hint_is_not_repeated_with_each_frame() {
        let mut s = sampling(1);
        assert!(hint(&mut s, vec![], 2_000).is_some());
        assert!(hint(&mut s, vec![], 2_100).is_none());
        assert!(hint(&mut s, vec![], 2_500).is_some());
    }

    #[test]
    fn frames_from_before_and_time_after_do_not_count() {
        let mut s = sampling(1);
        assert_eq!(hint(&mut s, vec![seen(1, &[1.0, 0.0])], 999), None);
        assert!(s.samples().is_empty());
        assert!(!s.is_late(at(60_999)));
        assert!(s.is_late(at(61_000)));
    }
}
