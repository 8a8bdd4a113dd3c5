use proptest::prelude::*;

use super::*;
use crate::journal::record_grant;

const PULSE_MS: u64 = 5_000;

fn at(ms: u64) -> MonoTime {
    MonoTime::from_millis(ms)
}

fn granted(decided_ms: u64) -> Input {
    let grant = Grant::for_tests(1, "Ada", at(decided_ms));
    Input::Grant(
        record_grant(crate::policy::Admitted::for_tests(grant), &Default::default(), |_| {
            Ok::<_, ()>(EventId(12))
        })
        .unwrap(),
    )
}

fn operator(order: Order) -> Input {
    Input::Operator { order, who: "uid 0".into() }
}

fn hold_open(s: u64) -> Input {
    operator(Order::HoldOpen(Duration::from_secs(s)))
}

fn sensed(sensor: Sensor, active: bool, since_ms: u64) -> Input {
    Input::Sensed { sensor, active, since: at(since_ms) }
}

fn rules(relock: Relock) -> Rules {
    Rules { pulse: Pulse::from_millis(PULSE_MS).unwrap(), relock, held_open_after: Duration::from_secs(30) }
}

fn fresh_door() -> Door {
    Door::new(rules(Relock::Timeout))
}

fn started(now_ms: u64) -> Door {
    start(fresh_door(), now_ms)
}

/// A door that has read its inputs: button released, leaf closed.
fn start(mut door: Door, now_ms: u64) -> Door {
    assert_eq!(door.handle(Input::Start, at(now_ms)), locked("start"));
    assert_eq!(door.handle(sensed(Sensor::Rex, false, now_ms), at(now_ms)), []);
    assert_eq!(door.handle(sensed(Sensor::Contact, false, now_ms), at(now_ms)), []);
    assert_eq!(door.handle(sensed(Sensor::Tamper, false, now_ms), at(now_ms)), []);
    door
}

fn locked(why: &str) -> Vec<Action> {
    vec![Action::Lock { why: why.into() }]
}

fn unlocked(until_ms: u64) -> Vec<Action> {
    vec![Action::Unlock { until: at(until_ms), why: "grant 12 for Ada".into() }]
}

/// `L`: lock, `U`: unlock, `D`: a grant was dropped, `R`: exit button, `S`: it is stuck, `o`, `c`: opened, closed,
/// `F`: forced, `H`: held open, `T`, `t`: tampered, no more.
fn letters(actions: &[Action]) -> String {
    actions
        .iter()
        .map(|action| match action {
            Action::Unlock { .. } => 'U',
            Action::Lock { .. } => 'L',
            Action::Report(_) => 'D',
            Action::Notice(Notice::Rex) => 'R',
            Action::Notice(Notice::RexStuck) => 'S',
            Action::Notice(Notice::Tamper(true)) => 'T',
            Action::Notice(Notice::Tamper(false)) => 't',
            Action::Notice(Notice::Leaf(LeafNotice::Opened)) => 'o',
            Action::Notice(Notice::Leaf(LeafNotice::Closed { .. })) => 'c',
            Action::Notice(Notice::Leaf(LeafNotice::Forced)) => 'F',
            Action::Notice(Notice::Leaf(LeafNotice::HeldOpen { .. })) => 'H',
        })
        .collect()
}

#[test]
fn pulses_are_bounded_and_the_message_says_how() {
    for ms in [3_000, 5_000, 60_000] {
        assert_eq!(Pulse::from_millis(ms).unwrap().duration(), Duration::from_millis(ms));
    }
    for ms in [0, 2_999, 60_001, u64::MAX] {
        let message = Pulse::from_millis(ms).unwrap_err().to_string();
        assert!(message.starts_with(&format!("a pulse of {ms} ms is out of range: choose 3000 to 60000 ms")));
    }
}

