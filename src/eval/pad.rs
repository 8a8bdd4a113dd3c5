//! Presentation attack detection (ISO/IEC 30107-3): how often an attack of each species passes for a live face (APCER)
//! and how often a live face is taken for an attack (BPCER), at a threshold that was fixed beforehand.
//!
//! The list is a CSV with the columns `label,path,score`: the label is `live` or the name of a species, the score how
//! live the picture looked, 0 to 1. A column `subject` is counted when it is there: frames of one subject follow each
//! other closely, and intervals that take them for independent are too narrow.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Serialize;

use super::EvalError;
use super::metrics::{Interval, Proportion};

/// The label of pictures that are no attack.
const LIVE: &str = "live";

/// One picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    /// `live`, or the species of the attack.
    pub label: String,
    /// Who is shown.
    pub subject: Option<String>,
    /// Which picture.
    pub path: String,
}

/// One picture with what was said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Presentation {
    /// The picture.
    pub picture: Labelled,
    /// How live it looked.
    pub score: f64,
}

/// The share of one kind of pictures that came out wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ErrorRate {
    /// The share.
    pub rate: f64,
    /// Its Wilson 95 % interval.
    pub ci95: Interval,
    /// How many came out wrong.
    pub wrong: usize,
    /// Of how many.
    pub pictures: usize,
    /// Of how many subjects, where that is known.
    pub subjects: Option<usize>,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PadReport {
    /// A score from which a picture counts as live.
    pub threshold: f64,
    /// By species, the share of attacks taken for live.
    pub apcer: BTreeMap<String, ErrorRate>,
    /// The worst of them, which the standard asks for.
    pub apcer_worst: f64,
    /// The share of live pictures taken for an attack.
    pub bpcer: ErrorRate,
    /// Mean of the worst APCER and BPCER.
    pub acer: f64,
}

/// Reads a list of scored pictures.
///
/// # Errors
/// When it cannot be read, lacks a column, has a line that is wrong, or lacks live pictures or attacks.
pub fn read(path: &Path) -> Result<Vec<Presentation>, EvalError> {
    let listed = parse(&text_of(path)?, path, true)?;
    Ok(listed.into_iter().map(|(picture, score)| Presentation { picture, score }).collect())
}

/// Reads a list of pictures without scores: the same without that column.
///
/// # Errors
/// As for [`read`].
pub fn read_labels(path: &Path) -> Result<Vec<Labelled>, EvalError> {
    let listed = parse(&text_of(path)?, path, false)?;
    Ok(listed.into_iter().map(|(picture, _)| picture).collect())
}

fn text_of(path: &Path) -> Result<String, EvalError> {
    std::fs::read_to_string(path).map_err(|source| EvalError::Read { path: path.to_owned(), source })
}

/// Pictures with their scores; 0 where none are wanted.
fn parse(text: &str, path: &Path, scored: bool) -> Result<Vec<(Labelled, f64)>, EvalError> {
    let columns = if scored { "label,path,score" } else { "label,path" };
    let list = |what: String| EvalError::List { path: path.to_owned(), what };
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|e| list(e.to_string()))?.clone();
    let column = |name: &str| header.iter().position(|h| h == name);
    let need = |name: &str| {
        let found = header.iter().collect::<Vec<_>>().join(",");
        column(name)
            .ok_or_else(|| list(format!("no column {name:?} in the header ({found}); expected {columns}")))
    };
    let (label, picture, subject) = (need("label")?, need("path")?, column("subject"));
    let score = scored.then(|| need("score")).transpose()?;
    let mut all = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| list(e.to_string()))?;
        let line = record.position().map_or(0, |p| p.line() as usize);
        let at = |what: String| EvalError::Line { path: path.to_owned(), line, what };
        let field = |column: usize, name: &str| match record.get(column) {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(at(format!("no {name}; expected {columns}"))),
        };
        let score = match score {
            None => 0.0,
            Some(score) => {
                let text = field(score, "score")?;
                let number: Option<f64> = text.parse().ok().filter(|v| (0.0..=1.0).contains(v));
                number.ok_or_else(|| at(format!("score {text:?} is not a number from 0 to 1")))?
            }
        };
        let picture = Labelled {
            label: field(label, "label")?.to_owned(),
            subject: subject.map(|c| field(c, "subject").map(str::to_owned)).transpose()?,
            path: field(picture, "path")?.to_owned(),
        };
        all.push((picture, score));
    }
    for (wanted, what) in [(true, "no picture has the label live"), (false, "no picture is an attack")] {
        if !all.iter().any(|(p, _)| (p.label == LIVE) == wanted) {
            return Err(list(format!("{what}; both kinds are needed")));
        }
    }
    Ok(all)
}

