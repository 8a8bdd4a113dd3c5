//! What an operator asks about a change of the encoder: how it stands, that it begins, that the other one takes over, that it
//! ends. Which encoder is in force the config alone says: to take over is checked and written down here, and the command line
//! then changes that one line.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::calibration::Bar;
use crate::encoder::ModelId;
use crate::journal::replay::Replayed;
use crate::journal::{Event, EventId, EventKind, Filter, Record, Stamp};
use crate::store::{Filling, Migration, Store, StoreError};

use super::super::ops::{Terms, refused};
use super::super::protocol::{Reply, Request};
use super::super::replaying::{Trial, try_out};
use super::super::supervise::chain;
use super::verdict::{may_leave, may_take_over};

/// Steps of a change that are looked through for its beginning.
const MOST_STEPS: usize = 200;

/// How a change of the encoder stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The change.
    pub migration: Migration,
    /// The encoder in force.
    pub in_force: ModelId,
    /// Whether the service has been started since: nothing is made before.
    pub started: bool,
    /// Everybody with templates of either, by name; empty when a third encoder is in force.
    pub people: Vec<Filling>,
    /// Attempts that are kept as the other one sees them.
    pub attempts: usize,
}

/// An order to change over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CutOver {
    /// Also when people have too few templates.
    pub leave_behind: bool,
    /// So many attempts that would have been let in besides ought to have been.
    pub confirmed: usize,
}

/// Answers such a request directly, as the command line does it while no daemon runs; `None` for the others.
pub(crate) fn answer(
    store: &mut dyn Store,
    terms: &Terms,
    request: &Request,
    actor: &str,
    at: Stamp,
) -> Option<Reply> {
    let Request::CutOver { order } = request else { return read(store, terms, request) };
    let written = judge(store, terms, order).and_then(|(replayed, event)| {
        let event = Event { actor: Some(actor.to_owned()), ..event };
        store.append(&event, at).map(|_| replayed).map_err(|error| chain(&error))
    });
    Some(match written {
        Ok(replayed) => Reply::Replayed { replayed: Box::new(replayed) },
        Err(message) => Reply::Error { message },
    })
}

/// Those of them that only read.
pub(crate) fn read(store: &dyn Store, terms: &Terms, request: &Request) -> Option<Reply> {
    let Request::Migration = request else { return None };
    let progress = progress(store, &terms.model);
    Some(progress.map_or_else(|error| refused(&error), |progress| Reply::Migration { progress }))
}

/// Those of them that change the store.
pub(crate) fn change(
    store: &mut dyn Store,
    terms: &Terms,
    request: &Request,
    actor: &str,
    at: Stamp,
) -> Option<Reply> {
    let reply = match request {
        Request::Migrate { from, to } if from.id != terms.model => Err(StoreError::Migration(format!(
            "the config names {}, and {} is in force: start the service anew first",
            from.id, terms.model
        ))),
        Request::Migrate { from, to } => store.begin_migration(from, to, actor, at).map(|()| Reply::Done),
        Request::EndMigration => {
            store.end_migration(&terms.model, actor, at).map(|samples| Reply::Forgotten { samples })
        }
        Request::BackOver => back(store, actor, at),
        _ => return None,
    };
    Some(reply.unwrap_or_else(|error| refused(&error)))
}

fn progress(store: &dyn Store, in_force: &ModelId) -> Result<Option<Box<Progress>>, StoreError> {
    let Some(migration) = store.migration()? else { return Ok(None) };
    let (people, attempts) = match migration.other(in_force) {
        Some(other) => (store.filling(in_force, &other.id)?, store.kept(&other.id)?),
        None => (Vec::new(), 0),
    };
    let started = has_started_since(store)?;
    Ok(Some(Box::new(Progress { migration, in_force: in_force.clone(), started, people, attempts })))
}

/// Whether the service has been started since the change began: by the order of the records, whatever the calendar did.
fn has_started_since(store: &dyn Store) -> Result<bool, StoreError> {
    let last = |kind| -> Result<Option<EventId>, StoreError> {
        let records =
            store.records(&Filter { kinds: vec![kind], limit: Some(MOST_STEPS), ..Filter::default() })?;
        let begun = |record: &&Record| {
            record.event.kind == EventKind::Start || record.event.detail["step"] == "begun"
        };
        Ok(records.iter().rfind(begun).map(|record| record.id))
    };
    Ok(last(EventKind::Start)? > last(EventKind::Migration)?)
}

/// Whether the other encoder may take over: the replay that shows it, and the event to be written.
///
/// # Errors
/// What to answer when it may not.
pub(crate) fn judge(store: &dyn Store, terms: &Terms, order: &CutOver) -> Result<(Replayed, Event), String> {
    let migration = store.migration().map_err(|error| chain(&error))?;
    let migration = migration.ok_or("no change of the encoder is under way; begin one with --to")?;
    let to = &migration.to;
    if terms.model != migration.from.id {
        return Err(format!(
            "{} is in force; this change goes from {} to {}",
            terms.model, migration.from.id, to.id
        ));
    }
    if let Bar::Set(_) = terms.bar {
        return Err(format!(
            "decision.threshold is set by hand for {}, and a score of one encoder says nothing about another's: set it to 0, \
             so that it follows from decision.far_per_attempt, and start the service anew",
            terms.model
        ));
    }
    if !has_started_since(store).map_err(|error| chain(&error))? {
        return Err(format!(
            "{} has made nothing yet: the service has not been started since the change began",
            to.id
        ));
    }
    let filling = store.filling(&terms.model, &to.id).map_err(|error| chain(&error))?;
    may_leave(&to.id.0, &filling, order)?;
    let trial = Trial { model: Some(to.id.clone()), ..Trial::default() };
    let replayed = try_out(store, terms, &trial)?;
    may_take_over(&to.id.0, &replayed, order)?;
    let people = store.gallery(&terms.model).map_err(|error| chain(&error))?;
    let supported = terms.bar.apply(&people, &terms.rule).1.is_none_or(|known| known.supported);
    if supported && !replayed.supported {
        return Err(format!(
            "what was measured of {} keeps the rate asked for, and what was measured of {} does not: measure it on more people \
             with `accessd eval cohort`",
            terms.model, to.id
        ));
    }
    let differences = replayed.differences.len();
    let what = format!(
        "{} is to follow {} from the next start on: of {} attempts {differences} would have ended otherwise",
        to.id, terms.model, replayed.attempts
    );
    let detail = json!({
        "what": what, "from": terms.model, "to": to.id, "attempts": replayed.attempts, "differences": differences,
        "leaves_behind": filling.iter().filter(|person| person.of_other == 0).count(),
    });
    Ok((replayed, Event::new(EventKind::Migration, detail)))
}

/// Writes down that the encoder of before is to be in force again.
fn back(store: &mut dyn Store, actor: &str, at: Stamp) -> Result<Reply, StoreError> {
    let Some(migration) = store.migration()? else {
        return Err(StoreError::Migration("no change of the encoder is under way".into()));
    };
    let what = format!("back: {} is to be in force again from the next start on", migration.from.id);
    let detail = json!({ "what": what, "from": migration.to.id, "to": migration.from.id });
    store.append(&Event { actor: Some(actor.to_owned()), ..Event::new(EventKind::Migration, detail) }, at)?;
    Ok(Reply::Done)
}
