//! What the vision thread makes of one frame, and the trait behind which the networks stand.

use std::sync::Arc;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::access::{Look, LookOutcome, Proof};
use crate::clock::MonoTime;
use crate::encoder::{Embedding, ModelId};
use crate::frame::Frame;
use crate::gallery::{Gallery, Match, NewTemplate};
use crate::liveness::signs::Signs;
use crate::vision::Face;
use crate::vision::align::AlignedCrop;
use crate::vision::quality::{Quality, QualityIssue};
use crate::vision::tracks::TrackId;

/// One face in one frame, as far as it was looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SeenFace {
    /// Which track it continues.
    pub track: TrackId,
    /// Where it is.
    pub face: Face,
    /// How good it is.
    pub quality: Quality,
    /// Why it was not embedded; `None` when it was.
    pub issue: Option<QualityIssue>,
    /// Its embedding, when it was good enough.
    #[serde(skip)]
    pub embedding: Option<Embedding>,
    /// Whom it looks like, when it was good enough and somebody is enrolled.
    pub matched: Option<Match>,
    /// Whether it looks like a face or like a picture of one.
    #[serde(default)]
    pub proof: Proof,
    /// The camera gave the same picture of it as before: it is no new evidence.
    #[serde(default)]
    pub repeated: bool,
    /// What its track has shown of itself so far.
    #[serde(default)]
    pub signs: Signs,
    /// It, warped to the encoder's frame, where it was embedded.
    #[serde(skip)]
    pub crop: Option<AlignedCrop>,
    /// A small picture of it, where pictures of refusals are kept.
    #[serde(skip)]
    pub snapshot: Option<Arc<RgbImage>>,
}

/// How long the stages took, in µs.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct StageTimes {
    /// Finding faces.
    pub detect_us: u64,
    /// Alignment and quality of all faces.
    pub align_us: u64,
    /// Embedding of all good faces.
    pub embed_us: u64,
    /// Search in the gallery.
    pub match_us: u64,
    /// Photo check of all faces that may be let in.
    #[serde(default)]
    pub live_us: u64,
}

/// One frame, looked at.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Analysis {
    /// The frame's number.
    pub seq: u64,
    /// When it was taken.
    pub captured: MonoTime,
    /// Its width and height in px.
    pub size: (u32, u32),
    /// Which state of the people the matches are from.
    pub gallery_generation: u64,
    /// Everybody in it, largest first.
    pub faces: Vec<SeenFace>,
    /// Where the time went.
    pub times: StageTimes,
}

/// What the faces of a frame say about their tracks, in their order.
pub(crate) fn looks(analysis: &Analysis) -> Vec<Look> {
    analysis.faces.iter().map(|face| look(analysis, face)).collect()
}

/// What one face says about its track. It is merely in view when it was good enough and has not been compared, or when the
/// camera repeats itself: a frozen picture of somebody who was there says nothing about now.
fn look(analysis: &Analysis, face: &SeenFace) -> Look {
    let outcome = match face.issue {
        _ if face.repeated => LookOutcome::InView,
        Some(issue) => LookOutcome::Unusable(issue),
        None if face.embedding.is_some() => LookOutcome::Compared(face.matched.clone()),
        None => LookOutcome::InView,
    };
    let (seq, captured) = (analysis.seq, analysis.captured);
    let size_px = (face.face.bbox.w * face.face.bbox.h).sqrt();
    let (proof, signs, yaw_deg) = (face.proof, face.signs, face.quality.yaw_deg);
    Look { track: face.track, seq, captured, size_px, outcome, proof, signs, yaw_deg }
}

/// Why a frame could not be looked at.
#[derive(Debug, thiserror::Error)]
#[error("vision failed on frame {seq}: {what}")]
pub struct AnalyseError {
    /// The frame's number.
    pub seq: u64,
    /// What failed.
    pub what: String,
    /// The network's error.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The networks as the daemon sees them: frames in, faces out. Keeps the tracks between frames.
pub trait Analyser: Send {
    /// Looks at one frame.
    ///
    /// # Errors
    /// When a network fails; the daemon then locks and stops.
    fn analyse(&mut self, frame: &Frame, gallery: &Gallery) -> Result<Analysis, AnalyseError>;

    /// Looks at a picture that an operator hands over for enrolment, and makes a template of its only face; or says in
    /// words what is wrong with the picture. The tracks know nothing of it.
    ///
    /// # Errors
    /// As for [`Analyser::analyse`].
    fn study(&mut self, picture: &RgbImage) -> Result<Result<NewTemplate, String>, AnalyseError>;

    /// The encoder's id.
    fn model(&self) -> &ModelId;
}
