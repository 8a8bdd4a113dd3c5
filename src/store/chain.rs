//! The chain beside the rows of `events`: each new record's hash, signed checkpoints, and heads handed out. What is hashed
//! and signed is `journal::chain`'s.

use std::cell::RefCell;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde_json::json;

use super::heads::HeadFile;
use super::journal::{micros, tag};
use super::trouble::Trouble;
use crate::clock::SystemClock;
use crate::journal::chain::{CHECKPOINT_EVERY, Checkpoint, Fields, Hash, Head, Key, Mark, Pruned, Seal};
use crate::journal::{Event, EventId, EventKind, Stamp};
use crate::seal::DeviceKey;

/// What a writer signs with, and where it hands heads to.
#[derive(Clone, Debug, Default)]
pub struct Signing {
    /// The device's key; without it there are no checkpoints and nothing is pruned.
    pub seal: Option<Arc<Seal>>,
    /// A file elsewhere that heads are appended to.
    pub head_file: Option<HeadFile>,
}

/// What a device signs its journal with.
pub fn journal_seal(device: &DeviceKey) -> Seal {
    Seal::from_device_secret(device.derive("accessd 2026-11 signing the journal").bytes())
}

/// What every record is written with.
#[derive(Debug)]
pub(super) struct Pen {
    pub(super) boot_id: String,
    /// Whether the calendar is believed; `None` while nobody has said.
    pub(super) clock_trusted: Option<bool>,
    pub(super) signing: Signing,
    /// A checkpoint of the transaction under way: handed out once it is on disk.
    signed: RefCell<Option<Head>>,
}

impl Pen {
    pub(super) fn new(boot_id: &str) -> Self {
        Self {
            boot_id: boot_id.to_owned(),
            clock_trusted: None,
            signing: Signing::default(),
            signed: RefCell::new(None),
        }
    }

    /// Forgets a checkpoint of a transaction that came to nothing.
    pub(super) fn lift(&self) {
        self.signed.take();
    }

    /// After a commit: hands the newest head out of the machine's reach, if there is one.
    pub(super) fn hand_out(&self) {
        let Some(head) = self.signed.take() else { return };
        log::info!(event = head.id, hash = head.hash.to_string().as_str(); "{head}");
        if let Some(file) = &self.signing.head_file {
            file.append(head);
        }
    }
}

/// Writes an event as the next record of the chain.
pub(super) fn append(tx: &Transaction<'_>, event: &Event, at: Stamp, pen: &Pen) -> Result<EventId, Trouble> {
    let newest = newest(tx)?;
    // The database's own count, so that a number is never used again: where the end was cut off, a gap stays.
    let given: i64 = tx
        .prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'events'")?
        .query_row([], |row| row.get(0))
        .optional()?
        .unwrap_or(0);
    let id = newest.id.max(given) + 1;
    let (kind, detail) = (tag(&event.kind), event.detail.to_string());
    let fields = Fields {
        id,
        wall_us: micros(at.wall),
        mono_ms: at.mono.as_millis().cast_signed(),
        boot_id: &pen.boot_id,
        kind: &kind,
        person: event.person.as_ref().map(|person| person.id.0),
        person_name: event.person.as_ref().map(|person| person.name.as_str()),
        actor: event.actor.as_deref(),
        clock_trusted: pen.clock_trusted,
        detail: &detail,
        door: event.door.as_deref(),
    };
    let hash = fields.hash(newest.hash);
    tx.prepare_cached(
        "INSERT INTO events (id, wall, mono_ms, boot_id, kind, person, person_name, actor, detail, clock_trusted, hash,
         door)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        id,
        fields.wall_us,
        fields.mono_ms,
        fields.boot_id,
        kind,
        fields.person,
        fields.person_name,
        fields.actor,
        detail,
        fields.clock_trusted,
        hash.0,
        fields.door,
    ])?;
    if let Some(seal) = pen.signing.seal.as_deref()
        && is_due(tx, event.kind, id)?
    {
        sign(tx, Head { id, hash }, at, seal)?;
        *pen.signed.borrow_mut() = Some(Head { id, hash });
    }
    Ok(EventId(id))
}

/// A signature is due with what begins and ends a stretch, and after so many records. A grant does not wait for it: the
/// next record follows within milliseconds.
fn is_due(tx: &Transaction<'_>, kind: EventKind, id: i64) -> rusqlite::Result<bool> {
    use EventKind::{Chained, Fault, Grant, Pruned, Start, Stop};
    match kind {
        Grant => Ok(false),
        Start | Stop | Fault | Chained | Pruned => Ok(true),
        _ => Ok((id - signed_to(tx)?).unsigned_abs() >= CHECKPOINT_EVERY),
    }
}

/// Signs the newest record if records have come since the last signature; whether there were.
pub(super) fn sign_newest(tx: &Transaction<'_>, at: Stamp, pen: &Pen) -> Result<bool, Trouble> {
    let (head, Some(seal)) = (newest(tx)?, pen.signing.seal.as_deref()) else { return Ok(false) };
    if head.id <= signed_to(tx)? {
        return Ok(false);
    }
    sign(tx, head, at, seal)?;
    *pen.signed.borrow_mut() = Some(head);
    Ok(true)
}

fn sign(tx: &Transaction<'_>, head: Head, at: Stamp, seal: &Seal) -> Result<(), Trouble> {
    let first = signed_to(tx)? + 1;
    let (earliest_us, latest_us) = tx
        .prepare_cached("SELECT min(wall), max(wall) FROM events WHERE id >= ?1")?
        .query_row([first], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let checkpoint = Checkpoint { first, head, earliest_us, latest_us, at_us: micros(at.wall) };
    let mark = checkpoint.sign(genesis(tx)?, seal);
    tx.prepare_cached(
        "INSERT INTO checkpoints (id, hash, first, earliest, latest, signed_at, key, signature)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        head.id,
        head.hash.0,
        first,
        earliest_us,
        latest_us,
        checkpoint.at_us,
        mark.key.0,
        mark.signature
    ])?;
    Ok(())
}

