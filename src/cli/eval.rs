//! `accessd eval`: how good the encoder is, measured by the field's protocols on pictures with known people.

mod cohort;
mod curves;
mod door;
mod pad;
mod pages;
mod pairs;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use cohort::CohortArgs;
use door::DoorArgs;
use pad::PadArgs;

use super::adapters::{cores, load_networks};
use super::output::{Output, count};
use super::{Exit, Globals};
use crate::clock::{Clock, SystemClock};
use crate::encoder::{Embedding, ModelId};
use crate::eval::embed_set::{embed_all, require_images};
use crate::eval::identify::{IdentifyReport, identify};
use crate::eval::metrics::Interval;
use crate::eval::openset::OpenSet;
use crate::eval::pad::{ErrorRate, PadReport};
use crate::eval::page::Page;
use crate::eval::pairs::PairList;
use crate::eval::verify::{VerifyReport, verify};

/// Names of the charts, in the order of the pages.
const CHARTS: [&str; 3] = ["roc.svg", "det.svg", "distances.svg"];

const TMR_LABELS: [&str; 5] =
    ["TMR@FMR 1e-2", "TMR@FMR 1e-3", "TMR@FMR 1e-4", "TMR@FMR 1e-5", "TMR@FMR 1e-6"];

/// Measure the encoder on pictures of known people, by the field's protocols
#[derive(Args, Debug)]
pub(super) struct Eval {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(Debug, Subcommand)]
enum Protocol {
    /// 1:1, are these two pictures of one person: k-fold accuracy as in LFW View 2, EER, TMR at FMR 1e-2 to 1e-6
    ///
    /// In a picture with several faces the large and central one counts. A picture without a face counts against the
    /// encoder: its pairs get the lowest score there is.
    Verify {
        /// List of pairs: "FOLDS PER_FOLD", then lines "NAME I J" and "NAME I OTHER J", for pictures
        /// NAME/NAME_000I.jpg; or FILE.csv with the columns a,b,same and, if wanted, fold
        #[arg(long, value_name = "FILE")]
        pairs: PathBuf,
        #[command(flatten)]
        run: Run,
    },
    /// Random pairs of a folder with a folder for each person: the distance of each, and whether it is right
    ///
    /// Half of the pairs show one person. The threshold is decision.threshold in the config or, where that is 0, that of
    /// a door with one person enrolled by one picture.
    Pairs {
        /// How many pairs
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=100_000))]
        count: u32,
        /// Which pairs follows from it
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
        #[command(flatten)]
        run: Run,
    },
    /// Presentation attacks: APCER of each species and BPCER at a fixed threshold (ISO/IEC 30107-3)
    ///
    /// By the installed networks and the door's own rule, or from scores that something else gave. In a picture with
    /// several faces the large and central one counts; a picture without a face counts as refused.
    Pad(PadArgs),
    /// Losses of several training runs in one chart, and what came of them side by side
    Curves {
        /// Folders that `accessd train` wrote
        #[arg(value_name = "RUN_DIR", required = true)]
        runs: Vec<PathBuf>,
        /// The chart
        #[arg(long, value_name = "FILE.svg", default_value = "loss.svg")]
        out: PathBuf,
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
    /// How often the faces of different people score high: the cohort that thresholds follow from
    ///
    /// Use pictures of people who are neither enrolled nor in the sets that you report figures on. Several sets are
    /// given as --images A --people A.csv --images B --people B.csv; people of different sets are not compared.
    Cohort(CohortArgs),
    /// The whole decision: each person's pictures as one attempt, with the threshold that follows from a stated rate
    ///
    /// False accepts and false rejects per attempt, predicted and measured, for several numbers of enrolled people.
    Door(DoorArgs),
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
    #[command(flatten)]
    told: Told,
}

/// Where the outcome goes.
#[derive(Args, Debug)]
struct Told {
    /// Print JSON, or write it to a file; shares are from 0 to 1, thresholds are cosines
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
    /// Folder for report.html with charts and the pairs that went worst
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
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
                run.told.page(|| pages::verify(&list, &made.embeddings, &run.images, &made.model))?;
                run.told
                    .tell(&made.measured(|embeddings| verify(&list, embeddings)), measured_rows(verify_rows))
            }
            Protocol::Identify { protocol, run } => {
                let set = OpenSet::read(&protocol)?;
                let made = run.embed(globals, &protocol, &set.images)?;
                let model = made.model.clone();
                let measured = made.measured(|embeddings| identify(&set, embeddings));
                run.told.page(|| {
                    Ok(pages::identify(&measured.report, &model, identify_rows(&measured.report)))
                })?;
                run.told.tell(&measured, measured_rows(identify_rows))
            }
            Protocol::Pairs { count, seed, run } => pairs::perform(globals, count as usize, seed, &run),
            Protocol::Curves { runs, out } => curves::perform(&runs, &out),
            Protocol::Pad(args) => args.perform(globals),
            Protocol::Door(args) => args.perform(globals),
            Protocol::Cohort(args) => args.perform(globals),
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
        if let Some(file) = self.told.json_file() {
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
}

