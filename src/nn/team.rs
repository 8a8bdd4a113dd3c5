//! The threads that networks may take: a pool that rests between two runs, or none for one thread.
//!
//! A network hands parts of a step to the team where a part is worth the handing over. Whoever is idle takes it; a member
//! that is kept from the processor holds up nobody but for the part it has begun. Between two runs all members sleep.

use std::ops::Range;
use std::sync::Arc;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// The most threads that a team may have.
pub const MOST_THREADS: usize = 64;

/// Why the threads could not be had.
#[derive(Debug, thiserror::Error)]
#[error("{threads} threads for the networks could not be started; set vision.threads lower")]
pub struct TeamError {
    threads: usize,
    #[source]
    source: rayon::ThreadPoolBuildError,
}

/// The threads that a network runs on. Clones are the same threads; the default is the calling thread alone.
#[derive(Clone, Debug, Default)]
pub struct Team(Option<Arc<ThreadPool>>);

impl Team {
    /// A team of so many threads, called `vision-1` and so on. For one none is started: work is done by whoever asks.
    ///
    /// # Errors
    /// When the system gives no more threads.
    pub fn new(threads: usize) -> Result<Self, TeamError> {
        let threads = threads.clamp(1, MOST_THREADS);
        if threads == 1 {
            return Ok(Self::default());
        }
        let builder =
            ThreadPoolBuilder::new().num_threads(threads).thread_name(|i| format!("vision-{}", i + 1));
        let pool = builder.build().map_err(|source| TeamError { threads, source })?;
        Ok(Self(Some(Arc::new(pool))))
    }

    /// How many threads work.
    pub fn threads(&self) -> usize {
        self.0.as_ref().map_or(1, |pool| pool.current_num_threads())
    }

    /// Does `work`, within which [`in_parts`] has the whole team.
    pub fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        match &self.0 {
            Some(pool) => pool.install(work),
            None => work(),
        }
    }
}

/// Cuts `units`, each of `len` values of `values`, into as many parts as there are `lanes` and works on all of them at
/// once; a lane is a part's own memory. Does nothing for no lanes.
///
/// # Panics
/// When there are fewer values than units. Outside of [`Team::run`] with more than one lane it would start threads of rayon.
pub fn in_parts<L: Send>(
    units: Range<usize>,
    len: usize,
    values: &mut [f32],
    lanes: &mut [L],
    work: &(impl Fn(Range<usize>, &mut [f32], &mut L) + Sync),
) {
    match lanes {
        [] => {}
        [lane] => work(units, values, lane),
        lanes => {
            let half = lanes.len() / 2;
            let middle = units.start + units.len() * half / lanes.len();
            let (left, right) = lanes.split_at_mut(half);
            let (before, after) = values.split_at_mut((middle - units.start) * len);
            rayon::join(
                || in_parts(units.start..middle, len, before, left, work),
                || in_parts(middle..units.end, len, after, right, work),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_is_whoever_asks() {
        let team = Team::new(1).unwrap();
        assert_eq!(team.threads(), 1);
        let here = std::thread::current().id();
        assert_eq!(team.run(|| std::thread::current().id()), here);
    }

    #[test]
    fn more_are_threads_of_their_own_with_a_name() {
        let team = Team::new(3).unwrap();
        assert_eq!(team.threads(), 3);
        let name = team.run(|| std::thread::current().name().map(str::to_owned)).unwrap();
        assert!(["vision-1", "vision-2", "vision-3"].contains(&name.as_str()), "{name}");
    }

    #[test]
    fn parts_are_each_worked_on_once() {
        let team = Team::new(3).unwrap();
        for (units, parts) in [(0, 2), (1, 3), (7, 1), (7, 2), (7, 3), (64, 5)] {
            let mut values = vec![0.0; units * 2 + 1];
            let mut lanes = vec![0; parts];
            team.run(|| {
                in_parts(10..10 + units, 2, &mut values, &mut lanes, &|units, values, done| {
                    *done += units.len();
                    for (i, unit) in units.enumerate() {
                        values[2 * i] += unit as f32;
                    }
                });
            });
            assert_eq!(lanes.iter().sum::<usize>(), units);
            let want = (0..units).flat_map(|i| [10.0 + i as f32, 0.0]);
            assert!(values.iter().copied().eq(want.chain([0.0])), "{units} units in {parts} parts");
        }
    }
}
