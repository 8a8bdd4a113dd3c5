//! Whether a face is good enough to be judged, in figures an operator can act on.

use serde::{Deserialize, Serialize};

use super::Landmarks;
use super::align::{AlignedCrop, CROP_SIDE};

/// What was measured on one face.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Distance between the eyes in pixels of the frame.
    pub eye_distance_px: f32,
    /// Sharpness: variance of the Laplacian of the aligned crop's luma; higher is sharper.
    pub sharpness: f32,
    /// Mean luma of the aligned crop, 0 to 255.
    pub light: f32,
    /// Turn of the head to its side in degrees, 0 is frontal; from landmarks, so an estimate.
    pub yaw_deg: f32,
    /// Nod of the head in degrees, 0 is level; an estimate.
    pub pitch_deg: f32,
    /// Tilt in the image plane in degrees, 0 is upright.
    pub roll_deg: f32,
}

/// What a face must be to be matched; see the keys of `[vision]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct QualityGates {
    /// Least eye distance in px.
    pub min_eye_distance_px: f32,
    /// Least sharpness.
    pub min_sharpness: f32,
    /// Least mean luma.
    pub min_light: f32,
    /// Greatest mean luma.
    pub max_light: f32,
    /// Greatest turn to either side in degrees.
    pub max_yaw_deg: f32,
    /// Greatest nod up or down in degrees.
    pub max_pitch_deg: f32,
}

/// Why a face in view was not usable for a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QualityIssue {
    /// Eyes too few pixels apart: come closer.
    TooSmall,
    /// Hold still, or the camera is out of focus.
    Blurred,
    /// Too little light.
    TooDark,
    /// Too much light.
    TooBright,
    /// Look at the camera.
    TurnedAway,
}

impl QualityIssue {
    /// What the person in view should do.
    pub fn hint(self) -> &'static str {
        match self {
            Self::TooSmall => "come closer",
            Self::Blurred => "hold still",
            Self::TooDark => "more light",
            Self::TooBright => "less light",
            Self::TurnedAway => "look at the camera",
        }
    }
}

impl QualityGates {
    /// The first gate a face does not pass, most helpful first; `None` when it passes all. A figure that is not a
    /// number passes none.
    pub fn judge(&self, q: &Quality) -> Option<QualityIssue> {
        let gates = [
            (q.eye_distance_px >= self.min_eye_distance_px, QualityIssue::TooSmall),
            (q.light >= self.min_light, QualityIssue::TooDark),
            (q.light <= self.max_light, QualityIssue::TooBright),
            (q.yaw_deg.abs() <= self.max_yaw_deg, QualityIssue::TurnedAway),
            (q.pitch_deg.abs() <= self.max_pitch_deg, QualityIssue::TurnedAway),
            (q.sharpness >= self.min_sharpness, QualityIssue::Blurred),
        ];
        gates.into_iter().find_map(|(passed, issue)| (!passed).then_some(issue))
    }

    /// What is wrong with a face, in figures: `eye distance 18 px, needs 28: use a larger picture`.
    pub fn explain(&self, issue: QualityIssue, quality: &Quality) -> String {
        match issue {
            QualityIssue::TooSmall => format!(
                "eye distance {:.0} px, needs {:.0}: use a larger picture or come closer",
                quality.eye_distance_px, self.min_eye_distance_px
            ),
            QualityIssue::Blurred => format!(
                "sharpness {:.1}, needs {:.1}: hold still, or use a picture in focus",
                quality.sharpness, self.min_sharpness
            ),
            QualityIssue::TooDark => {
                format!("light {:.0}, needs {:.0}: put light on the face", quality.light, self.min_light)
            }
            QualityIssue::TooBright => format!(
                "light {:.0}, may be {:.0}: less light, or the camera's exposure is too long",
                quality.light, self.max_light
            ),
            QualityIssue::TurnedAway => format!(
                "turned {:.0}° to the side and {:.0}° up or down, may be {:.0}° and {:.0}°: look at the camera",
                quality.yaw_deg.abs(),
                quality.pitch_deg.abs(),
                self.max_yaw_deg,
                self.max_pitch_deg
            ),
        }
    }
}

/// How far the tip of the nose stands out before the plane of the eyes, in eye distances: about 33 mm of 63 mm.
const NOSE_DEPTH: f32 = 0.52;
/// Height of the nose tip between eyes (0) and mouth (1) on a level face: that of the alignment template.
const NOSE_HEIGHT: f32 = 0.495;
/// Distance from the eyes to the mouth in eye distances, on the same template.
const EYE_MOUTH: f32 = 1.155;

