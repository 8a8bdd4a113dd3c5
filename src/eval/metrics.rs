//! Error rates from scores: pure functions, terms of ISO/IEC 19795-1.
//!
//! Everywhere here a higher score means more alike and a comparison *matches* when its score is **at or above** the
//! threshold. Mated comparisons are of one person with themselves (genuine), non-mated ones of two people (impostor).

use serde::Serialize;

/// A share of trials, with what it was counted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proportion {
    /// How many trials had the outcome.
    pub hits: usize,
    /// How many trials there were.
    pub trials: usize,
}

impl Proportion {
    /// The share, 0 to 1; NaN when there were no trials.
    pub fn rate(self) -> f64 {
        self.hits as f64 / self.trials as f64
    }

    /// The Wilson score interval at 95 % (Wilson 1927): where the true rate may lie, given independent trials. It
    /// stays inside 0 to 1 and is meaningful at 0 and at `trials` hits, where the normal approximation collapses.
    /// Without trials anything is possible: 0 to 1.
    pub fn wilson95(self) -> Interval {
        if self.trials == 0 {
            return Interval(0.0, 1.0);
        }
        const Z: f64 = 1.959_963_984_540_054;
        let (n, p) = (self.trials as f64, self.rate());
        let centre = p + Z * Z / (2.0 * n);
        let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        let low = if self.hits == 0 { 0.0 } else { ((centre - half) / scale).max(0.0) };
        let high = if self.hits == self.trials { 1.0 } else { ((centre + half) / scale).min(1.0) };
        Interval(low, high)
    }
}

/// Lower and upper end of a confidence interval; `[low, high]` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval(pub f64, pub f64);

/// The scores of one test, sorted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    mated: Vec<f64>,
    nonmated: Vec<f64>,
}

impl Scores {
    /// Sorts the scores of mated and non-mated comparisons.
    pub fn new(mut mated: Vec<f64>, mut nonmated: Vec<f64>) -> Self {
        mated.sort_by(f64::total_cmp);
        nonmated.sort_by(f64::total_cmp);
        Self { mated, nonmated }
    }

