//! Two doors in one daemon: an entry and an exit, each with its camera and its relay.

use super::hardware::{FakeInputs, Levels};
use super::*;
use crate::door::Sensor;

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
    let lines: Vec<String> = log.lines().into_iter().skip_while(|line| line != "append unlocked").collect();
    let at = |wanted: &str| lines.iter().position(|line| line == wanted).unwrap();
    assert!(at("entry relay off") < at("append fault"), "{lines:?}");
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

fn change(house: &House, change: crate::policy::Change) {
    assert_eq!(house.ask(&Request::ChangePolicy { change }), Reply::Done);
}

/// Shows Ada at a door until there is one more of this kind, and gives it.
fn ada_at(house: &House, stage: &Stage, kind: EventKind) -> crate::journal::Event {
    // Whoever was decided on just now is left alone for ten seconds.
    house.clock.skip(Duration::from_secs(11));
    let before = house.store.count(kind);
    show(stage, 1, ADA);
    until(&format!("{kind:?} of Ada"), || house.store.count(kind) > before);
    house.store.last(kind)
}

fn why(refusal: &crate::journal::Event) -> &str {
    refusal.detail["why"].as_str().unwrap()
}

#[test]
fn whoever_is_inside_leaves_before_coming_in_again_or_is_forgiven() {
    use crate::policy::{Change, Direction};
    let house = two_doors();
    change(&house, Change::Direction(Direction::Both));
    ada_at(&house, &house.stage, EventKind::Grant);
    let again = ada_at(&house, &house.stage, EventKind::Refusal);
    assert!(why(&again).starts_with("anti-passback: is inside since"), "{}", why(&again));
    ada_at(&house, &house.exit, EventKind::Grant);
    let again = ada_at(&house, &house.exit, EventKind::Refusal);
    assert!(why(&again).starts_with("anti-passback: left"), "{}", why(&again));
    ada_at(&house, &house.stage, EventKind::Grant);
    change(&house, Change::Forgive(Some("Ada".into())));
    ada_at(&house, &house.stage, EventKind::Grant);
    let refused = refused(house.ask(&Request::ChangePolicy { change: Change::Forgive(Some("Zoe".into())) }));
    assert!(refused.contains("nobody is enrolled as"), "{refused}");
    house.close();
}

#[test]
fn the_time_between_two_entries_does_not_keep_anybody_inside_and_ends_with_leaving() {
    use crate::policy::Change;
    let house = two_doors();
    change(&house, Change::Passback(3600));
    ada_at(&house, &house.stage, EventKind::Grant);
    let again = ada_at(&house, &house.stage, EventKind::Refusal);
    assert!(why(&again).starts_with("anti-passback: came in"), "{}", why(&again));
    ada_at(&house, &house.exit, EventKind::Grant);
    ada_at(&house, &house.stage, EventKind::Grant);
    ada_at(&house, &house.stage, EventKind::Refusal);
    change(&house, Change::Forgive(None));
    ada_at(&house, &house.stage, EventKind::Grant);
    house.close();
}

/// Two doors with a contact each, both closed.
fn two_doors_with_contacts() -> (House, [Levels; 2]) {
    let levels = [Levels::default(), Levels::default()];
    levels.iter().for_each(|levels| levels.set(Sensor::Contact, false));
    let wired = levels.clone();
    let house = House::open_two(
        limits(),
        |_| {},
        |parts, clock| {
            for (door, levels) in parts.doors.iter_mut().zip(wired) {
                let clock = clock.clone();
                door.open_inputs = Some(Box::new(move || {
                    let (levels, clock) = (levels.clone(), clock.clone());
                    Ok(Box::new(FakeInputs { levels, clock }))
                }));
            }
        },
    );
    until("the contacts are read", || house.status().doors.iter().all(|door| door.leaf.is_some()));
    (house, levels)
}

