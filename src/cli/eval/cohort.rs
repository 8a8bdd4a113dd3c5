//! `accessd eval cohort`: counts an encoder's errors on sets of known people, for thresholds to follow from.

use std::fs::{File, remove_file, rename};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;

use super::{Run, Told};
use crate::calibration::cohort::Cohort;
use crate::cli::output::{Output, count};
use crate::cli::{Exit, Globals};
use crate::encoder::ModelId;
use crate::eval::cohort::{Closest, Except, PeopleSet, measure, read_except, read_people};

/// Rates that the table shows.
const RATES: [f64; 6] = [1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7];

#[derive(Args, Debug)]
pub(super) struct CohortArgs {
    /// Folder that a set's pictures are in
    #[arg(long, value_name = "DIR", required = true)]
    images: Vec<PathBuf>,
    /// CSV with the columns identity,path, or identity alone, which stands for all pictures in the folder of that name
    #[arg(long, value_name = "FILE", required = true)]
    people: Vec<PathBuf>,
    /// Only people whose column `fold` has one of these values, in the lists that have that column
    #[arg(long, value_name = "FOLD", value_delimiter = ',')]
    folds: Vec<String>,
    /// CSV with a column identity: people to leave out, such as those that figures are reported on
    #[arg(long, value_name = "FILE")]
    without: Option<PathBuf>,
    /// CSV with the columns a,b: people who are not to be compared, because they are one, or were mixed up
    #[arg(long, value_name = "FILE")]
    except: Option<PathBuf>,
    /// Encoder to measure instead of encoder.model in the config
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Folder of the installed networks instead of paths.models in the config
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// How many threads; one a core when not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Write the cohort to a file; NAME.cohort.json in the folder of installed networks is the one the door uses
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl CohortArgs {
    pub(super) fn perform(self, globals: &Globals) -> anyhow::Result<Exit> {
        if self.images.len() != self.people.len() {
            bail!(
                "each --images needs its --people: {} and {} were given",
                self.images.len(),
                self.people.len()
            );
        }
        let except = self.except.as_deref().map(read_except).transpose()?.unwrap_or_else(Except::new);
        let without = self.without.as_deref().map(read_people).transpose()?.unwrap_or_default();
        let lists = self.people.iter().zip(&self.images);
        let sets: Vec<PeopleSet> = lists
            .map(|(list, images)| PeopleSet::read(list, images, &self.folds, &without))
            .collect::<Result<_, _>>()?;
        if !self.folds.is_empty() && !sets.iter().any(|set| set.folded) {
            bail!("--folds {} is given, and no list has a column \"fold\"", self.folds.join(","));
        }
        // Better now than after an hour; and the one in use stays until there is a whole one.
        let out = self.out.as_deref().map(Out::at).transpose()?;
        let mut model = None;
        let mut measured = Vec::new();
        for ((set, list), images) in sets.into_iter().zip(&self.people).zip(&self.images) {
            let made = self.run(images).embed(globals, list, &set.images)?;
            model = Some(made.model);
            measured.push((name(images, set.folded.then_some(&self.folds)), set, made.embeddings));
        }
        let model = model.expect("the arguments hold at least one set");
        if let Some(other) = self.out.as_deref().and_then(|out| of_another(out, &model)) {
            log::warn!(
                "{} is measured and written to a file that is looked into for {other} alone; --model {other} measures that",
                model
            );
        }
        let (cohort, closest) = measure(model, &measured, &except);
        if let Some(out) = out {
            out.put(&cohort)?;
        }
        show(&cohort, &closest)?;
        Ok(Exit::Done)
    }

    fn run(&self, images: &Path) -> Run {
        Run {
            images: images.to_owned(),
            model: self.model.clone(),
            models: self.models.clone(),
            detect_px: None,
            threads: self.threads,
            told: Told { json: None, report: None },
        }
    }
}

/// The file that the cohort goes to. The one in use stays until there is a whole one.
struct Out<'a> {
    path: &'a Path,
    part: PathBuf,
}

impl<'a> Out<'a> {
    /// Says at once when it cannot be written, rather than after an hour.
    fn at(path: &'a Path) -> anyhow::Result<Self> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let part = path.with_file_name(name);
        File::create(&part).with_context(|| cannot_write(path))?;
        Ok(Self { path, part })
    }

    fn put(&self, cohort: &Cohort) -> anyhow::Result<()> {
        let text = serde_json::to_string(cohort)? + "\n";
        let put = || {
            let mut file = File::create(&self.part)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            rename(&self.part, self.path)
        };
        put().with_context(|| cannot_write(self.path))
    }
}

impl Drop for Out<'_> {
    fn drop(&mut self) {
        // Gone already once it has been put.
        let _ = remove_file(&self.part);
    }
}

/// The encoder whose cohort is looked for under this name, where that is another one.
fn of_another<'a>(out: &'a Path, model: &ModelId) -> Option<&'a str> {
    let name = out.file_name()?.to_str()?.strip_suffix(".cohort.json")?;
    (model.0.split('@').next() != Some(name)).then_some(name)
}

fn cannot_write(file: &Path) -> String {
    format!("{} cannot be written", file.display())
}

/// A set's name: that of its folder, or of the one above when it is called `images`.
fn name(images: &Path, folds: Option<&Vec<String>>) -> String {
    let part = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
    let own = part(images).filter(|own| own != "images");
    let name = own.or_else(|| images.parent().and_then(part)).unwrap_or_else(|| "pictures".into());
    match folds {
        Some(folds) if !folds.is_empty() => format!("{name}, folds {}", folds.join(" ")),
        _ => name,
    }
}

fn show(cohort: &Cohort, closest: &[Closest]) -> anyhow::Result<()> {
    let mut out = Output::new();
    out.line(format_args!("{:<14}{}", "model", cohort.model))?;
    for source in &cohort.sources {
        let of = count(source.people, "person", "people");
        out.line(format_args!("{:<22}{of}, {}", source.name, count(source.images, "picture", "pictures")))?;
    }
    out.line("templates   comparisons     FMR  from cosine  pairs of people      FNMR")?;
    for tail in &cohort.tails {
        for rate in RATES {
            let Some(point) = tail.points.iter().find(|p| p.fmr <= rate) else { continue };
            if point.pairs == 0 {
                continue;
            }
            let supported =
                if point.score <= tail.strictest().0 { "" } else { "  not supported: too few pairs" };
            out.line(format_args!(
                "{:>9}{:>14}{rate:>8.0e}{:>13.2}{:>17}{:>9.2} %{supported}",
                tail.templates,
                tail.impostors,
                point.score,
                point.pairs,
                100.0 * point.fnmr,
            ))?;
        }
    }
    out.line("the closest pairs; leave out with --except who is one person under two names, and keep kin")?;
    for Closest { a, b, score } in closest {
        out.line(format_args!("{score:>9.2}  {a}, {b}"))?;
    }
    out.flush()?;
    Ok(())
}