    /// All scores of several tests.
    pub fn pooled<'a>(tests: impl IntoIterator<Item = &'a Self>) -> Self {
        let (mut mated, mut nonmated) = (Vec::new(), Vec::new());
        for test in tests {
            mated.extend(&test.mated);
            nonmated.extend(&test.nonmated);
        }
        Self::new(mated, nonmated)
    }

    /// Scores of mated comparisons, ascending.
    pub fn mated(&self) -> &[f64] {
        &self.mated
    }

    /// Scores of non-mated comparisons, ascending.
    pub fn nonmated(&self) -> &[f64] {
        &self.nonmated
    }

    /// How many comparisons of both kinds.
    pub fn len(&self) -> usize {
        self.mated.len() + self.nonmated.len()
    }

    /// Whether there is no comparison at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// False match rate: the share of non-mated comparisons that match at `threshold`.
    pub fn fmr(&self, threshold: f64) -> Proportion {
        at_or_above(&self.nonmated, threshold)
    }

    /// True match rate, 1 − FNMR: the share of mated comparisons that match at `threshold`.
    pub fn tmr(&self, threshold: f64) -> Proportion {
        at_or_above(&self.mated, threshold)
    }

    /// False non-match rate: the share of mated comparisons that do not match at `threshold`.
    pub fn fnmr(&self, threshold: f64) -> Proportion {
        let tmr = self.tmr(threshold);
        Proportion { hits: tmr.trials - tmr.hits, trials: tmr.trials }
    }

    /// The share of all comparisons that come out right at `threshold`.
    pub fn accuracy(&self, threshold: f64) -> Proportion {
        let (tmr, fmr) = (self.tmr(threshold), self.fmr(threshold));
        Proportion { hits: tmr.hits + fmr.trials - fmr.hits, trials: self.len() }
    }

    /// TMR at the lowest threshold whose FMR is at most `target`; `None` where there are too few non-mated
    /// comparisons to tell (see [`threshold_at`]) or no mated ones.
    pub fn tmr_at_fmr(&self, target: f64) -> Option<Proportion> {
        let threshold = threshold_at(&self.nonmated, target)?;
        (!self.mated.is_empty()).then(|| self.tmr(threshold))
    }

    /// Equal error rate: where FMR and FNMR cross as the threshold rises, on the straight line between the two
    /// operating points around the crossing. `None` unless there are scores of both kinds.
    pub fn eer(&self) -> Option<f64> {
        if self.mated.is_empty() || self.nonmated.is_empty() {
            return None;
        }
        // At the lowest score everything matches (FMR 1, FNMR 0), above the highest nothing does.
        let mut before = (1.0, 0.0);
        for threshold in self.candidate_thresholds() {
            let now = (self.fmr(threshold).rate(), self.fnmr(threshold).rate());
            if now.1 >= now.0 {
                let (gap, next_gap) = (before.0 - before.1, now.1 - now.0);
                let along = if gap + next_gap > 0.0 { gap / (gap + next_gap) } else { 0.0 };
                return Some(before.1 + along * (now.1 - before.1));
            }
            before = now;
        }
        unreachable!("above the highest score FNMR is 1 and FMR 0")
    }

    /// The threshold of the highest accuracy: the middle of the interval between two neighbouring scores in which
    /// accuracy is highest, the widest such interval if several are equal. Never outside the scores by more than a
    /// rounding step. `None` without scores.
    pub fn best_threshold(&self) -> Option<f64> {
        let cuts = self.candidate_thresholds();
        let first = *cuts.first()?;
        // Each cut closes an interval from the score below it; every threshold inside decides as the cut does.
        let intervals = std::iter::once((first, first)).chain(cuts.windows(2).map(|w| (w[0], w[1])));
        let best = intervals.max_by(|a, b| {
            let hits = |i: &(f64, f64)| self.accuracy(i.1).hits;
            hits(a).cmp(&hits(b)).then((a.1 - a.0).total_cmp(&(b.1 - b.0)))
        })?;
        let middle = best.0 + (best.1 - best.0) / 2.0;
        // Between two adjacent floats there is no middle; the upper end decides rightly.
        Some(if middle > best.0 { middle } else { best.1 })
    }

    /// Every distinct score, ascending, and a step above the highest: all thresholds that differ in effect.
    fn candidate_thresholds(&self) -> Vec<f64> {
        let mut all: Vec<f64> = self.mated.iter().chain(&self.nonmated).copied().collect();
        all.sort_by(f64::total_cmp);
        all.dedup();
        all.extend(all.last().map(|top| top.next_up()));
        all
    }
}

/// The lowest threshold at which at most a share `target` of `nonmated` (ascending) matches: the operating point of
/// "at FMR" (1:1, ISO/IEC 19795-1) and "at FPIR" (1:N, fed with each non-mated probe's top score).
///
/// `None` where the scores cannot tell: with fewer than 1/`target` of them the rate's finest step is coarser than
/// `target`, and the answer would say more about the single highest score than about the system.
pub fn threshold_at(nonmated: &[f64], target: f64) -> Option<f64> {
    // 1000 · 0.001 must count as 1 in spite of rounding.
    let allowed = (nonmated.len() as f64 * target + 1e-9).floor() as usize;
    if allowed == 0 {
        return None;
    }
    match nonmated.len().checked_sub(allowed + 1) {
        Some(highest_refused) => Some(nonmated[highest_refused].next_up()),
        None => nonmated.first().copied(),
    }
}

fn at_or_above(ascending: &[f64], threshold: f64) -> Proportion {
    let below = ascending.partition_point(|s| *s < threshold);
    Proportion { hits: ascending.len() - below, trials: ascending.len() }
}

/// What k-fold cross-validation gave.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossValidation {
    /// Accuracy on each held-out fold.
    pub accuracies: Vec<Proportion>,
    /// The threshold each was scored at, chosen on the other folds.
    pub thresholds: Vec<f64>,
}

