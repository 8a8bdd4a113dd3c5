//! One frame on the page: its pixels as a small JPEG inside the page, and over them, drawn as SVG in the frame's own
//! coordinates, what was seen and concluded.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use maud::{Markup, html};

use crate::daemon::analysis::SeenFace;
use crate::daemon::trace::{Conclusion, DoorState, TracedFrame};
use crate::encoder::Score;
use crate::vision::quality::QualityIssue;

/// Width of a picture on the page in px.
const WIDTH: u32 = 420;

/// JPEG quality: 120 such pictures stay well under 8 MB.
const JPEG_QUALITY: u8 = 78;

/// The picture, made smaller, as a `data:` address.
pub(super) fn data_uri(picture: &RgbImage) -> image::ImageResult<String> {
    let width = picture.width().min(WIDTH);
    let height = (picture.height() * width).div_ceil(picture.width().max(1)).max(1);
    let small = imageops::resize(picture, width.max(1), height, FilterType::Triangle);
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).encode_image(&small)?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(bytes)))
}

/// What a face was taken for; the class names of the page's style.
fn class(face: &SeenFace, threshold: Score) -> &'static str {
    match (&face.issue, &face.matched) {
        (Some(_), _) => "poor",
        (None, Some(found)) if found.best.score >= threshold => "known",
        _ => "unknown",
    }
}

/// In words what was made of a face: `Ada 0.74`, `nobody known 0.12`, `too small`.
pub(super) fn label(face: &SeenFace, threshold: Score) -> String {
    match (face.issue, &face.matched) {
        (Some(issue), _) => issue_words(issue).to_owned(),
        (None, Some(found)) if found.best.score >= threshold => {
            format!("{} {:.2}", found.best.name, found.best.score.0)
        }
        (None, Some(found)) => format!("nobody known {:.2}", found.best.score.0),
        (None, None) => "nobody enrolled".to_owned(),
    }
}

fn issue_words(issue: QualityIssue) -> &'static str {
    match issue {
        QualityIssue::TooSmall => "too far away",
        QualityIssue::Blurred => "blurred",
        QualityIssue::TooDark => "too dark",
        QualityIssue::TooBright => "too bright",
        QualityIssue::TurnedAway => "turned away",
    }
}

/// In words what was concluded: `let in: Ada`, `refused: unknown`.
pub(super) fn conclusion_words(conclusion: &Conclusion) -> String {
    match conclusion {
        Conclusion::Granted { name, .. } => format!("let in: {name}"),
        Conclusion::Refused { reason, .. } => format!("refused: {}", reason.replace('_', " ")),
    }
}

/// Class name of a conclusion.
pub(super) fn conclusion_class(conclusion: &Conclusion) -> &'static str {
    match conclusion {
        Conclusion::Granted { .. } => "granted",
        Conclusion::Refused { .. } => "refused",
    }
}

/// The frame with everything drawn over it.
pub(super) fn overlaid(frame: &TracedFrame, data: &str, threshold: Score) -> Markup {
    let (width, height) = frame.analysis.size;
    html! {
        svg class="frame" viewBox=(format!("0 0 {width} {height}")) role="img" aria-label=(format!("frame {}", frame.analysis.seq)) {
            image href=(data) width=(width) height=(height) {}
            @for face in &frame.analysis.faces { (face_marks(face, threshold, width as f32, height as f32)) }
            (door_badge(frame.door, width))
            @for (i, conclusion) in frame.conclusions.iter().enumerate() {
                @let top = height as f32 - 46.0 * (i + 1) as f32;
                g class=(format!("banner {}", conclusion_class(conclusion))) {
                    rect x="0" y=(top) width=(width) height="46" {}
                    text x=(width as f32 / 2.0) y=(top + 32.0) text-anchor="middle" { (conclusion_words(conclusion)) }
                }
            }
        }
    }
}

fn face_marks(face: &SeenFace, threshold: Score, width: f32, height: f32) -> Markup {
    let b = face.face.bbox;
    let words = label(face, threshold);
    // About 14 px a letter at most; the middle of the text stays so far inside that its ends do too.
    let half = (words.chars().count() as f32 * 7.0).min(width / 2.0);
    let middle = (b.x + b.w / 2.0).clamp(half, width - half);
    let line = if b.y >= 40.0 { b.y - 12.0 } else { (b.y + b.h + 26.0).min(height - 8.0) };
    html! {
        g class=(format!("face {}", class(face, threshold))) {
            rect class="box" x=(px(b.x)) y=(px(b.y)) width=(px(b.w)) height=(px(b.h)) rx="4" {}
            @for [x, y] in face.face.landmarks { circle cx=(px(x)) cy=(px(y)) r="3" {} }
            text x=(px(middle)) y=(px(line)) text-anchor="middle" { (words) }
        }
    }
}

fn door_badge(door: DoorState, width: u32) -> Markup {
    let (class, words) = match door {
        DoorState::Locked => ("locked", "LOCKED"),
        DoorState::Unlocked => ("unlocked", "OPEN"),
    };
    let left = width as f32 - 122.0;
    html! {
        g class=(format!("door {class}")) {
            rect x=(left) y="10" width="112" height="32" rx="16" {}
            text x=(left + 56.0) y="33" text-anchor="middle" { (words) }
        }
    }
}

fn px(value: f32) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::testing::{frame, story};

    #[test]
    fn each_face_says_what_was_made_of_it() {
        let faces =
            frame(1, DoorState::Locked, &[Ok(0.734), Ok(0.12), Err(QualityIssue::TooDark)]).analysis.faces;
        let said: Vec<_> = faces.iter().map(|f| (class(f, Score(0.5)), label(f, Score(0.5)))).collect();
        let said: Vec<_> = said.iter().map(|(c, l)| (*c, l.as_str())).collect();
        assert_eq!(said, [("known", "Ada <L> 0.73"), ("unknown", "nobody known 0.12"), ("poor", "too dark")]);
    }

    #[test]
    fn the_overlay_has_boxes_landmarks_door_and_verdict() {
        let drawn = overlaid(&story()[9], "data:,", Score(0.5)).into_string();
        assert_eq!(drawn.matches("<circle").count(), 5);
        for piece in ["viewBox=\"0 0 640 480\"", "Ada &lt;L&gt; 0.69", "OPEN", "let in: Ada &lt;L&gt;"] {
            assert!(drawn.contains(piece), "no {piece:?} in {drawn}");
        }
        assert!(overlaid(&story()[0], "data:,", Score(0.5)).into_string().contains("LOCKED"));
    }

    #[test]
    fn labels_stay_inside_the_picture() {
        let mut traced = frame(1, DoorState::Locked, &[Ok(0.9)]);
        traced.analysis.faces[0].face.bbox.x = 600.0;
        traced.analysis.faces[0].face.bbox.y = 3.0;
        let drawn = overlaid(&traced, "data:,", Score(0.5)).into_string();
        assert!(drawn.contains("<text x=\"556.0\" y=\"154.0\" text-anchor=\"middle\">Ada"), "{drawn}");
    }

    #[test]
    fn pictures_are_made_small() {
        let uri = data_uri(&RgbImage::new(1280, 960)).unwrap();
        let bytes = STANDARD.decode(uri.strip_prefix("data:image/jpeg;base64,").unwrap()).unwrap();
        let back = image::load_from_memory(&bytes).unwrap();
        assert_eq!((back.width(), back.height()), (420, 315));
        assert!(data_uri(&RgbImage::new(1, 1)).is_ok());
    }
}
