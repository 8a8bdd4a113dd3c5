//! What is known of an encoder's errors: how often the faces of different people score high and those of one person
//! low, counted on pictures of people who are not enrolled (`accessd eval cohort`).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::encoder::{ModelId, Score};

/// From so many pairs of different people with a score at or above it, a score is supported: fewer are chance, and a
/// single mislabelled picture could make them.
pub const SUPPORTING_PAIRS: usize = 10;

/// Cohorts that come with accessd.
const SHIPPED: [&str; 1] = [include_str!("../../models/cohorts/sface.json")];

/// An encoder's errors on a cohort of known people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cohort {
    /// Whose errors.
    pub model: ModelId,
    /// Who was in the cohort.
    pub sources: Vec<Source>,
    /// By number of templates a person, ascending; the first is for one.
    pub tails: Vec<Tail>,
}

/// One set of pictures in a cohort. People of different sets were not compared: pictures of one set share a camera,
/// a time and a way of choosing, and so score higher with each other, as those at one door do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The set.
    pub name: String,
    /// People.
    pub people: usize,
    /// Pictures in which a face was found.
    pub images: usize,
}

/// Errors of single looks against people with so many templates each, whose best one counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tail {
    /// Templates a person.
    pub templates: usize,
    /// Comparisons of a face with another person.
    pub impostors: u64,
    /// Comparisons of a face with the same person.
    pub genuine: u64,
    /// Ascending in score.
    pub points: Vec<Point>,
}

/// Errors at one threshold. Standard errors are those of the jackknife over twenty groups of people (Efron & Stein
/// 1981): comparisons that share a person are not independent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Point {
    /// The threshold, a cosine.
    pub score: f32,
    /// Share of comparisons with another person at or above it.
    pub fmr: f64,
    /// Its standard error.
    pub fmr_se: f64,
    /// Pairs of different people with a comparison at or above it.
    pub pairs: usize,
    /// Share of comparisons with the same person below it.
    pub fnmr: f64,
    /// Its standard error.
    pub fnmr_se: f64,
}

/// Why a cohort cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CohortError {
    /// The file cannot be read.
    #[error("cohort {} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// It is not a cohort.
    #[error("cohort {}: {what}; measure it again with `accessd eval cohort`", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// There is none.
    #[error(
        "nobody has measured how often {model} takes strangers for others{}, so no threshold follows from \
         decision.far_per_attempt; measure it on people who are not enrolled: `accessd eval cohort --model {} --images DIR \
         --people FILE --out {}`. For the encoder in force decision.threshold does without",
        found.as_ref().map(|found| format!(" ({} is of {found})", wanted.display())).unwrap_or_default(),
        model.0.split('@').next().unwrap_or_default(),
        wanted.display()
    )]
    Missing {
        /// The encoder.
        model: ModelId,
        /// Where one would be looked for.
        wanted: PathBuf,
        /// Of which encoder the one there is.
        found: Option<ModelId>,
    },
}

impl Cohort {
    /// The cohort of `model`: `NAME.cohort.json` in the folder of installed networks, else one that comes with
    /// accessd. A file that is another model's is no error: encoders are replaced under their name.
    ///
    /// # Errors
    /// When there is none, or the file is there and damaged.
    pub fn of(model: &ModelId, models: &Path) -> Result<Self, CohortError> {
        let name = model.0.split('@').next().unwrap_or_default();
        let path = models.join(format!("{name}.cohort.json"));
        let mut found = None;
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let cohort = Self::parse(&text, &path)?;
                if cohort.model == *model {
                    return Ok(cohort);
                }
                found = Some(cohort.model);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(CohortError::Read { path, source }),
        }
        let shipped =
            SHIPPED.iter().map(|text| Self::parse(text, Path::new("models/cohorts")).expect("tests read it"));
        shipped.into_iter().find(|cohort| cohort.model == *model).ok_or_else(|| CohortError::Missing {
            model: model.clone(),
            wanted: path,
            found,
        })
    }

    /// Reads a cohort; `path` is for messages.
    ///
    /// # Errors
    /// When the text is not one: other keys, no tail for one template, shares outside 0 to 1, points out of order.
    pub fn parse(text: &str, path: &Path) -> Result<Self, CohortError> {
        let wrong = |what: String| CohortError::Wrong { path: path.to_owned(), what };
        let cohort: Self = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        if cohort.tails.first().is_none_or(|tail| tail.templates != 1) {
            return Err(wrong("the first tail is not for one template".into()));
        }
        if !cohort.tails.is_sorted_by(|a, b| a.templates < b.templates) {
            return Err(wrong("tails are not in the order of their templates".into()));
        }
        for Tail { templates, points, .. } in &cohort.tails {
            let share = |v: f64| (0.0..=1.0).contains(&v);
            let sound = |p: &Point| {
                p.score.is_finite() && [p.fmr, p.fnmr, p.fmr_se, p.fnmr_se].into_iter().all(share)
            };
            let falls = |a: &Point, b: &Point| a.score < b.score && a.fmr >= b.fmr && a.fnmr <= b.fnmr;
            if points.len() < 2 || !points.iter().all(sound) || !points.is_sorted_by(falls) {
                return Err(wrong(format!(
                    "points of the tail for {templates} templates are no shares from 0 to 1 that fall with the score"
                )));
            }
        }
        Ok(cohort)
    }

    /// The tail for people with `templates` templates: that of the next larger number that was measured, or the
    /// largest, with the number by which its FMR must then be multiplied (a union bound).
    pub(super) fn tail(&self, templates: usize) -> (&Tail, f64) {
        let last = self.tails.last().expect("a cohort has a tail");
        match self.tails.iter().find(|tail| tail.templates >= templates) {
            Some(tail) => (tail, 1.0),
            None => (last, templates as f64 / last.templates as f64),
        }
    }
}

