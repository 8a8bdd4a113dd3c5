//! What a fuzzer feeds with bytes from outside, one function for each way they come in. A function returns when the
//! bytes were used or refused, and panics when accessd broke a promise about them.
//!
//! `cargo fuzz` runs each in a process of its own (`make fuzz`); `tests/it/fuzz.rs` includes this file and plays the seeds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use accessd::access::{Demands, Rule, Several};
use accessd::calibration::Bar;
use accessd::calibration::cohort::Cohort;
use accessd::camera::{
    Camera, CameraSpec, ClipCamera, ClipSpec, Piece, Splitter, Waiter, WantedFormat, pixels,
};
use accessd::clock::{MonoTime, SimClock};
use accessd::config::Config;
use accessd::daemon::ops::{self, Terms};
use accessd::daemon::protocol::{Reply, Request};
use accessd::door::LineSpec;
use accessd::encoder::{Embedding, ModelId, Score};
use accessd::eval::openset::OpenSet;
use accessd::eval::pairs::PairList;
use accessd::frame::load_image;
use accessd::gallery::{Gallery, NewTemplate, PersonId, TemplateSource};
use accessd::journal::replay::{PastAttempt, replay};
use accessd::journal::{Filter, Stamp};
use accessd::models::{ImportOptions, import_own};
use accessd::nn::model_file::{Channels, ModelFile};
use accessd::policy::{
    Document, Doubts, Gate, Now, NumberedRule, PersonRow, Place, Policy, RuleBook, RuleId, Shown,
};
use accessd::seal::{DeviceKey, Keys, RecoveryCode, Secret};
use accessd::store::{KeyFile, OpenMode, Restoring, SqliteStore, Store, check};
use accessd::train::settings::Settings;
use jiff::Timestamp;
use tempfile::{NamedTempFile, TempDir};

/// What takes a fuzzer's bytes.
pub type Target = fn(&[u8]);

/// All of them by name.
pub const TARGETS: [(&str, Target); 11] = [
    ("config", config),
    ("documents", documents),
    ("onnx", onnx),
    ("safetensors", safetensors),
    ("mjpeg", mjpeg),
    ("y4m", y4m),
    ("picture", picture),
    ("socket", socket),
    ("database", database),
    ("backup", backup),
    ("attempt", attempt),
];

/// A config file. What is accepted is the same when it is written and read again; what is refused names lines of the file.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Config::parse(text) {
        Ok(config) => {
            let written = toml::to_string(&config).expect("a config can be written");
            assert_eq!(Config::parse(&written).as_ref(), Ok(&config));
        }
        Err(problems) => {
            let lines = 1 + text.matches('\n').count();
            assert!(!problems.is_empty(), "refused without a reason");
            assert!(problems.iter().all(|p| (1..=lines).contains(&p.line)), "a line that is not there");
        }
    }
    for line in text.lines() {
        if let Ok(spec) = line.parse::<CameraSpec>() {
            assert_eq!(spec.to_string().parse().as_ref(), Ok(&spec));
        }
        if let Ok(spec) = line.parse::<LineSpec>() {
            assert_eq!(spec.to_string().parse().as_ref(), Ok(&spec));
        }
    }
}

/// The other texts that an operator hands over: rule book, training settings, cohort, protocols. A rule book that is read
/// can be judged by at any moment.
pub fn documents(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let path = Path::new("fuzzed");
    if let Ok(document) = toml::from_str::<Document>(text) {
        let written = toml::to_string(&document).expect("a rule book can be written");
        assert_eq!(toml::from_str(&written).as_ref(), Ok(&document));
        judge(document);
    }
    if let Ok(settings) = Settings::parse(text, path) {
        assert_eq!(Settings::parse(&settings.to_toml(), path).expect("what was accepted"), settings);
    }
    let _ = Cohort::parse(text, path);
    let _ = PairList::parse(text, path);
    let _ = OpenSet::parse(text, path);
}

