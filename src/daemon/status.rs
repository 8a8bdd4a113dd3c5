//! The board on which the threads write how they are, and from which the control socket answers `status`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::access::Advice;
use crate::calibration::Calibration;
use crate::clock::MonoTime;
use crate::door::Door;
use crate::encoder::{ModelId, Score};
use crate::liveness::spoof::Shown;
use crate::policy::{Gate, Place};

use super::protocol::{DoorStatus, Far, Status};

/// Frame rate and latency are those of this long.
const LOOKED_BACK: Duration = Duration::from_secs(5);
/// What a person was told is shown for so long at most.
const TOLD_FOR: Duration = Duration::from_secs(60);

/// What does not change while the daemon runs.
#[derive(Clone, Debug)]
pub(crate) struct Fixed {
    pub(crate) version: String,
    pub(crate) photo_check: String,
    pub(crate) model: ModelId,
    pub(crate) started: MonoTime,
}

/// What does not change about a door.
#[derive(Clone, Debug)]
pub(crate) struct FixedDoor {
    pub(crate) place: Place,
    pub(crate) camera: String,
    pub(crate) second: Option<String>,
    pub(crate) relay: String,
    pub(crate) started: MonoTime,
}

/// How the door is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DoorNow {
    pub(crate) unlocked: bool,
    pub(crate) held_open: bool,
    pub(crate) leaf_open: Option<bool>,
    pub(crate) alarms: Vec<&'static str>,
}

impl DoorNow {
    pub(crate) fn of(door: &Door) -> Self {
        Self {
            unlocked: door.is_unlocked(),
            held_open: door.is_held_open(),
            leaf_open: door.leaf_is_open(),
            alarms: door.alarms(),
        }
    }
}

/// How the daemon is.
#[derive(Debug)]
pub(crate) struct Board {
    fixed: Fixed,
    doors: Vec<Arc<DoorBoard>>,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    people: usize,
    threshold: f32,
    far: Option<Far>,
    lockdown: bool,
    clock_trusted: bool,
    duress: Option<String>,
}

impl Board {
    pub(crate) fn new(fixed: Fixed, doors: Vec<Arc<DoorBoard>>) -> Self {
        Self { fixed, doors, now: Mutex::default() }
    }

    /// Whether any door is unlocked.
    pub(crate) fn any_unlocked(&self) -> bool {
        self.doors.iter().any(|door| door.unlocked())
    }

    pub(crate) fn set_people(&self, people: usize) {
        lock(&self.now).people = people;
    }

    /// The threshold in force, and what is known about it where it follows from a rate.
    pub(crate) fn set_bar(&self, threshold: Score, known: Option<&Calibration>) {
        let mut now = lock(&self.now);
        now.threshold = threshold.0;
        now.far = known.map(|known| Far {
            wanted: known.far_per_attempt,
            at_most: known.false_accepts.value,
            supported: known.supported,
        });
    }

    /// The rate that the threshold in force keeps; `None` when it was set by hand.
    pub(crate) fn far(&self) -> Option<Far> {
        lock(&self.now).far
    }

    /// Lockdown and the calendar.
    pub(crate) fn set_rules(&self, lockdown: bool, clock_trusted: bool) {
        let mut now = lock(&self.now);
        (now.lockdown, now.clock_trusted) = (lockdown, clock_trusted);
    }

    /// Somebody has called for help. It is no trouble of a door: no lamp may show it.
    pub(crate) fn set_duress(&self, told: String) {
        lock(&self.now).duress = Some(told);
    }

    /// What an operator sees.
    pub(crate) fn status(&self, at: MonoTime) -> Status {
        let doors = self.doors.iter().map(|door| door.status(at)).collect();
        let now = lock(&self.now);
        Status {
            version: self.fixed.version.clone(),
            pid: std::process::id(),
            uptime_s: at.since(self.fixed.started).as_secs(),
            doors,
            model: self.fixed.model.to_string(),
            photo_check: self.fixed.photo_check.clone(),
            people: now.people,
            threshold: now.threshold,
            far: now.far,
            lockdown: now.lockdown,
            clock_trusted: now.clock_trusted,
            duress: now.duress.clone(),
        }
    }
}

/// How one door and its camera are.
#[derive(Debug)]
pub(crate) struct DoorBoard {
    fixed: FixedDoor,
    now: Mutex<AtDoor>,
}

