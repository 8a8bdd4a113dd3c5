//! People by name: the rules for names, and the rows of `people` with the counter of changes.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::journal::{micros, timestamp};
use super::trouble::Trouble;
use super::{StoreError, templates};
use crate::gallery::{Person, PersonId};
use crate::journal::PersonRef;

/// Most characters in a name.
const MAX_NAME: usize = 64;
/// Jaro-Winkler similarity from which a name is worth suggesting: typing slips and given names alone are above it.
const NEAR: f64 = 0.8;

/// A name that can be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// As the operator wrote it, without space around it.
    pub text: String,
    /// As it is compared.
    pub key: String,
}

impl Name {
    /// Checks what the operator wrote.
    pub fn new(written: &str) -> Result<Self, StoreError> {
        let text = written.trim();
        let why = if text.is_empty() {
            "it is empty"
        } else if text.chars().count() > MAX_NAME {
            "it is longer than 64 characters"
        } else if text.chars().any(|c| c.is_control() || misleads(c)) {
            "it contains a control character (a line break, a tab, a change of writing direction)"
        } else {
            return Ok(Self { text: text.to_owned(), key: key(text) });
        };
        Err(StoreError::BadName { name: written.to_owned(), why })
    }
}

/// Characters that show as nothing or turn the text around them, with which two names could be made to look alike or
/// a log line to lie. Joiners (U+200C, U+200D) stay: names in Persian and Indic scripts need them.
fn misleads(c: char) -> bool {
    matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// What two spellings of one name have in common: case and the amount of space do not count.
pub(super) fn key(name: &str) -> String {
    name.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// The person of that name, in whatever case it is written.
pub(super) fn find(conn: &Connection, name: &str) -> rusqlite::Result<Option<PersonRef>> {
    conn.prepare_cached("SELECT id, name FROM people WHERE name_key = ?1")?
        .query_row([key(name)], |row| Ok(PersonRef { id: PersonId(row.get(0)?), name: row.get(1)? }))
        .optional()
}

/// The person of that name, or an error that suggests the nearest one.
pub(super) fn known(conn: &Connection, name: &str) -> Result<PersonRef, Trouble> {
    match find(conn, name)? {
        Some(person) => Ok(person),
        None => {
            Err(StoreError::UnknownPerson { name: name.to_owned(), nearest: nearest(conn, name)? }.into())
        }
    }
}

fn nearest(conn: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    let wanted = key(name);
    let mut names = conn.prepare("SELECT name, name_key FROM people ORDER BY name_key")?;
    let names = names.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let mut best = (NEAR, None);
    for row in names {
        let (text, key) = row?;
        let likeness = strsim::jaro_winkler(&wanted, &key);
        if likeness > best.0 {
            best = (likeness, Some(text));
        }
    }
    Ok(best.1)
}

/// Refuses a name that somebody other than `except` has.
pub(super) fn must_be_free(conn: &Connection, name: &Name, except: Option<PersonId>) -> Result<(), Trouble> {
    match find(conn, &name.key)? {
        Some(holder) if Some(holder.id) != except => Err(StoreError::NameTaken { name: holder.name }.into()),
        _ => Ok(()),
    }
}

/// Everybody, by name.
pub(super) fn all(conn: &Connection) -> Result<Vec<Person>, Trouble> {
    let mut rows = conn.prepare_cached(&format!("{PERSON} ORDER BY name_key"))?;
    let people = rows.query_map([], read)?.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut templates = templates::infos(conn)?;
    let complete = people.into_iter().map(|row| {
        let templates = templates.remove(&row.id).unwrap_or_default();
        row.with(templates)
    });
    complete.collect()
}

/// One person in full.
pub(super) fn one(conn: &Connection, id: PersonId) -> Result<Person, Trouble> {
    let row = conn.prepare_cached(&format!("{PERSON} WHERE id = ?1"))?.query_row([id.0], read)?;
    row.with(templates::infos_of(conn, id)?)
}

pub(super) fn insert(tx: &Transaction<'_>, name: &Name, created: Timestamp) -> rusqlite::Result<PersonId> {
    tx.execute(
        "INSERT INTO people (name, name_key, created) VALUES (?1, ?2, ?3)",
        params![name.text, name.key, micros(created)],
    )?;
    Ok(PersonId(tx.last_insert_rowid()))
}

pub(super) fn rename(tx: &Transaction<'_>, id: PersonId, to: &Name) -> rusqlite::Result<()> {
    tx.execute("UPDATE people SET name = ?2, name_key = ?3 WHERE id = ?1", params![id.0, to.text, to.key])?;
    Ok(())
}

/// Deletes the person; their templates go with them (`ON DELETE CASCADE`).
pub(super) fn delete(tx: &Transaction<'_>, id: PersonId) -> rusqlite::Result<()> {
    tx.execute("DELETE FROM people WHERE id = ?1", [id.0])?;
    Ok(())
}

/// The door opens for this person.
pub(super) fn used(tx: &Transaction<'_>, id: PersonId, at: Timestamp) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE people SET last_used = ?2 WHERE id = ?1")?
        .execute(params![id.0, micros(at)])?;
    Ok(())
}

/// How often people or templates have changed.
pub(super) fn generation(conn: &Connection) -> rusqlite::Result<u64> {
    conn.query_row("SELECT generation FROM gallery_state", [], |row| {
        row.get::<_, i64>(0).map(i64::unsigned_abs)
    })
}

/// Counts a change of people or templates; belongs into the same transaction.
pub(super) fn changed(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    tx.execute("UPDATE gallery_state SET generation = generation + 1", [])?;
    Ok(())
}

const PERSON: &str = "SELECT id, name, created,
    (SELECT wall FROM events WHERE person = people.id AND kind = 'grant' ORDER BY id DESC LIMIT 1)
    FROM people";

struct PersonRow {
    id: PersonId,
    name: String,
    created: i64,
    last_grant: Option<i64>,
}

fn read(row: &Row<'_>) -> rusqlite::Result<PersonRow> {
    Ok(PersonRow {
        id: PersonId(row.get(0)?),
        name: row.get(1)?,
        created: row.get(2)?,
        last_grant: row.get(3)?,
    })
}

impl PersonRow {
    fn with(self, templates: Vec<crate::gallery::TemplateInfo>) -> Result<Person, Trouble> {
        Ok(Person {
            id: self.id,
            created: timestamp(self.created)?,
            last_grant: self.last_grant.map(timestamp).transpose()?,
            name: self.name,
            templates,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_as_written_and_compared_without_case_and_space() {
        let name = Name::new("  Zoë  O'Neill-Şahin ").unwrap();
        assert_eq!(name.text, "Zoë  O'Neill-Şahin");
        assert_eq!(name.key, "zoë o'neill-şahin");
        assert_eq!(Name::new("ZOË O'NEILL-ŞAHİN").unwrap().key, key("ZOË O'NEILL-ŞAHİN"));
        assert_eq!(Name::new("李小龙").unwrap().text, "李小龙");
        assert!(Name::new("می\u{200c}خواهم").is_ok(), "a joiner is part of Persian spelling");
        assert!(Name::new(&"é".repeat(64)).is_ok(), "characters are counted, not bytes");
    }

    #[test]
    fn names_that_cannot_be_kept_say_why() {
        for (written, why) in [
            ("", "it is empty"),
            (" \t ", "it is empty"),
            (&"x".repeat(65), "longer than 64"),
            ("Ada\nLovelace", "control character"),
            ("Ada\u{0}", "control character"),
            ("Ada\u{202e}ecalevoL", "control character"),
            ("A\u{200b}da", "control character"),
        ] {
            let text = Name::new(written).unwrap_err().to_string();
            assert!(text.contains("cannot be a name") && text.contains(why), "{text}");
            assert!(
                !text.contains('\n') && !text.contains('\u{202e}'),
                "the message itself is safe to print"
            );
        }
    }
}