#[test]
fn every_state_meets_every_input() {
    let not_started = |_: u64| fresh_door();
    let open = |now_ms| {
        let mut door = started(now_ms);
        assert_eq!(door.handle(granted(now_ms), at(now_ms)), unlocked(now_ms + PULSE_MS));
        door
    };
    let held = |now_ms| {
        let mut door = started(now_ms);
        assert_eq!(letters(&door.handle(hold_open(3_600), at(now_ms))), "U");
        door
    };
    let pressed = |now_ms| {
        let mut door = started(now_ms);
        assert_eq!(letters(&door.handle(sensed(Sensor::Rex, true, now_ms), at(now_ms))), "UR");
        door
    };
    let press = |ms| sensed(Sensor::Rex, true, ms);
    type Table<'a> = [(&'a str, &'a dyn Fn(u64) -> Door, Input, u64, &'a str, bool)];
    let table: &mut Table = &mut [
        ("not started, start", &not_started, Input::Start, 10_000, "L", false),
        ("not started, lock", &not_started, Input::Lock("stop"), 10_000, "L", false),
        ("not started, tick", &not_started, Input::Tick, 10_000, "", false),
        ("not started, grant", &not_started, granted(10_000), 10_000, "D", false),
        ("not started, operator", &not_started, operator(Order::Unlock), 10_000, "", false),
        ("not started, hold open", &not_started, hold_open(60), 10_000, "", false),
        ("locked, start", &started, Input::Start, 10_000, "L", false),
        ("locked, lock", &started, Input::Lock("stop"), 10_000, "L", false),
        ("locked, tick", &started, Input::Tick, 99_000, "", false),
        ("locked, grant", &started, granted(10_000), 10_000, "U", true),
        ("locked, grant written slowly", &started, granted(10_000), 12_000, "U", true),
        ("locked, grant too late", &started, granted(10_000), 12_001, "LD", false),
        ("locked, grant from the future", &started, granted(10_001), 10_000, "LD", false),
        ("locked, grant, clock back", &started, granted(9_000), 9_000, "LD", false),
        ("locked, tick, clock back", &started, Input::Tick, 9_000, "L", false),
        ("locked, exit button", &started, press(10_000), 10_030, "UR", true),
        ("locked, exit button, clock back", &started, press(9_000), 9_030, "UR", true),
        ("locked, operator unlocks", &started, operator(Order::Unlock), 10_000, "U", true),
        ("locked, operator holds open", &started, hold_open(60), 10_000, "U", true),
        ("locked, operator locks", &started, operator(Order::Lock), 10_000, "L", false),
        ("locked, guard locked", &started, Input::Lost("guard".into()), 10_000, "L", false),
        ("unlocked, start", &open, Input::Start, 11_000, "L", false),
        ("unlocked, lock", &open, Input::Lock("stop"), 11_000, "L", false),
        ("unlocked, guard locked", &open, Input::Lost("guard".into()), 11_000, "L", false),
        ("unlocked, tick early", &open, Input::Tick, 14_999, "", true),
        ("unlocked, tick in time", &open, Input::Tick, 15_000, "L", false),
        ("unlocked, tick late", &open, Input::Tick, 900_000, "L", false),
        ("unlocked, grant", &open, granted(11_000), 11_000, "U", true),
        ("unlocked, grant too late", &open, granted(10_000), 12_001, "LD", false),
        ("unlocked, tick, clock back", &open, Input::Tick, 9_999, "L", false),
        ("unlocked, grant, clock back", &open, granted(9_999), 9_999, "LD", false),
        ("unlocked, contact, clock back", &open, sensed(Sensor::Contact, false, 9_999), 9_999, "L", false),
        ("unlocked, exit button, clock back", &open, press(9_999), 9_999, "LUR", true),
        ("unlocked, exit button", &open, press(11_000), 11_030, "UR", true),
        ("unlocked, operator locks", &open, operator(Order::Lock), 11_000, "L", false),
        ("unlocked, operator holds open", &open, hold_open(60), 11_000, "U", true),
        ("held open, grant", &held, granted(11_000), 11_000, "", true),
        ("held open, exit button", &held, press(11_000), 11_030, "R", true),
        ("held open, operator locks", &held, operator(Order::Lock), 11_000, "L", false),
        ("held open, shorter", &held, hold_open(60), 11_000, "U", true),
        ("held open, its time over", &held, Input::Tick, 3_610_000, "L", false),
        ("held open, stop", &held, Input::Lock("stop"), 11_000, "L", false),
        ("exit button held, tick at half", &pressed, Input::Tick, 12_500, "U", true),
        ("exit button held, tick late", &pressed, Input::Tick, 15_000, "U", true),
        ("exit button held, operator locks", &pressed, operator(Order::Lock), 11_000, "U", true),
        ("exit button held, stop", &pressed, Input::Lock("stop"), 11_000, "L", false),
        ("exit button released", &pressed, sensed(Sensor::Rex, false, 11_000), 11_030, "", true),
    ];
    for (story, state, input, now_ms, actions, unlocked) in table {
        let mut door = state(10_000);
        let input = std::mem::replace(input, Input::Tick);
        assert_eq!(letters(&door.handle(input, at(*now_ms))), *actions, "{story}");
        assert_eq!(door.is_unlocked(), *unlocked, "{story}");
        assert_eq!(door.next_deadline().is_some(), *unlocked, "{story}");
    }
}

