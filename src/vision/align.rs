//! A face warped to the encoder's fixed frame.

use image::RgbImage;

/// Side of an aligned crop in pixels.
pub const CROP_SIDE: u32 = 112;

/// A 112×112 RGB picture of one face, its five points on the ArcFace template.
#[derive(Clone, Debug, PartialEq)]
pub struct AlignedCrop(pub RgbImage);
