//! The rows of `attempts`: what faces looked like on their way past the doors, kept for some days where the operator wants
//! that.
//!
//! Each is sealed twice: with the key of the person it is of, if it is of anybody, and over that with the key of its day.
//! So both an erasure and the end of its time destroy it for good, also in copies of the database's file. Backups leave them
//! out.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use zeroize::Zeroizing;

use super::journal::micros;
use super::sealing::Sealer;
use super::templates;
use super::trouble::Trouble;
use super::{SqliteStore, StoreError};
use crate::clock::MonoTime;
use crate::encoder::{Embedding, ModelId, compare};
use crate::gallery::{PersonId, SAME_PERSON};
use crate::journal::Stamp;
use crate::journal::replay::PastAttempt;
use crate::seal::{Place, Secret};

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;
/// Rows taken out in one go: the door waits for it.
const AT_ONCE: i64 = 64;
/// Attempts that are too old are sought this often, and, while there are more, taken out so fast.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
const PRUNE_ON: Duration = Duration::from_secs(1);

/// For how long attempts are kept; by default not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepAttempts {
    /// Days, the current one not counted; `None` keeps none.
    pub days: Option<u32>,
    /// Beyond so many the oldest go.
    pub most: u64,
}

/// What is kept of faces that came by. Part of every [`Store`](super::Store).
pub trait Recollection {
    /// Keeps attempts, of nobody who is not enrolled any more. Nothing where none are to be kept.
    ///
    /// # Errors
    /// When they could not be made durable.
    fn keep(&mut self, attempts: &[PastAttempt], at: Stamp) -> Result<(), StoreError>;

    /// The kept ones of one model, oldest first.
    ///
    /// # Errors
    /// The database's, or when the device key is not at hand.
    fn recall(&self, model: &ModelId) -> Result<Vec<PastAttempt>, StoreError>;
}

impl Recollection for SqliteStore {
    fn keep(&mut self, attempts: &[PastAttempt], at: Stamp) -> Result<(), StoreError> {
        if self.attempts.days.is_none() || attempts.is_empty() {
            return Ok(());
        }
        let sealer = self.sealer()?.clone();
        self.write("keeping attempts", |tx, _| {
            attempts.iter().try_for_each(|attempt| insert(tx, &sealer, attempt, day_of(at)))
        })
    }

    fn recall(&self, model: &ModelId) -> Result<Vec<PastAttempt>, StoreError> {
        let sealer = self.sealer()?;
        self.read("reading the kept attempts", |conn| {
            let mut rows = conn.prepare_cached(&format!("{ROW} WHERE model = ?1 ORDER BY id"))?;
            let mut rows = rows.query([&model.0])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let row = Kept::read(row)?;
                found.push(row.open(conn, sealer)?.ok_or_else(|| {
                    Trouble::Damaged(format!(
                        "attempt {} {SHUT}; `accessd check --repair` takes it out",
                        row.id
                    ))
                })?);
            }
            Ok(found)
        })
    }
}

impl SqliteStore {
    /// Keeps attempts from now on, and takes out those that are too many or too old.
    #[must_use]
    pub fn with_attempts(mut self, keep: KeepAttempts) -> Self {
        self.attempts = keep;
        self.next_attempt_prune = MonoTime::default();
        self
    }

    /// Takes old attempts out when that is due, a step at a time.
    pub(super) fn prune_attempts(&mut self, at: Stamp) -> Result<(), StoreError> {
        if at.mono < self.next_attempt_prune {
            return Ok(());
        }
        let (keep, trusted) = (self.attempts, self.pen.clock_trusted == Some(true));
        let due = self.read("looking for old attempts", |conn| due(conn, keep, trusted, at))?;
        let more = due.len() as i64 >= AT_ONCE;
        if !due.is_empty() {
            self.commit("taking old attempts out", |tx, _| {
                let mut delete = tx.prepare_cached("DELETE FROM attempts WHERE id = ?1")?;
                for id in &due {
                    delete.execute([id])?;
                }
                tx.execute("DELETE FROM attempt_days WHERE day NOT IN (SELECT day FROM attempts)", [])?;
                Ok(())
            })?;
            self.erase_traces();
        }
        self.next_attempt_prune = at.mono + if more { PRUNE_ON } else { PRUNE_EVERY };
        Ok(())
    }
}