#[test]
fn rebooting_does_not_open_the_door() {
    let mut door = fresh_door();
    assert!(!door.is_unlocked());
    assert_eq!(door.handle(Input::Tick, at(50)), []);
    assert_eq!(door.handle(Input::Start, at(100)), locked("start"));
    // Nor does an exit button on the wrong level, or a door that stands open.
    assert_eq!(letters(&door.handle(sensed(Sensor::Rex, true, 100), at(130))), "S");
    assert_eq!(letters(&door.handle(sensed(Sensor::Contact, true, 100), at(130))), "o");
    assert_eq!(door.handle(Input::Tick, at(200)), []);
    assert!(!door.is_unlocked());
    assert!(door.alarms()[0].contains("check its wiring"));
    assert_eq!(letters(&door.handle(sensed(Sensor::Rex, false, 300), at(330))), "");
    assert_eq!(letters(&door.handle(sensed(Sensor::Rex, true, 400), at(430))), "UR", "once it was released");
}

#[test]
fn nothing_that_opens_survives_a_restart() {
    let mut door = started(1_000);
    let _ = door.handle(hold_open(3_600), at(1_000));
    assert!(door.is_held_open());
    // The next process starts with a new door.
    assert!(!start(fresh_door(), 2_000).is_held_open());
    // And so does one that is started again within the process.
    assert_eq!(door.handle(Input::Start, at(2_000)), locked("start"));
    assert!(!door.is_unlocked() && !door.is_held_open());
}

#[test]
fn relocking_needs_no_sleeping_thread_only_the_next_tick() {
    let mut door = started(1_000);
    assert_eq!(door.handle(granted(2_000), at(2_100)), unlocked(7_100));
    assert_eq!(door.next_deadline(), Some(at(7_100)));
    assert_eq!(door.handle(Input::Tick, at(60_000)), locked("the pulse is over"), "however late it comes");
    assert_eq!(door.next_deadline(), None);
}

#[test]
fn grants_in_a_row_never_add_up() {
    let mut door = started(1_000);
    for ms in 2_000..2_100 {
        assert_eq!(door.handle(granted(ms), at(ms)), unlocked(ms + PULSE_MS));
    }
    assert_eq!(door.next_deadline(), Some(at(2_099 + PULSE_MS)), "one pulse after the last grant");
}

#[test]
fn a_grant_that_was_recorded_after_the_person_left_opens_nothing_and_is_reported() {
    let mut door = started(1_000);
    let [Action::Lock { .. }, Action::Report(dropped)] = &door.handle(granted(2_000), at(10_000))[..] else {
        panic!("8 s late");
    };
    assert_eq!((dropped.event, dropped.person, dropped.name.as_str()), (EventId(12), PersonId(1), "Ada"));
    assert!(dropped.why.contains("too late"), "{}", dropped.why);
}

#[test]
fn the_strike_is_told_a_level_and_never_to_toggle() {
    let mut door = started(1_000);
    for ms in 1_001..1_010 {
        assert_eq!(door.handle(Input::Lock("stop"), at(ms)), locked("stop"));
        assert!(!door.is_unlocked());
    }
}

#[test]
fn one_wrong_time_does_not_keep_the_door_locked_for_good() {
    let mut door = started(1_000);
    assert_eq!(door.handle(Input::Tick, at(9_000_000)), []);
    assert_eq!(door.handle(Input::Tick, at(2_000)), locked("the clock ran backwards"));
    assert_eq!(door.handle(granted(2_100), at(2_100)), unlocked(7_100));
}

#[test]
fn a_held_exit_button_keeps_the_door_open_and_a_released_one_lets_it_lock() {
    let mut door = started(1_000);
    assert_eq!(letters(&door.handle(sensed(Sensor::Rex, true, 2_000), at(2_030))), "UR");
    for ms in (2_100..120_000).step_by(100) {
        let _ = door.handle(Input::Tick, at(ms));
        assert!(door.is_unlocked(), "{ms}");
    }
    assert_eq!(letters(&door.handle(sensed(Sensor::Rex, false, 120_000), at(120_030))), "");
    let deadline = door.next_deadline().unwrap();
    assert!(deadline <= at(120_030 + PULSE_MS));
    assert_eq!(door.handle(Input::Tick, deadline), locked("the pulse is over"));
}

