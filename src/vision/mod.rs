//! From a frame to faces: detection, alignment, quality, tracks.

pub mod align;
pub mod letterbox;
pub mod margin;
pub mod quality;
pub mod resample;
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

impl BBox {
    /// Intersection over union, 0 (apart) to 1 (the same box).
    pub fn iou(&self, other: &Self) -> f32 {
        let span = |a: f32, aw: f32, b: f32, bw: f32| ((a + aw).min(b + bw) - a.max(b)).max(0.0);
        let both = span(self.x, self.w, other.x, other.w) * span(self.y, self.h, other.y, other.h);
        let either = self.w * self.h + other.w * other.h - both;
        if either > 0.0 { both / either } else { 0.0 }
    }
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

impl Face {
    /// How much a picture of `size` is about this face when it shows several: large and near the middle, area − 2·d², d
    /// being the distance of its middle from that of the picture (the rule by which FaceNet's tools cut LFW).
    pub fn prominence(&self, (width, height): (u32, u32)) -> f32 {
        let b = self.bbox;
        let (dx, dy) = (b.x + b.w / 2.0 - width as f32 / 2.0, b.y + b.h / 2.0 - height as f32 / 2.0);
        b.w * b.h - 2.0 * (dx * dx + dy * dy)
    }
}
