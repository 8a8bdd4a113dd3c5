//! The rows of `events`: written once, never changed, read by filter through their indexes.

use jiff::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, Row, Transaction, params, params_from_iter};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::people;
use super::trouble::Trouble;
use crate::clock::MonoTime;
use crate::gallery::PersonId;
use crate::journal::{Event, EventId, Filter, PersonRef, Record, Stamp};

/// Writes an event within a transaction.
pub(super) fn insert(
    tx: &Transaction<'_>,
    event: &Event,
    at: Stamp,
    boot_id: &str,
) -> rusqlite::Result<EventId> {
    let mut insert = tx.prepare_cached(
        "INSERT INTO events (wall, mono_ms, boot_id, kind, person, person_name, actor, detail)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    insert.execute(params![
        micros(at.wall),
        at.mono.as_millis().cast_signed(),
        boot_id,
        tag(&event.kind),
        event.person.as_ref().map(|p| p.id.0),
        event.person.as_ref().map(|p| &p.name),
        event.actor,
        event.detail.to_string(),
    ])?;
    Ok(EventId(tx.last_insert_rowid()))
}

/// The records that a filter lets through, oldest first.
pub(super) fn select(conn: &Connection, filter: &Filter) -> Result<Vec<Record>, Trouble> {
    let (sql, values) = query(filter);
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(read(row)?);
    }
    // The newest were asked for first, because `limit` counts from there.
    records.reverse();
    Ok(records)
}

/// The statement for a filter: only the conditions that are set, so that SQLite sees which index serves.
fn query(filter: &Filter) -> (String, Vec<Value>) {
    let mut conditions: Vec<String> = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    if let Some(after) = filter.after {
        conditions.push("id > ?".into());
        values.push(after.0.into());
    }
    if let Some(since) = filter.since {
        conditions.push(SINCE.into());
        values.extend([micros_up(since).into(), micros_up(since).into()]);
    }
    if let Some(until) = filter.until {
        conditions.push(UNTIL.into());
        values.extend([micros_up(until).into(), micros_up(until).into()]);
    }
    if let Some(person) = &filter.person {
        conditions.push(OF_PERSON.into());
        values.extend([person.trim().to_owned().into(), people::key(person).into()]);
    }
    if !filter.kinds.is_empty() {
        conditions.push(format!("kind IN ({})", vec!["?"; filter.kinds.len()].join(", ")));
        values.extend(filter.kinds.iter().map(|kind| Value::from(tag(kind))));
    }
    let wanted = match conditions.as_slice() {
        [] => String::new(),
        some => format!("WHERE {}", some.join(" AND ")),
    };
    // A negative limit is none.
    values.push(filter.limit.map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX)).into());
    (format!("{RECORD} {wanted} ORDER BY id DESC LIMIT ?"), values)
}

const RECORD: &str =
    "SELECT id, wall, mono_ms, boot_id, kind, person, person_name, actor, detail FROM events";

/// Records stand nearly in the order of the calendar, but for clocks that were set. So the times, looked up in their
/// index alone, bound the numbers, and the numbers are read backwards only as far as needed. The `+` keeps SQLite from
/// finding the least number by reading the records themselves from the first on.
const SINCE: &str = "wall >= ? AND id >= (SELECT min(+id) FROM events WHERE wall >= ?)";
const UNTIL: &str = "wall < ? AND id <= (SELECT max(+id) FROM events WHERE wall < ?)";

/// Whoever bore the name when it happened, and whoever bears it now under whatever name before: an index each.
const OF_PERSON: &str = "id IN (SELECT id FROM events WHERE person_name = ? COLLATE NOCASE
    UNION SELECT id FROM events WHERE person = (SELECT id FROM people WHERE name_key = ?))";

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
    let event = Event { kind, person, actor: row.get(7)?, detail };
    Ok(Record { id: EventId(id), at, boot_id: row.get(3)?, event })
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
    fn every_filter_reads_through_an_index() {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&dir.path().join("a.db"), OpenMode::Create, "boot", &Keys::of_a_test())
            .unwrap();
        let time = Some(Timestamp::UNIX_EPOCH);
        let none = Filter::default();
        let plan = |filter: &Filter| -> String {
            let (sql, values) = query(filter);
            let mut statement = store.conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let steps = statement.query_map(params_from_iter(values), |row| row.get::<_, String>(3)).unwrap();
            steps.collect::<Result<Vec<_>, _>>().unwrap().join("; ")
        };
        for (filter, index) in [
            (Filter { since: time, ..none.clone() }, "COVERING INDEX events_by_wall (wall>?)"),
            (
                Filter { until: time, limit: Some(9), ..none.clone() },
                "COVERING INDEX events_by_wall (wall<?)",
            ),
            (Filter { since: time, until: time, ..none.clone() }, "(rowid>? AND rowid<?)"),
            (Filter { kinds: vec![EventKind::Fault], ..none.clone() }, "events_by_kind"),
            (Filter { kinds: vec![EventKind::Start, EventKind::Stop], ..none.clone() }, "events_by_kind"),
            (Filter { person: Some("Ada".into()), ..none.clone() }, "events_by_person_name"),
            (Filter { person: Some("Ada".into()), ..none.clone() }, "events_by_person (person=?)"),
            (Filter { after: Some(EventId(7)), ..none.clone() }, "INTEGER PRIMARY KEY (rowid>?)"),
        ] {
            let plan = plan(&filter);
            assert!(plan.contains(index), "{filter:?}: {plan}");
            assert!(!plan.contains("SCAN events"), "{filter:?} reads the whole journal: {plan}");
        }
        assert_eq!(
            plan(&Filter { limit: Some(5), ..none }),
            "SCAN events",
            "backwards, five rows and no sorting"
        );
    }
}
