//! Grants, faults and stops.

use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::daemon::fakes::poor_face;
use crate::journal::Event;
use crate::vision::quality::QualityIssue;

/// The part of the log from the first line `from` on.
fn log_from(log: &Log, from: &str) -> Vec<String> {
    log.lines().into_iter().skip_while(|line| line != from).collect()
}

#[test]
fn a_grant_is_on_disk_before_the_relay_moves_and_the_pulse_ends() {
    let house = House::open();
    house.let_ada_in();
    assert_eq!(house.at_door().state, "unlocked");
    house.clock.skip(Duration::from_secs(3));
    house.until_event(EventKind::Locked);
    let wanted = ["append grant", "relay on", "append unlocked", "relay off", "append locked"];
    assert_eq!(log_from(&house.log, "append grant")[..5], wanted);
    assert_eq!(house.at_door().state, "locked");
    let grant = house.store.last(EventKind::Grant);
    assert_eq!(grant.person.unwrap().name, "Ada");
    assert_eq!(house.store.last(EventKind::Unlocked).detail["grant"], 4);
    let (exit, store, _) = house.close();
    assert_eq!(exit, Exit::Asked { why: "test".into() });
    assert_eq!(store.kinds().last(), Some(&EventKind::Stop));
}

#[test]
fn the_door_is_locked_before_anything_else_happens() {
    let house = House::open();
    let lines: Vec<String> = house.log.lines().into_iter().filter(|l| l != "append enrol").collect();
    assert_eq!(lines[..2], ["relay off", "append start"]);
    house.close();
}

#[test]
fn a_stranger_is_refused_once_and_the_door_stays_locked() {
    let house = House::open();
    (0..6).for_each(|_| house.film(&[(1, STRANGER)]));
    house.until_event(EventKind::Refusal);
    let detail = house.store.last(EventKind::Refusal).detail;
    assert_eq!((&detail["reason"], &detail["frames_seen"]), (&"unknown".into(), &3.into()));
    let (_, store, log) = house.close();
    assert_eq!(store.count(EventKind::Refusal), 1);
    assert!(!log.has("relay on"));
}

#[test]
fn a_grant_that_cannot_be_written_opens_nothing_and_stops_the_daemon() {
    let house = House::open_with(limits(), |store| store.refuse(EventKind::Grant));
    house.film(&[(1, ADA)]);
    house.film(&[(1, ADA)]);
    let (log, store) = (house.log.clone(), house.store.clone());
    let error = house.outcome().unwrap_err();
    assert!(matches!(error, DaemonError::Write { what: "a grant", .. }), "{error}");
    assert!(!log.has("relay on"));
    assert_eq!(store.kinds().last(), Some(&EventKind::Fault));
}

#[test]
fn an_unlocking_that_cannot_be_written_locks_again_and_stops_the_daemon() {
    let house = House::open_with(limits(), |store| store.refuse(EventKind::Unlocked));
    house.film(&[(1, ADA)]);
    house.film(&[(1, ADA)]);
    let log = house.log.clone();
    assert!(house.outcome().is_err());
    let wanted = ["relay on", "relay off", "append locked", "append fault"];
    assert_eq!(log_from(&log, "relay on")[..4], wanted);
}

#[test]
fn vision_that_panics_in_mid_pulse_locks_and_stops_with_a_fault() {
    let house = House::open();
    house.let_ada_in();
    house.stage.shots.send(Shot::Poison).unwrap();
    house.until_event(EventKind::Fault);
    let (log, store) = (house.log.clone(), house.store.clone());
    let error = house.outcome().unwrap_err();
    assert!(
        error.to_string().contains("the vision thread ended: panicked: the networks fell over"),
        "{error}"
    );
    let wanted = ["append unlocked", "relay off", "append locked", "append fault"];
    assert_eq!(log_from(&log, "append unlocked")[..4], wanted);
    let fault = store.last(EventKind::Fault).detail;
    assert_eq!(fault["thread"], "vision");
    assert!(fault["what"].as_str().unwrap().contains("the networks fell over"), "{fault}");
}

