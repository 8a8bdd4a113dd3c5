//! What is kept of people beyond what the door needs, and the ways in which it goes again: consent, expiry, a copy for the
//! person, the proof of an erasure.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::{SignedDuration, Timestamp};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::attempts;
use super::backup::Header;
use super::journal::{micros, timestamp};
use super::sealing::{open_embedding, place_of_template};
use super::traces::{Search, Traces};
use super::trouble::Trouble;
use super::{SqliteStore, Store, StoreError, chain, crops, files, people, policy, snapshots};
use crate::clock::MonoTime;
use crate::encoder::ModelId;
use crate::gallery::{Person, PersonId};
use crate::journal::replay::{Decision, PastAttempt};
use crate::journal::{Event, EventId, EventKind, Filter, PersonRef, Record, Stamp};
use crate::policy::{Passage, PersonTerms};
use crate::seal::RecoveryCode;

/// Most characters of a consent; the schema's bound too.
const MAX_CONSENT: usize = 20_000;
/// Most records in a person's own copy, the newest ones.
const MAX_EXPORTED: usize = 20_000;

/// How often unused people are looked for.
const FORGET_EVERY_MS: u64 = 3_600_000;

/// What a person agreed to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Consent {
    /// Word for word.
    pub text: String,
    /// When they did.
    pub given: Timestamp,
    /// When it was written down.
    pub recorded: Timestamp,
    /// By whom.
    pub recorded_by: String,
}

/// A person's own copy of everything that is kept about them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Export {
    /// The person, with the quality and origin of each template.
    pub person: Person,
    /// Their templates, in the order of the person's: the numbers that stand for their face.
    pub templates: Vec<Vec<f32>>,
    /// What they agreed to.
    pub consents: Vec<Consent>,
    /// What is agreed with them on when they may enter.
    pub terms: PersonTerms,
    /// Where they were last seen to go, where anti-passback asks for it.
    #[serde(default)]
    pub passages: Vec<Passage>,
    /// Attempts that are kept for a while and are theirs, or may show them, oldest first.
    #[serde(default)]
    pub attempts: Vec<ExportedAttempt>,
    /// Pictures of refusals that are kept for a while and may show them, as JPEG in base64.
    #[serde(default)]
    pub pictures: Vec<ExportedPicture>,
    /// The pictures that their templates were made from, where those are kept, as JPEG in base64.
    #[serde(default)]
    pub crops: Vec<String>,
    /// What the journal says about them, oldest first; the newest 20,000.
    pub records: Vec<Record>,
}

/// A picture of a refusal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExportedPicture {
    /// The refusal's record.
    pub event: EventId,
    /// JPEG in base64.
    pub jpeg: String,
}

/// What is kept of a person's way past a door.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExportedAttempt {
    /// When it was over.
    pub wall: Timestamp,
    /// At which door.
    pub door: String,
    /// The encoder of its looks.
    pub model: ModelId,
    /// What was decided.
    pub decisions: Vec<Decision>,
    /// The numbers that stand for their face, look by look.
    pub looks: Vec<Vec<f32>>,
}

impl From<PastAttempt> for ExportedAttempt {
    fn from(attempt: PastAttempt) -> Self {
        let looks = attempt.face.embeddings().map(|look| look.values().to_vec()).collect();
        let PastAttempt { wall, door, model, decisions, .. } = attempt;
        Self { wall, door, model, decisions, looks }
    }
}

/// People as somebody's data. Part of every [`Store`].
pub trait Custody {
    /// What a person agreed to, oldest first.
    ///
    /// # Errors
    /// [`StoreError::UnknownPerson`] or the database's.
    fn consents(&self, name: &str) -> Result<Vec<Consent>, StoreError>;

    /// Writes down what a person agreed to, with a `consent` event that has the text's hash.
    ///
    /// # Errors
    /// [`StoreError::UnknownPerson`], [`StoreError::BadConsent`] or the database's.
    fn record_consent(
        &mut self,
        name: &str,
        text: &str,
        given: Timestamp,
        actor: &str,
        at: Stamp,
    ) -> Result<(), StoreError>;

    /// Once an hour, where that was asked for, removes whoever has neither been let in nor got a template for too long, each
    /// with a `remove` event that says why. Gives their names. Only to be called while the calendar is believed.
    ///
    /// # Errors
    /// The database's; nobody has been removed then.
    fn forget_unused(&mut self, at: Stamp) -> Result<Vec<String>, StoreError>;

    /// Everything that is kept about a person.
    ///
    /// # Errors
    /// [`StoreError::UnknownPerson`], the database's, or when the device key is not at hand.
    fn export(&self, name: &str) -> Result<Export, StoreError>;

