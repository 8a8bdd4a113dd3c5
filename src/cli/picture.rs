//! From a picture file to its faces: what `enroll`, `verify`, `identify` and `bench` share.

use std::path::{Path, PathBuf};

use anyhow::Context;
use image::RgbImage;
use serde::Serialize;

use crate::encoder::Embedding;
use crate::frame::load_image;
use crate::recognition::{FoundFace, Recogniser};
use crate::vision::quality::Quality;

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
