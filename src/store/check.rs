//! Whether a database is whole, for `accessd check`. Reads everything, changes nothing.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::attempts;
use super::crops;
use super::files::{self, Found};
use super::sealing::{Sealer, open_embedding, place_of_template};
use super::snapshots;
use super::trouble::{self, Trouble};
use super::{StoreError, open};
use crate::encoder::ModelId;
use crate::gallery::PersonId;
use crate::seal::Keys;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkup {
    /// How many people are enrolled.
    pub people: u64,
    /// How many templates there are, of every model.
    pub templates: u64,
    /// How many records the journal has.
    pub records: u64,
    /// What is wrong; empty when all is well.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong with a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether something is broken; a warning otherwise.
    pub damage: bool,
    /// What, on which thing, and what to do about it.
    pub what: String,
}

impl Checkup {
    /// Whether nothing is broken; there may be warnings.
    pub fn is_sound(&self) -> bool {
        !self.findings.iter().any(|f| f.damage)
    }
}

/// Checks the database at `path`: its trees and constraints, every template, the journal's numbering, permissions.
/// May run beside a daemon. Takes as long as reading the file does. Without the device key templates are not opened, and
/// a warning says so.
///
/// # Errors
/// When there is no database of this program's schema to look into; then the error says what is there instead.
pub fn check(path: &Path, keys: &Keys) -> Result<Checkup, StoreError> {
    let file = files::resolve(path)?;
    match files::inspect(&file)? {
        Found::Ours => {}
        Found::Nothing => return Err(trouble::error(path, "there is no such file; give another path", None)),
        Found::Empty => return Err(trouble::error(path, "it is empty: its creation was cut short", None)),
    }
    let conn = connect_without_a_trace(&file).map_err(|e| Trouble::from(e).at(&file, "opening"))?;
    if open::schema_version(&conn, &file)? == 0 {
        return Err(trouble::error(&file, "it has no tables yet: its creation was cut short", None));
    }
    let sealer = match keys.load() {
        Ok(key) => {
            let sealer = Sealer::new(&key);
            sealer.must_fit(&conn, &file)?;
            Ok(sealer)
        }
        Err(error) => Err(error.to_string()),
    };
    examine(&conn, &file, &sealer).map_err(|trouble| trouble.at(&file, "checking"))
}

/// Opens for reading. SQLite deletes the log when the last user closes the database, so without one nobody has it
/// open, and `immutable` keeps SQLite from making a log and its index just to look.
fn connect_without_a_trace(file: &Path) -> rusqlite::Result<Connection> {
    if files::beside(file, "-wal").exists() {
        return open::connect(file, OpenFlags::SQLITE_OPEN_READ_ONLY);
    }
    open::connect(&immutable_uri(file), OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
}

/// <https://www.sqlite.org/uri.html>
fn immutable_uri(file: &Path) -> PathBuf {
    let mut uri = b"file:".to_vec();
    for byte in file.as_os_str().as_bytes() {
        match byte {
            b'%' | b'?' | b'#' => uri.extend(format!("%{byte:02x}").bytes()),
            _ => uri.push(*byte),
        }
    }
    uri.extend(b"?immutable=1");
    PathBuf::from(OsString::from_vec(uri))
}

fn examine(conn: &Connection, file: &Path, sealer: &Result<Sealer, String>) -> Result<Checkup, Trouble> {
    let mut findings = Vec::new();
    if files::has_unreadable_log(file) {
        findings.push(warning(format!(
            "{}-wal is not a write-ahead log and is ignored: what was written last may be missing",
            file.display()
        )));
    }
    findings.extend(files::exposed(file).into_iter().map(warning));
    structure(conn, &mut findings)?;
    let sound = findings.iter().all(|f| !f.damage);
    let count = |table: &str| {
        conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0))
            .map(i64::unsigned_abs)
    };
    let checkup = |findings| -> rusqlite::Result<Checkup> {
        Ok(Checkup {
            people: count("people")?,
            templates: count("templates")?,
            records: count("events")?,
            findings,
        })
    };
    if !sound {
        // Broken trees make every other statement a guess: report them alone, with what can still be counted.
        return Ok(checkup(findings.clone()).unwrap_or(Checkup {
            people: 0,
            templates: 0,
            records: 0,
            findings,
        }));
    }
    match sealer {
        Ok(sealer) => {
            embeddings(conn, sealer, &mut findings)?;
            for event in snapshots::shut(conn, sealer)? {
                let what = format!("the picture of event {event} does not open");
                findings.push(damage(format!("{what}; `accessd check --repair` takes it out")));
            }
            for template in crops::shut(conn, sealer)? {
                let what = format!("the picture of template {template} does not open");
                findings.push(damage(format!("{what}; `accessd check --repair` takes it out")));
            }
            for id in attempts::shut(conn, sealer)? {
                findings.push(damage(format!(
                    "attempt {id} does not open; `accessd check --repair` takes it out"
                )));
            }
        }
        Err(why) => findings.push(warning(format!("templates were not looked into: {why}"))),
    }
    people_without_templates(conn, &mut findings)?;
    numbering(conn, &mut findings)?;
    Ok(checkup(findings)?)
}

