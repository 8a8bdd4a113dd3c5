//! The journal as evidence, through the program: verified, found out when touched, explained.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use accessd::clock::{Clock, MonoTime, SystemClock};
use accessd::gallery::PersonId;
use accessd::journal::chain::{Against, Seal};
use accessd::journal::{Event, EventKind, PersonRef, Stamp};
use accessd::store::{HeadFile, OpenMode, Signing, SqliteStore, Store};
use serde_json::{Value, json};

use crate::support::{Service, Site, until};

fn at(s: u64) -> Stamp {
    let wall: jiff::Timestamp = "2026-11-23T08:00:00Z".parse().unwrap();
    Stamp { wall: wall + Duration::from_secs(s), mono: MonoTime::from_millis(1000 * s) }
}

fn seal() -> Arc<Seal> {
    Arc::new(Seal::from_device_secret(&[1; 32]))
}

/// A signed journal at a site: a start, entries and a stop.
fn journal(site: &Site) -> SqliteStore {
    let mut store = site.store().with_signing(Signing { seal: Some(seal()), head_file: None });
    store.believe_clock(true);
    for (n, kind) in (1..).zip([
        EventKind::Start,
        EventKind::Grant,
        EventKind::Unlocked,
        EventKind::Refusal,
        EventKind::Stop,
    ]) {
        let mut event = Event::new(kind, json!({ "marker": format!("record-{n}") }));
        if kind == EventKind::Grant {
            event.person = Some(PersonRef { id: PersonId(1), name: "Ada".into() });
        }
        store.append(&event, at(n)).unwrap();
    }
    store
}

