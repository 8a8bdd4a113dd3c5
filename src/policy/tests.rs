//! Tables of moments, and properties that hold for every book.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::access::PinProof;

const ADA: PersonId = PersonId(1);
const BOB: PersonId = PersonId(2);

/// A face that leaves nothing to doubt.
const FACE: Shown = Shown { face: Some(Doubts { look_alike: false, unproven: false }), pin: false };

fn ts(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The only door, which leads in.
static DOOR: LazyLock<Place> = LazyLock::new(|| door("door", Side::In));

fn door(name: &str, side: Side) -> Place {
    Place { door: name.into(), side, area: "inside".into(), both_ways: true }
}

fn now(wall: &str) -> Now<'static> {
    Now {
        wall: ts(wall),
        mono: None,
        clock_trusted: true,
        threshold_supported: true,
        gate: Gate::Open,
        place: &DOOR,
    }
}

fn rule(effect: Effect, who: &str, days: &str, from: &str, until: &str) -> Rule {
    let when = Schedule {
        days: days.parse().unwrap(),
        from: from.parse().unwrap(),
        until: until.parse().unwrap(),
        ..Schedule::ALWAYS
    };
    Rule {
        effect,
        who: who.parse().unwrap(),
        when,
        after_first: None,
        with: With::Face,
        doors: BTreeSet::new(),
    }
}

fn always() -> Rule {
    rule(Effect::Allow, "everybody", "daily", "00:00", "24:00")
}

fn person(id: PersonId, name: &str, groups: &[&str]) -> PersonRow {
    let terms =
        PersonTerms { groups: groups.iter().map(|g| (*g).to_owned()).collect(), ..Default::default() };
    PersonRow {
        id,
        name: name.into(),
        terms,
        last_entry: None,
        passages: Vec::new(),
        forgiven: None,
        has_pin: false,
    }
}

/// Ada is of the staff, Bob cleans.
fn book(zone: &str, rules: Vec<Rule>) -> RuleBook {
    RuleBook {
        zone: Some(zone.into()),
        rules: (1..).map(RuleId).zip(rules).map(|(id, rule)| NumberedRule { id, rule }).collect(),
        people: vec![person(ADA, "Ada", &["staff"]), person(BOB, "Bob", &["cleaners"])],
        ..RuleBook::default()
    }
}

fn ask(book: &RuleBook, who: PersonId, at: &str) -> Result<RuleId, Refusal> {
    Policy::new(book.clone()).unwrap().decide(who, FACE, &Entries::new(), &now(at))
}

#[test]
fn who_is_let_in_when() {
    let mut staff = rule(Effect::Allow, "staff", "mon-fri", "07:00", "19:00");
    staff.when.holidays = OnHolidays::Not;
    let cleaners = rule(Effect::Allow, "cleaners", "tue", "18:00", "02:00");
    let mut book = book("Europe/Berlin", vec![staff, cleaners]);
    book.holidays.push(Holiday {
        dates: "2026-12-24..2026-12-26".parse().unwrap(),
        name: "Christmas".into(),
        yearly: true,
    });
    for (who, at, admitted) in [
        // Monday, an hour ahead of UTC.
        (ADA, "2026-11-23T05:59:59Z", false),
        (ADA, "2026-11-23T06:00:00Z", true),
        (ADA, "2026-11-23T17:59:59.999Z", true),
        (ADA, "2026-11-23T18:00:00Z", false),
        (ADA, "2026-11-22T10:00:00Z", false),
        // Christmas is a Friday, and a Thursday the year before it was added.
        (ADA, "2026-12-25T10:00:00Z", false),
        (ADA, "2025-12-25T10:00:00Z", false),
        (ADA, "2026-12-23T10:00:00Z", true),
        // Tuesday evening runs into Wednesday, Monday's does not exist.
        (BOB, "2026-11-24T16:59:00Z", false),
        (BOB, "2026-11-24T17:00:00Z", true),
        (BOB, "2026-11-25T00:59:59Z", true),
        (BOB, "2026-11-25T01:00:00Z", false),
        (BOB, "2026-11-24T00:30:00Z", false),
        (BOB, "2026-11-25T17:30:00Z", false),
    ] {
        assert_eq!(ask(&book, who, at).is_ok(), admitted, "{who:?} at {at}");
    }
}

#[test]
fn a_window_over_the_end_of_a_year_and_over_a_leap_day() {
    let book = book("UTC", vec![rule(Effect::Allow, "everybody", "thu,tue", "22:00", "06:00")]);
    for (at, admitted) in [
        // 31 December 2026 is a Thursday.
        ("2026-12-31T21:59:59Z", false),
        ("2026-12-31T22:00:00Z", true),
        ("2027-01-01T05:59:59Z", true),
        ("2027-01-01T06:00:00Z", false),
        // 29 February 2028 is a Tuesday, 28 February 2030 a Thursday.
        ("2028-02-29T23:00:00Z", true),
        ("2028-03-01T05:00:00Z", true),
        ("2030-03-01T05:00:00Z", true),
        ("2028-02-28T23:00:00Z", false),
    ] {
        assert_eq!(ask(&book, ADA, at).is_ok(), admitted, "at {at}");
    }
    let leap = Holiday { dates: "2028-02-29".parse().unwrap(), name: "leap day".into(), yearly: true };
    for (date, free) in [("2032-02-29", true), ("2030-02-28", false), ("2030-03-01", false)] {
        assert_eq!(leap.has(date.parse().unwrap()), free, "{date}");
    }
    let turn =
        Holiday { dates: "2026-12-31..2027-01-01".parse().unwrap(), name: "new year".into(), yearly: true };
    for (date, free) in
        [("2030-12-31", true), ("2031-01-01", true), ("2030-06-01", false), ("2030-12-30", false)]
    {
        assert_eq!(turn.has(date.parse().unwrap()), free, "{date}");
    }
}

