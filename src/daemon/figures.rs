//! What the threshold in force is worth, what other rates would mean, and who is hard to tell apart: for whoever runs the
//! door to look at. Worked out beside the socket's thread, once for each state of the people.

use crate::calibration::{Bar, calibrate, exposure};
use crate::encoder::Score;
use crate::gallery::Gallery;

use super::ops::Terms;
use super::protocol::{Alike, Figures, RateFigures};

/// Rates that are shown besides the one in force.
const RATES: [f64; 5] = [1e-2, 1e-3, 1e-4, 1e-5, 1e-6];

/// Pairs that are named at most, the most alike first.
const MOST_PAIRS: usize = 50;

/// The figures for these people.
pub(crate) fn figures(terms: &Terms, gallery: &Gallery) -> Figures {
    let threshold = terms.bar.threshold(gallery, &terms.rule);
    let near = gallery.likenesses(Score(threshold.0 - terms.rule.margin));
    let alike = near.pairs.into_iter().take(MOST_PAIRS).map(|(a, b)| Alike {
        a: a.name.to_string(),
        b: b.name.to_string(),
        score: a.score.0,
    });
    let (rates, measured_on) = match &terms.bar {
        Bar::Set(_) => (Vec::new(), Vec::new()),
        Bar::Rate { cohort, far_per_attempt } => {
            let here = exposure(gallery, cohort, &terms.rule);
            let mut wanted = RATES.to_vec();
            if !wanted.contains(far_per_attempt) {
                wanted.push(*far_per_attempt);
                wanted.sort_by(|a, b| b.total_cmp(a));
            }
            let rates = wanted.into_iter().map(|far| {
                let known = calibrate(cohort, far, here);
                RateFigures {
                    far,
                    in_force: far == *far_per_attempt,
                    threshold: known.threshold.0,
                    supported: known.supported,
                    false_accepts: known.false_accepts.value,
                    false_accepts_up_to: known.false_accepts.ci95.1,
                    false_rejects: known.false_rejects.value,
                }
            });
            let sources = cohort.sources.iter();
            let sources = sources.map(|s| format!("{}: {} people, {} pictures", s.name, s.people, s.images));
            (rates.collect(), sources.collect())
        }
    };
    Figures {
        threshold: threshold.0,
        margin: terms.rule.margin,
        people: gallery.people(),
        measured_on,
        rates,
        alike: alike.collect(),
    }
}
