//! Attempts that are kept to be weighed again: what `accessd replay` makes of a recorded day, and how they go.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use accessd::access::past::{PastFace, PastLook, Sight};
use accessd::access::{Proof, RefusalReason};
use accessd::clock::MonoTime;
use accessd::encoder::{Embedding, ModelId};
use accessd::frame::load_image;
use accessd::gallery::PersonId;
use accessd::journal::chain::Against;
use accessd::journal::replay::{Decision, PastAttempt, Then};
use accessd::journal::{Event, EventId, EventKind, Filter, Record, Stamp};
use accessd::liveness::signs::Signs;
use accessd::seal::Keys;
use accessd::store::{
    Album, Custody, KeepAttempts, KeepSnapshots, OpenMode, Recollection, Restoring, Snapshot, SqliteStore,
    Store, Trace, check, repair,
};
use accessd::vision::tracks::TrackId;
use image::RgbImage;
use image::imageops::{self, FilterType};
use serde_json::Value;

use crate::support::{Outcome, Service, Site, photo, template, until};

const WEEK: KeepAttempts = KeepAttempts { days: Some(7), most: 2000 };

fn model() -> ModelId {
    ModelId("made-up@1".into())
}

/// A face that came by and was decided on; `run` tells it from others.
pub fn attempt(model: &ModelId, run: i64, then: Then, looks: &[Embedding]) -> PastAttempt {
    let seen = looks.iter().zip(0..).map(|(embedding, n)| PastLook {
        seq: n,
        captured: MonoTime::from_millis(1_000 + 66 * n),
        decided: MonoTime::from_millis(1_080 + 66 * n),
        size_px: 100.0,
        others: Vec::new(),
        sight: Sight::Face(embedding.clone()),
        proof: Proof::Off,
        signs: Signs::default(),
        yaw_deg: 0.0,
    });
    PastAttempt {
        model: model.clone(),
        decided_by: None,
        wall: jiff::Timestamp::UNIX_EPOCH,
        door: "door".into(),
        run: EventId(run),
        threshold: 0.5,
        decisions: vec![Decision { event: Some(EventId(run)), then, score: Some(0.7) }],
        nearest: then.person().map(|person| (person, 0.7)),
        face: PastFace { track: TrackId(1), looks: seen.collect() },
    }
}

/// A face of as many values as a real one has.
pub fn face(seed: u32) -> Embedding {
    let mut state = seed;
    let values = (0..128).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0 - 0.5
    });
    Embedding::normalise(values.collect()).unwrap()
}

/// As much like the first as two pictures of one person are, and otherwise like the second.
fn between(one: &Embedding, other: &Embedding) -> Embedding {
    let both = one.values().iter().zip(other.values());
    Embedding::normalise(both.map(|(a, b)| 0.6 * a + 0.8 * b).collect()).unwrap()
}

fn on_day(day: u64) -> Stamp {
    let wall: jiff::Timestamp = "2026-11-01T12:00:00Z".parse().unwrap();
    Stamp {
        wall: wall + Duration::from_secs(86_400 * day),
        mono: MonoTime::from_millis(86_400_000 * day + 1),
    }
}

fn unknown() -> Then {
    Then::Refused(RefusalReason::Unknown)
}

/// Ada and Bob with a face each, and a store that keeps attempts for a week.
fn house(site: &Site) -> SqliteStore {
    let mut store = site.store().with_attempts(WEEK);
    store.believe_clock(true);
    for (name, seed) in [("Ada", 1), ("Bob", 2)] {
        store.enrol(name, &[template(face(seed).values())], "uid 0 (test)", on_day(0)).unwrap();
    }
    store
}

fn runs(store: &SqliteStore) -> Vec<i64> {
    store.recall(&model()).unwrap().iter().map(|kept| kept.run.0).collect()
}

