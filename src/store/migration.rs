//! The row of `model_migration`, and the templates that fill meanwhile: those of the encoder in force and of the one that is to
//! follow lie side by side until the operator ends it.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::crops::{self, CropsOf};
use super::journal::{micros, timestamp};
use super::trouble::Trouble;
use super::{SqliteStore, StoreError, chain, days, people, templates};
use crate::encoder::ModelId;
use crate::gallery::{NewTemplate, PersonId, TemplateSource};
use crate::journal::{Event, EventKind, PersonRef, Stamp};

/// Rows taken out in one go: the door waits for it.
const AT_ONCE: i64 = 64;
/// What ended is sought this often, and, while there is more, taken out so fast.
const CLEAR_EVERY: Duration = Duration::from_secs(2);
const CLEAR_ON: Duration = Duration::from_secs(1);

/// So many templates of the other encoder are wanted of somebody, or as many as they have of the one in force where those are
/// fewer.
pub const WANTED: usize = 3;

/// An installed encoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedModel {
    /// Its name, as `encoder.model` has it.
    pub name: String,
    /// Which network that was.
    pub id: ModelId,
}

/// A change of the encoder under way. Which of the two is in force the config says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// The encoder that was in force when it began.
    pub from: NamedModel,
    /// The one to follow.
    pub to: NamedModel,
    /// Since when.
    pub began: Timestamp,
    /// By whose order.
    pub began_by: String,
}

impl Migration {
    /// The encoder that is not in force, whose templates fill; `None` when a third one is in force.
    pub fn other(&self, in_force: &ModelId) -> Option<&NamedModel> {
        match in_force {
            id if *id == self.from.id => Some(&self.to),
            id if *id == self.to.id => Some(&self.from),
            _ => None,
        }
    }
}

/// How far one person's templates have come. Those that were learnt are not counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Filling {
    /// Who.
    pub person: PersonRef,
    /// Templates of the encoder in force that were enrolled.
    pub of_this: usize,
    /// Templates of the other one.
    pub of_other: usize,
}

impl Filling {
    /// How many more are wanted.
    pub fn missing(&self) -> usize {
        missing_of(self.of_this, self.of_other)
    }

    /// Whether the door would know them by the other one.
    pub fn is_known_to_other(&self) -> bool {
        self.of_other > 0
    }
}

/// A change of the encoder. Part of every [`Store`](super::Store).
pub trait Migrating {
    /// The one under way.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn migration(&self) -> Result<Option<Migration>, StoreError>;

    /// Begins one, with a `migration` event.
    ///
    /// # Errors
    /// [`StoreError::Migration`] when one is under way or both are the same; the database's.
    fn begin_migration(
        &mut self,
        from: &NamedModel,
        to: &NamedModel,
        actor: &str,
        at: Stamp,
    ) -> Result<(), StoreError>;

    /// Everybody with templates of `this` or `other`, by name, and how many they have of each.
    ///
    /// # Errors
    /// When the database cannot be read.
    fn filling(&self, this: &ModelId, other: &ModelId) -> Result<Vec<Filling>, StoreError>;

    /// The next person by number behind `after` whose templates of `to` can be made of crops of their templates of `from`,
    /// with as many of those as are wanted.
    ///
    /// # Errors
    /// The database's, or when the device key is not at hand.
    fn crops_to_fill(
        &self,
        from: &ModelId,
        to: &ModelId,
        after: PersonId,
    ) -> Result<Option<CropsOf>, StoreError>;

    /// Adds templates that the encoder not in force made, with a `migrated` event that has `detail`. Nothing of somebody who is
    /// not enrolled any more or of an encoder that no migration asks for; then it gives `false`.
    ///
    /// # Errors
    /// [`StoreError::BadTemplates`] or the database's.
    fn fill(
        &mut self,
        person: PersonId,
        templates: &[NewTemplate],
        detail: Value,
        at: Stamp,
    ) -> Result<bool, StoreError>;

    /// Ends it, with a `migration` event: the templates and kept attempts of the one of the two that is not `keep` go, by
    /// [`Migrating::clear_away`]. Gives how many templates those are.
    ///
    /// # Errors
    /// [`StoreError::Migration`] when none is under way, `keep` is neither of the two, or somebody would be left without a
    /// template; the database's.
    fn end_migration(&mut self, keep: &ModelId, actor: &str, at: Stamp) -> Result<usize, StoreError>;

    /// Goes on with taking out what ended, a step of some milliseconds: pictures and attempts some at a time, templates in the
    /// last one. Gives whether nothing is left to do; then no byte of it is left either.
    ///
    /// # Errors
    /// When it could not be made durable.
    fn clear_away(&mut self) -> Result<bool, StoreError>;
}

