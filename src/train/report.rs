//! What a run leaves to look at: curves, `results.json`, a card in words, and the page that shows it all.

use std::path::Path;

use serde::Serialize;

use super::dataset::{Dataset, Parts};
use super::history::{Line, epochs, steps};
use super::judge::{Compared, scores};
use super::pictures::Pictures;
use super::settings::{Settings, Split};
use super::{TrainError, people};
use crate::encoder::ModelId;
use crate::eval::curves::{OperatingPoint, det, distances, eer_ci95, operating_points, roc};
use crate::eval::metrics::{Interval, Scores};
use crate::eval::page::{Page, PairShown, Table, between, data_uri, percent, points_table};
use crate::nn::model_file::{Framing, ModelFile};
use crate::plot::{Axis, Chart, Series, Style};

/// Name of the file with the figures.
pub const RESULTS: &str = "results.json";
/// How many pairs of each kind are shown.
const SHOWN: usize = 8;

/// A finished run.
pub struct Report<'a> {
    /// How it was made.
    pub settings: &'a Settings,
    /// On what.
    pub set: &'a Dataset,
    /// The pictures.
    pub pictures: &'a Pictures,
    /// Who was trained on and who was not.
    pub parts: &'a Parts,
    /// The encoder.
    pub file: &'a ModelFile,
    /// Steps and epochs.
    pub lines: &'a [Line],
    /// The epoch that was kept, when that is not the last.
    pub best_epoch: Option<usize>,
    /// All pairs of the test.
    pub compared: &'a [Compared],
}

/// The result in figures, `results.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Results {
    /// The encoder.
    pub model: ModelId,
    /// Values it has.
    pub parameters: usize,
    /// People trained on.
    pub train_people: usize,
    /// Their pictures.
    pub train_pictures: usize,
    /// People of the test.
    pub test_people: usize,
    /// Their pictures.
    pub test_pictures: usize,
    /// Pictures without a face, left out.
    pub no_face: usize,
    /// Epochs made.
    pub epochs: usize,
    /// The one kept, when that is not the last.
    pub kept_epoch: Option<usize>,
    /// Loss of the last epoch.
    pub loss: f64,
    /// Seconds of an epoch, the median.
    pub epoch_seconds: f64,
    /// Pairs of one person.
    pub genuine_pairs: usize,
    /// Pairs of two people.
    pub impostor_pairs: usize,
    /// Equal error rate over all pairs of the test.
    pub eer: Option<f64>,
    /// The best share of pairs decided rightly by one threshold, genuine and impostor counting the same.
    pub accuracy: Option<f64>,
    /// Wilson 95 % interval of the false non-match rate there.
    pub eer_ci95: Option<Interval>,
    /// Mean distance of genuine pairs.
    pub genuine_distance: Option<f64>,
    /// Mean distance of impostor pairs.
    pub impostor_distance: Option<f64>,
    /// Thresholds.
    pub thresholds: Vec<OperatingPoint>,
}

impl Results {
    fn new(report: &Report<'_>, scores: &Scores) -> Self {
        let pictures = |group: &[Vec<usize>]| group.iter().map(Vec::len).sum();
        let mut seconds: Vec<f64> = epochs(report.lines).map(|e| e.seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let mean = |genuine: bool| {
            let of: Vec<f64> = report
                .compared
                .iter()
                .filter(|c| c.genuine == genuine)
                .map(|c| f64::from(c.distance))
                .collect();
            (!of.is_empty()).then(|| of.iter().sum::<f64>() / of.len() as f64)
        };
        Self {
            model: report.file.card.id(),
            parameters: report.file.parameters(),
            train_people: report.parts.train.len(),
            train_pictures: pictures(&report.parts.train),
            test_people: report.parts.test.len(),
            test_pictures: pictures(&report.parts.test),
            no_face: report.pictures.usable().iter().filter(|u| !**u).count(),
            epochs: seconds.len(),
            kept_epoch: report.best_epoch,
            loss: epochs(report.lines).last().map_or(f64::NAN, |e| e.loss),
            epoch_seconds: seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN),
            genuine_pairs: scores.mated().len(),
            impostor_pairs: scores.nonmated().len(),
            eer: scores.eer(),
            eer_ci95: eer_ci95(scores),
            accuracy: balanced(scores),
            genuine_distance: mean(true),
            impostor_distance: mean(false),
            thresholds: operating_points(scores),
        }
    }

