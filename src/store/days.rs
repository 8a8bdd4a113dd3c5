//! A key for each day: what is kept for some days is sealed with it, over the key of whoever it may show. So the end of its
//! time and an erasure each destroy it for good, also in copies of the database's file.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use zeroize::Zeroizing;

use super::journal::micros;
use super::sealing::Sealer;
use super::trouble::Trouble;
use crate::gallery::PersonId;
use crate::journal::Stamp;
use crate::seal::{Place, Secret};

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// The day of a moment, counted from 1970-01-01 by UTC.
pub(super) fn day_of(at: Stamp) -> i64 {
    micros(at.wall).div_euclid(DAY)
}

/// What of a table is due to go, by its numbers in the column `id`: everything where nothing is kept; what is older than its days,
/// as far as the calendar is believed, or of a future that a wrong clock wrote; what is too many.
pub(super) fn due(
    conn: &Connection,
    (table, id): (&str, &str),
    (days, most): (Option<u32>, u64),
    trusted: bool,
    at: Stamp,
    at_once: i64,
) -> Result<Vec<i64>, Trouble> {
    let today = day_of(at);
    let (oldest, newest) = match days {
        None => (i64::MAX, i64::MIN),
        Some(days) if trusted => (today - i64::from(days), today + 1),
        Some(_) => (i64::MIN, i64::MAX),
    };
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let mut ids = conn.prepare_cached(&format!(
        "SELECT {id} FROM {table} WHERE day < ?1 OR day > ?2
         UNION SELECT {id} FROM (SELECT {id} FROM {table} ORDER BY {id} DESC LIMIT -1 OFFSET ?3)
         ORDER BY {id} LIMIT ?4"
    ))?;
    let ids = ids.query_map(params![oldest, newest, most, at_once], |row| row.get(0))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

/// Destroys the keys of days of which nothing is kept any more.
pub(super) fn forget_empty(tx: &Transaction<'_>) -> rusqlite::Result<usize> {
    tx.execute(
        "DELETE FROM kept_days WHERE day NOT IN (SELECT day FROM attempts UNION SELECT day FROM snapshots)",
        [],
    )
}

/// Seals something of a day and of whoever it may show; `None` when that person is not enrolled any more.
pub(super) fn seal(
    tx: &Transaction<'_>,
    sealer: &Sealer,
    day: i64,
    person: Option<PersonId>,
    place: &Place,
    plain: &[u8],
) -> Result<Option<Vec<u8>>, Trouble> {
    let key = key_for(tx, sealer, day)?;
    let Some(person) = person else { return Ok(Some(key.seal(place, plain)?)) };
    if !tx.prepare_cached("SELECT 1 FROM people WHERE id = ?1")?.exists([person.0])? {
        return Ok(None);
    }
    let inner = sealer.key_for(tx, person)?.seal(place, plain)?;
    Ok(Some(key.seal(place, &inner)?))
}

/// Opens what [`seal`] made; `None` when it does not open.
pub(super) fn open(
    conn: &Connection,
    sealer: &Sealer,
    day: i64,
    person: Option<PersonId>,
    place: &Place,
    sealed: &[u8],
) -> Result<Option<Zeroizing<Vec<u8>>>, Trouble> {
    let Some(key) = key_of(conn, sealer, day)? else { return Ok(None) };
    let Ok(plain) = key.open(place, sealed) else { return Ok(None) };
    let Some(person) = person else { return Ok(Some(plain)) };
    let key = match sealer.key_of(conn, person) {
        Err(Trouble::Damaged(_)) => None,
        other => other?,
    };
    Ok(key.and_then(|key| key.open(place, &plain).ok()))
}

fn place_of(day: i64) -> Place {
    Place::new("accessd key of a day").number(day)
}

fn wrapping(sealer: &Sealer) -> Secret {
    sealer.device().derive("accessd 2026-11 wrapping the keys of days")
}

fn key_of(conn: &Connection, sealer: &Sealer, day: i64) -> Result<Option<Secret>, Trouble> {
    let mut wrapped = conn.prepare_cached("SELECT wrapped FROM kept_days WHERE day = ?1")?;
    let wrapped: Option<Vec<u8>> = wrapped.query_row([day], |row| row.get(0)).optional()?;
    let Some(wrapped) = wrapped else { return Ok(None) };
    let opened = wrapping(sealer).open(&place_of(day), &wrapped);
    Ok(opened.ok().and_then(|bytes| Secret::from_slice(&bytes)))
}

/// The key of a day; made with the first thing that is kept of it.
fn key_for(tx: &Transaction<'_>, sealer: &Sealer, day: i64) -> Result<Secret, Trouble> {
    if let Some(key) = key_of(tx, sealer, day)? {
        return Ok(key);
    }
    let key = Secret::generate()?;
    let wrapped = wrapping(sealer).seal(&place_of(day), key.bytes())?;
    tx.execute("INSERT OR REPLACE INTO kept_days (day, wrapped) VALUES (?1, ?2)", params![day, wrapped])?;
    Ok(key)
}
