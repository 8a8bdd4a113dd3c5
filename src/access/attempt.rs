//! k of n: gathers the looks at each track until they grant, refuse, or go away.

use super::{Look, Rule, Verdict};
use crate::clock::MonoTime;

/// The attempts of everybody in view.
#[derive(Debug)]
pub struct Attempts {
    rule: Rule,
}

impl Attempts {
    /// No attempts yet.
    pub fn new(rule: Rule) -> Self {
        Self { rule }
    }

    /// The rule in force.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Takes everything one frame showed (at most one look a track) and says what follows at `now`. Tracks that
    /// are not in the frame are no longer in view.
    pub fn observe(&mut self, _looks: &[Look], _now: MonoTime) -> Vec<Verdict> {
        todo!()
    }

    /// Forgets all evidence: the people, the camera or the mode changed.
    pub fn forget(&mut self) {
        todo!()
    }
}
