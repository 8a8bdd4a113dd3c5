//! What is kept of those who come by, and what another setting would have made of it, through the daemon.

use super::*;
use crate::access::RefusalReason;
use crate::gallery::PersonId;
use crate::journal::replay::{Keep, Outcome, PastAttempt, Replayed, Then};
use crate::store::Recollection;

/// Nobody by the threshold in force (0.5), Ada by a lower one.
const NEARLY_ADA: [f32; 3] = [0.45, 0.0, 0.893];

fn kept(house: &House) -> Vec<PastAttempt> {
    house.store.recall(&crate::daemon::fakes::model()).unwrap()
}

fn keeping(keep: Keep) -> House {
    House::open_full(Shutdown::by_hand(), limits(), |_| {}, move |parts, _| parts.keep = keep)
}

/// Shows somebody often enough for a decision, and waits until control has seen all of it: what it had not seen would be too old
/// once the clock is put forward.
fn pass(house: &House, track: u64, face: [f32; 3]) {
    for _ in 0..3 {
        let decided = house.traced().len();
        house.film(&[(track, face)]);
        until("the frame is decided on", || house.traced().len() > decided);
    }
}

/// Whoever was there is gone for good.
fn leave(house: &House) {
    house.film(&[]);
    house.clock.skip(Duration::from_secs(11));
    house.film(&[]);
}

fn replay(house: &House, threshold: f32) -> Replayed {
    let request = Request::Replay { far: None, threshold: Some(threshold), model: None };
    match house.ask(&request) {
        Reply::Replayed { replayed } => *replayed,
        other => panic!("{other:?}"),
    }
}

#[test]
fn attempts_are_kept_with_their_records_and_weighed_again_over_the_socket() {
    let house = keeping(Keep::Everybody);
    pass(&house, 1, ADA);
    house.until_event(EventKind::Unlocked);
    leave(&house);
    pass(&house, 2, NEARLY_ADA);
    house.until_event(EventKind::Refusal);
    leave(&house);
    until("both are kept", || kept(&house).len() == 2);
    let all = kept(&house);
    let events = house.store.events();
    let of = |n: usize| events[all[n].decisions[0].event.unwrap().0 as usize - 1].kind;
    assert_eq!((of(0), of(1)), (EventKind::Grant, EventKind::Refusal));
    assert_eq!(all[0].decisions[0].then, Then::LetIn(PersonId(1)));
    assert_eq!(all[1].decisions[0].then, Then::Refused(RefusalReason::Unknown));
    assert_eq!((all[0].face.compared(), all[0].door.as_str()), (3, "door"));
    assert!(all[0].face.looks.iter().all(|look| look.decided >= look.captured));

    assert_eq!(replay(&house, 0.5).differences, [], "the setting in force decides as it did");
    let looser = replay(&house, 0.4);
    let told: Vec<_> = looser.differences.iter().map(|d| (d.outcome, d.would_be.as_deref())).collect();
    assert_eq!(told, [(Outcome::Granted, Some("Ada"))]);
    assert_eq!(looser.differences[0].event, all[1].decisions[0].event);
    let bad = house.ask(&Request::Replay { far: Some(0.5), threshold: None, model: None });
    assert!(matches!(bad, Reply::Error { message } if message.contains("a share from")));
    let other =
        house.ask(&Request::Replay { far: None, threshold: Some(0.4), model: Some("other@1".into()) });
    assert!(matches!(other, Reply::Error { message } if message.contains("no attempts of other@1")));
    house.close();
}

#[test]
fn nobody_s_are_kept_unless_the_config_says_so() {
    for (keep, how_many) in [(Keep::Nobody, 0), (Keep::Recognised, 1)] {
        let house = keeping(keep);
        pass(&house, 1, ADA);
        house.until_event(EventKind::Unlocked);
        pass(&house, 2, STRANGER);
        house.until_event(EventKind::Refusal);
        leave(&house);
        let (_, store, _) = house.close();
        let kept = store.recall(&crate::daemon::fakes::model()).unwrap();
        assert_eq!(kept.len(), how_many, "{keep:?}");
        assert!(kept.iter().all(|kept| kept.recognition().is_some()));
    }
}

#[test]
fn what_is_in_the_air_when_somebody_is_removed_is_not_kept() {
    let house = keeping(Keep::Everybody);
    pass(&house, 1, ADA);
    house.until_event(EventKind::Unlocked);
    assert_eq!(house.ask(&Request::Remove { name: "Ada".into() }), Reply::Done);
    leave(&house);
    let (_, store, _) = house.close();
    assert_eq!(store.recall(&crate::daemon::fakes::model()).unwrap(), []);
}

#[test]
fn whoever_is_still_in_view_at_the_end_is_kept_too() {
    let house = keeping(Keep::Everybody);
    pass(&house, 1, ADA);
    house.until_event(EventKind::Unlocked);
    let (_, store, _) = house.close();
    assert_eq!(store.recall(&crate::daemon::fakes::model()).unwrap().len(), 1);
}

#[test]
fn a_picture_of_a_refused_stranger_is_kept_and_whoever_looks_is_in_the_journal() {
    let house = keeping(Keep::Nobody);
    pass(&house, 1, ADA);
    house.until_event(EventKind::Unlocked);
    pass(&house, 2, STRANGER);
    house.until_event(EventKind::Refusal);
    until("its picture is kept", || house.store.snapshots().len() == 1);
    let kept = house.store.snapshots().remove(0);
    let events = house.store.events();
    assert_eq!(events[kept.event.0 as usize - 1].kind, EventKind::Refusal, "of the refusal alone");
    assert_eq!(kept.person, None);
    assert!(kept.jpeg.starts_with(&[0xff, 0xd8]));
    let Reply::Snapshot { jpeg } = house.ask(&Request::Snapshot { event: kept.event }) else {
        panic!("no picture")
    };
    assert!(jpeg.starts_with("/9j/"), "a JPEG in base64");
    let seen = house.store.last(EventKind::PictureSeen);
    assert!(seen.actor.unwrap().starts_with("uid "));
    let none = house.ask(&Request::Snapshot { event: crate::journal::EventId(1) });
    assert!(matches!(none, Reply::Error { message } if message.contains("privacy.snapshots")));
    house.close();
}
