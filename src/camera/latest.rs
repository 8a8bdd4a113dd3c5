//! The newest picture of a live camera, between the thread that reads the device and the one that asks for frames.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use image::RgbImage;

use super::Fault;
use crate::clock::MonoTime;
use crate::frame::Frame;

/// So many broken pictures without a good one between them, and the camera has failed.
const MAX_BAD: u32 = 10;

/// A picture as the camera sent it.
#[derive(Debug)]
struct Raw {
    seq: u64,
    captured: MonoTime,
    bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    newest: Option<Raw>,
    delivered: u64,
    bad: u32,
    last_bad: String,
    over: Option<String>,
    abandoned: bool,
}

/// A slot of one picture: a newer one takes the place of one that nobody fetched.
#[derive(Debug, Default)]
pub(super) struct Latest {
    state: Mutex<State>,
    changed: Condvar,
}

/// What a camera comes to when there are no more frames.
#[derive(Debug)]
pub(super) enum Stop {
    /// The device gives no more; why, in the words of the reading thread.
    Over(String),
    /// It gives nothing but broken pictures.
    Failed(Fault),
}

impl Latest {
    /// Puts a picture in; `false` when nobody will ask for it any more.
    pub(super) fn put(&self, captured: MonoTime, bytes: Vec<u8>) -> bool {
        let mut state = self.lock();
        state.newest = Some(Raw { seq: state.delivered, captured, bytes });
        state.delivered += 1;
        self.changed.notify_all();
        !state.abandoned
    }

    /// Counts a broken picture.
    pub(super) fn spoil(&self, why: &str) {
        log::warn!("camera: a broken picture is skipped: {why}");
        let mut state = self.lock();
        state.bad += 1;
        why.clone_into(&mut state.last_bad);
        self.changed.notify_all();
    }

    /// No more pictures will come.
    pub(super) fn end(&self, why: String) {
        self.lock().over.get_or_insert(why);
        self.changed.notify_all();
    }

    /// Ends with the thread that holds it, so that nobody waits for a thread that panicked.
    pub(super) fn closed_with_thread(&self) -> Closing<'_> {
        Closing(self)
    }

    /// Nobody will ask for pictures any more.
    pub(super) fn abandon(&self) {
        self.lock().abandoned = true;
    }

    /// Whether nobody will ask for pictures any more.
    #[cfg(feature = "v4l")]
    pub(super) fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }

    /// Pictures that came so far.
    pub(super) fn delivered(&self) -> u64 {
        self.lock().delivered
    }

    /// Waits for the next picture that `decode` makes sense of.
    pub(super) fn next_frame<E: std::fmt::Display>(
        &self,
        mut decode: impl FnMut(&[u8]) -> Result<RgbImage, E>,
    ) -> Result<Frame, Stop> {
        loop {
            let Raw { seq, captured, bytes } = self.take()?;
            match decode(&bytes) {
                Ok(image) => {
                    self.lock().bad = 0;
                    return Ok(Frame { seq, captured, image });
                }
                Err(why) => self.spoil(&why.to_string()),
            }
        }
    }

    fn take(&self) -> Result<Raw, Stop> {
        let mut state = self.lock();
        loop {
            if state.bad >= MAX_BAD {
                let what = format!(
                    "{MAX_BAD} broken pictures in a row, the last because {}; check the cable and the power of the \
                     camera, or ask for a smaller picture",
                    state.last_bad
                );
                return Err(Stop::Failed(Fault::new(what)));
            }
            if let Some(raw) = state.newest.take() {
                return Ok(raw);
            }
            if let Some(why) = &state.over {
                return Err(Stop::Over(why.clone()));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the pictures when it goes out of scope; a reason given before stays.
pub(super) struct Closing<'a>(&'a Latest);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.end("the thread that reads it stopped".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn decode(bytes: &[u8]) -> Result<RgbImage, &'static str> {
        match bytes {
            [value] => Ok(RgbImage::from_pixel(1, 1, image::Rgb([*value; 3]))),
            _ => Err("it is not one byte"),
        }
    }

    fn seen(latest: &Latest) -> (u64, u64, u8) {
        let frame = latest.next_frame(decode).expect("a frame");
        (frame.seq, frame.captured.as_millis(), frame.image.get_pixel(0, 0)[0])
    }

    #[test]
    fn the_newest_wins_and_the_lost_ones_count() {
        let latest = Latest::default();
        assert!(latest.put(MonoTime::from_millis(5), vec![50]));
        assert_eq!(seen(&latest), (0, 5, 50));
        for n in 6..9 {
            latest.put(MonoTime::from_millis(n), vec![n as u8]);
        }
        assert_eq!(seen(&latest), (3, 8, 8));
        assert_eq!(latest.delivered(), 4);
    }

    #[test]
    fn the_last_picture_is_seen_before_the_end() {
        let latest = Latest::default();
        latest.put(MonoTime::default(), vec![1]);
        latest.end("unplugged".into());
        latest.end("a later reason".into());
        assert_eq!(seen(&latest).2, 1);
        for _ in 0..2 {
            assert!(matches!(latest.next_frame(decode), Err(Stop::Over(why)) if why == "unplugged"));
        }
    }

    #[test]
    fn a_waiting_reader_is_woken() {
        let latest = Arc::new(Latest::default());
        let reader = std::thread::spawn({
            let latest = Arc::clone(&latest);
            move || seen(&latest)
        });
        latest.put(MonoTime::from_millis(1), vec![7]);
        assert_eq!(reader.join().expect("no panic"), (0, 1, 7));
    }

    #[test]
    fn ten_broken_pictures_in_a_row_are_a_failure_and_fewer_are_not() {
        let latest = Latest::default();
        (1..MAX_BAD).for_each(|_| latest.spoil("of snow"));
        latest.put(MonoTime::default(), vec![1]);
        assert_eq!(seen(&latest).2, 1);
        (1..MAX_BAD).for_each(|_| latest.spoil("of rain"));
        latest.put(MonoTime::default(), vec![1, 2]);
        let Err(Stop::Failed(fault)) = latest.next_frame(decode) else { panic!("must fail") };
        assert!(
            fault.to_string().contains("10 broken pictures in a row, the last because it is not one byte")
        );
    }

    #[test]
    fn a_reading_thread_that_panics_ends_the_pictures() {
        let latest = Arc::new(Latest::default());
        let reader = std::thread::spawn({
            let latest = Arc::clone(&latest);
            move || {
                let _closing = latest.closed_with_thread();
                panic!("as a driver library may");
            }
        });
        assert!(matches!(latest.next_frame(decode), Err(Stop::Over(why)) if why.contains("stopped")));
        assert!(reader.join().is_err());
    }

    #[test]
    fn the_reading_thread_learns_that_nobody_listens() {
        let latest = Latest::default();
        latest.abandon();
        assert!(!latest.put(MonoTime::default(), vec![1]));
    }
}
