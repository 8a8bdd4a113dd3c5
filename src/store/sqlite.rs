//! The store on SQLite: each method is one transaction over the rows of `people.rs`, `templates.rs` and `journal.rs`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use serde_json::json;

use super::attempts::{self, KeepAttempts};
use super::chain::{self, Pen, Signing};
use super::heads::HeadFile;
use super::lock::WriterLock;
use super::open::{self, BUSY, CHECKPOINT_PAGES, OpenMode};
use super::people::{self, Name};
use super::retention::{self, Retention};
use super::sealing::Sealer;
use super::snapshots::KeepSnapshots;
use super::templates::Crops;
use super::trouble::{self, Trouble};
use super::{PinChange, Store, StoreError, journal, pins, policy, templates, verify};
use crate::access::pin::StoredPin;
use crate::clock::MonoTime;
use crate::encoder::ModelId;
use crate::gallery::{Gallery, NewTemplate, Person, PersonId, TemplateSource};
use crate::journal::chain::{Against, Verification};
use crate::journal::{Event, EventId, EventKind, Filter, PersonRef, Record, Stamp};
use crate::policy::{Change, Passage, RuleBook};
use crate::seal::Keys;

/// How long folding the log away may wait for a reader in the middle of its query; the door waits with it.
const FOLD_BUSY: Duration = Duration::from_millis(200);

/// Old records are sought this often, and, while there are more, taken out so fast: the door waits for each step.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
const PRUNE_ON: Duration = Duration::from_secs(1);

/// New records wait at most so long for a signature.
const SIGN_EVERY: Duration = Duration::from_secs(300);

/// People, templates and journal in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    // Fields are dropped in order: the lock goes when the connection is closed.
    pub(super) conn: Connection,
    path: PathBuf,
    pub(super) pen: Pen,
    keys: Keys,
    /// What seals and opens templates; why not, in a reader that may not have the key.
    sealer: Result<Sealer, String>,
    /// A removed template may still be in the write-ahead log.
    pub(super) erasing: bool,
    /// After how long unused people are forgotten, and when to look next.
    pub(super) forgetting: Option<(SignedDuration, MonoTime)>,
    /// Absent in a reader.
    lock: Option<WriterLock>,
    retention: Retention,
    /// When the newest record was last signed, and when old ones are next sought.
    signed: Option<MonoTime>,
    next_prune: MonoTime,
    /// How long attempts are kept, and when old ones are next sought.
    pub(super) attempts: KeepAttempts,
    pub(super) next_attempt_prune: MonoTime,
    /// The same of pictures.
    pub(super) snapshots: KeepSnapshots,
    pub(super) next_snapshot_prune: MonoTime,
    /// Whether the pictures of templates are kept, and whether those from before are known to be gone.
    pub(super) keep_crops: bool,
    pub(super) crops_are_gone: bool,
    pub(super) next_crop_prune: MonoTime,
    /// When what there is of an ended encoder is next sought.
    pub(super) next_clearing: MonoTime,
}

impl SqliteStore {
    /// Opens the database at `path`. `boot_id` goes into every record; [`boot_id`](super::boot_id) gives this boot's.
    /// `keys` says where the device key is, which templates are sealed with. A database without one yet gets one, and
    /// templates from before are sealed; a reader does without as long as it reads no template.
    ///
    /// For writing ([`OpenMode::Create`], [`OpenMode::Existing`]) it takes the one writer's lock, `PATH.lock`, and
    /// brings the schema up to date. A new database gets mode 0600, and so do its companions; when only the folder is
    /// missing it is created with 0700. Permissions that let others read or replace it are logged as warnings.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the file is missing (unless it may be created), is not a database, is another
    /// program's, was written by a newer accessd, is damaged, cannot be written, or another process is writing to it,
    /// and when the device key is missing or another one. The file is as it was then.
    pub fn open(path: &Path, mode: OpenMode, boot_id: &str, keys: &Keys) -> Result<Self, StoreError> {
        open::open(path, mode, boot_id, keys)
    }

