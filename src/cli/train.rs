//! `accessd train`: an encoder from a folder of faces.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::output::{Output, align_right, table};
use super::settings::Origin;
use super::{Exit, Globals};
use crate::clock::SystemClock;
use crate::models::Library;
use crate::nn::model_file::Framing;
use crate::train::TrainError;
use crate::train::dataset::Dataset;
use crate::train::history::{EpochLine, StepLine};
use crate::train::pictures::{self, Pictures};
use crate::train::report::{self, Report};
use crate::train::run::{Run, SETTINGS, Watch};
use crate::train::settings::{Settings, Split};
use crate::vision::yunet::{self, Detector};

/// Pairs of each kind that are printed at the end.
const SHOWN: usize = 5;

/// Train an encoder on a folder of faces and judge it on people it has never seen
///
/// --config names the settings of the training here (config/train.toml explains them), not those of the door. The run's
/// folder gets the encoder, its card, curves, metrics and a report to look at.
#[derive(Args, Debug)]
pub(super) struct Train {
    /// A folder with a folder of pictures for each person, or a CSV with the columns identity,path
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The run's folder, made when it is not there
    #[arg(long, value_name = "RUN_DIR")]
    out: PathBuf,
    /// Go on from the last checkpoint of the run in the folder, with its settings
    #[arg(long)]
    resume: bool,
    /// How many epochs, instead of run.epochs
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    epochs: Option<usize>,
    /// What all randomness follows from, instead of run.seed
    #[arg(long, value_name = "N", conflicts_with = "resume")]
    seed: Option<u64>,
    /// cpu, cuda or cuda:N, instead of run.device
    #[arg(long, value_name = "DEVICE", conflicts_with = "resume")]
    device: Option<String>,
    /// Folder of the installed networks, for the detector; default `paths.models` of the door's config
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
}

impl Train {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let settings = self.settings(globals)?;
        let set = Dataset::read(&self.data)?;
        let detector = self.detector(&settings, &set)?;
        let bar = ProgressBar::hidden();
        let pictures = {
            let bar = if globals.quiet { bar } else { reading() };
            let pictures = Pictures::prepare(&set, settings.data.framing, detector.as_ref(), &bar)?;
            bar.finish_and_clear();
            pictures
        };
        let clock = Arc::new(SystemClock);
        let mut run = Run::open(&self.out, settings.clone(), &set, &pictures, self.resume, clock)?;
        let mut watch = Progress::new(globals.quiet, &settings);
        let file = run.train(&mut watch)?;
        watch.bar.finish_and_clear();
        let compared = run.judge(&file, &run.parts.test)?;
        let report = Report {
            settings: &settings,
            set: &set,
            pictures: &pictures,
            parts: &run.parts,
            file: &file,
            lines: run.lines(),
            best_epoch: run.best_epoch(),
            compared: &compared,
        };
        let results = report::write(&self.out, &report)?;
        let mut out = Output::new();
        for (what, value) in results.rows() {
            out.line(format_args!("{what:<14}{value}"))?;
        }
        out.line(format_args!("{:<14}{}", "report", self.out.join("report.html").display()))?;
        let unseen = match settings.data.split {
            Split::Identity => "people it has never seen",
            Split::Pictures => "pictures it has never seen",
        };
        out.line(format_args!("\nSome pairs of {unseen}:"))?;
        let mut pairs = table(["A", "B", "SAME", "DISTANCE"]);
        for pair in report.sample(SHOWN) {
            let [a, b] = pair.pictures.map(|picture| report.name_of(picture));
            let same = if pair.genuine { "yes" } else { "no" };
            pairs.add_row([a, b, same.to_owned(), format!("{:.3}", pair.distance)]);
        }
        align_right(&mut pairs, [3]);
        out.table(&pairs)?;
        out.flush()?;
        Ok(Exit::Done)
    }

    fn settings(&self, globals: &Globals) -> Result<Settings, TrainError> {
        if self.resume {
            return Settings::read(&self.out.join(SETTINGS));
        }
        let mut settings = match &globals.config {
            Some(path) => Settings::read(path)?,
            None => Settings::default(),
        };
        settings.run.epochs = self.epochs.unwrap_or(settings.run.epochs);
        settings.run.seed = self.seed.unwrap_or(settings.run.seed);
        if let Some(device) = &self.device {
            settings.run.device.clone_from(device);
        }
        Ok(settings)
    }

    /// The detector, when there are pictures without landmarks to align.
    fn detector(&self, settings: &Settings, set: &Dataset) -> anyhow::Result<Option<Detector>> {
        let needless =
            settings.data.framing == Framing::Whole || set.pictures.iter().all(|p| p.landmarks.is_some());
        if needless {
            return Ok(None);
        }
        let config = Origin::find(None).load()?;
        let folder: &Path = self.models.as_deref().unwrap_or(&config.paths.models);
        let file = Library::new(folder).load(yunet::ARCHITECTURE, "detector")?;
        Ok(Some(pictures::detector(&file, config.vision.detect_px, config.vision.min_face_score)?))
    }
}

fn reading() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} pictures read, {eta} left")
        .expect("the template is valid");
    ProgressBar::new(0).with_style(style)
}

/// The progress bar, and a line for each epoch.
struct Progress {
    bar: ProgressBar,
    epochs: usize,
    quiet: bool,
}

impl Progress {
    fn new(quiet: bool, settings: &Settings) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}, {eta} left")
            .expect("the template is valid");
        let bar = if quiet { ProgressBar::hidden() } else { ProgressBar::new(0).with_style(style) };
        Self { bar, epochs: settings.run.epochs, quiet }
    }
}

impl Watch for Progress {
    fn step(&mut self, line: &StepLine, steps: usize, pictures_per_s: f64) {
        self.bar.set_length((steps * self.epochs) as u64);
        self.bar.set_position(line.step);
        self.bar.set_message(format!(
            "epoch {}: loss {:.4}, rate {:.2e}, {pictures_per_s:.0} pictures/s",
            line.epoch, line.loss, line.rate
        ));
    }

    fn epoch(&mut self, line: &EpochLine) {
        if self.quiet {
            return;
        }
        let validation =
            line.validation_eer.map_or(String::new(), |eer| format!(", validation EER {:.2} %", 100.0 * eer));
        let text = format!(
            "epoch {}/{}: loss {:.4}{validation}, {:.1} s, {:.0} pictures/s",
            line.epoch, self.epochs, line.loss, line.seconds, line.pictures_per_s
        );
        // Above the bar on a terminal, a plain line where standard error goes to a file.
        self.bar.suspend(|| eprintln!("{text}"));
    }
}
