//! A page a person can look at: what a camera saw, what was concluded from it and how the door stood, from a trace and
//! the pictures it was made from. One HTML file with everything inside, so that it can be kept and sent.

mod choose;
mod page;
mod picture;
mod timeline;

use std::ops::Range;
use std::path::{Path, PathBuf};

use image::RgbImage;
use jiff::Timestamp;

use crate::daemon::trace::TracedFrame;
use crate::encoder::Score;

/// Most pictures on one page.
const MAX_PICTURES: usize = 120;

/// Everything the page shows.
pub struct Report<'a> {
    /// Heading.
    pub title: &'a str,
    /// One sentence under it.
    pub summary: String,
    /// Whether all is as it should be.
    pub passed: bool,
    /// Names and values beside the heading.
    pub facts: Vec<(&'static str, String)>,
    /// Who was in view when, as far as it is known from elsewhere.
    pub spans: Vec<Span>,
    /// The analysed frames, in order.
    pub frames: &'a [TracedFrame],
    /// Score from which a frame named a person.
    pub threshold: Score,
    /// The journal, oldest first.
    pub events: Vec<EventLine>,
}

/// Somebody known to be in view, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// In these frames.
    pub frames: Range<u64>,
    /// Who.
    pub who: String,
    /// More about them.
    pub note: String,
    /// Whether the door should have opened.
    pub expected: bool,
    /// What happened, in words.
    pub outcome: String,
    /// Whether that is as it should be.
    pub right: bool,
}

/// A line of the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct EventLine {
    /// When.
    pub at: Timestamp,
    /// What, in a word.
    pub kind: String,
    /// Who and why.
    pub text: String,
}

/// Why a page could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// There is nothing to show.
    #[error("the trace has no frame; did the camera deliver any?")]
    NoFrames,
    /// A picture of the trace is missing or damaged.
    #[error("the picture of frame {seq} cannot be shown")]
    Picture {
        /// The frame's number.
        seq: u64,
        /// What the decoder said.
        #[source]
        source: image::ImageError,
    },
    /// The page cannot be written.
    #[error("report {} cannot be written", path.display())]
    Write {
        /// The page.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl Report<'_> {
    /// Writes the page to `path`; `picture` gives the picture of a frame by its number.
    ///
    /// # Errors
    /// When the trace is empty, a picture is missing, or the file cannot be written.
    pub fn write(
        &self,
        path: &Path,
        picture: impl Fn(u64) -> image::ImageResult<RgbImage>,
    ) -> Result<(), ReportError> {
        let html = self.html(picture)?;
        std::fs::write(path, html).map_err(|source| ReportError::Write { path: path.to_owned(), source })
    }

    fn html(&self, picture: impl Fn(u64) -> image::ImageResult<RgbImage>) -> Result<String, ReportError> {
        let (Some(first), Some(last)) = (self.frames.first(), self.frames.last()) else {
            return Err(ReportError::NoFrames);
        };
        let chosen = choose::choose(self.frames, self.threshold, MAX_PICTURES);
        let mut shown = Vec::with_capacity(chosen.len());
        for index in chosen {
            let frame = &self.frames[index];
            let seq = frame.analysis.seq;
            let pixels = picture(seq).map_err(|source| ReportError::Picture { seq, source })?;
            let data = picture::data_uri(&pixels).map_err(|source| ReportError::Picture { seq, source })?;
            shown.push(page::Shown { frame, data });
        }
        let clock = Timeline { start: first.analysis.captured, end: last.analysis.captured };
        Ok(page::render(self, &clock, &shown).into_string())
    }
}

/// The time axis of the page: seconds since the first frame.
struct Timeline {
    start: crate::clock::MonoTime,
    end: crate::clock::MonoTime,
}

impl Timeline {
    fn seconds(&self, at: crate::clock::MonoTime) -> f64 {
        at.since(self.start).as_secs_f64()
    }

