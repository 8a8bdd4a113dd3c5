//! `accessd eval door`: the whole decision, with the threshold that follows from the stated rate.

use std::path::PathBuf;

use clap::Args;

use super::{Run, measured_rows};
use crate::calibration::cohort::Cohort;
use crate::cli::adapters::rule;
use crate::cli::{Exit, Globals};
use crate::eval::door::{AtSize, DoorReport, measure};
use crate::eval::openset::OpenSet;
use crate::eval::page::{Page, Table};

#[derive(Args, Debug)]
pub(super) struct DoorArgs {
    /// CSV with the columns role,identity,path; roles are enrol, mated and nonmated. Each person's mated or nonmated
    /// pictures are one attempt
    #[arg(long, value_name = "FILE")]
    protocol: PathBuf,
    /// Rate to keep instead of decision.far_per_attempt in the config
    #[arg(long, value_name = "RATE", value_parser = share)]
    far: Option<f64>,
    #[command(flatten)]
    run: Run,
}

impl DoorArgs {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        let set = OpenSet::read(&self.protocol)?;
        let config = globals.load()?;
        let models = self.run.models.as_ref().unwrap_or(&config.paths.models).clone();
        let far = self.far.unwrap_or(config.decision.far_per_attempt);
        let rule = rule(&config);
        let made = self.run.embed(globals, &self.protocol, &set.images)?;
        let cohort = Cohort::of(&made.model, &models)?;
        let measured = made.measured(|embeddings| measure(&set, embeddings, &cohort, far, &rule));
        self.run.told.page(|| Ok(page(&measured.report)))?;
        self.run.told.tell(&measured, measured_rows(rows))
    }
}

fn rows(report: &DoorReport) -> Vec<(&'static str, String)> {
    let known = &report.calibration;
    let support = if known.supported { "" } else { ": more than the cohort supports, so the strictest" };
    let mut rows = vec![
        ("wanted", format!("at most {:.0e} of strangers' attempts{support}", known.far_per_attempt)),
        ("threshold", format!("cosine {:.3} for {} people", report.threshold, report.enrolled)),
        (
            "false accepts",
            format!(
                "{} of {} attempts, at most {:.2} % (95 %)",
                report.accepted.len(),
                report.strangers,
                100.0 * report.false_accept_upper95
            ),
        ),
        (
            "false rejects",
            format!(
                "{} of {} attempts: {:.2} %, at most {:.2} % (95 %)",
                report.rejected.len(),
                report.owners,
                100.0 * report.false_reject_rate,
                100.0 * report.false_reject_upper95
            ),
        ),
    ];
    rows.extend(report.by_enrolled.iter().map(|at| ("with fewer", at_size(at))));
    rows.extend(report.accepted.iter().map(|(who, whom)| ("let in", format!("{who} as {whom}"))));
    rows.extend(report.rejected.iter().map(|who| ("not let in", who.clone())));
    rows
}

fn page(report: &DoorReport) -> Page {
    let percent = |share: f64| format!("{:.3} %", 100.0 * share);
    let row = |at: &AtSize| {
        vec![
            at.enrolled.to_string(),
            at.doors.to_string(),
            format!("{:.3} to {:.3}", at.thresholds.0, at.thresholds.1),
            percent(at.predicted.value),
            format!("{} of {}", at.false_accepts.hits, at.false_accepts.attempts),
            percent(at.false_accepts.upper95),
            percent(at.predicted_rejects.value),
            percent(at.false_rejects.rate),
        ]
    };
    let header = [
        "enrolled",
        "doors",
        "threshold",
        "let in, predicted at most",
        "let in",
        "upper 95 %",
        "missed looks, predicted",
        "refused",
    ];
    Page {
        title: format!("The whole decision with {}", report.calibration.model),
        summary:
            "Each person's pictures are one attempt; the threshold follows from the rate that was asked for."
                .into(),
        facts: rows(report).into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        charts: Vec::new(),
        tables: vec![Table {
            title: "Predicted and measured, by the number of people enrolled".into(),
            note: String::new(),
            head: header.map(str::to_owned).into(),
            rows: report.by_enrolled.iter().map(row).collect(),
        }],
        pairs: Vec::new(),
        appendix: Vec::new(),
        limits: vec![
            "Quality gates and liveness, which a door asks for as well, are not part of this.".into(),
            "Intervals take attempts for independent; those of one stranger at several doors are not.".into(),
        ],
    }
}

fn at_size(at: &AtSize) -> String {
    let AtSize { enrolled, doors, thresholds: (low, high), false_accepts, false_rejects, .. } = at;
    format!(
        "{enrolled} enrolled ({doors}x), cosine {low:.3} to {high:.3}: predicted at most {:.4} %, measured {} of {} ({:.4} %); \
         refused {:.2} % (predicted {:.2} %)",
        100.0 * at.predicted.value,
        false_accepts.hits,
        false_accepts.attempts,
        100.0 * false_accepts.rate,
        100.0 * false_rejects.rate,
        100.0 * at.predicted_rejects.value,
    )
}

/// The same range as `decision.far_per_attempt`.
fn share(text: &str) -> Result<f64, String> {
    let far: Option<f64> = text.parse().ok().filter(|far| (1e-7..=0.1).contains(far));
    far.ok_or_else(|| "a share from 0.0000001 to 0.1, such as 1e-4".into())
}
