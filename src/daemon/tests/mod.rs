//! The whole daemon under real threads, with doubles at its edges.

mod challenge;
mod console;
mod door;
mod doors;
mod hardware;
mod learning;
mod live_enrolment;
mod migrating;
mod operators;
mod pins;
mod real_store;
mod replaying;
mod rules;
mod spoof;

use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::access::Rule;
use crate::calibration::Bar;
use crate::clock::{Clock, SystemClock};
use crate::door::{DirectStrike, Lamp, Pulse, Relay, Relock, Rules, StrikeKind};
use crate::encoder::Score;
use crate::journal::{EventKind, Stamp};
use crate::policy::{Place, Side};
use crate::store::Store;
use crate::vision::quality::QualityGates;

use super::client::Client;
use super::fakes::{FakeRelay, FakeStore, Log, Shot, SkipClock, Stage, seen, template};
use super::protocol::{DoorStatus, Reply, Request, Status};
use super::readiness::Readiness;
use super::{
    ConsoleTerms, DaemonError, DoorParts, EnrolmentOptions, Exit, Limits, Parts, Shutdown, run_with,
};

use hardware::{FakeInputs, FakeLamp, Levels};

const ADA: [f32; 3] = [1.0, 0.0, 0.0];
const BOB: [f32; 3] = [0.0, 1.0, 0.0];
const STRANGER: [f32; 3] = [0.0, 0.0, 1.0];

