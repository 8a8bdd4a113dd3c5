//! From a picture file to its faces: what `enroll`, `verify`, `identify` and `bench` share.

use std::path::{Path, PathBuf};

use anyhow::Context;
use image::RgbImage;
use serde::Serialize;

use crate::encoder::Embedding;
use crate::frame::load_image;
use crate::recognition::{FoundFace, Recogniser};
use crate::vision::quality::{Quality, QualityGates, QualityIssue};

/// A picture, read.
pub(super) struct Picture {
    /// Its file.
    pub(super) file: PathBuf,
    image: RgbImage,
}

impl Picture {
    /// Reads it. Commands do so before they load the networks: a bad file is told at once.
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        Ok(Self { file: file.to_owned(), image: load_image(file)? })
    }

    /// The faces in it, largest first; at least one.
    pub(super) fn faces(&self, networks: &mut Recogniser) -> anyhow::Result<Vec<FoundFace>> {
        let found = networks.find(&self.image);
        let found = found.with_context(|| format!("faces in {} cannot be sought", self.file.display()))?;
        anyhow::ensure!(
            !found.is_empty(),
            "{}: no face is found in it; use a picture that shows the face upright, from the front and well lit, or \
             lower vision.min_face_score",
            self.file.display()
        );
        Ok(found)
    }

    /// Embeds a face that was found in it.
    pub(super) fn embed(&self, networks: &mut Recogniser, face: &FoundFace) -> anyhow::Result<Embedding> {
        let embeddings = networks
            .embed(&[&face.crop])
            .with_context(|| format!("the face in {} cannot be embedded", self.file.display()))?;
        Ok(embeddings.into_iter().next().expect("one embedding a crop"))
    }
}

/// The largest face of a picture, embedded.
#[derive(Debug, Serialize)]
pub(super) struct LargestFace {
    /// The picture.
    pub(super) image: PathBuf,
    /// How many faces are in it.
    pub(super) faces: usize,
    /// How good this one is.
    pub(super) quality: Quality,
    #[serde(skip)]
    pub(super) embedding: Embedding,
}

impl LargestFace {
    /// Finds and embeds it.
    pub(super) fn of(networks: &mut Recogniser, picture: &Picture) -> anyhow::Result<Self> {
        let faces = picture.faces(networks)?;
        let largest = &faces[0];
        Ok(Self {
            image: picture.file.clone(),
            faces: faces.len(),
            quality: largest.quality,
            embedding: picture.embed(networks, largest)?,
        })
    }
}

/// What is wrong with a face, in figures: `eye distance 18 px, needs 28: use a larger picture`.
pub(super) fn explain(issue: QualityIssue, quality: &Quality, gates: &QualityGates) -> String {
    match issue {
        QualityIssue::TooSmall => format!(
            "eye distance {:.0} px, needs {:.0}: use a larger picture or come closer",
            quality.eye_distance_px, gates.min_eye_distance_px
        ),
        QualityIssue::Blurred => format!(
            "sharpness {:.1}, needs {:.1}: hold still, or use a picture in focus",
            quality.sharpness, gates.min_sharpness
        ),
        QualityIssue::TooDark => {
            format!("light {:.0}, needs {:.0}: put light on the face", quality.light, gates.min_light)
        }
        QualityIssue::TooBright => format!(
            "light {:.0}, may be {:.0}: less light, or the camera's exposure is too long",
            quality.light, gates.max_light
        ),
        QualityIssue::TurnedAway => format!(
            "turned {:.0}° to the side and {:.0}° up or down, may be {:.0}° and {:.0}°: look at the camera",
            quality.yaw_deg.abs(),
            quality.pitch_deg.abs(),
            gates.max_yaw_deg,
            gates.max_pitch_deg
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::adapters::gates;
    use super::*;
    use crate::config::Config;

    #[test]
    fn what_is_wrong_with_a_face_is_said_with_its_figure_and_the_limit() {
        let quality = Quality {
            eye_distance_px: 18.2,
            sharpness: 3.1,
            light: 230.0,
            yaw_deg: -51.0,
            pitch_deg: 4.0,
            roll_deg: 0.0,
        };
        let gates = gates(&Config::default());
        for (issue, words) in [
            (QualityIssue::TooSmall, "eye distance 18 px, needs 28: use a larger picture"),
            (QualityIssue::Blurred, "sharpness 3.1, needs 20.0: hold still"),
            (QualityIssue::TooDark, "light 230, needs 40: put light"),
            (QualityIssue::TooBright, "light 230, may be 225: less light"),
            (QualityIssue::TurnedAway, "turned 51° to the side and 4° up or down, may be 40° and 35°"),
        ] {
            let text = explain(issue, &quality, &gates);
            assert!(text.starts_with(words), "{text}");
        }
    }
}
