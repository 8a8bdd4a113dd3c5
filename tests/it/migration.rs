//! A change of the encoder with the door at work: the templates of both side by side, what fills them, and the way back.

use std::fs;

use accessd::daemon::client::Client;
use accessd::daemon::protocol::{Reply, Request};
use accessd::encoder::ModelId;
use accessd::encoder::network::Encoder;
use accessd::frame::load_image;
use accessd::gallery::{KeptCrop, NewTemplate, PersonId, TemplateSource};
use accessd::journal::chain::Against;
use accessd::journal::replay::{PastAttempt, Then};
use accessd::journal::{EventId, EventKind, Filter, Stamp};
use accessd::models::Library;
use accessd::nn::device;
use accessd::nn::model_file::ModelFile;
use accessd::nn::onnx::{Constant, Weights};
use accessd::recognition::{Recogniser, RecogniserOptions};
use accessd::store::{
    Custody, KeepAttempts, Migrating, NamedModel, Recollection, Restoring, SqliteStore, Store, StoreError,
    Trace, check, repair,
};
use accessd::vision::align::{AlignedCrop, CROP_SIDE};
use accessd::{clock::MonoTime, encoder::compare};
use image::RgbImage;
use serde_json::{Value, json};

use crate::replay::{attempt, done, face, film};
use crate::support::{Service, Site, models_dir, photo, template, until};

const AT: Stamp = Stamp { wall: jiff::Timestamp::UNIX_EPOCH, mono: MonoTime::from_millis(1) };

fn named(name: &str) -> NamedModel {
    NamedModel { name: name.into(), id: ModelId(format!("{name}@1")) }
}

/// The encoder of the other tests, and one to follow.
fn both() -> (NamedModel, NamedModel) {
    (named("made-up"), named("other"))
}

/// A picture unlike any other.
fn crop(seed: u32) -> KeptCrop {
    let mut state = seed;
    let crop = RgbImage::from_fn(CROP_SIDE, CROP_SIDE, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        image::Rgb([(2 * x + (state >> 30)) as u8, (2 * y) as u8, (seed * 40 + (state >> 28)) as u8])
    });
    KeptCrop::of(&AlignedCrop(crop)).unwrap()
}

fn sample(seed: u32, with_crop: bool) -> NewTemplate {
    NewTemplate { crop: with_crop.then(|| crop(seed)), ..template(face(seed).values()) }
}

/// What the other encoder makes of somebody.
fn of_other(seed: u32) -> NewTemplate {
    let values: Vec<f32> = face(seed).values()[..64].to_vec();
    NewTemplate { model: both().1.id, ..template(&values) }
}

/// Ada with two samples and Bob with one, made of pictures.
fn house(site: &Site) -> SqliteStore {
    let mut store = site.store().with_crops(true).with_attempts(KeepAttempts { days: Some(7), most: 99 });
    store.enrol("Ada", &[sample(1, true), sample(11, true)], "uid 0 (test)", AT).unwrap();
    store.enrol("Bob", &[sample(2, true)], "uid 0 (test)", AT).unwrap();
    store
}

fn missing(store: &SqliteStore) -> Vec<(String, usize)> {
    let (this, other) = both();
    let people = store.filling(&this.id, &other.id).unwrap();
    people.into_iter().map(|person| (person.person.name.clone(), person.missing())).collect()
}

fn refusal<T: std::fmt::Debug>(result: Result<T, StoreError>) -> String {
    result.unwrap_err().to_string()
}

/// Ends the change to its end; how many templates that took.
fn end(store: &mut SqliteStore, keep: &ModelId) -> usize {
    let gone = store.end_migration(keep, "uid 7", AT).unwrap();
    while !store.clear_away().unwrap() {}
    gone
}

fn crops(site: &Site) -> i64 {
    let sql = rusqlite::Connection::open(site.path("accessd.db")).unwrap();
    sql.query_row("SELECT count(*) FROM crops", [], |row| row.get(0)).unwrap()
}