    /// What must not be found of a person any more once they are erased.
    ///
    /// # Errors
    /// As for [`Custody::export`].
    fn traces(&self, name: &str) -> Result<Traces, StoreError>;

    /// Looks for it in every file of the database's folder.
    fn look_for(&self, traces: &Traces) -> Search;

    /// Makes a recovery code: with it and the key file a new device opens what is backed up from now on.
    ///
    /// # Errors
    /// When it cannot be written down.
    fn new_recovery_code(&mut self, actor: &str, at: Stamp) -> Result<RecoveryCode, StoreError>;

    /// The key file as it must be now.
    ///
    /// # Errors
    /// [`StoreError::Backup`] where there is no recovery code yet, the database's, or when the device key is not at hand.
    fn key_file(&self) -> Result<Vec<u8>, StoreError>;

    /// Writes a backup of everything as it is at this moment, for [`Restoring`](super::Restoring).
    ///
    /// # Errors
    /// The database's, when the device key is not at hand, and [`StoreError::Backup`] when `to` does not take it.
    fn back_up(&self, to: &mut dyn Write, at: Timestamp) -> Result<Header, StoreError>;

    /// Whether nothing of an earlier removal is left to do: a reader in the middle of its query keeps the pages as they were
    /// in the write-ahead log. Tries once more.
    fn is_erased(&mut self) -> bool;
}

impl SqliteStore {
    /// From now on whoever has not been let in for so long is forgotten, see [`Custody::forget_unused`].
    pub fn forget_after(&mut self, days: Option<u32>) {
        self.forgetting =
            days.map(|days| (SignedDuration::from_hours(24 * i64::from(days)), MonoTime::default()));
    }

    /// Removes whoever has neither been let in nor got a template since then. Gives their names.
    ///
    /// # Errors
    /// The database's; nobody has been removed then.
    pub fn expire(&mut self, unused_since: Timestamp, at: Stamp) -> Result<Vec<String>, StoreError> {
        let unused = self.read("looking for unused people", |conn| unused(conn, unused_since))?;
        if unused.is_empty() {
            return Ok(Vec::new());
        }
        let sealer = self.sealer()?.clone();
        self.commit("removing unused people", |tx, pen| {
            for (person, last_used) in &unused {
                let templates = super::templates::count_of(tx, person.id)?;
                let detail =
                    json!({ "templates": templates, "why": "unused for too long", "last_used": last_used });
                attempts::forget(tx, &sealer, person.id)?;
                people::delete(tx, person.id)?;
                let event = Event { person: Some(person.clone()), ..Event::new(EventKind::Remove, detail) };
                chain::append(tx, &event, at, pen)?;
            }
            people::changed(tx)?;
            Ok(())
        })?;
        self.erase_traces();
        Ok(unused.into_iter().map(|(person, _)| person.name).collect())
    }
}

impl Custody for SqliteStore {
    fn consents(&self, name: &str) -> Result<Vec<Consent>, StoreError> {
        self.read("reading a consent", |conn| consents_of(conn, people::known(conn, name)?.id))
    }

    fn record_consent(
        &mut self,
        name: &str,
        text: &str,
        given: Timestamp,
        actor: &str,
        at: Stamp,
    ) -> Result<(), StoreError> {
        let text = text.trim();
        if !(1..=MAX_CONSENT).contains(&text.chars().count()) {
            return Err(StoreError::BadConsent);
        }
        self.write(&format!("writing down the consent of {name:?}"), |tx, pen| {
            let person = people::known(tx, name)?;
            tx.execute(
                "INSERT INTO consents (person, text, given, recorded, recorded_by) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![person.id.0, text, micros(given), micros(at.wall), actor],
            )?;
            let hash = blake3::hash(text.as_bytes()).to_string();
            let detail = json!({ "given": given, "text_blake3": hash });
            let event = Event {
                person: Some(person),
                actor: Some(actor.to_owned()),
                ..Event::new(EventKind::Consent, detail)
            };
            chain::append(tx, &event, at, pen)?;
            Ok(())
        })
    }

    fn forget_unused(&mut self, at: Stamp) -> Result<Vec<String>, StoreError> {
        let Some((after, next)) = self.forgetting.filter(|(_, next)| at.mono >= *next) else {
            return Ok(Vec::new());
        };
        self.forgetting =
            Some((after, MonoTime::from_millis(at.mono.as_millis() + FORGET_EVERY_MS).max(next)));
        // A limit beyond the beginning of the calendar lets nobody be forgotten.
        at.wall.checked_sub(after).map_or(Ok(Vec::new()), |since| self.expire(since, at))
    }