#[derive(Debug, Default)]
struct AtDoor {
    newest_frame: Option<MonoTime>,
    recording_over: bool,
    decided: VecDeque<(MonoTime, Duration)>,
    door: DoorNow,
    enrolling: Option<String>,
    testing: Option<String>,
    shown: Shown,
    faults: BTreeMap<&'static str, String>,
    gate: Gate,
    prompt: Option<String>,
    told: Option<(String, MonoTime)>,
    advice: Option<Advice>,
}

impl DoorBoard {
    pub(crate) fn new(fixed: FixedDoor) -> Self {
        Self { fixed, now: Mutex::default() }
    }

    /// The camera delivered a frame.
    pub(crate) fn frame_arrived(&self, at: MonoTime) {
        lock(&self.now).newest_frame = Some(at);
    }

    /// When the newest frame arrived.
    pub(crate) fn newest_frame(&self) -> Option<MonoTime> {
        lock(&self.now).newest_frame
    }

    /// The camera was a recording, and it has ended: that no more frames come is no fault.
    pub(crate) fn recording_ended(&self) {
        lock(&self.now).recording_over = true;
    }

    pub(crate) fn is_recording_over(&self) -> bool {
        lock(&self.now).recording_over
    }

    /// What a frame showed was decided on, so long after it was taken.
    pub(crate) fn decided(&self, at: MonoTime, latency: Duration) {
        let mut now = lock(&self.now);
        now.decided.push_back((at, latency));
        now.forget_before(at);
    }

    pub(crate) fn set_door(&self, door: DoorNow) {
        lock(&self.now).door = door;
    }

    pub(crate) fn unlocked(&self) -> bool {
        lock(&self.now).door.unlocked
    }

    /// Whether anything is wrong at this door.
    pub(crate) fn has_trouble(&self) -> bool {
        let now = lock(&self.now);
        !now.faults.is_empty() || !now.door.alarms.is_empty()
    }

    /// Who is being enrolled at its camera, if anybody.
    pub(crate) fn set_enrolling(&self, name: Option<&str>) {
        lock(&self.now).enrolling = name.map(str::to_owned);
    }

    /// Who tests it with pictures, if anybody.
    pub(crate) fn set_testing(&self, actor: Option<&str>) {
        lock(&self.now).testing = actor.map(str::to_owned);
    }

    /// What has been shown of it.
    pub(crate) fn set_shown(&self, shown: Shown) {
        lock(&self.now).shown = shown;
    }

    /// What has been shown of it.
    pub(crate) fn shown(&self) -> Shown {
        lock(&self.now).shown.clone()
    }

    /// Its camera as configured.
    pub(crate) fn camera(&self) -> &str {
        &self.fixed.camera
    }

    /// Its second camera and how it is used.
    pub(crate) fn second_camera(&self) -> Option<&str> {
        self.fixed.second.as_deref()
    }

    /// What the person at the door is told by a challenge, or that they are told nothing any more.
    pub(crate) fn set_told(&self, what: Option<String>, at: MonoTime) {
        lock(&self.now).told = what.map(|what| (what, at));
    }

    /// What the person at the door is told.
    pub(crate) fn set_advice(&self, advice: Option<Advice>) {
        lock(&self.now).advice = advice;
    }

    /// What failed attempts have led to.
    pub(crate) fn set_gate(&self, gate: Gate) {
        lock(&self.now).gate = gate;
    }

    /// What it asks somebody for.
    pub(crate) fn set_prompt(&self, prompt: Option<String>) {
        lock(&self.now).prompt = prompt;
    }

    /// Sets or clears what is wrong with one part.
    pub(crate) fn set_fault(&self, part: &'static str, fault: Option<String>) {
        let mut now = lock(&self.now);
        match fault {
            Some(what) => now.faults.insert(part, what),
            None => now.faults.remove(part),
        };
    }