#[test]
fn templates_of_two_encoders_lie_side_by_side_until_one_of_them_goes() {
    let site = Site::new();
    let mut store = house(&site);
    let (this, other) = both();
    assert_eq!(store.migration().unwrap(), None);
    assert!(refusal(store.end_migration(&this.id, "x", AT)).contains("none is under way"));
    assert!(refusal(store.begin_migration(&this, &this, "x", AT)).contains("in force already"));
    let (ada, bob) = (PersonId(1), PersonId(2));
    let fill = |store: &mut SqliteStore, person, seed| {
        store.fill(person, &[of_other(seed)], json!({ "from": "look" }), AT)
    };
    assert!(!fill(&mut store, ada, 1).unwrap(), "nobody asked for it");
    store.begin_migration(&this, &other, "uid 7", AT).unwrap();
    let migration = store.migration().unwrap().unwrap();
    assert_eq!((&migration.from, &migration.to, migration.began_by.as_str()), (&this, &other, "uid 7"));
    assert_eq!(migration.other(&this.id), Some(&other));
    assert_eq!(migration.other(&other.id), Some(&this), "once it has taken over the old ones fill");
    assert_eq!(migration.other(&ModelId("third@1".into())), None);
    assert!(refusal(store.begin_migration(&this, &named("third"), "x", AT)).contains("under way"));

    assert_eq!(missing(&store), [("Ada".into(), 2), ("Bob".into(), 1)]);
    assert!(fill(&mut store, ada, 1).unwrap());
    assert!(!fill(&mut store, PersonId(9), 1).unwrap(), "nobody of that number");
    let of_third = NewTemplate { model: ModelId("third@1".into()), ..of_other(1) };
    assert!(!store.fill(ada, &[of_third], json!({}), AT).unwrap());
    assert_eq!(missing(&store), [("Ada".into(), 1), ("Bob".into(), 1)]);
    let sources: Vec<_> = store.person("Ada").unwrap().templates.iter().map(|t| t.source).collect();
    assert_eq!(sources, [TemplateSource::Image, TemplateSource::Image, TemplateSource::Migrated]);
    // The door's own gallery is as it was.
    assert_eq!(store.gallery(&this.id).unwrap().templates(), 3);
    assert_eq!(store.gallery(&other.id).unwrap().templates(), 1);
    let last = store.records(&Filter { limit: Some(1), ..Filter::default() }).unwrap().remove(0);
    assert_eq!((last.event.kind, last.event.person.unwrap().name.as_str()), (EventKind::Migrated, "Ada"));

    // Whoever has templates of the new one alone keeps it from being dropped.
    store.keep(&[attempt(&other.id, 1, Then::LetIn(ada), &[face(1)])], AT).unwrap();
    store.enrol("Eve", &[of_other(5)], "x", AT).unwrap();
    assert!(refusal(store.end_migration(&this.id, "x", AT)).contains("Eve"));
    assert!(refusal(store.end_migration(&ModelId("third@1".into()), "x", AT)).contains("neither"));
    store
        .add_templates("Eve", &[NewTemplate { model: ModelId("third@1".into()), ..of_other(5) }], "x", AT)
        .unwrap();
    let third = refusal(store.end_migration(&this.id, "x", AT));
    assert!(third.contains("Eve"), "a third encoder's are of no use to the door: {third}");
    store.remove("Eve", "x", AT).unwrap();
    assert_eq!(end(&mut store, &this.id), 1);
    assert_eq!((store.migration().unwrap(), store.recall(&other.id).unwrap().len()), (None, 0));
    assert_eq!(store.gallery(&this.id).unwrap().templates(), 3);
    assert!(!fill(&mut store, bob, 2).unwrap());

    // And the other way: what was in force goes once its follower is.
    store.begin_migration(&this, &other, "uid 7", AT).unwrap();
    fill(&mut store, ada, 1).unwrap();
    fill(&mut store, bob, 2).unwrap();
    let traces = store.traces("Ada").unwrap();
    // Bob has templates of a third one, which the door has no use for, and of the one that stays.
    store
        .add_templates("Bob", &[NewTemplate { model: ModelId("third@1".into()), ..of_other(2) }], "x", AT)
        .unwrap();
    assert_eq!(store.end_migration(&other.id, "uid 7", AT).unwrap(), 3);
    assert_eq!(store.migration().unwrap(), None, "from the order on");
    assert!(!fill(&mut store, bob, 2).unwrap());
    let early = refusal(store.begin_migration(&other, &this, "x", AT));
    assert!(early.contains("still being taken out"), "{early}");
    // The service does it bit by bit: pictures, attempts, templates.
    assert!(!store.clear_away().unwrap());
    assert_eq!((crops(&site), store.gallery(&this.id).unwrap().templates()), (0, 3));
    while !store.clear_away().unwrap() {}
    assert_eq!(
        (store.gallery(&this.id).unwrap().templates(), store.gallery(&other.id).unwrap().templates()),
        (0, 2)
    );
    assert_eq!(crops(&site), 0, "pictures go with the templates that were made of them");
    let left: Vec<Trace> = store.look_for(&traces).found.iter().map(|found| found.what).collect();
    assert!(!left.contains(&Trace::SealedCrop) && left.contains(&Trace::SealedTemplate), "{left:?}");
    assert!(store.verify(&Against::default()).unwrap().is_whole());
    let about = Filter { kinds: vec![EventKind::Migration], ..Filter::default() };
    let told: Vec<String> = store
        .records(&about)
        .unwrap()
        .iter()
        .map(|record| record.event.detail["what"].as_str().unwrap().split(':').next().unwrap().to_owned())
        .collect();
    assert_eq!(told, ["begun", "ended", "begun", "ended"]);
}

