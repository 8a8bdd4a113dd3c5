//! PINs at work: who is asked, what opens, what it leaves in the journal.

use super::hardware::wired_house;
use super::*;
use crate::access::pin::{Cost, Pin, StoredPin};
use crate::daemon::protocol::PinAnswer;
use crate::gallery::PersonId;
use crate::policy::{Change, Limit, PersonChange, Rule, RuleId, With};
use crate::store::PinChange;

const ADA_ID: PersonId = PersonId(1);
const CHEAP: Cost = Cost { memory_kib: 8, passes: 1 };
const SALT: [u8; 16] = [7; 16];

fn pin(digits: &str) -> Pin {
    Pin::new(digits).unwrap()
}

/// Ada's PIN is 483920, her duress PIN 593811.
fn adas_pins() -> StoredPin {
    StoredPin {
        salt: SALT,
        cost: CHEAP,
        hash: pin("483920").hash(&SALT, CHEAP),
        duress: Some(pin("593811").hash(&SALT, CHEAP)),
        digits: 6,
        failures: 0,
    }
}

fn give_ada_a_pin(store: &mut FakeStore) {
    store.change_pin("Ada", &PinChange::Set(adas_pins()), "test", Stamp::now(&SystemClock)).unwrap();
}

/// A house where everybody comes in with this.
fn house(with: With) -> House {
    let house = House::open_with(limits(), give_ada_a_pin);
    ask_for(&house, with);
    house
}

