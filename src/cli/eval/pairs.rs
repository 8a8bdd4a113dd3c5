//! `accessd eval pairs`: random pairs and their distances, to get a feeling for an encoder.

use std::path::PathBuf;

use serde::Serialize;

use super::super::adapters::one_to_one;
use super::super::output::{Output, align_right, table};
use super::super::{Exit, Globals};
use super::{Run, pages};
use crate::encoder::compare;
use crate::train::dataset::Dataset;

/// One pair.
#[derive(Serialize)]
pub(super) struct Shown {
    pub(super) a: String,
    pub(super) b: String,
    pub(super) same: bool,
    /// `None` where a face was not found.
    pub(super) distance: Option<f32>,
    pub(super) score: Option<f32>,
    /// Whether the threshold decides rightly; `None` where there is none.
    pub(super) right: Option<bool>,
}

#[derive(Serialize)]
struct All<'a> {
    model: String,
    /// `None` where nothing was measured of the encoder that it could follow from.
    threshold: Option<f32>,
    seed: u64,
    right: Option<usize>,
    pairs: &'a [Shown],
}

pub(super) fn perform(globals: &Globals, count: usize, seed: u64, run: &Run) -> anyhow::Result<Exit> {
    let set = Dataset::read(&run.images)?;
    let pairs = set.random_pairs(count, seed)?;
    let mut wanted: Vec<usize> = pairs.iter().flat_map(|(a, b, _)| [*a, *b]).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let name = |i: usize| -> PathBuf {
        let path = &set.pictures[i].path;
        path.strip_prefix(&run.images).unwrap_or(path).to_owned()
    };
    let files: Vec<PathBuf> = wanted.iter().map(|i| name(*i)).collect();
    let made = run.embed(globals, &run.images, &files)?;
    let mut config = globals.load()?;
    if let Some(models) = &run.models {
        config.paths.models.clone_from(models);
    }
    let bar = one_to_one(&config, &made.model);
    let threshold = bar.as_ref().ok().map(|threshold| threshold.0);
    let of = |i: usize| {
        made.embeddings[wanted.binary_search(&i).expect("every picture of a pair is wanted")].as_ref()
    };
    let shown: Vec<Shown> = pairs
        .iter()
        .map(|(a, b, same)| {
            let compared = of(*a).zip(of(*b)).map(|(a, b)| compare(a, b));
            let matches = |threshold: f32| compared.is_some_and(|c| c.score.0 >= threshold);
            Shown {
                a: name(*a).display().to_string(),
                b: name(*b).display().to_string(),
                same: *same,
                distance: compared.map(|c| c.distance),
                score: compared.map(|c| c.score.0),
                right: threshold.map(|threshold| matches(threshold) == *same),
            }
        })
        .collect();
    let right = threshold.map(|_| right_of(&shown));
    let all = All { model: made.model.to_string(), threshold, seed, right, pairs: &shown };
    run.told.page(|| pages::pairs(&shown, &all.model, &run.images))?;
    if run.told.json.is_some() {
        return run.told.tell(&all, |all| {
            vec![(
                "right",
                all.right.map_or("no threshold".into(), |n| format!("{n} of {}", all.pairs.len())),
            )]
        });
    }
    let mut out = Output::new();
    let mut rows = table(["A", "B", "SAME", "DISTANCE", "COSINE", "RIGHT"]);
    let number = |v: Option<f32>| v.map_or("no face".into(), |v| format!("{v:.3}"));
    let word = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    for s in &shown {
        rows.add_row([
            s.a.clone(),
            s.b.clone(),
            word(s.same),
            number(s.distance),
            number(s.score),
            s.right.map_or("-".into(), word),
        ]);
    }
    align_right(&mut rows, [3, 4]);
    out.table(&rows)?;
    match &bar {
        Ok(threshold) => out.line(format_args!(
            "\n{} of {} right at cosine {:.3} with {}",
            right_of(&shown),
            shown.len(),
            threshold.0,
            all.model
        ))?,
        Err(why) => out.line(format_args!("\nnone is said to be right: {why:#}"))?,
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// How many were decided rightly.
pub(super) fn right_of(shown: &[Shown]) -> usize {
    shown.iter().filter(|s| s.right == Some(true)).count()
}