#[test]
fn crops_are_kept_only_where_the_operator_wants_them_and_only_sealed() {
    let site = Site::new();
    let mut without = site.store();
    without.enrol("Nobody", &[sample(9, true)], "x", AT).unwrap();
    assert_eq!(crops(&site), 0, "not by default");
    without.remove("Nobody", "x", AT).unwrap();
    drop(without);
    let mut store = house(&site);
    assert_eq!(crops(&site), 3);
    for file in ["accessd.db", "accessd.db-wal"] {
        let bytes = fs::read(site.path(file)).unwrap();
        let plain = crop(1);
        let middle = &plain.bytes()[plain.bytes().len() / 2..][..16];
        assert!(!bytes.windows(16).any(|window| window == middle), "{file}");
    }
    // The next encoder gets those of whoever it has too few templates of, as many as it wants.
    let (this, other) = both();
    store.begin_migration(&this, &other, "x", AT).unwrap();
    let next =
        |store: &SqliteStore, after: i64| store.crops_to_fill(&this.id, &other.id, PersonId(after)).unwrap();
    let (first, crops_of_ada) = next(&store, 0).unwrap();
    let got: Vec<_> = crops_of_ada.iter().map(|(_, crop)| crop.clone()).collect();
    assert_eq!((store.person("Ada").unwrap().id, got), (first, vec![crop(1), crop(11)]));
    let made_of = |seed: u32| NewTemplate { crop: Some(crop(seed)), ..of_other(seed) };
    store.fill(first, &[made_of(1)], json!({}), AT).unwrap();
    assert_eq!(crops(&site), 4, "a picture stays beside what is made of it");
    let (_, rest) = next(&store, 0).unwrap();
    assert_eq!(rest.iter().map(|(_, crop)| crop.clone()).collect::<Vec<_>>(), [crop(11)], "one makes one");
    store.fill(first, &[of_other(11)], json!({}), AT).unwrap();
    let (second, _) = next(&store, 0).unwrap();
    assert_eq!(store.person("Bob").unwrap().id, second);
    // Joe has two samples and a picture of one: no other is made of it again.
    store.enrol("Joe", &[sample(5, true), sample(15, false)], "x", AT).unwrap();
    let (joe, of_joe) = next(&store, second.0).unwrap();
    assert_eq!(of_joe.len(), 1);
    store.fill(joe, &[made_of(5)], json!({}), AT).unwrap();
    assert_eq!(store.filling(&this.id, &other.id).unwrap()[2].missing(), 1);
    assert!(next(&store, second.0).is_none());
    store.remove("Joe", "x", AT).unwrap();

    // They are the person's own, and go with them.
    let export = store.export("Ada").unwrap();
    assert_eq!(export.crops.len(), 3);
    let traces = store.traces("Ada").unwrap();
    let found = store.look_for(&traces);
    assert!(found.found.iter().any(|found| found.what == Trace::SealedCrop), "{found:?}");
    drop(store);
    assert_eq!(site.run(["erase", "Ada", "--prove", "--yes"]).code, 0);
    let store = site.store().with_crops(true);
    assert_eq!((crops(&site), store.look_for(&traces).pieces()), (1, 0));

    // A backup has them, as it has the templates; a damaged one is found and taken out.
    let mut file = Vec::new();
    store.back_up(&mut file, AT.wall).unwrap();
    drop(store);
    let (database, keys) = (site.path("accessd.db"), site.keys());
    let sql = rusqlite::Connection::open(&database).unwrap();
    sql.execute("UPDATE crops SET sealed = zeroblob(500)", []).unwrap();
    drop(sql);
    let found = check(&database, &keys).unwrap();
    assert!(found.findings.iter().any(|f| f.damage && f.what.contains("does not open")), "{found:?}");
    let repaired = repair(&database, &keys, "test", AT, "boot").unwrap();
    assert!(repaired.iter().any(|line| line.contains("did not open")), "{repaired:?}");
    assert_eq!(crops(&site), 0);
    let restoring =
        Restoring { database: &database, keys: &keys, key_file: None, replace: true, without_faces: false };
    restoring.from(&file[..], "test", AT, "boot").unwrap();
    let mut store = site.store().with_crops(true);
    assert_eq!(store.crops_to_fill(&this.id, &other.id, PersonId(0)).unwrap().unwrap().1[0].1, crop(2));
    assert!(store.migration().unwrap().is_some());

    // The old templates go with their pictures, and those of the new ones stay; switched off, the first turn takes all out.
    store.fill(second, &[made_of(2)], json!({}), AT).unwrap();
    assert_eq!(crops(&site), 2);
    end(&mut store, &other.id);
    assert_eq!(crops(&site), 1);
    store.tend(AT).unwrap();
    assert_eq!(crops(&site), 1);
    let traces = store.traces("Bob").unwrap();
    let mut off = store.with_crops(false);
    off.tend(AT).unwrap();
    assert_eq!(crops(&site), 0);
    assert!(!off.look_for(&traces).found.iter().any(|found| found.what == Trace::SealedCrop));
}