#[test]
fn attempts_come_back_as_they_were_and_lie_sealed_in_the_file() {
    let site = Site::new();
    let mut store = house(&site);
    let one = attempt(&model(), 1, Then::LetIn(PersonId(1)), &[face(1), between(&face(1), &face(9))]);
    let stranger = attempt(&model(), 2, unknown(), &[face(3)]);
    let of_another = attempt(&ModelId("other@2".into()), 3, unknown(), &[face(4)]);
    store.keep(&[one.clone(), stranger.clone(), of_another], on_day(1)).unwrap();
    let back = store.recall(&model()).unwrap();
    assert_eq!(back.len(), 2);
    assert_eq!((&back[0].decisions, &back[1].decisions), (&one.decisions, &stranger.decisions));
    let near = |a: &PastAttempt, b: &PastAttempt| {
        let pairs = a.face.embeddings().zip(b.face.embeddings());
        pairs.flat_map(|(a, b)| a.values().iter().zip(b.values())).all(|(a, b)| (a - b).abs() < 1e-6)
    };
    assert!(near(&back[0], &one) && near(&back[1], &stranger));
    for file in ["accessd.db", "accessd.db-wal"] {
        let bytes = fs::read(site.path(file)).unwrap();
        for kept in [&one, &stranger] {
            let plain = kept.encode();
            let holds = plain.as_chunks::<16>().0.iter().any(|piece| bytes.windows(16).any(|w| w == piece));
            assert!(!holds, "{file}");
        }
    }
    // Not without the device's key, and nothing without the setting.
    let without = Keys::new(&site.path("no/device.key"), None);
    let reader = SqliteStore::open(&site.path("accessd.db"), OpenMode::ReadOnly, "boot", &without).unwrap();
    assert!(reader.recall(&model()).unwrap_err().to_string().contains("stay shut"));
    let mut off = store.with_attempts(KeepAttempts::default());
    off.keep(&[one], on_day(1)).unwrap();
    assert_eq!(runs(&off).len(), 2);
}

#[test]
fn attempts_go_with_their_days_and_by_count_and_all_when_it_is_switched_off() {
    let site = Site::new();
    let mut store = house(&site);
    for day in 0..12 {
        let more = [day, 100 + day].map(|n| attempt(&model(), n as i64, unknown(), &[face(50 + n as u32)]));
        store.keep(&more, on_day(day)).unwrap();
    }
    let days = || -> i64 {
        let sql = rusqlite::Connection::open(site.path("accessd.db")).unwrap();
        sql.query_row("SELECT count(*) FROM kept_days", [], |row| row.get(0)).unwrap()
    };
    store.believe_clock(false);
    store.tend(on_day(12)).unwrap();
    assert_eq!((runs(&store).len(), days()), (24, 12), "a calendar that is not believed takes nothing out");
    store.believe_clock(true);
    store.tend(on_day(13)).unwrap();
    assert_eq!(runs(&store), [6, 106, 7, 107, 8, 108, 9, 109, 10, 110, 11, 111]);
    assert_eq!(days(), 6, "the keys of days go with them");
    let mut few = store.with_attempts(KeepAttempts { most: 3, ..WEEK });
    few.tend(on_day(13)).unwrap();
    assert_eq!(runs(&few), [110, 11, 111]);
    assert!(few.verify(&Against::default()).unwrap().is_whole(), "the journal knows nothing of it");
    let mut off = few.with_attempts(KeepAttempts::default());
    off.tend(on_day(13)).unwrap();
    assert_eq!((runs(&off), days()), (vec![], 0));
}

