//! Training an encoder on a user's own folder of faces.
//!
//! ```text
//! folder, CSV ──dataset──▶ pictures ──batches, augment──▶ learner ──losses──▶ optimise ─┐
//!                              │                             ▲──────────────────────────┘
//!                              └────────judge (people never seen)──▶ results, report, model file
//! ```
//!
//! [`run::Run`] is the loop; everything random follows from the seed and the step, so a run that was cut off goes on
//! from its last checkpoint as if nothing had happened.

mod augment;
mod batches;
pub mod card;
mod checkpoint;
pub mod dataset;
pub mod history;
pub mod judge;
mod learner;
pub mod losses;
mod optimise;
pub mod pictures;
mod random;
pub mod report;
pub mod run;
pub mod settings;

use std::path::PathBuf;

use crate::frame::ImageError;
use crate::nn::DeviceError;
use crate::nn::model_file::ModelFileError;

/// Why a run could not be made or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A file or folder.
    #[error("{} cannot be {doing}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// `read` or `written`.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The settings are wrong.
    #[error("settings: {0}")]
    Settings(String),
    /// The data cannot be trained on.
    #[error("{0}")]
    Data(String),
    /// A picture cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The detector failed on a picture.
    #[error("picture {}: the detector failed", path.display())]
    Detector {
        /// The picture.
        path: PathBuf,
        /// candle's error.
        #[source]
        source: candle_core::Error,
    },
    /// The device is not there.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A model file cannot be read or written.
    #[error(transparent)]
    Model(#[from] ModelFileError),
    /// The weights to go on from cannot be used.
    #[error("weights {}: they cannot be trained on", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: candle_core::Error,
    },
    /// The folder of a run holds something else.
    #[error("run {}: {what}", path.display())]
    Run {
        /// The folder.
        path: PathBuf,
        /// What is wrong and what to try.
        what: String,
    },
    /// A checkpoint cannot be used.
    #[error("checkpoint {}: {what}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to try.
        what: String,
    },
    /// The loss is no number any more.
    #[error(
        "the loss is {loss} at step {step} (learning rate {rate:.2e}, gradient {gradient:.2e}); lower optimiser.rate or \
         set optimiser.clip, and go on from the last checkpoint with --resume"
    )]
    NotFinite {
        /// The loss.
        loss: f32,
        /// The step.
        step: u64,
        /// Its learning rate.
        rate: f64,
        /// Length of its gradient.
        gradient: f64,
    },
    /// A network failed while training.
    #[error("the network failed while training")]
    Network(#[from] candle_core::Error),
}

/// `1 person`, `2 people`.
fn people(n: usize) -> String {
    if n == 1 { "1 person".into() } else { format!("{n} people") }
}