    /// Seconds from the first to the last frame, at least one.
    fn length(&self) -> f64 {
        self.seconds(self.end).max(1.0)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    //! Traces without a daemon.

    use std::time::Duration;

    use jiff::Timestamp;

    use crate::access::{Evidence, Proof, Rule};
    use crate::clock::MonoTime;
    use crate::daemon::analysis::{Analysis, SeenFace, StageTimes};
    use crate::daemon::trace::{Conclusion, DoorState, TracedFrame};
    use crate::encoder::Score;
    use crate::gallery::{Candidate, Match, PersonId};
    use crate::journal::Stamp;
    use crate::vision::quality::{Quality, QualityIssue};
    use crate::vision::tracks::TrackId;
    use crate::vision::{BBox, Face};

    /// A frame at ten a second with these faces: a score with the one person enrolled, or what is wrong.
    pub fn frame(seq: u64, door: DoorState, faces: &[Result<f32, QualityIssue>]) -> TracedFrame {
        let captured = MonoTime::from_millis(10_000 + 100 * seq);
        let faces = faces.iter().enumerate().map(|(i, seen)| face(seq, 200.0 * i as f32, *seen)).collect();
        TracedFrame {
            at: None,
            decided: Stamp { wall: Timestamp::UNIX_EPOCH, mono: captured + Duration::from_millis(40) },
            door,
            enrolling: false,
            conclusions: Vec::new(),
            analysis: Analysis {
                seq,
                captured,
                size: (640, 480),
                gallery_generation: 1,
                faces,
                times: StageTimes::default(),
            },
        }
    }

    fn face(seq: u64, shift: f32, seen: Result<f32, QualityIssue>) -> SeenFace {
        let (x, y) = (200.0 + shift + (seq % 7) as f32, 150.0);
        let landmarks = [
            [x + 30.0, y + 45.0],
            [x + 70.0, y + 45.0],
            [x + 50.0, y + 70.0],
            [x + 35.0, y + 95.0],
            [x + 65.0, y + 95.0],
        ];
        SeenFace {
            crop: None,
            snapshot: None,
            track: TrackId(1),
            face: Face { bbox: BBox { x, y, w: 100.0, h: 125.0 }, landmarks, score: 0.9 },
            quality: Quality {
                eye_distance_px: 40.0,
                sharpness: 100.0,
                light: 120.0,
                yaw_deg: 0.0,
                pitch_deg: 0.0,
                roll_deg: 0.0,
            },
            issue: seen.err(),
            embedding: None,
            proof: Proof::Off,
            repeated: false,
            signs: crate::liveness::signs::Signs::default(),
            matched: seen.ok().map(|score| Match { best: candidate(score), runner_up: None }),
        }
    }

    /// Ada <Lovelace>, to be escaped.
    fn candidate(score: f32) -> Candidate {
        Candidate { person: PersonId(1), name: "Ada <L>".into(), score: Score(score) }
    }

    /// What a decision at that frame rested on.
    pub fn evidence(seq: u64, score: f32) -> Evidence {
        Evidence {
            live: None,
            alike: None,
            signs: crate::liveness::signs::Signs::default(),
            watched_ms: None,
            track: TrackId(1),
            seq,
            frame_age_ms: 40,
            best: Some(candidate(score)),
            runner_up: None,
            frames_agreed: 3,
            frames_seen: 3,
            rule: Rule {
                threshold: Score(0.5),
                margin: 0.08,
                alike_margin: 0.16,
                frames_needed: 3,
                frames_window: 5,
                max_frame_age: Duration::from_millis(500),
                regrant_after: Duration::from_secs(10),
                several: crate::access::Several::Nearest,
                supported: true,
                demands: crate::access::Demands::default(),
            },
        }
    }

    /// Ada comes near (frames 5–14), is let in at 9, and a stranger is refused at 37.
    pub fn story() -> Vec<TracedFrame> {
        let mut frames: Vec<TracedFrame> = (0..60)
            .map(|seq| {
                let door = if (9..39).contains(&seq) { DoorState::Unlocked } else { DoorState::Locked };
                match seq {
                    5..7 => frame(seq, door, &[Err(QualityIssue::TooSmall)]),
                    7..15 => frame(seq, door, &[Ok(0.6 + 0.01 * seq as f32)]),
                    33..45 => frame(seq, door, &[Ok(0.1)]),
                    _ => frame(seq, door, &[]),
                }
            })
            .collect();
        frames[9]
            .conclusions
            .push(Conclusion::Granted { name: "Ada <L>".into(), evidence: evidence(9, 0.69) });
        frames[37]
            .conclusions
            .push(Conclusion::Refused { reason: "unknown".into(), evidence: evidence(37, 0.1) });
        frames
    }
}

#[cfg(test)]
mod tests {
    use super::testing::story;
    use super::*;

    fn report(frames: &[TracedFrame]) -> Report<'_> {
        let span = |frames, who: &str, expected| Span {
            frames,
            who: who.into(),
            note: "a note & more".into(),
            expected,
            outcome: "done".into(),
            right: true,
        };
        Report {
            title: "A door",
            summary: "It opened once.".into(),
            passed: true,
            facts: vec![("model", "net@1".into())],
            spans: vec![span(5..15, "Ada <L>", true), span(33..45, "Bob", false)],
            frames,
            threshold: Score(0.5),
            events: vec![EventLine {
                at: Timestamp::UNIX_EPOCH,
                kind: "grant".into(),
                text: "Ada <L>".into(),
            }],
        }
    }

    fn grey(_: u64) -> image::ImageResult<RgbImage> {
        Ok(RgbImage::from_pixel(640, 480, image::Rgb([90; 3])))
    }

    #[test]
    fn a_page_holds_everything_and_fetches_nothing() {
        let frames = story();
        let html = report(&frames).html(grey).unwrap();
        for piece in
            ["A door", "It opened once.", "net@1", "a note &amp; more", "data:image/jpeg;base64,", "let in"]
        {
            assert!(html.contains(piece), "no {piece:?}");
        }
        assert!(html.contains("Ada &lt;L&gt;") && !html.contains("Ada <L>"), "names are escaped");
        let outside = html.replace("http://www.w3.org/2000/svg", "");
        assert!(
            !outside.contains("http") && !outside.contains("<script"),
            "nothing from elsewhere, nothing that runs"
        );
    }

    #[test]
    fn a_trace_without_frames_or_pictures_is_said() {
        assert!(matches!(report(&[]).html(grey), Err(ReportError::NoFrames)));
        let frames = story();
        let missing = |_| image::open("/nowhere/000000.jpg").map(|i| i.to_rgb8());
        let error = report(&frames).html(missing).unwrap_err();
        assert_eq!(error.to_string(), "the picture of frame 0 cannot be shown");
    }

    #[test]
    fn a_page_that_cannot_be_written_is_named() {
        let frames = story();
        let error = report(&frames).write(Path::new("/nowhere/report.html"), grey).unwrap_err();
        assert_eq!(error.to_string(), "report /nowhere/report.html cannot be written");
    }
}
