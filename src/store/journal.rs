//! The rows of `events`: written once, never changed, read by filter through their indexes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::trouble::Trouble;
use super::{chain, people};
use crate::clock::MonoTime;
use crate::gallery::PersonId;
use crate::journal::chain::Hash;
use crate::journal::{Event, EventId, EventKind, Filter, PersonRef, Record, Stamp};

/// The records that a filter lets through, oldest first.
pub(super) fn select(conn: &Connection, filter: &Filter) -> Result<Vec<Record>, Trouble> {
    let limit = filter.limit.unwrap_or(usize::MAX);
    let Some(bounds) = bounds(conn, filter)? else { return Ok(Vec::new()) };
    let ways = ways(conn, filter)?;
    let mut records = match ways.as_slice() {
        [] => Vec::new(),
        [Way { person: None, kind: None, .. }] => {
            let (sql, values) = statement(ROW, &ways[0], &bounds, limit);
            let mut statement = conn.prepare_cached(&sql)?;
            let mut rows = statement.query(params_from_iter(values))?;
            let mut records = Vec::new();
            while let Some(row) = rows.next()? {
                records.push(read(row)?);
            }
            records
        }
        ways => by_number(conn, &numbers(conn, ways, &bounds, limit)?)?,
    };
    // The newest were asked for first, because `limit` counts from there.
    records.reverse();
    Ok(records)
}

/// One way to find records through one index, the newest first: all, those of a kind, or those of a person and a kind.
#[derive(Clone, Debug)]
struct Way {
    person: Option<Whose>,
    kind: Option<String>,
    door: Option<String>,
}

#[derive(Clone, Debug)]
enum Whose {
    /// Whoever bore the name when it happened.
    Named(String),
    /// Whoever bears it now, under whatever name before.
    Now(i64),
}

/// The ways whose records together are what the filter asks for. An index that is read by kind gives the records of one kind
/// in their order, so that the newest of several kinds are found without sorting all of them: each way is asked for the
/// newest, and of those the newest are taken.
fn ways(conn: &Connection, filter: &Filter) -> Result<Vec<Way>, Trouble> {
    let mut kinds: Vec<String> = filter.kinds.iter().map(tag).collect();
    let door = filter.door.as_ref().map(|door| door.trim().to_owned());
    let all = Way { person: None, kind: None, door };
    let Some(person) = &filter.person else {
        if kinds.is_empty() {
            return Ok(vec![all]);
        }
        return Ok(kinds.into_iter().map(|kind| Way { kind: Some(kind), ..all.clone() }).collect());
    };
    if kinds.is_empty() {
        kinds.extend(EventKind::all().iter().map(tag));
    }
    let mut whose = vec![Whose::Named(person.trim().to_owned())];
    let now = conn
        .prepare_cached("SELECT id FROM people WHERE name_key = ?1")?
        .query_row([people::key(person)], |row| row.get(0))
        .optional()?;
    whose.extend(now.map(Whose::Now));
    let mut ways = Vec::new();
    for person in whose {
        let of_kind =
            |kind: &String| Way { person: Some(person.clone()), kind: Some(kind.clone()), ..all.clone() };
        ways.extend(kinds.iter().map(of_kind));
    }
    Ok(ways)
}

/// The newest numbers by all ways together, newest first.
fn numbers(conn: &Connection, ways: &[Way], bounds: &Bounds, limit: usize) -> Result<Vec<i64>, Trouble> {
    let mut found = BTreeSet::new();
    for way in ways {
        let (sql, values) = statement("SELECT id FROM events", way, bounds, limit);
        let mut statement = conn.prepare_cached(&sql)?;
        for id in statement.query_map(params_from_iter(values), |row| row.get::<_, i64>(0))? {
            found.insert(id?);
        }
    }
    Ok(found.into_iter().rev().take(limit).collect())
}

fn by_number(conn: &Connection, ids: &[i64]) -> Result<Vec<Record>, Trouble> {
    let mut statement = conn.prepare_cached(&format!("{ROW} WHERE id = ?1"))?;
    let mut records = Vec::with_capacity(ids.len());
    for id in ids {
        let mut rows = statement.query([id])?;
        if let Some(row) = rows.next()? {
            records.push(read(row)?);
        }
    }
    Ok(records)
}

