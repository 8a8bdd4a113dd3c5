//! Small pictures of faces that are refused, where the config says so. Vision cuts them out of the frame that it has just looked
//! at; control makes a JPEG of the one that a refusal fell on. Of everybody else's nothing is left with the next frame.

use std::sync::Arc;

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder, RgbImage, imageops};

use crate::access::RefusalReason;
use crate::frame::Frame;
use crate::journal::replay::Then;
use crate::vision::BBox;
use crate::vision::resample::scale;

use super::analysis::Analysis;

/// Longest side of a picture in px.
const LONGEST_PX: u32 = 192;
/// So much is shown around a face, in parts of its box.
const AROUND: f32 = 0.4;
/// JPEG quality: enough to see who it is.
const JPEG_QUALITY: u8 = 75;
/// Faces that are cut out of one frame at most, the largest first.
const MOST: usize = 4;

/// Of which refusals pictures are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Snapshots {
    /// Of none.
    #[default]
    Off,
    /// Of those whom nobody was recognised in.
    Strangers,
    /// Of people who were recognised and refused too.
    Refusals,
}

impl Snapshots {
    /// Whether a picture of this decision is kept.
    pub(super) fn keeps(self, then: Then) -> bool {
        let is_stranger = matches!(
            then,
            Then::Refused(RefusalReason::Unknown | RefusalReason::Ambiguous | RefusalReason::NobodyEnrolled)
        );
        match (self, then) {
            (Self::Off, _) | (_, Then::LetIn(_) | Then::Asked(_)) => false,
            (Self::Strangers, _) => is_stranger,
            (Self::Refusals, _) => true,
        }
    }
}

/// Cuts the faces that were compared out of their frame.
pub(super) fn cut_out(frame: &Frame, analysis: &mut Analysis) {
    for face in analysis.faces.iter_mut().filter(|face| face.embedding.is_some()).take(MOST) {
        face.snapshot = cut(&frame.image, &face.face.bbox).map(Arc::new);
    }
}

/// A face with what is around it, made small; `None` when nothing of it is in the picture.
fn cut(image: &RgbImage, bbox: &BBox) -> Option<RgbImage> {
    let (across, down) = (AROUND * bbox.w, AROUND * bbox.h);
    // A cast of what is no number, or beyond the range, gives 0 or the nearest bound.
    let x = (bbox.x - across).max(0.0) as u32;
    let y = (bbox.y - down).max(0.0) as u32;
    let right = ((bbox.x + bbox.w + across).max(0.0) as u32).min(image.width());
    let bottom = ((bbox.y + bbox.h + down).max(0.0) as u32).min(image.height());
    let (width, height) = (right.checked_sub(x)?, bottom.checked_sub(y)?);
    if width == 0 || height == 0 {
        return None;
    }
    let part = imageops::crop_imm(image, x, y, width, height).to_image();
    let shrink = (LONGEST_PX as f32 / width.max(height) as f32).min(1.0);
    let side = |px: u32| ((px as f32 * shrink).round() as u32).max(1);
    let to = (side(width), side(height));
    if to == (width, height) {
        return Some(part);
    }
    let from = (width as usize, height as usize);
    RgbImage::from_raw(to.0, to.1, scale(part.as_raw(), from, (to.0 as usize, to.1 as usize)))
}

/// As a JPEG.
pub(super) fn jpeg(image: &RgbImage) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY);
    encoder.write_image(image.as_raw(), image.width(), image.height(), ExtendedColorType::Rgb8).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gallery::PersonId;

    #[test]
    fn a_face_is_cut_out_with_what_is_around_it_and_made_small() {
        let image = RgbImage::from_fn(640, 480, |x, y| image::Rgb([x as u8, y as u8, 9]));
        let cut_at =
            |x: f32, y: f32, w: f32, h: f32| cut(&image, &BBox { x, y, w, h }).map(|c| c.dimensions());
        assert_eq!(cut_at(100.0, 100.0, 50.0, 100.0), Some((90, 180)));
        assert_eq!(cut_at(100.0, 100.0, 200.0, 200.0), Some((192, 192)), "made small");
        assert_eq!(cut_at(0.0, 0.0, 50.0, 50.0), Some((70, 70)), "up to the picture's edge");
        for (x, y, w, h) in [
            (f32::NAN, 0.0, 5.0, 5.0),
            (9e9, 0.0, 5.0, 5.0),
            (-500.0, 0.0, 5.0, 5.0),
            (10.0, 10.0, -90.0, 5.0),
        ] {
            let found = cut_at(x, y, w, h);
            assert!(found.is_none_or(|(w, h)| w <= 192 && h <= 192), "{found:?}");
        }
        let made = jpeg(&cut(&image, &BBox { x: 100.0, y: 100.0, w: 200.0, h: 200.0 }).unwrap()).unwrap();
        assert!(made.starts_with(&[0xff, 0xd8, 0xff]) && made.len() < 20_000, "{}", made.len());
    }

    #[test]
    fn of_those_who_are_let_in_nothing_is_kept_and_of_the_recognised_only_where_asked() {
        let unknown = Then::Refused(RefusalReason::Unknown);
        let not_live = Then::Refused(RefusalReason::NotLive);
        let person = PersonId(1);
        let all = [unknown, not_live, Then::TurnedAway(person), Then::Asked(person), Then::LetIn(person)];
        let kept = |of: Snapshots| all.map(|then| of.keeps(then));
        assert_eq!(kept(Snapshots::Off), [false; 5]);
        assert_eq!(kept(Snapshots::Strangers), [true, false, false, false, false]);
        assert_eq!(kept(Snapshots::Refusals), [true, true, true, false, false]);
    }
}