/// A way past the door is kept as each encoder saw it; who is erased takes along both, also where only one was known as theirs.
#[test]
fn an_attempt_that_is_somebody_s_by_one_encoder_goes_as_the_other_saw_it_too() {
    let site = Site::new();
    let mut store = house(&site);
    let (this, other) = both();
    store.begin_migration(&this, &other, "x", AT).unwrap();
    let nobody = Then::Refused(accessd::access::RefusalReason::Unknown);
    let seen = |model: &ModelId, run: i64, seed: u32| attempt(model, run, nobody, &[face(seed)]);
    store.keep(&[seen(&this.id, 1, 1), seen(&this.id, 2, 7)], AT).unwrap();
    store.keep(&[seen(&other.id, 1, 31), seen(&other.id, 2, 37)], AT).unwrap();
    store.remove("Ada", "x", AT).unwrap();
    let runs = |model: &ModelId| -> Vec<EventId> {
        store.recall(model).unwrap().iter().map(|kept: &PastAttempt| kept.run).collect()
    };
    assert_eq!((runs(&this.id), runs(&other.id)), (vec![EventId(2)], vec![EventId(2)]));
}

/// The shipped networks, and SFace under another name with what was measured of it: another encoder by its id.
fn with_a_second_encoder(site: &Site) {
    fs::remove_dir(site.path("models")).unwrap();
    fs::create_dir(site.path("models")).unwrap();
    for entry in fs::read_dir(models_dir()).unwrap() {
        let entry = entry.unwrap();
        std::os::unix::fs::symlink(entry.path(), site.path("models").join(entry.file_name())).unwrap();
    }
    let library = Library::new(&site.path("models"));
    let mut file = library.load("sface", "encoder").unwrap();
    let old = file.card.id().0;
    file.card.name = "sface2".into();
    library.install(&file).unwrap();
    let cohort = include_str!("../../models/cohorts/sface.json").replacen(&old, &file.card.id().0, 1);
    fs::write(site.path("models/sface2.cohort.json"), cohort).unwrap();
}

