//! The store through its public face: what it keeps, what it refuses, and what a cut at any moment leaves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use accessd::clock::MonoTime;
use accessd::encoder::{Embedding, ModelId};
use accessd::gallery::{NewTemplate, TemplateSource};
use accessd::journal::{Event, EventId, EventKind, Filter, PersonRef, Record, Stamp};
use accessd::seal::Keys;
use accessd::store::{self, Checkup, OpenMode, SqliteStore, Store};
use accessd::vision::quality::Quality;
use serde_json::json;

use crate::support::held_keys;

const BOOT: &str = "11111111-2222-3333-4444-555555555555";

/// Numbers without meaning that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn template(&mut self, model: &str, dim: usize) -> NewTemplate {
        let values = (0..dim).map(|_| (self.next() % 2001) as f32 - 1000.5).collect();
        NewTemplate {
            model: ModelId(model.into()),
            embedding: Embedding::normalise(values).unwrap(),
            quality: Quality {
                eye_distance_px: 61.25,
                sharpness: 140.1,
                light: 121.7,
                yaw_deg: -4.3,
                pitch_deg: 3.1,
                roll_deg: 0.7,
            },
            source: TemplateSource::Camera,
            crop: None,
        }
    }
}

/// `s` seconds into a day in 2026.
fn at(s: u64) -> Stamp {
    let wall = "2026-11-23T08:00:00.123456Z".parse::<jiff::Timestamp>().unwrap();
    Stamp { wall: wall + Duration::from_secs(s), mono: MonoTime::from_millis(5_000 + 1000 * s) }
}

fn create(path: &Path) -> SqliteStore {
    SqliteStore::open(path, OpenMode::Create, BOOT, &held_keys()).unwrap()
}

fn bytes_of(template: &NewTemplate) -> Vec<u8> {
    template.embedding.values().iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// The name that a test's database has in its folder.
const DB: &str = "accessd.db";

struct Place {
    dir: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(DB);
        Self { dir, path }
    }

    /// Every file in the folder with what is in it.
    fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let files = fs::read_dir(self.dir.path()).unwrap();
        files
            .map(|file| {
                let file = file.unwrap();
                (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())
            })
            .collect()
    }

    /// Opens the file behind the store's back.
    fn sql(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(&self.path).unwrap()
    }
}

/// The message of a failure to open.
fn refusal(path: &Path, mode: OpenMode) -> String {
    match SqliteStore::open(path, mode, BOOT, &held_keys()) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error.to_string(),
    }
}

fn generation(store: &dyn Store) -> u64 {
    store.gallery(&ModelId("m@1".into())).unwrap().generation()
}

fn all(store: &dyn Store) -> Vec<Record> {
    store.records(&Filter::default()).unwrap()
}

