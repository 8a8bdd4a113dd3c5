//! Exit button, contact and lamps at a daemon whose face path is dead, and operators at the door.

use std::collections::BTreeMap;

use super::*;
use crate::door::{InputError, Inputs, Lamp, Reading, Relay, Sensor};

/// The levels of all inputs, as a test sets them.
#[derive(Clone, Default)]
pub(super) struct Levels(Arc<Mutex<BTreeMap<Sensor, bool>>>);

impl Levels {
    pub(super) fn set(&self, sensor: Sensor, active: bool) {
        self.0.lock().unwrap().insert(sensor, active);
    }
}

/// Reads them.
pub(super) struct FakeInputs {
    pub(super) levels: Levels,
    pub(super) clock: Arc<SkipClock>,
}

impl Inputs for FakeInputs {
    fn wait(&mut self, _patience: Duration) -> Result<Vec<Reading>, InputError> {
        std::thread::sleep(Duration::from_millis(2));
        let at = self.clock.now();
        let levels = self.levels.0.lock().unwrap();
        Ok(levels.iter().map(|(sensor, active)| Reading { sensor: *sensor, active: *active, at }).collect())
    }
}

/// A daemon with everything wired, and nothing active.
pub(super) fn wired_house() -> (House, Levels, Log) {
    let (levels, lamps) = (Levels::default(), Log::default());
    Sensor::ALL.into_iter().for_each(|sensor| levels.set(sensor, false));
    let house = House::open_wired(limits(), &levels, &lamps);
    // The first level of each is believed by now.
    until("the contact is read", || house.at_door().leaf.is_some());
    (house, levels, lamps)
}

/// A lamp that logs.
pub(super) struct FakeLamp(pub(super) Lamp, pub(super) Log);

impl Relay for FakeLamp {
    fn set(&mut self, on: bool, _why: &str) -> Result<(), crate::door::RelayError> {
        self.1.push(format!("{} {}", self.0.as_str(), if on { "on" } else { "off" }));
        Ok(())
    }

    fn describe(&self) -> String {
        "fake lamp".into()
    }
}

#[test]
fn the_way_out_is_open_with_a_dead_camera_and_a_hanging_vision_thread() {
    let (house, levels, _) = wired_house();
    let gate = house.stage.gate.clone();
    let _hangs = gate.lock().unwrap();
    house.film(&[(1, ADA)]);
    house.stage.shots.send(Shot::Fail).unwrap();
    until("the camera has failed", || house.stage.opened() > 1);
    levels.set(Sensor::Rex, true);
    house.until_event(EventKind::Rex);
    assert_eq!(house.at_door().state, "unlocked");
    assert!(house.store.count(EventKind::Grant) == 0);
    levels.set(Sensor::Rex, false);
    drop(_hangs);
    house.close();
}

#[test]
fn the_exit_button_moves_the_strike_before_anything_is_written() {
    let (house, levels, _) = wired_house();
    levels.set(Sensor::Rex, true);
    house.until_event(EventKind::Rex);
    let (_, _, log) = house.close();
    let lines = log.lines();
    let at = |line: &str| lines.iter().position(|l| l == line).unwrap();
    assert!(at("relay on") < at("append unlocked") && at("append unlocked") < at("append rex"));
}

#[test]
fn a_door_that_is_forced_is_an_alarm_until_it_is_closed() {
    let (house, levels, lamps) = wired_house();
    levels.set(Sensor::Contact, true);
    house.until_event(EventKind::ForcedOpen);
    let status = house.at_door();
    assert_eq!(
        (status.leaf.as_deref(), status.alarms.as_slice()),
        (Some("open"), &["the door was forced open".to_owned()][..])
    );
    until("the lamp shows it", || lamps.has("fault on"));
    levels.set(Sensor::Contact, false);
    house.until_event(EventKind::DoorClosed);
    assert!(house.at_door().alarms.is_empty());
    let (_, store, _) = house.close();
    assert_eq!(store.count(EventKind::HeldOpen), 0);
}

#[test]
fn a_door_that_stands_open_after_a_grant_is_told_once_its_time_is_over() {
    let (house, levels, _) = wired_house();
    house.let_ada_in();
    levels.set(Sensor::Contact, true);
    house.until_event(EventKind::DoorOpened);
    house.clock.skip(Duration::from_secs(29));
    house.until_event(EventKind::Locked);
    assert_eq!(house.store.count(EventKind::HeldOpen), 0);
    house.clock.skip(Duration::from_secs(1));
    house.until_event(EventKind::HeldOpen);
    let (_, store, _) = house.close();
    assert_eq!((store.count(EventKind::HeldOpen), store.count(EventKind::ForcedOpen)), (1, 0));
}

#[test]
fn closing_the_door_behind_oneself_locks_it() {
    let (house, levels, _) = wired_house();
    house.let_ada_in();
    levels.set(Sensor::Contact, true);
    house.until_event(EventKind::DoorOpened);
    levels.set(Sensor::Contact, false);
    house.until_event(EventKind::Locked);
    assert_eq!(house.store.last(EventKind::Locked).detail["why"], "the door was closed");
    house.close();
}

#[test]
fn an_operators_order_is_on_disk_before_the_strike_moves_and_bears_a_name() {
    let house = House::open();
    assert_eq!(house.ask(&Request::Unlock { door: None }), Reply::Done);
    assert_eq!(house.at_door().state, "unlocked");
    assert_eq!(house.ask(&Request::Lock { door: None }), Reply::Done);
    assert_eq!(house.at_door().state, "locked");
    assert_eq!(house.ask(&Request::HoldOpen { for_s: 3_600, door: None }), Reply::Done);
    assert!(house.at_door().held_open);
    house.clock.skip(Duration::from_secs(3_500));
    assert_eq!(house.at_door().state, "unlocked");
    house.clock.skip(Duration::from_secs(100));
    until("the time is over", || house.at_door().state == "locked");
    for for_s in [0, 12 * 3600 + 1, u64::MAX] {
        let Reply::Error { message } = house.ask(&Request::HoldOpen { for_s, door: None }) else {
            panic!("{for_s}")
        };
        assert!(message.contains("1 s to 12 hours"), "{message}");
    }
    let (_, store, log) = house.close();
    let lines = log.lines();
    let first = lines.iter().position(|line| line == "append operator").unwrap();
    assert_eq!(lines[first..first + 3], ["append operator", "relay on", "append unlocked"]);
    let event = store.last(EventKind::Operator);
    assert!(event.actor.unwrap().starts_with("uid "), "{:?}", event.detail);
    assert_eq!(event.detail["for_s"], 3_600);
}

#[test]
fn lamps_tell_a_person_what_happens() {
    let (house, _levels, lamps) = wired_house();
    (0..3).for_each(|_| house.film(&[(1, STRANGER)]));
    until("asked to look", || lamps.has("look on"));
    until("refused", || lamps.has("refused on"));
    house.film(&[(2, ADA)]);
    house.film(&[(2, ADA)]);
    until("let in", || lamps.has("granted on"));
    house.close();
}
