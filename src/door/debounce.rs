//! PURE. From the raw level of a contact to one that can be believed: a level counts once it has stood for 30 ms.
//!
//! Shorter pulses, of bouncing contacts and of motors nearby, are ignored (below 20 ms for certain); what lasts is seen
//! (above 400 ms for certain, IEC 60839-11-1), also when its edge was missed, because levels are read as well.

use std::time::Duration;

use crate::clock::MonoTime;

/// A level that stands so long is believed.
pub const SETTLED: Duration = Duration::from_millis(30);

/// One input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Debounce {
    believed: Option<bool>,
    /// A level that differs from the believed one, and since when.
    doubtful: Option<(bool, MonoTime)>,
}

/// A level that is believed from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The level.
    pub active: bool,
    /// When it came, not when it was believed.
    pub since: MonoTime,
}

impl Debounce {
    /// The line had the level `active` at `at`: an edge, or a reading. The first level of all settles like any other.
    pub fn level(&mut self, active: bool, at: MonoTime) -> Option<Settled> {
        let settled = self.tick(at);
        match self.doubtful {
            Some((level, _)) if level == active => {}
            _ if self.believed == Some(active) => self.doubtful = None,
            _ => self.doubtful = Some((active, at)),
        }
        settled
    }

    /// What time alone brings: a level that has stood long enough.
    pub fn tick(&mut self, now: MonoTime) -> Option<Settled> {
        let (active, since) = self.doubtful.filter(|(_, since)| now.since(*since) >= SETTLED)?;
        self.doubtful = None;
        self.believed = Some(active);
        Some(Settled { active, since })
    }

    /// When [`Debounce::tick`] is due at the latest.
    pub fn next_deadline(&self) -> Option<MonoTime> {
        self.doubtful.map(|(_, since)| since + SETTLED)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_millis(ms)
    }

    fn settled_low() -> Debounce {
        let mut input = Debounce::default();
        assert_eq!(input.level(false, at(0)), None);
        assert_eq!(input.tick(at(30)), Some(Settled { active: false, since: at(0) }));
        input
    }

    #[test]
    fn a_press_counts_from_its_edge_once_it_has_stood() {
        let mut input = settled_low();
        assert_eq!(input.level(true, at(1_000)), None);
        assert_eq!((input.next_deadline(), input.tick(at(1_029))), (Some(at(1_030)), None));
        assert_eq!(input.tick(at(1_030)), Some(Settled { active: true, since: at(1_000) }));
        assert_eq!(input.next_deadline(), None);
    }

    #[test]
    fn bouncing_settles_once() {
        let mut input = settled_low();
        let mut seen = Vec::new();
        for (n, ms) in (1_000..1_012).enumerate() {
            seen.extend(input.level(n % 2 == 0, at(ms)));
        }
        seen.extend(input.level(true, at(1_012)));
        seen.extend(input.tick(at(1_100)));
        assert_eq!(seen, [Settled { active: true, since: at(1_012) }]);
    }

    #[test]
    fn an_edge_that_was_missed_is_made_good_by_a_reading() {
        let mut input = settled_low();
        // Pressed at 1000, and nobody told; read at 1100 and 1200.
        assert_eq!(input.level(true, at(1_100)), None);
        assert_eq!(input.level(true, at(1_200)), Some(Settled { active: true, since: at(1_100) }));
    }

    proptest! {
        #[test]
        fn below_20_ms_nothing_and_from_400_ms_always(
            pulses in prop::collection::vec((1_u64..2_000, prop_oneof![1_u64..20, 400_u64..900]), 1..40),
            lossy in any::<bool>(),
        ) {
            let mut input = settled_low();
            let (mut now, mut seen) = (1_000_u64, 0);
            let wanted = pulses.iter().filter(|(_, long)| *long >= 400).count();
            for (gap, long) in pulses {
                now += gap.max(100);
                // With `lossy` the edges of long pulses are missed; readings come every 100 ms all the same.
                let edges = !(lossy && long >= 400);
                let (rise, fall) = (now, now + long);
                let mut events: Vec<(u64, bool)> = (rise.next_multiple_of(100)..fall).step_by(100).map(|ms| (ms, true)).collect();
                events.push((fall.next_multiple_of(100), false));
                events.push((fall.next_multiple_of(100) + 100, false));
                if edges {
                    events.extend([(rise, true), (fall, false)]);
                }
                events.sort_unstable();
                for (ms, level) in events {
                    if let Some(due) = input.next_deadline().filter(|due| *due <= at(ms)) {
                        seen += usize::from(input.tick(due).is_some_and(|settled| settled.active));
                    }
                    seen += usize::from(input.level(level, at(ms)).is_some_and(|settled| settled.active));
                    now = ms;
                }
            }
            prop_assert_eq!(seen, wanted);
        }
    }
}
