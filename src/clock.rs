//! Time as an argument: the only file that reads the system's clocks.
//!
//! Durations are measured on the monotonic clock ([`MonoTime`]); wall time is for stamps and schedules only.

use std::ops::{Add, Sub};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A moment on the monotonic clock, counted from boot (suspend included).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MonoTime(Duration);

impl MonoTime {
    /// The moment `ms` milliseconds after boot.
    pub const fn from_millis(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// The moment `since_boot` after boot.
    pub const fn from_duration(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// Whole milliseconds since boot.
    pub const fn as_millis(self) -> u64 {
        self.0.as_millis() as u64
    }

    /// How long after `earlier` this moment is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for MonoTime {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

impl Sub<Duration> for MonoTime {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(by))
    }
}

/// Where time comes from. [`SystemClock`] in the program, [`SimClock`] in tests.
pub trait Clock: Send + Sync {
    /// Now, for measuring durations.
    fn now(&self) -> MonoTime;
    /// Now, for stamps and schedules; may jump.
    fn wall(&self) -> Timestamp;
    /// Whether the calendar was kept by a battery or set over the network since boot.
    fn is_kept(&self) -> bool {
        true
    }
    /// The moment that a kernel driver stamped on its own monotonic clock, which stands still during a suspend.
    fn of_kernel(&self, stamp: Duration) -> MonoTime {
        MonoTime::from_duration(stamp)
    }
}

/// The machine's clocks: `CLOCK_BOOTTIME` and the wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> MonoTime {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        MonoTime(Duration::new(t.tv_sec as u64, t.tv_nsec as u32))
    }

    fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    fn is_kept(&self) -> bool {
        is_kept(Path::new(SYNCHRONISED), Path::new(RTCS), self.wall())
    }

    fn of_kernel(&self, stamp: Duration) -> MonoTime {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let age = Duration::new(t.tv_sec as u64, t.tv_nsec as u32).saturating_sub(stamp);
        self.now() - age
    }
}

/// systemd-timesyncd makes this file once it has set the clock since boot.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";
/// The machine's real-time clocks.
const RTCS: &str = "/sys/class/rtc";
/// A calendar before this, when there was no accessd, is that of a clock whose battery is empty.
const EARLIEST_S: i64 = 1_767_225_600;

/// Whether the network has set the clock, or a real-time clock did at boot (`hctosys`), and not to nonsense.
fn is_kept(synchronised: &Path, rtcs: &Path, wall: Timestamp) -> bool {
    let set_by_rtc = || {
        let clocks = std::fs::read_dir(rtcs).into_iter().flatten().flatten();
        let mut set = clocks.map(|rtc| std::fs::read_to_string(rtc.path().join("hctosys")));
        set.any(|set| set.is_ok_and(|text| text.trim() == "1"))
    };
    wall.as_second() >= EARLIEST_S && (synchronised.exists() || set_by_rtc())
}

/// Whether the calendar is believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// When it [was kept or set](Clock::is_kept).
    #[default]
    Auto,
    /// Always: something else sees to it.
    Always,
    /// Never: what is limited in time refuses.
    Never,
}

impl Trust {
    /// Whether `clock`'s calendar is believed now.
    pub fn holds(self, clock: &dyn Clock) -> bool {
        match self {
            Self::Auto => clock.is_kept(),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct SimClock {
    state: Mutex<(MonoTime, Timestamp)>,
}

impl SimClock {
    /// Starts at `now` on the monotonic clock and `wall` on the calendar.
    pub fn new(now: MonoTime, wall: Timestamp) -> Self {
        Self { state: Mutex::new((now, wall)) }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let mut state = self.lock();
        state.0 = state.0 + by;
        state.1 += by;
    }

    /// Sets the wall clock alone, as an NTP step or an operator does.
    pub fn set_wall(&self, wall: Timestamp) {
        self.lock().1 = wall;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (MonoTime, Timestamp)> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for SimClock {
    fn now(&self) -> MonoTime {
        self.lock().0
    }

    fn wall(&self) -> Timestamp {
        self.lock().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_never_underflows() {
        let (early, late) = (MonoTime::from_millis(5), MonoTime::from_millis(9));
        assert_eq!(late.since(early), Duration::from_millis(4));
        assert_eq!(early.since(late), Duration::ZERO);
    }

    #[test]
    fn sim_clock_moves_both_clocks_and_steps_only_the_wall() {
        let clock = SimClock::new(MonoTime::from_millis(0), Timestamp::UNIX_EPOCH);
        clock.advance(Duration::from_secs(3));
        assert_eq!(clock.now(), MonoTime::from_millis(3000));
        assert_eq!(clock.wall().as_second(), 3);
        clock.set_wall(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.now(), MonoTime::from_millis(3000));
        assert_eq!(clock.wall().as_second(), 0);
    }

    #[test]
    fn a_stamp_of_the_kernel_is_as_old_as_it_is() {
        let t = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now = Duration::new(t.tv_sec as u64, t.tv_nsec as u32);
        let before = SystemClock.now();
        let stamped = SystemClock.of_kernel(now - Duration::from_millis(300));
        assert!(before.since(stamped) >= Duration::from_millis(200), "{before:?} {stamped:?}");
        assert!(SystemClock.of_kernel(Duration::MAX) <= SystemClock.now(), "no stamp is of the future");
    }

    #[test]
    fn a_calendar_is_kept_by_the_network_or_a_battery_and_not_before_accessd_was() {
        let dir = tempfile::tempdir().unwrap();
        let (sync, rtcs) = (dir.path().join("synchronized"), dir.path().join("rtc"));
        let (now, past) = ("2026-11-24T10:00:00Z".parse().unwrap(), "2000-01-01T00:00:00Z".parse().unwrap());
        assert!(!is_kept(&sync, &rtcs, now));
        std::fs::create_dir_all(rtcs.join("rtc0")).unwrap();
        std::fs::write(rtcs.join("rtc0/hctosys"), "0\n").unwrap();
        assert!(!is_kept(&sync, &rtcs, now));
        std::fs::write(rtcs.join("rtc0/hctosys"), "1\n").unwrap();
        assert!(is_kept(&sync, &rtcs, now) && !is_kept(&sync, &rtcs, past), "an empty battery");
        std::fs::remove_dir_all(&rtcs).unwrap();
        std::fs::write(&sync, "").unwrap();
        assert!(is_kept(&sync, &rtcs, now));
        assert!(!Trust::Never.holds(&SystemClock) && Trust::Always.holds(&SystemClock));
    }

    #[test]
    fn system_clock_runs_forward() {
        let a = SystemClock.now();
        let b = SystemClock.now();
        assert!(b >= a);
    }
}