#[test]
fn the_door_locks_when_it_is_opened_or_closed_if_it_is_set_so() {
    for (relock, opened, closed) in
        [(Relock::Timeout, "o", "c"), (Relock::OnOpen, "Lo", "c"), (Relock::OnClose, "o", "Lc")]
    {
        let mut door = start(Door::new(rules(relock)), 1_000);
        let _ = door.handle(granted(2_000), at(2_000));
        assert_eq!(
            letters(&door.handle(sensed(Sensor::Contact, true, 3_000), at(3_030))),
            opened,
            "{relock:?}"
        );
        assert_eq!(
            letters(&door.handle(sensed(Sensor::Contact, false, 4_000), at(4_030))),
            closed,
            "{relock:?}"
        );
        assert_eq!(door.is_unlocked(), relock == Relock::Timeout);
        // Not while an operator holds it open, nor while somebody presses the exit button.
        let _ = door.handle(hold_open(60), at(5_000));
        assert_eq!(letters(&door.handle(sensed(Sensor::Contact, true, 6_000), at(6_030))), "o");
        assert_eq!(letters(&door.handle(sensed(Sensor::Contact, false, 7_000), at(7_030))), "c");
        assert!(door.is_held_open());
        let _ = door.handle(operator(Order::Lock), at(8_000));
        let _ = door.handle(sensed(Sensor::Rex, true, 9_000), at(9_030));
        assert_eq!(letters(&door.handle(sensed(Sensor::Contact, true, 9_500), at(9_530))), "o");
        assert!(door.is_unlocked());
    }
}

#[test]
fn an_opening_is_forced_unless_the_strike_let_it_open_then() {
    // Unlocked from 2000 to 7000.
    let opened = |since_ms: u64, told_ms: u64| {
        let mut door = started(1_000);
        let mut events = vec![(2_000, granted(2_000)), (7_000, Input::Tick)];
        events.push((told_ms, sensed(Sensor::Contact, true, since_ms)));
        events.sort_by_key(|(ms, _)| *ms);
        events.into_iter().map(|(ms, input)| letters(&door.handle(input, at(ms)))).collect::<String>()
    };
    assert_eq!(opened(1_500, 1_530), "oFUL", "before");
    assert_eq!(opened(1_999, 2_029), "UoFL", "before, and told after it was unlocked");
    assert_eq!(opened(2_000, 2_030), "UoL");
    assert_eq!(opened(6_990, 7_020), "ULo", "before, and told after it was locked");
    assert_eq!(opened(8_000, 8_030), "ULo", "the bolt takes its time");
    assert_eq!(opened(8_001, 8_031), "ULoF");
}

#[test]
fn a_door_that_an_operator_holds_open_raises_no_alarm_before_that_is_over() {
    let mut door = started(1_000);
    let _ = door.handle(hold_open(3_600), at(1_000));
    let _ = door.handle(sensed(Sensor::Contact, true, 2_000), at(2_030));
    for s in 3..3_601 {
        assert_eq!(door.handle(Input::Tick, at(s * 1_000)), [], "{s}");
    }
    assert_eq!(letters(&door.handle(Input::Tick, at(3_601_000))), "L");
    assert_eq!(letters(&door.handle(Input::Tick, at(3_629_000))), "");
    assert_eq!(letters(&door.handle(Input::Tick, at(3_631_000))), "H");
    assert_eq!(door.alarms(), ["the door is held open"]);
    assert_eq!(letters(&door.handle(sensed(Sensor::Contact, false, 3_640_000), at(3_640_030))), "c");
    assert!(door.alarms().is_empty());
}

#[test]
fn nobody_holds_a_door_open_for_ever() {
    let mut door = started(1_000);
    let _ = door.handle(operator(Order::HoldOpen(Duration::MAX)), at(1_000));
    assert_eq!(door.next_deadline(), Some(at(1_000) + MAX_HOLD_OPEN));
}