impl Migrating for SqliteStore {
    fn migration(&self) -> Result<Option<Migration>, StoreError> {
        self.read("reading the change of the encoder", under_way)
    }

    fn begin_migration(
        &mut self,
        from: &NamedModel,
        to: &NamedModel,
        actor: &str,
        at: Stamp,
    ) -> Result<(), StoreError> {
        self.write("beginning a change of the encoder", |tx, pen| {
            if let Some(Migration { from, to, .. }) = under_way(tx)? {
                return refused(format!(
                    "one from {} to {} is under way; `accessd models migrate --end` ends it",
                    from.id, to.id
                ));
            }
            if from.id == to.id {
                return refused(format!("{} is in force already", to.id));
            }
            if let Some(gone) = being_removed(tx)? {
                return refused(format!("what there is of {gone} is still being taken out; try again in a moment"));
            }
            tx.execute(
                "INSERT INTO model_migration (only_row, from_name, from_model, to_name, to_model, began, began_by)
                 VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)",
                params![from.name, from.id.0, to.name, to.id.0, micros(at.wall), actor],
            )?;
            let what = format!("begun: samples of {} beside those of {}", to.id, from.id);
            let detail = json!({ "step": "begun", "what": what, "from": from.id, "to": to.id });
            chain::append(tx, &told(detail, actor), at, pen)?;
            Ok(())
        })
    }

    fn filling(&self, this: &ModelId, other: &ModelId) -> Result<Vec<Filling>, StoreError> {
        self.read("counting templates", |conn| {
            let mut rows = conn.prepare_cached(
                "SELECT id, name,
                     (SELECT count(*) FROM templates WHERE person = people.id AND model = ?1 AND source <> 'learnt'),
                     (SELECT count(*) FROM templates WHERE person = people.id AND model = ?2 AND source <> 'learnt')
                 FROM people WHERE id IN (SELECT person FROM templates WHERE model IN (?1, ?2)) ORDER BY name_key",
            )?;
            let rows = rows.query_map(params![this.0, other.0], |row| {
                let count = |column| row.get::<_, i64>(column).map(|n| n.unsigned_abs() as usize);
                let person = PersonRef { id: PersonId(row.get(0)?), name: row.get(1)? };
                Ok(Filling { person, of_this: count(2)?, of_other: count(3)? })
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    fn crops_to_fill(
        &self,
        from: &ModelId,
        to: &ModelId,
        after: PersonId,
    ) -> Result<Option<CropsOf>, StoreError> {
        let sealer = self.sealer()?;
        self.read("reading crops", |conn| crops::next(conn, sealer, (from, to), after))
    }

    fn fill(
        &mut self,
        person: PersonId,
        templates: &[NewTemplate],
        detail: Value,
        at: Stamp,
    ) -> Result<bool, StoreError> {
        templates::check(templates)?;
        let sealer = self.sealer()?.clone();
        let crops = self.crops();
        let mut templates = templates.to_vec();
        templates.iter_mut().for_each(|template| template.source = TemplateSource::Migrated);
        self.write("filling the templates of another encoder", |tx, pen| {
            let asked = under_way(tx)?.is_some_and(|m| [&m.from.id, &m.to.id].contains(&&templates[0].model));
            let name = tx
                .prepare_cached("SELECT name FROM people WHERE id = ?1")?
                .query_row([person.0], |row| row.get(0))
                .optional()?;
            let (true, Some(name)) = (asked, name) else { return Ok(false) };
            templates::insert(tx, &sealer, person, &templates, crops, at.wall)?;
            let person = PersonRef { id: person, name };
            let event = Event { person: Some(person), ..Event::new(EventKind::Migrated, detail) };
            chain::append(tx, &event, at, pen)?;
            people::changed(tx)?;
            Ok(true)
        })
    }

    fn end_migration(&mut self, keep: &ModelId, actor: &str, at: Stamp) -> Result<usize, StoreError> {
        self.write("ending the change of the encoder", |tx, pen| {
            let Some(migration) = under_way(tx)? else {
                return refused("none is under way".into());
            };
            let Some(other) = migration.other(keep).map(|other| &other.id) else {
                return refused(format!(
                    "{keep} is in force, which is neither {} nor {}; name one of them as encoder.model",
                    migration.from.id, migration.to.id
                ));
            };
            let left = with_one_only(tx, other, keep)?;
            if !left.is_empty() {
                return refused(format!(
                    "the door would not know {} any more, who have templates of {other} and none of {keep}: enrol them anew with \
                     `accessd enroll --more`, or remove them",
                    left.join(", ")
                ));
            }
            let gone = tx.query_row("SELECT count(*) FROM templates WHERE model = ?1", [&other.0], |row| {
                row.get::<_, i64>(0).map(|n| n.unsigned_abs() as usize)
            })?;
            tx.execute("UPDATE model_migration SET removes = ?1", [&other.0])?;
            let what = format!("ended: {keep} stays, {gone} samples of {other} and what else there is of it go");
            let detail = json!({ "what": what, "keeps": keep, "removes": other });
            chain::append(tx, &told(detail, actor), at, pen)?;
            Ok(gone)
        })
    }

    fn clear_away(&mut self) -> Result<bool, StoreError> {
        let Some(model) = self.read("looking for an ended encoder", being_removed)? else { return Ok(true) };
        let done = self.commit("taking out what there is of an encoder", |tx, _| {
            const SOME: [&str; 2] = [
                "DELETE FROM crops WHERE template IN
                     (SELECT template FROM crops JOIN templates ON templates.id = template WHERE model = ?1 LIMIT ?2)",
                "DELETE FROM attempts WHERE id IN (SELECT id FROM attempts WHERE model = ?1 LIMIT ?2)",
            ];
            for some in SOME {
                if tx.execute(some, params![model, AT_ONCE])? > 0 {
                    days::forget_empty(tx)?;
                    return Ok(false);
                }
            }
            tx.execute("DELETE FROM templates WHERE model = ?1", [&model])?;
            tx.execute("DELETE FROM model_migration", [])?;
            people::changed(tx)?;
            Ok(true)
        })?;
        self.erase_traces();
        Ok(done)
    }
}

impl SqliteStore {
    /// Goes on with taking out what ended when that is due.
    pub(super) fn clear_away_in_time(&mut self, at: Stamp) -> Result<(), StoreError> {
        if at.mono >= self.next_clearing {
            let done = self.clear_away()?;
            self.next_clearing = at.mono + if done { CLEAR_EVERY } else { CLEAR_ON };
        }
        Ok(())
    }
}

/// How many templates of `to` are still wanted of somebody.
pub(super) fn missing(
    conn: &Connection,
    (from, to): (&ModelId, &ModelId),
    person: PersonId,
) -> Result<usize, Trouble> {
    let count = |model: &ModelId| -> rusqlite::Result<usize> {
        conn.prepare_cached(
            "SELECT count(*) FROM templates WHERE person = ?1 AND model = ?2 AND source <> 'learnt'",
        )?
        .query_row(params![person.0, model.0], |row| row.get::<_, i64>(0).map(|n| n.unsigned_abs() as usize))
    };
    Ok(missing_of(count(from)?, count(to)?))
}

/// Whoever has learnt templates alone is wanted one of.
fn missing_of(of_this: usize, of_other: usize) -> usize {
    of_this.clamp(1, WANTED).saturating_sub(of_other)
}

fn under_way(conn: &Connection) -> Result<Option<Migration>, Trouble> {
    let row = conn
        .prepare_cached(
            "SELECT from_name, from_model, to_name, to_model, began, began_by FROM model_migration WHERE removes IS NULL",
        )?
        .query_row([], |row| {
            let named = |at: usize| {
                Ok::<_, rusqlite::Error>(NamedModel { name: row.get(at)?, id: ModelId(row.get(at + 1)?) })
            };
            Ok((named(0)?, named(2)?, row.get::<_, i64>(4)?, row.get(5)?))
        })
        .optional()?;
    let Some((from, to, began, began_by)) = row else { return Ok(None) };
    Ok(Some(Migration { from, to, began: timestamp(began)?, began_by }))
}

/// The model of which everything is being taken out.
fn being_removed(conn: &Connection) -> Result<Option<String>, Trouble> {
    let removes: Option<Option<String>> = conn
        .prepare_cached("SELECT removes FROM model_migration")?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(removes.flatten())
}

/// Whoever has templates of `model` and none of `other`.
fn with_one_only(tx: &Transaction<'_>, model: &ModelId, other: &ModelId) -> Result<Vec<String>, Trouble> {
    let mut names = tx.prepare(
        "SELECT name FROM people WHERE id IN (SELECT person FROM templates WHERE model = ?1)
         AND id NOT IN (SELECT person FROM templates WHERE model = ?2) ORDER BY name_key",
    )?;
    Ok(names.query_map([&model.0, &other.0], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?)
}

fn told(detail: Value, actor: &str) -> Event {
    Event { actor: Some(actor.to_owned()), ..Event::new(EventKind::Migration, detail) }
}

fn refused<T>(why: String) -> Result<T, Trouble> {
    Err(StoreError::Migration(why).into())
}
