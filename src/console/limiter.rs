//! PURE. How often a login may fail: after some failures in a row for one account, or from one address, further attempts
//! wait, each time twice as long. An attempt that has to wait is not looked at, so that a right password does not show
//! either.

use std::collections::HashMap;
use std::time::Duration;

use crate::clock::MonoTime;

/// Failures in a row that are borne: for an account, and from an address, behind which several people may be.
const BORNE: [u32; 2] = [5, 20];

/// The first wait, and the longest.
const FIRST_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_secs(900);

/// Failures are forgotten when none has come for so long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// Names that are remembered; beyond that the one whose last failure is oldest goes.
const MAX_NAMES: usize = 2000;

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    newest: MonoTime,
    until: MonoTime,
}

/// Failed logins by account and by address.
#[derive(Debug, Default)]
pub struct Limiter {
    failures: HashMap<(u8, String), Failures>,
}

impl Limiter {
    /// How long a login for this account from this address has to wait; `None` when it may go on.
    pub fn wait(&self, account: &str, address: &str, now: MonoTime) -> Option<Duration> {
        let left = |kind: u8, name: &str| {
            let found = self.failures.get(&(kind, name.to_owned()))?;
            (found.until > now).then(|| found.until.since(now))
        };
        left(0, account).into_iter().chain(left(1, address)).max()
    }

    /// A login failed.
    pub fn failed(&mut self, account: &str, address: &str, now: MonoTime) {
        self.failures.retain(|_, failures| now.since(failures.newest) < FORGOTTEN_AFTER);
        for (kind, name) in [(0, account), (1, address)] {
            while self.failures.len() >= MAX_NAMES {
                let oldest = self.failures.iter().min_by_key(|(_, f)| f.newest).map(|(key, _)| key.clone());
                let Some(oldest) = oldest else { break };
                self.failures.remove(&oldest);
            }
            let fresh = Failures { count: 0, newest: now, until: now };
            let entry = self.failures.entry((kind, name.to_owned())).or_insert(fresh);
            entry.count += 1;
            entry.newest = now;
            let beyond = entry.count.checked_sub(BORNE[usize::from(kind)]);
            if let Some(beyond) = beyond {
                entry.until = now + (FIRST_WAIT * (1 << beyond.min(10))).min(LONGEST_WAIT);
            }
        }
    }

    /// A login succeeded: the account's failures are forgotten. Those of the address are not, or an attacker with an
    /// account of their own would clear them.
    pub fn succeeded(&mut self, account: &str) {
        self.failures.remove(&(0, account.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> MonoTime {
        MonoTime::from_millis(s * 1000)
    }

    #[test]
    fn an_account_waits_after_five_failures_and_each_time_twice_as_long() {
        let mut limiter = Limiter::default();
        let mut now = 0;
        for n in 1..=5 {
            assert_eq!(limiter.wait("ada", &format!("10.0.0.{n}"), at(now)), None);
            limiter.failed("ada", &format!("10.0.0.{n}"), at(now));
        }
        for wanted in [30, 60, 120, 240, 480, 900, 900] {
            let wait = limiter.wait("ada", "10.0.0.9", at(now)).unwrap();
            assert_eq!(wait, Duration::from_secs(wanted));
            assert_eq!(limiter.wait("bob", "10.0.0.9", at(now)), None, "others do not wait");
            now += wanted;
            assert_eq!(limiter.wait("ada", "10.0.0.9", at(now)), None);
            limiter.failed("ada", &format!("10.1.0.{now}"), at(now));
        }
    }

    #[test]
    fn an_address_that_tries_many_accounts_waits_too() {
        let mut limiter = Limiter::default();
        (0..20).for_each(|n| limiter.failed(&format!("user{n}"), "10.0.0.1", at(n)));
        assert!(limiter.wait("ada", "10.0.0.1", at(20)).is_some());
        assert!(limiter.wait("ada", "10.0.0.2", at(20)).is_none());
    }

    #[test]
    fn a_success_clears_the_account_and_not_the_address() {
        let mut limiter = Limiter::default();
        (0..19).for_each(|n| limiter.failed(&format!("user{n}"), "10.0.0.1", at(n)));
        (0..4).for_each(|n| limiter.failed("ada", "10.0.0.2", at(n)));
        limiter.succeeded("ada");
        limiter.failed("ada", "10.0.0.1", at(30));
        assert!(limiter.wait("ada", "10.0.0.2", at(30)).is_none(), "one failure after a success");
        assert!(limiter.wait("ada", "10.0.0.1", at(30)).is_some(), "the address's twentieth");
    }

    #[test]
    fn failures_are_forgotten_and_their_number_is_bounded() {
        let mut limiter = Limiter::default();
        (0..4).for_each(|_| limiter.failed("ada", "10.0.0.1", at(0)));
        limiter.failed("ada", "10.0.0.1", at(4000));
        assert!(limiter.wait("ada", "10.0.0.1", at(4000)).is_none());
        (0..5000).for_each(|n| limiter.failed(&format!("u{n}"), &format!("10.0.{n}"), at(4001)));
        assert!(limiter.failures.len() <= MAX_NAMES);
    }
}