#[test]
fn any_byte_of_a_record_that_is_flipped_in_the_file_itself_is_found() {
    let site = Site::new();
    drop(journal(&site));
    let path = site.path("accessd.db");
    let whole = fs::read(&path).unwrap();
    let boot = accessd::store::boot_id();
    let verify = || {
        let store = SqliteStore::open(&path, OpenMode::ReadOnly, "boot", &site.keys()).ok()?;
        let against = Against { keys: vec![seal().public()], ..Against::default() };
        store.verify(&against).ok().map(|found| found.is_whole())
    };
    assert_eq!(verify(), Some(true));
    let mut flipped = 0;
    for n in 1..=5 {
        let marker = format!(r#"{{"marker":"record-{n}"}}"#);
        let at = whole.windows(marker.len()).position(|w| w == marker.as_bytes()).unwrap();
        // From the boot's id to the last byte of the hash.
        let from = whole[..at].windows(boot.len()).rposition(|w| w == boot.as_bytes()).unwrap();
        for byte in from..at + marker.len() + 32 {
            let mut touched = whole.clone();
            touched[byte] ^= 0x10;
            fs::write(&path, touched).unwrap();
            assert_ne!(verify(), Some(true), "byte {byte} of record {n}");
            flipped += 1;
        }
    }
    assert!(flipped > 400, "{flipped}");
}

#[test]
fn log_verify_says_what_it_found_and_exits_with_it() {
    let site = Site::new();
    let store = journal(&site);
    let (key, head) = (seal().public().to_string(), store.verify(&Against::default()).unwrap().head.unwrap());
    drop(store);
    let run = |args: &[&str]| site.run(["log", "verify"].into_iter().chain(args.iter().copied()));

    let out = run(&["--key", &key]);
    assert_eq!(out.code, 0, "{}{}", out.stdout, out.stderr);
    assert!(out.stdout.starts_with("5 records are as they were written, up to 5\n"), "{}", out.stdout);
    assert!(out.stdout.contains(&format!("signed up to 5 (2 signatures) with {key}")), "{}", out.stdout);
    assert!(out.stdout.contains("not shown: whether newest records were cut off"), "{}", out.stdout);

    fs::write(site.path("heads"), format!("Nov 25 door accessd[7]: {head}\nand more\n")).unwrap();
    let out = run(&["--head", "heads", "--key", &key]);
    assert!(out.code == 0 && !out.stdout.contains("not shown"), "{}", out.stdout);
    let out = run(&["--head", &head.hash.to_string(), "--key", &key, "--json"]);
    let json: Value = serde_json::from_str(&out.stdout).unwrap();
    assert_eq!(
        (&json["records"], &json["heads_found"], &json["broken"]),
        (&json!(5), &json!(1), &Value::Null)
    );

    let stranger = Seal::from_device_secret(&[9; 32]).public().to_string();
    let out = run(&["--key", &stranger]);
    assert!(
        out.code == 3 && out.stdout.contains("BROKEN at record 1: its checkpoint is signed with"),
        "{}",
        out.stdout
    );

    let out = run(&["--head", "accessd.toml"]);
    assert!(out.code == 1 && out.stderr.contains("has no line with a head"), "{}", out.stderr);
    let out = run(&["--head", "nothing-there"]);
    assert!(out.code == 1 && out.stderr.contains("neither a hash nor a file"), "{}", out.stderr);

    let sql = rusqlite::Connection::open(site.path("accessd.db")).unwrap();
    sql.execute_batch(
        "DROP TRIGGER events_are_never_changed; UPDATE events SET person_name = 'Eve' WHERE id = 2",
    )
    .unwrap();
    drop(sql);
    let out = run(&["--key", &key]);
    assert_eq!(out.code, 3);
    assert!(
        out.stdout
            .starts_with("BROKEN at record 2: it is not as it was written\nbefore it: 1 record as written"),
        "{}",
        out.stdout
    );
}

#[test]
fn heads_are_kept_elsewhere_and_show_that_the_end_was_cut_off() {
    let site = Site::new();
    let file = site.path("heads");
    let mut store = site.store().with_head_file(HeadFile::at(&file).unwrap());
    store.append(&Event::new(EventKind::Start, json!({})), at(1)).unwrap();
    store.append(&Event::new(EventKind::ForcedOpen, json!({})), at(2)).unwrap();
    store.append(&Event::new(EventKind::Stop, json!({})), at(3)).unwrap();
    until("both heads are kept", || fs::read_to_string(&file).is_ok_and(|text| text.lines().count() == 2));
    drop(store);
    assert_eq!(site.run(["log", "verify", "--head", "heads"]).code, 0);
    let sql = rusqlite::Connection::open(site.path("accessd.db")).unwrap();
    sql.execute_batch(
        "DROP TRIGGER events_are_only_pruned; DELETE FROM events WHERE id > 1; DELETE FROM checkpoints WHERE id > 1;
         UPDATE sqlite_sequence SET seq = 1 WHERE name = 'events'",
    )
    .unwrap();
    drop(sql);
    assert_eq!(site.run(["log", "verify"]).code, 0, "nothing here tells");
    let out = site.run(["log", "verify", "--head", "heads"]);
    assert_eq!(out.code, 3);
    assert!(
        out.stdout.contains("BROKEN at record 3: it was handed out, but the journal ends with 1"),
        "{}",
        out.stdout
    );
}

#[test]
fn explain_tells_the_gates_of_a_decision() {
    let site = Site::new();
    let mut store = site.store();
    let figures = json!({
        "reason": "unknown", "track": 3, "seq": 9, "frame_age_ms": 80, "runner_up": null,
        "best": { "person": 1, "name": "Ada", "score": 0.31 }, "frames_agreed": 0, "frames_seen": 5,
        "rule": { "threshold": 0.5, "margin": 0.08, "frames_needed": 3, "frames_window": 5,
            "max_frame_age": { "secs": 0, "nanos": 500_000_000 }, "regrant_after": { "secs": 10, "nanos": 0 } },
        "model": "sface@1", "top": [[1, "Ada", 0.31], [2, "Bob", 0.2]], "ages_ms": [300, 80],
        "stages_us": { "embed": 21_500 },
    });
    store.append(&Event::new(EventKind::Refusal, figures), at(1)).unwrap();
    drop(store);
    let out = site.run(["explain", "1"]);
    assert_eq!(out.code, 0, "{}", out.stderr);
    for line in
        ["encoder       sface@1", "threshold     set by hand", "frames        300 ms, 80 ms old", "Bob"]
    {
        assert!(out.stdout.contains(line), "{line}: {}", out.stdout);
    }
    let score = out.stdout.lines().find(|line| line.trim_start().starts_with("score")).unwrap();
    assert!(
        score.contains("0.310") && score.contains("at least 0.500") && score.contains("NOT MET"),
        "{score}"
    );
    let json: Value = serde_json::from_str(&site.run(["explain", "1", "--json"]).stdout).unwrap();
    assert_eq!(json["candidates"][1]["name"], "Bob");
    let out = site.run(["explain", "7"]);
    assert!(out.code == 1 && out.stderr.contains("the journal has no record 7"), "{}", out.stderr);
}

/// `[journal]` acts: old records and those that are too many go, and the file elsewhere gets the heads.
#[test]
fn net_the_settings_of_the_journal_act() {
    let site = Site::with_networks();
    fs::create_dir(site.path("clip")).unwrap();
    image::RgbImage::new(320, 240).save(site.path("clip/1.png")).unwrap();
    let mut store = site.store();
    store.believe_clock(true);
    // Each with 512 records, and so with two signatures of its own.
    for (batch, days) in [("old", 400), ("new", 5)] {
        let wall = SystemClock.wall() - Duration::from_secs(86_400 * days);
        for n in 0..512 {
            let at = Stamp { wall: wall + Duration::from_secs(n), mono: MonoTime::from_millis(n) };
            store.append(&Event::new(EventKind::Refusal, json!({ "batch": batch, "n": n })), at).unwrap();
        }
    }
    drop(store);
    let kept = || {
        let text = site.run(["log", "--kind", "refusal", "--json", "-n", "5000"]).stdout;
        ["\"old\"", "\"new\""].map(|batch| text.matches(batch).count())
    };
    let run = |keep: &str, pruned: &dyn Fn() -> bool| {
        site.write_config(&format!(
            "[camera]\nsource = \"clip:clip?loop&fps=5\"\n[door]\nrelay = \"sim:relay.log\"\n[clock]\ntrust = \"always\"\n\
             [journal]\nhead_file = \"heads\"\n{keep}\n"
        ));
        let service = Service::start(&site);
        until("it has taken out what is due", pruned);
        assert_eq!(service.stop(), Some(0));
    };
    let all = kept();
    assert_eq!(all, [512, 512]);
    run("keep_days = 0\nkeep_events = 0", &|| true);
    assert_eq!(kept(), all, "0 keeps all");
    run("keep_days = 200\nkeep_events = 0", &|| kept()[0] == 0);
    assert_eq!(kept(), [0, 512], "the old ones are too old");
    run("keep_days = 0\nkeep_events = 200", &|| kept()[1] < 512);
    let heads = fs::read_to_string(site.path("heads")).unwrap();
    assert!(heads.lines().count() >= 3, "{heads}");
    let out = site.run(["log", "verify", "--head", "heads"]);
    assert_eq!(out.code, 0, "{}{}", out.stdout, out.stderr);
}
