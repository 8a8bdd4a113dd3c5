//! When the pictures of a recording are due, so that it plays as the camera saw it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, MonoTime};

/// Nanoseconds in a second.
const NANOS: u128 = 1_000_000_000;

/// Pictures a second as a fraction, 1–240.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRate {
    pictures: u32,
    seconds: u32,
}

/// A rate that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no frame rate; give pictures a second from 1 to 240, with at most three decimals")]
pub struct FrameRateError(String);

impl FrameRate {
    /// `pictures` in `seconds`, if that is 1–240 a second.
    ///
    /// # Errors
    /// Outside of that range.
    pub fn new(pictures: u32, seconds: u32) -> Result<Self, FrameRateError> {
        let in_range = seconds > 0 && pictures >= seconds && u64::from(pictures) <= u64::from(seconds) * 240;
        if !in_range {
            return Err(FrameRateError(format!("{pictures}:{seconds}")));
        }
        let divisor = greatest_common_divisor(pictures, seconds);
        Ok(Self { pictures: pictures / divisor, seconds: seconds / divisor })
    }

    /// `fps` pictures a second, if that is 1–240.
    ///
    /// # Errors
    /// Outside of that range.
    pub fn whole(fps: u32) -> Result<Self, FrameRateError> {
        Self::new(fps, 1)
    }

    /// How long after the first picture picture `index` is due.
    fn due(self, index: u64) -> Duration {
        let nanos = u128::from(index) * NANOS * u128::from(self.seconds);
        let nanos = nanos.div_ceil(u128::from(self.pictures));
        Duration::new(u64::try_from(nanos / NANOS).unwrap_or(u64::MAX), (nanos % NANOS) as u32)
    }

    /// The last picture that is due `elapsed` after the first one.
    fn newest(self, elapsed: Duration) -> u64 {
        let nanos = elapsed.as_nanos() * u128::from(self.pictures);
        u64::try_from(nanos / (NANOS * u128::from(self.seconds))).unwrap_or(u64::MAX)
    }
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

impl FromStr for FrameRate {
    type Err = FrameRateError;

    fn from_str(text: &str) -> Result<Self, FrameRateError> {
        let refused = || FrameRateError(text.to_owned());
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || whole.len() > 3 || decimals.len() > 3 {
            return Err(refused());
        }
        let milli = format!("{whole}{decimals:0<3}").parse().map_err(|_| refused())?;
        Self::new(milli, 1000).map_err(|_| refused())
    }
}

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milli = (u64::from(self.pictures) * 1000 + u64::from(self.seconds) / 2) / u64::from(self.seconds);
        let text = format!("{}.{:03}", milli / 1000, milli % 1000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// Waiting for a moment; in tests it moves the clock instead.
pub trait Waiter: Send {
    /// Returns at `due` or later; at once when that has passed.
    fn wait_until(&mut self, due: MonoTime);
}

/// Sleeps on the thread that asks: a camera has one of its own.
pub struct Sleeper {
    clock: Arc<dyn Clock>,
}

impl Sleeper {
    /// Sleeps until `clock` says so.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock }
    }
}

impl Waiter for Sleeper {
    fn wait_until(&mut self, due: MonoTime) {
        // In short naps, as the clock counts the time that the machine was suspended and sleeping does not.
        const NAP: Duration = Duration::from_millis(100);
        loop {
            let left = due.since(self.clock.now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(NAP));
        }
    }
}

/// Tells which picture of a recording comes next, and waits for it.
pub struct Pacer {
    clock: Arc<dyn Clock>,
    waiter: Box<dyn Waiter>,
    rate: Option<FrameRate>,
    started: Option<MonoTime>,
    next: u64,
}

impl Pacer {
    /// Pictures at `rate` from the first call of [`Pacer::next_index`] on, or without a rate as soon as asked for.
    pub fn new(rate: Option<FrameRate>, clock: Arc<dyn Clock>, waiter: Box<dyn Waiter>) -> Self {
        Self { clock, waiter, rate, started: None, next: 0 }
    }

