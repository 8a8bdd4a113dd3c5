//! Enrolment at the door's camera.

use std::sync::mpsc::{Receiver, channel};

use super::*;

const CORA: [f32; 3] = [0.6, 0.0, 0.8];

/// Asks for an enrolment from a thread of its own; its replies come out here.
fn enrol(house: &House, name: &str, more: bool) -> Receiver<Reply> {
    let (mut client, (to, replies)) = (house.client(), channel());
    let request = Request::EnrolLive { name: name.into(), more, door: None };
    std::thread::spawn(move || {
        for reply in client.stream(&request).unwrap() {
            to.send(reply.unwrap()).unwrap();
        }
    });
    replies
}

fn begin(house: &House, name: &str) -> Receiver<Reply> {
    let replies = enrol(house, name, false);
    until("the enrolment has begun", || house.log.has("append enrolment_began"));
    replies
}

fn next(replies: &Receiver<Reply>) -> Reply {
    replies.recv_timeout(Duration::from_secs(10)).expect("a reply")
}

fn progress(replies: &Receiver<Reply>) -> (usize, String) {
    match next(replies) {
        Reply::Progress(progress) => (progress.taken, progress.hint),
        other => panic!("{other:?}"),
    }
}

fn error(reply: Reply) -> String {
    match reply {
        Reply::Error { message } => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn samples_come_together_and_the_person_can_enter() {
    let house = House::open();
    let replies = begin(&house, "Cora");
    assert_eq!(house.at_door().mode, "enrolling Cora");
    house.film(&[]);
    assert_eq!(progress(&replies), (0, "nobody in view".into()));
    house.film(&[(1, CORA), (2, BOB)]);
    assert_eq!(progress(&replies), (0, "more than one face in view".into()));
    house.film(&[(1, CORA)]);
    assert_eq!(progress(&replies), (1, String::new()));
    house.film(&[(1, CORA)]);
    assert_eq!(progress(&replies), (2, String::new()));
    let Reply::Enrolled { person, lookalikes } = next(&replies) else { panic!("not enrolled") };
    assert_eq!((person.name.as_str(), person.templates.len()), ("Cora", 2));
    let others: Vec<_> = lookalikes.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(others, ["Ada"], "at .6 she is like Ada, whose limit is .5 less .1");
    assert_eq!(house.at_door().mode, "deciding");
    assert_eq!(house.status().people, 3);
    let ended = house.store.last(EventKind::EnrolmentEnded);
    assert_eq!(ended.detail["result"], "enrolled");
    assert!(ended.actor.unwrap().starts_with("uid "));
    house.film(&[(1, CORA)]);
    house.film(&[(1, CORA)]);
    house.until_event(EventKind::Grant);
    assert_eq!(house.store.last(EventKind::Grant).person.unwrap().name, "Cora");
    house.close();
}

#[test]
fn the_door_decides_nothing_meanwhile() {
    let house = House::open();
    house.film(&[(1, ADA)]);
    let replies = begin(&house, "Cora");
    (0..5).for_each(|_| house.film(&[(1, ADA), (2, STRANGER)]));
    assert_eq!(progress(&replies), (0, "more than one face in view".into()));
    let (_, store, log) = house.close();
    assert_eq!((store.count(EventKind::Grant), store.count(EventKind::Refusal)), (0, 0));
    assert!(!log.has("relay on"));
    assert_eq!(store.last(EventKind::EnrolmentEnded).detail["result"], "the daemon stopped");
}

#[test]
fn hanging_up_stores_nothing_and_the_door_decides_again() {
    let house = House::open();
    let mut client = house.client();
    let mut replies =
        client.stream(&Request::EnrolLive { name: "Cora".into(), more: false, door: None }).unwrap();
    until("the enrolment has begun", || house.log.has("append enrolment_began"));
    house.film(&[(1, CORA)]);
    assert!(matches!(replies.next(), Some(Ok(Reply::Progress(_)))));
    drop(client);
    house.until_event(EventKind::EnrolmentEnded);
    assert_eq!(house.store.last(EventKind::EnrolmentEnded).detail["result"], "the client hung up");
    assert!(house.store.person("Cora").is_err());
    house.let_ada_in();
    house.close();
}

#[test]
fn time_runs_out_with_nothing_stored() {
    let house = House::open();
    let replies = begin(&house, "Cora");
    house.film(&[(1, CORA)]);
    assert_eq!(progress(&replies).0, 1);
    house.clock.skip(Duration::from_secs(60));
    let message = error(next(&replies));
    assert!(message.contains("only 1 of 2 good samples"), "{message}");
    assert!(house.store.person("Cora").is_err());
    assert_eq!(house.store.last(EventKind::EnrolmentEnded).detail["result"], "timed out");
    house.close();
}

#[test]
fn a_recording_that_ends_ends_the_enrolment() {
    let house = House::open();
    let replies = begin(&house, "Cora");
    house.stage.shots.send(Shot::End).unwrap();
    assert!(error(next(&replies)).contains("the recording ended"));
    assert_eq!(house.outcome().unwrap(), Exit::RecordingOver);
}

#[test]
fn what_cannot_be_enrolled_is_refused_at_once() {
    let house = House::open();
    assert!(error(next(&enrol(&house, "Ada", false))).contains("already enrolled"));
    assert!(error(next(&enrol(&house, "Zoe", true))).contains("nobody is enrolled"));
    assert_eq!(house.store.count(EventKind::EnrolmentBegan), 0);
    let _under_way = begin(&house, "Cora");
    assert!(error(next(&enrol(&house, "Dora", false))).contains("\"Cora\" is being enrolled"));
    house.close();
}

#[test]
fn more_samples_of_a_person_can_be_taken() {
    let house = House::open();
    let replies = enrol(&house, "Bob", true);
    until("the enrolment has begun", || house.log.has("append enrolment_began"));
    house.film(&[(1, BOB)]);
    house.film(&[(1, BOB)]);
    assert_eq!((progress(&replies).0, progress(&replies).0), (1, 2));
    let Reply::Enrolled { person, lookalikes } = next(&replies) else { panic!("not enrolled") };
    assert_eq!((person.name.as_str(), lookalikes.len()), ("Bob", 0));
    assert_eq!(house.store.count(EventKind::EnrolMore), 1);
    house.close();
}