#[test]
fn whoever_is_erased_takes_along_every_attempt_that_may_show_them() {
    let site = Site::new();
    let mut store = house(&site);
    let like_ada = between(&face(1), &face(9));
    store
        .keep(
            &[
                attempt(&model(), 1, Then::LetIn(PersonId(1)), &[like_ada.clone(), face(1)]),
                attempt(&model(), 2, unknown(), &[face(3), like_ada.clone()]),
                attempt(&model(), 3, unknown(), &[face(4)]),
                attempt(&model(), 4, Then::LetIn(PersonId(2)), &[face(2)]),
            ],
            on_day(1),
        )
        .unwrap();
    let mine = store.export("Ada").unwrap().attempts;
    assert_eq!(mine.len(), 2, "also the one that was taken for nobody's");
    assert_eq!((mine[0].looks.len(), mine[0].looks[0].len()), (2, 128));
    let traces = store.traces("Ada").unwrap();
    let before = store.look_for(&traces);
    assert!(before.found.iter().any(|found| found.what == Trace::SealedAttempt), "{before:?}");
    drop(store);
    let out = site.run(["erase", "Ada", "--prove", "--yes"]);
    assert_eq!(out.code, 0, "{}{}", out.stdout, out.stderr);
    let store = site.store();
    assert_eq!(runs(&store), [3, 4]);
    assert_eq!(store.look_for(&traces).pieces(), 0);
    let removed = store.records(&Filter::default()).unwrap();
    assert!(removed.iter().any(|record| record.event.detail["attempts"] == 2), "the log says how many");
    assert!(store.verify(&Against::default()).unwrap().is_whole());
    drop(store);
    // What somebody copied before opens no more for whoever has only the database of now.
    let mut store = site.store().with_attempts(WEEK);
    store.keep(&[attempt(&model(), 5, Then::LetIn(PersonId(1)), &[like_ada])], on_day(1)).unwrap();
    assert_eq!(runs(&store), [3, 4], "what was still in the air when she was removed is not kept");
}

#[test]
fn backups_leave_attempts_out_and_a_damaged_one_is_found_and_taken_out() {
    let site = Site::new();
    let mut store = house(&site);
    store.keep(&[attempt(&model(), 1, Then::LetIn(PersonId(1)), &[face(1)])], on_day(1)).unwrap();
    let mut file = Vec::new();
    store.back_up(&mut file, on_day(1).wall).unwrap();
    drop(store);
    let (database, keys) = (site.path("accessd.db"), site.keys());
    let sql = rusqlite::Connection::open(&database).unwrap();
    sql.execute("UPDATE attempts SET person = 2", []).unwrap();
    drop(sql);
    let found = check(&database, &keys).unwrap();
    assert!(
        found.findings.iter().any(|f| f.damage && f.what.starts_with("attempt 1 does not open")),
        "{found:?}"
    );
    let done = repair(&database, &keys, "test", on_day(2), "boot").unwrap();
    assert!(done.iter().any(|line| line.starts_with("attempt 1 did not open")), "{done:?}");
    assert!(check(&database, &keys).unwrap().is_sound());
    let restoring =
        Restoring { database: &database, keys: &keys, key_file: None, replace: true, without_faces: false };
    restoring.from(&file[..], "test", on_day(2), "boot").unwrap();
    let store = site.store();
    assert_eq!((store.people().unwrap().len(), runs(&store)), (2, vec![]));
}

fn picture(event: i64, person: Option<i64>) -> Snapshot {
    let jpeg = (0..4000_u32).map(|n| (n.wrapping_mul(2_654_435_761).wrapping_add(event as u32) >> 24) as u8);
    Snapshot { event: EventId(event), person: person.map(PersonId), jpeg: jpeg.collect() }
}

const PICTURES: KeepSnapshots = KeepSnapshots { days: Some(3), most: 500 };

