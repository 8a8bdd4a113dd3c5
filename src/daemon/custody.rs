//! What operators ask about people as somebody's data: consent, a copy, and erasure with its proof. Here as one thing after
//! the other, as the command line does it while no daemon runs; `socket/custody.rs` spreads it over the daemon's threads.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;

use super::ops::refused;
use super::protocol::{Erasure, Reply, Request};
use crate::gallery::Person;
use crate::journal::{Event, EventId, EventKind, PersonRef, Stamp};
use crate::store::{Store, StoreError};

/// How long an erasure with proof waits for those who read the database.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Answers such a request directly; `None` for the others.
pub(super) fn answer(store: &mut dyn Store, request: &Request, actor: &str, at: Stamp) -> Option<Reply> {
    let reply = match request {
        Request::Export { name } => export(store, name, actor, at),
        Request::Erase { name, prove } => erase(store, name, *prove, actor, at),
        _ => return None,
    };
    Some(reply.unwrap_or_else(|error| refused(&error)))
}

/// Those of them that only read.
pub(super) fn read(store: &dyn Store, request: &Request) -> Option<Reply> {
    let reply = match request {
        Request::Consents { name } => store.consents(name).map(|consents| Reply::Consents { consents }),
        Request::KeyFile => store.key_file().map(|bytes| Reply::KeyFile { data: BASE64.encode(bytes) }),
        _ => return None,
    };
    Some(reply.unwrap_or_else(|error| refused(&error)))
}

/// Those of them that write one thing.
pub(super) fn change(store: &mut dyn Store, request: &Request, actor: &str, at: Stamp) -> Option<Reply> {
    if let Request::NewRecoveryCode = request {
        let made = store.new_recovery_code(actor, at);
        return Some(
            made.map_or_else(|error| refused(&error), |code| Reply::RecoveryCode { code: code.in_groups() }),
        );
    }
    if let Request::Snapshot { event } = request {
        return Some(match store.look_at_snapshot(*event, actor, at) {
            Ok(Some(jpeg)) => Reply::Snapshot { jpeg: BASE64.encode(jpeg) },
            Ok(None) => Reply::Error { message: no_picture(*event) },
            Err(error) => refused(&error),
        });
    }
    let done = match request {
        Request::RecordConsent { name, text, given } => {
            store.record_consent(name, text, given.unwrap_or(at.wall), actor, at)
        }
        Request::Export { name } => begin_export(store, name, actor, at),
        Request::Erase { name, .. } => store.remove(name, actor, at),
        _ => return None,
    };
    Some(done.map_or_else(|error| refused(&error), |()| Reply::Done))
}

fn no_picture(event: EventId) -> String {
    format!(
        "of event {} no picture is kept: privacy.snapshots in the config says of which refusals one is, from the next start on, and \
         for how long",
        event.0
    )
}

fn export(store: &mut dyn Store, name: &str, actor: &str, at: Stamp) -> Result<Reply, StoreError> {
    begin_export(store, name, actor, at)?;
    Ok(Reply::Export { export: Box::new(store.export(name)?) })
}

/// Writes down that somebody is given a person's data, before they are.
fn begin_export(store: &mut dyn Store, name: &str, actor: &str, at: Stamp) -> Result<(), StoreError> {
    let person = store.person(name)?;
    let event = about(&person, EventKind::Export, actor, json!({ "templates": person.templates.len() }));
    store.append(&event, at).map(|_| ())
}

fn erase(
    store: &mut dyn Store,
    name: &str,
    prove: bool,
    actor: &str,
    at: Stamp,
) -> Result<Reply, StoreError> {
    let person = store.person(name)?;
    let traces = if prove { Some(store.traces(name)?) } else { None };
    let before = traces.as_ref().map(|traces| store.look_for(traces));
    store.remove(name, actor, at)?;
    // Nobody else reads for long while no daemon runs; what a backup program holds back is found by the search.
    store.is_erased();
    let after = traces.as_ref().map(|traces| store.look_for(traces));
    let erasure = Erasure { samples: person.templates.len(), person: person.name.clone(), before, after };
    if let Some(event) = proof(&person, &erasure, actor) {
        store.append(&event, at)?;
    }
    Ok(Reply::Erased { erasure })
}

/// The event that tells what the search found.
pub(crate) fn proof(person: &Person, erasure: &Erasure, actor: &str) -> Option<Event> {
    let (before, after) = (erasure.before.as_ref()?, erasure.after.as_ref()?);
    let detail = json!({
        "sought": after.sought,
        "found_before": before.pieces(),
        "found_after": after.pieces(),
        "files": after.files,
        "bytes": after.bytes,
        "unread": after.unread.len(),
    });
    Some(about(person, EventKind::Erase, actor, detail))
}

/// The event of a backup, which is written before any of it is given out.
pub fn backup_event(actor: &str) -> Event {
    Event { actor: Some(actor.to_owned()), ..Event::new(EventKind::Backup, json!({ "what": "a backup" })) }
}

fn about(person: &Person, kind: EventKind, actor: &str, detail: serde_json::Value) -> Event {
    let person = PersonRef { id: person.id, name: person.name.clone() };
    Event { person: Some(person), actor: Some(actor.to_owned()), ..Event::new(kind, detail) }
}
