//! Takes old records out of the journal, whole stretches between signatures at a time. What they were in sum stays as a
//! signed summary, on which the chain goes on, and each step is a record of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde_json::json;

use super::chain::{self, Pen};
use super::journal::{micros, timestamp};
use super::trouble::Trouble;
use crate::journal::chain::{Hash, Head, Pruned};
use crate::journal::{Event, EventKind, Stamp};

/// How long records are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Older ones go; `None` keeps them.
    pub age: Option<Duration>,
    /// Beyond so many the oldest go; `None` keeps them.
    pub count: Option<u64>,
}

/// Records taken out in one go at most, but for one stretch: the door waits for it.
const AT_ONCE: i64 = 512;

/// What is to go: up to which record, and why.
struct Due {
    last: i64,
    why: &'static str,
    /// Whether more is due after this step.
    more: bool,
}

/// Takes out what is due, a step at a time; whether more is due.
pub(super) fn prune(
    tx: &Transaction<'_>,
    retention: Retention,
    at: Stamp,
    pen: &Pen,
) -> Result<bool, Trouble> {
    let Some(seal) = pen.signing.seal.as_deref() else { return Ok(false) };
    let before = chain::pruned(tx)?.map(|(pruned, _)| pruned);
    let gone = before.as_ref().map_or(0, |pruned| pruned.head.id);
    let Some(due) = due(tx, retention, at, pen, gone)? else { return Ok(false) };
    let summary = summary(tx, before, due.last)?;
    let mark = summary.sign(chain::genesis(tx)?, seal);
    tx.execute(
        "INSERT OR REPLACE INTO pruned (only_row, last, hash, earliest, latest, kinds, key, signature)
         VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            summary.head.id,
            summary.head.hash.0,
            micros(summary.earliest),
            micros(summary.latest),
            serde_json::to_string(&summary.kinds).expect("counts are plain data"),
            mark.key.0,
            mark.signature
        ],
    )?;
    tx.execute("DELETE FROM events WHERE id <= ?1", [due.last])?;
    tx.execute("DELETE FROM checkpoints WHERE id <= ?1", [due.last])?;
    let detail = json!({ "why": due.why, "first": gone + 1, "last": due.last, "records": due.last - gone,
        "hash": summary.head.hash });
    chain::append(tx, &Event::new(EventKind::Pruned, detail), at, pen)?;
    Ok(due.more)
}

