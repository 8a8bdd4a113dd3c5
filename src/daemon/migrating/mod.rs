//! A change of the encoder beside a working door: the one that is not in force makes its own templates of everybody, from kept
//! crops and from looks of people who were let in, and its own embeddings of kept attempts, until a replay can say whether it
//! does as well. All on a thread of its own: the door waits for none of it, and decides by the encoder in force alone.

mod order;
mod verdict;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::access::past::Sight;
use crate::clock::Clock;
use crate::encoder::{Embedding, ModelId};
use crate::gallery::{NewTemplate, PersonId, TemplateSource};
use crate::journal::EventId;
use crate::journal::replay::PastAttempt;
use crate::store::{Store, StoreError};
use crate::vision::align::AlignedCrop;
use crate::vision::quality::Quality;

use super::mailbox::Mailbox;
use super::supervise::{Halt, chain};

pub use order::{CutOver, Progress};
pub(crate) use order::{answer, change, judge, read};

/// The encoder that is not in force: an aligned crop in, its embedding or what failed out.
pub type Embed = Box<dyn FnMut(&AlignedCrop) -> Result<Embedding, String> + Send>;

/// What a daemon needs to make templates for another encoder.
pub struct OtherEncoder {
    /// Its id.
    pub model: ModelId,
    /// It.
    pub embed: Embed,
    /// A look becomes a template when it agrees with the enrolled ones by so much more than the threshold, as in learning.
    pub above: f32,
}

/// Jobs that wait at most; an attempt has up to 1.5 MB of crops. What comes while they wait is left out.
pub(super) const MOST_JOBS: usize = 8;

/// How long the thread waits for a job before it makes templates of somebody's crops: so a large house takes minutes, and the
/// door its processor.
const TURN: Duration = Duration::from_millis(100);

/// A slow encoder is waited for no longer than that.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// After so many turns without anything to do the crops are gone through again: somebody may have been enrolled.
const AGAIN_AFTER: u32 = 600;

/// What the thread is given.
#[derive(Debug)]
pub(crate) enum Job {
    /// A look of somebody who was let in, to become a template.
    Look {
        person: PersonId,
        grant: EventId,
        /// Its score with the templates that were enrolled.
        score: f32,
        quality: Quality,
        crop: AlignedCrop,
    },
    /// An attempt that is over, to be kept as the other encoder sees it, with the crops of its compared looks.
    Attempt {
        attempt: Box<PastAttempt>,
        crops: Vec<AlignedCrop>,
        /// Which state of the people it is of.
        people: u64,
    },
}

/// What it has made; control writes it down.
#[derive(Debug)]
pub(crate) enum Made {
    /// Templates of somebody.
    Templates { person: PersonId, templates: Vec<NewTemplate>, detail: Value },
    /// An attempt, of this state of the people.
    Attempt { attempt: Box<PastAttempt>, people: u64 },
}

/// What the thread works with.
pub(crate) struct MigrationLoop {
    pub(crate) this: ModelId,
    pub(crate) other: ModelId,
    pub(crate) embed: Embed,
    pub(crate) reader: Box<dyn Store>,
    pub(crate) jobs: Receiver<Job>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) halt: Arc<Halt>,
}

impl MigrationLoop {
    /// Runs until the daemon halts. What fails is told and left out: it is no part of the door.
    pub(crate) fn run(mut self) {
        // Whose crops were looked at last, while there are more.
        let mut after = Some(PersonId(0));
        let mut idle = 0;
        while !self.halt.is_set() {
            match self.jobs.recv_timeout(TURN) {
                Ok(job) => {
                    let made = self.make(job).unwrap_or_else(|what| {
                        log::warn!("{} made nothing of a look: {what}", self.other);
                        None
                    });
                    made.into_iter().for_each(|made| self.mailbox.made(made));
                }
                Err(RecvTimeoutError::Timeout) => {
                    idle = if after.is_some() { 0 } else { idle + 1 };
                    if idle >= AGAIN_AFTER {
                        (after, idle) = (Some(PersonId(0)), 0);
                    }
                    after = after.and_then(|person| self.next_of_crops(person));
                }
                // Control is gone, and with it the daemon.
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn make(&mut self, job: Job) -> Result<Option<Made>, String> {
        match job {
            Job::Look { person, grant, score, quality, crop } => {
                // Of people who are let in no picture is kept.
                let templates = vec![self.template(&crop, quality)?];
                let detail = json!({ "model": self.other, "templates": 1, "from": "look", "grant": grant, "score": score });
                Ok(Some(Made::Templates { person, templates, detail }))
            }
            Job::Attempt { mut attempt, crops, people } => {
                let mut crops = crops.iter();
                for look in &mut attempt.face.looks {
                    let Sight::Face(embedding) = &mut look.sight else { continue };
                    let Some(crop) = crops.next() else { return Ok(None) };
                    *embedding = self.embed(crop)?;
                }
                attempt.decided_by = Some(std::mem::replace(&mut attempt.model, self.other.clone()));
                Ok(Some(Made::Attempt { attempt, people }))
            }
        }
    }

    /// Makes templates of the next person's crops. Gives that person; nobody when there are no more.
    fn next_of_crops(&mut self, after: PersonId) -> Option<PersonId> {
        let next = || -> Result<_, StoreError> {
            if self.reader.migration()?.is_none() {
                return Ok(None);
            }
            self.reader.crops_to_fill(&self.this, &self.other, after)
        };
        let (person, crops) = match next() {
            Ok(next) => next?,
            Err(error) => {
                log::warn!("no templates for {} are made of crops: {}", self.other, chain(&error));
                return None;
            }
        };
        let made = crops.into_iter().map(|(quality, crop)| {
            let template = self.template(&crop.picture()?, quality)?;
            Ok::<_, String>(NewTemplate { crop: Some(crop), ..template })
        });
        match made.collect::<Result<Vec<_>, _>>() {
            Ok(templates) => {
                let detail = json!({ "model": self.other, "templates": templates.len(), "from": "crops" });
                self.mailbox.made(Made::Templates { person, templates, detail });
            }
            Err(what) => {
                log::warn!("{} made nothing of the crops of person {}: {what}", self.other, person.0)
            }
        }
        Some(person)
    }

    fn template(&mut self, crop: &AlignedCrop, quality: Quality) -> Result<NewTemplate, String> {
        let (model, source) = (self.other.clone(), TemplateSource::Migrated);
        Ok(NewTemplate { model, embedding: self.embed(crop)?, quality, source, crop: None })
    }

    /// Runs the encoder, and then rests for as long as that took: the door needs the processor more.
    fn embed(&mut self, crop: &AlignedCrop) -> Result<Embedding, String> {
        let began = self.clock.now();
        let embedding = (self.embed)(crop);
        self.halt.wait(self.clock.now().since(began).min(LONGEST_REST));
        embedding
    }
}