const DOOR: &str = "[camera]\nsource = \"clip:clip?fps=4&loop\"\n[door]\nrelay = \"sim:relay.log\"\n[liveness]\nmode = \"off\"\n\
                    [decision]\nframes_needed = 1\nframes_window = 1\n[privacy]\nkeep_attempts = \"everybody\"\nkeep_crops = \"on\"\n\
                    [limits]\nprofile = \"emulator\"\n[encoder]\nmodel = \"sface\" # which\n";

fn progress(site: &Site) -> Value {
    serde_json::from_str::<Value>(done(&site.run(["models", "migrate", "--json"]))).unwrap()["migration"]
        .take()
}

fn refused(site: &Site, args: &[&str]) -> String {
    let out = site.run(args.iter().copied());
    assert_eq!(out.code, 1, "{args:?}: {}{}", out.stdout, out.stderr);
    out.stderr
}

fn grants(site: &Site) -> usize {
    site.run(["log", "--kind", "grant", "--csv"]).stdout.lines().count() - 1
}

/// Has Barack let in once more.
fn let_him_in(site: &Site) -> Service {
    let before = grants(site);
    let service = Service::start(site);
    until("he is let in", || grants(site) > before);
    service
}

#[test]
fn net_a_door_changes_its_encoder_with_crops_and_a_replay_and_goes_back() {
    let site = Site::new();
    with_a_second_encoder(&site);
    site.write_config(DOOR);
    for (name, file) in [("Barack", "obama.jpg"), ("Eileen", "astronaut.png")] {
        done(&site.run(["enroll", "--name", name, "--images", photo(file).to_str().unwrap()]));
    }
    film(&site, "clip", "obama_partial_face2.jpg", 9);
    // And he goes, for long enough to be forgotten.
    for n in 9..9 + 4 * 6 {
        RgbImage::from_pixel(800, 860, image::Rgb([70, 74, 80]))
            .save(site.path(&format!("clip/{n:02}.png")))
            .unwrap();
    }
    assert!(done(&site.run(["models", "migrate"])).contains("no change of the encoder is under way"));
    assert!(refused(&site, &["models", "migrate", "--cut-over"]).contains("begin one with --to"));
    assert!(
        refused(&site, &["models", "migrate", "--to", "nothing"]).contains("no network called \"nothing\"")
    );
    assert!(refused(&site, &["models", "migrate", "--to", "yunet"]).contains("an encoder is needed"));
    let begun = site.run(["models", "migrate", "--to", "sface2"]);
    assert!(done(&begun).contains("begun: samples of sface2@"), "{}", begun.stdout);
    assert!(begun.stdout.contains("liveness.mode is off"), "{}", begun.stdout);
    assert!(refused(&site, &["models", "migrate", "--to", "sface2"]).contains("under way already"));
    let early = refused(&site, &["models", "migrate", "--cut-over"]);
    assert!(early.contains("has not been started since the change began"), "{early}");
    assert!(done(&site.run(["models", "migrate"])).contains("nothing is made yet"));

    // The door works by the old one, and the new one makes its samples of the pictures.
    let service = let_him_in(&site);
    until("both have samples of it", || {
        let people = progress(&site)["people"].take();
        people.as_array().unwrap().iter().all(|person| person["of_other"] == 1)
    });
    assert_eq!(service.stop(), Some(0));
    let service = let_him_in(&site);
    until("his way past the door is kept as the new one sees it", || {
        progress(&site)["attempts"].as_u64().is_some_and(|attempts| attempts > 0)
    });
    assert_eq!(service.stop(), Some(0));
    let text = done(&site.run(["models", "migrate"])).to_owned();
    assert!(text.contains("2 of 2 people have the samples of sface2@"), "{text}");
    let (old, new) = {
        let migration = site.store().migration().unwrap().unwrap();
        (migration.from.id, migration.to.id)
    };
    // What it made of a picture that was kept is what it makes of the picture itself.
    let store = site.store();
    let (ours, theirs) = (store.gallery(&old).unwrap(), store.gallery(&new).unwrap());
    let barack = face_of("obama.jpg");
    let [ours, theirs] = [ours, theirs].map(|gallery| gallery.find(&barack).unwrap().best);
    assert_eq!((&*ours.name, &*theirs.name), ("Barack", "Barack"));
    assert!(ours.score.0 > 0.9 && (ours.score.0 - theirs.score.0).abs() < 0.005, "{ours:?} {theirs:?}");
    // Of the ways past the door it kept its own view; a few more of them, as if days had passed.
    let seen = store.recall(&new).unwrap();
    drop(store);
    let few = refused(&site, &["models", "migrate", "--cut-over"]);
    assert!(few.contains("at least 20 are wanted"), "{few}");
    let mut store = site.store().with_attempts(KeepAttempts { days: Some(7), most: 99 });
    let now = Stamp::now(&accessd::clock::SystemClock);
    let days = |seen: &PastAttempt| -> Vec<PastAttempt> {
        (0..20).map(|n| PastAttempt { run: EventId(1000 + n), ..seen.clone() }).collect()
    };
    // Were it an encoder that does not know him again, it would not take over.
    let unlike = attempt(&new, 1000, seen[0].decisions[0].then, &[face(77), face(78)]);
    // By its own decisions it would always do as well as it did.
    store.keep(&days(&PastAttempt { decided_by: None, ..seen[0].clone() }), now).unwrap();
    drop(store);
    let own = refused(&site, &["models", "migrate", "--cut-over"]);
    assert!(own.contains("at least 20 are wanted"), "{own}");
    let mut store = site.store().with_attempts(KeepAttempts { days: Some(7), most: 99 });
    store.keep(&days(&PastAttempt { decided_by: Some(old.clone()), ..unlike }), now).unwrap();
    drop(store);
    let worse = refused(&site, &["models", "migrate", "--cut-over"]);
    assert!(worse.contains("refused 20 that came in") && worse.contains("worse"), "{worse}");
    assert_eq!(fs::read_to_string(site.path("accessd.toml")).unwrap().matches("sface2").count(), 0);
    let sql = rusqlite::Connection::open(site.path("accessd.db")).unwrap();
    sql.execute("DELETE FROM attempts WHERE id IN (SELECT id FROM attempts ORDER BY id DESC LIMIT 20)", [])
        .unwrap();
    drop(sql);
    let mut store = site.store().with_attempts(KeepAttempts { days: Some(7), most: 99 });
    store.keep(&days(&seen[0]), now).unwrap();
    drop(store);
    let replayed = site.run(["replay", "--model", "sface2"]);
    assert!(
        done(&replayed).contains("would have granted 0 more, refused 0 that came in"),
        "{}",
        replayed.stdout
    );

    // A hand-set threshold is of one encoder.
    site.write_config(&DOOR.replace("[decision]\n", "[decision]\nthreshold = 0.4\n"));
    let by_hand = refused(&site, &["models", "migrate", "--cut-over"]);
    assert!(by_hand.contains("decision.threshold is set by hand"), "{by_hand}");
    site.write_config(DOOR);
    let confirmed = refused(&site, &["models", "migrate", "--cut-over", "--confirm", "3"]);
    assert!(confirmed.contains("nothing to confirm"), "{confirmed}");
    // Whoever came since then, and has none of the new one.
    let mut store = site.store();
    store.enrol("Zed", &[NewTemplate { model: old.clone(), ..sample(3, false) }], "x", now).unwrap();
    drop(store);
    let zed = refused(&site, &["models", "migrate", "--cut-over"]);
    assert!(
        zed.contains("1 of 3 people have too few samples of sface2@") && zed.contains("Zed (0 of 1)"),
        "{zed}"
    );

    // Over, in force from the next start on, and nothing else in the config has changed.
    let over = site.run(["models", "migrate", "--cut-over", "--leave-behind"]);
    assert!(done(&over).contains("names sface2 now"), "{}", over.stdout);
    assert!(over.stdout.contains("the door does not know Zed"), "{}", over.stdout);
    let config = fs::read_to_string(site.path("accessd.toml")).unwrap();
    assert!(config.ends_with("model = \"sface2\" # which\n"), "{config}");
    let service = let_him_in(&site);
    let text = done(&site.run(["models", "migrate"])).to_owned();
    assert!(text.contains(&format!("in force: {new}")), "{text}");
    assert!(
        refused(&site, &["models", "migrate", "--cut-over"]).contains("is in force already"),
        "once is enough"
    );
    // And somebody whom the old one will not know.
    let quinn = NewTemplate { model: new.clone(), ..sample(4, false) };
    let request = Request::Enrol { name: "Quinn".into(), templates: vec![quinn], more: false };
    let reply = Client::connect(&site.path("control.sock")).unwrap().unwrap().request(&request).unwrap();
    assert!(matches!(reply, Reply::Enrolled { .. }), "{reply:?}");
    // Back with one command, also while the service runs.
    let back = site.run(["models", "migrate", "--back"]);
    assert!(done(&back).contains("names sface now"), "{}", back.stdout);
    assert!(back.stdout.contains("the door does not know Quinn"), "{}", back.stdout);
    let again = refused(&site, &["models", "migrate", "--cut-over"]);
    assert!(again.contains("start the service and cut over again"), "{again}");
    let text = done(&site.run(["models", "migrate"])).to_owned();
    assert!(text.contains("the config names sface: in force from the next start on"), "{text}");
    let early = refused(&site, &["models", "migrate", "--end", "--yes"]);
    assert!(early.contains("the config names sface, and sface2@"), "what will be used must not go: {early}");
    assert_eq!(service.stop(), Some(0));
    let service = let_him_in(&site);
    assert!(done(&site.run(["models", "migrate"])).contains("the door does not know Quinn"));
    let lost = refused(&site, &["models", "migrate", "--end", "--yes"]);
    assert!(lost.contains("would not know Quinn any more"), "{lost}");
    done(&site.run(["remove", "Quinn", "--yes"]));
    assert_eq!(site.run(["models", "migrate", "--end"]).code, 2, "it asks, and there is nobody to answer");
    let ended = site.run(["models", "migrate", "--end", "--yes"]);
    assert!(done(&ended).contains("ended: "), "{}", ended.stdout);
    until("the service has taken out what there was of it", || {
        let sql = rusqlite::Connection::open(site.path("accessd.db")).unwrap();
        let left: i64 = sql.query_row("SELECT count(*) FROM model_migration", [], |row| row.get(0)).unwrap();
        left == 0
    });
    assert_eq!(service.stop(), Some(0));
    let store = site.store();
    assert_eq!(store.gallery(&new).unwrap().templates(), 0);
    assert_eq!((store.gallery(&old).unwrap().templates(), store.migration().unwrap()), (3, None));
    let kinds: Vec<EventKind> =
        store.records(&Filter::default()).unwrap().iter().map(|r| r.event.kind).collect();
    let count = |kind| kinds.iter().filter(|k| **k == kind).count();
    assert_eq!((count(EventKind::Migration), count(EventKind::Migrated), count(EventKind::Model)), (4, 2, 2));
    assert!(store.verify(&Against::default()).unwrap().is_whole());
}