/// The newest record that a signature covers, or what was pruned.
pub(super) fn signed_to(conn: &Connection) -> rusqlite::Result<i64> {
    let sql =
        "SELECT max(coalesce((SELECT max(id) FROM checkpoints), 0), coalesce((SELECT last FROM pruned), 0))";
    conn.prepare_cached(sql)?.query_row([], |row| row.get(0))
}

/// Whether nothing has come since the last signature.
pub(super) fn is_signed(conn: &Connection) -> Result<bool, Trouble> {
    Ok(newest(conn)?.id <= signed_to(conn)?)
}

/// What the chain begins with.
pub(super) fn genesis(conn: &Connection) -> rusqlite::Result<Hash> {
    conn.prepare_cached("SELECT genesis FROM journal_state")?.query_row([], |row| Ok(Hash(row.get(0)?)))
}

/// The newest record; where there is none, what the next one follows on.
pub(super) fn newest(conn: &Connection) -> Result<Head, Trouble> {
    let newest = conn
        .prepare_cached("SELECT id, hash FROM events ORDER BY id DESC LIMIT 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get::<_, Option<[u8; 32]>>(1)?)))
        .optional()?;
    match newest {
        Some((id, Some(hash))) => Ok(Head { id, hash: Hash(hash) }),
        Some((id, None)) => Err(Trouble::Damaged(format!("record {id} has no hash"))),
        None => match pruned(conn)? {
            Some((pruned, _)) => Ok(pruned.head),
            None => Ok(Head { id: 0, hash: genesis(conn)? }),
        },
    }
}

/// What was pruned, with its signature.
pub(super) fn pruned(conn: &Connection) -> Result<Option<(Pruned, Mark)>, Trouble> {
    let mut statement =
        conn.prepare_cached("SELECT last, hash, earliest, latest, kinds, key, signature FROM pruned")?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let kinds: String = row.get(4)?;
    let kinds: std::collections::BTreeMap<String, u64> = serde_json::from_str(&kinds)
        .map_err(|e| Trouble::Damaged(format!("the summary of pruned records cannot be read ({e})")))?;
    let pruned = Pruned {
        records: kinds.values().sum(),
        head: Head { id: row.get(0)?, hash: Hash(row.get(1)?) },
        earliest: super::journal::timestamp(row.get(2)?)?,
        latest: super::journal::timestamp(row.get(3)?)?,
        kinds,
    };
    Ok(Some((pruned, Mark { key: Key(row.get(5)?), signature: row.get(6)? })))
}

/// A row of `SELECT id, hash, first, earliest, latest, signed_at, key, signature FROM checkpoints`.
pub(super) fn read_checkpoint(row: &Row<'_>) -> rusqlite::Result<(Checkpoint, Mark)> {
    let checkpoint = Checkpoint {
        head: Head { id: row.get(0)?, hash: Hash(row.get(1)?) },
        first: row.get(2)?,
        earliest_us: row.get(3)?,
        latest_us: row.get(4)?,
        at_us: row.get(5)?,
    };
    Ok((checkpoint, Mark { key: Key(row.get(6)?), signature: row.get(7)? }))
}

/// The fields of a row of [`super::journal::ROW`].
pub(super) fn fields<'a>(row: &'a Row<'_>) -> rusqlite::Result<Fields<'a>> {
    let text = |i| row.get_ref(i).and_then(|value| Ok(value.as_str()?));
    let text_or_none = |i| row.get_ref(i).and_then(|value| Ok(value.as_str_or_null()?));
    Ok(Fields {
        id: row.get(0)?,
        wall_us: row.get(1)?,
        mono_ms: row.get(2)?,
        boot_id: text(3)?,
        kind: text(4)?,
        person: row.get(5)?,
        person_name: text_or_none(6)?,
        actor: text_or_none(7)?,
        detail: text(8)?,
        door: text_or_none(11)?,
        clock_trusted: match row.get(9)? {
            None => None,
            Some(0) => Some(false),
            Some(1) => Some(true),
            Some(other) => return Err(rusqlite::Error::IntegralValueOutOfRange(9, other)),
        },
    })
}

/// Chains the records of a database from before there was a chain, as they are, and writes that down. Nothing to do when
/// all are.
pub(super) fn adopt(conn: &mut Connection, pen: &Pen) -> Result<(), Trouble> {
    let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let loose: bool =
        tx.query_row("SELECT EXISTS (SELECT 1 FROM events WHERE hash IS NULL)", [], |row| row.get(0))?;
    if !loose {
        return Ok(());
    }
    let mut before = genesis(&tx)?;
    let (mut count, mut first, mut last) = (0u64, None, 0);
    {
        let mut rows = tx.prepare(&format!("{} ORDER BY id", super::journal::ROW))?;
        let mut chain = tx.prepare("UPDATE events SET hash = ?2 WHERE id = ?1")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let fields = fields(row)?;
            before = fields.hash(before);
            chain.execute(params![fields.id, before.0])?;
            (count, last) = (count + 1, fields.id);
            first.get_or_insert(fields.id);
        }
    }
    let detail = json!({ "what": "records from before the journal was a chain", "records": count,
        "first": first, "last": last });
    append(&tx, &Event::new(EventKind::Chained, detail), Stamp::now(&SystemClock), pen)?;
    tx.commit()?;
    Ok(())
}