    pub(super) fn new(
        conn: Connection,
        path: &Path,
        boot_id: &str,
        keys: &Keys,
        sealer: Result<Sealer, String>,
        lock: Option<WriterLock>,
    ) -> Self {
        let mut pen = Pen::new(boot_id);
        pen.signing.seal = sealer.as_ref().ok().map(|sealer| Arc::new(chain::journal_seal(sealer.device())));
        Self {
            conn,
            path: path.to_owned(),
            pen,
            keys: keys.clone(),
            sealer,
            erasing: false,
            forgetting: None,
            lock,
            retention: Retention::default(),
            signed: None,
            next_prune: MonoTime::default(),
            attempts: KeepAttempts::default(),
            next_attempt_prune: MonoTime::default(),
            snapshots: KeepSnapshots::default(),
            next_snapshot_prune: MonoTime::default(),
            keep_crops: false,
            crops_are_gone: false,
            next_crop_prune: MonoTime::default(),
            next_clearing: MonoTime::default(),
        }
    }

    /// What seals and opens templates.
    pub(super) fn sealer(&self) -> Result<&Sealer, StoreError> {
        self.sealer
            .as_ref()
            .map_err(|why| trouble::error(&self.path, format!("its templates stay shut: {why}"), None))
    }

    /// Hands the journal's heads out to a file elsewhere from now on.
    #[must_use]
    pub fn with_head_file(mut self, file: HeadFile) -> Self {
        self.pen.signing.head_file = Some(file);
        self
    }

    /// Signs checkpoints from now on.
    #[must_use]
    pub fn with_signing(mut self, signing: Signing) -> Self {
        self.pen.signing = signing;
        self
    }

    /// Takes old records out from now on.
    #[must_use]
    pub fn with_retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Signs the newest records when that is due.
    fn sign(&mut self, at: Stamp) -> Result<(), StoreError> {
        let since = self.signed.get_or_insert(at.mono);
        if at.mono.since(*since) < SIGN_EVERY || self.pen.signing.seal.is_none() {
            return Ok(());
        }
        self.signed = Some(at.mono);
        if self.read("reading the journal", chain::is_signed)? {
            return Ok(());
        }
        self.commit("signing the journal", |tx, pen| chain::sign_newest(tx, at, pen))?;
        Ok(())
    }

    /// Takes old records out when that is due, a step at a time.
    fn prune(&mut self, at: Stamp) -> Result<(), StoreError> {
        if self.retention == Retention::default()
            || at.mono < self.next_prune
            || self.pen.signing.seal.is_none()
        {
            return Ok(());
        }
        let retention = self.retention;
        let more =
            self.write("taking old records out", |tx, pen| retention::prune(tx, retention, at, pen))?;
        self.next_prune = at.mono + if more { PRUNE_ON } else { PRUNE_EVERY };
        Ok(())
    }

    /// Where the database is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `change` as one transaction, and afterwards what an earlier removal left to do.
    pub(super) fn write<T>(
        &mut self,
        doing: &str,
        change: impl FnOnce(&Transaction<'_>, &Pen) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let done = self.commit(doing, change)?;
        if self.erasing {
            self.erase_traces();
        }
        Ok(done)
    }

    /// Runs `change` as one transaction and does nothing else.
    pub(super) fn commit<T>(
        &mut self,
        doing: &str,
        change: impl FnOnce(&Transaction<'_>, &Pen) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        if self.lock.is_none() {
            let what = format!("{doing} is not possible: it was opened for reading only");
            return Err(trouble::error(&self.path, what, None));
        }
        self.pen.lift();
        let run = || {
            let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let done = change(&tx, &self.pen)?;
            tx.commit()?;
            Ok(done)
        };
        let done = run().map_err(|trouble: Trouble| trouble.at(&self.path, doing))?;
        self.pen.hand_out();
        Ok(done)
    }

    /// Reads in one transaction, so that what several statements read belongs together.
    pub(super) fn read<T>(
        &self,
        doing: &str,
        look: impl FnOnce(&Connection) -> Result<T, Trouble>,
    ) -> Result<T, StoreError> {
        let run = || {
            let tx = self.conn.unchecked_transaction()?;
            look(&tx)
        };
        run().map_err(|trouble: Trouble| trouble.at(&self.path, doing))
    }

    /// Folds the write-ahead log into the database and empties it; false when a reader or the disk prevented it.
    pub(super) fn fold_log(&self) -> bool {
        let fold = || -> rusqlite::Result<bool> {
            self.conn.busy_timeout(FOLD_BUSY)?;
            let busy: i64 = self.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            Ok(busy == 0)
        };
        let folded = fold();
        if let Err(error) = self.conn.busy_timeout(BUSY) {
            log::warn!("{}: cannot set the waiting time: {error}", self.path.display());
        }
        match folded {
            Ok(folded) => folded,
            Err(error) => {
                log::warn!("{}: cannot fold the write-ahead log away: {error}", self.path.display());
                false
            }
        }
    }

    /// After a removal: the log still holds the pages as they were. Tried again with later changes until it worked.
    pub(super) fn erase_traces(&mut self) {
        self.erasing = !self.fold_log();
        if self.erasing {
            log::warn!(
                "{}: templates of a removed person are still in the write-ahead log, because it is being read; they go \
                 with one of the next changes",
                self.path.display()
            );
        }
    }
}

impl Store for SqliteStore {
    fn people(&self) -> Result<Vec<Person>, StoreError> {
        self.read("reading the people", people::all)
    }