/// Counts the errors at a threshold.
///
/// # Panics
/// When there is no live picture or no attack, which [`read`] refuses.
pub fn judge(all: &[Presentation], threshold: f64) -> PadReport {
    let rate = |label: &str| {
        let of: Vec<&Presentation> = all.iter().filter(|p| p.picture.label == label).collect();
        let taken_for_live = of.iter().filter(|p| p.score >= threshold).count();
        let wrong = if label == LIVE { of.len() - taken_for_live } else { taken_for_live };
        let share = Proportion { hits: wrong, trials: of.len() };
        let subjects: Option<BTreeSet<&String>> = of.iter().map(|p| p.picture.subject.as_ref()).collect();
        ErrorRate {
            rate: share.rate(),
            ci95: share.wilson95(),
            wrong,
            pictures: of.len(),
            subjects: subjects.map(|s| s.len()),
        }
    };
    let species: BTreeSet<&String> = all.iter().map(|p| &p.picture.label).filter(|l| *l != LIVE).collect();
    let apcer: BTreeMap<String, ErrorRate> = species.into_iter().map(|s| (s.clone(), rate(s))).collect();
    let bpcer = rate(LIVE);
    let apcer_worst = apcer.values().map(|r| r.rate).fold(f64::NAN, f64::max);
    assert!(apcer_worst.is_finite() && bpcer.pictures > 0, "live pictures and attacks");
    PadReport { threshold, acer: f64::midpoint(apcer_worst, bpcer.rate), apcer, apcer_worst, bpcer }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "label,subject,path,score\nlive,1,a,0.9\nlive,1,b,0.4\nlive,2,c,0.5\nlive,2,d,1\n\
        print,1,e,0.1\nprint,2,f,0.5\nreplay,1,g,0.2\nreplay,1,h,0.3\n";

    fn parsed(text: &str) -> Result<Vec<Presentation>, String> {
        let listed = parse(text, Path::new("pad.csv"), true).map_err(|e| e.to_string())?;
        Ok(listed.into_iter().map(|(picture, score)| Presentation { picture, score }).collect())
    }

    #[test]
    fn rates_by_hand() {
        let report = judge(&parsed(LIST).unwrap(), 0.5);
        assert_eq!((report.bpcer.rate, report.bpcer.wrong, report.bpcer.subjects), (0.25, 1, Some(2)));
        assert_eq!((report.apcer["print"].rate, report.apcer["replay"].rate), (0.5, 0.0));
        assert_eq!((report.apcer_worst, report.acer), (0.5, 0.375), "the worst species counts, not the mean");
        let Interval(low, high) = report.apcer["replay"].ci95;
        assert!(low == 0.0 && high > 0.6, "two pictures without an error show little");
        assert_eq!(judge(&parsed(LIST).unwrap(), 0.51).apcer_worst, 0.0);
    }

    #[test]
    fn a_list_for_the_networks_has_no_scores() {
        let listed = parse("label,path\nlive,a.jpg\nphone,b.jpg\n", Path::new("pad.csv"), false).unwrap();
        assert_eq!(
            (listed[1].0.label.as_str(), listed[1].0.subject.as_ref(), listed[1].1),
            ("phone", None, 0.0)
        );
        let error = parse("label,file\nlive,a\n", Path::new("pad.csv"), false).unwrap_err().to_string();
        assert!(
            error.contains("no column \"path\" in the header (label,file); expected label,path"),
            "{error}"
        );
    }

    #[test]
    fn bad_lists_say_what_is_wrong() {
        for (from, to, message) in [
            ("label,", "kind,", "no column \"label\" in the header (kind,subject,path,score)"),
            ("0.9", "1.9", "pad.csv line 2: score \"1.9\" is not a number from 0 to 1"),
            ("0.9", "nan", "line 2: score \"nan\""),
            ("live,1,a,0.9", "live,,a,0.9", "line 2: no subject"),
            ("live", "print", "no picture has the label live"),
        ] {
            let error = parsed(&LIST.replace(from, to)).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
        assert!(parsed("label,path,score\nlive,a,0.5\n").unwrap_err().contains("no picture is an attack"));
    }
}