/// Polls until `what` is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = SystemClock.now() + Duration::from_secs(10);
    while !is_so() {
        assert!(SystemClock.now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A daemon at work, and everything around it that a test can touch.
struct House {
    stage: Stage,
    /// The camera of the second door, where there are two.
    exit: Stage,
    store: FakeStore,
    log: Log,
    clock: Arc<SkipClock>,
    shutdown: Shutdown,
    folder: tempfile::TempDir,
    told: Arc<Mutex<Vec<String>>>,
    trace: Trace,
    running: JoinHandle<Result<Exit, DaemonError>>,
}

#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Trace {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Quick turns; and no thread counts as stuck when a test puts the clock forward.
fn limits() -> Limits {
    let (ms, never) = (Duration::from_millis, Duration::MAX);
    Limits {
        turn: ms(10),
        camera_backoff: (ms(5), ms(20)),
        camera_stuck: never,
        vision_stuck: never,
        control_stuck: never,
        ..Limits::default()
    }
}

impl House {
    /// Ada and Bob are enrolled.
    fn open() -> Self {
        Self::open_with(limits(), |_| {})
    }

    fn open_with(limits: Limits, prepare: impl FnOnce(&mut FakeStore)) -> Self {
        Self::open_until(Shutdown::by_hand(), limits, prepare)
    }

    /// With exit button, contact, tamper switch and lamps.
    fn open_wired(limits: Limits, levels: &Levels, lamps: &Log) -> Self {
        let (levels, lamps) = (levels.clone(), lamps.clone());
        Self::open_full(
            Shutdown::by_hand(),
            limits,
            |_| {},
            |parts, clock| {
                parts.doors[0].open_inputs = Some(Box::new(move || {
                    let (levels, clock) = (levels.clone(), clock.clone());
                    Ok(Box::new(FakeInputs { levels, clock }))
                }));
                let lamp = |lamp| (lamp, Box::new(FakeLamp(lamp, lamps.clone())) as Box<dyn Relay>);
                parts.doors[0].lamps = Lamp::ALL.into_iter().map(lamp).collect();
            },
        )
    }

    fn open_until(shutdown: Shutdown, limits: Limits, prepare: impl FnOnce(&mut FakeStore)) -> Self {
        Self::open_full(shutdown, limits, prepare, |_, _| {})
    }

    fn open_full(
        shutdown: Shutdown,
        limits: Limits,
        prepare: impl FnOnce(&mut FakeStore),
        wire: impl FnOnce(&mut Parts, Arc<SkipClock>),
    ) -> Self {
        Self::start(false, shutdown, limits, prepare, wire)
    }

    /// With two doors, `entry` and `exit`.
    fn open_two(
        limits: Limits,
        prepare: impl FnOnce(&mut FakeStore),
        wire: impl FnOnce(&mut Parts, Arc<SkipClock>),
    ) -> Self {
        Self::start(true, Shutdown::by_hand(), limits, prepare, wire)
    }

    fn start(
        two: bool,
        shutdown: Shutdown,
        limits: Limits,
        prepare: impl FnOnce(&mut FakeStore),
        wire: impl FnOnce(&mut Parts, Arc<SkipClock>),
    ) -> Self {
        let clock = Arc::new(SkipClock::default());
        let (stage, exit) = (Stage::new(clock.clone()), Stage::new(clock.clone()));
        let log = Log::default();
        let mut store = FakeStore::new(log.clone());
        for (name, face) in [("Ada", ADA), ("Bob", BOB)] {
            store.enrol(name, &[template(&face)], "test", Stamp::now(&*clock)).unwrap();
        }
        prepare(&mut store);
        let folder = tempfile::tempdir().unwrap();
        let (told, trace) = (Arc::default(), Trace::default());
        let readiness = Readiness::new(Duration::from_secs(1), {
            let told: Arc<Mutex<Vec<String>>> = Arc::clone(&told);
            move |state| told.lock().unwrap().push(state.to_string())
        });
        let mut parts = parts(&stage, &store, &log, clock.clone(), &folder, &trace);
        if two {
            let entry = door_parts("entry", Side::In, true, &stage, &log);
            parts.doors = vec![entry, door_parts("exit", Side::Out, true, &exit, &log)];
        }
        wire(&mut parts, clock.clone());
        let running = std::thread::spawn({
            let shutdown = shutdown.clone();
            move || run_with(parts, shutdown, limits, readiness)
        });
        let house = Self { stage, exit, store, log, clock, shutdown, folder, told, trace, running };
        until("the daemon has started", || house.log.has("append start") || house.running.is_finished());
        house
    }

    /// Films one frame and waits until vision has taken it.
    fn film(&self, faces: &[(u64, [f32; 3])]) {
        let looked = self.looked();
        self.shoot(faces);
        until("vision took the frame", || self.looked() > looked);
    }

    /// Films one frame.
    fn shoot(&self, faces: &[(u64, [f32; 3])]) {
        let faces = faces.iter().map(|(track, face)| seen(*track, face)).collect();
        self.stage.shots.send(Shot::People(faces)).unwrap();
    }

    fn looked(&self) -> u64 {
        self.stage.looked.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Shows Ada long enough for a grant, and waits until the door is unlocked.
    fn let_ada_in(&self) {
        self.film(&[(1, ADA)]);
        self.film(&[(1, ADA)]);
        until("the door is unlocked", || self.log.has("append unlocked"));
    }

    fn until_event(&self, kind: EventKind) {
        until(&format!("{kind:?} is in the journal"), || self.store.count(kind) > 0);
    }

    /// The lines of the trace.
    fn traced(&self) -> Vec<serde_json::Value> {
        let text = String::from_utf8(self.trace.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn client(&self) -> Client {
        Client::connect(&self.folder.path().join("control.sock")).unwrap().expect("a daemon")
    }

    fn ask(&self, request: &Request) -> Reply {
        self.client().request(request).unwrap()
    }

    fn status(&self) -> Status {
        match self.ask(&Request::Status) {
            Reply::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    /// How the only door is.
    fn at_door(&self) -> DoorStatus {
        let [door]: [DoorStatus; 1] = self.status().doors.try_into().unwrap();
        door
    }

    /// Stops the daemon in good order.
    fn close(self) -> (Exit, FakeStore, Log) {
        self.shutdown.ask("test");
        let (store, log) = (self.store.clone(), self.log.clone());
        (self.outcome().unwrap(), store, log)
    }

    /// Waits for the daemon's end.
    fn outcome(self) -> Result<Exit, DaemonError> {
        until("the daemon's last word", || {
            self.running.is_finished() || self.told.lock().unwrap().iter().any(|t| t == "STOPPING=1")
        });
        // The camera's thread waits for its next shot.
        let _ = self.stage.shots.send(Shot::End);
        let _ = self.exit.shots.send(Shot::End);
        until("the daemon has ended", || self.running.is_finished());
        self.running.join().unwrap()
    }
}

/// A door with a camera and a relay of its own; where there are several the relay's lines bear its name.
fn door_parts(name: &str, side: Side, both_ways: bool, stage: &Stage, log: &Log) -> DoorParts {
    let relay =
        FakeRelay { name: if both_ways { format!("{name} ") } else { String::new() }, log: log.clone() };
    DoorParts {
        place: Place { door: name.into(), side, area: "inside".into(), both_ways },
        open_camera: stage.camera(),
        camera: "fake camera".into(),
        analyser: stage.analyser(),
        strike: Box::new(DirectStrike::new(Box::new(relay), StrikeKind::FailSecure)),
        open_inputs: None,
        open_keypad: None,
        lamps: Vec::new(),
        rules: Rules {
            pulse: Pulse::from_millis(3_000).unwrap(),
            relock: Relock::OnClose,
            held_open_after: Duration::from_secs(30),
        },
        dice: None,
        second: None,
    }
}

fn parts(
    stage: &Stage,
    store: &FakeStore,
    log: &Log,
    clock: Arc<SkipClock>,
    folder: &tempfile::TempDir,
    trace: &Trace,
) -> Parts {
    Parts {
        doors: vec![door_parts("door", Side::In, false, stage, log)],
        photo_check: "none".into(),
        checked_by: Default::default(),
        store: Box::new(store.clone()),
        clock,
        patience: crate::policy::Patience { attempts: 5, face_off_after: 50 },
        pins: super::PinOptions { digits: 4, ..Default::default() },
        risks: crate::policy::Risks::default(),
        trust: crate::clock::Trust::Always,
        gates: QualityGates {
            min_eye_distance_px: 28.0,
            min_sharpness: 20.0,
            min_light: 40.0,
            max_light: 225.0,
            max_yaw_deg: 40.0,
            max_pitch_deg: 35.0,
        },
        settings: Default::default(),
        bar: Bar::Set(Score(0.5)),
        rule: Rule {
            threshold: Score(0.5),
            margin: 0.1,
            alike_margin: 0.16,
            frames_needed: 2,
            frames_window: 3,
            max_frame_age: Duration::from_millis(500),
            regrant_after: Duration::from_secs(10),
            several: crate::access::Several::Nearest,
            supported: true,
            demands: crate::access::Demands::default(),
        },
        keep: crate::journal::replay::Keep::Everybody,
        snapshots: super::Snapshots::Strangers,
        models: "none".into(),
        learning: None,
        other: None,
        enrolment: EnrolmentOptions {
            samples: 2,
            timeout: Duration::from_secs(60),
            interval: Duration::ZERO,
        },
        socket: folder.path().join("control.sock"),
        trace: Some(Box::new(trace.clone())),
        console: ConsoleTerms::default(),
        version: "0.0.0".into(),
    }
}