/// The statement for a way: equality on what its index begins with, bounds of the number, which every index ends with, and
/// the times checked on the rows. The `+` keeps SQLite from reading through the times instead.
fn statement(what: &str, way: &Way, bounds: &Bounds, limit: usize) -> (String, Vec<Value>) {
    let mut conditions: Vec<&str> = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    let mut add = |condition: &'static str, value: Option<Value>| {
        if let Some(value) = value {
            conditions.push(condition);
            values.push(value);
        }
    };
    match &way.person {
        Some(Whose::Named(name)) => add("person_name = ? COLLATE NOCASE", Some(name.clone().into())),
        Some(Whose::Now(id)) => add("person = ?", Some((*id).into())),
        None => {}
    }
    add("kind = ?", way.kind.clone().map(Value::from));
    // An index of its own only where nothing else narrows it down.
    let by_door = if way.kind.is_none() { "door = ? COLLATE NOCASE" } else { "+door = ? COLLATE NOCASE" };
    add(by_door, way.door.clone().map(Value::from));
    add("id > ?", bounds.after.map(Value::from));
    add("id < ?", bounds.before.map(Value::from));
    add("+wall >= ?", bounds.since_us.map(Value::from));
    add("+wall < ?", bounds.until_us.map(Value::from));
    // A negative limit is none.
    values.push(i64::try_from(limit).unwrap_or(-1).into());
    let wanted = match conditions.as_slice() {
        [] => String::new(),
        some => format!("WHERE {}", some.join(" AND ")),
    };
    (format!("{what} {wanted} ORDER BY id DESC LIMIT ?"), values)
}

/// What a filter says of numbers and times.
#[derive(Clone, Debug, Default)]
struct Bounds {
    after: Option<i64>,
    before: Option<i64>,
    since_us: Option<i64>,
    until_us: Option<i64>,
}

/// Above so many records without a checkpoint they are looked up by their times, else one by one.
const LONG_TAIL: i64 = 10_000;

/// Records stand nearly in the order of the calendar, but for clocks that were set. Checkpoints hold the bounds of the
/// calendar between them, so that times bound the numbers exactly, and the numbers are read backwards only as far as
/// needed. `None` when nothing can be within.
fn bounds(conn: &Connection, filter: &Filter) -> Result<Option<Bounds>, Trouble> {
    let mut bounds = Bounds {
        after: filter.after.map(|id| id.0),
        before: filter.before.map(|id| id.0),
        since_us: filter.since.map(micros_up),
        until_us: filter.until.map(micros_up),
    };
    if bounds.since_us.is_none() && bounds.until_us.is_none() {
        return Ok(Some(bounds));
    }
    let one = |sql: &str, values: &[i64]| -> rusqlite::Result<Option<i64>> {
        conn.prepare_cached(sql)?.query_row(params_from_iter(values), |row| row.get(0))
    };
    let signed = chain::signed_to(conn)?;
    let by_index = chain::newest(conn)?.id - signed > LONG_TAIL;
    if let Some(since) = bounds.since_us {
        let first = match by_index {
            true => one("SELECT min(+id) FROM events WHERE wall >= ?", &[since])?,
            false => {
                one("SELECT min(first) FROM checkpoints WHERE latest >= ?", &[since])?.or(Some(signed + 1))
            }
        };
        let Some(first) = first else { return Ok(None) };
        bounds.after = bounds.after.max(Some(first - 1));
    }
    if let Some(until) = bounds.until_us {
        let last = match by_index {
            true => one("SELECT max(+id) FROM events WHERE wall < ?", &[until])?,
            false => one("SELECT max(id) FROM events WHERE id > ? AND +wall < ?", &[signed, until])?
                .or(one("SELECT max(id) FROM checkpoints WHERE earliest < ?", &[until])?),
        };
        let Some(last) = last else { return Ok(None) };
        bounds.before = Some(bounds.before.map_or(last + 1, |before| before.min(last + 1)));
    }
    Ok(Some(bounds))
}

/// A record as it is stored.
pub(super) const ROW: &str = "SELECT id, wall, mono_ms, boot_id, kind, person, person_name, actor, detail, clock_trusted, \
                              hash, door FROM events";

fn read(row: &Row<'_>) -> Result<Record, Trouble> {
    let id: i64 = row.get(0)?;
    let person = match (row.get(5)?, row.get(6)?) {
        (Some(person), Some(name)) => Some(PersonRef { id: PersonId(person), name }),
        _ => None,
    };
    let kind = from_tag(&row.get::<_, String>(4)?, || format!("record {id} has the unknown kind"))?;
    let detail: String = row.get(8)?;
    let detail = serde_json::from_str(&detail)
        .map_err(|e| Trouble::Damaged(format!("the detail of record {id} cannot be read ({e})")))?;
    let at = Stamp {
        wall: timestamp(row.get(1)?)?,
        mono: MonoTime::from_millis(row.get::<_, i64>(2)?.unsigned_abs()),
    };
    let event = Event { kind, person, actor: row.get(7)?, door: row.get(11)?, detail };
    Ok(Record {
        id: EventId(id),
        at,
        boot_id: row.get(3)?,
        clock_trusted: row.get(9)?,
        hash: row.get::<_, Option<[u8; 32]>>(10)?.map(Hash),
        event,
    })
}

