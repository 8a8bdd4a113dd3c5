//! PINs: the rows of `pins`. Hashes come in and go out; no digits are seen here.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::StoreError;
use super::policy::Done;
use super::trouble::Trouble;
use crate::access::pin::{Cost, StoredPin, digits_needed};
use crate::gallery::PersonId;
use crate::journal::{Event, EventKind, PersonRef};

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
