//! While the encoder is changed: what the other one is given and makes, on a database file, and that the door waits for none of
//! it.

use super::*;
use crate::access::{Live, Proof};
use crate::daemon::analysis::SeenFace;
use crate::daemon::fakes::{embedding, model};
use crate::daemon::migrating::{CutOver, OtherEncoder};
use crate::encoder::ModelId;
use crate::gallery::PersonId;
use crate::journal::Filter;
use crate::seal::Keys;
use crate::store::{KeepAttempts, Migrating, NamedModel, OpenMode, Recollection, SqliteStore};
use crate::vision::align::{AlignedCrop, CROP_SIDE};

/// Ada, seen a little otherwise than she was enrolled.
const ADA_TODAY: [f32; 3] = [0.8, 0.0, 0.6];

/// The colour of a crop that the other network breaks on.
const BREAKS: [u8; 3] = [250, 0, 0];

fn other() -> ModelId {
    ModelId("other@2".into())
}

/// A daemon with Ada and Bob, whose encoder is being changed to one that waits where `gate` is held.
struct Changing {
    database: std::path::PathBuf,
    socket: std::path::PathBuf,
    stage: Stage,
    clock: Arc<SkipClock>,
    log: Log,
    trace: Trace,
    shutdown: Shutdown,
    running: JoinHandle<Result<Exit, DaemonError>>,
    folder: tempfile::TempDir,
}

impl Changing {
    fn open(gate: Arc<Mutex<()>>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("accessd.db");
        let (clock, log) = (Arc::new(SkipClock::default()), Log::default());
        let at = Stamp::now(&*clock);
        let mut store = SqliteStore::open(&database, OpenMode::Create, "boot", &Keys::of_a_test()).unwrap();
        store = store.with_attempts(KeepAttempts { days: Some(7), most: 99 });
        for (name, face) in [("Ada", ADA), ("Bob", BOB)] {
            store.enrol(name, &[template(&face)], "test", at).unwrap();
        }
        let named = |name: &str, id| NamedModel { name: name.into(), id };
        store.begin_migration(&named("fake", model()), &named("other", other()), "test", at).unwrap();
        let embed = move |crop: &AlignedCrop| {
            drop(gate.lock());
            assert_ne!(crop.0.get_pixel(0, 0).0, BREAKS, "the network breaks");
            let values: Vec<f32> = crop.0.get_pixel(0, 0).0.iter().map(|v| f32::from(*v) + 1.0).collect();
            Ok(embedding(&values))
        };
        let (stage, trace) = (Stage::new(clock.clone()), Trace::default());
        let parts = Parts {
            store: Box::new(store),
            other: Some(OtherEncoder { model: other(), embed: Box::new(embed), above: 0.15 }),
            ..parts(&stage, &FakeStore::new(log.clone()), &log, clock.clone(), &folder, &trace)
        };
        let (shutdown, socket) = (Shutdown::by_hand(), parts.socket.clone());
        let running = std::thread::spawn({
            let shutdown = shutdown.clone();
            move || run_with(parts, shutdown, limits(), Readiness::new(Duration::from_secs(1), |_| {}))
        });
        until("the daemon answers", || socket.exists());
        Self { database, socket, stage, clock, log, trace, shutdown, running, folder }
    }

    fn ask(&self, request: Request) -> Reply {
        Client::connect(&self.socket).unwrap().expect("a daemon").request(&request).unwrap()
    }

    /// Films so many frames of one face, alive, with a crop of that colour.
    fn film(&self, track: u64, frames: usize, face: [f32; 3], colour: [u8; 3]) {
        for _ in 0..frames {
            let crop = AlignedCrop(image::RgbImage::from_pixel(CROP_SIDE, CROP_SIDE, image::Rgb(colour)));
            let proof = Proof::Asked(Live { score: 0.9, needed: 0.5 });
            self.shoot(vec![SeenFace { proof, crop: Some(crop), ..seen(track, &face) }]);
        }
    }

