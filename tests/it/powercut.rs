//! A hundred power cuts at random moments. The daemon works on a real database, with its guard and the simulated relay,
//! and lets people in as fast as it can; then daemon and guard are killed at once, and of the database's files survives
//! what was synced, with any of the pages written since. No opening may be without its record, no confirmed order
//! without its own, and every database must open and be sound.
//!
//! Camera and networks are doubles, so that a cut takes a fraction of a second.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use accessd::access::{Proof, Rule};
use accessd::calibration::Bar;
use accessd::camera::{Camera, CameraError};
use accessd::clock::{Clock, SystemClock};
use accessd::daemon::analysis::{AnalyseError, Analyser, Analysis, SeenFace, StageTimes};
use accessd::daemon::client::Client;
use accessd::daemon::protocol::{Reply, Request};
use accessd::daemon::{ConsoleTerms, DoorParts, EnrolmentOptions, Parts, Patience, Shutdown};
use accessd::door::guard::GuardedStrike;
use accessd::door::sim::Line;
use accessd::door::{Pulse, Relock, Rules, StrikeKind, open_relay};
use accessd::encoder::{Embedding, ModelId, Score};
use accessd::frame::Frame;
use accessd::gallery::{Gallery, NewTemplate};
use accessd::journal::{EventKind, Filter, Stamp};
use accessd::policy::Place;
use accessd::store::{OpenMode, SqliteStore, Store, boot_id, check};
use accessd::vision::quality::QualityGates;
use accessd::vision::tracks::TrackId;
use accessd::vision::{BBox, Face};
use image::RgbImage;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{held_keys, template, until};

pub const ADA: [f32; 3] = [1.0, 0.0, 0.0];
const CUTS: u64 = 100;
const PAGE: usize = 4096;

/// Names the folder to the child that is the daemon.
const FOLDER: &str = "ACCESSD_TEST_POWERCUT";

/// Films nothing, a hundred times a second.
struct Blank(u64);

impl Camera for Blank {
    fn next(&mut self) -> Result<Frame, CameraError> {
        std::thread::sleep(Duration::from_millis(10));
        self.0 += 1;
        Ok(Frame { seq: self.0, captured: SystemClock.now(), image: RgbImage::new(8, 8) })
    }

    fn describe(&self) -> String {
        "blank".into()
    }
}

/// Sees Ada in every frame, on a new track every few frames.
struct SeesAda(ModelId);

impl Analyser for SeesAda {
    fn analyse(&mut self, frame: &Frame, gallery: &Gallery) -> Result<Analysis, AnalyseError> {
        let embedding = Embedding::normalise(ADA.to_vec()).unwrap();
        let face = SeenFace {
            crop: None,
            snapshot: None,
            track: TrackId(frame.seq / 4),
            face: Face {
                bbox: BBox { x: 0.0, y: 0.0, w: 9.0, h: 9.0 },
                landmarks: [[0.0; 2]; 5],
                score: 0.9,
            },
            quality: template(&ADA).quality,
            issue: None,
            proof: Proof::Off,
            repeated: false,
            signs: accessd::liveness::signs::Signs::default(),
            matched: gallery.find(&embedding),
            embedding: Some(embedding),
        };
        let (seq, captured) = (frame.seq, frame.captured);
        let gallery_generation = gallery.generation();
        Ok(Analysis {
            seq,
            captured,
            size: (8, 8),
            gallery_generation,
            faces: vec![face],
            times: StageTimes::default(),
        })
    }

    fn study(&mut self, _: &RgbImage) -> Result<Result<NewTemplate, String>, AnalyseError> {
        Ok(Ok(template(&ADA)))
    }

    fn model(&self) -> &ModelId {
        &self.0
    }
}