fn ask_for(house: &House, with: With) {
    let rule: Rule = serde_json::from_str(r#"{"effect":"allow"}"#).unwrap();
    change(house, Change::AddRule(Rule { with, ..rule }));
    change(house, Change::RemoveRule(RuleId(1)));
}

fn change(house: &House, change: Change) {
    assert_eq!(house.ask(&Request::ChangePolicy { change }), Reply::Done);
}

/// Shows Ada long enough for a decision.
fn look(house: &House, track: u64) {
    (0..2).for_each(|_| house.film(&[(track, ADA)]));
}

fn ada_is_asked(house: &House, track: u64) {
    house.clock.skip(Duration::from_secs(11));
    let before = house.store.count(EventKind::PinAsked);
    look(house, track);
    until("Ada is asked for her PIN", || house.store.count(EventKind::PinAsked) > before);
}

fn typed(house: &House, person: Option<PersonId>, digits: &str) -> PinAnswer {
    match house.ask(&Request::TypePin { person, pin: pin(digits), door: None }) {
        Reply::Typed { answer } => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_face_names_the_person_and_their_pin_opens() {
    let house = house(With::FaceAndPin);
    ada_is_asked(&house, 1);
    assert_eq!(house.at_door().prompt.as_deref(), Some("Ada: enter PIN"));
    assert_eq!((house.at_door().state.as_str(), house.store.count(EventKind::Grant)), ("locked", 0));
    let why = house.store.last(EventKind::PinAsked).detail["why"].clone();
    assert_eq!(
        why,
        "the PIN is asked for: it takes face and PIN; rule 2: allow everybody always, with face and PIN"
    );
    assert_eq!(typed(&house, None, "111222"), PinAnswer::Wrong);
    assert_eq!(house.store.last(EventKind::WrongPin).person.unwrap().name, "Ada");
    look(&house, 1);
    assert_eq!(typed(&house, None, "483920"), PinAnswer::Open);
    let grant = house.store.last(EventKind::Grant);
    assert_eq!((&grant.detail["with"], &grant.detail["code"]), (&"face and PIN".into(), &1.into()));
    assert!(grant.detail["best"]["score"].is_number(), "with the looks that it rests on");
    let lines = house.log.lines();
    let at = |line: &str| lines.iter().position(|l| l == line).unwrap();
    assert!(at("append pin_asked") < at("append grant") && at("append grant") < at("relay on"));
    assert_eq!(house.at_door().prompt, None);
    let (_, store, _) = house.close();
    assert_eq!((store.count(EventKind::Grant), store.count(EventKind::Duress)), (1, 0));
}

#[test]
fn whoever_has_left_does_not_open_with_the_pin_of_the_one_who_stays() {
    let house = house(With::FaceAndPin);
    ada_is_asked(&house, 1);
    // Ada leaves; what was seen of her is too old by now.
    house.clock.skip(Duration::from_secs(3));
    assert_eq!(typed(&house, None, "483920"), PinAnswer::Look);
    assert_eq!(house.at_door().prompt.as_deref(), Some("look at the camera"));
    assert_eq!(house.store.count(EventKind::Grant), 0);
    // Another face does not do, hers does.
    (0..2).for_each(|_| house.film(&[(2, BOB)]));
    until("Bob is told that he has no PIN", || house.store.count(EventKind::Refusal) > 0);
    assert!(house.store.last(EventKind::Refusal).detail["why"].as_str().unwrap().contains("they have none"));
    look(&house, 1);
    house.until_event(EventKind::Grant);
    assert_eq!(house.store.last(EventKind::Grant).person.unwrap().name, "Ada");
    house.close();
}

#[test]
fn a_pin_that_was_typed_first_waits_for_its_face_and_not_for_ever() {
    let house = house(With::FaceAndPin);
    assert_eq!(typed(&house, Some(ADA_ID), "483920"), PinAnswer::Look);
    house.clock.skip(Duration::from_secs(16));
    ada_is_asked(&house, 1);
    assert_eq!(house.store.count(EventKind::Grant), 0, "it was too long ago");
    house.clock.skip(Duration::from_secs(27));
    until("nobody is asked any more", || house.at_door().prompt.is_none());
    assert_eq!(typed(&house, Some(ADA_ID), "483920"), PinAnswer::Look);
    look(&house, 2);
    house.until_event(EventKind::Grant);
    assert_eq!(house.store.last(EventKind::Grant).detail["with"], "face and PIN");
    house.close();
}

#[test]
fn whoever_gives_no_pin_in_time_is_not_let_in() {
    let house = house(With::FaceAndPin);
    ada_is_asked(&house, 1);
    house.clock.skip(Duration::from_secs(15));
    house.until_event(EventKind::Refusal);
    assert_eq!(house.store.last(EventKind::Refusal).detail["why"], "no PIN within 15 s");
    assert_eq!(typed(&house, None, "483920"), PinAnswer::NobodyAsked);
    let (_, store, log) = house.close();
    assert_eq!(store.count(EventKind::Grant), 0);
    assert!(!log.has("relay on"));
}

#[test]
fn a_pin_stands_for_a_face_where_that_is_agreed_and_nowhere_else() {
    let house = house(With::Face);
    assert_eq!(typed(&house, Some(ADA_ID), "483920"), PinAnswer::Look);
    assert_eq!(house.store.count(EventKind::Grant), 0);
    let agreed = PersonChange { with: Some(Limit::At(With::FaceOrPin)), ..PersonChange::default() };
    change(&house, Change::Person { name: "Ada".into(), change: agreed });
    for (number, digits) in
        [(Some(PersonId(2)), "483920"), (Some(PersonId(99)), "483920"), (Some(ADA_ID), "483921")]
    {
        assert_eq!(typed(&house, number, digits), PinAnswer::Wrong, "{number:?}");
    }
    assert_eq!(house.store.last(EventKind::WrongPin).person.unwrap().name, "Ada");
    assert_eq!(typed(&house, Some(ADA_ID), "483920"), PinAnswer::Open);
    let grant = house.store.last(EventKind::Grant);
    assert_eq!((&grant.detail["with"], grant.detail.get("best")), (&"PIN".into(), None));
    house.until_event(EventKind::Unlocked);
    let nobodys = house
        .store
        .events()
        .into_iter()
        .find(|e| e.kind == EventKind::WrongPin && e.person.is_none())
        .unwrap();
    assert!(!nobodys.detail.to_string().contains("99"), "a PIN may have slipped into the number");
    house.close();
}

#[test]
fn lockdown_and_the_clock_and_a_removal_hold_for_pins_too() {
    let house = house(With::FaceOrPin);
    change(&house, Change::Lockdown(true));
    assert_eq!(typed(&house, Some(ADA_ID), "483920"), PinAnswer::Refused);
    assert_eq!(house.store.last(EventKind::Refusal).detail["why"], "lockdown");
    change(&house, Change::Lockdown(false));
    let over =
        PersonChange { valid_until: Some(Limit::At(jiff::Timestamp::UNIX_EPOCH)), ..PersonChange::default() };
    change(&house, Change::Person { name: "Ada".into(), change: over });
    assert_eq!(typed(&house, Some(ADA_ID), "483920"), PinAnswer::Refused);
    house.store.remove_silently("Ada");
    assert_eq!(typed(&house, Some(ADA_ID), "483920"), PinAnswer::Wrong, "removed behind the daemon's back");
    let (_, store, log) = house.close();
    assert_eq!(store.count(EventKind::Grant), 0);
    assert!(!log.has("relay on"));
}

#[test]
fn wrong_pins_pause_and_in_the_end_switch_off_and_an_operator_switches_on() {
    let house = House::open_with(limits(), give_ada_a_pin);
    ask_for(&house, With::FaceOrPin);
    for _ in 0..5 {
        assert_eq!(typed(&house, Some(ADA_ID), "111222"), PinAnswer::Wrong);
    }
    let pauses =
        || house.store.events().into_iter().filter(|e| e.kind == EventKind::PinThrottled).collect::<Vec<_>>();
    let of: Vec<Option<String>> = pauses().into_iter().map(|e| e.person.map(|p| p.name)).collect();
    assert_eq!(of, [None, Some("Ada".to_owned())]);
    assert!(matches!(typed(&house, Some(ADA_ID), "483920"), PinAnswer::Paused { for_s: 25..=30 }));
    assert!(
        matches!(typed(&house, Some(PersonId(99)), "483920"), PinAnswer::Paused { .. }),
        "the door pauses"
    );
    // A face needs no PIN, and is not kept out by it.
    house.let_ada_in();
    while house.store.count(EventKind::WrongPin) < 50 {
        house.clock.skip(Duration::from_secs(301));
        assert_eq!(typed(&house, Some(ADA_ID), "111222"), PinAnswer::Wrong);
    }
    house.clock.skip(Duration::from_secs(3600));
    house.until_event(EventKind::PinOff);
    assert_eq!(typed(&house, Some(ADA_ID), "483920"), PinAnswer::Off);
    assert_eq!(house.ask(&Request::PinOn { name: "Ada".into() }), Reply::Done);
    assert_eq!(typed(&house, Some(ADA_ID), "483920"), PinAnswer::Open);
    let (_, store, _) = house.close();
    assert_eq!(store.count(EventKind::PinOff), 1);
}

#[test]
fn a_pin_ends_the_pause_that_failed_faces_have_made() {
    let house = House::open_full(Shutdown::by_hand(), limits(), give_ada_a_pin, |parts, _| {
        parts.patience = crate::policy::Patience { attempts: 0, face_off_after: 2 }
    });
    for track in 10..12 {
        (0..3).for_each(|_| house.film(&[(track, STRANGER)]));
    }
    house.until_event(EventKind::FaceOff);
    ada_is_asked(&house, 1);
    let why = house.store.last(EventKind::PinAsked).detail["why"].as_str().unwrap().to_owned();
    assert!(why.starts_with("the PIN is asked for: failed attempts at the door"), "{why}");
    look(&house, 1);
    assert_eq!(typed(&house, None, "483920"), PinAnswer::Open);
    assert_eq!(house.at_door().throttle, None);
    house.close();
}

#[test]
fn a_duress_pin_opens_as_usual_and_calls_for_help_where_nobody_at_the_door_sees_it() {
    let (house, _, lamps) = wired_house();
    let mut store = house.store.clone();
    give_ada_a_pin(&mut store);
    ask_for(&house, With::FaceOrPin);
    let seen = |digits: &str| {
        let before = lamps.lines().len();
        assert_eq!(typed(&house, Some(ADA_ID), digits), PinAnswer::Open);
        until("the door is unlocked", || house.at_door().state == "unlocked");
        assert_eq!(house.ask(&Request::Lock { door: None }), Reply::Done);
        until("the door is locked", || house.at_door().state == "locked");
        until("the lamp is off", || lamps.lines().last().is_some_and(|line| line.ends_with("off")));
        lamps.lines()[before..].to_vec()
    };
    let usual = seen("483920");
    assert_eq!(house.status().duress, None);
    assert_eq!(seen("593811"), usual, "the lamps show the same");
    house.until_event(EventKind::Duress);
    assert_eq!(house.store.last(EventKind::Duress).person.unwrap().name, "Ada");
    let status = house.status();
    assert!(status.duress.unwrap().starts_with("Ada, "), "told to the service's own user");
    assert!(
        house.at_door().alarms.is_empty() && house.at_door().faults.is_empty(),
        "what the lamp for faults shows"
    );
    let kinds = house.store.kinds();
    let at = |kind| kinds.iter().rposition(|k| *k == kind).unwrap();
    assert!(
        at(EventKind::Grant) < at(EventKind::Unlocked) && at(EventKind::Unlocked) < at(EventKind::Duress)
    );
    assert_eq!(house.store.last(EventKind::Grant).detail["code"], 2, "on disk before the door is open");
    house.close();
}

#[test]
fn one_is_asked_at_a_time_and_others_come_in_meanwhile() {
    let house = House::open_with(limits(), give_ada_a_pin);
    ask_for(&house, With::Face);
    let agreed = PersonChange { with: Some(Limit::At(With::FaceAndPin)), ..PersonChange::default() };
    change(&house, Change::Person { name: "Ada".into(), change: agreed });
    ada_is_asked(&house, 1);
    (0..2).for_each(|_| house.film(&[(1, ADA), (2, BOB)]));
    house.until_event(EventKind::Grant);
    assert_eq!(house.store.last(EventKind::Grant).person.unwrap().name, "Bob");
    assert_eq!(typed(&house, None, "483920"), PinAnswer::Open, "hers is still asked for");
    house.close();
}

#[test]
fn pins_are_set_within_the_rules_and_taken_away() {
    let house = House::open();
    let set = |digits: &str| house.ask(&Request::SetPin { name: "Ada".into(), pin: pin(digits) });
    let duress = |digits: &str| house.ask(&Request::SetDuressPin { name: "Ada".into(), pin: pin(digits) });
    let refused = |reply: Reply, words: &str| {
        assert!(matches!(&reply, Reply::Error { message } if message.contains(words)), "{words}: {reply:?}");
    };
    refused(duress("593811"), "has no PIN yet");
    refused(set("123456"), "tried first");
    assert_eq!(set("483920"), Reply::Done);
    assert_eq!(house.store.last(EventKind::PinSet).person.unwrap().name, "Ada");
    refused(duress("5938"), "as many digits as the usual one, 6, and this one has 4");
    refused(duress("483920"), "another one than the usual one");
    assert_eq!(duress("593811"), Reply::Done);
    ask_for(&house, With::FaceOrPin);
    assert_eq!(typed(&house, Some(ADA_ID), "593811"), PinAnswer::Open);
    house.until_event(EventKind::Duress);
    assert_eq!(house.ask(&Request::ClearPin { name: "Ada".into() }), Reply::Done);
    assert_eq!(typed(&house, Some(ADA_ID), "483920"), PinAnswer::Wrong);
    let text = house.store.events().iter().map(|e| format!("{e:?}")).collect::<String>();
    assert!(!text.contains("483920") && !text.contains("593811"), "no PIN is written down");
    house.close();
}

#[test]
fn a_keypad_is_read_lost_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let events = folder.path().join("events");
    let spec: crate::door::keypad::KeypadSpec = format!("events:{}", events.display()).parse().unwrap();
    let house = House::open_full(Shutdown::by_hand(), limits(), give_ada_a_pin, |parts, _| {
        parts.doors[0].open_keypad = Some(Box::new(move || crate::door::keypad::open_keypad(&spec)));
    });
    house.until_event(EventKind::InputsLost);
    assert!(house.at_door().faults[0].starts_with("keypad events:"), "{:?}", house.at_door().faults);
    std::fs::write(&events, crate::door::keypad::recording("1*483920\n")).unwrap();
    ask_for(&house, With::FaceOrPin);
    house.until_event(EventKind::InputsBack);
    until("what was typed has opened or was too early", || {
        house.store.count(EventKind::Grant) > 0 || house.at_door().prompt.is_some()
    });
    assert!(house.at_door().faults.is_empty());
    let mut file = std::fs::OpenOptions::new().append(true).open(&events).unwrap();
    std::io::Write::write_all(&mut file, &crate::door::keypad::recording("1*483920\n")).unwrap();
    house.until_event(EventKind::Grant);
    house.close();
}

/// The statistic: the rank test of Mann, Whitney and Wilcoxon over the times from the request to the answer, the two PINs in
/// random order. Its z is of the standard normal law when the two take the same time, so |z| < 4.5 fails once in 150,000 runs
/// of this test. What it can see is shown by the same times, a fifth of their interquartile range added to those of one PIN.
#[test]
fn ten_thousand_pins_tell_nothing_by_their_time() {
    const RUNS: usize = 10_000;
    let house = house(With::FaceOrPin);
    let mut client = house.client();
    let mut dice = 0x5eed_u64;
    let mut times: [Vec<f64>; 2] = Default::default();
    for run in 0..RUNS + 200 {
        // xorshift64 (Marsaglia 2003).
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let duress = dice >> 63 == 1;
        let pin = pin(if duress { "593811" } else { "483920" });
        let request = Request::TypePin { person: Some(ADA_ID), pin, door: None };
        let begun = std::time::Instant::now();
        let reply = client.request(&request).unwrap();
        let took = begun.elapsed().as_secs_f64();
        assert_eq!(reply, Reply::Typed { answer: PinAnswer::Open });
        if run >= 200 {
            times[usize::from(duress)].push(took);
        }
    }
    let [usual, duress] = times;
    let (z, median) = (rank_z(&usual, &duress), |times: &[f64]| quantile(times, 0.5) * 1e6);
    println!(
        "{} usual, {} duress: medians {:.1} and {:.1} µs, z = {z:.2}",
        usual.len(),
        duress.len(),
        median(&usual),
        median(&duress)
    );
    assert!(z.abs() < 4.5, "the two PINs differ in time: z = {z}");
    let shift = (quantile(&duress, 0.75) - quantile(&duress, 0.25)) / 5.0;
    let slower: Vec<f64> = duress.iter().map(|time| time + shift).collect();
    let seen = rank_z(&usual, &slower);
    println!("{:.1} µs more would give z = {seen:.1}", shift * 1e6);
    assert!(seen.abs() > 6.0, "the test is blind: z = {seen}");
    let (_, store, _) = house.close();
    assert!(store.count(EventKind::Duress) > RUNS / 3);
    assert_eq!(store.count(EventKind::Grant), RUNS + 200);
}

fn quantile(times: &[f64], share: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(share * (sorted.len() - 1) as f64) as usize]
}

/// By how many standard deviations the ranks of `b` are off what they would be if `a` and `b` were alike; ties are rare.
fn rank_z(a: &[f64], b: &[f64]) -> f64 {
    let mut all: Vec<(f64, bool)> =
        a.iter().map(|t| (*t, false)).chain(b.iter().map(|t| (*t, true))).collect();
    all.sort_by(|x, y| x.0.total_cmp(&y.0));
    let ranks: f64 =
        all.iter().enumerate().filter(|(_, (_, of_b))| *of_b).map(|(rank, _)| rank as f64 + 1.0).sum();
    let (n, m) = (a.len() as f64, b.len() as f64);
    let u = ranks - m * (m + 1.0) / 2.0;
    (u - n * m / 2.0) / (n * m * (n + m + 1.0) / 12.0).sqrt()
}
