//! Killed at every point: before each single write, truncation, sync, rename and removal of an operation the process is
//! killed, and what it leaves is opened. It is as before the operation or as after it, never between.
//!
//! The layer of the power cuts counts the points (`POWERCUT_AT`). What survives when the unsynced pages go too is the
//! business of `powercut.rs`.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use accessd::clock::MonoTime;
use accessd::encoder::ModelId;
use accessd::gallery::{KeptCrop, NewTemplate, PersonId};
use accessd::journal::chain::Against;
use accessd::journal::replay::{PastAttempt, Then};
use accessd::journal::{Event, EventId, EventKind, Filter, Stamp};
use accessd::seal::{Keys, RecoveryCode};
use accessd::store::{
    Album, Custody, KeepAttempts, KeepSnapshots, KeyFile, Migrating, NamedModel, OpenMode, Recollection,
    Restoring, Retention, Snapshot, SqliteStore, Store, check,
};
use accessd::vision::align::AlignedCrop;

use crate::powercut::build_layer;
use crate::support::template;

/// Tell [`the_operation`] what to do and where; without them it does nothing.
const OPERATION: &str = "ACCESSD_TEST_OPERATION";
const FOLDER: &str = "ACCESSD_TEST_FOLDER";

const BOOT: &str = "boot";
const AT: Stamp = Stamp { wall: jiff::Timestamp::UNIX_EPOCH, mono: MonoTime::from_millis(1) };
/// More points than this no operation here has.
const MOST: usize = 2_000;

fn model() -> ModelId {
    ModelId("made-up@1".into())
}

fn face(n: u8) -> NewTemplate {
    let values: Vec<f32> = (0..128).map(|i| f32::from(n.wrapping_mul(31).wrapping_add(i)) - 100.0).collect();
    template(&values)
}

fn keys(folder: &Path) -> Keys {
    Keys::new(&folder.join("keys/device.key"), None)
}

fn database(folder: &Path) -> PathBuf {
    folder.join("state/accessd.db")
}

fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(&database(folder), OpenMode::Create, BOOT, &keys(folder)).unwrap()
}

fn restoring<'a>(database: &'a Path, keys: &'a Keys) -> Restoring<'a> {
    Restoring { database, keys, key_file: None, replace: true, without_faces: false }
}

fn open_keeping(folder: &Path) -> SqliteStore {
    open(folder).with_attempts(KeepAttempts { days: Some(7), most: 100 })
}

fn named(name: &str) -> NamedModel {
    NamedModel { name: name.into(), id: ModelId(format!("{name}@1")) }
}

fn of_other(n: u8) -> NewTemplate {
    NewTemplate { model: named("other").id, ..face(n) }
}

fn with_crop(n: u8) -> NewTemplate {
    let picture = image::RgbImage::from_fn(112, 112, |x, y| image::Rgb([(x * y) as u8, n, y as u8]));
    NewTemplate { crop: KeptCrop::of(&AlignedCrop(picture)), ..face(n) }
}

/// A face that was let in as this person.
fn attempt(n: u8, person: PersonId) -> PastAttempt {
    crate::replay::attempt(&model(), i64::from(n), Then::LetIn(person), &[face(n).embedding])
}

