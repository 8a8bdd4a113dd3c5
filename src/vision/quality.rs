//! Whether a face is good enough to be judged, in figures an operator can act on.

use serde::{Deserialize, Serialize};

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
#[derive(Clone, Copy, Debug, PartialEq)]
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
