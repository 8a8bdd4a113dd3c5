//! While the encoder is changed: which looks and attempts go to the other one, and the writing down of what it made of them.

use std::collections::HashMap;
use std::sync::mpsc::{SyncSender, TrySendError};

use crate::access::{Evidence, Lesson, presentable, vouched};
use crate::daemon::DaemonError;
use crate::daemon::analysis::Analysis;
use crate::daemon::doorway::DoorId;
use crate::daemon::migrating::{Job, Made};
use crate::daemon::supervise::chain;
use crate::encoder::ModelId;
use crate::gallery::PersonId;
use crate::journal::replay::PastAttempt;
use crate::journal::{EventId, Stamp};
use crate::store::{Store, StoreError};
use crate::vision::align::AlignedCrop;

use super::Control;

/// What control knows of a change of the encoder.
pub(crate) struct Migrating {
    other: ModelId,
    above: f32,
    jobs: SyncSender<Job>,
    /// Not ended.
    active: bool,
    /// How many templates of the other encoder are still wanted, of whom.
    wanted: HashMap<PersonId, usize>,
}

impl Migrating {
    pub(crate) fn new(other: ModelId, above: f32, jobs: SyncSender<Job>) -> Self {
        Self { other, above, jobs, active: false, wanted: HashMap::new() }
    }

    /// Counts anew what is wanted. Nothing once the change has ended.
    pub(crate) fn count(&mut self, store: &dyn Store, this: &ModelId) -> Result<(), StoreError> {
        self.wanted.clear();
        let migration = store.migration()?;
        self.active = migration
            .is_some_and(|migration| migration.other(this).is_some_and(|other| other.id == self.other));
        if self.active {
            let people = store.filling(this, &self.other)?;
            let wanted = people.iter().map(|person| (person.person.id, person.missing()));
            self.wanted.extend(wanted.filter(|(_, missing)| *missing > 0));
        }
        Ok(())
    }

    /// People of whom templates are wanted.
    pub(crate) fn short(&self) -> usize {
        self.wanted.len()
    }

    /// Somebody got so many more.
    fn filled(&mut self, person: PersonId, more: usize) {
        self.wanted.retain(|id, missing| {
            if *id == person {
                *missing = missing.saturating_sub(more);
            }
            *missing > 0
        });
    }

    fn give(&self, job: Job) -> bool {
        match self.jobs.try_send(job) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                log::debug!("{} has too much to do; a look is left out", self.other);
                false
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    /// Hands on an attempt that is over, with the crops of its compared looks.
    pub(super) fn attempt(&self, attempt: PastAttempt, crops: Vec<AlignedCrop>, people: u64) {
        if self.active && crops.len() == attempt.face.compared() {
            self.give(Job::Attempt { attempt: Box::new(attempt), crops, people });
        }
    }
}

impl Control {
    /// The face by which somebody was let in goes to the other encoder, where a template of theirs is wanted and the enrolled
    /// ones vouch for it as they must for one that is learnt. An attempt that gives a template says nothing about it later.
    pub(super) fn migrate_look(
        &mut self,
        door: DoorId,
        analysis: &Analysis,
        evidence: &Evidence,
        grant: EventId,
    ) -> Result<(), DaemonError> {
        let Some(migrating) = &self.migrating else { return Ok(()) };
        let Some(person) = evidence.best.as_ref().map(|best| best.person) else { return Ok(()) };
        let seen = analysis.faces.iter().find(|face| face.track == evidence.track);
        let Some((face, (embedding, crop))) =
            seen.and_then(|face| Some((face, face.embedding.as_ref().zip(face.crop.as_ref())?)))
        else {
            return Ok(());
        };
        let alone = analysis.faces.len() == 1;
        if !migrating.wanted.contains_key(&person) || presentable(evidence, alone).is_err() {
            return Ok(());
        }
        let enrolled = self.store.enrolled_gallery(&self.terms.model).map_err(DaemonError::Read)?;
        let all = self.gallery.load_full();
        let lesson =
            Lesson { face: embedding, person, evidence, alone, learnt: 0, enrolled: &enrolled, all: &all };
        let agreement = match vouched(migrating.above, &lesson) {
            Ok(agreement) => agreement,
            Err(why) => {
                log::debug!("grant {} gives {} no template: {why:?}", grant.0, migrating.other);
                return Ok(());
            }
        };
        let job = Job::Look {
            person,
            grant,
            score: agreement.enrolled.0,
            quality: face.quality,
            crop: crop.clone(),
        };
        if migrating.give(job) {
            self.doors[door].memory.teaches(evidence.track);
        }
        Ok(())
    }

    /// Writes down what the other encoder made. What cannot be kept is told and dropped: it is no part of the door.
    pub(super) fn migrated(&mut self, made: Made) {
        let at = Stamp::now(&*self.clock);
        match made {
            Made::Attempt { attempt, people } => {
                // It may show somebody who has been removed since, and nothing would tell that any more.
                let as_then = people == self.gallery.load().generation();
                if !as_then || !self.migrating.as_ref().is_some_and(|migrating| migrating.active) {
                    return;
                }
                if let Err(error) = self.store.keep(&[*attempt], at) {
                    log::warn!("an attempt is not kept for a replay: {error}");
                }
            }
            Made::Templates { person, templates, detail } => {
                let more = match self.store.fill(person, &templates, detail, at) {
                    Ok(true) => {
                        self.tell_followers();
                        templates.len()
                    }
                    Ok(false) => usize::MAX,
                    Err(error) => {
                        log::warn!("templates for another encoder are not kept: {}", chain(&error));
                        0
                    }
                };
                if let Some(migrating) = &mut self.migrating {
                    migrating.filled(person, more);
                }
            }
        }
    }

    /// Counts anew of whom templates are wanted.
    pub(super) fn count_wanted(&mut self) -> Result<(), DaemonError> {
        match &mut self.migrating {
            Some(migrating) => migrating.count(&*self.store, &self.terms.model).map_err(DaemonError::Read),
            None => Ok(()),
        }
    }
}