    fn shoot(&self, faces: Vec<SeenFace>) {
        let decided = || self.trace.0.lock().unwrap().iter().filter(|byte| **byte == b'\n').count();
        let before = decided();
        self.stage.shots.send(Shot::People(faces)).unwrap();
        until("the frame is decided on", || decided() > before);
    }

    /// Somebody comes by, and is gone for good.
    fn pass(&self, track: u64, face: [f32; 3], colour: [u8; 3]) {
        self.film(track, 3, face, colour);
        self.shoot(vec![]);
        self.clock.skip(Duration::from_secs(11));
        self.shoot(vec![]);
    }

    /// The database, beside the daemon.
    fn reader(&self) -> SqliteStore {
        SqliteStore::open(&self.database, OpenMode::ReadOnly, "boot", &Keys::of_a_test()).unwrap()
    }

    fn opened(&self) -> usize {
        self.log.lines().iter().filter(|line| *line == "relay on").count()
    }

    fn close(self) -> tempfile::TempDir {
        self.shutdown.ask("test");
        let _ = self.stage.shots.send(Shot::End);
        until("the daemon has ended", || self.running.is_finished());
        self.running.join().unwrap().unwrap();
        self.folder
    }
}

fn missing(store: &SqliteStore, person: PersonId) -> usize {
    let people = store.filling(&model(), &other()).unwrap();
    people.iter().find(|filling| filling.person.id == person).unwrap().missing()
}

#[test]
fn the_first_look_of_somebody_gives_a_template_and_the_next_attempt_is_kept_as_the_other_sees_it() {
    let house = Changing::open(Arc::default());
    let ada = PersonId(1);
    assert_eq!(missing(&house.reader(), ada), 1);
    house.pass(1, ADA_TODAY, [9, 99, 199]);
    until("she has a template of the other", || missing(&house.reader(), ada) == 0);
    let gallery = house.reader().gallery(&other()).unwrap();
    let found = gallery.find(&embedding(&[10.0, 100.0, 200.0])).unwrap();
    assert_eq!(found.best.person, ada);
    assert!(found.best.score.0 > 0.9999, "of that very crop: {found:?}");
    let about = Filter { kinds: vec![EventKind::Migrated], ..Filter::default() };
    let event = house.reader().records(&about).unwrap().remove(0).event;
    let grants = Filter { kinds: vec![EventKind::Grant], ..Filter::default() };
    let grant = house.reader().records(&grants).unwrap().remove(0).id;
    assert_eq!((&event.detail["from"], event.detail["grant"].as_i64()), (&"look".into(), Some(grant.0)));
    assert!((event.detail["score"].as_f64().unwrap() - 0.8).abs() < 1e-6);
    until("the attempt is kept as the one in force sees it", || {
        house.reader().recall(&model()).unwrap().len() == 1
    });

    house.pass(2, ADA_TODAY, [50, 60, 70]);
    until("and the next as the other does", || house.reader().recall(&other()).unwrap().len() == 1);
    let kept = house.reader().recall(&other()).unwrap().remove(0);
    let looks: Vec<f32> = kept.face.embeddings().next().unwrap().values().to_vec();
    assert_eq!(looks, embedding(&[51.0, 61.0, 71.0]).values(), "not of the attempt that gave the template");
    assert_eq!(kept.recognition().unwrap().then.person(), Some(ada));
    assert_eq!(house.reader().recall(&model()).unwrap().len(), 2);

    let Reply::Migration { progress: Some(progress) } = house.ask(Request::Migration) else { panic!("none") };
    assert_eq!((progress.attempts, progress.in_force.clone()), (1, model()));
    let refused = house.ask(Request::CutOver { order: CutOver::default() });
    assert!(matches!(&refused, Reply::Error { message } if message.contains("set by hand")), "{refused:?}");
    house.close();
}

#[test]
fn of_whom_the_door_did_not_let_in_or_not_surely_enough_there_is_no_template() {
    let house = Changing::open(Arc::default());
    // Let in, and hardly; and a stranger.
    house.pass(1, [0.6, 0.0, 0.8], [1, 2, 3]);
    house.pass(2, [0.0, 0.0, 1.0], [4, 5, 6]);
    until("both are kept as the other sees them", || house.reader().recall(&other()).unwrap().len() == 2);
    assert_eq!((house.opened(), missing(&house.reader(), PersonId(1))), (1, 1));
    assert_eq!(house.reader().gallery(&other()).unwrap().templates(), 0);
    house.close();
}

