//! A test of the door with pictures: it never opens, everything is counted and written down, and it always ends.

use std::thread::JoinHandle;

use super::*;
use crate::access::{Live, Proof};
use crate::daemon::fakes::seen;
use crate::liveness::spoof::{Outcome, Report, Species};

/// A house in which no camera counts as lost when the clock is put forward.
fn house() -> House {
    House::open_with(Limits { camera_silent: Duration::MAX, ..limits() }, |_| {})
}

fn begin(house: &House) -> Client {
    let mut client = house.client();
    match client.request(&Request::SpoofBegin { door: None }).unwrap() {
        Reply::Testing { door, .. } => assert_eq!(door, "door"),
        other => panic!("{other:?}"),
    }
    client
}

/// Asks for a presentation from a thread of its own; gives the client back with the last reply.
fn present(mut client: Client, species: Species) -> JoinHandle<(Client, Reply)> {
    std::thread::spawn(move || {
        let request = Request::SpoofPresent { species, seconds: 10 };
        let last = client.stream(&request).unwrap().last().unwrap().unwrap();
        (client, last)
    })
}

impl House {
    /// Films Ada, as alive as this says.
    fn film_picture(&self, track: u64, live: f32) {
        let looked = self.looked();
        let mut face = seen(track, &ADA);
        face.proof = Proof::Asked(Live { score: live, needed: 0.4 });
        self.stage.shots.send(Shot::People(vec![face])).unwrap();
        until("vision took the frame", || self.looked() > looked);
    }

    /// A second with nobody in view, once the presentation has begun.
    fn clear(&self) {
        // The request reaches control before a frame that is filmed after it at the latest when it has told the clock.
        for _ in 0..6 {
            self.film(&[]);
            std::thread::yield_now();
            self.clock.skip(Duration::from_millis(400));
        }
    }

