//! The rows of `attempts`: what faces looked like on their way past the doors, kept for some days where the operator wants
//! that.
//!
//! Each is sealed twice: with the key of the person it is of, if it is of anybody, and over that with the key of its day.
//! So both an erasure and the end of its time destroy it for good, also in copies of the database's file. Backups leave them
//! out.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, Row, Transaction, params};

use super::days::{self, day_of};
use super::sealing::Sealer;
use super::templates;
use super::trouble::Trouble;
use super::{SqliteStore, StoreError};
use crate::clock::MonoTime;
use crate::encoder::{Embedding, ModelId, compare};
use crate::gallery::{PersonId, SAME_PERSON};
use crate::journal::replay::PastAttempt;
use crate::journal::{EventId, Stamp};
use crate::seal::Place;
use crate::vision::tracks::TrackId;

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

    /// How many of one model are kept.
    ///
    /// # Errors
    /// The database's.
    fn kept(&self, model: &ModelId) -> Result<usize, StoreError>;
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

    fn kept(&self, model: &ModelId) -> Result<usize, StoreError> {
        self.read("counting the kept attempts", |conn| {
            let count = "SELECT count(*) FROM attempts WHERE model = ?1";
            Ok(conn.query_row(count, [&model.0], |row| row.get::<_, i64>(0))?.unsigned_abs() as usize)
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
        let due = self.read("looking for old attempts", |conn| {
            days::due(conn, ("attempts", "id"), (keep.days, keep.most), trusted, at, AT_ONCE)
        })?;
        let more = due.len() as i64 >= AT_ONCE;
        if !due.is_empty() {
            self.commit("taking old attempts out", |tx, _| {
                let mut delete = tx.prepare_cached("DELETE FROM attempts WHERE id = ?1")?;
                for id in &due {
                    delete.execute([id])?;
                }
                days::forget_empty(tx)?;
                Ok(())
            })?;
            self.erase_traces();
        }
        self.next_attempt_prune = at.mono + if more { PRUNE_ON } else { PRUNE_EVERY };
        Ok(())
    }
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
        let place = place(self.id, self.day, self.person, &self.model);
        let plain = days::open(conn, sealer, self.day, self.person, &place, &self.sealed)?;
        Ok(plain.and_then(|plain| PastAttempt::decode(&self.model, &plain)))
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

/// Keeps one, of somebody who is still enrolled or of nobody.
fn insert(tx: &Transaction<'_>, sealer: &Sealer, attempt: &PastAttempt, day: i64) -> Result<(), Trouble> {
    let recognised = attempt.recognition().and_then(|decision| decision.then.person());
    let near = attempt.nearest.filter(|(_, score)| *score >= SAME_PERSON.0).map(|(person, _)| person);
    let person = recognised.or(near);
    // An attempt is sealed for its number, so that is known first; numbers are never given again.
    let next = "SELECT 1 + coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'attempts'), 0)";
    let id: i64 = tx.query_row(next, [], |row| row.get(0))?;
    let place = place(id, day, person, &attempt.model);
    let Some(sealed) = days::seal(tx, sealer, day, person, &place, &attempt.encode())? else { return Ok(()) };
    tx.execute(
        "INSERT INTO attempts (id, day, model, person, sealed) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![id, day, attempt.model.0, person.map(|person| person.0), sealed],
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
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for row in all {
        let attempt = row.open(conn, sealer)?;
        if row.person == Some(person) || row.shows(attempt.as_ref(), &samples) {
            found.push((row, attempt));
        } else if let Some(attempt) = attempt {
            others.push((way(&attempt), row));
        }
    }
    // While the encoder is changed a way past the door is kept once by each: one that is theirs makes the other theirs.
    let theirs: HashSet<Way> = found.iter().filter_map(|(_, attempt)| attempt.as_ref().map(way)).collect();
    for (_, row) in others.into_iter().filter(|(way, _)| theirs.contains(way)) {
        let attempt = row.open(conn, sealer)?;
        found.push((row, attempt));
    }
    found.sort_by_key(|(row, _)| row.id);
    Ok(found)
}

/// Tells one face on its way past a door from all others.
type Way = (EventId, String, TrackId, Timestamp);

fn way(attempt: &PastAttempt) -> Way {
    (attempt.run, attempt.door.clone(), attempt.face.track, attempt.wall)
}

/// Takes out whatever may show this person; how many attempts that were.
pub(super) fn forget(tx: &Transaction<'_>, sealer: &Sealer, person: PersonId) -> Result<usize, Trouble> {
    let gone = of_person(tx, sealer, person)?;
    for (row, _) in &gone {
        tx.execute("DELETE FROM attempts WHERE id = ?1", [row.id])?;
    }
    days::forget_empty(tx)?;
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