    /// The most important of it in words.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let or = |value: Option<f64>, text: fn(f64) -> String| value.map_or("not known".into(), text);
        let interval = self.eer_ci95.map_or(String::new(), |i| format!(", 95 % interval {}", between(i)));
        vec![
            ("model", format!("{}, {} values", self.model, self.parameters)),
            (
                "trained on",
                format!(
                    "{} with {} pictures, {} epochs",
                    people(self.train_people),
                    self.train_pictures,
                    self.epochs
                ),
            ),
            (
                "judged on",
                format!(
                    "{} genuine and {} impostor pairs of {}",
                    self.genuine_pairs,
                    self.impostor_pairs,
                    people(self.test_people)
                ),
            ),
            ("EER", format!("{}{interval}", or(self.eer, percent))),
            (
                "accuracy",
                format!(
                    "{}, at the best threshold, both kinds of pairs counting the same",
                    or(self.accuracy, percent)
                ),
            ),
            (
                "distance",
                format!(
                    "genuine {}, impostor {}, on average",
                    or(self.genuine_distance, |d| format!("{d:.3}")),
                    or(self.impostor_distance, |d| format!("{d:.3}"))
                ),
            ),
        ]
    }
}

/// The best mean of true match and true non-match rate.
fn balanced(scores: &Scores) -> Option<f64> {
    scores.eer()?;
    let all = scores.mated().iter().chain(scores.nonmated());
    let at = |t: &f64| f64::midpoint(scores.tmr(*t).rate(), 1.0 - scores.fmr(*t).rate());
    all.map(at).max_by(f64::total_cmp)
}

/// Writes all files beside the encoder.
///
/// # Errors
/// When one cannot be written.
pub fn write(folder: &Path, report: &Report<'_>) -> Result<Results, TrainError> {
    let scores = scores(report.compared);
    let results = Results::new(report, &scores);
    let charts = [
        ("loss.svg", loss("Loss", &[("", report.lines)])),
        ("distances.svg", distances("Distances of people never seen", &scores)),
        ("roc.svg", roc("ROC", &scores)),
        ("det.svg", det("DET", &scores)),
    ];
    let put = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|source| TrainError::File { path, doing: "written", source })
    };
    for (name, chart) in &charts {
        put(name, &chart.svg())?;
    }
    put(RESULTS, &(serde_json::to_string_pretty(&results).expect("results are plain data") + "\n"))?;
    put("MODEL_CARD.md", &card(report, &results))?;
    let page = page(report, &results, charts.map(|c| c.1).to_vec())?;
    put("report.html", &page.html())?;
    Ok(results)
}

/// The loss of each step, faint, and of each epoch, of one run or several.
pub fn loss(title: &str, runs: &[(&str, &[Line])]) -> Chart {
    let mut series = Vec::new();
    let (mut last, mut top) = (1.0_f64, 0.0_f64);
    for (name, lines) in runs {
        let per_epoch = epochs(lines).next().map_or(1, |e| e.step).max(1) as f64;
        let by_step: Vec<(f64, f64)> =
            steps(lines).map(|s| (s.step as f64 / per_epoch, f64::from(s.loss))).collect();
        let by_epoch: Vec<(f64, f64)> = epochs(lines).map(|e| (e.epoch as f64, e.loss)).collect();
        last = by_step.last().map_or(last, |p| last.max(p.0));
        // The first steps can be far above all others and would press the rest flat.
        let mut sorted: Vec<f64> = by_step.iter().map(|p| p.1).collect();
        sorted.sort_by(f64::total_cmp);
        top = top.max(sorted.get(sorted.len() * 99 / 100).copied().unwrap_or(1.0));
        let label = |what: &str| if name.is_empty() { what.to_owned() } else { format!("{name}, {what}") };
        series.push(Series { name: label("each step"), points: by_step, style: Style::Faint });
        series.push(Series { name: label("mean of an epoch"), points: by_epoch, style: Style::Line });
    }
    Chart {
        title: title.into(),
        x: Axis::linear("epoch", 0.0, last),
        y: Axis::linear("loss", 0.0, (top * 1.1).max(1e-6)),
        series,
    }
}

impl Report<'_> {
    /// Whose picture it is and which.
    pub fn name_of(&self, picture: usize) -> String {
        let picture = &self.set.pictures[picture];
        let file = picture.path.file_name().unwrap_or_default().to_string_lossy();
        format!("{}/{file}", self.set.people[picture.person])
    }

    /// Up to `count` genuine and as many impostor pairs of the test, from all over it.
    pub fn sample(&self, count: usize) -> Vec<&Compared> {
        let some = |genuine: bool| {
            let of: Vec<&Compared> = self.compared.iter().filter(|c| c.genuine == genuine).collect();
            let n = count.min(of.len());
            (0..n).map(|i| of[(2 * i + 1) * of.len() / (2 * n)]).collect::<Vec<_>>()
        };
        [some(true), some(false)].concat()
    }
}

