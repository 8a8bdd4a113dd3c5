//! Scores as pictures: ROC, DET and the distances of genuine and impostor pairs; and what they say at fixed false match
//! rates.

use serde::Serialize;

use super::metrics::{Interval, Proportion, Scores, threshold_at};
use crate::plot::{Axis, Chart, Series, Style, histogram};

/// The false match rates that thresholds are given for.
pub const FMR_TARGETS: [&str; 5] = ["1e-2", "1e-3", "1e-4", "1e-5", "1e-6"];

/// What a threshold that keeps a false match rate lets through.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperatingPoint {
    /// The false match rate, as it is written.
    pub fmr: &'static str,
    /// The lowest cosine that keeps it; `None` where the impostor pairs are fewer than its inverse and cannot tell.
    pub threshold: Option<f64>,
    /// The share of impostor pairs that reaches it.
    pub measured_fmr: Option<f64>,
    /// Its Wilson 95 % interval.
    pub measured_fmr_ci95: Option<Interval>,
    /// The share of genuine pairs that reaches it.
    pub tmr: Option<f64>,
    /// Its Wilson 95 % interval.
    pub tmr_ci95: Option<Interval>,
}

/// The operating points at [`FMR_TARGETS`].
pub fn operating_points(scores: &Scores) -> Vec<OperatingPoint> {
    let at = |fmr: &'static str| {
        let threshold = threshold_at(scores.nonmated(), fmr.parse().expect("a number"));
        let measured: Option<Proportion> = threshold.map(|t| scores.fmr(t));
        let tmr = threshold.map(|t| scores.tmr(t)).filter(|p| p.trials > 0);
        OperatingPoint {
            fmr,
            threshold,
            measured_fmr: measured.map(Proportion::rate),
            measured_fmr_ci95: measured.map(Proportion::wilson95),
            tmr: tmr.map(Proportion::rate),
            tmr_ci95: tmr.map(Proportion::wilson95),
        }
    };
    FMR_TARGETS.map(at).to_vec()
}

/// The Wilson 95 % interval of the false non-match rate where it crosses the false match rate.
pub fn eer_ci95(scores: &Scores) -> Option<Interval> {
    scores.eer()?;
    let crossed = |t: &f64| scores.fnmr(*t).rate() >= scores.fmr(*t).rate();
    let threshold = scores.mated().iter().copied().find(crossed).or(scores.mated().last().copied())?;
    Some(scores.fnmr(threshold).wilson95())
}

/// FMR and FNMR at up to 2,000 thresholds from low to high.
fn rates(scores: &Scores) -> Vec<(f64, f64)> {
    let mut cuts: Vec<f64> = scores.mated().iter().chain(scores.nonmated()).copied().collect();
    cuts.sort_by(f64::total_cmp);
    cuts.dedup();
    let stride = cuts.len().div_ceil(2000).max(1);
    let last = cuts.last().map(|top| top.next_up());
    let few = cuts.into_iter().step_by(stride).chain(last);
    few.map(|t| (scores.fmr(t).rate(), scores.fnmr(t).rate())).collect()
}

/// The least rate that a chart shows: one error among the impostor pairs.
fn least(scores: &Scores) -> f64 {
    let one = 1.0 / scores.nonmated().len().max(10) as f64;
    10_f64.powf(one.log10().floor())
}

/// True match rate over false match rate.
pub fn roc(title: &str, scores: &Scores) -> Chart {
    let points = rates(scores).into_iter().map(|(fmr, fnmr)| (fmr, 1.0 - fnmr)).collect();
    Chart {
        title: title.into(),
        x: Axis::log("false match rate", least(scores), 1.0),
        y: Axis::linear("true match rate", 0.0, 1.0),
        series: vec![Series { name: String::new(), points, style: Style::Line }],
    }
}

/// False non-match rate over false match rate, both by normal quantiles.
pub fn det(title: &str, scores: &Scores) -> Chart {
    let low = least(scores).clamp(0.001, 0.01);
    let equal = vec![(low, low), (0.6, 0.6)];
    Chart {
        title: title.into(),
        x: Axis::probit("false match rate", low, 0.6),
        y: Axis::probit("false non-match rate", low, 0.6),
        series: vec![
            Series { name: String::new(), points: rates(scores), style: Style::Line },
            Series { name: "equal error rate".into(), points: equal, style: Style::Dashed },
        ],
    }
}

/// Distances of genuine and impostor pairs.
pub fn distances(title: &str, scores: &Scores) -> Chart {
    let of = |list: &[f64]| {
        let distances = list.iter().map(|s| (2.0 - 2.0 * s).max(0.0).sqrt());
        histogram(distances, (0.0, 2.0), 50)
    };
    let (genuine, impostor) = (of(scores.mated()), of(scores.nonmated()));
    let top = genuine.iter().chain(&impostor).map(|p| p.1).fold(0.05, f64::max) * 1.1;
    Chart {
        title: title.into(),
        x: Axis::linear("Euclidean distance of unit vectors", 0.0, 2.0),
        y: Axis::linear("share of pairs", 0.0, top),
        series: vec![
            Series { name: "genuine".into(), points: genuine, style: Style::Bars },
            Series { name: "impostor".into(), points: impostor, style: Style::Bars },
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(impostors: usize) -> Scores {
        let genuine = (0..100).map(|i| 0.4 + f64::from(i) / 200.0).collect();
        Scores::new(genuine, (0..impostors).map(|i| i as f64 / impostors as f64 * 0.5).collect())
    }

    #[test]
    fn what_the_pairs_cannot_show_is_not_said() {
        let points = operating_points(&scores(1000));
        let supported: Vec<_> = points.iter().map(|p| p.threshold.is_some()).collect();
        assert_eq!(supported, [true, true, false, false, false]);
        assert!(points[0].measured_fmr.unwrap() <= 0.01 && points[0].tmr.unwrap() < 1.0);
        let Interval(low, high) = points[0].tmr_ci95.unwrap();
        assert!(low < points[0].tmr.unwrap() && points[0].tmr.unwrap() < high);
        assert!(points[4].tmr.is_none() && points[4].tmr_ci95.is_none());
    }

    #[test]
    fn charts_cover_the_whole_range() {
        let s = scores(500);
        let points = &roc("r", &s).series[0].points;
        assert_eq!((points[0], *points.last().unwrap()), ((1.0, 1.0), (0.0, 0.0)));
        assert!(points.windows(2).all(|w| w[1].0 <= w[0].0 && w[1].1 <= w[0].1));
        assert!(rates(&scores(50_000)).len() <= 2002);
        for chart in [roc("r", &s), det("d", &s), distances("h", &s)] {
            let svg = chart.svg();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", chart.title);
        }
        assert!(!det("empty", &Scores::default()).svg().contains("NaN"));
    }
}
