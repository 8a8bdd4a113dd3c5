//! Pixels and when they were taken: what every camera delivers and what vision reads.

use image::RgbImage;

use crate::clock::MonoTime;

/// One picture from a camera.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Counts up by one per picture the camera delivered, also those that nobody looked at.
    pub seq: u64,
    /// When the light was caught, as near as the camera tells.
    pub captured: MonoTime,
    /// RGB, 8 bits a channel, upright.
    pub image: RgbImage,
}
