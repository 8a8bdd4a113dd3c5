//! What is kept of people: sealed, copied for them, gone for good when they leave; and what a thief or a backup has of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;

use accessd::clock::SystemClock;
use accessd::daemon::client::Client;
use accessd::daemon::protocol::Request;
use accessd::encoder::ModelId;
use accessd::gallery::NewTemplate;
use accessd::journal::{EventKind, Filter, Stamp};
use accessd::seal::{Keys, RecoveryCode};
use accessd::store::{
    Custody, KeyFile, Migrating, NamedModel, OpenMode, Restoring, SqliteStore, Store, boot_id,
};
use serde_json::Value;

use crate::powercut::{ADA, spawn_daemon};
use crate::support::{Outcome, Site, held_keys, outcome, template, until};

const BOB: [f32; 3] = [0.0, 1.0, 0.0];

/// A template of as many values as a real one has.
fn face(seed: u32) -> NewTemplate {
    let mut state = seed;
    let values: Vec<f32> = (0..128)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 16_777_216.0 - 0.5
        })
        .collect();
    template(&values)
}

fn bytes_of(template: &NewTemplate) -> Vec<u8> {
    template.embedding.values().iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn now() -> Stamp {
    Stamp::now(&SystemClock)
}

fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

/// Whether any 16 bytes of `secret` are in `bytes`.
fn holds(bytes: &[u8], secret: &[u8]) -> bool {
    let pieces = secret.as_chunks::<16>().0;
    bytes.windows(16).any(|window| pieces.iter().any(|piece| piece == window))
}

#[test]
fn a_stolen_state_directory_without_the_device_key_reveals_no_template() {
    let site = Site::new();
    let faces: Vec<NewTemplate> = (1..=5).map(face).collect();
    let model = ModelId("made-up@1".into());
    let mut store = site.store();
    store.enrol("Ada Lovelace", &faces, "uid 0 (test)", now()).unwrap();
    assert_eq!(store.gallery(&model).unwrap().templates(), 5);
    // With the log still there, as a thief may find it.
    let stolen = tempfile::tempdir().unwrap();
    for (path, bytes) in files(&site.path("")) {
        if path.file_name().unwrap() != "device.key" {
            fs::write(stolen.path().join(path.file_name().unwrap()), bytes).unwrap();
        }
    }
    drop(store);
    let key = fs::read(site.path("device.key")).unwrap();
    let found = files(stolen.path());
    assert!(found.iter().any(|(path, _)| path.ends_with("accessd.db-wal")), "{found:?}");
    for (path, bytes) in &found {
        for face in &faces {
            assert!(!holds(bytes, &bytes_of(face)), "{}", path.display());
        }
        assert!(!holds(bytes, &key), "{}", path.display());
    }
    // The program itself opens nothing with it either.
    let database = stolen.path().join("accessd.db");
    fs::set_permissions(&database, PermissionsExt::from_mode(0o600)).unwrap();
    let without = Keys::new(&stolen.path().join("no/device.key"), None);
    let reader = SqliteStore::open(&database, OpenMode::ReadOnly, &boot_id(), &without).unwrap();
    let shut = reader.gallery(&model).unwrap_err().to_string();
    assert!(shut.contains("its templates stay shut"), "{shut}");
    assert!(SqliteStore::open(&database, OpenMode::Existing, &boot_id(), &without).is_err());
    let another = Keys::new(&stolen.path().join("thief/device.key"), None);
    another.load_or_create().unwrap();
    let refused =
        SqliteStore::open(&database, OpenMode::Existing, &boot_id(), &another).unwrap_err().to_string();
    assert!(refused.contains("it is sealed with the device key"), "{refused}");
    // What it does reveal, as SECURITY.md says: who is enrolled, and when they came.
    assert_eq!(reader.people().unwrap()[0].name, "Ada Lovelace");
}

#[test]
fn no_picture_is_kept() {
    let site = Site::new();
    site.enrol("Ada", &[ADA, BOB]);
    for (path, bytes) in files(&site.path("")) {
        let is_picture =
            bytes.windows(4).any(|w| matches!(w, [0xff, 0xd8, 0xff, 0xe0 | 0xe1] | [0x89, b'P', b'N', b'G']));
        assert!(!is_picture, "{}", path.display());
    }
}

/// A door with a service that lets Ada in again and again, and Bob enrolled.
struct Live {
    folder: tempfile::TempDir,
    daemon: Child,
}

impl Live {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("disk")).unwrap();
        let database = folder.path().join("disk/accessd.db");
        let mut store = SqliteStore::open(&database, OpenMode::Create, &boot_id(), &held_keys()).unwrap();
        store.enrol("Ada", &[template(&ADA), template(&ADA)], "uid 0 (test)", now()).unwrap();
        store.enrol("Bob", &[template(&BOB)], "uid 0 (test)", now()).unwrap();
        // Faces of another model, as long as real ones.
        store.add_templates("Ada", &of_another_model(&[face(1), face(2)]), "uid 0 (test)", now()).unwrap();
        store.add_templates("Bob", &of_another_model(&[face(3)]), "uid 0 (test)", now()).unwrap();
        drop(store);
        let dir = folder.path().display();
        let config = format!(
            "[paths]\ndatabase = \"{dir}/disk/accessd.db\"\ndevice_key = \"{dir}/device.key\"\nmodels = \"{dir}/models\"\n\
             socket = \"{dir}/control.sock\"\n"
        );
        fs::write(folder.path().join("accessd.toml"), config).unwrap();
        // As `held_keys` has it, for the commands that work without the service.
        let key = folder.path().join("device.key");
        fs::write(&key, [7; 32]).unwrap();
        fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
        let daemon = spawn_daemon(folder.path());
        let live = Self { folder, daemon };
        until("the service answers", || live.run(&["log", "--kind", "grant"]).stdout.contains("granted"));
        live
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, args: &[&str]) -> Outcome {
        self.run_with(args, "")
    }

    fn run_with(&self, args: &[&str], input: &str) -> Outcome {
        let mut command = assert_cmd::Command::new(assert_cmd::cargo::cargo_bin!("accessd"));
        command.args(args).write_stdin(input).env("TZ", "UTC").current_dir(self.folder.path());
        command.env("ACCESSD_CONFIG", self.path("accessd.toml"));
        outcome(&mut command)
    }

    fn stop(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
        until("its socket is dead", || Client::connect(&self.path("control.sock")).unwrap().is_none());
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.daemon.kill().ok();
        self.daemon.wait().ok();
    }
}