/// Microseconds since 1970, as stored; what is finer is dropped.
pub(super) fn micros(at: Timestamp) -> i64 {
    at.as_nanosecond().div_euclid(1000) as i64
}

/// The first stored microsecond that is not before `at`.
fn micros_up(at: Timestamp) -> i64 {
    at.as_nanosecond().div_euclid(1000) as i64 + i64::from(at.as_nanosecond().rem_euclid(1000) > 0)
}

/// A stored time.
pub(super) fn timestamp(micros: i64) -> Result<Timestamp, Trouble> {
    Timestamp::from_microsecond(micros)
        .map_err(|e| Trouble::Damaged(format!("{micros} µs is not a time that can be ({e})")))
}

/// How a value of a plain enum is written in the database: its name in serde, the same as in JSON.
pub(super) fn tag<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(tag)) => tag,
        other => unreachable!("an enum without data is a string in JSON, not {other:?}"),
    }
}

/// The value written as `tag`; `what` begins the complaint about one that this program does not know.
pub(super) fn from_tag<T: DeserializeOwned>(tag: &str, what: impl FnOnce() -> String) -> Result<T, Trouble> {
    serde_json::from_value(tag.into())
        .map_err(|_| Trouble::Damaged(format!("{} {tag:?}, perhaps of a newer accessd", what())))
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::journal::EventKind;
    use crate::seal::Keys;
    use crate::store::{OpenMode, SqliteStore};

    #[test]
    fn every_kind_survives_its_tag() {
        for kind in EventKind::value_variants() {
            let tag = tag(kind);
            let again: EventKind = from_tag(&tag, || unreachable!()).unwrap();
            assert_eq!(again, *kind);
            // What `log --kind` takes is what the database holds.
            assert_eq!(kind.to_possible_value().unwrap().get_name(), tag);
        }
        let trouble =
            from_tag::<EventKind>("teleport", || "record 3 has the unknown kind".into()).unwrap_err();
        assert!(
            matches!(trouble, Trouble::Damaged(what) if what.contains("record 3") && what.contains("teleport"))
        );
    }

    #[test]
    fn times_are_kept_to_the_microsecond_and_compared_without_rounding_down() {
        let at: Timestamp = "2026-11-23T20:26:00.123456789Z".parse().unwrap();
        assert_eq!(timestamp(micros(at)).unwrap().to_string(), "2026-11-23T20:26:00.123456Z");
        assert_eq!(micros_up(at), micros(at) + 1);
        assert_eq!(micros_up(timestamp(micros(at)).unwrap()), micros(at));
        let before_1970: Timestamp = "1969-12-31T23:59:59.9999999Z".parse().unwrap();
        assert_eq!(micros(before_1970), -1);
    }

    #[test]
    fn every_filter_reads_through_an_index_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("a.db"), OpenMode::Create, "boot", &Keys::of_a_test())
            .unwrap();
        let plan = |way: &Way, bounds: &Bounds| -> String {
            let (sql, values) = statement("SELECT id FROM events", way, bounds, 9);
            let mut statement = store.conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let steps = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
            steps.collect::<Result<Vec<_>, _>>().unwrap().join("; ")
        };
        let named = Some(Whose::Named("Ada".into()));
        let (grants, now) = (Some("grant".to_owned()), Some(Whose::Now(1)));
        let all = Way { person: None, kind: None, door: None };
        let within = Bounds { after: Some(7), before: Some(90), since_us: Some(0), until_us: Some(1) };
        for (way, index) in [
            (all.clone(), "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
            (Way { kind: grants.clone(), ..all.clone() }, "events_by_kind (kind=? AND rowid>? AND rowid<?)"),
            (
                Way { person: named, kind: grants.clone(), door: None },
                "events_by_name (person_name=? AND kind=? AND rowid>?",
            ),
            (
                Way { person: now, kind: grants.clone(), door: None },
                "events_by_person (person=? AND kind=? AND rowid>? AND rowid<?)",
            ),
            (
                Way { door: Some("entry".into()), ..all.clone() },
                "events_by_door (door=? AND rowid>? AND rowid<?)",
            ),
            (
                Way { door: Some("entry".into()), kind: grants, ..all.clone() },
                "events_by_kind (kind=? AND rowid>? AND rowid<?)",
            ),
        ] {
            for bounds in [&within, &Bounds { since_us: None, until_us: None, ..within.clone() }] {
                let plan = plan(&way, bounds);
                assert!(plan.contains(index), "{way:?}: {plan}");
                assert!(!plan.contains("TEMP B-TREE") && !plan.contains("SCAN"), "{way:?} is sorted: {plan}");
            }
        }
        assert_eq!(plan(&all, &Bounds::default()), "SCAN events", "backwards, nine rows and no sorting");
    }
}
