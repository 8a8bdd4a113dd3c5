//! One picture → the faces in it, each aligned, judged and, if wanted, embedded: the pieces of `vision` and `encoder`
//! put together once, for the daemon, enrolment, comparison and evaluation alike.

use std::path::PathBuf;

use image::RgbImage;

use crate::encoder::{Embedding, ModelId};
use crate::vision::Face;
use crate::vision::align::AlignedCrop;
use crate::vision::quality::Quality;

/// A face found in a picture, ready for the encoder.
#[derive(Clone, Debug)]
pub struct FoundFace {
    /// Where it is.
    pub face: Face,
    /// Warped to the encoder's frame.
    pub crop: AlignedCrop,
    /// How good it is.
    pub quality: Quality,
}

/// Why the networks could not be loaded or run.
#[derive(Debug, thiserror::Error)]
pub enum RecognitionError {
    /// A network could not be loaded.
    #[error("network {name} in {}: {what}", models.display())]
    Load {
        /// Its name in the manifest.
        name: String,
        /// The folder it was sought in.
        models: PathBuf,
        /// What failed and what to try.
        what: String,
    },
    /// A network failed while running.
    #[error("network {name} failed while running")]
    Run {
        /// Its name.
        name: String,
        /// candle's error.
        #[source]
        source: candle_core::Error,
    },
}

/// Detector and encoder, loaded. Cloning shares the weights; a clone serves another thread.
#[derive(Clone)]
pub struct Recogniser {
    model: ModelId,
}

/// What to load and how.
#[derive(Clone, Debug)]
pub struct RecogniserOptions {
    /// Folder of the installed networks.
    pub models: PathBuf,
    /// Name of the encoder.
    pub encoder: String,
    /// `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// Longest side in px at which faces are sought.
    pub detect_px: u32,
    /// Detector confidence from which a box is a face.
    pub min_face_score: f32,
}

impl Recogniser {
    /// Loads detector and encoder.
    ///
    /// # Errors
    /// When a file is missing, damaged or of another network, or the device is not there.
    pub fn load(_options: &RecogniserOptions) -> Result<Self, RecognitionError> {
        todo!()
    }

    /// The encoder's id.
    pub fn model(&self) -> &ModelId {
        &self.model
    }

    /// All faces in a picture, largest first.
    ///
    /// # Errors
    /// When the detector fails.
    pub fn find(&mut self, _image: &RgbImage) -> Result<Vec<FoundFace>, RecognitionError> {
        todo!()
    }

    /// Embeds crops, in order.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn embed(&mut self, _crops: &[&AlignedCrop]) -> Result<Vec<Embedding>, RecognitionError> {
        todo!()
    }
}