fn of_another_model(faces: &[NewTemplate]) -> Vec<NewTemplate> {
    let of = |face: &NewTemplate| NewTemplate { model: ModelId("other@2".into()), ..face.clone() };
    faces.iter().map(of).collect()
}

fn code_in(stdout: &str) -> String {
    let code = stdout.lines().map(str::trim).find(|line| RecoveryCode::read(line).is_ok());
    code.expect("a recovery code").to_owned()
}

#[test]
fn erasing_with_proof_on_a_live_service_leaves_nothing_and_shuts_every_backup() {
    let mut live = Live::start();
    let ok = |outcome: Outcome| {
        assert_eq!(outcome.code, 0, "{}{}", outcome.stdout, outcome.stderr);
        eprintln!("{}", outcome.stdout);
        outcome.stdout
    };
    let code = code_in(&ok(live.run(&["backup", "door.backup", "--keys", "door.keys"])));
    let old_keys = fs::read(live.path("door.keys")).unwrap();
    let wal = fs::metadata(live.path("disk/accessd.db-wal")).unwrap().len();
    assert!(wal > 0, "the service is writing");

    let told = ok(live.run(&["erase", "Ada", "--prove", "--yes"]));
    assert!(told.contains("Ada is erased with 4 samples"), "{told}");
    let line = |start: &str| told.lines().find(|line| line.starts_with(start)).unwrap().to_owned();
    assert!(!line("before: ").starts_with("before: 0 "), "the search itself finds something: {told}");
    assert!(line("now: ").starts_with("now: 0 found in "), "{told}");
    assert!(told.contains("of a sealed template") && told.contains("of a wrapped key"), "{told}");
    assert!(
        !told.contains("template in the clear:") && !told.contains("of a template in the clear"),
        "{told}"
    );
    let log = ok(live.run(&["log", "--kind", "erase", "--json"]));
    let event: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(event["detail"]["found_after"], 0, "{log}");
    assert!(ok(live.run(&["list"])).contains("Bob"));

    // On this device the backup has lost Ada, and brings Bob back.
    ok(live.run(&["backup", "--keys", "door.keys"]));
    live.stop();
    let refused = live.run(&["restore", "door.backup"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("say --replace if that is meant"),
        "{}",
        refused.stderr
    );
    let told = ok(live.run(&["restore", "door.backup", "--replace"]));
    assert!(told.contains("restored: 1 person") && told.contains("Ada was erased since"), "{told}");
    let people = ok(live.run(&["list"]));
    assert!(people.contains("Bob") && !people.contains("Ada"), "{people}");
    let check = live.run(&["check"]).stdout;
    assert!(
        check.contains("1 person") && !check.contains("are missing"),
        "what was replaced is not called deleted: {check}"
    );

    // Nor does the key file of now open anything of hers on a new device.
    let restore = |keys: &[u8], folder: &str| {
        let code = RecoveryCode::read(&code).unwrap();
        let database = live.path(folder).join("accessd.db");
        fs::create_dir(live.path(folder)).unwrap();
        let device = Keys::new(&live.path(folder).join("keys/device.key"), None);
        let restoring = Restoring {
            database: &database,
            keys: &device,
            key_file: Some(KeyFile::open(keys, &code).unwrap()),
            replace: false,
            without_faces: false,
        };
        let backup = fs::File::open(live.path("door.backup")).unwrap();
        let restored = restoring.from(backup, "uid 0 (test)", now(), &boot_id()).unwrap();
        let store = SqliteStore::open(&database, OpenMode::Existing, &boot_id(), &device).unwrap();
        (restored, store.gallery(&ModelId("other@2".into())).unwrap().people())
    };
    let (restored, people) = restore(&fs::read(live.path("door.keys")).unwrap(), "new");
    assert_eq!((restored.people, restored.erased, people), (1, vec!["Ada".to_owned()], 1));
    // What SECURITY.md warns of: a copy of the old key file would open her templates in the old backup.
    let (restored, people) = restore(&old_keys, "old");
    assert_eq!((restored.people, restored.erased.len(), people), (2, 0, 2));
}

#[test]
fn a_backup_opens_on_a_new_device_with_key_file_and_code_alone() {
    let site = Site::new();
    site.enrol("Ada", &[ADA]);
    assert_eq!(site.run(["policy", "allow", "staff", "--days", "mon"]).code, 0);
    let made = site.run(["backup", "{dir}/a.backup", "--keys", "{dir}/a.keys"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    let code = code_in(&made.stdout);
    assert_eq!(fs::metadata(site.path("a.backup")).unwrap().permissions().mode() & 0o777, 0o600);
    let backup = fs::read(site.path("a.backup")).unwrap();
    assert!(
        !holds(&backup, b"CREATE TABLE people") && !holds(&backup, b"SQLite format 3\0"),
        "it is encrypted"
    );

    let new = Site::new();
    for file in ["a.backup", "a.keys"] {
        fs::copy(site.path(file), new.path(file)).unwrap();
    }
    let restore = |args: &[&str], code: &str| {
        let mut command = new.accessd(["restore", "{dir}/a.backup"]);
        command.args(args.iter().map(|arg| arg.replace("{dir}", new.path("").to_str().unwrap())));
        outcome(command.write_stdin(format!("{code}\n")))
    };
    let refused = restore(&[], "");
    assert!(
        refused.code == 1 && refused.stderr.contains("give its key file and recovery code"),
        "{}",
        refused.stderr
    );
    assert!(!new.path("accessd.db").exists(), "nothing has changed");
    let refused = restore(&["--keys", "{dir}/a.keys"], "00000-00000-00000-00000-00000");
    assert!(
        refused.code == 1 && refused.stderr.contains("does not open with this code"),
        "{}",
        refused.stderr
    );
    let refused = restore(&["--keys", "{dir}/a.keys"], "nonsense");
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    for (at, what) in [(backup.len() - 1, "cut"), (backup.len() / 2, "flipped")] {
        let mut spoilt = backup.clone();
        if what == "cut" {
            spoilt.truncate(at)
        } else {
            spoilt[at] ^= 1
        }
        fs::write(new.path("a.backup"), spoilt).unwrap();
        let refused = restore(&["--keys", "{dir}/a.keys"], &code);
        assert!(
            refused.code == 1 && refused.stderr.contains("the backup is damaged"),
            "{what}: {}",
            refused.stderr
        );
    }
    fs::write(new.path("a.backup"), &backup).unwrap();
    let done = restore(&["--keys", "{dir}/a.keys"], &code.to_lowercase());
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stdout.contains("restored: 1 person"), "{}", done.stdout);
    let store = new.store();
    assert_eq!(store.gallery(&ModelId("made-up@1".into())).unwrap().people(), 1);
    assert_eq!(store.rule_book().unwrap().rules.len(), 2, "the policy came along");
    assert_eq!(
        store.records(&Filter { kinds: vec![EventKind::Restore], ..Filter::default() }).unwrap().len(),
        1
    );
    drop(store);
    // The new device goes on with the same code and key file.
    assert_eq!(new.run(["backup", "{dir}/b.backup", "--keys", "{dir}/a.keys"]).code, 0);
    KeyFile::open(&fs::read(new.path("a.keys")).unwrap(), &RecoveryCode::read(&code).unwrap()).unwrap();
    assert_ne!(fs::read(site.path("device.key")).unwrap(), fs::read(new.path("device.key")).unwrap());
}

#[test]
fn a_person_gets_everything_that_is_kept_about_them_and_it_is_written_down() {
    let site = Site::new();
    site.enrol("Ada", &[ADA, BOB]);
    site.enrol("Bob", &[BOB]);
    fs::write(site.path("form.txt"), "I agree that the door knows my face.\n").unwrap();
    assert_eq!(site.run(["consent", "Ada"]).code, 3, "no consent yet");
    let recorded = site.run(["consent", "ada", "--record", "form.txt", "--given", "2026-11-20"]);
    assert_eq!(recorded.code, 0, "{}", recorded.stderr);
    let shown = site.run(["consent", "Ada"]);
    assert_eq!(shown.code, 0);
    assert!(
        shown.stdout.contains("Ada agreed on 2026-11-20 00:00:00")
            && shown.stdout.contains("the door knows my face")
    );
    assert!(site.run(["consent"]).stdout.contains("Bob"), "who has not is listed too");
    let empty = outcome(site.accessd(["consent", "Ada", "--record", "-"]).write_stdin(" \n"));
    assert!(empty.code == 1 && empty.stderr.contains("a consent is a text of"), "{}", empty.stderr);

    let export: Value = serde_json::from_str(&site.run(["export", "Ada"]).stdout).unwrap();
    assert_eq!(export["person"]["name"], "Ada");
    assert_eq!(export["templates"], serde_json::json!([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]));
    assert_eq!(export["consents"][0]["text"], "I agree that the door knows my face.");
    let kinds: Vec<&str> =
        export["records"].as_array().unwrap().iter().map(|r| r["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["enrol", "consent", "export"]);
    let to_file = site.run(["export", "Ada", "--out", "{dir}/ada.json"]);
    assert_eq!(to_file.code, 0, "{}", to_file.stderr);
    assert_eq!(fs::metadata(site.path("ada.json")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(site.run(["export", "Ada", "--out", "{dir}/ada.json"]).code, 1, "nothing is overwritten");

    let erased = site.run(["erase", "Ada", "--prove", "--yes", "--json"]);
    assert_eq!(erased.code, 0, "{}{}", erased.stdout, erased.stderr);
    let proof: Value = serde_json::from_str(&erased.stdout).unwrap();
    assert!(proof["before"]["found"].as_array().is_some_and(|found| !found.is_empty()), "{proof}");
    assert_eq!(proof["after"]["found"], serde_json::json!([]));
}

#[test]
fn whoever_has_not_been_seen_for_long_is_removed_and_nobody_else() {
    let site = Site::new();
    let mut store = site.store();
    let at = |day: i64| {
        let wall = jiff::Timestamp::from_second(1_700_000_000 + day * 86_400).unwrap();
        Stamp { wall, mono: accessd::clock::MonoTime::from_millis(day as u64) }
    };
    let ada = store.enrol("Ada", &[template(&ADA)], "x", at(0)).unwrap();
    store.enrol("Bob", &[template(&BOB)], "x", at(0)).unwrap();
    store.enrol("Eve", &[template(&ADA)], "x", at(100)).unwrap();
    let grant = accessd::journal::Event {
        person: Some(accessd::journal::PersonRef { id: ada, name: "Ada".into() }),
        ..accessd::journal::Event::new(EventKind::Grant, serde_json::json!({}))
    };
    store.append(&grant, at(90)).unwrap();
    assert_eq!(store.expire(at(0).wall, at(120)).unwrap(), [""; 0]);
    // What a change of the encoder makes of somebody's pictures by itself is no sign of them.
    let named = |name: &str| NamedModel { name: name.into(), id: ModelId(format!("{name}@1")) };
    store.begin_migration(&named("made-up"), &named("other"), "x", at(110)).unwrap();
    let anew = NewTemplate { model: named("other").id, ..template(&BOB) };
    assert!(
        store.fill(accessd::gallery::PersonId(ada.0 + 1), &[anew], serde_json::json!({}), at(110)).unwrap()
    );
    assert_eq!(store.expire(at(80).wall, at(120)).unwrap(), ["Bob"]);
    assert_eq!(store.people().unwrap().len(), 2);
    let last = store.records(&Filter { limit: Some(1), ..Filter::default() }).unwrap().pop().unwrap();
    assert_eq!((last.event.kind, last.event.actor), (EventKind::Remove, None));
    assert_eq!(last.event.detail["why"], "unused for too long");
    assert!(store.traces("Bob").is_err());

    // As the service does it: once an hour, after so many days.
    assert_eq!(store.forget_unused(at(1_000)).unwrap(), [""; 0], "not unless it was asked for");
    store.forget_after(Some(905));
    assert_eq!(store.forget_unused(at(1_000)).unwrap(), ["Ada"]);
    let hours_later = |hours: u64| Stamp {
        mono: accessd::clock::MonoTime::from_millis(1_000 + 3_600_000 * hours),
        ..at(2_000)
    };
    assert_eq!(
        store.forget_unused(Stamp { wall: at(2_000).wall, ..at(1_000) }).unwrap(),
        [""; 0],
        "too early"
    );
    assert_eq!(store.forget_unused(hours_later(1)).unwrap(), ["Eve"]);
}

#[test]
fn who_may_only_look_changes_nothing_over_the_socket() {
    if !rustix::process::geteuid().is_root()
        || std::process::Command::new("setpriv").arg("--version").output().is_err()
    {
        println!("not root, or no setpriv: skipped");
        return;
    }
    let live = Live::start();
    fs::set_permissions(live.path(""), PermissionsExt::from_mode(0o755)).unwrap();
    fs::set_permissions(live.path("accessd.toml"), PermissionsExt::from_mode(0o644)).unwrap();
    let program = assert_cmd::cargo::cargo_bin!("accessd");
    let as_group = |group: u32, args: &[&str]| {
        let owner = format!("0:{group}");
        // The socket lets its group in; the daemon tells who may do what.
        let given = std::process::Command::new("chown")
            .args([&owner, live.path("control.sock").to_str().unwrap()])
            .status();
        assert!(given.unwrap().success());
        let mut command = assert_cmd::Command::new("setpriv");
        command
            .args(["--reuid", "12345", "--regid", "12345", "--groups", &group.to_string()])
            .arg(program)
            .args(args);
        outcome(command.env("ACCESSD_CONFIG", live.path("accessd.toml")))
    };
    if as_group(23456, &["list"]).stderr.contains("ermission denied") {
        println!("another user cannot reach the program or the folder: skipped");
        return;
    }
    assert!(as_group(23456, &["list"]).stdout.contains("Ada"), "looking is allowed");
    for args in [
        &["remove", "Ada", "--yes"][..],
        &["export", "Ada"],
        &["door", "unlock"],
        &["lockdown", "on"],
        &["erase", "Ada", "--yes"],
    ] {
        let refused = as_group(23456, args);
        assert_eq!(refused.code, 1, "{args:?}: {}", refused.stdout);
        assert!(
            refused.stderr.contains("uid 12345 may look but change nothing"),
            "{args:?}: {}",
            refused.stderr
        );
    }
    assert!(live.run(&["list"]).stdout.contains("Ada"));
    let mut client = Client::connect(&live.path("control.sock")).unwrap().unwrap();
    let root = client.request(&Request::Remove { name: "Bob".into() }).unwrap();
    assert_eq!(root, accessd::daemon::protocol::Reply::Done, "root may");
}
