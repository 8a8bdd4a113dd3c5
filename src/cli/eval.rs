//! `accessd eval`: how good the encoder is, measured by the field's protocols on pictures with known people.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::adapters::{cores, load_networks};
use super::output::{Output, count};
use super::{Exit, Globals};
use crate::clock::{Clock, SystemClock};
use crate::encoder::{Embedding, ModelId};
use crate::eval::embed_set::{embed_all, require_images};
use crate::eval::identify::{IdentifyReport, identify};
use crate::eval::metrics::Interval;
use crate::eval::openset::OpenSet;
use crate::eval::pairs::PairList;
use crate::eval::verify::{VerifyReport, verify};

/// Measure the encoder on pictures of known people, by the field's protocols
#[derive(Args, Debug)]
pub(super) struct Eval {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(Debug, Subcommand)]
enum Protocol {
    /// 1:1, are these two pictures of one person: k-fold accuracy as in LFW View 2, EER, TMR at FMR 0.01 and 0.001
    ///
    /// In a picture with several faces the large and central one counts. A picture without a face counts against the
    /// encoder: its pairs get the lowest score there is.
    Verify {
        /// List of pairs: "FOLDS PER_FOLD", then lines "NAME I J" and "NAME I OTHER J", for pictures
        /// NAME/NAME_000I.jpg
        #[arg(long, value_name = "FILE")]
        pairs: PathBuf,
        #[command(flatten)]
        run: Run,
    },
    /// 1:N among enrolled people and strangers (open set): rank-1, FNIR at FPIR 0.1 and 0.01
    ///
    /// A person's score is the best over their templates. A probe without a face is a miss.
    Identify {
        /// CSV with the columns role,identity,path; roles are enrol, mated and nonmated
        #[arg(long, value_name = "FILE")]
        protocol: PathBuf,
        #[command(flatten)]
        run: Run,
    },
}

/// What both protocols take.
#[derive(Args, Debug)]
struct Run {
    /// Folder that the pictures are in, one folder a person
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Encoder to measure instead of encoder.model in the config
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Folder of the installed networks instead of paths.models in the config
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Longest side in px at which faces are sought, instead of vision.detect_px in the config
    #[arg(long, value_name = "N", value_parser = detect_px)]
    detect_px: Option<u32>,
    /// How many threads; one a core when not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Print JSON, or write it to a file; shares are from 0 to 1, thresholds are cosines
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
}

/// The outcome, with what it was measured on.
#[derive(Serialize)]
struct Measured<R> {
    #[serde(flatten)]
    report: R,
    model: ModelId,
    detect_px: u32,
    threads: usize,
    seconds: f64,
}

/// The pictures' embeddings, with what made them.
struct Embedded {
    embeddings: Vec<Option<Embedding>>,
    model: ModelId,
    detect_px: u32,
    threads: usize,
    seconds: f64,
}

impl Eval {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        match self.protocol {
            Protocol::Verify { pairs, run } => {
                let list = PairList::read(&pairs)?;
                let made = run.embed(globals, &pairs, &list.images)?;
                run.tell(made.measured(|embeddings| verify(&list, embeddings)), verify_rows)
            }
            Protocol::Identify { protocol, run } => {
                let set = OpenSet::read(&protocol)?;
                let made = run.embed(globals, &protocol, &set.images)?;
                run.tell(made.measured(|embeddings| identify(&set, embeddings)), identify_rows)
            }
        }
    }
}

impl Run {
    /// Everything that can be wrong with the lists, the config and the pictures' names comes before the work.
    fn embed(&self, globals: &Globals, list: &Path, images: &[PathBuf]) -> anyhow::Result<Embedded> {
        let files = require_images(list, &self.images, images)?;
        let mut config = globals.load()?;
        if let Some(model) = &self.model {
            config.encoder.model.clone_from(model);
        }
        if let Some(models) = &self.models {
            config.paths.models.clone_from(models);
        }
        config.vision.detect_px = self.detect_px.unwrap_or(config.vision.detect_px);
        // Pictures are shared out among the threads, not networks.
        config.vision.threads = 1;
        let networks = load_networks(&config)?;
        if let Some(file) = self.json_file() {
            // Better now than after an hour.
            File::create(file).with_context(|| format!("{} cannot be written", file.display()))?;
        }
        let model = networks.model().clone();
        let threads = self.threads.map_or_else(cores, usize::from).min(files.len());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let started = clock.now();
        let bar = progress(globals.quiet);
        let embeddings = embed_all(&files, vec![networks; threads], &bar)?;
        bar.finish_and_clear();
        let seconds = clock.now().since(started).as_secs_f64();
        Ok(Embedded { embeddings, model, detect_px: config.vision.detect_px, threads, seconds })
    }

    /// The file the JSON goes to, if it goes to one.
    fn json_file(&self) -> Option<&Path> {
        self.json.as_deref().filter(|file| *file != Path::new("-"))
    }