/// What SFace makes of the face in a photograph.
fn face_of(photograph: &str) -> accessd::encoder::Embedding {
    let options = RecogniserOptions {
        models: models_dir(),
        encoder: "sface".into(),
        device: "cpu".into(),
        detect_px: 640,
        min_face_score: 0.7,
        threads: 1,
    };
    let mut networks = Recogniser::load(&options).unwrap();
    let found = networks.find(&load_image(&photo(photograph)).unwrap()).unwrap();
    networks.embed(&[&found[0].crop]).unwrap().remove(0)
}

/// A network that was put in the place of the one to follow is not taken for it, and the door works all the same. And the way back
/// is open when the new one cannot even be loaded.
#[test]
fn net_another_network_under_the_name_stops_the_change_and_not_the_door_nor_the_way_back() {
    let site = Site::new();
    with_a_second_encoder(&site);
    site.write_config(DOOR);
    done(&site.run(["enroll", "--name", "Barack", "--images", photo("obama.jpg").to_str().unwrap()]));
    film(&site, "clip", "obama_partial_face2.jpg", 9);
    done(&site.run(["models", "migrate", "--to", "sface2"]));
    // As somebody's training of today under the same name.
    let library = Library::new(&site.path("models"));
    let old = library.load("sface2", "encoder").unwrap();
    let weight = |tensor: &candle_core::Tensor| Constant {
        shape: tensor.dims().to_vec(),
        values: tensor.flatten_all().unwrap().to_vec1().unwrap(),
    };
    let weights: Weights = old.tensors().map(|(name, tensor)| (name.clone(), weight(tensor))).collect();
    let mut card = old.card.clone();
    card.input.scale *= 1.01;
    library.install(&ModelFile::new(card, &weights).unwrap()).unwrap();
    let replaced = refused(&site, &["models", "migrate", "--cut-over"]);
    assert!(replaced.contains("the network installed as sface2 is sface2@"), "{replaced}");
    let check = site.run(["check"]);
    assert!(check.stdout.contains("it stands still: sface2@"), "{}{}", check.stdout, check.stderr);
    let service = let_him_in(&site);
    assert_eq!(service.stop(), Some(0));
    let told = fs::read_to_string(site.path("service.log")).unwrap();
    assert!(told.contains("the change of the encoder stands still"), "{told}");

    // Measurements that were cut short are found before the next start finds them.
    fs::write(site.path("models/sface.cohort.json"), "").unwrap();
    let check = site.run(["check"]);
    assert!(
        check.code == 3 && check.stdout.contains("sface.cohort.json"),
        "{}{}",
        check.stdout,
        check.stderr
    );
    fs::remove_file(site.path("models/sface.cohort.json")).unwrap();

    // Changed over by hand to what then breaks.
    site.write_config(&DOOR.replace("\"sface\" # which", "\"sface2\""));
    fs::write(site.path("models/sface2.safetensors"), b"not a network").unwrap();
    let broken = Service::spawn(&site);
    assert_eq!(broken.wait(), Some(1), "no door without an encoder");
    assert!(done(&site.run(["models", "migrate", "--back"])).contains("names sface now"));
    let service = let_him_in(&site);
    assert_eq!(service.stop(), Some(0));
}

