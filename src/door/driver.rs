//! The hand on the relay: performs what the [`Door`] says, in order, and says what became of it.
//!
//! Stands between the pure controller and the [`Relay`] adapters. It owns both, so nothing else can move the relay,
//! and it owns no thread and no clock. When the relay does not obey, the door counts as locked and the release is
//! tried until the relay has taken it; when the driver goes away, by a return or by a panic, the relay is released.

use std::time::Duration;

use serde::Serialize;

use super::controller::{Action, Door, DroppedGrant, Input, Pulse};
use super::{Relay, RelayError};
use crate::clock::MonoTime;

/// Pause between two tries to release a relay that does not obey.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// A change of the relay that took place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Transition {
    /// Energised (unlocked) or released (locked).
    pub energised: bool,
    /// Why.
    pub why: String,
}

/// What became of one input; all of it belongs in the journal.
#[derive(Debug, Default)]
#[must_use = "what happened at the door belongs in the journal"]
pub struct Handled {
    /// What the relay did, in order. Telling it the level it already has is no transition.
    pub transitions: Vec<Transition>,
    /// A grant that was not honoured.
    pub dropped: Option<DroppedGrant>,
    /// The relay did not obey. The door is locked as far as it can be; see [`Driver::is_released`].
    pub fault: Option<RelayError>,
}

/// A door with its relay.
pub struct Driver {
    door: Door,
    relay: Box<dyn Relay>,
    /// What the relay was last seen to take; `None` when it did not obey.
    energised: Option<bool>,
    retry_at: Option<MonoTime>,
}

impl Driver {
    /// Takes over the relay and releases it, whatever it was left at.
    ///
    /// # Errors
    /// When the relay cannot be released.
    pub fn start(pulse: Pulse, relay: Box<dyn Relay>, now: MonoTime) -> Result<Self, RelayError> {
        let mut driver = Self { door: Door::new(pulse), relay, energised: None, retry_at: None };
        match driver.handle(Input::Start, now).fault {
            Some(fault) => Err(fault),
            None => Ok(driver),
        }
    }

    /// Takes one input at `now`, moves the relay accordingly and says what became of it.
    pub fn handle(&mut self, input: Input, now: MonoTime) -> Handled {
        let mut handled = Handled::default();
        if self.retry_at.is_some() && !self.release_again(&mut handled, now) {
            if let Input::Grant(grant) = input {
                handled.dropped = Some(DroppedGrant::new(grant, "the relay does not obey"));
            }
            return handled;
        }
        for action in self.door.handle(input, now) {
            match action {
                Action::Energise { why } => self.drive(true, why, &mut handled, now),
                Action::Release { why } => self.drive(false, why, &mut handled, now),
                Action::Report(dropped) => handled.dropped = Some(dropped),
            }
        }
        handled
    }

    /// When [`Input::Tick`] is due at the latest.
    pub fn next_deadline(&self) -> Option<MonoTime> {
        self.retry_at.or_else(|| self.door.next_deadline())
    }

    /// Whether the door is unlocked.
    pub fn is_unlocked(&self) -> bool {
        self.door.is_unlocked()
    }

    /// Whether the relay is known to be released: it took the level when it was last told.
    pub fn is_released(&self) -> bool {
        self.energised == Some(false)
    }

    /// The relay as configured, for messages.
    pub fn relay(&self) -> String {
        self.relay.describe()
    }

    fn drive(&mut self, energised: bool, why: String, handled: &mut Handled, now: MonoTime) {
        match self.relay.set(energised, &why) {
            Ok(()) => self.note(energised, why, handled),
            Err(fault) => {
                handled.fault = Some(fault);
                self.energised = None;
                // Its release is the one tried below.
                let _ = self.door.handle(Input::Lock("relay fault"), now);
                self.release_again(handled, now);
            }
        }
    }

    /// Tries to release a relay that did not obey; true when it did now.
    fn release_again(&mut self, handled: &mut Handled, now: MonoTime) -> bool {
        let why = "released after a relay fault";
        let released = self.relay.set(false, why).is_ok();
        self.retry_at = (!released).then(|| now + RETRY_AFTER);
        if released {
            self.note(false, why.to_owned(), handled);
        }
        released
    }

    fn note(&mut self, energised: bool, why: String, handled: &mut Handled) {
        if self.energised.replace(energised) != Some(energised) {
            handled.transitions.push(Transition { energised, why });
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Err(fault) = self.relay.set(false, "stop") {
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
        Input::Grant(record_grant(grant, |_| Ok::<_, ()>(EventId(12))).unwrap())
    }

    fn start(relay: &FakeRelay) -> Result<Driver, RelayError> {
        Driver::start(Pulse::from_millis(3_000).unwrap(), Box::new(relay.clone()), at(1_000))
    }

    fn levels(handled: &Handled) -> Vec<(bool, &str)> {
        handled.transitions.iter().map(|t| (t.energised, t.why.as_str())).collect()
    }

    #[test]
    fn a_grant_opens_for_one_pulse() {
        let relay = FakeRelay::default();
        let mut driver = start(&relay).unwrap();
        assert_eq!((relay.told().as_str(), relay.last_why().as_str()), ("R", "start"));
        assert_eq!(levels(&driver.handle(granted(2_000), at(2_000))), [(true, "grant 12 for Ada")]);
        assert!(driver.is_unlocked() && !driver.is_released());
        assert_eq!(driver.next_deadline(), Some(at(5_000)));
        assert_eq!(levels(&driver.handle(Input::Tick, at(5_000))), [(false, "the pulse is over")]);
        assert!(!driver.is_unlocked() && driver.is_released());
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
        assert_eq!(levels(&handled), [(false, "released after a relay fault")]);
        assert_eq!(relay.told(), "RER");
        assert!(!driver.is_unlocked() && driver.is_released());
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
        assert!(!driver.is_unlocked() && !driver.is_released(), "locked, but the relay has not shown it");
        assert_eq!(driver.next_deadline(), Some(at(5_100)));
        let handled = driver.handle(granted(5_050), at(5_050));
        assert_eq!(handled.dropped.map(|dropped| dropped.why), Some("the relay does not obey"));
        assert_eq!(levels(&driver.handle(Input::Tick, at(5_150))), []);
        assert_eq!(driver.next_deadline(), Some(at(5_250)));
        assert_eq!(levels(&driver.handle(Input::Tick, at(5_250))), [(false, "released after a relay fault")]);
        assert!(driver.is_released());
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
}