    /// Plays one presentation to the test of this client.
    fn play(&self, client: Client, species: Species, track: u64, live: f32) -> (Client, Outcome) {
        let presenting = present(client, species);
        while !presenting.is_finished() {
            self.clear();
            for _ in 0..4 {
                self.film_picture(track, live);
            }
        }
        match presenting.join().unwrap() {
            (client, Reply::Presented { judged }) => (client, judged.outcome),
            (_, other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_test_counts_opens_nothing_and_is_told_and_written_down() {
    let house = house();
    let client = begin(&house);
    let mode = house.at_door().mode;
    assert!(mode.starts_with("spoof test by uid ") && mode.ends_with("no face opens it"), "{mode}");
    let (client, outcome) = house.play(client, Species::Live, 1, 0.9);
    assert_eq!(outcome, Outcome::Accepted);
    let (client, outcome) = house.play(client, Species::Print, 2, 0.1);
    assert_eq!(outcome, Outcome::Picture);
    let (mut client, outcome) = house.play(client, Species::Live, 3, 0.9);
    assert_eq!(outcome, Outcome::Accepted, "nobody is suspected after the picture, nor was let in lately");
    let Reply::Tested { report, shown, event } = client.request(&Request::SpoofEnd).unwrap() else {
        panic!("not ended")
    };
    assert_eq!((report.species[&Species::Live].accepted, report.species[&Species::Print].picture), (2, 1));
    assert!(shown.text.contains("print 0 of 1 passed (≤ 97.5 %), phone: not shown"), "{}", shown.text);
    let door = house.at_door();
    assert_eq!((door.mode.as_str(), &door.photo_proof), ("deciding", &*shown));
    assert_eq!(house.store.count(EventKind::Grant) + house.store.count(EventKind::Refusal), 0);
    assert_eq!(house.store.count(EventKind::Presentation), 3);
    assert!(!house.log.has("relay on"));
    for kind in [EventKind::SpoofTestBegan, EventKind::SpoofTestEnded] {
        assert!(house.store.last(kind).actor.unwrap().starts_with("uid "));
    }
    let ended = house.store.last(EventKind::SpoofTestEnded);
    assert_eq!(serde_json::from_value::<Report>(ended.detail["report"].clone()).unwrap(), *report);
    assert_eq!((ended.detail["result"].as_str(), ended.door.as_deref()), (Some("done"), Some("door")));
    assert!(event.0 > 0);
    house.let_ada_in();
    house.close();
}

#[test]
fn what_is_shown_is_known_after_a_restart_and_not_under_other_settings() {
    let house = house();
    let client = begin(&house);
    let (mut client, _) = house.play(client, Species::Print, 1, 0.1);
    client.request(&Request::SpoofEnd).unwrap();
    let (_, store, _) = house.close();
    let ended = store.last(EventKind::SpoofTestEnded);
    let text = |change: fn(&mut Parts)| {
        let ended = ended.clone();
        let remembers = move |store: &mut FakeStore| {
            store.append(&ended, Stamp::now(&SystemClock)).unwrap();
        };
        let again = House::open_full(Shutdown::by_hand(), limits(), remembers, move |parts, _| change(parts));
        let text = again.at_door().photo_proof.text;
        again.close();
        text
    };
    assert!(text(|_| {}).starts_with("photo-proof: print 0 of 1 passed"));
    let other = text(|parts| parts.rule.frames_needed = 3);
    assert!(other.contains("not shown; on ") && other.contains("(looks that must agree)"), "{other}");
}

#[test]
fn a_test_ends_with_its_client() {
    let house = house();
    drop(begin(&house));
    house.until_event(EventKind::SpoofTestEnded);
    assert_eq!(house.store.last(EventKind::SpoofTestEnded).detail["result"], "the client hung up");
    until("the door decides", || house.at_door().mode == "deciding");
    assert!(house.at_door().photo_proof.text.ends_with("not shown"), "nothing was held up");
    house.let_ada_in();
    house.close();
}

#[test]
fn a_test_that_is_forgotten_ends_by_itself() {
    let house = house();
    let mut client = begin(&house);
    house.clock.skip(Duration::from_secs(299));
    house.film(&[(1, ADA)]);
    assert_eq!(house.store.count(EventKind::SpoofTestEnded), 0);
    house.clock.skip(Duration::from_secs(2));
    house.until_event(EventKind::SpoofTestEnded);
    assert_eq!(house.store.last(EventKind::SpoofTestEnded).detail["result"], "the time is up");
    let late = client.request(&Request::SpoofPresent { species: Species::Print, seconds: 10 }).unwrap();
    assert!(
        matches!(&late, Reply::Error { message } if message.contains("the time for this test is up")),
        "{late:?}"
    );
    house.close();
}

#[test]
fn a_face_that_stays_in_view_is_named() {
    let house = house();
    let client = begin(&house);
    let presenting = present(client, Species::Print);
    while !presenting.is_finished() {
        house.film_picture(1, 0.9);
        house.clock.skip(Duration::from_secs(5));
    }
    let (_, last) = presenting.join().unwrap();
    assert!(
        matches!(&last, Reply::Error { message } if message.contains("a face stays in view")),
        "{last:?}"
    );
    assert!(!house.log.has("relay on"));
    house.close();
}

#[test]
fn nothing_else_is_done_at_a_door_that_is_tested_and_nobody_tests_it_twice() {
    let house = house();
    let refused = |request: &Request| match house.ask(request) {
        Reply::Error { message } => message,
        other => panic!("{other:?}"),
    };
    let present = Request::SpoofPresent { species: Species::Print, seconds: 10 };
    assert!(refused(&present).contains("no test of a door has been begun"));
    assert!(refused(&Request::SpoofEnd).contains("no test of a door has been begun"));
    assert!(refused(&Request::SpoofBegin { door: Some("garage".into()) }).contains("garage"));
    let mut client = begin(&house);
    assert!(refused(&Request::SpoofBegin { door: None }).contains("is being tested by uid "));
    assert!(refused(&present).contains("no test"), "another client's test is not this one's");
    let enrol = Request::EnrolLive { name: "Cora".into(), more: false, door: None };
    assert!(refused(&enrol).contains("being tested"));
    let pin = serde_json::from_value(serde_json::json!("123456")).unwrap();
    let typed = house.ask(&Request::TypePin { person: None, pin, door: None });
    assert_eq!(typed, Reply::Typed { answer: crate::daemon::protocol::PinAnswer::Busy });
    let too_long = Request::SpoofPresent { species: Species::Print, seconds: 3000 };
    assert!(
        matches!(client.request(&too_long).unwrap(), Reply::Error { message } if message.contains("2 to 300 s"))
    );
    // By hand the door opens as ever.
    assert_eq!(house.ask(&Request::Unlock { door: None }), Reply::Done);
    until("the door is unlocked", || house.log.has("append unlocked"));
    // Whom it is held against must not change meanwhile.
    assert_eq!(house.ask(&Request::Rename { name: "Bob".into(), to: "Rob".into() }), Reply::Done);
    house.until_event(EventKind::SpoofTestEnded);
    assert_eq!(house.store.last(EventKind::SpoofTestEnded).detail["result"], "the people changed");
    house.close();
}