/// The operations, each on the folder that [`prepare`] made for it.
fn perform(operation: &str, folder: &Path) {
    let database = database(folder);
    match operation {
        "create" | "seal" => drop(open(folder)),
        "enrol" => drop(open(folder).enrol("Eve", &[face(5), face(6)], "x", AT).unwrap()),
        "more" => drop(open(folder).add_templates("Ada", &[face(5)], "x", AT).unwrap()),
        "remove" => open(folder).remove("Ada", "x", AT).unwrap(),
        "expire" => drop(open(folder).expire(jiff::Timestamp::from_second(1).unwrap(), AT).unwrap()),
        "consent" => open(folder).record_consent("Ada", "yes", AT.wall, "x", AT).unwrap(),
        "code" => drop(open(folder).new_recovery_code("x", AT).unwrap()),
        "backup" => {
            let mut file = fs::File::create(folder.join("out.part")).unwrap();
            open(folder).back_up(&mut file, AT.wall).unwrap();
            file.sync_all().unwrap();
            fs::rename(folder.join("out.part"), folder.join("out.backup")).unwrap();
        }
        "prune" => {
            let keep = Retention { age: None, count: Some(20) };
            open(folder).with_retention(keep).tend(AT).unwrap();
        }
        "keep" => open_keeping(folder).keep(&[attempt(1, PersonId(1)), attempt(3, PersonId(2))], AT).unwrap(),
        "keep picture" => open(folder)
            .with_snapshots(KeepSnapshots { days: Some(3), most: 9 })
            .keep_snapshot(&Snapshot { event: EventId(9), person: None, jpeg: vec![7; 9000] }, AT)
            .unwrap(),
        "migrate" => open(folder).begin_migration(&named("made-up"), &named("other"), "x", AT).unwrap(),
        "fill" => assert!(open(folder).fill(PersonId(1), &[of_other(1)], serde_json::json!({}), AT).unwrap()),
        "end migration" => {
            let mut store = open(folder);
            store.end_migration(&named("made-up").id, "x", AT).unwrap();
            while !store.clear_away().unwrap() {}
        }
        "drop crops" => open(folder).with_crops(false).tend(AT).unwrap(),
        "forget attempts" => open(folder).tend(AT).unwrap(),
        "restore" => {
            let backup = fs::File::open(folder.join("old.backup")).unwrap();
            restoring(&database, &keys(folder)).from(backup, "x", AT, BOOT).map(drop).unwrap();
        }
        other => panic!("no operation {other}"),
    }
}

/// Not a test of its own: the process that is killed.
#[test]
fn the_operation() {
    let (Some(operation), Some(folder)) = (std::env::var_os(OPERATION), std::env::var_os(FOLDER)) else {
        return;
    };
    perform(operation.to_str().unwrap(), Path::new(&folder));
}