#[test]
fn control_that_panics_in_mid_pulse_locks_and_stops_with_a_fault() {
    let house = House::open();
    house.let_ada_in();
    house.store.panic_on(EventKind::Remove);
    let reply = house.ask(&Request::Remove { name: "Bob".into() });
    assert_eq!(reply, Reply::Error { message: "the daemon is stopping".into() });
    let (log, store) = (house.log.clone(), house.store.clone());
    let error = house.outcome().unwrap_err();
    assert!(matches!(&error, DaemonError::ThreadDied { thread: "control", .. }), "{error}");
    assert_eq!(log_from(&log, "append unlocked")[1], "relay off");
    assert_eq!(store.last(EventKind::Fault).detail["thread"], "control");
}

#[test]
fn a_hanging_vision_thread_does_not_hold_up_a_stop() {
    let limits = Limits { farewell: Duration::from_millis(50), ..limits() };
    let house = House::open_with(limits, |_| {});
    let gate = house.stage.gate.clone();
    let shut = gate.lock().unwrap();
    house.film(&[(1, ADA)]);
    let asked = SystemClock.now();
    let (exit, _, log) = house.close();
    assert_eq!(exit, Exit::Asked { why: "test".into() });
    assert!(SystemClock.now().since(asked) < Duration::from_secs(1));
    assert!(log.has("append stop"));
    drop(shut);
}

#[test]
fn vision_that_hangs_for_good_is_found_and_stops_the_daemon() {
    let limits = Limits { vision_stuck: Limits::default().vision_stuck, ..limits() };
    let house = House::open_with(limits, |_| {});
    let gate = house.stage.gate.clone();
    let shut = gate.lock().unwrap();
    house.film(&[(1, ADA)]);
    house.clock.skip(Duration::from_secs(61));
    house.until_event(EventKind::Fault);
    drop(shut);
    let store = house.store.clone();
    assert!(matches!(house.outcome(), Err(DaemonError::ThreadDied { thread: "vision", .. })));
    assert!(store.last(EventKind::Fault).detail["what"].as_str().unwrap().contains("in one call for"));
}

#[test]
fn a_camera_driver_that_hangs_for_good_stops_the_daemon() {
    let limits = Limits { camera_stuck: Limits::default().camera_stuck, ..limits() };
    let house = House::open_with(limits, |_| {});
    house.film(&[]);
    // The camera's thread waits for its next shot, as in a driver that never answers.
    house.clock.skip(Duration::from_secs(61));
    house.until_event(EventKind::Fault);
    assert!(matches!(house.outcome(), Err(DaemonError::ThreadDied { thread: "camera", .. })));
}

#[test]
fn a_disk_that_hangs_ends_the_daemon_with_the_door_locked() {
    let limits = Limits { control_stuck: Limits::default().control_stuck, ..limits() };
    let house = House::open_with(limits, |_| {});
    house.film(&[(1, ADA)]);
    let disk = house.store.disk.clone();
    let held = disk.lock().unwrap();
    house.film(&[(1, ADA)]);
    until("control is at the disk", || house.store.writing());
    house.clock.skip(Duration::from_secs(9));
    until("the daemon has ended", || house.running.is_finished());
    let log = house.log.clone();
    let error = house.outcome().unwrap_err();
    assert!(matches!(error, DaemonError::ControlHangs { after_s: 9.. }), "{error}");
    assert!(!log.has("relay on"));
    drop(held);
}

#[test]
fn a_camera_that_fails_is_opened_again() {
    let house = House::open();
    house.film(&[(1, ADA)]);
    house.stage.shots.send(Shot::Fail).unwrap();
    until("it was opened again", || house.stage.opened() == 2);
    house.film(&[]);
    let (_, store, _) = house.close();
    assert_eq!(store.count(EventKind::CameraLost), 0, "a glitch is no loss");
}

#[test]
fn a_lost_camera_is_reported_once_and_so_is_its_return() {
    let house = House::open();
    house.film(&[(1, ADA)]);
    house.stage.shots.send(Shot::Fail).unwrap();
    until("it was opened again", || house.stage.opened() == 2);
    house.clock.skip(Duration::from_secs(3));
    house.until_event(EventKind::CameraLost);
    let faults = house.at_door().faults;
    let wanted = "no picture for 2 s: camera fake camera: it was unplugged: no such device";
    assert_eq!(faults, [wanted]);
    assert_eq!(house.store.last(EventKind::CameraLost).detail["what"], wanted);
    // Ada's look from before counts no more.
    house.film(&[(1, ADA)]);
    house.until_event(EventKind::CameraBack);
    assert!(house.at_door().faults.is_empty());
    assert!(!house.log.has("append grant"));
    house.film(&[(1, ADA)]);
    house.until_event(EventKind::Grant);
    let (_, store, _) = house.close();
    assert_eq!((store.count(EventKind::CameraLost), store.count(EventKind::CameraBack)), (1, 1));
}