/// Records that were signed and are too old or too many. By the calendar only while it is believed: a wrong one must not
/// take out a journal.
fn due(
    conn: &Connection,
    retention: Retention,
    at: Stamp,
    pen: &Pen,
    gone: i64,
) -> Result<Option<Due>, Trouble> {
    let one = |sql: &str, values: &[i64]| -> rusqlite::Result<Option<i64>> {
        conn.prepare_cached(sql)?.query_row(rusqlite::params_from_iter(values), |row| row.get(0))
    };
    let mut wanted: Option<(i64, &'static str)> = None;
    if let (Some(age), Some(true)) = (retention.age, pen.clock_trusted) {
        let now = micros(at.wall);
        let limit = now.saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
        // Up to the first stretch that is not old enough. One of the future was written by a wrong clock and does not
        // count; one of the distant past among new ones does not either, as it stands behind them.
        let stop = one("SELECT min(id) FROM checkpoints WHERE latest >= ? AND latest <= ?", &[limit, now])?;
        let last = one(
            "SELECT max(id) FROM checkpoints WHERE latest < ? AND id < ?",
            &[limit, stop.unwrap_or(i64::MAX)],
        )?;
        wanted = last.map(|last| (last, "too old"));
    }
    if let Some(count) = retention.count {
        let most = i64::try_from(count).unwrap_or(i64::MAX);
        let last = one(
            "SELECT max(id) FROM checkpoints WHERE id <= ?",
            &[chain::newest(conn)?.id.saturating_sub(most)],
        )?;
        if let Some(last) = last.filter(|last| wanted.is_none_or(|(other, _)| *last > other)) {
            wanted = Some((last, "too many"));
        }
    }
    let Some((last, why)) = wanted else { return Ok(None) };
    let step = match one("SELECT max(id) FROM checkpoints WHERE id <= ?", &[gone + AT_ONCE])? {
        Some(step) => step,
        None => one("SELECT min(id) FROM checkpoints", &[])?.unwrap_or(last),
    };
    let step = step.min(last);
    Ok((step > gone).then_some(Due { last: step, why, more: step < last }))
}

/// The summary of all that is gone with the records up to `last`.
fn summary(conn: &Connection, before: Option<Pruned>, last: i64) -> Result<Pruned, Trouble> {
    let hash: Option<[u8; 32]> = conn
        .query_row("SELECT hash FROM events WHERE id = ?1", [last], |row| row.get(0))
        .optional()?
        .flatten();
    let hash = hash.ok_or_else(|| Trouble::Damaged(format!("record {last} is signed and missing")))?;
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    let (mut earliest, mut latest) = (None, None);
    let mut by_kind =
        conn.prepare("SELECT kind, count(*), min(wall), max(wall) FROM events WHERE id <= ?1 GROUP BY kind")?;
    let mut rows = by_kind.query([last])?;
    while let Some(row) = rows.next()? {
        *kinds.entry(row.get(0)?).or_default() += row.get::<_, i64>(1)?.unsigned_abs();
        let (from, to) = (timestamp(row.get(2)?)?, timestamp(row.get(3)?)?);
        earliest = Some(earliest.map_or(from, |other: jiff::Timestamp| other.min(from)));
        latest = Some(latest.map_or(to, |other: jiff::Timestamp| other.max(to)));
    }
    if let Some(before) = before {
        for (kind, count) in before.kinds {
            *kinds.entry(kind).or_default() += count;
        }
        earliest = earliest.map(|other| other.min(before.earliest));
        latest = latest.map(|other| other.max(before.latest));
    }
    let (Some(earliest), Some(latest)) = (earliest, latest) else {
        return Err(Trouble::Damaged(format!("there is no record up to {last}")));
    };
    let records = kinds.values().sum();
    Ok(Pruned { records, head: Head { id: last, hash: Hash(hash) }, earliest, latest, kinds })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::MonoTime;
    use crate::journal::Filter;
    use crate::journal::chain::{Against, Seal};
    use crate::seal::Keys;
    use crate::store::{OpenMode, Signing, SqliteStore, Store};

    const DAY: u64 = 86_400;

    fn at(s: u64) -> Stamp {
        let wall: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        Stamp { wall: wall + Duration::from_secs(s), mono: MonoTime::from_millis(1000 * s) }
    }

    /// A journal with a start, 20 refusals and a stop on each of `days` days.
    fn store(dir: &tempfile::TempDir, days: u64, retention: Retention) -> SqliteStore {
        let seal = Arc::new(Seal::from_device_secret(&[1; 32]));
        let store = SqliteStore::open(&dir.path().join("a.db"), OpenMode::Create, "boot", &Keys::of_a_test())
            .unwrap();
        let mut store =
            store.with_signing(Signing { seal: Some(seal), head_file: None }).with_retention(retention);
        store.believe_clock(true);
        for day in 0..days {
            store.append(&Event::new(EventKind::Start, json!({})), at(day * DAY)).unwrap();
            for n in 1..=20 {
                let event = Event::new(EventKind::Refusal, json!({ "n": n, "day": day }));
                store.append(&event, at(day * DAY + n)).unwrap();
            }
            store.append(&Event::new(EventKind::Stop, json!({})), at(day * DAY + 100)).unwrap();
        }
        store
    }

    fn tend(store: &mut SqliteStore, from: u64) {
        for minute in 0..60 {
            store.tend(at(from + 60 * minute)).unwrap();
        }
    }

    fn whole(store: &SqliteStore) -> crate::journal::chain::Verification {
        let keys = vec![Seal::from_device_secret(&[1; 32]).public()];
        let found = store.verify(&Against { keys, ..Against::default() }).unwrap();
        assert!(found.is_whole(), "{found:?}");
        found
    }

    fn first_day(store: &SqliteStore) -> u64 {
        let records =
            store.records(&Filter { kinds: vec![EventKind::Refusal], ..Filter::default() }).unwrap();
        records[0].event.detail["day"].as_u64().unwrap()
    }

    #[test]
    fn records_go_by_age_and_the_chain_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let age = Some(Duration::from_secs(10 * DAY));
        let mut store = store(&dir, 40, Retention { age, count: None });
        let head = whole(&store).head.unwrap();
        tend(&mut store, 39 * DAY + 200);
        assert_eq!(first_day(&store), 30);
        let found = whole(&store);
        let pruned = found.pruned.unwrap();
        assert_eq!(pruned.records, 30 * 22);
        assert_eq!(
            pruned.kinds,
            [("refusal", 600), ("start", 30), ("stop", 30)].map(|(k, n)| (k.to_owned(), n)).into()
        );
        assert_eq!((pruned.earliest, pruned.latest), (at(0).wall, at(29 * DAY + 100).wall));
        assert_eq!(found.first, Some(30 * 22 + 1));
        let against = Against { heads: vec![head], ..Against::default() };
        assert!(store.verify(&against).unwrap().is_whole(), "a head from before is still in it");
        let steps = store.records(&Filter { kinds: vec![EventKind::Pruned], ..Filter::default() }).unwrap();
        assert_eq!(steps.iter().map(|s| s.event.detail["records"].as_u64().unwrap()).sum::<u64>(), 30 * 22);
        assert!(steps.len() > 1, "a step at a time: the door waits");
        // Nothing more is due, and nothing more is written.
        tend(&mut store, 39 * DAY + 5_000);
        assert_eq!(
            store.records(&Filter { kinds: vec![EventKind::Pruned], ..Filter::default() }).unwrap(),
            steps
        );
        drop(store);
        let store =
            SqliteStore::open(&dir.path().join("a.db"), OpenMode::Existing, "boot", &Keys::of_a_test())
                .unwrap();
        whole(&store);
    }

    #[test]
    fn records_go_by_count() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = store(&dir, 20, Retention { age: None, count: Some(100) });
        tend(&mut store, 20 * DAY);
        let kept = whole(&store).records;
        assert!((100..100 + 30).contains(&kept), "{kept}: whole stretches");
    }

    #[test]
    fn a_clock_that_is_not_believed_takes_nothing_out_and_a_wrong_stretch_neither() {
        let dir = tempfile::tempdir().unwrap();
        let age = Some(Duration::from_secs(10 * DAY));
        let mut store = store(&dir, 3, Retention { age, count: None });
        store.believe_clock(false);
        tend(&mut store, 4_000 * DAY);
        assert_eq!(first_day(&store), 0);
        // A boot without a clock, long ago by its calendar, among records of now.
        store.believe_clock(true);
        let long_ago = Stamp { wall: jiff::Timestamp::UNIX_EPOCH, ..at(3 * DAY) };
        store.append(&Event::new(EventKind::Start, json!({})), long_ago).unwrap();
        for minute in 0..60 {
            let mono = at(5_000 * DAY + 60 * minute).mono;
            store.tend(Stamp { mono, ..at(4 * DAY + 60 * minute) }).unwrap();
        }
        assert_eq!(first_day(&store), 0, "what stands before it is not older than it is");
        whole(&store);
    }

    #[test]
    fn without_a_key_nothing_is_taken_out() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = store(&dir, 20, Retention { age: None, count: Some(10) });
        store.pen.signing.seal = None;
        tend(&mut store, 20 * DAY);
        assert_eq!(whole(&store).records, 20 * 22);
    }
}