#[test]
fn pictures_of_refusals_are_sealed_shown_to_those_who_are_written_down_and_go() {
    let site = Site::new();
    let mut store = house(&site).with_snapshots(PICTURES);
    for (day, event) in (0..6).zip(1..) {
        store.keep_snapshot(&picture(event, None), on_day(day)).unwrap();
    }
    store.keep_snapshot(&picture(7, Some(1)), on_day(5)).unwrap();
    store.keep_snapshot(&picture(8, Some(99)), on_day(5)).unwrap();
    for file in ["accessd.db", "accessd.db-wal"] {
        let bytes = fs::read(site.path(file)).unwrap();
        let plain = picture(7, None).jpeg;
        assert!(
            !plain.as_chunks::<16>().0.iter().any(|piece| bytes.windows(16).any(|w| w == piece)),
            "{file}"
        );
    }
    let look = |store: &mut SqliteStore, event: i64| {
        store.look_at_snapshot(EventId(event), "uid 0 (ada)", on_day(6)).unwrap()
    };
    assert_eq!(look(&mut store, 7), Some(picture(7, None).jpeg));
    assert_eq!(look(&mut store, 8), None, "of nobody who is not enrolled");
    let about = Filter { kinds: vec![EventKind::PictureSeen], ..Filter::default() };
    let seen = store.records(&about).unwrap();
    assert_eq!((seen.len(), &seen[0].event.detail["of"]), (1, &serde_json::json!(7)));
    let mine = store.export("Ada").unwrap().pictures;
    assert_eq!((mine.len(), mine[0].event), (1, EventId(7)));
    store.tend(on_day(6)).unwrap();
    for (event, is_there) in [(1, false), (3, false), (4, true), (6, true), (7, true)] {
        assert_eq!(look(&mut store, event).is_some(), is_there, "{event}");
    }
    let traces = store.traces("Ada").unwrap();
    assert!(store.look_for(&traces).found.iter().any(|found| found.what == Trace::SealedPicture));
    store.remove("Ada", "x", on_day(6)).unwrap();
    assert_eq!(store.look_for(&traces).pieces(), 0);
    assert_eq!(look(&mut store, 7), None);
    let mut few = store.with_snapshots(KeepSnapshots { most: 1, ..PICTURES });
    few.tend(on_day(6)).unwrap();
    assert_eq!((look(&mut few, 5), look(&mut few, 6).is_some()), (None, true), "too many");
    let mut off = few.with_snapshots(KeepSnapshots::default());
    off.tend(on_day(6)).unwrap();
    assert_eq!(look(&mut off, 6), None);
    assert!(off.verify(&Against::default()).unwrap().is_whole());
}

#[test]
fn explain_writes_the_picture_of_a_refusal_for_its_owner_alone() {
    let site = Site::new();
    let mut store = house(&site).with_snapshots(PICTURES);
    let refusal = Event::new(EventKind::Refusal, serde_json::json!({ "reason": "unknown" }));
    let event = store.append(&refusal, on_day(1)).unwrap();
    store.keep_snapshot(&picture(event.0, None), on_day(1)).unwrap();
    drop(store);
    let number = event.0.to_string();
    done(&site.run(["explain", &number, "--picture", "{dir}/face.jpg"]));
    let mode = fs::metadata(site.path("face.jpg")).unwrap().permissions().mode();
    let kept = fs::read(site.path("face.jpg")).unwrap();
    assert_eq!((kept, mode & 0o777), (picture(event.0, None).jpeg, 0o600));
    let again = site.run(["explain", &number, "--picture", "{dir}/face.jpg"]);
    assert!(again.code == 1 && again.stderr.contains("cannot be written"), "{}", again.stderr);
    let none = site.run(["explain", "1", "--picture", "{dir}/none.jpg"]);
    assert!(none.code == 1 && none.stderr.contains("no picture is kept"), "{}", none.stderr);
    assert!(done(&site.run(["log"])).contains("seen"));
}

/// Frames in which somebody stands before the camera, larger and larger.
pub fn film(site: &Site, name: &str, photograph: &str, frames: u32) {
    let image = load_image(&photo(photograph)).unwrap();
    fs::create_dir(site.path(name)).unwrap();
    for n in 0..frames {
        let height = 800 + 6 * n;
        let width = height * image.width() / image.height();
        let shown = imageops::resize(&image, width, height, FilterType::Triangle);
        let mut frame = RgbImage::from_pixel(800, 860, image::Rgb([70, 74, 80]));
        imageops::overlay(&mut frame, &shown, i64::from(400 - width as i32 / 2), 0);
        frame.save(site.path(&format!("{name}/{n:02}.png"))).unwrap();
    }
}

pub fn done(out: &Outcome) -> &str {
    assert_eq!(out.code, 0, "{}{}", out.stdout, out.stderr);
    &out.stdout
}

/// Has somebody stand before the door until a decision has fallen on them.
fn come_by(site: &Site, clip: &str, decided: usize) {
    let settings = format!("{DAY}[camera]\nsource = \"clip:{clip}?fps=4&loop\"\n");
    site.write_config(&settings);
    let service = Service::start(site);
    let decisions = || site.run(["log", "--kind", "grant,refusal", "--csv"]).stdout.lines().count() - 1;
    until("a decision has fallen", || decisions() >= decided);
    assert_eq!(service.stop(), Some(0));
}