#[test]
fn a_recording_that_ends_in_mid_pulse_lets_the_pulse_end() {
    let house = House::open();
    house.let_ada_in();
    house.stage.shots.send(Shot::End).unwrap();
    until("vision has seen the end", || {
        house.trace.0.lock().unwrap().iter().filter(|b| **b == b'\n').count() == 2
    });
    assert!(!house.running.is_finished());
    assert!(!house.log.has("append locked"));
    house.clock.skip(Duration::from_secs(3));
    until("the daemon has ended", || house.running.is_finished());
    let lines = log_from(&house.log, "append unlocked");
    assert_eq!(lines[..3], ["append unlocked", "relay off", "append locked"]);
    assert!(house.log.has("append stop"));
    assert_eq!(house.store.count(EventKind::CameraLost), 0);
    assert_eq!(house.outcome().unwrap(), Exit::RecordingOver);
}

#[test]
fn slow_vision_skips_frames_and_grants_nothing_late() {
    let house = House::open();
    house.film(&[(1, ADA)]);
    let gate = house.stage.gate.clone();
    let shut = gate.lock().unwrap();
    house.film(&[(1, ADA)]);
    (0..5).for_each(|_| house.shoot(&[(1, BOB)]));
    house.shoot(&[(2, STRANGER)]);
    until("the camera is done", || house.stage.filmed() == 8);
    house.clock.skip(Duration::from_millis(600));
    drop(shut);
    house.until_event(EventKind::Refusal);
    assert_eq!(house.store.last(EventKind::Refusal).detail["reason"], "stale");
    let (_, store, log) = house.close();
    assert!(!log.has("relay on"));
    assert_eq!(store.last(EventKind::Stop).detail["frames_skipped"], 5);
}

#[test]
fn who_leaves_before_the_decision_is_not_let_in_late() {
    let house = House::open();
    house.film(&[(1, ADA)]);
    let gate = house.stage.gate.clone();
    let shut = gate.lock().unwrap();
    // Vision takes up the look that would let her in, and is slow; she walks off, and somebody else steps up.
    house.film(&[(1, ADA)]);
    (0..3).for_each(|_| house.shoot(&[]));
    house.shoot(&[(2, STRANGER)]);
    until("the camera is done", || house.stage.filmed() == 6);
    house.clock.skip(Duration::from_millis(1_900));
    drop(shut);
    house.until_event(EventKind::Refusal);
    let late = house.store.last(EventKind::Refusal);
    assert_eq!((&late.detail["reason"], &late.detail["best"]["name"]), (&"stale".into(), &"Ada".into()));
    assert!(late.detail["frame_age_ms"].as_u64().unwrap() >= 1_900, "{}", late.detail);
    (0..4).for_each(|_| house.film(&[(2, STRANGER)]));
    until("the stranger is refused", || house.store.count(EventKind::Refusal) == 2);
    let (_, store, log) = house.close();
    assert_eq!(store.count(EventKind::Grant), 0);
    assert!(!log.has("relay on"));
}

#[test]
fn who_is_told_to_look_here_sees_it_on_the_lamp_in_the_status_and_in_the_journal() {
    let house = House::open();
    let turn_away = || {
        let looked = house.looked();
        house.stage.shots.send(Shot::People(vec![poor_face(1, QualityIssue::TurnedAway)])).unwrap();
        until("vision took the frame", || house.looked() > looked);
        house.clock.skip(Duration::from_millis(300));
    };
    assert_eq!(house.at_door().advice, None);
    (0..6).for_each(|_| turn_away());
    until("it is said", || {
        turn_away();
        house.at_door().advice.as_deref() == Some("look here")
    });
    until("it is written down", || {
        turn_away();
        house.store.count(EventKind::Advice) == 1
    });
    assert_eq!(house.store.last(EventKind::Advice).detail["advice"], "look_here");
    house.film(&[(1, ADA)]);
    until("nothing is to be said any more", || house.at_door().advice.is_none());
    house.close();
}