#[test]
fn tampering_is_told_once_and_its_end_too() {
    let mut door = started(1_000);
    let told: Vec<String> = [true, true, false, false]
        .into_iter()
        .map(|open| letters(&door.handle(sensed(Sensor::Tamper, open, 2_000), at(2_030))))
        .collect();
    assert_eq!(told, ["T", "", "t", ""]);
}

#[derive(Clone, Debug)]
enum Step {
    Start,
    Grant { age_ms: u64 },
    Tick,
    Lock,
    Lost,
    Sensed(Sensor, bool),
    Unlock,
    LockByHand,
    HoldOpen { s: u64 },
}

fn steps(most: usize) -> impl Strategy<Value = Vec<(Step, u64, bool)>> {
    let sensor = prop_oneof![Just(Sensor::Rex), Just(Sensor::Contact), Just(Sensor::Tamper)];
    let step = prop_oneof![
        1 => Just(Step::Start),
        6 => (0..3_000_u64).prop_map(|age_ms| Step::Grant { age_ms }),
        10 => Just(Step::Tick),
        2 => Just(Step::Lock),
        1 => Just(Step::Lost),
        8 => (sensor, any::<bool>()).prop_map(|(sensor, active)| Step::Sensed(sensor, active)),
        2 => Just(Step::Unlock),
        2 => Just(Step::LockByHand),
        1 => (0..100_000_u64).prop_map(|s| Step::HoldOpen { s }),
    ];
    // Now and then time goes backwards.
    prop::collection::vec((step, 0..4_000_u64, prop::bool::weighted(0.05)), 1..most)
}

/// What an observer knows without looking into the door.
struct Observer {
    door: Door,
    now_ms: u64,
    unlocked: bool,
    /// Until then it may be unlocked, by what it was told.
    excuse_ms: u64,
    pressed: bool,
    seen_released: bool,
    leaf: Option<bool>,
    opened: u64,
    closed: u64,
}

impl Observer {
    fn new(relock: Relock) -> Self {
        Self {
            door: Door::new(rules(relock)),
            now_ms: 100_000,
            unlocked: false,
            excuse_ms: 0,
            pressed: false,
            seen_released: false,
            leaf: None,
            opened: 0,
            closed: 0,
        }
    }

    /// One step, and everything that must hold after it.
    fn step(&mut self, step: &Step, gap_ms: u64, back: bool) {
        self.now_ms = if back { self.now_ms - gap_ms } else { self.now_ms + gap_ms };
        let now_ms = self.now_ms;
        let excuse = |ms: u64| now_ms + ms;
        let input = match *step {
            Step::Start => Input::Start,
            Step::Grant { age_ms } => {
                if age_ms <= 2_000 {
                    self.excuse_ms = self.excuse_ms.max(excuse(PULSE_MS));
                }
                granted(now_ms - age_ms)
            }
            Step::Tick => Input::Tick,
            Step::Lock => Input::Lock("stop"),
            Step::Lost => Input::Lost("the guard".into()),
            Step::Sensed(sensor, active) => {
                if sensor == Sensor::Rex {
                    self.pressed = active && self.seen_released;
                    self.seen_released |= !active;
                }
                if sensor == Sensor::Contact {
                    self.leaf = Some(active);
                }
                sensed(sensor, active, now_ms)
            }
            Step::Unlock => {
                self.excuse_ms = self.excuse_ms.max(excuse(PULSE_MS));
                operator(Order::Unlock)
            }
            Step::LockByHand => operator(Order::Lock),
            Step::HoldOpen { s } => {
                self.excuse_ms = self.excuse_ms.max(excuse(s.min(MAX_HOLD_OPEN.as_secs()) * 1_000));
                hold_open(s)
            }
        };
        if self.pressed {
            self.excuse_ms = self.excuse_ms.max(excuse(PULSE_MS));
        }
        let before = self.unlocked;
        for action in self.door.handle(input, at(now_ms)) {
            match action {
                Action::Unlock { until, .. } => {
                    assert!(until > at(now_ms) || matches!(step, Step::HoldOpen { s: 0 }));
                    assert!(until <= at(self.excuse_ms), "unlocked for longer than anything allows");
                    self.unlocked = true;
                }
                Action::Lock { .. } => self.unlocked = false,
                Action::Report(_) => assert!(!self.unlocked, "a dropped grant leaves the door locked"),
                Action::Notice(Notice::Leaf(LeafNotice::Opened)) => self.opened += 1,
                Action::Notice(Notice::Leaf(LeafNotice::Closed { .. })) => self.closed += 1,
                Action::Notice(_) => {}
            }
        }
        assert_eq!(self.unlocked, self.door.is_unlocked());
        let opens = matches!(
            step,
            Step::Grant { age_ms: 0..=2_000 }
                | Step::Unlock
                | Step::HoldOpen { .. }
                | Step::Sensed(Sensor::Rex, true)
        );
        assert!(before || !self.unlocked || opens, "opened by {step:?}");
        assert!(!self.unlocked || self.excuse_ms >= now_ms, "unlocked beyond every excuse, after {step:?}");
        if matches!(step, Step::Start | Step::Lock | Step::Lost) {
            assert!(!self.unlocked);
        }
        if self.leaf.is_some() {
            assert_eq!(self.door.leaf_is_open(), self.leaf, "the leaf is what was last read");
        }
        assert!(self.opened == self.closed || self.opened == self.closed + 1);
        if let Some(deadline) = self.door.next_deadline() {
            assert!(deadline <= at(now_ms) + MAX_HOLD_OPEN);
        }
    }
}

