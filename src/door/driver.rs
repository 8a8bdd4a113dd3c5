//! The hand on the strike: performs what the [`Door`] says, in order, and says what became of it.
//!
//! Stands between the pure controller and the [`Strike`]. It owns both, so nothing else can move the strike, and it
//! owns no thread and no clock. When the strike does not obey, the door counts as locked and locking is tried until
//! the strike has taken it; when the driver goes away, by a return or by a panic, the strike is locked.

use std::time::Duration;

use serde::Serialize;

use super::controller::{Action, Door, DroppedGrant, Input, Notice, Rules};
use super::{RelayError, Strike};
use crate::clock::MonoTime;

/// Pause between two tries to lock a strike that does not obey.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Between two signs of life to the strike.
const BEAT_EVERY: Duration = Duration::from_millis(500);

/// A change of the strike that took place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Transition {
    /// Unlocked or locked.
    pub unlocked: bool,
    /// Why.
    pub why: String,
}

/// What became of one input; all of it belongs in the journal.
#[derive(Debug, Default)]
#[must_use = "what happened at the door belongs in the journal"]
pub struct Handled {
    /// What the strike did, in order. Telling it the level it already has is no transition.
    pub transitions: Vec<Transition>,
    /// What else happened.
    pub notices: Vec<Notice>,
    /// A grant that was not honoured.
    pub dropped: Option<DroppedGrant>,
    /// The strike did not obey. The door is locked as far as it can be; see [`Driver::is_locked`].
    pub fault: Option<RelayError>,
}

/// A door with its strike.
pub struct Driver {
    door: Door,
    strike: Box<dyn Strike>,
    /// What the strike was last seen to take; `None` when it did not obey.
    unlocked: Option<bool>,
    retry_at: Option<MonoTime>,
    beat_at: MonoTime,
}

impl Driver {
    /// Takes over the strike and locks it, whatever it was left at.
    ///
    /// # Errors
    /// When the strike cannot be locked.
    pub fn start(rules: Rules, strike: Box<dyn Strike>, now: MonoTime) -> Result<Self, RelayError> {
        let mut driver =
            Self { door: Door::new(rules), strike, unlocked: None, retry_at: None, beat_at: now };
        match driver.handle(Input::Start, now).fault {
            Some(fault) => Err(fault),
            None => Ok(driver),
        }
    }

    /// Takes one input at `now`, moves the strike accordingly and says what became of it.
    pub fn handle(&mut self, input: Input, now: MonoTime) -> Handled {
        let mut handled = Handled::default();
        if self.retry_at.is_some() && !self.lock_again(&mut handled, now) {
            if let Input::Grant(grant) = input {
                handled.dropped = Some(DroppedGrant::new(grant, "the relay does not obey"));
            }
            return handled;
        }
        if matches!(input, Input::Tick) {
            self.beat(&mut handled, now);
        }
        self.perform(input, &mut handled, now);
        handled
    }

    /// When [`Input::Tick`] is due at the latest.
    pub fn next_deadline(&self) -> Option<MonoTime> {
        self.retry_at.or_else(|| self.door.next_deadline())
    }

    /// The door as it believes itself to be.
    pub fn door(&self) -> &Door {
        &self.door
    }

    /// Whether the door is unlocked.
    pub fn is_unlocked(&self) -> bool {
        self.door.is_unlocked()
    }

    /// Whether the strike is known to be locked: it took the level when it was last told.
    pub fn is_locked(&self) -> bool {
        self.unlocked == Some(false)
    }

    /// The relay as configured, for messages.
    pub fn relay(&self) -> String {
        self.strike.describe()
    }

    fn perform(&mut self, input: Input, handled: &mut Handled, now: MonoTime) {
        for action in self.door.handle(input, now) {
            match action {
                Action::Unlock { until, why } => self.drive(Some(until.since(now)), why, handled, now),
                Action::Lock { why } => self.drive(None, why, handled, now),
                Action::Report(dropped) => handled.dropped = Some(dropped),
                Action::Notice(notice) => handled.notices.push(notice),
            }
        }
    }

