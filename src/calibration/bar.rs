//! Where a door's threshold comes from, and what it is for the people enrolled at this moment.

use std::sync::Arc;

use super::cohort::Cohort;
use super::rule::{Calibration, Exposure, alike, alike_from, calibrate, judge};
use crate::access::Rule;
use crate::encoder::Score;
use crate::gallery::Gallery;

/// Where the threshold comes from.
#[derive(Clone, Debug)]
pub enum Bar {
    /// The operator has set it.
    Set(Score),
    /// It follows from the rate of a stranger's attempts that may open.
    Rate {
        /// What is known of the encoder.
        cohort: Arc<Cohort>,
        /// The rate.
        far_per_attempt: f64,
    },
}

impl Bar {
    /// `rule` with the threshold for these people, and, where it follows from a rate, what is known about it.
    pub fn apply(&self, gallery: &Gallery, rule: &Rule) -> (Rule, Option<Calibration>) {
        match self {
            Self::Set(threshold) => (Rule { threshold: *threshold, supported: true, ..rule.clone() }, None),
            Self::Rate { cohort, far_per_attempt } => {
                let known = calibrate(cohort, *far_per_attempt, exposure(gallery, cohort, rule));
                let (threshold, supported) = (known.threshold, known.supported);
                (Rule { threshold, supported, ..rule.clone() }, Some(known))
            }
        }
    }

    /// The threshold for these people.
    pub fn threshold(&self, gallery: &Gallery, rule: &Rule) -> Score {
        self.apply(gallery, rule).0.threshold
    }
}

/// What is known about `threshold` at a door with these people.
pub fn judged(threshold: Score, gallery: &Gallery, cohort: &Cohort, rule: &Rule) -> Calibration {
    judge(cohort, threshold, exposure(gallery, cohort, rule))
}

/// What a stranger is up against at a door with these people.
pub fn exposure(gallery: &Gallery, cohort: &Cohort, rule: &Rule) -> Exposure {
    let templates = gallery.most_templates();
    let near = gallery.likenesses(alike_from(cohort, templates));
    Exposure {
        people: gallery.people(),
        templates,
        frames_needed: rule.frames_needed,
        frames_window: rule.frames_window,
        alike: alike(cohort, templates, near.compared, near.pairs.len()),
    }
}