/// The pairs that went worst: of one kind, the first in this order.
fn worst(report: &Report<'_>, genuine: bool) -> Result<Vec<PairShown>, TrainError> {
    let mut pairs: Vec<&Compared> = report.compared.iter().filter(|c| c.genuine == genuine).collect();
    pairs.sort_by(|a, b| {
        if genuine { b.distance.total_cmp(&a.distance) } else { a.distance.total_cmp(&b.distance) }
    });
    let shown = |c: &&Compared| {
        let picture = |i: usize| {
            let encoded = data_uri(&report.pictures.crop(i).0);
            encoded.map_err(|e| TrainError::Data(format!("{}: cannot be shown: {e}", report.name_of(i))))
        };
        Ok(PairShown {
            pictures: [picture(c.pictures[0])?, picture(c.pictures[1])?],
            names: c.pictures.map(|i| report.name_of(i)),
            distance: c.distance,
            score: c.score,
        })
    };
    pairs.iter().take(SHOWN).map(shown).collect()
}

fn limits(report: &Report<'_>, results: &Results) -> Vec<String> {
    let mut limits = vec![format!(
        "{} and {} genuine pairs are few: see the intervals. How well it serves groups of people who are rare among them is not known.",
        people(results.test_people),
        results.genuine_pairs
    )];
    if report.settings.data.split == Split::Pictures {
        limits.push(
            "The people of the test were trained on, with other pictures: this says nothing about strangers."
                .into(),
        );
    }
    if report.settings.data.framing == Framing::Whole {
        limits.push("It was trained on whole pictures. The door aligns faces, so on a door it will do worse than here.".into());
    }
    if report.best_epoch.is_some() {
        limits.push("The epoch was chosen by the validation people, who are not in the test.".into());
    }
    limits.push(
        "Pictures from one source look alike in more than their faces; a door's camera is another source."
            .into(),
    );
    limits.push("Nothing here tells a face from a photograph of one.".into());
    limits
}

fn settings_table(report: &Report<'_>) -> Table {
    let text = report.settings.to_toml();
    let mut section = "";
    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, value)) = line.split_once(" = ") {
            rows.push(vec![format!("{section}.{key}"), value.to_owned()]);
        }
    }
    Table { title: "Settings".into(), note: String::new(), head: vec!["key".into(), "value".into()], rows }
}

fn page(report: &Report<'_>, results: &Results, charts: Vec<Chart>) -> Result<Page, TrainError> {
    let facts = results.rows().into_iter().map(|(name, value)| (name.to_owned(), value));
    let time = format!("{:.1} s an epoch", results.epoch_seconds);
    Ok(Page {
        title: format!("{}: training and test", report.settings.network.name),
        summary: report.file.card.provenance.clone(),
        facts: facts.chain([("time".to_owned(), time), ("loss at the end".to_owned(), format!("{:.4}", results.loss))]).collect(),
        charts,
        tables: vec![points_table(&results.thresholds, results.impostor_pairs)],
        pairs: vec![
            ("Closest impostor pairs".into(), "Two people who look most alike to the encoder: the first it would take for one another.".into(), worst(report, false)?),
            ("Farthest genuine pairs".into(), "One person whom the encoder would not know again: look for wrong labels, hidden faces and bad light.".into(), worst(report, true)?),
        ],
        limits: limits(report, results),
        appendix: vec![settings_table(report)],
    })
}

/// `MODEL_CARD.md` (after Mitchell et al., "Model Cards for Model Reporting", 2019).
fn card(report: &Report<'_>, results: &Results) -> String {
    let of = &report.file.card;
    let rows: String = results.rows().iter().map(|(name, value)| format!("| {name} | {value} |\n")).collect();
    let points: String = results
        .thresholds
        .iter()
        .map(|p| match (p.threshold, p.tmr, p.tmr_ci95) {
            (Some(t), Some(tmr), Some(ci)) => {
                format!("| {} | {t:.3} | {} ({}) |\n", p.fmr, percent(tmr), between(ci))
            }
            _ => format!("| {} | not supported | not supported |\n", p.fmr),
        })
        .collect();
    let limits: String = limits(report, results).iter().map(|l| format!("- {l}\n")).collect();
    format!(
        "# {}\n\n{}. Architecture {}, {} values, input {}×{} px.\n\n\
         ## Use\n\nTells whether two aligned pictures of faces show one person. Install it with `accessd models install`, measure\n\
         it on strangers with `accessd eval cohort`, and change over with `accessd models migrate`: templates of different encoders are\n\
         never compared.\n\n## Data\n\n{} of {} were trained on ({} pictures), {} were held back for the test ({} pictures), {} pictures showed no face.\n\n\
         ## Results\n\n| | |\n|---|---|\n{rows}\n| FMR | cosine | true match rate (95 % interval) |\n|---|---|---|\n{points}\n\
         ## Limits\n\n{limits}\n## Settings\n\n```toml\n{}```\n",
        of.name,
        of.provenance,
        of.architecture,
        of.dim.unwrap_or(0),
        of.input.width,
        of.input.height,
        people(results.train_people),
        report.set.name(),
        results.train_pictures,
        people(results.test_people),
        results.test_pictures,
        results.no_face,
        report.settings.to_toml()
    )
}