/// The daemon in `folder`, until it is killed.
fn be_the_daemon(folder: &Path) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let relay = format!("sim:{}", folder.join("relay.log").display());
    let mut guard = Command::new(assert_cmd::cargo::cargo_bin!("accessd"));
    guard.args(["guard", "--relay", &relay, "--strike", "fail-secure"]);
    let open = {
        let (relay, clock) = (relay.clone(), clock.clone());
        Box::new(move || open_relay(&relay, clock.clone()))
    };
    let strike = GuardedStrike::start(guard, relay, StrikeKind::FailSecure, open).unwrap();
    let store =
        SqliteStore::open(&folder.join("disk/accessd.db"), OpenMode::Existing, &boot_id(), &held_keys())
            .unwrap();
    let parts = Parts {
        doors: vec![DoorParts {
            place: Place { door: "door".into(), ..Place::default() },
            open_camera: Box::new(|| Ok(Box::new(Blank(0)))),
            camera: "blank".into(),
            analyser: Box::new(SeesAda(ModelId("made-up@1".into()))),
            strike: Box::new(strike),
            open_inputs: None,
            open_keypad: None,
            lamps: Vec::new(),
            rules: Rules {
                pulse: Pulse::from_millis(3_000).unwrap(),
                relock: Relock::Timeout,
                held_open_after: Duration::from_secs(30),
            },
            dice: None,
            second: None,
        }],
        photo_check: "none".into(),
        checked_by: Default::default(),
        store: Box::new(store),
        clock,
        patience: accessd::policy::Patience { attempts: 5, face_off_after: 50 },
        pins: accessd::daemon::PinOptions::default(),
        risks: accessd::policy::Risks::default(),
        trust: accessd::clock::Trust::Always,
        gates: QualityGates {
            min_eye_distance_px: 28.0,
            min_sharpness: 20.0,
            min_light: 40.0,
            max_light: 225.0,
            max_yaw_deg: 40.0,
            max_pitch_deg: 35.0,
        },
        settings: Default::default(),
        keep: Default::default(),
        snapshots: Default::default(),
        models: "none".into(),
        bar: Bar::Set(Score(0.5)),
        rule: Rule {
            threshold: Score(0.5),
            margin: 0.05,
            alike_margin: 0.16,
            frames_needed: 1,
            frames_window: 1,
            max_frame_age: Duration::from_secs(2),
            regrant_after: Duration::ZERO,
            several: accessd::access::Several::Nearest,
            supported: true,
            demands: accessd::access::Demands::default(),
        },
        learning: None,
        other: None,
        enrolment: EnrolmentOptions {
            samples: 2,
            timeout: Duration::from_secs(60),
            interval: Duration::ZERO,
        },
        socket: folder.join("control.sock"),
        trace: None,
        console: ConsoleTerms::default(),
        version: "test".into(),
    };
    accessd::daemon::run(parts, Shutdown::by_hand(), Patience::Door).unwrap();
}

/// Not a test of its own: the daemon of the test below, in a process that can be killed.
#[test]
fn the_daemon_of_the_power_cuts() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        be_the_daemon(Path::new(&folder));
    }
}

/// SplitMix64, by Sebastiano Vigna.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

/// Builds the layer to be preloaded.
pub fn build_layer(layer: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/powercut.c");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([layer, &source])
        .arg("-ldl")
        .status();
    assert!(built.unwrap().success(), "a C compiler is needed, as for building accessd");
}

