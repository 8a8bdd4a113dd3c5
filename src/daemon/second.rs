//! The second camera of a door, such as an infrared one: its newest picture, and whether a face that the door's own camera
//! sees is in it too, at about the same time and place. It only denies. Screens are dark in infrared, and some prints are; what
//! else it shows depends on the two cameras, and `docs/liveness.md` says what not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::camera_loop::{Backoff, CameraFactory};
use super::supervise::chain;
use crate::camera::CameraError;
use crate::clock::MonoTime;
use crate::frame::Frame;
use crate::liveness::signs::Second;
use crate::vision::Face;

/// Two pictures this far apart in time show the same moment.
const AT_ONCE: Duration = Duration::from_millis(400);
/// Sizes of a face in the two pictures, each as a share of the picture's width, may differ by this factor.
const SIZES: f32 = 2.5;

/// What the second camera saw last; the threads of a door share it.
#[derive(Debug, Default)]
pub struct SecondEye {
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    newest: Option<Arc<Frame>>,
    failure: Option<String>,
}

impl SecondEye {
    fn put(&self, frame: Frame) {
        let mut now = self.lock();
        (now.newest, now.failure) = (Some(Arc::new(frame)), None);
    }

    fn failed(&self, what: String) {
        self.lock().failure = Some(what);
    }

    /// The newest picture.
    fn newest(&self) -> Option<Arc<Frame>> {
        self.lock().newest.clone()
    }

    /// When the newest picture was taken.
    pub(crate) fn newest_at(&self) -> Option<MonoTime> {
        self.lock().newest.as_ref().map(|frame| frame.captured)
    }

    /// Why it fails, if it said so.
    pub(crate) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the camera's thread works with.
pub struct SecondLoop {
    /// Opens the camera, and opens it again after a failure.
    pub open: CameraFactory,
    /// Where its pictures go.
    pub eye: Arc<SecondEye>,
    /// Pauses before it is opened again.
    pub pauses: (Duration, Duration),
}

impl SecondLoop {
    /// Runs until `is_over`, or the recording has ended; `wait` waits that long, or less when it is over.
    pub fn run(mut self, is_over: impl Fn() -> bool, wait: impl Fn(Duration)) {
        let mut backoff = Backoff::new(self.pauses.0, self.pauses.1);
        while !is_over() {
            match self.film(&is_over, &mut backoff) {
                Ok(()) => return,
                Err(error) => {
                    let what = chain(&error);
                    log::warn!("second camera: {what}");
                    self.eye.failed(what);
                    if matches!(error, CameraError::Ended { .. }) {
                        return;
                    }
                    wait(backoff.pause());
                }
            }
        }
    }

    fn film(&mut self, is_over: &impl Fn() -> bool, backoff: &mut Backoff) -> Result<(), CameraError> {
        let mut camera = (self.open)()?;
        while !is_over() {
            let frame = camera.next()?;
            backoff.next = backoff.first;
            self.eye.put(frame);
        }
        Ok(())
    }
}

/// A second camera as the analyser uses it. Clones look through the same one.
#[derive(Clone, Debug)]
pub struct SecondSight {
    /// Its pictures.
    pub eye: Arc<SecondEye>,
    /// How far the middle of a face may be from where the door's own camera sees it, in shares of the picture's width.
    pub apart: f32,
    /// Whether the door goes on without it when it is lost.
    pub ignore_loss: bool,
}

impl SecondSight {
    /// The picture of the moment in which `frame` was taken, if there is one.
    pub(super) fn beside(&self, frame: &Frame) -> Option<Arc<Frame>> {
        let newest = self.eye.newest()?;
        let (a, b) = (newest.captured, frame.captured);
        (a.since(b).max(b.since(a)) <= AT_ONCE).then_some(newest)
    }

    /// What there is to say of a face when that picture is missing.
    pub(super) fn blind(&self) -> Second {
        if self.ignore_loss { Second::Off } else { Second::Lost }
    }

    /// Whether `face`, in a picture of `size`, is one of `others`, in a picture of `other_size`.
    pub(super) fn sees(
        &self,
        face: &Face,
        size: (u32, u32),
        others: &[Face],
        other_size: (u32, u32),
    ) -> Second {
        let here = Place::of(face, size);
        let is_there = |other: &Face| here.is_near(Place::of(other, other_size), self.apart);
        if others.iter().any(is_there) { Second::Seen } else { Second::Missing }
    }
}

/// Middle and width of a face in shares of the picture's width, the middle from that of the picture.
#[derive(Clone, Copy)]
struct Place {
    middle: (f32, f32),
    width: f32,
}

impl Place {
    fn of(face: &Face, (width, height): (u32, u32)) -> Self {
        let (w, h, b) = (width.max(1) as f32, height as f32, &face.bbox);
        let middle = ((b.x + 0.5 * b.w - 0.5 * w) / w, (b.y + 0.5 * b.h - 0.5 * h) / w);
        Self { middle, width: b.w / w }
    }

    /// Written so that what is no number is nowhere.
    fn is_near(self, other: Self, apart: f32) -> bool {
        let (dx, dy) = (self.middle.0 - other.middle.0, self.middle.1 - other.middle.1);
        let ratio = self.width / other.width;
        (dx * dx + dy * dy).sqrt() <= apart && (1.0 / SIZES..=SIZES).contains(&ratio)
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;
    use crate::vision::BBox;

    fn face(x: f32, y: f32, w: f32) -> Face {
        Face { bbox: BBox { x, y, w, h: w }, landmarks: [[0.0; 2]; 5], score: 0.9 }
    }

    fn sight(ignore_loss: bool) -> SecondSight {
        SecondSight { eye: Arc::default(), apart: 0.2, ignore_loss }
    }

    fn frame(ms: u64) -> Frame {
        Frame { seq: 0, captured: MonoTime::from_millis(ms), image: RgbImage::new(8, 8) }
    }

    #[test]
    fn a_face_is_seen_twice_at_about_the_same_place_and_size_whatever_the_pictures_sizes() {
        let (size, small) = ((640, 480), (320, 240));
        let here = face(300.0, 200.0, 100.0);
        for (what, others, seen) in [
            ("nobody", vec![], Second::Missing),
            ("the same, in a smaller picture", vec![face(150.0, 100.0, 50.0)], Second::Seen),
            ("to the side by a sixth", vec![face(203.0, 100.0, 50.0)], Second::Seen),
            ("to the side by a third", vec![face(260.0, 100.0, 50.0)], Second::Missing),
            ("far behind", vec![face(168.0, 118.0, 14.0)], Second::Missing),
            ("no number", vec![face(f32::NAN, 100.0, 50.0)], Second::Missing),
            ("one of two", vec![face(0.0, 0.0, 50.0), face(150.0, 100.0, 50.0)], Second::Seen),
        ] {
            assert_eq!(sight(false).sees(&here, size, &others, small), seen, "{what}");
        }
    }

    #[test]
    fn only_a_picture_of_the_same_moment_counts() {
        let sight = sight(false);
        assert!(sight.beside(&frame(1_000)).is_none(), "none at all");
        sight.eye.put(frame(1_000));
        for (ms, at_once) in [(600, true), (599, false), (1_400, true), (1_401, false)] {
            assert_eq!(sight.beside(&frame(ms)).is_some(), at_once, "{ms}");
        }
    }

    #[test]
    fn a_lost_camera_denies_unless_it_may_be_missed() {
        assert_eq!((sight(false).blind(), sight(true).blind()), (Second::Lost, Second::Off));
    }
}
