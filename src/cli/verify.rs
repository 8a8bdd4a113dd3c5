//! `accessd verify`: are these two pictures of the same person?

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::adapters::{load_networks, one_to_one};
use super::output::Output;
use super::picture::{LargestFace, Picture};
use super::{Exit, Globals};
use crate::encoder::{ModelId, compare};

/// Compare the faces in two pictures; exit code 0 when they are of one person, 3 when they are not
#[derive(Args, Debug)]
pub(super) struct Verify {
    /// One picture
    a: PathBuf,
    /// The other picture
    b: PathBuf,
    /// Print JSON: {"a", "b", "model", "distance", "cosine", "threshold", "same"}
    #[arg(long)]
    json: bool,
}

/// Two pictures compared.
#[derive(Debug, Serialize)]
struct Comparison {
    a: LargestFace,
    b: LargestFace,
    model: ModelId,
    distance: f32,
    cosine: f32,
    threshold: f32,
    same: bool,
}

impl Verify {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let config = globals.load()?;
        let (a, b) = (Picture::read(&self.a)?, Picture::read(&self.b)?);
        let mut networks = load_networks(&config)?;
        let a = LargestFace::of(&mut networks, &a)?;
        let b = LargestFace::of(&mut networks, &b)?;
        let measured = compare(&a.embedding, &b.embedding);
        let threshold = one_to_one(&config, networks.model())?.0;
        let comparison = Comparison {
            a,
            b,
            model: networks.model().clone(),
            distance: measured.distance,
            cosine: measured.score.0,
            threshold,
            same: measured.score.0 >= threshold,
        };
        let mut out = Output::new();
        if self.json {
            out.json(&comparison)?;
        } else {
            comparison.print(&mut out)?;
        }
        out.flush()?;
        Ok(if comparison.same { Exit::Done } else { Exit::No })
    }
}

impl Comparison {
    fn print(&self, out: &mut Output) -> anyhow::Result<()> {
        for face in [&self.a, &self.b].into_iter().filter(|face| face.faces > 1) {
            out.line(format_args!(
                "note: {} shows {} faces; the largest is compared",
                face.image.display(),
                face.faces
            ))?;
        }
        // On the unit sphere both limits are the same one.
        let farthest = (2.0 - 2.0 * self.threshold).max(0.0).sqrt();
        out.line(format_args!("cosine    {:.3}  (the same person from {:.3})", self.cosine, self.threshold))?;
        out.line(format_args!("distance  {:.3}  (the same person up to {farthest:.3})", self.distance))?;
        out.line(format_args!(
            "verdict   {}",
            if self.same { "the same person" } else { "different people" }
        ))?;
        Ok(())
    }
}