fn structure(conn: &Connection, findings: &mut Vec<Finding>) -> Result<(), Trouble> {
    let mut lines = conn.prepare("PRAGMA integrity_check(20)")?;
    let lines = lines.query_map([], |row| row.get::<_, String>(0))?;
    for line in lines {
        match line {
            Ok(line) if line == "ok" => {}
            Ok(line) => findings.push(damage(format!("{line}: {}", trouble::DAMAGED))),
            Err(error) => findings.push(damage(format!("reading stopped ({error}): {}", trouble::DAMAGED))),
        }
    }
    let mut orphans = conn.prepare("PRAGMA foreign_key_check")?;
    let orphans =
        orphans.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?)))?;
    for orphan in orphans.flatten() {
        let (table, row) = (orphan.0, orphan.1.unwrap_or_default());
        findings.push(damage(format!(
            "row {row} of {table} belongs to a person who is not there; restore a backup"
        )));
    }
    Ok(())
}

fn embeddings(conn: &Connection, sealer: &Sealer, findings: &mut Vec<Finding>) -> Result<(), Trouble> {
    let mut rows = conn.prepare(
        "SELECT templates.id, name, model, sealed, person FROM templates JOIN people ON people.id = person
         ORDER BY templates.id",
    )?;
    let mut rows = rows.query([])?;
    let mut dims = std::collections::BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (id, name, model): (i64, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (person, model) = (PersonId(row.get(4)?), ModelId(model));
        let of = format!("template {id} of {name:?}");
        let remedy = "remove and enrol that person anew";
        let key = match sealer.key_of(conn, person) {
            Ok(Some(key)) => Ok(key),
            Ok(None) => Err("has no key".to_owned()),
            Err(Trouble::Damaged(why)) => Err(format!("cannot be opened: {why}")),
            Err(trouble) => return Err(trouble),
        };
        let sealed = row.get_ref(3)?.as_blob().unwrap_or_default();
        let opened = key.and_then(|key| open_embedding(&key, &place_of_template(person, id, &model), sealed));
        match opened {
            Err(why) => findings.push(damage(format!("{of} {why}; {remedy}"))),
            Ok(embedding) => {
                let dim = *dims.entry(model.clone()).or_insert(embedding.dim());
                if dim != embedding.dim() {
                    let found = embedding.dim();
                    findings
                        .push(damage(format!("{of} has {found} values, others of {model} {dim}; {remedy}")));
                }
            }
        }
    }
    Ok(())
}

fn people_without_templates(conn: &Connection, findings: &mut Vec<Finding>) -> Result<(), Trouble> {
    let mut names = conn.prepare(
        "SELECT name FROM people WHERE id NOT IN (SELECT person FROM templates)
         AND id NOT IN (SELECT person FROM events WHERE kind = 'enrol' AND detail ->> 'templates' = 0)
         ORDER BY name_key",
    )?;
    for name in names.query_map([], |row| row.get::<_, String>(0))? {
        let name = name?;
        findings.push(damage(format!(
            "{name:?} has no template, which no enrolment leaves behind; add some with `accessd enroll --more`"
        )));
    }
    Ok(())
}

/// Records are numbered without gaps, also across failed writes: a gap means that somebody deleted some.
fn numbering(conn: &Connection, findings: &mut Vec<Finding>) -> Result<(), Trouble> {
    let (first, last, count, given): (i64, i64, i64, i64) = conn.query_row(
        "SELECT coalesce(min(id), 1), coalesce(max(id), 0), count(*),
                coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'events'), 0) FROM events",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
    )?;
    // A restored backup ends where it was taken, and its numbers go on where those of the database before it were.
    let replaced: i64 = conn.query_row(
        "SELECT coalesce(sum(id - 1 - coalesce((SELECT max(id) FROM events AS e WHERE e.id < events.id), id - 1)), 0)
         FROM events WHERE kind = 'restore'",
        [],
        |row| row.get(0),
    )?;
    let missing = (last - first + 1 - count) + (given - last).max(0) - replaced;
    if missing > 0 {
        findings.push(warning(format!(
            "{missing} records of the journal are missing between {first} and {given}: something other than accessd \
             deleted them"
        )));
    }
    Ok(())
}

fn damage(what: String) -> Finding {
    Finding { damage: true, what }
}

fn warning(what: String) -> Finding {
    Finding { damage: false, what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_survives_as_uri() {
        let uri = immutable_uri(Path::new("/a b/50%?#.db"));
        assert_eq!(uri.to_str().unwrap(), "file:/a b/50%25%3f%23.db?immutable=1");
    }
}
