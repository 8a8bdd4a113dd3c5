//! `accessd check --repair`: what can be put right without making anything up. Indexes are built anew from their tables, rows
//! that belong to nobody and templates that do not open go, permissions are set. A broken tree is left for a backup: a program
//! that guesses at lost pages invents people and records.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use serde_json::json;

use super::attempts;
use super::chain::{self, Pen};
use super::crops;
use super::files::{self, Found};
use super::lock::WriterLock;
use super::sealing::{Sealer, open_embedding, place_of_template};
use super::snapshots;
use super::trouble::{self, DAMAGED, Trouble};
use super::{StoreError, backup, open, people};
use crate::encoder::ModelId;
use crate::gallery::PersonId;
use crate::journal::{Event, EventKind, Stamp};
use crate::seal::Keys;

/// What SQLite says of an index that does not fit its table; the table is whole then.
const OF_AN_INDEX: [&str; 3] =
    ["missing from index", "wrong # of entries in index", "non-unique entry in index"];

/// Repairs the database at `path` as far as that is honest, and says what was done; nothing is said when nothing was wrong.
/// Nobody may be writing to it. One transaction with its `repair` event: everything or nothing.
///
/// # Errors
/// When it is broken beyond that, or the device key is not at hand. Nothing has changed then.
pub fn repair(
    path: &Path,
    keys: &Keys,
    actor: &str,
    at: Stamp,
    boot_id: &str,
) -> Result<Vec<String>, StoreError> {
    let file = files::resolve(path)?;
    if files::inspect(&file)? != Found::Ours {
        return Err(trouble::error(path, "there is nothing in it to be repaired", None));
    }
    let _lock = WriterLock::take(&file)?;
    let mut done = close_to_others(&file)?;
    backup::sweep(&file);
    let run = || -> Result<Vec<String>, Trouble> {
        let device = keys.load()?;
        let mut conn = open::connect(&file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let sealer = Sealer::new(&device);
        sealer.must_fit(&conn, &file)?;
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut what = indexes(&tx, &file)?;
        what.extend(orphans(&tx)?);
        what.extend(shut_templates(&tx, &sealer)?);
        what.extend(shut_pictures(&tx, &sealer)?);
        if !what.is_empty() {
            people::changed(&tx)?;
            let event = Event {
                actor: Some(actor.to_owned()),
                ..Event::new(EventKind::Repair, json!({ "what": what.join("; ") }))
            };
            let mut pen = Pen::new(boot_id);
            pen.signing.seal = Some(Arc::new(chain::journal_seal(&device)));
            chain::append(&tx, &event, at, &pen)?;
        }
        tx.commit()?;
        // Of what was taken out nothing stays in the log.
        conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(what)
    };
    done.extend(run().map_err(|trouble| trouble.at(&file, "repairing"))?);
    Ok(done)
}

fn close_to_others(file: &Path) -> Result<Vec<String>, StoreError> {
    let mut done = Vec::new();
    for path in [file.to_owned(), files::beside(file, "-wal"), files::beside(file, "-shm")] {
        let Ok(found) = fs::metadata(&path) else { continue };
        if found.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(|e| {
                trouble::error(&path, "its mode cannot be set; use its owner or root", Some(Box::new(e)))
            })?;
            done.push(format!("{} is for its owner alone now (mode 600)", path.display()));
        }
    }
    Ok(done)
}

fn complaints(conn: &Connection) -> Result<Vec<String>, Trouble> {
    let mut lines = conn.prepare("PRAGMA integrity_check(1000)")?;
    let lines = lines.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    Ok(lines.into_iter().filter(|line| line != "ok").collect())
}

fn indexes(tx: &Transaction<'_>, file: &Path) -> Result<Vec<String>, Trouble> {
    let found = complaints(tx)?;
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let beyond = |lines: &[String]| {
        let line = lines.iter().find(|line| !OF_AN_INDEX.iter().any(|words| line.contains(words)));
        line.map(|line| {
            trouble::error(
                file,
                format!("{line}: {DAMAGED}; this is not repaired, because what was lost would be made up"),
                None,
            )
        })
    };
    if let Some(error) = beyond(&found) {
        return Err(error.into());
    }
    tx.execute("REINDEX", [])?;
    match complaints(tx)?.first() {
        None => Ok(vec![format!("indexes were built anew: {} complaints", found.len())]),
        Some(line) => Err(trouble::error(file, format!("{line}: {DAMAGED}"), None).into()),
    }
}

/// Rows that belong to a person who is not there.
fn orphans(tx: &Transaction<'_>) -> Result<Vec<String>, Trouble> {
    let mut rows = tx.prepare("PRAGMA foreign_key_check")?;
    let rows = rows
        .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?)))?
        .collect::<Result<Vec<_>, _>>()?;
    let mut done = Vec::new();
    for (table, row) in rows {
        // A table without row numbers holds memberships, which go by their person.
        match row {
            Some(row) => tx.execute(&format!("DELETE FROM {table} WHERE rowid = ?1"), [row])?,
            None => {
                tx.execute(&format!("DELETE FROM {table} WHERE person NOT IN (SELECT id FROM people)"), [])?
            }
        };
        done.push(format!("a row of {table} that belonged to nobody was taken out"));
    }
    Ok(done)
}

/// Kept attempts and pictures that nothing opens.
fn shut_pictures(tx: &Transaction<'_>, sealer: &Sealer) -> Result<Vec<String>, Trouble> {
    let mut done = Vec::new();
    for id in attempts::shut(tx, sealer)? {
        tx.execute("DELETE FROM attempts WHERE id = ?1", [id])?;
        done.push(format!("attempt {id} did not open and was taken out"));
    }
    for event in snapshots::shut(tx, sealer)? {
        tx.execute("DELETE FROM snapshots WHERE event = ?1", [event])?;
        done.push(format!("the picture of event {event} did not open and was taken out"));
    }
    for template in crops::shut(tx, sealer)? {
        tx.execute("DELETE FROM crops WHERE template = ?1", [template])?;
        done.push(format!("the picture of template {template} did not open and was taken out"));
    }
    Ok(done)
}

/// Templates that nothing opens: whoever has no other must be enrolled anew.
fn shut_templates(tx: &Transaction<'_>, sealer: &Sealer) -> Result<Vec<String>, Trouble> {
    let mut rows = tx.prepare(
        "SELECT templates.id, person, name, model, sealed FROM templates JOIN people ON people.id = person
         ORDER BY templates.id",
    )?;
    let mut rows = rows.query([])?;
    let mut shut = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, person): (i64, PersonId) = (row.get(0)?, PersonId(row.get(1)?));
        let key = match sealer.key_of(tx, person) {
            Err(Trouble::Damaged(_)) => None,
            other => other?,
        };
        let place = place_of_template(person, id, &ModelId(row.get(3)?));
        let sealed = row.get_ref(4)?.as_blob().unwrap_or_default();
        if key.is_none_or(|key| open_embedding(&key, &place, sealed).is_err()) {
            shut.push((id, row.get::<_, String>(2)?));
        }
    }
    let mut done = Vec::new();
    for (id, name) in shut {
        tx.execute("DELETE FROM templates WHERE id = ?1", [id])?;
        done.push(format!("template {id} of {name:?} did not open and was taken out; add others with `accessd enroll --more`"));
    }
    Ok(done)
}