#[test]
fn nobody_is_granted_on_a_match_from_before_a_removal() {
    let house = House::open();
    house.film(&[(1, ADA)]);
    let gate = house.stage.gate.clone();
    let shut = gate.lock().unwrap();
    house.film(&[(1, ADA)]);
    assert_eq!(house.ask(&Request::Remove { name: "Ada".into() }), Reply::Done);
    drop(shut);
    // Both frames matched her; then she is a stranger.
    (0..3).for_each(|_| house.film(&[(1, ADA)]));
    house.until_event(EventKind::Refusal);
    let (_, store, log) = house.close();
    assert!(!log.has("relay on"));
    assert_eq!(store.count(EventKind::Grant), 0);
}

#[test]
fn the_database_has_the_last_word_on_who_is_enrolled() {
    let house = House::open();
    house.store.remove_silently("Ada");
    house.film(&[(1, ADA)]);
    house.film(&[(1, ADA)]);
    house.film(&[]);
    until("three frames are traced", || house.traced().len() == 3);
    assert_eq!(house.traced()[1]["conclusions"][0]["reason"], "no longer enrolled");
    let (_, store, log) = house.close();
    assert!(!log.has("relay on"));
    assert_eq!(store.count(EventKind::Grant), 0);
}

#[test]
fn a_stop_in_mid_pulse_locks_first() {
    let house = House::open();
    house.let_ada_in();
    let socket = house.folder.path().join("control.sock");
    let told = house.told.clone();
    house.shutdown.ask("SIGTERM");
    until("the stop is in the journal", || house.log.has("append stop"));
    let wanted = ["append unlocked", "relay off", "append locked", "append stop"];
    assert_eq!(log_from(&house.log, "append unlocked")[..4], wanted);
    assert_eq!(house.store.last(EventKind::Stop).detail["why"], "SIGTERM");
    assert_eq!(house.outcome().unwrap(), Exit::Asked { why: "SIGTERM".into() });
    assert!(!socket.exists());
    let told = told.lock().unwrap();
    assert_eq!(told.last().unwrap(), "STOPPING=1");
    assert!(told.contains(&"READY=1".to_owned()));
}

#[test]
fn sigterm_locks_and_stops_in_good_order() {
    use rustix::process::{Signal, getpid, kill_process};
    let house = House::open_until(Shutdown::on_signals(), limits(), |_| {});
    house.let_ada_in();
    // Whoever is answered is answered by a thread that listens to signals.
    house.status();
    kill_process(getpid(), Signal::TERM).unwrap();
    until("the stop is in the journal", || house.log.has("append stop"));
    let wanted = ["append unlocked", "relay off", "append locked", "append stop"];
    assert_eq!(log_from(&house.log, "append unlocked")[..4], wanted);
    assert_eq!(house.outcome().unwrap(), Exit::Asked { why: "SIGTERM".into() });
}

#[test]
fn ready_waits_for_the_first_frame_or_for_its_absence() {
    let ready = |house: &House| house.told.lock().unwrap().contains(&"READY=1".to_owned());
    let house = House::open();
    until("control turns", || !house.told.lock().unwrap().is_empty());
    assert!(!ready(&house));
    house.film(&[]);
    until("it is ready", || ready(&house));
    house.close();

    let dark = House::open();
    dark.clock.skip(Duration::from_secs(6));
    until("it is ready without a camera", || ready(&dark));
    assert!(dark.log.has("append camera_lost"));
    dark.close();
}

#[test]
fn a_trace_line_tells_what_was_seen_and_concluded() {
    let house = House::open();
    house.let_ada_in();
    house.film(&[]);
    until("three frames are traced", || house.traced().len() == 3);
    let traced = house.traced();
    assert_eq!(traced[0]["conclusions"], Value::Array(vec![]));
    assert_eq!((&traced[1]["seq"], &traced[1]["door"]), (&1.into(), &"unlocked".into()));
    assert_eq!(traced[1]["conclusions"][0]["verdict"], "granted");
    assert_eq!(traced[1]["conclusions"][0]["name"], "Ada");
    assert_eq!(traced[1]["faces"][0]["matched"]["best"]["name"], "Ada");
    assert!(!traced[1].to_string().contains("embedding"), "a trace holds no embeddings");
    house.close();
}

#[test]
fn a_stop_carries_no_actor_and_events_of_the_door_neither() {
    let house = House::open();
    house.let_ada_in();
    let (_, store, _) = house.close();
    let by_the_door: Vec<Event> =
        store.events().into_iter().filter(|event| event.kind != EventKind::Enrol).collect();
    assert!(by_the_door.iter().all(|event| event.actor.is_none()));
}