fn judge(document: Document) {
    let rules = document.rules.into_iter().zip(1..).map(|(rule, n)| NumberedRule { id: RuleId(n), rule });
    let people = document.people.into_iter().zip(1..);
    let book = RuleBook {
        zone: document.zone,
        passback_s: document.passback_s,
        direction: document.direction,
        lockdown: false,
        rules: rules.collect(),
        holidays: document.holidays,
        people: people
            .map(|((name, terms), n)| PersonRow {
                id: PersonId(n),
                name,
                terms,
                last_entry: None,
                has_pin: n % 2 == 0,
                passages: Vec::new(),
                forgiven: None,
            })
            .collect(),
    };
    let Ok(policy) = Policy::new(book) else { return };
    let place = Place::default();
    // A summer and a winter day, the hour that a change of clocks skips, a leap day, and the ends of time.
    let moments = [0, 1_750_000_000, 1_764_000_000, 1_774_746_000, 1_709_208_000];
    let moments = moments.map(|s| Timestamp::from_second(s).expect("a year with four digits"));
    for wall in moments.into_iter().chain([Timestamp::MIN, Timestamp::MAX]) {
        let now = Now {
            wall,
            mono: None,
            clock_trusted: true,
            threshold_supported: true,
            gate: Gate::Open,
            place: &place,
        };
        let face = Shown { face: Some(Doubts::default()), pin: false };
        for (person, shown) in (0..3).flat_map(|n| [(n, face), (n, Shown { pin: true, ..face })]) {
            let decided = policy.decide(PersonId(person), shown, &BTreeMap::new(), &now);
            let steps = policy.explain(PersonId(person), shown, &BTreeMap::new(), &now);
            assert!(!steps.is_empty() || decided.is_err(), "let in without a step that says why");
            if let Err(refusal) = decided {
                assert!(!policy.words(&refusal).is_empty());
            }
        }
        let _ = policy.hold_open(&BTreeMap::new(), &now);
    }
}

/// A network that an operator brings as ONNX.
pub fn onnx(bytes: &[u8]) {
    own_network(bytes);
}

/// A file of an installed network, and an operator's state dict.
pub fn safetensors(bytes: &[u8]) {
    with_file(bytes, |path| {
        if let Ok(file) = ModelFile::read(path) {
            for (name, _) in file.tensors() {
                assert!(file.values(name).is_some());
            }
        }
    });
    own_network(bytes);
}

fn own_network(bytes: &[u8]) {
    let options = ImportOptions {
        name: "mine".into(),
        channels: Channels::Rgb,
        norm: (127.5, 1.0 / 128.0),
        licence: "unknown".into(),
    };
    with_file(bytes, |path| match import_own(path, &options) {
        Ok(file) => assert_eq!(file.card.name, "mine"),
        Err(error) => assert!(!error.to_string().is_empty()),
    });
}

/// What a program writes that is a camera. Pictures do not depend on how the stream is cut.
pub fn mjpeg(bytes: &[u8]) {
    let whole = pieces(std::iter::once(bytes));
    let cut = usize::from(bytes.first().copied().unwrap_or(0)) + 1;
    assert_eq!(whole, pieces(bytes.chunks(cut)));
    clip(bytes);
}

fn pieces<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Piece>, Option<u64>) {
    let (mut splitter, mut found) = (Splitter::default(), Vec::new());
    for chunk in chunks {
        splitter.push(chunk);
        found.extend(std::iter::from_fn(|| splitter.next_piece()));
    }
    (found, splitter.unfinished())
}

/// A Y4M recording; and the bytes as raw pictures of a V4L2 camera.
pub fn y4m(bytes: &[u8]) {
    clip(bytes);
    let [width, height, data @ ..] = bytes else { return };
    let (width, height) = (u32::from(*width), u32::from(*height));
    for layout in [pixels::yuyv, pixels::nv12, pixels::rgb, pixels::bgr, pixels::grey] {
        if let Ok(image) = layout(width, height, data) {
            assert_eq!((image.width(), image.height()), (width, height));
        }
    }
}