impl CrossValidation {
    /// Mean of the fold accuracies.
    pub fn mean(&self) -> f64 {
        self.accuracies.iter().map(|a| a.rate()).sum::<f64>() / self.accuracies.len() as f64
    }

    /// Standard error of the mean as LFW View 2 defines it (Huang et al. 2007, §IV.B): σ̂/√k with the sample
    /// standard deviation σ̂ (divisor k − 1) of the fold accuracies.
    pub fn standard_error(&self) -> f64 {
        let (k, mean) = (self.accuracies.len() as f64, self.mean());
        let squares: f64 = self.accuracies.iter().map(|a| (a.rate() - mean).powi(2)).sum();
        (squares / (k - 1.0) / k).sqrt()
    }

    /// Mean of the thresholds.
    pub fn threshold(&self) -> f64 {
        self.thresholds.iter().sum::<f64>() / self.thresholds.len() as f64
    }

    /// All right answers over all comparisons.
    pub fn pooled(&self) -> Proportion {
        Proportion {
            hits: self.accuracies.iter().map(|a| a.hits).sum(),
            trials: self.accuracies.iter().map(|a| a.trials).sum(),
        }
    }
}

/// Scores every fold at the threshold that is most accurate on all the others. `None` with fewer than two folds or
/// an empty one: nothing would be held out.
pub fn cross_validate(folds: &[Scores]) -> Option<CrossValidation> {
    if folds.len() < 2 || folds.iter().any(Scores::is_empty) {
        return None;
    }
    let (mut accuracies, mut thresholds) = (Vec::new(), Vec::new());
    for (held_out, fold) in folds.iter().enumerate() {
        let others = folds.iter().enumerate().filter(|(i, _)| *i != held_out).map(|(_, f)| f);
        let threshold = Scores::pooled(others).best_threshold()?;
        accuracies.push(fold.accuracy(threshold));
        thresholds.push(threshold);
    }
    Some(CrossValidation { accuracies, thresholds })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    /// Five mated, five non-mated, one of each on the wrong side.
    fn table() -> Scores {
        Scores::new(vec![0.9, 0.8, 0.7, 0.6, 0.2], vec![0.1, 0.0, 0.65, -0.1, 0.3])
    }

    #[test]
    fn rates_by_hand() {
        let s = table();
        for (threshold, false_matches, false_non_matches) in [
            (-1.0, 5, 0),
            (0.0, 4, 0),
            (0.2, 2, 0),
            (0.25, 2, 1),
            (0.3, 2, 1),
            (0.31, 1, 1),
            (0.65, 1, 2),
            (0.66, 0, 2),
            (0.9, 0, 4),
            (0.91, 0, 5),
        ] {
            assert_eq!(s.fmr(threshold).hits, false_matches, "FMR at {threshold}");
            assert_eq!(s.fnmr(threshold).hits, false_non_matches, "FNMR at {threshold}");
            assert_eq!(s.accuracy(threshold).hits, 10 - false_matches - false_non_matches);
        }
    }

    #[test]
    fn eer_by_hand() {
        assert!(close(table().eer().unwrap(), 0.2), "one of five wrong on each side");
        assert_eq!(Scores::new(vec![0.5, 0.6], vec![0.1, 0.2]).eer(), Some(0.0));
        assert_eq!(Scores::new(vec![0.1, 0.2], vec![0.5, 0.6]).eer(), Some(1.0));
        // FNMR goes 0 → 1/2 while FMR stays 1/3: they cross at 1/3.
        let s = Scores::new(vec![0.4, 0.9], vec![0.1, 0.2, 0.5]);
        assert!(close(s.eer().unwrap(), 1.0 / 3.0));
        // All scores equal: the line from (1, 0) to (0, 1) crosses the diagonal in the middle.
        assert!(close(Scores::new(vec![0.5; 3], vec![0.5; 4]).eer().unwrap(), 0.5));
        assert_eq!(Scores::new(vec![], vec![0.5]).eer(), None);
    }

    #[test]
    fn tmr_at_fmr_by_hand() {
        let s = table();
        assert_eq!(s.tmr_at_fmr(0.2), Some(Proportion { hits: 4, trials: 5 }), "0.65 may match, 0.3 may not");
        assert_eq!(s.tmr_at_fmr(0.19), None, "five comparisons cannot show less than one in five");
        assert_eq!(s.tmr_at_fmr(1.0), Some(Proportion { hits: 5, trials: 5 }));
        let ties = Scores::new(vec![0.5, 0.6], vec![0.5, 0.5, 0.1, 0.1]);
        assert_eq!(ties.tmr_at_fmr(0.25).map(|p| p.hits), Some(1), "of two equal scores both match or none");
    }

    #[test]
    fn a_target_of_one_in_n_is_supported_by_n_scores() {
        let thousand: Vec<f64> = (0..1000).map(f64::from).collect();
        assert_eq!(threshold_at(&thousand, 0.001), Some(998f64.next_up()));
        assert_eq!(threshold_at(&thousand[..999], 0.001), None);
        assert_eq!(threshold_at(&[], 0.5), None);
    }

    #[test]
    fn best_threshold_is_in_the_middle_of_the_widest_best_gap() {
        assert!(close(Scores::new(vec![0.6, 0.9], vec![0.1, 0.2]).best_threshold().unwrap(), 0.4));
        assert!(close(table().best_threshold().unwrap(), 0.45), "two errors between 0.3 and 0.6 at best");
        assert_eq!(Scores::new(vec![0.5], vec![]).best_threshold(), Some(0.5));
        assert_eq!(Scores::new(vec![], vec![0.5]).best_threshold(), Some(0.5f64.next_up()));
        assert_eq!(Scores::default().best_threshold(), None);
        let neighbours = Scores::new(vec![0.5f64.next_up()], vec![0.5]);
        assert_eq!(neighbours.best_threshold(), Some(0.5f64.next_up()));
    }

    #[test]
    fn cross_validation_by_hand() {
        let folds = [
            Scores::new(vec![0.8, 0.5], vec![0.1, 0.2]),
            Scores::new(vec![0.9, 0.7], vec![0.32, 0.1]),
            Scores::new(vec![0.4, 0.6], vec![0.0, 0.2]),
        ];
        let cv = cross_validate(&folds).unwrap();
        // The others' best gaps: 0.32–0.4, 0.2–0.4 and 0.32–0.5.
        for (got, want) in cv.thresholds.iter().zip([0.36, 0.3, 0.41]) {
            assert!(close(*got, want), "{:?}", cv.thresholds);
        }
        let hits: Vec<usize> = cv.accuracies.iter().map(|a| a.hits).collect();
        assert_eq!(hits, [4, 3, 3], "0.32 matches at 0.3, 0.4 does not at 0.41");
        assert_eq!(cv.pooled(), Proportion { hits: 10, trials: 12 });
        assert!(cross_validate(&folds[..1]).is_none());
        assert!(cross_validate(&[folds[0].clone(), Scores::default()]).is_none());
    }

    #[test]
    fn standard_error_by_hand() {
        let of = |hits: &[usize]| CrossValidation {
            accuracies: hits.iter().map(|h| Proportion { hits: *h, trials: 100 }).collect(),
            thresholds: vec![0.5; hits.len()],
        };
        // 0.98, 0.99, 1.00: mean 0.99, σ̂ = 0.01, 0.01/√3.
        assert!(close(of(&[98, 99, 100]).mean(), 0.99));
        assert!(close(of(&[98, 99, 100]).standard_error(), 0.01 / 3f64.sqrt()));
        assert_eq!(of(&[99, 99]).standard_error(), 0.0);
    }

    /// Against Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    #[test]
    fn wilson_interval_as_published() {
        for (hits, trials, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let Interval(a, b) = Proportion { hits, trials }.wilson95();
            assert!((a - low).abs() < 5e-5 && (b - high).abs() < 5e-5, "{hits}/{trials}: {a} {b}");
        }
        assert_eq!(Proportion { hits: 20, trials: 20 }.wilson95().1, 1.0);
        assert_eq!(Proportion { hits: 0, trials: 0 }.wilson95(), Interval(0.0, 1.0));
    }

    /// Scores on a coarse grid, so that ties are common.
    fn some_scores(least: usize) -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec((-20i32..=20).prop_map(|v| f64::from(v) / 20.0), least..40)
    }

    fn count(scores: &[f64], wanted: impl Fn(f64) -> bool) -> usize {
        scores.iter().filter(|s| wanted(**s)).count()
    }

    proptest! {
        #[test]
        fn rates_are_what_counting_gives(m in some_scores(0), n in some_scores(0), t in -1.1f64..1.1) {
            let s = Scores::new(m.clone(), n.clone());
            prop_assert_eq!(s.fmr(t).hits, count(&n, |v| v >= t));
            prop_assert_eq!(s.fnmr(t).hits, count(&m, |v| v < t));
            prop_assert_eq!(s.tmr(t).hits, count(&m, |v| v >= t));
            prop_assert_eq!(s.accuracy(t).hits, count(&n, |v| v < t) + count(&m, |v| v >= t));
        }

        #[test]
        fn the_eer_lies_between_the_operating_points_around_it(m in some_scores(1), n in some_scores(1)) {
            let eer = Scores::new(m.clone(), n.clone()).eer().unwrap();
            let points: Vec<(f64, f64)> = (-21..=22)
                .map(|t| f64::from(t) / 20.0 - 0.025)
                .map(|t| (count(&n, |v| v >= t) as f64 / n.len() as f64, count(&m, |v| v < t) as f64 / m.len() as f64))
                .collect();
            let low = points.iter().map(|p| p.0.min(p.1)).fold(0.0, f64::max);
            let high = points.iter().map(|p| p.0.max(p.1)).fold(1.0, f64::min);
            prop_assert!(low - 1e-9 <= eer && eer <= high + 1e-9, "{} ≤ {} ≤ {}", low, eer, high);
        }

        #[test]
        fn the_eer_is_the_same_from_the_other_side(m in some_scores(1), n in some_scores(1)) {
            let turned = |v: &[f64]| v.iter().map(|s| -s).collect::<Vec<_>>();
            let there = Scores::new(m.clone(), n.clone()).eer().unwrap();
            let back = Scores::new(turned(&n), turned(&m)).eer().unwrap();
            prop_assert!(close(there, back), "{} {}", there, back);
        }

        #[test]
        fn no_threshold_beats_the_best_one(m in some_scores(0), n in some_scores(1), t in -1.1f64..1.1) {
            let s = Scores::new(m, n);
            let best = s.best_threshold().unwrap();
            prop_assert!(s.accuracy(best).hits >= s.accuracy(t).hits);
        }

        #[test]
        fn the_threshold_at_a_rate_is_the_lowest_that_keeps_it(n in some_scores(1), target in 0.01f64..1.0) {
            let s = Scores::new(vec![], n.clone());
            match threshold_at(s.nonmated(), target) {
                None => prop_assert!((n.len() as f64) * target < 1.0),
                Some(t) => {
                    prop_assert!(s.fmr(t).rate() <= target + 1e-9);
                    let all_match = s.fmr(t).hits == n.len();
                    prop_assert!(all_match || s.fmr(t.next_down()).rate() > target);
                }
            }
        }

        #[test]
        fn the_interval_holds_the_rate(trials in 1usize..5000, share in 0.0f64..=1.0) {
            let p = Proportion { hits: (trials as f64 * share) as usize, trials };
            let Interval(low, high) = p.wilson95();
            prop_assert!(0.0 <= low && low <= p.rate() && p.rate() <= high && high <= 1.0);
        }
    }
}
