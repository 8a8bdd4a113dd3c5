//! What the camera sees, for whoever watches: the newest frame that vision looked at, kept only while somebody asks
//! and made small for them. Nothing of it reaches a disk, and neither decision nor camera waits for it: vision hands over
//! the frame that it is done with, and shrinking and encoding are done on a thread of their own, at most
//! [`MOST_OFTEN`], however many watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use tokio::sync::{Mutex, watch};

use crate::clock::{Clock, MonoTime};
use crate::encoder::Score;
use crate::frame::Frame;
use crate::vision::resample::scale;

use super::analysis::{Analysis, SeenFace};
use super::protocol::{FaceInView, Picture};

/// A frame is kept for so long after the last question.
const KEPT_FOR: Duration = Duration::from_secs(3);

/// Nobody gets pictures at a higher rate.
const MOST_OFTEN: Duration = Duration::from_millis(300);

/// How long a first watcher waits for a frame.
const PATIENCE: Duration = Duration::from_secs(2);

/// Longest side of the picture in px.
const LONGEST_PX: u32 = 480;

/// JPEG quality: enough to see who is there.
const JPEG_QUALITY: u8 = 70;

/// A frame with what was seen in it.
#[derive(Debug)]
struct Seen {
    seq: u64,
    captured: MonoTime,
    image: RgbImage,
    faces: Vec<FaceInView>,
}

/// Between vision, which looks, and those who watch.
#[derive(Debug)]
pub(crate) struct View {
    /// On the monotonic clock in ms.
    wanted_until: AtomicU64,
    newest: watch::Sender<Option<Arc<Seen>>>,
    /// The last picture that was made, and when.
    made: Mutex<Option<(MonoTime, u64, Arc<Picture>)>>,
}

impl Default for View {
    fn default() -> Self {
        Self { wanted_until: AtomicU64::new(0), newest: watch::Sender::new(None), made: Mutex::new(None) }
    }
}

impl View {
    /// Takes a frame that vision is done with, if anybody watches; otherwise nothing is kept.
    pub(crate) fn looked_at(&self, frame: Frame, analysis: &Analysis, now: MonoTime) {
        if (now.as_millis()) < self.wanted_until.load(Ordering::Relaxed) {
            let faces = analysis.faces.iter().map(|face| in_view(face, analysis.size)).collect();
            let seen = Seen { seq: frame.seq, captured: frame.captured, image: frame.image, faces };
            self.newest.send_replace(Some(Arc::new(seen)));
        } else {
            self.newest.send_if_modified(|kept| kept.take().is_some());
        }
    }

    /// A small picture of now. `named_from` is the score from which a face has a name.
    ///
    /// # Errors
    /// When no frame comes, in words.
    pub(crate) async fn picture(&self, clock: &dyn Clock, named_from: Score) -> Result<Picture, String> {
        let now = clock.now();
        let until = (now + KEPT_FOR).as_millis();
        self.wanted_until.fetch_max(until, Ordering::Relaxed);
        // One at a time: who comes meanwhile gets the same picture.
        let mut made = self.made.lock().await;
        let now = clock.now();
        if let Some((at, _, picture)) = &*made
            && now.since(*at) < MOST_OFTEN
        {
            return Ok(Picture::clone(picture));
        }
        let seen = self.newer_than(made.as_ref().map(|(_, seq, _)| *seq)).await?;
        let picture = tokio::task::spawn_blocking(move || {
            let mut picture = small(&seen.image, &seen.faces, named_from);
            picture.seq = seen.seq;
            (seen.captured, seen.seq, picture)
        });
        let (captured, seq, mut picture) =
            picture.await.map_err(|_| "the picture could not be made small".to_owned())?;
        picture.age_ms = clock.now().since(captured).as_millis() as u64;
        *made = Some((clock.now(), seq, Arc::new(picture.clone())));
        Ok(picture)
    }

    async fn newer_than(&self, seq: Option<u64>) -> Result<Arc<Seen>, String> {
        let mut newest = self.newest.subscribe();
        let is_new = |seen: &Option<Arc<Seen>>| seen.as_ref().is_some_and(|seen| Some(seen.seq) != seq);
        let seen = tokio::time::timeout(PATIENCE, newest.wait_for(is_new)).await;
        match seen {
            Ok(Ok(seen)) => seen.clone().ok_or_else(|| "there is no picture".to_owned()),
            _ => Err("no picture comes from the camera".to_owned()),
        }
    }
}