/// Plays a recording of whatever kind it turns out to be, three times over.
fn clip(bytes: &[u8]) {
    struct Never;
    impl Waiter for Never {
        fn wait_until(&mut self, _due: MonoTime) {}
    }
    with_file(bytes, |path| {
        let spec = ClipSpec { paced: false, repeat: true, ..ClipSpec::new(path) };
        let wanted = WantedFormat { width: 640, height: 480, fps: 10 };
        let clock = Arc::new(SimClock::new(MonoTime::from_millis(1000), Timestamp::UNIX_EPOCH));
        let Ok(mut camera) = ClipCamera::open(&spec, wanted, clock, Box::new(Never)) else { return };
        for _ in 0..16 {
            match camera.next() {
                Ok(frame) => assert!(frame.image.width() > 0 && frame.image.height() > 0),
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    return;
                }
            }
        }
    });
}

/// A picture file of an operator: JPEG, PNG, PGM, PPM.
pub fn picture(bytes: &[u8]) {
    with_file(bytes, |path| match load_image(path) {
        Ok(image) => assert!(image.width() > 0 && image.height() > 0),
        Err(error) => assert!(!error.to_string().is_empty()),
    });
}

/// What a client sends to the control socket, one request a line, carried out on a database of its own; and what a client
/// is told, were it to come from somebody else.
pub fn socket(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for reply in text.lines().filter_map(|line| serde_json::from_str::<Reply>(line).ok()) {
        serde_json::to_string(&reply).expect("a reply can be written");
    }
    let requests: Vec<Request> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    if requests.is_empty() {
        return;
    }
    let (folder, mut store) = door(small_database());
    for request in requests.iter().take(16) {
        let written = serde_json::to_string(request).expect("a request can be written");
        assert_eq!(serde_json::from_str::<Request>(&written).ok().as_ref(), Some(request));
        let reply = ops::answer(&mut store, &terms(), request, "uid 0 (root)", stamp());
        let line = serde_json::to_string(&reply).expect("a reply can be written");
        assert!(!line.contains('\n'));
        assert!(serde_json::from_str::<Reply>(&line).is_ok(), "a reply that no client can read: {line}");
    }
    drop(store);
    let checkup = check(&folder.path().join(DATABASE), &keys()).expect("the database can be read");
    assert!(checkup.is_sound(), "{:?}", checkup.findings);
}

/// A database with somebody in it and a journal, some of its bytes changed: each five bytes are a place in it (three, the
/// first being the highest) and two bytes to be written there.
pub fn database(bytes: &[u8]) {
    let mut damaged = small_database().to_vec();
    for change in bytes.chunks_exact(5).take(64) {
        let at = usize::from(change[0]) << 16 | usize::from(change[1]) << 8 | usize::from(change[2]);
        let at = at % (damaged.len() - 1);
        damaged[at..at + 2].copy_from_slice(&change[3..]);
    }
    let folder = tempfile::tempdir_in(MEMORY).expect("memory for a database");
    let path = folder.path().join(DATABASE);
    std::fs::write(&path, &damaged).expect("memory for a database");
    if let Err(error) = check(&path, &keys()) {
        assert!(!error.to_string().is_empty());
    }
    let Ok(mut store) = SqliteStore::open(&path, OpenMode::Existing, "fuzz", &keys()) else { return };
    let _ = store.people();
    let _ = store.person("Ada");
    let _ = store.gallery(&terms().model);
    let _ = store.rule_book();
    let _ = store.records(&Filter::default());
    let _ = store.rename("Ada", "Grace", "fuzz", stamp());
    let _ = store.remove("Grace", "fuzz", stamp());
}

/// A backup that is restored, and a key file.
pub fn backup(bytes: &[u8]) {
    let code = RecoveryCode::read(&"0".repeat(25)).expect("a code of 25 characters");
    let _ = KeyFile::open(bytes, &code);
    let folder = tempfile::tempdir_in(MEMORY).expect("memory for a database");
    let path = folder.path().join(DATABASE);
    let keys = keys();
    let restoring =
        Restoring { database: &path, keys: &keys, key_file: None, replace: false, without_faces: false };
    match restoring.from(bytes, "fuzz", stamp(), "fuzz") {
        Ok(_) => assert!(check(&path, &keys).expect("a restored database can be read").is_sound()),
        Err(error) => {
            assert!(!error.to_string().is_empty());
            assert!(!path.exists(), "something is left of a backup that was refused");
        }
    }
}

