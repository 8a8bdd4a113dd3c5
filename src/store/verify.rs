//! Goes over the whole journal: every record against its hash, every checkpoint against its signature, and the indexes
//! that records are found by against the records.

use rusqlite::{Connection, OptionalExtension};

use super::chain;
use super::journal::ROW;
use super::trouble::Trouble;
use crate::journal::chain::{Against, Broken, Hash, Verification, Walk};

/// Reads everything, changes nothing. Takes as long as reading the file does.
pub(super) fn verify(conn: &Connection, against: &Against) -> Result<Verification, Trouble> {
    let pruned = chain::pruned(conn)?;
    let mut walk = Walk::new(chain::genesis(conn)?, pruned, against);
    let mut checkpoints = conn.prepare(
        "SELECT id, hash, first, earliest, latest, signed_at, key, signature FROM checkpoints ORDER BY id",
    )?;
    let mut checkpoints = checkpoints.query_map([], chain::read_checkpoint)?.peekable();
    let mut rows = conn.prepare(&format!("{ROW} ORDER BY id"))?;
    let mut rows = rows.query([])?;
    let mut unreadable = None;
    loop {
        let row = match rows.next() {
            Ok(Some(row)) => row,
            Ok(None) => break,
            Err(error) => {
                unreadable = Some(format!("it cannot be read ({error})"));
                break;
            }
        };
        let taken = chain::fields(row).and_then(|fields| Ok((fields, row.get::<_, Option<[u8; 32]>>(10)?)));
        let (fields, hash) = match taken {
            Ok(taken) => taken,
            Err(error) => {
                unreadable = Some(format!("it cannot be read ({error})"));
                break;
            }
        };
        // A checkpoint of a record that is not there stands before the next one that is.
        while let Some(Ok((checkpoint, mark))) =
            checkpoints.next_if(|c| c.as_ref().is_ok_and(|(c, _)| c.head.id < fields.id))
        {
            walk.checkpoint(&checkpoint, &mark);
        }
        walk.record(&fields, hash.map(Hash));
        while let Some(Ok((checkpoint, mark))) =
            checkpoints.next_if(|c| c.as_ref().is_ok_and(|(c, _)| c.head.id == fields.id))
        {
            walk.checkpoint(&checkpoint, &mark);
        }
        if walk.is_broken() {
            break;
        }
    }
    let next = walk.next_expected();
    for checkpoint in checkpoints {
        match checkpoint {
            Ok((checkpoint, mark)) if unreadable.is_none() => walk.checkpoint(&checkpoint, &mark),
            Ok(_) => {}
            Err(error) => {
                unreadable.get_or_insert(format!("a checkpoint after it cannot be read ({error})"));
            }
        }
    }
    let given: Option<i64> = conn
        .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'events'", [], |row| row.get(0))
        .optional()?;
    let mut found = walk.end(if unreadable.is_some() { 0 } else { given.unwrap_or(0) });
    if let (Some(what), None) = (unreadable, &found.broken) {
        found.broken = Some(Broken { event: next, what });
    }
    if found.is_whole() {
        found.broken = indexes(conn, next)?;
    }
    Ok(found)
}