fn any_relock() -> impl Strategy<Value = Relock> {
    prop_oneof![Just(Relock::Timeout), Just(Relock::OnOpen), Just(Relock::OnClose)]
}

proptest! {
    #[test]
    fn the_door_is_unlocked_only_as_long_as_something_allows_it(steps in steps(80), relock in any_relock()) {
        let mut observer = Observer::new(relock);
        for (step, gap_ms, back) in steps {
            // The daemon never sleeps past a deadline.
            let then = observer.now_ms + gap_ms;
            while let Some(due) = observer.door.next_deadline().filter(|due| !back && *due < at(then)) {
                let wait = due.as_millis().saturating_sub(observer.now_ms);
                observer.step(&Step::Tick, wait, false);
                if observer.door.next_deadline() == Some(due) {
                    break;
                }
            }
            let gap_ms = if back { gap_ms } else { then - observer.now_ms };
            observer.step(&step, gap_ms, back);
        }
    }
}

/// A door used by people for `hours`, every turn of the daemon's clock that matters.
fn simulate(hours: u64, mut seed: u64) -> (u64, u64) {
    let mut random = move |below: u64| {
        // SplitMix64, by Sebastiano Vigna.
        seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    };
    let relock = [Relock::Timeout, Relock::OnOpen, Relock::OnClose][random(3) as usize];
    let mut observer = Observer::new(relock);
    observer.step(&Step::Start, 0, false);
    let end = observer.now_ms + hours * 3_600_000;
    let mut openings = 0;
    while observer.now_ms < end {
        // Busy hours and quiet ones: from a tenth of a second to an hour until the next thing happens.
        let gap = 100 << random(16);
        let then = observer.now_ms + gap;
        while let Some(due) = observer.door.next_deadline().filter(|due| *due <= at(then)) {
            let wait = due.as_millis().saturating_sub(observer.now_ms);
            observer.step(&Step::Tick, wait, false);
        }
        let step = match random(40) {
            0 => Step::Start,
            1 => Step::Lost,
            2 => Step::HoldOpen { s: 60 << random(9) },
            3..6 => Step::LockByHand,
            6..8 => Step::Unlock,
            8..18 => Step::Grant { age_ms: random(3_000) },
            18..30 => Step::Sensed(Sensor::Contact, random(2) == 0),
            30..36 => Step::Sensed(Sensor::Rex, random(2) == 0),
            36 => Step::Sensed(Sensor::Tamper, random(2) == 0),
            _ => Step::Tick,
        };
        let before = observer.unlocked;
        observer.step(&step, then.saturating_sub(observer.now_ms), false);
        openings += u64::from(!before && observer.unlocked);
    }
    (openings, observer.opened)
}

#[test]
fn a_hundred_doors_for_two_weeks() {
    let (openings, leaf) =
        (0..100).map(|seed| simulate(336, seed)).fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
    assert!(openings > 10_000 && leaf > 10_000, "{openings} openings, the leaf moved {leaf} times");
}

#[test]
#[ignore = "a million simulated hours take a minute or two"]
fn a_hundred_doors_for_a_year_and_more() {
    for seed in 0..100 {
        let (openings, leaf) = simulate(10_000, 1_000 + seed);
        assert!(openings > 0 && leaf > 0);
    }
}
