//! All templates of one model in one matrix, and the search through them.

use std::sync::Arc;

use super::{Match, PersonId};
use crate::encoder::{Embedding, ModelId};

/// A snapshot of everybody enrolled, for one model. Immutable; a change of people makes a new one.
#[derive(Clone, Debug)]
pub struct Gallery {
    model: ModelId,
    generation: u64,
    people: Vec<(PersonId, Arc<str>)>,
}

impl Gallery {
    /// Builds a snapshot. `generation` counts changes of the people; templates of other models must be left out
    /// by the caller and those of a wrong dimension are a programming error.
    pub fn new(_model: ModelId, _generation: u64, _templates: Vec<(PersonId, Arc<str>, Embedding)>) -> Self {
        todo!()
    }

    /// The network all templates came from.
    pub fn model(&self) -> &ModelId {
        &self.model
    }

    /// Which state of the people this is.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How many people have at least one template here.
    pub fn people(&self) -> usize {
        self.people.len()
    }

    /// The best person and the runner-up; `None` when nobody is enrolled.
    pub fn find(&self, _probe: &Embedding) -> Option<Match> {
        todo!()
    }
}