impl Told {
    /// The file the JSON goes to, if it goes to one.
    fn json_file(&self) -> Option<&Path> {
        self.json.as_deref().filter(|file| *file != Path::new("-"))
    }

    /// Writes the page, when one is asked for.
    fn page(&self, page: impl FnOnce() -> anyhow::Result<Page>) -> anyhow::Result<()> {
        let Some(folder) = &self.report else { return Ok(()) };
        let page = page()?;
        let put = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))
        };
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        for (chart, name) in page.charts.iter().zip(CHARTS) {
            put(name, chart.svg())?;
        }
        put("report.html", page.html())
    }

    fn tell<R: Serialize>(
        &self,
        report: &R,
        rows: impl Fn(&R) -> Vec<(&'static str, String)>,
    ) -> anyhow::Result<Exit> {
        let mut out = Output::new();
        if let Some(file) = self.json_file() {
            let text = serde_json::to_string_pretty(report)?;
            let written = File::create(file).and_then(|mut f| writeln!(f, "{text}"));
            written.with_context(|| format!("{} cannot be written", file.display()))?;
        } else if self.json.is_some() {
            out.json(report)?;
            out.flush()?;
            return Ok(Exit::Done);
        }
        for (what, value) in rows(report) {
            out.line(format_args!("{what:<14}{value}"))?;
        }
        if let Some(folder) = &self.report {
            out.line(format_args!("{:<14}{}", "report", folder.join("report.html").display()))?;
        }
        out.flush()?;
        Ok(Exit::Done)
    }
}

/// The rows of a report between what was measured and how long it took.
fn measured_rows<R>(
    rows: fn(&R) -> Vec<(&'static str, String)>,
) -> impl Fn(&Measured<R>) -> Vec<(&'static str, String)> {
    move |measured| {
        let work = format!(
            "faces sought at {} px, {:.0} s on {}",
            measured.detect_px,
            measured.seconds,
            count(measured.threads, "thread", "threads")
        );
        let model = std::iter::once(("model", measured.model.to_string()));
        model.chain(rows(&measured.report)).chain([("work", work)]).collect()
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
        ("EER", format!("{}{}", percent(report.eer), interval(report.eer_ci95))),
    ];
    for (point, label) in report.thresholds.iter().zip(TMR_LABELS) {
        let at = point.threshold.map_or(String::new(), |t| format!(" at cosine {t:.3}"));
        rows.push((label, rate(point.tmr, point.tmr_ci95, "pairs of two people") + &at));
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

fn pad_rows(report: &PadReport) -> Vec<(&'static str, String)> {
    let told = |rate: &ErrorRate| {
        let subjects =
            rate.subjects.map_or(String::new(), |n| format!(" of {}", count(n, "subject", "subjects")));
        format!(
            "{}{} ({} of {} pictures{subjects})",
            percent(rate.rate),
            interval(Some(rate.ci95)),
            rate.wrong,
            rate.pictures
        )
    };
    let mut rows = vec![("threshold", format!("a score of {} and above counts as live", report.threshold))];
    rows.extend(report.apcer.iter().map(|(species, rate)| ("APCER", format!("{species}: {}", told(rate)))));
    rows.push(("APCER, worst", percent(report.apcer_worst)));
    rows.push(("BPCER", told(&report.bpcer)));
    rows.push(("ACER", percent(report.acer)));
    rows
}

/// A share that the data may not be able to tell.
fn rate(rate: Option<f64>, ci95: Option<Interval>, too_few: &str) -> String {
    match rate {
        Some(rate) => format!("{}{}", percent(rate), interval(ci95)),
        None => format!("not supported: too few {too_few}"),
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
        assert_eq!(rate(None, None, "pairs of two people"), "not supported: too few pairs of two people");
    }

    #[test]
    fn pictures_without_a_face_are_named_while_they_are_few() {
        let names: Vec<String> = (1..=4).map(|i| format!("{i}.jpg")).collect();
        assert_eq!(undetected(&[]), "no picture");
        assert_eq!(undetected(&names[..1]), "1 picture: 1.jpg");
        assert_eq!(undetected(&names), "4 pictures: 1.jpg, 2.jpg, 3.jpg, … (all with --json)");
    }
}