    fn person(&self, name: &str) -> Result<Person, StoreError> {
        self.read("reading a person", |conn| {
            let known = people::known(conn, name)?;
            people::one(conn, known.id)
        })
    }

    fn enrol(
        &mut self,
        name: &str,
        templates: &[NewTemplate],
        actor: &str,
        at: Stamp,
    ) -> Result<PersonId, StoreError> {
        let name = Name::new(name)?;
        templates::check(templates)?;
        let (sealer, crops) = (self.sealer()?.clone(), self.crops());
        self.write(&format!("enrolling {:?}", name.text), |tx, pen| {
            people::must_be_free(tx, &name, None)?;
            pins::check_room(tx, 1, None)?;
            let id = people::insert(tx, &name, at.wall)?;
            templates::insert(tx, &sealer, id, templates, crops, at.wall)?;
            let person = PersonRef { id, name: name.text.clone() };
            let event = by(actor, EventKind::Enrol, person, enrolment(templates));
            chain::append(tx, &event, at, pen)?;
            people::changed(tx)?;
            Ok(id)
        })
    }

    fn add_person(&mut self, name: &str, actor: &str, at: Stamp) -> Result<PersonId, StoreError> {
        let name = Name::new(name)?;
        self.write(&format!("adding {:?}", name.text), |tx, pen| {
            people::must_be_free(tx, &name, None)?;
            pins::check_room(tx, 1, None)?;
            let id = people::insert(tx, &name, at.wall)?;
            let person = PersonRef { id, name: name.text.clone() };
            let event =
                by(actor, EventKind::Enrol, person, json!({ "templates": 0, "what": "without a face" }));
            chain::append(tx, &event, at, pen)?;
            people::changed(tx)?;
            Ok(id)
        })
    }

    fn add_templates(
        &mut self,
        name: &str,
        templates: &[NewTemplate],
        actor: &str,
        at: Stamp,
    ) -> Result<PersonId, StoreError> {
        templates::check(templates)?;
        let (sealer, crops) = (self.sealer()?.clone(), self.crops());
        self.write(&format!("adding templates to {name:?}"), |tx, pen| {
            let person = people::known(tx, name)?;
            let id = person.id;
            templates::insert(tx, &sealer, id, templates, crops, at.wall)?;
            let event = by(actor, EventKind::EnrolMore, person, enrolment(templates));
            chain::append(tx, &event, at, pen)?;
            people::changed(tx)?;
            Ok(id)
        })
    }

    fn learn(
        &mut self,
        name: &str,
        template: &NewTemplate,
        detail: serde_json::Value,
        at: Stamp,
    ) -> Result<(), StoreError> {
        let template = NewTemplate { source: TemplateSource::Learnt, ..template.clone() };
        templates::check(std::slice::from_ref(&template))?;
        let sealer = self.sealer()?.clone();
        self.write(&format!("learning a face of {name:?}"), |tx, pen| {
            let person = people::known(tx, name)?;
            templates::insert(
                tx,
                &sealer,
                person.id,
                std::slice::from_ref(&template),
                Crops::Dropped,
                at.wall,
            )?;
            let event = Event { person: Some(person), ..Event::new(EventKind::Learnt, detail) };
            chain::append(tx, &event, at, pen)?;
            people::changed(tx)?;
            Ok(())
        })
    }

    fn forget_learnt(&mut self, name: Option<&str>, actor: &str, at: Stamp) -> Result<usize, StoreError> {
        let gone = self.commit("removing what was learnt", |tx, pen| {
            let only = name.map(|name| people::known(tx, name)).transpose()?;
            let mut gone = 0;
            for (person, samples) in templates::remove_learnt(tx, only.as_ref().map(|person| person.id))? {
                gone += samples;
                let detail = json!({ "templates": samples });
                chain::append(tx, &by(actor, EventKind::LearntForgotten, person, detail), at, pen)?;
            }
            if gone > 0 {
                people::changed(tx)?;
            }
            Ok(gone)
        })?;
        if gone > 0 {
            self.erase_traces();
        }
        Ok(gone)
    }

