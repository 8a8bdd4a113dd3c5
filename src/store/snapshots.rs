//! The rows of `snapshots`: small pictures of faces that were refused, kept for some days where the operator wants that.
//!
//! Each is sealed as a kept attempt is: with the key of whoever it may show, if anybody, and over that with the key of its day.
//! Whoever looks at one is in the journal, before they see it.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde_json::json;
use zeroize::Zeroizing;

use super::days::{self, day_of};
use super::sealing::Sealer;
use super::trouble::Trouble;
use super::{SqliteStore, StoreError, chain};
use crate::clock::MonoTime;
use crate::gallery::PersonId;
use crate::journal::{Event, EventId, EventKind, Stamp};
use crate::seal::Place;

/// Rows taken out in one go: the door waits for it.
const AT_ONCE: i64 = 64;
/// Largest picture that is kept, in bytes; many times what one takes.
const MAX_PICTURE: usize = 256 << 10;
const PRUNE_EVERY: Duration = Duration::from_secs(60);
const PRUNE_ON: Duration = Duration::from_secs(1);

/// For how long pictures of refusals are kept; by default not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepSnapshots {
    /// Days, the current one not counted; `None` keeps none.
    pub days: Option<u32>,
    /// Beyond so many the oldest go.
    pub most: u64,
}

/// A picture of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The refusal's record.
    pub event: EventId,
    /// Whom it may show.
    pub person: Option<PersonId>,
    /// JPEG.
    pub jpeg: Vec<u8>,
}

/// Pictures of refusals. Part of every [`Store`](super::Store).
pub trait Album {
    /// Keeps a picture, of nobody who is not enrolled any more. Nothing where none are to be kept.
    ///
    /// # Errors
    /// When it could not be made durable.
    fn keep_snapshot(&mut self, snapshot: &Snapshot, at: Stamp) -> Result<(), StoreError>;

    /// The picture of a refusal, once it is written down who looks at it; `None` where there is none.
    ///
    /// # Errors
    /// The database's, or when the device key is not at hand.
    fn look_at_snapshot(
        &mut self,
        event: EventId,
        actor: &str,
        at: Stamp,
    ) -> Result<Option<Vec<u8>>, StoreError>;
}

impl Album for SqliteStore {
    fn keep_snapshot(&mut self, snapshot: &Snapshot, at: Stamp) -> Result<(), StoreError> {
        if self.snapshots.days.is_none() || snapshot.jpeg.len() > MAX_PICTURE {
            return Ok(());
        }
        let sealer = self.sealer()?.clone();
        self.write("keeping a picture", |tx, _| insert(tx, &sealer, snapshot, day_of(at)))
    }

    fn look_at_snapshot(
        &mut self,
        event: EventId,
        actor: &str,
        at: Stamp,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let sealer = self.sealer()?.clone();
        self.write("looking at a picture", |tx, pen| {
            let row = tx.prepare_cached(&format!("{ROW} WHERE event = ?1"))?.query_row([event.0], Kept::read);
            let Some(row) = row.optional()? else { return Ok(None) };
            let Some(picture) = row.open(tx, &sealer)? else {
                return Err(Trouble::Damaged(format!(
                    "the picture of event {} does not open; `accessd check --repair` takes it out",
                    event.0
                )));
            };
            let detail = json!({ "of": event });
            let seen = Event { actor: Some(actor.to_owned()), ..Event::new(EventKind::PictureSeen, detail) };
            chain::append(tx, &seen, at, pen)?;
            Ok(Some(picture.to_vec()))
        })
    }
}

impl SqliteStore {
    /// Keeps pictures of refusals from now on, and takes out those that are too many or too old.
    #[must_use]
    pub fn with_snapshots(mut self, keep: KeepSnapshots) -> Self {
        self.snapshots = keep;
        self.next_snapshot_prune = MonoTime::default();
        self
    }

    /// Takes old pictures out when that is due, a step at a time.
    pub(super) fn prune_snapshots(&mut self, at: Stamp) -> Result<(), StoreError> {
        if at.mono < self.next_snapshot_prune {
            return Ok(());
        }
        let (keep, trusted) = (self.snapshots, self.pen.clock_trusted == Some(true));
        let due = self.read("looking for old pictures", |conn| {
            days::due(conn, ("snapshots", "event"), (keep.days, keep.most), trusted, at, AT_ONCE)
        })?;
        let more = due.len() as i64 >= AT_ONCE;
        if !due.is_empty() {
            self.commit("taking old pictures out", |tx, _| {
                for event in &due {
                    tx.execute("DELETE FROM snapshots WHERE event = ?1", [event])?;
                }
                days::forget_empty(tx)?;
                Ok(())
            })?;
            self.erase_traces();
        }
        self.next_snapshot_prune = at.mono + if more { PRUNE_ON } else { PRUNE_EVERY };
        Ok(())
    }
}

const ROW: &str = "SELECT event, day, person, sealed FROM snapshots";

/// A row as it is stored.
pub(super) struct Kept {
    pub event: i64,
    day: i64,
    person: Option<PersonId>,
    pub sealed: Vec<u8>,
}

impl Kept {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let person: Option<i64> = row.get(2)?;
        Ok(Self { event: row.get(0)?, day: row.get(1)?, person: person.map(PersonId), sealed: row.get(3)? })
    }

    /// The rows of one person, or all.
    pub fn of(conn: &Connection, person: Option<PersonId>) -> Result<Vec<Self>, Trouble> {
        let mut rows = conn.prepare(&format!("{ROW} WHERE ?1 IS NULL OR person = ?1 ORDER BY event"))?;
        let rows = rows.query_map([person.map(|person| person.0)], Self::read)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The picture; `None` when it does not open.
    pub fn open(&self, conn: &Connection, sealer: &Sealer) -> Result<Option<Zeroizing<Vec<u8>>>, Trouble> {
        let place = place(self.event, self.day, self.person);
        days::open(conn, sealer, self.day, self.person, &place, &self.sealed)
    }
}

/// A picture opens as that of this event, day and person alone.
fn place(event: i64, day: i64, person: Option<PersonId>) -> Place {
    let person = person.map_or(0, |person| person.0);
    Place::new("accessd snapshot").number(event).number(day).number(person)
}

fn insert(tx: &Transaction<'_>, sealer: &Sealer, snapshot: &Snapshot, day: i64) -> Result<(), Trouble> {
    let Snapshot { event, person, jpeg } = snapshot;
    let place = place(event.0, day, *person);
    let Some(sealed) = days::seal(tx, sealer, day, *person, &place, jpeg)? else { return Ok(()) };
    tx.execute(
        "INSERT OR REPLACE INTO snapshots (event, day, person, sealed) VALUES (?1, ?2, ?3, ?4)",
        params![event.0, day, person.map(|person| person.0), sealed],
    )?;
    Ok(())
}

/// Those that do not open.
pub(super) fn shut(conn: &Connection, sealer: &Sealer) -> Result<Vec<i64>, Trouble> {
    let mut shut = Vec::new();
    for row in Kept::of(conn, None)? {
        if row.open(conn, sealer)?.is_none() {
            shut.push(row.event);
        }
    }
    Ok(shut)
}
