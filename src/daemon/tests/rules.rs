//! The rule book at work: each feature once, with what it leaves in the journal.

use super::hardware::wired_house;
use super::*;
use crate::clock::Trust;
use crate::door::Sensor;
use crate::policy::{Change, Limit, PersonChange, Rule, RuleId};

fn rule(json: &str) -> Change {
    Change::AddRule(serde_json::from_str::<Rule>(json).unwrap())
}

fn change(house: &House, change: Change) {
    assert_eq!(house.ask(&Request::ChangePolicy { change }), Reply::Done);
}

/// Shows Ada long enough for a decision and waits until there is one more of this kind.
fn ada_comes(house: &House, track: u64, kind: EventKind) {
    // Whoever was decided on just now is left alone for ten seconds.
    house.clock.skip(Duration::from_secs(11));
    let before = house.store.count(kind);
    house.film(&[(track, ADA)]);
    house.film(&[(track, ADA)]);
    until(&format!("{kind:?} of Ada"), || house.store.count(kind) > before);
}

fn why(house: &House) -> String {
    let refusal = house.store.last(EventKind::Refusal);
    assert_eq!((refusal.person.unwrap().name.as_str(), &refusal.detail["reason"]), ("Ada", &"policy".into()));
    refusal.detail["why"].as_str().unwrap().to_owned()
}