/// Lays out what the operation begins with.
fn prepare(operation: &str, folder: &Path) {
    for name in ["state", "keys"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    match operation {
        "create" => drop(keys(folder).load_or_create().unwrap()),
        "seal" => from_before_there_were_keys(&database(folder)),
        _ => {
            let mut store = open(folder);
            store.enrol("Ada", &[face(1), face(2)], "x", AT).unwrap();
            store.enrol("Bob", &[face(3)], "x", AT).unwrap();
            for kind in [EventKind::Start, EventKind::Refusal, EventKind::Stop].repeat(12) {
                store.append(&Event::new(kind, serde_json::json!({})), AT).unwrap();
            }
            if matches!(operation, "remove" | "forget attempts" | "backup") {
                store = store.with_attempts(KeepAttempts { days: Some(7), most: 100 });
                store.keep(&[attempt(1, PersonId(1)), attempt(3, PersonId(2))], AT).unwrap();
            }
            if matches!(operation, "fill" | "end migration") {
                store.begin_migration(&named("made-up"), &named("other"), "x", AT).unwrap();
            }
            if operation == "end migration" {
                for person in [1, 2] {
                    store.fill(PersonId(person), &[of_other(1)], serde_json::json!({}), AT).unwrap();
                }
            }
            if operation == "drop crops" {
                store = store.with_crops(true);
                store.add_templates("Ada", &[with_crop(7)], "x", AT).unwrap();
            }
            if operation == "restore" {
                let mut file = fs::File::create(folder.join("old.backup")).unwrap();
                store.back_up(&mut file, AT.wall).unwrap();
                store.remove("Bob", "x", AT).unwrap();
                store.enrol("Eve", &[face(4)], "x", AT).unwrap();
            }
        }
    }
}

/// A database as it was made before templates were sealed.
fn from_before_there_were_keys(path: &Path) {
    let conn = rusqlite::Connection::open(path).unwrap();
    conn.pragma_update(None, "application_id", 0x6163_6364).unwrap();
    conn.pragma_update(None, "journal_mode", "WAL").unwrap();
    for step in
        [include_str!("../../migrations/0001_initial.sql"), include_str!("../../migrations/0002_policy.sql")]
    {
        conn.execute_batch(step).unwrap();
    }
    conn.pragma_update(None, "user_version", 2).unwrap();
    for (id, name) in [(1, "Ada"), (2, "Bob")] {
        conn.execute("INSERT INTO people VALUES (?1, ?2, lower(?2), 0)", (id, name)).unwrap();
        let plain: Vec<u8> = face(id).embedding.values().iter().flat_map(|v| v.to_le_bytes()).collect();
        let quality = serde_json::to_string(&face(id).quality).unwrap();
        conn.execute(
            "INSERT INTO templates VALUES (?1, ?1, 'made-up@1', 128, ?2, ?3, 'image', 0)",
            (id, plain, quality),
        )
        .unwrap();
    }
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// Everything that counts of a database, after opening it as the next start does.
fn state_of(folder: &Path, story: &str) -> String {
    let store = SqliteStore::open(&database(folder), OpenMode::Create, BOOT, &keys(folder));
    let mut store = store.unwrap_or_else(|error| panic!("{story}: {error:?}"));
    // What an order to end a change of the encoder has left to do, the next start goes on with.
    while !store.clear_away().unwrap_or_else(|error| panic!("{story}: {error:?}")) {}
    let people: Vec<String> = store
        .people()
        .unwrap()
        .iter()
        .map(|person| {
            format!(
                "{} {} {}",
                person.name,
                person.templates.len(),
                store.consents(&person.name).unwrap().len()
            )
        })
        .collect();
    let gallery = store.gallery(&model()).unwrap_or_else(|error| panic!("{story}: {error:?}"));
    let found = store.verify(&Against::default()).unwrap();
    assert!(found.is_whole(), "{story}: {found:?}");
    let kinds: Vec<_> =
        store.records(&Filter::default()).unwrap().iter().map(|record| record.event.kind).collect();
    let attempts: Vec<_> = store.recall(&model()).unwrap().iter().map(|kept| kept.run).collect();
    let other = store.gallery(&named("other").id).unwrap().templates();
    let migration = store.migration().unwrap().map(|migration| migration.to.name);
    let sql = rusqlite::Connection::open(database(folder)).unwrap();
    let [pictures, crops] = ["snapshots", "crops"].map(|table| -> i64 {
        sql.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    });
    drop(sql);
    drop(store);
    let checkup = check(&database(folder), &keys(folder)).unwrap();
    assert!(checkup.is_sound(), "{story}: {:?}", checkup.findings);
    for entry in fs::read_dir(folder.join("state")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            ["accessd.db", "accessd.db.lock"].contains(&name.as_str()),
            "{story}: {name} was left behind"
        );
    }
    format!(
        "{people:?} {} in the gallery, {kinds:?}, attempts {attempts:?}, {pictures} pictures, {crops} crops, {other} of another \
         encoder, {migration:?}",
        gallery.templates()
    )
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// Kills the operation at each of its points; gives how many there were, and how often it was as after.
fn kill_everywhere(operation: &str) -> (usize, usize) {
    let place = tempfile::tempdir().unwrap();
    let layer = place.path().join("layer.so");
    build_layer(&layer);
    let before_it = place.path().join("before");
    prepare(operation, &before_it);
    // As the next start finds it: opening alone may do something, which is no part of the operation.
    let look = place.path().join("look");
    copy(&before_it, &look);
    let before = state_of(&look, "before");
    let done = place.path().join("done");
    copy(&before_it, &done);
    perform(operation, &done);
    let after = state_of(&done, "after");
    let mut afters = 0;
    for point in 1..MOST {
        let folder = place.path().join(format!("{point}"));
        copy(&before_it, &folder);
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "faults::the_operation", "--nocapture", "--test-threads=1"])
            .env(OPERATION, operation)
            .env(FOLDER, &folder)
            .env("LD_PRELOAD", &layer)
            .env("POWERCUT_DIR", &folder)
            .env("POWERCUT_AT", point.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        let story = format!("{operation}, killed at point {point}");
        let state = state_of(&folder, &story);
        assert!(state == before || state == after, "{story}:\n{state}\nbefore {before}\nafter  {after}");
        afters += usize::from(state == after);
        whole_or_absent(&folder, &story);
        if status.success() {
            assert_eq!(state, after, "{story}");
            return (point - 1, afters);
        }
        assert_eq!(status.signal(), Some(9), "{story}: {status}");
        fs::remove_dir_all(&folder).unwrap();
    }
    panic!("{operation} has no end");
}

/// A backup that is there restores.
fn whole_or_absent(folder: &Path, story: &str) {
    let Ok(backup) = fs::File::open(folder.join("out.backup")) else { return };
    let database = folder.join("again.db");
    let keys = keys(folder);
    // The people's keys are in the database it was taken of.
    fs::copy(self::database(folder), &database).unwrap();
    fs::set_permissions(&database, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let restored = restoring(&database, &keys).from(backup, "x", AT, BOOT);
    assert_eq!(restored.unwrap_or_else(|error| panic!("{story}: {error}")).people, 2, "{story}");
}

fn check_operation(operation: &str, at_least: usize) {
    let (points, afters) = kill_everywhere(operation);
    eprintln!("{operation}: killed at {points} points, {afters} times it was done");
    assert!(points >= at_least, "{operation} has only {points} points: they are not counted");
}

#[test]
fn killed_at_every_point_of_a_pruning() {
    check_operation("prune", 5);
}

#[test]
fn killed_at_every_point_of_keeping_and_forgetting_attempts() {
    check_operation("keep", 5);
    check_operation("keep picture", 5);
    check_operation("forget attempts", 5);
}

#[test]
fn killed_at_every_point_of_a_change_of_the_encoder() {
    check_operation("migrate", 5);
    check_operation("fill", 5);
    check_operation("end migration", 5);
    check_operation("drop crops", 5);
}

#[test]
fn killed_at_every_point_of_a_creation() {
    check_operation("create", 10);
}

#[test]
fn killed_at_every_point_of_an_enrolment() {
    check_operation("enrol", 5);
    check_operation("more", 5);
}

#[test]
fn killed_at_every_point_of_a_removal() {
    check_operation("remove", 5);
    check_operation("expire", 5);
}

#[test]
fn killed_at_every_point_of_a_consent_and_of_a_recovery_code() {
    check_operation("consent", 5);
    check_operation("code", 5);
}

#[test]
fn killed_at_every_point_of_a_backup() {
    check_operation("backup", 10);
}

#[test]
fn killed_at_every_point_of_a_restoring() {
    check_operation("restore", 20);
}

#[test]
fn killed_at_every_point_of_the_first_sealing() {
    check_operation("seal", 20);
}

/// A key file is replaced as a whole, by the command itself.
#[test]
fn killed_at_every_point_of_writing_the_key_file_anew() {
    let place = tempfile::tempdir().unwrap();
    let layer = place.path().join("layer.so");
    build_layer(&layer);
    let folder = place.path().join("door");
    prepare("backup", &folder);
    let dir = folder.display();
    let config = format!(
        "[paths]\ndatabase = \"{dir}/state/accessd.db\"\ndevice_key = \"{dir}/keys/device.key\"\nsocket = \"{dir}/none.sock\"\n"
    );
    fs::write(folder.join("accessd.toml"), config).unwrap();
    let file = folder.join("door.keys");
    let run = |at: usize| {
        Command::new(assert_cmd::cargo::cargo_bin!("accessd"))
            .args(["backup", "--keys", file.to_str().unwrap()])
            .env("ACCESSD_CONFIG", folder.join("accessd.toml"))
            .env("LD_PRELOAD", &layer)
            .env("POWERCUT_DIR", &folder)
            .env("POWERCUT_AT", at.to_string())
            .output()
            .unwrap()
    };
    let made = String::from_utf8(run(0).stdout).unwrap();
    let code = made.lines().map(str::trim).find_map(|line| RecoveryCode::read(line).ok()).unwrap();
    for point in 1..MOST {
        let done = run(point).status.success();
        KeyFile::open(&fs::read(&file).unwrap(), &code)
            .unwrap_or_else(|error| panic!("killed at {point}: {error}"));
        if done {
            assert!(point > 5, "only {point} points");
            return;
        }
    }
    panic!("it has no end");
}
