//! The challenge at the door: who is recognised is told what to do, and the door opens when it is done and not before.

use std::time::Duration;

use super::*;
use crate::liveness::challenge::{Dice, Terms};

/// A door that draws these: 0 for the left, 1 for the right.
fn house(draws: &'static [u64]) -> House {
    let wire = move |parts: &mut Parts, _| {
        let terms = Terms { steps: draws.len(), each: Duration::from_secs(6), blink: false };
        parts.rule.demands.challenge = Some(terms);
        let mut draws = draws.iter().copied();
        parts.doors[0].dice = Some(Dice::new(move || draws.next()));
    };
    House::open_full(Shutdown::by_hand(), limits(), |_| {}, wire)
}

impl House {
    /// Films Ada with her head turned.
    fn film_ada(&self, yaw_deg: f32) {
        let looked = self.looked();
        let mut face = seen(1, &ADA);
        face.quality.yaw_deg = yaw_deg;
        self.stage.shots.send(Shot::People(vec![face])).unwrap();
        until("vision took the frame", || self.looked() > looked);
        until("control has decided", || self.traced().len() as u64 >= self.looked());
    }

    fn told(&self) -> Vec<String> {
        let told = self.store.events().into_iter().filter(|event| event.kind == EventKind::Challenge);
        told.map(|event| event.detail["what"].as_str().unwrap().to_owned()).collect()
    }
}

#[test]
fn the_door_opens_when_what_was_drawn_is_done_and_not_before() {
    let house = house(&[0, 1]);
    for yaw in [0.0; 5] {
        house.film_ada(yaw);
    }
    let left = "turn your head to the left";
    assert_eq!(house.told(), ["look at the camera", left]);
    assert_eq!(house.at_door().told.as_deref(), Some(left));
    for yaw in [30.0, 30.0, 0.0, 0.0, -30.0, -30.0] {
        assert_eq!(house.store.count(EventKind::Grant), 0);
        house.film_ada(yaw);
    }
    let right = "turn your head to the right";
    assert_eq!(house.told(), ["look at the camera", left, "look at the camera", right, "thank you"]);
    house.film_ada(0.0);
    until("the door is unlocked", || house.log.has("append unlocked"));
    assert_eq!(house.at_door().told, None);
    house.close();
}

#[test]
fn the_wrong_answer_is_the_last_word_and_counts_as_a_failed_attempt() {
    let house = house(&[0]);
    for yaw in [0.0, 0.0, 0.0, 0.0, -30.0, -30.0, 0.0, 0.0, 30.0, 30.0, 0.0, 0.0] {
        house.film_ada(yaw);
    }
    let refusal = house.store.last(EventKind::Refusal);
    assert_eq!(refusal.detail["reason"], "challenge", "{refusal:?}");
    let (_, store, log) = house.close();
    assert_eq!((store.count(EventKind::Grant), store.count(EventKind::Refusal)), (0, 1));
    assert!(!log.has("relay on"), "{:?}", log.lines());
}
