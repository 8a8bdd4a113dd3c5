//! From a frame to faces: detection, alignment, quality, tracks.

pub mod align;
pub mod quality;
pub mod tracks;
pub mod yunet;

use serde::{Deserialize, Serialize};

/// An axis-aligned box in pixels of the frame; may reach beyond its edges.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BBox {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width.
    pub w: f32,
    /// Height.
    pub h: f32,
}

/// Five points in pixels of the frame, in the order image-left eye, image-right eye, nose tip, image-left mouth
/// corner, image-right mouth corner.
pub type Landmarks = [[f32; 2]; 5];

/// A face found in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Face {
    /// Where it is.
    pub bbox: BBox,
    /// Its five points.
    pub landmarks: Landmarks,
    /// The detector's confidence, 0 to 1.
    pub score: f32,
}