#[test]
fn people_templates_and_journal_come_back_as_they_went_in() {
    let place = Place::new();
    let mut n = Numbers(1);
    let (first, second) = (n.template("m@1", 128), n.template("m@1", 128));
    let other_model = n.template("n@2", 512);
    {
        let mut store = create(&place.path);
        let zoe = store.enrol(" Zoë Şahin ", std::slice::from_ref(&first), "uid 1000", at(0)).unwrap();
        let ada = store.enrol("ada", std::slice::from_ref(&second), "uid 0", at(1)).unwrap();
        assert_eq!(
            store.add_templates("ZOË şahin", std::slice::from_ref(&other_model), "uid 0", at(2)).unwrap(),
            zoe
        );
        store.rename("ADA", "Ada  Lovelace", "uid 1001", at(3)).unwrap();
        let grant = Event {
            kind: EventKind::Grant,
            person: Some(PersonRef { id: ada, name: "Ada  Lovelace".into() }),
            actor: None,
            door: Some("entry".into()),
            detail: json!({"score": 0.75, "text": "ä\n\"quoted\""}),
        };
        assert_eq!(store.append(&grant, at(60)).unwrap(), EventId(5));
        assert_eq!(store.append(&Event::new(EventKind::Locked, json!(null)), at(61)).unwrap(), EventId(6));
    }
    for mode in [OpenMode::Existing, OpenMode::Create, OpenMode::ReadOnly] {
        let store = SqliteStore::open(&place.path, mode, "another boot", &held_keys()).unwrap();
        let people = store.people().unwrap();
        assert_eq!(
            people.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(),
            ["Ada  Lovelace", "Zoë Şahin"]
        );
        let (ada, zoe) = (&people[0], &people[1]);
        assert_eq!((ada.created, ada.last_grant), (at(1).wall, Some(at(60).wall)));
        assert_eq!((zoe.created, zoe.last_grant), (at(0).wall, None));
        assert_eq!(zoe.templates.len(), 2);
        for (info, template, s) in [(&zoe.templates[0], &first, 0), (&zoe.templates[1], &other_model, 2)] {
            assert_eq!((&info.model, &info.quality), (&template.model, &template.quality));
            assert_eq!((info.source, info.created), (TemplateSource::Camera, at(s).wall));
        }
        assert_eq!(&store.person("ada lovelace").unwrap(), ada);

        let gallery = store.gallery(&ModelId("m@1".into())).unwrap();
        assert_eq!((gallery.people(), gallery.templates()), (2, 2));
        let found = gallery.find(&second.embedding).unwrap();
        assert_eq!((found.best.person, &*found.best.name), (ada.id, "Ada  Lovelace"));
        assert!(found.best.score.0 > 0.999_999 && found.runner_up.unwrap().person == zoe.id);

        let records = all(&store);
        assert_eq!(records.iter().map(|r| r.id.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        let expected = [
            (EventKind::Enrol, Some("Zoë Şahin"), Some("uid 1000"), 0),
            (EventKind::Enrol, Some("ada"), Some("uid 0"), 1),
            (EventKind::EnrolMore, Some("Zoë Şahin"), Some("uid 0"), 2),
            (EventKind::Rename, Some("ada"), Some("uid 1001"), 3),
            (EventKind::Grant, Some("Ada  Lovelace"), None, 60),
            (EventKind::Locked, None, None, 61),
        ];
        for (record, (kind, name, actor, s)) in records.iter().zip(expected) {
            let event = &record.event;
            assert_eq!((event.kind, event.actor.as_deref()), (kind, actor));
            assert_eq!(event.person.as_ref().map(|p| p.name.as_str()), name);
            assert_eq!((record.at, record.boot_id.as_str()), (at(s), BOOT));
        }
        assert_eq!(records[0].event.detail, json!({"templates": 1, "model": "m@1", "source": "camera"}));
        assert_eq!(records[3].event.detail, json!({"from": "ada", "to": "Ada  Lovelace"}));
        assert_eq!(records[4].event.detail, json!({"score": 0.75, "text": "ä\n\"quoted\""}));
    }
}

#[test]
fn what_cannot_be_done_says_why_and_changes_nothing() {
    let place = Place::new();
    let mut n = Numbers(2);
    let mut store = create(&place.path);
    let t = [n.template("m@1", 128)];
    store.enrol("Ada Lovelace", &t, "uid 0", at(0)).unwrap();
    store.enrol("Bob", &t, "uid 0", at(1)).unwrap();
    let before = (store.people().unwrap(), all(&store), generation(&store));

    let too_short = [n.template("m@1", 64)];
    let mut stretched = n.template("m@1", 128);
    stretched.embedding = serde_json::from_value(json!(vec![0.5f32; 128])).unwrap();
    let failures = [
        (
            store.enrol("ada  LOVELACE", &t, "x", at(2)).unwrap_err(),
            "\"Ada Lovelace\" is already enrolled; choose another",
        ),
        (store.enrol(" \n", &t, "x", at(2)).unwrap_err(), "cannot be a name: it is empty"),
        (store.enrol("Eve", &[], "x", at(2)).unwrap_err(), "templates refused: there are none"),
        (store.enrol("Eve", &[stretched], "x", at(2)).unwrap_err(), "has length 5.65"),
        (
            store.enrol("Eve", &too_short, "x", at(2)).unwrap_err(),
            "they have 64 values, but those stored of model m@1 have 128",
        ),
        (store.add_templates("Bob", &too_short, "x", at(2)).unwrap_err(), "they have 64 values"),
        (
            store.add_templates("Bov", &t, "x", at(2)).unwrap_err(),
            "nobody is enrolled as \"Bov\"; did you mean \"Bob\"?",
        ),
        (store.add_templates("Bob", &[], "x", at(2)).unwrap_err(), "templates refused: there are none"),
        (store.person("Ada").unwrap_err(), "did you mean \"Ada Lovelace\"?"),
        (store.rename("Ada Lovelace", "bob", "x", at(2)).unwrap_err(), "\"Bob\" is already enrolled"),
        (store.rename("Bob", "B\u{7}b", "x", at(2)).unwrap_err(), "cannot be a name: it contains a control"),
        (store.rename("Eve", "Eva", "x", at(2)).unwrap_err(), "nobody is enrolled as \"Eve\""),
        (store.remove("xyz", "x", at(2)).unwrap_err(), "nobody is enrolled as \"xyz\""),
    ];
    for (error, expected) in &failures {
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(
        failures.last().unwrap().0.to_string(),
        "nobody is enrolled as \"xyz\"",
        "no far-fetched suggestion"
    );
    assert_eq!((store.people().unwrap(), all(&store), generation(&store)), before);

    store.rename("bob", "BOB", "uid 0", at(3)).unwrap();
    assert_eq!(store.person("bob").unwrap().name, "BOB", "one's own name in another spelling is free");
    let records = all(&store).len();
    store.rename("bob", "BOB", "uid 0", at(4)).unwrap();
    assert_eq!(all(&store).len(), records, "to the same name is no change");
}

#[test]
fn the_generation_grows_with_people_and_not_with_events() {
    let place = Place::new();
    let mut n = Numbers(3);
    let mut store = create(&place.path);
    let t = [n.template("m@1", 128)];
    let mut last = generation(&store);
    let mut grew = |store: &SqliteStore| {
        let now = generation(store);
        std::mem::replace(&mut last, now) < now
    };
    store.enrol("Ada", &t, "x", at(0)).unwrap();
    assert!(grew(&store));
    store.add_templates("Ada", &t, "x", at(1)).unwrap();
    assert!(grew(&store));
    store.rename("Ada", "Eve", "x", at(2)).unwrap();
    assert!(grew(&store));
    store.append(&Event::new(EventKind::Fault, json!({"what": "relay"})), at(3)).unwrap();
    assert!(!grew(&store));
    store.remove("Eve", "x", at(4)).unwrap();
    assert!(grew(&store));
}

#[test]
fn a_gallery_holds_the_templates_of_its_model_alone() {
    let place = Place::new();
    let mut n = Numbers(4);
    let mut store = create(&place.path);
    store.enrol("Ada", &[n.template("m@1", 128), n.template("m@1", 128)], "x", at(0)).unwrap();
    store.enrol("Bob", &[n.template("n@1", 512)], "x", at(0)).unwrap();
    // The same network with other weights, and so of the same dimension.
    store.enrol("Eve", &[n.template("m@2", 128)], "x", at(0)).unwrap();
    for (model, people, templates) in [("m@1", 1, 2), ("n@1", 1, 1), ("m@2", 1, 1), ("m", 0, 0)] {
        let gallery = store.gallery(&ModelId(model.into())).unwrap();
        assert_eq!((gallery.people(), gallery.templates()), (people, templates), "{model}");
    }
}

#[test]
fn a_removed_person_leaves_their_name_in_the_journal_and_their_id_to_nobody() {
    let place = Place::new();
    let mut n = Numbers(5);
    let mut store = create(&place.path);
    store.enrol("Ada", &[n.template("m@1", 128), n.template("m@1", 128)], "x", at(0)).unwrap();
    let bob = store.enrol("Bob", &[n.template("m@1", 128)], "x", at(1)).unwrap();
    store.remove("bob", "uid 7", at(2)).unwrap();
    assert!(store.person("Bob").is_err());
    let rows: i64 = place
        .sql()
        .query_row("SELECT count(*) FROM templates WHERE person = ?1", [bob.0], |r| r.get(0))
        .unwrap();
    assert_eq!(rows, 0);
    let last = all(&store).pop().unwrap();
    assert_eq!((last.event.kind, last.event.actor.as_deref()), (EventKind::Remove, Some("uid 7")));
    assert_eq!(last.event.person, Some(PersonRef { id: bob, name: "Bob".into() }));
    assert_eq!(last.event.detail, json!({"templates": 1}));
    let again = store.enrol("Bob", &[n.template("m@1", 128)], "x", at(3)).unwrap();
    assert!(again > bob, "{again:?} after {bob:?}");
}

/// Which of these byte strings has left any 16 bytes of itself in any file of the place.
fn traces(place: &Place, secrets: &[Vec<u8>]) -> Vec<usize> {
    let pieces: HashMap<[u8; 16], usize> = secrets
        .iter()
        .enumerate()
        .flat_map(|(i, bytes)| bytes.as_chunks::<16>().0.iter().map(move |c| (*c, i)))
        .collect();
    let contents = place.contents();
    let found: BTreeSet<usize> = contents
        .values()
        .flat_map(|bytes| bytes.windows(16))
        .filter_map(|w| pieces.get(w).copied())
        .collect();
    found.into_iter().collect()
}

/// What the database holds sealed of a person: the templates, and the key they are sealed with.
fn sealed_of(place: &Place, name: &str) -> Vec<Vec<u8>> {
    let conn = place.sql();
    let mut rows = conn
        .prepare(
            "SELECT sealed FROM templates JOIN people ON people.id = person WHERE name = ?1
             UNION ALL SELECT wrapped FROM person_keys JOIN people ON people.id = person WHERE name = ?1",
        )
        .unwrap();
    rows.query_map([name], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn of_a_removed_person_no_byte_of_a_template_is_left_in_any_file() {
    let place = Place::new();
    let mut n = Numbers(6);
    let mut store = create(&place.path);
    let mut live: Vec<(String, Vec<NewTemplate>)> = Vec::new();
    let (mut gone, mut plain) = (Vec::new(), Vec::new());
    // Enough that the table has several levels, which balance themselves as rows go; 512 values nearly fill a page.
    for i in 0..160 {
        let dim = if i < 80 { 128 } else { 512 };
        let templates: Vec<_> = (0..1 + n.next() % 4).map(|_| n.template(&format!("m@{dim}"), dim)).collect();
        if i % 3 == 2 {
            let (name, templates) = live.swap_remove(n.next() as usize % live.len());
            gone.extend(sealed_of(&place, &name));
            plain.extend(templates.iter().map(bytes_of));
            store.remove(&name, "x", at(i)).unwrap();
        } else if i % 7 == 0 && !live.is_empty() && live[0].1[0].embedding.dim() == dim {
            store.add_templates(&live[0].0, &templates, "x", at(i)).unwrap();
            live[0].1.extend(templates);
        } else {
            let name = format!("Person {i}");
            store.enrol(&name, &templates, "x", at(i)).unwrap();
            live.push((name, templates));
        }
    }
    let kept: Vec<_> = live.iter().flat_map(|(name, _)| sealed_of(&place, name)).collect();
    assert_eq!(traces(&place, &kept).len(), kept.len(), "the search itself works");
    assert!(gone.len() > 100);
    assert_eq!(traces(&place, &gone), [0usize; 0]);
    plain.extend(live.iter().flat_map(|(_, templates)| templates.iter().map(bytes_of)));
    assert_eq!(traces(&place, &plain), [0usize; 0], "nothing is ever written in the clear");
}

#[test]
fn what_was_learnt_is_marked_kept_apart_and_forgotten_without_a_trace() {
    let place = Place::new();
    let mut n = Numbers(11);
    let mut store = create(&place.path);
    let model = ModelId("m@1".into());
    let (enrolled, learnt) = (n.template("m@1", 128), [n.template("m@1", 128), n.template("m@1", 128)]);
    store.enrol("Ada", std::slice::from_ref(&enrolled), "x", at(0)).unwrap();
    store.enrol("Bob", &[n.template("m@1", 128)], "x", at(1)).unwrap();
    for (s, template) in (2..).zip(&learnt) {
        store.learn("ada", template, json!({ "grant": 7 }), at(s)).unwrap();
    }
    let bobs = n.template("m@1", 128);
    store.learn("Bob", &bobs, json!({}), at(4)).unwrap();
    let sources = |store: &SqliteStore| {
        store.person("Ada").unwrap().templates.iter().map(|t| t.source).collect::<Vec<_>>()
    };
    assert_eq!(sources(&store), [TemplateSource::Camera, TemplateSource::Learnt, TemplateSource::Learnt]);
    let last = all(&store).pop().unwrap();
    assert_eq!((last.event.kind, last.event.actor), (EventKind::Learnt, None));
    let sizes = |store: &SqliteStore| {
        let (all, own) = (store.gallery(&model).unwrap(), store.enrolled_gallery(&model).unwrap());
        assert_eq!(all.generation(), own.generation());
        (all.templates(), own.templates())
    };
    assert_eq!(sizes(&store), (5, 2));
    let before = generation(&store);
    // Two samples and the key that stays, the enrolled sample first.
    let sealed = sealed_of(&place, "Ada")[1..3].to_vec();
    assert_eq!(traces(&place, &sealed).len(), 2, "the search itself works");

    assert!(store.forget_learnt(Some("Cleo"), "uid 7", at(5)).is_err());
    assert_eq!(store.forget_learnt(Some("Ada"), "uid 7", at(6)).unwrap(), 2);
    assert_eq!((sources(&store), sizes(&store)), (vec![TemplateSource::Camera], (3, 2)));
    assert_eq!(generation(&store), before + 1);
    assert_eq!(traces(&place, &sealed), [0usize; 0], "no byte is left");
    assert_eq!(sealed_of(&place, "Ada").len(), 2, "the enrolled sample and the key");
    let last = all(&store).pop().unwrap();
    assert_eq!((last.event.kind, last.event.actor.as_deref()), (EventKind::LearntForgotten, Some("uid 7")));
    assert_eq!(
        (last.event.person.unwrap().name, last.event.detail),
        ("Ada".to_owned(), json!({ "templates": 2 }))
    );
    assert_eq!(store.forget_learnt(None, "x", at(7)).unwrap(), 1, "Bob's");
    assert_eq!(store.forget_learnt(None, "x", at(8)).unwrap(), 0);
    assert_eq!((sizes(&store), generation(&store)), ((2, 2), before + 2), "nothing is no change");
}

#[test]
fn a_reader_in_the_middle_of_its_query_delays_the_erasing_but_not_the_removal() {
    let place = Place::new();
    let mut n = Numbers(7);
    let mut store = create(&place.path);
    let ada = [n.template("m@1", 128)];
    store.enrol("Ada", &ada, "x", at(0)).unwrap();
    let sealed = sealed_of(&place, "Ada");
    let conn = place.sql();
    conn.execute_batch("BEGIN; SELECT count(*) FROM people;").unwrap();
    store.remove("Ada", "x", at(1)).unwrap();
    assert!(store.people().unwrap().is_empty());
    assert_eq!(traces(&place, &sealed), [0, 1], "the reader still needs the pages as they were");
    conn.execute_batch("COMMIT").unwrap();
    store.append(&Event::new(EventKind::Locked, json!(null)), at(2)).unwrap();
    assert_eq!(traces(&place, &sealed), [0usize; 0]);
}

#[test]
fn a_reader_follows_the_writer_and_changes_nothing() {
    let place = Place::new();
    let mut n = Numbers(8);
    let mut store = create(&place.path);
    let mut reader = store.reader().unwrap();
    assert!(reader.people().unwrap().is_empty());
    store.enrol("Ada", &[n.template("m@1", 128)], "x", at(0)).unwrap();
    assert_eq!(reader.people().unwrap(), store.people().unwrap());
    assert_eq!(all(&*reader), all(&store));
    assert_eq!(generation(&*reader), generation(&store));
    assert_eq!(all(&*reader.reader().unwrap()).len(), 1, "a reader makes readers");

    let t = [n.template("m@1", 128)];
    for error in [
        reader.enrol("Bob", &t, "x", at(1)).unwrap_err(),
        reader.add_templates("Ada", &t, "x", at(1)).unwrap_err(),
        reader.rename("Ada", "Bob", "x", at(1)).unwrap_err(),
        reader.remove("Ada", "x", at(1)).unwrap_err(),
        reader.append(&Event::new(EventKind::Fault, json!(null)), at(1)).unwrap_err(),
    ] {
        assert!(error.to_string().ends_with("is not possible: it was opened for reading only"), "{error}");
    }
    assert_eq!((all(&store).len(), store.people().unwrap().len()), (1, 1));
}

#[test]
fn the_journal_is_read_by_time_person_kind_and_number() {
    let place = Place::new();
    let mut n = Numbers(9);
    let mut store = create(&place.path);
    let t = [n.template("m@1", 128)];
    let ada = store.enrol("Ada", &t, "x", at(0)).unwrap(); // 1
    let about = |kind, id, name: &str| Event {
        kind,
        person: Some(PersonRef { id, name: name.into() }),
        actor: None,
        door: None,
        detail: json!({}),
    };
    store.append(&about(EventKind::Grant, ada, "Ada"), at(10)).unwrap(); // 2
    store.rename("Ada", "Ada King", "x", at(20)).unwrap(); // 3
    store.append(&about(EventKind::Grant, ada, "Ada King"), at(30)).unwrap(); // 4
    let second = store.enrol("Ada", &t, "x", at(40)).unwrap(); // 5, another Ada
    store.append(&about(EventKind::Grant, second, "Ada"), at(50)).unwrap(); // 6
    store.remove("Ada", "x", at(60)).unwrap(); // 7
    // The calendar is set back by a minute: the order is that of writing.
    store.append(&Event::new(EventKind::Refusal, json!({})), at(5)).unwrap(); // 8
    store.append(&Event::new(EventKind::Fault, json!({})), at(70)).unwrap(); // 9

    let numbers = |filter: Filter| -> Vec<i64> {
        store.records(&filter).unwrap().into_iter().map(|r| r.id.0).collect()
    };
    let f = Filter::default;
    let person = |name: &str| Filter { person: Some(name.into()), ..f() };
    assert_eq!(numbers(f()), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(numbers(Filter { limit: Some(3), ..f() }), [7, 8, 9], "the newest, oldest first");
    assert_eq!(numbers(Filter { limit: Some(0), ..f() }), [0i64; 0]);
    assert_eq!(numbers(Filter { after: Some(EventId(7)), ..f() }), [8, 9]);
    assert_eq!(numbers(Filter { before: Some(EventId(3)), ..f() }), [1, 2]);
    assert_eq!(numbers(Filter { before: Some(EventId(8)), limit: Some(2), ..person("Ada King") }), [3, 4]);
    assert_eq!(numbers(Filter { since: Some(at(40).wall), ..f() }), [5, 6, 7, 9], "`since` is within");
    assert_eq!(numbers(Filter { until: Some(at(10).wall), ..f() }), [1, 8], "`until` is not");
    assert_eq!(numbers(Filter { since: Some(at(5).wall), until: Some(at(21).wall), ..f() }), [2, 3, 8]);
    assert_eq!(numbers(Filter { since: Some(at(500).wall), ..f() }), [0i64; 0]);
    assert_eq!(numbers(Filter { kinds: vec![EventKind::Grant], limit: Some(2), ..f() }), [4, 6]);
    assert_eq!(numbers(Filter { kinds: vec![EventKind::Fault, EventKind::Refusal], ..f() }), [8, 9]);
    assert_eq!(numbers(person("Ada King")), [1, 2, 3, 4], "whoever bears it now, under every name");
    assert_eq!(numbers(person(" ada ")), [1, 2, 3, 5, 6, 7], "whoever bore it then");
    assert_eq!(numbers(person("nobody")), [0i64; 0]);
    let grants_of_the_second = Filter {
        kinds: vec![EventKind::Grant],
        since: Some(at(31).wall),
        after: Some(EventId(1)),
        ..person("Ada")
    };
    assert_eq!(numbers(grants_of_the_second), [6]);
}

#[test]
fn a_grant_does_not_wait_for_the_log_to_be_folded_away() {
    let place = Place::new();
    let mut store = create(&place.path);
    let before = fs::read(&place.path).unwrap();
    let event = |kind| Event::new(kind, json!({"padding": "x".repeat(3000)}));
    let log = || fs::metadata(place.path.with_extension("db-wal")).unwrap().len();
    for _ in 0..400 {
        store.append(&event(EventKind::Grant), at(1)).unwrap();
    }
    assert!(log() > 1100 * 4120, "three pages each at the least: {} bytes", log());
    assert!(fs::read(&place.path).unwrap() == before, "1100 pages of log and the database is untouched");
    store.append(&event(EventKind::Unlocked), at(2)).unwrap();
    assert!(fs::read(&place.path).unwrap() != before, "the next event does it");
}

#[test]
fn a_record_is_never_changed() {
    let place = Place::new();
    let mut store = create(&place.path);
    store.append(&Event::new(EventKind::Refusal, json!({})), at(1)).unwrap();
    let error = place.sql().execute("UPDATE events SET kind = 'grant'", []).unwrap_err();
    assert!(error.to_string().contains("a record of the journal is never changed"), "{error}");
    let error = place.sql().execute("DELETE FROM events", []).unwrap_err();
    assert!(error.to_string().contains("never deleted without a signed summary"), "{error}");
}

#[test]
fn files_are_for_their_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("lib");
    let store = create(&folder.join(DB));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path()).collect();
    assert_eq!(files.len(), 4, "database, -wal, -shm, .lock: {files:?}");
    assert!(files.iter().all(|f| mode(f) == 0o600), "{files:?}");
    drop(store);
    let files: BTreeSet<_> = fs::read_dir(&folder).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(files, [DB.into(), format!("{DB}.lock").into()].into(), "a clean stop leaves no log");
}

#[test]
fn what_is_no_database_of_ours_is_refused_untouched() {
    let place = Place::new();
    let write = |bytes: &[u8]| fs::write(&place.path, bytes).unwrap();
    let other = {
        let conn = place.sql();
        conn.execute_batch("CREATE TABLE moz_places (id); PRAGMA application_id = 7").unwrap();
        drop(conn);
        fs::read(&place.path).unwrap()
    };
    let unmarked = {
        let mut bytes = other.clone();
        bytes[68..72].fill(0);
        bytes
    };
    for (bytes, expected) in [
        (&b"no database, but long enough to be one".repeat(50)[..], "it is not an SQLite database"),
        (b"SQLite format 3\0", "it is not an SQLite database, or its beginning is destroyed"),
        (&other, "it is a database of another program (application id 0x7); give another path"),
        (&unmarked, "it is a database of another program (application id 0x0)"),
    ] {
        write(bytes);
        let before = place.contents();
        for mode in [OpenMode::Create, OpenMode::Existing, OpenMode::ReadOnly] {
            let text = refusal(&place.path, mode);
            assert!(text.starts_with(&format!("database {}: ", place.path.display())), "{text}");
            assert!(text.contains(expected), "{text}");
        }
        assert!(store::check(&place.path, &held_keys()).unwrap_err().to_string().contains(expected));
        assert!(place.contents() == before, "nothing changed, nothing left behind");
    }
}

#[test]
fn paths_that_lead_nowhere_say_so() {
    let place = Place::new();
    for mode in [OpenMode::Existing, OpenMode::ReadOnly] {
        let text = refusal(&place.path, mode);
        assert!(text.contains("there is no such file; `accessd enroll`"), "{text}");
    }
    let text = refusal(place.dir.path(), OpenMode::Create);
    assert!(text.ends_with("it is a folder; give the path of a file in it"), "{text}");
    let text = refusal(&place.dir.path().join("a/b/c.db"), OpenMode::Create);
    assert!(text.contains("its folder") && text.contains("create it first"), "{text}");
    let text = refusal(&place.dir.path().join(".."), OpenMode::Create);
    assert!(text.contains("it is a folder"), "{text}");
    // The kernel lets nobody create files there, root neither.
    let text = refusal(Path::new("/proc/accessd.db"), OpenMode::Create);
    assert!(text.contains("lock") && text.contains("the folder must be writable"), "{text}");
    assert!(place.contents().is_empty());
}

#[test]
fn a_creation_that_was_cut_short_is_finished_by_the_next() {
    let place = Place::new();
    fs::write(&place.path, b"").unwrap();
    for mode in [OpenMode::Existing, OpenMode::ReadOnly] {
        assert!(refusal(&place.path, mode).contains("its creation was cut short"));
    }
    assert!(store::check(&place.path, &held_keys()).unwrap_err().to_string().contains("cut short"));
    create(&place.path).append(&Event::new(EventKind::Start, json!({})), at(0)).unwrap();
    assert_eq!(
        all(&SqliteStore::open(&place.path, OpenMode::ReadOnly, BOOT, &held_keys()).unwrap()).len(),
        1
    );
}

#[test]
fn the_database_of_a_newer_program_is_refused_untouched() {
    let place = Place::new();
    drop(create(&place.path));
    place.sql().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(&place.path).unwrap();
    for mode in [OpenMode::Create, OpenMode::Existing, OpenMode::ReadOnly] {
        let text = refusal(&place.path, mode);
        assert!(text.contains("written by a newer accessd (schema 99, this program knows"), "{text}");
    }
    assert!(store::check(&place.path, &held_keys()).is_err());
    assert!(fs::read(&place.path).unwrap() == before);
}

#[test]
fn the_database_of_an_older_program_is_not_read_before_it_is_brought_up_to_date() {
    let place = Place::new();
    drop(create(&place.path));
    place.sql().pragma_update(None, "user_version", 0).unwrap();
    let text = refusal(&place.path, OpenMode::ReadOnly);
    assert!(text.contains("; start the daemon or change something, either brings it up to date"), "{text}");
}

/// A database as the program made it when there were so many migrations, with 40 people. None had keys then.
fn of_old(place: &Place, schema: usize) -> Vec<NewTemplate> {
    let steps =
        [include_str!("../../migrations/0001_initial.sql"), include_str!("../../migrations/0002_policy.sql")];
    let mut n = Numbers(14);
    let templates: Vec<_> = (0..40).map(|_| n.template("m@1", 128)).collect();
    let conn = place.sql();
    conn.pragma_update(None, "application_id", 0x6163_6364).unwrap();
    conn.pragma_update(None, "journal_mode", "WAL").unwrap();
    for step in &steps[..schema] {
        conn.execute_batch(step).unwrap();
    }
    conn.pragma_update(None, "user_version", schema as i64).unwrap();
    for (i, template) in (1_i64..).zip(&templates) {
        conn.execute(
            "INSERT INTO people (name, name_key, created) VALUES (?1, ?2, 0)",
            [format!("Person {i}"), format!("person {i}")],
        )
        .unwrap();
        let quality = serde_json::to_string(&template.quality).unwrap();
        conn.execute(
            "INSERT INTO templates (person, model, dim, embedding, quality, source, created)
             VALUES (?1, 'm@1', 128, ?2, ?3, 'camera', 0)",
            rusqlite::params![i, bytes_of(template), quality],
        )
        .unwrap();
    }
    // The newest has gone again: its number is never given to another.
    conn.execute_batch("PRAGMA foreign_keys = ON; DELETE FROM people WHERE id = 40").unwrap();
    fs::set_permissions(&place.path, PermissionsExt::from_mode(0o600)).unwrap();
    templates
}

#[test]
fn a_database_from_before_there_were_rules_keeps_its_people_and_lets_them_in_always() {
    let place = Place::new();
    of_old(&place, 1);
    let store = create(&place.path);
    let book = store.rule_book().unwrap();
    assert_eq!(book.rules.iter().map(|n| n.rule.to_string()).collect::<Vec<_>>(), ["allow everybody always"]);
    assert_eq!(book.people.len(), 39);
}

#[test]
fn templates_from_before_there_were_keys_are_sealed_and_leave_no_byte_in_the_clear() {
    for schema in [1, 2] {
        let place = Place::new();
        let templates = of_old(&place, schema);
        let plain: Vec<_> = templates.iter().map(bytes_of).collect();
        assert!(traces(&place, &plain).len() >= 39, "the search itself works");
        let text = refusal(&place.path, OpenMode::ReadOnly);
        assert!(text.contains("start the daemon or change something"), "{text}");
        let mut store = create(&place.path);
        assert_eq!(traces(&place, &plain), [0usize; 0]);
        let gallery = store.gallery(&ModelId("m@1".into())).unwrap();
        assert_eq!((gallery.people(), gallery.templates()), (39, 39));
        for (i, template) in (1..).zip(&templates[..39]) {
            let found = gallery.find(&template.embedding).unwrap().best;
            assert_eq!(&*found.name, format!("Person {i}"));
            assert!(found.score.0 > 0.999_99);
        }
        let id = store.enrol("Late", &[templates[39].clone()], "x", at(0)).unwrap();
        assert_eq!(
            (id.0, store.person("Late").unwrap().templates[0].id),
            (41, 41),
            "no number is given twice"
        );
        assert_eq!(store::check(&place.path, &held_keys()).unwrap().findings, []);
    }
}

/// Everything that defines a database: its statements, and the numbers in its header.
fn schema_of(place: &Place) -> (Vec<String>, i64) {
    let conn = place.sql();
    let mut rows =
        conn.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name").unwrap();
    let squeezed = |sql: String| sql.split_whitespace().collect::<Vec<_>>().join(" ").replace('"', "");
    let statements = rows.query_map([], |row| Ok(squeezed(row.get(0)?))).unwrap().collect::<Result<_, _>>();
    (statements.unwrap(), conn.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap())
}

#[test]
fn a_database_of_every_earlier_schema_becomes_what_a_new_one_is() {
    let new = Place::new();
    drop(create(&new.path));
    for schema in [1, 2] {
        let old = Place::new();
        of_old(&old, schema);
        drop(create(&old.path));
        assert_eq!(schema_of(&old), schema_of(&new), "from {schema}");
    }
}

#[test]
fn another_device_key_opens_nothing_and_is_told() {
    let place = Place::new();
    populated(&place);
    let before = place.contents();
    let other = Keys::new(&place.dir.path().join("keys/device.key"), None);
    for mode in [OpenMode::Create, OpenMode::Existing, OpenMode::ReadOnly] {
        let text = SqliteStore::open(&place.path, mode, BOOT, &other).err().map(|e| e.to_string());
        // A reader without a key reads names and journal; whoever writes needs it.
        match (mode, text) {
            (OpenMode::ReadOnly, None) => {
                let store = SqliteStore::open(&place.path, mode, BOOT, &other).unwrap();
                assert_eq!(store.people().unwrap().len(), 40);
                let text = store.gallery(&ModelId("m@1".into())).unwrap_err().to_string();
                assert!(text.contains("its templates stay shut: there is no device key at"), "{text}");
            }
            (_, Some(text)) => assert!(text.contains("there is no device key at"), "{text}"),
            other => panic!("{other:?}"),
        }
    }
    assert!(!place.dir.path().join("keys").exists(), "no second key is made for a database that has one");
    other.load_or_create().unwrap();
    for mode in [OpenMode::Create, OpenMode::Existing, OpenMode::ReadOnly] {
        let text = SqliteStore::open(&place.path, mode, BOOT, &other).unwrap_err().to_string();
        assert!(
            text.contains("it is sealed with the device key") && text.contains("bring the right key"),
            "{text}"
        );
    }
    fs::remove_dir_all(place.dir.path().join("keys")).unwrap();
    let same = |name: &str| place.contents().get(name) == before.get(name);
    assert!(same(DB), "untouched");
}

#[test]
fn the_records_of_a_database_from_before_the_chain_are_chained_as_they_are() {
    let place = Place::new();
    of_old(&place, 2);
    let sql = place.sql();
    for id in 1..=40 {
        sql.execute(
            "INSERT INTO events (wall, mono_ms, boot_id, kind, detail) VALUES (?1, ?1, 'old', 'refusal', '{}')",
            [id],
        )
        .unwrap();
    }
    drop(sql);
    let store = create(&place.path);
    let records = all(&store);
    let (chained, kept) = records.split_last().unwrap();
    assert_eq!(kept.len(), 40);
    for (n, record) in (1..).zip(kept) {
        assert_eq!(
            (record.id, record.boot_id.as_str(), record.event.kind),
            (EventId(n), "old", EventKind::Refusal)
        );
        assert!(record.hash.is_some() && record.clock_trusted.is_none());
    }
    assert_eq!(chained.event.kind, EventKind::Chained);
    assert_eq!((&chained.event.detail["records"], &chained.event.detail["last"]), (&json!(40), &json!(40)));
    let found = store.verify(&Default::default()).unwrap();
    assert!(found.is_whole() && found.signed_to == Some(41), "{found:?}");
    drop(store);
    assert_eq!(all(&create(&place.path)), records, "once");
}

/// A database with 40 people, closed cleanly, and its bytes.
fn populated(place: &Place) -> Vec<u8> {
    let mut n = Numbers(10);
    let mut store = create(&place.path);
    for i in 0..40 {
        store.enrol(&format!("Person {i}"), &[n.template("m@1", 128)], "x", at(i)).unwrap();
    }
    drop(store);
    fs::read(&place.path).unwrap()
}

#[test]
fn a_sealed_gallery_of_five_thousand_templates_opens_within_a_second() {
    let place = Place::new();
    let mut n = Numbers(15);
    let mut store = create(&place.path);
    for i in 0..100 {
        let templates: Vec<_> = (0..50).map(|_| n.template("m@1", 128)).collect();
        store.enrol(&format!("Person {i}"), &templates, "x", at(i)).unwrap();
    }
    // The time of this thread, whatever else the machine does.
    let spent = || {
        let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(spent.tv_sec.unsigned_abs(), spent.tv_nsec as u32)
    };
    let begun = spent();
    let gallery = store.gallery(&ModelId("m@1".into())).unwrap();
    let took = spent() - begun;
    eprintln!("{} templates of {} people opened in {took:?}", gallery.templates(), gallery.people());
    assert!(gallery.templates() == 5_000 && took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_damaged_file_is_refused_untouched() {
    let place = Place::new();
    let whole = populated(&place);
    let mut torn = whole.clone();
    torn.truncate(whole.len() - 3 * 4096 - 100);
    let mut scribbled = whole.clone();
    scribbled[8 * 4096..12 * 4096].fill(0xa5);
    for (what, bytes) in [("torn", torn), ("scribbled", scribbled)] {
        fs::write(&place.path, &bytes).unwrap();
        for mode in [OpenMode::Create, OpenMode::Existing] {
            let text = refusal(&place.path, mode);
            assert!(
                text.contains("it is damaged; stop accessd") && text.contains("restore a backup"),
                "{text}"
            );
        }
        assert!(fs::read(&place.path).unwrap() == bytes, "{what}");
        let text = match store::check(&place.path, &held_keys()) {
            Ok(checkup) if !checkup.is_sound() => format!("{:?}", checkup.findings),
            Ok(checkup) => panic!("{what} passes as {checkup:?}"),
            Err(error) => error.to_string(),
        };
        assert!(text.contains("it is damaged"), "{text}");
        assert!(fs::read(&place.path).unwrap() == bytes, "{what}");
    }
    fs::write(&place.path, &whole).unwrap();
    assert_eq!(create(&place.path).people().unwrap().len(), 40);
}

#[test]
fn a_damaged_file_does_not_take_up_its_log_either() {
    let place = Place::new();
    populated(&place);
    let mut store = create(&place.path);
    store.append(&Event::new(EventKind::Start, json!({})), at(99)).unwrap();
    // As after a cut: the log is there and nobody has it open.
    let log = fs::read(place.path.with_extension("db-wal")).unwrap();
    drop(store);
    let mut bytes = fs::read(&place.path).unwrap();
    bytes[8 * 4096..12 * 4096].fill(0xa5);
    fs::write(&place.path, &bytes).unwrap();
    fs::write(place.path.with_extension("db-wal"), &log).unwrap();
    assert!(refusal(&place.path, OpenMode::Existing).contains("it is damaged"));
    let after = place.contents();
    assert!(after[DB] == bytes && after[&format!("{DB}-wal")] == log, "both are as they were, for a rescue");
}

#[test]
fn a_log_of_garbage_is_ignored_and_told() {
    let place = Place::new();
    populated(&place);
    fs::write(place.path.with_extension("db-wal"), b"this is no write-ahead log".repeat(400)).unwrap();
    let checkup = store::check(&place.path, &held_keys()).unwrap();
    let told = checkup.findings.iter().find(|f| f.what.contains("is not a write-ahead log and is ignored"));
    assert!(told.is_some_and(|f| !f.damage) && checkup.people == 40, "{checkup:?}");
    let mut store = create(&place.path);
    assert_eq!(store.people().unwrap().len(), 40, "as of the last checkpoint");
    store.append(&Event::new(EventKind::Start, json!({})), at(99)).unwrap();
    drop(store);
    assert_eq!(store::check(&place.path, &held_keys()).unwrap().findings, []);
}

#[test]
fn rows_that_cannot_be_are_named() {
    let place = Place::new();
    populated(&place);
    let store = create(&place.path);
    let conn = place.sql();
    conn.execute("UPDATE templates SET sealed = zeroblob(553) WHERE id = 7", []).unwrap();
    conn.execute(
        "INSERT INTO events (wall, mono_ms, boot_id, kind, detail) VALUES (0, 0, 'b', 'teleport', '{}')",
        [],
    )
    .unwrap();
    let text = store.gallery(&ModelId("m@1".into())).unwrap_err().to_string();
    assert!(text.contains("template 7 of \"Person 6\" does not open"), "{text}");
    let text = all_or_message(&store);
    assert!(text.contains("record 41 has the unknown kind \"teleport\""), "{text}");
}

fn all_or_message(store: &dyn Store) -> String {
    store.records(&Filter::default()).map_or_else(|e| e.to_string(), |records| format!("{records:?}"))
}

#[test]
fn a_check_of_a_whole_database_finds_nothing_and_changes_nothing() {
    let place = Place::new();
    populated(&place);
    let before = place.contents();
    let checkup = store::check(&place.path, &held_keys()).unwrap();
    assert_eq!(checkup, Checkup { people: 40, templates: 40, records: 40, findings: vec![] });
    assert!(place.contents() == before, "no log, no index, no byte");
    let mut store = create(&place.path);
    store.append(&Event::new(EventKind::Start, json!({})), at(99)).unwrap();
    let beside = store::check(&place.path, &held_keys()).unwrap();
    assert_eq!((beside.records, beside.findings), (41, vec![]), "also beside a writer");
}

#[test]
fn a_check_finds_what_accessd_does_not_leave_behind() {
    let place = Place::new();
    populated(&place);
    let conn = place.sql();
    conn.execute_batch(
        "PRAGMA foreign_keys = OFF; DROP TRIGGER events_are_only_pruned;
         UPDATE templates SET sealed = zeroblob(553) WHERE id = 7;
         DELETE FROM templates WHERE id = 9;
         UPDATE templates SET person = 999 WHERE id = 11;
         UPDATE templates SET sealed = (SELECT sealed FROM templates WHERE id = 14) WHERE id = 13;
         DELETE FROM events WHERE id IN (20, 21, 40);",
    )
    .unwrap();
    drop(conn);
    fs::set_permissions(&place.path, PermissionsExt::from_mode(0o644)).unwrap();
    let checkup = store::check(&place.path, &held_keys()).unwrap();
    let found: Vec<_> = checkup.findings.iter().map(|f| (f.damage, f.what.as_str())).collect();
    // A row without its person stops the check of the rows themselves.
    assert!(
        found
            .iter()
            .any(|(damage, what)| *damage && what.contains("row 11 of templates belongs to a person"))
    );
    assert!(found.iter().any(|(damage, what)| !damage && what.contains("chmod 600")), "{found:?}");
    assert!(!checkup.is_sound());

    place.sql().execute("DELETE FROM templates WHERE id = 11", []).unwrap();
    let checkup = store::check(&place.path, &held_keys()).unwrap();
    assert_eq!((checkup.people, checkup.templates, checkup.records), (40, 38, 37));
    let found: Vec<_> = checkup.findings.iter().map(|f| f.what.as_str()).collect();
    for expected in [
        "template 7 of \"Person 6\" does not open: it is damaged",
        "\"Person 8\" has no template",
        "\"Person 10\" has no template",
        "template 13 of \"Person 12\" does not open",
        "3 records of the journal are missing between 1 and 40",
    ] {
        assert!(found.iter().any(|what| what.contains(expected)), "{expected} is not among {found:#?}");
    }
}

#[test]
fn a_repair_takes_out_what_cannot_be_and_makes_nothing_up() {
    let place = Place::new();
    populated(&place);
    let repair = || store::repair(&place.path, &held_keys(), "uid 0", at(100), BOOT);
    assert_eq!(repair().unwrap(), [""; 0], "nothing is wrong");
    assert_eq!(all(&create(&place.path)).len(), 40, "and nothing is written");
    let conn = place.sql();
    conn.execute_batch(
        "PRAGMA foreign_keys = OFF;
         UPDATE templates SET sealed = zeroblob(553) WHERE id = 7;
         UPDATE templates SET person = 999 WHERE id = 11;
         PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = 'CREATE INDEX consents_by_person ON consents (given)' WHERE name = 'consents_by_person';",
    )
    .unwrap();
    drop(conn);
    // With the index defined otherwise, a consent goes into it under another value: then it is defined as before again.
    let conn = place.sql();
    conn.execute_batch(
        "INSERT INTO consents (person, text, given, recorded, recorded_by) VALUES (1, 'yes', 99, 0, 'x');
         PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = 'CREATE INDEX consents_by_person ON consents (person)' WHERE name = 'consents_by_person';",
    )
    .unwrap();
    drop(conn);
    fs::set_permissions(&place.path, PermissionsExt::from_mode(0o644)).unwrap();
    assert!(!store::check(&place.path, &held_keys()).unwrap().is_sound());
    let done = repair().unwrap().join("\n");
    for what in [
        "(mode 600)",
        "indexes were built anew",
        "a row of templates that belonged to nobody",
        "template 7 of \"Person 6\" did not open",
    ] {
        assert!(done.contains(what), "{what}: {done}");
    }
    let store = create(&place.path);
    assert_eq!(store.gallery(&ModelId("m@1".into())).unwrap().people(), 38, "the others are all there");
    assert_eq!(all(&store).last().unwrap().event.kind, EventKind::Repair);
    drop(store);
    // A broken tree is left as it is.
    let mut bytes = fs::read(&place.path).unwrap();
    bytes[6 * 4096..20 * 4096].fill(0xa5);
    fs::write(&place.path, &bytes).unwrap();
    let refused = repair().unwrap_err().to_string();
    assert!(refused.contains("it is damaged") || refused.contains("malformed"), "{refused}");
    assert!(fs::read(&place.path).unwrap() == bytes);
}

#[test]
fn only_one_may_write() {
    let place = Place::new();
    let store = create(&place.path);
    let link = place.dir.path().join("link.db");
    std::os::unix::fs::symlink(&place.path, &link).unwrap();
    for path in [&place.path, &link] {
        for mode in [OpenMode::Create, OpenMode::Existing] {
            let text = refusal(path, mode);
            let holder = format!("process {} is writing to it; stop that process", std::process::id());
            assert!(text.contains(&holder), "{text}");
        }
        SqliteStore::open(path, OpenMode::ReadOnly, BOOT, &held_keys()).unwrap();
    }
    drop(store);
    SqliteStore::open(&link, OpenMode::Existing, BOOT, &held_keys()).unwrap();
}

#[test]
fn a_link_laid_in_the_lock_s_place_is_not_followed() {
    let place = Place::new();
    let victim = place.dir.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, place.path.with_extension("db.lock")).unwrap();
    assert!(refusal(&place.path, OpenMode::Create).contains("cannot be opened"));
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
}

/// Tells [`writing_process`] where to write; without it that test does nothing.
const WRITE_TO: &str = "ACCESSD_TEST_WRITE_TO";

/// Not a test of its own: the process that the next test stops, copies and kills. Enrols and removes people for ever
/// and counts in a file what has returned.
#[test]
fn writing_process() {
    let Some(path) = std::env::var_os(WRITE_TO) else { return };
    let path = PathBuf::from(path);
    let done = fs::File::create(path.with_extension("done")).unwrap();
    let mut n = Numbers(11);
    let mut store = create(&path);
    // For ever, but not beyond a parent that died before it could end this.
    let until = Instant::now() + Duration::from_secs(60);
    for i in 0u64.. {
        if Instant::now() > until {
            return;
        }
        let templates: Vec<_> = (0..1 + i % 5).map(|_| n.template("m@1", 512)).collect();
        store.enrol(&format!("Person {i}"), &templates, "x", at(i)).unwrap();
        done.write_at(&(2 * i + 1).to_le_bytes(), 0).unwrap();
        if i % 4 == 3 {
            store.remove(&format!("Person {}", i - 2), "x", at(i)).unwrap();
        } else {
            store.append(&Event::new(EventKind::Refusal, json!({"i": i})), at(i)).unwrap();
        }
        done.write_at(&(2 * i + 2).to_le_bytes(), 0).unwrap();
    }
}

/// A process that a failing test does not leave running.
struct KilledWhenDropped(Child);

impl Drop for KilledWhenDropped {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Stops a process in its tracks, in whatever system call, and waits until it stands still.
fn stop(pid: rustix::process::Pid) {
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap();
        let still = tasks.into_iter().all(|task| {
            let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        });
        if still {
            return;
        }
        assert!(Instant::now() < deadline, "the process does not stop");
        std::thread::yield_now();
    }
}

/// Everything that must hold of a database at any moment whatever.
fn assert_whole(path: &Path) -> usize {
    let store = SqliteStore::open(path, OpenMode::Create, BOOT, &held_keys()).unwrap();
    let checkup = store::check(path, &held_keys()).unwrap();
    assert_eq!(checkup.findings, [], "{}", path.display());
    let records = all(&store);
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for record in &records {
        let name = || record.event.person.as_ref().unwrap().name.clone();
        match record.event.kind {
            EventKind::Enrol => {
                let templates = record.event.detail["templates"].as_u64().unwrap();
                assert_eq!(expected.insert(name(), templates), None);
            }
            EventKind::Remove => assert!(expected.remove(&name()).is_some()),
            _ => {}
        }
    }
    let people: BTreeMap<String, u64> =
        store.people().unwrap().into_iter().map(|p| (p.name, p.templates.len() as u64)).collect();
    assert_eq!(people, expected, "people and their templates are what the journal says");
    let gallery = store.gallery(&ModelId("m@1".into())).unwrap();
    assert_eq!(gallery.people(), people.len());
    let changes = records.iter().filter(|r| r.event.kind != EventKind::Refusal).count() as u64;
    assert_eq!(gallery.generation(), changes);
    records.len()
}

#[test]
fn a_process_stopped_at_any_moment_leaves_whole_people_and_everything_that_returned() {
    let place = Place::new();
    let copies = tempfile::tempdir().unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::writing_process", "--nocapture"])
        .env(WRITE_TO, &place.path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let child = KilledWhenDropped(child);
    let pid = rustix::process::Pid::from_child(&child.0);
    let done_file = place.path.with_extension("done");
    let done = || {
        let bytes = fs::read(&done_file).unwrap_or_default();
        <[u8; 8]>::try_from(bytes).map_or(0, u64::from_le_bytes) as usize
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while done() == 0 {
        assert!(Instant::now() < deadline, "the process does not begin");
        std::thread::yield_now();
    }

    let mut n = Numbers(12);
    let mut taken: Vec<(PathBuf, usize)> = Vec::new();
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until && taken.len() < 60 {
        // Between two copies the process gets a few milliseconds, never the same.
        let go_on = Instant::now() + Duration::from_micros(500 + n.next() % 40_000);
        while Instant::now() < go_on {
            std::thread::yield_now();
        }
        stop(pid);
        let copy = copies.path().join(format!("{}.db", taken.len()));
        fs::copy(&place.path, &copy).unwrap();
        fs::copy(place.path.with_extension("db-wal"), copy.with_extension("db-wal")).unwrap();
        taken.push((copy, done()));
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    }
    drop(child);
    taken.push((place.path.clone(), done()));

    assert!(taken.len() > 5 && taken.last().unwrap().1 > taken[0].1, "{taken:?}");
    for (copy, returned) in &taken {
        let records = assert_whole(copy);
        // What had returned is there, and at most the one that was under way besides.
        assert!((*returned..=returned + 1).contains(&records), "{records} records, {returned} had returned");
    }
}

#[test]
fn a_log_cut_or_spoilt_at_any_byte_gives_a_whole_beginning() {
    let place = Place::new();
    populated(&place);
    let mut n = Numbers(13);
    let mut store = create(&place.path);
    for i in 0..8 {
        let templates: Vec<_> = (0..1 + i % 3).map(|_| n.template("m@1", 128)).collect();
        store.enrol(&format!("Late {i}"), &templates, "x", at(100 + i)).unwrap();
    }
    let (database, log) =
        (fs::read(&place.path).unwrap(), fs::read(place.path.with_extension("db-wal")).unwrap());
    drop(store);
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join(DB);
    let records_with = |log: &[u8]| {
        fs::write(&copy, &database).unwrap();
        fs::set_permissions(&copy, PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(copy.with_extension("db-wal"), log).unwrap();
        fs::set_permissions(copy.with_extension("db-wal"), PermissionsExt::from_mode(0o600)).unwrap();
        assert_whole(&copy)
    };
    // A log begins with 32 bytes, a frame is 24 and a page: cuts between, just beside and within frames.
    let mut cuts: Vec<usize> = (0..24).map(|_| n.next() as usize % log.len()).collect();
    cuts.extend([0, 31, 32, 32 + 4120, 32 + 4119, log.len() - 1, log.len()]);
    cuts.sort_unstable();
    let found: Vec<usize> = cuts.iter().map(|cut| records_with(&log[..*cut])).collect();
    assert!(found.is_sorted(), "a longer log never gives less: {found:?} for {cuts:?}");
    assert_eq!((found[0], found.last()), (40, Some(&48)));
    for _ in 0..12 {
        let mut spoilt = log.clone();
        spoilt[32 + n.next() as usize % (log.len() - 32)] ^= 0x10;
        assert!((40..48).contains(&records_with(&spoilt)));
    }
}
