//! Killed at every point of a change: before each write, cut and sync of the database's files in turn. The database opens
//! afterwards, its journal is whole, and it is as before the change or as after it, never between.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use accessd::clock::MonoTime;
use accessd::journal::chain::{Against, Seal};
use accessd::journal::{Event, EventKind, Filter, Stamp};
use accessd::policy::Change;
use accessd::store::{OpenMode, Retention, Signing, SqliteStore, Store, check};
use serde_json::json;

use crate::powercut::build_layer;
use crate::support::template;

/// Names the folder and the change to the process that is killed.
const FOLDER: &str = "ACCESSD_TEST_FAULTS";
const CHANGE: &str = "ACCESSD_TEST_CHANGE";

fn at(s: u64) -> Stamp {
    let wall: jiff::Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    Stamp { wall: wall + Duration::from_secs(s), mono: MonoTime::from_millis(1000 * s) }
}

fn seal() -> Seal {
    Seal::from_device_secret(&[1; 32])
}

fn open(folder: &Path) -> SqliteStore {
    let store = SqliteStore::open(&folder.join("accessd.db"), OpenMode::Create, "boot").unwrap();
    let signing = Signing { seal: Some(Arc::new(seal())), head_file: None };
    let mut store = store.with_signing(signing).with_retention(Retention { age: None, count: Some(40) });
    store.believe_clock(true);
    store
}

/// Two people and some days of journal.
fn populate(folder: &Path) {
    let mut store = open(folder);
    for (n, name) in ["Ada", "Bob"].into_iter().enumerate() {
        let sample = template(&[1.0, n as f32, 0.0]);
        store.enrol(name, &[sample.clone(), sample], "uid 0", at(n as u64)).unwrap();
    }
    for day in 0..12 {
        for kind in [EventKind::Start, EventKind::Refusal, EventKind::Refusal, EventKind::Stop] {
            store.append(&Event::new(kind, json!({ "day": day })), at(86_400 * day)).unwrap();
        }
    }
}

fn change(store: &mut SqliteStore, what: &str) {
    let now = at(86_400 * 20);
    match what {
        "prune" => store.tend(now).unwrap(),
        "enrol" => drop(store.enrol("Cy", &[template(&[0.0, 0.0, 1.0])], "uid 0", now).unwrap()),
        "remove" => store.remove("Ada", "uid 0", now).unwrap(),
        "policy" => store.change_policy(&Change::Lockdown(true), "uid 0", now).unwrap(),
        "upgrade" => {}
        other => panic!("{other}?"),
    }
}

/// Not a test of its own: the process that is killed.
#[test]
fn the_process_that_is_killed() {
    if let (Some(folder), Ok(what)) = (std::env::var_os(FOLDER), std::env::var(CHANGE)) {
        change(&mut open(Path::new(&folder)), &what);
    }
}

/// All that a change can change, in words.
fn state(folder: &Path) -> String {
    let store = open(folder);
    let against = Against { keys: vec![seal().public()], ..Against::default() };
    let found = store.verify(&against).unwrap();
    assert!(found.is_whole(), "{found:?}");
    let records = store.records(&Filter::default()).unwrap();
    let pruned = found.pruned.map_or(0, |pruned| pruned.records);
    assert_eq!(pruned + records.len() as u64, found.head.unwrap().id.unsigned_abs(), "none lost, none twice");
    let last = records.last().unwrap();
    let people: Vec<_> = store.people().unwrap().into_iter().map(|p| (p.name, p.templates.len())).collect();
    let lockdown = store.rule_book().unwrap().lockdown;
    drop(store);
    assert!(check(&folder.join("accessd.db")).unwrap().is_sound());
    format!(
        "{people:?}, lockdown {lockdown}, {pruned} pruned, {} records, last {:?}",
        records.len(),
        last.event.kind
    )
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// A folder with the database as it is before the change.
fn before(dir: &Path, what: &str) -> PathBuf {
    let base = dir.join("base");
    fs::create_dir(&base).unwrap();
    populate(&base);
    if what == "upgrade" {
        make_old(&base.join("accessd.db"));
    }
    base
}

/// A database as it was before the journal was a chain.
fn make_old(path: &Path) {
    let sql = rusqlite::Connection::open(path).unwrap();
    crate::store::take_the_chain_out(&sql);
}

#[test]
fn killed_at_every_point_a_change_is_there_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let layer = build_layer(dir.path());
    for what in ["prune", "enrol", "remove", "policy", "upgrade"] {
        let place = dir.path().join(what);
        fs::create_dir(&place).unwrap();
        let (base, work) = (before(&place, what), place.join("work"));
        let (mut seen, mut deaths) = (std::collections::BTreeSet::new(), 0);
        for point in 1.. {
            copy(&base, &work);
            let status = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "faults::the_process_that_is_killed", "--test-threads=1"])
                .env(FOLDER, &work)
                .env(CHANGE, what)
                .env("LD_PRELOAD", &layer)
                .env("POWERCUT_DIR", &work)
                .env("POWERCUT_AT", point.to_string())
                .stdout(Stdio::null())
                .status()
                .unwrap();
            seen.insert(state(&work));
            match status.signal() {
                Some(_) => deaths += 1,
                None => {
                    assert!(status.success(), "{what} at {point}: {status}");
                    break;
                }
            }
        }
        assert!(deaths >= 5, "{what}: killed at {deaths} points only");
        // What an opening does by itself, an upgrade, it also does after a death.
        let wanted = if what == "upgrade" { 1 } else { 2 };
        assert_eq!(seen.len(), wanted, "{what} leaves neither before nor after: {seen:#?}");
        eprintln!("{what}: killed at {deaths} points, each before or after");
    }
}
