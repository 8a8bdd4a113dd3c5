//! Two doors in one daemon: an entry and an exit, each with its camera and its relay.

use super::*;

fn two_doors() -> House {
    House::open_two(limits(), |_| {}, |_, _| {})
}

/// Films one frame at a camera and waits until vision has taken it.
fn film(stage: &Stage, faces: &[(u64, [f32; 3])]) {
    let looked = || stage.looked.load(std::sync::atomic::Ordering::SeqCst);
    let before = looked();
    let faces = faces.iter().map(|(track, face)| seen(*track, face)).collect();
    stage.shots.send(Shot::People(faces)).unwrap();
    until("vision took the frame", || looked() > before);
}

/// Shows somebody long enough for a decision.
fn show(stage: &Stage, track: u64, face: [f32; 3]) {
    (0..3).for_each(|_| film(stage, &[(track, face)]));
}

fn door<'a>(status: &'a Status, name: &str) -> &'a DoorStatus {
    status.doors.iter().find(|door| door.name == name).unwrap()
}

fn state(house: &House, name: &str) -> String {
    door(&house.status(), name).state.clone()
}

fn refused(reply: Reply) -> String {
    match reply {
        Reply::Error { message } => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_door_opens_for_whom_its_own_camera_sees() {
    let house = two_doors();
    show(&house.exit, 1, ADA);
    until("the exit is unlocked", || house.log.has("exit relay on"));
    until("it is written down", || house.log.has("append unlocked"));
    assert_eq!((state(&house, "entry"), state(&house, "exit")), ("locked".into(), "unlocked".into()));
    let grant = house.store.last(EventKind::Grant);
    assert_eq!((grant.door.as_deref(), &grant.detail["side"]), (Some("exit"), &"out".into()));
    assert_eq!(house.store.last(EventKind::Unlocked).door.as_deref(), Some("exit"));
    show(&house.stage, 1, BOB);
    until("the entry is unlocked", || house.log.has("entry relay on"));
    let grant = house.store.last(EventKind::Grant);
    assert_eq!((grant.door.as_deref(), grant.detail.get("side")), (Some("entry"), None));
    let start = house.store.last(EventKind::Start);
    assert_eq!((&start.detail["doors"][1]["door"], start.door), (&"exit".into(), None));
    let traced = house.traced();
    assert!(["entry", "exit"].iter().all(|name| traced.iter().any(|line| line["at"] == *name)));
    let (_, _, log) = house.close();
    let lines = log.lines();
    assert_eq!(lines.iter().filter(|line| line.ends_with("relay on")).count(), 2);
    assert!(lines[2..4].iter().all(|line| line.ends_with("relay off")), "both are locked first: {lines:?}");
}

#[test]
fn a_door_whose_camera_is_lost_leaves_the_other_at_work() {
    let house = two_doors();
    film(&house.stage, &[]);
    house.stage.shots.send(Shot::Fail).unwrap();
    for _ in 0..6 {
        film(&house.exit, &[]);
        house.clock.skip(Duration::from_millis(500));
    }
    house.until_event(EventKind::CameraLost);
    show(&house.exit, 1, ADA);
    house.until_event(EventKind::Grant);
    let status = house.status();
    assert!(door(&status, "entry").faults[0].contains("it was unplugged"), "{status:?}");
    assert!(status.troubles()[0].starts_with("entry: no picture"), "{:?}", status.troubles());
    let (_, store, _) = house.close();
    assert_eq!(store.last(EventKind::CameraLost).door.as_deref(), Some("entry"));
    assert_eq!(store.last(EventKind::Grant).door.as_deref(), Some("exit"));
}

#[test]
fn a_camera_driver_that_hangs_for_good_stops_the_daemon_only_when_no_door_sees_any_more() {
    let limits = Limits { camera_stuck: Limits::default().camera_stuck, ..limits() };
    let house = House::open_two(limits, |_| {}, |_, _| {});
    film(&house.stage, &[]);
    for _ in 0..13 {
        film(&house.exit, &[]);
        house.clock.skip(Duration::from_secs(5));
    }
    let fault = || door(&house.status(), "entry").faults.first().cloned().unwrap_or_default();
    until("it is told", || fault().contains("only a restart of the service can open it again"));
    assert!(!house.running.is_finished());
    show(&house.exit, 1, ADA);
    house.until_event(EventKind::Grant);
    house.clock.skip(Duration::from_secs(61));
    let error = house.outcome().unwrap_err().to_string();
    assert!(error.contains("the camera thread of e"), "{error}");
}

#[test]
fn lockdown_locks_every_door_before_it_writes_about_any() {
    let house = two_doors();
    for name in ["entry", "exit"] {
        assert_eq!(house.ask(&Request::HoldOpen { for_s: 60, door: Some(name.into()) }), Reply::Done);
    }
    let change = crate::policy::Change::Lockdown(true);
    assert_eq!(house.ask(&Request::ChangePolicy { change }), Reply::Done);
    assert_eq!((state(&house, "entry"), state(&house, "exit")), ("locked".into(), "locked".into()));
    let lines: Vec<String> =
        house.log.lines().into_iter().skip_while(|line| line != "append lockdown").collect();
    let wanted = ["append lockdown", "entry relay off", "exit relay off", "append locked", "append locked"];
    assert_eq!(lines[..5], wanted);
    show(&house.exit, 1, ADA);
    house.until_event(EventKind::Refusal);
    house.close();
}

#[test]
fn a_fault_of_control_locks_every_door() {
    let house = two_doors();
    for name in ["entry", "exit"] {
        assert_eq!(house.ask(&Request::HoldOpen { for_s: 60, door: Some(name.into()) }), Reply::Done);
    }
    house.store.panic_on(EventKind::Remove);
    let _ = house.ask(&Request::Remove { name: "Bob".into() });
    let log = house.log.clone();
    assert!(house.outcome().is_err());
    let lines = log.lines();
    let last = lines.iter().rposition(|line| line.ends_with("relay on")).unwrap();
    assert!(
        ["entry relay off", "exit relay off"].iter().all(|off| lines[last..].contains(&(*off).to_owned()))
    );
    let first_word = lines[last..].iter().position(|line| line == "append locked").unwrap();
    assert!(lines[last..last + first_word].contains(&"exit relay off".to_owned()), "locked first: {lines:?}");
}

#[test]
fn vision_that_panics_at_one_door_locks_both_and_is_named() {
    let house = two_doors();
    show(&house.stage, 1, ADA);
    until("the entry is unlocked", || house.log.has("append unlocked"));
    house.exit.shots.send(Shot::Poison).unwrap();
    let store = house.store.clone();
    let log = house.log.clone();
    let error = house.outcome().unwrap_err().to_string();
    assert!(error.starts_with("the vision thread of exit ended: panicked"), "{error}");
    assert_eq!(store.last(EventKind::Fault).door.as_deref(), Some("exit"));
    assert_eq!(log.lines().iter().filter(|line| *line == "entry relay off").count(), 2);
}

#[test]
fn an_operator_says_which_door_where_there_are_several() {
    let house = two_doors();
    let several = "there are several doors: entry, exit; say which with --door NAME";
    for request in [
        Request::Unlock { door: None },
        Request::Lock { door: None },
        Request::HoldOpen { for_s: 9, door: None },
        Request::FaceOn { door: None },
        Request::EnrolLive { name: "Cora".into(), more: false, door: None },
    ] {
        assert_eq!(refused(house.ask(&request)), several);
    }
    let unknown = refused(house.ask(&Request::Unlock { door: Some("gate".into()) }));
    assert_eq!(unknown, "no door is called \"gate\"; there are: entry, exit");
    assert_eq!(house.ask(&Request::Unlock { door: Some("Exit".into()) }), Reply::Done);
    assert_eq!((state(&house, "entry"), state(&house, "exit")), ("locked".into(), "unlocked".into()));
    let (_, store, _) = house.close();
    assert_eq!(store.last(EventKind::Operator).door.as_deref(), Some("exit"));
    assert_eq!(store.count(EventKind::Operator), 1);
}

#[test]
fn failed_attempts_make_only_their_own_door_pause() {
    let house = two_doors();
    (10..15).for_each(|track| show(&house.stage, track, STRANGER));
    house.until_event(EventKind::Throttled);
    assert_eq!(house.store.last(EventKind::Throttled).door.as_deref(), Some("entry"));
    show(&house.exit, 1, ADA);
    house.until_event(EventKind::Grant);
    show(&house.stage, 1, BOB);
    until("Bob is refused", || house.store.last(EventKind::Refusal).person.is_some());
    let status = house.status();
    assert!(door(&status, "entry").throttle.is_some() && door(&status, "exit").throttle.is_none());
    assert_eq!(house.ask(&Request::FaceOn { door: Some("entry".into()) }), Reply::Done);
    assert_eq!(door(&house.status(), "entry").throttle, None);
    house.close();
}

#[test]
fn while_somebody_is_enrolled_at_one_door_the_other_decides() {
    let house = two_doors();
    let mut client = house.client();
    let request = Request::EnrolLive { name: "Cora".into(), more: false, door: Some("exit".into()) };
    let enrolling = std::thread::spawn(move || {
        let replies = client.stream(&request).unwrap();
        replies.map(Result::unwrap).last()
    });
    house.until_event(EventKind::EnrolmentBegan);
    show(&house.stage, 1, ADA);
    house.until_event(EventKind::Grant);
    let status = house.status();
    assert_eq!(
        (door(&status, "entry").mode.as_str(), door(&status, "exit").mode.as_str()),
        ("deciding", "enrolling Cora")
    );
    show(&house.exit, 2, STRANGER);
    assert!(matches!(enrolling.join().unwrap(), Some(Reply::Enrolled { .. })));
    let (_, store, _) = house.close();
    assert_eq!(store.last(EventKind::EnrolmentBegan).door.as_deref(), Some("exit"));
    assert_eq!(store.last(EventKind::Grant).door.as_deref(), Some("entry"));
}

#[test]
fn one_recording_that_ends_does_not_end_the_service_and_the_last_one_does() {
    let house = two_doors();
    film(&house.stage, &[]);
    house.stage.shots.send(Shot::End).unwrap();
    show(&house.exit, 1, ADA);
    house.until_event(EventKind::Grant);
    assert!(!house.running.is_finished());
    house.exit.shots.send(Shot::End).unwrap();
    house.clock.skip(Duration::from_secs(3));
    assert_eq!(house.outcome().unwrap(), Exit::RecordingOver);
}
