//! The threshold that keeps a stated false-accept rate for the people enrolled here.

use serde::Serialize;

use super::cohort::{Cohort, Point, Tail};
use crate::encoder::{ModelId, Score};

/// The threshold is one of these steps apart.
const STEP: f32 = 0.001;
/// Two-sided 95 % of a normal distribution.
const Z95: f64 = 1.959_963_984_540_054;

/// What a stranger's attempt is up against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Exposure {
    /// People enrolled.
    pub people: usize,
    /// Templates of the person who has most.
    pub templates: usize,
    /// k: so many of the last n looks must name one person.
    pub frames_needed: usize,
    /// n: looks that count together. An attempt here is n looks; who stands there for longer makes another.
    pub frames_window: usize,
    /// How much more alike these people are than those of the cohort; see [`alike`].
    pub alike: f64,
}

/// A rate with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The best guess.
    pub value: f64,
    /// The interval.
    pub ci95: (f64, f64),
}

/// The threshold in force, and what is known about it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// Whose scores it is for.
    pub model: ModelId,
    /// The false-accept rate per attempt that was asked for.
    pub far_per_attempt: f64,
    /// Cosine from which one look names a person.
    pub threshold: Score,
    /// Where the threshold for this rate lies, within the cohort's 95 % interval.
    pub threshold_ci95: (Score, Score),
    /// Whether the cohort is large enough to show the rate. If not, the threshold is the strictest that it supports, and
    /// strangers may come in more often than asked for: `false_accepts` says how often at most.
    pub supported: bool,
    /// Share of a stranger's attempts that open, at most.
    pub false_accepts: Estimate,
    /// Share of looks at an enrolled person that do not name them: of their attempts when all looks are alike.
    pub false_rejects: Estimate,
    /// For whom.
    pub exposure: Exposure,
}

impl Exposure {
    /// Share of a stranger's attempts that open, at most, when one look is taken for a given person with probability
    /// `fmr`.
    ///
    /// Over the people it is 1 − (1 − p)^N. Over the looks of an attempt it is Markov's inequality: of n looks k must be
    /// wrong in the same way, and however much they depend on each other that is at most n·fmr / k.
    fn false_accepts(&self, fmr: f64) -> f64 {
        let looks = self.frames_window.max(1) as f64 / self.frames_needed.max(1) as f64;
        let person = (looks * self.alike * fmr).min(1.0);
        -(self.people as f64 * (-person).ln_1p()).exp_m1()
    }
}

/// The lowest threshold at which strangers' attempts open no oftener than `far_per_attempt`.
///
/// Nobody enrolled counts as one person, so that there is a threshold to enrol with.
pub fn calibrate(cohort: &Cohort, far_per_attempt: f64, exposure: Exposure) -> Calibration {
    let exposure =
        Exposure { people: exposure.people.max(1), templates: exposure.templates.max(1), ..exposure };
    let (tail, union) = cohort.tail(exposure.templates);
    // −1, 0, 1: the lower end of the interval, the best guess, the upper end.
    let accepts = |point: &Point, end: f64| exposure.false_accepts(union * off(point.fmr, point.fmr_se, end));
    let lowest = |end: f64| thresholds(tail).find(|t| accepts(&tail.at(*t), end) <= far_per_attempt);
    let strictest = tail.strictest();
    let found = lowest(0.0);
    let threshold = found.unwrap_or(strictest);
    let point = tail.at(threshold);
    let estimate = |of: &dyn Fn(f64) -> f64| Estimate { value: of(0.0), ci95: (of(-1.0), of(1.0)) };
    Calibration {
        model: cohort.model.clone(),
        far_per_attempt,
        threshold,
        threshold_ci95: (lowest(-1.0).unwrap_or(strictest), lowest(1.0).unwrap_or(strictest)),
        supported: found.is_some(),
        false_accepts: estimate(&|end| accepts(&point, end)),
        false_rejects: estimate(&|end| off(point.fnmr, point.fnmr_se, end)),
        exposure,
    }
}

/// What is known about a threshold that the operator has set.
pub fn judge(cohort: &Cohort, threshold: Score, exposure: Exposure) -> Calibration {
    let exposure =
        Exposure { people: exposure.people.max(1), templates: exposure.templates.max(1), ..exposure };
    let (tail, union) = cohort.tail(exposure.templates);
    let point = tail.at(threshold);
    let accepts = |end: f64| exposure.false_accepts(union * off(point.fmr, point.fmr_se, end));
    let rejects = |end: f64| off(point.fnmr, point.fnmr_se, end);
    Calibration {
        model: cohort.model.clone(),
        far_per_attempt: accepts(0.0),
        threshold,
        threshold_ci95: (threshold, threshold),
        supported: threshold <= tail.strictest(),
        false_accepts: Estimate { value: accepts(0.0), ci95: (accepts(-1.0), accepts(1.0)) },
        false_rejects: Estimate { value: rejects(0.0), ci95: (rejects(-1.0), rejects(1.0)) },
        exposure,
    }
}

/// A share moved by `end` times 1.96 standard errors of its logarithm.
fn off(share: f64, error: f64, end: f64) -> f64 {
    if share <= 0.0 {
        // Nothing was seen: only the upper end can be above it.
        return if end > 0.0 { Z95 * error } else { 0.0 };
    }
    (share * (end * Z95 * error / share).exp()).min(1.0)
}