    fn enrolled_gallery(&self, model: &ModelId) -> Result<Gallery, StoreError> {
        let sealer = self.sealer()?;
        self.read("reading the gallery", |conn| {
            let generation = people::generation(conn)?;
            Ok(Gallery::new(model.clone(), generation, templates::enrolled_of_model(conn, sealer, model)?))
        })
    }

    fn rename(&mut self, name: &str, to: &str, actor: &str, at: Stamp) -> Result<(), StoreError> {
        let to = Name::new(to)?;
        self.write(&format!("renaming {name:?}"), |tx, pen| {
            let person = people::known(tx, name)?;
            if person.name == to.text {
                return Ok(());
            }
            people::must_be_free(tx, &to, Some(person.id))?;
            people::rename(tx, person.id, &to)?;
            let detail = json!({ "from": person.name, "to": to.text });
            chain::append(tx, &by(actor, EventKind::Rename, person, detail), at, pen)?;
            people::changed(tx)?;
            Ok(())
        })
    }

    fn remove(&mut self, name: &str, actor: &str, at: Stamp) -> Result<(), StoreError> {
        let sealer = self.sealer()?.clone();
        self.commit(&format!("removing {name:?}"), |tx, pen| {
            let person = people::known(tx, name)?;
            let mut detail = json!({ "templates": templates::count_of(tx, person.id)? });
            match attempts::forget(tx, &sealer, person.id)? {
                0 => {}
                gone => detail["attempts"] = gone.into(),
            }
            people::delete(tx, person.id)?;
            chain::append(tx, &by(actor, EventKind::Remove, person, detail), at, pen)?;
            people::changed(tx)?;
            Ok(())
        })?;
        self.erase_traces();
        Ok(())
    }

    fn gallery(&self, model: &ModelId) -> Result<Gallery, StoreError> {
        let sealer = self.sealer()?;
        self.read("reading the gallery", |conn| {
            let generation = people::generation(conn)?;
            Ok(Gallery::new(model.clone(), generation, templates::of_model(conn, sealer, model)?))
        })
    }

    fn rule_book(&self) -> Result<RuleBook, StoreError> {
        self.read("reading the rule book", policy::book)
    }

    fn change_policy(&mut self, change: &Change, actor: &str, at: Stamp) -> Result<(), StoreError> {
        self.write("changing the rule book", |tx, pen| {
            let policy::Done { kind, person, what } = policy::change(tx, change, at.wall)?;
            let detail = if what.is_empty() { json!({}) } else { json!({ "what": what }) };
            let event = Event { person, actor: Some(actor.to_owned()), ..Event::new(kind, detail) };
            chain::append(tx, &event, at, pen)?;
            Ok(())
        })
    }

    fn pin(&self, person: PersonId) -> Result<Option<StoredPin>, StoreError> {
        self.read("reading a PIN", |conn| pins::of(conn, person))
    }

    fn change_pin(
        &mut self,
        name: &str,
        change: &PinChange,
        actor: &str,
        at: Stamp,
    ) -> Result<(), StoreError> {
        self.commit(&format!("changing the PIN of {name:?}"), |tx, pen| {
            let person = people::known(tx, name)?;
            let policy::Done { kind, person, what } = pins::change(tx, &person, change)?;
            let detail = if what.is_empty() { json!({}) } else { json!({ "what": what }) };
            let event = Event { person, actor: Some(actor.to_owned()), ..Event::new(kind, detail) };
            chain::append(tx, &event, at, pen)?;
            Ok(())
        })?;
        // The old hash is not to be left in the log.
        self.erase_traces();
        Ok(())
    }

    fn append(&mut self, event: &Event, at: Stamp) -> Result<EventId, StoreError> {
        self.append_grant(event, None, at)
    }

    fn set_passage(
        &mut self,
        person: PersonId,
        area: &str,
        passage: Option<&Passage>,
    ) -> Result<(), StoreError> {
        self.write("writing down where somebody went", |tx, _| {
            Ok(policy::set_passage(tx, person, area, passage)?)
        })
    }