/// What is said of the kept pictures: how much they cost an embedding.
#[test]
fn net_an_encoder_makes_of_a_kept_crop_nearly_what_it_makes_of_the_picture() {
    let file = Library::new(&models_dir()).load("sface", "encoder").unwrap();
    let mut encoder = Encoder::new(&file, &device("cpu").unwrap()).unwrap();
    let options = RecogniserOptions {
        models: models_dir(),
        encoder: "sface".into(),
        device: "cpu".into(),
        detect_px: 640,
        min_face_score: 0.7,
        threads: 1,
    };
    let mut networks = Recogniser::load(&options).unwrap();
    for photograph in ["obama.jpg", "obama2.jpg", "biden.jpg", "astronaut.png"] {
        let found = networks.find(&load_image(&photo(photograph)).unwrap()).unwrap().remove(0);
        let kept = KeptCrop::of(&found.crop).unwrap();
        let embeddings = encoder.embed(&[&found.crop, &kept.picture().unwrap()]).unwrap();
        let score = compare(&embeddings[0], &embeddings[1]).score.0;
        println!("{photograph}: {} bytes, cosine {score}", kept.bytes().len());
        assert!(
            score > 0.995 && kept.bytes().len() < 16 << 10,
            "{photograph}: {score}, {}",
            kept.bytes().len()
        );
    }
}