/// A daemon in a process of its own, on `folder/disk/accessd.db`, that sees Ada all the time.
pub fn spawn_daemon(folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "powercut::the_daemon_of_the_power_cuts", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// A door whose power is about to fail.
struct Site {
    folder: tempfile::TempDir,
    layer: PathBuf,
}

impl Site {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Builds the disk that forgets, and enrols Ada on it.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let site = Self { layer: folder.path().join("powercut.so"), folder };
        build_layer(&site.layer);
        for name in ["disk", "kept"] {
            fs::create_dir(site.path(name)).unwrap();
        }
        let mut store =
            SqliteStore::open(&site.path("disk/accessd.db"), OpenMode::Create, &boot_id(), &held_keys())
                .unwrap();
        store.enrol("Ada", &[template(&ADA)], "test", Stamp::now(&SystemClock)).unwrap();
        site
    }

    /// Starts the daemon: what is on the disk now has been there for long.
    fn start(&self) -> Child {
        for entry in fs::read_dir(self.path("kept")).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for file in self.files("disk") {
            fs::copy(self.path("disk").join(&file), self.path("kept").join(&file)).unwrap();
        }
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "powercut::the_daemon_of_the_power_cuts", "--nocapture", "--test-threads=1"])
            .env(FOLDER, self.folder.path())
            .env("LD_PRELOAD", &self.layer)
            .env("POWERCUT_DIR", self.path("disk"))
            .env("POWERCUT_KEPT", self.path("kept"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// The daemon on a disk that tells in which order things reached it.
    fn start_in_order(&self) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "powercut::the_daemon_of_the_power_cuts", "--nocapture", "--test-threads=1"])
            .env(FOLDER, self.folder.path())
            .env("LD_PRELOAD", &self.layer)
            .env("POWERCUT_DIR", self.path("disk"))
            .env("POWERCUT_ORDER", self.path("order"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn files(&self, folder: &str) -> Vec<String> {
        let names = fs::read_dir(self.path(folder)).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.ends_with(".part") && !name.ends_with("-shm")).collect()
    }

    fn relay(&self) -> Vec<Line> {
        let text = fs::read_to_string(self.path("relay.log")).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Daemon and guard end at once, as with the power.
    fn cut(&self, mut daemon: Child) {
        let own = daemon.id();
        // The guard first: the daemon without it is stopped in mid-air, the guard without the daemon would lock.
        let guard = self.relay().last().map(|line| line.pid).filter(|pid| *pid != own);
        for pid in guard.into_iter().chain([own]) {
            // Fails when it has just ended.
            let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL);
        }
        daemon.wait().unwrap();
    }

    /// What is on the disk after the cut: what was synced, and of the pages written since any.
    fn lose_the_page_cache(&self, random: &mut Random) {
        for file in self.files("disk") {
            let (path, kept) = (self.path("disk").join(&file), self.path("kept").join(&file));
            let volatile = fs::read(&path).unwrap();
            let durable = fs::read(&kept).unwrap_or_default();
            let survives = |random: &mut Random| random.below(2) == 0;
            let length = if survives(random) { volatile.len() } else { durable.len() };
            let out = fs::File::create(&path).unwrap();
            out.set_len(length as u64).unwrap();
            for at in (0..length).step_by(PAGE) {
                let new = survives(random);
                let from = if new { &volatile } else { &durable };
                let page = from.get(at..from.len().min(at + PAGE).min(length)).unwrap_or_default();
                out.write_all_at(page, at as u64).unwrap();
            }
        }
        // Shared memory does not survive a cut.
        let _ = fs::remove_file(self.path("disk/accessd.db-shm"));
    }

    /// Everything that must be so afterwards; gives the number of openings.
    fn look(&self, from: usize, confirmed: u64, story: &str) -> usize {
        let path = self.path("disk/accessd.db");
        drop(
            SqliteStore::open(&path, OpenMode::Existing, &boot_id(), &held_keys())
                .unwrap_or_else(|e| panic!("{story}: {e:?}")),
        );
        let checkup = check(&path, &held_keys()).unwrap();
        assert!(checkup.is_sound(), "{story}: {:?}", checkup.findings);
        let store = SqliteStore::open(&path, OpenMode::ReadOnly, &boot_id(), &held_keys()).unwrap();
        let grants = store.records(&Filter { kinds: vec![EventKind::Grant], ..Filter::default() }).unwrap();
        let openings: Vec<Line> = self.relay().into_iter().skip(from).filter(|line| line.energised).collect();
        for opening in &openings {
            let recorded = grants.iter().any(|g| opening.why == format!("grant {} for Ada", g.id.0));
            assert!(
                recorded || opening.why.starts_with("unlocked by uid"),
                "{story}: {opening:?} has no record"
            );
        }
        let orders =
            store.records(&Filter { kinds: vec![EventKind::Operator], ..Filter::default() }).unwrap().len();
        assert!(orders as u64 >= confirmed, "{story}: {orders} orders on disk, {confirmed} were confirmed");
        openings.len()
    }
}

