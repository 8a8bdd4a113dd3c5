//! PINs: the rows of `pins`. Hashes come in and go out; no digits are seen here.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::StoreError;
use super::policy::Done;
use super::trouble::Trouble;
use crate::access::pin::{Cost, Salt, StoredPin, digits_needed};
use crate::gallery::PersonId;
use crate::journal::{Event, EventKind, PersonRef};
use crate::seal;

/// What changes with a person's PIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinChange {
    /// They get this one; one for duress goes with the old one, whose salt it has.
    Set(StoredPin),
    /// This one calls for help, beside the one they have.
    Duress([u8; 32]),
    /// They have none any more.
    Clear,
    /// What was typed wrongly is forgotten.
    Forgive,
}

/// What a new PIN is hashed with.
///
/// # Errors
/// When the kernel gives no randomness.
pub fn new_salt() -> Result<Salt, StoreError> {
    seal::random().map_err(|error| StoreError::Pin(error.to_string()))
}

/// A person's PIN.
pub(super) fn of(conn: &Connection, person: PersonId) -> Result<Option<StoredPin>, Trouble> {
    let mut row = conn.prepare_cached(
        "SELECT salt, memory_kib, passes, hash, duress, digits, failures FROM pins WHERE person = ?1",
    )?;
    let read = row.query_row([person.0], |row| {
        Ok(StoredPin {
            salt: row.get(0)?,
            cost: Cost { memory_kib: row.get(1)?, passes: row.get(2)? },
            hash: row.get(3)?,
            duress: row.get(4)?,
            digits: usize::try_from(row.get::<_, i64>(5)?).unwrap_or_default(),
            failures: row.get(6)?,
        })
    });
    Ok(read.optional()?)
}

/// Carries a change out; belongs into one transaction with its event.
pub(super) fn change(tx: &Transaction<'_>, person: &PersonRef, change: &PinChange) -> Result<Done, Trouble> {
    let nobody = || {
        let name = &person.name;
        StoreError::Pin(format!("{name} has no PIN; give them one: accessd pin set {name:?}"))
    };
    let (kind, what, changed) = match change {
        PinChange::Set(pin) => {
            check_room(tx, 0, Some(pin.digits))?;
            tx.execute(
                "INSERT OR REPLACE INTO pins (person, salt, memory_kib, passes, hash, duress, digits)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    person.id.0,
                    pin.salt,
                    pin.cost.memory_kib,
                    pin.cost.passes,
                    pin.hash,
                    pin.duress,
                    pin.digits as i64
                ],
            )?;
            (EventKind::PinSet, "", 1)
        }
        PinChange::Duress(hash) => {
            let changed =
                tx.execute("UPDATE pins SET duress = ?2 WHERE person = ?1", params![person.id.0, hash])?;
            (EventKind::PinSet, "for duress", changed)
        }
        PinChange::Clear => {
            (EventKind::PinCleared, "", tx.execute("DELETE FROM pins WHERE person = ?1", [person.id.0])?)
        }
        PinChange::Forgive => (EventKind::PinOn, "", forgive(tx, person.id)?),
    };
    if changed == 0 {
        return Err(nobody().into());
    }
    Ok(Done { kind, person: Some(person.clone()), what: what.to_owned() })
}

/// What an event of the door does to the count of wrong PINs; belongs into one transaction with it.
pub(super) fn count(tx: &Transaction<'_>, event: &Event) -> rusqlite::Result<()> {
    let Some(person) = &event.person else { return Ok(()) };
    let typed = |detail: &serde_json::Value| detail["with"].as_str().is_some_and(|with| with != "face");
    match event.kind {
        EventKind::WrongPin => {
            let mut count = tx.prepare_cached("UPDATE pins SET failures = failures + 1 WHERE person = ?1")?;
            count.execute([person.id.0]).map(drop)
        }
        EventKind::Grant if typed(&event.detail) => forgive(tx, person.id).map(drop),
        _ => Ok(()),
    }
}

fn forgive(tx: &Transaction<'_>, person: PersonId) -> rusqlite::Result<usize> {
    tx.prepare_cached("UPDATE pins SET failures = 0 WHERE person = ?1")?.execute([person.0])
}