/// All thresholds up to the strictest that is supported, ascending.
fn thresholds(tail: &Tail) -> impl Iterator<Item = Score> {
    let (first, last) = (tail.points[0].score, tail.strictest().0);
    let steps = ((last - first) / STEP).round().max(0.0) as u32;
    (0..=steps).map(move |i| Score(first + i as f32 * STEP))
}

/// How much more alike the enrolled people are than those of the cohort: the number of pairs of them that reach
/// [`alike_from`] over the number to be expected of `compared` pairs. 1 when that cannot be told from chance: fewer than
/// ten such pairs, or an expectation within twice its standard deviation. Never less than 1.
pub fn alike(cohort: &Cohort, templates: usize, compared: usize, reached: usize) -> f64 {
    let (tail, union) = cohort.tail(templates);
    let expected = compared as f64 * (union * tail.at(alike_from(cohort, templates)).fmr).min(1.0);
    let chance = reached < 10 || reached as f64 <= expected + 2.0 * expected.sqrt();
    if chance { 1.0 } else { reached as f64 / expected.max(1.0) }
}

/// The score that one pair in a hundred of the cohort reaches, at which the enrolled people are held against it.
pub fn alike_from(cohort: &Cohort, templates: usize) -> Score {
    let (tail, _) = cohort.tail(templates);
    let point = tail.points.iter().find(|p| p.fmr <= 0.01);
    Score(point.unwrap_or(&tail.points[tail.points.len() - 1]).score)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::calibration::testing::cohort;

    fn one() -> Exposure {
        Exposure { people: 1, templates: 1, frames_needed: 3, frames_window: 3, alike: 1.0 }
    }

    #[test]
    fn thresholds_by_hand() {
        for (what, far, exposure, threshold) in [
            ("one person, one template", 1e-4, one(), 0.4),
            ("ten people: a tenth each", 1e-4, Exposure { people: 10, ..one() }, 0.5),
            ("three templates double it", 1e-4, Exposure { templates: 3, ..one() }, 0.4301),
            ("two templates count as three", 1e-4, Exposure { templates: 2, ..one() }, 0.4301),
            ("six are twice three", 1e-4, Exposure { templates: 6, ..one() }, 0.4602),
            ("three of six", 1e-4, Exposure { frames_window: 6, ..one() }, 0.4301),
            ("ten times as alike", 1e-4, Exposure { alike: 10.0, ..one() }, 0.5),
            ("nobody enrolled", 1e-4, Exposure { people: 0, templates: 0, ..one() }, 0.4),
        ] {
            let made = calibrate(&cohort(), far, exposure);
            assert!((made.threshold.0 - threshold).abs() <= STEP, "{what}: {:?}", made.threshold);
            assert!(made.supported && made.false_accepts.value <= far, "{what}: {made:?}");
            let (low, high) = made.threshold_ci95;
            assert!(low < made.threshold && made.threshold < high, "{what}: {made:?}");
            let Estimate { value, ci95: (low, high) } = made.false_accepts;
            assert!(low < value && value < high, "{what}: {made:?}");
        }
    }

    #[test]
    fn what_the_cohort_cannot_show_is_said_and_the_strictest_threshold_is_used() {
        let made = calibrate(&cohort(), 1e-9, Exposure { people: 100, ..one() });
        assert!(!made.supported);
        assert_eq!(made.threshold, Score(0.6), "ten pairs reach 0.60");
        assert!((made.false_accepts.value / 1e-4 - 1.0).abs() < 0.01, "{made:?}");
        let set = judge(&cohort(), Score(0.65), one());
        assert!(!set.supported && set.threshold == Score(0.65));
    }

    #[test]
    fn people_who_are_alike_raise_the_threshold_when_it_is_no_chance() {
        assert_eq!(alike_from(&cohort(), 1), Score(0.2));
        for (compared, reached, factor) in
            [(1000, 10, 1.0), (1000, 16, 1.0), (1000, 30, 3.0), (100, 9, 1.0), (1000, 0, 1.0), (0, 0, 1.0)]
        {
            let found = alike(&cohort(), 1, compared, reached);
            assert!((found - factor).abs() < 1e-3, "{reached} of {compared}: {found}");
        }
    }

    proptest! {
        #[test]
        fn a_stricter_wish_and_a_larger_exposure_never_lower_the_threshold(
            far in 1e-7..0.1f64, share in 0.01..1.0f64, people in 1usize..2000, more in 0usize..2000,
            templates in 1usize..12, window in 1usize..10,
        ) {
            let exposure = Exposure { people, templates, frames_window: window, frames_needed: 1, alike: 1.0 };
            let base = calibrate(&cohort(), far, exposure).threshold;
            prop_assert!(calibrate(&cohort(), far * share, exposure).threshold >= base);
            let crowd = Exposure { people: people + more, ..exposure };
            prop_assert!(calibrate(&cohort(), far, crowd).threshold >= base);
            let longer = Exposure { frames_window: window + 1, ..exposure };
            prop_assert!(calibrate(&cohort(), far, longer).threshold >= base);
        }
    }
}