#[test]
fn who_did_not_open_the_door_has_not_gone_through() {
    use crate::policy::{Change, Direction};
    let (house, [entry, exit]) = two_doors_with_contacts();
    let opened_and_closed = |levels: &Levels| {
        let before = house.store.count(EventKind::DoorClosed);
        levels.set(Sensor::Contact, true);
        until("it is open", || house.status().doors.iter().any(|door| door.leaf.as_deref() == Some("open")));
        levels.set(Sensor::Contact, false);
        until("it is closed", || house.store.count(EventKind::DoorClosed) > before);
    };
    change(&house, Change::Direction(Direction::Both));
    // She is let in, and does not open the door in the three seconds.
    ada_at(&house, &house.stage, EventKind::Grant);
    house.clock.skip(Duration::from_secs(3));
    house.until_event(EventKind::NotPassed);
    let event = house.store.last(EventKind::NotPassed);
    assert_eq!((event.door.as_deref(), event.person.unwrap().name.as_str()), (Some("entry"), "Ada"));
    // So she may try again, and now she goes through.
    ada_at(&house, &house.stage, EventKind::Grant);
    opened_and_closed(&entry);
    let again = ada_at(&house, &house.stage, EventKind::Refusal);
    assert!(why(&again).starts_with("anti-passback: is inside"), "{}", why(&again));
    // The same on the way out.
    ada_at(&house, &house.exit, EventKind::Grant);
    house.clock.skip(Duration::from_secs(3));
    until("she stayed", || house.store.count(EventKind::NotPassed) == 2);
    ada_at(&house, &house.exit, EventKind::Grant);
    opened_and_closed(&exit);
    ada_at(&house, &house.exit, EventKind::Refusal);
    ada_at(&house, &house.stage, EventKind::Grant);
    house.close();
}

#[test]
fn a_passage_that_is_cut_off_leaves_people_inside() {
    use crate::policy::{Change, Direction};
    // In: it is put down with the grant, before the door opens. Out: not before it has.
    for (side, name) in [(Side::In, "entry"), (Side::Out, "exit")] {
        let (house, _contacts) = two_doors_with_contacts();
        change(&house, Change::Direction(Direction::Both));
        let stage = if side == Side::In { &house.stage } else { &house.exit };
        ada_at(&house, stage, EventKind::Grant);
        until("it is unlocked", || house.log.has(&format!("{name} relay on")));
        let book = house.store.rule_book().unwrap();
        let ada = book.people.iter().find(|row| row.name == "Ada").unwrap();
        let inside = ada.passage("inside").map(|seen| seen.inside);
        assert_eq!(inside, if side == Side::In { Some(true) } else { None }, "{name}");
        house.close();
    }
}

#[test]
fn rules_may_name_doors_that_are_there_and_no_others() {
    use crate::policy::{Change, RuleId};
    let house = two_doors();
    let rule = |json: &str| Change::AddRule(serde_json::from_str(json).unwrap());
    let gate = rule(r#"{"effect":"allow","who":"everybody","doors":["gate"]}"#);
    let message = refused(house.ask(&Request::ChangePolicy { change: gate }));
    assert_eq!(message, "no door is called \"gate\"; there are: entry, exit");
    change(&house, Change::RemoveRule(RuleId(1)));
    let refusal = ada_at(&house, &house.stage, EventKind::Refusal);
    assert_eq!(why(&refusal), "no rule lets them in now");
    let grant = ada_at(&house, &house.exit, EventKind::Grant);
    assert_eq!(grant.detail["by"], "the way out: whoever is enrolled may leave");
    change(&house, rule(r#"{"effect":"hold-open","doors":["exit"]}"#));
    until("the exit is held open", || door(&house.status(), "exit").held_open);
    assert!(!door(&house.status(), "entry").held_open);
    assert_eq!(house.store.last(EventKind::OpenHours).door.as_deref(), Some("exit"));
    house.close();
}