/// Refuses what would leave fewer than a thousand PINs for each person: a new PIN of so many digits, or `more` people
/// beside PINs that are there.
pub(super) fn check_room(tx: &Transaction<'_>, more: usize, digits: Option<usize>) -> Result<(), Trouble> {
    let people: i64 = tx.query_row("SELECT count(*) FROM people", [], |row| row.get(0))?;
    let people = usize::try_from(people).unwrap_or_default() + more;
    let needed = digits_needed(people);
    if let Some(digits) = digits.filter(|digits| *digits < needed) {
        let why =
            format!("for {people} people a PIN has at least {needed} digits, and this one has {digits}");
        return Err(StoreError::Pin(why).into());
    }
    if more == 0 {
        return Ok(());
    }
    let mut short = tx.prepare_cached(
        "SELECT name FROM pins JOIN people ON people.id = pins.person WHERE digits < ?1 ORDER BY name_key",
    )?;
    let names = short.query_map([needed as i64], |row| row.get(0))?;
    let names: Vec<String> = names.collect::<rusqlite::Result<_>>()?;
    if names.is_empty() {
        return Ok(());
    }
    let shown = names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
    let rest = names.len().saturating_sub(5);
    let rest = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    let why = format!(
        "for {people} people a PIN has at least {needed} digits, and {shown}{rest} would be left with a shorter one; give \
         them a longer one (accessd pin set NAME) or take theirs away (accessd pin clear NAME), then enrol"
    );
    Err(StoreError::Pin(why).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MonoTime;
    use crate::journal::Stamp;
    use crate::seal::Keys;
    use crate::store::{OpenMode, SqliteStore, Store};

    const AT: Stamp = Stamp { wall: jiff::Timestamp::UNIX_EPOCH, mono: MonoTime::from_millis(1) };

    fn pin(digits: usize, byte: u8) -> StoredPin {
        let cost = Cost { memory_kib: 8, passes: 1 };
        StoredPin { salt: [byte; 16], cost, hash: [byte; 32], duress: None, digits, failures: 0 }
    }

    #[test]
    fn a_pin_is_kept_counted_and_goes_with_its_person_from_every_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let mut store = SqliteStore::open(&path, OpenMode::Create, "boot", &Keys::of_a_test()).unwrap();
        let ada = store.add_person("Ada", "test", AT).unwrap();
        assert_eq!(store.pin(ada).unwrap(), None);
        let error = store.change_pin("Ada", &PinChange::Duress([9; 32]), "test", AT).unwrap_err().to_string();
        assert!(error.contains("Ada has no PIN"), "{error}");
        store.change_pin("ada", &PinChange::Set(pin(6, 0xA7)), "test", AT).unwrap();
        store.change_pin("ada", &PinChange::Duress([0xB8; 32]), "test", AT).unwrap();
        let with_both = StoredPin { duress: Some([0xB8; 32]), ..pin(6, 0xA7) };
        assert_eq!(store.pin(ada).unwrap(), Some(with_both.clone()));
        assert!(store.rule_book().unwrap().people[0].has_pin);

        // A wrong one counts, also over a restart; a grant by face ends nothing, one by PIN does.
        let person = Some(PersonRef { id: ada, name: "Ada".into() });
        let event = |kind, with: &str| Event {
            person: person.clone(),
            ..Event::new(kind, serde_json::json!({ "with": with }))
        };
        let failures = |store: &SqliteStore| store.pin(ada).unwrap().unwrap().failures;
        for _ in 0..3 {
            store.append(&event(EventKind::WrongPin, ""), AT).unwrap();
        }
        drop(store);
        let mut store = SqliteStore::open(&path, OpenMode::Existing, "boot", &Keys::of_a_test()).unwrap();
        assert_eq!(failures(&store), 3);
        store.append(&event(EventKind::Grant, "face"), AT).unwrap();
        assert_eq!(failures(&store), 3);
        store.append(&event(EventKind::Grant, "face and PIN"), AT).unwrap();
        assert_eq!(failures(&store), 0);
        store.append(&event(EventKind::WrongPin, ""), AT).unwrap();
        store.change_pin("Ada", &PinChange::Forgive, "test", AT).unwrap();
        assert_eq!(failures(&store), 0);

        // A new one takes the one for duress along; no byte of the old ones is left, nor of any once she is gone.
        store.change_pin("Ada", &PinChange::Set(pin(6, 0xC9)), "test", AT).unwrap();
        assert_eq!(store.pin(ada).unwrap().unwrap().duress, None);
        let is_left = |byte: u8| {
            let files = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().path());
            let has = |path: std::path::PathBuf| {
                std::fs::read(path).unwrap().windows(32).any(|bytes| bytes == [byte; 32])
            };
            files.filter(|path| path.is_file()).any(has)
        };
        assert_eq!((is_left(0xA7), is_left(0xB8), is_left(0xC9)), (false, false, true));
        store.remove("Ada", "test", AT).unwrap();
        assert_eq!(store.pin(ada).unwrap(), None);
        assert!(!is_left(0xC9));
    }

    #[test]
    fn nobody_is_enrolled_for_whom_a_pin_would_be_too_short() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let mut store = SqliteStore::open(&path, OpenMode::Create, "boot", &Keys::of_a_test()).unwrap();
        for n in 0..10 {
            store.add_person(&format!("P{n}"), "test", AT).unwrap();
        }
        store.change_pin("P3", &PinChange::Set(pin(4, 1)), "test", AT).unwrap();
        let told = store.add_person("P10", "test", AT).unwrap_err().to_string();
        assert!(told.contains("for 11 people a PIN has at least 5 digits, and P3 would be left"), "{told}");
        assert_eq!(store.people().unwrap().len(), 10);
        store.change_pin("P3", &PinChange::Set(pin(5, 1)), "test", AT).unwrap();
        store.add_person("P10", "test", AT).unwrap();
        let told = store.change_pin("P4", &PinChange::Set(pin(4, 2)), "test", AT).unwrap_err().to_string();
        assert!(told.contains("this one has 4"), "{told}");
    }
}
