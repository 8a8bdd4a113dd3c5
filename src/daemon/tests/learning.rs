//! The door learns a face of somebody it let in, or does not, and forgets it again.

use serde_json::json;

use super::*;
use crate::access::{Learning, Live, Proof};
use crate::daemon::analysis::SeenFace;
use crate::gallery::TemplateSource;

/// Ada, seen a little otherwise than she was enrolled, in a direction that is nobody's.
const ADA_TODAY: [f32; 3] = [0.8, 0.0, 0.6];

fn house(learning: Option<Learning>) -> House {
    House::open_full(Shutdown::by_hand(), limits(), |_| {}, |parts, _| parts.learning = learning)
}

fn guarded() -> Option<Learning> {
    Some(Learning { most: 3, above: 0.15 })
}

/// Films so many frames of one face that looks so much alive.
fn film(house: &House, frames: usize, face: [f32; 3], alive: f32) {
    for _ in 0..frames {
        let looked = house.looked();
        let live = Live { score: alive, needed: 0.5 };
        let face = SeenFace { proof: Proof::Asked(live), ..seen(1, &face) };
        house.stage.shots.send(Shot::People(vec![face])).unwrap();
        until("vision took the frame", || house.looked() > looked);
    }
}

fn learnt(house: &House) -> usize {
    let ada = house.store.person("Ada").unwrap();
    ada.templates.iter().filter(|t| t.source == TemplateSource::Learnt).count()
}

#[test]
fn a_face_that_was_let_in_is_learnt_once_and_forgotten_with_one_command() {
    let house = house(guarded());
    film(&house, 2, ADA_TODAY, 0.9);
    house.until_event(EventKind::Learnt);
    until("she has a sample more", || learnt(&house) == 1);
    let grant = house.store.events().iter().position(|event| event.kind == EventKind::Grant).unwrap();
    let event = house.store.last(EventKind::Learnt);
    assert_eq!(event.person.unwrap().name, "Ada");
    assert_eq!(event.detail["grant"], json!(grant + 1), "the number of the grant that it came from");
    assert!((event.detail["score"].as_f64().unwrap() - 0.8).abs() < 1e-6);
    let lines = house.log.lines();
    let at = |line: &str| lines.iter().position(|l| l == line).unwrap();
    assert!(at("append unlocked") < at("append learnt"), "the door first: {lines:?}");

    // Ten seconds later the same face teaches nothing new.
    house.clock.skip(Duration::from_secs(11));
    film(&house, 3, ADA_TODAY, 0.9);
    until("she is let in again", || house.store.count(EventKind::Grant) == 2);

    assert_eq!(
        house.ask(&Request::ForgetLearnt { name: Some("Ada".into()) }),
        Reply::Forgotten { samples: 1 }
    );
    assert_eq!((learnt(&house), house.store.count(EventKind::LearntForgotten)), (0, 1));
    let (_, store, _) = house.close();
    assert_eq!(store.count(EventKind::Learnt), 1);
}

#[test]
fn nothing_is_learnt_by_default_nor_from_whom_the_door_did_not_let_in_nor_from_a_picture() {
    let off = house(None);
    film(&off, 2, ADA_TODAY, 0.9);
    off.until_event(EventKind::Unlocked);
    let (_, store, _) = off.close();
    assert_eq!(store.count(EventKind::Learnt), 0, "off");

    let picture = house(guarded());
    film(&picture, 4, ADA_TODAY, 0.1);
    picture.until_event(EventKind::Refusal);
    assert_eq!(picture.store.last(EventKind::Refusal).detail["reason"], "not_live");
    let (_, store, _) = picture.close();
    assert_eq!((store.count(EventKind::Grant), store.count(EventKind::Learnt)), (0, 0), "a picture");

    let stranger = house(guarded());
    film(&stranger, 4, [0.4, 0.0, 0.9], 0.9);
    stranger.until_event(EventKind::Refusal);
    let (_, store, _) = stranger.close();
    assert_eq!((store.count(EventKind::Grant), store.count(EventKind::Learnt)), (0, 0), "not let in");

    let unchecked = house(guarded());
    unchecked.film(&[(1, ADA_TODAY)]);
    unchecked.film(&[(1, ADA_TODAY)]);
    unchecked.until_event(EventKind::Unlocked);
    let (_, store, _) = unchecked.close();
    assert_eq!(store.count(EventKind::Learnt), 0, "no photo check");
}