/// Clocks go forward and back in three zones; a rule counts by what they show.
#[test]
fn clocks_that_go_forward_and_back() {
    for (zone, from, until, moments) in [
        // Berlin: 02:00 → 03:00 on 29 March, 03:00 → 02:00 on 25 October 2026.
        (
            "Europe/Berlin",
            "01:30",
            "02:30",
            vec![
                ("2026-03-29T00:30:00Z", true),
                ("2026-03-29T00:59:59Z", true),
                ("2026-03-29T01:00:00Z", false),
                ("2026-03-29T01:15:00Z", false),
                ("2026-10-25T00:15:00Z", true),
                ("2026-10-25T00:45:00Z", false),
                ("2026-10-25T01:15:00Z", true),
                ("2026-10-25T01:30:00Z", false),
            ],
        ),
        // New York: 02:00 → 03:00 on 8 March, 02:00 → 01:00 on 1 November 2026.
        (
            "America/New_York",
            "01:30",
            "02:30",
            vec![
                ("2026-03-08T06:30:00Z", true),
                ("2026-03-08T07:00:00Z", false),
                ("2026-11-01T05:45:00Z", true),
                ("2026-11-01T06:15:00Z", false),
                ("2026-11-01T06:45:00Z", true),
                ("2026-11-01T07:29:59Z", true),
                ("2026-11-01T07:30:00Z", false),
            ],
        ),
        // Lord Howe: half an hour, 02:00 → 02:30 on 4 October, 02:00 → 01:30 on 5 April 2026.
        (
            "Australia/Lord_Howe",
            "01:45",
            "02:15",
            vec![
                ("2026-10-03T15:20:00Z", true),
                ("2026-10-03T15:30:00Z", false),
                ("2026-04-04T14:50:00Z", true),
                ("2026-04-04T15:05:00Z", false),
                ("2026-04-04T15:20:00Z", true),
                ("2026-04-04T15:45:00Z", false),
            ],
        ),
    ] {
        let book = book(zone, vec![rule(Effect::Allow, "everybody", "daily", from, until)]);
        for (at, admitted) in moments {
            assert_eq!(ask(&book, ADA, at).is_ok(), admitted, "{zone} at {at}");
        }
    }
}

#[test]
fn every_refusal_has_its_reason_in_its_order() {
    let mut book = book("UTC", vec![always(), rule(Effect::Deny, "cleaners", "daily", "00:00", "24:00")]);
    let at = "2026-11-23T12:00:00Z";
    assert_eq!(ask(&book, ADA, at), Ok(RuleId(1)));
    assert_eq!(ask(&book, BOB, at), Err(Refusal::Denied(RuleId(2))));
    assert_eq!(ask(&book, PersonId(3), at), Err(Refusal::NotEnrolled));
    book.people[0].terms.entries_left = Some(0);
    assert_eq!(ask(&book, ADA, at), Err(Refusal::NoEntriesLeft));
    book.people[0].terms.valid_until = Some(ts(at));
    assert_eq!(ask(&book, ADA, at), Err(Refusal::Expired(ts(at))));
    book.people[0].terms.valid_from = Some(ts("2026-11-24T00:00:00Z"));
    assert_eq!(ask(&book, ADA, at), Err(Refusal::NotYetValid(ts("2026-11-24T00:00:00Z"))));
    book.lockdown = true;
    assert_eq!(ask(&book, ADA, at), Err(Refusal::Lockdown));
    assert_eq!(ask(&book, PersonId(3), at), Err(Refusal::NotEnrolled));
    book = RuleBook { rules: vec![], lockdown: false, ..tests::book("UTC", vec![]) };
    assert_eq!(ask(&book, ADA, at), Err(Refusal::NoRule), "what nothing allows is refused");
}

#[test]
fn without_a_clock_what_is_limited_in_time_refuses_and_the_rest_works() {
    let blind = Now { clock_trusted: false, ..now("2026-11-23T12:00:00Z") };
    let decide =
        |book: &RuleBook, who| Policy::new(book.clone()).unwrap().decide(who, FACE, &Entries::new(), &blind);
    let staff = rule(Effect::Allow, "staff", "mon-fri", "07:00", "19:00");
    assert_eq!(decide(&book("UTC", vec![staff.clone()]), ADA), Err(Refusal::ClockNotTrusted));
    assert_eq!(decide(&book("UTC", vec![staff.clone()]), BOB), Err(Refusal::NoRule));
    assert_eq!(decide(&book("UTC", vec![staff, always()]), ADA), Ok(RuleId(2)));
    let night = rule(Effect::Deny, "staff", "daily", "22:00", "05:00");
    assert_eq!(decide(&book("UTC", vec![always(), night]), ADA), Err(Refusal::ClockNotTrusted));
    let mut visitor = book("UTC", vec![always()]);
    visitor.people[0].terms.valid_until = Some(ts("2026-11-30T00:00:00Z"));
    assert_eq!(decide(&visitor, ADA), Err(Refusal::ClockNotTrusted));
    let open = rule(Effect::HoldOpen, "everybody", "daily", "09:00", "17:00");
    assert_eq!(Policy::new(book("UTC", vec![open])).unwrap().hold_open(&Entries::new(), &blind), None);
}