/// Measures one face: its landmarks in pixels of the frame, and its aligned crop.
pub fn assess(landmarks: &Landmarks, crop: &AlignedCrop) -> Quality {
    let [left, right, nose, mouth_left, mouth_right] = *landmarks;
    let (dx, dy) = (right[0] - left[0], right[1] - left[1]);
    let eye_distance_px = (dx * dx + dy * dy).sqrt();
    let roll = dy.atan2(dx);
    // In axes that turn with the head: along the eyes, and down the face.
    let eyes = middle(left, right);
    let (sin, cos) = roll.sin_cos();
    let upright = |[x, y]: [f32; 2]| {
        let (x, y) = (x - eyes[0], y - eyes[1]);
        (cos * x + sin * y, cos * y - sin * x)
    };
    let (nose_x, nose_y) = upright(nose);
    let (mouth_x, mouth_y) = upright(middle(mouth_left, mouth_right));
    // The nose moves sideways by depth · sin(yaw) while the eyes draw together by cos(yaw); the midline runs from
    // the eyes' middle to the mouth's. Up and down likewise, against the distance from eyes to mouth.
    let along = (nose_y / mouth_y).clamp(0.0, 1.0);
    let yaw = ((nose_x - mouth_x * along) / (eye_distance_px * NOSE_DEPTH)).atan();
    let pitch = ((nose_y / mouth_y - NOSE_HEIGHT) * EYE_MOUTH / NOSE_DEPTH).atan();
    let luma = luma(crop);
    Quality {
        eye_distance_px,
        sharpness: sharpness(&luma),
        light: mean_light(&luma),
        yaw_deg: yaw.to_degrees(),
        pitch_deg: pitch.to_degrees(),
        roll_deg: roll.to_degrees(),
    }
}

fn middle(a: [f32; 2], b: [f32; 2]) -> [f32; 2] {
    [(a[0] + b[0]) / 2.0, (a[1] + b[1]) / 2.0]
}

/// Luma of ITU-R BT.601, row-major.
fn luma(crop: &AlignedCrop) -> Vec<f32> {
    let pixels = crop.0.as_raw().chunks_exact(3);
    pixels.map(|p| 0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2])).collect()
}

/// Rows and columns of the crop that are face and not background or hair.
const INNER: std::ops::Range<usize> = 24..100;

fn mean_light(luma: &[f32]) -> f32 {
    let side = CROP_SIDE as usize;
    let sum: f32 = INNER.map(|y| luma[y * side..][INNER].iter().sum::<f32>()).sum();
    sum / (INNER.len() * INNER.len()) as f32
}

/// Variance of the Laplacian (Pech-Pacheco et al. 2000) over the inner face.
fn sharpness(luma: &[f32]) -> f32 {
    let side = CROP_SIDE as usize;
    let (mut sum, mut square) = (0.0_f64, 0.0_f64);
    for y in INNER {
        for x in INNER {
            let i = y * side + x;
            let l = luma[i - 1] + luma[i + 1] + luma[i - side] + luma[i + side] - 4.0 * luma[i];
            sum += f64::from(l);
            square += f64::from(l) * f64::from(l);
        }
    }
    let n = (INNER.len() * INNER.len()) as f64;
    (square / n - (sum / n).powi(2)) as f32
}

#[cfg(test)]
mod tests {
    use super::super::align::TEMPLATE;
    use super::*;
    use image::{Rgb, RgbImage};

    fn flat(level: u8) -> AlignedCrop {
        AlignedCrop(RgbImage::from_pixel(CROP_SIDE, CROP_SIDE, Rgb([level; 3])))
    }

    /// A head with known pose, projected without perspective: nose standing out of the plane of eyes and mouth.
    fn head(yaw: f32, pitch: f32, roll: f32) -> Landmarks {
        let e = 60.0;
        let points = [
            [-0.5, 0.0, 0.0],
            [0.5, 0.0, 0.0],
            [0.0, NOSE_HEIGHT * EYE_MOUTH, NOSE_DEPTH],
            [-0.4, EYE_MOUTH, 0.0],
            [0.4, EYE_MOUTH, 0.0],
        ];
        let [(sy, cy), (sp, cp), (sr, cr)] = [yaw, pitch, roll].map(|d| d.to_radians().sin_cos());
        points.map(|[x, y, z]: [f32; 3]| {
            let (y, z) = (cp * y + sp * z, cp * z - sp * y);
            let (x, _) = (cy * x + sy * z, cy * z - sy * x);
            [e * (cr * x - sr * y) + 200.0, e * (sr * x + cr * y) + 150.0]
        })
    }