#[test]
fn a_hundred_power_cuts_lose_no_record_and_open_no_door_without_one() {
    let site = Site::new();
    let (mut random, mut confirmed, mut openings) = (Random(20_261_124), 0, 0);
    for cut in 0..CUTS {
        let from = site.relay().len();
        let daemon = site.start();
        // From the very start to well into the life of the daemon.
        let end = SystemClock.now() + Duration::from_millis(random.below(600));
        let mut client = None;
        while SystemClock.now() < end {
            client = client.or_else(|| Client::connect(&site.path("control.sock")).ok().flatten());
            let order = if random.below(2) == 0 {
                Request::Unlock { door: None }
            } else {
                Request::Lock { door: None }
            };
            match client.as_mut().map(|client: &mut Client| client.request(&order)) {
                Some(Ok(Reply::Done)) => confirmed += 1,
                Some(other) => panic!("cut {cut}: {other:?}"),
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
        site.cut(daemon);
        site.lose_the_page_cache(&mut random);
        openings += site.look(from, confirmed, &format!("cut {cut}"));
    }
    assert!(
        openings > 100 && confirmed > 100,
        "{openings} openings, {confirmed} orders: the cuts came too early"
    );
    eprintln!("{CUTS} cuts: {openings} openings, {confirmed} confirmed orders, none without its record");
}

#[test]
fn the_layer_forgets_what_was_not_synced() {
    let site = Site::new();
    let before = fs::read(site.path("disk/accessd.db")).unwrap();
    let daemon = site.start();
    until("the daemon opened the door", || site.relay().iter().any(|line| line.energised));
    site.cut(daemon);
    // The database file itself is folded into only at a checkpoint; the log beside it was synced with each grant.
    let kept = fs::read(site.path("kept/accessd.db-wal")).unwrap();
    assert!(kept.len() > PAGE, "{} bytes were synced", kept.len());
    assert_eq!(fs::read(site.path("kept/accessd.db")).unwrap().len(), before.len());
    // A disk that kept nothing of it would lose the grant: then the check of the other test must fail.
    fs::remove_file(site.path("disk/accessd.db-wal")).unwrap();
    let from = 0;
    let seen =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| site.look(from, 0, "without the log")));
    assert!(seen.is_err(), "an opening without its record went unnoticed");
}

/// Whether each opening in what the disk told comes after a record that was written and then synced, with nothing written
/// since; gives how many openings there were.
fn openings_in_order(told: &str) -> Result<usize, String> {
    let (mut openings, mut written, mut synced) = (0, false, false);
    for (n, line) in told.lines().enumerate() {
        match line {
            "write accessd.db-wal" => (written, synced) = (true, false),
            "sync accessd.db-wal" => synced = true,
            "open relay.log" if written && synced => {
                openings += 1;
                (written, synced) = (false, false);
            }
            "open relay.log" => {
                return Err(format!("line {n}: the relay moved before its record was on disk"));
            }
            _ => {}
        }
    }
    Ok(openings)
}

#[test]
fn each_opening_comes_after_its_record_was_synced() {
    let site = Site::new();
    for _ in 0..5 {
        let before = site.relay().iter().filter(|line| line.energised).count();
        let daemon = site.start_in_order();
        until("the daemon opened the door", || {
            site.relay().iter().filter(|line| line.energised).count() > before
        });
        site.cut(daemon);
    }
    let told = fs::read_to_string(site.path("order")).unwrap();
    let openings = openings_in_order(&told).unwrap_or_else(|why| panic!("{why}\n{told}"));
    assert!(openings >= 5, "{openings} openings");
    // The check itself: a door that opens first and writes then is found out.
    let late = told.replacen("sync accessd.db-wal", "sync accessd.db", 1_000_000);
    assert!(openings_in_order(&late).is_err());
    eprintln!("{openings} openings, each after the sync of its record");
}