#[test]
fn nobody_enters_twice_within_the_time_whatever_the_calendar_does() {
    let mut book = book("UTC", vec![always()]);
    book.passback_s = 60;
    let policy = Policy::new(book).unwrap();
    let entry = Entry { wall: ts("2026-11-23T12:00:00Z"), mono: Some(MonoTime::from_millis(5_000)) };
    let entries = Entries::from([(ADA, entry)]);
    let (ago, within) = (Duration::from_secs(30), Duration::from_secs(60));
    for (wall, mono_ms, refused) in [
        ("2026-11-23T12:00:30Z", Some(35_000), Some(Refusal::Passback { ago, within })),
        // The calendar was set meanwhile: the other clock counts.
        ("2026-11-23T14:00:00Z", Some(35_000), Some(Refusal::Passback { ago, within })),
        ("2026-11-23T12:00:30Z", Some(65_000), None),
        // From before this boot.
        ("2026-11-23T12:00:30Z", None, Some(Refusal::Passback { ago, within })),
        ("2026-11-23T12:01:00Z", None, None),
        ("2026-11-23T11:00:00Z", None, None),
    ] {
        let now = Now {
            wall: ts(wall),
            mono: mono_ms.map(MonoTime::from_millis),
            clock_trusted: true,
            threshold_supported: true,
            gate: Gate::Open,
            place: &DOOR,
        };
        assert_eq!(policy.decide(ADA, FACE, &entries, &now).err(), refused, "{wall} {mono_ms:?}");
        assert_eq!(policy.decide(BOB, FACE, &entries, &now), Ok(RuleId(1)));
    }
}

#[test]
fn the_first_of_a_group_opens_for_the_others_and_the_door() {
    let mut wait = rule(Effect::Allow, "cleaners", "daily", "08:00", "18:00");
    wait.after_first = Some("staff".parse().unwrap());
    let mut open = rule(Effect::HoldOpen, "everybody", "mon-fri", "09:00", "17:00");
    open.after_first = Some("staff".parse().unwrap());
    let staff = rule(Effect::Allow, "staff", "daily", "00:00", "24:00");
    let policy = Policy::new(book("UTC", vec![wait, open, staff])).unwrap();
    let at = now("2026-11-23T12:00:00Z");
    let who = || "staff".parse().unwrap();
    let entered = |id, wall| Entries::from([(id, Entry { wall: ts(wall), mono: None })]);
    for (entries, bob, held) in [
        (Entries::new(), Err(Refusal::WaitsForFirst(RuleId(1), who())), false),
        (entered(ADA, "2026-11-22T12:00:00Z"), Err(Refusal::WaitsForFirst(RuleId(1), who())), false),
        (entered(BOB, "2026-11-23T10:00:00Z"), Err(Refusal::WaitsForFirst(RuleId(1), who())), false),
        (entered(ADA, "2026-11-23T08:30:00Z"), Ok(RuleId(1)), false),
        (entered(ADA, "2026-11-23T09:30:00Z"), Ok(RuleId(1)), true),
    ] {
        assert_eq!(policy.decide(BOB, FACE, &entries, &at), bob, "{entries:?}");
        let hold = policy.hold_open(&entries, &at);
        assert_eq!(hold.is_some(), held, "{entries:?}");
        assert!(hold.is_none_or(|hold| hold.left == Duration::from_secs(5 * 3600)));
    }
    let entries = entered(ADA, "2026-11-23T09:30:00Z");
    assert_eq!(policy.hold_open(&entries, &now("2026-11-23T17:00:00Z")), None);
    let lockdown = RuleBook { lockdown: true, ..policy.book().clone() };
    assert_eq!(Policy::new(lockdown).unwrap().hold_open(&entries, &at), None);
}

#[test]
fn after_failed_attempts_nobody_is_let_in_and_a_pause_says_how_long() {
    let policy = Policy::new(book("UTC", vec![always()])).unwrap();
    let minute = Duration::from_secs(60);
    for (gate, refusal) in [
        (Gate::Open, None),
        (Gate::Paused(minute), Some(Refusal::Paused(minute))),
        (Gate::Off, Some(Refusal::FaceOff)),
    ] {
        let at = Now { gate, ..now("2026-11-23T12:00:00Z") };
        assert_eq!(policy.decide(ADA, FACE, &Entries::new(), &at).err(), refusal);
    }
    assert_eq!(policy.words(&Refusal::Paused(minute)), "paused for 60 s after failed attempts");
    assert_eq!(policy.words(&Refusal::Denied(RuleId(1))), "rule 1: allow everybody always");
}

#[test]
fn an_explanation_ends_with_what_decides() {
    let mut staff = rule(Effect::Allow, "staff", "mon-fri", "07:00", "19:00");
    staff.when.holidays = OnHolidays::Not;
    let policy = Policy::new(book("UTC", vec![staff, always()])).unwrap();
    let steps = policy.explain(BOB, FACE, &Entries::new(), &now("2026-11-23T12:00:00Z"));
    let last = |n: usize| &steps[steps.len() - n];
    assert_eq!(last(2).says, Says::Silent("they are not of this group"));
    assert_eq!(*last(1), Step { subject: Subject::Rule(RuleId(2)), says: Says::Admits });
    assert_eq!(policy.name_of(RuleId(1)), "rule 1: allow staff mon-fri 07:00-19:00, not on holidays");
    assert_eq!(policy.name_of(RuleId(2)), "rule 2: allow everybody always");
}

#[test]
fn an_admission_names_its_rule_and_is_of_the_grant() {
    let policy = Policy::new(book("UTC", vec![always()])).unwrap();
    let grant = Grant::for_tests(1, "Ada", MonoTime::from_millis(9));
    let admitted = policy.admit(grant, None, &Entries::new(), &now("2026-11-23T12:00:00Z")).unwrap();
    assert_eq!((admitted.by(), admitted.grant().name()), ("rule 1: allow everybody always", "Ada"));
    let removed = Grant::for_tests(9, "Zoe", MonoTime::from_millis(9));
    let refused = policy.admit(removed, None, &Entries::new(), &now("2026-11-23T12:00:00Z"));
    assert_eq!(refused.unwrap_err().refusal, Refusal::NotEnrolled);
}