impl Tail {
    /// The strictest threshold that the cohort supports.
    pub fn strictest(&self) -> Score {
        let supported = self.points.iter().rfind(|p| p.pairs >= SUPPORTING_PAIRS);
        Score(supported.unwrap_or(&self.points[0]).score)
    }

    /// The errors at a threshold: between two points on the straight line through their logarithms, beyond the first
    /// and the last those of that point.
    pub(super) fn at(&self, threshold: Score) -> Point {
        let after = self.points.partition_point(|p| p.score < threshold.0);
        let (Some(b), Some(a)) = (self.points.get(after), after.checked_sub(1).map(|i| self.points[i]))
        else {
            return self.points[after.min(self.points.len() - 1)];
        };
        let share = f64::from((threshold.0 - a.score) / (b.score - a.score));
        let line =
            |a: f64, b: f64| if a > 0.0 && b > 0.0 { a * (b / a).powf(share) } else { a + (b - a) * share };
        Point {
            score: threshold.0,
            fmr: line(a.fmr, b.fmr),
            fmr_se: line(a.fmr_se, b.fmr_se),
            pairs: b.pairs,
            fnmr: line(a.fnmr, b.fnmr),
            fnmr_se: line(a.fnmr_se, b.fnmr_se),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::testing::cohort;

    #[test]
    fn between_points_errors_follow_their_logarithm_and_beyond_they_stay() {
        let tail = &cohort().tails[0];
        let fmr = |score: f32| tail.at(Score(score)).fmr;
        for (score, wanted) in
            [(0.30, 1e-3), (0.305, 10f64.powf(-3.05)), (0.10, 0.1), (-1.0, 0.1), (1.0, 1e-7)]
        {
            assert!((fmr(score) / wanted - 1.0).abs() < 1e-3, "at {score}: {}", fmr(score));
        }
        assert_eq!(tail.strictest(), Score(0.6));
    }

    #[test]
    fn a_cohort_beside_the_model_is_used_before_the_one_that_comes_with_accessd() {
        let folder = tempfile::tempdir().unwrap();
        let shipped: Cohort = serde_json::from_str(SHIPPED[0]).unwrap();
        assert!(Cohort::of(&shipped.model, folder.path()).unwrap() == shipped);
        let mut own = Cohort { model: shipped.model.clone(), ..cohort() };
        own.sources[0].name = "our own people".into();
        assert!(shipped.model.0.starts_with("sface@"));
        let path = folder.path().join("sface.cohort.json");
        std::fs::write(&path, serde_json::to_string(&own).unwrap()).unwrap();
        assert_eq!(Cohort::of(&shipped.model, folder.path()).unwrap().sources, own.sources);
        own.model = ModelId("sface@older".into());
        std::fs::write(&path, serde_json::to_string(&own).unwrap()).unwrap();
        assert_eq!(
            Cohort::of(&shipped.model, folder.path()).unwrap(),
            shipped,
            "that file is of older weights"
        );
    }

    #[test]
    fn bad_cohorts_say_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let good = serde_json::to_value(cohort()).unwrap();
        let parse = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut bad = good.clone();
            change(&mut bad);
            Cohort::parse(&bad.to_string(), Path::new("c.json")).unwrap_err().to_string()
        };
        for (change, message) in [
            (
                &(|c: &mut serde_json::Value| c["tails"] = serde_json::json!([]))
                    as &dyn Fn(&mut serde_json::Value),
                "the first tail is not for one",
            ),
            (&|c| c["tails"][0]["templates"] = 2.into(), "the first tail is not for one"),
            (&|c| c["tails"][1]["templates"] = 1.into(), "not in the order"),
            (&|c| c["tails"][0]["points"][3]["fmr"] = 0.5.into(), "the tail for 1 templates are no shares"),
            (&|c| c["tails"][1]["points"][3]["fnmr"] = 1.5.into(), "the tail for 3 templates are no shares"),
            (&|c| c["more"] = 1.into(), "unknown field `more`"),
        ] {
            let said = parse(change);
            assert!(said.contains(message) && said.contains("accessd eval cohort"), "{said}");
        }
        let error = Cohort::of(&ModelId("own@1".into()), folder.path()).unwrap_err().to_string();
        assert!(error.contains("own.cohort.json") && error.contains("decision.threshold"), "{error}");
    }
}