    fn append_grant(
        &mut self,
        event: &Event,
        passage: Option<&Passage>,
        at: Stamp,
    ) -> Result<EventId, StoreError> {
        // Somebody waits at the door for a grant to be on disk: the commit syncs the log, and folding a full log into
        // the database, which costs more syncs, is left to the next event.
        let is_grant = event.kind == EventKind::Grant;
        let pages = if is_grant { 0 } else { CHECKPOINT_PAGES };
        let doing = "writing to the journal";
        self.conn
            .pragma_update(None, "wal_autocheckpoint", pages)
            .map_err(|e| Trouble::from(e).at(&self.path, doing))?;
        let insert = |tx: &Transaction<'_>, pen: &Pen| {
            if let (EventKind::Grant, Some(person)) = (event.kind, &event.person) {
                if !event.is_leaving() {
                    policy::spend_entry(tx, person.id)?;
                }
                people::used(tx, person.id, at.wall)?;
            }
            pins::count(tx, event)?;
            if let (Some(passage), Some(person)) = (passage, &event.person) {
                policy::set_passage(tx, person.id, &passage.area, Some(passage))?;
            }
            chain::append(tx, event, at, pen)
        };
        if is_grant { self.commit(doing, insert) } else { self.write(doing, insert) }
    }

    fn records(&self, filter: &Filter) -> Result<Vec<Record>, StoreError> {
        self.read("reading the journal", |conn| journal::select(conn, filter))
    }

    fn verify(&self, against: &Against) -> Result<Verification, StoreError> {
        self.read("verifying the journal", |conn| verify::verify(conn, against))
    }

    fn believe_clock(&mut self, trusted: bool) {
        self.pen.clock_trusted = Some(trusted);
    }

    fn tend(&mut self, at: Stamp) -> Result<(), StoreError> {
        self.sign(at)?;
        self.prune(at)?;
        self.prune_attempts(at)?;
        self.prune_snapshots(at)?;
        self.drop_crops(at)?;
        self.clear_away_in_time(at)
    }

    fn reader(&self) -> Result<Box<dyn Store>, StoreError> {
        Ok(Box::new(open::read_only(&self.path, &self.pen.boot_id, &self.keys)?))
    }
}

/// What an operator did to a person.
fn by(actor: &str, kind: EventKind, person: PersonRef, detail: serde_json::Value) -> Event {
    Event { person: Some(person), actor: Some(actor.to_owned()), ..Event::new(kind, detail) }
}

/// The detail of an enrolment: how many templates of which model, and where their pictures came from.
fn enrolment(templates: &[NewTemplate]) -> serde_json::Value {
    let first = templates.first();
    json!({
        "templates": templates.len(),
        "model": first.map(|t| &t.model),
        "source": first.map(|t| t.source),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MonoTime;
    use crate::encoder::Embedding;
    use crate::vision::quality::Quality;

    fn template() -> NewTemplate {
        let quality = Quality {
            eye_distance_px: 60.0,
            sharpness: 100.0,
            light: 120.0,
            yaw_deg: 0.0,
            pitch_deg: 0.0,
            roll_deg: 0.0,
        };
        let embedding = Embedding::normalise((1..=128u8).map(f32::from).collect()).unwrap();
        NewTemplate {
            model: ModelId("m@1".into()),
            embedding,
            quality,
            source: TemplateSource::Image,
            crop: None,
        }
    }

    const AT: Stamp = Stamp { wall: jiff::Timestamp::UNIX_EPOCH, mono: MonoTime::from_millis(1) };

    #[test]
    fn a_full_disk_is_told_and_leaves_nothing_half_done() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let mut store = SqliteStore::open(&path, OpenMode::Create, "boot", &Keys::of_a_test()).unwrap();
        store.enrol("Ada", &[template()], "uid 0", AT).unwrap();
        // SQLite reports its own bound on the file's size as it reports the disk's.
        let pages: i64 = store.conn.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        store.conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
        let before = (store.people().unwrap(), store.records(&Filter::default()).unwrap());
        let generation = store.gallery(&ModelId("m@1".into())).unwrap().generation();

        let error = store.enrol("Bob", &vec![template(); 30], "uid 0", AT).unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!(
                "database {}: enrolling \"Bob\" failed: the disk is full",
                path.display()
            )),
            "{text}"
        );
        assert_eq!((store.people().unwrap(), store.records(&Filter::default()).unwrap()), before);
        assert_eq!(store.gallery(&ModelId("m@1".into())).unwrap().generation(), generation);

        store.conn.pragma_update_and_check(None, "max_page_count", 1 << 20, |_| Ok(())).unwrap();
        let id = store.enrol("Bob", &vec![template(); 30], "uid 0", AT).unwrap();
        assert_eq!(store.person("Bob").unwrap().id, id, "works again once there is room");
    }
}
