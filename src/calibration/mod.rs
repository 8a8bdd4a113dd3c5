//! PURE. From a stated false-accept rate to a threshold: an encoder's error rates on a [cohort](cohort::Cohort) of people
//! who are not enrolled, and the threshold that follows for those who are.
//!
//! It stands between `eval`, which measures cohorts, and `access`, whose rule takes the threshold.

mod bar;
pub mod cohort;
mod rule;

pub use bar::{Bar, exposure, judged};
pub use rule::{Calibration, Estimate, Exposure, alike, alike_from, calibrate, judge};

#[cfg(test)]
pub(crate) mod testing {
    //! A cohort without people.

    use super::cohort::{Cohort, Point, Source, Tail};
    use crate::encoder::ModelId;

    /// FMR 10^(−10·score), a hundred pairs down to one; FNMR rises from 0.1 % to 10 %.
    pub(crate) fn cohort() -> Cohort {
        let point = |i: i32| {
            let score = i as f32 / 100.0;
            let fmr = 10f64.powf(-10.0 * f64::from(score));
            Point {
                score,
                fmr,
                fmr_se: fmr * 0.1,
                pairs: (70 - i) as usize,
                fnmr: 0.001 * 10f64.powf(f64::from(score) * 2.0),
                fnmr_se: 0.0001,
            }
        };
        let tail = |templates: usize, factor: f64| Tail {
            templates,
            impostors: 1_000_000,
            genuine: 1000,
            points: (10..=70).map(point).map(|p| Point { fmr: (p.fmr * factor).min(1.0), ..p }).collect(),
        };
        let sources = vec![Source { name: "made up".into(), people: 100, images: 1000 }];
        Cohort { model: ModelId("m@1".into()), sources, tails: vec![tail(1, 1.0), tail(3, 2.0)] }
    }
}
