//! What is kept: people, templates and the journal, behind one trait. All SQL lives in this room and in
//! `migrations/`.
//!
//! The daemon's control thread owns the one writer; other threads get a [`Store::reader`]. What survives a power cut,
//! and why, stands at the top of `open.rs`.

mod attempts;
mod backup;
mod chain;
mod check;
mod crops;
mod custody;
mod days;
mod files;
mod heads;
mod journal;
mod lock;
mod migration;
mod open;
mod people;
mod pins;
mod policy;
mod repair;
mod restore;
mod retention;
mod sealing;
mod snapshots;
mod sqlite;
mod templates;
mod traces;
mod trouble;
mod verify;

use std::path::PathBuf;

use crate::access::pin::StoredPin;
use crate::encoder::ModelId;
use crate::gallery::{Gallery, NewTemplate, Person, PersonId};
use crate::journal::chain::{Against, Verification};
use crate::journal::{Event, EventId, Filter, Record, Stamp};
use crate::policy::{Change, Passage, RuleBook};

pub use attempts::{KeepAttempts, Recollection};
pub use backup::{Header, KeyFile};
pub use chain::{Signing, journal_seal};
pub use check::{Checkup, Finding, check};
pub use crops::CropsOf;
pub use custody::{Consent, Custody, Export, ExportedAttempt, ExportedPicture};
pub use heads::HeadFile;
pub use migration::{Filling, Migrating, Migration, NamedModel, WANTED};
pub use open::{OpenMode, boot_id};
pub use pins::{PinChange, new_salt};
pub use repair::repair;
pub use restore::{Restored, Restoring};
pub use retention::Retention;
pub use snapshots::{Album, KeepSnapshots, Snapshot};
pub use sqlite::SqliteStore;
pub use traces::{Search, Sighting, Trace, Traces};

/// Why the store could not do what was asked. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No such person.
    #[error("nobody is enrolled as {name:?}{}", nearest.as_ref().map(|n| format!("; did you mean {n:?}?")).unwrap_or_default())]
    UnknownPerson {
        /// The name asked for.
        name: String,
        /// The most alike name there is.
        nearest: Option<String>,
    },
    /// The name is taken.
    #[error(
        "{name:?} is already enrolled; choose another name, or add samples with `accessd enroll --name {name:?} --more`"
    )]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The name cannot be used.
    #[error("{name:?} cannot be a name: {why}")]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An enrolment without templates, or with one that does not fit.
    #[error("templates refused: {0}")]
    BadTemplates(String),
    /// A consent without words, or with far too many.
    #[error("a consent is a text of 1 to 20,000 characters; give what the person agreed to, word for word")]
    BadConsent,
    /// A backup or key file that cannot be written, read or opened.
    #[error("{0}")]
    Backup(String),
    /// A change of the rule book that cannot be.
    #[error("the rule book stays as it is: {0}")]
    Policy(String),
    /// A change of the encoder that cannot be.
    #[error("the encoders stay as they are: {0}")]
    Migration(String),
    /// A PIN that cannot be, or that stands in the way of more people.
    #[error("the PINs stay as they are: {0}")]
    Pin(String),
    /// The file cannot be used as accessd's database.
    #[error("database {}: {what}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What failed and what to try.
        what: String,
        /// What SQLite or the system said.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

/// People, templates and journal. Every change is one transaction with its journal event, durable on return: after a
/// power cut it is there whole, and one that did not return or failed is there not at all.
///
/// Names are unique and found without regard to case and to the amount of space in them; they keep the spelling that
/// the operator gave.
pub trait Store: Custody + Recollection + Album + Migrating + Send {
    /// Everybody, by name.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn people(&self) -> Result<Vec<Person>, StoreError>;

    /// One person by name.
    ///
    /// # Errors
    /// [`StoreError::UnknownPerson`], or when the database cannot be read.
    fn person(&self, name: &str) -> Result<Person, StoreError>;

    /// Adds a person with their first templates and an `enrol` event.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`], [`StoreError::BadName`], [`StoreError::BadTemplates`], [`StoreError::Pin`] when PINs would be
    /// too short for so many, or the database's.
    fn enrol(
        &mut self,
        name: &str,
        templates: &[NewTemplate],
        actor: &str,
        at: Stamp,
    ) -> Result<PersonId, StoreError>;

    /// Adds a person without templates, whom no face names, with an `enrol` event.
    ///
    /// # Errors
    /// [`StoreError::NameTaken`], [`StoreError::BadName`] or the database's.
    fn add_person(&mut self, name: &str, actor: &str, at: Stamp) -> Result<PersonId, StoreError>;