/// A hand-set threshold between a picture of the same moment (0.9) and one of another year (0.74).
const DAY: &str = "[door]\nrelay = \"sim:relay.log\"\n[liveness]\nmode = \"off\"\n[decision]\nthreshold = 0.82\n\
                   frames_needed = 1\nframes_window = 1\n\
                   [privacy]\nkeep_attempts = \"everybody\"\nsnapshots = \"strangers\"\n[limits]\nprofile = \"emulator\"\n";

/// One is let in, comes by twice as he looks today and is not recognised, and a stranger rings.
#[test]
fn net_a_recorded_day_shows_what_another_threshold_would_have_changed() {
    let site = Site::with_networks();
    site.write_config(DAY);
    for (name, file) in [("Barack", "obama.jpg"), ("Eileen", "astronaut.png")] {
        done(&site.run(["enroll", "--name", name, "--images", photo(file).to_str().unwrap()]));
    }
    let refused = site.run(["replay", "--threshold", "0.4"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("no attempts of sface@"), "{}", refused.stderr);
    let day = ["obama_partial_face2.jpg", "obama2.jpg", "obama3.jpg", "biden.jpg"];
    for (photograph, n) in day.into_iter().zip(1..) {
        film(&site, &format!("clip{n}"), photograph, 9);
        come_by(&site, &format!("clip{n}"), n);
    }
    site.write_config(DAY);
    let replay = |threshold: &str| {
        let text = done(&site.run(["replay", "--threshold", threshold])).to_owned();
        let json = site.run(["replay", "--threshold", threshold, "--json"]);
        let json: Value = serde_json::from_str(done(&json)).unwrap();
        (text, json)
    };
    let (text, json) = replay("0.82");
    assert!(text.contains("would have granted 0 more, refused 0 that came in\n"), "{text}");
    assert_eq!((json["attempts"].as_u64(), json["recognised_then"].as_u64()), (Some(4), Some(1)), "{json}");

    let (text, json) = replay("0.6");
    assert!(text.contains("would have granted 2 more, refused 0 that came in\n"), "{text}");
    assert!(text.contains("threshold 0.600 instead of 0.820"), "{text}");
    let events: Vec<i64> =
        store_of(&site).into_iter().filter(|r| r.event.kind == EventKind::Refusal).map(|r| r.id.0).collect();
    let more = json["differences"].as_array().unwrap();
    let numbers: Vec<i64> = more.iter().map(|d| d["event"].as_i64().unwrap()).collect();
    assert_eq!(numbers, events[..2], "the two refusals, not that of the stranger");
    for difference in more {
        assert_eq!(
            (difference["would_be"].as_str(), difference["was_refused"].as_str()),
            (Some("Barack"), Some("unknown"))
        );
        assert_eq!(
            (difference["gate"]["name"].as_str(), difference["gate"]["limit"].as_f64()),
            (Some("score"), Some(0.6))
        );
        assert!((0.65..0.82).contains(&difference["score"].as_f64().unwrap()), "{difference}");
    }

    // And each refusal has its picture, which a person can look at.
    done(&site.run(["explain", &events[2].to_string(), "--picture", "{dir}/stranger.jpg"]));
    let stranger = load_image(&site.path("stranger.jpg")).unwrap();
    assert!(stranger.width().max(stranger.height()) <= 192, "{:?}", stranger.dimensions());

    let (text, json) = replay("0.97");
    assert!(text.contains("would have granted 0 more, refused 1 that came in\n"), "{text}");
    assert_eq!(json["differences"][0]["was"], "Barack");

    // Erased, nothing of him is left, also among those who were nobody then.
    done(&site.run(["erase", "Barack", "--prove", "--yes"]));
    let (_, json) = replay("0.6");
    assert_eq!(json["attempts"], 1, "the stranger's is left");
}

fn store_of(site: &Site) -> Vec<Record> {
    site.store().records(&Filter::default()).unwrap()
}