/// A record that an index does not know is one that `accessd log --person` does not show.
fn indexes(conn: &Connection, event: i64) -> Result<Option<Broken>, Trouble> {
    let said: String = conn.query_row("PRAGMA integrity_check(events)", [], |row| row.get(0))?;
    Ok((said != "ok")
        .then(|| Broken { event, what: format!("the records are whole, but not their index ({said})") }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use rusqlite::types::Value;
    use serde_json::json;

    use super::*;
    use crate::clock::MonoTime;
    use crate::gallery::PersonId;
    use crate::journal::chain::{CHECKPOINT_EVERY, Checkpoint, Head, Seal};
    use crate::journal::{Event, EventId, EventKind, Filter, PersonRef, Stamp};
    use crate::seal::Keys;
    use crate::store::{OpenMode, Signing, SqliteStore, Store};

    fn at(s: u64) -> Stamp {
        let wall: jiff::Timestamp = "2026-11-23T08:00:00Z".parse().unwrap();
        Stamp { wall: wall + Duration::from_secs(s), mono: MonoTime::from_millis(5_000 + 1000 * s) }
    }

    fn seal() -> Seal {
        Seal::from_device_secret(&[1; 32])
    }

    fn own() -> Against {
        Against { keys: vec![seal().public()], ..Against::default() }
    }

    fn store(dir: &tempfile::TempDir) -> SqliteStore {
        let store = SqliteStore::open(&dir.path().join("a.db"), OpenMode::Create, "boot", &Keys::of_a_test())
            .unwrap();
        store.with_signing(Signing { seal: Some(Arc::new(seal())), head_file: None })
    }

    /// An event of the kind, about somebody and by somebody as often as not.
    fn event(kind: EventKind, n: u64) -> Event {
        let person = n
            .is_multiple_of(2)
            .then(|| PersonRef { id: PersonId(n as i64 % 9 + 1), name: format!("Person {}", n % 9) });
        let actor = n.is_multiple_of(3).then(|| "uid 1000 (ada)".to_owned());
        let door = n.is_multiple_of(5).then(|| "front".to_owned());
        Event { kind, person, actor, door, detail: json!({ "n": n, "why": "because" }) }
    }

    /// A journal with a record of every kind, its newest one signed. What the calendar said was believed in half of it.
    fn every_kind(dir: &tempfile::TempDir) -> SqliteStore {
        let mut store = store(dir);
        for (n, kind) in (1..).zip(EventKind::all()) {
            if n == 10 {
                store.believe_clock(true);
            }
            store.append(&event(*kind, n), at(n)).unwrap();
        }
        store.append(&event(EventKind::Stop, 99), at(99)).unwrap();
        let found = store.verify(&own()).unwrap();
        assert!(found.is_whole(), "{found:?}");
        assert_eq!(found.signed_to, found.head.map(|head| head.id), "a stop is signed");
        store
            .conn
            .execute_batch("DROP TRIGGER events_are_never_changed; DROP TRIGGER events_are_only_pruned")
            .unwrap();
        store
    }

    /// What a verification finds after something was done behind the journal's back, which is undone again.
    fn after(store: &SqliteStore, sql: &str, values: &[Value]) -> Verification {
        store.conn.execute_batch("SAVEPOINT tampering").unwrap();
        let changed = store.conn.execute(sql, rusqlite::params_from_iter(values)).unwrap();
        assert!(changed > 0, "{sql} changes nothing");
        let found = verify(&store.conn, &own()).unwrap();
        store.conn.execute_batch("ROLLBACK TO tampering; RELEASE tampering").unwrap();
        found
    }

    fn broken_at(found: &Verification) -> i64 {
        found.broken.as_ref().map_or_else(|| panic!("unnoticed: {found:?}"), |broken| broken.event)
    }

    /// Each way to flip one bit of a byte of a value that leaves it a value of its column.
    fn flips(value: &Value) -> Vec<Value> {
        match value {
            Value::Integer(n) => (0..8).map(|byte| Value::Integer(n ^ (1i64 << (8 * byte)))).collect(),
            Value::Text(text) => {
                let flip = |i: usize| {
                    let mut bytes = text.clone().into_bytes();
                    bytes[i] ^= 1;
                    String::from_utf8(bytes).ok().map(Value::Text)
                };
                (0..text.len()).filter_map(flip).collect()
            }
            Value::Blob(bytes) => {
                let flip = |i: usize| {
                    let mut bytes = bytes.clone();
                    bytes[i] ^= 1;
                    Value::Blob(bytes)
                };
                (0..bytes.len()).map(flip).collect()
            }
            Value::Null | Value::Real(_) => Vec::new(),
        }
    }

    #[test]
    fn any_byte_of_any_record_of_every_kind_is_noticed_and_its_record_named() {
        let dir = tempfile::tempdir().unwrap();
        let store = every_kind(&dir);
        store.conn.pragma_update(None, "ignore_check_constraints", true).unwrap();
        let columns = [
            "wall",
            "mono_ms",
            "boot_id",
            "kind",
            "person",
            "person_name",
            "actor",
            "detail",
            "clock_trusted",
            "hash",
            "door",
        ];
        let count: i64 = store.conn.query_row("SELECT max(id) FROM events", [], |row| row.get(0)).unwrap();
        let mut tried = 0;
        for id in 1..=count {
            for column in columns {
                let value: Value = store
                    .conn
                    .query_row(&format!("SELECT {column} FROM events WHERE id = ?1"), [id], |row| row.get(0))
                    .unwrap();
                for flipped in flips(&value) {
                    let sql = format!("UPDATE events SET {column} = ?1 WHERE id = ?2");
                    let found = after(&store, &sql, &[flipped, id.into()]);
                    assert_eq!(broken_at(&found), id, "{column} of record {id}");
                    tried += 1;
                }
                if value != Value::Null {
                    continue;
                }
                let put = if matches!(column, "person" | "clock_trusted") {
                    1.into()
                } else {
                    String::new().into()
                };
                let found = after(
                    &store,
                    &format!("UPDATE events SET {column} = ?1 WHERE id = ?2"),
                    &[put, id.into()],
                );
                assert_eq!(broken_at(&found), id, "{column} of record {id}, where there was none");
            }
        }
        assert!(tried > 3_000, "{tried} bytes");
    }

    #[test]
    fn a_record_removed_swapped_or_cut_off_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let store = every_kind(&dir);
        let last: i64 = store.conn.query_row("SELECT max(id) FROM events", [], |row| row.get(0)).unwrap();
        for id in 1..=last {
            let removed = after(&store, "DELETE FROM events WHERE id = ?1", &[id.into()]);
            assert_eq!(broken_at(&removed), id);
            let renumbered = after(&store, "UPDATE events SET id = id + 1000 WHERE id = ?1", &[id.into()]);
            assert_eq!(broken_at(&renumbered), id);
        }
        for id in 1..last {
            store.conn.execute_batch("SAVEPOINT swap").unwrap();
            store.conn.execute("UPDATE events SET id = -id WHERE id IN (?1, ?1 + 1)", [id]).unwrap();
            let back = "UPDATE events SET id = 2 * ?1 + 1 + id WHERE id < 0";
            assert_eq!(broken_at(&after(&store, back, &[id.into()])), id);
            store.conn.execute_batch("ROLLBACK TO swap; RELEASE swap").unwrap();
        }
        for kept in 1..last {
            let cut = after(&store, "DELETE FROM events WHERE id > ?1", &[kept.into()]);
            assert_eq!(broken_at(&cut), kept + 1);
        }
    }

    #[test]
    fn an_end_that_was_cut_off_with_all_that_tells_of_it_is_noticed_by_a_head_kept_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let store = every_kind(&dir);
        let head = store.verify(&own()).unwrap().head.unwrap();
        store
            .conn
            .execute_batch(
                "DELETE FROM events WHERE id > 20; DELETE FROM checkpoints WHERE id > 20;
                 UPDATE sqlite_sequence SET seq = 20 WHERE name = 'events'",
            )
            .unwrap();
        let alone = store.verify(&own()).unwrap();
        assert!(alone.is_whole() && alone.doubts.iter().any(|doubt| doubt.contains("--head")), "{alone:?}");
        let against = Against { heads: vec![head], ..own() };
        let found = store.verify(&against).unwrap();
        assert_eq!(found.broken.as_ref().unwrap().event, head.id);
        assert!(found.broken.unwrap().what.contains("cut off"));
    }

    #[test]
    fn a_forged_checkpoint_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let store = every_kind(&dir);
        let row = "SELECT id, hash, first, earliest, latest, signed_at, key, signature FROM checkpoints ORDER BY id DESC";
        let (checkpoint, _) = store.conn.query_row(row, [], chain::read_checkpoint).unwrap();
        let id = checkpoint.head.id;
        store.conn.pragma_update(None, "ignore_check_constraints", true).unwrap();
        for column in ["hash", "first", "earliest", "latest", "signed_at", "key", "signature"] {
            let value: Value = store
                .conn
                .query_row(&format!("SELECT {column} FROM checkpoints WHERE id = ?1"), [id], |row| row.get(0))
                .unwrap();
            for flipped in flips(&value) {
                let sql = format!("UPDATE checkpoints SET {column} = ?1 WHERE id = ?2");
                assert_eq!(broken_at(&after(&store, &sql, &[flipped, id.into()])), id, "{column}");
            }
        }
        let moved = after(&store, "UPDATE checkpoints SET id = id + 500 WHERE id = ?1", &[id.into()]);
        assert_eq!(broken_at(&moved), id + 1);
        // Signed well, but by somebody else.
        let stranger = Seal::from_device_secret(&[2; 32]);
        let mark = checkpoint.sign(chain::genesis(&store.conn).unwrap(), &stranger);
        let sql = "UPDATE checkpoints SET key = ?1, signature = ?2 WHERE id = ?3";
        let by_stranger =
            after(&store, sql, &[mark.key.0.to_vec().into(), mark.signature.to_vec().into(), id.into()]);
        assert_eq!(broken_at(&by_stranger), id);
        // Another beginning makes every record another.
        assert_eq!(broken_at(&after(&store, "UPDATE journal_state SET genesis = zeroblob(32)", &[])), 1);
    }

    #[test]
    fn a_journal_written_anew_without_the_key_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let mut forged =
            SqliteStore::open(&dir.path().join("a.db"), OpenMode::Create, "boot", &Keys::of_a_test())
                .unwrap();
        forged.pen.signing.seal = None;
        for n in 0..=CHECKPOINT_EVERY {
            forged.append(&event(EventKind::Grant, n), at(n)).unwrap();
        }
        let found = forged.verify(&own()).unwrap();
        assert!(found.is_whole() && found.doubts[0].contains("are not signed"), "{found:?}");
    }

    #[test]
    fn an_index_that_hides_a_record_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let store = every_kind(&dir);
        // The index is built anew for some records alone, and then says again that it is of all.
        let rewrite = |from: &str, to: &str| {
            store.conn.execute_batch("PRAGMA writable_schema = ON").unwrap();
            let sql = "UPDATE sqlite_schema SET sql = replace(sql, ?1, ?2) WHERE name = 'events_by_person'";
            assert_eq!(store.conn.execute(sql, [from, to]).unwrap(), 1);
            store.conn.execute_batch("PRAGMA writable_schema = RESET").unwrap();
        };
        rewrite("person IS NOT NULL", "person > 3");
        store.conn.execute_batch("REINDEX events_by_person").unwrap();
        rewrite("person > 3", "person IS NOT NULL");
        let found = verify(&store.conn, &own()).unwrap();
        assert!(found.broken.as_ref().is_some_and(|b| b.what.contains("index")), "{found:?}");
    }

    #[test]
    fn signatures_come_with_starts_and_stops_after_so_many_records_and_after_some_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = store(&dir);
        let signed = |store: &SqliteStore| chain::signed_to(&store.conn).unwrap();
        store.append(&event(EventKind::Start, 1), at(0)).unwrap();
        assert_eq!(signed(&store), 1);
        for n in 2..=CHECKPOINT_EVERY {
            store.append(&event(EventKind::Unlocked, n), at(n)).unwrap();
        }
        assert_eq!(signed(&store), 1);
        store.append(&event(EventKind::Grant, 257), at(257)).unwrap();
        assert_eq!(signed(&store), 1, "nobody at the door waits for a signature");
        store.append(&event(EventKind::Unlocked, 258), at(258)).unwrap();
        assert_eq!(signed(&store), 258);
        store.append(&event(EventKind::Locked, 259), at(259)).unwrap();
        store.tend(at(260)).unwrap();
        assert_eq!(signed(&store), 258);
        store.tend(at(260 + 300)).unwrap();
        assert_eq!(signed(&store), 259);
        store.tend(at(260 + 900)).unwrap();
        assert_eq!(signed(&store), 259, "nothing new, nothing signed");
        assert!(store.verify(&own()).unwrap().is_whole());
    }

    #[test]
    fn a_checkpoint_of_another_record_does_not_pass_for_this_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = every_kind(&dir);
        let head = Head { id: 5, hash: Hash([9; 32]) };
        let forged = Checkpoint { first: 2, head, earliest_us: 0, latest_us: 0, at_us: 0 };
        let mark = forged.sign(chain::genesis(&store.conn).unwrap(), &seal());
        let put = "INSERT INTO checkpoints VALUES (5, ?1, 2, 0, 0, 0, ?2, ?3)";
        let values =
            [head.hash.0.to_vec().into(), mark.key.0.to_vec().into(), mark.signature.to_vec().into()];
        assert_eq!(broken_at(&after(&store, put, &values)), 5);
    }

    /// What a busy door writes for one entry: a grant, the relay twice, the door twice.
    fn entry(n: u64) -> [Event; 5] {
        let id = PersonId((n % 400) as i64 + 1);
        let name = format!("Somebody Number {}", id.0);
        let candidate =
            |i: i64| json!([id.0 + i, format!("Somebody Number {}", id.0 + i), 0.7 - 0.1 * i as f64]);
        let detail = json!({
            "track": n, "seq": 31 * n, "frame_age_ms": 93,
            "best": { "person": id.0, "name": name, "score": 0.7432 },
            "runner_up": { "person": id.0 + 1, "name": format!("Somebody Number {}", id.0 + 1), "score": 0.2931 },
            "frames_agreed": 3, "frames_seen": 3, "live": { "score": 0.93, "needed": 0.38 },
            "rule": { "threshold": 0.5123, "margin": 0.08, "frames_needed": 3, "frames_window": 5,
                "max_frame_age": { "secs": 0, "nanos": 500_000_000 }, "regrant_after": { "secs": 10, "nanos": 0 } },
            "by": "rule 4: allow staff mon-fri 07:00-19:00, not on holidays",
            "model": "sface@0123456789abcdef", "top": (0..5).map(candidate).collect::<Vec<_>>(),
            "ages_ms": [221, 157, 93], "stages_us": { "detect": 2112, "align": 431, "embed": 21333, "match": 51, "live": 8112 },
            "bar": { "far": 0.0001, "at_most": 0.0000912, "supported": true },
            "quality": { "eye_distance_px": 61.2, "sharpness": 88.1, "light": 121.4, "yaw_deg": -4.2, "pitch_deg": 2.1,
                "roll_deg": 0.4 },
        });
        let grant = Event { person: Some(PersonRef { id, name }), ..Event::new(EventKind::Grant, detail) };
        let plain = |kind, detail| Event::new(kind, detail);
        [
            grant,
            plain(EventKind::Unlocked, json!({ "why": format!("grant {n} for Somebody"), "grant": 5 * n })),
            plain(EventKind::DoorOpened, json!({})),
            plain(EventKind::DoorClosed, json!({ "open_ms": 3122 })),
            plain(EventKind::Locked, json!({ "why": "the door is closed", "grant": null })),
        ]
    }

    /// Prints what a large journal takes. `ACCESSD_EVENTS` is how many events, `ACCESSD_JOURNAL` a folder to keep it in:
    /// `cargo test --release --lib a_large_journal -- --ignored --nocapture`.
    #[test]
    #[ignore = "takes minutes; prints measurements"]
    fn a_large_journal_is_small_and_quick() {
        let count: u64 = std::env::var("ACCESSD_EVENTS").map_or(1_000_000, |n| n.parse().unwrap());
        let dir = tempfile::tempdir().unwrap();
        let folder = std::env::var_os("ACCESSD_JOURNAL").map_or(dir.path().to_owned(), Into::into);
        let path = folder.join("accessd.db");
        let mut store = SqliteStore::open(
            &path,
            OpenMode::Create,
            "3e1f3c39-9a64-4d5b-8b11-0f3f6f1ad2b7",
            &Keys::of_a_test(),
        )
        .unwrap();
        store.pen.signing.seal = Some(Arc::new(seal()));
        store.believe_clock(true);
        let mut n = 0;
        while n < count {
            let tx = store.conn.transaction().unwrap();
            for _ in 0..2_000 {
                for event in entry(n / 5) {
                    chain::append(&tx, &event, at(13 * n), &store.pen).unwrap();
                    n += 1;
                }
            }
            tx.commit().unwrap();
        }
        store.append(&event(EventKind::Stop, 1), at(13 * n)).unwrap();
        assert!(store.fold_log());
        let bytes = std::fs::metadata(&path).unwrap().len();
        println!("{n} events: {:.0} MB, {:.0} bytes each", bytes as f64 / 1e6, bytes as f64 / n as f64);
        let times = [at(13 * n / 10), at(13 * n / 2), at(13 * n - 5_000)].map(|at| at.wall);
        let plain = Filter { limit: Some(200), ..Filter::default() };
        let mut slowest = Duration::ZERO;
        let mut look = |what: &str, filter: &Filter| {
            let mut times: Vec<Duration> = (0..5)
                .map(|_| {
                    let started = Instant::now();
                    let found = store.records(filter).unwrap();
                    assert!(found.len() <= 200);
                    started.elapsed()
                })
                .collect();
            times.sort();
            slowest = slowest.max(times[4]);
            println!("{what:<44} median {:>7.2} ms, slowest {:>7.2} ms", ms(times[2]), ms(times[4]));
        };
        look("the newest", &plain);
        let page = Some(EventId(n as i64 / 2));
        look("a page in the middle", &Filter { before: page, ..plain.clone() });
        for at in times {
            look(&format!("since {at}"), &Filter { since: Some(at), ..plain.clone() });
            look(&format!("until {at}"), &Filter { until: Some(at), ..plain.clone() });
            let hour = Some(at + Duration::from_secs(3600));
            look("an hour from there", &Filter { since: Some(at), until: hour, ..plain.clone() });
            let person = Some("Somebody Number 17".to_owned());
            look("a person since", &Filter { since: Some(at), person, ..plain.clone() });
        }
        for person in ["Somebody Number 17", "nobody"] {
            look(person, &Filter { person: Some(person.into()), ..plain.clone() });
        }
        look("of a kind", &Filter { kinds: vec![EventKind::Grant], ..plain.clone() });
        let rare = vec![EventKind::Stop, EventKind::ForcedOpen];
        look("of rare kinds", &Filter { kinds: rare, ..plain.clone() });
        let both = vec![EventKind::Grant, EventKind::Refusal];
        look(
            "of two kinds until the middle",
            &Filter { kinds: both, until: Some(times[1]), ..plain.clone() },
        );
        let started = Instant::now();
        let found = store.verify(&own()).unwrap();
        assert!(found.is_whole(), "{found:?}");
        println!(
            "verified {} records and {} signatures in {:.2} s",
            found.records,
            found.checkpoints,
            started.elapsed().as_secs_f64()
        );
        assert!(slowest <= Duration::from_millis(50), "{slowest:?}");
        assert!(bytes / n <= 1_000, "a million would be over 1 GB");
    }

    fn ms(time: Duration) -> f64 {
        time.as_secs_f64() * 1000.0
    }
}