    /// What an operator sees.
    pub(crate) fn status(&self, at: MonoTime) -> DoorStatus {
        let mut now = lock(&self.now);
        now.forget_before(at);
        let FixedDoor { place, camera, second, relay, started } = &self.fixed;
        DoorStatus {
            name: place.door.clone(),
            side: place.side,
            area: place.area.clone(),
            state: if now.door.unlocked { "unlocked" } else { "locked" }.into(),
            held_open: now.door.held_open,
            leaf: now.door.leaf_open.map(|open| if open { "open" } else { "closed" }.into()),
            alarms: now.door.alarms.iter().map(|alarm| (*alarm).into()).collect(),
            relay: relay.clone(),
            camera: camera.clone(),
            second_camera: second.clone(),
            frame_age_ms: now.newest_frame.map(|newest| at.since(newest).as_millis() as u64),
            fps: now.fps(at.since(*started)),
            latency_ms: now.median_latency_ms(),
            throttle: match now.gate {
                Gate::Open => None,
                Gate::Paused(left) => Some(format!("no face opens the door for {} s", left.as_secs())),
                Gate::Off => Some("no face opens the door before `accessd door face-on`".into()),
            },
            prompt: now.prompt.clone(),
            mode: match (&now.enrolling, &now.testing) {
                (Some(name), _) => format!("enrolling {name}"),
                (None, Some(actor)) => format!("spoof test by {actor}, no face opens it"),
                (None, None) => "deciding".into(),
            },
            photo_proof: now.shown.clone(),
            advice: now.advice.map(|advice| advice.as_str().to_owned()),
            faults: now.faults.values().cloned().collect(),
            told: now
                .told
                .as_ref()
                .filter(|(_, then)| at.since(*then) < TOLD_FOR)
                .map(|(what, _)| what.clone()),
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl AtDoor {
    fn forget_before(&mut self, at: MonoTime) {
        while self.decided.front().is_some_and(|(then, _)| at.since(*then) > LOOKED_BACK) {
            self.decided.pop_front();
        }
    }

    fn fps(&self, uptime: Duration) -> f32 {
        let span = uptime.min(LOOKED_BACK).as_secs_f32();
        if span > 0.0 { self.decided.len() as f32 / span } else { 0.0 }
    }

    fn median_latency_ms(&self) -> Option<u64> {
        let mut latencies: Vec<Duration> = self.decided.iter().map(|(_, latency)| *latency).collect();
        latencies.sort_unstable();
        latencies.get(latencies.len() / 2).map(|median| median.as_millis() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> DoorBoard {
        DoorBoard::new(FixedDoor {
            place: Place::default(),
            camera: "clip:a".into(),
            second: None,
            relay: "sim:b".into(),
            started: MonoTime::from_millis(0),
        })
    }

    #[test]
    fn any_door_that_is_unlocked_counts_and_troubles_bear_their_doors_name() {
        let door = |name: &str| {
            let place = Place { door: name.into(), ..Place::default() };
            let fixed = FixedDoor { place, ..board().fixed };
            Arc::new(DoorBoard::new(fixed))
        };
        let fixed = Fixed {
            version: "1.2.3".into(),
            photo_check: "none".into(),
            model: ModelId("m@1".into()),
            started: MonoTime::from_millis(0),
        };
        let (entry, exit) = (door("entry"), door("exit"));
        let board = Board::new(fixed, vec![entry, exit.clone()]);
        assert!(!board.any_unlocked());
        exit.set_door(DoorNow { unlocked: true, alarms: vec!["held open"], ..DoorNow::default() });
        exit.set_fault("camera", Some("no picture".into()));
        assert!(board.any_unlocked());
        let status = board.status(MonoTime::from_millis(9));
        assert_eq!(status.doors.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["entry", "exit"]);
        assert_eq!(status.troubles(), ["exit: held open", "exit: no picture"]);
    }

    #[test]
    fn a_new_daemon_is_locked_and_has_seen_nothing() {
        let status = board().status(MonoTime::from_millis(0));
        assert_eq!((status.state.as_str(), status.mode.as_str()), ("locked", "deciding"));
        assert_eq!((status.frame_age_ms, status.latency_ms, status.fps), (None, None, 0.0));
    }

    #[test]
    fn rate_and_latency_are_those_of_the_last_seconds() {
        let board = board();
        for n in 0..100_u64 {
            board.decided(MonoTime::from_millis(n * 100), Duration::from_millis(n));
        }
        let status = board.status(MonoTime::from_millis(10_000));
        assert!((status.fps - 10.0).abs() < 0.5, "{}", status.fps);
        assert_eq!(status.latency_ms, Some(75));
        let later = board.status(MonoTime::from_millis(60_000));
        assert_eq!((later.fps, later.latency_ms), (0.0, None));
    }

    #[test]
    fn faults_come_and_go() {
        let board = board();
        board.set_fault("camera", Some("no picture".into()));
        assert_eq!(board.status(MonoTime::default()).faults, ["no picture"]);
        board.set_fault("camera", None);
        assert!(board.status(MonoTime::default()).faults.is_empty());
    }
}