/// Where a face is, in shares of the picture, and who it looks like.
fn in_view(face: &SeenFace, size: (u32, u32)) -> FaceInView {
    let (width, height) = (size.0.max(1) as f32, size.1.max(1) as f32);
    let bbox = face.face.bbox;
    FaceInView {
        at: [bbox.x / width, bbox.y / height, bbox.w / width, bbox.h / height],
        name: face.matched.as_ref().map(|found| found.best.name.to_string()),
        score: face.matched.as_ref().map(|found| found.best.score.0),
        hint: face.issue.map(|issue| issue.hint().to_owned()),
    }
}

fn small(image: &RgbImage, faces: &[FaceInView], named_from: Score) -> Picture {
    let (width, height) = image.dimensions();
    let shrink = (LONGEST_PX as f32 / width.max(height).max(1) as f32).min(1.0);
    let side = |px: u32| ((px as f32 * shrink).round() as u32).max(1);
    let size = (side(width), side(height));
    let from = (width as usize, height as usize);
    let rgb = match size == (width, height) {
        true => image.as_raw().clone(),
        false => scale(image.as_raw(), from, (size.0 as usize, size.1 as usize)),
    };
    let mut jpeg = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY);
    // Only a side of more than 65,535 px fails, and these have 480.
    let encoded =
        image::ImageEncoder::write_image(encoder, &rgb, size.0, size.1, image::ExtendedColorType::Rgb8);
    if let Err(error) = encoded {
        log::warn!("a picture for the console could not be encoded: {error}");
    }
    let known = |face: &FaceInView| face.score.is_some_and(|score| score >= named_from.0);
    let faces = faces.iter().map(|face| match known(face) {
        true => face.clone(),
        false => FaceInView { name: None, ..face.clone() },
    });
    Picture { jpeg: STANDARD.encode(jpeg), size, seq: 0, age_ms: 0, faces: faces.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::fakes::{SkipClock, analysis, seen};
    use crate::gallery::{Candidate, Match, PersonId};

    fn at(ms: u64) -> MonoTime {
        MonoTime::from_millis(ms)
    }

    fn frame(seq: u64) -> Frame {
        Frame { seq, captured: at(seq), image: RgbImage::new(640, 480) }
    }

    #[tokio::test]
    async fn a_frame_is_kept_only_while_somebody_asks() {
        let (view, clock) = (View::default(), SkipClock::default());
        let now = clock.now();
        view.looked_at(frame(1), &analysis(1, now, 0, vec![]), now);
        assert!(view.newest.borrow().is_none(), "nobody watches, nothing is kept");

        view.wanted_until.store((now + KEPT_FOR).as_millis(), Ordering::Relaxed);
        view.looked_at(frame(2), &analysis(2, now, 0, vec![]), now);
        assert!(view.newest.borrow().is_some());
        let picture = view.picture(&clock, Score(0.5)).await.unwrap();
        assert_eq!((picture.size, picture.seq), ((480, 360), 2));
        let jpeg = STANDARD.decode(&picture.jpeg).unwrap();
        assert_eq!(crate::frame::decode_jpeg(&jpeg, 1 << 24).unwrap().dimensions(), (480, 360));

        let later = clock.now() + KEPT_FOR + Duration::from_secs(1);
        view.looked_at(frame(3), &analysis(3, later, 0, vec![]), later);
        assert!(view.newest.borrow().is_none(), "nobody watches any more");
    }

    #[tokio::test]
    async fn many_who_watch_cost_one_picture() {
        let (view, clock) = (View::default(), SkipClock::default());
        let now = clock.now();
        view.wanted_until.store((now + KEPT_FOR).as_millis(), Ordering::Relaxed);
        view.looked_at(frame(1), &analysis(1, now, 0, vec![]), now);
        assert_eq!(view.picture(&clock, Score(0.5)).await.unwrap().seq, 1);
        view.looked_at(frame(2), &analysis(2, now, 0, vec![]), now);
        assert_eq!(view.picture(&clock, Score(0.5)).await.unwrap().seq, 1, "too soon for another");
        clock.skip(MOST_OFTEN);
        assert_eq!(view.picture(&clock, Score(0.5)).await.unwrap().seq, 2);
    }

    #[test]
    fn a_name_is_told_from_the_threshold_on() {
        let best = |score| Candidate { person: PersonId(1), name: "Ada".into(), score: Score(score) };
        let mut face = seen(1, &[1.0]);
        face.matched = Some(Match { best: best(0.6), runner_up: None });
        let face = in_view(&face, (64, 48));
        let image = RgbImage::new(64, 48);
        let names = |from| small(&image, std::slice::from_ref(&face), Score(from)).faces[0].name.clone();
        assert_eq!(names(0.5), Some("Ada".into()));
        assert_eq!(names(0.61), None);
    }
}