#[test]
fn what_must_be_shown_follows_from_rule_person_and_doubts() {
    let face = |look_alike, unproven| Shown { face: Some(Doubts { look_alike, unproven }), pin: false };
    let (both, pin) = (Shown { pin: true, ..FACE }, Shown { face: None, pin: true });
    let (one, at) = (RuleId(1), now("2026-11-23T12:00:00Z"));
    let decide = |with: With, theirs: Option<With>, has_pin, risks, shown, now: &Now<'_>| {
        let mut book = book("UTC", vec![Rule { with, ..always() }]);
        (book.people[0].terms.with, book.people[0].has_pin) = (theirs, has_pin);
        Policy::new(book).unwrap().with_risks(risks).decide(ADA, shown, &Entries::new(), now)
    };
    let asked = |why| Err(Refusal::NeedsPin(one, why));
    let calm = Risks::default();
    for (with, theirs, has_pin, shown, expected) in [
        (With::Face, None, true, FACE, Ok(one)),
        (With::Face, None, true, pin, Err(Refusal::NeedsFace(one))),
        (With::FaceAndPin, None, true, FACE, asked(Why::Rule)),
        (With::FaceAndPin, None, true, both, Ok(one)),
        (With::FaceAndPin, None, true, pin, Err(Refusal::NeedsFace(one))),
        (With::FaceAndPin, None, false, FACE, Err(Refusal::NoPin(one, Why::Rule))),
        (With::FaceOrPin, None, true, FACE, Ok(one)),
        (With::FaceOrPin, None, true, pin, Ok(one)),
        // What is agreed goes before the rule, either way.
        (With::Face, Some(With::FaceAndPin), true, FACE, asked(Why::Rule)),
        (With::Face, Some(With::FaceOrPin), true, pin, Ok(one)),
        (With::FaceAndPin, Some(With::Face), true, FACE, Ok(one)),
    ] {
        let decided = decide(with, theirs, has_pin, calm, shown, &at);
        assert_eq!(decided, expected, "{with:?} {theirs:?} {shown:?}");
    }
    let risks = |risk| Risks { look_alike: risk, liveness: risk, threshold: risk, clock_asks: false };
    let unsupported = Now { threshold_supported: false, ..at };
    for (shown, now, why) in [
        (face(true, false), at, Why::LookAlike),
        (face(false, true), at, Why::Unproven),
        (FACE, unsupported, Why::Unsupported),
    ] {
        let decide = |risk, has_pin| decide(With::Face, None, has_pin, risks(risk), shown, &now);
        assert_eq!((decide(OnRisk::Ignore, true), decide(OnRisk::Ignore, false)), (Ok(one), Ok(one)));
        assert_eq!((decide(OnRisk::PinIfSet, true), decide(OnRisk::PinIfSet, false)), (asked(why), Ok(one)));
        assert_eq!(
            (decide(OnRisk::Pin, true), decide(OnRisk::Pin, false)),
            (asked(why), Err(Refusal::NoPin(one, why)))
        );
    }
    // Doubts about a face are none about a PIN.
    let by_pin = decide(With::FaceOrPin, None, true, risks(OnRisk::Pin), pin, &unsupported);
    assert_eq!(by_pin, Ok(one));
    // Failed faces: a PIN besides opens, and PINs alone are not touched.
    let off = Now { gate: Gate::Off, ..at };
    assert_eq!(decide(With::Face, None, true, calm, FACE, &off), asked(Why::FailedAttempts));
    assert_eq!(decide(With::Face, None, true, calm, both, &off), Ok(one));
    assert_eq!(decide(With::Face, None, false, calm, FACE, &off), Err(Refusal::FaceOff));
    assert_eq!(decide(With::FaceOrPin, None, true, calm, pin, &off), Ok(one));
}

#[test]
fn one_rule_that_is_satisfied_is_enough_and_the_nearest_is_told() {
    let night = Rule { with: With::FaceAndPin, ..always() };
    let day = rule(Effect::Allow, "staff", "mon-fri", "07:00", "19:00");
    let mut book = book("UTC", vec![night, day]);
    book.people[0].has_pin = true;
    let policy = Policy::new(book).unwrap();
    let decide = |shown, at| policy.decide(ADA, shown, &Entries::new(), &now(at));
    assert_eq!(decide(FACE, "2026-11-23T12:00:00Z"), Ok(RuleId(2)));
    let (asked, both) = (Refusal::NeedsPin(RuleId(1), Why::Rule), Shown { pin: true, ..FACE });
    assert_eq!(decide(FACE, "2026-11-23T22:00:00Z"), Err(asked.clone()));
    assert_eq!(decide(both, "2026-11-23T22:00:00Z"), Ok(RuleId(1)));
    assert_eq!(
        policy.words(&asked),
        "the PIN is asked for: it takes face and PIN; rule 1: allow everybody always, with face and PIN"
    );
    let steps = policy.explain(ADA, FACE, &Entries::new(), &now("2026-11-23T22:00:00Z"));
    assert_eq!(steps.last().unwrap().says, Says::Refuses(asked));
}

#[test]
fn without_a_clock_a_limit_on_time_may_ask_for_the_pin_instead() {
    let blind = Now { clock_trusted: false, ..now("2026-11-23T12:00:00Z") };
    let asks = Risks { clock_asks: true, ..Risks::default() };
    let both = Shown { pin: true, ..FACE };
    let staff = rule(Effect::Allow, "staff", "mon-fri", "07:00", "19:00");
    let decide = |mut book: RuleBook, shown, has_pin| {
        book.people[0].has_pin = has_pin;
        Policy::new(book).unwrap().with_risks(asks).decide(ADA, shown, &Entries::new(), &blind)
    };
    let one = RuleId(1);
    let hours = || book("UTC", vec![staff.clone()]);
    assert_eq!(decide(hours(), FACE, true), Err(Refusal::NeedsPin(one, Why::Clock)));
    assert_eq!(decide(hours(), FACE, false), Err(Refusal::NoPin(one, Why::Clock)));
    assert_eq!(decide(hours(), both, true), Ok(one));
    let mut visitor = book("UTC", vec![always()]);
    visitor.people[0].terms.valid_until = Some(ts("2020-01-01T00:00:00Z"));
    assert_eq!(decide(visitor.clone(), FACE, true), Err(Refusal::NeedsPin(one, Why::Clock)));
    let night = rule(Effect::Deny, "staff", "daily", "22:00", "05:00");
    assert_eq!(
        decide(book("UTC", vec![night, always()]), FACE, true),
        Err(Refusal::NeedsPin(RuleId(2), Why::Clock))
    );
    // A rule without a limit needs no PIN, and who waits for somebody waits.
    assert_eq!(decide(book("UTC", vec![staff.clone(), always()]), FACE, true), Ok(RuleId(2)));
    let waits = Rule { after_first: Some(Who::Everybody), ..staff };
    assert_eq!(decide(book("UTC", vec![waits]), both, true), Err(Refusal::ClockNotTrusted));
}

