//! What another threshold, rate or encoder would have made of the attempts that are kept: asked before it is set. Worked out
//! beside the door's threads, with a view of the database of its own.

use std::sync::Arc;

use super::ops::Terms;
use super::protocol::{Reply, Request};
use super::supervise::chain;
use crate::calibration::Bar;
use crate::calibration::cohort::Cohort;
use crate::encoder::{ModelId, Score};
use crate::journal::replay::{Replayed, replay};
use crate::store::Store;

/// Rates that may be tried, as for `decision.far_per_attempt`.
const RATES: std::ops::RangeInclusive<f64> = 1e-7..=0.1;

/// What is tried.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trial {
    /// A rate, as `decision.far_per_attempt`.
    pub far: Option<f64>,
    /// A score, as `decision.threshold`.
    pub threshold: Option<f32>,
    /// Another encoder.
    pub model: Option<ModelId>,
}

/// Answers a request for a replay; `None` for the others.
pub fn answer(store: &dyn Store, terms: &Terms, request: &Request) -> Option<Reply> {
    let Request::Replay { far, threshold, model } = request else { return None };
    let trial = Trial { far: *far, threshold: *threshold, model: model.clone().map(ModelId) };
    Some(match try_out(store, terms, &trial) {
        Ok(replayed) => Reply::Replayed { replayed: Box::new(replayed) },
        Err(message) => Reply::Error { message },
    })
}

/// Puts the attempts that are kept through the decision again.
///
/// # Errors
/// What to answer: a rate or score that cannot be, nothing that is kept, or what the database said.
pub fn try_out(store: &dyn Store, terms: &Terms, trial: &Trial) -> Result<Replayed, String> {
    let failed = |e: &dyn std::error::Error| chain(e);
    let model = trial.model.as_ref().unwrap_or(&terms.model);
    let at_rate = |far_per_attempt| {
        let cohort = Cohort::of(model, &terms.models).map_err(|e| failed(&e))?;
        Ok::<_, String>(Bar::Rate { cohort: Arc::new(cohort), far_per_attempt })
    };
    let bar = match (trial.threshold, trial.far, &terms.bar) {
        (Some(score), ..) if !(0.0..=1.0).contains(&score) => {
            return Err(format!("threshold {score}: a score from 0 to 1 is expected, such as 0.45"));
        }
        (_, Some(far), _) if !RATES.contains(&far) => {
            return Err(format!("rate {far}: a share from 0.0000001 to 0.1 is expected, such as 1e-4"));
        }
        (Some(score), ..) => Bar::Set(Score(score)),
        (None, Some(far), _) => at_rate(far)?,
        (None, None, in_force) if *model == terms.model => in_force.clone(),
        // A score of one encoder says nothing about another's.
        (None, None, Bar::Rate { far_per_attempt, .. }) => at_rate(*far_per_attempt)?,
        (None, None, Bar::Set(_)) => {
            return Err(format!(
                "decision.threshold is set by hand for {}, and a score of one encoder says nothing about another's; \
                 say which score or rate to try for {model}",
                terms.model
            ));
        }
    };
    // What another encoder would have changed is told of what the one in force decided, and never of its own decisions.
    let decided_by = (*model != terms.model).then(|| terms.model.clone());
    let mut attempts = store.recall(model).map_err(|e| failed(&e))?;
    attempts.retain(|attempt| attempt.decided_by == decided_by);
    if attempts.is_empty() {
        return Err(format!(
            "no attempts of {model} are kept; privacy.keep_attempts in the config says of whom they are, from the next start on"
        ));
    }
    let gallery = store.gallery(model).map_err(|e| failed(&e))?;
    let tried = bar.apply(&gallery, &terms.rule).0;
    if *model == terms.model {
        let now = terms.bar.apply(&gallery, &terms.rule).0;
        return Ok(replay(&attempts, &gallery, Some(&now), &tried));
    }
    let in_force = store.gallery(&terms.model).map_err(|e| failed(&e))?;
    let threshold_now = terms.bar.threshold(&in_force, &terms.rule).0;
    Ok(Replayed { threshold_now, ..replay(&attempts, &gallery, None, &tried) })
}