    fn tell<R: Serialize>(
        &self,
        measured: Measured<R>,
        rows: fn(&R) -> Vec<(&'static str, String)>,
    ) -> anyhow::Result<Exit> {
        let mut out = Output::new();
        if let Some(file) = self.json_file() {
            let text = serde_json::to_string_pretty(&measured)?;
            let written = File::create(file).and_then(|mut f| writeln!(f, "{text}"));
            written.with_context(|| format!("{} cannot be written", file.display()))?;
        } else if self.json.is_some() {
            out.json(&measured)?;
            out.flush()?;
            return Ok(Exit::Done);
        }
        let work = format!(
            "faces sought at {} px, {:.0} s on {}",
            measured.detect_px,
            measured.seconds,
            count(measured.threads, "thread", "threads")
        );
        for (what, value) in std::iter::once(("model", measured.model.to_string()))
            .chain(rows(&measured.report))
            .chain([("work", work)])
        {
            out.line(format_args!("{what:<14}{value}"))?;
        }
        out.flush()?;
        Ok(Exit::Done)
    }
}

impl Embedded {
    fn measured<R>(self, score: impl FnOnce(&[Option<Embedding>]) -> R) -> Measured<R> {
        let Self { embeddings, model, detect_px, threads, seconds } = self;
        Measured { report: score(&embeddings), model, detect_px, threads, seconds }
    }
}

fn verify_rows(report: &VerifyReport) -> Vec<(&'static str, String)> {
    let folds = report.fold_accuracy.len();
    let mut rows = vec![
        ("pairs", format!("{} of {} pictures", report.pairs, report.images)),
        (
            "accuracy",
            format!(
                "{} ± {} (standard error over {folds} folds){}",
                percent(report.accuracy),
                percent(report.accuracy_std),
                interval(Some(report.accuracy_ci95))
            ),
        ),
        ("EER", percent(report.eer)),
    ];
    for (fmr, label) in [("0.01", "TMR@FMR 1e-2"), ("0.001", "TMR@FMR 1e-3")] {
        rows.push((label, rate(report.tmr_at_fmr[fmr], report.tmr_at_fmr_ci95[fmr], "pairs of two people")));
    }
    rows.push((
        "threshold",
        format!("cosine {:.3}, distance {:.3}", report.threshold, report.threshold_distance),
    ));
    rows.push(("no face in", undetected(&report.undetected_images)));
    rows
}

fn identify_rows(report: &IdentifyReport) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        (
            "enrolled",
            format!(
                "{} with {} ({} without any)",
                count(report.enrolled, "person", "people"),
                count(report.templates, "template", "templates"),
                report.failed_to_enrol
            ),
        ),
        ("probes", format!("{} of enrolled people, {} of strangers", report.mated, report.nonmated)),
        ("rank-1", format!("{}{}", percent(report.rank1), interval(Some(report.rank1_ci95)))),
    ];
    for (fpir, label) in [("0.1", "FNIR@FPIR 0.1"), ("0.01", "FNIR@FPIR .01")] {
        let at = report.thresholds[fpir].map_or(String::new(), |t| format!(" at cosine {t:.3}"));
        let rate = rate(report.fnir_at_fpir[fpir], report.fnir_at_fpir_ci95[fpir], "probes of strangers");
        rows.push((label, rate + &at));
    }
    rows.push(("no face in", undetected(&report.undetected_images)));
    rows
}

/// A share that the data may not be able to tell.
fn rate(rate: Option<f64>, ci95: Option<Interval>, too_few: &str) -> String {
    match rate {
        Some(rate) => format!("{}{}", percent(rate), interval(ci95)),
        None => format!("not known: too few {too_few}"),
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

fn interval(ci95: Option<Interval>) -> String {
    ci95.map_or(String::new(), |Interval(low, high)| {
        format!(", 95 % interval {:.2}–{:.2} %", 100.0 * low, 100.0 * high)
    })
}

fn undetected(images: &[String]) -> String {
    let few = images.iter().take(3).map(String::as_str).collect::<Vec<_>>().join(", ");
    match images.len() {
        0 => "no picture".into(),
        n @ 1..=3 => format!("{}: {few}", count(n, "picture", "pictures")),
        n => format!("{n} pictures: {few}, … (all with --json)"),
    }
}

/// Drawn on standard error, and only when that is a terminal.
fn progress(quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} pictures, {per_sec}, {eta} left")
        .expect("the template is valid");
    ProgressBar::new(0).with_style(style)
}

/// The same range as `vision.detect_px`.
fn detect_px(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(n @ 160..=1280) if n % 32 == 0 => Ok(n),
        _ => Err("expected a whole number from 160 to 1280, a multiple of 32".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detection_sizes_are_those_of_the_config() {
        assert_eq!(detect_px("320"), Ok(320));
        for wrong in ["128", "300", "1312", "-320", "big", ""] {
            assert!(detect_px(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_are_shown_with_their_intervals_or_not_at_all() {
        assert_eq!(
            rate(Some(0.9867), Some(Interval(0.98, 0.9912)), "pairs"),
            "98.67 %, 95 % interval 98.00–99.12 %"
        );
        assert_eq!(rate(None, None, "pairs of two people"), "not known: too few pairs of two people");
    }

    #[test]
    fn pictures_without_a_face_are_named_while_they_are_few() {
        let names: Vec<String> = (1..=4).map(|i| format!("{i}.jpg")).collect();
        assert_eq!(undetected(&[]), "no picture");
        assert_eq!(undetected(&names[..1]), "1 picture: 1.jpg");
        assert_eq!(undetected(&names), "4 pictures: 1.jpg, 2.jpg, 3.jpg, … (all with --json)");
    }
}