    /// Shows the strike that somebody is there, and learns whether it was locked meanwhile.
    fn beat(&mut self, handled: &mut Handled, now: MonoTime) {
        if now.since(self.beat_at) < BEAT_EVERY {
            return;
        }
        self.beat_at = now;
        match self.strike.beat(self.door.is_unlocked()) {
            Ok(None) => {}
            Ok(Some(why)) => self.perform(Input::Lost(why), handled, now),
            Err(fault) => self.failed(fault, handled, now),
        }
    }

    /// Unlocks for some time, or locks.
    fn drive(&mut self, unlock_for: Option<Duration>, why: String, handled: &mut Handled, now: MonoTime) {
        let driven = match unlock_for {
            Some(time) => self.strike.unlock(time, &why),
            None => self.strike.lock(&why),
        };
        match driven {
            Ok(()) => self.note(unlock_for.is_some(), why, handled),
            Err(fault) => self.failed(fault, handled, now),
        }
    }

    fn failed(&mut self, fault: RelayError, handled: &mut Handled, now: MonoTime) {
        handled.fault = Some(fault);
        self.unlocked = None;
        // Its locking is the one tried below.
        let _ = self.door.handle(Input::Lock("relay fault"), now);
        self.lock_again(handled, now);
    }

    /// Tries to lock a strike that did not obey; true when it did now.
    fn lock_again(&mut self, handled: &mut Handled, now: MonoTime) -> bool {
        let why = "locked after a relay fault";
        let locked = self.strike.lock(why).is_ok();
        self.retry_at = (!locked).then(|| now + RETRY_AFTER);
        if locked {
            self.note(false, why.to_owned(), handled);
        }
        locked
    }