    /// Adds templates to a person with an `enrol_more` event.
    ///
    /// # Errors
    /// As for [`Store::enrol`].
    fn add_templates(
        &mut self,
        name: &str,
        templates: &[NewTemplate],
        actor: &str,
        at: Stamp,
    ) -> Result<PersonId, StoreError>;

    /// Adds a sample of somebody who was let in, with a `learnt` event that has `detail`; its source says that it was learnt.
    ///
    /// # Errors
    /// As for [`Store::add_templates`].
    fn learn(
        &mut self,
        name: &str,
        template: &NewTemplate,
        detail: serde_json::Value,
        at: Stamp,
    ) -> Result<(), StoreError>;

    /// Removes the samples that were learnt of one person, or of everybody, with a `learnt_forgotten` event each, and says how
    /// many they were; of them no byte is left in the database's files.
    ///
    /// # Errors
    /// [`StoreError::UnknownPerson`] or the database's.
    fn forget_learnt(&mut self, name: Option<&str>, actor: &str, at: Stamp) -> Result<usize, StoreError>;

    /// As [`Store::gallery`], without what was learnt.
    ///
    /// # Errors
    /// As for [`Store::gallery`].
    fn enrolled_gallery(&self, model: &ModelId) -> Result<Gallery, StoreError>;

    /// Renames a person with a `rename` event, which bears the old name. To the name they have already is no change.
    ///
    /// # Errors
    /// [`StoreError::UnknownPerson`], [`StoreError::NameTaken`], [`StoreError::BadName`] or the database's.
    fn rename(&mut self, name: &str, to: &str, actor: &str, at: Stamp) -> Result<(), StoreError>;

    /// Removes a person and all their templates with a `remove` event. The journal keeps the name; of the templates
    /// no byte is left in the database's files.
    ///
    /// # Errors
    /// [`StoreError::UnknownPerson`] or the database's.
    fn remove(&mut self, name: &str, actor: &str, at: Stamp) -> Result<(), StoreError>;

    /// Everybody's templates of one model; `generation` grows with every change of people or templates.
    ///
    /// # Errors
    /// When the database cannot be read or holds a template that is damaged.
    fn gallery(&self, model: &ModelId) -> Result<Gallery, StoreError>;

    /// Who may enter when, with everybody's terms and last entry.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn rule_book(&self) -> Result<RuleBook, StoreError>;

    /// Changes who may enter when, with its event.
    ///
    /// # Errors
    /// [`StoreError::Policy`], [`StoreError::UnknownPerson`] or the database's.
    fn change_policy(&mut self, change: &Change, actor: &str, at: Stamp) -> Result<(), StoreError>;

    /// A person's PIN, if they have one.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn pin(&self, person: PersonId) -> Result<Option<StoredPin>, StoreError>;

    /// Changes a person's PIN, with its event.
    ///
    /// # Errors
    /// [`StoreError::Pin`], [`StoreError::UnknownPerson`] or the database's.
    fn change_pin(
        &mut self,
        name: &str,
        change: &PinChange,
        actor: &str,
        at: Stamp,
    ) -> Result<(), StoreError>;

    /// Writes an event; it is on disk (fsync) when this returns. A grant takes one of the person's entries with it, where
    /// those are numbered, also when the door then did not open for it. A wrong PIN counts against its person, and a grant
    /// by PIN ends that count.
    ///
    /// # Errors
    /// When it could not be made durable.
    fn append(&mut self, event: &Event, at: Stamp) -> Result<EventId, StoreError>;

    /// The same for a grant, with where its person goes, in one transaction.
    ///
    /// # Errors
    /// When it could not be made durable.
    fn append_grant(
        &mut self,
        event: &Event,
        passage: Option<&Passage>,
        at: Stamp,
    ) -> Result<EventId, StoreError>;

    /// Puts down where somebody went, of one area, or takes back what was put down; of nobody who is not enrolled.
    ///
    /// # Errors
    /// When it could not be made durable.
    fn set_passage(
        &mut self,
        person: PersonId,
        area: &str,
        passage: Option<&Passage>,
    ) -> Result<(), StoreError>;

    /// Reads the journal, oldest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn records(&self, filter: &Filter) -> Result<Vec<Record>, StoreError>;

    /// Goes over the whole journal and says whether it is as it was written.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn verify(&self, against: &Against) -> Result<Verification, StoreError>;

    /// Says whether the calendar is believed: the records from now on bear it.
    fn believe_clock(&mut self, trusted: bool);

    /// What is due by time alone: a signature over the newest records, the end of
    /// old ones. Called at every turn.
    ///
    /// # Errors
    /// When it could not be made durable.
    fn tend(&mut self, at: Stamp) -> Result<(), StoreError>;

    /// A second view for other threads; its changing methods fail.
    ///
    /// # Errors
    /// When the database cannot be opened.
    fn reader(&self) -> Result<Box<dyn Store>, StoreError>;
}