    /// Waits until the next picture is due and returns its number, counted from 0. A caller who is late gets the
    /// newest picture that is due: as with a camera, those in between are gone.
    pub fn next_index(&mut self) -> u64 {
        let now = self.clock.now();
        let started = *self.started.get_or_insert(now);
        let index = match self.rate {
            Some(rate) => self.next.max(rate.newest(now.since(started))),
            None => self.next,
        };
        if let Some(rate) = self.rate {
            self.waiter.wait_until(started + rate.due(index));
        }
        self.next = index.saturating_add(1);
        index
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::clock::SimClock;
    use jiff::Timestamp;
    use proptest::prelude::*;

    /// Waiting moves the clock.
    pub(crate) struct Advance(pub(crate) Arc<SimClock>);

    impl Waiter for Advance {
        fn wait_until(&mut self, due: MonoTime) {
            self.0.advance(due.since(self.0.now()));
        }
    }

    pub(crate) fn sim_clock() -> Arc<SimClock> {
        Arc::new(SimClock::new(MonoTime::from_millis(1000), Timestamp::UNIX_EPOCH))
    }

    fn pacer(rate: Option<&str>) -> (Pacer, Arc<SimClock>) {
        let clock = sim_clock();
        let rate = rate.map(|rate| rate.parse().expect("a rate"));
        (Pacer::new(rate, clock.clone(), Box::new(Advance(clock.clone()))), clock)
    }

    #[test]
    fn rates_parse_and_print() {
        for (text, printed) in
            [("25", "25"), ("29.97", "29.97"), ("1", "1"), ("240", "240"), ("7.50", "7.5"), ("10.0", "10")]
        {
            assert_eq!(text.parse::<FrameRate>().map(|rate| rate.to_string()), Ok(printed.into()));
        }
        for text in ["", "0", "0.9", "240.1", "-5", "+5", "1e2", "25.", ".5", "1.2345", "25fps", "NaN"] {
            assert!(text.parse::<FrameRate>().is_err(), "{text}");
        }
        assert_eq!(FrameRate::new(30000, 1001).map(|rate| rate.to_string()), Ok("29.97".into()));
        assert!(FrameRate::new(0, 0).is_err());
        assert!(FrameRate::new(u32::MAX, 1).is_err());
    }

    #[test]
    fn a_ready_reader_gets_every_picture_when_it_is_due() {
        let (mut pacer, clock) = pacer(Some("25"));
        let seen: Vec<_> = (0..4).map(|_| (pacer.next_index(), clock.now().as_millis())).collect();
        assert_eq!(seen, [(0, 1000), (1, 1040), (2, 1080), (3, 1120)]);
    }

    #[test]
    fn a_late_reader_gets_the_newest_picture_at_once() {
        let (mut pacer, clock) = pacer(Some("10"));
        assert_eq!(pacer.next_index(), 0);
        clock.advance(Duration::from_millis(350));
        assert_eq!((pacer.next_index(), clock.now().as_millis()), (3, 1350));
        assert_eq!((pacer.next_index(), clock.now().as_millis()), (4, 1400));
    }

    #[test]
    fn without_a_rate_nobody_waits() {
        let (mut pacer, clock) = pacer(None);
        clock.advance(Duration::from_secs(9));
        assert_eq!((0..3).map(|_| pacer.next_index()).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(clock.now().as_millis(), 10_000);
    }

    #[test]
    fn the_sleeper_waits_for_its_clock_and_not_for_a_moment_that_has_passed() {
        let clock = Arc::new(crate::clock::SystemClock);
        let due = clock.now() + Duration::from_millis(20);
        let mut sleeper = Sleeper::new(clock.clone());
        sleeper.wait_until(due);
        assert!(clock.now() >= due);
        sleeper.wait_until(due);
    }

    proptest! {
        #[test]
        fn the_newest_picture_is_due_and_the_one_after_is_not(
            pictures in 1000u32..=240_000, elapsed_us in 0u64..100_000_000_000
        ) {
            let rate = FrameRate::new(pictures, 1000).expect("in range");
            let elapsed = Duration::from_micros(elapsed_us);
            let newest = rate.newest(elapsed);
            prop_assert!(rate.due(newest) <= elapsed);
            prop_assert!(rate.due(newest + 1) > elapsed);
        }
    }
}