    fn note(&mut self, unlocked: bool, why: String, handled: &mut Handled) {
        if self.unlocked.replace(unlocked) != Some(unlocked) {
            handled.transitions.push(Transition { unlocked, why });
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Err(fault) = self.strike.lock("stop") {
            log::error!("the door may be unlocked: {fault}: {}", fault.source);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::access::Grant;
    use crate::door::{DirectStrike, Pulse, Relay, Relock, StrikeKind};
    use crate::journal::{EventId, record_grant};

    /// What a fake relay was told, and which of its next calls fail.
    #[derive(Default)]
    struct Script {
        told: Vec<(bool, String)>,
        failing: VecDeque<bool>,
    }

    #[derive(Clone, Default)]
    struct FakeRelay(Arc<Mutex<Script>>);

    impl FakeRelay {
        fn told(&self) -> String {
            self.0
                .lock()
                .unwrap()
                .told
                .iter()
                .map(|&(energised, _)| if energised { 'E' } else { 'R' })
                .collect()
        }

        fn last_why(&self) -> String {
            self.0.lock().unwrap().told.last().unwrap().1.clone()
        }

        /// `x`: fails, anything else: obeys. Beyond the script it obeys.
        fn script(&self, calls: &str) {
            self.0.lock().unwrap().failing = calls.chars().map(|call| call == 'x').collect();
        }
    }

    impl Relay for FakeRelay {
        fn set(&mut self, energised: bool, why: &str) -> Result<(), RelayError> {
            let mut script = self.0.lock().unwrap();
            script.told.push((energised, why.to_owned()));
            if script.failing.pop_front() == Some(true) {
                let source = io::Error::other("no answer");
                return Err(RelayError {
                    relay: "fake".into(),
                    what: "the line did not move".into(),
                    source,
                });
            }
            Ok(())
        }

        fn describe(&self) -> String {
            "fake".into()
        }
    }

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

    fn start(relay: &FakeRelay) -> Result<Driver, RelayError> {
        start_with(Box::new(DirectStrike::new(Box::new(relay.clone()), StrikeKind::FailSecure)))
    }

    fn start_with(strike: Box<dyn Strike>) -> Result<Driver, RelayError> {
        let rules = Rules {
            pulse: Pulse::from_millis(3_000).unwrap(),
            relock: Relock::Timeout,
            held_open_after: Duration::from_secs(30),
        };
        Driver::start(rules, strike, at(1_000))
    }

    fn levels(handled: &Handled) -> Vec<(bool, &str)> {
        handled.transitions.iter().map(|t| (t.unlocked, t.why.as_str())).collect()
    }

    #[test]
    fn a_grant_opens_for_one_pulse() {
        let relay = FakeRelay::default();
        let mut driver = start(&relay).unwrap();
        assert_eq!((relay.told().as_str(), relay.last_why().as_str()), ("R", "start"));
        assert_eq!(levels(&driver.handle(granted(2_000), at(2_000))), [(true, "grant 12 for Ada")]);
        assert!(driver.is_unlocked() && !driver.is_locked());
        assert_eq!(driver.next_deadline(), Some(at(5_000)));
        assert_eq!(levels(&driver.handle(Input::Tick, at(5_000))), [(false, "the pulse is over")]);
        assert!(!driver.is_unlocked() && driver.is_locked());
        assert_eq!(relay.told(), "RER");
    }

    #[test]
    fn releasing_a_released_relay_is_done_but_is_no_transition() {
        let relay = FakeRelay::default();
        let mut driver = start(&relay).unwrap();
        assert_eq!(levels(&driver.handle(Input::Lock("operator"), at(2_000))), []);
        assert_eq!((relay.told().as_str(), relay.last_why().as_str()), ("RR", "operator"));
    }

    #[test]
    fn a_late_grant_is_handed_back_for_the_journal() {
        let relay = FakeRelay::default();
        let mut driver = start(&relay).unwrap();
        let handled = driver.handle(granted(2_000), at(10_000));
        assert_eq!(handled.dropped.as_ref().map(|dropped| dropped.event), Some(EventId(12)));
        assert_eq!((levels(&handled), relay.told().as_str()), (vec![], "RR"));
    }

    #[test]
    fn a_relay_that_cannot_be_released_does_not_start() {
        let relay = FakeRelay::default();
        relay.script("x");
        let Err(fault) = start(&relay) else { panic!("started") };
        assert_eq!(fault.to_string(), "relay fake: the line did not move");
        assert_eq!(relay.told(), "RRR", "tried again, and once more on the way out");
    }

    #[test]
    fn a_relay_that_fails_to_energise_is_released_and_the_door_is_locked() {
        let relay = FakeRelay::default();
        let mut driver = start(&relay).unwrap();
        relay.script("x");
        let handled = driver.handle(granted(2_000), at(2_000));
        assert!(handled.fault.is_some());
        assert_eq!(levels(&handled), [(false, "locked after a relay fault")]);
        assert_eq!(relay.told(), "RER");
        assert!(!driver.is_unlocked() && driver.is_locked());
        assert_eq!(driver.next_deadline(), None);
    }

    #[test]
    fn a_relay_that_sticks_is_released_until_it_obeys_and_opens_for_nobody_meanwhile() {
        let relay = FakeRelay::default();
        let mut driver = start(&relay).unwrap();
        let _ = driver.handle(granted(2_000), at(2_000));
        relay.script("xxxx");
        let handled = driver.handle(Input::Tick, at(5_000));
        assert!(handled.fault.is_some());
        assert_eq!(levels(&handled), []);
        assert!(!driver.is_unlocked() && !driver.is_locked(), "locked, but the relay has not shown it");
        assert_eq!(driver.next_deadline(), Some(at(5_100)));
        let handled = driver.handle(granted(5_050), at(5_050));
        assert_eq!(handled.dropped.map(|dropped| dropped.why), Some("the relay does not obey"));
        assert_eq!(levels(&driver.handle(Input::Tick, at(5_150))), []);
        assert_eq!(driver.next_deadline(), Some(at(5_250)));
        assert_eq!(levels(&driver.handle(Input::Tick, at(5_250))), [(false, "locked after a relay fault")]);
        assert!(driver.is_locked());
        assert_eq!(relay.told(), "RERRRRR");
        assert_eq!(levels(&driver.handle(granted(6_000), at(6_000))), [(true, "grant 12 for Ada")]);
    }

    #[test]
    fn stopping_in_the_middle_of_a_pulse_locks() {
        let relay = FakeRelay::default();
        let mut driver = start(&relay).unwrap();
        let _ = driver.handle(granted(2_000), at(2_000));
        drop(driver);
        assert_eq!((relay.told().as_str(), relay.last_why().as_str()), ("RER", "stop"));
    }

    #[test]
    fn a_panic_in_the_middle_of_a_pulse_locks() {
        let relay = FakeRelay::default();
        let theirs = relay.clone();
        let thread = std::thread::spawn(move || {
            let mut driver = start(&theirs).unwrap();
            let _ = driver.handle(granted(2_000), at(2_000));
            panic!("the control thread dies");
        });
        assert!(thread.join().is_err());
        assert_eq!((relay.told().as_str(), relay.last_why().as_str()), ("RER", "stop"));
    }

    #[test]
    fn a_fail_safe_strike_is_kept_locked_by_power() {
        let relay = FakeRelay::default();
        let mut driver =
            start_with(Box::new(DirectStrike::new(Box::new(relay.clone()), StrikeKind::FailSafe))).unwrap();
        let _ = driver.handle(granted(2_000), at(2_000));
        let _ = driver.handle(Input::Tick, at(5_000));
        drop(driver);
        assert_eq!(relay.told(), "EREE", "energised is locked here");
    }

    /// A strike with a guard that has its own mind.
    #[derive(Clone, Default)]
    struct FakeStrike(Arc<Mutex<Guarded>>);

    #[derive(Default)]
    struct Guarded {
        told: Vec<String>,
        beats: usize,
        locked_by_guard: bool,
        dead: bool,
    }

    impl Strike for FakeStrike {
        fn unlock(&mut self, at_most: Duration, _why: &str) -> Result<(), RelayError> {
            self.0.lock().unwrap().told.push(format!("unlock {} ms", at_most.as_millis()));
            Ok(())
        }

        fn lock(&mut self, _why: &str) -> Result<(), RelayError> {
            self.0.lock().unwrap().told.push("lock".into());
            Ok(())
        }

        fn beat(&mut self, unlocked: bool) -> Result<Option<String>, RelayError> {
            let mut guard = self.0.lock().unwrap();
            guard.beats += 1;
            if guard.dead {
                let source = io::ErrorKind::BrokenPipe.into();
                return Err(RelayError { relay: "fake".into(), what: "its guard is gone".into(), source });
            }
            Ok((unlocked && guard.locked_by_guard).then(|| "the guard locked".to_owned()))
        }

        fn describe(&self) -> String {
            "fake".into()
        }
    }

    #[test]
    fn the_strike_is_told_for_how_long_and_that_somebody_is_there() {
        let strike = FakeStrike::default();
        let mut driver = start_with(Box::new(strike.clone())).unwrap();
        let _ = driver.handle(granted(2_000), at(2_500));
        for ms in (2_500..4_500).step_by(100) {
            let _ = driver.handle(Input::Tick, at(ms));
        }
        let guard = strike.0.lock().unwrap();
        assert_eq!(guard.told, ["lock", "unlock 3000 ms"]);
        assert_eq!(guard.beats, 4, "two a second");
    }

    #[test]
    fn a_strike_that_its_guard_has_locked_is_locked() {
        let strike = FakeStrike::default();
        let mut driver = start_with(Box::new(strike.clone())).unwrap();
        let _ = driver.handle(granted(2_000), at(2_000));
        strike.0.lock().unwrap().locked_by_guard = true;
        assert_eq!(levels(&driver.handle(Input::Tick, at(2_500))), [(false, "the guard locked")]);
        assert!(!driver.is_unlocked() && driver.is_locked());
    }

    #[test]
    fn a_guard_that_is_gone_is_a_fault_also_while_the_door_is_locked() {
        let strike = FakeStrike::default();
        let mut driver = start_with(Box::new(strike.clone())).unwrap();
        strike.0.lock().unwrap().dead = true;
        let fault = driver.handle(Input::Tick, at(9_000)).fault.unwrap();
        assert_eq!(fault.to_string(), "relay fake: its guard is gone");
    }
}