    #[test]
    fn pose_of_a_known_head_is_recovered() {
        for (yaw, pitch, roll) in
            [(0.0, 0.0, 0.0), (25.0, 0.0, 0.0), (-30.0, 0.0, 10.0), (0.0, 20.0, -25.0), (0.0, -15.0, 0.0)]
        {
            let q = assess(&head(yaw, pitch, roll), &flat(128));
            for (got, want, bound) in
                [(q.yaw_deg, yaw, 3.0), (q.pitch_deg, pitch, 3.0), (q.roll_deg, roll, 1.0)]
            {
                assert!((got - want).abs() < bound, "yaw {yaw} pitch {pitch} roll {roll}: {q:?}");
            }
        }
    }

    #[test]
    fn the_template_is_a_frontal_face() {
        let q = assess(&TEMPLATE, &flat(90));
        assert!(q.yaw_deg.abs() < 3.0 && q.pitch_deg.abs() < 3.0 && q.roll_deg.abs() < 1.0, "{q:?}");
        assert!(
            (q.eye_distance_px - 35.2).abs() < 0.1 && (q.light - 90.0).abs() < 0.5 && q.sharpness < 1e-3,
            "{q:?}"
        );
    }

    #[test]
    fn blur_lowers_sharpness() {
        let checks = RgbImage::from_fn(CROP_SIDE, CROP_SIDE, |x, y| {
            Rgb([if (x / 4 + y / 4) % 2 == 0 { 40 } else { 210 }; 3])
        });
        let blurred = image::imageops::blur(&checks, 2.0);
        let sharp = assess(&TEMPLATE, &AlignedCrop(checks)).sharpness;
        assert!(assess(&TEMPLATE, &AlignedCrop(blurred)).sharpness < sharp / 10.0);
    }

    #[test]
    fn each_gate_refuses_with_its_own_hint() {
        let gates = QualityGates {
            min_eye_distance_px: 30.0,
            min_sharpness: 20.0,
            min_light: 40.0,
            max_light: 220.0,
            max_yaw_deg: 40.0,
            max_pitch_deg: 30.0,
        };
        let good = Quality {
            eye_distance_px: 50.0,
            sharpness: 80.0,
            light: 120.0,
            yaw_deg: 5.0,
            pitch_deg: -5.0,
            roll_deg: 0.0,
        };
        assert_eq!(gates.judge(&good), None);
        let cases = [
            (Quality { eye_distance_px: 29.0, ..good }, "come closer"),
            (Quality { sharpness: 10.0, ..good }, "hold still"),
            (Quality { light: 20.0, ..good }, "more light"),
            (Quality { light: 240.0, ..good }, "less light"),
            (Quality { yaw_deg: -50.0, ..good }, "look at the camera"),
            (Quality { pitch_deg: 35.0, ..good }, "look at the camera"),
            (Quality { sharpness: f32::NAN, ..good }, "hold still"),
        ];
        for (quality, hint) in cases {
            assert_eq!(gates.judge(&quality).map(QualityIssue::hint), Some(hint), "{quality:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_face_is_said_with_its_figure_and_the_limit() {
        let quality = Quality {
            eye_distance_px: 18.2,
            sharpness: 3.1,
            light: 230.0,
            yaw_deg: -51.0,
            pitch_deg: 4.0,
            roll_deg: 0.0,
        };
        let gates = QualityGates {
            min_eye_distance_px: 28.0,
            min_sharpness: 20.0,
            min_light: 40.0,
            max_light: 225.0,
            max_yaw_deg: 40.0,
            max_pitch_deg: 35.0,
        };
        for (issue, words) in [
            (QualityIssue::TooSmall, "eye distance 18 px, needs 28: use a larger picture"),
            (QualityIssue::Blurred, "sharpness 3.1, needs 20.0: hold still"),
            (QualityIssue::TooDark, "light 230, needs 40: put light"),
            (QualityIssue::TooBright, "light 230, may be 225: less light"),
            (QualityIssue::TurnedAway, "turned 51° to the side and 4° up or down, may be 40° and 35°"),
        ] {
            let text = gates.explain(issue, &quality);
            assert!(text.starts_with(words), "{text}");
        }
    }
}
