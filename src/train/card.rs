//! What is written down about a trained encoder: the card inside its file.

use super::dataset::{Dataset, Parts};
use super::people;
use super::settings::{LossKind, Settings};
use crate::encoder::network::Architecture;
use crate::nn::model_file::ModelCard;

/// The card for the model file of a run.
pub fn of_model(settings: &Settings, set: &Dataset, parts: &Parts, architecture: &Architecture) -> ModelCard {
    let pictures = parts.train.iter().map(Vec::len).sum::<usize>();
    let begun = match &settings.network.weights {
        Some(path) => format!("going on from {}", path.file_name().unwrap_or_default().to_string_lossy()),
        None => "from random weights".into(),
    };
    let loss = match settings.loss.kind {
        LossKind::Contrastive => "contrastive",
        LossKind::Triplet => "triplet",
        LossKind::Arcface => "ArcFace",
    };
    ModelCard {
        format: 0,
        name: settings.network.name.clone(),
        job: "encoder".into(),
        architecture: architecture.name.into(),
        input: architecture.input,
        dim: Some(architecture.dim),
        licence: "as its training pictures allow".into(),
        provenance: format!(
            "trained by accessd on {} of {} ({pictures} pictures), {loss} loss, seed {}, {begun}",
            people(parts.train.len()),
            set.name(),
            settings.run.seed
        ),
        source_sha256: String::new(),
        weights_blake3: String::new(),
        framing: Some(settings.data.framing),
    }
}