/// What is due: everything where nothing is kept; what is older than its days, as far as the calendar is believed, or of a
/// future that a wrong clock wrote; what is too many.
fn due(conn: &Connection, keep: KeepAttempts, trusted: bool, at: Stamp) -> Result<Vec<i64>, Trouble> {
    let today = day_of(at);
    let (oldest, newest) = match keep.days {
        None => (i64::MAX, i64::MIN),
        Some(days) if trusted => (today - i64::from(days), today + 1),
        Some(_) => (i64::MIN, i64::MAX),
    };
    let most = i64::try_from(keep.most).unwrap_or(i64::MAX);
    let mut ids = conn.prepare_cached(
        "SELECT id FROM attempts WHERE day < ?1 OR day > ?2
         UNION SELECT id FROM (SELECT id FROM attempts ORDER BY id DESC LIMIT -1 OFFSET ?3)
         ORDER BY id LIMIT ?4",
    )?;
    let ids = ids.query_map(params![oldest, newest, most, AT_ONCE], |row| row.get(0))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

fn day_of(at: Stamp) -> i64 {
    micros(at.wall).div_euclid(DAY)
}

/// Why an attempt cannot be read.
const SHUT: &str = "does not open";

const ROW: &str = "SELECT id, day, model, person, sealed FROM attempts";

/// A row as it is stored.
pub(super) struct Kept {
    pub id: i64,
    day: i64,
    model: ModelId,
    pub person: Option<PersonId>,
    pub sealed: Vec<u8>,
}

impl Kept {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let person: Option<i64> = row.get(3)?;
        Ok(Self {
            id: row.get(0)?,
            day: row.get(1)?,
            model: ModelId(row.get(2)?),
            person: person.map(PersonId),
            sealed: row.get(4)?,
        })
    }

    /// Every row.
    pub fn all(conn: &Connection) -> Result<Vec<Self>, Trouble> {
        let mut rows = conn.prepare(&format!("{ROW} ORDER BY id"))?;
        Ok(rows.query_map([], Self::read)?.collect::<rusqlite::Result<_>>()?)
    }

    /// What is in it; `None` when it does not open.
    pub fn open(&self, conn: &Connection, sealer: &Sealer) -> Result<Option<PastAttempt>, Trouble> {
        let Some(day) = day_key(conn, sealer, self.day)? else { return Ok(None) };
        let place = place(self.id, self.day, self.person, &self.model);
        let Ok(plain) = day.open(&place, &self.sealed) else { return Ok(None) };
        let plain = match self.person {
            None => plain,
            Some(person) => {
                let key = match sealer.key_of(conn, person) {
                    Err(Trouble::Damaged(_)) => None,
                    other => other?,
                };
                match key.map(|key| key.open(&place, &plain)) {
                    Some(Ok(plain)) => plain,
                    _ => return Ok(None),
                }
            }
        };
        Ok(PastAttempt::decode(&self.model, &plain))
    }

    /// Whether a look in it is like one of these samples of the same model, so that it may show their owner.
    fn shows(&self, attempt: Option<&PastAttempt>, samples: &[(ModelId, Embedding)]) -> bool {
        // What cannot be looked at counts as theirs.
        let Some(attempt) = attempt else { return true };
        let of_model = || samples.iter().filter(|(model, _)| *model == self.model);
        attempt.face.embeddings().any(|look| {
            of_model()
                .any(|(_, sample)| sample.dim() == look.dim() && compare(sample, look).score >= SAME_PERSON)
        })
    }
}

/// An attempt opens as this one of this day, person and model alone.
fn place(id: i64, day: i64, person: Option<PersonId>, model: &ModelId) -> Place {
    let person = person.map_or(0, |person| person.0);
    Place::new("accessd attempt").number(id).number(day).number(person).text(&model.0)
}

fn place_of_day(day: i64) -> Place {
    Place::new("accessd key of a day of attempts").number(day)
}

fn wrapping(sealer: &Sealer) -> Secret {
    sealer.device().derive("accessd 2026-11 wrapping the keys of days of attempts")
}