/// Where files lie that are in memory alone.
const MEMORY: &str = "/dev/shm";
const DATABASE: &str = "accessd.db";

fn keys() -> Keys {
    Keys::Held(DeviceKey::new(Secret::from_slice(&[7; 32]).expect("as many bytes as a key has")))
}

fn stamp() -> Stamp {
    Stamp { wall: Timestamp::UNIX_EPOCH, mono: MonoTime::from_millis(1) }
}

fn terms() -> Terms {
    Terms {
        model: ModelId("sface@0".into()),
        rule: Rule {
            threshold: Score(0.5),
            margin: 0.08,
            alike_margin: 0.16,
            frames_needed: 3,
            frames_window: 5,
            max_frame_age: Duration::from_millis(500),
            regrant_after: Duration::from_secs(10),
            several: Several::default(),
            supported: true,
            demands: Demands::default(),
        },
        bar: Bar::Set(Score(0.5)),
        models: "none".into(),
        pin_digits: 4,
    }
}

/// A database in memory.
fn door(database: &[u8]) -> (TempDir, SqliteStore) {
    let folder = tempfile::tempdir_in(MEMORY).expect("memory for a database");
    let path = folder.path().join(DATABASE);
    if !database.is_empty() {
        std::fs::write(&path, database).expect("memory for a database");
    }
    let store = SqliteStore::open(&path, OpenMode::Create, "fuzz", &keys()).expect("a sound database");
    (folder, store)
}

/// The bytes of a database in which Ada is enrolled, made once.
fn small_database() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let (folder, mut store) = door(&[]);
        let quality = r#"{"eye_distance_px":60.0,"sharpness":90.0,"light":120.0,"yaw_deg":0.0,"pitch_deg":0.0,"roll_deg":0.0}"#;
        let ada = NewTemplate {
            model: terms().model,
            embedding: Embedding::normalise(vec![1.0, 0.0, 0.0]).expect("a direction"),
            quality: serde_json::from_str(quality).expect("figures of a picture"),
            source: TemplateSource::Image,
            crop: None,
        };
        store.enrol("Ada", &[ada], "fuzz", stamp()).expect("Ada is new");
        drop(store);
        std::fs::read(folder.path().join(DATABASE)).expect("a database that was just made")
    })
}

/// Hands the bytes over as a file in memory; a thread has one.
fn with_file(bytes: &[u8], use_it: impl FnOnce(&Path)) {
    thread_local! {
        static FILE: RefCell<NamedTempFile> =
            RefCell::new(NamedTempFile::new_in(MEMORY).expect("memory for a file"));
    }
    FILE.with_borrow_mut(|file| {
        write_anew(file.as_file_mut(), bytes).expect("memory for a file");
        use_it(file.path());
    });
}

fn write_anew(file: &mut File, bytes: &[u8]) -> std::io::Result<()> {
    file.rewind()?;
    file.write_all(bytes)?;
    file.set_len(bytes.len() as u64)
}

/// What is sealed of a kept attempt, opened. What is read is the same when it is written and read again, and can be put through
/// the decision, whatever times and sizes it bears.
pub fn attempt(bytes: &[u8]) {
    let model = ModelId("sface@0".into());
    let again = |kept: &PastAttempt| PastAttempt::decode(&model, &kept.encode());
    let Some(kept) = PastAttempt::decode(&model, bytes) else { return };
    // A size beyond the largest number is written as none.
    let once = again(&kept).expect("what was read can be written");
    assert_eq!(again(&once).as_ref(), Some(&once));
    let people = once.face.embeddings().take(2).zip(1..);
    let people = people.map(|(face, n)| (PersonId(n), format!("person {n}").into(), face.clone())).collect();
    let gallery = Gallery::new(model.clone(), 1, people);
    let rule = terms().rule;
    let found =
        replay(&[once.clone(), once], &gallery, Some(&rule), &Rule { threshold: Score(0.1), ..rule.clone() });
    assert_eq!(found.attempts + found.left_out, 2);
}
