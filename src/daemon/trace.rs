//! One JSON line per analysed frame: what was seen, what was concluded and how the door stood. Reports are made of
//! it. No pictures, no embeddings; off unless somebody asks for it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::access::Evidence;
use crate::journal::Stamp;

use super::analysis::Analysis;

/// A conclusion about one track.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Conclusion {
    /// The door opened for this person.
    Granted {
        /// Who.
        name: String,
        /// Why.
        evidence: Evidence,
    },
    /// It did not.
    Refused {
        /// In a word, as in the journal.
        reason: String,
        /// Why.
        evidence: Evidence,
    },
}

/// How the door stood after a frame was acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DoorState {
    /// The relay was released.
    Locked,
    /// The relay was energised.
    Unlocked,
}

/// One line as it is written.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    decided: Stamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<&'a str>,
    door: DoorState,
    enrolling: bool,
    conclusions: &'a [Conclusion],
    #[serde(flatten)]
    analysis: &'a Analysis,
}

/// One line as it is read.
#[derive(Clone, Debug, Deserialize)]
pub struct TracedFrame {
    /// When it was acted on.
    #[serde(flatten)]
    pub decided: Stamp,
    /// At which door, where there are several.
    #[serde(default)]
    pub at: Option<String>,
    /// How the door stood then.
    pub door: DoorState,
    /// Whether an enrolment was going on, so that nothing was decided.
    pub enrolling: bool,
    /// What was concluded from it and those before.
    pub conclusions: Vec<Conclusion>,
    /// What was seen.
    #[serde(flatten)]
    pub analysis: Analysis,
}

/// Why a trace could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be read.
    #[error("trace {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A line is not one that `--trace` writes.
    #[error("trace {} line {line} is not one of this version of accessd", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// Reads a trace. A last line without its end, as a killed daemon leaves it, is left out.
///
/// # Errors
/// When the file cannot be read or holds something else.
pub fn read_trace(path: &Path) -> Result<Vec<TracedFrame>, TraceError> {
    let failed = |source| TraceError::Read { path: path.to_owned(), source };
    let mut file = BufReader::new(std::fs::File::open(path).map_err(failed)?);
    let (mut frames, mut text) = (Vec::new(), String::new());
    while file.read_line(&mut text).map_err(failed)? > 0 && text.ends_with('\n') {
        let line = frames.len() + 1;
        let frame = serde_json::from_str(&text);
        frames.push(frame.map_err(|source| TraceError::Line { path: path.to_owned(), line, source })?);
        text.clear();
    }
    Ok(frames)
}

/// Where trace lines go.
pub(crate) struct Trace(Option<Box<dyn Write + Send>>);

impl Trace {
    pub(crate) fn new(to: Option<Box<dyn Write + Send>>) -> Self {
        Self(to)
    }

    /// Writes one line. A trace that cannot be written ends, and the door goes on.
    pub(crate) fn write(
        &mut self,
        decided: Stamp,
        at: Option<&str>,
        analysis: &Analysis,
        conclusions: &[Conclusion],
        unlocked: bool,
        enrolling: bool,
    ) {
        let Some(to) = &mut self.0 else { return };
        let door = if unlocked { DoorState::Unlocked } else { DoorState::Locked };
        let line = Line { decided, at, door, enrolling, conclusions, analysis };
        let written = serde_json::to_vec(&line).map_err(std::io::Error::from).and_then(|mut bytes| {
            bytes.push(b'\n');
            to.write_all(&bytes)?;
            to.flush()
        });
        if let Err(error) = written {
            log::error!("the trace ends here, it cannot be written: {error}");
            self.0 = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Proof;
    use crate::clock::MonoTime;
    use crate::daemon::analysis::{SeenFace, StageTimes};
    use crate::encoder::Score;
    use crate::gallery::{Candidate, Match, PersonId};
    use crate::vision::quality::{Quality, QualityIssue};
    use crate::vision::tracks::TrackId;
    use crate::vision::{BBox, Face};

    fn analysis() -> Analysis {
        let quality = Quality {
            eye_distance_px: 40.0,
            sharpness: 90.5,
            light: 120.0,
            yaw_deg: -3.0,
            pitch_deg: 4.0,
            roll_deg: 0.0,
        };
        let face =
            Face { bbox: BBox { x: 1.5, y: 2.0, w: 30.0, h: 40.0 }, landmarks: [[3.0; 2]; 5], score: 0.9 };
        let best = Candidate { person: PersonId(7), name: "Ada".into(), score: Score(0.75) };
        let seen = |issue, matched| SeenFace {
            crop: None,
            snapshot: None,
            track: TrackId(4),
            face,
            quality,
            issue,
            embedding: None,
            matched,
            proof: Proof::Unasked,
            repeated: false,
            signs: crate::liveness::signs::Signs::default(),
        };
        Analysis {
            seq: 9,
            captured: MonoTime::from_millis(1234),
            size: (640, 480),
            gallery_generation: 2,
            faces: vec![
                seen(None, Some(Match { best, runner_up: None })),
                seen(Some(QualityIssue::TooSmall), None),
            ],
            times: StageTimes { detect_us: 5, ..StageTimes::default() },
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_half_a_last_line_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.jsonl");
        let at = Stamp { wall: jiff::Timestamp::UNIX_EPOCH, mono: MonoTime::from_millis(1300) };
        let mut trace = Trace::new(Some(Box::new(std::fs::File::create(&path).unwrap())));
        trace.write(at, None, &analysis(), &[], true, false);
        trace.write(at, Some("exit"), &analysis(), &[], false, true);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"half");
        std::fs::write(&path, bytes).unwrap();

        let frames = read_trace(&path).unwrap();
        assert_eq!(frames.len(), 2);
        assert_eq!((frames[0].door, frames[1].door), (DoorState::Unlocked, DoorState::Locked));
        assert_eq!((frames[0].enrolling, frames[1].enrolling), (false, true));
        assert_eq!((frames[0].at.as_deref(), frames[1].at.as_deref()), (None, Some("exit")));
        assert_eq!(frames[0].decided, at);
        assert_eq!(format!("{:?}", frames[0].analysis), format!("{:?}", analysis()));
    }

    #[test]
    fn what_is_no_trace_is_named_with_its_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("trace.jsonl");
        assert!(read_trace(&path).unwrap_err().to_string().ends_with("trace.jsonl cannot be read"));
        std::fs::write(&path, "{}\n").unwrap();
        let message = read_trace(&path).unwrap_err().to_string();
        assert!(message.ends_with("trace.jsonl line 1 is not one of this version of accessd"), "{message}");
    }
}