#[test]
fn a_pin_of_another_person_counts_for_nothing_and_a_duress_pin_is_told() {
    let mut book = book("UTC", vec![Rule { with: With::FaceAndPin, ..always() }]);
    book.people[0].has_pin = true;
    let policy = Policy::new(book).unwrap();
    let at = MonoTime::from_millis(9);
    let admit = |proof: Option<&PinProof>| {
        let grant = Grant::for_tests(1, "Ada", at);
        policy.admit(grant, proof, &Entries::new(), &now("2026-11-23T12:00:00Z"))
    };
    let refused = admit(Some(&PinProof::for_tests(2, false, at))).unwrap_err();
    assert_eq!((refused.refusal, refused.grant.name()), (Refusal::NeedsPin(RuleId(1), Why::Rule), "Ada"));
    for under_duress in [false, true] {
        let admitted = admit(Some(&PinProof::for_tests(1, under_duress, at))).unwrap();
        assert_eq!((admitted.factors(), admitted.under_duress()), (Factors::FaceAndPin, under_duress));
    }
    let by_pin = PinProof::for_tests(1, false, at).grant("Ada".into());
    let proof = PinProof::for_tests(1, false, at);
    let refused = policy.admit(by_pin, Some(&proof), &Entries::new(), &now("2026-11-23T12:00:00Z"));
    assert_eq!(refused.unwrap_err().refusal, Refusal::NeedsFace(RuleId(1)));
}