#[test]
fn a_grant_names_the_rule_that_admits_and_a_refusal_the_one_that_does_not() {
    let house = House::open();
    ada_comes(&house, 1, EventKind::Grant);
    assert_eq!(house.store.last(EventKind::Grant).detail["by"], "rule 1: allow everybody always");
    change(&house, rule(r#"{"effect":"deny","who":"everybody"}"#));
    ada_comes(&house, 2, EventKind::Refusal);
    assert_eq!(why(&house), "rule 2: deny everybody always");
    change(&house, Change::RemoveRule(RuleId(2)));
    change(&house, Change::RemoveRule(RuleId(1)));
    ada_comes(&house, 3, EventKind::Refusal);
    assert_eq!(why(&house), "no rule lets them in now");
    let (_, store, _) = house.close();
    assert_eq!(store.count(EventKind::Grant), 1);
}

#[test]
fn lockdown_locks_at_once_and_beats_every_grant_but_not_the_exit_button() {
    let (house, levels, _) = wired_house();
    ada_comes(&house, 1, EventKind::Unlocked);
    change(&house, Change::Lockdown(true));
    until("the door is locked", || house.at_door().state == "locked");
    assert!(house.status().lockdown);
    ada_comes(&house, 2, EventKind::Refusal);
    assert_eq!(why(&house), "lockdown");
    assert!(
        matches!(house.ask(&Request::HoldOpen { for_s: 9, door: None }), Reply::Error { message } if message.contains("lockdown"))
    );
    levels.set(Sensor::Rex, true);
    until("the exit button opens", || house.at_door().state == "unlocked");
    levels.set(Sensor::Rex, false);
    change(&house, Change::Lockdown(false));
    assert!(!house.status().lockdown);
    ada_comes(&house, 3, EventKind::Grant);
    house.close();
}

#[test]
fn the_panic_button_begins_lockdown_and_its_release_ends_nothing() {
    let (house, levels, _) = wired_house();
    levels.set(Sensor::Panic, true);
    house.until_event(EventKind::Lockdown);
    assert_eq!(house.store.last(EventKind::Lockdown).actor.as_deref(), Some("panic button"));
    levels.set(Sensor::Panic, false);
    ada_comes(&house, 1, EventKind::Refusal);
    assert_eq!(why(&house), "lockdown");
    let (_, store, _) = house.close();
    assert_eq!((store.count(EventKind::Lockdown), store.count(EventKind::LockdownOver)), (1, 0));
}

#[test]
fn open_hours_are_written_down_first_and_end_with_their_rule() {
    let house = House::open();
    change(&house, rule(r#"{"effect":"hold-open"}"#));
    house.until_event(EventKind::Unlocked);
    assert!(house.at_door().held_open);
    let lines = house.log.lines();
    let at = |line: &str| lines.iter().position(|l| l == line).unwrap();
    assert!(at("append open_hours") < at("relay on"));
    assert_eq!(house.store.last(EventKind::OpenHours).detail["what"], "rule 2: hold open always");
    // An operator's word counts until the next window.
    assert_eq!(house.ask(&Request::Lock { door: None }), Reply::Done);
    house.clock.skip(Duration::from_secs(60));
    house.film(&[]);
    assert_eq!((house.at_door().state.as_str(), house.store.count(EventKind::OpenHours)), ("locked", 1));
    change(&house, Change::RemoveRule(RuleId(2)));
    change(&house, rule(r#"{"effect":"hold-open"}"#));
    until("it is open again", || house.at_door().held_open);
    let held = house.store.last(EventKind::OpenHours).detail["what"].as_str().unwrap().to_owned();
    let number: i64 = held.split(&[' ', ':'][..]).nth(1).unwrap().parse().unwrap();
    change(&house, Change::RemoveRule(RuleId(number)));
    until("it is locked", || house.at_door().state == "locked");
    assert_eq!(house.store.last(EventKind::Locked).detail["why"], "locked by the end of open hours");
    house.close();
}

#[test]
fn failed_attempts_make_the_door_pause_and_whoever_is_let_in_ends_it() {
    let house = House::open();
    for track in 10..15 {
        (0..3).for_each(|_| house.film(&[(track, STRANGER)]));
        until("the stranger is refused", || house.store.count(EventKind::Refusal) as u64 == track - 9);
    }
    house.until_event(EventKind::Throttled);
    assert_eq!(house.store.last(EventKind::Throttled).detail["for_s"], 30);
    ada_comes(&house, 1, EventKind::Refusal);
    assert!(why(&house).starts_with("paused for "), "{}", why(&house));
    assert!(house.at_door().throttle.unwrap().contains("no face opens the door for"));
    house.clock.skip(Duration::from_secs(30));
    ada_comes(&house, 2, EventKind::Grant);
    assert_eq!(house.at_door().throttle, None);
    house.close();
}

#[test]
fn far_too_many_failed_attempts_switch_faces_off_until_an_operator_says_so() {
    let house = House::open_full(
        Shutdown::by_hand(),
        limits(),
        |_| {},
        |parts, _| parts.patience = crate::policy::Patience { attempts: 0, face_off_after: 2 },
    );
    for track in 10..12 {
        (0..3).for_each(|_| house.film(&[(track, STRANGER)]));
    }
    house.until_event(EventKind::FaceOff);
    ada_comes(&house, 1, EventKind::Refusal);
    assert!(why(&house).contains("accessd door face-on"), "{}", why(&house));
    assert_eq!(house.ask(&Request::FaceOn { door: None }), Reply::Done);
    assert!(house.store.last(EventKind::FaceOn).actor.is_some());
    ada_comes(&house, 2, EventKind::Grant);
    house.close();
}

#[test]
fn a_visitor_comes_in_once_and_nobody_twice_within_the_time() {
    let house = House::open();
    let once = PersonChange { entries: Some(Limit::At(1)), ..PersonChange::default() };
    change(&house, Change::Person { name: "Ada".into(), change: once });
    ada_comes(&house, 1, EventKind::Grant);
    ada_comes(&house, 2, EventKind::Refusal);
    assert_eq!(why(&house), "no entries left");
    let any = PersonChange { entries: Some(Limit::None), ..PersonChange::default() };
    change(&house, Change::Person { name: "Ada".into(), change: any });
    change(&house, Change::Passback(3600));
    ada_comes(&house, 3, EventKind::Refusal);
    assert!(why(&house).starts_with("anti-passback: came in "), "{}", why(&house));
    house.clock.skip(Duration::from_secs(3600));
    ada_comes(&house, 4, EventKind::Grant);
    house.close();
}

#[test]
fn a_clock_that_is_not_trusted_is_said_and_what_is_limited_in_time_refuses() {
    let house =
        House::open_full(Shutdown::by_hand(), limits(), |_| {}, |parts, _| parts.trust = Trust::Never);
    until("it is said", || !house.status().clock_trusted);
    ada_comes(&house, 1, EventKind::Grant);
    change(&house, Change::RemoveRule(RuleId(1)));
    change(&house, rule(r#"{"effect":"allow","from":"00:00","until":"23:59"}"#));
    ada_comes(&house, 2, EventKind::Refusal);
    assert_eq!(why(&house), "the clock is not trusted, and a limit on time applies");
    house.close();
}

#[test]
fn whoever_was_removed_a_moment_ago_is_not_let_in() {
    let house = House::open();
    house.film(&[(1, ADA)]);
    assert_eq!(house.ask(&Request::Remove { name: "Ada".into() }), Reply::Done);
    house.film(&[(1, ADA)]);
    house.film(&[(1, ADA)]);
    until("the frames were decided on", || house.at_door().latency_ms.is_some());
    let (_, store, log) = house.close();
    assert_eq!(store.count(EventKind::Grant), 0);
    assert!(!log.has("relay on"));
}
