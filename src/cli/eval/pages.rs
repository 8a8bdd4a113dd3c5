//! The pages of `accessd eval … --report`.

use std::path::Path;

use super::pairs::{Shown, right_of};
use crate::encoder::{Embedding, ModelId};
use crate::eval::curves::{det, distances, operating_points, roc};
use crate::eval::identify::IdentifyReport;
use crate::eval::metrics::Scores;
use crate::eval::pad::PadReport;
use crate::eval::page::{Page, PairShown, Table, data_uri, points_table};
use crate::eval::pairs::PairList;
use crate::eval::verify;
use crate::frame::load_image;

/// How many pairs of each kind are shown.
const SHOWN: usize = 12;

/// What intervals leave out.
const DEPENDENT: &str = "Intervals take comparisons for independent. Those that share a person or a picture are not, so the truth is wider.";

type Rows = Vec<(&'static str, String)>;

fn facts(rows: Rows) -> Vec<(String, String)> {
    rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// 1:1.
pub(super) fn verify(
    list: &PairList,
    embeddings: &[Option<Embedding>],
    images: &Path,
    model: &ModelId,
) -> anyhow::Result<Page> {
    let report = verify::verify(list, embeddings);
    let compared = verify::compared(list, embeddings);
    let of = |mated: bool| {
        let wanted = list.pairs.iter().zip(&compared).filter(move |(p, _)| p.mated == mated);
        wanted.map(|(_, s)| s.unwrap_or(verify::NO_FACE_SCORE)).collect::<Vec<_>>()
    };
    let scores = Scores::new(of(true), of(false));
    let worst = |mated: bool| -> anyhow::Result<Vec<PairShown>> {
        let mut pairs: Vec<_> = list
            .pairs
            .iter()
            .zip(&compared)
            .filter(|(p, _)| p.mated == mated)
            .filter_map(|(p, s)| s.map(|s| (p, s)))
            .collect();
        pairs.sort_by(|a, b| if mated { a.1.total_cmp(&b.1) } else { b.1.total_cmp(&a.1) });
        let shown = |(pair, score): &(&crate::eval::pairs::Pair, f64)| {
            let names = [pair.a, pair.b].map(|i| list.images[i].display().to_string());
            let picture = |name: &str| anyhow::Ok(data_uri(&load_image(&images.join(name))?)?);
            Ok(PairShown {
                pictures: [picture(&names[0])?, picture(&names[1])?],
                names,
                distance: (2.0 - 2.0 * score).max(0.0).sqrt() as f32,
                score: *score as f32,
            })
        };
        pairs.iter().take(SHOWN).map(shown).collect()
    };
    Ok(Page {
        title: format!("1:1 verification with {model}"),
        summary: format!(
            "{} pairs in {} folds, each scored at the threshold of the others.",
            list.pairs.len(),
            list.folds
        ),
        facts: facts(super::verify_rows(&report)),
        charts: vec![roc("ROC", &scores), det("DET", &scores), distances("Distances", &scores)],
        tables: vec![points_table(&operating_points(&scores), scores.nonmated().len())],
        pairs: vec![
            (
                "Closest impostor pairs".into(),
                "Wrong labels and relatives show up here first.".into(),
                worst(false)?,
            ),
            (
                "Farthest genuine pairs".into(),
                "Wrong labels, hidden faces and bad light.".into(),
                worst(true)?,
            ),
        ],
        appendix: Vec::new(),
        limits: vec![DEPENDENT.into()],
    })
}

/// Random pairs, as they were drawn.
pub(super) fn pairs(shown: &[Shown], model: &str, images: &Path) -> anyhow::Result<Page> {
    let picture = |name: &str| anyhow::Ok(data_uri(&load_image(&images.join(name))?)?);
    let of = |same: bool| -> anyhow::Result<Vec<PairShown>> {
        let wanted = shown.iter().filter(|s| s.same == same);
        let found =
            wanted.filter_map(|s| s.distance.zip(s.score).map(|(distance, score)| (s, distance, score)));
        let one = |(s, distance, score): (&Shown, f32, f32)| {
            Ok(PairShown {
                pictures: [picture(&s.a)?, picture(&s.b)?],
                names: [s.a.clone(), s.b.clone()],
                distance,
                score,
            })
        };
        found.take(100).map(one).collect()
    };
    let judged = shown.iter().any(|s| s.right.is_some());
    let right =
        if judged { format!("{} of {}", right_of(shown), shown.len()) } else { "no threshold".into() };
    Ok(Page {
        title: format!("Random pairs with {model}"),
        summary: "Half of them show one person.".into(),
        facts: vec![("right".into(), right)],
        charts: Vec::new(),
        tables: Vec::new(),
        pairs: vec![
            ("One person".into(), String::new(), of(true)?),
            ("Two people".into(), String::new(), of(false)?),
        ],
        appendix: Vec::new(),
        limits: Vec::new(),
    })
}

/// 1:N.
pub(super) fn identify(report: &IdentifyReport, model: &ModelId, rows: Rows) -> Page {
    let wrong = report.misidentified.iter().map(|m| {
        let taken = m.taken_for.clone().unwrap_or_else(|| "no face".into());
        vec![m.image.clone(), m.person.clone(), taken, format!("{:.3}", m.score)]
    });
    Page {
        title: format!("1:N identification with {model}"),
        summary: format!(
            "{} people enrolled, {} probes of them and {} of strangers.",
            report.enrolled, report.mated, report.nonmated
        ),
        facts: facts(rows),
        charts: Vec::new(),
        tables: vec![Table {
            title: "Taken for somebody else".into(),
            note: "Lists have mistakes, and people have kin: look at the pictures.".into(),
            head: ["picture", "person", "taken for", "cosine"].map(String::from).to_vec(),
            rows: wrong.collect(),
        }],
        pairs: Vec::new(),
        appendix: Vec::new(),
        limits: vec![DEPENDENT.into()],
    }
}

/// Presentation attacks.
pub(super) fn pad(report: &PadReport, rows: Rows) -> Page {
    Page {
        title: "Presentation attacks".into(),
        summary: format!("At the fixed threshold {}.", report.threshold),
        facts: facts(rows),
        charts: Vec::new(),
        tables: Vec::new(),
        pairs: Vec::new(),
        appendix: Vec::new(),
        limits: vec!["Frames of one subject follow each other closely: intervals over pictures are too narrow where subjects are few. Species that are not in the list are not judged.".into()],
    }
}