#[test]
fn the_door_waits_for_nothing_of_it() {
    let gate = Arc::new(Mutex::new(()));
    let held = gate.lock().unwrap();
    let house = Changing::open(gate.clone());
    for track in 1..=12 {
        house.pass(track, ADA_TODAY, [9, 99, 199]);
        until("she is let in", || house.opened() as u64 == track);
    }
    assert_eq!(
        house.reader().gallery(&other()).unwrap().templates(),
        0,
        "the other one is still at the first look"
    );
    drop(held);
    until("it goes on", || house.reader().gallery(&other()).unwrap().templates() > 0);
    house.close();
}

#[test]
fn once_it_is_ended_nothing_more_is_made_and_the_door_goes_on() {
    let house = Changing::open(Arc::default());
    assert_eq!(house.ask(Request::EndMigration), Reply::Forgotten { samples: 0 });
    house.pass(1, ADA_TODAY, [9, 99, 199]);
    until("she is let in", || house.opened() == 1);
    house.pass(2, ADA_TODAY, [9, 99, 199]);
    until("twice", || house.opened() == 2);
    let reader = house.reader();
    assert_eq!(reader.gallery(&other()).unwrap().templates(), 0);
    house.close();
}

#[test]
fn no_attempt_is_kept_as_an_encoder_saw_it_that_is_not_asked_for_any_more() {
    let gate = Arc::new(Mutex::new(()));
    let held = gate.lock().unwrap();
    let house = Changing::open(gate.clone());
    // Two of whom it is asked before the end, and one afterwards.
    house.pass(1, STRANGER, [1, 2, 3]);
    house.pass(2, STRANGER, [1, 2, 3]);
    house.ask(Request::EndMigration);
    house.pass(3, STRANGER, [1, 2, 3]);
    drop(held);
    house.pass(4, STRANGER, [1, 2, 3]);
    until("all are kept as the one in force saw them", || {
        house.reader().recall(&model()).unwrap().len() == 4
    });
    let database = house.database.clone();
    let folder = house.close();
    let store = SqliteStore::open(&database, OpenMode::ReadOnly, "boot", &Keys::of_a_test()).unwrap();
    assert_eq!(store.recall(&other()).unwrap().len(), 0);
    drop(folder);
}

#[test]
fn what_the_other_encoder_still_has_of_somebody_who_is_removed_is_not_written() {
    let gate = Arc::new(Mutex::new(()));
    let held = gate.lock().unwrap();
    let house = Changing::open(gate.clone());
    // A look to become a template, and a way past the door that was nobody's.
    house.pass(1, ADA_TODAY, [9, 99, 199]);
    until("she is let in", || house.opened() == 1);
    house.pass(2, STRANGER, [1, 2, 3]);
    assert_eq!(house.ask(Request::Remove { name: "Ada".into() }), Reply::Done);
    drop(held);
    house.pass(3, STRANGER, [1, 2, 3]);
    until("the next is kept as the other saw it", || !house.reader().recall(&other()).unwrap().is_empty());
    let kept = house.reader().recall(&other()).unwrap();
    let tracks: Vec<u64> = kept.iter().map(|kept| kept.face.track.0).collect();
    assert_eq!((tracks, house.reader().gallery(&other()).unwrap().templates()), (vec![3], 0));
    assert_eq!(kept[0].decided_by, Some(model()));
    house.close();
}

#[test]
fn a_network_that_breaks_ends_the_change_and_not_the_door() {
    let house = Changing::open(Arc::default());
    house.pass(1, ADA_TODAY, BREAKS);
    until("she is let in", || house.opened() == 1);
    for track in 2..=12 {
        house.pass(track, ADA_TODAY, [9, 99, 199]);
        until("and again", || house.opened() as u64 == track);
    }
    assert_eq!(house.reader().gallery(&other()).unwrap().templates(), 0);
    house.close();
}