fn day_key(conn: &Connection, sealer: &Sealer, day: i64) -> Result<Option<Secret>, Trouble> {
    let mut wrapped = conn.prepare_cached("SELECT wrapped FROM attempt_days WHERE day = ?1")?;
    let wrapped: Option<Vec<u8>> = wrapped.query_row([day], |row| row.get(0)).optional()?;
    let Some(wrapped) = wrapped else { return Ok(None) };
    let opened = wrapping(sealer).open(&place_of_day(day), &wrapped);
    Ok(opened.ok().and_then(|bytes| Secret::from_slice(&bytes)))
}

/// The key of a day; made with its first attempt.
fn key_for_day(tx: &Transaction<'_>, sealer: &Sealer, day: i64) -> Result<Secret, Trouble> {
    if let Some(key) = day_key(tx, sealer, day)? {
        return Ok(key);
    }
    let key = Secret::generate()?;
    let wrapped = wrapping(sealer).seal(&place_of_day(day), key.bytes())?;
    tx.execute("INSERT OR REPLACE INTO attempt_days (day, wrapped) VALUES (?1, ?2)", params![day, wrapped])?;
    Ok(key)
}

/// Keeps one, of somebody who is still enrolled or of nobody.
fn insert(tx: &Transaction<'_>, sealer: &Sealer, attempt: &PastAttempt, day: i64) -> Result<(), Trouble> {
    let recognised = attempt.recognition().and_then(|decision| decision.then.person());
    let near = attempt.nearest.filter(|(_, score)| *score >= SAME_PERSON.0).map(|(person, _)| person);
    let person = recognised.or(near);
    if let Some(person) = person
        && !tx.prepare_cached("SELECT 1 FROM people WHERE id = ?1")?.exists([person.0])?
    {
        return Ok(());
    }
    let key = key_for_day(tx, sealer, day)?;
    // An attempt is sealed for its number, so that is known first; numbers are never given again.
    let next = "SELECT 1 + coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'attempts'), 0)";
    let id: i64 = tx.query_row(next, [], |row| row.get(0))?;
    let place = place(id, day, person, &attempt.model);
    let mut bytes = attempt.encode();
    if let Some(person) = person {
        bytes = Zeroizing::new(sealer.key_for(tx, person)?.seal(&place, &bytes)?);
    }
    tx.execute(
        "INSERT INTO attempts (id, day, model, person, sealed) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![id, day, attempt.model.0, person.map(|person| person.0), key.seal(&place, &bytes)?],
    )?;
    Ok(())
}

/// Every attempt that is somebody's, or may show them: those that were put down as theirs, and those of others and of nobody
/// with a look that is like one of their samples.
pub(super) fn of_person(
    conn: &Connection,
    sealer: &Sealer,
    person: PersonId,
) -> Result<Vec<(Kept, Option<PastAttempt>)>, Trouble> {
    let all = Kept::all(conn)?;
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let samples = templates::of_person(conn, sealer, person)?;
    let mut found = Vec::new();
    for row in all {
        let attempt = row.open(conn, sealer)?;
        if row.person == Some(person) || row.shows(attempt.as_ref(), &samples) {
            found.push((row, attempt));
        }
    }
    Ok(found)
}

/// Takes out whatever may show this person; how many attempts that were.
pub(super) fn forget(tx: &Transaction<'_>, sealer: &Sealer, person: PersonId) -> Result<usize, Trouble> {
    let gone = of_person(tx, sealer, person)?;
    for (row, _) in &gone {
        tx.execute("DELETE FROM attempts WHERE id = ?1", [row.id])?;
    }
    tx.execute("DELETE FROM attempt_days WHERE day NOT IN (SELECT day FROM attempts)", [])?;
    Ok(gone.len())
}

/// Those that do not open.
pub(super) fn shut(conn: &Connection, sealer: &Sealer) -> Result<Vec<i64>, Trouble> {
    let mut shut = Vec::new();
    for row in Kept::all(conn)? {
        if row.open(conn, sealer)?.is_none() {
            shut.push(row.id);
        }
    }
    Ok(shut)
}
