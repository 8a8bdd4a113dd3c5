//! `accessd eval pad`: how well pictures of faces are told from faces, by the installed networks or from scores.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;

use super::{Told, pad_rows, pages, progress, undetected};
use crate::cli::adapters::{load_networks, photo_check};
use crate::cli::{Exit, Globals};
use crate::encoder::ModelId;
use crate::eval::embed_set::require_images;
use crate::eval::pad::{self, Labelled, PadReport, Presentation};
use crate::frame::load_image;
use crate::liveness::check::PhotoCheck;

/// Threshold for scores of unknown origin.
const MIDDLE: f64 = 0.5;

#[derive(Args, Debug)]
pub(super) struct PadArgs {
    /// CSV with the columns label,path,score and, if known, subject; a label is live or the name of a species
    #[arg(long, value_name = "FILE", required_unless_present = "images", conflicts_with_all = ["images", "labels"])]
    scores: Option<PathBuf>,
    /// Folder of pictures that the installed networks look at, with --labels
    #[arg(long, value_name = "DIR", requires = "labels")]
    images: Option<PathBuf>,
    /// CSV with the columns label,path and, if known, subject; paths count from --images
    #[arg(long, value_name = "FILE", requires = "images")]
    labels: Option<PathBuf>,
    /// Use only this installed network; may be given several times
    #[arg(long, value_name = "NAME", requires = "images")]
    network: Vec<String>,
    /// Folder of the installed networks instead of paths.models in the config
    #[arg(long, value_name = "DIR", requires = "images")]
    models: Option<PathBuf>,
    /// Write each picture's score here, together and by network, as CSV that --scores takes
    #[arg(long, value_name = "FILE", requires = "images")]
    write_scores: Option<PathBuf>,
    /// Score from which a picture counts as live, instead of that of the door's rule (with --scores: 0.5)
    #[arg(long, value_name = "SCORE")]
    threshold: Option<f64>,
    #[command(flatten)]
    told: Told,
}

/// The outcome with what it was measured on.
#[derive(Serialize)]
struct Measured {
    #[serde(flatten)]
    report: PadReport,
    networks: Vec<ModelId>,
    undetected_images: Vec<String>,
}

impl PadArgs {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let (Some(images), Some(labels)) = (&self.images, &self.labels) else {
            let Some(scores) = &self.scores else { bail!("give --scores, or --images and --labels") };
            let report = pad::judge(&pad::read(scores)?, self.threshold.unwrap_or(MIDDLE));
            self.told.page(|| Ok(pages::pad(&report, pad_rows(&report))))?;
            return self.told.tell(&report, pad_rows);
        };
        let measured = self.measure(globals, images, labels)?;
        let report = &measured.report;
        self.told.page(|| Ok(pages::pad(report, pad_rows(report))))?;
        self.told.tell(&measured, |measured| {
            let networks = measured.networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let mut rows = vec![("networks", networks)];
            rows.extend(pad_rows(&measured.report));
            rows.push(("no face in", undetected(&measured.undetected_images)));
            rows
        })
    }

    fn measure(&self, globals: &Globals, images: &Path, labels: &Path) -> anyhow::Result<Measured> {
        let list = pad::read_labels(labels)?;
        let paths: Vec<PathBuf> = list.iter().map(|picture| PathBuf::from(&picture.path)).collect();
        let files = require_images(labels, images, &paths)?;
        let mut config = globals.load()?;
        if let Some(models) = &self.models {
            config.paths.models.clone_from(models);
        }
        let mut networks = load_networks(&config)?;
        let Some(mut check) = photo_check(&config, &self.network, networks.team())? else {
            bail!(
                "no network in {} tells a face from a picture of one; `make models` fetches one where npm is installed, and \
                 `accessd models import` takes others",
                config.paths.models.display()
            );
        };
        let mut scores = self.write_scores.as_deref().map(|file| Scores::begin(file, &check)).transpose()?;
        let bar = progress(globals.quiet);
        bar.set_length(files.len() as u64);
        let (mut all, mut undetected_images) = (Vec::with_capacity(files.len()), Vec::new());
        for (picture, file) in list.into_iter().zip(files) {
            let image = load_image(&file)?;
            let faces = networks.detect(&image)?;
            let size = image.dimensions();
            let face = faces.iter().max_by(|a, b| a.prominence(size).total_cmp(&b.prominence(size)));
            // Without a face the door stays shut, for the living too.
            let (score, each) = match face {
                Some(face) => {
                    let said = check
                        .look(&image, &face.bbox)
                        .with_context(|| format!("image {}", file.display()))?;
                    (f64::from(said.together), said.each)
                }
                None => {
                    undetected_images.push(picture.path.clone());
                    (0.0, vec![0.0; check.models().len()])
                }
            };
            if let Some(scores) = &mut scores {
                scores.add(&picture, score, &each)?;
            }
            all.push(Presentation { picture, score });
            bar.inc(1);
        }
        bar.finish_and_clear();
        scores.map(Scores::end).transpose()?;
        let threshold = self.threshold.unwrap_or_else(|| check.threshold());
        Ok(Measured { report: pad::judge(&all, threshold), networks: check.models(), undetected_images })
    }
}

/// The list of scores as it is written.
struct Scores {
    file: PathBuf,
    csv: csv::Writer<File>,
}

impl Scores {
    fn begin(file: &Path, check: &PhotoCheck) -> anyhow::Result<Self> {
        let csv =
            csv::Writer::from_path(file).with_context(|| format!("{} cannot be written", file.display()))?;
        let mut this = Self { file: file.to_owned(), csv };
        let head = ["label", "subject", "path", "score"].map(str::to_owned);
        this.row(head.into_iter().chain(check.models().iter().map(ToString::to_string)).collect())?;
        Ok(this)
    }

    fn add(&mut self, picture: &Labelled, score: f64, each: &[f32]) -> anyhow::Result<()> {
        let subject = picture.subject.clone().unwrap_or_else(|| "unknown".to_owned());
        let first = [picture.label.clone(), subject, picture.path.clone(), format!("{score:.4}")];
        self.row(first.into_iter().chain(each.iter().map(|live| format!("{live:.4}"))).collect())
    }

    fn row(&mut self, row: Vec<String>) -> anyhow::Result<()> {
        self.csv.write_record(row).with_context(|| format!("{} cannot be written", self.file.display()))
    }

    fn end(mut self) -> anyhow::Result<()> {
        self.csv.flush().with_context(|| format!("{} cannot be written", self.file.display()))
    }
}
