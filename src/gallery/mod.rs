//! The enrolled people and which of them a face belongs to.

mod crop;
mod matching;

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::encoder::{Embedding, ModelId, Score};
use crate::vision::quality::Quality;

pub use crop::{KeptCrop, MAX_CROP};
pub use matching::{Gallery, Likenesses};

/// Two samples of one person score at least this much: 99.8 % of such pairs do with SFace on LFW, and one pair of
/// different people in a thousand.
pub const SAME_PERSON: Score = Score(0.35);

/// Names one person in the database, never used again after removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PersonId(pub i64);

/// Where a template's picture came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateSource {
    /// A picture file given by the operator.
    Image,
    /// The door's or the operator's camera.
    Camera,
    /// The door's camera, when it let the person in: nobody enrolled it.
    Learnt,
    /// A kept crop or a look of somebody who was let in, of which an encoder that is to follow made its own.
    Migrated,
}

/// A template to be stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewTemplate {
    /// The network that made it.
    pub model: ModelId,
    /// The face.
    pub embedding: Embedding,
    /// How good the picture was.
    pub quality: Quality,
    /// Where the picture came from.
    pub source: TemplateSource,
    /// The aligned picture itself, where those are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crop: Option<KeptCrop>,
}

/// A stored template without its embedding, which never leaves the gallery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TemplateInfo {
    /// Row id.
    pub id: i64,
    /// The network that made it.
    pub model: ModelId,
    /// How good the picture was.
    pub quality: Quality,
    /// Where the picture came from.
    pub source: TemplateSource,
    /// When it was stored.
    pub created: Timestamp,
}

/// A person with what is stored about them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Person {
    /// Their id.
    pub id: PersonId,
    /// Unique name, as the operator wrote it.
    pub name: String,
    /// When they were enrolled.
    pub created: Timestamp,
    /// Their templates of every model.
    pub templates: Vec<TemplateInfo>,
    /// When the door last opened for them.
    pub last_grant: Option<Timestamp>,
}

/// One person's best score against a probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Who.
    pub person: PersonId,
    /// Their name when the gallery was read.
    pub name: Arc<str>,
    /// The highest score over their templates.
    pub score: Score,
}

/// The answer of the gallery: the best person and the second-best *other* person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// The most alike person.
    pub best: Candidate,
    /// The most alike other person; `None` when only one is enrolled.
    pub runner_up: Option<Candidate>,
}