#[test]
fn what_must_be_shown_is_written_and_only_rules_that_allow_ask_for_it() {
    let rule: Rule = serde_json::from_str(r#"{"effect":"allow","with":"face-or-pin"}"#).unwrap();
    assert_eq!(rule.to_string(), "allow everybody always, with face or PIN");
    assert_eq!(serde_json::from_str::<Rule>(&serde_json::to_string(&rule).unwrap()).unwrap(), rule);
    for effect in ["deny", "hold-open"] {
        let text = format!(r#"{{"effect":"{effect}","with":"face-and-pin"}}"#);
        assert!(serde_json::from_str::<Rule>(&text).unwrap_err().to_string().contains("rules that allow"));
    }
    for with in [With::Face, With::FaceAndPin, With::FaceOrPin] {
        assert_eq!(with.word().parse(), Ok(with));
    }
    assert!("card".parse::<With>().unwrap_err().to_string().contains("`face-and-pin`"));
}

#[test]
fn texts_are_read_and_written_back_and_what_is_none_is_refused_with_an_example() {
    for (text, shown) in [
        ("mon-fri", "mon-fri"),
        ("sat,sun,mon", "mon,sat-sun"),
        ("fri-mon", "mon,fri-sun"),
        ("Daily", "daily"),
        ("wed", "wed"),
    ] {
        assert_eq!(text.parse::<Days>().unwrap().to_string(), shown);
    }
    for text in ["", "monday", "mon-", "mon..fri", "x"] {
        assert!(text.parse::<Days>().unwrap_err().to_string().contains("`mon-fri`"), "{text}");
    }
    for (text, shown) in [("7:05", "07:05"), ("00:00", "00:00"), ("24:00", "24:00")] {
        assert_eq!(text.parse::<TimeOfDay>().unwrap().to_string(), shown);
    }
    for text in ["", "7", "24:01", "07:60", "-1:00", "7:+5", "007:00", "65535:59"] {
        assert!(text.parse::<TimeOfDay>().unwrap_err().to_string().contains("no time of day"), "{text}");
    }
    assert_eq!("2026-12-24".parse::<Dates>().unwrap().to_string(), "2026-12-24");
    assert!("2026-12-24..2026-12-01".parse::<Dates>().unwrap_err().to_string().contains("ends before"));
    assert!("2026-02-29".parse::<Dates>().is_err());
    assert!("two words".parse::<Who>().unwrap_err().to_string().contains("cannot be a group"));
    let Err(error) = Policy::new(book("Europe/Atlantis", vec![])) else { panic!("it is a zone") };
    assert!(error.to_string().contains("Europe/Atlantis") && error.to_string().contains("tzdata"), "{error}");
}

#[test]
fn a_book_survives_as_toml_and_a_misspelt_key_is_refused() {
    let mut staff = rule(Effect::Allow, "staff", "mon-fri", "07:00", "19:00");
    staff.when.dates = Some("2026-01-01..2026-12-31".parse().unwrap());
    staff.after_first = Some(Who::Everybody);
    staff.doors = ["entry".to_owned(), "Side door".to_owned()].into();
    let mut book = book("UTC", vec![staff, rule(Effect::HoldOpen, "everybody", "sat", "09:00", "12:00")]);
    book.passback_s = 600;
    book.direction = Direction::Both;
    book.holidays.push(Holiday { dates: "2026-05-01".parse().unwrap(), name: "May".into(), yearly: true });
    book.people[0].terms.valid_until = Some(ts("2026-11-23T16:00:00Z"));
    book.people[0].terms.entries_left = Some(1);
    let document = Document::from(&book);
    let text = toml::to_string(&document).unwrap();
    assert_eq!(toml::from_str::<Document>(&text).unwrap(), document, "{text}");
    assert!(toml::from_str::<Document>("passback = 3").is_err());
    assert!(
        toml::from_str::<Document>("[[rule]]\neffect = \"allow\"\nwho = \"staff\"\nday = \"mon\"").is_err()
    );
}

#[test]
fn rules_that_name_doors_count_at_those_and_whoever_is_enrolled_may_leave() {
    let at = |mut rule: Rule, doors: &[&str]| {
        rule.doors = doors.iter().map(|door| (*door).to_owned()).collect();
        rule
    };
    let (entry, lab, exit) = (door("Entry", Side::In), door("lab", Side::In), door("exit", Side::Out));
    let staff = rule(Effect::Allow, "staff", "daily", "07:00", "19:00");
    let mut book =
        book("UTC", vec![at(staff, &["entry"]), rule(Effect::Deny, "cleaners", "sun", "00:00", "24:00")]);
    assert_eq!(book.rules[0].rule.to_string(), "allow staff daily 07:00-19:00, at entry");
    book.people[0].terms.valid_until = Some(ts("2026-11-22T20:00:00Z"));
    book.people[0].terms.entries_left = Some(0);
    let sunday = |place| Now { place, ..now("2026-11-22T12:00:00Z") };
    let ask = |book: &RuleBook, who, now: &Now<'_>| {
        Policy::new(book.clone()).unwrap().decide(who, FACE, &Entries::new(), now)
    };
    book.people[0].terms.entries_left = None;
    assert_eq!(ask(&book, ADA, &sunday(&entry)), Ok(RuleId(1)));
    assert_eq!(ask(&book, ADA, &sunday(&lab)), Err(Refusal::NoRule));
    // Out of hours, out of entries, past her time, and without a clock: she may leave all the same. So may the cleaner.
    book.people[0].terms.entries_left = Some(0);
    let late = Now { place: &exit, clock_trusted: false, ..now("2026-11-22T23:00:00Z") };
    assert_eq!(ask(&book, ADA, &late), Ok(RuleId::WAY_OUT));
    assert_eq!(ask(&book, BOB, &sunday(&exit)), Ok(RuleId::WAY_OUT));
    let steps = Policy::new(book.clone()).unwrap().explain(BOB, FACE, &Entries::new(), &sunday(&exit));
    assert_eq!(steps.last(), Some(&Step { subject: Subject::Rule(RuleId::WAY_OUT), says: Says::Admits }));
    // Not in lockdown, not while faces are off, and not whom a rule keeps in that names the door.
    let off = Now { gate: Gate::Off, ..late };
    assert_eq!(ask(&book, ADA, &off), Err(Refusal::FaceOff));
    let locked = RuleBook { lockdown: true, ..book.clone() };
    assert_eq!(ask(&locked, ADA, &late), Err(Refusal::Lockdown));
    let deny = at(rule(Effect::Deny, "cleaners", "daily", "00:00", "24:00"), &["exit"]);
    book.rules.push(NumberedRule { id: RuleId(3), rule: deny });
    assert_eq!(ask(&book, BOB, &sunday(&exit)), Err(Refusal::Denied(RuleId(3))));
    assert_eq!(ask(&book, ADA, &sunday(&exit)), Ok(RuleId::WAY_OUT));
    // Where a rule lets some out, it is for the others as well.
    let allow = at(rule(Effect::Allow, "staff", "daily", "07:00", "19:00"), &["exit"]);
    book.rules.push(NumberedRule { id: RuleId(4), rule: allow });
    book.rules.remove(2);
    assert_eq!(ask(&book, BOB, &sunday(&exit)), Err(Refusal::NoRule));
    assert_eq!(ask(&book, ADA, &sunday(&exit)), Ok(RuleId(4)));
    // Open hours are those of the doors they name.
    let hold = at(rule(Effect::HoldOpen, "everybody", "daily", "00:00", "24:00"), &["lab"]);
    book.rules.push(NumberedRule { id: RuleId(5), rule: hold });
    let policy = Policy::new(book).unwrap();
    let held = |place| policy.hold_open(&Entries::new(), &sunday(place)).is_some();
    assert_eq!((held(&entry), held(&lab), held(&exit)), (false, true, false));
    let there = ["entry", "exit"];
    let unknown: Vec<_> = policy.book().rules.iter().flat_map(|n| n.rule.unknown_doors(&there)).collect();
    assert_eq!(unknown, ["lab"]);
}

#[test]
fn anti_passback_by_direction_is_one_of_the_steps() {
    let mut book = book("UTC", vec![always()]);
    book.direction = Direction::Both;
    let mut policy = Policy::new(book).unwrap();
    let (entry, exit) = (door("entry", Side::In), door("exit", Side::Out));
    let at = |place, time| Now { place, ..now(time) };
    let noon = "2026-11-23T12:00:00Z";
    policy.set_passage(ADA, "inside", Some(Passage::through(&entry, ts(noon))));
    let later = "2026-11-23T12:01:00Z";
    let steps = policy.explain(ADA, FACE, &Entries::new(), &at(&entry, later));
    let refusal = Refusal::IsInside { ago: Duration::from_secs(60) };
    assert_eq!(
        steps.last(),
        Some(&Step { subject: Subject::Passback, says: Says::Refuses(refusal.clone()) })
    );
    assert_eq!(
        policy.words(&refusal),
        "anti-passback: is inside since 60 s, must leave first (or: accessd policy forgive)"
    );
    assert_eq!(policy.decide(ADA, FACE, &Entries::new(), &at(&exit, later)), Ok(RuleId::WAY_OUT));
    assert_eq!(policy.decide(BOB, FACE, &Entries::new(), &at(&entry, later)), Ok(RuleId(1)));
    policy.set_passage(ADA, "inside", Some(Passage::through(&exit, ts(later))));
    assert!(policy.decide(ADA, FACE, &Entries::new(), &at(&exit, later)).is_err());
    policy.set_passage(ADA, "inside", None);
    assert!(policy.decide(ADA, FACE, &Entries::new(), &at(&exit, later)).is_ok());
}

#[test]
fn ten_thousand_people_and_two_hundred_rules_take_less_than_a_millisecond() {
    let groups: Vec<String> = (0..100).map(|n| format!("group{n}")).collect();
    let rules = (0..200).map(|n| {
        let effect = if n % 4 == 0 { Effect::Deny } else { Effect::Allow };
        let mut rule = rule(effect, &groups[n % 100], "mon-fri", "22:00", "06:00");
        rule.when.holidays = OnHolidays::Not;
        rule
    });
    let mut book = book("Europe/Berlin", rules.collect());
    book.holidays = (1..=28)
        .map(|day| Holiday {
            dates: format!("2026-02-{day:02}").parse().unwrap(),
            name: "h".into(),
            yearly: true,
        })
        .collect();
    book.people = (0..10_000)
        .map(|n| {
            let mut row = person(PersonId(n), "P", &[]);
            row.terms.groups = groups.iter().cloned().collect();
            row
        })
        .collect();
    let policy = Policy::new(book).unwrap();
    let at = now("2026-11-23T12:00:00Z");
    let entries: Entries = (0..10_000).map(|n| (PersonId(n), Entry { wall: at.wall, mono: None })).collect();
    let rounds: u32 = 500;
    let begun = std::time::Instant::now();
    for n in 0..rounds {
        assert_eq!(policy.decide(PersonId(n.into()), FACE, &entries, &at), Err(Refusal::NoRule));
    }
    let each = begun.elapsed() / rounds;
    println!("a decision takes {each:?}");
    assert!(each <= Duration::from_millis(1), "{each:?}");
}

fn any_with() -> impl Strategy<Value = With> {
    prop_oneof![Just(With::Face), Just(With::FaceAndPin), Just(With::FaceOrPin)]
}

prop_compose! {
    fn any_risks()(risks in prop::array::uniform3(prop_oneof![Just(OnRisk::Ignore), Just(OnRisk::PinIfSet), Just(OnRisk::Pin)]), clock_asks: bool) -> Risks {
        let [look_alike, liveness, threshold] = risks;
        Risks { look_alike, liveness, threshold, clock_asks }
    }
}

prop_compose! {
    /// What somebody with or without a PIN can show.
    fn any_shown()(face in prop::option::of((any::<bool>(), any::<bool>())), pin: bool) -> Shown {
        Shown { face: face.map(|(look_alike, unproven)| Doubts { look_alike, unproven }), pin }
    }
}

prop_compose! {
    fn any_rule()(
        effect in prop_oneof![Just(Effect::Allow), Just(Effect::Deny), Just(Effect::HoldOpen)],
        who in prop_oneof![Just("everybody"), Just("staff"), Just("cleaners")],
        days in prop_oneof![Just("daily"), Just("mon-fri"), Just("sat,sun"), Just("tue")],
        from in 0..24_u16, until in 0..=24_u16,
        holidays in prop_oneof![Just(OnHolidays::Too), Just(OnHolidays::Not), Just(OnHolidays::Only)],
        first in prop::option::of(prop_oneof![Just("everybody"), Just("staff")]),
        with in any_with(),
    ) -> Rule {
        let mut rule = rule(effect, who, days, &format!("{from}:00"), &format!("{until}:00"));
        rule.when.holidays = holidays;
        rule.after_first = first.map(|who| who.parse().unwrap());
        rule.with = if effect == Effect::Allow { with } else { With::Face };
        rule
    }
}

prop_compose! {
    fn any_book()(
        rules in prop::collection::vec(any_rule(), 0..8),
        zone in prop_oneof![Just("UTC"), Just("Europe/Berlin"), Just("America/New_York"), Just("Australia/Lord_Howe")],
        from in prop::option::of(0..20_000_i64), until in prop::option::of(0..20_000_i64),
        entries_left in prop::option::of(0..3_u32), passback_s in prop_oneof![Just(0), 1..100_000_u32],
        lockdown in prop::bool::weighted(0.1), with in prop::option::of(any_with()), has_pin: bool,
    ) -> RuleBook {
        let mut book = RuleBook { lockdown, passback_s, ..book(zone, rules) };
        book.holidays.push(Holiday { dates: "2026-01-01..2026-01-03".parse().unwrap(), name: "new year".into(), yearly: true });
        let at = |hours: Option<i64>| hours.map(|h| ts("2026-01-01T00:00:00Z") + Duration::from_secs(h.unsigned_abs() * 3600));
        (book.people[0].terms.valid_from, book.people[0].terms.valid_until) = (at(from), at(until));
        book.people[0].terms.entries_left = entries_left;
        book.people[0].terms.with = with;
        book.people[0].has_pin = has_pin;
        book
    }
}

proptest! {
    #[test]
    fn nobody_is_ever_let_in_against_a_limit(
        book in any_book(), minute in 0..1_200_000_u64, entered in prop::option::of(0..1_200_000_u64), clock_trusted: bool, paused: bool, shown in any_shown(),
    ) {
        let moment = |minute: u64| ts("2026-01-01T00:00:00Z") + Duration::from_secs(minute * 60);
        let gate = if paused { Gate::Off } else { Gate::Open };
        let now = Now { wall: moment(minute), mono: None, clock_trusted, threshold_supported: true, gate, place: &DOOR };
        let entries: Entries = entered.map(|m| (ADA, Entry { wall: moment(m), mono: None })).into_iter().collect();
        let policy = Policy::new(book.clone()).unwrap();
        // Nobody types the PIN of somebody who has none.
        let shown = Shown { pin: shown.pin && book.people[0].has_pin, ..shown };
        let decided = policy.decide(ADA, shown, &entries, &now);
        // The explanation is of the same judgement.
        let last = policy.explain(ADA, shown, &entries, &now).pop().unwrap();
        match &decided {
            Ok(rule) => prop_assert_eq!(last, Step { subject: Subject::Rule(*rule), says: Says::Admits }),
            Err(refusal) => prop_assert_eq!(last.says, Says::Refuses(refusal.clone())),
        }
        prop_assert_eq!(policy.decide(PersonId(99), shown, &entries, &now), Err(Refusal::NotEnrolled));
        let hold = policy.hold_open(&entries, &now);
        prop_assert!(hold.is_none() || (clock_trusted && !book.lockdown));
        let Ok(rule) = decided else { return Ok(()) };
        let terms = &book.people[0].terms;
        prop_assert!(!book.lockdown && (!paused || shown.pin));
        prop_assert!(terms.valid_from.is_none_or(|from| clock_trusted && from <= now.wall));
        prop_assert!(terms.valid_until.is_none_or(|until| clock_trusted && now.wall < until));
        prop_assert!(terms.entries_left != Some(0));
        let since = entered.and_then(|m| minute.checked_sub(m));
        prop_assert!(since.is_none_or(|minutes| minutes * 60 >= u64::from(book.passback_s)));
        let shown = policy.zone().to_datetime(now.wall);
        let covers = |id: RuleId| {
            // What the clock on the wall shows, the slow way: minute by minute within the hours of the rule.
            let rule = &book.rules.iter().find(|n| n.id == id).unwrap().rule;
            let free = |date| book.holidays.iter().any(|h| h.has(date));
            rule.when.is_always() || (clock_trusted && rule.when.window(shown, free).is_some())
        };
        prop_assert!(covers(rule));
        let effect = |id: RuleId| book.rules.iter().find(|n| n.id == id).unwrap().rule.effect;
        prop_assert_eq!(effect(rule), Effect::Allow);
        let denied = book.rules.iter().any(|n| {
            n.rule.effect == Effect::Deny && n.rule.after_first.is_none() && terms.is_of(&n.rule.who) && covers(n.id)
        });
        prop_assert!(!denied);
    }

    /// Nobody without what is needed; who shows more is not worse off; and whoever is asked for a PIN comes in by it.
    #[test]
    fn nobody_is_ever_let_in_without_the_factor_that_is_needed(
        book in any_book(), minute in 0..1_200_000_u64, clock_trusted: bool, supported: bool, gate in 0..3_u8,
        shown in any_shown(), risks in any_risks(),
    ) {
        let has_pin = book.people[0].has_pin;
        let shown = Shown { pin: shown.pin && has_pin, ..shown };
        let gate = [Gate::Open, Gate::Paused(Duration::from_secs(9)), Gate::Off][usize::from(gate)];
        let wall = ts("2026-01-01T00:00:00Z") + Duration::from_secs(minute * 60);
        let now = Now { wall, mono: None, clock_trusted, threshold_supported: supported, gate, place: &DOOR };
        let entries = Entries::new();
        let policy = Policy::new(book.clone()).unwrap().with_risks(risks);
        let decide = |shown| policy.decide(ADA, shown, &entries, &now);
        let nothing = Shown::default();
        prop_assert!(decide(nothing).is_err());
        let decided = decide(shown);
        let with_pin = Shown { pin: true, ..shown };
        if has_pin && decided.is_ok() {
            prop_assert!(decide(with_pin).is_ok(), "a PIN besides keeps nobody out");
        }
        if let Err(Refusal::NeedsPin(..)) = decided {
            prop_assert!(has_pin && !shown.pin && shown.face.is_some());
            prop_assert!(decide(with_pin).is_ok(), "nobody is asked in vain");
        }
        let Ok(id) = decided else { return Ok(()) };
        let rule = &book.rules.iter().find(|n| n.id == id).unwrap().rule;
        let with = book.people[0].terms.with.unwrap_or(rule.with);
        match shown {
            Shown { face: None, pin } => prop_assert!(pin && with == With::FaceOrPin),
            Shown { face: Some(_), pin: true } => {}
            Shown { face: Some(doubts), pin: false } => {
                prop_assert!(with != With::FaceAndPin && gate == Gate::Open);
                let borne = |doubt: bool, risk| !doubt || risk == OnRisk::Ignore || (risk == OnRisk::PinIfSet && !has_pin);
                prop_assert!(borne(doubts.look_alike, risks.look_alike));
                prop_assert!(borne(doubts.unproven, risks.liveness));
                prop_assert!(borne(!supported, risks.threshold));
                prop_assert!(clock_trusted || (rule.when.is_always() && rule.after_first.is_none()), "the clock asks for a PIN");
            }
        }
        prop_assert!(!book.lockdown);
    }

    /// Day by day and minute by minute, in another way than the schedule does it.
    #[test]
    fn a_window_is_what_a_watch_would_say(from in 0..1440_u16, until in 0..=1440_u16, day in 0..800_i32, minute in 0..1440_u16, days in 1..128_u8) {
        let text = |m: u16| format!("{}:{:02}", m / 60, m % 60);
        let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let list: Vec<&str> = (0..7).filter(|d| days & (1 << d) != 0).map(|d| names[d]).collect();
        let rule = rule(Effect::Allow, "everybody", &list.join(","), &text(from), &text(until));
        // 1 January 2026 is a Thursday, number 3 from Monday.
        let date = "2026-01-01".parse::<jiff::civil::Date>().unwrap().checked_add(jiff::Span::new().days(day)).unwrap();
        let shown = date.at((minute / 60) as i8, (minute % 60) as i8, 0, 0);
        let on = |number: i32| days & (1 << (3 + number).rem_euclid(7)) != 0;
        let length = if until > from { until - from } else { until + 1440 - from };
        let begun_today = on(day) && minute >= from && minute - from < length;
        let begun_yesterday = on(day - 1) && minute + 1440 - from < length;
        prop_assert_eq!(rule.when.window(shown, |_| false).is_some(), begun_today || begun_yesterday);
    }
}