    fn export(&self, name: &str) -> Result<Export, StoreError> {
        let sealer = self.sealer()?;
        let (person, consents, (terms, passages), templates, attempts, (pictures, crops)) =
            self.read("copying a person's data", |conn| {
                let id = people::known(conn, name)?.id;
                let person = people::one(conn, id)?;
                let key = sealer.key_of(conn, id)?;
                let mut templates = Vec::new();
                for info in &person.templates {
                    let sealed: Vec<u8> =
                        conn.query_row("SELECT sealed FROM templates WHERE id = ?1", [info.id], |row| {
                            row.get(0)
                        })?;
                    let damaged = |why: String| Trouble::Damaged(format!("template {} {why}", info.id));
                    let key = key.as_ref().ok_or_else(|| damaged("has no key".into()))?;
                    let opened = open_embedding(key, &place_of_template(id, info.id, &info.model), &sealed);
                    templates.push(opened.map_err(damaged)?.values().to_vec());
                }
                let book = policy::book(conn)?;
                let terms =
                    book.people.into_iter().find(|row| row.id == id).map(|row| (row.terms, row.passages));
                let attempts = attempts::of_person(conn, sealer, id)?;
                let attempts: Vec<ExportedAttempt> =
                    attempts.into_iter().filter_map(|(_, attempt)| attempt.map(Into::into)).collect();
                let mut pictures = Vec::new();
                for row in snapshots::Kept::of(conn, Some(id))? {
                    let picture = row.open(conn, sealer)?;
                    let event = EventId(row.event);
                    pictures.extend(picture.map(|p| ExportedPicture { event, jpeg: BASE64.encode(&*p) }));
                }
                let mut crops = Vec::new();
                for row in crops::Kept::of(conn, Some(id))? {
                    crops.extend(row.open(conn, sealer)?.map(|crop| BASE64.encode(&*crop)));
                }
                let consents = consents_of(conn, id)?;
                Ok((person, consents, terms.unwrap_or_default(), templates, attempts, (pictures, crops)))
            })?;
        let about =
            Filter { person: Some(person.name.clone()), limit: Some(MAX_EXPORTED), ..Filter::default() };
        let mut records = self.records(&about)?;
        // Others may have borne the name before.
        records.retain(|record| record.event.person.as_ref().is_some_and(|about| about.id == person.id));
        Ok(Export { person, templates, consents, terms, passages, attempts, pictures, crops, records })
    }

    fn traces(&self, name: &str) -> Result<Traces, StoreError> {
        let sealer = self.sealer()?;
        self.read("reading what is kept of a person", |conn| {
            Traces::of(conn, sealer, people::known(conn, name)?.id)
        })
    }

    fn look_for(&self, traces: &Traces) -> Search {
        traces.look_for(&[files::folder_of(self.path())])
    }

    fn new_recovery_code(&mut self, actor: &str, at: Stamp) -> Result<RecoveryCode, StoreError> {
        self.new_recovery(actor, at)
    }

    fn key_file(&self) -> Result<Vec<u8>, StoreError> {
        self.key_file_now()
    }

    fn back_up(&self, to: &mut dyn Write, at: Timestamp) -> Result<Header, StoreError> {
        self.write_backup(to, at)
    }

    fn is_erased(&mut self) -> bool {
        if self.erasing {
            self.erase_traces();
        }
        !self.erasing
    }
}

fn consents_of(conn: &Connection, person: PersonId) -> Result<Vec<Consent>, Trouble> {
    let mut rows = conn.prepare_cached(
        "SELECT text, given, recorded, recorded_by FROM consents WHERE person = ?1 ORDER BY id",
    )?;
    let mut rows = rows.query([person.0])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Consent {
            text: row.get(0)?,
            given: timestamp(row.get(1)?)?,
            recorded: timestamp(row.get(2)?)?,
            recorded_by: row.get(3)?,
        });
    }
    Ok(found)
}

/// Whoever has neither been let in nor got a template since, and when they last did. What a change of the encoder makes by itself
/// is no sign of them.
fn unused(conn: &Connection, since: Timestamp) -> Result<Vec<(PersonRef, Timestamp)>, Trouble> {
    let mut rows = conn.prepare(
        "SELECT id, name, last FROM (
             SELECT id, name, name_key, max(
                 created,
                 coalesce((SELECT max(created) FROM templates WHERE person = people.id AND source <> 'migrated'), 0),
                 coalesce(last_used, 0)
             ) AS last FROM people
         ) WHERE last < ?1 ORDER BY name_key",
    )?;
    let mut rows = rows.query([micros(since)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let person = PersonRef { id: PersonId(row.get(0)?), name: row.get(1)? };
        found.push((person, timestamp(row.get(2)?)?));
    }
    Ok(found)
}
