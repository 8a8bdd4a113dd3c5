//! One picture → the faces in it, each aligned, judged and, if wanted, embedded: the pieces of `vision` and `encoder`
//! put together once, for the daemon, enrolment, comparison and evaluation alike.

use std::path::{Path, PathBuf};

use image::RgbImage;

use crate::encoder::network::Encoder;
use crate::encoder::{Embedding, ModelId};
use crate::liveness::check::PhotoCheck;
use crate::liveness::network::Liveness;
use crate::models::{Library, LibraryError};
use crate::nn::model_file::ModelFile;
use crate::nn::team::{Team, TeamError};
use crate::nn::{DeviceError, device};
use crate::vision::Face;
use crate::vision::align::{AlignedCrop, align};
use crate::vision::quality::{Quality, assess};
use crate::vision::yunet::{self, Detector};

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
    /// The device is not there.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The threads are not to be had.
    #[error(transparent)]
    Team(#[from] TeamError),
    /// A network is not installed, or its file is bad.
    #[error(transparent)]
    Library(#[from] LibraryError),
    /// A network's weights are not those of its architecture.
    #[error("network {name} cannot be built; import it again with `accessd models import`")]
    Build {
        /// Its name.
        name: String,
        /// What differs.
        #[source]
        source: candle_core::Error,
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
    /// Threads that the encoder takes on the CPU. The detector has one: its layers are so narrow that handing rows from
    /// core to core costs more than it gains.
    pub threads: usize,
}

/// Detector and encoder, loaded. Cloning shares the weights; a clone serves another thread.
#[derive(Clone, Debug)]
pub struct Recogniser {
    detector: Detector,
    encoder: Encoder,
    team: Team,
}

impl Recogniser {
    /// Loads detector and encoder.
    ///
    /// # Errors
    /// When a file is missing, damaged or of another network, or the device or the threads are not there.
    pub fn load(options: &RecogniserOptions) -> Result<Self, RecognitionError> {
        let device = device(&options.device)?;
        let team = Team::new(options.threads)?;
        let library = Library::new(&options.models);
        let build = |name: &str| {
            let name = name.to_owned();
            move |source| RecognitionError::Build { name, source }
        };
        let file = library.load(yunet::ARCHITECTURE, "detector")?;
        let detector = Detector::new(&file, &device, options.detect_px, options.min_face_score)
            .map_err(build(yunet::ARCHITECTURE))?;
        let file = library.load(&options.encoder, "encoder")?;
        let encoder = Encoder::new(&file, &device).map_err(build(&options.encoder))?.with_team(&team);
        Ok(Self { detector, encoder, team })
    }

    /// The encoder's id.
    pub fn model(&self) -> &ModelId {
        self.encoder.model()
    }

    /// The encoder's threads, for networks that run in turn with it.
    pub fn team(&self) -> &Team {
        &self.team
    }

    /// Where the faces are, largest first, in pixels of `image`.
    ///
    /// # Errors
    /// When the detector fails.
    pub fn detect(&mut self, image: &RgbImage) -> Result<Vec<Face>, RecognitionError> {
        let failed = |source| RecognitionError::Run { name: yunet::ARCHITECTURE.to_owned(), source };
        self.detector.detect(image).map_err(failed)
    }

    /// All faces in a picture, aligned and judged, largest first.
    ///
    /// # Errors
    /// When the detector fails.
    pub fn find(&mut self, image: &RgbImage) -> Result<Vec<FoundFace>, RecognitionError> {
        Ok(self.detect(image)?.into_iter().map(|face| FoundFace::new(image, face)).collect())
    }

    /// Embeds crops, in order.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn embed(&mut self, crops: &[&AlignedCrop]) -> Result<Vec<Embedding>, RecognitionError> {
        let embedded = self.encoder.embed(crops);
        embedded.map_err(|source| RecognitionError::Run { name: self.encoder.model().to_string(), source })
    }
}

/// The installed networks that tell a face from a picture of one, or those of them that are `named`; `None` when there is
/// none. A file that is damaged or of an unknown architecture is an error and not passed over: a check that silently is
/// another one would be worse than none.
///
/// # Errors
/// When the folder or a network cannot be read, or a name is of no such network.
pub fn load_photo_check(
    models: &Path,
    named: &[String],
    device_name: &str,
) -> Result<Option<PhotoCheck>, RecognitionError> {
    const JOB: &str = "liveness";
    let (device, library) = (device(device_name)?, Library::new(models));
    let files = match named {
        [] => library.of_job(JOB)?,
        named => named.iter().map(|name| library.load(name, JOB)).collect::<Result<_, _>>()?,
    };
    let build = |file: &ModelFile| {
        let failed = |source| RecognitionError::Build { name: file.card.name.clone(), source };
        Liveness::new(file, &device).map_err(failed)
    };
    let networks: Vec<Liveness> = files.iter().map(build).collect::<Result<_, _>>()?;
    Ok(PhotoCheck::new(networks))
}

impl FoundFace {
    /// Aligns and judges a face of `image`.
    pub fn new(image: &RgbImage, face: Face) -> Self {
        let crop = align(image, &face.landmarks);
        let quality = assess(&face.landmarks, &crop);
        Self { face, crop, quality }
    }
}
